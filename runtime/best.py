"""The best evaluation so far, and whether it is time to stop."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from .errors import RunError
from .retention import Keep


@dataclass(frozen=True)
class Best:
    """The best value of a metric of the evaluations; part of every checkpoint.

    Attributes:
        metric: its name.
        value: the best one; None before the first evaluation.
        step: the step that it was at.
        since: how many evaluations have not been better.
    """

    metric: str
    value: float | None = None
    step: int = 0
    since: int = 0

    @classmethod
    def of(cls, about: Mapping[str, Any], keep: Keep) -> Self:
        """As it stands in a checkpoint; anew if there is none, or of another metric."""
        found = about.get("best")
        if isinstance(found, Mapping) and found.get("metric") == keep.metric:
            return cls(**{name: found[name] for name in ("metric", "value", "step", "since")})
        return cls(keep.metric)

    def after(self, step: int, values: Mapping[str, float], keep: Keep) -> Best:
        """After an evaluation. What is not finite is never better. RunError without the metric."""
        if self.metric not in values:
            raise RunError(
                f"the evaluation has no metric '{self.metric}'; it has {', '.join(values)}."
            )
        value = values[self.metric]
        better = self.value is None or (value > self.value if keep.highest else value < self.value)
        if math.isfinite(value) and better:
            return Best(self.metric, value, step, 0)
        return replace(self, since=self.since + 1)

    def exhausted(self, patience: int) -> str | None:
        """Why it is time to stop, after `patience` evaluations that were not better; 0: never."""
        if not patience or self.since < patience:
            return None
        best = "" if self.value is None else f", {self.value:.4f} at step {self.step}"
        return f"{self.metric} has not been better than its best{best}, in {self.since} evaluations"

    def about(self) -> dict[str, Any]:
        """For the manifest of a checkpoint."""
        return asdict(self)
