"""Stopping cleanly: Ctrl-C and SIGTERM ask, the loop finishes its step and saves."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """While entered, notes a request to stop instead of dying of it.

    `signal` is the signal's number, None before. A second one acts as it would without us.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._previous: dict[int, Any] = {}

    def __bool__(self) -> bool:
        return self.signal is not None

    def __enter__(self) -> Self:
        for number in SIGNALS:
            self._previous[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _request(self, number: int, _frame: object) -> None:
        self.signal = number
        self.__exit__()
        with contextlib.suppress(OSError):  # print could be in the midst of printing
            os.write(2, b"\nstopping after this step; once more to stop at once\n")
