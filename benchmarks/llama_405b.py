"""Llama 3.1 405B on 32 nodes of 8 H100, analysed and planned: the report, and what that takes here.

    python benchmarks/llama_405b.py

The mesh is in `llama_405b.json`. Seconds are those of the processor, of the command as a whole:
Python's start, the model's text, the plan. The result is written to `results/llama_405b.json`.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks/results/llama_405b.json"
SIZES = ("L=126", "D=16384", "F=53248", "R=16")


def main() -> None:
    argparse.ArgumentParser(description=__doc__.split("\n")[0]).parse_args()
    start = "from netwright.cli import main; main()"
    command = [sys.executable, "-c", start, "plan", "examples/gallery/llama3.nw"]
    command += [part for size in SIZES for part in ("--set", size)]
    command += ["--plan", "benchmarks/llama_405b.json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = used.ru_utime + used.ru_stime
    print(done.stdout + done.stderr)
    print(f"{seconds:.2f} s of a processor, {used.ru_maxrss // 1024} MiB")
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    table = {
        "commit": commit.stdout.strip(), "seconds": round(seconds, 2),
        "mebibytes": used.ru_maxrss // 1024, "report": done.stdout.splitlines()[:6],
    }  # fmt: skip
    RESULT.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
