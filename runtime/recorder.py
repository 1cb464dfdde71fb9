"""The rows of training steps, each fetched while the next step is running."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from .errors import RunError
from .log import Unlogged
from .metrics import finish
from .progress import Plain

MOST_SKIPPED = 50  # steps in a row
# A dynamic loss scale skips steps to find its place; after so many in a row it is not the scale.
PATIENCE = 8


class Skipping(RunError):
    """So many steps in a row were skipped that training has no sense."""

    def __init__(self, step: int):
        super().__init__(f"{MOST_SKIPPED} steps in a row were skipped, the last at step {step}")


class Recorder:
    """Writes a row for each step to the log and to the terminal.

    A step's metrics are asked for when the next step has been dispatched, so that no device ever
    waits for the log.

    log, show: where rows go
    unit:      what is counted in speeds, and how many of them a batch has, such as ("tokens", 2048)
    examples:  in a batch
    share:     how much of what the devices can do is done if a step takes a second; None where
               that is not known, and then no mfu is written
    patience:  how many steps in a row must have been skipped for the last of them to be a suspect,
               once in a run

    suspect: a step that is to be looked into, as (number, batch, row), until `cleared`
    """

    def __init__(
        self,
        log: Unlogged,
        show: Plain,
        *,
        unit: tuple[str, int],
        examples: int,
        share: float | None = None,
        patience: int = 1,
    ):
        self._log, self._show, self._share = log, show, share
        self._counts = {"examples": examples, unit[0]: unit[1]}
        self._pending: tuple[int, Any, Any, float] | None = None
        self._done: float | None = None  # when the pending step was seen to be done
        self._mark = self._waited = 0.0
        self._skipped = 0  # in a row
        self._patience: int | None = patience
        self.suspect: tuple[int, Any, dict[str, Any]] | None = None

    def restart(self) -> None:
        """Count time from now: what came before was not training."""
        self._mark = time.perf_counter()

    @contextlib.contextmanager
    def fetching(self) -> Iterator[None]:
        """Around getting the next batch: waiting for data, if the devices have nothing else to do
        when it begins."""
        began = time.perf_counter()
        if self._pending is not None and self._done is None and _ready(self._pending[2]):
            self._done = began
        idle = self._pending is None or self._done is not None
        yield
        self._waited = time.perf_counter() - began if idle else 0.0

    def watched(self) -> Any:
        """Whether the last step was skipped, as a number on its devices, if that may make it a
        suspect; else None."""
        if self._pending is None or self._patience is None or self._skipped < self._patience - 1:
            return None
        return self._pending[2]["skipped"][0]

    def add(self, step: int, batch: Any, metrics: Any) -> bool:
        """A step has been dispatched; the one before it is waited for and written.

        Tells whether this one counts: not if the one before is a suspect, which held it.
        """
        self.drain()
        if self.suspect is not None:
            return False
        # Where dispatching a step runs it at once, it is done now, and not when it is asked for.
        self._done = time.perf_counter() if _ready(metrics) else None
        self._pending = (step, batch, metrics, self._waited)
        return True

    def cleared(self) -> None:
        """The suspect has been looked into; there will be no other one."""
        self.suspect = self._patience = None
        self._waited = 0.0

    def drain(self) -> None:
        """Wait for the last step and write it."""
        if self._pending is None:
            return
        step, batch, metrics, waited = self._pending
        self._pending = None
        # Not by device_get, which begins a transfer of each and so takes longer for single numbers.
        values = finish(jax.tree.map(np.asarray, metrics))
        done = self._done or time.perf_counter()
        seconds, self._mark = done - self._mark, done
        waited = min(waited, seconds)  # where the step before was still running, it has the rest
        row = {"step": step, **values, "seconds": seconds, "data_seconds": waited}
        row |= {f"{unit}_per_second": count / seconds for unit, count in self._counts.items()}
        if self._share is not None:
            row["mfu"] = self._share / seconds
        self._log.write(**row)
        self._show.step(row)
        self._skipped = self._skipped + 1 if values["skipped"] else 0
        if self._skipped == 1:
            self._show.warn(
                f"step {step} is skipped: its loss, gradients or state are not all finite."
            )
        if self._patience is not None and self._skipped >= self._patience:
            self.suspect = (step, batch, row)
        if self._skipped == MOST_SKIPPED:
            raise Skipping(step)


def _ready(metrics: Any) -> bool:
    return all(leaf.is_ready() for leaf in jax.tree.leaves(metrics))
