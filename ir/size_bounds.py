"""Bounds of sizes that are easily found, by interval arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netwright.ir.size import Factor, Monomial, Size


def lower_bound(size: int | Size, lower: Mapping[str, int] | None = None) -> int | None:
    """An integer that the size is never below, if one is easily found.

    `lower` gives lower bounds of free sizes, where they are more than 1.
    """
    bound = interval(size, lower or {})[0]
    return None if bound == -inf else int(bound)


def upper_bound(size: int | Size, lower: Mapping[str, int] | None = None) -> int | None:
    """An integer that the size is never above, if one is easily found."""
    bound = interval(size, lower or {})[1]
    return None if bound == inf else int(bound)


def interval(size: int | Size, lower: Mapping[str, int]) -> tuple[float, float]:
    """Bounds by interval arithmetic on the terms, or by `_shifted`, whichever is better."""
    if isinstance(size, int):
        return size, size
    bounds = {f: _factor_interval(f, lower) for m, _ in size.terms for f in m}
    low: float = 0
    high: float = 0
    for monomial, c in size.terms:
        a: float = c
        b: float = c
        for factor in monomial:
            ends = [_times(x, y) for x in (a, b) for y in bounds[factor]]
            a, b = min(ends), max(ends)
        low, high = low + a, high + b
    low = max(low, _shifted(size, bounds))
    return low, min(high, -_shifted(-size, bounds))


def _times(x: float, y: float) -> float:
    return x * y if x and y else 0


def _shifted(size: Size, bounds: Mapping[Factor, tuple[float, float]]) -> float:
    """The constant term, once each factor f is written as low + f', if nothing else is negative.

    Since f' >= 0, a polynomial in the f' whose coefficients are not negative is at least its
    constant.
    """
    table: dict[Monomial, int] = {}
    for monomial, c in size.terms:
        if len(monomial) > 8 or any(bounds[f][0] == -inf for f in monomial):
            return -inf
        parts: dict[Monomial, int] = {(): c}
        for factor in monomial:
            low = int(bounds[factor][0])
            longer = {(*m, factor): d for m, d in parts.items()}
            parts = {m: d * low for m, d in parts.items()}
            for m, d in longer.items():
                parts[m] = parts.get(m, 0) + d
        for m, d in parts.items():
            table[m] = table.get(m, 0) + d
    return table.get((), 0) if all(c >= 0 for m, c in table.items() if m) else -inf


def _factor_interval(factor: Factor, lower: Mapping[str, int]) -> tuple[float, float]:
    if isinstance(factor, str):
        return lower.get(factor, 1), inf
    ranges = [interval(a, lower) for a in factor.args]
    if factor.op in ("min", "max"):
        pick = min if factor.op == "min" else max
        return pick(a for a, _ in ranges), pick(b for _, b in ranges)
    (a, b), (c, d) = ranges
    if c < 1:
        return -inf, inf
    if factor.op == "%":
        return 0, min(d - 1, b) if a >= 0 else d - 1
    down = a if a == -inf else a // c if a < 0 else 0 if d == inf else a // d
    up = b if b == inf else b // c if b >= 0 else -1 if d == inf else b // d
    return down, up
