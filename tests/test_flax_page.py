"""docs/flax.md: the models as they are, and counts of tokens that hold."""

import re
import sys

import pytest
from programs import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import tokens

PAGE = ROOT / "docs" / "flax.md"


@pytest.mark.parametrize("pair", tokens.PAIRS, ids=[p.model for p in tokens.PAIRS])
def test_pairs(pair, update_golden):
    page = PAGE.read_text(encoding="utf-8")
    text = (ROOT / pair.model).read_text(encoding="utf-8")
    (row,) = (line for line in page.split("\n") if line.startswith(f"| [{pair.model}]"))
    assert f"{pair.repository}/blob/{pair.commit}/{pair.path}" in row
    theirs = int(re.search(r"(\d+) \| [\d.]+ \|$", row)[1])
    ours, whole = tokens.of_model(text, losses=False), tokens.of_model(text)
    counted = re.sub(r"\| \d+ \| \d+ \|", f"| {ours} | {whole} |", row, count=1)
    counted = re.sub(r"[\d.]+ \|$", f"{ours / theirs:.2f} |", counted)
    block = re.escape(text.split("\n")[0]) + r".*?```"
    shown = re.sub(block, lambda _: f"{text}```", page.replace(row, counted), flags=re.DOTALL)
    if update_golden:
        PAGE.write_text(shown, encoding="utf-8")
    assert shown == PAGE.read_text(encoding="utf-8")
    assert f"```\n{text}```" in shown
    assert ours <= 0.7 * theirs


def test_counting():
    python = '"""Doc."""\n\n# why\ndef f(x):\n    """Doc."""\n    return x + "a"  # because\n'
    assert tokens.of_python(python) == 10
    assert tokens.of_python("@a\ndef f():\n    return 1\nx = 2\n", ["f"]) == 3
    layer = '"""Doc."""\ndims: B  # why\nlayer A(\n    x: []\n) -> []:\n    return x\n'
    model = f"{layer}loss l():\n    return 1\n"
    assert tokens.of_model(model) == 24
    assert tokens.of_model(model, losses=False) == 17
