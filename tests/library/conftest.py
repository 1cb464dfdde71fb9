"""Counts the cases in which layers of the library equal their references, for the report."""

import pytest


@pytest.fixture
def equal(record_property):
    """Demands that a layer equals its reference, and notes in how many cases."""
    from library_cases import compare

    def run(layer) -> None:
        record_property("library_cases", (layer.name, compare(layer)))

    return run


def pytest_terminal_summary(terminalreporter):
    """The table of layers and cases; `python -m pytest tests/library` prints it."""
    counts: dict[str, int] = {}
    for report in terminalreporter.stats.get("passed", ()):
        for name, value in report.user_properties:
            if name == "library_cases":
                counts[value[0]] = counts.get(value[0], 0) + value[1]
    if not counts:
        return
    terminalreporter.section("layers of the library: cases in float32 and float64")
    for name, count in sorted(counts.items()):
        terminalreporter.write_line(f"{count:5}  {name}")
    terminalreporter.write_line(f"{sum(counts.values()):5}  in all")
