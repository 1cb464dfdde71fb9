"""Ops that join arrays and take them apart."""

from __future__ import annotations

from collections.abc import Sequence

from ..claim import Equal
from ..core import Dim, Op, Order, Type
from ..named import Named
from ..order import apart, without
from ..registry import Brackets, ShapeError, Source
from ..size import Size
from .common import check_dims, promote
from .shape import Orders, Sizes, arrow_of, lacks, needs, put, shape_op


def _concat_shape(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
    left, right = arrow_of(op)
    if len(types) != len(left):
        raise ShapeError(
            "operands-do-not-match",
            f"concat joins {len(left)} dims, but is given {len(types)} operands",
            facts=["one operand for each dim left of the arrow"],
        )
    for i, (type_, dim) in enumerate(zip(types, left, strict=True)):
        needs(op, type_, (dim,), i)
    rest = [d for d in types[0].dims if d != left[0]]
    lacks(op, types[0].with_dims(rest), right)
    for i, (type_, dim) in enumerate(zip(types, left, strict=True)):
        same_rest(op, types[0].with_dims(rest), type_, (dim,), i)
    return (Type(promote(*(t.dtype for t in types)), (*rest, *right)),)


def same_rest(op: Op, first: Type, type_: Type, but: Sequence[Dim], operand: int) -> None:
    """Refuse an operand that, but for some dims, has not those of the first."""
    own = {d for d in type_.dims if d not in but}
    missing = [d for d in first.dims if d not in own]
    more = [d for d in type_.dims if d in own and d not in first.dims]
    if missing or more:
        names = ", ".join(d.name for d in missing or more)
        raise ShapeError(
            "dims-do-not-align",
            f"the operands of {op.name} must have the same other dims, but {names} is only in "
            + ("some" if missing else f"operand {operand + 1}"),
            operand,
            (f"operand {operand + 1} is {type_}",),
            f"expand[{names}](…) around the one that lacks it",
        )


def _concat_arrow(name: str, left: Sequence[Dim], right: Sizes, attrs):
    whole = Size.of(0)
    for dim in left:
        whole = whole + dim.size
    if right[0] is None:
        return (whole,), ()
    reason = f"{' + '.join(d.name for d in left)} are put end to end in a dim of that size"
    return (right[0],), ((Equal(whole, right[0]), reason),)


def _concat_source(c: Source) -> str:
    left, _ = arrow_of(c.op)
    args = ", ".join(c.arg(i) for i in range(len(left)))
    axis = c.axis(0, left[0])
    return f"jnp.concatenate(({args}{',' if len(left) == 1 else ''}), axis={axis})"


def _concat_meaning(np, args, op):
    left, (new,) = arrow_of(op)
    rest = args[0].without(left[:1])
    arrays = [a.over((d, *rest)) for a, d in zip(args, left, strict=True)]
    return Named(np.concatenate(arrays), (new, *rest))


def _alike(orders: Sequence[Order], dims: Sequence[Sequence[Dim]]) -> tuple[Order, ...]:
    """Operands that differ only in some dims, which stand alone, in the order of the first."""
    first = apart(orders[0], dims[0])
    return tuple(
        tuple(tuple(own[of.index(d)] if d in of else d for d in axis) for axis in first)
        for of, own in ((dims[0], own) for own in dims)
    )


def _concat_order(op: Op, orders: tuple[Order, ...]) -> Orders:
    left, (new,) = arrow_of(op)
    wanted = _alike(orders, [(d,) for d in left])
    return wanted, (put(wanted[0], (left[0],), (new,)),)


shape_op(
    "concat",
    "Arrays end to end: `concat[A + B -> C](a, b)` has along C first a, then b. All other dims "
    "must be the same.",
    _concat_shape,
    _concat_source,
    _concat_meaning,
    operands=("a", "b"),
    variadic=True,
    also=("concatenate", "cat"),
    brackets=Brackets(arrows=(1, 1), left="+", dots=False),
    arrow=_concat_arrow,
    order=_concat_order,
    lowering="written",
)


def _length(op: Op) -> int:
    (dim,) = op["dims"]
    if not dim.size.is_constant:
        raise ShapeError(
            "size-not-fixed",
            f"{op.name}[{dim.name}] needs a fixed size, and that of {dim.name} is {dim.size}",
        )
    return dim.size.value


def _stack_shape(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
    (dim,) = op["dims"]
    if len(types) != _length(op):
        raise ShapeError(
            "operands-do-not-match",
            f"stack[{dim.name}] needs {_length(op)} operands, the size of {dim.name}, "
            f"but is given {len(types)}",
        )
    lacks(op, types[0], (dim,))
    for i, type_ in enumerate(types):
        same_rest(op, types[0], type_, (), i)
    return (Type(promote(*(t.dtype for t in types)), (*types[0].dims, dim)),)


def _stack_source(c: Source) -> str:
    order = c.op.result.order
    assert order is not None
    at = order.index(tuple(c.op["dims"]))
    args = ", ".join(c.arg(i) for i in range(len(c.orders)))
    more = f", axis={at - len(order)}" if at else ""
    return f"jnp.stack(({args}{',' if len(c.orders) == 1 else ''}){more})"


def _stack_meaning(np, args, op):
    rest = args[0].dims
    return Named(np.stack([a.over(rest) for a in args]), (*op["dims"], *rest))


def _stack_order(op: Op, orders: tuple[Order, ...]) -> Orders:
    return (orders[0],) * len(orders), ((tuple(op["dims"]), *orders[0]),)


shape_op(
    "stack",
    "Arrays side by side along a new dim: `stack[G](a, b)` has a at the first position of G and b "
    "at the second. There are as many operands as G has positions, and all have the same dims.",
    _stack_shape,
    _stack_source,
    _stack_meaning,
    operands=("a", "b"),
    variadic=True,
    brackets=Brackets(dims=(1, 1), dots=False, new=True),
    order=_stack_order,
    lowering="written",
)


def _unstack_shape(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
    check_dims(op, types[0])
    rest = [d for d in types[0].dims if d not in op["dims"]]
    return (types[0].with_dims(rest),) * _length(op)


def _unstack_source(c: Source) -> str:
    (dim,) = c.op["dims"]
    axis = c.axis(0, dim)
    if dim.size == 1:  # one result stands for itself, not for a tuple of one
        return f"{c.arg(0, 16)}.squeeze({axis})"
    more = f", axis={axis}" if len(c.orders[0]) + axis else ""
    return f"jnp.unstack({c.arg(0)}{more})"


def _unstack_meaning(np, args, op):
    (dim,) = op["dims"]
    rest = args[0].without((dim,))
    return tuple(Named(a, rest) for a in args[0].over((dim, *rest)))


def _unstack_order(op: Op, orders: tuple[Order, ...]) -> Orders:
    (dim,) = op["dims"]
    order = apart(orders[0], (dim,))
    return (order,), (without(order, (dim,)),) * dim.size.value


shape_op(
    "unstack",
    "The slices along a dim, as so many results: `i, f = unstack[G](x)`. The size of G must be "
    "fixed.",
    _unstack_shape,
    _unstack_source,
    _unstack_meaning,
    brackets=Brackets(dims=(1, 1), dots=False),
    order=_unstack_order,
    arranges=False,
)
