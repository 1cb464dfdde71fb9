"""Bodies as Python statements: a function's, a branch's, a loop's. Each op that holds others, or
calls them, is written by a file of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..ir.core import Dim, Op, Order, Region, Value
from ..ir.registry import Code
from . import branches, calls, labels, loops, metrics, repeats
from .function import Function
from .scope import Scope
from .source import OpSource, as_array, letters
from .uses import ATOMS, BLOCKS, Uses

if TYPE_CHECKING:
    from .model import ModelWriter

LONG = 64  # columns of operands past which they get names of their own
SHORT = 24  # columns of an operand that is not worth a name

STATEMENTS = {
    "call": calls.call,
    "each": calls.each,
    "repeat": repeats.repeat,
    "scan": loops.scan,
    "if_train": branches.if_train,
    "metric": metrics.report,
}


class Body:
    """One list of ops being written.

    Args:
        function: what it is part of.
        ops, results: of the body or region.
        indent: columns before each line.
        outer: the body around.
        kept: for the body of a Python function inside another: names around that it reads.

    Attributes:
        codes: source of the values that have names.
        preset: names that results must get.
        key: source of the random key.
        salts: what an initializer folds into the key beforehand.
    """

    def __init__(
        self,
        function: Function,
        ops: tuple[Op, ...],
        results: tuple[int, ...],
        indent: int,
        outer: Body | None = None,
        kept: set[str] | None = None,
    ):
        self.function, self.ops, self.results = function, ops, results
        self.model: ModelWriter = function.model
        self.indent, self.outer = indent, outer
        self.lines: list[str] = []
        self.codes: dict[int, Code] = {}
        self.key: str = outer.key if outer is not None else "key"
        around: Scope | None = None if outer is None else outer.scope
        self.scope: Scope = Scope(self.model.taken, around, kept)
        self.arguments: dict[int, str] = {}
        self.salts: tuple[str, ...] = ()
        self.bind_results({})

    def bind_results(self, preset: dict[int, str]) -> None:
        """Say which names results must get."""
        self.preset = preset
        self.uses = Uses(self.ops, self.results, preset, lambda op: calls.acts(self, op))

    def inside(
        self, region: Region, results: tuple[int, ...], kept: set[str] | None = None
    ) -> Body:
        """A body inside this one, for a region of which some results are wanted."""
        return Body(self.function, region.ops, results, self.indent + 4, self, kept)

    def made(self, value: int) -> Op | None:
        """The op of this body that makes a value."""
        position = self.uses.index.get(value)
        return None if position is None else self.ops[position]

    # Names.

    def name(self, value: int, at: int, strict: bool = False) -> str:
        """Bind a name to a value, as it is called in the model where possible.

        Args:
            at: the op that gives it; what it reads last may lose its name.
            strict: whether what that op reads must keep it.
        """
        last = self.uses.last
        name = self.preset.get(value) or self.scope.first(
            labels.bases(self, value), lambda held: last.get(held, -1) + strict <= at
        )
        return self.hold(value, name)

    def hold(self, value: int, name: str) -> str:
        """Note that a name holds a value."""
        self.scope.held[name] = value
        self.codes[value] = Code(name)
        return name

    def target(self, value: Value, at: int) -> str:
        """The name that an op binds to one of its results; `_` where nobody reads it."""
        return self.name(value.id, at) if value.id in self.uses.last else "_"

    def argument(self, value: int, label: str = "") -> str:
        """The name of an argument, bound when first asked for."""
        if value not in self.arguments:
            self.arguments[value] = self.hold(value, self.scope.first([label or "x"]))
        return self.arguments[value]

    def temporary(self, base: str) -> str:
        """A name that nothing holds, and nothing will."""
        return self.scope.temporary(base)

    # Source.

    def emit(self, text: str, op: Op | None = None) -> None:
        """Append a line; the first of a line of the model says which."""
        note, line = "", self.line(op)
        if line is not None and line != self.function.line:
            self.function.line = line
            note = f"  # {line}"
        self.lines.append(" " * self.indent + text + note)

    def line(self, op: Op | None) -> int | None:
        """The line of the model that an op is from; of one that a pass put in, its operand's."""
        while op is not None and op.span is None:
            op = self.made(op.operands[0]) if op.operands else None
        return None if op is None or op.span is None else op.span.line

    def code(self, value: int) -> Code:
        """Source of a value: its name, or the expression that computes it."""
        body: Body | None = self
        while body is not None:
            if value in body.codes:
                return body.codes[value]
            op = body.made(value)
            if op is not None and (op.name in ATOMS or value in body.uses.inlined):
                return body.expression(op)
            body = body.outer
        raise AssertionError(f"value {value} of {self.function.instance.path!r} is not written yet")

    def array(self, value: int) -> Code:
        """Source of a value as an array, also where it is a number."""
        return as_array(self.code(value), self.function.values[value].type.dtype)

    def expression(self, op: Op) -> Code:
        """Source of an op of one result."""
        function = self.function
        if op.name in ("param", "state"):
            group = "params" if op.name == "param" else "state"
            path = [*(op["child"].split(".") if op["child"] else ()), op["name"]]
            return Code(group + "".join(f'["{p}"]' for p in path))
        args = [self.array(o) if op.name == "call" else self.code(o) for o in op.operands]
        while op.name not in ATOMS and sum(len(a.text) for a in args) > LONG:
            longest = max(range(len(args)), key=lambda i: len(args[i].text))
            operand = op.operands[longest]
            if len(args[longest].text) <= SHORT or operand not in self.uses.inlined:
                break
            at = self.uses.index[operand]
            self._assign(operand, self.uses.end[at], args[longest], self.ops[at], strict=True)
            args[longest] = self.codes[operand]
        if op.name == "call":
            return calls.source(self, op, args)
        types = [function.values[o].type for o in op.operands]
        orders = [function.values[o].axes for o in op.operands]
        source = OpSource(
            op, types, orders, args, function.size, letters(_dims(op, orders)),
            lambda: calls.drawing_key(self, op), function.dim,
        )  # fmt: skip
        code = source.write()
        self.model.use(*source.helpers)
        return code

    def write(self) -> None:
        """Write every statement."""
        for i, op in enumerate(self.ops):
            if op.name in ATOMS or (op.results and op.results[0].id in self.uses.inlined):
                continue
            if op.name in STATEMENTS:
                STATEMENTS[op.name](self, i, op)
            elif len(op.results) > 1:
                targets = ", ".join(self.target(r, i) for r in op.results)
                self.emit(f"{targets} = {self.expression(op).text}", op)
            elif op.result.id in self.uses.last:
                self._assign(op.result.id, i, self.expression(op), op)

    def _assign(self, value: int, at: int, code: Code, op: Op, strict: bool = False) -> None:
        """Bind a name to a value that an op gives; what branches give is an array."""
        if value in self.preset:
            code = as_array(code, self.function.values[value].type.dtype)
        name = self.name(value, at, strict)
        self.emit(f"{name} = {code.text}", op)
        self.codes[value] = Code(name, number=code.number)


def _dims(op: Op, orders: list[Order]) -> list[Dim]:
    """The dims of an op's operands and results, by id."""
    every = (*orders, *(r.axes for r in op.results))
    return sorted({d for order in every for axis in order for d in axis}, key=lambda d: d.id)


assert STATEMENTS.keys() == {*BLOCKS, "call"}
