"""What the entries of several families share."""

from __future__ import annotations

from collections.abc import Sequence

from ..core import Dim, Op, Order, Type
from ..order import apart, broadcast, without
from ..registry import ShapeError
from ..size import Size

_WIDTH = {"bool": 0, "int32": 1, "int": 1, "int64": 2, "bfloat16": 3, "float16": 3, "float": 4}
_WIDTH |= {"float32": 4, "float64": 5}


def promote(*dtypes: str) -> str:
    """The widest of several dtypes: bool < int < float, and by bits within a kind."""
    return max(dtypes, key=lambda d: _WIDTH[d])


def real(dtype: str) -> str:
    """The float dtype that an op of real numbers computes in: floats stay, the rest become float."""
    return dtype if _WIDTH[dtype] >= 3 else "float"


def same_dims(types: Sequence[Type], what: str, anyone: bool = False) -> tuple[Dim, ...]:
    """The dims of a pointwise result, of which one operand must have all.

    Args:
        types: of the operands.
        what: how the message names the op, such as `+`.
        anyone: whether the operand that has all dims may be any (for `where`).
    """
    largest = max(types, key=lambda t: len(t.dims))
    for index, type_ in enumerate(types):
        left = [d for d in type_.dims if d not in largest.dims]
        if left:
            position = types.index(largest)
            names = ", ".join(d.name for d in left)
            missing = [d for d in largest.dims if d not in type_.dims]
            raise ShapeError(
                "dims-do-not-align",
                f"neither side of {what} has all the dims of the other",
                index,
                (
                    f"one is {largest}, the other {type_}",
                    f"{names} is only in the second, {', '.join(d.name for d in missing)} only in the first",
                ),
                f"expand[{names}](…) around the operand {largest} says that an outer product is meant"
                if position is not None
                else "",
            )
    return largest.dims


def pointwise_order(op: Op, orders: tuple[Order, ...]) -> tuple[tuple[Order, ...], tuple[Order, ...]]:
    """Order rule of ops that act element by element."""
    wanted, result = broadcast(orders)
    return wanted, (result,)


def reduction_order(op: Op, orders: tuple[Order, ...]) -> tuple[tuple[Order, ...], tuple[Order, ...]]:
    """Order rule of ops that remove their bracketed dims; a mask follows the first operand."""
    wanted, lead = broadcast((apart(orders[0], op["dims"]), *orders[1:]))
    return wanted, (without(lead, op["dims"]),)


def keeping_order(op: Op, orders: tuple[Order, ...]) -> tuple[tuple[Order, ...], tuple[Order, ...]]:
    """Order rule of ops along their bracketed dims that keep the shape, such as softmax."""
    wanted, lead = broadcast((apart(orders[0], op["dims"]), *orders[1:]))
    return wanted, (lead,)


def count(dims: Sequence[Dim]) -> Size:
    """The number of elements over some dims."""
    size = Size.of(1)
    for dim in dims:
        size = size * dim.size
    return size


def check_dims(op: Op, type_: Type, name: str = "") -> None:
    """Refuse bracketed dims that the operand does not have."""
    for dim in op["dims"]:
        if dim not in type_.dims:
            raise ShapeError(
                "dim-not-there",
                f"{name or op.name}[{dim.name}] needs {dim.name}, which its operand does not have",
                0,
                (f"the operand is {type_}",),
            )
