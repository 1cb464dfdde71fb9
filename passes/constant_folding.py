"""Arithmetic on constants at compile time: only where the result is exactly what numpy gives."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable

from ..ir.core import Op
from ..ir.rewrite import Scope

Number = int | float | bool

_INT = 2**31
_EXACT = 2**53


def scalar(scope: Scope, id: int) -> Number | None:
    """The number that a value is, all over; None if it is not one."""
    op = scope.defining(id)
    while op is not None and op.name == "expand":
        op = scope.defining(op.operands[0])
    return op["value"] if op is not None and op.name == "const" else None


def fold(scope: Scope, op: Op) -> Number | None:
    """The number that an op of constants gives; None if it is not one, or not exactly known."""
    if op.name not in _FOLDS or op.result.type.dims:
        return None
    given = []
    for id in op.operands:
        defining = scope.defining(id)
        if defining is None or defining.name != "const":
            return None
        given.append(_typed(defining["value"], defining.result.type.kind))
    dtypes = [scope.type(i).dtype for i in op.operands] + [op.result.type.dtype]
    if any(d not in ("float", "int", "bool", "float64") for d in dtypes):
        return None  # narrower than Python's numbers: rounded at each step
    if any(isinstance(x, float) and math.isnan(x) for x in given):
        return None
    if any(type(x) is int and abs(x) >= _EXACT for x in given):
        return None
    try:
        value = _FOLDS[op.name](*given)
    except (ArithmeticError, ValueError):
        return None
    return _checked(value, op.result.type.kind)


def _typed(value: object, kind: str) -> Number:
    """A constant as a number of its type: a float may be written as an int."""
    assert isinstance(value, int | float)
    return {"float": float, "int": int, "bool": bool}[kind](value)


def _checked(value: Number | None, kind: str) -> Number | None:
    if value is None or type(value) is not {"float": float, "int": int, "bool": bool}[kind]:
        return None
    if type(value) is int and not -_INT <= value < _INT:
        return None
    return value


def _numbers(function: Callable) -> Callable:
    """Not for bools, which each op counts in its own way."""

    def folded(*args: Number) -> Number | None:
        return None if any(isinstance(a, bool) for a in args) else function(*args)

    return folded


def _ints(function: Callable) -> Callable:
    """For ints alone: floats are rounded differently in places."""

    def folded(*args: Number) -> Number | None:
        return function(*args) if all(type(a) is int for a in args) else None

    return folded


def _bools(function: Callable) -> Callable:
    def folded(*args: Number) -> Number | None:
        return function(*args) if all(isinstance(a, bool) for a in args) else None

    return folded


def _extreme(function: Callable) -> Callable:
    def folded(a: Number, b: Number) -> Number | None:
        # Which zero comes out of 0.0 and -0.0 is nobody's promise.
        return None if type(a) is not type(b) or (a == b == 0.0) else function(a, b)

    return _numbers(folded)


def _sqrt(x: Number) -> Number | None:
    return math.sqrt(x) if isinstance(x, float) and x >= 0 else None


_FOLDS: dict[str, Callable[..., Number | None]] = {
    "add": _numbers(operator.add),
    "subtract": _numbers(operator.sub),
    "multiply": _numbers(operator.mul),
    "divide": _numbers(operator.truediv),
    "floor_divide": _ints(operator.floordiv),
    "remainder": _ints(operator.mod),
    "minimum": _extreme(min),
    "maximum": _extreme(max),
    "negate": _numbers(operator.neg),
    "abs": _numbers(abs),
    "sqrt": _sqrt,
    "equal": _numbers(operator.eq),
    "not_equal": _numbers(operator.ne),
    "less": _numbers(operator.lt),
    "less_equal": _numbers(operator.le),
    "greater": _numbers(operator.gt),
    "greater_equal": _numbers(operator.ge),
    "logical_and": _bools(operator.and_),
    "logical_or": _bools(operator.or_),
    "logical_not": _bools(operator.not_),
}
