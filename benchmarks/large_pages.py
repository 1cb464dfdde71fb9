"""What large pages are worth to a step on the CPU.

    python benchmarks/large_pages.py [--times 5] [--steps 20] [EXAMPLE ...]

XLA on the CPU takes the temporary arrays of each step from malloc and frees them after it. Blocks
of that size malloc gives back to the system at once, which clears and maps their pages anew for the
next step, 4 kB at a time. `netwright train` has malloc ask for large pages. Processes with and
without it take turns; of each the time of a step is told, the page faults and the most memory.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import jax
import netwright as nw
from netwright.running import environment

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "large_pages.json"
WAYS = ("as it is", "large pages")


def measure(example: str, steps: int) -> dict[str, float]:
    """Train in this process."""
    compiled = nw.load(ROOT / "examples" / example).compile()
    state = compiled.init(0)
    batches = [compiled.put_batch(compiled.data.batch(n)) for n in range(steps)]
    for batch in batches[:2]:
        state, _ = compiled.step(state, batch)
    jax.block_until_ready(state)
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    for batch in batches:
        state, _ = compiled.step(state, batch)
    jax.block_until_ready(state)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    return {
        "ms": 1e3 * seconds / steps,
        "faults": (after.ru_minflt - before.ru_minflt) / steps,
        "mb": after.ru_maxrss / 1e3,
    }


def alone(example: str, steps: int, way: str) -> dict[str, float]:
    """Train in a process of its own."""
    found = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    if way == "large pages":
        found["GLIBC_TUNABLES"] = environment()["GLIBC_TUNABLES"]
    command = [sys.executable, __file__, "--one", "--steps", str(steps), example]
    done = subprocess.run(command, env=found, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def main() -> None:
    """Print a table of medians, and write it to benchmarks/results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("examples", nargs="*", default=["shakespeare", "pronounce", "digits"])
    parser.add_argument("--times", type=int, default=5, help="processes of each kind")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--one", action="store_true", help="measure one, and print JSON")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.examples[0], options.steps)))
        return
    table = {}
    print(f"{'':20}{'':>13}   a step   faults    memory")
    for example in options.examples:
        found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for turn in range(options.times):
            for way in WAYS[:: 1 if turn % 2 else -1]:
                found[way].append(alone(example, options.steps, way))
        table[example] = {
            way: {k: round(statistics.median(r[k] for r in rows), 1) for k in rows[0]}
            for way, rows in found.items()
        }
        for way, row in table[example].items():
            told = f"{row['ms']:6.1f} ms{row['faults']:9,.0f}{row['mb']:7.0f} MB"
            print(f"{example:20}{way:>13}{told}")
        small, large = (table[example][way]["ms"] for way in WAYS)
        print(f"{'':20}{'':>13}{large / small - 1:+6.1%}", flush=True)
    RESULT.write_text(json.dumps({"times": options.times, "medians": table}, indent=2) + "\n")


if __name__ == "__main__":
    main()
