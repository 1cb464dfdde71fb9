"""Windows of a long sequence of tokens: what is common to text and to files of token ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from .errors import RunError
from .order import (
    EPOCHS,
    WINDOWS,
    check_fraction,
    check_positive,
    check_seed,
    permuted,
    random_bits,
)
from .source import Batch, Numbered, by_role
from .tokenizer import Tokenizer, checked_separator

ROLES = ("tokens", "targets", "document", "position", "live")
KINDS = ("random", "each")


class Store(Protocol):
    """A sequence of token ids, wherever it is. `name` is what messages call it."""

    name: str

    def __len__(self) -> int: ...

    def describe(self) -> dict:
        """What tells it from others, as JSON."""
        ...

    def windows(self, starts: np.ndarray, length: int) -> np.ndarray:
        """int32[len(starts), length]: the tokens from each start on, as a new array."""
        ...


@dataclass(frozen=True)
class Part:
    """Some consecutive tokens of a store: those to train on, or those that are held out."""

    store: Store
    first: int
    count: int


class Windows(Numbered):
    """Windows of `length` tokens; of each token the one after it is the target.

    What a field of the batch holds is said by its role, each [batch, length]:

    tokens    int32   the tokens
    targets   int32   the same moved on by one
    document  int32   the how-manieth document of the window a token is in, from 0
    position  int32   a token's place in its document, as far as that is in the window, from 0
    live      bool    false where the target is in another document than the token

    The last three need a `separator`, the id that ends each document. Held-out windows follow one
    another without overlap; a rest shorter than a window is left out.

    path:       what to train on: a file
    open_store: makes the tokens of a file
    speaks:     what turns ids into text, None if that is not known
    held_out:   fraction at the end of the file to evaluate on, 0 for none; or another file
    windows:    "random": at random places, drawn anew for each; "each": those that follow one
                another without overlap, every one once an epoch, in an order that changes
    vocabulary: how many ids the model knows: others are an error; None: not checked
    """

    kind: str
    """As `describe` names it."""
    unit = "tokens"

    def __init__(
        self,
        path: str | Path,
        open_store: Callable[[Path], Store],
        *,
        speaks: Tokenizer | None,
        held_out: float | str | Path,
        length: int,
        batch: int,
        fields: Mapping[str, str] | Sequence[str],
        windows: str,
        separator: str | int | None,
        seed: int,
        vocabulary: int | None,
    ):
        check_positive(length=length, batch=batch)
        check_seed(seed)
        if windows not in KINDS:
            raise RunError(f"windows = {windows!r}: it can be {' or '.join(KINDS)}.")
        self.fields = by_role(fields, ROLES, "a window of tokens")
        self.path, self.speaks = Path(path), speaks
        store = open_store(self.path)
        self._described = store.describe()
        training: Part
        held: Part | None
        if isinstance(held_out, str | Path):
            other = open_store(Path(held_out))
            training, held = Part(store, 0, len(store)), Part(other, 0, len(other))
            self._described["held_out"] = other.describe()
        else:
            training, held = parts(store, held_out)
            self._described["held_out"] = float(held_out)
        unknown = [role for role in self.fields.values() if role in ROLES[2:]]
        if unknown and separator is None:
            raise RunError(
                f"'{unknown[0]}' asks where documents end: give separator, the token that ends"
                " each of them."
            )
        self.length, self._batch, self._seed = length, batch, seed
        self._training, self._held_out, self._chosen = training, held, windows
        self._separator, self._vocabulary = checked_separator(separator, speaks), vocabulary
        self._check_length("to train on", training)
        if held is not None:
            self._check_length("held out", held)
        self.units, self.examples = batch * length, (training.count - 1) // length
        types = {role: "bool" if role == "live" else "int32" for role in ROLES}
        self.shapes = {f: ((batch, length), types[role]) for f, role in self.fields.items()}

    def field_of(self, role: str) -> str | None:
        """The field that holds a role."""
        return next((field for field, held in self.fields.items() if held == role), None)

    def ids(self, step: int) -> np.ndarray:
        """int64[batch]: the first token of each window, counted in the part to train on."""
        if self._chosen == "random":
            count = self._training.count - self.length  # the last target is one past the window
            bits = random_bits(self._seed, WINDOWS, step, self._batch)
            return (bits % np.uint64(count)).astype(np.int64)
        positions = np.arange(step * self._batch, (step + 1) * self._batch)
        epochs, places = np.divmod(positions, self.examples)
        windows = [
            permuted(
                places[epochs == epoch],
                self.examples,
                seed=self._seed,
                stream=EPOCHS,
                index=int(epoch),
            )
            for epoch in np.unique(epochs)
        ]
        return np.concatenate(windows) * self.length

    def take(self, ids: np.ndarray) -> Batch:
        return self._windows(self._training, ids)

    def held_out(self) -> Iterator[Batch]:
        if self._held_out is None:
            return
        starts = np.arange(0, self._held_out.count - self.length, self.length)
        for first in range(0, len(starts), self._batch):
            yield self._windows(self._held_out, starts[first : first + self._batch])

    def describe(self) -> dict:
        more: dict = {} if self._chosen == "random" else {"windows": self._chosen}
        if self._separator is not None:
            more["separator"] = self._separator
        return {
            "kind": self.kind,
            **self._described,
            "fields": self.fields,
            "length": self.length,
            "batch": self._batch,
            "seed": self._seed,
            **more,
        }

    def summary(self) -> str:
        held = self._held_out.count if self._held_out else 0
        unit = self.speaks.unit if self.speaks is not None else self.unit
        return f"{self.path.name}: {self._training.count:,} {unit} to train on, {held:,} held out"

    def _windows(self, part: Part, starts: np.ndarray) -> Batch:
        found = part.store.windows(starts + part.first, self.length + 1)
        self._check_ids(part, starts, found)
        tokens, targets = found[:, :-1], found[:, 1:]
        made: Batch = {}
        for field, role in self.fields.items():
            if role in ("tokens", "targets"):
                made[field] = (tokens if role == "tokens" else targets).copy()
                continue
            ends = tokens == self._separator
            if role == "live":
                made[field] = ~ends
                continue
            begins = np.zeros_like(ends)
            begins[:, 1:] = ends[:, :-1]
            if role == "document":
                made[field] = np.cumsum(begins, axis=1, dtype=np.int32)
            else:
                places = np.arange(self.length, dtype=np.int32)
                made[field] = places - np.maximum.accumulate(np.where(begins, places, 0), axis=1)
        return made

    def _check_ids(self, part: Part, starts: np.ndarray, found: np.ndarray) -> None:
        known = self._vocabulary
        if known is None or not ((found >= known) | (found < 0)).any():
            return
        row, place = np.argwhere((found >= known) | (found < 0))[0]
        raise RunError(
            f"{part.store.name}: token {int(starts[row]) + int(place) + part.first:,} is"
            f" {found[row, place]}, outside the model's vocabulary of {known}."
        )

    def _check_length(self, which: str, part: Part) -> None:
        if part.count <= self.length:
            unit = self.speaks.unit if self.speaks is not None else self.unit
            raise RunError(
                f"{part.store.name} is too short: its part {which} has {part.count:,} {unit}, and a"
                f" window takes {self.length + 1:,}.\nUse more text, a shorter length, or another"
                " held_out."
            )


def parts(store: Store, held_out: float) -> tuple[Part, Part | None]:
    """The first tokens of a store to train on, the last fraction to evaluate on."""
    kept = int(len(store) * check_fraction(held_out))
    training = Part(store, 0, len(store) - kept)
    return training, Part(store, len(store) - kept, kept) if held_out else None
