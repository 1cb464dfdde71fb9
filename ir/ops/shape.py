"""Ops that rename, rearrange, join and cut dims."""

from __future__ import annotations

from collections.abc import Sequence

from ..claim import AtLeast, Divides, Equal
from ..core import Dim, Op, Order, Type
from ..named import Named
from ..order import apart, without
from ..registry import Brackets, Code, OpDef, Option, ShapeError, Source, register
from ..size import Size
from .common import check_dims, count, promote
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


def _replacing(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
    return (types[0].with_dims(replaced(op, types[0])),)


def _keeping(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
    check_dims(op, types[0])
    return types


def _nothing(op: Op, types: tuple[Type, ...], wants: tuple[bool, ...]) -> tuple:
    return ()


def _no_flops(types: tuple[Type, ...], op: Op) -> Size:
    return Size.of(0)


def _shape_op(name: str, doc: str, shape, source, meaning, **more) -> None:
    defaults = {"flops": _no_flops, "keeps": _nothing, "linear": True}
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


_shape_op(
    "rename",
    "The same array over another dim of the same size: `rename[S -> T](x)` has T where x has S.",
    _replacing,
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


_shape_op(
    "split",
    "One dim as a grid of several, the first varying slowest: `split[Y -> P * K](x)` has at p, k "
    "what x has at y = p·K + k. The size of one of the new dims may be left to follow.",
    _replacing,
    _reshaped,
    _split_meaning,
    brackets=Brackets(arrows=(1, 1), right="*", dots=False),
    arrow=_split_arrow,
    order=_split_order,
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


_shape_op(
    "merge",
    "A grid of several dims as one, the first varying slowest: `merge[P * K -> Y](x)` has at y = "
    "p·K + k what x has at p, k.",
    _replacing,
    _reshaped,
    _merge_meaning,
    brackets=Brackets(arrows=(1, 1), left="*", dots=False),
    arrow=_merge_arrow,
    order=_merge_order,
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
    if c.number(0):
        dtype = c.op.result.type.dtype
        known = ("float", "float32", "int", "int32", "bool")
        more = "" if dtype in known else f", {c.dtype(dtype)}"
        return f"jnp.full({c.shape(order)}, {c.arg(0)}{more})"
    if _ones(c.op):
        return f"{c.arg(0, 16)}[..., {', '.join(['None'] * len(c.op['dims']))}]"
    return f"jnp.broadcast_to({c.arg(0)}, {c.shape(order)})"


def _expand_meaning(np, args, op):
    shape = (*(d.size.value for d in op["dims"]), *args[0].array.shape)
    return Named(np.broadcast_to(args[0].array, shape), (*op["dims"], *args[0].dims))


def _expand_order(op: Op, orders: tuple[Order, ...]) -> Orders:
    new = tuple((d,) for d in op["dims"])
    return orders, ((*orders[0], *new) if _ones(op) else (*new, *orders[0]),)


_shape_op(
    "expand",
    "The same value for every position along new dims: `expand[T](x)` has at t what x has, for "
    "all t.",
    _expand_shape,
    _expand_source,
    _expand_meaning,
    brackets=Brackets(dims=(1, None), new=True),
    order=_expand_order,
)


# slice, pad


def _along_order(op: Op, orders: tuple[Order, ...]) -> Orders:
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


_shape_op(
    "slice",
    "A piece of a dim: `slice[Ctx -> S](x, start = 0)` has at s what x has at start + s.",
    _replacing,
    _slice_source,
    _slice_meaning,
    options={"start": Option(0, ("int",))},
    brackets=Brackets(arrows=(1, 1), dots=False),
    arrow=_slice_arrow,
    order=_along_order,
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


def number(value: bool | int | float) -> str:
    """Source of a number."""
    from .structure import literal

    return literal(value).text


def _pad_source(c: Source) -> str:
    ((old,), _) = arrow_of(c.op)
    before, after = c.op.get("before", 0), c.op.get("after", 0)
    widths = pad_widths(c.orders[0], {old: (str(before), str(after))})
    value = c.op.get("value", 0)
    more = f", constant_values={number(value)}" if value else ""
    return f"jnp.pad({c.arg(0)}, {widths}{more})"


def _pad_meaning(np, args, op):
    ((old,), (new,)) = arrow_of(op)
    (x,) = args
    widths = [(0, 0)] * len(x.dims)
    widths[x.axis(old)] = (op.get("before", 0), op.get("after", 0))
    array = np.pad(x.array, widths, constant_values=op.get("value", 0))
    return Named(array, tuple(new if d == old else d for d in x.dims))


_shape_op(
    "pad",
    "A dim with more positions at its ends: `pad[S -> T](x, before = 1)` has the value (0 unless "
    "told) at the new ones; T = before + S + after.",
    _replacing,
    _pad_source,
    _pad_meaning,
    options={
        "before": Option(0, ("int",)),
        "after": Option(0, ("int",)),
        "value": Option(0, ("int", "float")),
    },
    brackets=Brackets(arrows=(1, 1), dots=False),
    arrow=_pad_arrow,
    order=_along_order,
    linear=False,
)


# concat, stack, unstack


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


_shape_op(
    "concat",
    "Arrays end to end: `concat[A + B -> C](a, b)` has along C first a, then b. All other dims "
    "must be the same.",
    _concat_shape,
    _concat_source,
    _concat_meaning,
    operands=("a", "b"),
    variadic=True,
    brackets=Brackets(arrows=(1, 1), left="+", dots=False),
    arrow=_concat_arrow,
    order=_concat_order,
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


_shape_op(
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


_shape_op(
    "unstack",
    "The slices along a dim, as so many results: `i, f = unstack[G](x)`. The size of G must be "
    "fixed.",
    _unstack_shape,
    _unstack_source,
    _unstack_meaning,
    brackets=Brackets(dims=(1, 1), dots=False),
    order=_unstack_order,
)


# flip, roll, shift


def _apart_order(op: Op, orders: tuple[Order, ...]) -> Orders:
    order = apart(orders[0], op["dims"])
    return (order,), (order,)


def _flip_source(c: Source) -> str:
    return f"jnp.flip({c.arg(0)}, axis={c.axes(0, c.op['dims'])})"


def _flip_meaning(np, args, op):
    (x,) = args
    return Named(np.flip(x.array, tuple(map(x.axis, op["dims"]))), x.dims)


_shape_op(
    "flip",
    "A dim backwards: `flip[T](x)` has at t what x has at T - 1 - t.",
    _keeping,
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


_shape_op(
    "roll",
    "A dim moved around its end: `roll[T](x, shift = 1)` has at t what x has at (t - shift) % T.",
    _keeping,
    _roll_source,
    _roll_meaning,
    options={"shift": Option(kinds=("int",))},
    brackets=Brackets(dims=(1, 1), dots=False),
    order=_apart_order,
)


def _shift_source(c: Source) -> Code | str:
    (dim,) = c.op["dims"]
    by, fill = c.op.get("by", 1), c.op.get("fill", 0)
    if not by:
        return c.code(0)
    widths = pad_widths(c.orders[0], {dim: (str(max(by, 0)), str(max(-by, 0)))})
    more = f", constant_values={number(fill)}" if fill else ""
    after = -1 - c.axis(0, dim)
    item = f":{-by}" if by > 0 else f"{-by}:"
    parts = ["...", item, *[":"] * after] if after < len(c.orders[0]) - 1 else [item]
    return f"jnp.pad({c.arg(0)}, {widths}{more})[{', '.join(parts)}]"


def _shift_meaning(np, args, op):
    (x,) = args
    (dim,) = op["dims"]
    by, size = op.get("by", 1), x.size(dim)
    array = np.full_like(x.array, op.get("fill", 0))
    for t in range(size):
        if 0 <= t - by < size:
            at = [slice(None)] * len(x.dims)
            of = list(at)
            at[x.axis(dim)], of[x.axis(dim)] = t, t - by
            array[tuple(at)] = x.array[tuple(of)]
    return Named(array, x.dims)


_shape_op(
    "shift",
    "A dim moved, and filled: `shift[T](x, by = 1)` has at t what x has at t - by, and `fill` (0 "
    "unless told) where there is no such position. A negative `by` moves towards the start.",
    _keeping,
    _shift_source,
    _shift_meaning,
    options={"by": Option(1, ("int",)), "fill": Option(0, ("int", "float"))},
    brackets=Brackets(dims=(1, 1), dots=False),
    order=_apart_order,
    linear=False,
)
