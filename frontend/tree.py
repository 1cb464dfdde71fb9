"""The syntax tree of a model file, as written: no name is resolved here."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..ir.diagnostics import Span


@dataclass(frozen=True)
class Node:
    """Anything that has a place; places do not count in comparisons."""

    span: Span = field(compare=False, kw_only=True)


# Expressions. A dim's name is a Name like any other; what it means is settled by elaboration.


@dataclass(frozen=True)
class Number(Node):
    """A literal; an int stays an int."""

    value: int | float


@dataclass(frozen=True)
class Constant(Node):
    """`true`, `false` or `none`."""

    value: bool | None


@dataclass(frozen=True)
class Name(Node):
    """A value, constant, option, dim, op, layer or loop name."""

    id: str


@dataclass(frozen=True)
class Global(Name):
    """The name of a dim, constant, op, layer or option's word that no value and no option hides.

    The language has none: there, `mean = mean[D](x)` hides the op. A model that is written in
    Python says `nw.mean`, whatever its own variables are called.
    """


@dataclass(frozen=True)
class Dots(Node):
    """`...`: the dims that a layer does not name."""


@dataclass(frozen=True)
class Member(Node):
    """`instance.parameter`, `chapter.Layer`, or deeper: `encoder.attn.wq`."""

    base: Name | Member
    name: str


@dataclass(frozen=True)
class Unary(Node):
    """`-x` or `not x`."""

    op: str
    operand: Expr


@dataclass(frozen=True)
class Binary(Node):
    """`+ - * / // % **`, comparisons (one each; chains are refused), `and`, `or`."""

    op: str
    left: Expr
    right: Expr


@dataclass(frozen=True)
class Item(Node):
    """One thing between brackets: `D`, `...`, `S -> T`, `Y * Ky -> Yo`, `C = Co`, `Y -> Yo = Y`.

    Attributes:
        left: the dim, the grid (`P * K`), the sum (`A + B`) or `...`.
        right: what stands right of the arrow, if there is one.
        value: what stands right of `=`, if there is one.
    """

    left: Expr
    right: Expr | None = None
    value: Expr | None = None


@dataclass(frozen=True)
class Keyword(Node):
    """`name = value` between parentheses; the span is that of the whole."""

    name: str
    value: Expr


@dataclass(frozen=True)
class Call(Node):
    """`callee[dims](arguments, name = value)`; `dims` is None where no brackets were written."""

    callee: Name | Member
    dims: tuple[Item, ...] | None
    arguments: tuple[Expr, ...]
    keywords: tuple[Keyword, ...]


@dataclass(frozen=True)
class Tuple(Node):
    """`(0, 1)`: constants, or such pairs, as the value of a keyword or the default of an option."""

    items: tuple[Expr, ...]


Expr = Number | Constant | Name | Dots | Member | Unary | Binary | Call | Tuple


# Types and declarations.


@dataclass(frozen=True)
class TypeExpr(Node):
    """`[B, S, D]`, `int[B, S]`, `bool[S, T]`; `dtype` is float, int or bool."""

    dtype: str
    dims: tuple[Name | Dots, ...]


@dataclass(frozen=True)
class DimDecl(Node):
    """`D = 128` or `B` in a `dims:` block; `size` is None for a free dim."""

    name: str
    size: Expr | None


@dataclass(frozen=True)
class ConstDecl(Node):
    """`drop = 0.1` in a `const:` block."""

    name: str
    value: Expr


@dataclass(frozen=True)
class Argument(Node):
    """An argument of a layer: a value where it has a type, an option where it has none."""

    name: str
    type: TypeExpr | None
    default: Expr | None

    @property
    def declared(self) -> TypeExpr:
        """The type of a value."""
        if self.type is None:
            raise AssertionError(f"{self.name} is an option, which has no type")
        return self.type


@dataclass(frozen=True)
class Result(Node):
    """A promised result, with or without a name."""

    name: str | None
    type: TypeExpr


# Statements of a layer's body.


@dataclass(frozen=True)
class Dims(Node):
    """A `dims:` block, at the top of a file or in a layer."""

    items: tuple[DimDecl, ...]


@dataclass(frozen=True)
class Param(Node):
    """`param name: type = init`."""

    name: str
    type: TypeExpr
    init: Expr


@dataclass(frozen=True)
class State(Node):
    """`state name: type = init`."""

    name: str
    type: TypeExpr
    init: Expr


@dataclass(frozen=True)
class Use(Node):
    """`use name = Layer[dims](options)`, perhaps behind `repeat[L]` or `each[E]`."""

    name: str
    mode: str  # "one", "repeat" or "each"
    along: Name | None
    layer: Name | Member
    dims: tuple[Item, ...] | None
    arguments: tuple[Expr, ...]
    keywords: tuple[Keyword, ...]


@dataclass(frozen=True)
class Assign(Node):
    """`a, _ = f(x)` or `m, v = average, variance`; a target is a Name (`_` drops a result)."""

    targets: tuple[Name, ...]
    values: tuple[Expr, ...]


@dataclass(frozen=True)
class Update(Node):
    """`average <- value`."""

    name: Name
    value: Expr


@dataclass(frozen=True)
class If(Node):
    """`if condition: … else: …`; `elif` is an If alone in `orelse`."""

    condition: Expr
    then: tuple[Statement, ...]
    orelse: tuple[Statement, ...]


@dataclass(frozen=True)
class Scan(Node):
    """`ys = scan[T](x = xs) carry (h = h0): …`; `targets` is empty where nothing is assigned."""

    targets: tuple[Name, ...]
    along: Name
    inputs: tuple[Keyword, ...]
    carry: tuple[Keyword, ...]
    body: tuple[Statement, ...]


@dataclass(frozen=True)
class Emit(Node):
    """`emit h` or `emit h, c`, in a scan."""

    values: tuple[Expr, ...]


@dataclass(frozen=True)
class Return(Node):
    """`return y` or `return y, balance`."""

    values: tuple[Expr, ...]


@dataclass(frozen=True)
class Metric(Node):
    """`metric name = value`."""

    name: str
    value: Expr


Statement = Dims | Param | State | Use | Assign | Update | If | Scan | Emit | Return | Metric


# Top level.


@dataclass(frozen=True)
class Consts(Node):
    """A `const:` block."""

    items: tuple[ConstDecl, ...]


@dataclass(frozen=True)
class Import(Node):
    """`import vision`."""

    name: str


@dataclass(frozen=True)
class Layer(Node):
    """A `layer`, `model` or `loss`; `span` covers the header line."""

    kind: str
    name: str
    name_span: Span = field(compare=False)
    dims: tuple[Item, ...]
    arguments: tuple[Argument, ...]
    results: tuple[Result, ...]
    doc: str
    body: tuple[Statement, ...]


@dataclass(frozen=True)
class File(Node):
    """A whole model file."""

    doc: str
    items: tuple[Dims | Consts | Import | Layer, ...]
