"""Rotary positions: features rotated by angles that grow with the position."""

from __future__ import annotations

import math

from ..core import Op, Order, Type
from ..named import Named
from ..order import apart, squeezed, without
from ..registry import Brackets, OpDef, Option, ShapeError, Source, register
from ..size import Size
from .common import nothing
from .shape import Orders, needs

SCALINGS = ("linear", "ntk", "yarn", "llama3")
TURNS = {"yarn": 32.0, "llama3": 4.0}
"""How many turns within the context keep a rate as it is, where the model does not say."""


def _rotated(op: Op) -> Size:
    """How many features are rotated: an even number."""
    size = op["dims"][1].size
    fraction = op.get("fraction", 1.0)
    if fraction == 1:
        return size
    return Size.of(int(size.value * fraction) // 2 * 2)


def _shape(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
    (x,) = types
    needs(op, x, op["dims"])
    size, fraction = op["dims"][1].size, op.get("fraction", 1.0)
    name, scaling = op["dims"][1].name, op.get("scaling")
    if x.kind != "float":
        raise ShapeError("not-float", "rotary rotates floats", 0, (f"the operand is {x}",))
    if not 0 < fraction <= 1:
        raise ShapeError(
            "option-out-of-range", f"fraction must be above 0 and at most 1, not {fraction}"
        )
    if op.get("factor", 1.0) < 1:
        raise ShapeError("option-out-of-range", f"factor must be at least 1, not {op['factor']}")
    if scaling is None and op.get("factor", 1.0) != 1:
        raise ShapeError(
            "option-missing",
            f"factor = {op['factor']} does nothing without a scaling",
            help=f"scaling = {SCALINGS[0]}, or {', '.join(SCALINGS[1:])}",
        )
    if (fraction != 1 or scaling is not None) and not size.is_constant:
        what = "of a fraction" if fraction != 1 else "with a scaling"
        raise ShapeError(
            "size-not-fixed", f"rotary {what} needs a fixed size, and that of {name} is {size}"
        )
    if size.is_constant and (size.value if fraction == 1 else int(size.value * fraction)) % 2:
        raise ShapeError(
            "size-not-even",
            f"rotary rotates pairs of features, and {name} has an odd number of them",
            0,
            (f"{name} is {size}",) if fraction == 1 else (f"{fraction} of {name} = {size}",),
        )
    return types


def _order(op: Op, orders: tuple[Order, ...]) -> Orders:
    s, k = op["dims"]
    order = apart(squeezed(orders[0]), (s, k))
    order = (*without(order, (k,)), (k,))
    return (order,), (order,)


def _base(op: Op) -> float:
    """The base of the rates; the `ntk` scaling is another base."""
    base = float(op.get("base", 10000.0))
    size = _rotated(op)
    if op.get("scaling") == "ntk" and size.is_constant and size.value > 2:
        base *= op["factor"] ** (size.value / (size.value - 2))
    return base


def _bounds(op: Op) -> tuple[float, float]:
    """Rates of fewer turns within the context are divided, those of more are kept."""
    high = op.get("high")
    return float(op.get("low", 1.0)), TURNS[op["scaling"]] if high is None else float(high)


def _source(c: Source) -> str:
    s, k = c.op["dims"]
    x, axis = c.arg(0), c.axis(0, s)
    base, rotated, scaling = _base(c.op), _rotated(c.op), c.op.get("scaling")
    neighbours = c.op.get("interleaved", False)
    if scaling in ("linear", "yarn", "llama3"):
        rates = f"rotary_rates({rotated}, {base})"
        c.helper("rotary_rates")
        factor, more = float(c.op["factor"]), ", interleaved=True" if neighbours else ""
        if scaling == "linear":
            rates = f"{rates} / {factor}"
        else:
            given = f"{rotated}, {base}, {factor}, "
            if scaling == "yarn":
                given += "{}, {}".format(*_ramp(c.op, rotated.value))
            else:
                given += f"{c.op['context']}, {{}}, {{}}".format(*_bounds(c.op))
            rates = f"{c.helper(f'{scaling}_rates')}({given})"
        if scaling == "yarn":
            more += f", gain={_gain(c.op)!r}"
        return f"{c.helper('rotary_at')}({x}, {axis}, {rates}{more})"
    whole = rotated == k.size
    if neighbours:
        name = c.helper("rotary_interleaved")
    else:
        name = c.helper("rotary" if whole else "rotary_partial")
    return f"{name}({x}, {axis}, {base}{'' if whole else f', {rotated}'})"


def _ramp(op: Op, size: int) -> tuple[float, float]:
    """Up to which pair `yarn` keeps rates, and from which on it divides them."""
    low, high = _bounds(op)
    first, last = (
        size * math.log(op["context"] / (turns * 2 * math.pi)) / (2 * math.log(_base(op)))
        for turns in (high, low)
    )
    first, last = max(math.floor(first), 0), min(math.ceil(last), size - 1)
    return first, last + 0.001 if first == last else last


def _gain(op: Op) -> float:
    """By how much `yarn` lengthens what it rotates."""
    return 1 + 0.1 * math.log(op["factor"]) if op.get("scaling") == "yarn" else 1.0


def _rates(np, op: Op, size: int):
    """Radians for each position of each pair, scaled."""
    base, scaling = op.get("base", 10000.0), op.get("scaling")
    factor = op.get("factor", 1.0)
    pairs = np.arange(size // 2)
    if scaling == "ntk":
        base = base * factor ** (size / (size - 2)) if size > 2 else base
    rates = base ** (-2 * pairs / size)
    if scaling == "linear":
        return rates / factor
    if scaling in ("yarn", "llama3"):
        if scaling == "llama3":
            low, high = _bounds(op)
            turns = op["context"] * rates / (2 * np.pi)
            kept = np.clip((turns - low) / (high - low), 0, 1)
        else:
            first, last = _ramp(op, size)
            kept = 1 - np.clip((pairs - first) / (last - first), 0, 1)
        rates = rates * kept + rates / factor * (1 - kept)
    return rates


def _meaning(np, args, op):
    s, k = op["dims"]
    rest = args[0].without((s, k))
    x = args[0].over((*rest, s, k))
    size = _rotated(op).value
    turn = np.exp(1j * np.arange(x.shape[-2])[:, None] * _rates(np, op, size)) * _gain(op)
    result = np.array(x)
    if op.get("interleaved", False):
        pairs = slice(0, size, 2), slice(1, size, 2)
    else:
        pairs = slice(0, size // 2), slice(size // 2, size)
    turned = (x[..., pairs[0]] + 1j * x[..., pairs[1]]) * turn
    result[..., pairs[0]], result[..., pairs[1]] = turned.real, turned.imag
    return Named(result, (*rest, s, k))


register(
    OpDef(
        "rotary",
        "position",
        "Features rotated by their position, in pairs (Su et al. 2021): the pair i of `rotary[S, "
        "K](x)` is turned by the angle s · base^(-2i/K). A pair is a feature of the first half of "
        "K and its counterpart in the second, as in Llama, or, `interleaved`, two neighbours, as "
        "in GPT-J. With a `fraction` only so many features, the first ones, are rotated. Angles "
        "are in float32 at least. A `scaling` makes the angles of a context that is `factor` "
        "times longer than `context`, the one trained on, like those that are known: `linear` "
        "divides them by the factor; `ntk` takes the base times factor^(K/(K-2)); `llama3` keeps "
        "those that make `high` (4) turns or more within the context, divides those that make "
        "`low` (1) or fewer, and goes over between them; `yarn` (Peng et al. 2023) does so by the "
        "number of the pair, `high` being 32, and lengthens what it rotates by 1 + log(factor) / "
        "10.",
        _shape,
        _source,
        _meaning,
        options={
            "base": Option(10000.0),
            "fraction": Option(1.0),
            "interleaved": Option(False, ("bool",)),
            "scaling": Option(None, ("word", "none"), SCALINGS),
            "factor": Option(1.0),
            "context": Option(8192, ("int",)),
            "low": Option(1.0),
            "high": Option(None, ("int", "float", "none")),
        },
        brackets=Brackets(dims=(2, 2), dots=False, ordered=True),
        flops=lambda types, op: types[0].elements() * 3,
        keeps=nothing,
        order=_order,
        linear=True,
    )
)
