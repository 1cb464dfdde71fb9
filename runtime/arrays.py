"""Arrays of a `.npz` file, or of `.npy` files, one row an example."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from .errors import RunError
from .files import read_file, sha256
from .order import divided
from .source import Examples, model_dtype


class Arrays(Examples):
    """Rows of the arrays of a `.npz` file, of a `.npy` file, or of the `.npy` files of a folder.

    path:     the file or folder; a `.npy` file holds the array of its name
    fields:   field of the batch -> name of the array; whole numbers arrive as int32, others as
              float32, truth values as bool
    batch:    rows in a batch
    scale:    field -> factor; a scaled field arrives as float32
    held_out: rows to evaluate on, as a count (int) or a fraction (float), 0 for none; or another
              such file or folder
    split:    which rows those are: see `order.split_rows`
    split_seed: determines the split; None: seed does
    seed:     determines the order
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
        held_out: float | str | Path = 0.1,
        split: str = "random",
        split_seed: int | None = None,
        seed: int = 0,
        sizes: Mapping[str, int] | None = None,
    ):
        self.path, self.fields = Path(path), dict(fields)
        self._scale = dict(scale or {})
        check_names(self.fields, scale=self._scale, sizes=sizes or {})
        columns, found = _columns(self.path, self.fields, sizes or {}, self._scale)
        count = len(next(iter(columns.values())))
        other = None
        if isinstance(held_out, str | Path):
            more, told = _columns(Path(held_out), self.fields, sizes or {}, self._scale)
            columns = {f: _joined(f, column, more[f], held_out) for f, column in columns.items()}
            other = len(next(iter(more.values()))), {"sha256": told}
        rows, described = divided(
            count, held_out, split=split, split_seed=split_seed, seed=seed, other=other
        )
        self._described = {"sha256": found, **described}
        super().__init__(columns, rows, batch=batch, seed=seed)

    def finish(self, field: str, rows: np.ndarray) -> np.ndarray:
        if field in self._scale:
            return rows.astype(np.float32) * np.float32(self._scale[field])
        return rows.astype(model_dtype(rows.dtype))

    def describe(self) -> dict:
        return {
            "kind": "arrays",
            **self._described,
            "fields": self.fields,
            "scale": self._scale,
            "batch": self._batch,
            "seed": self._seed,
        }

    def summary(self) -> str:
        return self.counted(self.path.name)


def check_names(fields: Mapping[str, object], **options: Mapping) -> None:
    """RunError if an option names a field that there is not."""
    for option, values in options.items():
        for name in values:
            if name not in fields:
                raise RunError(
                    f"{option} names the field '{name}'; the fields are {', '.join(fields)}."
                )


def _columns(
    path: Path,
    fields: Mapping[str, str],
    sizes: Mapping[str, int],
    scaled: Collection[str],
) -> tuple[dict[str, np.ndarray], str]:
    """The column of each field, and a hash of what was read."""
    arrays, found = _arrays(path, set(fields.values()))
    for field, array in fields.items():
        if array not in arrays:
            raise RunError(
                f"{path} has no array '{array}' (for the field '{field}').\n"
                f"It has: {', '.join(sorted(arrays))}."
            )
        column = arrays[array]
        if column is None or column.ndim == 0 or len(column) == 0:
            raise RunError(f"the array '{array}' of {path} has no rows.")
    columns = {field: arrays[array] for field, array in fields.items()}
    lengths = {fields[field]: len(column) for field, column in columns.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} has {length:,}" for name, length in lengths.items())
        raise RunError(f"the arrays of {path} must have as many rows: {listed}.")
    for field, size in sizes.items():
        _check_range(path, field, fields[field], columns[field], size)
    for field, column in columns.items():
        dtype = np.dtype(np.float32) if field in scaled else model_dtype(column.dtype)
        _check_fits(path, fields[field], column, dtype)
    return columns, found


def _arrays(path: Path, wanted: set[str]) -> tuple[dict, str]:
    """The arrays of these names, None for others that are there, and a hash of what was read."""
    if path.is_dir() or path.suffix == ".npy":
        files = sorted(path.glob("*.npy")) if path.is_dir() else [path]
        contents = {p.stem: read_file(p) if p.stem in wanted else None for p in files}
        made = {}
        whole = hashlib.sha256()
        for file, (name, content) in zip(files, contents.items(), strict=True):
            made[name] = None if content is None else _load(file, content)
            whole.update(b"" if content is None else f"{name} {sha256(content)}\n".encode())
        return made, whole.hexdigest()
    content = read_file(path)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return {n: file[n] if n in wanted else None for n in file.files}, sha256(content)
    except (zipfile.BadZipFile, ValueError, EOFError, TypeError, AttributeError) as error:
        raise RunError(f"{path} is not a .npz file of plain arrays: {error}") from None


def _load(path: Path, content: bytes) -> np.ndarray:
    try:
        return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, TypeError) as error:
        raise RunError(f"{path} is not a .npy file of a plain array: {error}") from None


def _joined(field: str, column: np.ndarray, other: np.ndarray, path: str | Path) -> np.ndarray:
    if (column.shape[1:], column.dtype) != (other.shape[1:], other.dtype):
        raise RunError(
            f"the rows of '{field}' are {column.dtype}{list(column.shape[1:])} to train on, and"
            f" {other.dtype}{list(other.shape[1:])} in {path}."
        )
    return np.concatenate([column, other])


def _check_range(path: Path, field: str, array: str, column: np.ndarray, size: int) -> None:
    outside = np.argwhere((column < 0) | (column >= size))
    if len(outside):
        raise RunError(
            f"row {int(outside[0][0])} of '{array}' in {path} holds"
            f" {column[tuple(outside[0])]}, but '{field}' may only be 0 to {size - 1}."
        )


def _check_fits(path: Path, array: str, column: np.ndarray, dtype: np.dtype) -> None:
    if column.dtype == dtype or column.dtype.itemsize < dtype.itemsize:
        return
    holds = np.iinfo(dtype) if dtype.kind == "i" else np.finfo(dtype)
    outside = np.argwhere(((column > holds.max) | (column < holds.min)) & np.isfinite(column))
    if len(outside):
        raise RunError(
            f"row {int(outside[0][0])} of '{array}' in {path} holds {column[tuple(outside[0])]},"
            f" which is more than {dtype}, in which it would arrive, can hold."
        )
