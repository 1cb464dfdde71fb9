"""What `netwright check` says about wrong models, word by word: read golden_mistakes/*.txt."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from netwright.cli import main

GOLDEN = Path(__file__).parent / "golden_mistakes"
pytestmark = pytest.mark.usefixtures("ends")
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
    """What the command prints, which must be a message."""
    result = CliRunner().invoke(main, ["check", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    assert "error[" in result.output
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


FILES = {  # files that would be a burden, or odd, in the repository
    "file-huge": b"# a comment\n" * 90_000,
    "file-huge-line": b"x = " + b"1 + " * 2_500_000 + b"1\n",
    "file-long-line": b"dims: B, D = " + b"1 + " * 3_000 + b"1\n",
    "file-not-utf8": "dims: B, D = 16\n\n# größer\n".encode("latin-1"),
    "file-binary": bytes(range(256)) * 40,
}


@pytest.mark.parametrize("name", FILES)
def test_odd_files(name, tmp_path, update_golden, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.nw").write_bytes(FILES[name])
    compare(said(["model.nw"]), GOLDEN / f"{name}.txt", update_golden)


def test_a_missing_file(tmp_path, update_golden, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.nw").write_text("dims: B\n")
    compare(said(["modle.nw"]), GOLDEN / "file-missing.txt", update_golden)


def test_a_folder_without_a_model(tmp_path, update_golden, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    compare(said(["empty"]), GOLDEN / "file-folder.txt", update_golden)


def test_a_folder_called_like_a_model(tmp_path, update_golden, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty" / "model.nw").mkdir(parents=True)
    compare(said(["empty"]), GOLDEN / "file-folder-model.txt", update_golden)


def test_a_recipe_given_for_a_model(tmp_path, update_golden, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("recipe.toml").write_text('[data]\nkind = "text"\n')
    Path("net.nw").write_text("")
    compare(said(["recipe.toml"]), GOLDEN / "file-recipe.txt", update_golden)


def test_an_import_that_leads_outside(tmp_path, update_golden, monkeypatch):
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret.nw").write_text("layer Id(x: [...]) -> [...]:\n    return x\n")
    (inside / "secret.nw").symlink_to(tmp_path / "secret.nw")
    text = "import secret\n\nmodel Net(x: [B]) -> [B]:\n    return secret.Id(x)\n"
    (inside / "model.nw").write_text(f"dims: B\n\n{text}")
    monkeypatch.chdir(inside)
    compare(said(["model.nw"]), GOLDEN / "import-outside.txt", update_golden)


def test_there_are_many():
    assert len([*GOLDEN.glob("*.txt")]) >= 50


def test_a_flood_of_mistakes_ends(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    body = "".join(f"    a{i} = b{i}\n" for i in range(3_000))
    text = f"dims: B\n\nmodel Net(x: [B]) -> [B]:\n{body}    return x\n"
    (tmp_path / "model.nw").write_text(text)
    assert said(["model.nw"]).endswith("100 mistakes\n")


def test_deep_but_allowed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    deep = "relu(" * 198 + "x" + ")" * 198
    text = f"dims: B\n\nmodel Net(x: [B]) -> [B]:\n    return {deep}\n"
    (tmp_path / "model.nw").write_text(text)
    result = CliRunner().invoke(main, ["check", "model.nw"])
    assert result.exit_code == 0, result.output
