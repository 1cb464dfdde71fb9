"""Convolutions and their transposes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..core import Dim, Op, Order, Type, flat
from ..named import Named, union
from ..registry import Brackets, Keep, Levels, OpDef, Option, ShapeError, Source, register
from ..size import Size
from .common import count
from .product import product_dtype
from .shape import Orders, needs
from .window import (
    PADS,
    check_floats,
    continued,
    padded,
    steps,
    tuple_of,
    window_arrow,
    windowed,
    windows,
    with_continued,
)

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
    check_floats(op, types)
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


def _conv_source(c: Source) -> str:
    r = _roles(c.op, flat(c.orders[0]), flat(c.orders[1]))
    rank, more = len(r.spatial), ""
    stride, dilation = (steps(c.op, name, r.spatial) for name in ("stride", "dilation"))
    if c.op.name == "conv":
        x, padding = padded(c, r.spatial)
        w, strides = c.arg(1), tuple_of(stride)
    else:
        x, strides = with_continued(c), tuple_of([1] * rank)
        w = f"{c.arg(1, Levels.ATOM)}[{', '.join(['::-1'] * rank)}]"
        ends, found, again = [], windows(c.op), continued(c.op)
        for y, k, wide, step in zip(r.spatial, r.kernel, stride, dilation, strict=True):
            reach, (first, last) = (k.size - 1) * step, again.get(y, (0, 0))
            before = reach - found[y].before - first * wide
            after = reach - found[y].after - last * wide
            ends.append(f"({c.size(before)}, {c.size(after)})")
        padding = tuple_of(ends)
        if set(stride) != {1}:
            more += f", lhs_dilation={tuple_of(stride)}"
    if set(dilation) != {1}:
        more += f", rhs_dilation={tuple_of(dilation)}"
    more += f", dimension_numbers={_layouts(rank)}"
    if r.groups:
        more += f", feature_group_count={c.size(count(r.groups))}"
    if c.op.get("accumulate"):
        more += f", preferred_element_type={c.dtype(str(c.op['accumulate']))}"
    return f"lax.conv_general_dilated({x}, {w}, {strides}, {padding}{more})"


def _sum_of_product(a: Named, b: Named, dims: Sequence[Dim]) -> Named:
    every = union(a, b)
    gone = tuple(i for i, d in enumerate(every) if d in dims)
    found = tuple(d for d in every if d not in dims)
    return Named((a.over(every) * b.over(every)).sum(gone), found)


def _conv_meaning(np, args, op):
    kernel = [left[1] for left, _ in op["arrows"]]
    return _sum_of_product(windowed(np, args[0], op), args[1], [*op.get("dims", ()), *kernel])


def _transpose_meaning(np, args, op):
    """Every element of x adds the kernel, scaled by it, to the result."""
    strides, dilations = (
        dict(zip(spatial, steps(op, name, spatial), strict=True))
        for spatial in [[y for (y, _), _ in op["arrows"]]]
        for name in ("stride", "dilation")
    )
    grown = _sum_of_product(args[0], args[1], op.get("dims", ()))
    array = grown.array
    dims: list[Any] = list(grown.dims)  # those done are in tuples: a dim may keep its name
    for (y, k), (to,) in op["arrows"]:
        out, before, _, _ = windows(op)[y]
        array = np.moveaxis(array, (dims.index(y), dims.index(k)), (0, 1))
        dims = [(to,), *(d for d in dims if d not in (y, k))]
        result = np.zeros((out.value, *array.shape[2:]))
        for i in range(array.shape[0]):
            for j in range(array.shape[1]):
                at = i * strides[y] + j * dilations[y] - before.value
                at = at % out.value if op.get("pad") == "circular" else at
                if 0 <= at < out.value:
                    result[at] += array[i, j]
        array = result
    return Named(array, tuple(d[0] if isinstance(d, tuple) else d for d in dims))


def _conv_flops(types: tuple[Type, ...], op: Op) -> Size:
    r = _roles(op, types[0].dims, types[1].dims)
    places = r.spatial if op.name == "conv_transpose" else r.slid
    return 2 * count((*places, *r.batch, *types[1].dims))


def kept_by_window(op: Op, types: tuple[Type, ...], wants: tuple[bool, ...]) -> tuple[Keep, ...]:
    found = []
    if wants[1]:
        x, ends = types[0], continued(op)
        if ends:
            dims = [
                Dim(-1 - d.id, d.name, d.size + sum(ends[d])) if d in ends else d for d in x.dims
            ]
            found.append(Keep("internal", type=x.with_dims(dims)))
        else:
            found.append(Keep("operand", 0))
    if wants[0]:
        flipped = op.name == "conv_transpose"
        found.append(Keep("internal", type=types[1]) if flipped else Keep("operand", 1))
    return tuple(found)


def _convolution(name: str, doc: str, meaning) -> None:
    words = PADS if name == "conv" else tuple(pad for pad in PADS if pad != "reflect")
    register(
        OpDef(
            name,
            "product",
            doc,
            _conv_shape,
            _conv_source,
            meaning,
            operands=("x", "w"),
            hidden="zero",
            options={
                "stride": Option(1, ("int", "pair")),
                "pad": Option("same", ("word", "int", "pair"), words),
                "dilation": Option(1, ("int", "pair")),
            },
            brackets=Brackets(dims=(0, None), arrows=(1, None), left="*", dots=False, bare=True),
            arrow=window_arrow,
            precision="product",
            flops=_conv_flops,
            keeps=kept_by_window,
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
    "pair of numbers. `stride`, `dilation` and pairs of padding may be given for each window, in "
    "the order of the brackets: `stride = (2, 1)`, `pad = ((0, 1), (2, 2))`.",
    _conv_meaning,
)
_convolution(
    "conv_transpose",
    "The transpose of `conv`: `conv_transpose[Y * Ky -> Yo, C](x, w)` adds, for each y, x[y] · "
    "w[ky] to the result at stride·y + dilation·ky - before. Its size is (Y - 1)·stride + (Ky - "
    "1)·dilation + 1, of which `pad` cuts ends: none (`valid`), a number at each, a pair of "
    "numbers, or as many as leave Y·stride, evenly (`same`, an odd remainder at the end) or at "
    "the end (`causal`); `circular` adds to the other end what `same` cuts.",
    _transpose_meaning,
)
