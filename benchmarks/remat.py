"""What planning saves: over budgets, the plan beside the best stock policy that fits.

For a Llama of 16 blocks, width 512 and sequences of 1,024 tokens (and two others), ten budgets
divide the range between the least and the largest peak that is predicted; for each stand the
seconds of second runs that the plan takes and those of the best stock policy within the same
budget, by the table of hardware. Random budgets from the least one up, of one number of
microbatches and of all that may be chosen, check that more memory never means more time, and that
no policy that fits is better.

With `--compile N`, every plan of small models of the gallery is compiled, once, for an accelerator
that the CPU stands in for and for the CPU itself; N budgets, drawn from the least peak to a tenth
above what the largest needs with the margin, tell how many plans exceed them when nothing is looked
at but the prediction, with several margins, and with `--verify`. The result is a file of its own.

    python benchmarks/remat.py [--budgets 200] [--compile 0 [--models NAME...]] [--seed 1]
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import time
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path

from netwright import planning
from netwright.ir.hardware import hardware
from netwright.passes.planner.decisions import with_decisions
from netwright.verifying import held, measured

ROOT = Path(__file__).parent.parent
RESULT = Path(__file__).parent / "results/remat.json"
COMPILED = Path(__file__).parent / "results/remat_compiled.json"
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
SMALL = {
    "llama": (
        "examples/shakespeare/model.nw",
        {"L": 6, "D": 64, "F": 96, "G": 2, "R": 2, "K": 16, "V": 256, "B": 8, "S": 64},
    ),
    "gpt2": ("examples/gallery/gpt2.nw", {"L": 6, "D": 64, "G": 2, "V": 256, "B": 8, "S": 64}),
    "mixer": (
        "examples/gallery/mixer.nw",
        {"L": 6, "D": 64, "F": 256, "M": 64, "Y": 128, "X": 128, "B": 8},
    ),
    "lstm": ("examples/gallery/lstm_lm.nw", {"L": 4, "H": 64, "V": 256, "B": 16, "S": 32}),
    "resnet18": ("examples/gallery/resnet18.nw", {"Y": 64, "X": 64, "W": 16, "B": 8}),
}
"""Models that compile in seconds."""

MARGINS = (0.0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2, 0.3, 0.5)


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
    parser.add_argument("--models", nargs="*", choices=SMALL, default=list(SMALL))
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if args.compile:
        compiled(args.compile, args.seed, args.models)
        return
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
    RESULT.write_text(json.dumps(found, indent=1) + "\n")


def random_budgets(count: int, seed: int) -> dict:
    """Monotone, and never worse than a policy that fits."""
    rng = random.Random(seed)
    asked = question(*MODELS["llama"])
    pool = options(asked)
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
    every = all_microbatches(asked, pool, count, rng)
    return {"count": count, "rises": rises, "worse": worse, "any microbatches": every}


def all_microbatches(asked, pool: list, count: int, rng: random.Random) -> dict:
    """The same where the number of microbatches and of parts of the loss are decided as well."""
    most = replace(asked, budget=1 << 60).answer().report.peak
    least = replace(asked, budget=1).answer().report.peak
    budgets = sorted(int(rng.uniform(least, 1.1 * most)) for _ in range(count))
    found = [replace(asked, budget=budget).answer(short=0) for budget in budgets]
    rises = sum(a.total < b.total for a, b in pairwise(found))
    again = sum(a.chosen.again < b.chosen.again for a, b in pairwise(found))
    worse = 0
    for planned in found:
        stock = [o for o in (*pool, *planned.options) if o.name and o.peak <= planned.budget]
        worse += any(o.again < planned.chosen.again for o in stock)
    numbers = sorted({p.plan.microbatches for p in found})
    print(
        f"{count} more in any number of microbatches, {numbers}: the time of a step rises with "
        f"memory {rises} times, that of second runs alone, where fewer microbatches are shorter, "
        f"{again} times; worse than a policy {worse}"
    )
    unmet = sum(not p.fits for p in found)
    return {"numbers": numbers, "rises": rises, "again": again, "worse": worse, "unmet": unmet}


def compiled(count: int, seed: int, names: list[str]) -> None:
    """What XLA takes for the plans of budgets, without looking and with `--verify`."""
    found = json.loads(COMPILED.read_text()) if COMPILED.exists() else {}
    for name, device in product(names, ("h100", "cpu")):
        path, sizes = SMALL[name]
        start = time.perf_counter()
        asked = replace(question(path, sizes), device=hardware(device), budget=1 << 60, batch=0)
        planned = asked.answer()
        plans = {o: with_decisions(planned.plan, planned.blocks, o) for o in planned.options}
        peaks = dict(zip(plans, measured(asked, list(plans.values())), strict=True))
        rows = sorted((o.peak, peaks[o], o.name) for o in plans)
        row = {"commit": commit(), "seed": seed, "count": count, "sizes": sizes, "plans": rows}
        row |= budgets(count, seed, planned, plans, peaks)
        found[f"{name} on {device}"], free = row, str(planned.margin)
        errors = sorted(p / x - 1 for p, x, _ in rows)
        took = time.perf_counter() - start
        print(
            f"{name} on {device}: {len(rows)} plans in {took:.0f} s; predicted by "
            f"{errors[0]:+.1%} to {errors[-1]:+.1%}; with {free} free {row['over'][free]} of "
            f"{row['tried'][free]} are over the budget, with --verify {row['over_verified']}",
            flush=True,
        )
        COMPILED.write_text(json.dumps(found, indent=1) + "\n")


def budgets(count: int, seed: int, planned, plans: dict, peaks: dict) -> dict:
    """How many of random budgets are exceeded."""
    rng = random.Random(seed)
    low, high = min(o.peak for o in plans), max(o.peak for o in plans)
    high /= 1 - planned.margin
    rooms = [int(rng.uniform(low, 1.1 * high)) for _ in range(count)]
    over = dict.fromkeys(MARGINS, 0)
    tried = dict.fromkeys(MARGINS, 0)
    for room in rooms:
        for margin in MARGINS:
            option = best(plans, room * (1 - margin))
            tried[margin] += option is not None
            over[margin] += option is not None and peaks[option] > room
    verified = [holding(room, planned, plans, peaks) for room in rooms]
    return {
        "tried": {str(m): n for m, n in tried.items()},
        "over": {str(m): n for m, n in over.items()},
        "over_verified": sum(v.fits and v.peak > r for v, r in zip(verified, rooms, strict=True)),
        "refused": sum(not v.fits for v in verified),
        "could": sum(
            not v.fits and any(x <= r for x in peaks.values())
            for v, r in zip(verified, rooms, strict=True)
        ),
    }


def holding(room: int, planned, plans: dict, peaks: dict):
    """What `--verify` finds for a budget, of what has been compiled."""
    by_text = {plans[o].to_json(): peaks[o] for o in plans}

    def answer(short: int):
        option = best(plans, room - short)
        chosen = option or planned.options[0]
        report = replace(planned.report, kept=(), peak=chosen.peak)
        return replace(planned, plan=plans[chosen], fits=option is not None, report=report)

    return held(room, answer, lambda plan: by_text[plan.to_json()])[1]


def commit() -> str:
    """The commit that this is."""
    return subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()


if __name__ == "__main__":
    main()
