"""Positions along dims, and features that depend on them."""

from __future__ import annotations

from ..core import Op, Order, Type
from ..named import Named
from ..order import apart, squeezed, without
from ..registry import Brackets, Code, Keep, Levels, OpDef, Option, ShapeError, Source, register
from ..size import Size
from .common import count
from .shape import Orders, needs


def _nothing(op: Op, types: tuple[Type, ...], wants: tuple[bool, ...]) -> tuple[Keep, ...]:
    return ()


def _position_shape(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
    return (Type("int", op["dims"]),)


def _position_order(op: Op, orders: tuple[Order, ...]) -> Orders:
    return (), (tuple((d,) for d in op["dims"]),)


def _no_flops(types: tuple[Type, ...], op: Op) -> Size:
    return Size.of(0)


def _index_source(c: Source) -> str:
    return f"jnp.arange({c.size(c.op['dims'][0].size)})"


def _index_meaning(np, args, op):
    return Named(np.arange(op["dims"][0].size.value), op["dims"])


register(
    OpDef(
        "index",
        "position",
        "The positions along a dim: `index[S]()` is 0, 1, 2, …",
        _position_shape,
        _index_source,
        _index_meaning,
        operands=(),
        brackets=Brackets(dims=(1, 1), dots=False, new=True),
        flops=_no_flops,
        keeps=_nothing,
        order=_position_order,
    )
)


def _offset_source(c: Source) -> Code:
    s, t = c.op["dims"]
    order = c.op.result.order
    assert order is not None
    left, right = (f"jnp.arange({c.size(d.size)})" for d in (s, t))
    if order.index((s,)) < order.index((t,)):
        left += "[:, None]"
    else:
        right += "[:, None]"
    return Code(f"{left} - {right}", Levels.ADD)


def _offset_meaning(np, args, op):
    s, t = (np.arange(d.size.value) for d in op["dims"])
    return Named(s[:, None] - t, op["dims"])


register(
    OpDef(
        "offset",
        "position",
        "How far one position is after another: `offset[S, T]()` is s - t, both counted from 0. "
        "`offset[S, T]() >= 0` is the causal mask of queries S and keys T.",
        _position_shape,
        _offset_source,
        _offset_meaning,
        operands=(),
        brackets=Brackets(dims=(2, 2), dots=False, new=True, ordered=True),
        flops=lambda types, op: count(op["dims"]),
        keeps=_nothing,
        order=_position_order,
    )
)


# rotary


def _rotated(op: Op) -> Size:
    """How many features are rotated: an even number."""
    size = op["dims"][1].size
    fraction = op.get("fraction", 1.0)
    if fraction == 1:
        return size
    return Size.of(int(size.value * fraction) // 2 * 2)


def _rotary_shape(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
    (x,) = types
    needs(op, x, op["dims"])
    size, fraction = op["dims"][1].size, op.get("fraction", 1.0)
    name = op["dims"][1].name
    if x.kind != "float":
        raise ShapeError("not-float", "rotary rotates floats", 0, (f"the operand is {x}",))
    if not 0 < fraction <= 1:
        raise ShapeError(
            "option-out-of-range", f"fraction must be above 0 and at most 1, not {fraction}"
        )
    if fraction != 1 and not size.is_constant:
        raise ShapeError(
            "size-not-fixed",
            f"rotary of a fraction needs a fixed size, and that of {name} is {size}",
        )
    if size.is_constant and (size.value if fraction == 1 else int(size.value * fraction)) % 2:
        raise ShapeError(
            "size-not-even",
            f"rotary rotates pairs of features, and {name} has an odd number of them",
            0,
            (f"{name} is {size}",) if fraction == 1 else (f"{fraction} of {name} = {size}",),
        )
    return types


def _rotary_order(op: Op, orders: tuple[Order, ...]) -> Orders:
    s, k = op["dims"]
    order = apart(squeezed(orders[0]), (s, k))
    order = (*without(order, (k,)), (k,))
    return (order,), (order,)


def _rotary_source(c: Source) -> str:
    s, k = c.op["dims"]
    x, axis = c.arg(0), c.axis(0, s)
    base, rotated = float(c.op.get("base", 10000.0)), _rotated(c.op)
    whole = rotated == k.size
    if c.op.get("interleaved", False):
        name = c.helper("rotary_interleaved")
    else:
        name = c.helper("rotary" if whole else "rotary_partial")
    return f"{name}({x}, {axis}, {base}{'' if whole else f', {rotated}'})"


def _rotary_meaning(np, args, op):
    s, k = op["dims"]
    rest = args[0].without((s, k))
    x = args[0].over((*rest, s, k))
    size = _rotated(op).value
    rate = op.get("base", 10000.0) ** (-2 * np.arange(size // 2) / size)
    turn = np.exp(1j * np.arange(x.shape[-2])[:, None] * rate)
    result = np.array(x)
    if op.get("interleaved", False):
        pairs = slice(0, size, 2), slice(1, size, 2)
    else:
        pairs = slice(0, size // 2), slice(size // 2, size)
    turned = (x[..., pairs[0]] + 1j * x[..., pairs[1]]) * turn
    result[..., pairs[0]], result[..., pairs[1]] = turned.real, turned.imag
    return Named(result, (*rest, s, k))


def _rotary_flops(types: tuple[Type, ...], op: Op) -> Size:
    return types[0].elements() * 3


register(
    OpDef(
        "rotary",
        "position",
        "Features rotated by their position, in pairs (Su et al. 2021): the pair i of `rotary[S, "
        "K](x)` is turned by the angle s · base^(-2i/K). A pair is a feature of the first half of "
        "K and its counterpart in the second, as in Llama, or, `interleaved`, two neighbours, as "
        "in GPT-J. With a `fraction` only so many features, the first ones, are rotated. Angles "
        "are in float32 at least.",
        _rotary_shape,
        _rotary_source,
        _rotary_meaning,
        options={
            "base": Option(10000.0),
            "fraction": Option(1.0),
            "interleaved": Option(False, ("bool",)),
        },
        brackets=Brackets(dims=(2, 2), dots=False, ordered=True),
        flops=_rotary_flops,
        keeps=_nothing,
        order=_rotary_order,
        linear=True,
    )
)
