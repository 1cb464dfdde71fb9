"""From the text of a model file to its syntax tree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

from lark import Lark
from lark.exceptions import UnexpectedToken
from lark.lexer import Lexer

from ..ir.diagnostics import Diagnostics
from . import syntax_errors as errors
from . import tree
from .build import Build, Mistake
from .lines import Line, Unreadable, read


def parse(text: str, file: str, diagnostics: Diagnostics) -> tree.File | None:
    """The syntax tree of a model file; None, with the mistakes in `diagnostics`, if it has any.

    Args:
        text: the source.
        file: the name that messages show.
        diagnostics: where mistakes go; it also gets the source, to quote from.
    """
    text = text.removeprefix("\ufeff")
    diagnostics.sources[file] = text
    before = len(diagnostics.found)
    try:
        lines = read(text, file, diagnostics)
        parsed = _Parser(diagnostics).file(lines, file)
    except Unreadable:
        return None
    return parsed if len(diagnostics.found) == before else None


class _Words(Lexer):
    """Lark's view of words that are cut already."""

    def __init__(self, conf):
        pass

    def lex(self, data):
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


BODIES = {"LAYER": "layer", "MODEL": "layer", "LOSS": "layer"}


class _Parser:
    def __init__(self, diagnostics: Diagnostics):
        self.diagnostics = diagnostics

    def line(self, line: Line, start: str = "line"):
        """What a line says; None if it is wrong, which is then told."""
        if line.broken:
            return None
        try:
            return _grammar().parse(line.words, start=start)
        except UnexpectedToken as error:
            self.diagnostics.add(errors.explain(line, start, error))
        except Mistake as mistake:
            self.diagnostics.add(mistake.diagnostic)
        return None

    def file(self, lines: list[Line], file: str) -> tree.File:
        from ..ir.diagnostics import Span

        doc, lines = self.doc(lines)
        items = []
        for line in lines:
            node = self.line(line)
            if isinstance(node, tree.Dims | tree.Consts):
                node = self.glossary(node, line)
            elif isinstance(node, tree.Layer):
                doc2, below = self.doc(line.below)
                node = replace(node, doc=doc2, body=self.body(below))
            items.append(node)
        return tree.File(doc, tuple(items), span=Span(file, 1, 1, 1, 1))

    def doc(self, lines: list[Line]) -> tuple[str, list[Line]]:
        if lines and [w.type for w in lines[0].words] == ["DOC"]:
            return clean(lines[0].words[0]), lines[1:]
        return "", lines

    def glossary(self, node, line: Line):
        start = "dim_line" if isinstance(node, tree.Dims) else "const_line"
        items = list(node.items)
        for below in line.below:
            items += self.line(below, start) or ()
        span = node.span.to(items[-1].span) if items else node.span
        return replace(node, items=tuple(items), span=span)

    def body(self, lines: list[Line]) -> tuple:
        done = []
        branches = None
        for line in lines:
            node = self.line(line)
            if isinstance(node, tree.Dims):
                node = self.glossary(node, line)
            elif isinstance(node, tree.Scan):
                node = replace(node, body=self.body(line.below))
            elif isinstance(node, tree.If):
                node = replace(node, then=self.body(line.below))
                if line.words[0] == "elif":
                    branches.append(node)
                    continue
                branches = [node]
                done.append(branches)
                continue
            elif node == "else":
                branches.append(self.body(line.below))
                continue
            done.append(node)
        return tuple(_fold(n) if isinstance(n, list) else n for n in done)


def _fold(branches: list) -> tree.If:
    orelse = ()
    for node in reversed(branches):
        if isinstance(node, tuple):
            orelse = node
        else:
            orelse = (replace(node, orelse=orelse),)
    return orelse[0]


def clean(text: str) -> str:
    """A docstring without its indentation."""
    first, *rest = text.replace("\r", "").expandtabs(4).split("\n")
    margin = min((len(r) - len(r.lstrip()) for r in rest if r.strip()), default=0)
    return "\n".join([first.strip(), *(r[margin:].rstrip() for r in rest)]).strip()
