"""Arithmetic, comparisons and logic between values."""

from __future__ import annotations

from ..core import Op, Type
from ..named import Named, union
from ..registry import Code, Levels, OpDef, Source, register
from .common import count, pointwise_order, promote, real, same_dims


def _shape(result):
    def shape(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
        return (Type(result(*(t.dtype for t in types)), same_dims(types, definition(op).infix)),)

    return shape


def definition(op: Op) -> OpDef:
    from ..registry import lookup

    return lookup(op.name)


def _meaning(ufunc: str):
    def meaning(np, args, op):
        dims = union(*args)
        return Named(getattr(np, ufunc)(*(a.over(dims) for a in args)), dims)

    return meaning


def _infix(symbol: str, level: int, right_associative: bool = False):
    def source(c: Source) -> Code:
        left, right = (level + 1, level) if right_associative else (level, level + 1)
        return Code(f"{c.arg(0, left)} {symbol} {c.arg(1, right)}", level)

    return source


def _elements(types: tuple[Type, ...], op: Op):
    return count(op.result.type.dims)


def _binary(name, symbol, level, ufunc, doc, result=promote, linear=False, **more) -> None:
    register(
        OpDef(
            name,
            "arithmetic",
            doc,
            _shape(result),
            _infix(symbol, level),
            _meaning(ufunc),
            operands=("a", "b"),
            infix=symbol,
            flops=_elements,
            order=pointwise_order,
            linear=linear,
            **more,
        )
    )


_binary("add", "+", Levels.ADD, "add", "The sum, element by element.", linear=True)
_binary("multiply", "*", Levels.MULTIPLY, "multiply", "The product, element by element.", linear=True)
_binary(
    "divide", "/", Levels.MULTIPLY, "true_divide", "The quotient as a real number.",
    lambda a, b: promote(real(a), real(b)),
)  # fmt: skip
