"""Bounds of sizes that are easily found, by interval arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .size import Atom, Factor, Monomial, Size

Interval = tuple[float, float]  # integers, or infinities
_NONE: dict[str, int] = {}


def lower_bound(size: int | Size, lower: Mapping[str, int] | None = None) -> int | None:
    """An integer that the size is never below, if one is easily found.

    `lower` gives lower bounds of free sizes, where they are more than 1.
    """
    bound = low(size, lower or _NONE)
    return None if bound == -inf else int(bound)


def upper_bound(size: int | Size, lower: Mapping[str, int] | None = None) -> int | None:
    """An integer that the size is never above, if one is easily found."""
    bound = low(-size, lower or _NONE)
    return None if bound == -inf else -int(bound)


def low(size: int | Size, lower: Mapping[str, int] = _NONE) -> float:
    """The better of two lower bounds, -inf if there is none.

    One adds up the bounds of the terms. The other is the constant term, once each factor f is
    written as least + f', if no coefficient is negative then: f' >= 0.
    """
    if isinstance(size, int):
        return size
    bounds = {f: _interval(f, lower) for m, _ in size.terms for f in m}
    total: float = 0
    for monomial, c in size.terms:
        a: float = c
        b: float = c
        for factor in monomial:
            ends = [_times(x, y) for x in (a, b) for y in bounds[factor]]
            a, b = min(ends), max(ends)
        total = -inf if -inf in (total, a) else total + a
    return max(total, _shifted(size, bounds)) if len(size.terms) > 1 else total


def _times(x: float, y: float) -> float:
    """The product; 0 times infinity is 0, and large integers are never rounded."""
    if not x or not y:
        return 0
    if x in (inf, -inf) or y in (inf, -inf):
        return inf if (x > 0) == (y > 0) else -inf
    return x * y


def _shifted(size: Size, bounds: Mapping[Factor, Interval]) -> float:
    table: dict[Monomial, int] = {}
    for monomial, c in size.terms:
        if len(monomial) > 8 or any(bounds[f][0] == -inf for f in monomial):
            return -inf
        parts: dict[Monomial, int] = {(): c}
        for factor in monomial:
            least = int(bounds[factor][0])
            longer = {(*m, factor): d for m, d in parts.items()}
            parts = {m: d * least for m, d in parts.items()}
            for m, d in longer.items():
                parts[m] = parts.get(m, 0) + d
        for m, d in parts.items():
            table[m] = table.get(m, 0) + d
    return table.get((), 0) if all(c >= 0 for m, c in table.items() if m) else -inf


def _interval(factor: Factor, lower: Mapping[str, int]) -> Interval:
    if isinstance(factor, str):
        return lower.get(factor, 1), inf
    return _atom_interval(factor, lower) if lower else _usual(factor)


@lru_cache(maxsize=4096)
def _usual(atom: Atom) -> Interval:
    return _atom_interval(atom, _NONE)


def _atom_interval(atom: Atom, lower: Mapping[str, int]) -> Interval:
    ranges = [(low(a, lower), -low(-a, lower)) for a in atom.args]
    if atom.op in ("min", "max"):
        pick = min if atom.op == "min" else max
        return pick(a for a, _ in ranges), pick(b for _, b in ranges)
    (a, b), (c, d) = ranges
    if c < 1:
        return -inf, inf
    if atom.op == "%":
        return 0, min(d - 1, b) if a >= 0 else d - 1
    down = a if a == -inf else a // c if a < 0 else 0 if d == inf else a // d
    up = b if b == inf else b // c if b >= 0 else -1 if d == inf else b // d
    return down, up
