"""Where in a model an equation of a jaxpr stands, read from the source of `model.py` as it is.

JAX knows for each equation the calls that led to it, with their places in the source; each call of
a layer names the part of the parameters that it hands down. So the calls spell the layer's path.
A layer's docstring says which file and line of the model it was written from, as in
"Attention (model.nw:18)", and comments say which line of the model a statement is from, as in
"# 27". What a person has edited is read as it now stands.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from jax.extend.core import Jaxpr, JaxprEqn

from .nonfinite import Origin

Frame = tuple[int, int, int, int]  # first and last line, first and last column, of an expression


@dataclass(frozen=True)
class Place:
    """A place in a model.

    path:   of the layer, such as gpt.blocks[3].attn; "" for the model itself
    label:  the name that the value, or what it is part of, has in model.py; "" for none
    origin: file and line that the model was written in, such as model.nw:27; "" if unknown
    line:   of model.py
    source: the statement there, the lines of it joined
    part:   first and last column of the expression in it
    within: the helper function that the expression calls and that made the value; "" for none
    turns:  in words, the iterations of loops around that are no copies of a layer
    """

    path: str
    label: str
    origin: str
    line: int
    source: str
    part: tuple[int, int]
    within: str
    turns: tuple[str, ...]


class Source:
    """The source of a model, for looking places up.

    module: the module model.py, or another that computes a loss
    """

    def __init__(self, module: ModuleType):
        self._module, self._file = module, str(Path(str(module.__file__)).resolve())
        self._text = Path(self._file).read_text(encoding="utf-8")
        self._lines = self._text.splitlines()
        tree = ast.parse(self._text)
        self._functions = [n for n in tree.body if isinstance(n, ast.FunctionDef)]
        self._nodes: dict[Frame, list[ast.expr]] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.expr):
                self._nodes.setdefault(_span(node), []).append(node)

    def place(self, origin: Origin) -> Place | None:
        """The place of an equation inside others; None if none of them is from the model."""
        calls: list[tuple[Frame, tuple[JaxprEqn, int] | None]] = []
        turns: list[str] = []
        copies: dict[Frame, int | None] = {}
        if origin.equation is None:
            return None
        every, steps = (*origin.outer, origin.equation), (*origin.steps, None)
        for eqn, jaxpr, step in zip(every, origin.around, steps, strict=True):
            frames = self._frames(eqn)
            # What is inside of a compiled function says where that was first traced; and some
            # bodies tell all calls anew.
            known = [frame for frame, _ in calls]
            if known and frames[: len(known)] == known:
                frames = frames[len(known) :]
            turn = None if step is None else (eqn, step)
            for frame in frames:
                copies.setdefault(frame, self._copy(frame, eqn, jaxpr))
            calls += [(frame, None) for frame in frames[:-1]]
            calls += [(frames[-1], turn)] if frames else []
            if turn is not None and not frames:
                turns.append(f"microbatch {turn[1] + 1} of {turn[0].params['length']}")
            if eqn.primitive.name in ("jit", "pjit") and frames:
                break
        if not calls:
            return None
        path: list[str] = []
        layers = [n for n, (frame, _) in enumerate(calls) if self._layer(frame) is not None]
        at = layers[-1] if layers else len(calls) - 1
        for number, (frame, turn) in enumerate(calls):
            part = self._child(frame)
            if turn is not None and part is None:
                turns.append(f"step {turn[1]} of {turn[0].params['length']}")
            elif part is not None and (turn is not None or number < len(calls) - 1):
                copy = copies.get(frame) if turn is None else turn[1]
                path.append(part if copy is None else f"{part}[{copy}]")
        return self._described(".".join(path), [f for f, _ in calls], at, tuple(turns))

    def _described(
        self, path: str, frames: list[Frame], at: int, turns: tuple[str, ...]
    ) -> Place | None:
        """The place of the innermost call that stands in a layer; what is inside is a helper."""
        frame = frames[at]
        statement, function = self._statement(frame), self._function(frame)
        if statement is None or function is None:
            return None
        first, last = statement.lineno, statement.end_lineno or statement.lineno
        rows = [re.sub(r"  # [\d, ]+$", "", row) for row in self._lines[first - 1 : last]]
        text, starts = "", []
        for row in rows:
            text = text.rstrip() + (" " if text and not text.endswith(("(", "[")) else "")
            starts.append(len(text) - (len(row) - len(row.lstrip())))
            text += row.strip()
        begin = starts[frame[0] - first] + frame[2]
        end = starts[frame[1] - first] + frame[3]
        target = statement.targets[0] if isinstance(statement, ast.Assign) else None
        within = self._function(frames[-1])
        return Place(
            path=path,
            label=target.id if isinstance(target, ast.Name) else "",
            origin=self._origin(function, first),
            line=first,
            source=text,
            part=(begin, end),
            within=within.name if within is not None and within is not function else "",
            turns=turns,
        )

    def _frames(self, eqn: JaxprEqn) -> list[Frame]:
        """The expressions in model.py that led to an equation, outermost first."""
        traceback = getattr(eqn.source_info, "traceback", None)
        if traceback is None:
            return []
        frames: list[Frame] = []
        for code, instruction in zip(*traceback.raw_frames(), strict=True):
            if _resolved(code.co_filename) != self._file:
                continue
            place = _positions(code).get(instruction // 2, ())
            if len(place) == 4 and None not in place:
                first, last, begin, end = place
                frames.append((first or 0, last or 0, begin or 0, end or 0))
        return frames[::-1]

    def _child(self, frame: Frame) -> str | None:
        """Which part of its parameters a layer's call hands down, as a path; None if none."""
        calls = [n for n in self._nodes.get(frame, []) if isinstance(n, ast.Call)]
        if not calls:
            return None
        function = calls[0].func
        if isinstance(function, ast.Name):
            named = [f for f in self._functions if f.name == function.id]
            if not named or self._layer(_span(named[0])) is None:
                return None
        scans = isinstance(function, ast.Attribute) and function.attr == "scan"
        for argument in _arguments(calls[0])[2 if scans else 0 :]:
            parts = _subscripts(self._meant(argument))
            if parts:
                return ".".join(parts)
        return None

    def _copy(self, frame: Frame, eqn: JaxprEqn, jaxpr: Jaxpr) -> int | None:
        """Which turn of a loop of Python's an equation is from; None if it is from none.

        Turns write the same equations one after the other, the backward pass in reverse.
        """
        loop = self._loop(frame)
        if loop is None:
            return None
        mine = self._identity(eqn)
        alike = [other for other in jaxpr.eqns if self._identity(other) == mine]
        if len(alike) % loop:
            return None
        turn = next(i for i, other in enumerate(alike) if other is eqn) // (len(alike) // loop)
        return loop - 1 - turn if is_backward(eqn) else turn

    def _loop(self, frame: Frame) -> int | None:
        """How many turns the loop around an expression has; None without a loop."""
        function = self._function(frame)
        for node in ast.walk(function) if function is not None else ():
            if not isinstance(node, ast.For) or not isinstance(node.iter, ast.Call):
                continue
            if node.body[0].lineno <= frame[0] <= (node.end_lineno or 0) and node.iter.args:
                count = node.iter.args[0]
                found: Any = None
                if isinstance(count, ast.Constant):
                    found = count.value
                elif isinstance(count, ast.Name):
                    found = getattr(self._module, count.id, None)
                return found if isinstance(found, int) and found > 0 else None
        return None

    def _identity(self, eqn: JaxprEqn) -> tuple:
        return eqn.primitive.name, is_backward(eqn), tuple(self._frames(eqn))

    def _meant(self, node: ast.expr) -> ast.expr:
        """What a name stands for: a copy of `params["blocks"]`, or what is tied to other values."""
        function = self._function(_span(node))
        if not isinstance(node, ast.Name) or function is None:
            return node
        before = [
            found
            for found in ast.walk(function)
            if isinstance(found, ast.Assign)
            and isinstance(found.value, ast.Call)
            and isinstance(found.value.func, ast.Name)
            and found.value.func.id in ("copy_of", "tied")
            and found.lineno < node.lineno
        ]
        for found in sorted(before, key=lambda found: -found.lineno):
            target, value = found.targets[0], found.value
            names = target.elts if isinstance(target, ast.Tuple) else [target]
            for name, given in zip(names, value.args, strict=False):  # type: ignore[attr-defined]
                if isinstance(name, ast.Name) and name.id == node.id:
                    return self._meant(given)
        return node

    def _function(self, frame: Frame) -> ast.FunctionDef | None:
        for function in self._functions:
            if function.lineno <= frame[0] <= (function.end_lineno or 0):
                return function
        return None

    def _layer(self, frame: Frame) -> tuple[str, int] | None:
        """File and line of the layer whose function an expression stands in."""
        function = self._function(frame)
        said = ast.get_docstring(function) or "" if function is not None else ""
        found = re.match(r"[^\n(]*\(([^():]+):(\d+)\)", said)
        return (found[1], int(found[2])) if found else None

    def _statement(self, frame: Frame) -> ast.stmt | None:
        """The innermost statement around an expression."""
        function = self._function(frame)
        around = [
            node
            for node in (ast.walk(function) if function is not None else ())
            if isinstance(node, ast.stmt)
            and node.lineno <= frame[0]
            and frame[1] <= (node.end_lineno or 0)
        ]
        return max(around, key=lambda node: (node.lineno, -(node.end_lineno or 0)), default=None)

    def _origin(self, function: ast.FunctionDef, line: int) -> str:
        layer = self._layer(_span(function))
        if layer is None:
            return ""
        for row in range(line, function.lineno, -1):
            comment = re.search(r"  # (\d+)$", self._lines[row - 1])
            if comment:
                return f"{layer[0]}:{comment[1]}"
        return f"{layer[0]}:{layer[1]}"


@cache
def _resolved(path: str) -> str:
    return str(Path(path).resolve())


@cache
def _positions(code: CodeType) -> dict[int, tuple]:
    return dict(enumerate(code.co_positions()))


def is_backward(eqn: JaxprEqn) -> bool:
    """Whether JAX made an equation by transposing another one."""
    return "transpose(" in str(eqn.source_info.name_stack)


def _span(node: Any) -> Frame:
    return (node.lineno, node.end_lineno or 0, node.col_offset, node.end_col_offset or 0)


def _arguments(call: ast.Call) -> list[ast.expr]:
    """The arguments of a call, and what stands in tuples among them."""
    found: list[ast.expr] = []
    for argument in (*call.args, *(k.value for k in call.keywords)):
        found += argument.elts if isinstance(argument, ast.Tuple) else [argument]
    return found


def _subscripts(node: ast.expr) -> list[str]:
    """The names in `params["a"]["b"]`; none if it is something else."""
    parts: list[str] = []
    while isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        parts.insert(0, str(node.slice.value))
        node = node.value
    named = isinstance(node, ast.Name) and node.id in ("params", "state")
    return parts if named else []
