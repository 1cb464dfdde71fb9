"""From the text of a model file to its syntax tree.

Each logical line is parsed by itself, and blocks are put together by indentation: a mistake costs
one line, and every other line is still read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path

from lark import Lark
from lark.exceptions import UnexpectedToken
from lark.lexer import Lexer

from ..ir.diagnostics import Diagnostic, Diagnostics, Span
from . import tree
from .build import Build, Mistake
from .lexer import Word
from .lines import MOST_NESTED, Line, Unreadable, read, too_deep
from .syntax_errors import layout as errors

MOST_ERRORS = 100


def parse(text: str, file: str, diagnostics: Diagnostics) -> tree.File | None:
    """The syntax tree of a model file; None, with the mistakes in `diagnostics`, if it has any.

    Args:
        text: the source.
        file: the name that messages show.
        diagnostics: where mistakes go; it also gets the source, to quote from.
    """
    text = text.removeprefix("\ufeff")
    diagnostics.sources[file] = text
    parsed, found = _parsed(text, file)
    for diagnostic in found:
        diagnostics.add(diagnostic)
    return parsed


@lru_cache(maxsize=32)
def _parsed(text: str, file: str) -> tuple[tree.File | None, tuple[Diagnostic, ...]]:
    """The tree, or the mistakes; a process that reads many models reads a chapter once."""
    mine = _Sink()
    parsed = None
    with suppress(Unreadable):
        parsed = _Parser(text, file, mine).file(read(text, file, mine))
    return (None if mine.found else parsed), tuple(mine.found)


class _Sink(Diagnostics):
    """A sink that is full at some point: beyond it, the file is no model."""

    def add(self, diagnostic: Diagnostic) -> None:
        super().add(diagnostic)
        if len(self.found) >= MOST_ERRORS:
            raise Unreadable


class _Words(Lexer):
    """Lark's view of words that are cut already."""

    def __init__(self, conf: object):
        pass

    def lex(self, data: Iterable[Word]) -> Iterable[Word]:  # type: ignore[override]
        return iter(data)


@cache
def _grammar() -> Lark:
    return Lark(
        Path(__file__).with_name("grammar.lark").read_text(encoding="utf-8"),
        parser="lalr",
        lexer=_Words,
        start=["line", "dim_line", "const_line"],
        transformer=Build(),
        keep_all_tokens=True,
    )


_LAYERS = ("LAYER", "MODEL", "LOSS")
_BRANCHES = ("IF", "ELIF", "ELSE")
_GLOSSARIES = ("DIMS", "CONST")
_HEADERS = (*_LAYERS, *_BRANCHES, *_GLOSSARIES)

_ALLOWED = {
    "top": tree.Import | tree.Dims | tree.Consts | tree.Layer,
    "layer": tree.Dims
    | tree.Param
    | tree.State
    | tree.Use
    | tree.Assign
    | tree.Update
    | tree.If
    | tree.Scan
    | tree.Return
    | tree.Metric,
    "scan": tree.Assign | tree.If | tree.Scan | tree.Emit | tree.Metric,
}


class _Parser:
    def __init__(self, text: str, file: str, sink: Diagnostics):
        self.rows = text.split("\n")
        self.name = file
        self.sink = sink

    def file(self, lines: list[Line]) -> tree.File:
        doc, lines = self.doc(lines)
        items = self.block(_adopted(lines, self.sink.add), "top", 0)
        span = Span(self.name, 1, 1, len(self.rows), len(self.rows[-1]) + 1)
        return tree.File(doc, items, span=span)

    def line(self, line: Line, start: str = "line"):
        """What a line says, its block still missing; None if it is wrong, which is then told."""
        if line.broken:
            return None
        try:
            node = _grammar().parse(line.words, start=start)
        except UnexpectedToken as error:
            from .syntax_errors.explain import explain  # only who errs waits for it

            self.sink.add(explain(line.words, start, error, self.rows))
            return None
        except Mistake as mistake:
            self.sink.add(mistake.diagnostic(self.rows))
            return None
        if len(line.words) > MOST_NESTED and _depth(node) > MOST_NESTED:
            self.sink.add(errors.too_deep(line))
            return None
        return node

    def block(self, lines: list[Line], scope: str, depth: int) -> tuple:
        """The statements of a block; `depth` counts the blocks around it."""
        done: list = []
        branches: list | None = None  # of the `if` that an `else` may still join
        stray = False  # whether the line before was told to be misplaced
        for line in lines:
            kind = line.words[0].type
            node = self.line(line)
            if kind not in ("ELIF", "ELSE"):
                branches = None
            if kind in _BRANCHES:
                alone = branches is None and kind != "IF"
                if alone and node is not None:
                    self.sink.add(errors.else_without_if(line))
                    node = None
                if branches is None:
                    branches = []
                    if not alone:
                        done.append(branches)
                if scope == "top" and kind == "IF" and node is not None and not stray:
                    self.sink.add(errors.misplaced(node, line, scope))
                    stray = True
                inner = "layer" if scope == "top" else scope
                branches.append(self.branch(node, line, inner, depth + len(branches) + 1))
                if kind == "ELSE":
                    branches = None
                continue
            if isinstance(node, Word):
                self.sink.add(errors.docstring_place(node))
                node = None
            if node is None:
                self.below_mistake(line, scope, depth)
                continue
            if isinstance(node, _ALLOWED[scope]):
                stray = False
            elif isinstance(node, tree.Layer):
                self.sink.add(errors.nested_layer(node))
            elif not stray:
                self.sink.add(errors.misplaced(node, line, scope))
                stray = scope == "top"
            done.append(self.with_block(node, line, depth))
            if line.below and not isinstance(node, _OPENERS):
                self.sink.add(errors.unexpected_indent(line.below[0], line))
                if errors.starts(line.below[0]):
                    done += self.block(line.below, scope, depth + 1)
        return tuple(
            node for item in done for node in (_joined(item) if isinstance(item, list) else (item,))
        )

    def with_block(self, node, line: Line, depth: int):
        """A node with what is indented below its line."""
        if isinstance(node, tree.Layer):
            doc, below = self.doc(line.below)
            if not below:
                self.sink.add(errors.empty_body(line, bool(line.below)))
            return replace(node, doc=doc, body=self.block(below, "layer", depth + 1))
        if isinstance(node, tree.Scan):
            if not line.below:
                self.sink.add(errors.empty_body(line))
            return replace(node, body=self.block(line.below, "scan", depth + 1))
        if isinstance(node, tree.Dims | tree.Consts):
            return self.glossary(node, line)
        return node

    def branch(self, node, line: Line, scope: str, depth: int) -> tree.If | tuple:
        """One branch of an `if`: an If without its `else`, or the statements of the `else`."""
        if depth > MOST_NESTED:
            too_deep("branches are nested", line.words[0].span, self.sink)
        if not line.below and node is not None:
            self.sink.add(errors.empty_body(line))
        body = self.block(line.below, scope, depth)
        if isinstance(node, tree.If):
            return replace(node, then=body)
        return body

    def glossary(self, node, line: Line):
        """A `dims:` or `const:` with the lines below it."""
        if not node.items and not line.below:
            self.sink.add(errors.empty_body(line))
        items = list(node.items)
        for below in line.below:
            items += self.line(below, _block_start(line)) or ()
            if below.below:
                self.sink.add(errors.unexpected_indent(below.below[0], below))
        span = node.span.to(items[-1].span) if items else node.span
        return replace(node, items=tuple(items), span=span)

    def below_mistake(self, line: Line, scope: str, depth: int) -> None:
        """Read what is indented below a line that is wrong, for its own mistakes."""
        kind = line.words[0].type
        if kind == "PYTHON" or (line.words[-1].type != "COLON" and kind not in _HEADERS):
            return  # the body of a `def` is no better, and other lines have none
        if kind in _GLOSSARIES:
            for below in line.below:
                self.line(below, _block_start(line))
            return
        _, lines = self.doc(line.below)
        if kind in _LAYERS or scope == "top":
            scope = "layer"
        if any(word.type == "SCAN" for word in line.words):
            scope = "scan"
        self.block(lines, scope, depth + 1)

    def doc(self, lines: list[Line]) -> tuple[str, list[Line]]:
        """The docstring that lines start with, if they do, and the lines after it."""
        if lines and [word.type for word in lines[0].words] == ["DOC"]:
            doc, *rest = lines
            if doc.below:
                self.sink.add(errors.unexpected_indent(doc.below[0], doc))
            return _clean(doc.words[0]), doc.below + rest
        return "", lines


_OPENERS = tree.Layer | tree.Scan | tree.Dims | tree.Consts


def _block_start(line: Line) -> str:
    return "dim_line" if line.words[0].type == "DIMS" else "const_line"


def _adopted(lines: list[Line], tell: Callable[[Diagnostic], None]) -> list[Line]:
    """Top lines, with the body of a layer below its header even if someone forgot to indent it."""
    kept: list[Line] = []
    header: Line | None = None
    for line in lines:
        kind = line.words[0].type
        if kind in _LAYERS + _GLOSSARIES and not line.below and line.words[-1].type == "COLON":
            header = line
        elif header is not None:
            if kind in ("IMPORT", *_LAYERS, *_GLOSSARIES) or (
                header.words[0].type in _GLOSSARIES and kind != "NAME"
            ):
                header = None
            else:
                if not header.below:
                    tell(errors.body_not_indented(header, line))
                header.below.append(line)
                continue
        kept.append(line)
    return kept


def _joined(branches: list) -> tuple:
    """The branches of one `if` as nodes in one another; nothing if its lines are mistakes."""
    orelse: tuple = ()
    for branch in reversed(branches):
        orelse = (replace(branch, orelse=orelse),) if isinstance(branch, tree.If) else branch
    return orelse


def _depth(node) -> int:
    """How many nodes are nested in a node at most, found without recursion."""
    deepest, left = 0, [(node, 0)]
    while left:
        node, depth = left.pop()
        deepest = max(deepest, depth)
        for value in vars(node).values() if isinstance(node, tree.Node) else node:
            if isinstance(value, tree.Node | tuple):
                left.append((value, depth + isinstance(value, tree.Node)))
    return deepest


def _clean(text: str) -> str:
    """A docstring without its indentation."""
    first, *rest = text.replace("\r", "").expandtabs(4).split("\n")
    margin = min((len(r) - len(r.lstrip()) for r in rest if r.strip()), default=0)
    return "\n".join([first.strip(), *(r[margin:].rstrip() for r in rest)]).strip()
