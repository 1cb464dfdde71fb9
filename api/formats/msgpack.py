"""Flax's msgpack files: what `flax.serialization.to_bytes` writes and `from_bytes` reads.

A file is one msgpack map, nested, with arrays for leaves. An array is an *ext* value of code 1, a
numpy scalar of code 3, a complex number of code 2. Inside is msgpack again: (shape, name of the
dtype, bytes in C order), or (real, imaginary). An array of more than 2**30 bytes is a map with the
key `__msgpack_chunked_array__`, its shape, and its pieces in order.

The format is read here rather than by the msgpack library because that library wants every byte
in memory, once in the file's form and again in each array's, to say what a file holds. Here the
arrays are passed over, and read in place when they are asked for.

https://github.com/msgpack/msgpack/blob/master/spec.md, flax/serialization.py.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from .common import (
    DEEPEST,
    ITEM_SIZES,
    LONGEST_NAME,
    MOST_DIMS,
    MOST_LEAVES,
    MOST_NODES,
    Bytes,
    FormatError,
    Leaf,
    Path,
    Weights,
    check_paths,
    filled,
    leaf,
    numpy_dtype,
    shown,
)

if TYPE_CHECKING:
    import numpy as np

CHUNKED = "__msgpack_chunked_array__"
ARRAY, COMPLEX, SCALAR = 1, 2, 3
CHUNK = 2**30  # bytes of an array beyond which Flax cuts it up


def weights(source: Bytes, name: str) -> Weights:
    """The arrays of a msgpack file. Numbers that stand alone are arrays without dims.

    Raises:
        FormatError: it is none, is damaged, or holds what is no array.
    """
    found = _Reader(source).leaves()

    def fetch(path: Path) -> np.ndarray:
        return found[path].read(source)

    return Weights("msgpack", name, {path: at.leaf for path, at in found.items()}, fetch)


@dataclass(frozen=True)
class _Stored:
    """An array and where its bytes start."""

    leaf: Leaf
    start: int

    def read(self, source: Bytes) -> np.ndarray:
        return filled(self.leaf, source, self.start)


@dataclass(frozen=True)
class _Number:
    """A number that stands alone."""

    leaf: Leaf
    value: Any

    def read(self, source: Bytes) -> np.ndarray:
        import numpy as np

        return np.array(self.value, numpy_dtype(self.leaf.dtype))


@dataclass(frozen=True)
class _Pieces:
    """An array that is cut up."""

    leaf: Leaf
    pieces: tuple[_Stored, ...]

    def read(self, source: Bytes) -> np.ndarray:
        import numpy as np

        made = np.empty(self.leaf.shape, numpy_dtype(self.leaf.dtype))
        view, done = made.reshape(-1).view(np.uint8).data, 0
        for piece in self.pieces:
            source.into(view[done : done + piece.leaf.nbytes], piece.start)
            done += piece.leaf.nbytes
        return made


_Found = _Stored | _Number | _Pieces

# What follows a first byte: how many bytes say the length, or how a number is packed.
_MAPS, _LISTS = {0xDE: 2, 0xDF: 4}, {0xDC: 2, 0xDD: 4}
_TEXTS, _BLOBS = {0xD9: 1, 0xDA: 2, 0xDB: 4}, {0xC4: 1, 0xC5: 2, 0xC6: 4}
_EXTS, _FIXED_EXTS = {0xC7: 1, 0xC8: 2, 0xC9: 4}, {0xD4 + n: 1 << n for n in range(5)}
_NUMBERS = {
    **{0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q"},
    **{0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"},
}


class _Reader:
    """Walks over a file once, and keeps where its arrays are."""

    def __init__(self, source: Bytes):
        self._source, self._place, self._nodes = source, 0, 0

    def leaves(self) -> dict[Path, _Found]:
        tree = self._value((), 0)
        if self._place != self._source.size:
            raise FormatError(f"after the tree of arrays, at byte {self._place:,}, there is more")
        if not isinstance(tree, dict):
            raise FormatError("the file is not a tree of arrays: it begins with something else")
        found = dict(_flat(tree))
        if len(found) > MOST_LEAVES:
            raise FormatError(f"there are more than {MOST_LEAVES:,} arrays in the file")
        return found

    def _take(self, count: int) -> bytes:
        taken = self._source.at(self._place, count)
        self._place += count
        return taken

    def _length(self, width: int) -> int:
        return int.from_bytes(self._take(width), "big")

    def _value(self, path: Path, depth: int) -> Any:
        """A dict, something found, or None."""
        self._nodes += 1
        if self._nodes > MOST_NODES:
            raise FormatError(f"there are more than {MOST_NODES:,} values in the file")
        if depth > DEEPEST:
            raise FormatError(f"{shown(path)[:60]}… is nested more than {DEEPEST} levels deep")
        first = self._take(1)[0]
        if first & 0xF0 == 0x80 or first in _MAPS:
            width = _MAPS.get(first)
            return self._map(self._length(width) if width else first & 15, path, depth)
        if first & 0xF0 == 0x90 or first in _LISTS:
            width = _LISTS.get(first)
            count = self._length(width) if width else first & 15
            return {str(n): self._value((*path, str(n)), depth + 1) for n in self._counted(count)}
        if first in _EXTS or first in _FIXED_EXTS:
            length = _FIXED_EXTS.get(first) or self._length(_EXTS[first])
            return self._ext(int.from_bytes(self._take(1), "big", signed=True), length, path)
        if first == 0xC0:  # None is a tree without leaves
            return None
        if first in (0xC2, 0xC3):
            return _Number(Leaf((), "bool"), first == 0xC3)
        number = self._number(first)
        if number is not None:
            whole = "int64" if number < 2**63 else "uint64"
            return _Number(Leaf((), "float64" if isinstance(number, float) else whole), number)
        if first & 0xE0 == 0xA0 or first in _TEXTS:
            raise FormatError(f"{shown(path)} is text; only arrays and numbers are taken")
        raise FormatError(f"{shown(path)} is neither an array nor a number (type 0x{first:02x})")

    def _counted(self, count: int) -> range:
        # each takes a byte at least: no loop is longer than the file
        if count > self._source.size - self._place:
            raise FormatError("the file is cut short")
        return range(count)

    def _map(self, count: int, path: Path, depth: int) -> Any:
        made: dict[str, Any] = {}
        for _ in self._counted(count):
            key = self._key(path)
            if key in made:
                raise FormatError(f"there are two {shown((*path, key))}")
            made[key] = self._value((*path, key), depth + 1)
        return self._whole(made, path) if CHUNKED in made else made

    def _key(self, path: Path) -> str:
        first = self._take(1)[0]
        number = self._number(first)
        if isinstance(number, int):  # Flax reads them; dicts of layers by number have them
            return str(number)
        if first & 0xE0 == 0xA0:
            length = first & 31
        elif first in _TEXTS:
            length = self._length(_TEXTS[first])
        else:
            raise FormatError(f"a key under {shown(path) or 'the root'} is not text")
        if length > LONGEST_NAME:
            raise FormatError(f"a key under {shown(path) or 'the root'} has {length:,} bytes")
        return self._text(length, path)

    def _text(self, length: int, path: Path) -> str:
        try:
            return self._take(length).decode("utf-8")
        except UnicodeDecodeError:
            raise FormatError(f"a key under {shown(path) or 'the root'} is not UTF-8") from None

    def _number(self, first: int) -> int | float | None:
        if first < 0x80:
            return first
        if first >= 0xE0:
            return first - 0x100
        if first in _NUMBERS:
            packed = _NUMBERS[first]
            return struct.unpack(packed, self._take(struct.calcsize(packed)))[0]
        return None

    def _ext(self, code: int, length: int, path: Path) -> _Found:
        end = self._place + length
        if end > self._source.size:
            raise FormatError(f"the file is cut short within {shown(path)}")
        if code in (ARRAY, SCALAR):
            made: _Found = self._array(path)
        elif code == COMPLEX:
            made = self._complex(path)
        else:
            raise FormatError(f"{shown(path)} is an extension of type {code}, which Flax has not")
        if code == SCALAR and made.leaf.shape:
            raise FormatError(f"{shown(path)} should be a single number, and is {made.leaf}")
        if self._place != end:
            raise FormatError(f"{shown(path)} has {length:,} bytes, which its parts do not fill")
        return made

    def _array(self, path: Path) -> _Stored:
        where = shown(path)
        if self._take(1)[0] != 0x93:
            raise FormatError(f"{where} is not a shape, a dtype and bytes")
        first = self._take(1)[0]
        dims = first & 15 if first & 0xF0 == 0x90 else self._length(_LISTS.get(first, 0))
        if not (first & 0xF0 == 0x90 or first in _LISTS) or dims > MOST_DIMS:
            raise FormatError(f"{where} has no shape of at most {MOST_DIMS} dims")
        shape = [self._number(self._take(1)[0]) for _ in range(dims)]
        first = self._take(1)[0]
        if first & 0xE0 != 0xA0 and first != 0xD9:
            raise FormatError(f"{where} has no dtype")
        dtype = self._take(first & 31 if first != 0xD9 else self._length(1))
        made = leaf(where, shape, dtype.decode("ascii", "replace"))
        first = self._take(1)[0]
        if first in _BLOBS:
            size = self._length(_BLOBS[first])
        elif first & 0xE0 == 0xA0 or first in _TEXTS:  # as msgpack was before it had bytes
            size = first & 31 if first & 0xE0 == 0xA0 else self._length(_TEXTS[first])
        else:
            raise FormatError(f"{where} has no bytes")
        if size != made.nbytes:
            raise FormatError(f"{where} is {made}, {made.nbytes:,} bytes, but has {size:,}")
        if self._place + size > self._source.size:
            raise FormatError(f"the file is cut short within {where}")
        self._place += size
        return _Stored(made, self._place - size)

    def _complex(self, path: Path) -> _Number:
        numbers = [self._number(self._take(1)[0]) for _ in range(2)] if self._pair() else [None]
        if any(part is None for part in numbers):
            raise FormatError(f"{shown(path)} is not a complex number")
        return _Number(Leaf((), "complex128"), complex(*numbers))

    def _pair(self) -> bool:
        return self._take(1)[0] == 0x92

    def _whole(self, parts: dict[str, Any], path: Path) -> _Pieces:
        """The array that a map of pieces stands for."""
        where = shown(path)
        pieces = _in_order(parts.get("chunks"))
        sizes = _in_order(parts.get("shape"))
        if set(parts) != {CHUNKED, "shape", "chunks"} or pieces is None or sizes is None:
            raise FormatError(f"{where} is not an array in pieces")
        if not all(isinstance(piece, _Stored) for piece in pieces) or not pieces:
            raise FormatError(f"{where} has pieces that are no arrays")
        shape = [size.value if isinstance(size, _Number) else None for size in sizes]
        made = leaf(where, shape, pieces[0].leaf.dtype)
        if any(len(p.leaf.shape) != 1 or p.leaf.dtype != made.dtype for p in pieces):
            raise FormatError(f"{where} has pieces of different kinds")
        size = sum(p.leaf.nbytes for p in pieces)
        if size != made.nbytes:
            raise FormatError(f"{where} is {made}, {made.nbytes:,} bytes; its pieces have {size:,}")
        return _Pieces(made, tuple(pieces))


def _in_order(parts: Any) -> list[Any] | None:
    """The values of a map with the keys "0", "1", …"""
    if not isinstance(parts, dict) or set(parts) != {str(n) for n in range(len(parts))}:
        return None
    return [parts[str(n)] for n in range(len(parts))]


def _flat(tree: Mapping[str, Any]) -> Iterator[tuple[Path, _Found]]:
    stack: list[tuple[Path, Any]] = [((), tree)]
    while stack:
        path, node = stack.pop()
        if isinstance(node, dict):
            stack += [((*path, name), inner) for name, inner in reversed(node.items())]
        elif node is not None:
            yield path, node


# Writing


def write(
    file: IO[bytes], leaves: Mapping[Path, Leaf], fetch: Callable[[Path], np.ndarray]
) -> None:
    """Write arrays as `flax.serialization.to_bytes` does; only one is held at a time.

    Raises:
        FormatError: two paths are in each other's way.
    """
    check_paths(leaves)
    tree: dict[str, Any] = {}
    for path in leaves:
        inner = tree
        for part in path[:-1]:
            inner = inner.setdefault(part, {})
        inner[path[-1]] = path
    _write_map(file, tree, leaves, fetch)


def _write_map(
    file: IO[bytes],
    tree: Mapping[str, Any],
    leaves: Mapping[Path, Leaf],
    fetch: Callable[[Path], np.ndarray],
) -> None:
    file.write(_sized(len(tree), 0x80, 15, {2: 0xDE, 4: 0xDF}))
    for name, node in tree.items():
        file.write(_packed_text(name))
        if isinstance(node, dict):
            _write_map(file, node, leaves, fetch)
        else:
            _write_leaf(file, leaves[node], fetch(node))


def _write_leaf(file: IO[bytes], leaf: Leaf, array: np.ndarray) -> None:
    import numpy as np

    array = np.ascontiguousarray(array).reshape(-1)
    if leaf.nbytes <= CHUNK:
        _write_array(file, leaf, array)
        return
    count = CHUNK // ITEM_SIZES[leaf.dtype]
    pieces = range(0, array.size, count)
    file.write(b"\x83" + _packed_text(CHUNKED) + b"\xc3" + _packed_text("shape"))
    file.write(_sized(len(leaf.shape), 0x80, 15, {2: 0xDE, 4: 0xDF}))
    for n, size in enumerate(leaf.shape):
        file.write(_packed_text(str(n)) + _packed_number(size))
    file.write(_packed_text("chunks") + _sized(len(pieces), 0x80, 15, {2: 0xDE, 4: 0xDF}))
    for n, start in enumerate(pieces):
        piece = array[start : start + count]
        file.write(_packed_text(str(n)))
        _write_array(file, Leaf(piece.shape, leaf.dtype), piece)


def _write_array(file: IO[bytes], leaf: Leaf, array: np.ndarray) -> None:
    import numpy as np

    head = b"\x93" + _sized(len(leaf.shape), 0x90, 15, {2: 0xDC, 4: 0xDD})
    head += b"".join(map(_packed_number, leaf.shape)) + _packed_text(leaf.dtype)
    head += _sized(leaf.nbytes, 0, -1, {1: 0xC4, 2: 0xC5, 4: 0xC6})
    length = len(head) + leaf.nbytes
    fixed = {size: first for first, size in _FIXED_EXTS.items()}
    if length in fixed:
        file.write(bytes([fixed[length], ARRAY]))
    else:
        file.write(_sized(length, 0, -1, {1: 0xC7, 2: 0xC8, 4: 0xC9}) + bytes([ARRAY]))
    file.write(head)
    file.write(array.view(np.uint8).data)


def _sized(size: int, fixed: int, most: int, firsts: Mapping[int, int]) -> bytes:
    """The first byte and the size of a value; up to `most` the size is in the first byte."""
    if size <= most:
        return bytes([fixed | size])
    width = next(width for width in firsts if size < 1 << 8 * width)
    return bytes([firsts[width]]) + size.to_bytes(width, "big")


def _packed_text(text: str) -> bytes:
    raw = text.encode("utf-8")
    return _sized(len(raw), 0xA0, 31, {1: 0xD9, 2: 0xDA, 4: 0xDB}) + raw


def _packed_number(number: int) -> bytes:
    """A number from 0 on."""
    if number < 0x80:
        return bytes([number])
    packed = next(p for p in (0xCC, 0xCD, 0xCE, 0xCF) if number < 1 << 8 * (1 << (p - 0xCC)))
    return bytes([packed]) + struct.pack(_NUMBERS[packed], number)
