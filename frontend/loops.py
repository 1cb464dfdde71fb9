"""Statements with bodies of their own: branches on `train`, and `scan`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..ir.core import Op, Region, Type, Value, attributes
from ..ir.diagnostics import Place, Span
from . import tree
from .constants import Mistake, is_constant
from .reading import OneBranch, StateName, Val
from .wording import corrected, count, listed

if TYPE_CHECKING:
    from .body import Body


def if_train(
    body: Body,
    node: tree.If,
    then: tuple[tree.Statement, ...],
    orelse: tuple[tree.Statement, ...],
) -> None:
    """A branch on `train`: names and states that either branch changes become its results."""
    if "train" in body.inside:
        raise body.shared.error(
            "train-inside-train", "this branch on train is inside another", node.span,
            help="join the two conditions",
        )  # fmt: skip
    names, states = dict(body.names), dict(body.states)
    ends: list[Any] = []  # for each branch: its ops, names, states
    for training, statements in ((True, then), (False, orelse)):
        body.names, body.states = dict(names), dict(states)
        body.inside.append("train")
        body.training = training
        body.builder.open()
        try:
            body.run(statements)
        finally:
            ops = body.builder.close()
            body.inside.pop()
            body.training = None
        ends.append([ops, body.names, body.states])
    body.names, body.states = names, states

    def changed(which: int, before: dict[str, Any]) -> list[str]:
        after = [end[which] for end in ends]
        keys = dict.fromkeys(k for a in after for k in a)
        return [k for k in keys if any(a.get(k) is not before.get(k) for a in after)]

    merged: list[tuple[str, bool]] = []
    pairs: list[list[int]] = []
    for name in changed(1, names):
        left, right = (end[1].get(name) for end in ends)
        if isinstance(left, StateName) or isinstance(right, StateName):
            continue
        given = [g for g in (left, right) if g is not None]
        if len(given) == 1:
            span = given[0].span if isinstance(given[0], Val) else node.span
            body.names[name] = OneBranch(span)
        elif all(is_constant(g) for g in given) and left == right:
            body.names[name] = left
        elif all(isinstance(g, Val) or is_constant(g) for g in given):
            merged.append((name, False))
            pairs.append(_ids(body, ends, given, node))
        else:
            body.names[name] = given[0]
    for name in changed(2, states):
        merged.append((name, True))
        pairs.append([end[2][name] for end in ends])

    results = []
    for (name, _), (a, b) in zip(merged, pairs, strict=True):
        first, second = body.builder.type(a), body.builder.type(b)
        if first.dims != second.dims or first.kind != second.kind:
            spans = [s for s in (_assigned_at(end[1].get(name)) for end in ends) if s is not None]
            where = spans[-1] if spans else node.span
            shown = (body.shown(a), body.shown(b))
            raise body.shared.error(
                "branches-differ",
                f"{name} is {shown[0]} in training and {shown[1]} otherwise",
                where,
                caption=shown[1] if len(spans) == 2 else "",
                places=(Place(spans[0], shown[0]),) if len(spans) == 2 else (),
                help="both branches must give it the same dims",
            )
        body.statement = name
        results.append(Value(-1, first, body.label(name, "if_train")))
    if not (merged or any(op for end in ends for op in end[0])):
        return
    regions = tuple(
        Region((), tuple(end[0]), tuple(pair[i] for pair in pairs)) for i, end in enumerate(ends)
    )
    ids = body.builder.append(Op("if_train", (), tuple(results), (), regions, span=node.span))
    for (name, is_state), id in zip(merged, ids, strict=True):
        if is_state:
            body.states[name] = id
        else:
            body.names[name] = Val(id, node.span)


def _assigned_at(bound: Any) -> Span | None:
    return getattr(bound, "span", None)


def _ids(body: Body, ends: list, given: list[Any], node: tree.If) -> list[int]:
    """Ids of what each branch binds a name to; a constant becomes a value of its branch."""
    kinds = [body.builder.type(g.id).kind for g in given if isinstance(g, Val)]
    ids = []
    for end, g in zip(ends, given, strict=True):
        if isinstance(g, Val):
            ids.append(g.id)
            continue
        body.builder.open()
        ids.append(body.constant(g, node.condition, "float" if "float" in kinds else None))
        end[0] = (*end[0], *body.builder.close())
    return ids


def scan(body: Body, node: tree.Scan) -> None:
    """A loop along a dim, with what it carries and what it emits."""
    inst, builder = body.instance, body.builder
    along = inst.dim(node.along.id, node.along.span, body.declared)
    body.statement = node.targets[0].id if node.targets else "scan"
    inputs = [body.value(body.expr(k.value, (k.name,)), k.value) for k in node.inputs]
    for keyword, id in zip(node.inputs, inputs, strict=True):
        if along not in builder.type(id).dims:
            raise body.shared.error(
                "scan-without-dim",
                f"{keyword.name} has no {along.name} to run along: it is {body.shown(id)}",
                keyword.value.span,
                places=(Place(node.along.span, "the scan runs along this dim"),),
                facts=("what is the same at every step is simply read in the body",),
                help=f"leave {keyword.name} out of the parentheses",
            )
    carried = [_first_value(body, k) for k in node.carry]
    for keyword, id in zip(node.carry, carried, strict=True):
        if along in builder.type(id).dims:
            raise body.shared.error(
                "carry-has-dim",
                f"{keyword.name} is carried along {along.name} and cannot have it",
                keyword.value.span,
                facts=(f"it is {body.shown(id)}",),
            )

    outside = dict(body.names)
    step = builder.define(Value(-1, Type("int"), ""))
    arguments = [step]
    for keyword, id in zip((*node.inputs, *node.carry), (*inputs, *carried), strict=True):
        type_ = builder.type(id)
        inner = type_.with_dims(d for d in type_.dims if d != along)
        argument = builder.define(Value(-1, inner, body.label(f"{keyword.name}.step", "scan")))
        arguments.append(argument)
        body.names[keyword.name] = Val(argument.id, keyword.span)
    body.inside.append("scan")
    outer_step = body.steps.get(along)
    body.steps[along] = step.id
    builder.open()
    broken_before, body.broken = body.broken, False
    emits: tuple[tree.Expr, ...] = ()
    emitted: list[int] = []
    emit_span = node.span
    statements = node.body
    for index, statement in enumerate(statements):
        if isinstance(statement, tree.Emit):
            if index != len(statements) - 1:
                body.shared.error(
                    "after-emit",
                    "`emit` is the last statement of a scan",
                    statement.span,
                    places=(Place(statements[-1].span, "move it below this line"),),
                )
                body.broken = True
            emits, emit_span, statements = statement.values, statement.span, statements[:index]
            break
    body.run(statements)
    try:
        body.statement = "emit"
        if not body.broken:
            emitted = [body.value(body.expr(e), e) for e in emits]
            last = [
                body.value(body.names[k.name], k.value, builder.type(c).kind)
                if is_constant(body.names[k.name])
                else body.names[k.name].id
                for k, c in zip(node.carry, carried, strict=True)
            ]
    finally:
        ops = builder.close()
        body.inside.pop()
        del body.steps[along]
        if outer_step is not None:
            body.steps[along] = outer_step
        broken, body.broken = body.broken, broken_before or body.broken
        inner_names, body.names = body.names, outside
    if broken:
        raise Mistake
    for keyword, first, end in zip(node.carry, carried, last, strict=True):
        before, after = builder.type(first), builder.type(end)
        if before.dims != after.dims or before.kind != after.kind:
            bound = inner_names[keyword.name]
            raise body.shared.error(
                "carry-changes",
                f"{keyword.name} begins as {body.shown(first)} and becomes {body.shown(end)}",
                bound.span if isinstance(bound, Val) else node.span,
                caption=body.shown(end),
                places=(Place(keyword.span, body.shown(first)),),
                facts=("what is carried keeps its dims from step to step",),
                help=_first(body, keyword, before, after, end),
            )
    results = [
        Value(-1, builder.type(c), body.label(f"{k.name}.last", "scan"))
        for k, c in zip(node.carry, carried, strict=True)
    ]
    for index, id in enumerate(emitted):
        target = node.targets[index].id if index < len(node.targets) else f"emit.{index}"
        type_ = builder.type(id)
        if along in type_.dims:
            raise body.shared.error(
                "dim-twice",
                f"what is emitted is stacked along {along.name}, and has {along.name} already",
                emits[index].span,
                caption=f"this is {body.shown(id)}",
                places=(Place(node.along.span, "the scan runs along this dim"),),
            )
        results.append(Value(-1, type_.with_dims((*type_.dims, along)), body.label(target, "scan")))
    if len(node.targets) != len(emitted):
        raise _emit_mistake(body, node, len(emitted), emit_span)
    region = Region(tuple(arguments), ops, (*last, *emitted))
    attrs = attributes(along=along, carry=len(carried))
    ids = builder.append(
        Op("scan", (*inputs, *carried), tuple(results), attrs, (region,), span=node.span)
    )
    for keyword, id in zip(node.carry, ids, strict=False):
        body.names[keyword.name] = Val(id, keyword.span)
    for name, id in zip(node.targets, ids[len(carried) :], strict=True):
        body.bind(name, Val(id, name.span))


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
