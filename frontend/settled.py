"""Constants and sizes: what an instance settles before anything runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..ir.claim import Divides
from ..ir.core import Dim
from ..ir.diagnostics import Span
from ..ir.registry import words
from ..ir.size import DivisionByZero, Size, SizeError, exact_quotient
from . import tree
from .constants import (
    FOLD_ERRORS,
    LayerRef,
    Mistake,
    OpRef,
    Word,
    fold,
    fold_call,
    fold_unary,
    is_number,
    plain,
)
from .shared import Elaboration, Pending
from .wording import assigned, corrected, spoken, written

if TYPE_CHECKING:
    from .names import SourceFile


class Settled:
    """The part of an instance that evaluates constants, options and sizes."""

    shared: Elaboration
    layer: tree.Layer
    file: SourceFile
    options: dict[str, Any]
    children: dict[str, Any]
    used: set[str]
    _resolving: list[str]
    _constants: dict[str, Any]
    _sizing: bool

    if TYPE_CHECKING:  # the other part has them

        def find_dim(self, name: str, declared: dict[str, Dim] | None = None) -> Any: ...
        def dim(self, name: str, span: Span, declared: Any = None) -> Dim: ...
        def unknown_dim(self, name: str, span: Span, declared: Any = None) -> Mistake: ...
        def cycle(self, name: str, span: Span) -> Mistake: ...
        def unknown_name(self, node: tree.Name, names: Any = ()) -> Mistake: ...

    def size(self, node: tree.Expr, declared: dict[str, Dim] | None = None) -> Size:
        """The size that an integer expression of dims and constants means; at least 1."""
        outer, self._sizing = self._sizing, True
        try:
            value = plain(self.constant(node, declared))
        finally:
            self._sizing = outer
        if isinstance(value, bool) or not isinstance(value, int | Size):
            if isinstance(value, OpRef | LayerRef):
                value = "an op or a layer"
            words = written(self.shared.diagnostics, node.span)
            raise self.shared.error(
                "not-a-size",
                f"a size is a whole number; this is {spoken(value)}",
                node.span,
                facts=self._sizes_in(node, declared),
                help=f"floor({words}) rounds down"
                if isinstance(value, float) and not isinstance(node, tree.Number)
                else "",
            )
        if isinstance(value, int) and value < 1:
            raise self.shared.error(
                "not-a-size",
                f"a size is at least 1; this is {value}",
                node.span,
                facts=self._sizes_in(node, declared),
            )
        return Size.of(value)

    def _sizes_in(self, node: tree.Expr, declared: Any) -> tuple[str, ...]:
        """What the names in an expression stand for, as a fact: `D = 100 (by --set), H = 8`."""
        facts: dict[str, str] = {}

        def visit(inner: tree.Expr) -> None:
            match inner:
                case tree.Name(id=name):
                    value = self.try_constant(inner, declared)
                    if isinstance(value, int | float | Size):
                        given = self.file is self.shared.main and name in self.shared.overrides
                        facts[name] = f"{name} = {spoken(value)}{' (by --set)' if given else ''}"
                case tree.Unary(operand=operand):
                    visit(operand)
                case tree.Binary(left=left, right=right):
                    visit(left)
                    visit(right)
                case tree.Call(arguments=arguments):
                    for argument in arguments:
                        visit(argument)

        visit(node)
        return (", ".join(facts.values()),) if facts else ()

    def constant(self, node: tree.Expr, declared: dict[str, Dim] | None = None) -> Any:
        """The value of an expression of constants, options and sizes; a mistake if it is none."""
        value = self.try_constant(node, declared)
        if value is NotImplemented:
            raise self._not_constant(node, declared)
        return value

    def _not_constant(self, node: tree.Expr, declared: Any) -> Mistake:
        """Report an expression that is not constant, at the name that is to blame."""
        match node:
            case tree.Name(id=name):
                if isinstance(self.find_dim(name, declared), Pending):
                    self.dim(name, node.span, declared)
                if name[:1].isupper():
                    return self.unknown_dim(name, node.span, declared)
                values = {a.name for a in self.layer.arguments} | {*assigned(self.layer.body)}
                if name not in values:
                    return self.unknown_name(node)
            case tree.Unary(operand=operand):
                return self._not_constant(operand, declared)
            case tree.Binary(left=left, right=right):
                for side in (left, right):
                    if self.try_constant(side, declared) is NotImplemented:
                        return self._not_constant(side, declared)
        return self.shared.error(
            "not-a-constant",
            "this must be known before anything runs",
            node.span,
            facts=("it may be made of numbers, constants, options and dims",),
        )

    def try_constant(
        self, node: tree.Expr, declared: dict[str, Dim] | None = None, hidden: Any = ()
    ) -> Any:
        """The value of a constant expression; NotImplemented if it is not constant.

        Args:
            hidden: names of values, which hide constants of the same name.
        """
        match node:
            case tree.Number() | tree.Constant():
                return node.value
            case tree.Name(id=name):
                free = isinstance(node, tree.Global)
                if name in hidden and not free:
                    return NotImplemented
                if name in self.options and not free:
                    self.used.add(name)
                    return self.options[name]
                return self._named_constant(name, declared)
            case tree.Unary(op=op, operand=operand):
                value = self.try_constant(operand, declared, hidden)
                return fold_unary(op, value)
            case tree.Binary(op=op, left=left, right=right):
                a = self.try_constant(left, declared, hidden)
                b = self.try_constant(right, declared, hidden)
                return self.fold(op, a, b, node, declared)
            case tree.Call(callee=tree.Name(id=name), dims=None, keywords=()):
                values = [self.try_constant(a, declared, hidden) for a in node.arguments]
                taken = name in hidden or name in self.children
                if taken and not isinstance(node.callee, tree.Global):
                    return NotImplemented
                return self.fold_call(name, values, node)
            case tree.Tuple(items=items):
                values = [self.try_constant(a, declared, hidden) for a in items]
                return NotImplemented if NotImplemented in values else tuple(map(plain, values))
        return NotImplemented

    def fold_call(self, name: str, values: list[Any], node: tree.Expr) -> Any:
        """A function of constants; NotImplemented where it is not one."""
        if any(v is NotImplemented or not is_number(v) for v in values):
            return NotImplemented
        try:
            return fold_call(name, values)
        except FOLD_ERRORS as error:
            shown = f"{name}({', '.join(spoken(plain(v)) for v in values)})"
            raise self._no_value(shown, error, node) from None

    def fold(self, op: str, a: Any, b: Any, node: tree.Binary, declared: Any = None) -> Any:
        """An operator on constants; NotImplemented where it is not to be settled here."""
        if a is NotImplemented or b is NotImplemented:
            return NotImplemented
        a, b = plain(a), plain(b)
        if op in ("==", "!=") and not (isinstance(a, Size) or isinstance(b, Size)):
            return (a == b) == (op == "==")
        if op in ("and", "or") and not isinstance(a, Size) and not isinstance(b, Size):
            return (a and b) if op == "and" else (a or b)
        if not is_number(a) or not is_number(b):
            return NotImplemented
        try:
            if op == "/" and isinstance(a, int | Size) and isinstance(b, int | Size):
                whole = exact_quotient(a, b)
                if whole is not None:
                    return plain(whole)
                if self._sizing:
                    return self._quotient(a, b, node, declared)
            return fold(op, a, b)
        except FOLD_ERRORS as error:
            raise self._no_value(f"{spoken(a)} {op} {spoken(b)}", error, node) from None

    def _quotient(self, a: int | Size, b: int | Size, node: tree.Binary, declared: Any) -> Size:
        """A division of sizes, which must come out whole: for numbers it does not, else a claim."""
        diagnostics = self.shared.diagnostics
        words = written(diagnostics, node.span)
        if isinstance(a, Size) or isinstance(b, Size):
            self.shared.claim(Divides(Size.of(b), Size.of(a)), f"{words} is a size", node.span)
            return Size.of(a) // Size.of(b)
        if b == 0:
            raise ZeroDivisionError
        left, right = (written(diagnostics, n.span) for n in (node.left, node.right))
        floor = corrected(diagnostics, node.span, f"{left} // {right}") if left and right else ""
        raise self.shared.error(
            "does-not-divide",
            f"{words or 'this size'} does not come out whole: {a} / {b} is {a / b:g}",
            node.span,
            facts=self._sizes_in(node, declared),
            help=f"{floor}    # rounds down" if floor else "",
        )

    def _no_value(self, shown: str, error: Exception, node: tree.Expr) -> Mistake:
        zero = isinstance(error, ZeroDivisionError | DivisionByZero)
        if isinstance(error, OverflowError):
            message = "this number is too large"
        elif isinstance(error, SizeError) and not zero:
            message = "this size is too complicated"
        elif zero and isinstance(node, tree.Binary):
            message = "this divides by 0"
        else:
            message = "this has no value"
        words = written(self.shared.diagnostics, node.span)
        told = shown != words and len(shown) < 100
        return self.shared.error(
            "no-value", message, node.span, facts=(f"it is {shown}",) if told else ()
        )

    def _named_constant(self, name: str, declared: Any) -> Any:
        if name in self.file.consts:
            if self.file is self.shared.main and name in self.shared.overrides:
                return self.shared.overrides[name]
            if name in self._constants:
                return self._constants[name]
            if name in self._resolving:
                raise self.cycle(name, self.file.consts[name].span)
            self._resolving.append(name)
            outer, self._sizing = self._sizing, False
            try:
                value = plain(self.constant(self.file.consts[name].value))
            finally:
                self._resolving.pop()
                self._sizing = outer
            self._constants[name] = value
            return value
        dim = self.find_dim(name, declared)
        if isinstance(dim, Dim):
            return plain(dim.size)
        return Word(name) if dim is None and name in words() else NotImplemented
