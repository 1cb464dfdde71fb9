"""`metrics.jsonl`: one JSON object a line, for every step, evaluation and event of a run.

    {"step": 1, "loss": 5.545, "accuracy": 0.004, "gradient_norm": 1.2, "skipped": 0.0,
     "seconds": 0.031, "data_seconds": 0.0, "tokens_per_second": 132000.0, …}    training, each step
    {"step": 250, "split": "held_out", "loss": 2.41, "seconds": 3.2}
    {"step": 0, "event": "compile", "what": "step", "seconds": 4.8}

Events are compile, save (what the steps waited for it), restore, and lost (steps that are made
anew). `step` counts the updates made so far. Numbers that are not finite are null: JSON has none.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from .errors import RunError
from .summary import read
from .tensorboard import TensorBoard
from .tensors import sync


class Unlogged:
    """Takes the rows of a process that trains with others, of whom the first writes the log."""

    lost: Sequence[Mapping[str, Any]] = ()
    evaluations: Mapping[int, Mapping[str, Any]] = MappingProxyType({})

    def write(self, **row: Any) -> None:
        """Nothing."""

    def sync(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class Log(Unlogged):
    """Appends rows to a file. `Log(path, step)` first drops the rows past `step`.

    So the file of a run that was stopped and resumed reads as one run: rows that a killed process
    wrote after its last checkpoint, and a line it left half written, are written anew.

    lost:        the rows dropped
    evaluations: step -> the row of its evaluation, of those that are there
    board:       takes each row too, if there is one
    """

    def __init__(self, path: Path, step: int = 0, board: TensorBoard | None = None):
        self._board = board
        found = read(path) if path.exists() else []
        kept = [row for row in found if row["step"] <= step]
        self.lost = [row for row in found if row["step"] > step]
        self.evaluations: dict[int, Mapping[str, Any]] = {}
        for row in kept:
            self._see(row)
        temporary = path.with_name(f".{path.name}")
        with temporary.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in kept)
            sync(file)
        os.replace(temporary, path)
        self._file = path.open("a", encoding="utf-8")

    def write(self, **row: Any) -> None:
        """Append a row. It outlives this process at once, and a loss of power after `sync`.

        On a full disk the row waits for the next one, or for `sync`.
        """
        row = plain(row)
        self._see(row)
        self._file.write(json.dumps(row, allow_nan=False) + "\n")
        with contextlib.suppress(OSError):
            self._file.flush()
        if self._board is not None:
            self._board.write(row)

    def _see(self, row: Mapping[str, Any]) -> None:
        if row.get("split") == "held_out":
            self.evaluations[row["step"]] = row

    def sync(self) -> None:
        """Have all rows on the disk. OSError if it does not take them."""
        sync(self._file)

    def close(self) -> None:
        """Have the rest in the file.

        RunError if the disk does not take it, unless another error is on its way already.
        """
        if self._board is not None:
            self._board.close()
        try:
            self._file.close()
        except OSError as error:
            if error.__context__ is None:
                raise RunError(
                    f"the last rows of {self._file.name} cannot be written: {error.strerror}."
                ) from None


def plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as JSON has it: null for numbers that are not finite."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
    }
