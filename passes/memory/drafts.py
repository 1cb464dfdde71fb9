"""Units under construction: nodes, with what is still needed of the ops that make them."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...ir.core import Op, Type
from .layouts import Spread
from .units import Node


@dataclass
class Draft:
    """A node under construction, with what is still needed of its op.

    Attributes:
        types: of the operands.
        spread: how dims of its operands and results lie along the mesh.
        tangent: whether it depends on what is trained, smoothly.
        reached: whether the loss depends on it, smoothly.
        varies: whether it differs from copy to copy of the unit.
        copies: how many of it lie side by side.
    """

    node: Node
    op: Op | None = None
    types: tuple[Type, ...] = ()
    spread: Spread = field(default_factory=dict)
    tangent: bool = False
    reached: bool = False
    varies: bool = False
    copies: int = 1


@dataclass
class Body:
    """A unit under construction; its parameters and states are found by key and kind."""

    path: str
    kind: str
    copies: int = 1
    nodes: list[Draft] = field(default_factory=list)
    variables: dict[tuple[str, str], int] = field(default_factory=dict)
    results: tuple[int, ...] = ()
    arguments: tuple[int, ...] = ()
    carried: tuple[tuple[int, int], ...] = ()
    dealt: tuple[int, ...] = ()
    keeps: tuple[str, ...] | None = None
    offloads: tuple[str, ...] = ()
    group: int = 0
