"""Safetensors files of others, and ours for others. The runtime reads and describes them."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path as File
from typing import IO, TYPE_CHECKING

from .common import FormatError, Leaf, Path, Weights, joined, leaf, numpy_dtype, parted, shown

if TYPE_CHECKING:
    import numpy as np


def weights(file: File) -> Weights:
    """The arrays of a safetensors file; names are parted at slashes or dots.

    Raises:
        FormatError: it is none, or is damaged.
    """
    from ..runtime.tensors import Broken, Reader

    # Resolved: the caches of hubs are full of links, and the reader follows none.
    try:
        reader = Reader(file.resolve())
    except Broken as error:
        raise FormatError(f"{file}: {error}") from None
    paths = parted(list(reader.arrays))
    names = {path: name for name, path in paths.items()}
    leaves = {
        path: leaf(f"{shown(path)} in {file}", found.shape, found.dtype)
        for path, found in ((paths[name], reader.arrays[name]) for name in paths)
    }

    def fetch(path: Path) -> np.ndarray:
        try:
            return reader.read(names[path])[0]
        except Broken as error:
            raise FormatError(f"{file}: {error}") from None

    weakref.finalize(fetch, reader.__exit__)  # closed when nobody can read any more
    return Weights("safetensors", str(file), leaves, fetch)


def write(
    file: IO[bytes], leaves: Mapping[Path, Leaf], fetch: Callable[[Path], np.ndarray]
) -> None:
    """Write arrays under their names, parted by dots; only one is held at a time.

    Raises:
        FormatError: the format has no such dtype.
    """
    import numpy as np

    from ..runtime.tensors import CODES

    header, offset = {}, 0
    for path, described in leaves.items():
        if described.dtype not in CODES:
            raise FormatError(
                f"safetensors files cannot hold {shown(path)}, which is {described}",
                code="no-such-dtype",
                help="msgpack holds it; or add --dtype float32",
            )
        end = offset + described.nbytes
        header[joined(path)] = {
            "dtype": CODES[described.dtype],
            "shape": list(described.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the data is aligned
    file.write(len(text).to_bytes(8, "little") + text)
    for path, described in leaves.items():
        array = np.ascontiguousarray(fetch(path), numpy_dtype(described.dtype))
        file.write(array.reshape(-1).view(np.uint8).data)
