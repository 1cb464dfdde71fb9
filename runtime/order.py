"""Orders: which examples are held out, and in which order the others come. All by seed alone.

Randomness is taken raw from the Philox counter generator, whose bits numpy guarantees for all
time; its Generator methods may change from version to version.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .errors import RunError

# Separate streams of random bits under one seed.
WINDOWS, SPLIT, EPOCHS, AUGMENTING = 0, 1, 2, 3

SPLITS = ("random", "end", "stable")
ROUNDS = 6


def random_bits(seed: int, stream: int, index: int, count: int) -> np.ndarray:
    """uint64[count]: random access into an endless table of random bits."""
    return np.random.Philox(key=[seed, index], counter=[0, 0, 0, stream]).random_raw(count)


def shuffled(seed: int, stream: int, index: int, count: int) -> np.ndarray:
    """A permutation of range(count), each as likely as any other."""
    return np.argsort(random_bits(seed, stream, index, count), kind="stable")


def permuted(
    positions: np.ndarray, count: int, *, seed: int, stream: int, index: int
) -> np.ndarray:
    """Where a permutation of range(count) takes some positions; int64, in constant memory.

    For data of which not even a list of the examples should be held. A Feistel network with random
    keys permutes the numbers below a power of four; what falls outside of range(count) is sent
    through again (cycle walking: Black and Rogaway, *Ciphers with arbitrary finite domains*, 2002).
    """
    half = np.uint64(max(1, ((count - 1).bit_length() + 1) // 2))
    mask = (np.uint64(1) << half) - np.uint64(1)
    keys = random_bits(seed, stream, index, ROUNDS)

    def network(numbers: np.ndarray) -> np.ndarray:
        left, right = numbers >> half, numbers & mask
        for key in keys:
            left, right = right, left ^ (_mixed(right ^ key) & mask)
        return (left << half) | right

    found = network(np.asarray(positions, np.uint64))
    while (outside := np.flatnonzero(found >= count)).size:
        found[outside] = network(found[outside])
    return found.astype(np.int64)


def _mixed(bits: np.ndarray) -> np.ndarray:
    """The finalizer of SplitMix64 (Steele, Lea and Flood 2014)."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


Split = tuple[np.ndarray, np.ndarray]
"""The numbers of the examples to train on, and of those to evaluate on."""


def divided(
    count: int,
    held_out: Any,
    *,
    split: str,
    split_seed: int | None,
    seed: int,
    other: tuple[int, Any] | None = None,
) -> tuple[Split, dict]:
    """The rows of `count` examples, and what a source says of how they were split.

    With another file (its number of examples, and what tells it from others), the rows are those
    of both, one after the other.
    """
    if other is not None:
        more, told = other
        return (np.arange(count), np.arange(count, count + more)), {"held_out": told}
    rows = split_rows(count, held_out, split, seed if split_seed is None else split_seed)
    described: dict = {"held_out": held_out}
    described |= {} if split == "random" else {"split": split}
    described |= {} if split_seed is None else {"split_seed": split_seed}
    return rows, described


def split_rows(count: int, held_out: float, split: str, seed: int) -> Split:
    """Which of `count` examples are trained on and which are held out, without overlap.

    random: as many as asked for, drawn among all; more examples draw others
    end:    as many as asked for, the last ones
    stable: each by a draw of its own, so that examples added at the end change nothing for those
            before them; about as many as asked for
    """
    if split not in SPLITS:
        raise RunError(f"split = {split!r}: it can be {', '.join(SPLITS)}.")
    if split == "stable":
        fraction = held_out / count if isinstance(held_out, int) else held_out
        held = random_bits(seed, SPLIT, 0, count) < np.uint64(check_fraction(fraction) * 2.0**64)
        if held.all():
            raise RunError(f"held_out = {held_out} leaves none of {count} examples to train on.")
        return np.flatnonzero(~held), np.flatnonzero(held)
    kept = split_count(count, held_out)
    order = np.arange(count) if split == "end" else shuffled(seed, SPLIT, 0, count)
    return order[: count - kept], order[count - kept :]


def split_count(count: int, held_out: float) -> int:
    """How many of `count` rows are held out: an int is that many, a float a fraction."""
    if isinstance(held_out, int) and not isinstance(held_out, bool):
        kept = held_out
    else:
        kept = int(count * check_fraction(held_out))
    if not 0 <= kept < count:
        raise RunError(
            f"held_out = {held_out} asks for {kept} of {count} examples;"
            " at least one must be left to train on."
        )
    return kept


def check_positive(**values: int) -> None:
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise RunError(f"{name} = {value!r}: it must be a whole number of at least 1.")


def check_seed(seed: int) -> None:
    if not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise RunError(f"seed = {seed!r}: it must be a whole number from 0 on.")


def check_fraction(value: float) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1:
        raise RunError(f"held_out = {value!r}: it must be at least 0 and less than 1.")
    return value
