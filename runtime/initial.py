"""First values of parameters and model state that a run is given.

A file `initial.safetensors` in the run's folder has them, under names such as `params.mlp.w1` or
`model_state.norm.mean`; what it does not name is drawn as ever. It is read where there is no
checkpoint yet, so that a run that was killed before its first one begins with them again. Its
SHA-256 stands beside it, as `sha256sum` writes it, and no value is used before that was compared.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from .errors import RunError
from .snapshot import dotted
from .state import TrainState, leaves_by_path, nested
from .tensors import Broken, Reader

NAME = "initial.safetensors"
SUM = f"{NAME}.sha256"
GROUPS = ("params", "model_state")


def read(run: Path, abstract: TrainState) -> dict[str, Any]:
    """The arrays in the file as nested dicts, for `Program.init`; {} where there is no file.

    Raises RunError if the file is not what its checksum says, or does not fit the program.
    """
    path = run / NAME
    if not path.exists():
        if (run / SUM).exists():
            raise RunError(f"{path} is not there, and {SUM} says that the run begins with it.")
        return {}
    _compare_sum(path)
    wanted = {dotted(p): (p, x) for p, x in leaves_by_path(abstract).items() if p[0] in GROUPS}
    given = {}
    try:
        with Reader(path) as file:
            for name, stored in file.arrays.items():
                if name not in wanted:
                    raise RunError(f"{path} has {name}, which is nothing of this program.")
                place, leaf = wanted[name]
                there, here = (stored.dtype, stored.shape), (str(leaf.dtype), leaf.shape)
                if there != here:
                    raise RunError(f"{name} is {there} in {path}, and {here} in this program.")
                given[place] = file.read(name)[0]
    except Broken as error:
        raise RunError(f"{path} is damaged: {error}.") from None
    return nested(given)


def _compare_sum(path: Path) -> None:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}.") from None
    try:
        told = path.with_name(SUM).read_text().split()
    except (OSError, UnicodeDecodeError):
        raise RunError(
            f"{path} has no checksum beside it, so that nobody knows whether it is whole.\n"
            f"If it is: sha256sum {NAME} > {SUM}, in the folder {path.parent}."
        ) from None
    if told[:1] != [found]:
        raise RunError(
            f"{path} is damaged: its SHA-256 is not the one in {SUM}.\n"
            "Put a whole copy of it there, or begin another run."
        )
