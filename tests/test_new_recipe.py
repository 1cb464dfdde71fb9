"""`netwright recipe`: recipes to begin with."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

import netwright as nw
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
