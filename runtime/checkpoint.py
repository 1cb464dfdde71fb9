"""Checkpoints: the train state in a folder, whole or not there at all.

    checkpoints/step-00000500/state.safetensors   the leaves
                              manifest.json       their paths, shapes, dtypes, checksums, and
                                                  what the run was made of

A checkpoint is written into a hidden folder, synced, and renamed into place, so a kill at any
moment leaves the earlier ones as they were. Leaves are stored by path and never by class; loading
compares them with the state that the program would initialise and says by path what differs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from . import tensors
from .errors import RunError
from .state import TrainState, leaves_by_path, rebuild
from .tensors import Broken

FORMAT = 1
TENSORS, MANIFEST = "state.safetensors", "manifest.json"


def steps(folder: Path) -> dict[int, Path]:
    """The checkpoints in a folder by step, oldest first."""
    found = {}
    for path in folder.glob("step-*"):
        match = re.fullmatch(r"step-(\d+)", path.name)
        if match and path.is_dir():
            found[int(match[1])] = path
    return dict(sorted(found.items()))


def save(folder: Path, state: TrainState, *, keep: int, about: Mapping[str, Any]) -> Path:
    """Write `state` as the checkpoint of its step, then delete all but the newest `keep`.

    `about` is kept in the manifest, as JSON. Returns the checkpoint's folder.
    RunError if it cannot be written; the earlier ones are then as they were.
    """
    step = int(state.step)
    target, temporary = folder / f"step-{step:08d}", folder / f".writing-{step:08d}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        _write(temporary, state, step, about)
        if target.exists():
            _delete(target)
        os.rename(temporary, target)
        _sync_folder(folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise RunError(
            f"the checkpoint of step {step} cannot be written to {folder}: {error.strerror}.\n"
            "The earlier ones are as they were; go on from them by --resume."
        ) from None
    for old in list(steps(folder).values())[:-keep]:
        _delete(old)
    return target


def load(path: Path, abstract: TrainState) -> tuple[TrainState, dict]:
    """The state in one checkpoint, as host arrays, and what was kept `about` it.

    Raises Broken if the files are damaged, RunError if they hold a state of another program.
    """
    manifest = _manifest(path)
    stored = {tuple(leaf["path"]): leaf for leaf in manifest["leaves"]}
    _compare(path, stored, abstract)
    arrays = tensors.read(
        path / TENSORS, {leaf["tensor"]: leaf["crc32"] for leaf in stored.values()}
    )
    leaves = {}
    for key, leaf in stored.items():
        array = arrays[leaf["tensor"]]
        if "key" in leaf:
            leaves[key] = jax.random.wrap_key_data(jnp.asarray(array), impl=leaf["key"])
        elif [list(array.shape), str(array.dtype)] == [leaf["shape"], leaf["dtype"]]:
            leaves[key] = array
        else:
            raise Broken(f"{TENSORS} and {MANIFEST} disagree about {leaf['tensor']}")
    return rebuild(abstract, leaves), manifest["about"]


def newest(
    folder: Path, abstract: TrainState, warn: Callable[[str], None]
) -> tuple[TrainState, dict, list[Path]]:
    """The newest whole checkpoint, what was kept about it, and the damaged ones passed over.

    Each damaged one is reported to `warn`. RunError if there is none, or none is whole.
    """
    damaged = []
    for path in reversed(steps(folder).values()):
        try:
            state, about = load(path, abstract)
        except Broken as error:
            warn(f"the checkpoint {path} is damaged and is not used: {error}.")
            damaged.append(path)
        else:
            return state, about, damaged
    if damaged:
        raise RunError(f"every checkpoint in {folder} is damaged.")
    raise RunError(f"there is no checkpoint in {folder}.")


def set_aside(path: Path) -> Path:
    """Rename a damaged checkpoint, so that it no longer counts as one."""
    target = path.with_name(f"damaged-{path.name}")
    if target.exists():
        shutil.rmtree(target)
    os.rename(path, target)
    return target


def clean(folder: Path) -> None:
    """Remove what a killed process left half written or half deleted."""
    for pattern in (".writing-*", ".deleting-*"):
        for path in folder.glob(pattern):
            shutil.rmtree(path, ignore_errors=True)


def _write(folder: Path, state: TrainState, step: int, about: Mapping[str, Any]) -> None:
    leaves = leaves_by_path(state)
    paths = {_name(path): path for path in leaves}
    data = {name: _data(leaves[path]) for name, path in paths.items()}
    shapes = {name: (leaf.shape, str(leaf.dtype)) for name, leaf in data.items()}
    sums = tensors.write(folder / TENSORS, shapes, lambda name: np.asarray(data[name]))
    manifest = {
        "format": FORMAT,
        "step": step,
        "about": dict(about),
        "leaves": [
            {"path": list(path), **_entry(leaves[path]), "tensor": name, "crc32": sums[name]}
            for name, path in paths.items()
        ],
    }
    manifest["crc32"] = _sum(manifest)
    with (folder / MANIFEST).open("w", encoding="utf-8") as file:
        file.write(json.dumps(manifest, indent=1) + "\n")
        tensors.sync(file)
    _sync_folder(folder)


def _manifest(path: Path) -> dict:
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        if manifest["format"] > FORMAT:
            raise RunError(
                f"{path} is written in format {manifest['format']}; this program reads {FORMAT}.\n"
                "Use the program that wrote it, or a newer one."
            )
        expected = manifest.pop("crc32")
    except OSError as error:
        raise Broken(f"{MANIFEST} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Broken(f"{MANIFEST} is not what was written") from None
    if _sum(manifest) != expected:
        raise Broken(f"{MANIFEST} has changed since it was written")
    return manifest


def _compare(path: Path, stored: Mapping, abstract: TrainState) -> None:
    wanted = leaves_by_path(abstract)
    lines = []
    for key in sorted(wanted.keys() | stored.keys()):
        name = ".".join(key)
        if key not in stored:
            lines.append(f"  {name}: the program has it, the checkpoint does not")
        elif key not in wanted:
            lines.append(f"  {name}: the checkpoint has it, the program does not")
        else:
            there = _type(stored[key]["dtype"], stored[key]["shape"])
            here = _type(str(wanted[key].dtype), wanted[key].shape)
            if there != here:
                lines.append(f"  {name}: {there} in the checkpoint, {here} in the program")
    if lines:
        more = [f"  and {len(lines) - 12} more"] if len(lines) > 12 else []
        raise RunError(
            "\n".join(
                [f"the checkpoint {path} is of another model or optimizer:", *lines[:12], *more]
            )
        )


def _type(dtype: str, shape: Sequence[int]) -> str:
    return f"{dtype}[{', '.join(map(str, shape))}]"


def _entry(leaf: Any) -> dict[str, Any]:
    entry = {"shape": list(leaf.shape), "dtype": str(leaf.dtype)}
    # A random key is stored as its data; the dtype, such as key<fry>, names no way to make it.
    return {**entry, "key": str(jax.random.key_impl(leaf))} if _is_key(leaf) else entry


def _data(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _name(path: tuple[str, ...]) -> str:
    # dots between the parts; a dot within one is escaped, so that no two paths share a name
    return ".".join(part.replace("%", "%25").replace(".", "%2E") for part in path)


def _sum(manifest: Mapping) -> int:
    return zlib.crc32(json.dumps(manifest, sort_keys=True).encode())


def _delete(path: Path) -> None:
    # renamed first: a kill in the midst of it must not leave half a checkpoint under its name
    doomed = path.with_name(f".deleting-{path.name}")
    shutil.rmtree(doomed, ignore_errors=True)
    os.rename(path, doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
