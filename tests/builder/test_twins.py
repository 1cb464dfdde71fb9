"""Models written in both notations give the same module."""

from __future__ import annotations

import difflib
import importlib.util
from pathlib import Path

import netwright as nw
import pytest
from netwright.ir.text import show

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TWINS = {
    "mlp": ("mlp", "digit"),
    "digits": ("digits", "digit"),
    "pronounce": ("pronounce", "sounds"),
    "shakespeare": ("shakespeare", "next_token"),
}


def module_of(path: Path):
    spec = importlib.util.spec_from_file_location(f"twin_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def difference(one, other) -> str:
    """What the text forms of two modules differ in; places do not count."""
    texts = [show(m, places=False).split("\n") for m in (one, other)]
    return "\n".join(difflib.unified_diff(*texts, lineterm="", n=1))


def test_every_python_example_has_its_twin():
    assert {p.stem for p in (EXAMPLES / "python").glob("*.py")} == set(TWINS)


@pytest.mark.parametrize("name", TWINS)
def test_a_model_written_both_ways_gives_the_same_module(name):
    path, entry = TWINS[name]
    written = nw.load(EXAMPLES / path)
    built = nw.load(getattr(module_of(EXAMPLES / "python" / f"{name}.py"), entry))
    assert difference(written.module, built.module) == ""
    assert built.check() == written.check()
