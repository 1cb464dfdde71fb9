"""Ops that find values by position, and positions by value."""

from __future__ import annotations

from ..claim import AtLeast
from ..core import Dim, Op, Order, Type
from ..named import Named
from ..order import apart, squeezed, without
from ..registry import Brackets, Keep, OpDef, Option, ShapeError, Source, register
from ..size import Size
from .common import check_dims, count
from .shape import Orders, arrow_of, lacks, needs, put, unknown_size


def _no_flops(types: tuple[Type, ...], op: Op) -> Size:
    return Size.of(0)


def _sorting_flops(types: tuple[Type, ...], op: Op) -> Size:
    """Comparisons of a sort, with 16 for the logarithm of its length."""
    return types[0].elements() * 16


def _nothing(op: Op, types: tuple[Type, ...], wants: tuple[bool, ...]) -> tuple[Keep, ...]:
    return ()


def _needs_ids(op: Op, types: tuple[Type, ...], operand: int) -> None:
    if types[operand].kind != "int":
        raise ShapeError(
            "not-int",
            f"{op.name} needs ids, which are ints",
            operand,
            (f"the operand is {types[operand]}",),
        )


# take


def _take_shape(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
    table, ids = types
    needs(op, table, op["dims"])
    _needs_ids(op, types, 1)
    rest = [d for d in table.dims if d not in op["dims"]]
    return (table.with_dims(dict.fromkeys((*rest, *ids.dims))),)


def _paired(table: Order, ids: Order, dim: Dim) -> set[Dim]:
    return {d for axis in table for d in axis if d != dim} & {d for axis in ids for d in axis}


def _take_order(op: Op, orders: tuple[Order, ...]) -> Orders:
    (dim,) = op["dims"]
    table, ids = map(squeezed, orders)
    paired = _paired(table, ids, dim)
    table = apart(table, (dim,))
    if not paired:
        return (table, ids), (put(table, (dim,), *ids),)
    table = apart(table, paired)
    own = tuple(d for axis in ids for d in axis if d not in paired)
    found = put(table, (dim,), own)
    wanted = tuple(
        own if axis == (dim,) else axis if paired.issuperset(axis) else () for axis in table
    )
    return (table, wanted), (found,)


def _take_source(c: Source) -> str:
    (dim,) = c.op["dims"]
    table, ids = c.arg(0), c.arg(1)
    if not _paired(c.orders[0], c.orders[1], dim):
        at = c.orders[0].index((dim,))
        return f'jnp.take({table}, {ids}, axis={at}, mode="clip")'
    return (
        f"jnp.take_along_axis({table}, {ids}, axis={c.axis(0, dim)}, "
        'mode="clip", wrap_negative_indices=False)'
    )


def _take_meaning(np, args, op):
    (dim,) = op["dims"]
    table, ids = args
    rest = table.without((dim,))
    found = tuple(dict.fromkeys((*rest, *ids.dims)))
    sizes = {d: a.size(d) for a in (ids, table) for d in a.dims}
    sizes |= {d: ids.size(d) for d in ids.dims}
    result = np.empty([sizes[d] for d in found], table.array.dtype)
    for at in np.ndindex(*result.shape):
        where = dict(zip(found, at, strict=True))
        id = ids.array[tuple(where[d] for d in ids.dims)]
        id = min(max(int(id), 0), table.size(dim) - 1)
        result[at] = table.array[tuple(id if d == dim else where[d] for d in table.dims)]
    return Named(result, found)


def _take_keeps(op: Op, types: tuple[Type, ...], wants: tuple[bool, ...]) -> tuple[Keep, ...]:
    return (Keep("operand", 1),) if wants[0] else ()


register(
    OpDef(
        "take",
        "lookup",
        "The entries of a table at ids: `take[V](table, ids)` has what the table has at v = ids. "
        "Dims that table and ids share are paired; the others of both stay. An id before the "
        "start of V reads the first entry, one past its end the last.",
        _take_shape,
        _take_source,
        _take_meaning,
        also=("gather", "embedding"),
        operands=("table", "ids"),
        brackets=Brackets(dims=(1, 1), dots=False),
        flops=_no_flops,
        keeps=_take_keeps,
        order=_take_order,
        ids=1,
    )
)


# one_hot


def _one_hot_shape(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
    _needs_ids(op, types, 0)
    lacks(op, types[0], op["dims"])
    return (Type("bool", (*types[0].dims, *op["dims"])),)


def _one_hot_source(c: Source) -> str:
    (dim,) = c.op["dims"]
    return f"jax.nn.one_hot({c.arg(0)}, {c.size(dim.size)}, dtype=bool)"


def _one_hot_meaning(np, args, op):
    (dim,) = op["dims"]
    places = np.arange(dim.size.value)
    return Named(args[0].array[..., None] == places, (*args[0].dims, dim))


def _one_hot_order(op: Op, orders: tuple[Order, ...]) -> Orders:
    return orders, ((*orders[0], tuple(op["dims"])),)


register(
    OpDef(
        "one_hot",
        "lookup",
        "1 at the position of the id and 0 elsewhere, as bools, which count as these: "
        "`one_hot[V](ids)` is true where v = ids. An id that is no position of V gives zeros. "
        "Sums and products of such are ints, and exact.",
        _one_hot_shape,
        _one_hot_source,
        _one_hot_meaning,
        operands=("ids",),
        brackets=Brackets(dims=(1, 1), dots=False, new=True),
        flops=lambda types, op: count(op.result.type.dims),
        keeps=_nothing,
        order=_one_hot_order,
        ids=0,
    )
)


# top_k, sort, argsort


def _top_shape(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
    left, right = arrow_of(op)
    needs(op, types[0], left)
    rest = [d for d in types[0].dims if d not in left]
    lacks(op, types[0].with_dims(rest), right)
    found = types[0].with_dims((*rest, *right))
    return found, found.with_dtype("int")


def _top_arrow(name, left, right, attrs):
    if right[0] is None:
        raise unknown_size(name, f"how many of {left[0].name} to take")
    reason = f"so many of {left[0].name} are taken"
    return (right[0],), ((AtLeast(left[0].size, right[0]), reason),)


def _top_source(c: Source) -> str:
    ((old,), (new,)) = arrow_of(c.op)
    axis = c.axis(0, old)
    more = f", axis={axis}" if axis != -1 else ""
    return f"lax.top_k({c.arg(0)}, {c.size(new.size)}{more})"


def _top_meaning(np, args, op):
    ((old,), (new,)) = arrow_of(op)
    rest = args[0].without((old,))
    array = args[0].over((*rest, old))
    ids = np.argsort(-array, axis=-1, kind="stable")[..., : new.size.value]
    found = (*rest, new)
    return Named(np.take_along_axis(array, ids, -1), found), Named(ids, found)


def _top_order(op: Op, orders: tuple[Order, ...]) -> Orders:
    ((old,), (new,)) = arrow_of(op)
    order = apart(squeezed(orders[0]), (old,))
    found = put(order, (old,), (new,))
    return (order,), (found, found)


def _top_keeps(op: Op, types: tuple[Type, ...], wants: tuple[bool, ...]) -> tuple[Keep, ...]:
    return (Keep("result", 1),)


register(
    OpDef(
        "top_k",
        "lookup",
        "The largest entries along a dim, largest first, and where they are: "
        "`values, ids = top_k[E -> N](x)`. Of equal entries the earlier comes first.",
        _top_shape,
        _top_source,
        _top_meaning,
        hidden="least",
        brackets=Brackets(arrows=(1, 1), dots=False),
        arrow=_top_arrow,
        flops=_sorting_flops,
        keeps=_top_keeps,
        order=_top_order,
    )
)


def _sort_shape(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
    check_dims(op, types[0])
    return types


def _argsort_shape(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
    check_dims(op, types[0])
    return (types[0].with_dtype("int"),)


def _sort_source(c: Source) -> str:
    axis = c.axis(0, c.op["dims"][0])
    more = ", descending=True" if c.op.get("descending", False) else ""
    return f"jnp.{c.op.name}({c.arg(0)}, axis={axis}{more})"


def _places(np, x: Named, op: Op):
    array = -x.array if op.get("descending", False) else x.array
    return np.argsort(array, axis=x.axis(op["dims"][0]), kind="stable")


def _sort_meaning(np, args, op):
    (x,) = args
    places = _places(np, x, op)
    return Named(np.take_along_axis(x.array, places, x.axis(op["dims"][0])), x.dims)


def _argsort_meaning(np, args, op):
    return Named(_places(np, args[0], op), args[0].dims)


def _sort_order(op: Op, orders: tuple[Order, ...]) -> Orders:
    order = apart(squeezed(orders[0]), op["dims"])
    return (order,), (order,)


def _sort_keeps(op: Op, types: tuple[Type, ...], wants: tuple[bool, ...]) -> tuple[Keep, ...]:
    return (Keep("internal", type=types[0].with_dtype("int")),)


def _sorting(name: str, doc: str, shape, meaning, keeps) -> None:
    register(
        OpDef(
            name,
            "lookup",
            doc,
            shape,
            _sort_source,
            meaning,
            hidden="descending",
            options={"descending": Option(False, ("bool",))},
            brackets=Brackets(dims=(1, 1), dots=False),
            flops=_sorting_flops,
            keeps=keeps,
            order=_sort_order,
        )
    )


_sorting(
    "sort",
    "The entries along a dim in order: `sort[T](x)`, smallest first, or largest with "
    "`descending`; what is masked comes last.",
    _sort_shape,
    _sort_meaning,
    _sort_keeps,
)
_sorting(
    "argsort",
    "Where the entries along a dim are when they are put in order: `take[T](x, argsort[T](x))` is "
    "`sort[T](x)`. Of equal entries the earlier comes first.",
    _argsort_shape,
    _argsort_meaning,
    _nothing,
)


# scatter_add


def _scatter_shape(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
    left, right = arrow_of(op)
    x, ids = types
    needs(op, x, left, 0)
    needs(op, ids, left, 1)
    _needs_ids(op, types, 1)
    more = [d for d in ids.dims if d not in x.dims]
    if more:
        names = ", ".join(d.name for d in more)
        raise ShapeError(
            "dims-do-not-align",
            f"scatter_add needs every dim of the ids in x, which lacks {names}",
            1,
            (f"x is {x}", f"the ids are {ids}"),
            f"expand[{names}](…) around x",
        )
    rest = [d for d in x.dims if d not in left]
    lacks(op, x.with_dims(rest), right)
    return (x.with_dims((*rest, *right)),)


def _scatter_arrow(name, left, right, attrs):
    if right[0] is None:
        raise unknown_size(name, f"how many places {left[0].name} is scattered to")
    return (right[0],), ()


def _scatter_order(op: Op, orders: tuple[Order, ...]) -> Orders:
    ((old,), (new,)) = arrow_of(op)
    x, ids = map(squeezed, orders)
    paired = tuple(d for axis in x for d in axis if d != old and any(d in i for i in ids))
    x = apart(x, (old, *paired))
    rest = without(x, (old, *paired))
    first = (paired,) if paired else ()
    wanted = (*first, (old,), *rest), (*first, (old,))
    return wanted, ((*first, (new,), *rest),)


def _scatter_source(c: Source) -> str:
    (_, (new,)) = arrow_of(c.op)
    size = c.size(new.size)
    if len(c.orders[1]) == 1:
        return f"jax.ops.segment_sum({c.arg(0)}, {c.arg(1)}, {size})"
    each = f"lambda x, ids: jax.ops.segment_sum(x, ids, {size})"
    return f"jax.vmap({each})({c.arg(0)}, {c.arg(1)})"


def _scatter_meaning(np, args, op):
    ((old,), (new,)) = arrow_of(op)
    x, ids = args
    found = (new, *x.without((old,)))
    result = np.zeros([new.size.value, *(x.size(d) for d in found[1:])], x.array.dtype)
    for at in np.ndindex(*x.array.shape):
        where = dict(zip(x.dims, at, strict=True))
        id = int(ids.array[tuple(where[d] for d in ids.dims)])
        if 0 <= id < new.size.value:
            result[(id, *(where[d] for d in found[1:]))] += x.array[at]
    return Named(result, found)


def _scatter_keeps(op: Op, types: tuple[Type, ...], wants: tuple[bool, ...]) -> tuple[Keep, ...]:
    return (Keep("operand", 1),)


register(
    OpDef(
        "scatter_add",
        "lookup",
        "The sums of the entries that go to the same place: `scatter_add[E -> V](x, ids)` has at "
        "v the sum of x over all e with ids = v. Dims of the ids other than E are paired with "
        "those of x. An entry whose id is no position of V is dropped.",
        _scatter_shape,
        _scatter_source,
        _scatter_meaning,
        operands=("x", "ids"),
        hidden="zero",
        also=("scatter", "segment_sum"),
        brackets=Brackets(arrows=(1, 1), dots=False),
        arrow=_scatter_arrow,
        precision="wide",
        flops=lambda types, op: types[0].elements(),
        keeps=_scatter_keeps,
        order=_scatter_order,
    )
)
