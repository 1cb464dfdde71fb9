"""The planner's search beside Checkmate (Jain et al. 2020), on chains and on graphs with skips.

Ops cost 1, and take 1 or, in every other graph, between 1 and 3. For each graph budgets divide the
range from the least that the planner can do with to what it takes to keep everything. Checkmate may
make a value any number of times; `tests/remat/checkmate.py` proves a cost that none of its
schedules is below, and the planner's is put beside that.

    python benchmarks/checkmate.py [--nodes 48,64] [--graphs 10] [--budgets 5] [--limit 120]

Nodes are those of the forward and of the backward pass together. The result is written to
`results/checkmate.json`.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks/results/checkmate.json"
sys.path.insert(0, str(ROOT / "tests/remat"))


def graph(ops: int, index: int, seed: int) -> tuple[list[tuple[int, ...]], list[int]]:
    """What each op reads, and how much it takes: a chain first, then graphs with skips."""
    from skip_graphs import drawn

    rng = random.Random(f"{seed} {ops} {index}")
    reads = drawn(ops, 0 if index < 2 else rng.randrange(1, ops // 2), rng.randrange(1 << 30))
    sizes = [rng.randint(1, 3) if index % 2 else 1 for _ in range(ops)]
    return reads, sizes


def least(reads, sizes, top: int) -> int:
    """The least budget that the planner can do with."""
    from skip_graphs import planned

    low, high = 0, top
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if planned(reads, sizes, middle) is not None else (middle, high)
    return high


def rows(nodes: int, graphs: int, budgets: int, limit: float, seed: int):
    """A row for each graph and budget."""
    from skip_graphs import most, planned, proven

    ops = nodes // 2
    for index in range(graphs):
        reads, sizes = graph(ops, index, seed)
        top = most(reads, sizes)
        low = least(reads, sizes, top)
        for part in range(budgets):
            budget = low + (top - 1 - low) * part // max(1, budgets - 1)
            ours = planned(reads, sizes, budget)
            start = time.perf_counter()
            bound = proven(reads, sizes, ours, budget, limit)
            yield {
                "nodes": 2 * ops - 1, "skips": sum(len(r) > 1 for r in reads), "sizes": max(sizes),
                "budget": budget, "everything": top, "planned": ours, "at_least": bound,
                "within": ours <= 1.02 * bound, "seconds": round(time.perf_counter() - start, 1),
            }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--nodes", default="48,64", help="of forward and backward pass together")
    parser.add_argument("--graphs", type=int, default=10, help="of each size")
    parser.add_argument("--budgets", type=int, default=5, help="for each graph")
    parser.add_argument("--limit", type=float, default=120, help="seconds for one proof")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    found = []
    print("nodes skips sizes  budget  all kept  planned  no less than")
    for nodes in map(int, args.nodes.split(",")):
        for row in rows(nodes, args.graphs, args.budgets, args.limit, args.seed):
            found.append(row)
            print(
                f"{row['nodes']:5}{row['skips']:6}{row['sizes']:6}{row['budget']:8}"
                f"{row['everything']:10}{row['planned']:9}{row['at_least']:14}   "
                f"{'within 2 %' if row['within'] else 'not proven'}   {row['seconds']:.0f} s",
                flush=True,
            )
    within = sum(row["within"] for row in found)
    print(f"{within} of {len(found)} proven to be within 2 % of the best schedule")
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    table = {
        "commit": commit.stdout.strip(), "seed": args.seed, "limit": args.limit, "within": within,
        "count": len(found), "rows": found,
    }  # fmt: skip
    RESULT.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
