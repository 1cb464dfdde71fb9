"""A GPT whose logits are what is large: the plan cuts the loss into parts, and XLA's peak falls.

GPT-2 of 4 blocks, width 256 and 32,000 classes, 16 sequences of 512, with Adam in float32, within a
budget of 1 GB: what is planned, what the model of memory says of it, and what XLA takes for it on
the CPU, beside the same step without a plan.

    python benchmarks/logits.py [--memory 1GB]

The result is written to `results/logits.json`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path

from netwright import planning
from netwright.passes.memory.model import predict
from netwright.passes.planner.decisions import size_text
from netwright.planned import text
from netwright.verifying import measured

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks/results/logits.json"
SIZES = {"L": 4, "D": 256, "G": 4, "V": 32_000, "Ctx": 512, "drop": 0.0, "B": 16, "S": 512}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--memory", default="1GB", help="the budget")
    budget = parser.parse_args().memory
    path = ROOT / "examples/gallery/gpt2.nw"
    question = planning.of_model(path, SIZES, budget, optimizer="adam")
    planned = question.answer()
    plain = predict(planning.compile_module(question.module, question.plan), question.plan)
    found = measured(question, [question.plan, planned.plan])
    cut = 1 - found[1] / found[0]
    print(text(question, planned))
    print()
    print(f"{'':12}{'predicted':>12}{'XLA':>12}")
    for name, predicted, peak in (
        ("as it is", plain.peak, found[0]),
        ("planned", planned.report.peak, found[1]),
    ):
        print(
            f"{name:12}{size_text(predicted):>12}{size_text(peak):>12}{predicted / peak - 1:+8.1%}"
        )
    print(f"{cut:.0%} less")
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    table = {
        "commit": commit.stdout.strip(), "sizes": SIZES, "budget": question.budget,
        "loss_chunks": {d.key: d.choice for d in planned.plan.loss_chunks},
        "predicted": [plain.peak, planned.report.peak], "compiled": found, "less": round(cut, 4),
    }  # fmt: skip
    RESULT.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
