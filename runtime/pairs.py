"""Pairs of a source and a target sequence, from a text file with one pair a line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from .errors import RunError
from .files import read_file, read_text, sha256
from .order import check_positive, divided
from .source import Examples, by_role

PAD, START, END = "<pad>", "<start>", "<end>"
ROLES = ("source", "source_live", "source_count", "target_in", "target_out", "target_live")
Pair = tuple[str, list[str]]


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
    held_out:      pairs to evaluate on, as a count (int) or a fraction (float), 0 for none; or
                   another such file, whose symbols must be among those of the first
    split:         which pairs those are: see `order.split_rows`
    split_seed:    determines the split; None: seed does
    seed:          determines the order
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
        held_out: float | str | Path = 0.1,
        split: str = "random",
        split_seed: int | None = None,
        seed: int = 0,
        source_vocabulary: int | None = None,
        target_vocabulary: int | None = None,
    ):
        self.path = Path(path)
        self.fields = by_role(fields, ROLES, "a pair")
        content = read_file(path)
        pairs = _parse(self.path, content)
        self.source_symbols = [PAD, *sorted({c for source, _ in pairs for c in source})]
        self.target_symbols = [PAD, START, END, *sorted({t for _, ts in pairs for t in ts})]
        self._check_vocabulary("source", self.source_symbols, source_vocabulary)
        self._check_vocabulary("target", self.target_symbols, target_vocabulary)
        self.source_length = source_length or max(len(source) for source, _ in pairs)
        self.target_length = target_length or max(len(target) for _, target in pairs) + 1
        check_positive(source_length=self.source_length, target_length=self.target_length)
        fitting, other = self._fitting(self.path, pairs), None
        count = len(fitting)
        if isinstance(held_out, str | Path):
            more_content = read_file(held_out)
            more = _parse(Path(held_out), more_content)
            self._check_symbols(Path(held_out), more)
            fitting += self._fitting(Path(held_out), more)
            pairs += more
            other = len(fitting) - count, {"sha256": sha256(more_content)}
        rows, described = divided(
            count, held_out, split=split, split_seed=split_seed, seed=seed, other=other
        )
        self._described = {"sha256": sha256(content), **described}
        self._left_out = len(pairs) - len(fitting)
        roles = self._encode(fitting)
        columns = {field: roles[role] for field, role in self.fields.items()}
        super().__init__(columns, rows, batch=batch, seed=seed)

    def describe(self) -> dict:
        return {
            "kind": "pairs",
            **self._described,
            "fields": self.fields,
            "source_length": self.source_length,
            "target_length": self.target_length,
            "batch": self._batch,
            "seed": self._seed,
        }

    def summary(self) -> str:
        left_out = f", {self._left_out:,} left out as too long" if self._left_out else ""
        return self.counted(self.path.name) + left_out

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

    def _fitting(self, path: Path, pairs: list[Pair]) -> list[Pair]:
        """The pairs that fit the lengths."""
        fitting = [
            (source, target)
            for source, target in pairs
            if len(source) <= self.source_length and len(target) < self.target_length
        ]
        if not fitting:
            raise RunError(
                f"no pair of {path} fits source_length = {self.source_length} and"
                f" target_length = {self.target_length}."
            )
        return fitting

    def _check_symbols(self, path: Path, pairs: list[Pair]) -> None:
        known = {"source": set(self.source_symbols), "target": set(self.target_symbols)}
        for source, target in pairs:
            for side, symbols in (("source", source), ("target", target)):
                for symbol in symbols:
                    if symbol not in known[side]:
                        raise RunError(
                            f"{path}: the {side} of {source!r} has {symbol!r}, which is nowhere in"
                            f" {self.path}."
                        )

    def _check_vocabulary(self, side: str, symbols: Sequence[str], size: int | None) -> None:
        if size is not None and len(symbols) > size:
            raise RunError(
                f"{self.path} has {len(symbols)} {side} ids (padding and marks included), but the"
                f" model knows {size}.\nGive its vocabulary at least {len(symbols)}."
            )


def _parse(path: Path, content: bytes) -> list[Pair]:
    pairs = []
    for number, line in enumerate(read_text(path, content).split("\n"), 1):
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
