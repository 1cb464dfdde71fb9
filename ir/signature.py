"""What an op that holds bodies together must take and give: calls, branches, loops, reads.

These have no shape rule: their types follow from the instances and regions that they speak of. The
verifier compares the signature with what is stated; a pass that changes a body asks for it to state
the types anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .core import Dim, Instance, Module, Op, Order, Type, Value, Variant, axes, join

CALLS = ("call", "repeat", "each")
"""Ops that run a variant of a child."""


class SignatureError(ValueError):
    """An op that speaks of something that is not there, or that does not fit together."""


@dataclass(frozen=True)
class Form:
    """The type of a value, and its order where that is known."""

    type: Type
    order: Order | None = None


@dataclass(frozen=True)
class Signature:
    """What an op takes and gives."""

    operands: tuple[Form, ...]
    results: tuple[Form, ...]


def callee(module: Module, instance: Instance, op: Op) -> tuple[Instance, Variant, dict[Dim, Dim]]:
    """What a call runs: the child, the variant of its body, and for its dims those that stand for
    them in the caller."""
    path = join(instance.path, op["child"])
    try:
        child = module.instance(path)
    except KeyError:
        raise SignatureError(f"there is no instance {path!r}") from None
    index = op["variant"]
    if not isinstance(index, int) or not 0 <= index < len(child.variants):
        raise SignatureError(f"{path} has {len(child.variants)} variants, none is {index}")
    table = {d.id: d for d in child.dims}
    mapping: dict[Dim, Dim] = {}
    for number, here in op["binding"]:
        if number not in table:
            raise SignatureError(f"{path} has no dim number {number}")
        if table[number] in mapping:
            raise SignatureError(f"{path}: dim {table[number]} is bound twice")
        mapping[table[number]] = here
    return child, child.variants[index], mapping


def values(variant: Variant) -> dict[int, Value]:
    """The values of a body that its results may name: those outside of regions."""
    defined = [*variant.inputs, *(r for op in variant.ops for r in op.results)]
    return {v.id: v for v in defined}


def carried(op: Op) -> dict[int, int]:
    """For a `repeat`: which argument each carried result becomes in the next copy."""
    return dict(op.get("carried", ()))


def signature(
    module: Module, instance: Instance, op: Op, operands: Mapping[int, Value]
) -> Signature:
    """What the op takes and gives, from what it speaks of.

    Args:
        operands: at least the values that the op and its regions' results name.
    """
    given = tuple(Form(operands[i].type, operands[i].order) for i in op.operands)
    if op.name in CALLS:
        return _call(module, instance, op)
    if op.name == "scan":
        return _scan(module, op, operands, given)
    if op.name == "if_train":
        return Signature((), _results(op.regions[0].results, operands))
    if op.name in ("param", "state"):
        return Signature((), (_read(module, instance, op),))
    if op.name == "metric":
        return Signature(given, ())
    raise SignatureError(f"{op.name} has a shape rule")


def _call(module: Module, instance: Instance, op: Op) -> Signature:
    _, variant, mapping = callee(module, instance, op)
    along = None if op.name == "call" else op["along"]
    dealt = () if along is None else op["dealt"]
    operands = []
    for position, value in enumerate(variant.inputs):
        form = _mapped(value, mapping)
        operands.append(_stacked(form, along) if position in dealt else form)
    becomes = carried(op)
    known = values(variant)
    results = []
    for position, result in enumerate(variant.results):
        form = _mapped(known[result.value], mapping)
        if along is not None and position not in becomes:
            form = _stacked(form, along)
        results.append(form)
    for position, argument in becomes.items():
        if position >= len(results) or argument >= len(operands):
            raise SignatureError(f"carried ({position}, {argument}) is out of range")
        if _differ(module, results[position], operands[argument]):
            raise SignatureError(
                f"result {position} is {results[position].type} and cannot become argument "
                f"{argument}, which is {operands[argument].type}"
            )
    return Signature(tuple(operands), tuple(results))


def _scan(module: Module, op: Op, known: Mapping[int, Value], given: tuple[Form, ...]) -> Signature:
    (region,), along, carry = op.regions, op["along"], op["carry"]
    if not isinstance(carry, int) or not 0 <= carry <= len(given):
        raise SignatureError(f"carry {carry} is out of range")
    if len(region.arguments) != 1 + len(given):
        raise SignatureError(
            f"the region takes {len(region.arguments)}, not {1 + len(given)} values"
        )
    step, *arguments = (Form(v.type, v.order) for v in region.arguments)
    if step.type.kind != "int" or step.type.dims:
        raise SignatureError(f"the number of the step is {step.type}, not int[]")
    sliced = len(given) - carry
    operands = [_stacked(a, along) if i < sliced else a for i, a in enumerate(arguments)]
    results = _results(region.results, known)
    if len(results) < carry:
        raise SignatureError(f"the region gives {len(results)} values, fewer than it carries")
    pairs = zip(results[:carry], operands[sliced:], strict=True)
    if any(_differ(module, *pair) for pair in pairs):
        raise SignatureError("what is carried changes its type or order")
    stacked = tuple(_stacked(r, along) for r in results[carry:])
    return Signature(tuple(operands), (*results[:carry], *stacked))


def _read(module: Module, instance: Instance, op: Op) -> Form:
    child, name = op["child"], op["name"]
    path = join(instance.path, child) if child else instance.path
    try:
        owner = module.instance(path)
    except KeyError:
        raise SignatureError(f"there is no instance {path!r}") from None
    variable = next((v for v in getattr(owner, op.name + "s") if v.name == name), None)
    if variable is None:
        raise SignatureError(f"{path or 'the entry'} has no {op.name} {name!r}")
    if not child:
        return Form(variable.type, axes(variable.order))
    # Seen from outside its dims are others, in the same order.
    stated = op.result
    if stated.order is None or any(len(axis) != 1 for axis in stated.order):
        raise SignatureError(f"the {op.name} {child}.{name} is read without an order of its dims")
    if len(stated.order) != len(variable.order):
        raise SignatureError(
            f"{child}.{name} has {len(variable.order)} dims, not {len(stated.order)}"
        )
    for inner, (outer,) in zip(variable.order, stated.order, strict=True):
        if inner.size != outer.size and inner.size.is_constant and outer.size.is_constant:
            raise SignatureError(f"{inner} of {child}.{name} is {inner.size}, not {outer.size}")
    dims = tuple(d for (d,) in stated.order)
    return Form(Type(variable.type.dtype, dims), stated.order)


def _differ(module: Module, a: Form, b: Form) -> bool:
    """Whether two forms cannot be of one value; it is layout that makes orders agree."""
    ordered = "ordered" in module.facts and None not in (a.order, b.order)
    return a.type != b.type or (ordered and a.order != b.order)


def _results(ids: tuple[int, ...], known: Mapping[int, Value]) -> tuple[Form, ...]:
    return tuple(Form(known[i].type, known[i].order) for i in ids)


def _mapped(value: Value, mapping: dict[Dim, Dim]) -> Form:
    change = _changer(mapping)
    try:
        type_ = value.type.with_dims(map(change, value.type.dims))
    except ValueError as error:
        raise SignatureError(f"two dims of the child are one here: {error}") from None
    order = value.order
    return Form(type_, None if order is None else tuple(tuple(map(change, axis)) for axis in order))


def _changer(mapping: dict[Dim, Dim]) -> Callable[[Dim], Dim]:
    def change(dim: Dim) -> Dim:
        if dim not in mapping:
            raise SignatureError(f"nothing here stands for the child's dim {dim}")
        return mapping[dim]

    return change


def _stacked(form: Form, along: object) -> Form:
    assert isinstance(along, Dim)
    if along in form.type.dims:
        raise SignatureError(f"one copy or step has the dim {along} already")
    order = None if form.order is None else ((along,), *form.order)
    return Form(form.type.with_dims((*form.type.dims, along)), order)
