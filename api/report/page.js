"use strict";
// Draws the report from the facts that stand in the page as JSON. Text goes in as text, never as markup.
const facts = JSON.parse(document.getElementById("facts").textContent);
const at = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const GROUPS = {
  parameters: "parameters", gradients: "gradients", optimizer: "optimizer state",
  state: "model state", batch: "batch", kept: "kept for the backward pass",
  transient: "at work", loss: "logits and loss", other: "other",
};

function make(name, attributes = {}, ...inside) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...inside);
  return node;
}

function draw(parent, name, attributes = {}, text) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  parent.append(node);
  return node;
}

function canvas(parent, width, height, label) {
  return draw(parent, "svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
}

function bytes(n) {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  while (Math.abs(n) >= 1000 && unit < units.length - 1) { n /= 1000; unit += 1; }
  return `${Number(n.toPrecision(3))} ${units[unit]}`;
}

function number(n) { return n.toLocaleString("en-US"); }
function percent(share) { return `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`; }

function seconds(s) {
  if (s >= 1) return `${s.toFixed(2)} s`;
  return s >= 1e-3 ? `${(s * 1e3).toFixed(1)} ms` : `${(s * 1e6).toFixed(0)} µs`;
}

function steps(most, wanted) {
  // Distances of 1, 2 or 5 times a power of ten.
  let step = 10 ** Math.floor(Math.log10(most / wanted));
  for (const factor of [2, 2.5, 2]) if (most / step > wanted) step *= factor;
  const ticks = [];
  for (let t = 0; t <= most; t += step) ticks.push(t);
  return ticks;
}

function tip(node, title, ...lines) {
  const box = at("tip");
  node.addEventListener("pointermove", (event) => {
    box.replaceChildren(make("b", {}, title), ...lines.flatMap((l, i) => (i ? [make("br"), l] : [l])));
    box.hidden = false;
    const x = Math.min(event.clientX + 14, innerWidth - box.offsetWidth - 8);
    const y = event.clientY + 18 + box.offsetHeight > innerHeight ? event.clientY - box.offsetHeight - 10 : event.clientY + 18;
    box.style.left = `${x}px`;
    box.style.top = `${y}px`;
  });
  node.addEventListener("pointerleave", () => { box.hidden = true; });
  node.setAttribute("tabindex", "-1");
  draw(node, "title", {}, [title, ...lines].join("\n"));
}

function hide(id) { at(id).remove(); }

// The head

function head() {
  at("title").textContent = facts.title;
  at("setting").textContent = facts.setting;
  for (const { value, name, bad } of facts.figures)
    at("figures").append(make("div", { class: bad ? "figure bad" : "figure" }, make("b", {}, value), make("span", {}, name)));
}

// Memory over one step, as stacked areas

function timeline() {
  const { moments, series, peak } = facts.timeline;
  if (!moments.length) return hide("timeline-section");
  at("timeline-lead").textContent = facts.timeline.lead;
  const [width, height, left, right, top, bottom] = [1060, 360, 74, 16, 26, 50];
  const totals = moments.map((_, i) => series.reduce((sum, s) => sum + s.bytes[i], 0));
  const most = Math.max(...totals, facts.budget && facts.budget < 2 * Math.max(...totals) ? facts.budget : 0) * 1.1;
  const x = (i) => left + ((width - left - right) * i) / moments.length;
  const y = (n) => top + (height - top - bottom) * (1 - n / most);
  const svg = canvas(at("timeline"), width, height, "stacked areas of memory over one step");
  for (const t of steps(most, 6)) {
    draw(svg, "line", { class: "axis", x1: left, x2: width - right, y1: y(t), y2: y(t) });
    draw(svg, "text", { x: left - 8, y: y(t) + 4, "text-anchor": "end" }, bytes(t));
  }
  let floor = moments.map(() => 0);
  for (const s of series) {
    const ceiling = floor.map((n, i) => n + s.bytes[i]);
    const up = ceiling.map((n, i) => `${x(i)},${y(n)} ${x(i + 1)},${y(n)}`).join(" ");
    const down = floor.map((n, i) => `${x(i + 1)},${y(n)} ${x(i)},${y(n)}`).reverse().join(" ");
    const area = draw(svg, "polygon", { points: `${up} ${down}`, fill: `var(--${s.group})`, stroke: "var(--card)", "stroke-width": 0.6 });
    tip(area, s.name, `at most ${bytes(Math.max(...s.bytes))}`, `at the peak ${bytes(s.bytes[peak])}`);
    floor = ceiling;
  }
  let start = 0;
  moments.forEach((moment, i) => {
    const last = i + 1 === moments.length || moments[i + 1].phase !== moment.phase;
    if (!last) return;
    draw(svg, "line", { class: "axis", x1: x(start), x2: x(start), y1: height - bottom, y2: height - bottom + 22 });
    if (x(i + 1) - x(start) > 6.2 * moment.phase.length)
      draw(svg, "text", { x: (x(start) + x(i + 1)) / 2, y: height - bottom + 18, "text-anchor": "middle" }, moment.phase);
    start = i + 1;
  });
  const middle = (x(peak) + x(peak + 1)) / 2;
  draw(svg, "line", { class: "mark", x1: middle, x2: middle, y1: y(totals[peak]), y2: height - bottom });
  draw(svg, "circle", { cx: middle, cy: y(totals[peak]), r: 4, fill: "var(--ink)" });
  const anchor = middle > width * 0.7 ? "end" : middle < width * 0.3 ? "start" : "middle";
  draw(svg, "text", { class: "strong", x: middle, y: y(totals[peak]) - 10, "text-anchor": anchor }, `${bytes(totals[peak])}: ${moments[peak].name}`);
  if (facts.budget && facts.budget <= most) {
    draw(svg, "line", { class: "budget", x1: left, x2: width - right, y1: y(facts.budget), y2: y(facts.budget) });
    draw(svg, "text", { class: "budget", x: left + 6, y: y(facts.budget) - 6 }, `budget ${bytes(facts.budget)}`);
  }
  // Thin columns above all: what lives at one moment, biggest first.
  moments.forEach((moment, i) => {
    const column = draw(svg, "rect", { x: x(i), y: top, width: Math.max(x(i + 1) - x(i), 0.5), height: height - top - bottom, fill: "transparent" });
    const living = moment.alive.map(([name, n]) => `${bytes(n)}  ${name}`);
    tip(column, `${bytes(totals[i])}: ${moment.name}`, ...living);
  });
  const groups = [...new Set(series.map((s) => s.group))].reverse();
  for (const g of groups)
    at("timeline-legend").append(make("span", {}, make("i", { style: `background: var(--${g})` }), GROUPS[g] || g));
}

// The frontier

function frontier() {
  const { points, stock } = facts.frontier;
  if (points.length + stock.length < 2) return hide("frontier-section");
  at("frontier-lead").textContent = facts.frontier.lead;
  const [width, height, left, right, top, bottom] = [1060, 360, 74, 150, 34, 48];
  const all = [...points, ...stock];
  const low = Math.min(...all.map((p) => p.bytes));
  const high = Math.max(...all.map((p) => p.bytes));
  const most = Math.max(...all.map((p) => p.share), 0.01) * 1.12;
  const room = (high - low || high) * 0.05;
  const x = (n) => left + ((width - left - right) * (n - low + room)) / (high - low + 2 * room);
  const y = (s) => top + (height - top - bottom) * (1 - s / most);
  const svg = canvas(at("frontier"), width, height, "recomputation against memory");
  const step = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1].find((s) => most / s <= 6) || 2;
  for (let s = 0; s <= most; s += step) {
    draw(svg, "line", { class: "axis", x1: left, x2: width - right, y1: y(s), y2: y(s) });
    draw(svg, "text", { x: left - 8, y: y(s) + 4, "text-anchor": "end" }, percent(s));
  }
  for (const n of steps(high + room, 10 * high / (high - low + 2 * room))) {
    if (n < low - room) continue;
    draw(svg, "text", { x: x(n), y: height - bottom + 20, "text-anchor": "middle" }, bytes(n));
  }
  draw(svg, "text", { x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle" }, "peak of memory");
  draw(svg, "text", { x: left - 60, y: 14 }, "time of second runs, of that of a step without any");
  const sorted = [...points].sort((a, b) => a.bytes - b.bytes);
  const path = sorted.map((p, i) => (i ? `H${x(p.bytes)}V${y(p.share)}` : `M${x(p.bytes)},${y(p.share)}`)).join("");
  draw(svg, "path", { d: path, fill: "none", stroke: "var(--kept)", "stroke-width": 2 });
  for (const p of points) {
    const dot = draw(svg, "circle", { cx: x(p.bytes), cy: y(p.share), r: p.chosen ? 8 : 3.5, fill: "var(--kept)", stroke: "var(--card)", "stroke-width": p.chosen ? 2 : 0 });
    tip(dot, `${bytes(p.bytes)}, ${percent(p.share)} longer`, p.name || "a plan between");
  }
  for (const p of stock) {
    const dot = draw(svg, "circle", { cx: x(p.bytes), cy: y(p.share), r: 5, fill: "var(--card)", stroke: "var(--loss)", "stroke-width": 2 });
    tip(dot, p.name, `${bytes(p.bytes)}, ${percent(p.share)} longer`);
  }
  // Labels where there is room; what has none says its name when it is pointed at.
  const taken = all.map((p) => [x(p.bytes) - 6, y(p.share) - 6, x(p.bytes) + 6, y(p.share) + 6]);
  const label = (p, text, look) => {
    const width = 6.6 * text.length;
    for (const [dx, dy] of [[10, -7], [10, 16], [-10 - width, -7], [-10 - width, 16], [10, -21], [10, 30]]) {
      const [u, v] = [x(p.bytes) + dx, y(p.share) + dy];
      const box = [u, v - 10, u + width, v + 3];
      if (u < left || v < top + 8 || v > height - bottom || u + width > 1060) continue;
      if (taken.some(([a, b, c, d]) => box[0] < c && a < box[2] && box[1] < d && b < box[3])) continue;
      taken.push(box);
      draw(svg, "text", { ...look, x: u, y: v }, text);
      return;
    }
  };
  for (const p of points) if (p.chosen) label(p, "this plan", { class: "strong" });
  for (const p of stock) if (!p.name.startsWith("MaxText")) label(p, p.name, {});
  for (const p of stock) if (p.name.startsWith("MaxText")) label(p, p.name, {});
  if (facts.budget && facts.budget >= low - room && facts.budget <= high + room) {
    draw(svg, "line", { class: "budget", x1: x(facts.budget), x2: x(facts.budget), y1: top, y2: height - bottom });
    draw(svg, "text", { class: "budget", x: x(facts.budget) + 6, y: top + 10 }, "budget");
  }
}

// Decisions, as a table

function decisions() {
  if (!facts.decisions.length) return hide("decisions-section");
  const table = at("decisions");
  table.append(make("tr", {}, ...["value", "", "bytes", "line", "why"].map((t, i) => make("th", i === 2 ? { class: "number" } : {}, t))));
  for (const d of facts.decisions)
    table.append(make("tr", {},
      make("td", {}, make("code", {}, d.key)),
      make("td", {}, make("span", { class: `chip ${["save", "offload", "recompute"].includes(d.choice) ? d.choice : "plain"}` }, d.choice)),
      make("td", { class: "number" }, d.bytes ? bytes(d.bytes) : ""),
      make("td", {}, make("code", {}, d.place)),
      make("td", {}, d.reason)));
}

// Blocks, as graphs that run from top to bottom

const LOOKS = {
  save: ["var(--kept)", "none", "#fff"], offload: ["var(--offload)", "none", "#fff"],
  recompute: ["var(--card)", "4 3", "var(--soft)"], input: ["var(--batch)", "none", "var(--ink)"],
  transient: ["var(--card)", "none", "var(--soft)"],
};

// Rows by longest path; an edge over several rows goes through a narrow place in each of them; rows
// are ordered by the mean of their neighbours (Sugiyama, Tagawa, Toda, 1981).
function layered(nodes, edges) {
  const depth = nodes.map(() => 0);
  const before = nodes.map(() => []);
  for (const [a, b] of edges) before[b].push(a);
  nodes.forEach((_, i) => { for (const a of before[i]) depth[i] = Math.max(depth[i], depth[a] + 1); });
  const into = nodes.map(() => []);
  const out = nodes.map(() => []);
  const join = (a, b) => { out[a].push(b); into[b].push(a); };
  const routes = edges.map(([a, b]) => {
    const route = [a];
    for (let d = depth[a] + 1; d < depth[b]; d += 1) {
      depth.push(d);
      into.push([]);
      out.push([]);
      route.push(depth.length - 1);
    }
    route.push(b);
    route.slice(1).forEach((to, k) => join(route[k], to));
    return route;
  });
  const rows = [];
  depth.forEach((d, i) => { (rows[d] = rows[d] || []).push(i); });
  const size = (i) => (i < nodes.length ? BOX.width + BOX.gapX : 26);
  const x = [];
  const settle = (near) => rows.forEach((row) => {
    const wanted = row.map((i, k) => (near[i].length ? near[i].reduce((s, j) => s + (x[j] ?? 0), 0) / near[i].length : x[i] ?? k));
    const order = row.map((_, k) => k).sort((k, l) => wanted[k] - wanted[l]);
    const sorted = order.map((k) => row[k]);
    row.splice(0, row.length, ...sorted);
    let edge = -row.reduce((s, i) => s + size(i), 0) / 2;
    for (const i of row) { x[i] = edge + size(i) / 2; edge += size(i); }
  });
  for (let sweep = 0; sweep < 8; sweep += 1) { settle(into); rows.reverse(); settle(out); rows.reverse(); }
  settle(into);
  const width = Math.max(...rows.map((row) => row.reduce((s, i) => s + size(i), 0)));
  return { x, depth, routes, width, height: rows.length };
}

const BOX = { width: 148, height: 36, gapX: 14, gapY: 26 };

function block({ path, count, nodes, edges, lead }) {
  const figure = make("figure");
  at("blocks").append(make("h3", {}, count > 1 ? `${path}, one of ${count} copies` : path), make("p", { class: "lead" }, lead), figure);
  const graph = layered(nodes, edges);
  const width = Math.max(1060, graph.width);
  const svg = canvas(figure, width, graph.height * (BOX.height + BOX.gapY), `graph of ${path}`);
  const x = (i) => width / 2 + graph.x[i];
  const y = (i) => graph.depth[i] * (BOX.height + BOX.gapY) + 2;
  for (const route of graph.routes) {
    let line = `M${x(route[0])},${y(route[0]) + BOX.height}`;
    route.slice(1).forEach((to, k) => {
      const [x1, y1] = [x(route[k]), y(route[k]) + BOX.height];
      line += `C${x1},${y1 + 15} ${x(to)},${y(to) - 15} ${x(to)},${y(to)}`;
      if (to >= nodes.length) line += `V${y(to) + BOX.height}`;
    });
    draw(svg, "path", { d: line, fill: "none", stroke: "var(--faint)", "stroke-opacity": 0.65 });
  }
  nodes.forEach((node, i) => {
    const [fill, dash, ink] = LOOKS[node.choice] || LOOKS.transient;
    const group = draw(svg, "g");
    draw(group, "rect", { x: x(i) - BOX.width / 2, y: y(i), width: BOX.width, height: BOX.height, rx: 7, fill, stroke: "var(--faint)", "stroke-width": fill === "var(--card)" ? 1 : 0, "stroke-dasharray": dash });
    const short = node.label.length > 21 ? `…${node.label.slice(-20)}` : node.label;
    draw(group, "text", { x: x(i), y: y(i) + 15, "text-anchor": "middle", style: `fill: ${ink}; font-weight: 600` }, short);
    draw(group, "text", { x: x(i), y: y(i) + 29, "text-anchor": "middle", style: `fill: ${ink}; font-size: 11px` }, bytes(node.bytes));
    tip(group, node.key || node.label, `${node.op}${node.place ? `, ${node.place}` : ""}`, bytes(node.bytes), node.why || "");
  });
}

function blocks() {
  if (!facts.blocks.length) return hide("blocks-section");
  for (const [name, colour, hollow] of [["kept", "var(--kept)"], ["offloaded", "var(--offload)"], ["recomputed", "transparent", true], ["given", "var(--batch)"], ["not needed again", "var(--rule)"]])
    at("blocks-legend").append(make("span", {}, make("i", { style: `background: ${colour}`, ...(hollow ? { class: "hollow" } : {}) }), name));
  facts.blocks.forEach(block);
}

// Parameters, as a squarified treemap (Bruls, Huizing, van Wijk, 2000)

function squarify(items, box) {
  const placed = [];
  let { x, y, w, h } = box;
  let rest = items.filter((i) => i.bytes > 0).sort((a, b) => b.bytes - a.bytes);
  const scale = (w * h) / (rest.reduce((s, i) => s + i.bytes, 0) || 1);
  while (rest.length && w > 0 && h > 0) {
    const side = Math.min(w, h);
    const worst = (row) => {
      const area = row.reduce((s, i) => s + i.bytes * scale, 0);
      return Math.max(...row.map((i) => Math.max((side * side * i.bytes * scale) / (area * area), (area * area) / (side * side * i.bytes * scale))));
    };
    let n = 1;
    while (n < rest.length && worst(rest.slice(0, n + 1)) <= worst(rest.slice(0, n))) n += 1;
    const row = rest.slice(0, n);
    rest = rest.slice(n);
    const thick = row.reduce((s, i) => s + i.bytes * scale, 0) / side;
    let offset = 0;
    for (const item of row) {
      const length = (item.bytes * scale) / thick;
      placed.push({ item, ...(w >= h ? { x, y: y + offset, w: thick, h: length } : { x: x + offset, y, w: length, h: thick }) });
      offset += length;
    }
    if (w >= h) { x += thick; w -= thick; } else { y += thick; h -= thick; }
  }
  return placed;
}

function parameters() {
  const tree = facts.parameters;
  if (!tree.bytes) return hide("parameters-section");
  at("parameters-lead").textContent = tree.lead;
  const [width, height] = [1060, 420];
  const svg = canvas(at("parameters"), width, height, "treemap of parameters");
  const shades = ["var(--parameters)", "var(--kept)", "var(--loss)", "var(--transient)", "var(--offload)", "var(--other)"];
  const cell = (box, item, fill, opacity) => {
    const group = draw(svg, "g", { class: "cell" });
    draw(group, "rect", { x: box.x, y: box.y, width: Math.max(box.w, 0), height: Math.max(box.h, 0), fill, "fill-opacity": opacity, stroke: "var(--card)", "stroke-width": 1.4 });
    const name = item.path.split(".").slice(-2).join(".");
    if (box.w > 7 * name.length + 8 && box.h > 18) draw(group, "text", { x: box.x + 6, y: box.y + 15 }, name);
    if (box.w > 70 && box.h > 36) draw(group, "text", { x: box.x + 6, y: box.y + 30, style: "font-size: 11px" }, bytes(item.bytes));
    tip(group, item.path, item.shape || "", `${number(item.count)} parameters, ${bytes(item.bytes)}`);
  };
  const descend = (node, box, fill, level) => {
    squarify(node.children, box).forEach((placed, i) => {
      const colour = fill || shades[i % shades.length];
      if (placed.item.children) descend(placed.item, placed, level ? colour : null, level + 1);
      else cell(placed, placed.item, colour, 0.72 + 0.28 * ((i * 0.37) % 1));
    });
  };
  descend(tree, { x: 0, y: 0, w: width, h: height }, null, 0);
}

for (const part of [head, timeline, frontier, decisions, blocks, parameters]) part();
