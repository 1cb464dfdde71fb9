"""Pairs of a source and a target sequence, from a text file with one pair a line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from .errors import RunError
from .source import Examples, check_positive, read_file, sha256

PAD, START, END = "<pad>", "<start>", "<end>"
ROLES = ("source", "source_live", "source_count", "target_in", "target_out", "target_live")


class Pairs(Examples):
    """Lines ``source<TAB>target``: the source split into characters, the target at spaces.

    Ids: 0 is padding for both; a target also has 1 = start and 2 = end; then come the symbols of
    the whole file in sorted order (`source_symbols[id]`, `target_symbols[id]`). What a field of
    the batch holds is said by its role:

    source        int32[batch, source_length]   characters, padded at the end
    source_live   bool [batch, source_length]   true where there is a character
    source_count  int32[batch]                  how many characters
    target_in     int32[batch, target_length]   start, then the target
    target_out    int32[batch, target_length]   the target, then end
    target_live   bool [batch, target_length]   true where target_out counts

    path:          the file, UTF-8
    batch:         pairs in a batch
    fields:        field of the batch -> role
    source_length: None: the longest source; longer ones are left out
    target_length: None: the longest target and one more for start or end; longer are left out
    held_out:      pairs to evaluate on, as a count (int) or a fraction (float); 0 for none
    seed:          determines the split and the order
    source_vocabulary, target_vocabulary: how many ids the model knows, to be checked

    Raises RunError if the file is missing, a line is not a pair, or the vocabulary is too small.
    """

    unit = "pairs"

    def __init__(
        self,
        path: str | Path,
        *,
        batch: int,
        fields: Mapping[str, str] | Sequence[str] = ("source", "target_in", "target_out"),
        source_length: int | None = None,
        target_length: int | None = None,
        held_out: float = 0.1,
        seed: int = 0,
        source_vocabulary: int | None = None,
        target_vocabulary: int | None = None,
    ):
        self.path = Path(path)
        self.fields = (
            dict(fields) if isinstance(fields, Mapping) else {name: name for name in fields}
        )
        for field, role in self.fields.items():
            if role not in ROLES:
                raise RunError(
                    f"the field '{field}' asks for '{role}'; a pair offers {', '.join(ROLES)}."
                )
        content = read_file(path)
        self._sha256, self._kept = sha256(content), held_out
        pairs = _parse(self.path, content)
        self.source_symbols = [PAD, *sorted({c for source, _ in pairs for c in source})]
        self.target_symbols = [PAD, START, END, *sorted({t for _, ts in pairs for t in ts})]
        self._check_vocabulary("source", self.source_symbols, source_vocabulary)
        self._check_vocabulary("target", self.target_symbols, target_vocabulary)
        self.source_length = source_length or max(len(source) for source, _ in pairs)
        self.target_length = target_length or max(len(target) for _, target in pairs) + 1
        check_positive(source_length=self.source_length, target_length=self.target_length)
        fitting = [
            (source, target)
            for source, target in pairs
            if len(source) <= self.source_length and len(target) < self.target_length
        ]
        self._left_out = len(pairs) - len(fitting)
        if not fitting:
            raise RunError(
                f"no pair of {self.path} fits source_length = {self.source_length} and"
                f" target_length = {self.target_length}."
            )
        roles = self._encode(fitting)
        columns = {field: roles[role] for field, role in self.fields.items()}
        super().__init__(columns, batch=batch, held_out=held_out, seed=seed)

    def describe(self) -> dict:
        return {
            "kind": "pairs",
            "sha256": self._sha256,
            "fields": self.fields,
            "source_length": self.source_length,
            "target_length": self.target_length,
            "batch": self._batch,
            "held_out": self._kept,
            "seed": self._seed,
        }

    def summary(self) -> str:
        left_out = f", {self._left_out:,} left out as too long" if self._left_out else ""
        return (
            f"{self.path.name}: {len(self._training):,} pairs to train on,"
            f" {len(self._held_out):,} held out{left_out}"
        )

    def encode_source(self, text: str) -> np.ndarray:
        """int32[1, source_length]: a source of one's own. RunError for what does not fit."""
        unknown = sorted(set(text) - set(self.source_symbols))
        if unknown:
            raise RunError(f"{''.join(unknown)!r} does not occur in {self.path.name}.")
        if len(text) > self.source_length:
            raise RunError(f"{text!r} is longer than {self.source_length} characters.")
        return self._encode([(text, [])])["source"]

    def _encode(self, pairs: Sequence[tuple[str, Sequence[str]]]) -> dict[str, np.ndarray]:
        source_id = {symbol: i for i, symbol in enumerate(self.source_symbols)}
        target_id = {symbol: i for i, symbol in enumerate(self.target_symbols)}
        source = np.zeros((len(pairs), self.source_length), np.int32)
        target_in = np.zeros((len(pairs), self.target_length), np.int32)
        target_out = np.zeros_like(target_in)
        for row, (characters, symbols) in enumerate(pairs):
            ids = [target_id[symbol] for symbol in symbols]
            source[row, : len(characters)] = [source_id[c] for c in characters]
            target_in[row, : len(ids) + 1] = [target_id[START], *ids]
            target_out[row, : len(ids) + 1] = [*ids, target_id[END]]
        return {
            "source": source,
            "source_live": source != 0,
            "source_count": np.count_nonzero(source, axis=1).astype(np.int32),
            "target_in": target_in,
            "target_out": target_out,
            "target_live": target_out != 0,
        }

    def _check_vocabulary(self, side: str, symbols: Sequence[str], size: int | None) -> None:
        if size is not None and len(symbols) > size:
            raise RunError(
                f"{self.path} has {len(symbols)} {side} ids (padding and marks included), but the"
                f" model knows {size}.\nGive its vocabulary at least {len(symbols)}."
            )


def _parse(path: Path, content: bytes) -> list[tuple[str, list[str]]]:
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        place = content[: error.start].count(b"\n") + 1
        raise RunError(f"{path}, line {place}: not UTF-8 text.") from None
    pairs = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        parts = line.removesuffix("\r").split("\t")
        if len(parts) != 2 or not parts[0]:
            raise RunError(
                f"{path}, line {number}: expected a source, one tab and a target,"
                f" found {line[:60]!r}."
            )
        pairs.append((parts[0], parts[1].split()))
    if not pairs:
        raise RunError(f"{path} holds no pairs.")
    return pairs
