"""What the entries of several families share."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence

from ..core import Dim, Op, Order, Type, kind
from ..order import apart, broadcast, without
from ..registry import Code, Keep, Levels, ShapeError, Source
from ..size import Size

TRANSCENDENTAL = 10
"""How many operations an exp, log, power, sine, tanh or erf counts; all others count 1."""

_WIDTH = {"bool": 0, "int32": 1, "int": 1, "int64": 2, "bfloat16": 3, "float16": 3, "float": 4}
_WIDTH |= {"float32": 4, "float64": 5}


def promote(*dtypes: str) -> str:
    """The widest of several dtypes: bool < int < float, and by bits within a kind."""
    if {"bfloat16", "float16"} <= set(dtypes):
        dtypes = (*dtypes, "float32")
    return max(dtypes, key=lambda d: _WIDTH[d])


def number(*dtypes: str) -> str:
    """The widest of several dtypes, where bools count as the ints 0 and 1."""
    found = promote(*dtypes)
    return "int" if found == "bool" else found


def real(*dtypes: str) -> str:
    """The float dtype of an op of real numbers: the widest; ints and bools become float."""
    found = promote(*dtypes)
    return found if kind(found) == "float" else "float32" if found == "int32" else "float"


def same_dims(types: Sequence[Type], what: str, anyone: bool = False) -> tuple[Dim, ...]:
    """The dims of a pointwise result, of which one operand must have all.

    Args:
        types: of the operands.
        what: how the message names the op, such as `+`.
        anyone: whether the operand that has all dims may be any (for `where`).
    """
    largest = max(types, key=lambda t: len(t.dims))
    for index, type_ in enumerate(types):
        left = ", ".join(d.name for d in type_.dims if d not in largest.dims)
        if left:
            missing = ", ".join(d.name for d in largest.dims if d not in type_.dims)
            raise ShapeError(
                "dims-do-not-align",
                f"no operand of {what} has the dims of all the others"
                if anyone
                else f"neither side of {what} has all the dims of the other",
                index,
                (
                    f"one operand is {largest}, another {type_}",
                    f"only the former has {missing}, only the latter {left}",
                ),
                f"expand[{left}](…) around the operand {largest} says that this is meant",
            )
    return largest.dims


def pointwise_order(
    op: Op, orders: tuple[Order, ...]
) -> tuple[tuple[Order, ...], tuple[Order, ...]]:
    """Order rule of ops that act element by element."""
    wanted, result = broadcast(orders)
    return wanted, (result,)


def reduction_order(
    op: Op, orders: tuple[Order, ...]
) -> tuple[tuple[Order, ...], tuple[Order, ...]]:
    """Order rule of ops that remove their bracketed dims; a mask follows the first operand."""
    wanted, lead = broadcast((apart(orders[0], op["dims"]), *orders[1:]))
    return wanted, (without(lead, op["dims"]),)


def keeping_order(op: Op, orders: tuple[Order, ...]) -> tuple[tuple[Order, ...], tuple[Order, ...]]:
    """Order rule of ops along their bracketed dims that keep the shape, such as softmax."""
    wanted, lead = broadcast((apart(orders[0], op["dims"]), *orders[1:]))
    return wanted, (lead,)


def along_order(op: Op, orders: tuple[Order, ...]) -> tuple[tuple[Order, ...], tuple[Order, ...]]:
    """Order rule of pointwise ops whose bracketed dims must stand apart."""
    wanted, lead = broadcast(tuple(apart(o, op["dims"]) for o in orders))
    return wanted, (lead,)


def made_order(op: Op, orders: tuple[Order, ...]) -> tuple[tuple[Order, ...], tuple[Order, ...]]:
    """Order rule of ops without operands: the bracketed dims as they stand."""
    return (), (tuple((d,) for d in op["dims"]),)


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


def check_mask(op: Op, types: Sequence[Type]) -> None:
    """Refuse a mask that is not made of bools, or has dims that the first operand lacks."""
    index = op.extra("where")
    if index is None:
        return
    mask = types[index]
    check_bool(op.name, mask, index, "its mask")
    left = [d.name for d in mask.dims if d not in types[0].dims]
    if left:
        names = ", ".join(left)
        raise ShapeError(
            "dims-do-not-align",
            f"the mask of {op.name} has {names}, which its operand does not have",
            index,
            (f"the operand is {types[0]}", f"the mask is {mask}"),
            f"expand[{names}](…) around the operand gives it {names}",
        )


def check_bool(what: str, type_: Type, index: int, name: str) -> None:
    """Refuse an operand that is not made of bools."""
    if type_.kind != "bool":
        raise ShapeError(
            "not-a-bool",
            f"{what} needs bools, and {name} is {type_}",
            index,
            help="compare it with something, such as `x != 0`",
        )


def check_one(op: Op) -> None:
    """Refuse an op along a dim that is asked for several at once, or for none."""
    if len(op["dims"]) != 1:
        names = ", ".join(d.name for d in op["dims"])
        raise ShapeError(
            "one-dim-only",
            f"{op.name}[{names}] works along one dim, not {len(op['dims'])}",
            facts=() if names else ("`...` stands for no dim here",),
            help="merge them into one first" if names else "",
        )


def elements(types: Sequence[Type], op: Op, weight: int = 1) -> Size:
    """Operations of an op that does `weight` of them for each element of its result."""
    return count(op.result.type.dims) * weight


def costs(weight: int):
    """A flops rule: so many operations for each element of the result."""
    return lambda types, op: elements(types, op, weight)


def nothing(op: Op, types: Sequence[Type], wants: Sequence[bool]) -> tuple[Keep, ...]:
    """Keeps rule of ops whose gradient needs no values."""
    return ()


def internal(dtype: str, dims: Sequence[Dim]) -> Keep:
    """An array that is neither operand nor result."""
    return Keep("internal", type=Type(dtype, tuple(dims)))


def keeping(*what: int | str):
    """A keeps rule from a list: the position of an operand, `result`, or an array over all dims.

    Such an array is called `array` if it has the result's dtype, and `mask` if it is of bools.
    """

    def keeps(op: Op, types: Sequence[Type], wants: Sequence[bool]) -> tuple[Keep, ...]:
        full = op.result.type
        made = {"result": Keep("result"), "array": Keep("internal", type=full)}
        made["mask"] = internal("bool", full.dims)
        return tuple(Keep("operand", w) if isinstance(w, int) else made[w] for w in what)

    return keeps


def kept_mask(op: Op, types: Sequence[Type], index: int, full: Type) -> Keep:
    """A mask as `jnp.where` keeps it: itself if it has all dims, else spread over them."""
    if set(types[index].dims) == set(full.dims):
        return Keep("operand", index)
    return internal("bool", full.dims)


def closed(text: str) -> str:
    """A size in parentheses, unless it is a name or number."""
    return text if re.fullmatch(r"\w+", text) else f"({text})"


def is_literal(text: str) -> bool:
    """Whether source is a number written out."""
    try:
        return isinstance(ast.literal_eval(text), (bool, int, float))
    except (ValueError, SyntaxError):
        return False


def cast(c: Source, index: int, dtype: str) -> Code:
    """An operand as an array of a dtype; an array of the same kind is left as it is."""
    if c.types[index].kind == kind(dtype):
        return c.array(index)
    if c.code(index).number:
        return c.array(index, dtype)
    return Code(f"{c.arg(index, Levels.ATOM)}.astype({c.dtype(dtype)})")


def whole(c: Source, index: int) -> Code:
    """An operand as it stands, array or number, but as ints where it is of bools."""
    code = c.code(index)
    if c.types[index].kind != "bool":
        return code
    if is_literal(code.text):
        return Code(str(int(code.text == "True")), number=True)
    return Code(f"int({code.text})", number=True) if code.number else cast(c, index, "int")


def filled(c: Source, number: str) -> str:
    """The result of an op that is one number everywhere."""
    dtype, shape = c.op.result.type.dtype, c.shape(c.op.result.order or ())
    named = {"0.0": "zeros", "1.0": "ones"}.get(number)
    plain = ("float", "float32") if named else ("float", "float32", "int", "int32", "bool")
    more = "" if dtype in plain else f", {c.dtype(dtype)}"
    return f"jnp.{named}({shape}{more})" if named else f"jnp.full({shape}, {number}{more})"


def masked(c: Source) -> str:
    """The mask as a keyword argument, with the comma before it; nothing where there is none."""
    index = c.op.extra("where")
    return "" if index is None else f", where={c.arg(index)}"
