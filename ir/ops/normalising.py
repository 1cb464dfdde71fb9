"""Ops along dims that keep the shape: softmax and its kin.

What a mask hides does not count: softmax gives 0 there and log_softmax -∞, also where all is
hidden, and the gradient is 0; standardize leaves it out of the mean and the variance. All are
`wide`.
"""

from __future__ import annotations

from collections.abc import Callable

from ..core import Op, Type
from ..named import Named
from ..registry import Keep, OpDef, Option, Source, register
from .common import (
    TRANSCENDENTAL,
    cast,
    check_dims,
    check_mask,
    keeping_order,
    masked,
    real,
)
from .reduction import ANY_DIMS, arrays, kept_masks, per_element


def _shape(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
    check_dims(op, types[0])
    check_mask(op, types)
    return (types[0].with_dtype(real(types[0].dtype)),)


def _source(function: str):
    def source(c: Source) -> str:
        x = cast(c, 0, "float").text
        return f"{function}({x}, axis={c.axes(0, c.op['dims'])}{masked(c)})"

    return source


def _meaning(of: Callable):
    def meaning(np, args, op):
        x, mask, axes = arrays(np, args, op)
        return Named(of(np, x, np.broadcast_to(mask, x.shape), axes, op), args[0].dims)

    return meaning


def _softmax(np, x, mask, axes, op):
    x = np.where(mask, x, -np.inf)
    top = x.max(axes, keepdims=True)
    e = np.exp(x - np.where(np.isfinite(top), top, 0))
    total = e.sum(axes, keepdims=True)
    return e / np.where(total > 0, total, 1)


def _log_softmax(np, x, mask, axes, op):
    return np.where(mask, np.log(_softmax(np, x, mask, axes, op)), -np.inf)


def _standardize(np, x, mask, axes, op):
    live = np.maximum(mask.sum(axes, keepdims=True), 1)
    mean = x.sum(axes, keepdims=True, where=mask) / live
    variance = ((x - mean) ** 2).sum(axes, keepdims=True, where=mask) / live
    return (x - mean) / np.sqrt(variance + op["eps"])


def _keeps(full: int, small: int, copies: int, hidden: int = 0):
    """The mask, and arrays over all dims and over those that are not bracketed.

    With a mask, `hidden` more of the latter; where it lacks dims, so many copies of it.
    """

    def keeps(op: Op, types, wants) -> tuple[Keep, ...]:
        result = op.result.type
        rest = result.with_dims(d for d in result.dims if d not in op["dims"])
        return (
            *kept_masks(op, types, copies),
            *(Keep("internal", type=result),) * full,
            *(Keep("internal", type=rest),) * (small + (hidden if op.get("extra") else 0)),
        )

    return keeps


def _normalising(name: str, doc: str, source, meaning, keeps, weight: int, **more) -> None:
    register(
        OpDef(
            name,
            "normalising",
            doc,
            _shape,
            source,
            _meaning(meaning),
            optional=("where",),
            brackets=ANY_DIMS,
            precision="wide",
            flops=per_element(weight),
            keeps=keeps,
            order=keeping_order,
            **more,
        )
    )


def _standardize_source(c: Source) -> str:
    x, axes, mask = cast(c, 0, "float").text, c.axes(0, c.op["dims"]), c.op.extra("where")
    more = "" if mask is None else f", mask={c.arg(mask)}"
    return f"{c.helper('standardize')}({x}, axis={axes}, eps={c.op['eps']}{more})"


_normalising(
    "softmax",
    "eˣ / Σ eˣ over the dims: positive numbers that add up to 1.",
    _source("jax.nn.softmax"),
    _softmax,
    _keeps(1, 2, 3),
    3 + TRANSCENDENTAL,
)
_normalising(
    "log_softmax",
    "x - log Σ eˣ over the dims: the logarithm of softmax, without overflow.",
    _source("jax.nn.log_softmax"),
    _log_softmax,
    _keeps(1, 1, 2),
    3 + TRANSCENDENTAL,
)
_normalising(
    "standardize",
    "(x - mean) / √(var + eps) over the dims.",
    _standardize_source,
    _standardize,
    _keeps(2, 2, 1, hidden=2),
    6,
    options={"eps": Option(1e-6)},
    also=("normalize",),
)
