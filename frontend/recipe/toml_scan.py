"""Where each key and value of a TOML text stands."""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from dataclasses import dataclass, field

from ...ir.diagnostics import Span

DEEPEST = 40
"""Keys in keys: what is deeper is not a recipe."""

KeyPath = tuple[str | int, ...]


@dataclass
class Document:
    """A file of TOML.

    Attributes:
        values: what `tomllib` made of it.
        keys: for each path of keys, the place of its last key (or of the table's header).
        at: for each path of keys, the place of its value.
        whole: whether there were no errors of syntax.
    """

    values: dict = field(default_factory=dict)
    keys: dict[KeyPath, Span] = field(default_factory=dict)
    at: dict[KeyPath, Span] = field(default_factory=dict)
    whole: bool = True
    text: str = ""

    def text_at(self, path: KeyPath) -> str:
        """A value as it is written, if it stands on one line."""
        span = self.at.get(path)
        lines = self.text.split("\n")
        if span is None or span.line > len(lines):
            return ""
        return lines[span.line - 1][span.column - 1 : span.end_column - 1]


def key_parts(name: str) -> list[str]:
    scanner = Scanner(name, "")
    try:
        return [part for part, _, _ in scanner.key()]
    except Stuck:
        return [name]


def span_between(text: str, file: str, start: int, end: int) -> Span:
    """The span between two offsets of a text."""
    line = text.count("\n", 0, start) + 1
    column = start - (text.rfind("\n", 0, start) + 1) + 1
    end_line = text.count("\n", 0, end) + 1
    end_column = end - (text.rfind("\n", 0, end) + 1) + 1
    return Span(file, line, column, end_line, end_column)


class Stuck(Exception):
    """The text is not TOML here."""


class Scanner:
    """Walks over TOML that is known to be valid, and notes places; raises `Stuck` elsewhere."""

    BARE = re.compile(r"[A-Za-z0-9_-]+")
    BLANK = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
    SPACE = re.compile(r"[ \t]*")
    PLAIN = re.compile(r"[^\s,\]}#]+(?: \d[^\s,\]}#]*)?")  # a date and a time have a space between

    def __init__(self, text: str, file: str):
        self.text, self.file, self.pos = text, file, 0
        self.starts = [0, *(m.end() for m in re.finditer("\n", text))]
        self.table: KeyPath = ()
        self.counts: dict[KeyPath, int] = {}
        self.out = Document()
        self.ended = True

    def document(self, out: Document) -> bool:
        """Note the places of everything; False where it stops before the end."""
        self.out = out
        while True:
            self.blank()
            if self.pos >= len(self.text):
                return True
            try:
                self.statement()
            except (Stuck, RecursionError):
                return False

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self.text, self.pos)
        self.pos = match.end() if match else self.pos

    def blank(self) -> None:
        self._skip(self.BLANK)

    def line_rest(self) -> None:
        self._skip(self.SPACE)
        if self.text[self.pos : self.pos + 1] == "#":
            stop = self.text.find("\n", self.pos)
            self.pos = len(self.text) if stop < 0 else stop

    def at_line_end(self) -> bool:
        return self.pos >= len(self.text) or self.text[self.pos] == "\n"

    def statement(self) -> None:
        self.ended = False
        if self.peek() == "[":
            self._header()
        else:
            self._pair(self.table)
        self.ended = True

    def peek(self) -> str:
        return self.text[self.pos : self.pos + 1]

    def expect(self, sign: str) -> None:
        if not self.text.startswith(sign, self.pos):
            raise Stuck
        self.pos += len(sign)

    def space(self) -> None:
        self._skip(self.SPACE)

    def _header(self) -> None:
        start = self.pos
        double = self.text.startswith("[[", self.pos)
        self.pos += 2 if double else 1
        path: KeyPath = ()
        for part, _, _ in self.key():
            path = (*path, part)
            if path in self.counts and (not double or len(path) < 99):
                path = (*path, self.counts[path])
        self.expect("]]" if double else "]")
        if double:
            base = path[:-1] if path and isinstance(path[-1], int) else path
            self.counts[base] = self.counts.get(base, -1) + 1
            path = (*base, self.counts[base])
        where = self.place(start, self.pos)
        self.out.keys[path] = where
        for cut in range(1, len(path)):
            self.out.keys.setdefault(path[:cut], where)
        self.table = path

    def _pair(self, table: KeyPath) -> None:
        path = table
        for part, start, end in self.key():
            path = (*path, part)
            self.out.keys.setdefault(path, self.place(start, end))
        self.out.keys[path] = self.place(start, end)
        self.expect("=")
        self.space()
        self.value(path)

    def key(self) -> list[tuple[str, int, int]]:
        parts = []
        while True:
            self.space()
            start = self.pos
            if self.peek() in ('"', "'"):
                self._string()
                raw = self.text[start : self.pos]
                try:
                    name = tomllib.loads(f"k = {raw}")["k"]
                except ValueError:
                    raise Stuck from None
            else:
                match = self.BARE.match(self.text, self.pos)
                if not match:
                    raise Stuck
                name, self.pos = match[0], match.end()
            parts.append((name, start, self.pos))
            if len(parts) > DEEPEST:
                raise Stuck
            self.space()
            if self.peek() != ".":
                return parts
            self.pos += 1

    def value(self, path: KeyPath) -> None:
        start = self.pos
        char = self.peek()
        if len(path) > DEEPEST:
            raise Stuck
        if char in ('"', "'") and char:
            self._string()
        elif char == "[":
            self._list(path)
        elif char == "{":
            self._table(path)
        else:
            match = self.PLAIN.match(self.text, self.pos)
            if not match:
                raise Stuck
            self.pos = match.end()
        self.out.at[path] = self.place(start, self.pos)

    def _list(self, path: KeyPath) -> None:
        self.pos += 1
        index = 0
        while True:
            self.blank()
            if self.peek() == "]":
                self.pos += 1
                return
            self.value((*path, index))
            index += 1
            self.blank()
            if self.peek() == ",":
                self.pos += 1
            elif self.peek() != "]":
                raise Stuck

    def _table(self, path: KeyPath) -> None:
        self.pos += 1
        while True:
            self.blank()
            if self.peek() == "}":
                self.pos += 1
                return
            self._pair(path)
            self.blank()
            if self.peek() == ",":
                self.pos += 1
            elif self.peek() != "}":
                raise Stuck

    def _string(self) -> None:
        quote = self.peek()
        if self.text.startswith(quote * 3, self.pos):
            at = self.pos + 3
            while not self.text.startswith(quote * 3, at):
                if at >= len(self.text):
                    raise Stuck
                at += 2 if quote == '"' and self.text[at] == "\\" else 1
            at += 3
            while self.text[at : at + 1] == quote:  # up to two quotes may stand before the end
                at += 1
            self.pos = at
            return
        at = self.pos + 1
        while self.text[at : at + 1] != quote:
            if at >= len(self.text) or self.text[at] == "\n":
                raise Stuck
            at += 2 if quote == '"' and self.text[at] == "\\" else 1
        self.pos = at + 1

    def place(self, start: int, end: int) -> Span:
        line, end_line = bisect_right(self.starts, start), bisect_right(self.starts, end)
        column, end_column = start - self.starts[line - 1] + 1, end - self.starts[end_line - 1] + 1
        return Span(self.file, line, column, end_line, end_column)
