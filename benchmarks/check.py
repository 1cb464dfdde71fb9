"""Time of `netwright check` on the Llama of the examples, all included, beside Python alone.

python benchmarks/check.py [--runs 20]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

MODEL = Path(__file__).resolve().parent.parent / "examples" / "shakespeare" / "model.nw"
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
    alone, check = [], []
    for _ in range(parser.parse_args().runs):
        alone.append(seconds("-c", "pass"))
        check.append(seconds("-c", CHECK, "check", str(MODEL)))
    for name, found in (("python alone", alone), ("netwright check", check)):
        print(f"{name:16} median {statistics.median(found):.3f} s   best {min(found):.3f} s")


if __name__ == "__main__":
    main()
