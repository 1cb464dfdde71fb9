"""Arrays of a `.npz` file, one row an example."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .errors import RunError
from .source import Examples, model_dtype, read_file, sha256


class Arrays(Examples):
    """Rows of the arrays of a `.npz` file.

    path:     the file
    fields:   field of the batch -> name of the array; whole numbers arrive as int32, others as
              float32, truth values as bool
    batch:    rows in a batch
    scale:    field -> factor; a scaled field arrives as float32
    held_out: rows to evaluate on, as a count (int) or a fraction (float); 0 for none
    seed:     determines the split and the order
    sizes:    field -> how many ids the model knows; the field's values must lie in [0, size)

    Raises RunError if the file or an array is missing, lengths differ, or a value is out of range.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        fields: Mapping[str, str],
        batch: int,
        scale: Mapping[str, float] | None = None,
        held_out: float = 0.1,
        seed: int = 0,
        sizes: Mapping[str, int] | None = None,
    ):
        self.path, self.fields = Path(path), dict(fields)
        self._scale, self._kept = dict(scale or {}), held_out
        content = read_file(path)
        self._sha256 = sha256(content)
        columns = self._columns_of(content)
        self._check_names("scale", self._scale)
        self._check_names("sizes", sizes or {})
        for field, size in (sizes or {}).items():
            self._check_range(field, columns[field], size)
        super().__init__(columns, batch=batch, held_out=held_out, seed=seed)

    def finish(self, field: str, rows: np.ndarray) -> np.ndarray:
        if field in self._scale:
            return rows.astype(np.float32) * np.float32(self._scale[field])
        return rows.astype(model_dtype(rows.dtype))

    def describe(self) -> dict:
        return {
            "kind": "arrays",
            "sha256": self._sha256,
            "fields": self.fields,
            "scale": self._scale,
            "batch": self._batch,
            "held_out": self._kept,
            "seed": self._seed,
        }

    def summary(self) -> str:
        return (
            f"{self.path.name}: {len(self._training):,} examples to train on,"
            f" {len(self._held_out):,} held out"
        )

    def _columns_of(self, content: bytes) -> dict[str, np.ndarray]:
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                names = list(file.files)
                columns = {f: file[a] for f, a in self.fields.items() if a in names}
        except (zipfile.BadZipFile, ValueError, EOFError, TypeError) as error:
            raise RunError(f"{self.path} is not a .npz file of plain arrays: {error}") from None
        for field, array in self.fields.items():
            if field not in columns:
                raise RunError(
                    f"{self.path} has no array '{array}' (for the field '{field}').\n"
                    f"It has: {', '.join(sorted(names))}."
                )
            if columns[field].ndim == 0 or len(columns[field]) == 0:
                raise RunError(f"the array '{array}' of {self.path} has no rows.")
        lengths = {self.fields[field]: len(column) for field, column in columns.items()}
        if len(set(lengths.values())) > 1:
            listed = ", ".join(f"{name} has {length:,}" for name, length in lengths.items())
            raise RunError(f"the arrays of {self.path} must have as many rows: {listed}.")
        return columns

    def _check_names(self, option: str, values: Mapping) -> None:
        for name in values:
            if name not in self.fields:
                raise RunError(
                    f"{option} names the field '{name}'; the fields are {', '.join(self.fields)}."
                )

    def _check_range(self, field: str, column: np.ndarray, size: int) -> None:
        outside = np.argwhere((column < 0) | (column >= size))
        if len(outside):
            raise RunError(
                f"row {int(outside[0][0])} of '{self.fields[field]}' in {self.path} holds"
                f" {column[tuple(outside[0])]}, but '{field}' may only be 0 to {size - 1}."
            )
