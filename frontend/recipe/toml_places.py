"""TOML with places: what a file says, where each key and value stands, and mistakes of syntax.

`tomllib` reads; it tells only the line and column of its first error. Here every statement is found
again with its place, errors are put in words, and reading goes on behind them.
"""

from __future__ import annotations

import re
import tomllib

from ...ir.diagnostics import Diagnostics, Span
from .toml_errors import SyntaxMistake, open_at
from .toml_scan import Document, Scanner, Stuck, span_between

LONGEST, WIDEST = 100_000, 4_000
"""Characters in a file and in a line: what is beyond is not a recipe."""


def read(text: str, file: str, diagnostics: Diagnostics) -> Document:
    """What a text says; errors of syntax are reported, and their statements left out."""
    text = text.replace("\r\n", "\n")
    diagnostics.sources[file] = text
    if len(text) > LONGEST:
        diagnostics.error(
            "recipe-too-long",
            f"{file} has {len(text):,} characters; at most {LONGEST:,} are read",
        )
        return Document(whole=False)
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) > WIDEST:
            diagnostics.error(
                "recipe-too-long",
                f"this line has {len(line):,} characters; at most {WIDEST:,} are read",
                Span(file, number, 1, number, 2),
            )
            return Document(whole=False)
    return _Reader(text, file, diagnostics).read()


_BROKEN = "__broken"
_HEADER = re.compile(r"\s*\[\[?\s*([\w.\-]+(?:\.\"[^\"\n]*\")*)")
_HEADING = re.compile(r"\s*\[\[?[A-Za-z_][^\],]*\]?\]?\s*(?:#.*)?$")
_PAIR = re.compile(r"\s*[A-Za-z_][\w.\-]*\s*=")


class _Reader:
    """Reads, and on an error reports it, blanks the statement and reads again."""

    def __init__(self, text: str, file: str, diagnostics: Diagnostics):
        self.original, self.text, self.file, self.diagnostics = text, text, file, diagnostics

    def read(self) -> Document:
        for _ in range(30):
            try:
                values = tomllib.loads(self.text)
            except RecursionError:
                self.diagnostics.error(
                    "recipe-syntax", f"lists and tables are nested too deeply in {self.file}"
                )
                return Document(whole=False)
            except ValueError as error:  # TOMLDecodeError, and numbers of thousands of digits
                if not self._recover(str(error)):
                    return Document(whole=False)
                continue
            document = Document(values, whole=self.text == self.original, text=self.text)
            scanner = Scanner(self.text, self.file)
            if not scanner.document(document):
                start = min(scanner.pos, len(self.text))
                self.diagnostics.error(
                    "recipe-syntax",
                    "keys, lists or tables are nested too deeply here",
                    span_between(self.text, self.file, start, start + 1),
                )
                return Document(whole=False)
            for name in [n for n in values if n.startswith(_BROKEN)]:
                del values[name]
            return document
        return Document(whole=False)

    def _recover(self, message: str) -> bool:
        """Report an error, and take its statement out of the text."""
        match = re.search(r"\(at line (\d+), column (\d+)\)$", message)
        at = len(self.text)
        if match:
            line, column = int(match[1]), int(match[2])
            at = _offset(self.text, line) + column - 1
        elif "at end of document" not in message:
            at = self._long_number()
        start, end, partial = self._statement(at)
        said = re.sub(r" \(at .*\)$", "", message)
        SyntaxMistake(
            self.text, self.file, self.diagnostics, said, start, end, at, partial
        ).report()
        if partial and end <= start:
            return False
        lines = self.text[start:end]
        header = _HEADER.match(lines)
        if header:
            name = header[1]
            replaced = f"[{name}]"
            if replaced == lines.strip() or "twice" in said or not re.fullmatch(r"[\w.\-]+", name):
                replaced = f"[{_BROKEN}{start}]"
            else:  # a header that was not closed: what follows belongs to that table
                try:
                    tomllib.loads(self.text[: self._line_start(start)] + replaced)
                except ValueError:
                    replaced = f"[{_BROKEN}{start}]"
        else:
            replaced = ""
        blank = "\n" * lines.count("\n")
        self.text = self.text[: self._line_start(start)] + replaced + blank + self.text[end:]
        return True

    def _line_start(self, at: int) -> int:
        return self.text.rfind("\n", 0, at) + 1

    def _long_number(self) -> int:
        match = re.search(r"[0-9_]{4000,}", self.text)
        return match.start() if match else 0

    def _statement(self, at: int) -> tuple[int, int, bool]:
        """Start and end of the statement at or around a place, and whether it never ends."""
        scanner = Scanner(self.text, self.file)
        start = 0
        while True:
            scanner.blank()
            start = scanner.pos
            if start >= len(self.text):
                start = self._line_start(max(0, min(at, len(self.text)) - 1))
                return start, len(self.text), False
            try:
                scanner.statement()
            except (Stuck, RecursionError):
                break
            scanner.line_rest()
            if scanner.pos >= at or not scanner.at_line_end():
                break
        stop = self.text.find("\n", start)
        stop = len(self.text) if stop < 0 else stop
        opened = open_at(self.text, start, stop)
        if opened is None:
            return start, max(stop, min(scanner.pos, len(self.text))), False
        if scanner.ended and scanner.at_line_end():  # it goes on over lines, and ends
            return start, max(stop, scanner.pos), False
        return start, self._unclosed_end(opened, stop), True

    def _unclosed_end(self, opened: int, stop: int) -> int:
        """Where what a bracket or quote opened may be taken to end, though it is not closed."""
        sign = self.text[opened]
        at = stop
        while at < len(self.text):
            after = self.text.find("\n", at + 1)
            after = len(self.text) if after < 0 else after
            line = self.text[at + 1 : after]
            if sign == "{" and line.strip().startswith("}"):
                return after
            if _HEADING.match(line) or (sign == "[" and _PAIR.match(line)):
                return at
            at = after
        return len(self.text)


def _offset(text: str, line: int) -> int:
    at = 0
    for _ in range(line - 1):
        at = text.find("\n", at) + 1
    return at
