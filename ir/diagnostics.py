"""Places in source files, and messages that teach.

Every mistake that Netwright finds in something a person wrote (a model, a recipe, a plan) is a
`Diagnostic`. Stages collect them in a `Diagnostics` sink, so that one run reports every independent
mistake, and leave through `InputError`, the only exception that bad input ever raises.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any


@dataclass(frozen=True, order=True)
class Span:
    """A stretch of a source file; lines and columns count from 1, `end_column` is exclusive."""

    file: str
    line: int
    column: int
    end_line: int
    end_column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"

    def to(self, other: Span) -> Span:
        """The stretch from the start of this span to the end of the other."""
        return Span(self.file, self.line, self.column, other.end_line, other.end_column)


@dataclass(frozen=True)
class Place:
    """A second place that matters to a diagnostic, with what is to be said under its carets."""

    span: Span
    caption: str


@dataclass(frozen=True)
class Diagnostic:
    """One mistake: what is wrong, where, why, and what to write instead.

    Attributes:
        code: a stable kebab-case name, such as `dim-left-over`.
        message: one sentence that says what is wrong, in the reader's own names and sizes.
        span: the exact words that are wrong; None where there is no file to point into.
        caption: what is said under the carets.
        places: other places that matter.
        facts: lines that give the reasons.
        help: something that can be pasted, or one sentence that says what to do.
        severity: `error` or `warning`.
    """

    code: str
    message: str
    span: Span | None = None
    caption: str = ""
    places: tuple[Place, ...] = ()
    facts: tuple[str, ...] = ()
    help: str = ""
    severity: str = "error"


class InputError(Exception):
    """What a person wrote is wrong: `diagnostics` says what, `sources` has the texts to quote."""

    def __init__(self, diagnostics: Iterable[Diagnostic], sources: Mapping[str, str] | None = None):
        self.diagnostics = tuple(diagnostics)
        self.sources = dict(sources or {})
        super().__init__(self.diagnostics, self.sources)

    def __str__(self) -> str:
        return "\n\n".join(render(d, self.sources) for d in self.diagnostics)


@dataclass
class Diagnostics:
    """A sink for diagnostics, with the texts of the files that they point into."""

    sources: dict[str, str] = field(default_factory=dict)
    found: list[Diagnostic] = field(default_factory=list)

    def add(self, diagnostic: Diagnostic) -> None:
        """Record a diagnostic, once."""
        if diagnostic not in self.found:
            self.found.append(diagnostic)

    def error(self, code: str, message: str, span: Span | None = None, **more: Any) -> None:
        """Record an error; keyword arguments are the other fields of `Diagnostic`."""
        self.add(Diagnostic(code, message, span, **more))

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        """The errors, in source order."""
        return tuple(d for d in self.sorted() if d.severity == "error")

    def sorted(self) -> list[Diagnostic]:
        """Everything found, by file and place; what has no place comes first."""
        return sorted(self.found, key=lambda d: (d.span is not None, d.span or 0))

    def __iter__(self) -> Iterator[Diagnostic]:
        return iter(self.sorted())

    def raise_errors(self) -> None:
        """Raise `InputError` if any error was recorded."""
        if self.errors:
            raise InputError(self.errors, self.sources)


MANY = 400


def nearest(word: str, choices: Iterable[str], limit: int = 1) -> list[str]:
    """The choices most like a word, for «did you mean»; empty when none is near.

    Difflib's ratio with a floor of 0.6, after a match that ignores case.
    """
    import difflib

    names = sorted(set(choices))
    if len(names) > MANY:  # comparing is slow: only those that begin alike
        names = [n for n in names if n[:1] == word[:1] and abs(len(n) - len(word)) < 3][:MANY]
    same = [n for n in names if n.lower() == word.lower() and n != word]
    return (same + [n for n in difflib.get_close_matches(word, names, limit) if n not in same])[
        :limit
    ]


_STYLE = {"error": "1;31", "warning": "1;33", "bold": "1", "gutter": "1;34", "help": "1;32"}


def render(diagnostic: Diagnostic, sources: Mapping[str, str], color: bool = False) -> str:
    """A diagnostic as text: headline, place, quoted lines with carets, facts, help."""

    def paint(text: str, style: str) -> str:
        return f"\x1b[{_STYLE[style]}m{text}\x1b[0m" if color and text else text

    d = diagnostic
    lines = [
        paint(f"{d.severity}[{d.code}]", d.severity) + paint(f": {printable(d.message)}", "bold")
    ]
    if d.span is not None:
        lines.append(paint("  --> ", "gutter") + printable(str(d.span)))
        marks = [_Mark(d.span, printable(d.caption), "^")]
        marks += [_Mark(p.span, printable(p.caption), "-") for p in d.places]
        marks = [m for m in marks if m.span.file in sources]
        # The file with the mistake comes first; in each file, the lines in order.
        file = d.span.file
        marks.sort(key=lambda m: (m.span.file != file, m.span))
        width = max((len(str(m.span.line)) for m in marks), default=1)
        for (name, line), group in groupby(marks, key=lambda m: (m.span.file, m.span.line)):
            found = list(group)
            if name != file:
                file = name
                lines.append(paint("  ::: ", "gutter") + printable(str(found[0].span)))
            rows = sources[name].split("\n")
            if line <= len(rows):
                lines += _quote(rows[line - 1].rstrip("\r"), found, width, d.severity, paint)
    lines += [paint("  = ", "gutter") + printable(fact) for fact in d.facts]
    if d.help:
        shown = "\n".join(map(printable, d.help.split("\n")))
        lines.append(paint("help: ", "help") + shown)
    return "\n".join(lines)


def printable(text: str) -> str:
    """A text in which what would move the cursor, or is not seen, is replaced."""
    if text.isprintable():
        return text
    shown = text.replace("\t", " ").replace("\xa0", " ")
    return "".join(c if c.isprintable() else "\ufffd" for c in shown)


_WIDEST = 140  # a longer line is quoted as the stretch around its carets


@dataclass(frozen=True)
class _Mark:
    """A stretch to be underlined with a sign."""

    span: Span
    caption: str
    sign: str


def _quote(row: str, marks: list[_Mark], width: int, severity: str, paint) -> list[str]:
    """A line of a source, once, with the marks under it."""
    if len(row) > _WIDEST and len(marks) > 1:
        return [line for mark in marks for line in _quote(row, [mark], width, severity, paint)]
    first = marks[0].span
    cut = max(0, first.column - 61) if len(row) > _WIDEST else 0
    shown, lead = row, ""
    if len(row) > _WIDEST:
        lead = "…" if cut else ""
        shown = lead + row[cut : cut + _WIDEST - 2] + "…"
    shown = printable(shown)
    quoted = [f"{paint(f'{first.line:>{width}} |', 'gutter')} {shown}"]
    blank = paint(f"{'':>{width}} |", "gutter")
    for mark in marks:
        start = mark.span.column - 1 - cut + len(lead)
        end = len(shown)
        if mark.span.end_line == mark.span.line:
            end = min(end, mark.span.end_column - 1 - cut + len(lead))
        under = paint(
            mark.sign * max(1, _columns(shown[start:end])),
            severity if mark.sign == "^" else "gutter",
        )
        caption = f" {mark.caption}" if mark.caption else ""
        quoted.append(f"{blank} {' ' * _columns(shown[:start])}{under}{caption}")
    return quoted


def _columns(text: str) -> int:
    """How wide a text is on a terminal."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)
