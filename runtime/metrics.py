"""Metrics are pairs (sum, count), so that means combine exactly.

The mean over two batches is the sum of sums over the sum of counts, whatever their sizes; a short
last batch or a mask needs no special treatment. Only `finish` divides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

Pairs = Mapping[str, tuple[Any, Any]]


def combine(a: Pairs, b: Pairs) -> dict[str, tuple[Any, Any]]:
    """The metrics of two batches taken together. A name in only one of them is kept."""
    result = dict(a)
    for name, (total, count) in b.items():
        if name in result:
            result[name] = (result[name][0] + total, result[name][1] + count)
        else:
            result[name] = (total, count)
    return result


def finish(metrics: Pairs) -> dict[str, float]:
    """Means as plain floats, the loss first; NaN where nothing was counted."""
    means = {
        name: float(total) / float(count) if float(count) else math.nan
        for name, (total, count) in metrics.items()
    }
    return {name: means[name] for name in sorted(means, key=lambda name: (name != "loss", name))}


def widen(metrics: Pairs) -> dict[str, tuple[float, float]]:
    """The same pairs as Python floats, in which many batches add up without rounding away."""
    return {name: (float(total), float(count)) for name, (total, count) in metrics.items()}
