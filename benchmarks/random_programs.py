"""A campaign of random programs: emitted, run and compared with what they mean.

    python benchmarks/random_programs.py --count 900 --seed 100000 --jobs 2

Every third one is compiled as a whole, the others run op by op. Programs that fail are printed with
their seeds; the counts, and how often each op occurred, go to `results/random_programs.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("JAX_PLATFORMS", "cpu")
sys.path.insert(0, str(ROOT / "tests" / "random_programs"))
CHUNK = 15  # programs between which what was compiled is kept


def compiled(number: int) -> bool:
    """Whether a program of the campaign is compiled as a whole."""
    return number % 3 == 2


def run(start: int, count: int, seed: int, ops: int, verbose: bool) -> tuple[dict, list[dict]]:
    """Check some programs of the campaign: how often each op occurred, and what failed."""
    import jax
    from random_runs import Checked, Wrong, check
    from test_random_programs import draw

    warnings.simplefilter("ignore")
    checked, failed = Checked(), []
    for number in range(start, min(start + CHUNK, count)):
        try:
            check(
                draw(seed + number, ops),
                checked,
                ways=("compiled" if compiled(number) else "eagerly",),
                unroll=number % 5 == 0,
                gradients=number % 25 == 1,
                initial=number % 5 == 2,
                narrow=number % 5 == 3,
                mesh=number % 25 == 4,
            )
        except Wrong as error:
            failed.append({"seed": seed + number, "what": error.what.split("\n")[0][:300]})
            print(f"seed {seed + number}: {error if verbose else error.what}", flush=True)
    jax.clear_caches()
    return checked.ops, failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=900, help="how many programs")
    parser.add_argument("--seed", type=int, default=100_000, help="the seed of the first one")
    parser.add_argument("--ops", type=int, default=8, help="about how many ops a body has")
    parser.add_argument("--jobs", type=int, default=1, help="how many processes")
    parser.add_argument("--minutes", type=float, default=60, help="after which no more are begun")
    parser.add_argument("--verbose", action="store_true", help="print failing programs as text")
    parser.add_argument("--out", default=str(Path(__file__).parent / "results"))
    given = parser.parse_args()

    began = time.time()
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    ops: Counter[str] = Counter()
    failed: list[dict] = []
    count = 0
    some = partial(
        run, count=given.count, seed=given.seed, ops=given.ops, verbose=given.verbose
    )  # fmt: skip
    starts = range(0, given.count, CHUNK)
    with ProcessPoolExecutor(given.jobs, get_context("spawn")) as pool:
        for done, (seen, wrong) in enumerate(pool.map(some, starts), 1):
            ops.update(seen)
            failed += wrong
            seconds = time.time() - began
            count = min(done * CHUNK, given.count)
            print(f"{count} programs, {len(failed)} failed, {seconds:.0f} s", flush=True)
            if seconds > 60 * given.minutes:
                pool.shutdown(wait=False, cancel_futures=True)
                break
    whole = sum(map(compiled, range(count)))
    result = {
        "commit": commit,
        "seed": given.seed,
        "count": count,
        "eager": count - whole,
        "compiled": whole,
        "ops_in_a_body": given.ops,
        "failed": failed,
        "ops": dict(sorted(ops.items())),
        "seconds": round(time.time() - began),
    }
    out = Path(given.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "random_programs.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
