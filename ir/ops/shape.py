"""Ops that rename, split, merge and add dims, and what all ops on shapes share."""

from __future__ import annotations

from collections.abc import Sequence

from ..claim import Divides, Equal
from ..core import Dim, Op, Order, Type
from ..named import Named
from ..order import apart, without
from ..registry import Brackets, Code, OpDef, ShapeError, Source, register
from ..size import Size
from .common import check_dims, count, filled
from .layout import reshape

Orders = tuple[tuple[Order, ...], tuple[Order, ...]]
Sizes = Sequence[Size | None]


def arrow_of(op: Op) -> tuple[tuple[Dim, ...], tuple[Dim, ...]]:
    """The dims on the two sides of an op's only arrow."""
    ((left, right),) = op["arrows"]
    return left, right


def needs(op: Op, type_: Type, dims: Sequence[Dim], operand: int = 0) -> None:
    """Refuse an operand that lacks one of these dims."""
    for dim in dims:
        if dim not in type_.dims:
            raise ShapeError(
                "dim-not-there",
                f"{op.name} needs {dim.name}, which its operand does not have",
                operand,
                (f"the operand is {type_}",),
            )


def lacks(op: Op, type_: Type, dims: Sequence[Dim], operand: int = 0) -> None:
    """Refuse an operand that has one of these dims already."""
    for dim in dims:
        if dim in type_.dims:
            raise ShapeError(
                "dim-twice",
                f"the result of {op.name} would have {dim.name} twice",
                operand,
                (f"the operand is {type_}",),
                "a dim of another name",
            )


def replaced(op: Op, type_: Type) -> tuple[Dim, ...]:
    """The dims of an operand with those left of the arrow replaced by those right of it."""
    left, right = arrow_of(op)
    needs(op, type_, left)
    rest = [d for d in type_.dims if d not in left]
    lacks(op, type_.with_dims(rest), right)
    return (*rest, *right)


def unknown_size(op: str, what: str) -> ShapeError:
    """A dim right of the arrow whose size does not follow."""
    return ShapeError("size-not-known", f"{op} cannot know {what}", help="give it under dims:")


def replacing(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
    return (types[0].with_dims(replaced(op, types[0])),)


def keeping_dims(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
    check_dims(op, types[0])
    return types


def _nothing(op: Op, types: tuple[Type, ...], wants: tuple[bool, ...]) -> tuple:
    return ()


def no_flops(types: tuple[Type, ...], op: Op) -> Size:
    return Size.of(0)


def shape_op(name: str, doc: str, shape, source, meaning, **more) -> None:
    defaults = {"flops": no_flops, "keeps": _nothing, "linear": True, "arranges": True}
    register(OpDef(name, "shape", doc, shape, source, meaning, **{**defaults, **more}))


def index(c: Source, dim: Dim, item: str) -> str:
    """Source of the first operand, indexed along one dim."""
    after = -1 - c.axis(0, dim)
    parts = ["...", item, *[":"] * after] if after < len(c.orders[0]) - 1 else [item]
    return f"{c.arg(0, 16)}[{', '.join(parts)}]"


def put(order: Order, axis: tuple[Dim, ...], *new: tuple[Dim, ...]) -> Order:
    """An order with one axis replaced."""
    at = order.index(axis)
    return (*order[:at], *new, *order[at + 1 :])


# rename, split, merge


def _rename_order(op: Op, orders: tuple[Order, ...]) -> Orders:
    ((old,), (new,)) = arrow_of(op)
    return orders, (tuple(tuple(new if d == old else d for d in a) for a in orders[0]),)


def _rename_arrow(name: str, left: Sequence[Dim], right: Sizes, attrs):
    size = left[0].size
    if right[0] is None:
        return (size,), ()
    reason = f"{left[0].name} is renamed to a dim of that size"
    return (right[0],), ((Equal(size, right[0]), reason),)


def _rename_meaning(np, args, op):
    ((old,), (new,)) = arrow_of(op)
    return Named(args[0].array, tuple(new if d == old else d for d in args[0].dims))


shape_op(
    "rename",
    "The same array over another dim of the same size: `rename[S -> T](x)` has T where x has S.",
    replacing,
    lambda c: c.code(0),
    _rename_meaning,
    brackets=Brackets(arrows=(1, 1), dots=False),
    arrow=_rename_arrow,
    order=_rename_order,
)


def _product(sizes: Sequence[Size]) -> Size:
    total = Size.of(1)
    for size in sizes:
        total = total * size
    return total


def _split_arrow(name: str, left: Sequence[Dim], right: Sizes, attrs):
    whole = left[0].size
    known = _product([s for s in right if s is not None])
    reason = f"{left[0].name} is split into a grid"
    if None not in right:
        return tuple(right), ((Equal(whole, known), reason),)
    if list(right).count(None) > 1:
        raise unknown_size(name, f"how {left[0].name} is to be divided")
    sizes = tuple(whole // known if s is None else s for s in right)
    return sizes, ((Divides(known, whole), reason),)


def _split_meaning(np, args, op):
    ((old,), new) = arrow_of(op)
    (x,) = args
    at = x.axis(old)
    shape = [d.size.value for d in new]
    array = x.array.reshape(*x.array.shape[:at], *shape, *x.array.shape[at + 1 :])
    return Named(array, (*x.dims[:at], *new, *x.dims[at + 1 :]))


def _split_order(op: Op, orders: tuple[Order, ...]) -> Orders:
    ((old,), new) = arrow_of(op)
    if (old,) in orders[0]:
        return orders, (put(orders[0], (old,), *((d,) for d in new)),)
    changed = [tuple(n for d in axis for n in (new if d == old else (d,))) for axis in orders[0]]
    return orders, (tuple(changed),)


def _reshaped(c: Source) -> Code | str:
    order = c.op.result.order
    assert order is not None
    sizes = [[count(axis) for axis in o] for o in (c.orders[0], order)]
    return c.code(0) if sizes[0] == sizes[1] else reshape(c)


shape_op(
    "split",
    "One dim as a grid of several, the first varying slowest: `split[Y -> P * K](x)` has at p, k "
    "what x has at y = p·K + k. The size of one of the new dims may be left to follow.",
    replacing,
    _reshaped,
    _split_meaning,
    brackets=Brackets(arrows=(1, 1), right="*", dots=False),
    arrow=_split_arrow,
    order=_split_order,
    lowering="view",
)


def _merge_arrow(name: str, left: Sequence[Dim], right: Sizes, attrs):
    whole = _product([d.size for d in left])
    if right[0] is None:
        return (whole,), ()
    reason = f"{' * '.join(d.name for d in left)} is merged into a dim of that size"
    return (right[0],), ((Equal(whole, right[0]), reason),)


def _merge_meaning(np, args, op):
    old, (new,) = arrow_of(op)
    rest = args[0].without(old)
    array = args[0].over((*rest, *old))
    return Named(array.reshape(*array.shape[: len(rest)], -1), (*rest, new))


def _merge_order(op: Op, orders: tuple[Order, ...]) -> Orders:
    old, (new,) = arrow_of(op)
    (order,) = orders
    for axis in order:  # inside one axis, next to each other: nothing to do
        for i in range(len(axis) - len(old) + 1):
            if axis[i : i + len(old)] == old:
                changed = (*axis[:i], new, *axis[i + len(old) :])
                return orders, (put(order, axis, changed),)
    order = apart(order, old)
    at = min(order.index((d,)) for d in old)
    rest = without(order, old)
    axes = tuple((d,) for d in old)
    return ((*rest[:at], *axes, *rest[at:]),), ((*rest[:at], (new,), *rest[at:]),)


shape_op(
    "merge",
    "A grid of several dims as one, the first varying slowest: `merge[P * K -> Y](x)` has at y = "
    "p·K + k what x has at p, k.",
    replacing,
    _reshaped,
    _merge_meaning,
    brackets=Brackets(arrows=(1, 1), left="*", dots=False),
    arrow=_merge_arrow,
    order=_merge_order,
    lowering="view",
)


# expand


def _expand_shape(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
    lacks(op, types[0], op["dims"])
    return (types[0].with_dims((*types[0].dims, *op["dims"])),)


def _ones(op: Op) -> bool:
    """Whether all new dims have size 1; they then come last, as features do, else first."""
    return all(d.size == 1 for d in op["dims"])


def _expand_source(c: Source) -> str:
    order = c.op.result.order
    assert order is not None
    if c.code(0).number:
        return filled(c, c.code(0).text)
    if _ones(c.op):
        return f"{c.arg(0, 16)}[..., {', '.join(['None'] * len(c.op['dims']))}]"
    return f"jnp.broadcast_to({c.arg(0)}, {c.shape(order)})"


def _expand_meaning(np, args, op):
    shape = (*(d.size.value for d in op["dims"]), *args[0].array.shape)
    return Named(np.broadcast_to(args[0].array, shape), (*op["dims"], *args[0].dims))


def _expand_order(op: Op, orders: tuple[Order, ...]) -> Orders:
    new = tuple((d,) for d in op["dims"])
    return orders, ((*orders[0], *new) if _ones(op) else (*new, *orders[0]),)


shape_op(
    "expand",
    "The same value for every position along new dims: `expand[T](x)` has at t what x has, for "
    "all t.",
    _expand_shape,
    _expand_source,
    _expand_meaning,
    also=("broadcast", "broadcast_to", "tile"),
    brackets=Brackets(dims=(1, None), new=True),
    order=_expand_order,
)
