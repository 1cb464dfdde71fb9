"""Telling a person how the run goes: live on a terminal, line by line elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

PLAIN_SECONDS = 5.0  # between two lines about steps
SPEED_SECONDS = 2.0  # of steps, over which a speed is told


class Plain:
    """Plain lines, each flushed: for files, pipes, and where rich is not installed."""

    def __init__(self, last: int, unit: str):
        self._first, self._last, self._unit = 0, last, unit
        self._began = self._printed = 0.0
        self._recent: deque[tuple[float, float]] = deque()  # seconds and units of steps
        self._seconds = self._units = 0.0  # theirs together

    def note(self, text: str) -> None:
        """Something that happened."""
        print(text, flush=True)

    def warn(self, text: str) -> None:
        """Something that should not have happened."""
        self.note(f"warning: {text}")

    def begin(self, first: int) -> None:
        """Steps begin now, after step `first`: time runs from here."""
        self._first, self._began = first, time.perf_counter()
        self._recent.clear()
        self._seconds = self._units = 0.0

    def step(self, row: Mapping[str, Any]) -> None:
        """A step is done; `row` is its row in metrics.jsonl."""
        figures = self.figures(row)
        now = time.perf_counter()
        if row["step"] == self._last or now - self._printed >= PLAIN_SECONDS or not self._printed:
            self._printed = now
            step = f"step {row['step']:>{len(str(self._last))}} / {self._last}"
            self.note("   ".join([step, *figures]))

    def close(self) -> None:
        """No more steps."""

    def figures(self, row: Mapping[str, Any]) -> list[str]:
        """What is told of a step, the next one after the last that was asked for."""
        self._count(row)
        figures = [
            "skipped" if row["skipped"] else f"loss {row['loss']:.4f}",
            f"{self._units / self._seconds:,.0f} {self._unit}/s",
        ]
        left, passed = self._last - row["step"], time.perf_counter() - self._began
        if left and passed >= 1:  # the first steps say little
            # over the whole run so far, so that evaluations and checkpoints are counted in
            each = passed / (row["step"] - self._first)
            figures.append(f"{duration(each * left)} left")
        return figures

    def _count(self, row: Mapping[str, Any]) -> None:
        """Keep the last steps, of which together a speed is told: single ones differ much."""
        new = row["seconds"], row[f"{self._unit}_per_second"] * row["seconds"]
        self._recent.append(new)
        self._seconds, self._units = self._seconds + new[0], self._units + new[1]
        while self._seconds > SPEED_SECONDS and len(self._recent) > 1:
            seconds, units = self._recent.popleft()
            self._seconds, self._units = self._seconds - seconds, self._units - units


class Live(Plain):
    """A bar that moves, by rich, with notes above it."""

    def __init__(self, last: int, unit: str):
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        super().__init__(last, unit)
        self._console = Console(highlight=False)
        self._bar = Progress(
            TextColumn("step"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
            console=self._console,
            refresh_per_second=4,
        )
        self._task = self._bar.add_task("", total=last, figures="")

    def note(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        self._console.print(f"warning: {text}", markup=False, soft_wrap=True, style="yellow")

    def begin(self, first: int) -> None:
        super().begin(first)
        self._bar.update(self._task, completed=first)
        self._bar.start()

    def step(self, row: Mapping[str, Any]) -> None:
        figures = "   ".join(self.figures(row))
        self._bar.update(self._task, completed=row["step"], figures=figures)

    def close(self) -> None:
        self._bar.stop()


class Quiet(Plain):
    """Of a process that trains with others, of whom the first speaks: only what is wrong."""

    def note(self, text: str) -> None:
        pass

    def warn(self, text: str) -> None:
        print(f"warning: {text}", file=sys.stderr, flush=True)

    def step(self, row: Mapping[str, Any]) -> None:
        pass


def make_progress(last: int, unit: str) -> Plain:
    """Live on a terminal that can show it and where rich is installed, plain otherwise."""
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        try:
            return Live(last, unit)
        except ImportError:
            pass
    return Plain(last, unit)


def duration(seconds: float) -> str:
    """A time as a person says it: 8.2 s, 45 s, 3 min 12 s, 2 h 05 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def figures(values: Mapping[str, float]) -> str:
    """Metrics in one line."""
    return "   ".join(f"{name} {value:.4f}" for name, value in values.items())
