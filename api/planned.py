"""What `netwright plan` says: on a screen, and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from .passes.planner.choose import Planned, measures_batches
from .passes.planner.decisions import size_text
from .passes.planner.pool import Block, Option

if TYPE_CHECKING:
    from .ir.plan import Plan
    from .passes.planner.frontier import Point
    from .passes.planner.problem import Candidate
    from .planning import Question
    from .verifying import Verified

FEW = 3
"""Blocks of which each value that is kept is named."""

MOST_VALUES, MOST_BLOCKS = 16, 18
"""How many values, or blocks, have a line of their own."""

MOST_OPTIONS = 8
"""How many stock policies have one."""

WIDTH = 100
"""Columns of a line at most."""


def text(question: Question, planned: Planned, verified: str = "") -> str:
    """The report for a terminal."""
    report, plan = planned.report, planned.plan
    budget = size_text(planned.budget)
    sizes = ", ".join(f"{n} = {s}" for n, s in plan.sizes)
    optimizer = ", ".join(name for name, _ in question.training.functions(""))
    devices = f"{plan.mesh.size()} x " if plan.mesh.size() > 1 else ""
    lines = [
        f"{question.module.name} on {devices}{planned.device.name}, {budget} a device: {sizes}, "
        f"{plan.precision.policy}, {optimizer}",
        "",
        f"peak    {size_text(report.peak)}, {report.peak / planned.budget:.0%} of the budget, "
        f"at {report.moment}",
    ]
    if not planned.fits:
        lines[-1] = f"does not fit: {size_text(report.peak)} at {report.moment}"
        lines[-1] += "" if question.given else ", with as little kept as can be"
        lines[-1] += "" if verified else f"; {planned.margin:.0%} of {budget} are left free"
    parts = sorted(report.components, key=lambda part: -part[1])
    lines.append("        " + ", ".join(f"{size_text(s)} {n}" for n, s in parts[:6]))
    again = f"{planned.share:.1%} more than without" if planned.chosen.again else "none"
    lines.append(f"time    about {time_text(planned.total)} a step; made again: {again}")
    if planned.seconds > planned.shortest:
        lines.append(f"        {planned.longer:.1%} more than with memory for everything at once")
    if plan.microbatches > 1:
        lines.append(
            f"batch   in {plan.microbatches} microbatches of {question.batch // plan.microbatches}"
        )
        if own_statistics(question, plan):
            lines.append("        statistics over a batch, such as BatchNorm's, are of one each")
    for decision in plan.groups:
        if "/" in decision.key:
            lines.append(f"loop    {decision.key}: {decision.reason}")
    for decision in plan.loss_chunks:
        lines.append(f"loss    {decision.key} in {decision.choice} parts: {decision.reason}")
    if verified:
        lines.append(f"XLA     {verified}")
    if question.given:
        lines += _as_given(planned)
    else:
        room = planned.budget * (1.0 if verified else 1 - planned.margin)
        lines += [*_blocks(planned), "", *_beside(planned, room)]
    if planned.advice:
        lines += ["", "what would be enough:", *(f"  {a}" for a in planned.advice)]
    return "\n".join(part for line in lines for part in _folded(line))


def _folded(line: str) -> list[str]:
    """A line in parts that are not too wide, cut after commas if it has any."""
    parts, indent = [], " " * 8
    while len(line) > WIDTH:
        cut = line.rfind(",", 0, WIDTH) + 1 or line.rfind(" ", 0, WIDTH)
        if cut <= len(indent):
            break
        parts.append(line[:cut].rstrip())
        line = indent + line[cut:].lstrip()
    return [*parts, line]


def own_statistics(question: Question, plan: Plan) -> bool:
    """Whether more microbatches than were asked for change what layers measure of a batch."""
    more = plan.microbatches > question.plan.microbatches
    return more and measures_batches(question.module)


def _smaller(count: int) -> str:
    return f"  and {count} smaller one" + ("s" if count > 1 else "")


def _as_given(planned: Planned) -> list[str]:
    """What stays for the gradient, the largest first."""
    lines = ["", "the plan is as it was given, no other was looked for; it keeps:"]
    kept = planned.report.kept
    for value in kept[:MOST_VALUES]:
        host = "host: " if value.offloaded else ""
        said = host + size_text(value.bytes)
        name = value.key or f"{value.op} in {value.unit}"
        lines.append(f"  {name:<42} {said:<16} {value.place}".rstrip())
    more = len(kept) - MOST_VALUES
    return [*lines, _smaller(more)] if more > 0 else lines


def _blocks(planned: Planned) -> list[str]:
    """What is decided for each block; the fewer there are, the more of each."""
    found = list(zip(planned.blocks, planned.chosen.points, strict=True))
    if len(found) > FEW:
        lines = ["", f"{len(found)} blocks, what they keep of what they could:"]
        shown = sorted(found, key=lambda f: -f[0].problem.everything * f[0].unit.copies)[
            :MOST_BLOCKS
        ]
        width = max(len(_head(block)) for block, _ in shown)
        lines += [_block_line(b, p, width) for b, p in found if (b, p) in shown]
        more = len(found) - len(shown)
        return [*lines, _smaller(more)] if more else lines
    most = (MOST_VALUES + 1) // max(len(found), 1)
    return [line for b, p in found for line in ("", *_block(planned.plan, b, p, most))]


def _copies(count: int) -> str:
    return f"{count} copies" if count > 1 else "called once"


def _name(block: Block, key: str) -> str:
    return key.removeprefix(block.unit.path).lstrip("./")


def _kept(block: Block, point: Point) -> list[Candidate]:
    """What a point keeps, on the device and on the host, the largest first."""
    keys = (point.choice.keys or frozenset()) | point.choice.offloaded
    return sorted((c for c in block.problem.candidates if c.key in keys), key=lambda c: -c.bytes)


def _head(block: Block) -> str:
    copies = block.unit.copies
    return f"{block.unit.path} x {copies}" if copies > 1 else block.unit.path


def _block_line(block: Block, point: Point, width: int) -> str:
    whole = size_text(block.problem.everything * block.unit.copies)
    if point.everything:
        return f"  {_head(block):<{width}}  all of {whole}"
    kept = _kept(block, point)
    line = f"  {_head(block):<{width}}  {size_text(point.saved):>7} of {whole:<8} "
    if point.choice.group:
        line += f"groups of {point.choice.group}; "
    names = [f"{_name(block, c.key)} ({c.place.rpartition(':')[2]})" for c in kept]
    for count in (2, 1, 0):  # as many as there is room for
        more = [f"{len(names) - count} more"] if len(names) > count else []
        what = line + ", ".join(names[:count] + more)
        if len(what) <= WIDTH:
            break
    return what.rstrip()


def _block(plan: Plan, block: Block, point: Point, most: int) -> list[str]:
    path, copies = block.unit.path, block.unit.copies
    whole = size_text(block.problem.everything * copies)
    head = f"{path}, {_copies(copies)}: "
    if point.everything:
        return [head + f"all of {whole} is kept"]
    table = {d.key: d for d in plan.remat}
    lines = [head + f"{size_text(point.saved)} of {whole} are kept"]
    for decision in plan.groups:
        if decision.key == path:
            lines.append(f"  in groups of {decision.choice}: {decision.reason}")
    kept = _kept(block, point)
    for candidate in kept[:most]:
        host = "host: " if candidate.key in point.choice.offloaded else ""
        said = host + table[candidate.key].reason
        lines.append(f"  {_name(block, candidate.key):<24} {said:<52} {candidate.place}".rstrip())
    if len(kept) > most:
        lines.append(_smaller(len(kept) - most))
    held = {c.key for c in kept}
    rest = [c for c in block.problem.candidates if c.key not in held and not c.given]
    if rest:
        rest.sort(key=lambda c: -c.bytes)
        names = ", ".join(f"{_name(block, c.key)} {size_text(c.bytes * copies)}" for c in rest[:3])
        lines.append(f"  made again: {names}" + (" and more" if len(rest) > 3 else ""))
    return lines


def _beside(planned: Planned, room: float) -> list[str]:
    if not planned.blocks:
        return ["no layer keeps enough to be made again"]

    def matters(option: Option) -> tuple[bool, bool, bool, float]:
        """What matters most comes first: what is chosen, both ends, then the best that fit."""
        ends = option.name in ("nothing_saveable", "everything_saveable")
        over = option.peak > room
        return option is not planned.chosen, not ends, over, option.peak if over else option.again

    named = [o for o in planned.options if o.name and not o.name.startswith("MaxText full")]
    rows = []
    for option in sorted(sorted(named, key=matters)[:MOST_OPTIONS], key=lambda o: o.peak):
        mark = "  <- chosen" if option is planned.chosen else ""
        share = option.again / planned.seconds if planned.seconds else 0.0
        fits = "" if option.peak <= room else "does not fit"
        row = f"  {option.name:<42}{size_text(option.peak):>9}{share:>8.1%}  {fits}{mark}"
        rows.append(row.rstrip())
    return ["beside it, stock policies (peak, made again):", *rows]


def time_text(seconds: float) -> str:
    """Seconds with three digits and a unit."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def as_json(question: Question, planned: Planned, verified: Verified | None = None) -> str:
    """Everything that the report says, for programs."""
    report = planned.report
    table: dict[str, Any] = {
        "model": question.module.name,
        "device": planned.device.name,
        "budget": planned.budget,
        "fits": planned.fits,
        "peak": report.peak,
        "moment": report.moment,
        "components": dict(report.components),
        "timeline": [{"at": m.name, **dict(m.components)} for m in report.timeline],
        "seconds": {"without": planned.seconds, "again": planned.chosen.again},
        "longer": planned.longer,
        "microbatches": planned.plan.microbatches,
        "kept": [
            {"key": k.key, "op": k.op, "bytes": k.bytes, "place": k.place, "unit": k.unit}
            for k in report.kept
        ],
        "options": [
            {
                "policy": o.name,
                "peak": o.peak,
                "again": o.again,
                "chosen": o is planned.chosen,
                "keeps": [
                    None if p.choice.keys is None else sorted(p.choice.keys) for p in o.points
                ],
                "offloads": [sorted(p.choice.offloaded) for p in o.points],
                "groups": [p.choice.group for p in o.points],
            }
            for o in planned.options
        ],
        "advice": list(planned.advice),
        "plan": json.loads(question.written(planned.plan).to_json()),
    }
    if verified is not None:
        table["verified"] = asdict(verified)
    return json.dumps(table, indent=2, ensure_ascii=False)
