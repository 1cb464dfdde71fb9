"""What all data sources share: batches as a pure function of (seed, step).

A source keeps no position. Batch 700 of seed 3 is the same array whenever and wherever it is asked
for, which is what makes a resumed run continue exactly, on any number of processes. Every batch is
a new array: JAX on a CPU may use a host buffer without copying it, so a buffer that is filled again
would change the past.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

import numpy as np

from .errors import RunError
from .order import EPOCHS, check_positive, check_seed, shuffled
from .stream import Steps, Stream

Batch = dict[str, np.ndarray]


class Source:
    """Data for training and for evaluation. Subclass it to bring data of your own.

    A source whose batches are no function of the step gives a `stream` of its own instead of
    `batch` and `part`.

    unit:     what is counted in speeds, such as "tokens"
    units:    how many of them a training batch holds
    shapes:   field -> (shape, dtype) of a training batch
    examples: how many examples an epoch has; 0 where there are no epochs
    """

    unit: str
    units: int
    shapes: dict[str, tuple[tuple[int, ...], str]]
    examples: int = 0

    @property
    def size(self) -> int:
        """How many rows a training batch has."""
        return next(iter(self.shapes.values()))[0][0]

    def batch(self, step: int) -> Batch:
        """The training batch of step `step` (from 0), as new arrays."""
        raise NotImplementedError

    def part(self, step: int, rows: slice) -> Batch:
        """Some rows of the batch of a step: those of one process among several."""
        return {name: column[rows] for name, column in self.batch(step).items()}

    def stream(self, rows: slice = slice(None)) -> Stream:
        """The training batches in order, or of each of them some rows."""
        return Steps(self, rows)

    def held_out(self) -> Iterator[Batch]:
        """All held-out data once, in order; the last batch may have fewer rows."""
        raise NotImplementedError

    def describe(self) -> dict:
        """What determines the batches (hash of the data, options), to be written as JSON."""
        raise NotImplementedError

    def summary(self) -> str:
        """One line for a person."""
        raise NotImplementedError

    @property
    def fingerprint(self) -> str:
        """A hash of `describe()`: equal for two sources that give the same batches."""
        text = json.dumps(self.describe(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


class Numbered(Source):
    """A source that chooses the examples of a batch by their numbers, and then reads those."""

    def ids(self, step: int) -> np.ndarray:
        """int64[batch]: the examples of a step."""
        raise NotImplementedError

    def take(self, ids: np.ndarray) -> Batch:
        """Those examples as a batch, as new arrays."""
        raise NotImplementedError

    def batch(self, step: int) -> Batch:
        return self.part(step, slice(None))

    def part(self, step: int, rows: slice) -> Batch:
        return self.take(self.ids(step)[rows])


class Rows(Numbered):
    """Independent examples: split, then reshuffled each epoch.

    Positions run on across epochs (row p of the stream is row p mod n of epoch p div n), so every
    batch is full and every row is seen once an epoch.

    training, held: the numbers of the examples to train on and to evaluate on
    """

    unit = "examples"

    def __init__(self, training: np.ndarray, held: np.ndarray, *, batch: int, seed: int):
        check_positive(batch=batch)
        check_seed(seed)
        self._batch, self._seed = batch, seed
        self._training, self._held_out = training, held
        self._epoch = lru_cache(maxsize=2)(self._shuffle)  # a batch may lie across two
        self.units, self.examples = batch, len(training)
        self.shapes = {
            name: ((batch, *value.shape[1:]), str(value.dtype))
            for name, value in self.take(training[:1]).items()
        }

    def ids(self, step: int) -> np.ndarray:
        positions = np.arange(step * self._batch, (step + 1) * self._batch)
        epochs, places = np.divmod(positions, len(self._training))
        rows = [self._epoch(int(epoch))[places[epochs == epoch]] for epoch in np.unique(epochs)]
        return np.concatenate(rows)

    def held_out(self) -> Iterator[Batch]:
        for start in range(0, len(self._held_out), self._batch):
            yield self.take(self._held_out[start : start + self._batch])

    def counted(self, name: str) -> str:
        """What `summary` says of most sources."""
        return (
            f"{name}: {len(self._training):,} {self.unit} to train on,"
            f" {len(self._held_out):,} held out"
        )

    def _shuffle(self, epoch: int) -> np.ndarray:
        return self._training[shuffled(self._seed, EPOCHS, epoch, len(self._training))]


class Examples(Rows):
    """Rows of columns that are held in memory.

    columns: field -> array, one row an example
    rows:    the numbers of the examples to train on and to evaluate on; see `order.divided`
    """

    def __init__(
        self,
        columns: dict[str, np.ndarray],
        rows: tuple[np.ndarray, np.ndarray],
        *,
        batch: int,
        seed: int,
    ):
        self._columns = columns
        super().__init__(*rows, batch=batch, seed=seed)

    def take(self, ids: np.ndarray) -> Batch:
        return {name: self.finish(name, column[ids]) for name, column in self._columns.items()}

    def finish(self, field: str, rows: np.ndarray) -> np.ndarray:
        """A field's rows as the model takes them; must return a new array."""
        return rows.astype(model_dtype(rows.dtype))


def model_dtype(dtype: np.dtype) -> np.dtype:
    """The dtype a field has in a model: bool, int32 or float32."""
    if dtype == np.bool_:
        return dtype
    return np.dtype(np.int32 if np.issubdtype(dtype, np.integer) else np.float32)


def by_role(
    fields: Mapping[str, str] | Sequence[str], roles: Sequence[str], what: str
) -> dict[str, str]:
    """Field -> role, of such a mapping or of fields that are named as their roles.

    RunError if `what` offers no such role.
    """
    found = dict(fields) if isinstance(fields, Mapping) else {name: name for name in fields}
    for field, role in found.items():
        if role not in roles:
            raise RunError(
                f"the field '{field}' asks for '{role}'; {what} offers {', '.join(roles)}."
            )
    return found
