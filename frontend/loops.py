"""Loops along a dim: `scan`, with what it carries and what it emits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..ir.core import Dim, Op, Region, Type, Value, attributes
from ..ir.diagnostics import Place, Span
from . import tree
from .constants import Mistake, is_constant
from .reading import Val
from .wording import corrected, count, listed

if TYPE_CHECKING:
    from .body import Body


@dataclass(frozen=True)
class _Step:
    """The body of a scan.

    Attributes:
        region: takes the number of the step, a slice of each input, and what is carried; gives what
            is carried on, then what is emitted.
        names: what names are bound to at its end.
        emit: the statement that emits, if there is one.
    """

    region: Region
    names: dict[str, Any]
    emit: tree.Emit | None


def scan(body: Body, node: tree.Scan) -> None:
    """A loop along a dim; afterwards what it carried has its last values."""
    builder = body.builder
    along = body.instance.dim(node.along.id, node.along.span, body.declared)
    body.statement = node.targets[0].id if node.targets else "scan"
    inputs, carried = _inputs(body, node, along), _carried(body, node, along)
    step = _step(body, node, along, inputs, carried)
    last, emitted = step.region.results[: len(carried)], step.region.results[len(carried) :]
    _check_carried(body, node, carried, last, step)
    results = [
        Value(-1, builder.type(c), body.label(f"{k.name}.last", "scan"))
        for k, c in zip(node.carry, carried, strict=True)
    ]
    for index, id in enumerate(emitted):
        target = node.targets[index].id if index < len(node.targets) else f"emit.{index}"
        type_ = _stacked(body, node, along, step, index, id)
        results.append(Value(-1, type_, body.label(target, "scan")))
    if len(node.targets) != len(emitted):
        raise _emit_mistake(body, node, len(emitted), step.emit.span if step.emit else node.span)
    attrs = attributes(along=along, carry=len(carried))
    ids = builder.append(
        Op("scan", (*inputs, *carried), tuple(results), attrs, (step.region,), span=node.span)
    )
    for keyword, id in zip(node.carry, ids, strict=False):
        body.names[keyword.name] = Val(id, keyword.span)
    for name, id in zip(node.targets, ids[len(carried) :], strict=True):
        body.bind(name, Val(id, name.span))


def _inputs(body: Body, node: tree.Scan, along: Dim) -> list[int]:
    """The values that are dealt out, one slice a step."""
    inputs = [body.value(body.expr(k.value, (k.name,)), k.value) for k in node.inputs]
    for keyword, id in zip(node.inputs, inputs, strict=True):
        if along not in body.builder.type(id).dims:
            raise body.shared.error(
                "scan-without-dim",
                f"{keyword.name} has no {along.name} to run along: it is {body.shown(id)}",
                keyword.value.span,
                places=(Place(node.along.span, "the scan runs along this dim"),),
                facts=("what is the same at every step is simply read in the body",),
                help=f"leave {keyword.name} out of the parentheses",
            )
    return inputs


def _carried(body: Body, node: tree.Scan, along: Dim) -> list[int]:
    """What the names that are carried begin with."""
    carried = [_first_value(body, k) for k in node.carry]
    for keyword, id in zip(node.carry, carried, strict=True):
        if along in body.builder.type(id).dims:
            raise body.shared.error(
                "carry-has-dim",
                f"{keyword.name} is carried along {along.name} and cannot have it",
                keyword.value.span,
                facts=(f"it is {body.shown(id)}",),
            )
    return carried


def _step(body: Body, node: tree.Scan, along: Dim, inputs: list[int], carried: list[int]) -> _Step:
    """The body of a scan, elaborated; names of the body around it are left as they were."""
    builder, outside = body.builder, dict(body.names)
    number = builder.define(Value(-1, Type("int"), ""))
    arguments = [number]
    for keyword, id in zip((*node.inputs, *node.carry), (*inputs, *carried), strict=True):
        type_ = builder.type(id)
        inner = type_.with_dims(d for d in type_.dims if d != along)
        argument = builder.define(Value(-1, inner, body.label(f"{keyword.name}.step", "scan")))
        arguments.append(argument)
        body.names[keyword.name] = Val(argument.id, keyword.span)
    body.inside.append("scan")
    steps, body.steps = body.steps, {**body.steps, along: number.id}
    builder.open()
    broken_before, body.broken = body.broken, False
    statements, emit = _until_emit(body, node)
    body.run(statements)
    results: list[int] = []
    try:
        body.statement = "emit"
        if not body.broken:
            emitted = [body.value(body.expr(e), e) for e in (emit.values if emit else ())]
            for keyword, first in zip(node.carry, carried, strict=True):
                bound = body.names[keyword.name]
                if is_constant(bound):
                    results.append(body.value(bound, keyword.value, builder.type(first).kind))
                else:
                    results.append(bound.id)
            results += emitted
    finally:
        ops = builder.close()
        body.inside.pop()
        body.steps = steps
        broken, body.broken = body.broken, broken_before or body.broken
        names, body.names = body.names, outside
    if broken:
        raise Mistake
    return _Step(Region(tuple(arguments), ops, tuple(results)), names, emit)


def _until_emit(body: Body, node: tree.Scan) -> tuple[tuple[tree.Statement, ...], tree.Emit | None]:
    """The statements before `emit`, and that; anything behind it is a mistake."""
    for index, statement in enumerate(node.body):
        if isinstance(statement, tree.Emit):
            if index != len(node.body) - 1:
                body.shared.error(
                    "after-emit",
                    "`emit` is the last statement of a scan",
                    statement.span,
                    places=(Place(node.body[-1].span, "move it below this line"),),
                )
                body.broken = True
            return node.body[:index], statement
    return node.body, None


def _check_carried(
    body: Body, node: tree.Scan, carried: list[int], last: tuple[int, ...], step: _Step
) -> None:
    """Refuse what changes its dims or dtype from step to step."""
    for keyword, first, end in zip(node.carry, carried, last, strict=True):
        before, after = body.builder.type(first), body.builder.type(end)
        if before.dims != after.dims or before.kind != after.kind:
            bound = step.names[keyword.name]
            raise body.shared.error(
                "carry-changes",
                f"{keyword.name} begins as {body.shown(first)} and becomes {body.shown(end)}",
                bound.span if isinstance(bound, Val) else node.span,
                caption=body.shown(end),
                places=(Place(keyword.span, body.shown(first)),),
                facts=("what is carried keeps its dims from step to step",),
                help=_first(body, keyword, before, after, end),
            )


def _stacked(body: Body, node: tree.Scan, along: Dim, step: _Step, index: int, id: int) -> Type:
    """The type of what is emitted, over all steps."""
    type_ = body.builder.type(id)
    if along in type_.dims:
        assert step.emit is not None
        raise body.shared.error(
            "dim-twice",
            f"what is emitted is stacked along {along.name}, and has {along.name} already",
            step.emit.values[index].span,
            caption=f"this is {body.shown(id)}",
            places=(Place(node.along.span, "the scan runs along this dim"),),
        )
    return type_.with_dims((*type_.dims, along))


def _emit_mistake(body: Body, node: tree.Scan, emitted: int, emit_span: Span) -> Mistake:
    """Report a scan that emits more or less than what is assigned."""
    if not node.targets:
        return body.shared.error(
            "wrong-number-of-results",
            f"the scan emits {count(emitted, 'value')}, and nothing is assigned",
            emit_span,
            help=f"ys = scan[{node.along.id}](…)",
        )
    first, last = node.targets[0].span, node.targets[-1].span
    names = listed(t.id for t in node.targets)
    if not emitted:
        what = node.carry[0].name if node.carry else "…"
        return body.shared.error(
            "wrong-number-of-results",
            f"{names} {'is' if len(node.targets) == 1 else 'are'} assigned, "
            "but the scan emits nothing",
            first.to(last),
            help=f"end its body with: emit {what}",
        )
    return body.shared.error(
        "wrong-number-of-results",
        f"the scan emits {count(emitted, 'value')} for {count(len(node.targets), 'name')}",
        emit_span,
        places=(Place(first.to(last), "assigned here"),),
    )


def _first(body: Body, keyword: tree.Keyword, before: Type, after: Type, end: int) -> str:
    """A first value with the dims that the last one has, where the first was made of a constant."""
    match keyword.value:
        case tree.Call(callee=tree.Name(id="zeros" | "ones" as maker)) if before.kind == after.kind:
            if set(before.dims) <= set(after.dims):
                shown = body.shown(end)
                dims = shown[shown.index("[") :]
                words = f"{maker}{dims}()"
                return corrected(body.shared.diagnostics, keyword.value.span, words)
    return ""


def _first_value(body: Body, keyword: tree.Keyword) -> int:
    """What a carried name begins with; numbers are floats."""
    result = body.expr(keyword.value, (f"{keyword.name}.first",))
    want = None if isinstance(result, bool) else "float"
    return body.value(result, keyword.value, want)
