"""`where = mask` of ops that know no mask: what is hidden is replaced by what cannot count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..ir.core import Op, attributes
from ..ir.ops.common import check_bool, check_mask
from ..ir.registry import OpDef, ShapeError
from . import tree
from .reading import Val

if TYPE_CHECKING:
    from .values import Values

LEAST_INT, GREATEST_INT = -(2**31), 2**31 - 1


def call_masked(
    body: Values, definition: OpDef, operands: tuple[int, ...], node: tree.Call, labels, words,
    attrs: dict[str, Any],
) -> tuple[Val, ...]:  # fmt: skip
    """A call whose last operand is a mask that the op itself does not take.

    What the mask hides is 0 in a sum of products, and below or above all numbers where the greatest
    or the first are picked; a recurrence keeps its state there; a mean is divided by the number of
    what is left, and is 0 of nothing.
    """
    *inputs, mask = operands
    *given, where = words
    how = definition.hidden
    if how == "descending":
        how = "least" if attrs.get("descending") else "greatest"
    try:
        check_bool("a mask", body.builder.type(mask), len(inputs), f"that of {definition.name}")
        if definition.variadic:
            ids, given = _factors(body, inputs, given, mask, where, node)
            return body.emit(definition.name, ids, node, labels, tuple(given), **attrs)
        if how != "hold":
            types = tuple(body.builder.type(i) for i in (inputs[0], mask))
            check_mask(Op(definition.name, attrs=attributes(extra=("where",))), types)
    except ShapeError as error:
        if len(inputs) > 1 and error.operand == 1:
            error.operand = len(inputs)
        from .shape_errors import shape_mistake

        raise shape_mistake(body, error, definition.name, operands, node, words) from None
    if how == "mean":
        return _mean(body, definition.name, inputs[0], mask, node, labels, given, attrs)
    kind = body.builder.type(inputs[0]).kind
    neutral = {
        "zero": (0,),
        "hold": (1, 0),
        "least": (LEAST_INT if kind == "int" else -float("inf"),),
        "greatest": (GREATEST_INT if kind == "int" else float("inf"),),
    }[how]
    for index, number in enumerate(neutral):
        inputs[index] = _hidden(body, mask, inputs[index], number, (where, given[index]), node)
    return body.emit(definition.name, tuple(inputs), node, labels, tuple(given), **attrs)


def _hidden(body: Values, mask: int, x: int, number: float, words, node: tree.Call) -> int:
    kind = body.builder.type(x).kind
    value = float(number) if kind == "float" else number
    other = body.builder.add(
        "const", value=value, dtype="int" if kind == "bool" else kind, span=node.span
    )
    where, at = words
    return body.emit("where", (mask, x, other), node, None, (where, at, at))[0].id


def _factors(body: Values, inputs, given, mask: int, where, node) -> tuple[tuple[int, ...], list]:
    """The factors of a product, the first that has the mask's dims being 0 where it hides.

    Where there is none, the mask is a factor of its own, 0 or 1.
    """
    dims = set(body.builder.type(mask).dims)
    for index, id in enumerate(inputs):
        if dims <= set(body.builder.type(id).dims):
            hidden = _hidden(body, mask, id, 0, (where, given[index]), node)
            return (*inputs[:index], hidden, *inputs[index + 1 :]), given
    return (*inputs, mask), [*given, where]


def _mean(body: Values, name: str, x: int, mask: int, node, labels, given, attrs):
    """The mean of what is live, as two means: of what is live, and of its part of all."""
    add, span = body.builder.add, node.span
    slid = [left[0] for left, _ in attrs["arrows"]]
    missing = tuple(d for d in slid if d not in body.builder.type(mask).dims)
    if missing:
        mask = add("expand", mask, dims=missing, span=span)
    zero, one = (add("const", value=v, dtype="float", span=span) for v in (0.0, 1.0))
    live = add("where", mask, one, zero, span=span, label=body.label(None, "live"))
    total = add("where", mask, x, zero, span=span, label=body.label(None, "where"))
    total = body.emit(name, (total,), node, None, given, **attrs)[0].id
    part = body.emit(name, (live,), node, None, given, **attrs)[0].id
    some = add("greater", part, zero, span=span, label=body.label(None, "some"))
    part = add("where", some, part, one, span=span, label=body.label(None, "part"))
    return body.emit("divide", (total, part), node, labels)
