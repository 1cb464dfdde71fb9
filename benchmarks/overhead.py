"""What a run costs beside its steps: data, log, progress, metrics, checkpoints every 50 steps.

    python benchmarks/overhead.py [--example shakespeare] [--rounds 7]

One process trains an example as `netwright train` does, with everything on. After every 50 steps it
pauses, and the same jitted step is called 50 times by a bare loop, on batches that are on the
device already, with a state of its own. So the two take turns on the same machine; each window of
the run has one checkpoint in its midst, written behind the steps after it. Times are means over a
window, and of those the medians are compared.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import time
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


class Watched:
    """A data source that pauses the run between two windows, and lets the bare loop have a turn."""

    def __init__(self, source: Any, compiled: nw.Compiled):
        self._source = source
        self._step, self._state = compiled.step, compiled.init(0)
        self._batches = [compiled.put_batch(source.batch(n)) for n in range(EVERY)]
        self._resumed: float | None = None
        self.full: list[float] = []
        self.bare: list[float] = []
        self._bare()  # compiles

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def batch(self, step: int) -> Any:
        """The batch of a step; called once for each."""
        if step % EVERY == PAUSE:
            jax.block_until_ready([a for a in jax.live_arrays() if not a.is_deleted()])
            if self._resumed is not None:
                self.full.append((time.perf_counter() - self._resumed) / EVERY)
                self.bare.append(self._bare())
            self._resumed = time.perf_counter()
        return self._source.batch(step)

    def _bare(self) -> float:
        began = time.perf_counter()
        for batch in self._batches:
            self._state, _ = self._step(self._state, batch)
        jax.block_until_ready(self._state)
        return (time.perf_counter() - began) / EVERY


class Quiet(Plain):
    """Progress that goes nowhere, but is made."""

    def note(self, text: str) -> None:
        self.last = text


def main() -> None:
    """Print a table of the windows and the medians, and write them to benchmarks/results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--example", default="shakespeare")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    compiled = nw.load(ROOT / "examples" / options.example).compile()
    watched = Watched(compiled.job.data(), compiled)
    steps = PAUSE + EVERY * options.rounds + 1
    job = replace(
        compiled.job, data=lambda: watched, evaluate_every=0, checkpoint_every=EVERY, steps=steps
    )
    with tempfile.TemporaryDirectory() as folder:
        train(job, Path(folder) / "run", progress=Quiet, steps=steps)
    print("window   everything on   bare step")
    for number, (full, bare) in enumerate(zip(watched.full, watched.bare, strict=True), 1):
        print(f"{number:6}   {full * 1e3:10.2f} ms   {bare * 1e3:6.2f} ms")
    full, bare = statistics.median(watched.full), statistics.median(watched.bare)
    print(f"median   {full * 1e3:10.2f} ms   {bare * 1e3:6.2f} ms   {full / bare - 1:+.1%}")
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    found = {
        "command": f"python benchmarks/overhead.py --example {options.example}"
        f" --rounds {options.rounds}",
        "commit": commit,
        "steps_in_a_window": EVERY,
        "everything_on_ms": [round(t * 1e3, 3) for t in watched.full],
        "bare_step_ms": [round(t * 1e3, 3) for t in watched.bare],
        "overhead_of_medians": round(full / bare - 1, 4),
    }
    RESULT.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
