"""What the rows of a run add up to: how fast its steps were, and where its time went."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .progress import duration

Row = Mapping[str, Any]

EVENTS = {
    "compile": "compiling",
    "restore": "restoring",
    "save": "saving",
    "diagnose": "looking into a bad step",
    "lost": "lost",
}
"""What the time of a row with this `event` counts as."""


@dataclass(frozen=True)
class Summary:
    """Figures of a run, all processes that worked on it together.

    steps:    how many training steps are in the log; skipped: those of them without an update
    p50, p95: seconds that half, and 95 of 100, of the steps took at most
    speeds:   unit -> how many of them a second, by the median step
    mfu:      the median share of what the devices can do; None where it is not known
    buckets:  what time went into -> seconds: training, waiting for data, compiling, evaluating,
              saving (what steps waited for it), restoring, and lost: steps that were made anew
              because the process ended before their checkpoint
    """

    steps: int
    skipped: int
    p50: float
    p95: float
    speeds: Mapping[str, float]
    mfu: float | None
    buckets: Mapping[str, float]

    @property
    def seconds(self) -> float:
        """All of the time that rows tell of."""
        return sum(self.buckets.values())

    @property
    def goodput(self) -> float:
        """The share of that time in which steps that count were computed."""
        return self.buckets["training"] / self.seconds if self.seconds else 0.0

    def lines(self) -> list[str]:
        """Two lines for a person."""
        if not self.steps:
            return []
        waiting = self.buckets["waiting for data"]
        told = waiting / (self.buckets["training"] + waiting)
        units = {speed: unit for unit, speed in self.speeds.items()}  # an image is an example
        speed = [f"{speed:,.0f} {unit}/s" for speed, unit in units.items()]
        speed += [] if self.mfu is None else [f"MFU {_percent(self.mfu)}"]
        first = [f"p50 {_milliseconds(self.p50)}, p95 {_milliseconds(self.p95)}", *speed]
        first += [f"data wait {_percent(told)}"]
        first += [f"{self.skipped} skipped"] if self.skipped else []
        shares = sorted(self.buckets.items(), key=lambda item: -item[1])
        second = [f"{name} {_percent(s / self.seconds)}" for name, s in shares if s]
        return [
            f"steps:   {'   '.join(first)}",
            f"time:    {duration(self.seconds)}: {', '.join(second)}",
        ]


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a `metrics.jsonl`; a line that a kill left half written is left out."""
    rows = []
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict) and isinstance(row.get("step"), int):
                rows.append(row)
    return rows


def is_step(row: Row) -> bool:
    """Whether a row is of a training step, and not of an evaluation or an event."""
    return "event" not in row and "split" not in row


def summarise(rows: Iterable[Row]) -> Summary:
    """The figures of these rows."""
    rows = list(rows)
    steps = [row for row in rows if is_step(row)]
    seconds = sorted(row["seconds"] for row in steps)
    buckets = dict.fromkeys(("training", "waiting for data", "evaluating", *EVENTS.values()), 0.0)
    for row in rows:
        if "event" in row:
            if row["event"] in EVENTS:
                buckets[EVENTS[row["event"]]] += row["seconds"]
        elif "split" in row:
            buckets["evaluating"] += row["seconds"]
        else:
            waited = row.get("data_seconds", 0.0)
            buckets["training"] += row["seconds"] - waited
            buckets["waiting for data"] += waited
    units = [n for n in (steps[-1] if steps else ()) if n.endswith("_per_second")]
    mfu = [row["mfu"] for row in steps if "mfu" in row]
    return Summary(
        steps=len(steps),
        skipped=sum(bool(row.get("skipped")) for row in steps),
        p50=_quantile(seconds, 0.5),
        p95=_quantile(seconds, 0.95),
        speeds={
            name.removesuffix("_per_second"): _quantile(
                sorted(row[name] for row in steps if name in row), 0.5
            )
            for name in units
        },
        mfu=_quantile(sorted(mfu), 0.5) if mfu else None,
        buckets=buckets,
    )


def _quantile(ordered: list[float], share: float) -> float:
    """The smallest value that so large a share of them does not exceed; 0 of none."""
    if not ordered:
        return 0.0
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
