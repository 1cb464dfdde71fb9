"""Pickles of arrays, read by `pickle_child.py` in a process that can do nothing else.

That process is not believed either: what it says is checked like any other file.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path as File
from typing import TYPE_CHECKING, Any

from .common import Bytes, FormatError, Leaf, Path, Weights, check_paths, filled, leaf, shown
from .pickle_child import REFUSED

if TYPE_CHECKING:
    import numpy as np

_CHILD = File(__file__).with_name("pickle_child.py")
_ENTRY = {"path", "shape", "dtype", "fortran", "big", "start", "size"}


def weights(file: File) -> Weights:
    """The arrays of a pickle: nested dicts and lists of arrays of numpy or JAX, and numbers.

    Raises:
        FormatError: it holds anything else, is damaged, or takes too much time or memory.
    """
    out = tempfile.TemporaryFile()  # noqa: SIM115  it is read as long as the weights are
    with file.open("rb") as source:
        size = os.fstat(source.fileno()).st_size
        try:
            done = subprocess.run(
                [sys.executable, "-I", "-S", str(_CHILD), str(size)],
                stdin=source,
                stdout=out,
                stderr=subprocess.PIPE,
                timeout=60 + size // 5_000_000,
                env={},
                cwd="/",
            )
        except subprocess.TimeoutExpired:
            raise _refused(file, "it takes longer than a file of its size may") from None
    if done.returncode:
        raise _refused(file, _reason(done))
    return _listed(file, out)


def _reason(done: subprocess.CompletedProcess[bytes]) -> str:
    if done.returncode == REFUSED:
        try:
            return str(json.loads(done.stderr.splitlines()[-1]))
        except (ValueError, IndexError):
            pass
    if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        return "it takes more time or memory than a file of its size may"
    return "it makes the process that reads it fail"


def _refused(file: File, reason: str) -> FormatError:
    clean = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in reason)
    return FormatError(
        f"{file} is not a pickle of arrays: {clean}",
        "nested dicts and lists of arrays and numbers are taken, and nothing else",
        code="refused-pickle",
        help="write it again as safetensors, where it was made",
    )


def _listed(file: File, out: Any) -> Weights:
    source = Bytes(out.fileno(), os.fstat(out.fileno()).st_size)
    length = int.from_bytes(source.at(0, 8), "little")
    entries = json.loads(source.at(8, length))
    found: dict[Path, tuple[Leaf, dict[str, Any]]] = {}
    for entry in entries:
        if set(entry) != _ENTRY:
            raise FormatError(f"{file} cannot be read")
        path = tuple(map(str, entry["path"]))
        described = leaf(f"{shown(path)} in {file}", entry["shape"], entry["dtype"])
        if entry["size"] != described.nbytes:
            size = f"{described.nbytes:,} bytes, but has {entry['size']:,}"
            raise FormatError(f"{shown(path)} in {file} is {described}, {size}")
        if path in found:
            raise FormatError(f"there are two arrays {shown(path)} in {file}")
        found[path] = described, entry
    check_paths(found)

    def fetch(path: Path) -> np.ndarray:
        described, entry = found[path]
        start, _ = 8 + length + entry["start"], out  # the file is open as long as this is
        if not entry["fortran"]:
            made = filled(described, source, start)
        else:
            turned = Leaf(described.shape[::-1], described.dtype)
            made = filled(turned, source, start).T.copy(order="C")
        return made.byteswap() if entry["big"] else made

    if () in found:
        raise FormatError(f"{file} is one array; a tree of arrays is expected")
    return Weights("pickle", str(file), {path: found[path][0] for path in found}, fetch)
