"""What is done with the data of a recipe before a program is written: copied, and counted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .ir.diagnostics import Diagnostics
from .ir.recipe import Recipe

if TYPE_CHECKING:
    from .backend.batches import Input

MUCH = 10**9
"""Bytes from which on a recipe must say whether data are copied."""


def to_copy(recipe: Recipe, diagnostics: Diagnostics) -> dict[str, Path]:
    """The files that are copied into the program, by their paths in its `data/`.

    Licences and credits beside the data go with them.

    Raises:
        InputError: there are many gigabytes of them, and the recipe does not say that it wants so.
    """
    from .backend.batches import data_files

    found: dict[str, Path] = {}
    for file in data_files(recipe).values():
        if file.name is None:
            continue
        for path in _inside(file.path):
            inner = path.relative_to(file.path).as_posix()
            found[file.name if inner == "." else f"{file.name}/{inner}"] = path
        beside = [*file.path.parent.glob("LICENSE*"), *file.path.parent.glob("CREDITS*")]
        found.update((path.name, path) for path in sorted(beside))
    size = sum(path.stat().st_size for path in found.values())
    if size >= MUCH and recipe.data.copy is None:
        diagnostics.error(
            "recipe-copy",
            f"the data have {size / 1e9:.1f} GB: say whether each program gets a copy of them",
            recipe.place("data.file"),
            help="copy = false leaves them where they are: the program reads them there",
        )
        diagnostics.raise_errors()
    return found


def _inside(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for inner in sorted(path.rglob("*")):
        if inner.is_file() and not any(p.startswith(".") for p in inner.relative_to(path).parts):
            yield inner


def _opens_alone(recipe: Recipe, inputs: Sequence[Input]) -> bool:
    """Whether the data can be read with nothing held out: if so, it is that which is wrong."""
    from .backend.batches import batches
    from .runtime import RunError, data

    alone = replace(recipe, data=replace(recipe.data, held_out=0))
    try:
        batches(alone, inputs).open(data)
    except RunError:
        return False
    return True


def counted(recipe: Recipe, inputs: Sequence[Input], diagnostics: Diagnostics) -> Recipe:
    """The recipe with steps in the place of epochs, for which its data are read.

    Raises:
        InputError: they cannot be.
    """
    epochs = recipe.train.epochs
    if epochs is None:
        return recipe
    from .backend.batches import batches
    from .runtime import RunError, data

    if recipe.data.file:
        try:
            examples = batches(recipe, inputs).open(data).examples
        except RunError as error:
            key = "held_out" if _opens_alone(recipe, inputs) else "file"
            diagnostics.error("recipe-data", str(error), recipe.place(f"data.{key}"))
            diagnostics.raise_errors()
    else:
        diagnostics.error(
            "recipe-data",
            "the data are given in Python, so it is not known how many steps an epoch has",
            recipe.place("train.epochs"),
            help="steps = 1000",
        )
        diagnostics.raise_errors()
    steps = math.ceil(epochs * examples / recipe.train.batch)
    return replace(recipe, train=replace(recipe.train, steps=max(1, steps)))
