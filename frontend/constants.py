"""What is settled before anything runs: numbers, sizes, options, references to ops and layers."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..ir.size import Size, SizeError, maximum, minimum
from . import tree

if TYPE_CHECKING:
    from .instances import InstanceBuilder
    from .names import SourceFile


class Mistake(Exception):
    """A mistake that has been reported; the statement that made it is given up."""


class Enough(Exception):
    """So much is wrong that looking on helps nobody."""


@dataclass(frozen=True)
class OpRef:
    """An op given as an option: `act = gelu`, `act = leaky_relu(slope = 0.2)`.

    Attributes:
        given: options that it is called with, by name.
    """

    name: str
    given: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class LayerRef:
    """A layer, with the file whose names its body sees; as an option also `BatchNorm(eps = 1e-3)`.

    Attributes:
        given: options that it is used with, by name.
        sizes: sizes of dims between its brackets, by name.
        home: the instance in whose layer the option was written; dims of it are known to the layer.
    """

    layer: tree.Layer
    file: SourceFile
    given: tuple[tuple[str, Any], ...] = ()
    sizes: tuple[tuple[str, Size], ...] = ()
    home: InstanceBuilder | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Word:
    """A word that an op's option understands: `pad = same`."""

    text: str


_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "sqrt": math.sqrt,
    "exp": math.exp,
    "log": math.log,
    "sin": math.sin,
    "cos": math.cos,
    "tanh": math.tanh,
    "abs": abs,
    "rsqrt": lambda x: 1 / math.sqrt(x),
    "square": lambda x: x * x,
    "floor": math.floor,
    "ceil": math.ceil,
    "round": round,
}
_OPERATORS = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "and": lambda a, b: a and b,
    "or": lambda a, b: a or b,
}
_MOST_BITS = 4096  # of a whole number


def plain(value: Any) -> Any:
    """A constant size as the int that it is; everything else as it stands."""
    return value.value if isinstance(value, Size) and value.is_constant else value


def is_constant(value: Any) -> bool:
    """Whether a binding is a number, a size, a truth value or none."""
    return value is None or isinstance(value, int | float | bool | Size)


def is_number(value: Any) -> bool:
    """Whether a binding is a number, a size or a truth value."""
    return isinstance(value, int | float | Size)


def fold_unary(op: str, value: Any) -> Any:
    """`not` or `-` of a constant; NotImplemented where it is not to be settled here."""
    value = plain(value)
    if value is NotImplemented or isinstance(value, LayerRef | OpRef | tuple):
        return NotImplemented
    if op == "not":
        return not value if not isinstance(value, Size) else NotImplemented
    return -value if value is not None else NotImplemented


def fold(op: str, left: Any, right: Any) -> Any:
    """An operator on constants; NotImplemented where it needs a size that is not yet known.

    Raises:
        ArithmeticError, ValueError, SizeError: the operation has no result.
    """
    left, right = plain(left), plain(right)
    if not isinstance(left, Size) and not isinstance(right, Size):
        whole = isinstance(left, int) and isinstance(right, int)
        if op == "**" and whole and left.bit_length() * abs(right) > _MOST_BITS:
            raise OverflowError("the power is too large")
        return _sane(_OPERATORS[op](left, right))
    if op in ("+", "-", "*", "//", "%") and all(isinstance(x, int | Size) for x in (left, right)):
        return plain(_OPERATORS[op](Size.of(left), Size.of(right)))
    if op == "**" and isinstance(right, int) and 0 <= right <= 16:
        result = Size.of(1)
        for _ in range(right):
            result = result * left
        return result
    if op == "==" and left == right:
        return True
    return NotImplemented


def fold_call(name: str, values: list[Any]) -> Any:
    """A function of constants; NotImplemented where there is none such, or a size is not known."""
    values = [plain(v) for v in values]
    if name in ("min", "max") and len(values) >= 2:
        if any(isinstance(v, Size) for v in values):
            if all(isinstance(v, int | Size) for v in values):
                return (minimum if name == "min" else maximum)(*map(Size.of, values))
            return NotImplemented
        return (min if name == "min" else max)(values)
    if name in _FUNCTIONS and len(values) == 1 and not isinstance(values[0], Size):
        return _sane(_FUNCTIONS[name](values[0]))
    return NotImplemented


def _sane(result: Any) -> Any:
    """A number that a program can hold.

    Raises:
        OverflowError, ValueError: it is too large, or no real number.
    """
    if isinstance(result, complex) or result != result:
        raise ValueError("this is no real number")
    if isinstance(result, int) and result.bit_length() > _MOST_BITS:
        raise OverflowError("this number is too large")
    if isinstance(result, float) and math.isinf(result):
        raise OverflowError("this number is too large")
    return result


FOLD_ERRORS = (ArithmeticError, ValueError, TypeError, SizeError)
