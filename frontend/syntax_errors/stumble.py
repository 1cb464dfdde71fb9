"""Where the parser stumbled, and the words around that place, for those who explain it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...ir.diagnostics import Diagnostic, Span
from ..lexer import Word

VALUE_ENDS = frozenset(("NAME", "NUMBER", "TRUE", "FALSE", "NONE", "RPAR", "RSQB", "DOTS"))
VALUE_STARTS = frozenset(("NAME", "NUMBER", "TRUE", "FALSE", "NONE", "LPAR"))
OPERATORS = frozenset(
    ("PLUS", "MINUS", "STAR", "DIVIDE", "POWER", "COMPARE", "AND", "OR", "NOT", "EQUALS", "UPDATE")
)


class Stumble:
    """The first word that does not fit a line.

    Attributes:
        words: the words of the line.
        index: which of them does not fit; `len(words)` if the line ends too early.
        start: what was read: a `line`, or a line of a `dims:` or `const:` block.
        expected: the kinds of words that would have fitted.
    """

    def __init__(
        self, words: list[Word], index: int, start: str, expected: set[str], rows: Sequence[str]
    ):
        self.words = words
        self.index = index
        self.start = start
        self.expected = expected
        self.rows = rows

    @property
    def word(self) -> Word | None:
        """The word that does not fit; None at the end of the line."""
        return self.words[self.index] if self.index < len(self.words) else None

    def near(self, distance: int) -> Word:
        """The word so many places behind the one that does not fit; `type` says if there is one."""
        at = self.index + distance
        if at < 0:
            raise IndexError(f"the line has no word {at}")
        return self.words[at]

    def type(self, distance: int = 0) -> str:
        """The kind of a word near the place; empty beyond the ends of the line."""
        return self.near(distance).type if 0 <= self.index + distance < len(self.words) else ""

    @property
    def kind(self) -> str:
        """The kind of the first word, which says what statement is meant, if any is."""
        return self.words[0].type if self.start == "line" else ""

    @property
    def here(self) -> Span:
        """The word that does not fit, or the place behind the last one."""
        return behind(self.words[-1].span) if self.word is None else self.word.span

    @property
    def opener(self) -> int | None:
        """Which word opened the bracket that the place is in."""
        opened = []
        for index, word in enumerate(self.words[: self.index]):
            if word.type in ("LPAR", "LSQB"):
                opened.append(index)
            elif word.type in ("RPAR", "RSQB") and opened:
                opened.pop()
        return opened[-1] if opened else None

    @property
    def inside(self) -> str:
        """The bracket that the place is in, or nothing."""
        return "" if self.opener is None else str(self.words[self.opener])

    def match(self, index: int) -> int:
        """The bracket that goes with the one at `index`; the line's brackets fit."""
        step = 1 if self.words[index].type in ("LPAR", "LSQB") else -1
        depth = 0
        while True:
            kind = self.words[index].type
            if kind in ("LPAR", "LSQB"):
                depth += 1
            elif kind in ("RPAR", "RSQB"):
                depth -= 1
            if depth == 0:
                return index
            index += step

    def say(self, code: str, message: str, span: Span | None = None, **more: Any) -> Diagnostic:
        """A diagnostic, at the place unless told otherwise."""
        return Diagnostic(code, message, span or self.here, **more)

    def text(self, first: int, last: int) -> str:
        """What was written from one word to another, on one row."""
        if first > last:
            return ""
        return quote(self.words[first].span.to(self.words[last].span), self.rows)

    @property
    def line(self) -> str:
        """The whole line as written, on one row."""
        return self.text(0, len(self.words) - 1)

    def fixed(self, first: int, last: int, new: str) -> str:
        """The row of a word, with the words from `first` to `last` written otherwise.

        `last` before `first` means that something is put in before the word `first`.
        """
        at = self.words[min(first, len(self.words) - 1)].span.line
        row = [i for i, w in enumerate(self.words) if w.span.line == at]
        left, right = row[0], row[-1]
        text = self.rows[at - 1]
        if first > right:
            before = text[: self.words[right].span.end_column - 1]
        else:
            before = text[: self.words[first].span.column - 1]
        if last < first:
            after = text[len(before) : self.words[right].span.end_column - 1]
        else:
            end = self.words[min(last, right)].span.end_column - 1
            after = text[end : self.words[right].span.end_column - 1]
        return (before[self.words[left].span.column - 1 :] + new + after).strip()


def behind(span: Span) -> Span:
    """The place behind some words, one column wide."""
    return Span(span.file, span.end_line, span.end_column, span.end_line, span.end_column + 1)


def quote(span: Span, rows: Sequence[str]) -> str:
    """What a span covers; several rows are joined to one."""
    if span.line == span.end_line:
        return rows[span.line - 1][span.column - 1 : span.end_column - 1]
    middle = rows[span.line : span.end_line - 1]
    parts = [rows[span.line - 1][span.column - 1 :], *middle]
    parts.append(rows[span.end_line - 1][: span.end_column - 1])
    return " ".join(part.strip() for part in parts)
