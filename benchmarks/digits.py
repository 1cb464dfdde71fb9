"""Held-out accuracy of the digits example, for several seeds.

python benchmarks/digits.py [--seeds 3]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from netwright import driver
from netwright.backend.program import write_program

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "digits"


def accuracy(seed: int, folder: Path) -> float:
    """Train the example with a seed in a process of its own; gives the held-out accuracy."""
    recipe = driver.read_recipe(EXAMPLE, [f"train.seed={seed}"])
    write_program(driver.program(driver.load(EXAMPLE), recipe), folder)
    subprocess.run([sys.executable, folder / "train.py"], check=True, capture_output=True)
    rows = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").open()]
    return [r["accuracy"] for r in rows if r.get("split") == "held_out"][-1]


def main() -> None:
    """Print a line for each seed, and the median."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    found = []
    for seed in range(parser.parse_args().seeds):
        with tempfile.TemporaryDirectory() as folder:
            found.append(accuracy(seed, Path(folder) / "program"))
        print(f"seed {seed}: {found[-1]:.4f}", flush=True)
    print(f"median: {statistics.median(found):.4f}")


if __name__ == "__main__":
    main()
