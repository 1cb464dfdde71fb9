"""Checkpoints as they lie on the disk, read without a model.

    checkpoints/step-00000500/manifest.json            what it holds, see `manifest`
                              state-00000.safetensors  the arrays, one file for each process

    checkpoint = open_checkpoint(folder / "step-00000500")
    checkpoint.manifest.about                    what the run was made of
    checkpoint.leaves[("params", "embed")].shape
    checkpoint.read(("params", "embed"))         a numpy array
    checkpoint.verify()                          what is damaged, nothing if it is whole

A checkpoint is valid if its manifest parses and all the rest matches it. What is read has been
checked; `Broken` says that it is not what was written. This needs numpy, and not JAX.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from . import manifest as manifests
from . import tensors
from .errors import RunError
from .manifest import File, Leaf, Manifest, Tile
from .tensors import Broken, Reader

__all__ = ["Broken", "Checkpoint", "Leaf", "Manifest", "Tile", "open_checkpoint", "steps"]

Index = Sequence[slice]


def steps(folder: Path) -> dict[int, Path]:
    """The checkpoints in a folder by step, oldest first; whether they are whole is not asked."""
    found = {}
    for path in folder.glob("step-*"):
        match = re.fullmatch(r"step-(\d+)", path.name)
        if match and path.is_dir() and not path.is_symlink():
            found[int(match[1])] = path
    return dict(sorted(found.items()))


def open_checkpoint(path: Path | str) -> Checkpoint:
    """The checkpoint in a folder `step-…`, its manifest read and found to be as it was written.

    Raises:
        Broken: the manifest is damaged or lacking.
        RunError: it is of a format that this program does not know, or there is no such folder.
    """
    path = Path(path)
    if not path.is_dir():
        raise RunError(f"there is no checkpoint {path}.")
    handle = tensors.open_to_read(path / manifests.NAME)
    with os.fdopen(handle, "rb") as file:
        try:
            text = file.read(manifests.MOST_BYTES + 1)
        except OSError as error:
            raise Broken(f"{manifests.NAME} cannot be read: {error.strerror}") from None
    return Checkpoint(path, manifests.decode(text, str(path)))


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose manifest has been read. `path` is its folder."""

    path: Path
    manifest: Manifest

    @cached_property
    def leaves(self) -> dict[tuple[str, ...], Leaf]:
        """What it holds, by path."""
        return {leaf.path: leaf for leaf in self.manifest.leaves}

    def read(self, path: tuple[str, ...]) -> np.ndarray:
        """A whole leaf. KeyError if there is none; Broken if it is damaged."""
        with self.opened() as files:
            return files.read(self.leaves[path])

    def verify(self, *, from_disk: bool = False) -> list[str]:
        """Read everything; what is damaged, in words. Empty if it is whole.

        Args:
            from_disk: have it read from the disk, not from what the system keeps in memory.
        """
        damaged = []
        for name in self.manifest.files:
            try:
                with self.opened(name) as files:
                    damaged += files.verify(name, from_disk)
            except Broken as error:
                damaged.append(str(error))
        return damaged

    @contextmanager
    def opened(self, *names: str) -> Iterator[Files]:
        """Its files, or those named, open for reading. Broken if one is not as it should be."""
        with ExitStack() as stack:
            chosen = {name: self.manifest.files[name] for name in names or self.manifest.files}
            readers = {}
            for name, file in chosen.items():
                readers[name] = stack.enter_context(Reader(self.path / name))
                _compare(readers[name], file)
            tiles: dict[str, list[tuple[Leaf, Tile]]] = {name: [] for name in readers}
            for leaf in self.manifest.leaves:
                for tile in leaf.tiles:
                    if tile.file in readers:
                        _compare_tile(readers[tile.file], leaf, tile)
                        tiles[tile.file].append((leaf, tile))
            for name, reader in readers.items():
                if len(reader.arrays) != len(tiles[name]):
                    raise Broken(f"{name} holds arrays that {manifests.NAME} does not know")
            yield Files(readers, tiles)


@dataclass(frozen=True)
class Files:
    """The files of a checkpoint, open for reading."""

    readers: dict[str, Reader]
    tiles: dict[str, list[tuple[Leaf, Tile]]]

    def read(self, leaf: Leaf, index: Index | None = None) -> np.ndarray:
        """A leaf, or the part of it that `index` cuts out (slices without steps)."""
        spans = [s.indices(n)[:2] for s, n in zip(index or (), leaf.shape, strict=False)]
        spans += [(0, n) for n in leaf.shape[len(spans) :]]
        start, shape = tuple(a for a, _ in spans), tuple(b - a for a, b in spans)
        for tile in leaf.tiles:
            if (tile.start, tile.shape) == (start, shape):
                return self.read_tile(leaf, tile)
        array = np.empty(shape, tensors.dtype(leaf.dtype))
        for tile in leaf.tiles:
            low = [max(a, t) for a, t in zip(start, tile.start, strict=True)]
            high = [
                min(a + n, t + m)
                for a, n, t, m in zip(start, shape, tile.start, tile.shape, strict=True)
            ]
            if all(a < b for a, b in zip(low, high, strict=True)):
                part = self.read_tile(leaf, tile)
                here = zip(low, high, start, strict=True)
                there = zip(low, high, tile.start, strict=True)
                into = tuple(slice(a - s, b - s) for a, b, s in here)
                array[into] = part[tuple(slice(a - s, b - s) for a, b, s in there)]
        return array

    def read_tile(self, leaf: Leaf, tile: Tile) -> np.ndarray:
        """A tile. Broken if its data are not what was written."""
        array, found = self.readers[tile.file].read(tile.tensor, leaf.dtype)
        _compare_sum(tile, found)
        return array

    def verify(self, name: str, from_disk: bool) -> list[str]:
        """What is damaged in a file, in words."""
        if from_disk:
            self.readers[name].forget()
        damaged = []
        for _, tile in self.tiles[name]:
            try:
                _compare_sum(tile, self.readers[name].crc32(tile.tensor))
            except Broken as error:
                damaged.append(str(error))
        return damaged


def _compare_sum(tile: Tile, found: int) -> None:
    if found != tile.crc32:
        raise Broken(f"the data of {tile.tensor} has changed since it was written")


def _compare(reader: Reader, file: File) -> None:
    if file.bytes is not None and file.bytes != reader.size:
        raise Broken(f"{reader.name} has {reader.size} bytes, and not {file.bytes}")
    if file.header_crc32 is not None and file.header_crc32 != reader.header_crc32:
        raise Broken(f"the header of {reader.name} has changed since it was written")


def _compare_tile(reader: Reader, leaf: Leaf, tile: Tile) -> None:
    found = reader.arrays.get(tile.tensor)
    if found is None:
        raise Broken(f"{reader.name} has no {tile.tensor}")
    if (found.dtype, found.shape) != (leaf.storage, tensors.stored_shape(leaf.dtype, tile.shape)):
        raise Broken(f"{reader.name} and {manifests.NAME} disagree about {tile.tensor}")
