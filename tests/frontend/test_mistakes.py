"""What `netwright check` says about wrong models, word by word: read golden_mistakes/*.txt."""

import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from netwright.cli import main

GOLDEN = Path(__file__).parent / "golden_mistakes"
MODELS = sorted([*GOLDEN.glob("*.nw"), *GOLDEN.glob("*/model.nw")])
MORE = {  # what is given beside the model
    "unknown-entry": ["--entry", "sqares"],
    "set-unknown": ["--set", "Widht=32", "--set", "dorp=0"],
    "set-wrong-kind": ["--set", "Width=0.5", "--set", "drop=none"],
    "set-does-not-fit": ["--set", "D=100"],
}


def name_of(path: Path) -> str:
    return path.stem if path.parent == GOLDEN else path.parent.name


def said(arguments: list[str]) -> str:
    """What the command prints, which must be a message, and soon."""
    began = time.perf_counter()
    result = CliRunner().invoke(main, ["check", *arguments])
    took = time.perf_counter() - began
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    assert "error[" in result.output
    assert took < 2
    return result.output


def compare(text: str, golden: Path, update: bool) -> None:
    if update:
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", MODELS, ids=name_of)
def test_golden(path, update_golden, monkeypatch):
    monkeypatch.chdir(GOLDEN)
    name = name_of(path)
    text = said([str(path.relative_to(GOLDEN)), *MORE.get(name, [])])
    compare(text, GOLDEN / f"{name}.txt", update_golden)
