"""`netwright recipe`: recipes to begin with."""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path

import netwright as nw
import numpy as np
import pytest
from netwright import driver
from netwright.frontend.recipe.fit import fit
from netwright.frontend.recipe.template import template
from netwright.ir.diagnostics import Diagnostics, InputError
from netwright.ir.recipe import SECTIONS, Recipe
from netwright.ir.recipe_keys import keys_of
from programs import EXAMPLES, netwright

GALLERY = sorted(p for p in (EXAMPLES / "gallery").glob("*.nw"))


def folder_of(example: str, tmp_path: Path) -> Path:
    folder = tmp_path / example
    shutil.copytree(EXAMPLES / example, folder)
    (folder / "recipe.toml").unlink()
    return folder


@pytest.mark.parametrize("example", ["mlp", "digits", "pronounce", "shakespeare"])
def test_it_fits_its_model_as_it_is(example, tmp_path):
    folder = folder_of(example, tmp_path)
    path, missing = driver.new_recipe(folder)
    assert path == folder / "recipe.toml"
    recipe = driver.read_recipe(folder)
    module = nw.load(folder).module
    fitted = fit(recipe, module, Diagnostics())
    assert fitted is not None
    own = driver.read_recipe(EXAMPLES / example)
    assert recipe.data.kind == own.data.kind and recipe.data.file == own.data.file
    assert fitted.fields == fit(own, module, Diagnostics()).fields
    guessed = {line.split()[1].rstrip(":") for line in missing}
    assert guessed == set(dict(fitted.sizes)) - {"B"}


def test_a_recipe_that_is_there_stays(tmp_path):
    folder = folder_of("mlp", tmp_path)
    driver.new_recipe(folder / "model.nw")
    (folder / "recipe.toml").write_text("mine")
    with pytest.raises(InputError, match="is there already"):
        driver.new_recipe(folder)
    assert (folder / "recipe.toml").read_text() == "mine"


def test_what_must_be_filled_in_is_said(tmp_path):
    folder = folder_of("shakespeare", tmp_path)
    shutil.rmtree(folder / "data")
    said = netwright("recipe", folder).stdout
    assert f"{folder}/recipe.toml is written\n" in said
    assert "fill in:  [data] file" in said and "fill in:  [sizes] S" in said
    with pytest.raises(InputError, match=r"there is no file data/FILL_IN\.txt"):
        driver.read_recipe(folder)


def test_a_model_without_a_loss_is_told(tmp_path):
    (tmp_path / "model.nw").write_text("dims:\n    B\n\nmodel m(x: [B]) -> [B]:\n    return x\n")
    with pytest.raises(InputError, match="has no loss"):
        driver.new_recipe(tmp_path)
    assert not (tmp_path / "recipe.toml").exists()


def test_every_key_stands_in_it_and_is_toml(tmp_path):
    folder = folder_of("digits", tmp_path)
    text = template(nw.load(folder).module, folder).text
    bare = [line.removeprefix("#") if line[:2] != "# " else "" for line in text.splitlines()]
    table = tomllib.loads("\n".join(bare))
    for name, section in {"": Recipe, **SECTIONS}.items():
        held = table[name] if name else table
        wanted = {k.name for k in keys_of(section) if not k.rest} - {"sizes"}
        assert wanted <= set(held)
    assert table["groups"]["some"]["on"] == table["train"]["freeze"]
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.slow
@pytest.mark.parametrize("path", GALLERY, ids=lambda p: p.stem)
def test_every_model_of_the_gallery_gets_one(path, tmp_path):
    module = nw.load(path).module
    if module.kind == "loss":
        assert tomllib.loads(template(module, tmp_path).text)["data"]["kind"]


# What lies beside the model, the loss's inputs, what the recipe says, and what it leaves open
WINDOWS = "x: int[B, S], y: int[B, S]"
PICTURE = "picture: [B, Y = 4, X = 4], which: int[B]"
FOUND = {
    "bytes": ("play.txt", WINDOWS, {"kind": "text", "file": "play.txt"}, ["[sizes] S"]),
    "token ids, in two files": (
        "data/train.bin data/val.bin",
        WINDOWS,
        {"kind": "tokens", "file": "data/train.bin", "held_out": "data/val.bin", "dtype": "uint16"},
        ["[data] dtype", "[sizes] S"],
    ),
    "token ids that say their dtype": (
        "ids.npy",
        WINDOWS,
        {"kind": "tokens", "file": "ids.npy"},
        ["[sizes] S"],
    ),
    "arrays": (
        "data/a.npz",
        PICTURE,
        {"kind": "arrays", "file": "data/a.npz", "fields": {"picture": "x", "which": "y"}},
        [],
    ),
    "images, in two folders": (
        "data/train/cat/1.png data/train/dog/2.png data/test/cat/3.png",
        PICTURE,
        {
            "kind": "images",
            "file": "data/train",
            "held_out": "data/test",
            "fields": {"picture": "image", "which": "label"},
        },
        [],
    ),
    "images, in folders of classes": (
        "data/cat/1.png data/dog/2.png data/test/3.png data/about.txt figures/plot.png",
        PICTURE,
        {"kind": "images", "file": "data", "fields": {"picture": "image", "which": "label"}},
        [],
    ),
    "images, in folders of a name each, without a label": (
        "data/cat/1.png data/dog/2.png figures/plot.png",
        "picture: [B, Y = 4, X = 4]",
        {"kind": "images", "file": "data", "fields": {"picture": "image"}},
        [],
    ),
    "images without classes, to train on and held out": (
        "data/train/1.png data/test/2.png",
        "picture: [B, Y = 4, X = 4]",
        {
            "kind": "images",
            "file": "data/train",
            "held_out": "data/test",
            "fields": {"picture": "image"},
        },
        [],
    ),
    "a table": (
        "flowers.csv",
        "size: [B, F = 2], kind: int[B], good: bool[B]",
        {
            "kind": "table",
            "file": "flowers.csv",
            "fields": {"size": ["a", "b"], "kind": "species", "good": "good"},
            "columns": {"species": "category"},
        },
        [],
    ),
    "JSON lines": (
        "notes.jsonl",
        "note: int[B, S], note_live: bool[B, S], score: [B]",
        {"kind": "table", "file": "notes.jsonl", "columns": {"note": "text"}},
        ["[sizes] S"],
    ),
    "pairs": (
        "words.tsv",
        "source: int[B, S], source_live: bool[B, S], target_in: int[B, S], target_out: int[B, S]",
        {"kind": "pairs", "file": "words.tsv"},
        ["[sizes] S"],
    ),
    "two of them": ("a.txt b.txt", WINDOWS, {"kind": "text"}, ["[data] file", "[sizes] S"]),
    "a column that nothing says": (
        "t.csv",
        "size: [B], other: [B]",
        {"kind": "table", "file": "t.csv"},
        ["[data] fields"],
    ),
    "nothing": ("", PICTURE, {"kind": "arrays"}, ["[data] file"]),
}
CONTENTS = {
    ".txt": lambda p: p.write_text("some text\n" * 40),
    ".tsv": lambda p: p.write_text("ab\tA B\n" * 40),
    ".bin": lambda p: np.arange(999, dtype=np.uint16).tofile(p),
    ".npy": lambda p: np.save(p, np.arange(999)),
    ".npz": lambda p: np.savez(p, x=np.zeros((9, 4, 4)), y=np.zeros(9, int)),
    ".png": lambda p: p.write_bytes(b"looked at later"),
    ".csv": lambda p: p.write_text("a,b,species,good\n" + "1.5,2,oak,true\n0,1,elm,false\n" * 9),
    ".jsonl": lambda p: p.write_text('{"note": "it is so", "score": 2.5}\n' * 20),
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("case", FOUND)
def test_what_lies_there_is_told(case, tmp_path):
    files, inputs, wanted, left = FOUND[case]
    for name in files.split():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        CONTENTS[path.suffix](path)
    (tmp_path / "README.txt").write_text("no data")
    dims = "B, S" if "S" in inputs else "B"
    dims += "".join(f", {n} = {s}" for n, s in re.findall(r"(\w) = (\d)", inputs))
    inputs = re.sub(r" = \d", "", inputs)
    first, rest = inputs.partition(":")[0], re.findall(r"\b([B-Y])\b", inputs.partition("]")[0])
    (tmp_path / "model.nw").write_text(
        f"dims: {dims}\n\nloss l({inputs}):\n    return mean[{', '.join(rest)}]({first})\n"
    )
    path, missing = driver.new_recipe(tmp_path)
    told = tomllib.loads(path.read_text())["data"]
    if "file" not in wanted:
        assert told.pop("file").startswith("data/FILL_IN")
    assert told == wanted
    named = [line.partition(":")[0] for line in missing]
    assert [name for name in named if name in left or "[data]" in name] == left
    if not any("[data]" in part for part in left):
        assert fit(driver.read_recipe(tmp_path), nw.load(tmp_path).module, Diagnostics())
