"""Places in source files, and messages that teach.

Every mistake that Netwright finds in something a person wrote (a model, a recipe, a plan) is a
`Diagnostic`. Stages collect them in a `Diagnostics` sink, so that one run reports every independent
mistake, and leave through `InputError`, the only exception that bad input ever raises.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field


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
    """What a person wrote is wrong; `diagnostics` says what, and `sources` has the texts to quote."""

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

    def error(self, code: str, message: str, span: Span | None = None, **more: object) -> None:
        """Record an error; keyword arguments are the other fields of `Diagnostic`."""
        self.add(Diagnostic(code, message, span, **more))  # type: ignore[arg-type]

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


def nearest(word: str, choices: Iterable[str], limit: int = 1) -> list[str]:
    """The choices most like a word, for «did you mean»; empty when none is near.

    Difflib's ratio with a floor of 0.6, after a match that ignores case.
    """
    import difflib

    names = sorted(set(choices))
    same = [n for n in names if n.lower() == word.lower() and n != word]
    return (same + [n for n in difflib.get_close_matches(word, names, limit) if n not in same])[:limit]


_STYLE = {"error": "1;31", "warning": "1;33", "bold": "1", "gutter": "1;34", "help": "1;32"}


def render(diagnostic: Diagnostic, sources: Mapping[str, str], color: bool = False) -> str:
    """A diagnostic as text: headline, place, quoted lines with carets, facts, help."""

    def paint(text: str, style: str) -> str:
        return f"\x1b[{_STYLE[style]}m{text}\x1b[0m" if color and text else text

    d = diagnostic
    lines = [paint(f"{d.severity}[{d.code}]", d.severity) + paint(f": {d.message}", "bold")]
    if d.span is not None:
        lines.append(paint("  --> ", "gutter") + str(d.span))
        shown = sorted([*d.places, Place(d.span, d.caption)], key=lambda p: p.span)
        width = max((len(str(p.span.line)) for p in shown if p.span.file in sources), default=1)
        file = d.span.file
        for place in shown:
            if place.span.file not in sources:
                continue
            if place.span.file != file or (d.span.file != file and place.span.file == d.span.file):
                file = place.span.file
                lines.append(paint("  ::: ", "gutter") + str(place.span))
            mark = "^" if place.span == d.span and place.caption == d.caption else "-"
            lines += _quote(place, sources[place.span.file], width, mark, d.severity, paint)
    lines += [paint("  = ", "gutter") + fact for fact in d.facts]
    if d.help:
        lines.append(paint("help: ", "help") + d.help)
    return "\n".join(lines)


_WIDEST = 140  # a longer line is quoted as the stretch around its carets


def _quote(place, text, width, mark, severity, paint) -> list[str]:
    rows = text.split("\n")
    span = place.span
    if not 1 <= span.line <= len(rows):
        return []
    row = rows[span.line - 1].replace("\t", " ").rstrip("\r")
    start = span.column - 1
    end = span.end_column - 1 if span.end_line == span.line else len(row)
    if len(row) > _WIDEST:
        cut = max(0, start - 60)
        row = ("…" if cut else "") + row[cut : cut + _WIDEST - 2] + "…"
        start, end = start - cut + bool(cut), end - cut + bool(cut)
    count = max(1, min(end, len(row)) - start)
    carets = paint(mark * count, severity if mark == "^" else "gutter")
    caption = f" {place.caption}" if place.caption else ""
    bar = paint(f"{span.line:>{width}} |", "gutter")
    blank = paint(f"{'':>{width}} |", "gutter")
    return [f"{bar} {row}", f"{blank} {' ' * start}{carets}{caption}"]
