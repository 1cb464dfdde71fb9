"""The manifest of a checkpoint: what it holds, and what says that nothing of it has changed.

    {"format": 2, "min_reader": 2, "step": 500,
     "about": {…},                                      what the run was made of
     "files": {"state-00000.safetensors": {"bytes": 8136, "header_crc32": 123}},
     "leaves": [
      {"path": ["params", "embed"], "dtype": "float32", "shape": [256, 64], "storage": "float32",
       "sharding": [null, "model"],
       "tiles": [{"file": "state-00000.safetensors", "tensor": "params.embed[0:256,0:32]",
                  "start": [0, 0], "shape": [256, 32], "crc32": 456}, …]}, …],
    "crc32": 789}

The last line has the CRC-32 of all bytes before it, in every format from 2 on: so a reader tells
damage from a format that it does not know. The schema: Netwright's `docs/checkpoint.schema.json`.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import tensors
from .errors import RunError
from .tensors import Broken, is_shape

FORMAT = 2  # what is written
MIN_READER = 2  # the least format that a reader must know to read it
NAME = "manifest.json"
MOST_BYTES = 64 << 20
MOST_PARTS, MOST_LETTERS = 100, 1000  # of a path, and of each part

_FILE = re.compile(r"state(-\d{5})?\.safetensors")
_END = re.compile(rb'"crc32": (\d{1,10})\}\n')
_KEYS = {"threefry2x32": 2, "rbg": 4, "unsafe_rbg": 4}  # numbers in a key's data


@dataclass(frozen=True)
class Tile:
    """A part of a leaf in a file: a box of `shape` that begins at `start`."""

    file: str
    tensor: str
    start: tuple[int, ...]
    shape: tuple[int, ...]
    crc32: int


@dataclass(frozen=True)
class Leaf:
    """An array of the state.

    Attributes:
        path: its place in the state.
        dtype, shape: as it is in the state; of a random key, those of its data.
        storage: the dtype in which it is stored, another one where safetensors lacks its own.
        tiles: the parts, which cover it without overlap.
        key: the implementation of a random key, None for any other array.
        sharding: for each dim the axes of the mesh that it lay along; for information only.
    """

    path: tuple[str, ...]
    dtype: str
    shape: tuple[int, ...]
    tiles: tuple[Tile, ...]
    storage: str
    key: str | None = None
    sharding: tuple[Any, ...] | None = None


@dataclass(frozen=True)
class File:
    """The size of a file in bytes, and the CRC-32 of its header; None where it was not kept."""

    bytes: int | None
    header_crc32: int | None


@dataclass(frozen=True)
class Manifest:
    """What stands in a manifest. `about` is plain JSON."""

    step: int
    leaves: tuple[Leaf, ...]
    files: Mapping[str, File]
    about: Mapping[str, Any] = field(default_factory=dict)
    format: int = FORMAT
    min_reader: int = MIN_READER


def encode(manifest: Manifest) -> bytes:
    """The manifest as a file."""
    files = {name: vars(file) for name, file in manifest.files.items()}
    head = {
        "format": FORMAT,
        "min_reader": MIN_READER,
        "step": manifest.step,
        "about": dict(manifest.about),
        "files": files,
    }
    lines = [
        f"{json.dumps(name)}: {json.dumps(value, allow_nan=False)},\n"
        for name, value in head.items()
    ]
    leaves = ",\n ".join(json.dumps(_leaf(leaf)) for leaf in manifest.leaves)
    text = f'{{{"".join(lines)}"leaves": [\n {leaves}],\n'.encode()
    return text + f'"crc32": {zlib.crc32(text)}}}\n'.encode()


def decode(text: bytes, where: str, *, part: bool = False) -> Manifest:
    """The manifest in a file of the format 1 or 2.

    Args:
        text: the file.
        where: what it is of, for messages.
        part: whether it is of one process among several, whose tiles need not cover the leaves.

    Raises:
        Broken: it is not as it was written, or contradicts itself.
        RunError: it was written in a format that this program does not know.
    """
    if len(text) > MOST_BYTES:
        raise Broken(f"{NAME} has more than {MOST_BYTES:,} bytes")
    body, end = text[: text.rfind(b"\n", 0, -1) + 1], text[text.rfind(b"\n", 0, -1) + 1 :]
    summed = _END.fullmatch(end)
    if summed is not None and int(summed[1]) != zlib.crc32(body):
        raise Broken(f"{NAME} has changed since it was written")
    found = tensors.loads(text, NAME)
    if not isinstance(found, dict):
        raise _not_written("it is no object")
    form, least = found.get("format"), found.get("min_reader", found.get("format"))
    if type(form) is not int or type(least) is not int or not 1 <= least <= form:
        raise _not_written("format")
    if least > FORMAT:
        raise RunError(
            f"{where} is written in format {form}; this program reads those up to {FORMAT}.\n"
            "Use the program that wrote it, or a newer one."
        )
    if form == 1:
        return _first(found)
    if summed is None:
        raise Broken(f"{NAME} has changed since it was written")
    return _second(found, part)


def covered(leaf: Leaf) -> bool:
    """Whether the tiles of a leaf cover it, each place once.

    Tiles are cut as shards of arrays are: by a grid, the same cuts of a dim throughout.
    """
    dims = len(leaf.shape)
    if not leaf.tiles or any(len(t.start) != dims or len(t.shape) != dims for t in leaf.tiles):
        return False
    cuts = [sorted({t.start[d] for t in leaf.tiles}) for d in range(dims)]
    ends = [
        dict(zip(starts, [*starts[1:], size], strict=True))
        for starts, size in zip(cuts, leaf.shape, strict=True)
    ]
    cells = math.prod(len(starts) for starts in cuts)
    return (
        cells == len(leaf.tiles) == len({t.start for t in leaf.tiles})
        and all(starts[0] == 0 for starts in cuts)
        and all(
            a + n == end[a]
            for t in leaf.tiles
            for a, n, end in zip(t.start, t.shape, ends, strict=True)
        )
    )


def _leaf(leaf: Leaf) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "path": leaf.path,
        "dtype": leaf.dtype,
        "shape": leaf.shape,
        "storage": leaf.storage,
    }
    if leaf.key is not None:
        entry["key"] = leaf.key
    if leaf.sharding is not None:
        entry["sharding"] = leaf.sharding
    return {**entry, "tiles": [vars(tile) for tile in leaf.tiles]}


def _second(found: dict, part: bool) -> Manifest:
    _keys(found, {"format", "min_reader", "step", "about", "files", "leaves", "crc32"})
    step, about = found["step"], found["about"]
    if not _whole(step) or not isinstance(about, dict):
        raise _not_written("step or about")
    files = {}
    for name, entry in _object(found["files"]).items():
        if not _FILE.fullmatch(name):
            raise _not_written(f"{name[:60]!r} is no name of a file of a checkpoint")
        _keys(_object(entry), {"bytes", "header_crc32"})
        if not _whole(entry["bytes"]) or not _whole(entry["header_crc32"]):
            raise _not_written(name)
        files[name] = File(**entry)
    leaves = tuple(_leaf_of(entry, files) for entry in _list(found["leaves"]))
    made = Manifest(step, leaves, files, about, found["format"], found["min_reader"])
    return _checked(made, part)


def _leaf_of(entry: Any, files: Mapping[str, File]) -> Leaf:
    entry = _object(entry)
    _keys(entry, {"path", "dtype", "shape", "storage", "tiles"}, {"key", "sharding"})
    path, name, shape = entry["path"], entry["dtype"], entry["shape"]
    if not is_path(path):
        raise _not_written("a path")
    where = ".".join(path)
    if not isinstance(name, str) or not is_shape(shape):
        raise _not_written(where)
    if not tensors.known(name) or entry["storage"] != tensors.storage(name):
        raise _not_written(f"{where}: dtype")
    key, sharding = entry.get("key"), entry.get("sharding")
    if key is not None:
        numbers = _KEYS.get(key) if isinstance(key, str) else None
        if numbers is None or (name, shape[-1:]) != ("uint32", [numbers]):
            raise _not_written(f"{where}: key")
    if sharding is not None and (not isinstance(sharding, list) or not all(map(_axes, sharding))):
        raise _not_written(f"{where}: sharding")
    tiles = tuple(_tile(tile, where, files) for tile in _list(entry["tiles"]))
    axes = None if sharding is None else tuple(sharding)
    return Leaf(tuple(path), name, tuple(shape), tiles, entry["storage"], key, axes)


def _tile(entry: Any, where: str, files: Mapping[str, File]) -> Tile:
    entry = _object(entry)
    _keys(entry, {"file", "tensor", "start", "shape", "crc32"})
    file, tensor = entry["file"], entry["tensor"]
    if not isinstance(file, str) or file not in files or not isinstance(tensor, str):
        raise _not_written(f"{where}: file")
    if not is_shape(entry["start"]) or not is_shape(entry["shape"]) or not _whole(entry["crc32"]):
        raise _not_written(f"{where}: tile")
    return Tile(file, tensor, tuple(entry["start"]), tuple(entry["shape"]), entry["crc32"])


def _first(found: dict) -> Manifest:
    """Format 1: every leaf whole in state.safetensors, the sum taken of the sorted JSON."""
    _keys(found, {"format", "step", "about", "leaves", "crc32"})
    expected = found.pop("crc32")
    if zlib.crc32(json.dumps(found, sort_keys=True).encode()) != expected:
        raise Broken(f"{NAME} has changed since it was written")
    file, leaves = "state.safetensors", []
    for entry in _list(found["leaves"]):
        entry = _object(entry)
        _keys(entry, {"path", "shape", "dtype", "tensor", "crc32"}, {"key"})
        path, shape, name, key = entry["path"], entry["shape"], entry["dtype"], entry.get("key")
        if not is_path(path) or not is_shape(shape) or not isinstance(entry["tensor"], str):
            raise _not_written("a leaf")
        if key is not None:  # of a random key it had the shape without that of its data
            if not isinstance(key, str) or key not in _KEYS:
                raise _not_written("a key")
            shape, name = [*shape, _KEYS[key]], "uint32"
        if not isinstance(name, str) or not tensors.known(name) or not _whole(entry["crc32"]):
            raise _not_written("a leaf")
        start, sizes = (0,) * len(shape), tuple(shape)
        tile = Tile(file, entry["tensor"], start, sizes, entry["crc32"])
        leaves.append(Leaf(tuple(path), name, sizes, (tile,), tensors.storage(name), key))
    step, about = found["step"], found["about"]
    if not _whole(step) or not isinstance(about, dict):
        raise _not_written("step or about")
    return _checked(Manifest(step, tuple(leaves), {file: File(None, None)}, about, 1, 1))


def _checked(manifest: Manifest, part: bool = False) -> Manifest:
    if len({leaf.path for leaf in manifest.leaves}) != len(manifest.leaves):
        raise _not_written("a path stands twice")
    used = [(tile.file, tile.tensor) for leaf in manifest.leaves for tile in leaf.tiles]
    if len(set(used)) != len(used):
        raise _not_written("two tiles share their data")
    for leaf in manifest.leaves:
        if not part and not covered(leaf):
            raise _not_written(f"the tiles of {'.'.join(leaf.path)} do not cover it once each")
    return manifest


def is_path(value: Any) -> bool:
    """Whether a value out of JSON is a path of the state."""
    return (
        isinstance(value, list)
        and 0 < len(value) <= MOST_PARTS
        and all(isinstance(part, str) and len(part) <= MOST_LETTERS for part in value)
        and not any("\0" in part for part in value)
    )


def _axes(value: Any) -> bool:
    if value is None or isinstance(value, str):
        return True
    return isinstance(value, list) and all(isinstance(axis, str) for axis in value)


def _whole(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _list(value: Any) -> list:
    if not isinstance(value, list):
        raise _not_written("a list is something else")
    return value


def _object(value: Any) -> dict:
    if not isinstance(value, dict):
        raise _not_written("an object is something else")
    return value


def _keys(found: dict, needed: set[str], allowed: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    if not needed <= found.keys() <= needed | allowed:
        raise _not_written(f"its keys are {sorted(found)[:12]}")


def _not_written(what: str) -> Broken:
    return Broken(f"{NAME} is not what was written ({what})")
