"""Time of `netwright check` on the Llama of the examples and on the gallery, all included.

python benchmarks/check.py [--runs 20]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
MODELS = [EXAMPLES / "shakespeare" / "model.nw", *sorted(EXAMPLES.glob("gallery/*.nw"))]
CHECK = "import sys; from netwright.cli import main; sys.argv[0] = 'netwright'; main()"


def seconds(*command: str) -> float:
    """Wall time of a command."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    """Print medians of alternating runs."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=20)
    commands = {"python alone": ("-c", "pass")}
    for model in MODELS:
        commands[str(model.relative_to(EXAMPLES))] = ("-c", CHECK, "check", str(model))
    found: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(parser.parse_args().runs):
        for name, command in commands.items():
            found[name].append(seconds(*command))
    for name, times in found.items():
        print(f"{name:30} median {statistics.median(times):.3f} s   best {min(times):.3f} s")


if __name__ == "__main__":
    main()
