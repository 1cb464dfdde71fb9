"""What a run costs beside its steps: data, log, progress, metrics, checkpoints every 50 steps.

    python benchmarks/overhead.py [--example shakespeare] [--batch 8] [--runs 3] [--rounds 15]

A process trains an example as `netwright train` does, with everything on. After every 10 steps it
pauses, and the same jitted step is called 10 times by a bare loop, on batches that are on the
device already, with a state of its own. So the two take turns on the same machine, each for less
than a second, since what else runs on it changes from one second to the next. Each piece of the run
is compared with the bare ones before and after it; five pieces make a window, with one checkpoint
in it, which is written behind the steps after it. The time of a step is told, and the processor's
time of all threads. Several processes are started one after the other. The result is the median
over the windows of all, with the interval that holds it with a probability of 95 % (by the
bootstrap).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import netwright as nw
import numpy as np
from netwright.running import environment
from netwright.runtime.loop import train
from netwright.runtime.progress import Plain
from scipy.stats import bootstrap

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "overhead.json"
EVERY = 50  # steps between checkpoints, and in a window
PIECE = 10  # steps between pauses
PAUSE = 5  # steps after a checkpoint: it is written by then


class Turns(Plain):
    """Progress that shows nothing, and lets the bare loop have a turn between two pieces."""

    def __init__(self, last: int, unit: str, compiled: nw.Compiled):
        super().__init__(last, unit)
        self._call, self._state = compiled.step, compiled.init(0)
        data = compiled.data
        self._batches = [compiled.put_batch(data.batch(n)) for n in range(PIECE)]
        self._resumed: np.ndarray | None = None
        self.full: list[np.ndarray] = []
        self.bare: list[np.ndarray] = []
        self._bare()  # compiles

    def note(self, text: str) -> None:
        """Made, but not shown."""

    def step(self, row: Mapping[str, Any]) -> None:
        """A step is done, and the next one dispatched."""
        super().step(row)
        if row["step"] % PIECE == PAUSE:
            jax.block_until_ready([a for a in jax.live_arrays() if not a.is_deleted()])
            if self._resumed is not None:
                self.full.append((clocks() - self._resumed) / PIECE)
            self.bare.append(self._bare())
            self._resumed = clocks()

    def _bare(self) -> np.ndarray:
        began = clocks()
        for batch in self._batches:
            self._state, _ = self._call(self._state, batch)
        jax.block_until_ready(self._state)
        return (clocks() - began) / PIECE


def clocks() -> np.ndarray:
    """Now, and the processor's time that this process has had, in ms."""
    return 1e3 * np.array([time.perf_counter(), time.process_time()])


def by_clock(rows: np.ndarray) -> dict[str, Any]:
    """Of rows [..., clock] those of each, for JSON."""
    return dict(zip(("clock", "processor"), rows.T.tolist(), strict=True))


def told(times: np.ndarray) -> str:
    return f"{times[0]:8.2f} {times[1]:8.2f} ms"


def shares(more: np.ndarray) -> str:
    return f"{more[0]:+6.1%} {more[1]:+6.1%}"


def measured(example: str, batch: int, rounds: int) -> tuple[np.ndarray, np.ndarray]:
    """Train once, in this process.

    Returns, each [window, clock] in ms a step: the windows of the run, and for each of them the
    mean of the bare pieces before and after its own.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / example
        shutil.copytree(ROOT / "examples" / example, copy)
        text = (copy / "recipe.toml").read_text()
        (copy / "recipe.toml").write_text(re.sub(r"(?m)^batch = .*", f"batch = {batch}", text))
        compiled = nw.load(copy).compile()
        steps = PAUSE + EVERY * rounds + 1
        turns = Turns(steps, compiled.data.unit, compiled)
        job = replace(compiled.job, evaluate_every=0, checkpoint_every=EVERY, steps=steps)
        train(job, Path(folder) / "run", progress=lambda *_: turns)
    bare = (np.array(turns.bare[1:]) + turns.bare[:-1]) / 2
    return by_window(np.array(turns.full)), by_window(bare)


def by_window(pieces: np.ndarray) -> np.ndarray:
    """The means over the pieces of each window."""
    return pieces.reshape(-1, EVERY // PIECE, 2).mean(axis=1)


def main() -> None:
    """Print a table of the windows and the medians, and write them to benchmarks/results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--example", default="shakespeare")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--runs", type=int, default=3, help="processes, one after the other")
    parser.add_argument("--rounds", type=int, default=15, help="windows of each")
    options = parser.parse_args()
    print("run  window   everything on         bare step             more")
    os.environ.update(environment())
    fulls, bares = [], []
    for run in range(1, options.runs + 1):
        with multiprocessing.get_context("spawn").Pool(1) as alone:
            full, bare = alone.apply(measured, (options.example, options.batch, options.rounds))
        for number, (one, other) in enumerate(zip(full, bare, strict=True), 1):
            print(f"{run:3}  {number:6}   {told(one)}   {told(other)}   {shares(one / other - 1)}")
        middle = [told(np.median(times, axis=0)) for times in (full, bare)]
        more = np.median(full / bare - 1, axis=0)
        print(f"{run:3}  median   {middle[0]}   {middle[1]}   {shares(more)}", flush=True)
        fulls.append(full)
        bares.append(bare)
    each = np.concatenate(fulls) / np.concatenate(bares) - 1  # [window, clock]
    more = np.median(each, axis=0)
    interval = bootstrap((each,), np.median, vectorized=True, rng=0).confidence_interval
    print(f"all  median {shares(more)}, from {shares(interval.low)} to {shares(interval.high)}")
    print(f"of the clock, and of the processor; at a load average of {os.getloadavg()[0]:.1f}")
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    found = {
        "command": f"python benchmarks/overhead.py --example {options.example}"
        f" --batch {options.batch} --runs {options.runs} --rounds {options.rounds}",
        "load_average": round(os.getloadavg()[0], 1),
        "commit": commit,
        "steps_in_a_window": EVERY,
        "everything_on_ms": [by_clock(full.round(2)) for full in fulls],
        "bare_step_ms": [by_clock(bare.round(2)) for bare in bares],
        "median_overhead": by_clock(more.round(4)),
        "interval_95": [by_clock(interval.low.round(4)), by_clock(interval.high.round(4))],
    }
    RESULT.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
