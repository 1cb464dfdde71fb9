"""Ops that hold a module together: constants, declared arrays, calls, branches, loops, metrics.

They have no shape rule of their own: elaboration states their results, and passes that change a
type state it anew. The writer prints them itself, so their `source` is never asked.
"""

from __future__ import annotations

from ..core import Op, Type
from ..registry import Code, OpDef, Source, register
from .common import closed


def _constant_shape(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
    return (Type(op["dtype"]),)


def literal(value: bool | int | float) -> Code:
    """A number as Python source; numbers that are not finite by name."""
    if isinstance(value, float) and value != value:
        return Code("jnp.nan", number=True)
    if value in (float("inf"), float("-inf")):
        text = "jnp.inf" if value > 0 else "-jnp.inf"
    else:
        text = repr(value)
    return Code(text, 13 if value < 0 else 16, True)


def _constant_source(c: Source) -> Code:
    return literal(c.op["value"])


def _constant_meaning(np, args, op):
    from ..named import Named

    return Named(np.asarray(op["value"]))


register(
    OpDef(
        "const",
        "structure",
        "A number. Attributes: `value`, `dtype`.",
        _constant_shape,
        _constant_source,
        _constant_meaning,
        operands=(),
    )
)


def _unasked(c: Source) -> Code:
    raise AssertionError(f"the writer prints {c.op.name} itself")


def _structure(name: str, doc: str, operands: tuple[str, ...] = (), effect: str = "") -> None:
    register(OpDef(name, "structure", doc, None, _unasked, None, operands, effect=effect))


_structure(
    "param",
    "A parameter of the instance, or of one that it uses. Attributes: `name`, and `child`, the "
    "path of that instance relative to this one, or empty.",
)
_structure("state", "The value that a state has when the body begins. Attributes as for `param`.")
_structure(
    "call",
    "One call of a child. Attributes: `child`, `variant`, `occurrence` (how many calls came "
    "before), and `binding`: pairs of the id of a dim in the child and the dim here that stands "
    "for it. Where the body is run again for the gradient, here or in copies: `keeps` and "
    "`offloads`, the names of the values that stay, on the device and on the host.",
    ("arguments",),
)
_structure(
    "repeat",
    "The copies of a child in sequence. As `call`, and `along`; `dealt`: positions of the "
    "arguments that are dealt out along it; `carried`: for each argument that a result becomes in "
    "the next copy, the pair (result, argument). Carried results come out last, the others "
    "stacked along `along`.",
    ("arguments",),
)
_structure(
    "each",
    "The copies of a child side by side. As `call`, and `along`, `dealt`; every result is stacked. "
    "`spread`: the mesh axes that the copies lie along, if any.",
    ("arguments",),
)
_structure(
    "if_train",
    "Two regions without arguments: the first in training, the second elsewhere.",
)
_structure(
    "scan",
    "A loop along a dim. Attributes: `along`, `carry`: how many of the operands, the last ones, "
    "are carried. The region's arguments are the step's number, a slice of every other operand, "
    "and the carry; its results are the new carry and what is emitted. Results are the last carry "
    "and the emitted values, stacked along `along`. `parts`: without a carry, in how many parts "
    "the steps are taken, all of a part at once; nothing of a part is kept for the gradient.",
    ("arguments",),
)
_structure(
    "metric",
    "A scalar to be reported; a mean comes with a second operand, the number of what it averages. "
    "Attribute: `name`.",
    ("value",),
    "metric",
)


def _size_shape(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
    return (Type("int"),)


def _size_source(c: Source) -> Code:
    text = c.size(c.op["size"])
    return Code(text, 16 if closed(text) == text else 0, True)


def _size_meaning(np, args, op):
    from ..named import Named

    return Named(np.asarray(op["size"].value))


register(
    OpDef(
        "size",
        "structure",
        "A size as a number, where free dims keep it from being a constant. Attribute: `size`.",
        _size_shape,
        _size_source,
        _size_meaning,
        operands=(),
    )
)
