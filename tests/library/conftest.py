"""Layers of the library against their references: float64 always, float32 with the slow tests, and
of the cases those whose turn it is; with `--every-case` all, which are written down."""

import datetime
import json
import subprocess

import pytest
from programs import ROOT

RESULT = ROOT / "benchmarks/results/library.json"


@pytest.fixture(params=[pytest.param("float32", marks=pytest.mark.slow), "float64"])
def equal(request, record_property):
    """Demands that a layer equals its reference, and notes in how many cases."""
    from library_cases import compare

    every = request.config.getoption("--every-case")
    day = None if every else datetime.date.today().toordinal()

    def run(layer) -> None:
        cases = compare(layer, request.param, day)
        record_property("library_cases", (layer.name, request.param, cases))

    return run


def pytest_terminal_summary(terminalreporter, config):
    """The table of layers and cases; one of all cases is kept."""
    counts: dict[str, dict[str, int]] = {}
    for report in terminalreporter.stats.get("passed", ()):
        for name, value in report.user_properties:
            if name == "library_cases":
                layer, dtype, cases = value
                row = counts.setdefault(layer, {"float32": 0, "float64": 0})
                row[dtype] += cases
    if not counts:
        return
    terminalreporter.section("layers of the library: cases in which they equal their references")
    terminalreporter.write_line("float32  float64")
    for name, row in sorted(counts.items()):
        terminalreporter.write_line(f"{row['float32']:7}  {row['float64']:7}  {name}")
    total = [sum(row[dtype] for row in counts.values()) for dtype in ("float32", "float64")]
    terminalreporter.write_line(f"{total[0]:7}  {total[1]:7}  in all")
    if config.getoption("--every-case") and not terminalreporter.stats.get("failed"):
        commit = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=ROOT, text=True).strip()
        table = {"commit": commit, "in all": sum(total), "layers": dict(sorted(counts.items()))}
        RESULT.write_text(json.dumps(table, indent=1) + "\n")
