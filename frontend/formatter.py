"""The one layout of model files: `netwright fmt`.

Works on words, not on the tree, so that comments and the way numbers are written stay. The rules
are in docs/formatter.md. Rows are at most 100 columns where there is a place to break them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..ir.diagnostics import Diagnostics
from .lexer import Word, cut
from .lines import CLOSERS, Line, read
from .parser import parse
from .wrapping import INDENT, WIDTH, Row, Token, filled, flat, tokens, wrap

_GLOSSARIES = ("DIMS", "CONST")
NEAR, FAR = 2, 4  # columns between code and comments, in bodies and in glossaries


def format_text(text: str, file: str, diagnostics: Diagnostics) -> str | None:
    """A model file in its canonical layout; None, and the mistakes in `diagnostics`, if it has any.

    The result parses to the same tree, has the same comments in the same order, and is its own
    canonical layout. Only blank rows, spaces, line ends, commas behind the last element and
    parentheses around a whole value differ.

    Args:
        text: the source.
        file: the name that messages show.
        diagnostics: where mistakes go.
    """
    before = parse(text, file, diagnostics)
    if before is None:
        return None
    text = text.removeprefix("\ufeff")
    made = _text(_units(text, file))
    if parse(made, file, Diagnostics()) != before or comments(made) != comments(text):
        diagnostics.error(
            "cannot-format",
            f"the layout of {file} would be beyond what a model file may be, so it is left alone",
            help="give inner parts names of their own, or make a layer of them",
        )
        return None
    return made


def comments(text: str) -> list[str]:
    """The comments of a source in order, with their `#`."""
    rows = text.split("\n")
    return [c.text for c in _comments(rows, cut(rows, "")).values()]


@dataclass(frozen=True)
class _Comment:
    text: str
    column: int
    alone: bool  # on its row


def _comments(rows: list[str], words: list[list[Word]]) -> dict[int, _Comment]:
    """The comments by row, counted from 1: what is left of a row behind its words."""
    ends = dict.fromkeys(range(1, len(rows) + 1), 0)
    for word in (w for row in words for w in row):
        for inside in range(word.line, word.end_line):
            ends.pop(inside, None)  # rows of a docstring have no comments
        ends[word.end_line] = word.end_column - 1
    found = {}
    for number, end in sorted(ends.items()):
        rest = rows[number - 1][end:]
        text = rest.strip(" \t\r")
        if text:
            column = end + len(rest) - len(rest.lstrip(" \t"))
            found[number] = _Comment(text, column, end == 0)
    return found


@dataclass
class _Unit:
    """A logical line, or a comment between lines, in rows.

    Attributes:
        kind: of the first word; "" for a comment.
        depth: how many blocks it stands in.
        blank: whether a blank row stood before it.
        rows: what it becomes.
        glossary: whether its comments stand in one column with those of the rows around.
    """

    kind: str
    depth: int
    blank: bool
    rows: list[Row]
    glossary: bool = False


def _units(text: str, file: str) -> list[_Unit]:
    """What a source, which is right, consists of."""
    rows = text.split("\n")
    words = cut(rows, file)
    found = _comments(rows, words)
    full = {n for row in words for w in row for n in range(w.line, w.end_line + 1)} | set(found)
    made: list[_Unit] = []
    opened = [0]  # where the blocks begin that the line before stands in, itself one of them
    waiting: list[int] = []  # rows of comments between lines

    def blank(row: int) -> bool:
        return row > 1 and row - 1 not in full

    def flush(depth: int) -> None:
        deepest = max(depth, len(opened) - 1)
        for number in waiting:
            column = found[number].column
            while deepest > depth and opened[deepest] > column:
                deepest -= 1
            row = Row(deepest * INDENT, "", found[number].text)
            made.append(_Unit("", deepest, blank(number), [row]))
        waiting.clear()

    row = 1
    for line, blocks, glossary in _lines(read(text, file, Diagnostics())):
        depth = len(blocks) - 1
        first, last = line.words[0].line, line.words[-1].end_line
        waiting += [n for n in range(row, first) if n in found]
        flush(depth)
        opened, row = blocks, last + 1
        inside = {n: found[n] for n in range(first, last + 1) if n in found}
        units = _line(_commented(line.words, inside), line, depth, glossary)
        units[0].blank = blank(first)
        made += units
    waiting += [n for n in range(row, len(rows) + 1) if n in found]
    flush(0)
    return made


def _lines(top: list[Line]) -> Iterator[tuple[Line, list[int], bool]]:
    """All lines, each with where the blocks around it begin, and whether it is in a glossary."""
    left = [(line, [0], False) for line in reversed(top)]
    while left:
        line, blocks, glossary = left.pop()
        yield line, blocks, glossary
        below = line.words[0].type in _GLOSSARIES
        left += [(b, [*blocks, b.indent], below) for b in reversed(line.below)]


def _commented(words: list[Word], found: dict[int, _Comment]) -> list[Token]:
    """The tokens of a line, with its comments; found without looking at brackets."""
    made = tokens(words)
    for number, comment in found.items():
        if comment.alone:
            token = next(t for t, w in zip(made, words, strict=True) if w.line > number)
            token.before.append(comment.text)
        else:
            ending = [t for t, w in zip(made, words, strict=True) if w.end_line == number]
            ending[-1].after = comment.text
    return made


def _line(line: list[Token], source: Line, depth: int, glossary: bool) -> list[_Unit]:
    """A logical line laid out; a glossary that is too long for one row becomes a block."""
    kind, indent = line[0].kind, depth * INDENT
    if kind == "DOC":
        text = line[0].text.replace("\r\n", "\n")
        return [_Unit(kind, depth, False, [Row(indent, f'"""{text}"""', line[0].after)])]
    if glossary:
        return _entries(line, depth)
    if kind not in _GLOSSARIES or len(line) == 2:
        return [_Unit(kind, depth, False, wrap(line, indent))]
    header, entries = flat(line[:2]), _entries(line[2:], depth + 1)
    first = entries[0].rows[0]
    one = Row(indent, f"{header} {first.text}", first.comment)
    short = not source.below and len(entries) == len(entries[0].rows) == 1
    if short and one.indent + len(one.text) <= WIDTH:
        return [_Unit(kind, depth, False, [one])]
    return [_Unit(kind, depth, False, [Row(indent, header)]), *entries]


def _entries(line: list[Token], depth: int) -> list[_Unit]:
    """Entries of a glossary: filling rows, or apart from each other if one needs several rows."""
    apart = [wrap(entry, depth * INDENT) for entry in _apart(line)]
    if all(len(rows) == 1 for rows in apart):
        made = filled([rows[0].text for rows in apart], depth * INDENT, False)
        made = [replace(row, text=row.text.rstrip(",")) for row in made]
        apart = [[row] for row in [*made[:-1], replace(made[-1], comment=line[-1].after)]]
    return [_Unit("NAME", depth, False, rows, glossary=len(rows) == 1) for rows in apart]


def _apart(line: list[Token]) -> list[list[Token]]:
    """The entries of a row of a glossary, without the commas between them."""
    made: list[list[Token]] = [[]]
    depth = 0
    for token in line:
        depth += (token.kind in CLOSERS) - (token.kind in CLOSERS.values())
        if token.kind == "COMMA" and not depth:
            made.append([])
        else:
            made[-1].append(token)
    return made


# Blank rows and the columns of comments.


def _text(units: list[_Unit]) -> str:
    written: list[str] = []
    run: list[Row] = []  # rows whose comments stand in one column
    gap = NEAR
    last: _Unit | None = None
    for unit in units:
        parted = last is not None and _parted(last, unit)
        if parted or (last is not None and last.glossary != unit.glossary):
            written += _columns(run, gap)
            run = []
        written += [""] * parted
        gap = FAR if unit.glossary else NEAR
        for row in unit.rows:
            single = row.text and row.comment and "\n" not in row.text
            if not unit.glossary and not (single and run and run[-1].indent == row.indent):
                written += _columns(run, gap)
                run = []
            if unit.glossary or single:
                run.append(row)
            else:
                written += _columns([row], gap)
        last = unit
    written += _columns(run, gap)
    return "".join(row + "\n" for row in written)


def _columns(rows: list[Row], gap: int) -> list[str]:
    """Rows as text, with the comments behind code in one column if there is room for that."""
    codes = [" " * r.indent + r.text for r in rows]
    widths = [len(c) for c, r in zip(codes, rows, strict=True) if r.text and r.comment]
    column = max(widths, default=0) + gap
    apart = gap == NEAR and any(column + len(r.comment) > WIDTH for r in rows)
    made = []
    for code, row in zip(codes, rows, strict=True):
        if row.text and row.comment:
            code = code + " " * gap if apart else code.ljust(column)
        made.append(code + row.comment)
    return made


def _parted(last: _Unit, unit: _Unit) -> bool:
    """Whether a blank row stands between two units."""
    if (unit.depth > last.depth and last.kind) or unit.kind in ("ELSE", "ELIF"):
        return False  # behind a header, and before the next branch
    if unit.depth or (not last.kind and not last.depth):
        return unit.blank
    if last.kind == "IMPORT" and unit.kind in ("IMPORT", ""):
        return unit.blank and not unit.kind
    return True
