"""Positions along dims."""

from __future__ import annotations

from ..core import Op, Order, Type
from ..named import Named
from ..registry import Brackets, Code, Keep, Levels, OpDef, Source, register
from ..size import Size
from .common import count
from .shape import Orders


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
        also=("arange",),
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
