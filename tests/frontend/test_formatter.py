"""The formatter: one layout, its own layout, the same tree, the same comments."""

import io
import os
import random
import stat
import sys
import tokenize
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from netwright.cli import main
from netwright.driver import DEEP
from netwright.frontend.formatter import format_text
from netwright.frontend.parser import parse
from netwright.ir.diagnostics import Diagnostics, render
from random_files import draw_file

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
GOLDEN = sorted(p for p in (HERE / "golden_format").glob("*.nw") if p.stem.count(".") == 0)
RIGHT = [
    *ROOT.glob("examples/**/*.nw"),
    *ROOT.glob("frontend/library/*.nw"),
    *HERE.glob("golden_syntax/good/*.nw"),
    *HERE.glob("golden_mistakes/**/*.nw"),
    *HERE.glob("models/*.nw"),
]


@pytest.fixture(autouse=True)
def deep():
    """Room for deep nesting, as the commands make."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(DEEP)
    yield
    sys.setrecursionlimit(before)


def formatted(text: str) -> str:
    diagnostics = Diagnostics()
    made = format_text(text, "model.nw", diagnostics)
    assert made is not None, "\n".join(render(d, diagnostics.sources) for d in diagnostics)
    return made


def tree(text: str):
    return parse(text, "model.nw", Diagnostics())


def comments(text: str) -> list[str]:
    """What Python's own tokenizer takes for comments: the signs are the same."""
    found = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(text.removeprefix("\ufeff")).readline):
            if token.type == tokenize.COMMENT:
                found.append(token.string.rstrip())
    except tokenize.TokenError as error:
        raise AssertionError(text) from error
    return found


def check(text: str) -> str:
    """Format a text twice, and compare."""
    made = formatted(text)
    assert tree(made) == tree(text)
    assert comments(made) == comments(text)
    assert formatted(made) == made
    rows = made.split("\n")
    assert rows == [""] or (rows[-1] == "" and rows[-2] and rows[0])
    return made


@pytest.mark.parametrize("path", GOLDEN, ids=[p.stem for p in GOLDEN])
def test_golden(path, update_golden):
    made = check(path.read_text(encoding="utf-8"))
    golden = path.with_suffix(".formatted.nw")
    if update_golden:
        golden.write_text(made, encoding="utf-8")
    assert made == golden.read_text(encoding="utf-8")
    assert all(len(row.split("  #")[0]) <= 100 for row in made.split("\n"))


@pytest.mark.parametrize("path", RIGHT, ids=[str(p.relative_to(ROOT)) for p in RIGHT])
def test_files_that_parse(path):
    text = path.read_bytes().decode("utf-8-sig")
    if tree(text) is not None:
        check(text)


def test_examples_and_library_are_canonical():
    folders = [str(ROOT / "examples"), str(ROOT / "frontend" / "library")]
    done = CliRunner().invoke(main, ["fmt", "--check", *folders])
    assert (done.exit_code, done.output) == (0, ""), "run: netwright fmt examples frontend/library"


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_random_files(seed):
    text, written = draw_file(random.Random(seed))
    assert comments(check(text)) == written


@pytest.mark.slow
def test_many_random_files():
    for seed in range(1_000):
        text, written = draw_file(random.Random(seed))
        assert comments(check(text)) == written, seed


def test_layout_does_not_depend_on_the_layout_before():
    """Without comments and blank rows, what a person chose leaves no trace."""
    one = "layer A[D](x: [D], k = 1) -> [D]:\n    y = f(x, k = (1, 2))\n    return y + 1\n"
    assert formatted(one) == one
    spread = one.replace("(", "(\n    ").replace("[", "[\n").replace("return y", "return (y")
    assert formatted(spread.replace("+ 1", "\n  + 1)")) == one


def test_limits():
    """Deep nesting is laid out; beyond what a file may be it is refused, in little time."""
    deep = "layer A(x: []) -> []:\n    return " + "f(" * 190 + "x" + ")" * 190 + "\n"
    check(deep)
    wide = "layer A(x: []) -> []:\n    return f(" + "\n".join(["g(x, yy, zzz),"] * 900) + ")\n"
    check(wide)
    blocks = "".join(" " * (n + 1) + "if a:\n" for n in range(190))
    check("layer A(x: []) -> []:\n" + blocks + " " * 200 + "x = 1\n")
    formula = "layer A(x: []) -> []:\n    return (" + " +\n".join(["a * b"] * 190) + ")\n"
    check(formula)
    parens = "layer A(x: []) -> []:\n    return x + " + "(a + " * 198 + "1" + ")" * 198 + "\n"
    diagnostics = Diagnostics()
    format_text(parens, "model.nw", diagnostics)
    assert [d.code for d in diagnostics] in ([], ["cannot-format"])


@pytest.mark.parametrize(
    "text, made",
    [
        ("", ""),
        ("\n\n\n", ""),
        ("# only", "# only\n"),
        ("\ufeffimport a\r\nimport b\r\n", "import a\nimport b\n"),
        ('"""a\r\n  b"""\r\n', '"""a\n  b"""\n'),
        ("const: a = 1 # b \t \r\n", "const: a = 1  # b\n"),
    ],
)
def test_small(text, made):
    assert formatted(text) == made


# The command.


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "good.nw").write_text("const: a = 1\n")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "bad.nw").write_text("const: a=1\n")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "bad.nw").write_text("const: a=1\n")
    return tmp_path


def run(*arguments, **more):
    return CliRunner().invoke(main, ["fmt", *map(str, arguments)], **more)


def test_check_changes_nothing_and_names_files(folder):
    done = run("--check", folder)
    assert done.exit_code == 1
    assert done.output == f"{folder / 'inner' / 'bad.nw'} would change\n"
    assert (folder / "inner" / "bad.nw").read_text() == "const: a=1\n"


def test_diff(folder):
    done = run("--diff", folder)
    assert done.exit_code == 0
    assert "-const: a=1\n+const: a = 1\n" in done.output and "good" not in done.output
    assert (folder / "inner" / "bad.nw").read_text() == "const: a=1\n"
    assert run("--diff", "--check", folder).exit_code == 1


def test_files_are_replaced_whole(folder):
    path = folder / "inner" / "bad.nw"
    path.chmod(0o640)
    link = folder / "link.nw"
    link.symlink_to(path)
    assert run(link).exit_code == 0
    assert link.is_symlink() and path.read_text() == "const: a = 1\n"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o640
    assert sorted(os.listdir(folder / "inner")) == ["bad.nw"]
    assert run("--check", folder).exit_code == 0
    assert (folder / ".hidden" / "bad.nw").read_text() == "const: a=1\n"


def test_files_that_are_right_are_not_touched(folder):
    before = os.stat(folder / "good.nw")
    assert run(folder / "good.nw").output == ""
    after = os.stat(folder / "good.nw")
    assert (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino)


def test_mistakes_leave_a_file_alone(folder):
    wrong = folder / "a.nw"
    wrong.write_text("const: a == 1\n")
    done = run(folder)
    assert done.exit_code == 1 and "a.nw:1:10" in done.stderr and "1 mistake" in done.stderr
    assert wrong.read_text() == "const: a == 1\n"
    assert (folder / "inner" / "bad.nw").read_text() == "const: a = 1\n"  # the others are not


def test_standard_input():
    done = run("-", input="const: é=1")
    assert done.exit_code == 1 and "standard input:1:8" in done.stderr and not done.stdout
    assert run("-", input="const: a=1 # é").stdout == "const: a = 1  # é\n"
    done = run("-", "--check", input="const: a=1")
    assert (done.exit_code, done.stdout) == (1, "standard input would change\n")
    assert run("-", input=b"\xff").exit_code == 1


def test_paths_that_are_wrong(tmp_path):
    assert run().exit_code == 2
    for path in (tmp_path, tmp_path / "none.nw"):
        done = run(path)
        assert done.exit_code == 1 and str(path) in done.stderr
