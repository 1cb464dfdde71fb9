"""How arrays are laid out, stored and placed. Only passes make these ops; they change no value.

The wanted order is that of the result. A path of ops from one order to another is
`uncollapse`, `squeeze_axes`, `transpose`, `collapse`, `align`, of which each does one thing.
"""

from __future__ import annotations

from collections.abc import Callable

from ..core import Op, Order, Type, flat
from ..named import Named
from ..order import squeezed
from ..registry import Code, Levels, OpDef, Source, register
from ..size import Size
from .common import count


def sizes(c: Source, order: Order) -> str:
    """Source of a shape; -1 for the one axis of unknown size, or the first collapsed such."""
    unknown = [i for i, axis in enumerate(order) if not count(axis).is_constant]
    if len(unknown) > 1:
        unknown = [i for i in unknown if len(order[i]) > 1][:1]
    written = ["-1" if i in unknown else c.extent(axis) for i, axis in enumerate(order)]
    return ", ".join(written)


def reshape(c: Source) -> Code | str:
    """Source of the first operand, reshaped to the order of the result."""
    order = c.op.result.order
    assert order is not None
    if not order:
        return f"{c.arg(0, Levels.ATOM)}.reshape(())"
    return f"{c.arg(0, Levels.ATOM)}.reshape({sizes(c, order)})"


def permute(x: str, before: Order, after: Order) -> str:
    """Source of an array with its axes permuted; unit axes keep their order among themselves."""
    units = [i for i, axis in enumerate(before) if not axis]
    perm = [before.index(axis) if axis else units.pop(0) for axis in after]
    if perm == list(range(len(perm))):
        return x
    if len(perm) == 2:
        return f"{x}.T"
    moved = [i for i, p in enumerate(perm) if i != p]
    if len(moved) == 2:
        return f"{x}.swapaxes({moved[0]}, {moved[1]})"
    return f"{x}.transpose({', '.join(map(str, perm))})"


def _transpose(c: Source) -> str:
    assert c.op.result.order is not None
    return permute(c.arg(0, Levels.ATOM), c.orders[0], c.op.result.order)


def _align(c: Source) -> str:
    before, after = c.orders[0], c.op.result.order
    assert after is not None
    left = list(before)
    items: list[str] = []
    for axis in after:
        if left and left[0] == axis:
            left.pop(0)
            items.append(":")
        else:
            items.append("None")
    if "None" not in items:
        return c.arg(0, Levels.ATOM)
    first = items.index("None")
    if first > 1 and ":" not in items[first:]:
        items = ["...", *items[first:]]
    while items[-1] == ":":
        items.pop()
    return f"{c.arg(0, Levels.ATOM)}[{', '.join(items)}]"


def _squeeze(c: Source) -> str:
    axes = [i for i, axis in enumerate(c.orders[0]) if not axis]
    if not axes:
        return c.arg(0, Levels.ATOM)
    inner = str(axes[0]) if len(axes) == 1 else "(" + ", ".join(map(str, axes)) + ")"
    return f"{c.arg(0, Levels.ATOM)}.squeeze({inner})"


def _cast(c: Source) -> str:
    if c.code(0).number:
        return c.array(0, str(c.op["dtype"])).text
    return f"{c.arg(0, Levels.ATOM)}.astype({c.dtype(str(c.op['dtype']))})"


def _name(c: Source) -> str:
    return f'checkpoint_name({c.arg(0)}, "{c.op["name"]}")'


def spec(axes: tuple[tuple[str, ...], ...]) -> str:
    """Source of a partition spec: for each axis of an array, the mesh axes that it lies along."""
    parts = []
    for names in axes:
        quoted = [f'"{n}"' for n in names]
        parts.append(
            "None"
            if not names
            else quoted[0]
            if len(quoted) == 1
            else "(" + ", ".join(quoted) + ")"
        )
    return f"P({', '.join(parts)})"


def _constrain(c: Source) -> str:
    return f"lax.with_sharding_constraint({c.arg(0)}, {spec(c.op['spec'])})"


def _identity(np, args, op):
    return args[0]


def _cast_meaning(np, args, op):
    dtype = {"float": "float64", "int": "int64"}.get(op["dtype"], op["dtype"])
    if dtype == "bfloat16":
        import ml_dtypes

        dtype = ml_dtypes.bfloat16
    return Named(args[0].array.astype(dtype), args[0].dims)


def _same(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
    return types


def _cast_shape(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
    return (types[0].with_dtype(op["dtype"]),)


def _nothing(op: Op, types: tuple[Type, ...], wants: tuple[bool, ...]) -> tuple:
    return ()


def _no_flops(types: tuple[Type, ...], op: Op) -> Size:
    return Size.of(0)


def _order_like(change: Callable[[Order], Order]):
    """Order rule of ops that go where the result's order says, by default as `change` has it."""

    def order(op: Op, orders: tuple[Order, ...]) -> tuple[tuple[Order, ...], tuple[Order, ...]]:
        told = op.results[0].order if op.results else None
        return orders, (change(orders[0]) if told is None else told,)

    return order


def _unchanged(order: Order) -> Order:
    return order


def _layout(name, doc, source, shape=_same, meaning=_identity, change=_unchanged, **more) -> None:
    register(
        OpDef(
            name,
            "layout",
            doc,
            shape,
            source,
            meaning,
            flops=_no_flops,
            keeps=_nothing,
            order=_order_like(change),
            linear=True,
            **more,
        )
    )


_layout("transpose", "The same value with its axes in another order.", _transpose, lowering="fused")
_layout(
    "collapse",
    "The same value with neighbouring axes made one, the first varying slowest.",
    reshape,
    change=lambda order: (flat(order),),
)
_layout(
    "uncollapse",
    "The same value with collapsed axes taken apart.",
    reshape,
    change=lambda order: tuple((d,) for d in flat(order)),
)
_layout("align", "The same value with axes of size 1 put in.", _align)
_layout("squeeze_axes", "The same value without its axes of size 1.", _squeeze, change=squeezed)
_layout(
    "cast",
    "The same value in another dtype. Attribute: `dtype`.",
    _cast,
    _cast_shape,
    _cast_meaning,
    lowering="fused",
)
_layout(
    "name",
    "The same value with the name by which rematerialisation keeps it. Attribute: `name`.",
    _name,
)
_layout(
    "constrain",
    "The same value, placed on the mesh. Attribute: `spec`, for each axis the names of the mesh "
    "axes that it lies along.",
    _constrain,
)
