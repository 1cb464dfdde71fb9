"""Which checkpoints of a run are kept."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from .checkpoint import open_checkpoint, steps
from .errors import RunError
from .tensors import Broken

PINNED = "pinned"  # a file of this name in a checkpoint's folder keeps it


@dataclass(frozen=True)
class Keep:
    """What is kept: whatever one of these asks for.

    Attributes:
        last: as many of the newest.
        best: as many of those whose evaluation was best, by `metric`; 0 for none.
        every: those of steps that this divides; 0 for none.
        metric: the name of a metric of the evaluation.
        highest: whether more of it is better.
    """

    last: int = 3
    best: int = 0
    every: int = 0
    metric: str = "loss"
    highest: bool = False


def superfluous(
    folder: Path, keep: Keep, evaluations: Mapping[int, Mapping[str, Any]] = MappingProxyType({})
) -> list[Path]:
    """The checkpoints that nothing asks for, oldest first. Never among them are the newest, and the
    newest whose parameters are finite.

    evaluations: by step, those that may have been made after their checkpoint, which then does not
                 know of them
    """
    found = steps(folder)
    kept = set(list(found)[-keep.last :])
    last = newest_finite(folder)
    kept |= set() if last is None else {last}
    kept |= {step for step, path in found.items() if (path / PINNED).exists()}
    if keep.every:
        kept |= {step for step in found if step % keep.every == 0}
    if keep.best:
        scores = {
            step: _score(path, keep, evaluations.get(step, {})) for step, path in found.items()
        }
        ranked = sorted((score, step) for step, score in scores.items() if score is not None)
        kept |= {step for _, step in ranked[: keep.best]}
    return [path for step, path in found.items() if step not in kept]


def not_finite(about: Mapping[str, Any]) -> list[str]:
    """The trained parameters that a checkpoint says are not finite."""
    found = about.get("not_finite")
    return [str(name) for name in found] if isinstance(found, list) else []


def newest_finite(folder: Path) -> int | None:
    """The step of the newest checkpoint that does not say of its parameters that they are not
    finite; None if there is none."""
    for step, path in reversed(steps(folder).items()):
        try:
            if not not_finite(open_checkpoint(path).manifest.about):
                return step
        except (Broken, RunError):
            continue
    return None


def _score(path: Path, keep: Keep, later: Mapping[str, Any]) -> float | None:
    """How good the evaluation at a checkpoint was, less being better; None without one."""
    try:
        found = open_checkpoint(path).manifest.about.get("evaluation")
    except (Broken, RunError):
        return None
    found = later if found is None else found
    value = found.get(keep.metric) if isinstance(found, Mapping) else None
    if not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return -value if keep.highest else value
