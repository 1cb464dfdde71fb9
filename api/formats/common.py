"""What all formats share: leaves by path, dtypes, bounds, and the one error.

A file of weights is a tree of arrays. Its leaves are known by *path*, a tuple of strings such as
`("params", "blocks", "attn", "wq")`, as in a train state. Opening a file reads where its arrays
lie and how they are shaped; an array is read when it is asked for, and only one at a time.

Nothing that a file says of itself is believed before it is checked: sizes are compared with the
file's before memory is taken, depth and counts are bounded, no two leaves have the same path.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..ir.diagnostics import Diagnostic, InputError

if TYPE_CHECKING:
    import numpy as np

Path = tuple[str, ...]

MOST_LEAVES = 2**17
MOST_NODES = 2**20  # of a tree, its empty branches included
DEEPEST = 64
LONGEST_NAME = 1024  # bytes of one part of a path
MOST_DIMS = 32
LARGEST = 2**48  # bytes of one array

ITEM_SIZES = {
    **dict.fromkeys(("bool", "int8", "uint8"), 1),
    **dict.fromkeys(("int16", "uint16", "float16", "bfloat16"), 2),
    **dict.fromkeys(("int32", "uint32", "float32"), 4),
    **dict.fromkeys(("int64", "uint64", "float64", "complex64"), 8),
    "complex128": 16,
    **dict.fromkeys(("float8_e3m4", "float8_e4m3", "float8_e4m3b11fnuz", "float8_e4m3fn"), 1),
    **dict.fromkeys(("float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"), 1),
    **dict.fromkeys(("int2", "uint2", "int4", "uint4", "float4_e2m1fn"), 1),
}
"""Bytes of an element, for every dtype that an array may have: those of numpy and ml_dtypes."""


class FormatError(InputError):
    """A file cannot be read or written as what it is meant to be; `str()` of it says why."""

    def __init__(self, message: str, *facts: str, code: str = "damaged-file", help: str = ""):
        super().__init__([Diagnostic(code, message, facts=facts, help=help)])


@dataclass(frozen=True)
class Leaf:
    """An array that has not been read: its shape, and the name of its dtype."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def nbytes(self) -> int:
        """Its size in bytes, as numpy holds it."""
        return math.prod(self.shape) * ITEM_SIZES[self.dtype]

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class Weights:
    """The arrays of a file or folder.

    Attributes:
        kind: the format, in words for people: "safetensors", "msgpack", …
        name: what it is called in messages.
        leaves: what there is, by path, in the order of the file.
        fetch: gives an array; use `read`.
        about: what else is known: of a checkpoint of ours its format, its step, and what its run
            was made of.
    """

    kind: str
    name: str
    leaves: Mapping[Path, Leaf]
    fetch: Callable[[Path], np.ndarray] = field(repr=False)
    about: Mapping[str, Any] = field(default_factory=dict)

    def read(self, path: Path) -> np.ndarray:
        """The array at a path, which is one of `leaves`.

        Raises:
            FormatError: it is damaged.
            OSError: the file cannot be read any more.
        """
        return self.fetch(path)

    def below(self, path: Path) -> bool:
        """Whether there are leaves at a path or below it."""
        return any(leaf[: len(path)] == path for leaf in self.leaves)

    def part(self, only: Sequence[Path]) -> Weights:
        """The same with the leaves at or below some paths; with all, if there are none."""
        if not only:
            return self
        kept = {
            path: leaf
            for path, leaf in self.leaves.items()
            if any(path[: len(p)] == p for p in only)
        }
        return replace(self, leaves=kept)


def numpy_dtype(name: str) -> np.dtype:
    """The dtype of a name in `ITEM_SIZES`."""
    import ml_dtypes
    import numpy as np

    return np.dtype(getattr(ml_dtypes, name, name))


def leaf(where: str, shape: Any, dtype: Any) -> Leaf:
    """A leaf of the shape and dtype that a file says.

    Args:
        where: the array, for messages.
        shape: what should be a list of sizes.
        dtype: what should be the name of a dtype.

    Raises:
        FormatError: it is none that an array could have.
    """
    if not isinstance(dtype, str) or dtype not in ITEM_SIZES:
        raise FormatError(
            f"{where} has the dtype {dtype!r:.60}, which is none of arrays of numbers"
        )
    if not isinstance(shape, list | tuple) or len(shape) > MOST_DIMS:
        raise FormatError(f"{where} has no shape of at most {MOST_DIMS} dims")
    if not all(type(size) is int and 0 <= size < LARGEST for size in shape):
        raise FormatError(f"{where} has a shape that no array has: {shape!r:.80}")
    made = Leaf(tuple(shape), dtype)
    # Sizes of 0 do not excuse the others: numpy cannot hold (0, 2**62) either.
    if math.prod(size or 1 for size in shape) * ITEM_SIZES[dtype] > LARGEST:
        raise FormatError(f"{where} is said to be larger than {LARGEST >> 40} TiB: {made}")
    return made


class Bytes:
    """The bytes of an open file or a buffer, read by place, with a window for small reads."""

    def __init__(self, source: int | bytes, size: int):
        self._source, self.size = source, size
        self._start, self._window = 0, b"" if isinstance(source, int) else source

    def at(self, start: int, length: int) -> bytes:
        """`length` bytes from `start`. FormatError if the file ends before."""
        if start + length > self.size:
            raise FormatError("the file is cut short")
        offset = start - self._start
        if not 0 <= offset <= offset + length <= len(self._window):
            if length > _WINDOW:
                return self._pread(start, length)
            self._start = start
            self._window = self._pread(start, min(_WINDOW, self.size - start))
            offset = 0
        return self._window[offset : offset + length]

    def into(self, buffer: Any, start: int) -> None:
        """Fill a writable buffer of bytes with what stands from `start`."""
        view, done = memoryview(buffer), 0
        if isinstance(self._source, bytes):
            view[:] = self.at(start, len(view))
            return
        while done < len(view):
            count = os.preadv(self._source, [view[done : done + _MOST_AT_ONCE]], start + done)
            if not count:
                raise FormatError("the file has become shorter while it was read")
            done += count

    def _pread(self, start: int, length: int) -> bytes:
        assert isinstance(self._source, int)
        made = bytearray(length)
        self.into(made, start)
        return bytes(made)


_WINDOW = 1 << 16
_MOST_AT_ONCE = 1 << 30  # the system reads less than 2 GiB in one call


class Opened(Bytes):
    """A file that stays open as long as this does: what is renamed or replaced is read on."""

    def __init__(self, path: str | os.PathLike[str]):
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._handle = handle
        super().__init__(handle, os.fstat(handle).st_size)

    def __del__(self) -> None:
        if hasattr(self, "_handle"):
            os.close(self._handle)


def filled(leaf: Leaf, source: Bytes, start: int) -> np.ndarray:
    """The array whose bytes, in C order and little-endian, stand in `source` from `start`."""
    import numpy as np

    made = np.empty(leaf.shape, numpy_dtype(leaf.dtype))
    source.into(made.reshape(-1).view(np.uint8).data, start)
    return made


# Names


def joined(path: Path) -> str:
    """A path as one name, with dots: `params.blocks.wq`. What is in the parts is escaped."""
    return ".".join(
        part.replace("%", "%25").replace(".", "%2E").replace("/", "%2F") for part in path
    )


def parted(names: Mapping[str, Any] | list[str]) -> dict[str, Path]:
    """The paths that the names of a flat file stand for.

    Slashes part the names if any has one, else dots do: files of JAX programs have the ones, of
    PyTorch the others.

    Raises:
        FormatError: two names stand for one path, or a path for an array and what holds others.
    """
    sign = "/" if any("/" in name for name in names) else "."
    made = {}
    for name in names:
        if len(name) > LONGEST_NAME * 4 or name.count(sign) >= DEEPEST:
            raise FormatError(f"a name is too long: {name[:60]!r}…")
        parts = name.split(sign)
        made[name] = tuple(
            p.replace("%2E", ".").replace("%2F", "/").replace("%25", "%") for p in parts
        )
    check_paths(made.values())
    return made


def check_paths(paths: Any) -> None:
    """Refuse paths that no tree of dicts has. FormatError if there are such."""
    seen: set[Path] = set()
    for path in paths:
        if path in seen:
            raise FormatError(f"there are two arrays {shown(path)}")
        seen.add(path)
    for path in seen:
        for length in range(1, len(path)):
            if path[:length] in seen:
                above = shown(path[:length])
                raise FormatError(f"{above} is an array, and holds {shown(path)} too")


def shown(path: Path) -> str:
    """A path for people, on one line and without what a terminal would obey."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in ".".join(path))
