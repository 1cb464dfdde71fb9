"""Safetensors files: one header, then the raw little-endian data of the arrays.

The format is eight bytes of header length, a JSON header, and the data. It is read and written here
rather than by the safetensors library because that library (0.8) stores arrays that are not
C-contiguous wrongly without a word, neither syncs the file nor gives it ordinary access rights,
keeps no checksums, and wants all arrays in memory at once. Any safetensors reader reads the result.

Checksums are CRC-32, taken of the buffer in memory, on another thread while that is being written;
a third one has what is written go to the disk meanwhile, which else would be idle till the end.
Files are read by pread and never mapped: a file cut short under a map would kill the process.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import stat
import zlib
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import ml_dtypes
import numpy as np

CODES = {
    "bool": "BOOL",
    "int8": "I8",
    "int16": "I16",
    "int32": "I32",
    "int64": "I64",
    "uint8": "U8",
    "uint16": "U16",
    "uint32": "U32",
    "uint64": "U64",
    "float16": "F16",
    "bfloat16": "BF16",
    "float32": "F32",
    "float64": "F64",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
}
_NAMES = {code: name for name, code in CODES.items()}
_COMPLEX = {"complex64": "float32", "complex128": "float64"}
_UNSIGNED = {1: "uint8", 2: "uint16", 4: "uint32", 8: "uint64"}
_OTHERS = {  # that numpy knows only through the package that JAX brings along
    name: np.dtype(found)
    for name, found in vars(ml_dtypes).items()
    if isinstance(found, type) and issubclass(found, np.generic)
}
_DTYPES = {name: _OTHERS.get(name) or np.dtype(name) for name in {*CODES, *_COMPLEX, *_OTHERS}}

CHUNK = 1 << 20  # bytes that are summed at a time
PIECE = (
    16 << 20
)  # bytes that are read at a time, or written between looks at whether the disk is idle
ALIGNMENT = 64  # of what is read: JAX takes such arrays on a CPU as they are
MOST_HEADER = 100 << 20  # bytes; what the format allows
MOST_DIMS = 64  # as many as numpy has


class Broken(Exception):
    """A file does not hold what was written to it."""


@dataclass(frozen=True)
class Stored:
    """Where an array lies in a file: its dtype there, its shape, and its bytes from the start."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def dtype(name: str) -> np.dtype:
    """The dtype of a name. KeyError if arrays of it cannot be stored."""
    return _DTYPES[name]


def known(name: str) -> bool:
    """Whether arrays of a dtype can be stored."""
    return name in _DTYPES


def storage(name: str) -> str:
    """The dtype in which arrays of a dtype are stored: itself wherever safetensors has it.

    A complex number is stored as two floats in a last dim, any other as the unsigned integer of
    the same bits.
    """
    if name in CODES:
        return name
    return _COMPLEX.get(name) or _UNSIGNED[dtype(name).itemsize]


def stored_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in which arrays of a dtype are stored."""
    return (*shape, 2) if name in _COMPLEX else shape


def nbytes(name: str, shape: Iterable[int]) -> int:
    """How many bytes an array has."""
    return math.prod(shape) * dtype(name).itemsize


def write(path: Path, arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, int], int, int]:
    """Write arrays by name, and sync the file.

    Returns the CRC-32 of each array and of the header, and the size of the file in bytes.
    """
    header, offset = {}, 0
    for name, array in arrays.items():
        kept = str(array.dtype)
        shape, end = stored_shape(kept, array.shape), offset + array.nbytes
        code = CODES[storage(kept)]
        header[name] = {"dtype": code, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the data is aligned
    head = len(text).to_bytes(8, "little") + text
    size = len(head) + offset
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        write_all(handle, memoryview(head))
        sums: dict[str, Future[int]] = {}
        with ThreadPoolExecutor(1, "sum") as other, ThreadPoolExecutor(1, "sync") as disk:
            syncing: list[Future[None]] = []
            unsynced = 0
            for name, array in arrays.items():
                data = _bytes(array)
                sums[name] = other.submit(_crc32, data)
                for at in range(0, len(data), PIECE):
                    piece = data[at : at + PIECE]
                    write_all(handle, piece)
                    unsynced += len(piece)
                    if unsynced >= PIECE and all(done.done() for done in syncing):
                        syncing.append(disk.submit(os.fdatasync, handle))
                        unsynced = 0
            for done in syncing:
                done.result()  # an error is told once: that of the last call may not be all
            os.fsync(handle)
            return {name: total.result() for name, total in sums.items()}, zlib.crc32(head), size
    finally:
        os.close(handle)


class Reader:
    """A safetensors file that is open for reading: what it says of its arrays, and their data.

    `arrays` has them by name, `header_crc32` is the sum of all before the data, `size` the size of
    the file in bytes. Broken if the file cannot be read, is no plain file, or has a header that
    does not describe its data without gap or overlap. Threads may share it.
    """

    def __init__(self, path: Path):
        self.name = path.name
        self._handle = open_to_read(path)
        try:
            self.size = os.fstat(self._handle).st_size
            head = self._pread(8, 0)
            length = int.from_bytes(head, "little")
            if len(head) < 8 or length > min(self.size - 8, MOST_HEADER):
                raise Broken(f"{self.name} is cut short or has a damaged header")
            text = self._pread(length, 8)
            self.header_crc32 = zlib.crc32(text, zlib.crc32(head))
            self._data = 8 + length
            self.arrays = parse_header(self.name, text, self.size - self._data)
        except BaseException:
            os.close(self._handle)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)

    def read(self, name: str, kept: str | None = None) -> tuple[np.ndarray, int]:
        """An array, as one of the dtype `kept` if it is stored as another, and its CRC-32."""
        found = self.arrays[name]
        shape = found.shape[:-1] if kept in _COMPLEX else found.shape
        array = _aligned(shape, dtype(kept or found.dtype))
        data, total = _bytes(array), 0
        for at in range(0, len(data), PIECE):
            part = data[at : at + PIECE]
            self._fill(part, found.start + at)
            total = _crc32(part, total)
        return array, total

    def crc32(self, name: str) -> int:
        """The CRC-32 of an array, which is not kept in memory."""
        found, total = self.arrays[name], 0
        buffer = memoryview(bytearray(min(CHUNK, found.end - found.start)))
        for at in range(found.start, found.end, CHUNK):
            part = buffer[: found.end - at]
            self._fill(part, at)
            total = zlib.crc32(part, total)
        return total

    def forget(self) -> None:
        """Have the file read from the disk again, and not from memory."""
        os.posix_fadvise(self._handle, 0, 0, os.POSIX_FADV_DONTNEED)

    def _fill(self, part: memoryview, at: int) -> None:
        while len(part):
            try:
                count = os.preadv(self._handle, [part], self._data + at)
            except OSError as error:
                raise Broken(f"{self.name} cannot be read: {error.strerror}") from None
            if not count:
                raise Broken(f"{self.name} is cut short")
            part, at = part[count:], at + count

    def _pread(self, count: int, at: int) -> bytes:
        try:
            return os.pread(self._handle, count, at)
        except OSError as error:
            raise Broken(f"{self.name} cannot be read: {error.strerror}") from None


def open_to_read(path: Path) -> int:
    """A handle of a plain file. Broken if it is anything else, such as a link or a pipe."""
    try:
        # NONBLOCK: a pipe under the name of a file must not have us wait for its writer
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise Broken(f"{path.name} cannot be read: {reason}") from None
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return handle
    os.close(handle)
    raise Broken(f"{path.name} is not a plain file")


def loads(text: bytes, name: str) -> Any:
    """JSON as it stands in files of ours: no key twice, no NaN. Broken if it is anything else."""
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise Broken(f"{name} has a damaged header ({error})") from None


def write_all(handle: int, data: memoryview) -> None:
    """Write all of a buffer to an open file."""
    while len(data):
        data = data[os.write(handle, data) :]


def sync(file: Any) -> None:
    """Have all that was written to an open file on the disk."""
    file.flush()
    os.fsync(file.fileno())


def parse_header(file: str, text: bytes, data: int) -> dict[str, Stored]:
    """The arrays of a header before so many bytes of data. Broken if they do not fill these."""
    header = loads(text, file)
    if not isinstance(header, dict):
        raise Broken(f"{file} has a damaged header")
    header.pop("__metadata__", None)
    arrays = {name: _stored(file, entry) for name, entry in header.items()}
    end = 0
    for found in sorted(arrays.values(), key=lambda a: (a.start, a.end)):
        if found.start != end:
            raise Broken(f"{file} has a damaged header: its arrays overlap or leave gaps")
        end = found.end
    if end != data:
        raise Broken(f"{file} is cut short or has a damaged header")
    return arrays


def _stored(file: str, entry: Any) -> Stored:
    damaged = Broken(f"{file} has a damaged header")
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise damaged
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(code, str) or code not in _NAMES:
        raise damaged
    if not is_shape(shape) or not is_shape(offsets) or len(offsets) != 2:
        raise damaged
    if offsets[1] - offsets[0] != nbytes(_NAMES[code], shape):
        raise damaged
    return Stored(_NAMES[code], tuple(shape), *offsets)


def is_shape(value: Any) -> bool:
    """Whether a value out of JSON is a list of sizes."""
    if not isinstance(value, list) or len(value) > MOST_DIMS:
        return False
    return all(type(n) is int and 0 <= n < 2**63 for n in value)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number of JSON")


def _bytes(array: np.ndarray) -> memoryview:
    if not array.flags.c_contiguous:
        array = np.ascontiguousarray(array)
    return array.reshape(-1).view(np.uint8).data


def _crc32(data: memoryview, total: int = 0) -> int:
    for at in range(0, len(data), CHUNK):
        total = zlib.crc32(data[at : at + CHUNK], total)
    return total


def _aligned(shape: tuple[int, ...], kind: np.dtype) -> np.ndarray:
    size = math.prod(shape) * kind.itemsize
    if size >= CHUNK:
        # numpy asks for huge pages, which take virtual machines longer to give than all the rest;
        # what is shared, as mmap has it by default, takes longer too
        private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        buffer = np.frombuffer(mmap.mmap(-1, size, flags=private), np.uint8)
    else:
        buffer = np.empty(size + ALIGNMENT, np.uint8)
    start = -buffer.ctypes.data % ALIGNMENT
    return buffer[start : start + size].view(kind).reshape(shape)
