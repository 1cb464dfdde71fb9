"""Chunk: cuts the work on a large value into parts, one after the other, so that it is never whole.

It is meant for logits: the product that gives them, and everything up to where they are gone (a
cross entropy, an argmax), moves into a loop along a dim that all of it carries along, such as the
sequence. The loop keeps nothing: each part is made again for the gradient. Where the product is at
the end of the model, the loss calls a body of the model that gives its operands instead.

The loop is a `scan` without a carry, with the attribute `parts`; `docs/remat.md` says more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

from ..ir.core import (
    Dim,
    Instance,
    Module,
    Op,
    Region,
    Result,
    Type,
    Value,
    Variant,
    attributes,
    flat,
)
from ..ir.diagnostics import Diagnostic, InputError
from ..ir.facts import parts
from ..ir.plan import Decision, Plan
from ..ir.registry import lookup
from ..ir.rewrite import Scope
from ..ir.signature import callee
from .manager import Pass


@dataclass
class Chunk(Pass):
    """Cuts the work on values into the parts that the plan's section `loss_chunks` says."""

    name: ClassVar[str] = "chunk"

    def run(self, module: Module, plan: Plan) -> Module:
        """The module with a loop for each decision.

        Raises:
            InputError: a value that cannot be cut, with the reason.
        """
        for decision in plan.loss_chunks:
            if isinstance(decision.choice, int) and decision.choice > 1:
                module = _cut(module, plan, decision, decision.choice)
                self.count("loops")
        return module


def chunkable(module: Module, plan: Plan) -> tuple[str, ...]:
    """Keys of the values that can be cut: logits that a loss of the entry reads."""
    found = []
    entry = module.instances[0]
    for op in entry.variants[0].ops:
        for value in op.results:
            if not value.label or op.name not in ("call", "dot"):
                continue
            decision = Decision(f"/{value.label}", 2)
            readers = [o for o in entry.variants[0].ops if value.id in o.operands]
            if any(lookup(o.name).family == "loss" for o in readers):
                try:
                    _cut(module, plan, decision, 2)
                except InputError:
                    continue
                found.append(decision.key)
    return tuple(found)


@dataclass(frozen=True)
class _Product:
    """A product whose operands a body gives: their results' places, types, orders; and its dims."""

    first: int
    types: tuple[Type, ...]
    orders: tuple[tuple[Dim, ...], ...]
    op: Op
    dims: tuple[Dim, ...]


def _refuse(decision: Decision, why: str) -> InputError:
    message = f'the work on "{decision.key}" cannot be cut into parts: {why}'
    return InputError([Diagnostic("plan-chunks", message, help="leave it out of loss_chunks")])


def _cut(module: Module, plan: Plan, decision: Decision, number: int) -> Module:
    path, _, label = decision.key.partition("/")
    entry = module.instances[0]
    if path or len(entry.variants) != 1:
        raise _refuse(decision, "only values of the loss itself are")
    variant = entry.variants[0]
    made = next(
        ((op, i) for op in variant.ops for i, r in enumerate(op.results) if r.label == label), None
    )
    if made is None:
        raise _refuse(decision, "no op of the loss gives it, outside of loops and branches")
    op, position = made
    if op.name == "call":
        module, entry, op, product = _exposed(module, entry, op, position, decision)
    elif op.name == "dot":
        types = {v.id: v.type for v in variant.inputs}
        types.update((r.id, r.type) for o in variant.ops for r in o.results)
        given = tuple(types[i] for i in op.operands)
        product = _Product(-1, given, (), op, op["dims"])
    else:
        raise _refuse(decision, f"it is no product, but {op.name}")
    return _looped(module, plan, entry, made[0], op, position, product, number, decision)


# The body of the model that gives the product's operands


def _exposed(
    module: Module, instance: Instance, op: Op, position: int, decision: Decision
) -> tuple[Module, Instance, Op, _Product]:
    """The module in which a call gives the operands of the product that was its result, and what
    the caller, the call and the product are then."""
    child, variant, mapping = callee(module, instance, op)
    result = variant.results[position]
    made = next((o for o in variant.ops if any(r.id == result.value for r in o.results)), None)
    if made is None or made.name not in ("dot", "call"):
        what = "an argument" if made is None else made.name
        raise _refuse(decision, f"{child.path} does not end with a product there, but with {what}")
    values = {v.id: v for v in variant.inputs}
    values.update((r.id, r) for o in variant.ops for r in o.results)
    ops = list(variant.ops)
    if made.name == "call":
        inner = next(i for i, r in enumerate(made.results) if r.id == result.value)
        module, child, call, product = _exposed(module, child, made, inner, decision)
        fresh = max(values) + 1
        results = list(call.results)
        for i in range(len(product.types)):
            results[product.first + i] = replace(results[product.first + i], id=fresh + i)
        ops[ops.index(made)] = replace(call, results=tuple(results))
        given = tuple(r.id for r in results[product.first : product.first + len(product.types)])
        types, orders, dims, dot = product.types, product.orders, product.dims, product.op
    else:
        given, dims, dot = made.operands, made["dims"], made
        types = tuple(values[i].type for i in given)
        orders = tuple(_order(values[i], result.order) for i in given)
        if not _read(variant, result.value, position):
            ops.remove(made)
    gives = [Result("", id, order) for id, order in zip(given, orders, strict=True)]
    body = Variant(
        variant.inputs,
        tuple(ops),
        (*variant.results[:position], *gives, *variant.results[position + 1 :]),
        variant.writes,
    )
    child = replace(child, variants=(*child.variants, body))
    instance, binding, mapping = _bound(instance, op, mapping, {d for t in types for d in t.dims})
    put = lambda ds: tuple(mapping[d] for d in ds)  # noqa: E731
    types = tuple(t.with_dims(put(t.dims)) for t in types)
    orders = tuple(map(put, orders))
    replaced = [
        Value(-1, t, "", tuple((d,) for d in o)) for t, o in zip(types, orders, strict=True)
    ]
    call = replace(
        op.with_attrs(binding=binding, variant=len(child.variants) - 1),
        results=(*op.results[:position], *replaced, *op.results[position + 1 :]),
    )
    changed = {child.path: child, instance.path: instance}
    module = replace(module, instances=tuple(changed.get(i.path, i) for i in module.instances))
    return module, instance, call, _Product(position, types, orders, dot, put(dims))


def _order(value: Value, order: tuple[Dim, ...]) -> tuple[Dim, ...]:
    """The dims of an operand, those of the result as it has them, the others last."""
    if value.order is not None:
        return flat(value.order)
    ours = tuple(d for d in order if d in value.type.dims)
    return (*ours, *(d for d in value.type.dims if d not in ours))


def _read(variant: Variant, value: int, position: int) -> bool:
    """Whether anything but one result reads a value."""
    others = [r.value for i, r in enumerate(variant.results) if i != position]
    others += [id for _, id in variant.writes]
    return value in others or any(value in _reads(op) for op in variant.ops)


def _reads(op: Op) -> set[int]:
    found = set(op.operands)
    for region in op.regions:
        found.update(region.results)
        for inner in region.ops:
            found |= _reads(inner)
    return found


def _bound(
    instance: Instance, op: Op, mapping: dict[Dim, Dim], wanted: Iterable[Dim]
) -> tuple[Instance, tuple, dict[Dim, Dim]]:
    """The caller with dims for those of a child that it has none for, and the call's binding."""
    binding, mapping = list(op["binding"]), dict(mapping)
    dims = list(instance.dims)
    for dim in sorted(set(wanted) - set(mapping), key=lambda d: d.id):
        taken = set(mapping.values())
        same = (d for d in dims if (d.name, d.size) == (dim.name, dim.size) and d not in taken)
        here = next(same, None)
        if here is None:
            here = replace(dim, id=max((d.id for d in dims), default=-1) + 1)
            dims.append(here)
        mapping[dim] = here
        binding.append((dim.id, here))
    return replace(instance, dims=tuple(dims)), tuple(sorted(binding, key=_first)), mapping


def _first(pair: tuple[int, Dim]) -> int:
    return pair[0]


# The loop


def _looped(
    module: Module,
    plan: Plan,
    entry: Instance,
    old: Op,
    call: Op,
    position: int,
    product: _Product,
    number: int,
    decision: Decision,
) -> Module:
    variant = entry.variants[0]
    logits = old.results[position]
    classes = {d for o in variant.ops if logits.id in o.operands for d in o.get("dims", ())}
    along = _along(plan, module, logits.type, classes)
    if along is None:
        raise _refuse(decision, "no dim of it is carried along by all that reads it")
    whole = {logits.id}  # what depends on it and still has the dims of classes
    depends = {logits.id}
    inside: list[Op] = []
    for op in variant.ops:
        if op is old or not depends & _reads(op):
            continue
        depends.update(r.id for r in op.results)
        if whole & _reads(op):
            _movable(op, along, decision)
            inside.append(op)
            whole.update(r.id for r in op.results if classes & set(r.type.dims))
    outputs = _outputs(variant, inside, whole)
    if any(r.id in whole for r in outputs) or any(r.value in whole for r in variant.results):
        raise _refuse(decision, "it is read whole")
    scope = Scope(module, entry, variant)
    fresh = [scope.define(v) for v in variant.inputs]
    for before, new in zip(variant.inputs, fresh, strict=True):
        scope.stand_for(before.id, new.id)
    given: tuple[int, ...] = ()
    for op in variant.ops:
        if op is old:
            given = _called(scope, op, call, position, product)
        elif op not in inside and not depends & _reads(op):
            scope.visit([op], lambda s, o: None)
    _loop(scope, logits, product, given, along, inside, outputs, number)
    moved = {id(op) for op in inside}
    for op in variant.ops:
        if op is not old and id(op) not in moved and depends & _reads(op):
            scope.visit([op], lambda s, o: None)
    results = tuple(replace(r, value=scope.new(r.value)) for r in variant.results)
    writes = tuple((n, scope.new(v)) for n, v in variant.writes)
    made = Variant(tuple(fresh), scope.close(), results, writes)
    entry = replace(entry, variants=(made,))
    return replace(module, instances=(entry, *module.instances[1:]))


def _along(plan: Plan, module: Module, type_: Type, classes: set[Dim]) -> Dim | None:
    """The longest dim that is none of the classes, nor spread over a mesh."""
    spread = {name for name, _ in plan.mesh.values}
    sizes = {**dict(module.sizes), **dict(plan.sizes)}
    free = [d for d in type_.dims if d not in classes and d.name not in spread]

    def length(dim: Dim) -> int:
        return dim.size.evaluate(sizes) if set(dim.size.names) <= set(sizes) else 0

    return max(free, key=lambda d: (length(d), d.id), default=None)


def _movable(op: Op, along: Dim, decision: Decision) -> None:
    definition = lookup(op.name)
    place = f" (line {op.span.line})" if op.span is not None else ""
    if definition.shape is None or definition.effect:
        raise _refuse(decision, f"{op.name}{place} reads it whole")
    for name, value in op.attrs:
        if along in parts(value):
            raise _refuse(decision, f"{op.name}{place} does not carry {along} along: {name}")


def _outputs(variant: Variant, inside: list[Op], whole: set[int]) -> list[Value]:
    """What the loop gives: results of its ops that others read."""
    ids = {r.id for op in inside for r in op.results}
    read = {r.value for r in variant.results} | {id for _, id in variant.writes}
    for op in variant.ops:
        if not any(op is o for o in inside):
            read |= _reads(op)
    return [r for op in inside for r in op.results if r.id in ids & read]


def _called(scope: Scope, old: Op, call: Op, position: int, product: _Product) -> tuple[int, ...]:
    """The product's operands, in the new body."""
    if product.first < 0:
        return tuple(scope.new(i) for i in old.operands)
    made = scope.append(replace(call, operands=tuple(scope.new(i) for i in old.operands)))
    count = len(product.types)
    others = (*made[:position], *made[position + count :])
    rest = [r for i, r in enumerate(old.results) if i != position]
    for value, id in zip(rest, others, strict=True):
        scope.stand_for(value.id, id)
    return made[position : position + count]


def _loop(
    scope: Scope,
    logits: Value,
    product: _Product,
    given: tuple[int, ...],
    along: Dim,
    inside: list[Op],
    outputs: list[Value],
    number: int,
) -> None:
    own = {logits.id, *(r.id for op in inside for r in op.results)}
    around = dict.fromkeys(
        (*given, *(scope.new(i) for op in inside for i in op.operands if i not in own))
    )
    sliced = [i for i in around if along in scope.type(i).dims]
    scope.open()
    step = scope.define(Value(-1, Type("int")))
    here = {i: i for i in around}
    arguments = [step]
    for id in sliced:
        type_ = scope.type(id)
        part = Value(-1, type_.with_dims(d for d in type_.dims if d != along))
        arguments.append(scope.define(part))
        here[id] = arguments[-1].id
    dot = Op(
        "dot",
        tuple(here[i] for i in given),
        (replace(logits, id=-1, type=Type("float"), order=None),),
        attributes(**{**dict(product.op.attrs), "dims": product.dims}),
        span=product.op.span,
    )
    table = {logits.id: scope.append(dot)[0]}
    for op in inside:
        operands = tuple(table[i] if i in table else here[scope.new(i)] for i in op.operands)
        results = tuple(replace(r, order=None) for r in op.results)
        made = scope.append(replace(op, operands=operands, results=results))
        table.update((r.id, id) for r, id in zip(op.results, made, strict=True))
    ends = tuple(table[r.id] for r in outputs)
    region = Region(tuple(arguments), scope.close(), ends)
    stacked = tuple(Value(-1, scope.type(i).with_dims((*scope.type(i).dims, along))) for i in ends)
    attrs = attributes(along=along, carry=0, parts=number)
    loop = Op("scan", tuple(sliced), stacked, attrs, (region,), span=product.op.span)
    for value, id in zip(outputs, scope.append(loop), strict=True):
        scope.stand_for(value.id, id)
