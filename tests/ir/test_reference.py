"""The reference page says what the registry says."""

from pathlib import Path

from netwright.ir.reference import reference

PAGE = Path(__file__).resolve().parents[2] / "docs" / "ops.md"


def test_the_page_is_up_to_date(update_golden):
    if update_golden:
        PAGE.write_text(reference())
    assert PAGE.read_text() == reference()
