"""Which checkpoints of a run are kept."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

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


def superfluous(folder: Path, keep: Keep) -> list[Path]:
    """The checkpoints that nothing asks for, oldest first. The newest is never among them."""
    found = steps(folder)
    kept = set(list(found)[-keep.last :])
    kept |= {step for step, path in found.items() if (path / PINNED).exists()}
    if keep.every:
        kept |= {step for step in found if step % keep.every == 0}
    if keep.best:
        scores = {step: _score(path, keep) for step, path in found.items()}
        ranked = sorted((score, step) for step, score in scores.items() if score is not None)
        kept |= {step for _, step in ranked[: keep.best]}
    return [path for step, path in found.items() if step not in kept]


def _score(path: Path, keep: Keep) -> float | None:
    """How good the evaluation at a checkpoint was, less being better; None without one."""
    try:
        value = open_checkpoint(path).manifest.about.get("evaluation", {}).get(keep.metric)
    except (Broken, RunError, AttributeError):
        return None
    if not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return -value if keep.highest else value
