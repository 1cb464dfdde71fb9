"""`netwright check` answers before numpy would have been imported."""

import subprocess
import sys
from pathlib import Path

import pytest

MODEL = Path(__file__).parents[2] / "examples" / "shakespeare" / "model.nw"
HEAVY = ("jax", "numpy", "scipy", "networkx", "optax", "rich")
CHECK = f"""
import sys
from netwright.cli import main
try:
    main(["check", {str(MODEL)!r}])
except SystemExit as error:
    assert not error.code
"""
EVERYTHING = """
import importlib, pkgutil
for name in ("ir", "frontend", "passes"):
    package = importlib.import_module("netwright." + name)
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(found.name)
"""


def imported(code: str) -> set[str]:
    script = f"{code}\nimport sys\nprint('MODULES', *sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(run.stdout.split("MODULES")[1].split())


@pytest.mark.parametrize("code", [CHECK, EVERYTHING], ids=["check", "import"])
def test_nothing_heavy_is_imported(code):
    assert imported(code).isdisjoint(HEAVY)


def test_a_right_model_does_not_wait_for_what_only_mistakes_need():
    unneeded = {"difflib", "netwright.ir.verify", "netwright.ir.text", "netwright.ir.plan"}
    unneeded |= {"netwright.frontend.recipe", "netwright.frontend.shape_errors", "json"}
    assert imported(CHECK).isdisjoint(unneeded)
