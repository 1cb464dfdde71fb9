"""Stopping cleanly: Ctrl-C and SIGTERM ask, the loop finishes its step and saves."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import Any, Self


class Stop:
    """While entered, notes a request to stop instead of dying of it.

    `signal` is the signal's number, None before. A second one acts as it would without us.
    """

    signals: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.signal: int | None = None
        self._previous: dict[int, Any] = {}

    def asked(self) -> bool:
        """Whether it is time to stop."""
        return self.signal is not None

    def __enter__(self) -> Self:
        for number in self.signals:
            self._previous[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _request(self, number: int, _frame: object) -> None:
        self.signal = number
        self.__exit__()
        _say("stopping after this step; once more to stop at once")


class StopTogether(Stop):
    """A request to one of several processes, which takes effect in all at the same step.

    JAX catches SIGTERM and has the processes agree on the first question that none of them has
    asked yet; Ctrl-C is handed on to it. So `asked` must be called equally often in all of them.
    `signal` is what came here, or SIGTERM if it came to another one.
    """

    signals = (signal.SIGINT,)

    def __init__(self) -> None:
        super().__init__()
        self._questions, self._agreed = 0, False

    def asked(self) -> bool:
        from jax.experimental.multihost_utils import reached_preemption_sync_point

        if not self._agreed:
            self._questions += 1
            self._agreed = reached_preemption_sync_point(self._questions)
            if self._agreed:
                self.signal = self.signal or signal.SIGTERM
                signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one acts at once
        return self._agreed

    def _request(self, number: int, frame: object) -> None:
        super()._request(number, frame)
        signal.raise_signal(signal.SIGTERM)


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # print could be in the midst of printing
        os.write(2, f"\n{text}\n".encode())
