"""Pools, and changes of resolution."""

from __future__ import annotations

from collections.abc import Sequence

from ..core import Dim, Op, Order, Type
from ..named import Named
from ..order import apart, squeezed
from ..registry import Brackets, Code, Keep, Levels, OpDef, Option, ShapeError, Source, register
from ..size import Size
from .common import count, nothing
from .convolution import kept_by_window
from .shape import Orders, needs, unknown_size
from .window import (
    PADS,
    check_floats,
    fixed,
    padded,
    steps,
    tuple_of,
    window_arrow,
    windowed,
    windows,
)

# pools


def _pool_shape(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
    (x,) = types
    left = {y: to for (y, _), (to,) in op["arrows"]}
    needs(op, x, tuple(left))
    for (_, k), _ in op["arrows"]:
        fixed(op.name, k)
        if k in x.dims:
            raise ShapeError(
                "dim-twice",
                f"{k.name} is the window of {op.name}, but its operand has a dim {k.name}",
                0,
                (f"the operand is {x}",),
            )
    if op.name == "mean_pool" or x.kind == "bool":
        check_floats(op, types)
    dims = [left.get(d, d) for d in x.dims]
    if len(set(dims)) < len(dims):
        twice = next(d for d in dims if dims.count(d) > 1)
        raise ShapeError("dim-twice", f"the result of {op.name} would have {twice.name} twice")
    windows(op)
    return (x.with_dims(dims),)


def _pool_order(op: Op, orders: tuple[Order, ...]) -> Orders:
    left = {y: to for (y, *_), (to,) in op["arrows"]}
    order = apart(orders[0], left)
    return (order,), (tuple(tuple(left.get(d, d) for d in axis) for axis in order),)


def _pool_source(c: Source) -> Code | str:
    left = {y: k for (y, k), _ in c.op["arrows"]}
    order = c.orders[0]
    spatial = [axis[0] for axis in order if axis and axis[0] in left]
    x, padding = padded(c, spatial)
    sides = [left[axis[0]].size.value if axis and axis[0] in left else 1 for axis in order]
    strides = iter(steps(c.op, "stride", spatial, 0))
    moves = [
        (next(strides) if axis and axis[0] in left else 0) or side
        for axis, side in zip(order, sides, strict=True)
    ]
    if not padding.startswith('"'):
        ends = windows(c.op)
        padding = tuple_of(
            [
                f"({ends[axis[0]].before}, {ends[axis[0]].after})"
                if axis and axis[0] in left
                else "(0, 0)"
                for axis in order
            ]
        )
    where = f"{tuple_of(sides)}, {tuple_of(moves)}, {padding}"
    dtype = c.types[0].dtype
    if c.op.name == "max_pool":
        least = "-jnp.inf"
        if c.types[0].kind == "int":
            least = f"{c.dtype(dtype)}(jnp.iinfo({c.dtype(dtype)}).min)"
        return f"lax.reduce_window({x}, {least}, lax.max, {where})"
    empty = all(w.before == 0 and w.after == 0 for w in windows(c.op).values())
    if padding == '"VALID"' or empty:
        number = count(tuple(left.values())).value
        return Code(f"lax.reduce_window({x}, 0.0, lax.add, {where}) / {number}", Levels.MULTIPLY)
    return f"{c.helper('mean_pool')}({x}, {where})"


def _max_meaning(np, args, op):
    least = -np.inf if args[0].array.dtype.kind == "f" else np.iinfo(args[0].array.dtype).min
    found = windowed(np, args[0], op, least)
    inside = tuple(found.axis(k) for (_, k), _ in op["arrows"])
    return Named(found.array.max(inside), found.without([k for (_, k), _ in op["arrows"]]))


def _mean_meaning(np, args, op):
    found = windowed(np, args[0], op, np.nan)
    inside = tuple(found.axis(k) for (_, k), _ in op["arrows"])
    return Named(np.nanmean(found.array, inside), found.without([k for (_, k), _ in op["arrows"]]))


def _pool_flops(types: tuple[Type, ...], op: Op) -> Size:
    return count((*op.result.type.dims, *(k for (_, k), _ in op["arrows"])))


def _max_keeps(op: Op, types: tuple[Type, ...], wants: tuple[bool, ...]) -> tuple[Keep, ...]:
    return kept_by_window(op, (types[0], types[0]), (False, True))


def _pool(name: str, doc: str, meaning, keeps, hidden: str, **more) -> None:
    register(
        OpDef(
            name,
            "reduction",
            doc,
            _pool_shape,
            _pool_source,
            meaning,
            hidden=hidden,
            options={
                "stride": Option(None, ("int", "pair", "none")),
                "pad": Option("valid", ("word", "int", "pair"), PADS),
            },
            brackets=Brackets(arrows=(1, None), left="*", dots=False, bare=True, new=True),
            arrow=window_arrow,
            flops=_pool_flops,
            keeps=keeps,
            order=_pool_order,
            **more,
        )
    )


_pool(
    "max_pool",
    "The largest element of each window: `max_pool[Y * Ky -> Yo](x)`, where Ky, a dim of fixed "
    "size, is the window. It moves by its own size unless `stride` says otherwise. `pad` is as "
    "for `conv`; padding never counts.",
    _max_meaning,
    _max_keeps,
    "least",
)
_pool(
    "mean_pool",
    "The mean of each window: `mean_pool[Y * Ky -> Yo](x)`, where Ky, a dim of fixed size, is the "
    "window. It moves by its own size unless `stride` says otherwise. `pad` is as for `conv`; the "
    "mean is of the elements that are not padding.",
    _mean_meaning,
    nothing,
    "mean",
    also=("avg_pool",),
    precision="wide",
    linear=True,
)


# resize


def _resize_shape(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
    (x,) = types
    left = {y: to for (y,), (to,) in op["arrows"]}
    needs(op, x, tuple(left))
    if x.kind == "bool" or op.get("method", "nearest") != "nearest":
        check_floats(op, types)
    dims = [left.get(d, d) for d in x.dims]
    if len(set(dims)) < len(dims):
        twice = next(d for d in dims if dims.count(d) > 1)
        raise ShapeError("dim-twice", f"the result of resize would have {twice.name} twice")
    return (x.with_dims(dims),)


def _resize_arrow(name: str, left: Sequence[Dim], right, attrs):
    if right[0] is None:
        raise unknown_size(name, f"to what size {left[0].name} is to be brought")
    return (right[0],), ()


def _resize_order(op: Op, orders: tuple[Order, ...]) -> Orders:
    wanted, results = _pool_order(op, (squeezed(orders[0]),))
    return wanted, results


def _resize_source(c: Source) -> str:
    order, method = c.op.result.order, c.op.get("method", "nearest")
    assert order is not None
    smooth = c.op.get("antialias", False)
    more = "" if method == "nearest" or smooth else ", antialias=False"
    return f'jax.image.resize({c.arg(0)}, {c.shape(order)}, "{method}"{more})'


def _linear(np, x):
    return np.maximum(0, 1 - x)


def _cubic(np, x):
    """The kernel of Keys (1981) with a = -1/2."""
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def _resize_meaning(np, args, op):
    (x,) = args
    array, dims, method = x.array, list(x.dims), op.get("method", "nearest")
    for (y,), (to,) in op["arrows"]:
        axis = dims.index(y)
        size = array.shape[axis]
        place = (np.arange(to.size.value) + 0.5) * size / to.size.value
        if method == "nearest":
            array = array.take(np.floor(place).astype(int), axis)
        else:
            wide = max(size / to.size.value, 1) if op.get("antialias", False) else 1
            distance = abs(place[:, None] - 0.5 - np.arange(size)) / wide
            weight = {"linear": _linear, "cubic": _cubic}[method](np, distance)
            weight = weight / weight.sum(1, keepdims=True)
            array = np.moveaxis(np.tensordot(array, weight, ((axis,), (1,))), -1, axis)
        dims[axis] = to
    return Named(array, tuple(dims))


register(
    OpDef(
        "resize",
        "reduction",
        "Another resolution: `resize[Y -> Yo](x)`. Position yo lies at (yo + 1/2)·Y/Yo - 1/2; the "
        "result is the element nearest to it or, with `method = linear`, between its two "
        "neighbours, or, with `cubic`, on a curve through four (Keys 1981). Where the resolution "
        "falls, `antialias` takes the mean of what is left out too.",
        _resize_shape,
        _resize_source,
        _resize_meaning,
        options={
            "method": Option("nearest", ("word",), ("nearest", "linear", "cubic")),
            "antialias": Option(False, ("bool",)),
        },
        brackets=Brackets(arrows=(1, None), dots=False),
        arrow=_resize_arrow,
        flops=lambda types, op: op.result.type.elements() * 4,
        keeps=nothing,
        order=_resize_order,
        also=("interpolate", "upsample"),
        linear=True,
    )
)
