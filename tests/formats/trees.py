"""Trees of arrays that the tests write with one library and read with another."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from netwright.formats import Path, Weights

PLAIN = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
FLOATS = ("float16", "float32", "float64")
JAX_ONLY = ("bfloat16", "float8_e4m3fn", "float8_e5m2")

NAMES = st.text("abcXYZ_0123456789äß", min_size=1, max_size=5)


def arrays(dtypes: tuple[str, ...]) -> st.SearchStrategy[np.ndarray]:
    """Arrays of any bits, of up to three dims, empty ones among them."""

    def made(dtype: str, shape: tuple[int, ...], data: st.DataObject | Any) -> np.ndarray:
        kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
        size = int(np.prod(shape)) * kind.itemsize
        raw = np.frombuffer(data[:size].ljust(size, b"\1"), np.uint8)
        raw = raw & 1 if dtype == "bool" else raw
        return raw.view(kind).reshape(shape)

    return st.builds(
        made, st.sampled_from(dtypes), hnp.array_shapes(min_dims=0, min_side=0, max_side=4),
        st.binary(max_size=64),
    )  # fmt: skip


def trees(dtypes: tuple[str, ...] = (*PLAIN, *FLOATS, *JAX_ONLY)) -> st.SearchStrategy[dict]:
    """Nested dicts with arrays for leaves."""
    return st.dictionaries(
        NAMES,
        st.recursive(arrays(dtypes), lambda inner: st.dictionaries(NAMES, inner, max_size=3)),
        max_size=4,
    )


def flat(tree: Any, above: Path = ()) -> dict[Path, np.ndarray]:
    """The leaves of nested dicts and lists by path."""
    if isinstance(tree, dict):
        parts = tree.items()
    elif isinstance(tree, list | tuple):
        parts = enumerate(tree)
    else:
        return {} if tree is None else {above: np.asarray(tree)}
    return {p: a for name, part in parts for p, a in flat(part, (*above, str(name))).items()}


def same(weights: Weights, wanted: dict[Path, np.ndarray]) -> None:
    """The weights are these arrays, bit for bit, and have said so before they were read."""
    assert weights.leaves.keys() == wanted.keys()
    for path, array in wanted.items():
        got, leaf = weights.read(path), weights.leaves[path]
        native = array.astype(array.dtype.newbyteorder("=")) if array.dtype.kind != "V" else array
        assert (got.shape, str(got.dtype)) == (leaf.shape, leaf.dtype)
        assert (leaf.shape, leaf.dtype) == (array.shape, str(native.dtype))
        assert got.dtype.isnative and got.flags.c_contiguous
        assert got.tobytes() == np.ascontiguousarray(native).tobytes()
