"""What a checkpoint is written from: the arrays of a state in the memory of this process."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from . import tensors
from .errors import RunError
from .manifest import File, Leaf, Tile
from .state import leaves_by_path, part_names

CHUNK = 16 << 20  # bytes that one of two threads copies at a time


@dataclass(frozen=True)
class Snapshot:
    """The parts of a state that this process writes.

    Attributes:
        step: the state's step.
        leaves: all leaves, with the tiles of this process, not summed yet.
        arrays: the tiles' data by name.
    """

    step: int
    leaves: tuple[Leaf, ...]
    arrays: Mapping[str, np.ndarray]

    def write(self, path: Path) -> tuple[tuple[Leaf, ...], File]:
        """Write the tiles into a new file; the leaves with their sums, and what the file is."""
        sums, header, size = tensors.write(path, self.arrays)
        leaves = tuple(
            replace(leaf, tiles=tuple(replace(t, crc32=sums[t.tensor]) for t in leaf.tiles))
            for leaf in self.leaves
        )
        return leaves, File(size, header)


def view(state: Any, process: int = 0, only: Collection[str] = ()) -> Snapshot:
    """The state as it lies in memory; on a CPU not copied, so it must not be donated meanwhile.

    An array that lies on several devices is written once: of the same part the first copy. With
    `only` it is those parts of the state, such as "params", and its step. RunError for other names.
    """
    leaves, arrays, only = [], {}, part_names(only)
    file = file_name(process)
    for path, leaf in leaves_by_path(state).items():
        if only and path[0] not in (*only, "step"):
            continue
        data, key = leaf, None
        if is_key(leaf):
            data, key = jax.random.key_data(leaf), str(jax.random.key_impl(leaf))
        name, dtype = dotted(path), str(data.dtype)
        if not tensors.known(dtype):
            raise RunError(f"{name} cannot be saved: it is an array of {dtype}.")
        tiles = []
        for start, part in _parts(data):
            tensor = name if part.shape == data.shape else name + _box(start, part.shape)
            arrays[tensor] = part
            tiles.append(Tile(file, tensor, start, part.shape, 0))
        stored = tensors.storage(dtype)
        leaves.append(Leaf(path, dtype, data.shape, tuple(tiles), stored, key, _sharding(data)))
    return Snapshot(int(jax.device_get(state.step)), tuple(leaves), arrays)


class Copies:
    """Host memory for copies of a state, used again for the next one."""

    def __init__(self) -> None:
        self._arrays: dict[str, np.ndarray] = {}
        self._pool = ThreadPoolExecutor(2, "copy")

    def take(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot with arrays of its own; those of the last one that was taken are gone."""
        made = {name: self._like(name, array) for name, array in snapshot.arrays.items()}
        pairs = [
            pair
            for name, array in snapshot.arrays.items()
            for pair in _cut(made[name], np.ascontiguousarray(array))
        ]
        self._arrays = made
        for _ in self._pool.map(lambda pair: np.copyto(*pair), pairs):
            pass
        return replace(snapshot, arrays=made)

    def close(self) -> None:
        """Give the memory back."""
        self._arrays = {}
        self._pool.shutdown()

    def _like(self, name: str, array: np.ndarray) -> np.ndarray:
        held = self._arrays.get(name)
        if held is not None and (held.shape, held.dtype) == (array.shape, array.dtype):
            return held
        return np.empty(array.shape, array.dtype)


def file_name(process: int) -> str:
    """What the file of a process is called."""
    return f"state-{process:05d}.safetensors"


def dotted(path: tuple[str, ...]) -> str:
    """A path as the name of an array: a dot within a part is escaped, so that names differ."""
    return ".".join(part.replace("%", "%25").replace(".", "%2E") for part in path)


def is_key(leaf: Any) -> bool:
    """Whether a leaf, or its shape and dtype, is of random keys."""
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _parts(data: Any) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    if not isinstance(data, jax.Array):
        yield (0,) * np.ndim(data), np.asarray(data)
        return
    for shard in data.addressable_shards:
        if shard.replica_id == 0:
            spans = zip(shard.index, data.shape, strict=True)
            yield tuple(s.indices(n)[0] for s, n in spans), np.asarray(shard.data)


def _box(start: tuple[int, ...], shape: tuple[int, ...]) -> str:
    return f"[{','.join(f'{a}:{a + n}' for a, n in zip(start, shape, strict=True))}]"


def _cut(into: np.ndarray, array: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    flat, source = into.reshape(-1), array.reshape(-1)
    step = max(CHUNK // max(array.itemsize, 1), 1)
    for at in range(0, flat.size, step):
        yield flat[at : at + step], source[at : at + step]


def _sharding(data: Any) -> tuple[Any, ...] | None:
    spec = getattr(getattr(data, "sharding", None), "spec", None)
    if spec is None:
        return None
    return tuple(list(axes) if isinstance(axes, tuple) else axes for axes in spec)
