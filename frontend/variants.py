"""Bodies of instances for given argument types, and what they return against what is promised."""

from __future__ import annotations

from collections.abc import Callable

from ..ir.claim import Equal
from ..ir.core import Dim, Result, Type, Value, Variant, axes
from ..ir.diagnostics import Place, Span
from . import tree
from .body import Body
from .brackets import claim_size
from .constants import Mistake
from .instances import BuiltVariant, InstanceBuilder
from .reading import Val
from .shared import Pending
from .wording import assigned, corrected, count, listed, type_text, wrapped, written


def elaborate_variant(
    inst: InstanceBuilder,
    arguments: list[tuple[tree.Argument, Type]],
    dots: tuple[Dim, ...] | None,
    absent: tuple[str, ...],
    built: BuiltVariant,
    changed: dict[str, Dim],
    finish: Callable[[Body], None] | None = None,
) -> Variant | None:
    """The body of an instance for given argument types; None if it has mistakes."""
    body = Body(inst)
    body.dots = dots
    body.declared.update(changed)
    shadowed = {n: inst.bound[n] for n in changed if n in inst.bound}
    inst.bound.update(changed)
    inputs = []
    try:
        for argument, type_ in arguments:
            order: list[Dim] = []
            for name in argument.declared.dims:
                if isinstance(name, tree.Dots):
                    order += [d for d in dots or () if d in type_.dims]
                else:
                    order.append(inst.dim(name.id, name.span, body.declared))
            value = body.builder.define(
                Value(-1, type_, body.label(argument.name, ""), axes(tuple(order)))
            )
            inputs.append(value)
            body.natural += [d for d in order if d not in body.natural]
            body.names[argument.name] = Val(value.id, argument.span)
        for argument in inst.layer.arguments:
            if argument.name in absent and argument.default is not None:
                _default(body, argument, argument.default)
        body.run(inst.layer.body)
        if body.broken:
            return None
        results = _results(body, built)
        if inst.repeated:
            results = _carried(body, arguments, results)
        built.copies = tuple(body.copies)
        inputs += [body.builder.value(id) for id in body.copies.values()]
        if finish is not None:
            finish(body)
    except Mistake:
        return None
    finally:
        inst.bound.update(shadowed)
    for pending, bound in inst.bound.items():
        if isinstance(bound, Pending) and pending in body.declared:
            built.settled[pending] = body.declared[pending]
    writes = []
    for state, id in body.states.items():
        made = body.builder.defining(id)
        if made is None or made.name != "state" or made["name"] != state or made["child"]:
            writes.append((state, id))
    return Variant(tuple(inputs), body.builder.close(), results, tuple(writes))


def _default(body: Body, argument: tree.Argument, default: tree.Expr) -> None:
    """Bind an argument that is not given to its default, expanded over its dims."""
    id = body.value(body.expr(default), default, argument.declared.dtype)
    dims: list[Dim] = []
    for name in argument.declared.dims:
        if isinstance(name, tree.Dots):
            dims += body.dots or ()
        else:
            dims.append(body.instance.dim(name.id, name.span, body.declared))
    have = body.builder.type(id).dims
    missing = tuple(d for d in dims if d not in have)
    if missing:
        id = body.builder.add("expand", id, dims=missing, span=argument.span)
    body.names[argument.name] = Val(id, argument.span)


def _results(body: Body, built: BuiltVariant) -> tuple[Result, ...]:
    inst = body.instance
    layer, shared = inst.layer, inst.shared
    if body.returned is None:
        last = list(assigned(layer.body))[-1:]
        raise shared.error(
            "no-return",
            f"{layer.name} never returns",
            layer.name_span,
            help=f"end it with: return {last[0] if last else '…'}",
        )
    promised = layer.results
    if not promised:
        return _loss_result(body)
    if len(promised) != len(body.returned):
        raise shared.error(
            "wrong-number-of-results",
            f"{layer.name} promises {count(len(promised), 'result')} "
            f"and returns {len(body.returned)}",
            body.return_span,
            places=(Place(promised[0].span.to(promised[-1].span), "promised here"),),
        )
    results = []
    for promise, value in zip(promised, body.returned, strict=True):
        found = body.builder.type(value.id)
        order: list[Dim] = []
        for name in promise.type.dims:
            if isinstance(name, tree.Dots):
                if body.dots is None:
                    raise shared.error(
                        "no-dots",
                        "`...` stands for nothing here: no argument of this layer has it",
                        name.span,
                        help="give an argument `...` too, or name the dims",
                    )
                order += body.dots
            else:
                order.append(_promised(body, name))
        _check_result(body, promise, value, found, order)
        id = value.id
        if promise.type.dtype == "float":
            id = body.as_float(id, value.span)
        results.append(Result(promise.name or "", id, tuple(order)))
    return tuple(results)


def _carried(
    body: Body, arguments: list[tuple[tree.Argument, Type]], results: tuple[Result, ...]
) -> tuple[Result, ...]:
    """Results of a layer that is repeated, those that become arguments of the next copy over the
    same dims: of `Conv[C -> C]`, the channels that come out are those that the next one takes."""
    inst = body.instance
    given = {}  # for each bracketed dim, the dim around that was given for it, or its name
    for name, outside in inst.outside.items():
        dim = inst.find_dim(name, body.declared)
        if isinstance(dim, Dim) and outside is not None:
            given[dim] = outside if isinstance(outside, Dim) else outside.name
    types = {argument.name: type_ for argument, type_ in arguments}
    found = []
    for index, result in enumerate(results):
        first = next(iter(types), "") if index == 0 else ""
        taken = types.get(result.name or first) or types.get(first) or Type("float")
        id, order = result.value, list(result.order)
        for at, dim in enumerate(result.order):
            twins = [
                d for d in taken.dims
                if d not in order and dim not in taken.dims and d in given
                and given.get(dim) == given[d]
            ]  # fmt: skip
            if twins:
                reason = f"{dim.name} becomes {twins[0].name} in the next copy"
                claim_size(body, Equal(dim.size, twins[0].size), reason, inst.layer.name_span)
                label = body.label(None, "rename")
                arrows = (((dim,), (twins[0],)),)
                id = body.builder.add("rename", id, arrows=arrows, label=label)
                order[at] = twins[0]
        found.append(Result(result.name, id, tuple(order)))
    return tuple(found)


def _promised(body: Body, name: tree.Name) -> Dim:
    """A dim of a promised result; one that stands nowhere else is a mistake of the header."""
    inst = body.instance
    if isinstance(inst.find_dim(name.id, body.declared), Pending):
        raise inst.shared.error(
            "dim-not-settled",
            f"{inst.layer.name} promises {name.id}, and nothing in its body makes it",
            name.span,
            facts=(f"an arrow such as `conv[… -> {name.id}]` gives it a size",),
        )
    return inst.dim(name.id, name.span, body.declared)


def _check_result(
    body: Body, promise: tree.Result, value: Val, found: Type, order: list[Dim]
) -> None:
    shared = body.shared
    left = [d for d in body.order_of(value.id) if d not in order]
    missing = [d for d in order if d not in found.dims]
    fact = f"the layer promises {type_text(promise.type)}; this is {body.shown(value.id)}"
    if left and not missing:
        at, caption = _summing(body, value)
        one = len(left) == 1
        raise shared.error(
            "dim-left-over",
            f"{listed(d.name for d in left)} {'is' if one else 'are'} never summed, "
            f"so {'it stays' if one else 'they stay'} in the result",
            at,
            caption=caption,
            places=_carriers(body, value, left),
            facts=(fact,),
            help=_suggest_sum(body, value, left),
        )
    if missing:
        raise _lacks(body, promise, value, fact, left, missing)
    if found.kind != promise.type.dtype and not (
        promise.type.dtype == "float" and found.kind == "bool"
    ):
        fixed = type_text(promise.type)[len(promise.type.dtype) * (promise.type.dtype != "float") :]
        kind = found.kind if found.kind != "float" else ""
        raise shared.error(
            "wrong-dtype",
            f"the layer promises {promise.type.dtype}, and this is {found.kind}",
            value.span,
            places=(Place(promise.type.span, "promised here"),),
            help=corrected(shared.diagnostics, promise.type.span, f"{kind}{fixed}"),
        )


def _lacks(body: Body, promise: tree.Result, value: Val, fact: str, left, missing) -> Mistake:
    """Report a result that lacks a dim: renamed, swapped, or summed away."""
    help = ""
    facts = [fact]
    words = written(body.shared.diagnostics, value.span)
    for a in left:
        for b in missing:
            if a.size == b.size and words and not help and not words.startswith("rename["):
                help = wrapped(
                    body.shared.diagnostics, value.span, f"rename[{a.name} -> {b.name}]("
                )
    for a in left:
        if not help and any(a.name == b.name for b in missing):
            facts.append(f"there are two dims {a.name}, of sizes {a.size} and others")
    if not help:
        help = corrected(body.shared.diagnostics, promise.type.span, body.shown(value.id))
    again = f" and has {listed(d.name for d in left)} instead" if left else ""
    return body.shared.error(
        "dim-missing",
        f"the result lacks {listed(d.name for d in missing)}{again}",
        value.span,
        places=(Place(promise.type.span, "promised here"),),
        facts=tuple(facts),
        help=help,
    )


def _summing(body: Body, value: Val) -> tuple[Span, str]:
    """The words that should have summed, and what they do sum."""
    made = body.builder.defining(value.id)
    words = written(body.shared.diagnostics, value.span)
    if made is None or made.name != "dot" or not words.startswith("dot[") or "]" not in words:
        return value.span, ""
    end = value.span.column + words.index("]") + 1
    at = Span(value.span.file, value.span.line, value.span.column, value.span.line, end)
    names = [n.strip() for n in words[4 : words.index("]")].split(",")]
    return at, f"sums {listed(names)} only"


def _carriers(body: Body, value: Val, dims: list[Dim]) -> tuple[Place, ...]:
    """Where dims that are left over come from: a parameter, preferably of the last op, or a use."""
    inst = body.instance
    made = body.builder.defining(value.id)
    near = []
    for id in made.operands if made is not None else ():
        op = body.builder.defining(id)
        if op is not None and op.name == "param" and not op["child"]:
            near.append(inst.params[op["name"]])
    places: dict[Span, list[str]] = {}
    for dim in dims:
        for variable in (*near, *inst.params.values()):
            if dim in variable.order and variable.span is not None:
                places.setdefault(variable.span, []).append(dim.name)
                break
        else:
            for record in inst.children.values():
                if record.child.along == dim and record.child.span is not None:
                    places.setdefault(record.child.span, []).append(dim.name)
                    break
    return tuple(
        Place(span, f"{listed(names)} {'comes' if len(names) == 1 else 'come'} from here")
        for span, names in places.items()
    )


def _suggest_sum(body: Body, value: Val, left: list[Dim]) -> str:
    made = body.builder.defining(value.id)
    words = written(body.shared.diagnostics, value.span)
    names = [d.name for d in left]
    if made is None or not words:
        return f"sum[{', '.join(names)}](…)"
    if (
        made.name == "dot"
        and words.startswith("dot[")
        and "]" in words
        and all(sum(d in body.builder.type(o).dims for o in made.operands) >= 2 for d in left)
    ):
        inner = {n.strip() for n in words[4 : words.index("]")].split(",")} | {*names}
        known = dict.fromkeys(d.name for o in reversed(made.operands) for d in body.order_of(o))
        ordered = [n for n in known if n in inner]
        if len(ordered) == len(inner):
            fixed = f"dot[{', '.join(ordered)}]" + words[words.index("]") + 1 :]
            return corrected(body.shared.diagnostics, value.span, fixed) or fixed
    fixed = f"sum[{', '.join(names)}]({words})"
    return corrected(body.shared.diagnostics, value.span, fixed) or fixed


def _loss_result(body: Body) -> tuple[Result, ...]:
    """A loss gives one scalar, which is reported as the metric `loss`."""
    assert body.returned is not None
    (value, *more) = body.returned
    found = body.builder.type(value.id)
    if more or found.dims or found.kind != "float":
        layer, diagnostics = body.instance.layer, body.shared.diagnostics
        what = f"{len(body.returned)} values" if more else body.shown(value.id)
        dims = ", ".join(d.name for d in body.order_of(value.id))
        subject = "a loss" if layer.kind == "loss" else f"a {layer.kind} without a promised result"
        help = ""
        words = written(diagnostics, value.span)
        if dims and not more:
            help = wrapped(diagnostics, value.span, f"mean[{dims}](")
        elif not more and words.startswith("sum[") and found.kind != "float":
            help = corrected(diagnostics, value.span, "mean" + words[3:])
        raise body.shared.error(
            "loss-not-scalar",
            f"{subject} returns one float, a scalar; this is {what}",
            value.span if not more else body.return_span,
            help=help,
        )
    return (Result("", value.id, ()),)
