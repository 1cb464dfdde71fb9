"""What planning saves: over budgets, the plan beside the best stock policy that fits.

For a Llama of 16 blocks, width 512 and sequences of 1,024 tokens (and two others), ten budgets
divide the range between the least and the largest peak that is predicted; for each stand the
seconds of second runs that the plan takes and those of the best stock policy within the same
budget, by the table of hardware. Random budgets from the least one up check that more memory never
means more time, and that no policy that fits is better. With `--compile N`, N of them are compiled
as well, by `netwright.verifying`.

    python benchmarks/remat.py [--budgets 200] [--compile 0] [--seed 1]
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from netwright import planning

ROOT = Path(__file__).parent.parent
RESULT = Path(__file__).parent / "results/remat.json"
MODELS = {
    "llama": (
        "examples/shakespeare/model.nw",
        {"L": 16, "D": 512, "F": 1408, "G": 4, "R": 2, "K": 64, "V": 8192, "B": 8, "S": 1024},
    ),
    "gpt2": (
        "examples/gallery/gpt2.nw",
        {"L": 12, "D": 768, "V": 50257, "B": 8, "S": 1024},
    ),
    "t5": ("examples/gallery/t5.nw", {"B": 16, "S": 256, "T": 256}),
}
SMALL = {"L": 6, "D": 64, "F": 96, "G": 2, "R": 2, "K": 16, "V": 256, "B": 8, "S": 64}
"""A Llama that compiles in seconds."""


def question(model: str, sizes: dict[str, int]):
    """The question of a model, of whose free dims those are bound that it has."""
    from netwright.driver import load

    path = ROOT / model
    free = load(path).module.free
    known = {n: s for n, s in sizes.items() if n in free or n.isupper()}
    return planning.of_model(path, {n: s for n, s in known.items() if n != "T" or n in free})


def options(asked) -> list:
    """All plans of the pool with their peaks and times, no work in microbatches."""
    return list(replace(asked, budget=1 << 60, batch=0).answer().options)


def best(pool, room: float):
    fitting = [o for o in pool if o.peak <= room]
    return min(fitting, key=lambda o: (o.again, o.peak)) if fitting else None


def ten(pool) -> list[dict]:
    """Ten budgets between the least and the largest peak."""
    low, high = min(o.peak for o in pool), max(o.peak for o in pool)
    rows = []
    for index in range(1, 11):
        room = low + (high - low) * index / 11
        ours, theirs = best(pool, room), best([o for o in pool if o.name], room)
        saved = 1 - ours.again / theirs.again if theirs and theirs.again else 0.0
        rows.append(
            {
                "budget": int(room), "again": ours.again, "policy": theirs and theirs.name,
                "policy_again": theirs and theirs.again, "less": saved,
            }
        )  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--budgets", type=int, default=200)
    parser.add_argument("--compile", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    found: dict = {"commit": commit(), "seed": args.seed, "models": {}}
    for name, (path, sizes) in MODELS.items():
        start = time.perf_counter()
        asked = question(path, sizes)
        pool = options(asked)
        took = time.perf_counter() - start
        rows = ten(pool)
        print(f"{name}: {len(pool)} plans in {took:.1f} s")
        for row in rows:
            print(
                f"  {row['budget'] / 1e9:8.2f} GB   {row['again'] * 1e3:8.2f} ms   "
                f"{row['policy_again'] * 1e3:8.2f} ms  {row['less']:6.1%} less than {row['policy']}"
            )
        enough = sum(row["less"] >= 0.2 for row in rows)
        print(f"  at least 20 % less than the best stock policy at {enough} of {len(rows)} budgets")
        found["models"][name] = {"sizes": sizes, "rows": rows, "enough": enough}
    found["random"] = random_budgets(args.budgets, args.seed)
    if args.compile:
        found["compiled"] = compiled(args.compile, args.seed)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(found, indent=1) + "\n")


def random_budgets(count: int, seed: int) -> dict:
    """Monotone, and never worse than a policy that fits."""
    rng = random.Random(seed)
    pool = options(question(*MODELS["llama"]))
    low, high = min(o.peak for o in pool), max(o.peak for o in pool)
    rooms = sorted(rng.uniform(low, 1.1 * high) for _ in range(count))
    times = [best(pool, room).again for room in rooms]
    rises = sum(a < b for a, b in pairwise(times))
    worse = sum(
        any(o.name and o.peak <= room and o.again < again for o in pool)
        for room, again in zip(rooms, times, strict=True)
    )
    print(
        f"{count} random budgets: time rises with memory {rises} times, worse than a policy {worse}"
    )
    return {"count": count, "rises": rises, "worse": worse}


def compiled(count: int, seed: int) -> dict:
    """What XLA takes for the plan of a budget, without looking and with `--verify`."""
    from netwright.verifying import measured, verified

    rng = random.Random(seed)
    asked = question("examples/shakespeare/model.nw", SMALL)
    pool = options(asked)
    low, high = min(o.peak for o in pool) / 0.95, max(o.peak for o in pool)
    seen: dict[str, int] = {}
    rows = []
    for _ in range(count):
        budget = int(rng.uniform(low, 1.1 * high))
        planned = replace(asked, budget=budget, batch=0).answer()
        text = planned.plan.to_json()
        if text not in seen:
            seen[text] = measured(asked, planned.plan)[0]
        peak = seen[text]
        row = {"budget": budget, "predicted": planned.report.peak, "compiled": peak}
        if peak > budget:
            _, held = verified(replace(asked, budget=budget, batch=0))
            row |= {"verified": held.peak, "fits": held.fits}
        rows.append(row)
    over = sum(r["compiled"] > r["budget"] for r in rows)
    still = sum(r.get("verified", 0) > r["budget"] for r in rows)
    print(f"{count} compiled: {over} over the budget as predicted, {still} with --verify")
    return {"over": over, "over_verified": still, "rows": rows}


def commit() -> str:
    """The commit that this is."""
    return subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()


if __name__ == "__main__":
    main()
