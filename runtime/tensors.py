"""Reading and writing arrays as a safetensors file, one at a time, with a checksum of each.

The format is eight bytes of header length, a JSON header, and the raw little-endian data. It is
written here rather than by the safetensors library because that library (0.8) stores arrays that
are not C-contiguous wrongly without a word, neither syncs the file nor gives it ordinary access
rights, keeps no checksums, and wants all arrays in memory at once. Any safetensors reader reads
the result.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

_CODES = {
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
_NAMES = {code: name for name, code in _CODES.items()}


class Broken(Exception):
    """A file does not hold what was written to it."""


def write(
    path: Path,
    shapes: Mapping[str, tuple[tuple[int, ...], str]],
    fetch: Callable[[str], Any],
) -> dict[str, int]:
    """Write one array for each name of `shapes` (name -> (shape, dtype)) and sync the file.

    `fetch(name)` gives the array; only one is held at a time. Returns the CRC-32 of each.
    """
    header, offset = {}, 0
    for name, (shape, dtype) in shapes.items():
        end = offset + int(np.prod(shape, dtype=np.int64)) * _dtype(dtype).itemsize
        header[name] = {
            "dtype": _CODES[dtype],
            "shape": list(shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the data is aligned
    sums = {}
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for name, (shape, dtype) in shapes.items():
            array = np.ascontiguousarray(fetch(name)).reshape(shape)  # ascontiguous makes 0-d 1-d
            if array.dtype != _dtype(dtype):
                raise TypeError(f"{name} is {array.dtype}, not {dtype}")
            data = array.reshape(-1).view(np.uint8).data
            sums[name] = zlib.crc32(data)
            file.write(data)
        sync(file)
    return sums


def read(path: Path, sums: Mapping[str, int]) -> dict[str, np.ndarray]:
    """The arrays named in `sums`, each checked against its CRC-32. Broken if anything is off.

    Plain reads, no memory map: a file cut short under a map would kill the process.
    """
    arrays = {}
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            if length > size:
                raise Broken(f"{path.name} has a damaged header")
            header = json.loads(file.read(length))
            for name, expected in sums.items():
                entry = header[name]
                start, end = entry["data_offsets"]
                if not 0 <= start <= end <= size - 8 - length:
                    raise Broken(f"{path.name} is cut short or has a damaged header")
                file.seek(8 + length + start)
                data = file.read(end - start)
                if zlib.crc32(data) != expected:
                    raise Broken(f"the data of {name} has changed since it was written")
                dtype = _dtype(_NAMES[entry["dtype"]])
                arrays[name] = np.frombuffer(data, dtype).reshape(entry["shape"])
    except OSError as error:
        raise Broken(f"{path.name} cannot be read: {error.strerror}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise Broken(f"{path.name} has a damaged header ({error!r})") from None
    return arrays


def sync(file: Any) -> None:
    """Have all that was written to an open file on the disk."""
    file.flush()
    os.fsync(file.fileno())


def _dtype(name: str) -> np.dtype:
    # numpy knows bfloat16 and float8 only through the package that JAX brings along
    return np.dtype(getattr(ml_dtypes, name, name))
