"""First values of parameters and model state that a run is given.

A file `initial.safetensors` in the run's folder has them, under names such as `params.mlp.w1` or
`model_state.norm.mean`; what it does not name is drawn as ever. It is read where there is no
checkpoint yet, so that a run that was killed before its first one begins with them again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .errors import RunError
from .snapshot import dotted
from .state import TrainState, leaves_by_path, nested
from .tensors import Broken, Reader

NAME = "initial.safetensors"
GROUPS = ("params", "model_state")


def read(run: Path, abstract: TrainState) -> dict[str, Any]:
    """The arrays in the file as nested dicts, for `Program.init`; {} where there is no file.

    Raises RunError if the file is damaged, or does not fit the program.
    """
    path = run / NAME
    if not path.exists():
        return {}
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
