"""Checkpoints of Orbax, and of Flax where it writes by Orbax. Read by Orbax itself, an extra."""

from __future__ import annotations

import logging
import re
from pathlib import Path as File
from typing import TYPE_CHECKING, Any

from .common import FormatError, Path, Weights, check_paths, leaf, shown

if TYPE_CHECKING:
    import numpy as np

TREE = "_METADATA"  # in the folder that holds a tree
ITEMS = "_CHECKPOINT_METADATA"


def tree_folder(folder: File) -> File | None:
    """The folder of a tree that a folder is or holds, None if there is none.

    A manager keeps steps by number, and in a step an item, mostly called `default`; the newest step
    is taken.

    Raises:
        FormatError: there are several items in the step.
    """
    if (folder / TREE).is_file():
        return folder
    steps = [p for p in folder.iterdir() if re.fullmatch(r"(.*_)?\d+", p.name) and p.is_dir()]
    for step in sorted(steps, key=lambda p: int(re.findall(r"\d+", p.name)[-1]), reverse=True):
        found = tree_folder(step)
        if found is not None:
            return found
    items = sorted(p.parent for p in folder.glob(f"*/{TREE}"))
    if len(items) > 1:
        listed = [item.name for item in items]
        raise FormatError(
            f"{folder} holds several trees: {', '.join(listed)}",
            code="several-trees",
            help=f"name one of them: {items[0]}",
        )
    return items[0] if items else None


def weights(folder: File) -> Weights:
    """The arrays of a tree that Orbax has written.

    Raises:
        FormatError: Orbax is not installed, or cannot read it.
    """
    try:
        import orbax.checkpoint as ocp
    except ImportError:
        raise FormatError(
            f"{folder} is a checkpoint of Orbax, which reads it and is not installed",
            code="missing-extra",
            help="pip install 'netwright[orbax]'",
        ) from None
    import jax
    import numpy as np

    logging.getLogger("absl").setLevel(logging.ERROR)  # it warns of what does not matter here
    reader = ocp.Checkpointer(ocp.PyTreeCheckpointHandler())
    place = folder.resolve()
    tree = _tried(folder, lambda: reader.metadata(place).item_metadata.tree)
    flat, shape = jax.tree_util.tree_flatten_with_path(tree)
    found = {
        path: leaf(f"{shown(path)} in {folder}", tuple(kept.shape), _dtype(kept))
        for path, kept in ((tuple(_part(key) for key in keys), kept) for keys, kept in flat)
    }
    check_paths(found)
    if len(found) != len(flat):
        raise FormatError(f"{folder} has two arrays under one path")

    def fetch(path: Path) -> np.ndarray:
        wanted = [p == path for p in found]
        item = jax.tree.unflatten(shape, [0 if w else ocp.PLACEHOLDER for w in wanted])
        how = ocp.RestoreArgs(restore_type=np.ndarray)
        arguments = ocp.args.PyTreeRestore(
            item=item, restore_args=jax.tree.unflatten(shape, [how] * len(wanted))
        )
        made = _tried(folder, lambda: reader.restore(place, args=arguments))
        array = np.asarray(jax.tree.leaves(made)[wanted.index(True)])
        if (array.shape, str(array.dtype)) != (found[path].shape, found[path].dtype):
            raise FormatError(f"{shown(path)} in {folder} is not {found[path]}, as is said there")
        return array

    return Weights("orbax", str(folder), found, fetch)


def _tried(folder: File, action: Any) -> Any:
    try:
        return action()
    except FormatError:
        raise
    except Exception as error:  # Orbax and tensorstore raise all kinds
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise FormatError(f"Orbax cannot read {folder}: {reason}") from None


def _part(key: Any) -> str:
    for attribute in ("name", "key", "idx"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)


def _dtype(kept: Any) -> str:
    import numpy as np

    return str(np.dtype(kept.dtype))
