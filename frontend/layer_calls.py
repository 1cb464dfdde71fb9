"""Calls of layers: by the name of an instance, or by their own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..ir.core import Child, Op, Type, Value, Variant, attributes, axes, walk
from ..ir.diagnostics import Diagnostics, Place, Span
from . import tree
from .constants import LayerRef, Mistake, is_constant, plain
from .instances import BuiltVariant, ChildRecord, InstanceBuilder
from .matching import Matcher
from .reading import Many, Val
from .rebinding import rebound
from .uses import instance
from .variants import elaborate_variant
from .wording import corrected, count, listed, meant, without, written

if TYPE_CHECKING:
    from .values import Values


def call_layer(body: Values, ref: LayerRef, node: tree.Call, labels) -> Any:
    """A call of a layer by its own name: allowed where it has no parameters and no state."""
    inst = body.instance
    record = inst.anonymous.get(id(node))
    if record is None:
        base = ref.layer.name
        name, number = base, 1
        while name in inst.children or name in {**inst.params, **inst.states}:
            number += 1
            name = f"{base}_{number}"
        place = tree.Call(node.callee, node.dims or (), (), node.keywords, span=node.span)
        builder = instance(inst, name, ref, place)
        if _holds(builder):
            inst.shared.forget(builder)
            raise _needs_use(body, ref, node)
        record = inst.anonymous[id(node)] = ChildRecord(
            Child(name, "one", None, node.span), builder
        )
        inst.children[name] = record
    options = {a.name for a in ref.layer.arguments if a.type is None}
    values = tuple(k for k in node.keywords if k.name not in options)
    plain_call = tree.Call(node.callee, None, node.arguments, values, span=node.span)
    return call_child(body, record, plain_call, labels)


def _needs_use(body: Values, ref: LayerRef, node: tree.Call) -> Mistake:
    """Report a layer with parameters that is called by its own name."""
    diagnostics, inst = body.shared.diagnostics, body.instance
    layer, callee = ref.layer, written(diagnostics, node.callee.span)
    held = [s for s in layer.body if isinstance(s, tree.Param | tree.State | tree.Use)]
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", layer.name).lower()
    while name in {**body.names, **inst.children, **inst.params, **inst.states}:
        name += "_"
    dims = ""
    if node.dims:
        first, last = node.dims[0].span, node.dims[-1].span
        dims = f"[{written(diagnostics, first.to(last))}]"
    options = {a.name for a in layer.arguments if a.type is None}
    given = [written(diagnostics, k.span) for k in node.keywords if k.name in options]
    more = f"({', '.join(given)})" if given else ""
    return body.shared.error(
        "layer-with-parameters",
        f"{layer.name} has parameters or state, so it needs a name of its own, by `use`",
        node.callee.span,
        places=(Place(held[0].span, "declared here"),) if held else (),
        facts=(f"then {name}(…) calls it, and its parameters are those of {name}",),
        help=f"use {name} = {callee}{dims}{more}",
    )


def _holds(builder: InstanceBuilder) -> bool:
    if builder.params or builder.states:
        return True
    return any(_holds(c.builder) for c in builder.children.values())


def call_child(body: Values, record: ChildRecord, node: tree.Call, labels) -> Any:
    """A call of an instance: arguments matched by name, the body elaborated for their types."""
    if body.inside and _stateful(record.builder):
        raise _odd_place(body, record, node, "state")
    with rebound(body, record, node):
        return _matched_call(body, record, node, labels)


def _matched_call(body: Values, record: ChildRecord, node: tree.Call, labels) -> Any:
    child, shared = record.builder, body.shared
    along = record.child.along
    given = {
        n: v for n, v in _arguments(body, child, node).items() if not _is_default(body, child, n, v)
    }
    matcher = Matcher(body, child)
    values = [a for a in child.layer.arguments if a.type is not None]
    absent = [a.name for a in values if a.name not in given]
    # The first value with `...` sets what that stands for; constants take it from there.
    passed = sorted(
        (a for a in values if a.name in given), key=lambda a: is_constant(plain(given[a.name][0]))
    )
    found: dict[str, tuple[tree.Argument, Type, int]] = {}
    along_it: set[str] = set()
    for argument in passed:
        result, expression = given[argument.name]
        id = _argument(body, matcher, argument, result, expression)
        type_ = body.builder.type(id)
        if along is not None and along in type_.dims:
            along_it.add(argument.name)
            type_ = type_.with_dims(d for d in type_.dims if d != along)
        inside = matcher.inside(argument, type_, id, expression)
        found[argument.name] = (argument, inside, id)
    types = [found[a.name] for a in values if a.name in found]
    dealt = [i for i, (a, _, _) in enumerate(types) if a.name in along_it]
    for argument in (a for a in values if a.name in absent):
        if argument.default is None:
            words = written(shared.diagnostics, node.span)
            comma = "" if words.endswith("()") else ", "
            fixed = f"{words[:-1]}{comma}{argument.name} = …)" if words.endswith(")") else ""
            raise shared.error(
                "argument-not-given",
                f"{child.layer.name} needs {argument.name}",
                node.span,
                places=(Place(argument.span, "needed here"),),
                help=corrected(shared.diagnostics, node.span, fixed) if fixed else "",
            )
    built = _variant(
        child, [(a, t) for a, t, _ in types], matcher, tuple(absent), record.child.span
    )
    if built.variant is None:
        raise Mistake
    if body.inside and _reports(child):
        raise _odd_place(body, record, node, "metrics")
    return _emit_call(body, record, node, built, built.variant, matcher, types, dealt, labels)


def _stateful(builder: InstanceBuilder) -> bool:
    return bool(builder.states) or any(_stateful(c.builder) for c in builder.children.values())


def _reports(builder: InstanceBuilder) -> bool:
    """Whether any body of an instance, or of one inside of it, reports metrics."""
    return any(op.name == "metric" for op in _ops(builder))


def _ops(builder: InstanceBuilder) -> Iterator[Op]:
    """The ops of all bodies of an instance, and of those inside of it."""
    for built in builder.variants:
        if built.variant is not None:
            yield from walk(built.variant.ops)
    for record in builder.children.values():
        yield from _ops(record.builder)


def _odd_place(body: Values, record: ChildRecord, node: tree.Call, what: str) -> Mistake:
    """Report a call that keeps state, or reports metrics, in a branch on `train` or in a scan."""
    where = "a scan" if "scan" in body.inside else "a branch on train"
    name = record.builder.layer.name
    places: tuple[Place, ...] = ()
    if what == "state":
        holder = record.builder
        while not holder.states:
            holder = next(c.builder for c in holder.children.values() if _stateful(c.builder))
        state = next(iter(holder.states.values()))
        if state.span is not None:
            places = (Place(state.span, f"the state {state.name} is declared here"),)
    if where == "a scan":
        help = "call it before the scan, or after it, on all steps at once"
    else:
        help = "call it before the branch, and choose in the branch what becomes of its result"
    return body.shared.error(
        "call-with-state" if what == "state" else "call-with-metrics",
        f"{name} {'keeps state' if what == 'state' else 'reports metrics'}, "
        f"and cannot be called inside of {where}",
        node.span,
        places=places,
        help=help,
    )


def _arguments(
    body: Values, child: InstanceBuilder, node: tree.Call
) -> dict[str, tuple[Any, tree.Expr]]:
    values = [a for a in child.layer.arguments if a.type is not None]
    options = {a.name for a in child.layer.arguments if a.type is None}
    given: dict[str, tuple[Any, tree.Expr]] = {}
    if len(node.arguments) > len(values):
        raise body.shared.error(
            "too-many-arguments",
            f"{child.layer.name} takes {count(len(values), 'value') if values else 'no values'}",
            node.arguments[len(values)].span,
            places=(Place(child.layer.span, "declared here"),),
            facts=(f"it takes {listed(a.name for a in values)}",) if values else (),
            help=without(body.shared.diagnostics, node, len(values)),
        )
    for argument, expression in zip(values, node.arguments, strict=False):
        given[argument.name] = (body.single(body.expr(expression), expression), expression)
    for keyword in node.keywords:
        keyword_text = written(body.shared.diagnostics, keyword.span) or f"{keyword.name} = …"
        if keyword.name in options:
            raise body.shared.error(
                "option-at-call",
                f"{keyword.name} is an option of {child.layer.name}: it is given at the use",
                keyword.span,
                facts=("an argument with a type is a value, one without is an option",),
                help=f"use {node.callee.id} = {child.layer.name}({keyword_text})"
                if isinstance(node.callee, tree.Name)
                else "",
            )
        if keyword.name not in {a.name for a in values}:
            known = [a.name for a in values]
            raise body.shared.error(
                "unknown-argument",
                f"{child.layer.name} has no argument {keyword.name}",
                keyword.span,
                places=(Place(child.layer.span, "declared here"),),
                facts=(f"it takes {listed(known)}" if known else "it takes no values",),
                help=meant(body.shared.diagnostics, keyword.span, keyword.name, known),
            )
        if keyword.name in given:
            raise body.shared.error("given-twice", f"{keyword.name} is given twice", keyword.span)
        given[keyword.name] = (body.single(body.expr(keyword.value), keyword.value), keyword.value)
    return given


def _is_default(body: Values, child: InstanceBuilder, name: str, given: tuple) -> bool:
    """Whether a call gives an argument just what it would be without: `true` for a mask, say."""
    argument = next(a for a in child.layer.arguments if a.name == name)
    if not isinstance(argument.default, tree.Constant | tree.Number):
        return False
    value = plain(given[0])
    if isinstance(value, Val):
        made = body.builder.defining(value.id)
        while made is not None and made.name == "expand":
            made = body.builder.defining(made.operands[0])
        value = made["value"] if made is not None and made.name == "const" else None
    return type(value) is type(argument.default.value) and value == argument.default.value


def _argument(
    body: Values, matcher: Matcher, argument: tree.Argument, result: Any, node: tree.Expr
) -> int:
    """The id of an argument; a constant is expanded over the dims that the layer declares."""
    if not is_constant(plain(result)):
        id = body.value(result, node)
        return body.as_float(id, node.span) if argument.declared.dtype == "float" else id
    id = body.value(result, node, argument.declared.dtype)
    dims = matcher.outside_dims(argument)
    return body.builder.add("expand", id, dims=dims, span=node.span) if dims else id


def _variant(child, arguments, matcher: Matcher, absent, use: Span | None) -> BuiltVariant:
    """The variant for these argument types, elaborated if it is new."""
    key = (
        tuple((a.name, t) for a, t in arguments),
        matcher.dots,
        absent,
        tuple(matcher.changed.items()),
    )
    for built in child.variants:
        if built.key == key:
            return built
    built = BuiltVariant(key, sum(1 for v in child.variants if v.variant is not None), None)
    child.variants.append(built)
    known = len(child.shared.diagnostics.found)
    built.variant = elaborate_variant(
        child, arguments, matcher.dots, absent, built, matcher.changed
    )
    if use is not None:
        _say_where_used(child.shared.diagnostics, known, use)
    return built


def _say_where_used(diagnostics: Diagnostics, known: int, use: Span) -> None:
    """Add to mistakes in the body of a layer of another file which `use` of it they come from."""
    found = diagnostics.found
    before, new = found[:known], found[known:]
    same = {(d.code, d.message, d.span) for d in before}
    found[known:] = [
        d
        if d.span is None or use.file in {d.span.file, *(p.span.file for p in d.places)}
        else replace(d, places=(*d.places, Place(use, "used here")))
        for d in new
        if (d.code, d.message, d.span) not in same
    ]


def _emit_call(
    body,
    record: ChildRecord,
    node,
    built: BuiltVariant,
    variant: Variant,
    matcher: Matcher,
    types,
    dealt,
    labels,
) -> Any:
    """Append the `call`, `repeat` or `each`."""
    child = record.child
    mode, along = child.mode, child.along
    carried: list[tuple[int, int]] = []
    names = [a.name for a, _, _ in types]
    if mode == "repeat":
        for index, result in enumerate(variant.results):
            if result.name in names:
                carried.append((index, names.index(result.name)))
            elif index == 0 and names:
                carried.append((0, 0))
        _check_carried(body, record, node, variant, carried, dealt, types)
    value_types = {v.id: v.type for v in _values(variant)}
    results = []
    kept = {i for i, _ in carried}
    for index, result in enumerate(variant.results):
        inner = value_types[result.value]
        dims = tuple(matcher.outer(d, built, node.span) for d in result.order)
        if along is not None and (mode == "each" or index not in kept):
            dims = (along, *dims)
        if len(set(dims)) != len(dims):
            twice = next(d for d in dims if dims.count(d) > 1)
            raise body.shared.error(
                "dim-twice", f"the result would have {twice.name} twice", node.span,
                facts=("a tensor has each dim once",),
                help="give the layer another dim for one of them",
            )  # fmt: skip
        label = labels[index] if labels and index < len(labels) else None
        results.append(
            Value(-1, Type(inner.dtype, dims), body.label(label, child.name), axes(dims))
        )
    binding = tuple(sorted(((d.id, o) for d, o in matcher.pairs.items()), key=lambda p: p[0]))
    attrs = {
        "child": child.name,
        "variant": built.index,
        "occurrence": record.calls,
        "binding": binding,
    }
    if mode != "one":
        attrs |= {"along": along, "dealt": tuple(dealt)}
    if mode == "repeat":
        attrs["carried"] = tuple(carried)
    record.calls += 1
    operands = [i for _, _, i in types]
    for level in built.copies:
        if level is record.builder:
            dealt.append(len(operands))
            numbers = body.label(None, "index")
            operands.append(body.builder.add("index", dims=(along,), span=node.span, label=numbers))
        else:
            operands.append(body.copy_input(level))
    if mode != "one":
        attrs["dealt"] = tuple(dealt)
    name = {"one": "call", "repeat": "repeat", "each": "each"}[mode]
    ids = body.builder.append(
        Op(name, tuple(operands), tuple(results), attributes(**attrs), span=node.span)
    )
    values = tuple(Val(i, node.span) for i in ids)
    return values[0] if len(values) == 1 else Many(values, node.span)


def _check_carried(body, record, node, variant, carried, dealt, types) -> None:
    value_types = {v.id: v.type for v in _values(variant)}
    name = record.builder.layer.name
    if len({a for _, a in carried}) < len(carried):
        raise body.shared.error(
            "repeat-changes",
            f"two results of {name} would become its argument {types[0][0].name}",
            node.span,
            places=(Place(record.builder.layer.span, "declared here"),),
            facts=("the first result becomes the first argument of the next copy",),
            help=f"let the result {types[0][0].name} come first",
        )
    for result, argument in carried:
        gives = value_types[variant.results[result].value]
        takes = types[argument][1]
        which = types[argument][0].name
        if argument in dealt:
            along = record.child.along.name
            raise body.shared.error(
                "repeat-changes",
                f"{which} of {name} goes from copy to copy, so it cannot have {along} itself",
                node.span,
                places=(Place(record.child.span or node.span, f"copies along {along}"),),
            )
        if gives != takes:
            first = ", ".join(a.name for axis in variant.inputs[argument].order for a in axis)
            then = ", ".join(d.name for d in variant.results[result].order)
            raise body.shared.error(
                "repeat-changes",
                f"{name} takes {_spelled(takes, first)} and gives {_spelled(gives, then)}: "
                "it cannot be repeated",
                node.span,
                places=(Place(record.child.span or node.span, "repeated here"),),
                facts=(
                    "the first result becomes the first argument of the next copy"
                    if result == argument == 0
                    else f"the result {which} becomes the argument {which} of the next copy",
                ),
            )


def _spelled(type_: Type, dims: str) -> str:
    return f"{type_.kind if type_.kind != 'float' else ''}[{dims}]"


def _values(variant: Variant):
    yield from variant.inputs
    for op in walk(variant.ops):
        yield from op.results
