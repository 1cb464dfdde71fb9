"""The reference page of the library says what the chapters say, and every layer says something."""

from pathlib import Path

from netwright.frontend.names import LIBRARY
from netwright.frontend.parser import parse
from netwright.frontend.reference import reference
from netwright.frontend.tree import Layer
from netwright.ir.diagnostics import Diagnostics

PAGE = Path(__file__).resolve().parents[2] / "docs" / "library.md"


def test_the_page_is_up_to_date(update_golden):
    if update_golden:
        PAGE.write_text(reference(), encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == reference()


def test_every_layer_is_documented():
    for path in LIBRARY.glob("*.nw"):
        file = parse(path.read_text(encoding="utf-8"), path.name, Diagnostics())
        assert file.doc, path.name
        for layer in file.items:
            if isinstance(layer, Layer):
                assert layer.doc, f"{path.name}: {layer.name}"
                assert f"\n### {path.stem}.{layer.name}\n" in reference()
