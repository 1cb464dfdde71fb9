"""Which format a file or folder has, told by what is in it and not by its name."""

from __future__ import annotations

import re
from pathlib import Path as File
from typing import TYPE_CHECKING

from ..ir.diagnostics import nearest
from . import archive, msgpack, npz, orbax, pickles, safetensors
from .common import FormatError, Leaf, Opened, Path, Weights

if TYPE_CHECKING:
    import numpy as np

CHECKPOINTS = "checkpoints"  # in the folder of a run
MANIFEST = "manifest.json"

# Formats that are known and not read: how they begin, what they are, what to do.
_OTHERS = (
    (b"\x89HDF\r\n\x1a\n", "HDF5, as Keras writes it", "write the arrays with numpy.savez"),
    (b"\x93NUMPY", "a single array of numpy", "write it with numpy.savez, under its name"),
    (b"GGUF", "GGUF", "take the safetensors that it was made from"),
    (b"\x1f\x8b", "compressed by gzip", "gunzip it first"),
)


_PICKLES = [bytes([0x80, protocol]) for protocol in range(2, 6)]


def open_weights(path: str | File, *, allow_pickle: bool = False) -> Weights:
    """The arrays of a file or folder of any format that is read.

    Args:
        path: a checkpoint or run of ours (then its newest whole checkpoint is taken), a folder of
            Orbax, or a file: safetensors, msgpack, npz, pickle.
        allow_pickle: whether a pickle is read, in a process of its own.

    Raises:
        FormatError: there is nothing there, it is of no known format, or damaged.
        OSError: it cannot be read.
    """
    path = File(path)
    if not path.exists():
        raise missing(path)
    return _folder(path) if path.is_dir() else _file(path, allow_pickle)


def _file(path: File, allow_pickle: bool) -> Weights:
    with path.open("rb") as file:
        start = file.read(16)
    if not start:
        raise FormatError(f"{path} is empty")
    if start[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return npz.weights(path)
    if start[8:9] == b"{" or path.suffix == ".safetensors":
        return safetensors.weights(path)
    # The oldest two protocols begin in no way of their own.
    if start[:2] in _PICKLES or path.suffix in (".pkl", ".pickle"):
        if not allow_pickle:
            raise FormatError(
                f"{path} is a pickle",
                "a pickle is a program: loaded as usual, it does whatever its author wants",
                code="pickle-not-allowed",
                help="--allow-pickle takes its arrays, and nothing else, in a process of its own",
            )
        return pickles.weights(path)
    if start.startswith(archive.MAGIC) or path.name.endswith(archive.SUFFIXES):
        raise FormatError(
            f"{path} is an archive",
            code="archive",
            help=f"netwright ckpt archive --extract {path}",
        )
    for begins, kind, help in _OTHERS:
        if start.startswith(begins):
            raise FormatError(
                f"{path} is {kind}, which is not read", code="unknown-format", help=help
            )
    if start[0] & 0xF0 == 0x80 or start[0] in (0xDE, 0xDF) or path.suffix == ".msgpack":
        try:
            return msgpack.weights(Opened(path), str(path))
        except FormatError as error:
            reason = error.diagnostics[0].message
            raise FormatError(f"{path} is no msgpack file of arrays: {reason}") from None
    raise FormatError(
        f"{path} is of no format that is known here",
        "known: checkpoints and runs of Netwright, safetensors, msgpack, npz, pickle, Orbax",
        code="unknown-format",
    )


def _folder(path: File) -> Weights:
    if is_checkpoint(path) or checkpoints_of(path) is not None:
        return checkpoint(checkpoint_path(path))
    found = orbax.tree_folder(path)
    if found is not None:
        return orbax.weights(found)
    of_flax = [p for p in path.iterdir() if re.fullmatch(r"checkpoint_\d+", p.name)]
    if of_flax:  # as flax.training.checkpoints writes them without Orbax
        return _file(max(of_flax, key=lambda p: int(p.name.rpartition("_")[2])), False)
    raise _no_checkpoint(path)


def is_checkpoint(path: File) -> bool:
    """Whether a path is a checkpoint of ours."""
    return (path / MANIFEST).exists() or (path.is_dir() and path.name.startswith("step-"))


def checkpoints_of(path: File) -> File | None:
    """The folder with checkpoints that a path has or is; None if it is no run.

    Raises:
        FormatError: it is a run without any.
    """
    if (path / CHECKPOINTS).is_dir():
        path = path / CHECKPOINTS
    elif not any(path.glob("step-*")):
        if (path / "program").is_dir():
            raise FormatError(f"the run {path} has no checkpoint yet", code="no-checkpoint")
        return None
    if not any(path.glob("step-*")):
        raise FormatError(f"there is no checkpoint in {path}", code="no-checkpoint")
    return path


def checkpoint_path(path: File) -> File:
    """The checkpoint that a path is, or the newest of the run that it is.

    Raises:
        FormatError: it is neither.
    """
    from ..runtime.checkpoint import steps

    if not path.exists():
        raise missing(path)
    if is_checkpoint(path):
        return path
    folder = checkpoints_of(path) if path.is_dir() else None
    if folder is None:
        raise _no_checkpoint(path)
    return max(steps(folder).items())[1]


def checkpoint(path: File) -> Weights:
    """The arrays of a checkpoint of ours; each is checked when it is read.

    Raises:
        FormatError: it is damaged, or of a newer format.
    """
    from ..runtime.checkpoint import Broken, open_checkpoint
    from ..runtime.errors import RunError

    try:
        found = open_checkpoint(path)
    except (Broken, RunError) as error:
        raise FormatError(f"{path}: {error}") from None

    def fetch(leaf: Path) -> np.ndarray:
        try:
            return found.read(leaf)
        except Broken as error:
            raise FormatError(f"{path}: {error}") from None

    leaves = {name: Leaf(leaf.shape, leaf.dtype) for name, leaf in found.leaves.items()}
    kept = found.manifest
    about = {"format": kept.format, "step": kept.step, "about": dict(kept.about)}
    return Weights("netwright", str(path), leaves, fetch, about)


def missing(path: File) -> FormatError:
    """That there is nothing under a name, and what may be meant."""
    beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    close = nearest(path.name, beside)
    return FormatError(
        f"there is no {path}",
        code="no-such-file",
        help=f"did you mean {path.parent / close[0]}?" if close else "",
    )


def _no_checkpoint(path: File) -> FormatError:
    return FormatError(
        f"{path} is neither a run nor a checkpoint",
        "known: runs and checkpoints of Netwright, checkpoints of Orbax",
        code="no-checkpoint",
        help="name the folder that `netwright train` made, or one of its checkpoints/step-…",
    )
