"""Arithmetic, comparisons and logic between values.

Operands align by name: one must have all the dims of the others. bool counts as 0 and 1, so `a + b`
of bools is an int; `/` always gives a float; `//` and `%` round down and take the sign of the
divisor, as in Python. Division of ints by 0 and negative powers of ints give some int. Where
`minimum`, `maximum` or `clip` meet a tie, the gradient is shared.

Precision: all follow their operands but `power`, which outgrows float16 and loses digits in
bfloat16, so it is computed wide.
"""

from __future__ import annotations

import ast
from collections.abc import Callable

from ..core import Op, Type
from ..named import Named, union
from ..registry import Code, Keep, Levels, OpDef, Option, ShapeError, Source, lookup, register
from .common import (
    TRANSCENDENTAL,
    cast,
    check_bool,
    costs,
    elements,
    internal,
    is_literal,
    kept_mask,
    nothing,
    number,
    pointwise_order,
    promote,
    real,
    same_dims,
    whole,
)


def _shape(result: Callable[..., str]):
    def shape(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
        what = lookup(op.name).infix or op.name
        return (Type(result(*(t.dtype for t in types)), same_dims(types, what)),)

    return shape


def _meaning(ufunc: str, numbers: bool):
    def meaning(np, args, op):
        dims = union(*args)
        arrays = [a.over(dims) for a in args]
        if numbers and arrays[0].dtype == bool:
            arrays[0] = arrays[0].astype(np.int32)
        return Named(getattr(np, ufunc)(*arrays), dims)

    return meaning


# Operators, and functions of two values, take numbers of Python's beside arrays: these follow the
# dtype of the array. Of two numbers Python gives the same as JAX, but where it would raise.


def _left(c: Source) -> Code:
    """The left operand; as ints where both operands are bools, which JAX does not add up."""
    return whole(c, 0) if all(t.kind == "bool" for t in c.types) else c.code(0)


def _infix(symbol: str, level: int, left: Callable[[Source], Code] = _left):
    def source(c: Source) -> Code:
        a, b = left(c).within(level), c.code(1).within(level + 1)
        return Code(f"{a} {symbol} {b}", level, c.numbers())

    return source


def _quotient(symbol: str):
    """An operator that raises where the right number is 0: the left one becomes an array."""

    def source(c: Source) -> Code:
        right = c.code(1)
        number = c.numbers() and is_literal(right.text) and ast.literal_eval(right.text) != 0
        left = c.array(0) if c.numbers() and not number else _left(c)
        text = f"{left.within(Levels.MULTIPLY)} {symbol} {right.within(Levels.MULTIPLY + 1)}"
        return Code(text, Levels.MULTIPLY, number)

    return source


def _logic(symbol: str, level: int):
    return _infix(symbol, level, lambda c: c.code(0))


def _comparison(symbol: str):
    def source(c: Source) -> Code:
        a, b = (c.code(i).within(Levels.COMPARE + 1) for i in (0, 1))
        return Code(f"{a} {symbol} {b}", Levels.COMPARE, c.numbers())

    return source


def _power(c: Source) -> Code:
    left = (c.array(0) if c.numbers() else _left(c)).within(Levels.POWER + 1)
    right = c.code(1).within(Levels.UNARY)
    hug = all(t.isidentifier() or is_literal(t) for t in (left, right.removeprefix("-")))
    return Code(f"{left}**{right}" if hug else f"{left} ** {right}", Levels.POWER)


def _call(function: str):
    def source(c: Source) -> str:
        return f"{function}({c.code(0).text}, {c.code(1).text})"

    return source


def _full(op: Op) -> Keep:
    return Keep("internal", type=op.result.type)


def _divide_keeps(op: Op, types, wants) -> tuple[Keep, ...]:
    # d(a / b) = da / b - db * a / b ** 2
    if not wants[1]:
        return (Keep("operand", 1),)
    square = Keep("internal", type=types[1].with_dtype(op.result.type.dtype))
    kept = (square, Keep("operand", 0))
    return (*kept, Keep("operand", 1)) if wants[0] else kept


def _power_keeps(op: Op, types, wants) -> tuple[Keep, ...]:
    return tuple(_full(op) for w in wants if w)


def _remainder_keeps(op: Op, types, wants) -> tuple[Keep, ...]:
    mask = internal("bool", op.result.type.dims)
    return (mask, _full(op)) if wants[1] else (mask,)


def _each_wanted(op: Op, types, wants) -> tuple[Keep, ...]:
    return tuple(_full(op) for w in wants if w)


def _binary(name, symbol, source, ufunc, doc, result=number, weight=1, precision="follow", **more):
    register(
        OpDef(
            name,
            "arithmetic",
            doc,
            _shape(result),
            source,
            _meaning(ufunc, result is number),
            operands=("a", "b"),
            infix=symbol,
            precision=precision,
            flops=costs(weight),
            order=pointwise_order,
            **more,
        )
    )


_binary("add", "+", _infix("+", Levels.ADD), "add", "The sum: a + b.", keeps=nothing)
_binary(
    "subtract", "-", _infix("-", Levels.ADD), "subtract", "The difference: a - b.", keeps=nothing
)
_binary(
    "multiply", "*", _infix("*", Levels.MULTIPLY), "multiply", "The product: a · b.", linear=True
)
_binary(
    "divide",
    "/",
    _quotient("/"),
    "true_divide",
    "The quotient as a real number: a / b.",
    real,
    keeps=_divide_keeps,
)
_binary(
    "power",
    "**",
    _power,
    "power",
    "The power: a to the b. Of ints it is an int, and b may not be negative.",
    weight=TRANSCENDENTAL,
    precision="wide",
    keeps=_power_keeps,
    expensive=True,
)
_binary(
    "floor_divide",
    "//",
    _quotient("//"),
    "floor_divide",
    "The quotient rounded down: ⌊a / b⌋. Its gradient is 0.",
    keeps=nothing,
)
_binary(
    "remainder",
    "%",
    _quotient("%"),
    "remainder",
    "What is left: a - b · ⌊a / b⌋, of the sign of b.",
    keeps=_remainder_keeps,
)
_binary(
    "minimum",
    "",
    _call("jnp.minimum"),
    "minimum",
    "The lesser of two values. A model writes `min(a, b)`.",
    promote,
    keeps=_each_wanted,
)
_binary(
    "maximum",
    "",
    _call("jnp.maximum"),
    "maximum",
    "The greater of two values. A model writes `max(a, b)`.",
    promote,
    keeps=_each_wanted,
)

for _name, _symbol, _words in (
    ("less", "<", "a is less than b"),
    ("less_equal", "<=", "a is b or less"),
    ("greater", ">", "a is greater than b"),
    ("greater_equal", ">=", "a is b or greater"),
    ("equal", "==", "a and b are equal"),
    ("not_equal", "!=", "a and b are not equal"),
):
    _binary(
        _name, _symbol, _comparison(_symbol), _name, f"Whether {_words}.", lambda a, b: "bool",
        keeps=nothing,
    )  # fmt: skip


def _logic_shape(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
    what = lookup(op.name).infix or "not"
    for index, type_ in enumerate(types):
        check_bool(f"`{what}`", type_, index, "this operand")
    return (Type("bool", same_dims(types, what)),)


def _logical(name: str, symbol: str, operands: tuple[str, ...], source, doc: str) -> None:
    register(
        OpDef(
            name,
            "arithmetic",
            doc,
            _logic_shape,
            source,
            _meaning(name, False),
            operands,
            infix=symbol,
            flops=elements,
            keeps=nothing,
            order=pointwise_order,
        )
    )


def _not(c: Source) -> Code:
    if c.numbers():
        return Code(f"not {c.code(0).within(Levels.NOT)}", Levels.NOT, True)
    return Code(f"~{c.arg(0, Levels.UNARY)}", Levels.UNARY)


_logical(
    "logical_and", "and", ("a", "b"), _logic("&", Levels.BIT_AND), "Whether both bools are true."
)
_logical(
    "logical_or", "or", ("a", "b"), _logic("|", Levels.BIT_OR), "Whether one of two bools is true."
)
_logical("logical_not", "", ("x",), _not, "Whether a bool is false. A model writes `not x`.")


# Of one operand, and of three


def _negate(c: Source) -> Code:
    return Code(f"-{whole(c, 0).within(Levels.UNARY)}", Levels.UNARY, c.numbers())


register(
    OpDef(
        "negate",
        "arithmetic",
        "The opposite: -x.",
        lambda types, op: (types[0].with_dtype(number(types[0].dtype)),),
        _negate,
        lambda np, args, op: Named(
            0 - args[0].array.astype(np.result_type(args[0].array, np.int8)), args[0].dims
        ),
        flops=elements,
        order=pointwise_order,
        linear=True,
    )
)


def _where_shape(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
    check_bool("where", types[0], 0, "its first operand")
    dims = same_dims(types, "where", anyone=True)
    return (Type(promote(types[1].dtype, types[2].dtype), dims),)


def _where_meaning(np, args, op):
    dims = union(*args)
    return Named(np.where(*(a.over(dims) for a in args)), dims)


register(
    OpDef(
        "where",
        "arithmetic",
        "a where the condition is true, b where it is false. One of the three has all dims. The "
        "gradient of what is not taken is 0 here, but what comes before it may still turn 0 · ∞ "
        "into NaN: make the argument safe, not the result.",
        _where_shape,
        lambda c: f"jnp.where({', '.join(c.code(i).text for i in range(3))})",
        _where_meaning,
        operands=("condition", "a", "b"),
        flops=elements,
        keeps=lambda op, types, wants: (kept_mask(op, types, 0, op.result.type),),
        order=pointwise_order,
    )
)


def _clip_shape(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
    low, high = op["low"], op["high"]
    if low is not None and high is not None and low > high:
        raise ShapeError("option-out-of-range", f"clip from {low} to {high} leaves nothing")
    if types[0].kind == "float":
        return types
    given = [type(v).__name__ for v in (low, high) if v is not None]
    return (
        types[0].with_dtype(real(types[0].dtype) if "float" in given else number(types[0].dtype)),
    )


def _clip(c: Source) -> str:
    x = cast(c, 0, "int").text if c.types[0].kind == "bool" else c.arg(0)
    return f"jnp.clip({x}, {c.op['low']}, {c.op['high']})"


def _clip_meaning(np, args, op):
    x = args[0].array
    x = x.astype(np.int32) if x.dtype == bool else x
    return Named(np.clip(x, op["low"], op["high"]), args[0].dims)


def _clip_keeps(op: Op, types, wants) -> tuple[Keep, ...]:
    return tuple(_full(op) for name in ("low", "high") if op[name] is not None)


register(
    OpDef(
        "clip",
        "arithmetic",
        "x, but not below `low` and not above `high`; either may be none.",
        _clip_shape,
        _clip,
        _clip_meaning,
        options={
            "low": Option(kinds=("int", "float", "none")),
            "high": Option(kinds=("int", "float", "none")),
        },
        flops=costs(2),
        keeps=_clip_keeps,
        order=pointwise_order,
    )
)
