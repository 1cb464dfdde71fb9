"""Windows that slide along dims: convolutions, pools, and changes of resolution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..claim import AtLeast, Equal
from ..core import Dim, Op, Order, Type, flat
from ..named import Named, union
from ..order import apart, squeezed
from ..registry import Brackets, Code, Keep, Levels, OpDef, Option, ShapeError, Source, register
from ..size import Size, maximum
from .common import count
from .product import product_dtype
from .shape import Orders, needs, pad_widths, unknown_size

PADS = ("same", "valid", "causal", "circular", "reflect")


class Window(NamedTuple):
    """A window along a dim.

    Attributes:
        out: how many places it has.
        before, after: by how much the dim is padded (of `conv_transpose`: the result cut).
        claims: what must hold of the sizes, with reasons.
    """

    out: Size
    before: Size
    after: Size
    claims: tuple[tuple[AtLeast | Equal, str], ...] = ()


def _positive(attrs: Mapping[str, object], name: str, default: int = 1) -> int:
    value = attrs.get(name, default)
    value = default if value is None else value
    assert isinstance(value, int)
    if value < 1:
        raise ShapeError("option-out-of-range", f"{name} must be at least 1, not {value}")
    return value


def _pads(pad: object) -> tuple[int, int]:
    before, after = pad if isinstance(pad, tuple) else (pad, pad)
    if before < 0 or after < 0:
        raise ShapeError("option-out-of-range", "pad must not be negative")
    return before, after


def _span(attrs: Mapping[str, object], kernel: Size) -> Size:
    """How many positions a window covers, those that dilation leaves out included."""
    return (kernel - 1) * _positive(attrs, "dilation") + 1


def window(attrs: Mapping[str, object], size: Size, kernel: Size, name: str) -> Window:
    """The window of a convolution or pool along a dim of that size and name."""
    stride, span = _positive(attrs, "stride"), _span(attrs, kernel)
    pad = attrs["pad"]
    zero = Size.of(0)
    if pad == "valid":
        fits = AtLeast(size, span), f"a window must fit into {name}"
        return Window((size - span) // stride + 1, zero, zero, (fits,))
    if pad in PADS:
        out = (size + (stride - 1)) // stride
        if pad == "causal":
            return Window(out, span - 1, zero)
        total = span - 1
        if pad == "same":
            total = maximum((out - 1) * stride + span - size, 0)
        before = total // 2
        after = total - before
        if pad == "reflect":
            fits = AtLeast(size, after + 1), f"{name} is reflected at its ends"
            return Window(out, before, after, (fits,))
        return Window(out, before, after)
    before, after = map(Size.of, _pads(pad))
    padded = size + before + after
    fits = AtLeast(padded, span), f"a window must fit into {name} with its padding"
    return Window((padded - span) // stride + 1, before, after, (fits,))


def window_transposed(attrs: Mapping[str, object], size: Size, kernel: Size, name: str) -> Window:
    """What `conv_transpose` makes of a dim of that size, and how much of it is cut."""
    stride, span = _positive(attrs, "stride"), _span(attrs, kernel)
    pad = attrs["pad"]
    whole = (size - 1) * stride + span
    if pad == "valid":
        return Window(whole, Size.of(0), Size.of(0))
    if pad in ("same", "causal"):
        total = span - stride
        before = maximum(total, 0) // 2 if pad == "same" else Size.of(0)
        return Window(size * stride, before, total - before)
    if isinstance(pad, str):
        raise ShapeError("option-out-of-range", f"conv_transpose has no pad = {pad}")
    before, after = map(Size.of, _pads(pad))
    out = whole - before - after
    left = AtLeast(out, 1), f"something must be left of {name} when its ends are cut"
    return Window(out, before, after, (left,))


def _attrs(op: Op) -> dict[str, object]:
    """The options of a window with defaults filled in."""
    pool = op.name.endswith("pool")
    return {"stride": None if pool else 1, "dilation": 1, "pad": _PAD[op.name], **dict(op.attrs)}


_PAD = {"conv": "same", "conv_transpose": "same", "max_pool": "valid", "mean_pool": "valid"}


def windows(op: Op) -> dict[Dim, Window]:
    """The window along each dim that an op slides along."""
    attrs = _attrs(op)
    make = window_transposed if op.name == "conv_transpose" else window
    found = {}
    for (y, k), _ in op["arrows"]:
        own = attrs if attrs["stride"] is not None else {**attrs, "stride": k.size.value}
        found[y] = make(own, y.size, k.size, y.name)
    return found


def _arrow(name: str, left: Sequence[Dim], right, given):
    y, k = left
    attrs = {"stride": 1, "dilation": 1, "pad": _PAD[name], **given}
    if name.endswith("pool"):
        _fixed(name, k)
        if given.get("stride") is None:
            attrs["stride"] = k.size.value
        pad = attrs["pad"]
        if not isinstance(pad, str) and max(_pads(pad)) >= k.size.value:
            raise ShapeError(
                "option-out-of-range",
                f"pad must be below {k.name} = {k.size}, the size of a window",
            )
    make = window_transposed if name == "conv_transpose" else window
    found = make(attrs, y.size, k.size, y.name)
    if right[0] is None:
        return (found.out,), found.claims
    fits = Equal(found.out, right[0]), f"{name} along {y.name} gives a dim of that size"
    return (right[0],), (fits, *found.claims)


def _fixed(name: str, dim: Dim) -> None:
    if not dim.size.is_constant:
        raise ShapeError(
            "size-not-fixed",
            f"{name} needs a window of fixed size, and that of {dim.name} is {dim.size}",
        )


def _float(op: Op, types: Sequence[Type]) -> None:
    for i, type_ in enumerate(types):
        if type_.kind != "float":
            raise ShapeError("not-float", f"{op.name} takes floats", i, (f"this is {type_}",))


# conv and conv_transpose


class Roles(NamedTuple):
    """What the dims of a convolution are for. Spatial dims are those left of the arrows."""

    spatial: tuple[Dim, ...]
    kernel: tuple[Dim, ...]
    slid: tuple[Dim, ...]
    batch: tuple[Dim, ...]
    groups: tuple[Dim, ...]
    summed: tuple[Dim, ...]
    out: tuple[Dim, ...]


def _roles(op: Op, x: Sequence[Dim], w: Sequence[Dim]) -> Roles:
    """The roles, each in the order in which its dims stand in x, or else in w."""
    arrows = {left[0]: (left[1], right[0]) for left, right in op["arrows"]}
    spatial = tuple(d for d in x if d in arrows)
    kernel = tuple(arrows[d][0] for d in spatial)
    slid = tuple(arrows[d][1] for d in spatial)
    dims = op.get("dims", ())
    rest = [d for d in x if d not in arrows]
    return Roles(
        spatial,
        kernel,
        slid,
        tuple(d for d in rest if d not in w),
        tuple(d for d in rest if d in w and d not in dims),
        tuple(d for d in rest if d in dims),
        tuple(d for d in w if d not in x and d not in kernel),
    )


def _conv_shape(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
    x, w = types
    _float(op, types)
    for (y, k), _ in op["arrows"]:
        needs(op, x, (y,), 0)
        needs(op, w, (k,), 1)
        for type_, dim, i in ((w, y, 1), (x, k, 0)):
            if dim in type_.dims:
                raise ShapeError(
                    "dim-twice",
                    f"{op.name} slides {k.name} of the kernel along {y.name} of x, but "
                    f"{('x', 'the kernel')[i]} has {dim.name} too",
                    i,
                    (f"it is {type_}",),
                )
    for i, type_ in enumerate(types):
        needs(op, type_, op.get("dims", ()), i)
    roles = _roles(op, x.dims, w.dims)
    dims = (*roles.batch, *roles.slid, *roles.groups, *roles.out)
    if len(set(dims)) < len(dims):
        twice = next(d for d in dims if dims.count(d) > 1)
        raise ShapeError("dim-twice", f"the result of {op.name} would have {twice.name} twice")
    windows(op)
    return (Type(product_dtype(types, op), dims),)


def _conv_order(op: Op, orders: tuple[Order, ...]) -> Orders:
    r = _roles(op, flat(orders[0]), flat(orders[1]))
    x = (r.batch, *((d,) for d in r.spatial), (*r.groups, *r.summed))
    w = (*((d,) for d in r.kernel), r.summed, (*r.groups, *r.out))
    return (x, w), ((r.batch, *((d,) for d in r.slid), (*r.groups, *r.out)),)


def _layouts(rank: int) -> str:
    """The `dimension_numbers`: features last, as `NHWC` and `HWIO`."""
    space = {1: "W", 2: "HW", 3: "DHW"}.get(rank) or "abcdefghijklm"[:rank]
    return f'("N{space}C", "{space}IO", "N{space}C")'


def _tuple(items: Sequence[object]) -> str:
    return "(" + ", ".join(map(str, items)) + ("," if len(items) == 1 else "") + ")"


def _padded(c: Source, spatial: Sequence[Dim]) -> tuple[str, str]:
    """Source of x, padded where lax has no such padding, and of the padding that is left to do."""
    found, pad = windows(c.op), _attrs(c.op)["pad"]
    x = c.arg(0)
    if pad in ("same", "valid"):
        return x, f'"{str(pad).upper()}"'
    ends = {d: (c.size(found[d].before), c.size(found[d].after)) for d in spatial}
    if pad in ("circular", "reflect"):
        mode = "wrap" if pad == "circular" else "reflect"
        return f'jnp.pad({x}, {pad_widths(c.orders[0], ends)}, mode="{mode}")', '"VALID"'
    return x, _tuple([f"({a}, {b})" for a, b in ends.values()])


def _conv_source(c: Source) -> str:
    r = _roles(c.op, flat(c.orders[0]), flat(c.orders[1]))
    attrs, rank = _attrs(c.op), len(r.spatial)
    stride, dilation = attrs["stride"], attrs["dilation"]
    more = ""
    if c.op.name == "conv":
        x, padding = _padded(c, r.spatial)
        w, strides = c.arg(1), _tuple([stride] * rank)
    else:
        x, strides = c.arg(0), _tuple([1] * rank)
        w = f"{c.arg(1, Levels.ATOM)}[{', '.join(['::-1'] * rank)}]"
        ends, found = [], windows(c.op)
        for y, k in zip(r.spatial, r.kernel, strict=True):
            reach = _span(attrs, k.size) - 1
            before, after = reach - found[y].before, reach - found[y].after
            ends.append(f"({c.size(before)}, {c.size(after)})")
        padding = _tuple(ends)
        if stride != 1:
            more += f", lhs_dilation={_tuple([stride] * rank)}"
    if dilation != 1:
        more += f", rhs_dilation={_tuple([dilation] * rank)}"
    more += f", dimension_numbers={_layouts(rank)}"
    if r.groups:
        more += f", feature_group_count={c.size(count(r.groups))}"
    if c.op.get("accumulate"):
        more += f", preferred_element_type={c.dtype(str(c.op['accumulate']))}"
    return f"lax.conv_general_dilated({x}, {w}, {strides}, {padding}{more})"


def _windowed(np, x: Named, op: Op, fill: float = 0.0) -> Named:
    """x with each dim that is slid along as two: places of the window, and places within it."""
    attrs = _attrs(op)
    modes = {"circular": "wrap", "reflect": "reflect"}
    array, dims = x.array, list(x.dims)
    found = windows(op)
    for (y, k), (to,) in op["arrows"]:
        out, before, after, _ = found[y]
        axis, width = dims.index(y), k.size.value
        ends = [(0, 0)] * len(dims)
        ends[axis] = (before.value, after.value)
        if attrs["pad"] in modes:
            array = np.pad(array, ends, mode=modes[attrs["pad"]])
        else:
            array = np.pad(array, ends, constant_values=fill)
        stride = width if attrs["stride"] is None else attrs["stride"]
        places = np.arange(out.value)[:, None] * stride + np.arange(width) * attrs["dilation"]
        array = array.take(places, axis)
        # the place may go by the name of a dim that is still to be slid along: only at the end
        dims[axis : axis + 1] = [(to,), k]  # type: ignore[list-item]
    return Named(array, tuple(d[0] if isinstance(d, tuple) else d for d in dims))


def _sum_of_product(a: Named, b: Named, dims: Sequence[Dim]) -> Named:
    every = union(a, b)
    gone = tuple(i for i, d in enumerate(every) if d in dims)
    found = tuple(d for d in every if d not in dims)
    return Named((a.over(every) * b.over(every)).sum(gone), found)


def _conv_meaning(np, args, op):
    kernel = [left[1] for left, _ in op["arrows"]]
    return _sum_of_product(_windowed(np, args[0], op), args[1], [*op.get("dims", ()), *kernel])


def _transpose_meaning(np, args, op):
    """Every element of x adds the kernel, scaled by it, to the result."""
    attrs = _attrs(op)
    grown = _sum_of_product(args[0], args[1], op.get("dims", ()))
    array, dims = grown.array, list(grown.dims)
    for (y, k), (to,) in op["arrows"]:
        out, before, _, _ = windows(op)[y]
        array = np.moveaxis(array, (dims.index(y), dims.index(k)), (0, 1))
        dims = [(to,), *(d for d in dims if d not in (y, k))]
        result = np.zeros((out.value, *array.shape[2:]))
        for i in range(array.shape[0]):
            for j in range(array.shape[1]):
                at = i * attrs["stride"] + j * attrs["dilation"] - before.value
                if 0 <= at < out.value:
                    result[at] += array[i, j]
        array = result
    return Named(array, tuple(d[0] if isinstance(d, tuple) else d for d in dims))


def _conv_flops(types: tuple[Type, ...], op: Op) -> Size:
    r = _roles(op, types[0].dims, types[1].dims)
    places = r.spatial if op.name == "conv_transpose" else r.slid
    return 2 * count((*places, *r.batch, *types[1].dims))


def _conv_keeps(op: Op, types: tuple[Type, ...], wants: tuple[bool, ...]) -> tuple[Keep, ...]:
    found, pad = [], _attrs(op)["pad"]
    if wants[1]:
        x = types[0]
        if pad in ("circular", "reflect"):
            ends = windows(op)
            dims = [
                Dim(-1 - d.id, d.name, d.size + ends[d].before + ends[d].after) if d in ends else d
                for d in x.dims
            ]
            found.append(Keep("internal", type=x.with_dims(dims)))
        else:
            found.append(Keep("operand", 0))
    if wants[0]:
        flipped = op.name == "conv_transpose"
        found.append(Keep("internal", type=types[1]) if flipped else Keep("operand", 1))
    return tuple(found)


def _convolution(name: str, doc: str, meaning) -> None:
    words = PADS if name == "conv" else ("same", "valid", "causal")
    register(
        OpDef(
            name,
            "product",
            doc,
            _conv_shape,
            _conv_source,
            meaning,
            operands=("x", "w"),
            options={
                "stride": Option(1, ("int",)),
                "pad": Option("same", ("word", "int", "pair"), words),
                "dilation": Option(1, ("int",)),
            },
            brackets=Brackets(dims=(0, None), arrows=(1, None), left="*", dots=False, bare=True),
            arrow=_arrow,
            precision="product",
            flops=_conv_flops,
            keeps=_conv_keeps,
            order=_conv_order,
            linear=True,
        )
    )


_convolution(
    "conv",
    "A kernel slid along dims: `conv[Y * Ky -> Yo, C](x, w)` has at yo the sum of x[stride·yo + "
    "dilation·ky - before] · w[ky] over ky and c. Without an arrow, `Y * Ky`, Y keeps its name "
    "and must keep its size. Dims of x alone are carried along, dims of w alone are new features, "
    "and dims of both that are not in the brackets are paired (depthwise, grouped). `pad` is "
    "`same` (⌈Y / stride⌉ places, an odd remainder of zeros at the end), `valid` (none), `causal` "
    "(all zeros before the start), `circular`, `reflect`, a number of zeros at each end, or a "
    "pair of numbers.",
    _conv_meaning,
)
_convolution(
    "conv_transpose",
    "The transpose of `conv`: `conv_transpose[Y * Ky -> Yo, C](x, w)` adds, for each y, x[y] · "
    "w[ky] to the result at stride·y + dilation·ky - before. Its size is (Y - 1)·stride + (Ky - "
    "1)·dilation + 1, of which `pad` cuts ends: none (`valid`), a number at each, a pair of "
    "numbers, or as many as leave Y·stride, evenly (`same`, an odd remainder at the end) or at "
    "the end (`causal`).",
    _transpose_meaning,
)


# pools


def _pool_shape(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
    (x,) = types
    left = {y: to for (y, _), (to,) in op["arrows"]}
    needs(op, x, tuple(left))
    for (_, k), _ in op["arrows"]:
        _fixed(op.name, k)
        if k in x.dims:
            raise ShapeError(
                "dim-twice",
                f"{k.name} is the window of {op.name}, but its operand has a dim {k.name}",
                0,
                (f"the operand is {x}",),
            )
    if op.name == "mean_pool" or x.kind == "bool":
        _float(op, types)
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
    order, attrs = c.orders[0], _attrs(c.op)
    spatial = [axis[0] for axis in order if axis and axis[0] in left]
    x, padding = _padded(c, spatial)
    sides = [left[axis[0]].size.value if axis and axis[0] in left else 1 for axis in order]
    stride = attrs["stride"]
    steps = [
        stride if stride is not None and axis and axis[0] in left else side
        for axis, side in zip(order, sides, strict=True)
    ]
    if not padding.startswith('"'):
        ends = windows(c.op)
        padding = _tuple(
            [
                f"({ends[axis[0]].before}, {ends[axis[0]].after})"
                if axis and axis[0] in left
                else "(0, 0)"
                for axis in order
            ]
        )
    where = f"{_tuple(sides)}, {_tuple(steps)}, {padding}"
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
    found = _windowed(np, args[0], op, least)
    inside = tuple(found.axis(k) for (_, k), _ in op["arrows"])
    return Named(found.array.max(inside), found.without([k for (_, k), _ in op["arrows"]]))


def _mean_meaning(np, args, op):
    found = _windowed(np, args[0], op, np.nan)
    inside = tuple(found.axis(k) for (_, k), _ in op["arrows"])
    return Named(np.nanmean(found.array, inside), found.without([k for (_, k), _ in op["arrows"]]))


def _pool_flops(types: tuple[Type, ...], op: Op) -> Size:
    return count((*op.result.type.dims, *(k for (_, k), _ in op["arrows"])))


def _max_keeps(op: Op, types: tuple[Type, ...], wants: tuple[bool, ...]) -> tuple[Keep, ...]:
    return _conv_keeps(op, (types[0], types[0]), (False, True))


def _nothing(op: Op, types: tuple[Type, ...], wants: tuple[bool, ...]) -> tuple[Keep, ...]:
    return ()


def _pool(name: str, doc: str, meaning, keeps, **more) -> None:
    register(
        OpDef(
            name,
            "reduction",
            doc,
            _pool_shape,
            _pool_source,
            meaning,
            options={
                "stride": Option(None, ("int", "none")),
                "pad": Option("valid", ("word", "int", "pair"), PADS),
            },
            brackets=Brackets(arrows=(1, None), left="*", dots=False, bare=True, new=True),
            arrow=_arrow,
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
)
_pool(
    "mean_pool",
    "The mean of each window: `mean_pool[Y * Ky -> Yo](x)`, where Ky, a dim of fixed size, is the "
    "window. It moves by its own size unless `stride` says otherwise. `pad` is as for `conv`; the "
    "mean is of the elements that are not padding.",
    _mean_meaning,
    _nothing,
    precision="wide",
    linear=True,
)


# resize


def _resize_shape(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
    (x,) = types
    left = {y: to for (y,), (to,) in op["arrows"]}
    needs(op, x, tuple(left))
    if x.kind == "bool" or op.get("method", "nearest") != "nearest":
        _float(op, types)
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
    more = "" if method == "nearest" else ", antialias=False"
    return f'jax.image.resize({c.arg(0)}, {c.shape(order)}, "{method}"{more})'


def _resize_meaning(np, args, op):
    (x,) = args
    array, dims = x.array, list(x.dims)
    for (y,), (to,) in op["arrows"]:
        axis = dims.index(y)
        size = array.shape[axis]
        place = (np.arange(to.size.value) + 0.5) * size / to.size.value
        if op.get("method", "nearest") == "nearest":
            array = array.take(np.floor(place).astype(int), axis)
        else:
            place = np.clip(place - 0.5, 0, size - 1)
            weight = np.maximum(0, 1 - abs(place[:, None] - np.arange(size)))
            array = np.moveaxis(np.tensordot(array, weight, ((axis,), (1,))), -1, axis)
        dims[axis] = to
    return Named(array, tuple(dims))


register(
    OpDef(
        "resize",
        "reduction",
        "Another resolution: `resize[Y -> Yo](x)`. Position yo lies at (yo + 1/2)·Y/Yo - 1/2; the "
        "result is the element nearest to it or, with `method = linear`, between its two "
        "neighbours. Nothing is smoothed when the resolution falls.",
        _resize_shape,
        _resize_source,
        _resize_meaning,
        options={"method": Option("nearest", ("word",), ("nearest", "linear"))},
        brackets=Brackets(arrows=(1, None), dots=False),
        arrow=_resize_arrow,
        flops=lambda types, op: op.result.type.elements() * 4,
        keeps=_nothing,
        order=_resize_order,
        linear=True,
    )
)
