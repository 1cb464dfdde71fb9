"""What all data sources share: batches as a pure function of (seed, step).

A source keeps no position. Batch 700 of seed 3 is the same array whenever and wherever it is asked
for, which is what makes a resumed run continue exactly. Every batch is a new array: JAX on a CPU
may use a host buffer without copying it, so a buffer that is filled again would change the past.

Randomness is taken raw from the Philox counter generator, whose bits numpy guarantees for all
time; its Generator methods may change from version to version.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from .errors import RunError

Batch = dict[str, np.ndarray]

# Separate streams of random bits under one seed.
WINDOWS, SPLIT, EPOCHS = 0, 1, 2


class Source:
    """Data for training and for evaluation. Subclass it to bring data of your own.

    unit:   what is counted in speeds, such as "tokens"
    units:  how many of them a training batch holds
    shapes: field -> (shape, dtype) of a training batch
    """

    unit: str
    units: int
    shapes: dict[str, tuple[tuple[int, ...], str]]

    def batch(self, step: int) -> Batch:
        """The training batch of step `step` (from 0), as new arrays."""
        raise NotImplementedError

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


class Examples(Source):
    """Independent rows held in memory: shuffled once, split, then reshuffled each epoch.

    Positions run on across epochs (row p of the stream is row p mod n of epoch p div n), so every
    batch is full and every row is seen once an epoch.
    """

    unit = "examples"

    def __init__(self, columns: dict[str, np.ndarray], *, batch: int, held_out: float, seed: int):
        check_positive(batch=batch)
        check_seed(seed)
        self._columns = columns
        self._batch, self._seed = batch, seed
        count = len(next(iter(columns.values())))
        kept = split_count(count, held_out)
        order = shuffled(seed, SPLIT, 0, count)
        self._training, self._held_out = order[: count - kept], order[count - kept :]
        self._epoch = lru_cache(maxsize=2)(self._shuffle)  # a batch may lie across two
        self.units = batch
        sample = self._take(self._training[:1])
        self.shapes = {
            name: ((batch, *value.shape[1:]), str(value.dtype)) for name, value in sample.items()
        }

    def batch(self, step: int) -> Batch:
        positions = np.arange(step * self._batch, (step + 1) * self._batch)
        epochs, places = np.divmod(positions, len(self._training))
        rows = [self._epoch(int(epoch))[places[epochs == epoch]] for epoch in np.unique(epochs)]
        return self._take(np.concatenate(rows))

    def held_out(self) -> Iterator[Batch]:
        for start in range(0, len(self._held_out), self._batch):
            yield self._take(self._held_out[start : start + self._batch])

    def finish(self, field: str, rows: np.ndarray) -> np.ndarray:
        """A field's rows as the model takes them; must return a new array."""
        return rows.astype(model_dtype(rows.dtype))

    def _take(self, rows: np.ndarray) -> Batch:
        return {name: self.finish(name, column[rows]) for name, column in self._columns.items()}

    def _shuffle(self, epoch: int) -> np.ndarray:
        return self._training[shuffled(self._seed, EPOCHS, epoch, len(self._training))]


def random_bits(seed: int, stream: int, index: int, count: int) -> np.ndarray:
    """uint64[count]: random access into an endless table of random bits."""
    return np.random.Philox(key=[seed, index], counter=[0, 0, 0, stream]).random_raw(count)


def shuffled(seed: int, stream: int, index: int, count: int) -> np.ndarray:
    """A permutation of range(count)."""
    return np.argsort(random_bits(seed, stream, index, count), kind="stable")


def model_dtype(dtype: np.dtype) -> np.dtype:
    """The dtype a field has in a model: bool, int32 or float32."""
    if dtype == np.bool_:
        return dtype
    return np.dtype(np.int32 if np.issubdtype(dtype, np.integer) else np.float32)


def split_count(count: int, held_out: float) -> int:
    """How many of `count` rows are held out: an int is that many, a float a fraction."""
    if isinstance(held_out, int) and not isinstance(held_out, bool):
        kept = held_out
    else:
        kept = int(count * check_fraction(held_out))
    if not 0 <= kept < count:
        raise RunError(
            f"held_out = {held_out} asks for {kept} of {count} examples;"
            " at least one must be left to train on."
        )
    return kept


def read_file(path: str | Path) -> bytes:
    """The bytes of a data file. RunError if it cannot be read."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise RunError(
            f"there is no data file {path}.\nPut it there, or change the path."
        ) from None
    except OSError as error:
        raise RunError(f"the data file {path} cannot be read: {error.strerror}.") from None


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def check_positive(**values: int) -> None:
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise RunError(f"{name} = {value!r}: it must be a whole number of at least 1.")


def check_seed(seed: int) -> None:
    if not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise RunError(f"seed = {seed!r}: it must be a whole number from 0 on.")


def check_fraction(value: float) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1:
        raise RunError(f"held_out = {value!r}: it must be at least 0 and less than 1.")
    return value
