"""A campaign of random programs: emitted, run and compared with what they mean.

    python benchmarks/random_programs.py --count 900 --seed 100000

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
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("JAX_PLATFORMS", "cpu")
sys.path.insert(0, str(ROOT / "tests" / "random_programs"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=1000, help="how many programs")
    parser.add_argument("--seed", type=int, default=100_000, help="the seed of the first one")
    parser.add_argument("--ops", type=int, default=8, help="about how many ops a body has")
    parser.add_argument("--verbose", action="store_true", help="print failing programs as text")
    parser.add_argument("--out", default=str(Path(__file__).parent / "results"))
    given = parser.parse_args()

    import jax
    from random_runs import Checked, Wrong, check
    from test_random_programs import draw

    warnings.simplefilter("ignore")
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    checked, failed, began = Checked(), [], time.time()
    compiled = 0
    for number in range(given.count):
        seed = given.seed + number
        ways = ("compiled",) if number % 3 == 2 else ("eagerly",)
        compiled += ways == ("compiled",)
        try:
            check(
                draw(seed, given.ops),
                checked,
                ways=ways,
                unroll=number % 5 == 0,
                gradients=number % 25 == 1,
                initial=number % 5 == 2,
                narrow=number % 5 == 3,
                mesh=number % 25 == 4,
            )
        except Wrong as error:
            failed.append({"seed": seed, "what": error.what.split("\n")[0][:300]})
            print(f"seed {seed}: {error if given.verbose else error.what}", flush=True)
        if number % 50 == 49:
            jax.clear_caches()
            seconds = time.time() - began
            print(f"{number + 1} programs, {len(failed)} failed, {seconds:.0f} s", flush=True)

    result = {
        "commit": commit,
        "seed": given.seed,
        "count": given.count,
        "compiled": compiled,
        "eager": given.count - compiled,
        "ops_in_a_body": given.ops,
        "failed": failed,
        "ops": dict(sorted(checked.ops.items())),
        "seconds": round(time.time() - began),
    }
    out = Path(given.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "random_programs.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
