"""Streams: training batches one after the other, and where one is.

The loop knows of data only what stands here: `next`, `get_state` and `set_state`. A state is plain
JSON and goes into each checkpoint. After `set_state(s)` come the very batches that came after
`get_state()` had given `s`; so a run that goes on from a checkpoint sees every example as often as
one that was never stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from .errors import RunError

if TYPE_CHECKING:
    from .source import Batch, Source

State = dict[str, Any]


EACH = "each"
"""Under this name stand the states of several processes, where they are not all the same."""


def of_all(states: Sequence[Any]) -> Any:
    """The one state that goes into a checkpoint, of those of all processes."""
    return states[0] if all(s == states[0] for s in states) else {EACH: list(states)}


class Stream(Protocol):
    """Training batches in order. A process that trains with others gets its own rows of each."""

    def next(self) -> Batch:
        """The next batch, as new arrays."""
        ...

    def get_state(self) -> State:
        """Where the stream is, as JSON: what `next` would give."""
        ...

    def set_state(self, state: State) -> None:
        """Go there. RunError if the state is not one of this stream.

        Where several processes had states of their own, it is given all: see `of_all`.
        """
        ...


class Steps:
    """The batches of a source that gives each by its number. The state is that number."""

    def __init__(self, source: Source, rows: slice = slice(None)):
        self._source, self._rows, self._step = source, rows, 0

    def next(self) -> Batch:
        source, step, rows = self._source, self._step, self._rows
        alone = rows.indices(source.size) == (0, source.size, 1)  # batch() may be of one's own
        batch = source.batch(step) if alone else source.part(step, rows)
        self._step += 1
        return batch

    def get_state(self) -> State:
        return {"step": self._step}

    def set_state(self, state: State) -> None:
        step = state.get("step")
        if not isinstance(step, int) or isinstance(step, bool) or step < 0:
            raise RunError(f"the data cannot go on from {state!r}: their state is a step's number.")
        self._step = step
