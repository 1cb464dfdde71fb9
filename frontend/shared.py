"""What all instances of one entry share, and the dims between the brackets of a layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..ir.core import Claim
from ..ir.diagnostics import Diagnostic, Diagnostics, Span
from ..ir.size import Size
from . import tree
from .constants import Enough, Mistake

if TYPE_CHECKING:
    from .instances import InstanceBuilder
    from .names import SourceFile

MOST_ERRORS = 100
MOST_INSTANCES = 3000


class Elaboration:
    """What all instances of one entry share: messages, overrides, claims, the list of instances.

    Args:
        diagnostics: takes what is wrong.
        main: the file whose glossary and constants the overrides change.
        overrides: `--set` values by name.
    """

    def __init__(self, diagnostics: Diagnostics, main: SourceFile, overrides: dict[str, Any]):
        self.diagnostics, self.main, self.overrides = diagnostics, main, overrides
        self.claims: list[Claim] = []
        self._claimed: set[tuple[Any, str]] = set()
        self.free: list[str] = []
        self.instances: list[InstanceBuilder] = []
        self._reported: set[tuple[str, Span | str]] = set()

    def error(self, code: str, message: str, span: Span | None, **more: Any) -> Mistake:
        """Report a mistake once for each place; to be raised by the caller."""
        key = (code, span if span is not None else message)
        if key not in self._reported:
            self._reported.add(key)
            self.diagnostics.add(Diagnostic(code, message, span, **more))
            if len(self._reported) >= MOST_ERRORS:
                raise Enough
        return Mistake()

    def forget(self, builder: InstanceBuilder) -> None:
        """Drop an instance that was made in vain, with those inside of it."""
        self.instances.remove(builder)
        for record in builder.children.values():
            if record.builder in self.instances:
                self.forget(record.builder)

    def claim(self, claim: Any, reason: str, span: Span) -> None:
        """Record something that must hold of sizes."""
        key = (claim, reason)
        if key not in self._claimed:
            self._claimed.add(key)
            self.claims.append(Claim(claim, reason, span=span))

    def free_size(self, name: str) -> Size:
        """The size of a free dim."""
        if name not in self.free:
            self.free.append(name)
        return Size.free(name)


@dataclass(frozen=True)
class Pending:
    """A dim right of an arrow whose size the body settles."""

    name: str
    span: Span


@dataclass
class DimParameter:
    """A dim between a layer's brackets: its name, default, and what it is made from (`C -> Co`)."""

    name: str
    default: tree.Expr | None
    made_from: str | None
    span: Span


def dim_parameters(layer: tree.Layer) -> list[DimParameter]:
    """The dims between a layer's brackets, in order."""
    found = []
    for item in layer.dims:
        if isinstance(item.left, tree.Name):
            default = item.value if item.right is None else None
            found.append(DimParameter(item.left.id, default, None, item.left.span))
            if isinstance(item.right, tree.Name):
                right = item.right
                found.append(DimParameter(right.id, item.value, item.left.id, right.span))
    return found
