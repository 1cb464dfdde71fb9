"""Writing weights into a file of another format, whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path as File
from typing import IO, TYPE_CHECKING

from ..ir.diagnostics import nearest
from . import msgpack, npz, safetensors
from .common import FormatError, Leaf, Path, Weights, numpy_dtype, shown

if TYPE_CHECKING:
    import numpy as np

Writer = Callable[..., None]
WRITERS: dict[str, Writer] = {
    ".safetensors": safetensors.write,
    ".msgpack": msgpack.write,
    ".npz": npz.write,
}
FLOATS = ("float16", "bfloat16", "float32", "float64")


def chosen(weights: Weights, only: Sequence[Path]) -> Weights:
    """The part of the weights at or below some paths. A single path becomes the root.

    Raises:
        FormatError: there is nothing at a path.
    """
    for path in only:
        if not weights.below(path):
            inner = {leaf[:n] for leaf in weights.leaves for n in range(1, len(leaf) + 1)}
            close = nearest(shown(path), map(shown, sorted(inner)))
            tops = ", ".join(dict.fromkeys(shown(leaf[:1]) for leaf in weights.leaves))
            raise FormatError(
                f"{weights.name} has no {shown(path)}",
                f"at its root: {tops}",
                code="no-such-path",
                help=f"did you mean {close[0]}?" if close else "",
            )
    part = weights.part(only)
    if len(only) != 1:
        return part
    cut = len(only[0])
    places = {(leaf[cut:] or leaf[-1:]): leaf for leaf in part.leaves}
    leaves = {path: part.leaves[source] for path, source in places.items()}
    return replace(part, leaves=leaves, fetch=lambda path: weights.read(places[path]))


def cast(weights: Weights, dtype: str) -> Weights:
    """The same with every array of floating point numbers in another dtype, rounded to nearest."""

    def one(leaf: Leaf) -> Leaf:
        return Leaf(leaf.shape, dtype) if _is_float(leaf.dtype) else leaf

    def read(path: Path) -> np.ndarray:
        return weights.read(path).astype(numpy_dtype(leaves[path].dtype))

    leaves = {path: one(leaf) for path, leaf in weights.leaves.items()}
    return replace(weights, leaves=leaves, fetch=read)


def writer(target: File) -> Writer:
    """What writes the format that a file's name ends in.

    Raises:
        FormatError: it ends in none that is written.
    """
    if target.suffix in WRITERS:
        return WRITERS[target.suffix]
    if target.suffix in (".pkl", ".pickle"):
        raise FormatError(
            f"{target}: pickles are not written; whoever loads one runs what is in it",
            code="unknown-format",
            help=f"{target.with_suffix('.npz')}, for numpy.load",
        )
    raise FormatError(
        f"{target}: the name says no format that is written",
        f"known: {', '.join(WRITERS)}",
        code="unknown-format",
        help=f"{target}.safetensors",
    )


def export(weights: Weights, target: File) -> int:
    """Write weights into a new file, in the format that its name ends in; its size in bytes.

    Raises:
        FormatError: the file is there already, or the format cannot hold the weights.
        OSError: it cannot be written.
    """
    write = writer(target)
    with replacing(target) as file:
        write(file, weights.leaves, weights.read)
        return file.tell()


@contextlib.contextmanager
def replacing(target: File) -> Iterator[IO[bytes]]:
    """A file that comes to be under its name when all is written and on the disk.

    Raises:
        FormatError: there is something under that name.
    """
    if target.exists() or target.is_symlink():
        raise FormatError(
            f"{target} is there already",
            "nothing is ever overwritten",
            code="file-exists",
            help="name another file, or move that one away",
        )
    partial = target.with_name(f".{target.name[:200]}.{os.getpid()}.partial")
    try:
        with partial.open("x+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.rename(partial, target)
    except OSError as error:
        error.filename = str(target)  # what the caller has asked for
        raise
    finally:
        partial.unlink(missing_ok=True)
    _sync(target.parent)


def _sync(folder: File) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _is_float(name: str) -> bool:
    return name in FLOATS or name.startswith(("float8", "float4"))
