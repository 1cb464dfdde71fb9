"""Saving checkpoints: at once, or behind the back of training.

with Saver(folder, keep=Keep(last=3)) as saver:
    …
    saver.save(state, about)         copies the state, and returns while a thread writes it
    for saved in saver.finished():   raises what went wrong since
        …
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from . import commit, together
from .checkpoint import open_checkpoint
from .manifest import Manifest
from .retention import Keep, superfluous
from .snapshot import Copies, Snapshot, file_name, view
from .tensors import Broken


@dataclass(frozen=True)
class Saved:
    """A checkpoint that was written.

    Attributes:
        step, path: which, and its folder.
        bytes: how large it is.
        blocked: seconds that training waited for: for the one before it and for its copies.
        writing: seconds until it was whole and on the disk, by a thread of its own unless
            training waited for it.
        reading: seconds of reading it back before older ones were deleted; 0 if none were.
    """

    step: int
    path: Path
    bytes: int
    blocked: float
    writing: float
    reading: float

    def seconds(self) -> dict[str, float]:
        """What it took, for a row of metrics.jsonl: `seconds` are those that training waited."""
        names = ("seconds", "write_seconds", "read_back_seconds")
        return dict(zip(names, (self.blocked, self.writing, self.reading), strict=True))


class Saver:
    """Writes states to a folder, one at a time, and deletes those that are not to be kept.

    Its thread never touches a device. It holds host memory for one copy of the state. Where JAX
    runs on several processes, all make one at the same time and save the same steps.

    evaluations: by step, those that may have been made after their checkpoint, which then does not
                 know of them; looked at anew at each save
    """

    def __init__(
        self,
        folder: Path,
        keep: Keep,
        evaluations: Mapping[int, Mapping[str, Any]] = MappingProxyType({}),
    ):
        self._folder, self._keep, self._group = folder, keep, together.group()
        self._evaluations = evaluations
        self._copies = Copies()
        self._thread = ThreadPoolExecutor(1, "save")
        self._writing: Future[Saved] | None = None
        self._done: list[Saved | Exception] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def save(
        self,
        state: Any,
        about: Mapping[str, Any],
        *,
        wait: bool = False,
        only: Collection[str] = (),
    ) -> None:
        """Save `state` as the checkpoint of its step; `about` is kept in its manifest, as JSON.

        With `only` no more than those parts of it, such as "params" or "opt_state", and the step.
        Returns once the state has been copied, or with `wait` when it is on the disk. If the
        save before it is not done yet, that is waited for first. Raises NotWritten if it waits and
        the state could not be written; what a save in the background did is for `finished` to say.
        """
        began = time.perf_counter()
        self.wait()
        snapshot = view(state, self._group.process, only)
        if wait:  # nothing changes the state meanwhile, so it is written as it lies there
            self._done.append(self._write(snapshot, about, began, blocked=None))
            return
        snapshot = self._copies.take(snapshot)
        blocked = time.perf_counter() - began
        self._writing = self._thread.submit(self._write, snapshot, about, began, blocked)

    def refuse(self, step: int) -> None:
        """Tell the processes that save with this one that it will not save this step."""
        if self._group.count > 1:
            _, hidden = commit.places(self._folder, step, self._group.attempt)
            with contextlib.suppress(OSError):  # then they wait until they lose patience
                hidden.mkdir(parents=True, exist_ok=True)
            together.give_up(hidden, self._group)

    def finished(self) -> list[Saved]:
        """What was written since this was last asked; raises what went wrong with one of them."""
        if self._writing is not None and self._writing.done():
            self.wait()
        for number, outcome in enumerate(self._done):
            if isinstance(outcome, Exception):
                del self._done[number]
                raise outcome
        done, self._done = self._done, []
        return [saved for saved in done if isinstance(saved, Saved)]

    def wait(self) -> None:
        """Wait for the save in flight."""
        if self._writing is None:
            return
        writing, self._writing = self._writing, None
        error = writing.exception()
        if error is not None and not isinstance(error, Exception):
            raise error
        self._done.append(error or writing.result())

    def close(self) -> None:
        """Wait for the save in flight, whatever comes of it, and give the memory back."""
        self._thread.shutdown()
        self._copies.close()

    def _write(
        self, snapshot: Snapshot, about: Mapping[str, Any], began: float, blocked: float | None
    ) -> Saved:
        path = self._commit(snapshot, about)
        read = written = time.perf_counter()
        doomed = []
        if self._group.process == 0:
            doomed = superfluous(self._folder, self._keep, self._evaluations)
        try:
            if doomed:
                self._read_back(path)
            read = time.perf_counter()
            for old in doomed:
                commit.delete(old)
        except OSError as error:  # the new one counts all the same
            told = f"checkpoints in {self._folder} that are not to be kept cannot be deleted"
            self._done.append(commit.NotDeleted(f"{told}: {error.strerror}."))
        size = sum(file.stat().st_size for file in path.iterdir())
        seconds = written - began, read - written if doomed else 0.0
        waited = read - began if blocked is None else blocked
        return Saved(snapshot.step, path, size, waited, *seconds)

    def _commit(self, snapshot: Snapshot, about: Mapping[str, Any]) -> Path:
        group = self._group

        def write_part(folder: Path) -> Manifest:
            name = file_name(group.process)
            leaves, file = snapshot.write(folder / name)
            return Manifest(snapshot.step, leaves, {name: file}, about)

        def write(folder: Path) -> None:
            manifest = write_part(folder)
            if group.count > 1:
                together.leave(folder, group, manifest)
                manifest = together.gather(folder, group)
            commit.write_manifest(folder, manifest)

        if group.process == 0:
            return commit.commit(self._folder, snapshot.step, write, group.attempt)
        target, hidden = commit.places(self._folder, snapshot.step, group.attempt)
        try:
            hidden.mkdir(parents=True, exist_ok=True)
            together.leave(hidden, group, write_part(hidden))
        except OSError as error:
            together.give_up(hidden, group)
            raise commit.not_written(self._folder, snapshot.step, error) from None
        together.follow(hidden, target, group)
        return target

    def _read_back(self, path: Path) -> None:
        """Before anything older is deleted: what the disk gives back, not the system's memory."""
        try:
            damaged = open_checkpoint(path).verify(from_disk=True)
        except Broken as error:
            damaged = [str(error)]
        if damaged:
            aside = commit.set_aside(path)
            raise commit.NotWritten(
                f"the checkpoint {path} was written, and reads back otherwise: {damaged[0]}.\n"
                f"The disk may be failing. It is kept as {aside.name}, and older ones as they were."
            )


def save(folder: Path, state: Any, *, about: Mapping[str, Any], keep: int | Keep = 3) -> Path:
    """Save one state, and wait for it. Returns the checkpoint's folder; see `Saver`."""
    keep = Keep(last=keep) if isinstance(keep, int) else keep
    with Saver(folder, keep) as saver:
        saver.save(state, about, wait=True)
        return saver.finished()[-1].path
