"""How the step is made, beside model, optimizer and mesh."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import RunError


@dataclass(frozen=True)
class Settings:
    """What `step.build` takes.

    microbatches: how many parts a batch is cut into, whose gradients are summed
    loss_scale:   "dynamic", a number, or None; see `scale`
    frozen:       paths of parameters, or of instances, that are not trained: they have neither
                  gradients nor a place in the optimizer's state
    ema:          the decay of an exponential moving average of the trained parameters, with which
                  is then evaluated and predicted; None for no average
    """

    microbatches: int = 1
    loss_scale: str | float | None = None
    frozen: tuple[str, ...] = ()
    ema: float | None = None

    def __post_init__(self):
        if not isinstance(self.microbatches, int) or self.microbatches < 1:
            raise RunError(
                f"microbatches = {self.microbatches!r}: it must be a whole number from 1 on."
            )
        if self.ema is not None and not 0 < self.ema < 1:
            raise RunError(f"ema = {self.ema!r}: it must be between 0 and 1, or None.")


DEFAULT = Settings()
