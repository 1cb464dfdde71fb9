"""Metrics: what a body reports, and the dict in which a function hands it on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..ir.core import Op
from ..ir.registry import Code, Levels
from .function import Report
from .naming import quoted

if TYPE_CHECKING:
    from .body import Body


def report(body: Body, at: int, op: Op) -> None:
    """Note a metric as (sum, count), for the end of the function."""
    value = body.code(op.operands[0])
    weight = body.code(op.operands[1]) if len(op.operands) > 1 else Code("1")
    total = value.text
    if weight.text != "1":
        total = f"{value.within(Levels.UNARY)} * {weight.within(Levels.UNARY)}"
    joined = f"{total}, {weight.text}"
    body.scope.keep(joined)
    name = op["name"]
    body.function.reports.append(Report(frozenset([name]), f"{quoted(name)}: ({joined})"))


def report_child(body: Body, child: str, name: str, copies: bool = False) -> None:
    """Hand on what a child reported, the dict `name`, under the child's own; copies are summed."""
    metric, parts = ("(s.sum(0), n.sum(0))", "(s, n)") if copies else ("m", "m")
    entry = f'**{{f"{child}.{{k}}": {metric} for k, {parts} in {name}.items()}}'
    body.function.reports.append(Report(frozenset([f"{child}."]), entry))


def collected(body: Body, reports: list[Report]) -> str:
    """Source of a dict of metrics; where several calls report the same, they are added up."""
    groups: list[tuple[set[str], list[str]]] = []
    for origins, text in reports:
        group = next((g for g in groups if not g[0] & origins), None)
        if group is None:
            group = (set(), [])
            groups.append(group)
        group[0].update(origins)
        group[1].append(text)
    dicts = ["{" + ", ".join(texts) + "}" for _, texts in groups] or ["{}"]
    if len(dicts) == 1:
        return dicts[0]
    body.model.use("joined")
    return f"joined({', '.join(dicts)})"
