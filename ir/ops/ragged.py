"""Products of which each row has a matrix of its own."""

from __future__ import annotations

from ..core import Op, Order, Type, flat
from ..named import Named
from ..registry import Brackets, Keep, OpDef, ShapeError, Source, register
from ..size import Size
from .common import count
from .product import product_dtype
from .shape import Orders, lacks, needs


def _shape(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
    x, w, counts = types
    rows, groups, summed = op["dims"]
    for i, (type_, has, has_not) in enumerate(
        ((x, (rows, summed), (groups,)), (w, (groups, summed), (rows,)), (counts, (groups,), ()))
    ):
        needs(op, type_, has, i)
        lacks(op, type_, has_not, i)
        if type_.kind != ("int" if i == 2 else "float"):
            wants = "whole numbers of rows" if i == 2 else "floats"
            raise ShapeError("wrong-dtype", f"{op.name} takes {wants}", i, (f"this is {type_}",))
    for i, dims in ((0, {rows, summed}), (2, {groups})):
        left = [d.name for d in types[i].dims if d not in dims]
        if left:
            raise ShapeError(
                "dim-left-over",
                f"{op.name} takes no other dims in {('x', 'w', 'counts')[i]}, which has "
                + ", ".join(left),
                i,
                (f"this is {types[i]}",),
                f"merge {', '.join(left)} and {rows.name} into one dim first" if i == 0 else "",
            )
    out = tuple(d for d in w.dims if d not in (groups, summed))
    return (Type(product_dtype(types[:2], op), (rows, *out)),)


def _order(op: Op, orders: tuple[Order, ...]) -> Orders:
    rows, groups, summed = op["dims"]
    out = tuple(d for d in flat(orders[1]) if d not in (groups, summed))
    wanted = ((rows,), (summed,)), ((groups,), (summed,), out), ((groups,),)
    return wanted, (((rows,), out),)


def _source(c: Source) -> str:
    more = ""
    if c.op.get("accumulate"):
        more = f", preferred_element_type={c.dtype(str(c.op['accumulate']))}"
    return f"lax.ragged_dot({c.arg(0)}, {c.arg(1)}, {c.arg(2)}{more})"


def _meaning(np, args, op):
    rows, groups, summed = op["dims"]
    x, counts = args[0].over((rows, summed)), args[2].over((groups,))
    out = args[1].without((groups, summed))
    w = args[1].over((groups, summed, *out))
    group = np.searchsorted(np.cumsum(counts), np.arange(len(x)), side="right")
    found = np.zeros((len(x), *w.shape[2:]))
    for row, g in enumerate(group):
        if g < len(w):
            found[row] = np.tensordot(x[row], w[g], 1)
    return Named(found, (rows, *out))


def _flops(types: tuple[Type, ...], op: Op) -> Size:
    return 2 * count((*op.result.type.dims, op["dims"][2]))


def _keeps(op: Op, types: tuple[Type, ...], wants: tuple[bool, ...]) -> tuple[Keep, ...]:
    others = [Keep("operand", 1 - i) for i in (0, 1) if wants[i]]
    return (*others, Keep("operand", 2))


register(
    OpDef(
        "ragged_dot",
        "product",
        "The product of rows with the matrix of their group, where rows stand group by group: "
        "`ragged_dot[S, E, D](x, w, counts)` is Σ_d x[s, d] · w[e, d], e being the group of row s: "
        "0 for the first counts[0] rows, 1 for the next counts[1], and so on. Rows after the last "
        "group give 0. For experts that drop nothing: sort by expert, then this.",
        _shape,
        _source,
        _meaning,
        operands=("x", "w", "counts"),
        counts=("counts",),
        brackets=Brackets(dims=(3, 3), dots=False, ordered=True),
        precision="product",
        flops=_flops,
        keeps=_keeps,
        order=_order,
        mapped=False,
    )
)
