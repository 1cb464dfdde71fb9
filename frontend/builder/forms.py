"""How values are made: operators and calls, with the place of every part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .source import Site


@dataclass(frozen=True)
class Ref:
    """A use of something, and where."""

    value: Any
    site: Site


class Form:
    """How a value is made: `refs` are the values in it, `sizes` what its brackets hold.

    `word` names it where Python does not; `holds` says whether it calls a layer.
    """

    word = "value"
    holds = False

    @property
    def refs(self) -> tuple[Ref, ...]:
        return ()

    @property
    def sizes(self) -> tuple[Ref, ...]:
        return ()


@dataclass(frozen=True, eq=False)
class Infix(Form):
    """`left op right`."""

    op: str
    left: Ref
    right: Ref

    @property
    def refs(self) -> tuple[Ref, ...]:
        return (self.left, self.right)


@dataclass(frozen=True, eq=False)
class Prefix(Form):
    """`-x` and `not x`."""

    op: str
    operand: Ref

    @property
    def refs(self) -> tuple[Ref, ...]:
        return (self.operand,)


@dataclass(frozen=True, eq=False)
class Literal(Form):
    """A number as a value."""

    value: Ref

    @property
    def refs(self) -> tuple[Ref, ...]:
        return (self.value,)


@dataclass(frozen=True, eq=False)
class Bracketed:
    """One thing between brackets; sides are Refs, of `...` too."""

    left: Ref
    right: Ref | None
    value: Ref | None
    site: Site

    @property
    def refs(self) -> tuple[Ref, ...]:
        return tuple(r for r in (self.left, self.right, self.value) if r is not None)
