"""What a training program is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import RunError
from .retention import Keep
from .settings import DEFAULT, Settings
from .source import Source

if TYPE_CHECKING:
    from .step import Program


@dataclass(frozen=True, kw_only=True)
class Job:
    """A model, an optimizer, data, and how long to train.

    name:             what the run is called in messages
    model:            the module model.py
    optimizer:        gives the optax optimizer. Its schedule stands in it as written: the command
                      line's --steps changes only where training stops, never the schedule, so a
                      run stopped early and resumed is the same run.
    data:             gives the data source
    steps:            how many updates to make
    seed:             determines the parameters' first values and all randomness inside the model
    evaluate_every:   steps between evaluations of the held-out data; 0: only at the end
    checkpoint_every: steps between checkpoints; 0: only at the end
    keep:             how many checkpoints to keep, or a `Keep` that says which
    patience:         training ends after as many evaluations without a better one, by the metric
                      of `keep`; 0: never
    mesh:             axis -> size, if model.py was written for a mesh
    flops:            floating-point operations of the products of a step, forward and backward, for
                      the share of what devices can do (MFU); None: that is not told
    peak:             how many of them one device does in a second at most; None: what program.json
                      has for devices of this kind
    tensorboard:      whether the log is written for TensorBoard too
    settings:         microbatches, loss_scale, frozen, ema: see `Settings`
    """

    name: str
    model: Any
    optimizer: Callable[[], Any]
    data: Callable[[], Source]
    steps: int
    seed: int = 0
    evaluate_every: int = 0
    checkpoint_every: int = 0
    keep: int | Keep = 3
    patience: int = 0
    mesh: Mapping[str, int] | None = None
    flops: float | None = None
    peak: float | None = None
    tensorboard: bool = False
    settings: Settings = DEFAULT

    def __post_init__(self):
        for field, least in (
            ("steps", 1),
            ("seed", 0),
            ("evaluate_every", 0),
            ("checkpoint_every", 0),
            ("keep", 1),
            ("patience", 0),
        ):
            value = getattr(self, field)
            if isinstance(value, Keep):
                continue
            if not isinstance(value, int) or value < least:
                raise RunError(f"{field} = {value!r}: it must be a whole number from {least} on.")

    def build(self) -> Program:
        """Its functions: init, step, evaluate, predict."""
        from .step import build  # loads JAX

        return build(self.model, self.optimizer(), self.mesh, self.settings)

    @property
    def kept(self) -> Keep:
        """Which checkpoints to keep."""
        return self.keep if isinstance(self.keep, Keep) else Keep(last=self.keep)

    @property
    def folder(self) -> Path:
        """The program's folder."""
        return Path(self.model.__file__).resolve().parent
