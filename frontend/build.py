"""From what the grammar matched to nodes of the syntax tree.

Lark calls a method of `Build` as soon as a rule is complete, so nothing here recurs, however deep the
source. A line that fits the grammar and still makes no sense raises `Mistake`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from lark import Transformer

from ..ir.diagnostics import Diagnostic, Span
from . import tree
from .lexer import Word


class Mistake(Exception):
    """A line is wrong; the diagnostic says how."""

    def __init__(self, code: str, message: str, span: Span, **more: object):
        self.diagnostic = Diagnostic(code, message, span, **more)  # type: ignore[arg-type]
        super().__init__(message)


class Group(tuple):
    """The elements of a list, with the place of the list and its brackets."""

    span: Span


def spanned(children: Sequence) -> Span:
    """From the first word to the last one of what a rule matched."""
    there = [c.span for c in children if c is not None]
    return there[0].to(there[-1])


def _group(elements: Iterable, children: Sequence) -> Group:
    group = Group(elements)
    group.span = spanned(children)
    return group


def _actuals(group: Sequence | None) -> tuple[tuple, tuple]:
    """The arguments and the keywords of a call."""
    keywords = tuple(a for a in group or () if isinstance(a, tree.Keyword))
    return tuple(a for a in group or () if not isinstance(a, tree.Keyword)), keywords


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
        return tree.DimDecl(str(c[0]), c[2], span=spanned(c))

    def const(self, c):
        return tree.ConstDecl(str(c[0]), c[2], span=spanned(c))

    def copies(self, c):
        return _group((str(c[0]), _name(c[2])), c)

    def carry(self, c):
        return _group(c[2], c)

    def brackets(self, c):
        return _group(c[1], c)

    def parens(self, c):
        return _group(c[1] or (), c)

    def gives(self, c):
        return _group(c[1], c)

    def targets(self, c):
        return _group([_name(word) for word in c if word.type == "NAME"], c)

    def argument(self, c):
        name, _, type, _, default = c
        return tree.Argument(str(name), type, default, span=spanned(c))

    def result(self, c):
        name, _, type = c
        return tree.Result(str(name) if name else None, type, span=spanned(c))

    def type(self, c):
        dtype, _, dims, _ = c
        return tree.TypeExpr(str(dtype or "float"), tuple(dims or ()), span=spanned(c))

    def item(self, c):
        left, _, right, _, value = c
        return tree.Item(left, right, value, span=spanned(c))

    def keyword(self, c):
        return tree.Keyword(str(c[0]), c[2], span=spanned(c))

    def dim_list(self, c):
        return _group([e for e in c if e is not None and not isinstance(e, Word)], c)

    const_list = values = arguments = results = type_dims = items = actuals = keywords = dim_list

    # Expressions.

    def tuple(self, c):
        return tree.Tuple((c[1], *(c[3] or ())), span=spanned(c))

    def binary(self, c):
        left, op, right = c
        return tree.Binary(str(op), left, right, span=spanned(c))

    comparison = binary

    def unary(self, c):
        return tree.Unary(str(c[0]), c[1], span=spanned(c))

    def call(self, c):
        callee, dims, actuals = c
        dims = None if dims is None else tuple(dims)
        return tree.Call(callee, dims, *_actuals(actuals), span=spanned(c))

    def paren(self, c):
        return replace(c[1], span=spanned(c))

    def callee(self, c):
        if len(c) == 1:
            return _name(c[0])
        return tree.Member(c[0], str(c[2]), span=spanned(c))

    def name(self, c):
        return _name(c[0])

    def dots(self, c):
        return tree.Dots(span=spanned(c))

    def constant(self, c):
        return tree.Constant({"true": True, "false": False, "none": None}[c[0]], span=spanned(c))

    def number(self, c):
        text = c[0]
        value = float(text) if set(text) & set(".eE") else int(text)
        return tree.Number(value, span=spanned(c))


def _name(word: Word) -> tree.Name:
    return tree.Name(str(word), span=word.span)
