"""Losses, element by element or along the dim of classes, of which a model takes the mean.

All are `wide`.
"""

from __future__ import annotations

from ..core import Op, Order, Type, flat
from ..named import Named, union
from ..order import apart, broadcast, squeezed, without
from ..registry import Brackets, Keep, OpDef, Option, ShapeError, Source, register
from .common import (
    TRANSCENDENTAL,
    cast,
    check_dims,
    check_one,
    costs,
    internal,
    pointwise_order,
    real,
    same_dims,
)


def _shape(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
    logits, ids = types
    check_one(op)
    check_dims(op, logits)
    smoothing = op["smoothing"]
    if not 0 <= smoothing < 1:
        raise ShapeError(
            "option-out-of-range",
            f"smoothing of cross_entropy is {smoothing}, not at least 0 and less than 1",
        )
    if ids.kind != "int":
        raise ShapeError("not-an-int", f"cross_entropy needs ids that are ints, not {ids}", 1)
    rest = [d for d in logits.dims if d not in op["dims"]]
    left = [d.name for d in ids.dims if d not in rest]
    if left:
        raise ShapeError(
            "dims-do-not-align",
            f"the ids of cross_entropy have {', '.join(left)}, which the losses do not have",
            1,
            (f"the logits are {logits}, the ids {ids}",),
        )
    return (Type(real(logits.dtype), tuple(rest)),)


def _source(c: Source) -> str:
    logits, smoothing, ignore = cast(c, 0, "float").text, c.op["smoothing"], c.op["ignore"]
    more = f", smoothing={smoothing}" if smoothing else ""
    more += f", ignore={ignore}" if ignore is not None else ""
    axis = c.axes(0, c.op["dims"])
    name = c.helper("cross_entropy" if _plain(c.types, c.op) else "cross_entropy_with")
    return f"{name}({logits}, {c.arg(1)}, axis={axis}{more})"


def _plain(types: tuple[Type, ...], op: Op) -> bool:
    """Whether the short helper does: no options, and an id for every loss."""
    every = len(types[1].dims) == len(types[0].dims) - 1
    return every and not op["smoothing"] and op["ignore"] is None


def _meaning(np, args, op):
    logits, ids = args
    (classes,) = op["dims"]
    rest = logits.without((classes,))
    x = logits.over((*rest, classes)).astype(np.float64)
    top = x.max(-1, keepdims=True)
    log_probs = x - top - np.log(np.exp(x - top).sum(-1, keepdims=True))
    wanted = np.broadcast_to(ids.over(rest), x.shape[:-1])
    live = (wanted >= 0) & (wanted < x.shape[-1])
    if op["ignore"] is not None:
        live = live & (wanted != op["ignore"])
    picked = np.take_along_axis(log_probs, np.where(live, wanted, 0)[..., None], -1)[..., 0]
    s = op["smoothing"]
    smooth = s * log_probs.mean(-1, where=x > -np.inf) if s else 0
    return Named(np.where(live, -(1 - s) * picked - smooth, 0), rest)


def _order(op: Op, orders: tuple[Order, ...]):
    logits = apart(squeezed(orders[0]), op["dims"])
    rest = without(logits, op["dims"])
    (_, ids), lead = broadcast((rest, orders[1]))
    logits = apart(logits, flat(tuple(axis for axis in rest if axis not in lead)))
    return (logits, ids), (lead,)


def _keeps(op: Op, types, wants) -> tuple[Keep, ...]:
    logits, result = types[0], op.result.type
    smoothed: tuple[Keep, ...] = ()
    if op["smoothing"]:
        smoothed = (internal("bool", logits.dims), Keep("internal", type=result))
    return (
        Keep("internal", type=logits.with_dtype(result.dtype)),
        Keep("internal", type=result),
        internal("bool", result.dims),
        internal("int", result.dims),
        *smoothed,
    )


register(
    OpDef(
        "cross_entropy",
        "loss",
        "-log softmax(logits)[ids] along a dim. With smoothing s: (1 - s) times that, and s times "
        "the mean of -log softmax(logits) over the classes that no mask hides, those of which the "
        "logit is not -∞. Where an id is out of range or equal to `ignore`, the "
        "loss is 0.",
        _shape,
        _source,
        _meaning,
        operands=("logits", "ids"),
        hidden="least",
        options={
            "smoothing": Option(0.0),
            "ignore": Option(None, ("int", "none")),
        },
        brackets=Brackets(dims=(1, 1)),
        precision="wide",
        flops=lambda types, op: types[0].elements() * (4 + TRANSCENDENTAL),
        keeps=_keeps,
        order=_order,
        ids=1,
    )
)


def _binary_shape(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
    return (Type(real(*(t.dtype for t in types)), same_dims(types, op.name)),)


def _binary_source(c: Source) -> str:
    logits = cast(c, 0, "float").text
    return f"{c.helper('binary_cross_entropy')}({logits}, {c.arg(1)})"


def _binary_meaning(np, args, op):
    dims = union(*args)
    x, t = (a.over(dims).astype(np.float64) for a in args)
    return Named(t * np.logaddexp(-x, 0) + (1 - t) * np.logaddexp(x, 0), dims)


def _binary_keeps(op: Op, types, wants) -> tuple[Keep, ...]:
    dtype = op.result.type.dtype
    array, other = (Keep("internal", type=t.with_dtype(dtype)) for t in types)
    targets = Keep("operand", 1) if types[1].dtype == dtype else other
    logits = (array, array, other, targets) if wants[0] else ()
    return (*logits, array) if wants[1] else logits


register(
    OpDef(
        "binary_cross_entropy",
        "loss",
        "-t · log sigmoid(x) - (1 - t) · log sigmoid(-x), for logits x and targets t from 0 to 1.",
        _binary_shape,
        _binary_source,
        _binary_meaning,
        operands=("logits", "targets"),
        precision="wide",
        flops=costs(6 + 4 * TRANSCENDENTAL),
        keeps=_binary_keeps,
        order=pointwise_order,
    )
)
