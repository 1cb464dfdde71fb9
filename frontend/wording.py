"""Words for messages: what was written, and how it would be right."""

from __future__ import annotations

from collections.abc import Iterable

from ..ir.diagnostics import Diagnostics, Span, nearest
from ..ir.registry import elsewhere
from . import tree

LONGEST = 100  # a longer suggestion helps nobody


def written(diagnostics: Diagnostics, span: Span) -> str:
    """The words of a span; "" if they go over several lines, or are not known."""
    row = _row(diagnostics, span)
    return row[span.column - 1 : span.end_column - 1]


def corrected(diagnostics: Diagnostics, span: Span, words: str) -> str:
    """The line that a span stands in, with other words in its place; "" if that is too long."""
    row = _row(diagnostics, span)
    if not row:
        return ""
    fixed = row[: span.column - 1] + words + row[span.end_column - 1 :]
    fixed = fixed.split("#")[0].strip()
    return fixed if len(fixed) <= LONGEST and fixed.isprintable() else ""


def wrapped(diagnostics: Diagnostics, span: Span, before: str, after: str = ")") -> str:
    """The line that a span stands in, with something put around its words; "" if too long."""
    words = written(diagnostics, span)
    return corrected(diagnostics, span, f"{before}{words}{after}") if words else ""


def _row(diagnostics: Diagnostics, span: Span) -> str:
    rows = diagnostics.sources.get(span.file, "").split("\n")
    if span.line != span.end_line or span.line > len(rows):
        return ""
    return rows[span.line - 1].rstrip("\r")


def meant(
    diagnostics: Diagnostics, span: Span, word: str, choices: Iterable[str], lead: str = ""
) -> str:
    """A line with the nearest known name in the place of a wrong one; "" where none is near.

    Args:
        span: begins with the wrong name, behind `lead`.
        word: the wrong name.
        choices: the names that there are.
        lead: what stands in the span before the name, such as `norms.`.
    """
    choices = set(choices)
    known = elsewhere().get(word)
    close = [known] if known in choices else nearest(word, choices)
    if not close:
        return ""
    column = span.column + len(lead)
    exact = Span(span.file, span.line, column, span.line, column + len(word))
    if written(diagnostics, exact) == word:
        fixed = corrected(diagnostics, exact, close[0])
        if fixed:
            return fixed
    return f"did you mean {close[0]}?"


def without(diagnostics: Diagnostics, call: tree.Call, keep: int) -> str:
    """The line of a call with its first arguments only; "" where that makes no sense."""
    if not keep or call.keywords:
        return ""
    first, end = call.arguments[keep - 1].span, call.arguments[-1].span
    at = Span(first.file, first.line, first.end_column, end.end_line, end.end_column)
    return corrected(diagnostics, at, "")


def count(n: int, what: str) -> str:
    """A number of things: `one name`, `3 names`."""
    return f"{'one' if n == 1 else n} {what}{'' if n == 1 else 's'}"


def listed(names: Iterable[object]) -> str:
    """Names in a row: `A, B and C`."""
    words = [str(n) for n in names]
    return " and ".join([*([", ".join(words[:-1])] if len(words) > 1 else []), *words[-1:]])


def some(names: Iterable[str], most: int = 12) -> str:
    """Names in a row, with the end left out where there are many."""
    words = list(names)
    return ", ".join(words[:most]) + (", …" if len(words) > most else "")


def spoken(value: object) -> str:
    """A constant as it is written in a model."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    if isinstance(value, tuple):
        return f"({', '.join(map(spoken, value))})"
    return str(getattr(value, "text", value))


def dotted(node: tree.Name | tree.Member) -> str:
    """A name with dots, as written."""
    return node.id if isinstance(node, tree.Name) else f"{dotted(node.base)}.{node.name}"


def type_text(type_: tree.TypeExpr) -> str:
    """A type as written."""
    dims = ", ".join("..." if isinstance(d, tree.Dots) else d.id for d in type_.dims)
    return f"{type_.dtype if type_.dtype != 'float' else ''}[{dims}]"


def assigned(statements: Iterable[tree.Statement]) -> dict[str, Span]:
    """The names that statements assign, and where first."""
    found: dict[str, Span] = {}
    for node in statements:
        for name, span in bound_by(node):
            found.setdefault(name, span)
    return found


def bound_by(node: tree.Statement) -> list[tuple[str, Span]]:
    """The names that a statement gives something to."""
    match node:
        case tree.Assign(targets=targets):
            return [(t.id, t.span) for t in targets if t.id != "_"]
        case tree.Scan(targets=targets, carry=carry):
            more = [(k.name, k.span) for k in carry]
            return [*((t.id, t.span) for t in targets if t.id != "_"), *more]
        case tree.Param(name=name) | tree.State(name=name) | tree.Use(name=name):
            return [(name, node.span)]
        case tree.If(then=then, orelse=orelse):
            return [pair for s in (*then, *orelse) for pair in bound_by(s)]
    return []
