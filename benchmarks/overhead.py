"""What a run costs beside its steps: data, log, progress, metrics, checkpoints every 50 steps.

    python benchmarks/overhead.py [--example shakespeare] [--batch 8] [--rounds 7]

One process trains an example as `netwright train` does, with everything on. After every 50 steps it
pauses, and the same jitted step is called 50 times by a bare loop, on batches that are on the
device already, with a state of its own. So the two take turns on the same machine; each window of
the run has one checkpoint in its midst, written behind the steps after it. Times are means over a
window, and of those the medians are compared; on a busy machine, windows that are neighbours.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import netwright as nw
from netwright.runtime.loop import train
from netwright.runtime.progress import Plain

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "overhead.json"
EVERY = 50  # steps between checkpoints, and in a window
PAUSE = 25  # steps after a checkpoint


class Turns(Plain):
    """Progress that shows nothing, and lets the bare loop have a turn between two windows."""

    def __init__(self, last: int, unit: str, compiled: nw.Compiled):
        super().__init__(last, unit)
        self._call, self._state = compiled.step, compiled.init(0)
        data = compiled.data
        self._batches = [compiled.put_batch(data.batch(n)) for n in range(EVERY)]
        self._resumed: float | None = None
        self.full: list[float] = []
        self.bare: list[float] = []
        self._bare()  # compiles

    def note(self, text: str) -> None:
        """Made, but not shown."""

    def step(self, row: Mapping[str, Any]) -> None:
        """A step is done, and the next one dispatched."""
        super().step(row)
        if row["step"] % EVERY == PAUSE:
            jax.block_until_ready([a for a in jax.live_arrays() if not a.is_deleted()])
            if self._resumed is not None:
                self.full.append((time.perf_counter() - self._resumed) / EVERY)
                self.bare.append(self._bare())
            self._resumed = time.perf_counter()

    def _bare(self) -> float:
        began = time.perf_counter()
        for batch in self._batches:
            self._state, _ = self._call(self._state, batch)
        jax.block_until_ready(self._state)
        return (time.perf_counter() - began) / EVERY


def main() -> None:
    """Print a table of the windows and the medians, and write them to benchmarks/results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--example", default="shakespeare")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / options.example
        shutil.copytree(ROOT / "examples" / options.example, copy)
        text = (copy / "recipe.toml").read_text()
        text = re.sub(r"(?m)^batch = .*", f"batch = {options.batch}", text)
        (copy / "recipe.toml").write_text(text)
        compiled = nw.load(copy).compile()
    steps = PAUSE + EVERY * options.rounds + 1
    turns = Turns(steps, compiled.data.unit, compiled)
    job = replace(compiled.job, evaluate_every=0, checkpoint_every=EVERY, steps=steps)
    with tempfile.TemporaryDirectory() as folder:
        train(job, Path(folder) / "run", progress=lambda *_: turns)
    print("window   everything on   bare step")
    for number, (full, bare) in enumerate(zip(turns.full, turns.bare, strict=True), 1):
        print(f"{number:6}   {full * 1e3:10.2f} ms   {bare * 1e3:6.2f} ms")
    full, bare = statistics.median(turns.full), statistics.median(turns.bare)
    pairs = statistics.median(f / b - 1 for f, b in zip(turns.full, turns.bare, strict=True))
    print(f"median   {full * 1e3:10.2f} ms   {bare * 1e3:6.2f} ms   {full / bare - 1:+.1%}")
    print(f"median of neighbours: {pairs:+.1%}, at a load average of {os.getloadavg()[0]:.1f}")
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    found = {
        "command": f"python benchmarks/overhead.py --example {options.example}"
        f" --batch {options.batch} --rounds {options.rounds}",
        "load_average": round(os.getloadavg()[0], 1),
        "commit": commit,
        "steps_in_a_window": EVERY,
        "everything_on_ms": [round(t * 1e3, 3) for t in turns.full],
        "bare_step_ms": [round(t * 1e3, 3) for t in turns.bare],
        "overhead_of_medians": round(full / bare - 1, 4),
        "median_overhead_of_neighbours": round(pairs, 4),
    }
    RESULT.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
