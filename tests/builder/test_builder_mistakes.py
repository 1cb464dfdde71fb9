"""Every way to go wrong in Python says what is wrong, at the Python line, and never a traceback."""

from __future__ import annotations

from pathlib import Path

import netwright as nw
import pytest
from mistaken_models import CASES

GOLDEN = Path(__file__).with_name("golden_mistakes.txt")


def message(name: str) -> str:
    """What is said of a case."""
    with pytest.raises(nw.InputError) as caught:
        CASES[name]()
    return str(caught.value).replace(str(Path(__file__).parent), "").replace("tests/builder/", "")


def test_messages_are_as_they_were(update_golden):
    said = "\n\n".join(f"# {name}\n{message(name)}" for name in CASES) + "\n"
    if update_golden:
        GOLDEN.write_text(said)
    assert said == GOLDEN.read_text()


@pytest.mark.parametrize("name", CASES)
def test_a_mistake_is_shown_where_it_stands(name):
    with pytest.raises(nw.InputError) as caught:
        CASES[name]()
    for diagnostic in caught.value.diagnostics:
        if name in ("misspelt_set", "entry_is_no_layer"):
            continue  # made by what was handed to `load`: there is no line of a model to show
        assert diagnostic.span is not None
        assert diagnostic.span.file.endswith("mistaken_models.py")
        assert diagnostic.span.file in caught.value.sources


def test_an_unknown_name_is_told_apart_from_its_neighbours():
    with pytest.raises(AttributeError, match=r"did you mean nw\.softmax\?"):
        nw.softmaxx  # noqa: B018


def test_unknown_chapters_and_layers_of_the_library():
    with pytest.raises(nw.InputError, match="the library has no chapter norms"):
        nw.library("norms")
    with pytest.raises(nw.InputError, match=r"help: did you mean LayerNorm\?"):
        nw.library("norm").LayerNorms  # noqa: B018
    assert not hasattr(nw.library("norm"), "LayerNorms")
    with pytest.raises(nw.InputError, match="cannot-read"):
        nw.library("nowhere.nw")
