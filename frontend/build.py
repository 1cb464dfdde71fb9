"""From what the grammar matched to nodes of the syntax tree.

Lark calls a method of `Build` as soon as a rule is complete, so nothing here recurs, however deep
the source. A line that fits the grammar and still makes no sense raises `Mistake`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from lark import Transformer

from ..ir.diagnostics import Diagnostic, Place, Span
from . import tree
from .lexer import Word
from .syntax_errors.stumble import quote


class Mistake(Exception):
    """A line that fits the grammar is wrong all the same.

    `help` may hold `{0}`, `{1}` …, for which the source of `parts` is put in.
    """

    def __init__(
        self, code: str, message: str, span: Span, *, parts: Sequence = (), help="", **more: Any
    ):
        super().__init__(message)
        self.fields: dict[str, Any] = dict(code=code, message=message, span=span, **more)
        self.help = help
        self.parts = parts

    def diagnostic(self, rows: Sequence[str]) -> Diagnostic:
        """What is to be told, given the rows of the source."""
        texts = [quote(part.span, rows) for part in self.parts]
        return Diagnostic(**self.fields, help=self.help.format(*texts))


class Group(tuple):
    """The elements of a list, with the place of the list and its brackets."""

    span: Span

    @classmethod
    def of(cls, children: Sequence, elements: Iterable | None = None) -> Group:
        """A group of elements, or of all, that stands where `children` do."""
        group = cls(children if elements is None else elements)
        group.span = spanned(children)
        return group


def spanned(children: Sequence) -> Span:
    """From the first word to the last one of what a rule matched."""
    there = [c.span for c in children if c is not None]
    return there[0].to(there[-1])


def _actuals(group: Sequence | None) -> tuple[tuple, tuple]:
    """The arguments and the keywords of a call."""
    arguments, keywords = [], []
    for actual in group or ():
        if isinstance(actual, tree.Keyword):
            keywords.append(actual)
        elif keywords:
            raise Mistake(
                "argument-order",
                "a value without a name stands behind one with a name",
                actual.span,
                places=(Place(keywords[0].span, "the first with a name"),),
                facts=("values without names come first",),
            )
        else:
            arguments.append(actual)
    _check_once(keywords, "keyword")
    return tuple(arguments), tuple(keywords)


def _check_once(named: Sequence, what: str) -> None:
    seen: dict = {}
    for each in named:
        if each.name in seen:
            raise Mistake(
                "given-twice",
                f"the {what} `{each.name}` is given twice",
                each.span,
                places=(Place(seen[each.name].span, "first here"),),
            )
        seen[each.name] = each


def _check_own_dim(item: tree.Item) -> None:
    """Between a layer's brackets stand names: `D`, `C -> Co`, `Yo = Y`."""
    for side in (item.left, item.right):
        if side is not None and not isinstance(side, tree.Name):
            raise Mistake(
                "header-dim",
                "between the brackets of a layer stand the names of its dimensions",
                side.span,
                facts=("they look like this: D, C -> Co, Ky = 3",),
            )


def _check_named(dims: Sequence | None, callee: tree.Name | tree.Member) -> None:
    """Brackets hold dimensions, never axis numbers."""
    for item in dims or ():
        number = item.left.operand if isinstance(item.left, tree.Unary) else item.left
        if isinstance(number, tree.Number) and item.right is None and item.value is None:
            raise Mistake(
                "axis-number",
                "there are no axis numbers: brackets hold names of dimensions",
                item.span,
                help="{0}[D](x)",
                parts=(callee,),
            )


_REDUCTIONS = (
    "sum mean var std max min prod any all argmax argmin cumsum cumprod softmax flip roll"
).split()

DTYPES = ("float", "int", "half", "double", "complex", "tensor", "array")

# What people write after a dot who come from Python.
METHODS = {
    **{op: op + "[D]({0})" for op in _REDUCTIONS},
    "reshape": "split[D -> G * K]({0}), or merge[G * K -> D]({0})",
    "view": "split[D -> G * K]({0}), or merge[G * K -> D]({0})",
    "flatten": "merge[Y * X -> P]({0})",
    "transpose": "leave it out: dimensions are matched by name",
    "permute": "leave it out: dimensions are matched by name",
    "swapaxes": "leave it out: dimensions are matched by name",
    "squeeze": "leave it out: dimensions are matched by name",
    "unsqueeze": "leave it out; where an outer product is meant, expand[T]({0})",
    "matmul": "dot[D]({0}, w)",
    "astype": "leave it out: precision is decided by the recipe",
    "to": "leave it out: precision and devices are decided by the recipe",
    "float": "leave it out: precision is decided by the recipe",
    "cuda": "leave it out: devices are decided by the recipe",
    "detach": "stop_gradient({0})",
    "item": "metric name = {0}",
    "size": "a dimension's name is its size: sqrt(K)",
}
_SIZE = "a dimension's name is its size: sqrt(K)"
_TURN = ("there are no transposes: dimensions are matched by name", "{0}")
ATTRIBUTES = {
    "T": _TURN,
    "mT": _TURN,
    "shape": ("values have no `.shape`", _SIZE),
    "ndim": ("values have no `.ndim`", _SIZE),
    "dtype": ("values have no `.dtype`", "leave it out: precision is decided by the recipe"),
}


class Build(Transformer):
    """A method for each rule of the grammar, given its words and nodes; absent ones are None."""

    # Lines.

    def line(self, c):
        return c[0]

    def doc(self, c):
        return c[0]

    def imported(self, c):
        return tree.Import(str(c[1]), span=spanned(c))

    def dims(self, c):
        return tree.Dims(tuple(c[2] or ()), span=spanned(c))

    def consts(self, c):
        return tree.Consts(tuple(c[2] or ()), span=spanned(c))

    def layer(self, c):
        kind, name, items, _, arguments, _, results, _ = c
        for item in items or ():
            _check_own_dim(item)
        _check_once(arguments or (), "argument")
        if results is None and kind != "loss":
            raise Mistake(
                "missing-result",
                f"the {kind} `{name}` does not say what it gives",
                name.span,
                help="{0} -> [..., D]:",
                parts=(Group.of(c[:-1]),),
            )
        return tree.Layer(
            str(kind),
            str(name),
            name.span,
            tuple(items or ()),
            tuple(arguments or ()),
            tuple(results or ()),
            "",
            (),
            span=spanned(c),
        )

    def param(self, c):
        return tree.Param(str(c[1]), c[3], c[5], span=spanned(c))

    def state(self, c):
        return tree.State(str(c[1]), c[3], c[5], span=spanned(c))

    def use(self, c):
        _, name, _, copies, layer, dims, actuals = c
        mode, along = copies or ("one", None)
        _check_named(dims, layer)
        dims = None if dims is None else tuple(dims)
        return tree.Use(str(name), mode, along, layer, dims, *_actuals(actuals), span=spanned(c))

    def assign(self, c):
        return tree.Assign(tuple(c[0]), tuple(c[2]), span=spanned(c))

    def update(self, c):
        return tree.Update(_name(c[0]), c[2], span=spanned(c))

    def branch(self, c):
        return tree.If(c[1], (), (), span=spanned(c))

    def otherwise(self, c):
        return c[0]

    def scan(self, c):
        targets, _, _, _, along, _, _, inputs, _, carry, _ = c
        return tree.Scan(
            tuple(targets or ()),
            _name(along),
            tuple(inputs or ()),
            tuple(carry or ()),
            (),
            span=spanned(c),
        )

    def emit(self, c):
        return tree.Emit(tuple(c[1]), span=spanned(c))

    def returned(self, c):
        return tree.Return(tuple(c[1]), span=spanned(c))

    def metric(self, c):
        return tree.Metric(str(c[1]), c[3], span=spanned(c))

    # Parts of lines.

    def dim_line(self, c):
        return c[0]

    def const_line(self, c):
        return c[0]

    def dim(self, c):
        name = c[0]
        if not name[0].isupper():
            raise Mistake(
                "lower-case-dim",
                f"a dimension starts with a capital letter: `{name}` does not",
                name.span,
                facts=("a number that is no dimension stands in `const:`",),
                help=name[0].upper() + name[1:] + (" = {0}" if c[2] else ""),
                parts=c[2:3] if c[2] else (),
            )
        return tree.DimDecl(str(name), c[2], span=spanned(c))

    def const(self, c):
        name = c[0]
        if name[0].isupper():
            raise Mistake(
                "upper-case-const",
                f"`{name}` starts with a capital letter, as dimensions do",
                name.span,
                facts=("a dimension stands in `dims:`, a constant in lower case in `const:`",),
                help=name.lower() + " = {0}",
                parts=c[2:3],
            )
        return tree.ConstDecl(str(name), c[2], span=spanned(c))

    def copies(self, c):
        return Group.of(c, (str(c[0]), _name(c[2])))

    def carry(self, c):
        return Group.of(c, c[2])

    def brackets(self, c):
        return Group.of(c, c[1])

    def parens(self, c):
        return Group.of(c, c[1] or ())

    def gives(self, c):
        return Group.of(c, c[1])

    def targets(self, c):
        return Group.of(c, [_name(word) for word in c if word.type == "NAME"])

    def argument(self, c):
        name, _, type, _, default = c
        return tree.Argument(str(name), type, default, span=spanned(c))

    def result(self, c):
        name, _, type = c
        return tree.Result(str(name) if name else None, type, span=spanned(c))

    def type(self, c):
        dtype, _, dims, _ = c
        if dtype not in (None, "int", "bool"):
            raise Mistake(
                "dtype",
                f"`{dtype}` is not a type of the language",
                dtype.span,
                facts=(
                    "types are [B, S, D], int[B, S], bool[S, T]",
                    "how many bits a number has is decided by the recipe",
                ),
                help="{0}" if any(w in dtype.lower() for w in DTYPES) else f"{dtype}: {{0}}",
                parts=(Group.of(c[1:]),),
            )
        return tree.TypeExpr(str(dtype or "float"), tuple(dims or ()), span=spanned(c))

    def item(self, c):
        left, _, right, _, value = c
        return tree.Item(left, right, value, span=spanned(c))

    def keyword(self, c):
        return tree.Keyword(str(c[0]), c[2], span=spanned(c))

    def dim_list(self, c):
        return Group.of(c, [e for e in c if e is not None and not isinstance(e, Word)])

    const_list = values = others = arguments = results = type_dims = items = actuals = keywords = (
        dim_list
    )

    # Expressions.

    def tuple(self, c):
        return tree.Tuple((c[1], *(c[3] or ())), span=spanned(c))

    def binary(self, c):
        left, op, right = c
        return tree.Binary(str(op), left, right, span=spanned(c))

    def chain(self, c):
        first, op, right = c
        help = f"{{0}} {first.op} {{1}} and {{1}} {op} {{2}}"
        parts = (first.left, first.right, right)
        raise Mistake(
            "chained-comparison",
            "a comparison has two sides; join two of them with `and`",
            spanned(c),
            help=help,
            parts=parts,
        )

    def unary(self, c):
        return tree.Unary(str(c[0]), c[1], span=spanned(c))

    def call(self, c):
        callee, dims, actuals = c
        _check_named(dims, callee)
        if isinstance(callee, tree.Member) and callee.name in METHODS:
            raise Mistake(
                "method-call",
                f"values have no methods, such as `.{callee.name}()`",
                callee.span,
                help=METHODS[callee.name],
                parts=(callee.base,),
            )
        dims = None if dims is None else tuple(dims)
        return tree.Call(callee, dims, *_actuals(actuals), span=spanned(c))

    def paren(self, c):
        return replace(c[1], span=spanned(c))

    def callee(self, c):
        if len(c) == 1:
            return _name(c[0])
        member = tree.Member(c[0], str(c[2]), span=spanned(c))
        if member.name in ATTRIBUTES:
            message, help = ATTRIBUTES[member.name]
            raise Mistake("attribute", message, member.span, help=help, parts=(member.base,))
        return member

    def name(self, c):
        return _name(c[0])

    def dots(self, c):
        return tree.Dots(span=spanned(c))

    def constant(self, c):
        return tree.Constant({"true": True, "false": False, "none": None}[c[0]], span=spanned(c))

    def number(self, c):
        text = c[0]
        decimal = bool(set(text) & set(".eE"))
        if not decimal and len(text) > 1 and text[0] == "0" and set(text) - set("0_"):
            raise Mistake(
                "bad-number", "a number does not start with 0", text.span, help=text.lstrip("0_")
            )
        # Python refuses to read very long ints, so length comes first.
        value = float(text) if decimal or len(text) > 40 else int(text)
        if value == float("inf") or (not decimal and value >= 2**63):
            raise Mistake("bad-number", "this number is too large", text.span)
        return tree.Number(value, span=spanned(c))


def _name(word: Word) -> tree.Name:
    return tree.Name(str(word), span=word.span)
