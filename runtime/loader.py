"""Data loaders of others as a source: Grain's, or any whose iterators tell and take their place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .errors import RunError
from .source import Batch, Source
from .stream import EACH, State, Stream


class Loader(Source):
    """The batches of a data loader, such as a `grain.DataLoader` or a `grain.IterDataset`.

    training: `iter(training)` gives batches (mappings from fields to arrays) and has `get_state()`
              and `set_state(state)`, with states that are JSON or bytes. It should not end before
              training does.
    held_out: batches to evaluate on, iterated anew for each evaluation; None for none. Every
              process gives all rows of each.
    batch:    examples in a batch, of all processes together
    whole:    what each of several processes gets from its loader. False: its own rows of each
              batch, in the order of the processes (`grain.ShardByJaxProcess`); all their places go
              into a checkpoint, and the run goes on on as many processes. True: all rows, the same
              for all processes, of which it takes its own; so it reads more, and the run may go on
              on any number of processes.
    about:    what tells these data from others, as JSON; it goes into checkpoints
    unit:     what is counted in speeds
    units:    how many of them a batch holds; None: as many as examples
    """

    def __init__(
        self,
        training: Iterable[Any],
        *,
        batch: int,
        whole: bool = False,
        held_out: Iterable[Any] | None = None,
        about: Mapping[str, Any] | None = None,
        unit: str = "examples",
        units: int | None = None,
    ):
        self._training, self._held_out = training, held_out
        self._batch, self._whole, self._about = batch, whole, dict(about or {})
        self.unit, self.units = unit, batch if units is None else units
        first = _batch(next(_iterator(training), None))
        self.shapes = {n: ((batch, *v.shape[1:]), str(v.dtype)) for n, v in first.items()}

    def batch(self, step: int) -> Batch:
        raise RunError(
            "a data loader gives its batches one after the other: stream = data.stream(), and then"
            " stream.next()."
        )

    def stream(self, rows: slice = slice(None)) -> Stream:
        begin, end, _ = rows.indices(self._batch)
        return _Iterated(self._training, self._batch, slice(begin, end), self._whole)

    def held_out(self) -> Iterator[Batch]:
        for batch in self._held_out if self._held_out is not None else ():
            yield _batch(batch)

    def describe(self) -> dict:
        shapes = {name: [list(shape), dtype] for name, (shape, dtype) in self.shapes.items()}
        return {"kind": "loader", "shapes": shapes, "about": self._about}

    def summary(self) -> str:
        kind = (
            f"{type(self._training).__module__.partition('.')[0]}.{type(self._training).__name__}"
        )
        return f"{kind}, {self._batch:,} examples a batch"


class _Iterated:
    """The stream of an iterator.

    Its states are wrapped, as JSON has no bytes, and say of which rows they are unless of all.
    """

    def __init__(self, training: Iterable[Any], batch: int, rows: slice, whole: bool):
        self._training, self._iterator, self._taken = training, _iterator(training), 0
        alone = rows == slice(0, batch)
        self._cut = rows if whole and not alone else None
        self._of = {} if whole or alone else {"rows": [rows.start, rows.stop]}
        self._given = batch if whole else rows.stop - rows.start

    def next(self) -> Batch:
        try:
            batch = _batch(next(self._iterator))
        except StopIteration:
            raise RunError(
                f"the data loader has no batch after {self._taken} of them here.\n"
                "Have it repeat its data without end, or train for fewer steps."
            ) from None
        for name, value in batch.items():
            if len(value) != self._given:
                raise RunError(
                    f"the data loader gives {len(value)} rows of '{name}', where this process takes"
                    f" {self._given}.\nIts batches are those of one process"
                    " (grain.ShardByJaxProcess, or whole=True), and all of one size"
                    " (drop_remainder=True)."
                )
        self._taken += 1
        return batch if self._cut is None else {n: v[self._cut] for n, v in batch.items()}

    def get_state(self) -> State:
        state = self._iterator.get_state()
        if isinstance(state, bytes):
            return {"bytes": state.decode("latin-1"), **self._of}
        return {"state": state, **self._of}

    def set_state(self, state: State) -> None:
        state = self._own(state)
        if not state.keys() & {"bytes", "state"}:
            raise RunError(f"the data loader cannot go on from {state!r}, the place of other data.")
        inner = state["bytes"].encode("latin-1") if "bytes" in state else state["state"]
        self._iterator, self._taken = _iterator(self._training), 0
        try:
            self._iterator.set_state(inner)
        except (ValueError, TypeError, KeyError) as error:
            raise RunError(f"the data loader does not go on from where it was: {error}") from None

    def _own(self, state: State) -> State:
        """Of the places of several processes, that of the rows which this one reads."""
        places = state.get(EACH, [state])
        for place in places:
            if place.get("rows") == self._of.get("rows"):
                return place
        raise RunError(
            f"the data loader cannot go on: its place is that of {_told(places)}, and this process"
            f" reads {_told([self._of])}.\nStart as many processes as before. With whole=True a"
            " loader goes on on any number of them."
        )


def _told(places: Sequence[State]) -> str:
    """The rows that these places are of."""
    rows = [place["rows"] for place in places if "rows" in place]
    if not rows:
        return "all rows"
    return "rows " + " and ".join(f"{first} to {end - 1}" for first, end in rows)


def _iterator(training: Iterable[Any]) -> Any:
    found = iter(training)
    if not hasattr(found, "get_state") or not hasattr(found, "set_state"):
        raise RunError(
            f"{type(training).__name__} gives iterators that do not tell where they are (get_state,"
            " set_state), so training could not be resumed.\nTake a grain.DataLoader or a"
            " grain.IterDataset, or subclass Source."
        )
    return found


def _batch(given: Any) -> Batch:
    if not isinstance(given, Mapping):
        raise RunError(
            f"a batch must be a mapping from the model's inputs to arrays; the data loader gives"
            f" {'none' if given is None else type(given).__name__}."
        )
    return {str(name): np.array(value) for name, value in given.items()}
