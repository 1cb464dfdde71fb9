"""Numpy's `.npz` files: a zip of arrays by name. No objects, nothing that numpy would unpickle."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path as File
from typing import IO, TYPE_CHECKING, Any

from .common import FormatError, Leaf, Path, Weights, joined, leaf, numpy_dtype, parted, shown

if TYPE_CHECKING:
    import numpy as np

_EXPANSION = 1040  # deflate makes no more of a byte
_DATE = (1980, 1, 1, 0, 0, 0)  # the same arrays make the same file


def weights(file: File) -> Weights:
    """The arrays of a `.npz` file; names are parted at slashes or dots.

    Raises:
        FormatError: it is none, is damaged, or holds what is no array of numbers.
    """
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise FormatError(f"{file} is not a .npz file: {error}") from None
    members = archive.infolist()
    names = [member.filename for member in members]
    if any(name.startswith("archive/") or name.endswith("data.pkl") for name in names):
        raise FormatError(
            f"{file} is a file of PyTorch, which holds a pickle",
            code="unknown-format",
            help="there: safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')",
        )
    strange = [name for name in names if not name.endswith(".npy")]
    if strange:
        raise FormatError(f"{file} is a zip, but holds {strange[0]!r:.60}, which is no array")
    paths = parted([name.removesuffix(".npy") for name in names])
    found: dict[Path, tuple[Leaf, Any, zipfile.ZipInfo]] = {}
    for member in members:
        path = paths[member.filename.removesuffix(".npy")]
        with _telling(file, path), archive.open(member) as stream:
            found[path] = (*_header(stream, member, shown(path)), member)

    def fetch(path: Path) -> np.ndarray:
        import numpy as np

        described, (dtype, fortran), member = found[path]
        with _telling(file, path), archive.open(member) as stream:
            _read_header(stream)
            shape = described.shape[::-1] if fortran else described.shape
            made = np.empty(shape, dtype)
            view, done = made.reshape(-1).view(np.uint8).data, 0
            while done < len(view):
                part = stream.read(min(1 << 20, len(view) - done))
                if not part:
                    raise EOFError("it is cut short")
                view[done : done + len(part)] = part
                done += len(part)
            stream.read(1)  # at its end the checksum is compared
        made = made.T if fortran else made
        return np.ascontiguousarray(made, numpy_dtype(described.dtype)).reshape(described.shape)

    return Weights("npz", str(file), {path: found[path][0] for path in found}, fetch)


@contextlib.contextmanager
def _telling(file: File, path: Path) -> Iterator[None]:
    """Whatever numpy and zipfile raise on damage, as a FormatError that names the array."""
    try:
        yield
    except (FormatError, OSError, MemoryError):
        raise
    except Exception as error:  # of zipfile, zlib, ast, tokenize, numpy
        raise FormatError(f"{shown(path)} in {file} cannot be read: {error}") from None


def _read_header(stream: IO[bytes]) -> tuple[Any, bool, Any]:
    """(shape, whether in Fortran's order, dtype)"""
    from numpy.lib import format as npy

    version = npy.read_magic(stream)
    if version == (1, 0):
        return npy.read_array_header_1_0(stream)
    if version == (2, 0):
        return npy.read_array_header_2_0(stream)
    raise ValueError(f"version {version} of .npy is not known")


def _header(stream: Any, member: zipfile.ZipInfo, where: str) -> tuple[Leaf, Any]:
    shape, fortran, dtype = _read_header(stream)
    if dtype.hasobject:
        raise ValueError("it holds objects of Python, not numbers")
    if dtype.kind == "V":
        raise FormatError(
            f"{where} has lost its dtype: .npz files know none of bfloat16 and float8",
            help="write it as safetensors, where it was made",
        )
    described = leaf(where, shape, dtype.name)
    if member.file_size - stream.tell() != described.nbytes:
        raise ValueError(f"it is {described}, but has another number of bytes")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError("it is compressed in a way that numpy does not use")
    if member.file_size > _EXPANSION * (member.compress_size + 1):
        raise ValueError("it claims to be larger than what is there can be")
    return described, (dtype, fortran)


def write(
    file: IO[bytes], leaves: Mapping[Path, Leaf], fetch: Callable[[Path], np.ndarray]
) -> None:
    """Write arrays under their names, parted by dots; only one is held at a time.

    Raises:
        FormatError: the format has no such dtype.
    """
    from numpy.lib import format as npy

    for path, described in leaves.items():
        if numpy_dtype(described.dtype).kind == "V" or described.dtype not in _KNOWN:
            raise FormatError(
                f".npz files cannot hold {shown(path)}, which is {described}",
                code="no-such-dtype",
                help="safetensors or msgpack hold it; or add --dtype float32",
            )
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for path in leaves:
            member = zipfile.ZipInfo(joined(path) + ".npy", _DATE)
            with archive.open(member, "w", force_zip64=True) as stream:
                npy.write_array(stream, fetch(path), allow_pickle=False)


_KNOWN = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
)
