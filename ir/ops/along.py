"""Ops that cut, lengthen, turn and move a dim."""

from __future__ import annotations

from collections.abc import Sequence

from ..claim import AtLeast, Equal
from ..core import Dim, Op, Order
from ..named import Named
from ..order import apart
from ..registry import Brackets, Code, Option, ShapeError, Source
from .shape import (
    Orders,
    Sizes,
    arrow_of,
    index,
    keeping_dims,
    put,
    replacing,
    shape_op,
    unknown_size,
)
from .structure import literal


def along_arrow_order(op: Op, orders: tuple[Order, ...]) -> Orders:
    """The dim left of the arrow apart, and the one right of it in its place."""
    ((old,), (new,)) = arrow_of(op)
    order = apart(orders[0], (old,))
    return (order,), (put(order, (old,), (new,)),)


def _slice_arrow(name: str, left: Sequence[Dim], right: Sizes, attrs):
    start = attrs.get("start", 0)
    if right[0] is None:
        raise unknown_size(name, f"how much of {left[0].name} to take")
    if start < 0:
        raise ShapeError("negative-start", f"slice starts at {start}; it counts from 0")
    reason = f"a slice of {left[0].name} ends there"
    return (right[0],), ((AtLeast(left[0].size, right[0] + start), reason),)


def _slice_source(c: Source) -> str:
    ((old,), (new,)) = arrow_of(c.op)
    start = c.op.get("start", 0)
    stop = c.size(new.size + start)
    if not stop.isidentifier() and not stop.isdigit():
        return index(c, old, f"{start or ''} : {stop}".strip())
    return index(c, old, f"{start or ''}:{stop}")


def _slice_meaning(np, args, op):
    ((old,), (new,)) = arrow_of(op)
    (x,) = args
    start = op.get("start", 0)
    array = x.array.take(range(start, start + new.size.value), x.axis(old))
    return Named(array, tuple(new if d == old else d for d in x.dims))


shape_op(
    "slice",
    "A piece of a dim: `slice[Ctx -> S](x, start = 0)` has at s what x has at start + s.",
    replacing,
    _slice_source,
    _slice_meaning,
    options={"start": Option(0, ("int",))},
    brackets=Brackets(arrows=(1, 1), dots=False),
    arrow=_slice_arrow,
    order=along_arrow_order,
    arranges=False,
)


def _pad_arrow(name: str, left: Sequence[Dim], right: Sizes, attrs):
    before, after = attrs.get("before", 0), attrs.get("after", 0)
    if before < 0 or after < 0:
        raise ShapeError("negative-pad", "pad only adds", help="slice[…] takes away")
    size = left[0].size + before + after
    if right[0] is None:
        return (size,), ()
    reason = f"{left[0].name} is padded by {before} before and {after} after"
    return (right[0],), ((Equal(size, right[0]), reason),)


def pad_widths(order: Order, widths: dict[Dim, tuple[str, str]]) -> str:
    """Source of what `jnp.pad` adds to each axis."""
    return (
        "("
        + ", ".join(
            "({}, {})".format(*widths.get(axis[0], "00") if axis else "00") for axis in order
        )
        + ("," if len(order) == 1 else "")
        + ")"
    )


def _pad_source(c: Source) -> str:
    ((old,), _) = arrow_of(c.op)
    before, after = c.op.get("before", 0), c.op.get("after", 0)
    widths = pad_widths(c.orders[0], {old: (str(before), str(after))})
    value = c.op.get("value", 0)
    more = f", constant_values={literal(value).text}" if value else ""
    return f"jnp.pad({c.arg(0)}, {widths}{more})"


def _pad_meaning(np, args, op):
    ((old,), (new,)) = arrow_of(op)
    (x,) = args
    widths = [(0, 0)] * len(x.dims)
    widths[x.axis(old)] = (op.get("before", 0), op.get("after", 0))
    array = np.pad(x.array, widths, constant_values=op.get("value", 0))
    return Named(array, tuple(new if d == old else d for d in x.dims))


shape_op(
    "pad",
    "A dim with more positions at its ends: `pad[S -> T](x, before = 1)` has the value (0 unless "
    "told) at the new ones; T = before + S + after.",
    replacing,
    _pad_source,
    _pad_meaning,
    options={
        "before": Option(0, ("int",)),
        "after": Option(0, ("int",)),
        "value": Option(0, ("int", "float")),
    },
    brackets=Brackets(arrows=(1, 1), dots=False),
    arrow=_pad_arrow,
    order=along_arrow_order,
    linear=False,
)


def _apart_order(op: Op, orders: tuple[Order, ...]) -> Orders:
    order = apart(orders[0], op["dims"])
    return (order,), (order,)


def _flip_source(c: Source) -> str:
    return f"jnp.flip({c.arg(0)}, axis={c.axes(0, c.op['dims'])})"


def _flip_meaning(np, args, op):
    (x,) = args
    return Named(np.flip(x.array, tuple(map(x.axis, op["dims"]))), x.dims)


shape_op(
    "flip",
    "A dim backwards: `flip[T](x)` has at t what x has at T - 1 - t.",
    keeping_dims,
    _flip_source,
    _flip_meaning,
    brackets=Brackets(dims=(1, None)),
    order=_apart_order,
)


def _roll_source(c: Source) -> str:
    (dim,) = c.op["dims"]
    return f"jnp.roll({c.arg(0)}, {c.op['shift']}, axis={c.axis(0, dim)})"


def _roll_meaning(np, args, op):
    (x,) = args
    return Named(np.roll(x.array, op["shift"], x.axis(op["dims"][0])), x.dims)


shape_op(
    "roll",
    "A dim moved around its end: `roll[T](x, shift = 1)` has at t what x has at (t - shift) % T.",
    keeping_dims,
    _roll_source,
    _roll_meaning,
    options={"shift": Option(kinds=("int",))},
    brackets=Brackets(dims=(1, 1), dots=False),
    order=_apart_order,
    lowering="written",
)


def _shift_source(c: Source) -> Code | str:
    (dim,) = c.op["dims"]
    by, fill = c.op.get("by", 1), c.op.get("fill", 0)
    if not by:
        return c.code(0)
    widths = pad_widths(c.orders[0], {dim: (str(max(by, 0)), str(max(-by, 0)))})
    more = f", constant_values={literal(fill).text}" if fill else ""
    after = -1 - c.axis(0, dim)
    item = f":{-by}" if by > 0 else f"{-by}:"
    parts = ["...", item, *[":"] * after] if after < len(c.orders[0]) - 1 else [item]
    return f"jnp.pad({c.arg(0)}, {widths}{more})[{', '.join(parts)}]"


def _shift_meaning(np, args, op):
    (x,) = args
    (dim,) = op["dims"]
    by, size = op.get("by", 1), x.size(dim)
    array = np.full_like(x.array, op.get("fill", 0))
    before = (slice(None),) * x.axis(dim)
    for t in range(size):
        if 0 <= t - by < size:
            array[(*before, t)] = x.array[(*before, t - by)]
    return Named(array, x.dims)


shape_op(
    "shift",
    "A dim moved, and filled: `shift[T](x, by = 1)` has at t what x has at t - by, and `fill` (0 "
    "unless told) where there is no such position. A negative `by` moves towards the start.",
    keeping_dims,
    _shift_source,
    _shift_meaning,
    options={"by": Option(1, ("int",)), "fill": Option(0, ("int", "float"))},
    brackets=Brackets(dims=(1, 1), dots=False),
    order=_apart_order,
    linear=False,
)
