"""Files of token ids, of any size: only the windows that are asked for are read."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from .errors import RunError
from .files import RandomAccess
from .tokenizer import tokenizer
from .windows import Windows

DTYPES = ("uint8", "uint16", "uint32", "int32")


class Tokens(Windows):
    """A file of token ids, one after the other: a `.npy` of one dim, or numbers without a header.

    path:       the file
    dtype:      of numbers without a header, little-endian: uint8, uint16, uint32 or int32; a `.npy`
                says its own
    held_out:   fraction at the end to evaluate on, 0 for none; or another such file
    tokenizer:  a `tokenizer.json` to turn ids into text, for sampling; None: there is none
    vocabulary: how many ids the model knows, checked as tokens are read; None: not checked

    The others are those of `Text`. Raises RunError if the file is missing, too short, or no such
    file; a batch raises it if the file was cut off, or has ids beyond the vocabulary.
    """

    kind = "tokens"

    def __init__(
        self,
        path: str | Path,
        *,
        length: int,
        batch: int,
        dtype: str = "uint16",
        fields: Mapping[str, str] | Sequence[str] = ("tokens", "targets"),
        held_out: float | str | Path = 0.1,
        tokenizer: str | Path | None = None,
        windows: str = "random",
        separator: str | int | None = None,
        seed: int = 0,
        vocabulary: int | None = None,
    ):
        super().__init__(
            path,
            lambda file: _Stored(file, dtype),
            speaks=_tokenizer(tokenizer) if tokenizer is not None else None,
            held_out=held_out,
            length=length,
            batch=batch,
            fields=fields,
            windows=windows,
            separator=separator,
            seed=seed,
            vocabulary=vocabulary,
        )


class _Stored:
    """Token ids in a file."""

    def __init__(self, path: Path, dtype: str):
        self._file, self.name = RandomAccess(path), str(path)
        self._offset, self._dtype = 0, np.dtype(_little(path, dtype))
        count = self._file.size
        if path.suffix == ".npy":
            shape, self._dtype, self._offset = self._header()
            if len(shape) != 1 or not np.issubdtype(self._dtype, np.integer):
                raise RunError(
                    f"{path} holds {self._dtype} {list(shape)}: token ids are whole numbers in one"
                    " row."
                )
            self._count = shape[0]
            count = self._file.size - self._offset
            whole = count == self._count * self._dtype.itemsize
        else:
            self._count, rest = divmod(count, self._dtype.itemsize)
            whole = not rest
        if not whole:
            raise RunError(
                f"{path} has {count:,} bytes of tokens, which are not"
                f" {self._count:,} times {self._dtype.itemsize} ({self._dtype}).\n"
                "It was cut off, or has another dtype."
            )

    def describe(self) -> dict:
        return {**self._file.fingerprint(), "dtype": self._dtype.name}

    def __len__(self) -> int:
        return self._count

    def windows(self, starts: np.ndarray, length: int) -> np.ndarray:
        size = self._dtype.itemsize
        found = np.empty((len(starts), length), np.int32)
        for row, start in enumerate(starts.tolist()):
            content = self._file.read(self._offset + start * size, length * size)
            found[row] = np.frombuffer(content, self._dtype)
        return found

    def _header(self) -> tuple[tuple[int, ...], np.dtype, int]:
        content = io.BytesIO(self._file.read(0, min(self._file.size, 2**16)))
        try:
            version = np.lib.format.read_magic(content)
            read = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, _, dtype = read(content)
        except ValueError as error:
            raise RunError(f"{self.name} is not a .npy file: {error}") from None
        return shape, dtype, content.tell()


def _little(path: Path, dtype: str) -> str:
    if dtype not in DTYPES:
        raise RunError(f"dtype = {dtype!r} for {path}: it can be {', '.join(DTYPES)}.")
    return np.dtype(dtype).newbyteorder("<").str


_tokenizer = tokenizer  # the constructor has an argument of that name
