"""What differs between two files of weights, by path."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .common import Leaf, Path, Weights

if TYPE_CHECKING:
    import numpy as np

_PART = 1 << 20  # elements compared at once


@dataclass(frozen=True)
class Difference:
    """How a leaf differs.

    Attributes:
        path: the leaf.
        a, b: what it is on either side, None where it is not.
        absolute: the largest |a - b| where both are finite; None where shapes differ.
        relative: the largest |a - b| / max(|a|, |b|), likewise.
        unequal: how many elements have other bits, of equal dtypes, or other values.
        outside: how many of these lie outside of the tolerance.
    """

    path: Path
    a: Leaf | None
    b: Leaf | None
    absolute: float | None = None
    relative: float | None = None
    unequal: int | None = None
    outside: int | None = None

    @property
    def matters(self) -> bool:
        """Whether it counts: other shapes and dtypes do, values outside of the tolerance too."""
        same_kind = self.a is not None and self.b is not None and self.a == self.b
        return not same_kind or bool(self.outside)


def differences(
    a: Weights, b: Weights, *, rtol: float = 0.0, atol: float = 0.0
) -> Iterator[Difference]:
    """The leaves that are not the same on both sides, in the order of the first.

    Args:
        rtol, atol: values are taken as equal where |a - b| <= atol + rtol * max(|a|, |b|). With
            both 0 the bits are compared; then 0.0 and -0.0 differ, and a NaN equals itself.

    Raises:
        FormatError: an array cannot be read.
    """
    paths = [*a.leaves, *(path for path in b.leaves if path not in a.leaves)]
    for path in paths:
        one, other = a.leaves.get(path), b.leaves.get(path)
        if one is None or other is None or one.shape != other.shape:
            yield Difference(path, one, other)
            continue
        found = _compared(a.read(path), b.read(path), rtol, atol)
        if found["unequal"] or one != other:
            yield Difference(path, one, other, **found)


def _compared(a: np.ndarray, b: np.ndarray, rtol: float, atol: float) -> dict[str, Any]:
    import numpy as np

    a, b = np.ascontiguousarray(a).reshape(-1), np.ascontiguousarray(b).reshape(-1)
    absolute = relative = 0.0
    unequal = outside = 0
    for start in range(0, a.size, _PART):
        x, y = a[start : start + _PART], b[start : start + _PART]
        if x.dtype == y.dtype:
            if np.array_equal(_bits(x), _bits(y)):  # as most are, and much quicker to see
                continue
            differ = (_bits(x) != _bits(y)).any(axis=1)
            x, y = _wide(x[differ]), _wide(y[differ])
        else:  # the bits say nothing
            x, y = _wide(x), _wide(y)
            differ = ~_equal(x, y)
            x, y = x[differ], y[differ]
        with np.errstate(all="ignore"):
            apart, size = np.abs(x - y), np.maximum(np.abs(x), np.abs(y))
            finite = np.isfinite(x) & np.isfinite(y)
            ratio = np.where(size > 0, apart / size, 0.0)
        unequal += x.size
        absolute = max(absolute, float(apart[finite].max(initial=0.0)))
        relative = max(relative, float(ratio[finite].max(initial=0.0)))
        if rtol or atol:
            within = _equal(x, y)
            within[finite] |= apart[finite] <= atol + rtol * size[finite]
            outside += int((~within).sum())
        else:
            outside += x.size
    return {
        "absolute": absolute,
        "relative": relative,
        "unequal": unequal,
        "outside": outside,
    }


def _equal(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    import numpy as np

    return (x == y) | (np.isnan(x) & np.isnan(y))


def _bits(array: np.ndarray) -> np.ndarray:
    import numpy as np

    return array.view(np.uint8).reshape(array.size, array.dtype.itemsize)


def _wide(array: np.ndarray) -> np.ndarray:
    import numpy as np

    return array.astype(np.complex128 if array.dtype.kind == "c" else np.longdouble)
