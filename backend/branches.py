"""What differs in training: an `if` whose branches bind the same names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..ir.core import Op, walk
from ..ir.registry import Code
from . import labels
from .function import Report
from .metrics import collected
from .scope import words

if TYPE_CHECKING:
    from .body import Body


def if_train(body: Body, at: int, op: Op) -> None:
    """Write both branches; where the second would do nothing, there is no `else`."""
    live = [k for k, r in enumerate(op.results) if r.id in body.uses.last]
    then, orelse = (body.inside(r, tuple(r.results[k] for k in live)) for r in op.regions)
    # Results are bound where they are made, which is the last read of others.
    then.bind_results(dict.fromkeys(_own_results(then), ""))
    names: list[str] = []
    for k in live:
        result = op.results[k].id
        name = _passed(body, at, op, k, then)
        if name is None:
            name = body.scope.first(labels.bases(body, result))
            body.scope.held[name] = None
            body.codes[result] = Code(name)
        else:
            body.hold(result, name)
        names.append(name)
    _write_both(body, (then, orelse), names)
    if then.lines or orelse.lines:
        body.emit("if train:", op)
        body.lines += then.lines or [" " * then.indent + "pass"]
    if orelse.lines:
        body.emit("else:")
        body.lines += orelse.lines
    for k, name in zip(live, names, strict=True):
        body.hold(op.results[k].id, name)


def _write_both(body: Body, branches: tuple[Body, Body], names: list[str]) -> None:
    """Write the branches. What they do to children, and report, gets one name for what follows."""
    function = body.function
    states, reports = dict(function.child_state), function.reports
    ends: list[tuple[Body, dict[str, str], list[Report]]] = []
    for branch in branches:
        function.child_state, function.reports = dict(states), []
        _finish(branch, names)
        ends.append((branch, function.child_state, function.reports))
    function.child_state, function.reports = states, reports
    for child in dict.fromkeys(c for _, end, _ in ends for c in end):
        before = function.state_of(child)
        if any(end.get(child, before) != before for _, end, _ in ends):
            name = body.temporary(f"{child}_state")
            for branch, end, _ in ends:
                branch.emit(f"{name} = {end.get(child, before)}")
            function.child_state[child] = name
    if any(found for _, _, found in ends):
        name = body.temporary("reported")
        for branch, _, found in ends:
            branch.emit(f"{name} = {collected(body, found)}")
        origins = frozenset(o for _, _, found in ends for own, _ in found for o in own)
        reports.append(Report(origins, f"**{name}"))


def _passed(body: Body, at: int, op: Op, k: int, then: Body) -> str | None:
    """The name of a value that the second branch passes on, if the first may bind it anew."""
    region, made = op.regions[1], op.regions[0].results[k]
    passed = region.results[k]
    held = body.codes.get(passed)
    if held is None or held.number or body.scope.held.get(held.text) != passed:
        return None
    inside = [r for inner in walk(region.ops) for r in inner.regions]
    read = [o for inner in walk(region.ops) for o in inner.operands]
    read += [o for r in inside for o in r.results]
    if body.uses.last.get(passed, -1) > at or passed in read or region.results.count(passed) > 1:
        return None
    kept = then.uses.last.get(passed, -1) > then.uses.index.get(made, -1)
    return None if kept else held.text


def _own_results(branch: Body) -> set[int]:
    """Results that are made in the branch, once each."""
    once = {i for i in branch.results if branch.results.count(i) == 1}
    return {i for i in once if i in branch.uses.index}


def _finish(branch: Body, names: list[str]) -> None:
    """Write a branch that binds these names to its results."""
    own = _own_results(branch)
    results = list(zip(branch.results, names, strict=True))
    branch.bind_results({id: name for id, name in results if id in own})
    branch.write()
    pairs = [(name, branch.array(id).text) for id, name in results]
    pairs = [(name, text) for name, text in pairs if text != name]
    read = {w for _, text in pairs for w in words(text)}
    if any(name in read for name, _ in pairs):  # each is read before any is bound
        branch.emit(f"{', '.join(n for n, _ in pairs)} = {', '.join(t for _, t in pairs)}")
    else:
        for name, text in pairs:
            branch.emit(f"{name} = {text}")
