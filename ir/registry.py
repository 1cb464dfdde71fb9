"""What an op is: one entry that every stage reads. A file of `ir.ops` holds each family.

Everything that Netwright knows of an op is in its `OpDef`: how it is written, what shape it gives,
how it is printed as JAX, what it means in numpy, how precision treats it, what it costs, and what
its gradient keeps. A stage that needs to know something of an op asks here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from .core import Axis, Dim, Op, Order, Type
from .size import Size

REQUIRED = object()
"""The default of an option that has none."""

LOWERING = {
    "layout": "view",
    **dict.fromkeys(("arithmetic", "pointwise", "position", "shape", "random"), "fused"),
    **dict.fromkeys(("product", "attention"), "routine"),
}
"""What XLA makes of the ops of a family; of all others it writes the result."""


class ShapeError(Exception):
    """Operands or dims that an op cannot take; elaboration turns it into a diagnostic.

    Attributes:
        code: a stable kebab-case name.
        message: one sentence in the reader's names.
        operand: the position of the operand at fault, or None for the whole call.
        facts: lines that give the reasons.
        help: what to write instead.
    """

    def __init__(
        self, code: str, message: str, operand: int | None = None, facts=(), help: str = ""
    ):
        super().__init__(message)
        self.code, self.message, self.operand = code, message, operand
        self.facts, self.help = tuple(facts), help


@dataclass(frozen=True)
class Option:
    """A constant that an op takes between its parentheses.

    Attributes:
        default: what it is when not given; REQUIRED if it must be.
        kinds: what it may be: any of `int`, `float`, `bool`, `none`, `pair`, `word`.
        words: the words that it may be, such as `same` and `valid`.
    """

    default: Any = REQUIRED
    kinds: tuple[str, ...] = ("int", "float")
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Brackets:
    """What an op takes between its brackets.

    Attributes:
        dims: least and most plain dims (None: any number).
        arrows: least and most arrows.
        left, right: how the sides of an arrow are joined: "" for one dim, `*` for a grid, `+` end
            to end.
        dots: whether `...` may stand among the dims.
        bare: whether an item like `Y * Ky` without an arrow counts as an arrow onto its first dim.
        new: whether plain dims may be ones that no operand has (they still must have a size).
        ordered: whether the dims' order matters (`offset[S, T]`).
    """

    dims: tuple[int, int | None] = (0, 0)
    arrows: tuple[int, int | None] = (0, 0)
    left: str = ""
    right: str = ""
    dots: bool = True
    bare: bool = False
    new: bool = False
    ordered: bool = False


@dataclass(frozen=True)
class Keep:
    """A value that an op's gradient keeps.

    Attributes:
        what: `operand`, `result` or `internal`.
        index: which operand or result.
        type: of an internal value: its type.
    """

    what: str
    index: int = 0
    type: Type | None = None


@dataclass(frozen=True)
class Code:
    """JAX source of an expression.

    Attributes:
        text: the source.
        level: how tightly it binds: one of `Levels`.
        number: whether it gives a number of Python's, not an array.
    """

    text: str
    level: int = 16
    number: bool = False

    def within(self, level: int) -> str:
        """The text, in parentheses if it binds less tightly than `level`."""
        return self.text if self.level >= level else f"({self.text})"


class Levels:
    """How tightly Python's operators bind."""

    LAMBDA, TERNARY, OR, AND, NOT, COMPARE = 1, 2, 3, 4, 5, 6
    BIT_OR, BIT_AND = 7, 9
    ADD, MULTIPLY, UNARY, POWER, ATOM = 11, 12, 13, 14, 16


class Source:
    """What an op's `source` facet may ask of the writer. The writer implements it.

    Attributes:
        op: the op to be written.
        types: the operands' types.
        orders: the operands' orders; every one is known.
    """

    op: Op
    types: tuple[Type, ...]
    orders: tuple[Order, ...]

    def code(self, index: int) -> Code:
        """Source of an operand as it stands: an array, or a number of Python's."""
        raise NotImplementedError

    def array(self, index: int, dtype: str = "") -> Code:
        """Source of an operand as an array; a number becomes one, of the dtype if that is given."""
        raise NotImplementedError

    def arg(self, index: int, level: int = 0) -> str:
        """Source of an operand as an array, in parentheses where it binds less tightly."""
        return self.array(index).within(level)

    def numbers(self) -> bool:
        """Whether all operands are numbers of Python's."""
        return all(self.code(i).number for i in range(len(self.types)))

    def size(self, size: Size) -> str:
        """Source of a size: a literal, a named constant, or an expression of shapes at hand."""
        raise NotImplementedError

    def shape(self, order: Order) -> str:
        """Source of a shape, as a tuple."""
        raise NotImplementedError

    def extent(self, axis: Axis) -> str:
        """Source of the size of an axis, by the names of its dims."""
        raise NotImplementedError

    def axis(self, index: int, dim: Dim) -> int:
        """The axis of operand `index` that is this dim; counted from the end, so negative."""
        order = self.orders[index]
        return next(i for i, axis in enumerate(order) if axis == (dim,)) - len(order)

    def axes(self, index: int, dims: tuple[Dim, ...]) -> str:
        """Source for the axes of several dims: `-1`, or `(-2, -1)`."""
        found = sorted(self.axis(index, d) for d in dims)
        return str(found[0]) if len(found) == 1 else "(" + ", ".join(map(str, found)) + ")"

    def letters(self, order: Order) -> str:
        """Einsum letters of an order, one for each axis, taken from the dims' names."""
        raise NotImplementedError

    def key(self) -> str:
        """Source of the random key of this op."""
        raise NotImplementedError

    def dtype(self, dtype: str) -> str:
        """Source of a dtype, such as `jnp.bfloat16`."""
        raise NotImplementedError

    def helper(self, name: str) -> str:
        """The name of a function of `ir.ops.helpers`, which the writer then emits once."""
        raise NotImplementedError


@dataclass(frozen=True)
class OpDef:
    """An entry of the registry.

    Attributes:
        name: as written in a model, in the IR and in messages.
        family: `arithmetic`, `pointwise`, `reduction`, `normalising`, `product`, `shape`, `lookup`,
            `position`, `random`, `attention`, `loss`, `structure`, `layout`.
        doc: one paragraph for the reference page: what it does, with a formula.
        shape: (operand types, op without results) -> result types; raises `ShapeError`. Runs again
            whenever a pass changes an operand, so it must accept concrete dtypes too. None where
            the results are those of a body.
        source: a `Source` -> JAX source, as `Code` or as a string that is an atom.
        meaning: (numpy, operands, op) -> result, or tuple of results. Operands and results are
            `ir.named.Named` arrays. The oracle of the tests; None for structure.
        operands: names of the operands; variadic ops repeat the last one.
        optional: names of operands that may be left out, recorded in the attribute `extra`.
        also: names that it has elsewhere: a model that uses one is told the name here.
        counts: operands of a product that are no factors but say which belong together.
        hidden: of an op that takes `where = mask` in a model, but not in the IR: what elaboration
            puts in place of what is hidden. `zero`, `least`, `descending` (the least or the
            greatest, by that option), `hold` of a recurrence, or `mean`, which counts the rest.
        options: constants, recorded as attributes.
        brackets: what stands between the brackets.
        arrow: (op name, left dims, right sizes or None where new, attrs) -> (right sizes, claims
            with reasons): sizes of what an arrow declares.
        infix: the operator that writes it, such as `+`; "" for a call.
        precision: how policies treat it: `product` computes low and accumulates in float32, `wide`
            computes in float32, `follow` computes in the widest dtype of its operands.
        flops: (operand types, op with results) -> floating-point operations.
        keeps: (op, operand types, wants) -> what its gradient keeps; `wants` says for each operand
            whether it is differentiated.
        order: (op, operand orders) -> (orders that the operands must have, orders of the results).
            None: derived from the family.
        linear: whether it is linear in each operand by itself, so that it keeps only the others.
        arranges: whether its results have every number of its operands, and none else but fillings.
        ids: the operand whose numbers it looks up, as positions of the dim between its brackets.
        lowering: what XLA makes of it: `view` is its operand under another shape, `fused` is
            computed where it is read, `written` has its result in memory, and `routine` its
            operands too. Without it that of its family (`LOWERING`).
        expensive: whether XLA avoids to compute it twice, though it is fused.
        effect: `random` for ops that draw from a key, `metric` for those that must not be removed.
        mapped: whether JAX can map it along one more dim; if not, `each` makes the copies of a
            layer that has it one after the other.
    """

    name: str
    family: str
    doc: str
    shape: Callable[[tuple[Type, ...], Op], tuple[Type, ...]] | None
    source: Callable[[Source], Code | str]
    meaning: Callable[..., Any] | None
    operands: tuple[str, ...] = ("x",)
    variadic: bool = False
    optional: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    counts: tuple[str, ...] = ()
    hidden: str = ""
    options: Mapping[str, Option] = field(default_factory=dict)
    brackets: Brackets = Brackets()
    arrow: Callable[..., Any] | None = None
    infix: str = ""
    precision: str = "follow"
    flops: Callable[[tuple[Type, ...], Op], Size] | None = None
    keeps: Callable[[Op, tuple[Type, ...], tuple[bool, ...]], tuple[Keep, ...]] | None = None
    order: Callable[[Op, tuple[Order, ...]], tuple[tuple[Order, ...], tuple[Order, ...]]] | None = (
        None
    )
    linear: bool = False
    arranges: bool = False
    ids: int | None = None
    lowering: str = ""
    expensive: bool = False
    effect: str = ""
    mapped: bool = True

    @property
    def lowered(self) -> str:
        """What XLA makes of it, by its own facet or its family's."""
        return self.lowering or LOWERING.get(self.family, "written")

    @property
    def keywords(self) -> tuple[str, ...]:
        """The operands that a model may leave out, and gives by name."""
        return (*self.optional, "where") if self.hidden else self.optional

    def types(self, operands: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
        """The types of the results by the shape rule, of an op that has one.

        Raises:
            ShapeError: the operands do not fit.
        """
        if self.shape is None:
            raise AssertionError(f"{self.name} has no shape rule")
        return tuple(self.shape(operands, op))


REGISTRY: dict[str, OpDef] = {}


def register(definition: OpDef) -> OpDef:
    """Add an entry; a name may be taken once."""
    if definition.name in REGISTRY:
        raise ValueError(f"op {definition.name} is registered twice")
    REGISTRY[definition.name] = definition
    return definition


def lookup(name: str) -> OpDef:
    """The entry of an op; KeyError if there is none. Loads the families on first use."""
    from . import ops  # noqa: F401  (importing it fills the registry)

    return REGISTRY[name]


def names() -> tuple[str, ...]:
    """The names of all ops, sorted."""
    from . import ops  # noqa: F401

    return tuple(sorted(REGISTRY))


@cache
def words() -> frozenset[str]:
    """The words that options of ops understand, such as `same`."""
    return frozenset(w for n in names() for o in REGISTRY[n].options.values() for w in o.words)


def keeps(op: Op, types: tuple[Type, ...], wants: tuple[bool, ...]) -> tuple[Keep, ...]:
    """What the gradient of an op keeps, by its own rule or, if it is linear, the other operands."""
    definition = lookup(op.name)
    if not any(wants):
        return ()
    if definition.keeps is not None:
        return definition.keeps(op, types, wants)
    if definition.linear:
        others = (i for i in range(len(types)) if any(w for j, w in enumerate(wants) if j != i))
        return tuple(_as(op.results[0].type.dtype, types[i], i) for i in others)
    return ()


def _as(dtype: str, type_: Type, index: int) -> Keep:
    """An operand as an op of that dtype keeps it: converted first, where its own is another."""
    if type_.dtype == dtype:
        return Keep("operand", index)
    return Keep("internal", type=type_.with_dtype(dtype))


def elsewhere() -> dict[str, str]:
    """Ops by the names that they have elsewhere."""
    return {other: name for name in names() for other in lookup(name).also}


FACETS = ("doc", "shape", "source", "meaning", "precision", "flops", "keeps", "order")


def matrix() -> dict[str, dict[str, str]]:
    """What is known of each op: for each facet `yes`, `no`, or `-` where it would mean nothing.

    Structure has no rules: elaboration states its types, and the writer prints it itself. What is
    drawn has no meaning in numpy. What linear ops keep follows from that.
    """
    table = {}
    for name in names():
        op = REGISTRY[name]
        row = {facet: "yes" if getattr(op, facet) else "no" for facet in FACETS}
        if op.keeps is None and op.linear:
            row["keeps"] = "yes"
        if op.effect == "random" and op.meaning is None:
            row["meaning"] = "-"
        if op.family == "structure":
            row |= {facet: "-" for facet in FACETS if facet != "doc" and row[facet] == "no"}
        table[name] = row
    return table
