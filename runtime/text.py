"""Text, as bytes or by a tokenizer: windows to train on, the end or another file to evaluate on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from .errors import RunError
from .files import read_file, read_text, sha256
from .tokenizer import Bytes, Tokenizer, checked_separator, tokenizer
from .windows import Part, Windows, parts


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

    speaks: Tokenizer

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
        self.path = Path(path)
        self.speaks = _tokenizer(tokenizer)
        text = _Encoded(self.path, self.speaks, vocabulary)
        self._described: dict = {"sha256": text.sha256, **self.speaks.describe()}
        split: tuple[Part, Part | None]
        if isinstance(held_out, str | Path):
            other = _Encoded(Path(held_out), self.speaks, vocabulary)
            split = Part(text, 0, len(text)), Part(other, 0, len(other))
            self._described["held_out"] = {"sha256": other.sha256}
        else:
            split = parts(text, held_out)
            self._described["held_out"] = float(held_out)
        super().__init__(
            *split,
            length=length,
            batch=batch,
            fields=fields,
            windows=windows,
            separator=checked_separator(separator, self.speaks),
            seed=seed,
            vocabulary=None,  # the whole text has been checked
        )

    def describe(self) -> dict:
        return {"kind": "text", **self._described, **self.options()}

    def summary(self) -> str:
        return self.counted(self.path.name, self.speaks.unit)


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

    def windows(self, starts: np.ndarray, length: int) -> np.ndarray:
        return self._ids[starts[:, None] + np.arange(length)].astype(np.int32)


_tokenizer = tokenizer  # the constructor has an argument of that name
