"""A recipe's data as the source that gives its batches: which class of `runtime.data`, and how.

It is said once, in plain values: `train_script` writes it into the program, and the driver opens it
where something must be known of the data before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..ir.core import Module, flat
from ..ir.recipe import Recipe
from ..ir.recipe_data import KINDS, TOKENS

DTYPES = {"float": "float32", "int": "int32", "bool": "bool"}
"""The dtype in which an input's numbers are read."""


@dataclass(frozen=True)
class Input:
    """An input of the model: the batch's field, its dims with their sizes, and what it takes.

    Attributes:
        name: the field.
        dims: names and sizes of its dims, as written; the first is the batch.
        takes: what of the data it is: "tokens" of text, the name of an array, a role in a pair,
            columns of a table.
        ids: how many ids the model knows, None where that is not known.
        kind: int, float or bool.
    """

    name: str
    dims: tuple[tuple[str, int], ...]
    takes: str | tuple[str, ...]
    ids: int | None = None
    kind: str = "int"


@dataclass(frozen=True)
class DataFile:
    """A file or folder that a recipe names.

    Attributes:
        path: where it is.
        name: what it is called in the program's `data/`; None if it is read where it is.
    """

    path: Path
    name: str | None


@dataclass(frozen=True)
class Batches:
    """The source of a program's batches.

    Attributes:
        source: the name of a class of `runtime.data`; "" for data that are given in Python.
        arguments: those of its constructor by name, the first one, the file, as "". Their values
            are numbers, text, None, tuples, dicts and `DataFile`s.
    """

    source: str
    arguments: tuple[tuple[str, Any], ...] = ()

    def open(self, sources: Any) -> Any:
        """The source itself, of files where they are now; `sources` is `runtime.data`."""
        values = [(n, v.path if isinstance(v, DataFile) else v) for n, v in self.arguments]
        return getattr(sources, self.source)(
            *(v for n, v in values if not n), **{n: v for n, v in values if n}
        )


def inputs_of(
    module: Module,
    sizes: Mapping[str, int],
    fields: Mapping[str, Any],
    ids: Mapping[str, int] | None = None,
) -> tuple[Input, ...]:
    """The inputs of a module.

    Args:
        module: the entry.
        sizes: what its free dims are bound to.
        fields: for each input, what of the data it takes.
        ids: for some inputs, how many ids the model knows.
    """
    made = []
    for value in module.instances[0].variants[0].inputs:
        dims = tuple((d.name, _size(d.size, sizes)) for d in flat(value.order or ()))
        name = value.label
        takes = fields.get(name, name)
        made.append(Input(name, dims, takes, (ids or {}).get(name), value.type.kind))
    return tuple(made)


def _size(size: Any, sizes: Mapping[str, int]) -> int:
    return size.value if size.is_constant else size.evaluate(sizes)


def data_files(recipe: Recipe) -> dict[str, DataFile]:
    """The files that a recipe names, and what each is called in the program."""
    found: dict[str, DataFile] = {}
    for path in recipe.data.paths() if recipe.data.file else ():
        there = recipe.beside(path)
        if recipe.data.copy is False:
            found[path] = DataFile(there.resolve(), None)
            continue
        name, number = there.name, 1
        while any(f.name == name and f.path != there for f in found.values()):
            number += 1
            name = f"{there.stem}-{number}{there.suffix}"
        found[path] = DataFile(there, name)
    return found


def batches(recipe: Recipe, inputs: Sequence[Input]) -> Batches:
    """The source of a recipe's batches, for a model with these inputs."""
    data, files = recipe.data, data_files(recipe)
    if data.kind not in KINDS:
        return Batches("")
    arguments: list[tuple[str, Any]] = [("", files[data.file])]
    arguments += _OPTIONS[data.kind](recipe, inputs)
    if data.tokenizer is not None:
        arguments.append(("tokenizer", files[data.tokenizer]))
    held = data.held_out
    arguments.append(("held_out", files[held] if isinstance(held, str) else held))
    arguments += _unless(data, split="random", split_seed=None)
    arguments.append(("seed", recipe.data_seed))
    return Batches(KINDS[data.kind].source, tuple(arguments))


def _of_windows(recipe: Recipe, inputs: Sequence[Input]) -> list[tuple[str, Any]]:
    takes = [i.takes for i in inputs]
    named = all(i.name == i.takes for i in inputs)
    fields: Any = tuple(takes) if named else {i.name: i.takes for i in inputs}
    known = [i.ids for i in inputs if i.takes in TOKENS and i.ids is not None]
    return [
        ("length", length(inputs, takes)),
        ("batch", recipe.train.batch),
        ("fields", fields),
        *([("vocabulary", min(known))] if known else []),
        *_unless(recipe.data, dtype="uint16", windows="random", separator=None),
    ]


def _of_arrays(recipe: Recipe, inputs: Sequence[Input]) -> list[tuple[str, Any]]:
    return [
        ("fields", {i.name: i.takes for i in inputs}),
        ("batch", recipe.train.batch),
        *_scale(recipe),
        *_known("sizes", inputs),
    ]


def _of_images(recipe: Recipe, inputs: Sequence[Input]) -> list[tuple[str, Any]]:
    image = next(i for i in inputs if i.takes == "image")
    sizes = [size for _, size in image.dims[1:]]
    classes = [i.ids for i in inputs if i.takes == "label" and i.ids is not None]
    scale = dict(recipe.data.scale).get(image.name)
    return [
        ("size", tuple(sizes[:2])),
        *([("channels", sizes[2])] if len(sizes) > 2 else []),
        ("batch", recipe.train.batch),
        ("fields", {i.name: i.takes for i in inputs}),
        *([("scale", scale)] if scale is not None else []),
        *([("classes", min(classes))] if classes else []),
        *_unless(recipe.data, fit="crop", flip=False, crop=0),
    ]


def _of_table(recipe: Recipe, inputs: Sequence[Input]) -> list[tuple[str, Any]]:
    kinds = dict(recipe.data.columns)
    texts = [name for name, kind in kinds.items() if kind == "text"]
    roles = {name: (name, f"{name}_live", f"{name}_count") for name in texts}
    lengths = {name: length(inputs, roles[name][:2]) for name in texts}
    of_kinds = {*kinds, *(role for name in texts for role in roles[name])}
    numbers = {i.name: DTYPES[i.kind] for i in inputs if i.takes not in of_kinds}
    return [
        ("fields", {i.name: i.takes for i in inputs}),
        ("batch", recipe.train.batch),
        *([("dtypes", numbers)] if numbers else []),
        *([("columns", kinds)] if kinds else []),
        *([("lengths", lengths)] if lengths else []),
        *_scale(recipe),
        *_known("sizes", inputs),
    ]


def _of_pairs(recipe: Recipe, inputs: Sequence[Input]) -> list[tuple[str, Any]]:
    arguments: list[tuple[str, Any]] = [
        ("batch", recipe.train.batch),
        ("fields", {i.name: i.takes for i in inputs}),
    ]
    for side, roles in (
        ("source", ("source", "source_live")),
        ("target", ("target_in", "target_out", "target_live")),
    ):
        size = length(inputs, roles)
        if size is not None:
            arguments.append((f"{side}_length", size))
    for side in ("source", "target"):
        roles = (side, f"{side}_in", f"{side}_out")
        known = [i.ids for i in inputs if i.takes in roles and i.ids is not None]
        if known:
            arguments.append((f"{side}_vocabulary", min(known)))
    return arguments


_OPTIONS = {
    "text": _of_windows,
    "tokens": _of_windows,
    "arrays": _of_arrays,
    "images": _of_images,
    "table": _of_table,
    "pairs": _of_pairs,
}


def length(inputs: Sequence[Input], takes: Sequence[Any]) -> int | None:
    """The size of the second dim of the inputs that take one of these."""
    return next((i.dims[1][1] for i in inputs if i.takes in takes and len(i.dims) > 1), None)


def _scale(recipe: Recipe) -> list[tuple[str, Any]]:
    return [("scale", dict(recipe.data.scale))] if recipe.data.scale else []


def _known(option: str, inputs: Sequence[Input]) -> list[tuple[str, Any]]:
    known = {i.name: i.ids for i in inputs if i.ids is not None}
    return [(option, known)] if known else []


def _unless(data: Any, **usual: Any) -> list[tuple[str, Any]]:
    """The options that are not as the runtime has them."""
    found = [(name, getattr(data, name), default) for name, default in usual.items()]
    return [(name, value) for name, value, default in found if value != default]
