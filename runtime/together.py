"""One checkpoint written by several processes, each what lies on its own devices.

All write into the same hidden folder of a disk that they share. Each leaves a part of the manifest
beside its file; the first process waits for all parts, checks that together they cover every leaf
once, and makes the folder a checkpoint. No collectives are run, so a thread can do this while
training goes on.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from . import manifest as manifests
from .commit import NotWritten, write_file
from .errors import RunError
from .manifest import Leaf, Manifest
from .stream import of_all
from .tensors import Broken

PATIENCE = 600.0  # seconds that a process waits for the others
PAUSE = 0.02


@dataclass(frozen=True)
class Group:
    """The processes that save together.

    Attributes:
        process, count: the number of this one, and how many there are.
        attempt: a word that they share with each other, and with no earlier attempt.
    """

    process: int = 0
    count: int = 1
    attempt: str = ""


def group() -> Group:
    """The processes that JAX runs on. All must call this at the same time."""
    if jax.process_count() == 1:
        return Group()
    from jax.experimental import multihost_utils

    drawn = np.frombuffer(os.urandom(4), np.uint32)
    shared = multihost_utils.broadcast_one_to_all(drawn)
    return Group(jax.process_index(), jax.process_count(), f"-{int(shared[0]):08x}")


def agreed(answer: bool) -> bool:
    """Whether all processes say yes. All must call this at the same time."""
    if jax.process_count() == 1:
        return answer
    from jax.experimental import multihost_utils

    return bool(multihost_utils.process_allgather(np.array([answer])).all())


def check_shared(folder: Path) -> None:
    """RunError unless all processes see the same folder. All must call this at the same time."""
    all_of_them = group()
    if all_of_them.count == 1:
        return
    mark = folder / f".shared{all_of_them.attempt}"
    written = True
    if all_of_them.process == 0:
        try:
            mark.touch()
        except OSError:
            written = False
    written = agreed(written)  # before anyone looks
    seen = agreed(not written or mark.exists())
    if all_of_them.process == 0:
        mark.unlink(missing_ok=True)
    if not seen:
        raise RunError(
            f"the folder {folder} is not the same one for all processes.\n"
            "It must lie on a disk that all of them share."
        )


def leave(folder: Path, group: Group, part: Manifest) -> None:
    """Leave this process's part of the manifest for the first process."""
    name = _part(group.process)
    write_file(folder / f".{name}", manifests.encode(part))
    os.rename(folder / f".{name}", folder / name)


def gather(folder: Path, group: Group) -> Manifest:
    """The manifest of all parts, once they are there. NotWritten if a process failed."""
    parts: list[Manifest] = []
    for process in range(group.count):
        path = folder / _part(process)
        _wait(path.exists, folder, group)
        parts.append(manifests.decode(path.read_bytes(), str(path), part=True))
        os.unlink(path)
    leaves = [_joined(same) for same in zip(*(part.leaves for part in parts), strict=True)]
    files = {name: file for part in parts for name, file in part.files.items()}
    return replace(parts[0], leaves=tuple(leaves), files=files, about=_about(parts))


def give_up(folder: Path, group: Group) -> None:
    """Tell the others that this process could not write its part."""
    with contextlib.suppress(OSError):  # then they wait until they lose patience
        os.close(os.open(folder / _failed(group.process), os.O_WRONLY | os.O_CREAT, 0o666))


def follow(folder: Path, target: Path, group: Group) -> None:
    """Wait until the first process has made the folder a checkpoint. NotWritten if it did not."""
    _wait(lambda: target.exists() or not folder.exists(), folder, group)
    if not target.exists():
        raise NotWritten(
            f"the checkpoint {target.name} cannot be written: another process could not write its"
            " part.\nThe earlier ones are as they were."
        )


def _about(parts: Sequence[Manifest]) -> Mapping[str, Any]:
    """What the first process says of the run, with the places of all in their data."""
    about = parts[0].about
    if "position" not in about.get("data", {}):
        return about
    places = [part.about["data"]["position"] for part in parts]
    return {**about, "data": {**about["data"], "position": of_all(places)}}


def _joined(same: tuple[Leaf, ...]) -> Leaf:
    if len({(leaf.path, leaf.dtype, leaf.shape) for leaf in same}) > 1:
        raise Broken(f"the processes do not agree about {'.'.join(same[0].path)}")
    return replace(same[0], tiles=tuple(tile for leaf in same for tile in leaf.tiles))


def _wait(done: Callable[[], bool], folder: Path, group: Group) -> None:
    end = time.monotonic() + PATIENCE
    while not done():
        failed = [n for n in range(group.count) if (folder / _failed(n)).exists()]
        if failed or time.monotonic() > end:
            who = f"process {failed[0]} could not" if failed else "another process did not"
            raise NotWritten(
                f"a checkpoint cannot be written to {folder.parent}: {who} write its part.\n"
                "The earlier ones are as they were."
            )
        time.sleep(PAUSE)


def _part(process: int) -> str:
    return f"part-{process:05d}.json"


def _failed(process: int) -> str:
    return f"failed-{process:05d}"
