"""Where in Python something was written: spans to the column, and the syntax there.

The interpreter knows the columns of every instruction; the source's own syntax tree gives the
columns of the parts, such as the operands of a call. Where the source is not at hand (typed into
`python -c`), messages point at the line.
"""

from __future__ import annotations

import ast
import dis
import linecache
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from types import CodeType, FrameType

from ...ir.diagnostics import Span

_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep


def ours(frame: FrameType) -> bool:
    """Whether a frame runs code of the builder itself."""
    return frame.f_code.co_filename.startswith(_HERE)


def user_frame() -> FrameType:
    """The innermost frame of the code that called into the builder."""
    frame = sys._getframe(1)
    while ours(frame) and frame.f_back is not None:
        frame = frame.f_back
    return frame


Placed = ast.expr | ast.stmt | ast.arg | ast.keyword
"""Syntax that has a place."""


class Source:
    """A Python file: its text, and its syntax by place."""

    def __init__(self, filename: str):
        self.filename = filename
        self.name = _shown(filename)
        self.text = "".join(linecache.getlines(filename))
        self.rows = self.text.split("\n")
        self._places: dict[tuple[int, int, int, int], Placed] = {}
        self._ends: dict[tuple[int, int], Placed] = {}
        self._parents: dict[ast.AST, ast.AST] = {}
        self.functions: list[ast.FunctionDef] = []
        try:
            self.module: ast.Module | None = ast.parse(self.text) if self.text else None
        except SyntaxError:  # a cell of a notebook with commands of its own
            self.module = None
        for node in ast.walk(self.module) if self.module is not None else ():
            for child in ast.iter_child_nodes(node):
                self._parents[child] = node
            if isinstance(node, ast.expr):
                self._places.setdefault(_place(node), node)
                if isinstance(node, ast.Call):
                    self._ends.setdefault(_place(node)[2:], node)
            elif isinstance(node, ast.Return):
                self._places[_place(node)] = node
            elif isinstance(node, ast.FunctionDef):
                self.functions.append(node)

    def at(self, place: tuple[int, int, int, int]) -> Placed | None:
        """The syntax that stands at a place."""
        # Where a method's name stands on a line of its own, 3.11 lets its call begin there.
        return self._places.get(place) or self._ends.get(place[2:])

    def statement(self, node: ast.AST) -> ast.AST | None:
        """The statement that an expression is all of the value of."""
        return self._parents.get(node)

    def span(self, node: Placed) -> Span:
        """The place of a piece of syntax."""
        return self.columns(*_place(node))

    def columns(self, line: int, column: int, end_line: int, end_column: int) -> Span:
        """A span, given the interpreter's columns, which count bytes from 0."""
        return Span(
            self.name,
            line,
            self._column(line, column) + 1,
            end_line,
            self._column(end_line, end_column) + 1,
        )

    def _column(self, line: int, column: int) -> int:
        row = self.rows[line - 1] if line <= len(self.rows) else ""
        return column if row.isascii() else len(row.encode()[:column].decode(errors="replace"))

    def line(self, number: int) -> Span:
        """A whole line."""
        row = self.rows[number - 1] if number <= len(self.rows) else ""
        start = len(row) - len(row.lstrip())
        return Span(self.name, number, start + 1, number, max(len(row.rstrip()), start + 1) + 1)


def _place(node: Placed) -> tuple[int, int, int, int]:
    assert node.end_lineno is not None and node.end_col_offset is not None  # of parsed text
    return (node.lineno, node.col_offset, node.end_lineno, node.end_col_offset)


def _shown(filename: str) -> str:
    """A file as messages name it: relative to the folder that the reader is in."""
    path = Path(filename)
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return filename


_sources: dict[str, Source] = {}


def source(filename: str) -> Source:
    """A Python file, read once until `refresh`."""
    if filename not in _sources:
        _sources[filename] = Source(filename)
    return _sources[filename]


def refresh() -> None:
    """Forget files that may have been edited since."""
    linecache.checkcache()
    _sources.clear()


def texts() -> dict[str, str]:
    """The texts of the files that spans point into, by the name that spans have."""
    return {s.name: s.text for s in _sources.values() if s.text}


@lru_cache(maxsize=512)
def _positions(code: CodeType) -> tuple:
    return tuple(code.co_positions())


@dataclass(frozen=True)
class Site:
    """A place in Python, and the syntax there, if the source is at hand."""

    source: Source
    span: Span
    node: Placed | None = None

    @classmethod
    def of(cls, frame: FrameType) -> Site:
        """What a frame is doing now."""
        return cls.at(frame.f_code, frame.f_lasti, frame.f_lineno)

    @classmethod
    def at(cls, code: CodeType, instruction: int, line: int | None) -> Site:
        """The place of an instruction."""
        found = source(code.co_filename)
        positions = _positions(code)
        index = instruction // 2
        if 0 <= index < len(positions):
            start, end, column, end_column = positions[index]
            if None not in (start, end, column, end_column):
                place = (start, column, end, end_column)
                return cls(found, found.columns(*place), found.at(place))
        return cls(found, found.line(line or 1))

    @classmethod
    def here(cls) -> Site:
        """The call of the builder that is running."""
        return cls.of(user_frame())

    def part(self, node: Placed | None) -> Site:
        """A piece of the syntax of this place; the place itself where there is none."""
        return self if node is None else Site(self.source, self.source.span(node), node)

    # The parts of a call.

    def callee(self) -> Site:
        """The words that name what is called: the `dot` of `nw.dot[K](q, k)`."""
        func = self.node.func if isinstance(self.node, ast.Call) else None
        if isinstance(func, ast.Subscript):
            func = func.value
        return self.name_of(func)

    def name_of(self, node: Placed | None) -> Site:
        """The last name of a name with dots."""
        if not isinstance(node, ast.Attribute):
            return self.part(node)
        s = self.source.span(node)
        at = Span(s.file, s.end_line, s.end_column - len(node.attr), s.end_line, s.end_column)
        return Site(self.source, at, node)

    def call(self) -> Span:
        """A call without the module's name in front of it."""
        start = self.callee().span
        return start.to(self.span) if isinstance(self.node, ast.Call) else self.span

    def arguments(self, count: int) -> list[Site]:
        """The arguments without a name."""
        args = self.node.args if isinstance(self.node, ast.Call) else []
        if len(args) != count or any(isinstance(a, ast.Starred) for a in args):
            return [self] * count
        return [self.part(a) for a in args]

    def keywords(self) -> dict[str, ast.keyword]:
        """The arguments with a name."""
        found = self.node.keywords if isinstance(self.node, ast.Call) else []
        return {k.arg: k for k in found if k.arg is not None}

    def keyword(self, name: str, whole: bool = False) -> Site:
        """The value of an argument with a name, or the name and the value."""
        node = self.keywords().get(name)
        if node is None:
            return self
        return self.part(node if whole else node.value)

    def brackets(self, count: int, of: Placed | None = None) -> list[Site]:
        """The elements between the brackets of a call, or of a piece of syntax."""
        node = of if of is not None else getattr(self.node, "func", None)
        found = list(elements(node)) if isinstance(node, ast.Subscript) else []
        return [self.part(e) for e in found] if len(found) == count else [self] * count

    def sides(self) -> list[Site]:
        """The two sides of an operator."""
        match self.node:
            case ast.BinOp(left=left, right=right):
                return [self.part(left), self.part(right)]
            case ast.Compare(left=left, comparators=[right]):
                return [self.part(left), self.part(right)]
        return [self, self]

    def targets(self) -> list[Site]:
        """The names that the value at this place is assigned to."""
        parent = self.source.statement(self.node) if self.node is not None else None
        if not isinstance(parent, ast.Assign) or len(parent.targets) != 1:
            return []
        target = parent.targets[0]
        names = target.elts if isinstance(target, ast.Tuple) else [target]
        return [self.part(n) for n in names]


def elements(node: ast.Subscript) -> Iterator[Placed]:
    """What stands between brackets, in order."""
    inner = node.slice
    yield from inner.elts if isinstance(inner, ast.Tuple) else [inner]


@lru_cache(maxsize=512)
def _unpackings(code: CodeType) -> dict[int, int | None]:
    """For each instruction that takes a value apart, into how many names."""
    found: dict[int, int | None] = {}
    for instruction in dis.get_instructions(code):
        if instruction.opname == "UNPACK_SEQUENCE":
            found[instruction.offset] = instruction.arg
        elif instruction.opname == "UNPACK_EX":
            found[instruction.offset] = None
    return found


@lru_cache(maxsize=512)
def _stores(code: CodeType) -> dict[int, str]:
    """For each instruction whose result goes right into a variable, that variable."""
    kinds = ("STORE_FAST", "STORE_NAME", "STORE_GLOBAL", "STORE_DEREF")
    steps = list(dis.get_instructions(code))
    return {a.offset: b.argval for a, b in pairwise(steps) if b.opname in kinds}


def stored(frame: FrameType) -> str | None:
    """The variable that takes what a frame is computing, where it is no part of more."""
    return _stores(frame.f_code).get(frame.f_lasti)


def unpacking(frame: FrameType) -> int | None:
    """How many names the statement that a frame is in takes a value apart into; None if it does
    something else with it."""
    return _unpackings(frame.f_code).get(frame.f_lasti)
