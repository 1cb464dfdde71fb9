"""What may happen to a checkpoint: kills, losses of power, flipped bits, files made to deceive.

Each function tries one such thing and raises AssertionError where it does harm. The tests try some,
`benchmarks/checkpoint_faults.py` all or very many.
"""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from netwright.runtime import RunError, commit, manifest, tensors
from netwright.runtime.checkpoint import Broken, open_checkpoint, steps
from netwright.runtime.manifest import File, Leaf, Manifest, Tile
from netwright.runtime.saver import save
from netwright.runtime.scale import LossScale
from netwright.runtime.state import TrainState


def small_state(step: int) -> TrainState:
    """A state of numpy arrays that differ from step to step."""
    rng = np.random.default_rng(step)
    params = {
        "w": rng.random((5, 7), np.float32),
        "low": rng.integers(0, 255, 6, np.uint8).view(tensors.dtype("float8_e4m3fn")),
        "a.b": {"c": np.arange(step, step + 3)},
    }
    scale = LossScale(np.float32(1), np.int32(0))
    return TrainState(
        params, ({"m": rng.random(3)},), {}, np.uint32([1, 2]), np.int32(step), scale, {}
    )


def content(path: Path) -> dict[tuple[str, ...], bytes]:
    """All leaves of a checkpoint. Broken if it is damaged."""
    checkpoint = open_checkpoint(path)
    with checkpoint.opened() as files:
        return {leaf.path: files.read(leaf).tobytes() for leaf in checkpoint.manifest.leaves}


def newest_whole(folder: Path) -> int | None:
    """The step of the newest checkpoint, which must be whole: none is ever half there."""
    commit.clean(folder)
    for step, path in reversed(steps(folder).items()):
        found = content(path)
        assert found[("step",)] == np.int32(step).tobytes()
        assert found[("params", "w")] == small_state(step).params["w"].tobytes()
        return step
    return None


# Kills and losses of power


class Killed(BaseException):
    """What stands for SIGKILL: nothing more reaches the disk."""


class Disk:
    """Stands before the calls of `os` that change the disk: notes them, and ends at one of them.

    `calls` are tuples of a name, a path, and for a write the bytes, for a rename the new path.
    """

    def __init__(self, last: int | None = None):
        self.calls: list[tuple] = []
        self._last, self._dead = last, False
        self._files: dict[int, Path] = {}

    @contextmanager
    def watched(self) -> Iterator[None]:
        names = ("open", "write", "fsync", "mkdir", "rename", "unlink", "rmdir", "close")
        real = {name: getattr(os, name) for name in names}
        with mock.patch.multiple(os, **{name: self._like(name, real[name]) for name in names}):
            yield

    def _like(self, name: str, call: Callable) -> Callable:
        def watched(first: Any, *more: Any, dir_fd: int | None = None, **rest: Any) -> Any:
            if dir_fd is not None:
                rest["dir_fd"] = dir_fd
            path = self._files.get(first) if isinstance(first, int) else Path(first)
            if dir_fd is not None:
                path = self._files[dir_fd] / first
            writes = name == "open" and bool(more and more[0] & os.O_CREAT)
            if name not in ("open", "close") or writes:
                self._note(name, path, *more[:1])
            result = call(first, *more, **rest)
            if name == "open":
                self._files[result] = path  # type: ignore[assignment]
            return result

        return watched

    def _note(self, name: str, path: Path | None, *more: Any) -> None:
        if self._dead or len(self.calls) == self._last:
            self._dead = True
            raise Killed
        if name == "write":
            more = (bytes(more[0]),)
        self.calls.append((name, path, *more))


def save_twice(folder: Path, last: int | None = None) -> Disk:
    """Save steps 1 and 2, keeping one; the second save ends after `last` calls, if given."""
    save(folder, small_state(1), about={}, keep=1)
    disk = Disk(last)
    try:
        with disk.watched():
            save(folder, small_state(2), about={}, keep=1)
    except Killed:
        pass
    return disk


def kills(folder: Path) -> int:
    """A kill before each call of a save; how many there are."""
    count = len(save_twice(folder / "whole").calls)
    assert newest_whole(folder / "whole") == 2
    for last in range(count):
        place = folder / str(last)
        save_twice(place, last)
        assert newest_whole(place) in (1, 2), last
        save(place, small_state(3), about={}, keep=1)  # and it goes on
        assert newest_whole(place) == 3
    return count


def losses_of_power(folder: Path, seed: int, tries: int) -> int:
    """A loss of power after each call of a save; how many disks were looked at.

    What was written and not synced is lost: of files all, some, or the later part; of the names in
    a folder that was not synced any. Each prefix of the calls is tried with none of it on the disk,
    with all, and `tries` times with some.
    """
    rng = random.Random(seed)
    folder.mkdir(parents=True)
    run = folder / "run"
    calls = save_twice(run).calls
    before = folder / "before"
    save(before, small_state(1), about={}, keep=1)
    known = {
        path.relative_to(before): path.read_bytes() if path.is_file() else None
        for path in sorted(before.rglob("*"))
    }
    looked = 0
    for count in range(len(calls) + 1):
        for number in range(tries + 2):
            chance = (0.0, 1.0)[number] if number < 2 else rng.random()
            place = folder / "disk"
            shutil.rmtree(place, ignore_errors=True)
            replay(calls[:count], known, run, place, lambda chance=chance: rng.random() < chance)
            found = newest_whole(place)
            assert found in (1, 2), (count, number)
            if ("fsync", run) in calls[:count]:
                assert found == 2, (count, number)
            looked += 1
    return looked


def replay(
    calls: list[tuple], known: dict, run: Path, place: Path, lucky: Callable[[], bool]
) -> None:
    """Make the disk as it may be after these calls and a loss of power."""
    names: dict[Path, Any] = {}  # path -> a file's name in `data`, or None for a folder
    data: dict[Path, bytearray] = {}
    synced: dict[Path, bytes] = {}
    for path, text in known.items():
        names[path] = None if text is None else path
        if text is not None:
            data[path], synced[path] = bytearray(text), text
    loose: list[tuple] = []  # changes of names that no sync has reached

    def change(names: dict[Path, Any], call: tuple) -> None:
        name, path, *more = call
        if name == "make":
            names[path] = more[0]
        elif name in ("unlink", "rmdir"):
            names.pop(path, None)
        else:
            for old in [p for p in names if p == path or path in p.parents]:
                names[more[0] / old.relative_to(path)] = names.pop(old)

    live = dict(names)
    for call in calls:
        name, path, *more = call
        path = path.relative_to(run)
        if name == "open":
            data[path], synced[path] = bytearray(), b""
            entry = ("make", path, path)
        elif name == "mkdir":
            entry = ("make", path, None)
        elif name == "rename":
            entry = ("rename", path, Path(more[0]).relative_to(run))
        elif name in ("unlink", "rmdir"):
            entry = (name, path)
        else:
            if name == "write":
                data[path] += more[0]
            elif path in data:
                synced[path] = bytes(data[path])
            else:  # a folder: all changes of names in it are safe now
                for one in [c for c in loose if c[1].parent == path or c[-1] == path]:
                    change(names, one)
                    loose.remove(one)
            continue
        change(live, entry)
        loose.append(entry)
    for entry in loose:
        if lucky() and (entry[0] == "make" or entry[1] in names or entry[0] == "unlink"):
            change(names, entry)
    place.mkdir()
    for path in sorted(names):
        target = place / path
        if names[path] is None:
            target.mkdir(parents=True, exist_ok=True)
            continue
        if not target.parent.is_dir():
            continue
        text = bytes(data[names[path]]) if lucky() else synced[names[path]]
        if text != synced[names[path]] and lucky():
            text = text[: len(text) // 2]
        target.write_bytes(text)


# Damage


def damaged(path: Path, rng: random.Random, flips: int, cuts: int) -> None:
    """Flip single bits, and cut files short: whoever reads the checkpoint must notice each."""
    whole = content(path)
    files = sorted(path.iterdir())
    sizes = [file.stat().st_size for file in files]
    for number in range(flips + cuts):
        file = rng.choices(files, sizes)[0] if number % 2 else rng.choice(files)
        text = file.read_bytes()
        if number < flips:
            at = rng.randrange(8 * len(text))
            changed = bytearray(text)
            changed[at // 8] ^= 1 << at % 8
        else:
            changed = bytearray(text[: rng.randrange(len(text))])
        file.write_bytes(changed)
        try:
            content(path)
        except Broken:
            pass
        else:
            raise AssertionError(f"{file.name}: change {number} was not noticed")
        finally:
            file.write_bytes(text)
    assert content(path) == whole


# Deceit

WORDS = (
    None, True, False, -1, 0, 1, 2, 3, 7, 8, 2**31, 2**53, 2**63 - 1, 2**63, 10**30, 1.5, -0.0,
    "", "x", "F32", "U8", "BF16", "F9", "float32", "object", "V8", "\0", "a\0b", "../../etc/passwd",
    "/etc/passwd", "state-00000.safetensors", "state-00001.safetensors", "..", "params", "key",
    "threefry2x32", "é" * 2000, [], {}, [[]], [0], [1], [-1], [0, 0], [0, 1], [2**62, 4], [1.0],
    ["a", None], {"a": 1}, {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, [0] * 70,
)  # fmt: skip


def mutated(value: Any, rng: random.Random) -> Any:
    """A copy of JSON with a few things in it that are not as they should be."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        _mutate(value, rng)
    return value


def _mutate(value: Any, rng: random.Random) -> None:
    inner = [value]
    while True:  # somewhere within
        now = inner[-1]
        keys = list(now) if isinstance(now, dict) else list(range(len(now)))
        if not keys:
            break
        key = rng.choice(keys)
        if isinstance(now[key], dict | list) and rng.random() < 0.8:
            inner.append(now[key])
            continue
        what = rng.randrange(8)
        if what == 0:
            del now[key]
        elif what == 1 and isinstance(now[key], int):
            now[key] += rng.choice((-1, 1, 2, 1000))
        elif what == 2:
            now[key] = copy.deepcopy(now[rng.choice(keys)])
        elif what == 3 and isinstance(now, list):
            now.insert(key, copy.deepcopy(now[rng.choice(keys)]))
        elif what == 4 and isinstance(now, dict):
            now[rng.choice([w for w in WORDS if isinstance(w, str)])] = now[key]
        elif what == 5 and isinstance(now, list):
            rng.shuffle(now)
        else:
            now[key] = copy.deepcopy(rng.choice(WORDS))
        break


def as_text(value: Any, rng: random.Random) -> bytes:
    """JSON as bytes; sometimes with a key twice, NaN, deep nesting, or bytes that are none."""
    text = json.dumps(value, separators=rng.choice(((",", ":"), (", ", ": ")))).encode()
    what = rng.randrange(40)
    if what == 0:
        text = text.replace(b"{", b'{"format": 2, "format": 2,', 1)
    elif what == 1:
        text = text.replace(b"1", rng.choice((b"NaN", b"Infinity", b"1e999", b"1" * 5000)), 1)
    elif what == 2:
        text = b"[" * 100_000 if rng.random() < 0.02 else b"[" * 500 + text
    elif what == 3:
        at = rng.randrange(len(text))
        text = text[:at] + rng.randbytes(rng.randrange(4)) + text[at + rng.randrange(4) :]
    elif what == 4:
        text = text[: rng.randrange(len(text))]
    return text


def deceiving_manifest(good: dict, rng: random.Random) -> bool:
    """A manifest whose sum is right and whose content is not; whether it was taken for good."""
    text = as_text(mutated(good, rng), rng)
    if rng.random() < 0.9:
        body = text.rstrip(b"}") + b",\n"
        text = body + f'"crc32": {zlib.crc32(body)}}}\n'.encode()
    try:
        found = manifest.decode(text, "here", part=False)
    except (Broken, RunError):
        return False
    assert len({leaf.path for leaf in found.leaves}) == len(found.leaves)
    for leaf in found.leaves:
        assert all(0 < len(part) <= 1000 or part == "" for part in leaf.path)
        assert not any("\0" in part for part in leaf.path)
        for tile in leaf.tiles:
            assert "/" not in tile.file and tile.file in found.files
        if np.prod(leaf.shape, dtype=float) < 1e6:
            paint = np.zeros(leaf.shape, int)
            for tile in leaf.tiles:
                spans = zip(tile.start, tile.shape, strict=True)
                box = tuple(slice(a, a + n) for a, n in spans)
                assert paint[box].shape == tile.shape
                paint[box] += 1
            assert (paint == 1).all()
    return True


def deceiving_header(good: dict, data: int, rng: random.Random) -> bool:
    """A header of a safetensors file that is not as it should be; whether it was taken for good."""
    text = as_text(mutated(good, rng), rng)
    try:
        arrays = tensors.parse_header("here", text, data)
    except (Broken, RunError):
        return False
    paint = np.zeros(data, int)
    for array in arrays.values():
        paint[array.start : array.end] += 1
        size = np.prod(array.shape, dtype=float) * tensors.dtype(array.dtype).itemsize
        assert size == array.end - array.start
    assert (paint == 1).all()
    return True


TILES = tuple(
    Tile("state-00000.safetensors", f"params.w[{r}:{r + 2},{c}:{c + 3}]", (r, c), (2, 3), 7 + r + c)
    for r in (0, 2)
    for c in (0, 3)
)
GOOD = Manifest(
    3,
    (
        Leaf(("params", "w"), "bfloat16", (4, 6), TILES, "bfloat16", None, ("x", ["y", "z"])),
        Leaf(
            ("opt_state", "0"),
            "uint32",
            (2,),
            (Tile("state-00000.safetensors", "opt_state.0", (0,), (2,), 5),),
            "uint32",
            "threefry2x32",
        ),
    ),
    {"state-00000.safetensors": File(300, 6)},
    {"name": "x"},
)
HEADER = {
    "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    "b": {"dtype": "BOOL", "shape": [], "data_offsets": [24, 25]},
    "c": {"dtype": "BF16", "shape": [0, 4], "data_offsets": [25, 25]},
    "d": {"dtype": "I64", "shape": [1], "data_offsets": [25, 33]},
}


def deceive(seed: int, count: int) -> int:
    """Try manifests and headers that were made to deceive; how many were rightly taken for good."""
    rng = random.Random(seed)
    good = json.loads(manifest.encode(GOOD))
    del good["crc32"]
    assert manifest.decode(manifest.encode(GOOD), "here") == GOOD
    taken = 0
    for number in range(count):
        if number % 2:
            taken += deceiving_manifest(good, rng)
        else:
            taken += deceiving_header(HEADER, 33, rng)
    return taken
