"""Whatever the source, it becomes a tree or is complained about; nothing else happens."""

import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from netwright.frontend.parser import parse
from netwright.ir.diagnostics import Diagnostics, render

FOLDER = Path(__file__).parent / "golden_syntax"
SOURCES = [p.read_text(encoding="utf-8") for p in sorted(FOLDER.glob("**/*.nw"))]
WORD = re.compile(r'"""|\w+|\s+|.', re.DOTALL)
SPACES = ["\n", "\n    ", "\n\t", "  ", "\r", "\x00", "\u00a0", "\u2028", "\ud800", "\ufeff"]
WORDS = """
    ( ) [ ] : , = -> <- ... + - * ** / // == < . if else elif use param state scan carry emit return
    metric layer model loss dims const import repeat each not and or true x D 3 2x 1e .5 "a" '
    @ ; \\ é – class for def lambda True >> += ! { } T shape # $ _
"""
STRANGE = [*WORDS.split(), '"""', *SPACES]


def check(text: str) -> None:
    diagnostics = Diagnostics()
    before = time.monotonic()
    file = parse(text, "model.nw", diagnostics)
    assert time.monotonic() - before < 10
    assert (file is None) == bool(diagnostics.errors)
    for diagnostic in diagnostics:
        assert render(diagnostic, diagnostics.sources)


@st.composite
def mutated(draw) -> str:
    """A source with some words or lines deleted, put in, or swapped."""
    pattern = draw(st.sampled_from([WORD, re.compile(r".*\n?")]))
    parts = pattern.findall(draw(st.sampled_from(SOURCES)))
    if len(parts) > 80:
        start = draw(st.integers(0, len(parts) - 80))
        parts = parts[start : start + 80]
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, max(0, len(parts) - 1)))
        match draw(st.sampled_from(["delete", "insert", "swap"])):
            case "delete":
                del parts[at : at + draw(st.integers(1, 4))]
            case "insert":
                parts.insert(at, draw(st.sampled_from(STRANGE)))
            case "swap" if parts:
                other = draw(st.integers(0, len(parts) - 1))
                parts[at], parts[other] = parts[other], parts[at]
    return "".join(parts)


@settings(max_examples=1500, deadline=None)
@given(mutated())
def test_mutated_sources(text):
    check(text)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(STRANGE), max_size=30).map(" ".join))
def test_word_salad(text):
    check(text)


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(), st.binary().map(lambda b: b.decode("latin-1"))))
def test_any_text(text):
    check(text)


@pytest.mark.parametrize(
    "text",
    [
        "dims:\n    param",
        "dims:\n    use",
        "const:\n    x\n        +",
        "layer A(x: [D]) -> [D]:\n    x\n        + 1",
        "layer A(x: [D]) -> [D]:\n    return\n        + 1",
        "layer A(x: [D]) -> [D]:\n    y = x\n        * 1",
        "\n(a\n)(\n",
        '"""a"""\n    dims: D',
        "[",
        "layer A(",
        '"""',
    ],
)
def test_once_fatal(text):
    check(text)


def test_floods():
    layer = "layer A[D](x: [D]) -> [D]:\n    return "
    for text in (
        "(\n" * 30_000,
        ("(\n" + "()\n" * 300) * 199,
        ")" * 9_000,
        ("([)]" * 2_000 + "\n") * 10,
        '"""\n' * 30_000,
        '"""x\n' * 30_000,
        ('"""\n"""x\n') * 10_000,
        "\x00" * 9_000,
        layer + "(" + "x **\n" * 20_000 + "x)\n",
        layer + "x." * 4_000 + "x\n",
        layer + "f(" * 201 + ")" * 201,
        layer + "1" * 9_000,
        layer + "1_" * 4_000,
        "if" + " :" * 4_900,
        "layer\n" * 20_000,
        "layer A[D](x: [D]) -> [D]:\n" + "x = 3\n" * 20_000,
        "".join(" " * i + "x = 3\n" for i in range(1_000)),
    ):
        check(text)
