"""From words to logical lines, and by their indentation to blocks.

A logical line is what the grammar reads: one statement, joined over brackets that are still open.
A bracket that is never closed ends where the next statement clearly starts, so that it spoils one
line.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..ir.diagnostics import Diagnostics, Span
from .lexer import Word, cut, starts_statement
from .syntax_errors import layout as errors

MOST_CHARACTERS = 1_000_000
MOST_COLUMNS = 10_000
MOST_NESTED = 200
MOST_ROWS = 1_000  # of one logical line: a bracket that stays open for longer was forgotten

CLOSERS = {"LPAR": "RPAR", "LSQB": "RSQB"}


@dataclass
class Line:
    """A logical line, and the more deeply indented lines below it.

    `broken` lines were already complained about: nothing more is said of their words.
    """

    words: list[Word]
    indent: int
    broken: bool = False
    below: list[Line] = field(default_factory=list)

    @property
    def span(self) -> Span:
        return self.words[0].span.to(self.words[-1].span)


class Unreadable(Exception):
    """The source is beyond the limits, and was complained about; nothing is read of it."""


def read(text: str, file: str, diagnostics: Diagnostics) -> list[Line]:
    """The logical lines at the left margin, each with those below it."""
    _check_size(text, file, diagnostics)
    rows = text.split("\n")
    words = cut(rows, file)
    return _nest(_join(words, _indents(rows, words, file, diagnostics), diagnostics), diagnostics)


def _check_size(text: str, file: str, diagnostics: Diagnostics) -> None:
    if len(text) > MOST_CHARACTERS:
        diagnostics.error(
            "file-too-long",
            f"{file} has {len(text):,} characters; a model file has at most {MOST_CHARACTERS:,}",
            help="split the file: `import` brings in the layers of another one",
        )
        raise Unreadable
    if len(text) <= MOST_COLUMNS:
        return
    for number, row in enumerate(text.split("\n"), 1):
        if len(row) > MOST_COLUMNS:
            diagnostics.error(
                "line-too-long",
                f"this line has {len(row):,} characters; a line has at most {MOST_COLUMNS:,}",
                Span(file, number, MOST_COLUMNS + 1, number, MOST_COLUMNS + 2),
                help="break the line inside its parentheses or brackets",
            )
            raise Unreadable


def _indents(
    rows: list[str], words: list[list[Word]], file: str, diagnostics: Diagnostics
) -> list[int]:
    """The indentation of each row; tabs are complained about once, and counted as four."""
    indents = []
    told = False
    for number, row in enumerate(rows):
        blank = row[: len(row) - len(row.lstrip(" \t"))]
        indents.append(len(blank.expandtabs(4)))
        if "\t" in blank and words[number] and not told:
            told = True
            span = Span(file, number + 1, 1, number + 1, len(blank) + 1)
            diagnostics.add(errors.tab(span))
    return indents


def _join(rows: list[list[Word]], indents: list[int], diagnostics: Diagnostics) -> list[Line]:
    lines = []
    number = 0
    while number < len(rows):
        if rows[number]:
            line, number = _logical(rows, indents, number, diagnostics)
            lines.append(line)
        else:
            number += 1
    return lines


def _logical(
    rows: list[list[Word]], indents: list[int], start: int, diagnostics: Diagnostics
) -> tuple[Line, int]:
    """The logical line that starts at a row, and the row after it."""
    line = Line([], indents[start])
    opened: list[Word] = []
    number = start
    while number < min(len(rows), start + MOST_ROWS):
        if opened and starts_statement(rows[number]):
            break
        for word in rows[number]:
            if word.type in CLOSERS:
                opened.append(word)
                if len(opened) > MOST_NESTED:
                    too_deep("brackets are nested", word.span, diagnostics)
            elif word.type in CLOSERS.values():
                line.broken = not _close(opened, word, line.broken, diagnostics) or line.broken
        line.words += rows[number]
        number += 1
        if not opened:
            break
    if opened:
        number = _left_open(rows, indents, line, opened, start, number, diagnostics)
    _split_updates(line)
    return line, number


def _close(opened: list[Word], closer: Word, told: bool, diagnostics: Diagnostics) -> bool:
    """Match a closing bracket; False if it was wrong."""
    if opened and CLOSERS[opened[-1].type] == closer.type:
        opened.pop()
        return True
    if not told:
        if opened:
            diagnostics.add(errors.wrong_closer(opened[-1], closer))
        else:
            diagnostics.add(errors.stray_closer(closer))
    while opened and any(CLOSERS[o.type] == closer.type for o in opened):
        if CLOSERS[opened.pop().type] == closer.type:
            return False
    if opened:
        opened.pop()
    return False


def _left_open(rows, indents, line, opened, start, end, diagnostics) -> int:
    """Where to go on after a line with open brackets: the first row that can be a line itself."""
    number = opened[0].line  # counts from 1: the row after it
    while number < end:
        before, row = rows[number - 1], rows[number]
        if row and (
            (indents[number] <= line.indent and row[0].type not in CLOSERS.values())
            or (before and before[-1].type == "COLON")
        ):
            break
        number += 1
    line.words = [word for row in rows[start:number] for word in row]
    if not line.broken:
        opener = [o for o in opened if o.line <= number][-1]
        diagnostics.add(errors.never_closed(opener, line.words))
    line.broken = True
    return number


def _split_updates(line: Line) -> None:
    """`<-` is one word only behind the name that starts a line; else `x <-1` compares."""
    words: list[Word] = []
    for word in line.words:
        if word.type == "UPDATE" and len(words) != 1:
            s = word.span
            middle = s.column + 1
            words.append(Word("COMPARE", "<", Span(s.file, s.line, s.column, s.line, middle)))
            words.append(Word("MINUS", "-", Span(s.file, s.line, middle, s.line, s.end_column)))
        else:
            words.append(word)
    line.words = words


# Blocks.


def _nest(lines: list[Line], diagnostics: Diagnostics) -> list[Line]:
    """Hang each line below the one that it is indented under."""
    top: list[Line] = []
    levels = [(0, top)]
    for line in lines:
        level, block = levels[-1]
        if line.indent > level:
            if block:
                levels.append((line.indent, block[-1].below))
                if len(levels) > MOST_NESTED:
                    too_deep("blocks are nested", line.words[0].span, diagnostics)
            else:
                diagnostics.add(errors.unexpected_indent(line, None))
                levels[-1] = (line.indent, block)
        while line.indent < levels[-1][0]:
            level, block = levels.pop()
            if not levels:
                levels.append((line.indent, block))
            elif line.indent > levels[-1][0]:
                diagnostics.add(errors.bad_unindent(line, levels[-1][0], level))
                levels.append((line.indent, block))
        levels[-1][1].append(line)
    return top


def too_deep(what: str, span: Span, diagnostics: Diagnostics) -> None:
    """Give up on a source that no person wrote."""
    diagnostics.error(
        "nested-too-deep",
        f"{what} more than {MOST_NESTED} deep here",
        span,
        help="give the inner parts names of their own, or make a layer of them",
    )
    raise Unreadable
