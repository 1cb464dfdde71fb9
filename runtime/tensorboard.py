"""The log for TensorBoard too, in a run's `tensorboard/`: `tensorboard --logdir runs` shows it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import RunError
from .summary import is_step

FOLDER = "tensorboard"


class TensorBoard:
    """Takes the rows of the log. Needs tensorboardX.

    run:  the run's folder
    step: what an earlier process wrote past it is taken out of sight

    Raises RunError where tensorboardX is not installed.
    """

    def __init__(self, run: Path, step: int):
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise RunError(
                "writing for TensorBoard needs tensorboardX: pip install tensorboardX,\n"
                "or take tensorboard=True out of train.py."
            ) from None
        self._writer = SummaryWriter(str(run / FOLDER), purge_step=step + 1 if step else None)

    def write(self, row: Mapping[str, Any]) -> None:
        """Draw the numbers of a row: training metrics and held-out ones under one name."""
        if "event" in row:
            return
        for name, value in row.items():
            if name in ("step", "split") or not isinstance(value, int | float):
                continue
            speed = "second" in name or name == "mfu"
            group = "speed" if speed else "train" if is_step(row) else row["split"]
            self._writer.add_scalar(f"{group}/{name}", value, row["step"])

    def close(self) -> None:
        self._writer.close()
