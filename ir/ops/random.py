"""Ops that draw from the key of their place and step, and arrays made of one number.

What is drawn is drawn in float32 and then cast, so that precision does not change the numbers.
Those without operands give an array over the bracketed dims, in that order; its dtype is the
attribute `dtype`, or else the one that the op usually has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..core import Op, Order, Type
from ..named import Named
from ..order import apart
from ..registry import Brackets, Code, Keep, Levels, OpDef, Option, ShapeError, Source, register
from .common import (
    TRANSCENDENTAL,
    cast,
    check_dims,
    costs,
    filled,
    internal,
    made_order,
    nothing,
    real,
)

SHAPE = Brackets(dims=(0, None), new=True, ordered=True)


def check_option(op: Op, name: str, holds: bool, what: str) -> None:
    """Refuse an option whose value makes no sense."""
    if not holds:
        raise ShapeError("option-out-of-range", f"{name} of {op.name} is {op[name]}, not {what}")


def lowered(c: Source, code: Code) -> Code:
    """What was drawn in float32, cast to a lower dtype where the result has one."""
    dtype = c.op.result.type.dtype
    if dtype not in ("bfloat16", "float16"):
        return code
    text = code.text if code.level >= Levels.ATOM else f"({code.text})"
    return Code(f"{text}.astype({c.dtype(dtype)})")


def drawn(c: Source, code: str = "") -> str:
    """The arguments shape and dtype of a draw of floats."""
    shape = c.shape(c.op.result.order or ())
    double = c.op.result.type.dtype == "float64"
    return f"{shape}, {c.dtype('float64')}" if double else shape


def scaled(number: float, text: str) -> Code:
    """A number times an expression; just the expression for 1."""
    return Code(text) if number == 1 else Code(f"{number} * {text}", Levels.MULTIPLY)


def _made(
    name: str,
    family: str,
    doc: str,
    source: Callable[[Source], Code | str],
    dtype: str = "float",
    options: Mapping[str, Option] | None = None,
    check: Callable[[Op], None] = lambda op: None,
    meaning: Callable | None = None,
    weight: int = 0,
    effect: str = "",
) -> None:
    def shape(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
        check(op)
        return (Type(op.get("dtype", dtype), op["dims"]),)

    register(
        OpDef(
            name,
            family,
            doc,
            shape,
            source,
            meaning,
            operands=(),
            options=options or {},
            brackets=SHAPE,
            flops=costs(weight),
            keeps=nothing,
            order=made_order,
            effect=effect,
        )
    )


# Of one number


def _filled(name: str, doc: str, value: Callable[[Op], float], options=None) -> None:
    def meaning(np, args, op):
        shape = tuple(d.size.value for d in op["dims"])
        return Named(np.full(shape, value(op)), op["dims"])

    source = lambda c: filled(c, repr(value(c.op)))  # noqa: E731
    _made(name, "random", doc, source, meaning=meaning, options=options)


_filled("zeros", "Zeros over the bracketed dims.", lambda op: 0.0)
_filled("ones", "Ones over the bracketed dims.", lambda op: 1.0)
_filled(
    "full",
    "A number over the bracketed dims.",
    lambda op: float(op["value"]),
    {"value": Option()},
)


# Draws


def _positive(name: str):
    return lambda op: check_option(op, name, op[name] >= 0, "a number of at least 0")


_made(
    "normal",
    "random",
    "Draws from the normal distribution of mean 0 and the given standard deviation.",
    lambda c: lowered(c, scaled(c.op["stddev"], f"random.normal({c.key()}, {drawn(c)})")),
    options={"stddev": Option(1.0)},
    check=_positive("stddev"),
    weight=2 * TRANSCENDENTAL,
    effect="random",
)
_made(
    "truncated_normal",
    "random",
    "Draws from the normal distribution of mean 0 and the given standard deviation, as far as they "
    "lie within two standard deviations; theirs is then .88 of it.",
    lambda c: lowered(
        c, scaled(c.op["stddev"], f"random.truncated_normal({c.key()}, -2, 2, {drawn(c)})")
    ),
    options={"stddev": Option(1.0)},
    check=_positive("stddev"),
    weight=2 * TRANSCENDENTAL,
    effect="random",
)


def _uniform(c: Source) -> Code:
    low, high = c.op["low"], c.op["high"]
    bounds = "" if (low, high) == (0, 1) else f", minval={low}, maxval={high}"
    return lowered(c, Code(f"random.uniform({c.key()}, {drawn(c)}{bounds})"))


def _check_bounds(op: Op) -> None:
    check_option(op, "high", op["high"] > op["low"], f"above low, {op['low']}")


_made(
    "uniform",
    "random",
    "Draws from the uniform distribution from `low` to `high`.",
    _uniform,
    options={"low": Option(0.0), "high": Option(1.0)},
    check=_check_bounds,
    weight=2,
    effect="random",
)
_made(
    "randint",
    "random",
    "Draws ints from `low` to `high`, without `high` itself.",
    lambda c: (
        f"random.randint({c.key()}, {c.shape(c.op.result.order or ())}, "
        f"{c.op['low']}, {c.op['high']})"
    ),
    dtype="int",
    options={"low": Option(kinds=("int",)), "high": Option(kinds=("int",))},
    check=_check_bounds,
    weight=2,
    effect="random",
)
_made(
    "bernoulli",
    "random",
    "Draws bools that are true with probability p.",
    lambda c: f"random.bernoulli({c.key()}, {c.op['p']}, {c.shape(c.op.result.order or ())})",
    dtype="bool",
    options={"p": Option(0.5)},
    check=lambda op: check_option(op, "p", 0 <= op["p"] <= 1, "from 0 to 1"),
    weight=2,
    effect="random",
)


# Dropout


def _dropout_shape(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
    check_dims(op, types[0])
    check_option(op, "rate", 0 <= op["rate"] < 1, "at least 0 and less than 1")
    return (types[0].with_dtype(real(types[0].dtype)),)


def _dropped(op: Op, order: Order) -> Order:
    """The axes of the draw: of size 1 for the dims that share it."""
    return tuple(axis if not op["dims"] or set(axis) & set(op["dims"]) else () for axis in order)


def _dropout(c: Source) -> Code:
    rate = c.op["rate"]
    x = cast(c, 0, "float")
    if not rate:
        return x
    if not c.op["dims"] and c.types[0].kind == "float":
        return Code(f"{c.helper('dropout')}({x.text}, {rate}, {c.key()})")
    keep = round(1 - rate, 12)
    draw = f"random.bernoulli({c.key()}, {keep}, {c.shape(_dropped(c.op, c.orders[0]))})"
    return Code(f"jnp.where({draw}, {x.within(Levels.MULTIPLY)} / {keep}, 0)")


def _dropout_keeps(op: Op, types, wants) -> tuple[Keep, ...]:
    return (internal("bool", types[0].dims),) if op["rate"] else ()


def _dropout_order(op: Op, orders: tuple[Order, ...]):
    order = tuple(a for a in orders[0] if a)
    split = [d for a in order if set(a) & set(op["dims"]) != set(a) for d in a if d in op["dims"]]
    order = apart(order, split)
    return (order,), (order,)


register(
    OpDef(
        "dropout",
        "random",
        "In training, 0 with probability `rate`, else x / (1 - rate); elsewhere x. "
        "`dropout[B](x, rate)` draws once for each place along the bracketed dims, and the others "
        "share the draw.",
        _dropout_shape,
        _dropout,
        None,
        options={"rate": Option()},
        brackets=Brackets(dims=(0, None)),
        flops=costs(4),
        keeps=_dropout_keeps,
        order=_dropout_order,
        effect="random",
    )
)
