"""Text as bytes: random windows to train on, the end of the file to evaluate on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .errors import RunError
from .source import (
    WINDOWS,
    Batch,
    Source,
    check_fraction,
    check_positive,
    check_seed,
    random_bits,
    read_file,
    sha256,
)


class Text(Source):
    """The bytes of a file, each a token (0 to 255), and the same moved on by one as targets.

    Training batches are windows at random places of the first part. The last fraction `held_out`
    of the file, by position, is evaluated in windows that follow one another without overlap; a
    rest shorter than a window is left out.

    path:       the file
    fields:     names of the two fields: tokens int32[batch, length], targets of the same shape
    length:     tokens in a window
    batch:      windows in a batch
    held_out:   fraction of the file to evaluate on; 0 for none
    seed:       determines the windows
    vocabulary: how many ids the model knows, to be checked against the file; None: not checked

    Raises RunError if the file is missing, too short, or has bytes beyond the vocabulary.
    """

    unit = "tokens"

    def __init__(
        self,
        path: str | Path,
        *,
        length: int,
        batch: int,
        fields: tuple[str, str] = ("tokens", "targets"),
        held_out: float = 0.1,
        seed: int = 0,
        vocabulary: int | None = None,
    ):
        check_positive(length=length, batch=batch)
        check_seed(seed)
        content = read_file(path)
        self.path, self.fields, self.length = Path(path), tuple(fields), length
        self._batch, self._seed, self._fraction = batch, seed, float(check_fraction(held_out))
        self._sha256 = sha256(content)
        tokens = np.frombuffer(content, np.uint8)
        if vocabulary is not None:
            self._check_vocabulary(tokens, vocabulary)
        kept = int(len(tokens) * self._fraction)
        self._training, self._held_out = tokens[: len(tokens) - kept], tokens[len(tokens) - kept :]
        self._check_length("to train on", self._training)
        if self._fraction:
            self._check_length("held out", self._held_out)
        self.units = batch * length
        self.shapes = {name: ((batch, length), "int32") for name in self.fields}

    def batch(self, step: int) -> Batch:
        places = len(self._training) - self.length  # the last target is one past the window
        starts = random_bits(self._seed, WINDOWS, step, self._batch) % np.uint64(places)
        return self._windows(self._training, starts.astype(np.int64))

    def held_out(self) -> Iterator[Batch]:
        if not self._fraction:
            return
        starts = np.arange(0, len(self._held_out) - self.length, self.length)
        for first in range(0, len(starts), self._batch):
            yield self._windows(self._held_out, starts[first : first + self._batch])

    def describe(self) -> dict:
        return {
            "kind": "text",
            "sha256": self._sha256,
            "fields": list(self.fields),
            "length": self.length,
            "batch": self._batch,
            "held_out": self._fraction,
            "seed": self._seed,
        }

    def summary(self) -> str:
        return (
            f"{self.path.name}: {len(self._training):,} bytes to train on,"
            f" {len(self._held_out):,} held out"
        )

    def _windows(self, tokens: np.ndarray, starts: np.ndarray) -> Batch:
        windows = tokens[starts[:, None] + np.arange(self.length + 1)]
        inputs, targets = self.fields
        return {inputs: windows[:, :-1].astype(np.int32), targets: windows[:, 1:].astype(np.int32)}

    def _check_length(self, part: str, tokens: np.ndarray) -> None:
        if len(tokens) <= self.length:
            raise RunError(
                f"{self.path} is too short: its part {part} has {len(tokens):,} bytes, and a"
                f" window takes {self.length + 1:,}.\nUse more text, a shorter length, or another"
                " held_out."
            )

    def _check_vocabulary(self, tokens: np.ndarray, vocabulary: int) -> None:
        outside = np.flatnonzero(tokens >= vocabulary)
        if len(outside):
            place = int(outside[0])
            line = int(np.count_nonzero(tokens[:place] == ord("\n"))) + 1
            raise RunError(
                f"{self.path}, line {line}: byte {int(tokens[place])} is outside the model's"
                f" vocabulary of {vocabulary}.\nA vocabulary of 256 takes every text."
            )
