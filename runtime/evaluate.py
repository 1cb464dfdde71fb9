"""Evaluation over all held-out data, with exact means."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax

from .metrics import combine, finish, widen
from .state import TrainState
from .step import Program


class Evaluator:
    """Calls like a function: evaluator(state, batches) -> means by name.

    Each shape of batch is compiled once, ahead of its first use; `compile_seconds` adds up how
    long that took.
    """

    def __init__(self, program: Program):
        self._program = program
        self._compiled: dict[Any, Callable] = {}
        self.compile_seconds = 0.0

    def __call__(
        self,
        state: TrainState,
        batches: Iterable[Mapping[str, Any]],
        stopped: Callable[[], bool] = lambda: False,
    ) -> dict[str, float] | None:
        """The means over all batches together; None if there are none or `stopped()` said so."""
        totals: dict[str, tuple[float, float]] = {}
        pending = None  # fetched one batch late, so that the devices never wait for us
        for batch in batches:
            if stopped():
                return None
            metrics = self._run(state, self._program.put_batch(batch, strict=False))
            if pending is not None:
                totals = combine(totals, widen(jax.device_get(pending)))
            pending = metrics
        if pending is None:
            return None
        return finish(combine(totals, widen(jax.device_get(pending))))

    def _run(self, state: TrainState, batch: dict[str, jax.Array]) -> Any:
        key = tuple(sorted((name, value.shape) for name, value in batch.items()))
        if key not in self._compiled:
            start = time.perf_counter()
            self._compiled[key] = self._program.evaluate.lower(state, batch).compile()
            self.compile_seconds += time.perf_counter() - start
        return self._compiled[key](state, batch)
