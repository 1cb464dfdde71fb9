"""The gated linear unit."""

from __future__ import annotations

from collections.abc import Sequence

from ..claim import Equal
from ..core import Dim, Op, Type
from ..named import Named
from ..registry import Brackets, Keep, OpDef, Source, register
from .along import along_arrow_order
from .common import TRANSCENDENTAL, cast, costs, internal, real
from .shape import Sizes, arrow_of, replaced


def _shape(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
    return (Type(real(types[0].dtype), replaced(op, types[0])),)


def _arrow(name: str, left: Sequence[Dim], right: Sizes, attrs):
    half = left[0].size // 2 if right[0] is None else right[0]
    reason = f"{left[0].name} is halved"
    return (half,), ((Equal(left[0].size, half * 2), reason),)


def _source(c: Source) -> str:
    ((whole,), _) = arrow_of(c.op)
    x = cast(c, 0, real(c.types[0].dtype))
    return f"jax.nn.glu({x.text}, axis={c.axis(0, whole)})"


def _meaning(np, args, op):
    ((whole,), (half,)) = arrow_of(op)
    (x,) = args
    a, b = np.split(x.array.astype(np.float64), 2, x.axis(whole))
    return Named(a * 0.5 * (1 + np.tanh(0.5 * b)), tuple(half if d == whole else d for d in x.dims))


def _keeps(op: Op, types: Sequence[Type], wants: Sequence[bool]) -> tuple[Keep, ...]:
    half = op.result.type
    return (internal(half.dtype, half.dims),) * 3


register(
    OpDef(
        "glu",
        "pointwise",
        "The first half of a dim, times the sigmoid of the second: `glu[F -> H](x)`, F = 2·H.",
        _shape,
        _source,
        _meaning,
        brackets=Brackets(arrows=(1, 1), dots=False),
        arrow=_arrow,
        flops=costs(1 + TRANSCENDENTAL),
        keeps=_keeps,
        order=along_arrow_order,
    )
)
