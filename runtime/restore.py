"""From a checkpoint to a train state: on any devices, whatever devices it was saved from.

What is stored is compared by path with the state that the program would make. Nothing is cast, and
nothing is passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from .checkpoint import Checkpoint, Files, open_checkpoint, steps
from .errors import RunError
from .manifest import Leaf
from .state import TrainState, leaves_by_path, part_names, rebuild
from .tensors import Broken
from .together import agreed

MOST_LINES = 12  # of a comparison
OF_MODEL = ("params", "model_state")


class OtherState(RunError):
    """What is stored is the state of another program.

    fits: the parameters that are as the program has them, by paths, of which each stands for all
          below it; "" for all there are
    """

    def __init__(self, message: str, fits: Sequence[str]):
        super().__init__(message)
        self.fits = tuple(fits)


def restore(
    checkpoint: Checkpoint,
    abstract: TrainState,
    shardings: Any = None,
    *,
    only: Collection[str] = (),
    onto: TrainState | None = None,
) -> TrainState:
    """The state in a checkpoint.

    Args:
        checkpoint: where it is.
        abstract: its shapes and dtypes.
        shardings: a tree like it, of shardings; None for arrays on the default device. Each process
            reads the parts that lie on its own devices.
        only: parts of the state, such as "params"; the others are those of `onto`.
        onto: a state, needed with `only`.

    Raises:
        Broken: what is stored is not what was written.
        OtherState: it is the state of another program.
        RunError: `only` names no parts of a state.
    """
    wanted = leaves_by_path(abstract)
    if part_names(only):
        if onto is None:
            raise RunError("only a part is restored: `onto` must be the state that has the others.")
        wanted = {path: leaf for path, leaf in wanted.items() if path[0] in only}
    stored = {p: leaf for p, leaf in checkpoint.leaves.items() if not only or p[0] in only}
    _compare(checkpoint.path, stored, wanted)
    placed = leaves_by_path(shardings) if shardings is not None else {}
    with checkpoint.opened() as files, ThreadPoolExecutor(2, "restore") as pool:
        made = pool.map(
            lambda path: _array(files, checkpoint.leaves[path], placed.get(path)), wanted
        )
        leaves = dict(zip(wanted, made, strict=True))
    return rebuild(abstract, {**(leaves_by_path(onto) if only else {}), **leaves})


def newest(
    folder: Path, abstract: TrainState, warn: Callable[[str], None], shardings: Any = None
) -> tuple[TrainState, Checkpoint, list[Path]]:
    """The state in the newest whole checkpoint, that checkpoint, and the damaged ones passed over.

    Each damaged one is reported to `warn`. RunError if there is none, or none is whole.
    """
    damaged: list[Path] = []
    for path in reversed(steps(folder).values()):
        found, said = None, "what another process read of it is not what was written"
        try:
            checkpoint = open_checkpoint(path)
            found = restore(checkpoint, abstract, shardings)
        except Broken as error:
            said = str(error)
        if agreed(found is not None) and found is not None:
            return found, checkpoint, damaged
        warn(f"the checkpoint {path} is damaged and is not used: {said}.")
        damaged.append(path)
    if damaged:
        raise RunError(
            f"every checkpoint in {folder} is damaged.\n"
            "Put back a copy of one, or begin another run in a folder of its own."
        )
    raise RunError(f"there is no checkpoint in {folder}.")


def _array(files: Files, leaf: Leaf, sharding: Any) -> jax.Array:
    if sharding is None or leaf.key is not None:
        array = jax.device_put(files.read(leaf))
        key = leaf.key and jax.random.wrap_key_data(array, impl=leaf.key)
        return array if key is None else jax.device_put(key, sharding)
    read: dict[tuple, np.ndarray] = {}

    def part(index: tuple[slice, ...] | None) -> np.ndarray:
        assert index is not None
        spans = tuple(s.indices(n)[:2] for s, n in zip(index, leaf.shape, strict=True))
        if spans not in read:  # copies on several devices are read once
            read[spans] = files.read(leaf, index)
        return read[spans]

    return jax.make_array_from_callback(leaf.shape, sharding, part)


def _compare(where: Path, stored: Mapping[Any, Leaf], wanted: Mapping[Any, Any]) -> None:
    told: dict[tuple[str, ...], str] = {}
    for path in sorted(wanted.keys() | stored.keys(), key=lambda p: (p[0] not in OF_MODEL, p)):
        name = ".".join(path)
        if path not in stored:
            told[path] = f"  {name}: the program has it, the checkpoint does not"
        elif path not in wanted:
            told[path] = f"  {name}: the checkpoint has it, the program does not"
        else:
            there, here = _stored_type(stored[path]), _type(wanted[path])
            if there != here:
                told[path] = f"  {name}: {there} in the checkpoint, {here} in the program"
    if not told:
        return
    changed = [path[1:] for path in told if path[0] == "params"]
    following = {
        path
        for path in told
        if path[0] in ("opt_state", "ema") and any(path[-len(p) :] == p for p in changed)
    }
    lines = _first([line for path, line in told.items() if path not in following])
    if following:
        lines.append(f"  and {len(following)} arrays that are kept of these parameters")
    parameters = {path[1:] for path in wanted if path[0] == "params"}
    raise OtherState(
        f"the checkpoint {where} is of another model or optimizer:\n" + "\n".join(lines),
        _whole(parameters, parameters - set(changed)),
    )


def _whole(paths: set[tuple[str, ...]], chosen: set[tuple[str, ...]]) -> list[str]:
    """As few paths as possible that stand for the chosen ones and for what lies below them."""
    rest = paths - chosen
    found = {
        next(p[:n] for n in range(len(p) + 1) if not any(r[:n] == p[:n] for r in rest))
        for p in chosen
    }
    return sorted(".".join(path) for path in found)


def _first(lines: Sequence[str]) -> list[str]:
    more = len(lines) - MOST_LINES
    return [*lines[:MOST_LINES], *([f"  and {more} more"] if more > 0 else [])]


def _type(leaf: Any) -> str:
    return f"{leaf.dtype}[{', '.join(map(str, leaf.shape))}]"


def _stored_type(leaf: Leaf) -> str:
    if leaf.key is None:
        return _type(leaf)
    data = jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
    return _type(jax.eval_shape(partial(jax.random.wrap_key_data, impl=leaf.key), data))
