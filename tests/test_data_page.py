"""The examples of the page on data, verbatim: each is read, and gives batches to a model."""

from __future__ import annotations

import re
from pathlib import Path

import jax
import netwright as nw
import numpy as np
import pytest
from programs import ROOT

PAGE = (ROOT / "docs/data.md").read_text()
RECIPES = {
    re.search(r'^kind = "(\w+)"', code, re.M)[1]: code
    for code in re.findall(r"```toml\n(.*?)```", PAGE, re.S)
}
WINDOWS = "tokens: int[B, S], targets: int[B, S]"
INPUTS = {
    "text": WINDOWS,
    "tokens": WINDOWS,
    "arrays": "image: [B, Y, X], label: int[B]",
    "images": "image: [B, Y, X, C], label: int[B]",
    "table": "size: [B, F], label: int[B]",
    "pairs": "source: int[B, S], target_in: int[B, T], target_out: int[B, T]",
}


def tokenizer(path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"to": 0, "be": 1, "?": 2}, "?"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(path))


def write(kind: str, data: Path) -> None:
    """The files that the example of a kind names."""
    rng = np.random.default_rng(0)
    if kind == "text":
        (data / "plays.txt").write_text("to be or not to be\n" * 40)
        tokenizer(data / "tokenizer.json")
    elif kind == "tokens":
        ids = [*range(50)] * 9
        written = re.search(r"`(numpy\.array\(ids[^`]*)`", PAGE)
        exec(written[1], {"numpy": np, "ids": ids})
        np.array(ids, "uint16").tofile(data / "val.bin")
    elif kind == "arrays":
        np.savez(data / "digits.npz", x=rng.random((20, 4, 4)), y=np.arange(20) % 3)
    elif kind == "images":
        image = pytest.importorskip("PIL.Image")
        for name in ("train/cat/1.png", "train/dog/2.jpg", "test/cat/3.png", "test/dog/4.png"):
            (data / name).parent.mkdir(parents=True, exist_ok=True)
            image.fromarray(rng.integers(0, 255, (5, 6, 3), np.uint8)).save(data / name)
    elif kind == "table":
        rows = "".join(f"{i}.5,{i % 4},{'oak elm fir'.split()[i % 3]}\n" for i in range(20))
        (data / "flowers.csv").write_text("length,width,species\n" + rows)
    else:
        (data / "cmudict.txt").write_text("be\tB IY\nto\tT UW\n" * 10)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("kind", INPUTS)
def test_each_kind(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    write(kind, tmp_path / "data")
    first = INPUTS[kind].partition(":")[0]
    dims = ", ".join(re.findall(r"\b[A-Z]\b", INPUTS[kind].partition("]")[0]))
    free = ", ".join(d for d in ("S", "T") if d in INPUTS[kind].replace("int[", "["))
    (tmp_path / "model.nw").write_text(f"""
dims: B, Y = 4, X = 4, C = 3, F = 2, N = 3, V = 30, W = 30
{"dims: " + free if free else ""}
loss l({INPUTS[kind]}):
    param w: [V, W, N] = ones()
    return mean[{dims}]({first}) * mean[V, W, N](w)
""")
    sizes = "[sizes]\n" + "\n".join(f"{d} = 6" for d in free.split(", ") if d)
    (tmp_path / "recipe.toml").write_text(
        f"{RECIPES[kind]}\n{sizes}\n[train]\nsteps = 2\nbatch = 2\n"
    )
    program = nw.load(tmp_path).compile()
    state, batch = program.init(0), program.data.batch(0)
    jax.eval_shape(program.step, state, batch)
    assert next(iter(program.data.held_out())).keys() == batch.keys()


def test_data_given_in_python(monkeypatch):
    pytest.importorskip("grain")
    monkeypatch.chdir(ROOT)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    rows = [{"image": np.zeros((8, 8), np.float32), "label": np.int32(1)} for _ in range(40)]
    names = {"rows": rows}
    exec(code, names)
    assert names["program"].data.stream().next()["image"].shape == (32, 8, 8)


def test_no_example_is_left_out():
    assert {*RECIPES} == {*INPUTS} and PAGE.count("```") == 2 * (len(RECIPES) + 1)
