"""What the page of a memory plan is drawn from: plain values, as JSON has them.

    title, setting        what was planned, and for what
    figures               what stands at the top: (name, value, whether it is bad)
    budget                bytes, or None
    timeline              moments, series of bytes by component, the position of the peak
    frontier              what can be had: peaks and shares of the step's time
    decisions             of the plan, with what they keep
    blocks                graphs of what is repeated, and of layers that are called once
    parameters            a tree by path

Bytes are those of one device.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..ir.core import Module, join
from ..ir.plan import Decision, Plan
from ..passes.memory.graph import Graph, Node, Unit, backward
from ..passes.memory.liveness import OUTSIDE
from ..passes.memory.model import KeptValue, MemoryReport, Moment, kept_values, saved_ids
from ..passes.planner.decisions import size_text
from ..passes.remat import recomputed

Facts = dict[str, Any]

GROUPS = {
    "parameters": "parameters",
    "optimizer": "optimizer",
    "optimizer, copied": "optimizer",
    "averages": "optimizer",
    "model state": "state",
    "batch": "batch",
    "sums of gradients": "gradients",
    "gradients": "gradients",
    "kept": "kept",
    OUTSIDE: "kept",
    "transient": "transient",
}
"""The components of a moment from the bottom up, and the colour of each."""

MOST_KEPT = 8
"""Kept values that have an area of their own; the others share one."""


@dataclass(frozen=True)
class Point:
    """A plan that can be had.

    Attributes:
        name: of a stock policy, or "".
        bytes: at the peak.
        share: the time of second runs, of that of a step without any.
        stock: whether it is a policy of JAX or MaxText.
        chosen: whether it is this plan.
    """

    name: str
    bytes: int
    share: float
    stock: bool = False
    chosen: bool = False


def facts(
    module: Module,
    plan: Plan,
    report: MemoryReport,
    *,
    title: str,
    setting: str,
    figures: Iterable[tuple[str, str, bool]],
    budget: int | None = None,
    points: Sequence[Point] = (),
    blocks: Sequence[Unit] = (),
) -> Facts:
    """The facts of a plan; `blocks` are those that are drawn beside the loops that it has."""
    units = {u.path: u for u in (*blocks, *report.graph.units) if u.kind in ("repeat", "call")}
    return {
        "title": title,
        "setting": setting,
        "figures": [{"name": n, "value": v, "bad": bad} for n, v, bad in figures],
        "budget": budget,
        "timeline": _timeline(report),
        "frontier": _frontier(points),
        "decisions": [_decision(d, report.kept, section) for section, d in _made(plan)],
        "blocks": [_block(unit, plan) for unit in units.values()],
        "parameters": _parameters(module, report.graph),
    }


# Memory over the step


def _timeline(report: MemoryReport) -> Facts:
    moments = report.timeline
    names = [n for n in GROUPS if any(n in dict(m.components) for m in moments)]
    series = []
    for name in names:
        amounts = [dict(m.components).get(name, 0) for m in moments]
        parts = _kept_parts(report.kept, amounts) if name == "kept" else [(name, amounts)]
        series += [{"name": n, "group": GROUPS[name], "bytes": b} for n, b in parts]
    phases = _phases(moments)
    peak = max(range(len(moments)), key=lambda i: moments[i].bytes)
    return {
        "lead": f"Most lives at {_said(moments[peak].name)}. Heights are bytes on one device; a"
        " loop over copies of a block is one moment, at its worst copy.",
        "moments": [
            {"name": _said(m.name), "phase": phase, "alive": [list(pair) for pair in m.alive]}
            for m, phase in zip(moments, phases, strict=True)
        ],
        "series": series,
        "peak": peak,
    }


def _kept_parts(kept: Sequence[KeptValue], amounts: Sequence[int]) -> list[tuple[str, list[int]]]:
    """What is kept, value by value; the stacks of loops are made and dropped as a whole."""
    on_device: dict[str, int] = {}
    for value in kept:
        if not value.offloaded:
            name = value.key or f"inside of {value.op}, {value.place}"
            on_device[name] = on_device.get(name, 0) + value.bytes
    total = sum(on_device.values())
    largest = sorted(on_device, key=lambda n: -on_device[n])[:MOST_KEPT]
    parts = []
    left = list(amounts)
    for name in largest:
        share = [a * on_device[name] // total for a in amounts]
        left = [a - b for a, b in zip(left, share, strict=True)]
        parts.append((name, share))
    return [*parts, ("other values", left)] if any(left) else parts


def _phases(moments: Sequence[Moment]) -> list[str]:
    first = next((i for i, m in enumerate(moments) if m.name.startswith("∂")), len(moments))
    return [
        "update" if m.name == "update" else "backward" if i >= first else "forward"
        for i, m in enumerate(moments)
    ]


def _said(name: str) -> str:
    return f"the gradient of {name[1:]}" if name.startswith("∂") else name


# What can be had


def _frontier(points: Sequence[Point]) -> Facts:
    rows = [
        {"name": p.name, "bytes": p.bytes, "share": p.share, "chosen": p.chosen} for p in points
    ]
    return {
        "lead": "Each point of the line is a plan that can be had; circles are the stock policies"
        " of JAX and MaxText, applied to the same blocks.",
        "points": [r for r, p in zip(rows, points, strict=True) if not p.stock],
        "stock": [r for r, p in zip(rows, points, strict=True) if p.stock],
    }


# Decisions


def _made(plan: Plan) -> list[tuple[str, Decision]]:
    return [(s, d) for s, d in plan.decisions() if s in ("remat", "loss_chunks", "roll", "groups")]


def _decision(decision: Decision, kept: Sequence[KeptValue], section: str) -> Facts:
    choice = str(decision.choice)
    return {
        "key": decision.key,
        "choice": {"loss_chunks": f"{choice} chunks", "groups": f"groups of {choice}"}.get(
            section, choice
        ),
        "bytes": sum(k.bytes for k in kept if k.key == decision.key),
        "place": decision.place,
        "reason": decision.reason,
    }


# Blocks


def _block(unit: Unit, plan: Plan) -> Facts:
    held = list(kept_values(unit))
    kept = {k.key: k for k in held if k.key}
    again: tuple[int, ...] = ()
    if unit.path in recomputed(plan):
        again = backward(unit, saved_ids(unit, kept)).recomputed
    shown = _shown(unit)
    number = {node.id: i for i, node in enumerate(shown)}
    nodes = [_node(unit, node, kept, frozenset(again)) for node in shown]
    edges = {
        (number[unit[i].root], number[node.id])
        for node in shown
        for i in node.operands
        if unit[i].root in number
    }
    there = {unit[i].key for i in unit.arguments} if unit.kind == "call" else ()
    total = sum(k.bytes for k in held if not k.offloaded and k.key not in there)
    of = "of all copies " if unit.copies > 1 else ""
    return {
        "path": unit.path,
        "count": unit.copies,
        "lead": f"{len(shown)} values; {of}{size_text(total)} are kept. Parameters,"
        " their casts, and what is computed once for all copies are left out.",
        "nodes": nodes,
        "edges": [list(edge) for edge in sorted(edges)],
    }


def _shown(unit: Unit) -> list[Node]:
    """The values that a copy computes from what it is given."""
    found: dict[int, Node] = {}
    for node in unit.values:
        if node.alias_of is not None or not node.bytes:
            continue
        given = node.kind == "input"
        made = node.kind == "value" and not node.invariant
        if given or (made and any(unit[i].root in found for i in node.operands)):
            found[node.id] = node
    return list(found.values())


def _node(unit: Unit, node: Node, kept: Mapping[str, KeptValue], again: frozenset[int]) -> Facts:
    found = next((kept[k] for k in (node.key, *node.also) if k in kept), None)
    if node.kind == "input":
        choice, why = "input", "what a copy is given; it stays"
    elif found is not None and found.offloaded:
        choice, why = "offload", f"kept on the host: {size_text(found.bytes)} of all copies"
    elif found is not None:
        choice, why = "save", f"kept: {size_text(found.bytes)} of all copies"
    elif node.first in again:
        choice, why = "recompute", f"computed again: {node.flops:,} operations in each copy"
    else:
        choice, why = "transient", "not needed again"
    return {
        "key": node.key,
        "label": node.key.removeprefix(unit.path).lstrip("./") or node.op,
        "op": node.op,
        "bytes": node.bytes,
        "place": node.place,
        "choice": choice,
        "why": why,
    }


# Parameters


def _parameters(module: Module, graph: Graph) -> Facts:
    stored = {n.key: n for u in graph.units for n in u.values if n.kind == "param"}
    copies = {u.path: u.copies for u in graph.units if u.kind == "repeat"}
    root: Facts = {"path": "", "children": []}
    count = 0
    for instance in module.instances:
        times = 1
        for path, number in copies.items():
            if instance.path == path or instance.path.startswith(f"{path}."):
                times *= number
        for variable in instance.params:
            path = join(instance.path, variable.name)
            node = stored.get(path)
            if node is None:
                continue
            dims = ", ".join(d.name for d in variable.order)
            size = node.stored * times
            number = variable.type.elements().evaluate(dict(graph.sizes)) * times
            count += number
            shape = f"{times} × [{dims}]" if times > 1 else f"[{dims}]"
            leaf = {"path": path, "shape": shape, "bytes": size, "count": number}
            _branch(root, instance.path)["children"].append(leaf)
    _add_up(root)
    root["lead"] = f"{count:,} parameters, {size_text(root['bytes'])} on each device."
    return root


def _branch(root: Facts, path: str) -> Facts:
    """The branch of an instance, made where it is not there yet."""
    found = root
    for part in path.split(".") if path else ():
        inner = join(found["path"], part)
        branches = {c["path"]: c for c in found["children"] if "children" in c}
        if inner not in branches:
            found["children"].append({"path": inner, "children": []})
            branches[inner] = found["children"][-1]
        found = branches[inner]
    return found


def _add_up(node: Facts) -> int:
    if "children" in node:
        node["bytes"] = sum(map(_add_up, node["children"]))
    return node["bytes"]
