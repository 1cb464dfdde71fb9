"""Text, as bytes or by a tokenizer: windows to train on, the end or another file to evaluate on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from .errors import RunError
from .files import read_file, read_text, sha256
from .tokenizer import Bytes, Tokenizer, tokenizer
from .windows import Windows


class Text(Windows):
    """A text file as tokens: its bytes (0 to 255), or the ids that a tokenizer gives.

    path:       the file
    fields:     field of the batch -> role, or fields that are named as roles: see `Windows`
    length:     tokens in a window
    batch:      windows in a batch
    held_out:   fraction at the end of the file to evaluate on, 0 for none; or another text file
    tokenizer:  a `tokenizer.json`; None: bytes
    windows:    "random" or "each": see `Windows`
    separator:  the token that ends each document: an id, or its text
    seed:       determines the windows
    vocabulary: how many ids the model knows, to be checked against the file; None: not checked

    Raises RunError if the file is missing, too short, or has ids beyond the vocabulary.
    """

    kind = "text"

    def __init__(
        self,
        path: str | Path,
        *,
        length: int,
        batch: int,
        fields: Mapping[str, str] | Sequence[str] = ("tokens", "targets"),
        held_out: float | str | Path = 0.1,
        tokenizer: str | Path | None = None,
        windows: str = "random",
        separator: str | int | None = None,
        seed: int = 0,
        vocabulary: int | None = None,
    ):
        by = _tokenizer(tokenizer)
        super().__init__(
            path,
            lambda file: _Encoded(file, by, vocabulary),
            speaks=by,
            held_out=held_out,
            length=length,
            batch=batch,
            fields=fields,
            windows=windows,
            separator=separator,
            seed=seed,
            vocabulary=None,  # the whole text has been checked
        )
        self._described |= by.describe()


class _Encoded:
    """A whole text in memory, as ids."""

    def __init__(self, path: Path, by: Tokenizer, vocabulary: int | None):
        content = read_file(path)
        self.name, self.sha256 = str(path), sha256(content)
        self._ids = by.encode(content if isinstance(by, Bytes) else read_text(path, content))
        if vocabulary is None:
            return
        outside = np.flatnonzero(self._ids >= vocabulary)
        if not len(outside):
            return
        place = int(outside[0])
        if not isinstance(by, Bytes):
            raise RunError(
                f"{path}: token {place:,} has the id {self._ids[place]}, outside the model's"
                f" vocabulary of {vocabulary}.\nThis tokenizer needs one of {by.size}."
            )
        raise RunError(
            f"{path}, line {content[:place].count(10) + 1}: byte {content[place]} is outside the"
            f" model's vocabulary of {vocabulary}.\nA vocabulary of 256 takes every text."
        )

    def __len__(self) -> int:
        return len(self._ids)

    def describe(self) -> dict:
        return {"sha256": self.sha256}

    def windows(self, starts: np.ndarray, length: int) -> np.ndarray:
        return self._ids[starts[:, None] + np.arange(length)].astype(np.int32)


_tokenizer = tokenizer  # the constructor has an argument of that name
