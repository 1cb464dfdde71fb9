"""What is said about wrong sources, word by word: read golden_syntax/*.txt."""

import subprocess
import sys
from pathlib import Path

import pytest
from netwright.frontend.parser import parse
from netwright.ir.diagnostics import Diagnostics, render

GOLDEN = Path(__file__).parent / "golden_syntax"
SOURCES = sorted(GOLDEN.glob("*.nw"))


def messages(text: str, name: str = "model.nw") -> str:
    diagnostics = Diagnostics()
    assert parse(text, name, diagnostics) is None
    return "\n\n".join(render(d, diagnostics.sources) for d in diagnostics) + "\n"


def codes(text: str) -> list[str]:
    diagnostics = Diagnostics()
    parse(text, "model.nw", diagnostics)
    return [d.code for d in diagnostics]


@pytest.mark.parametrize("path", SOURCES, ids=[p.stem for p in SOURCES])
def test_golden(path, update_golden):
    said = messages(path.read_text(encoding="utf-8"), path.name)
    golden = path.with_suffix(".txt")
    if update_golden:
        golden.write_text(said, encoding="utf-8")
    assert said == golden.read_text(encoding="utf-8")


def test_there_are_many():
    assert len(SOURCES) >= 35


LAYER = "layer A[D](x: [..., D]) -> [..., D]:\n    {}\n    return x\n"


@pytest.mark.parametrize("path", SOURCES, ids=[p.stem for p in SOURCES])
def test_each_mistake_is_told_once_and_in_its_place(path):
    diagnostics = Diagnostics()
    parse(path.read_text(encoding="utf-8"), path.name, diagnostics)
    lines = [d.span.line for d in diagnostics if d.code != "empty-body"]
    assert len(lines) == len(set(lines))


@pytest.mark.parametrize(
    "text, code",
    [
        ("x" * 2_000_000, "file-too-long"),
        ("x" * 10_000_000, "file-too-long"),
        ("x = " + "1 + " * 3_000 + "1\n", "line-too-long"),
        ("x = " + "(" * 201 + "1" + ")" * 201 + "\n", "nested-too-deep"),
        ("".join(" " * i + "if train:\n" for i in range(300)), "nested-too-deep"),
        (LAYER.format("y = " + "-" * 5_000 + "x"), "nested-too-deep"),
        (LAYER.format("y = " + "x ** " * 1_900 + "x"), "nested-too-deep"),
        (LAYER.format("y = (x" + "\n+ x" * 900 + ")"), "nested-too-deep"),
        (
            LAYER.format("if train:\n        x = x\n" + "    elif train:\n        x = x\n" * 300),
            "nested-too-deep",
        ),
    ],
)
def test_limits(text, code):
    assert codes(text) == [code]


def test_deep_but_allowed():
    text = LAYER.format("y = " + "f(" * 199 + "x" + ")" * 199)
    diagnostics = Diagnostics()
    assert parse(text, "deep.nw", diagnostics) is not None


def test_a_flood_of_mistakes_ends():
    assert len(codes("x y\n" * 50_000)) == 100


def test_a_broken_header_does_not_spoil_its_body():
    text = "layer A[D](x: [D] -> [D]:\n    y = x\n    return y\n"
    assert codes(text) == ["unclosed-bracket"]


def test_other_mistakes_in_the_sink_do_not_count():
    diagnostics = Diagnostics()
    parse("x y\n", "bad.nw", diagnostics)
    assert parse("dims: D\n", "good.nw", diagnostics) is not None
    assert set(diagnostics.sources) == {"bad.nw", "good.nw"}


def test_the_same_words_in_every_run():
    script = (
        "import sys; from netwright.frontend.parser import parse;"
        "from netwright.ir.diagnostics import Diagnostics, render\n"
        "for name in sys.argv[1:]:\n"
        "    d = Diagnostics(); parse(open(name, encoding='utf-8').read(), 'm.nw', d)\n"
        "    print(*(ascii(render(e, d.sources)) for e in d), sep='\\n')\n"
    )
    names = [str(p) for p in SOURCES]
    said = {
        subprocess.run(
            [sys.executable, "-c", script, *names],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(said) == 1 and said != {b""}
