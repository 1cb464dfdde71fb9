"""What data lie beside a model, and how its inputs would take them: for a recipe to begin with."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...ir.recipe_data import KINDS, TOKENS
from .fit_data import array_shapes, column_names, delimiter

SUFFIXES = {
    "text": (".txt",),
    "tokens": (".bin", ".npy"),
    "arrays": (".npz", ".npy"),
    "images": (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif"),
    "table": (".csv", ".jsonl", ".ndjson"),
    "pairs": (".tsv", ".txt"),
}
"""How the files of a kind end; of images, those in the folder."""

NO_DATA = ("LICENSE", "LICENCE", "README", "CREDIT", "REQUIREMENTS", "NOTICE", "COPYING")
HELD = ("val", "valid", "validation", "test", "dev", "held", "held_out", "eval")
TRAINED = ("train", "training")
SEEN = 200  # rows of a table from which its columns are judged


@dataclass(frozen=True)
class Guess:
    """Data for a model.

    Attributes:
        options: keys of [data] and their values.
        missing: what a person must fill in or look at, a line each.
    """

    options: dict[str, Any]
    missing: tuple[str, ...] = ()


@dataclass
class _Input:
    """An input of the loss: its name, kind, and the sizes of its dims but the batch's."""

    name: str
    kind: str
    sizes: tuple[int | None, ...]


@dataclass
class _Found:
    """Files of one kind: those to train on, and those held out that go with them."""

    kind: str
    files: list[Path] = field(default_factory=list)
    held: list[Path] = field(default_factory=list)


def guess(values: Sequence[Any], folder: Path) -> Guess:
    """The data in a folder, or in its folder `data`, that inputs can take.

    Args:
        values: the inputs of a loss, as values of the module.
        folder: where the recipe will stand.
    """
    inputs = [_input(v) for v in values]
    kinds = _kinds(inputs)
    labelled = any(i.kind == "int" and not i.sizes for i in inputs)
    found = [_images(folder, labelled) if k == "images" else _search(folder, k) for k in kinds]
    present = [f for f in found if f.files]
    clear = [f for f in present if len(f.files) == 1]
    if not clear:
        return _unclear(folder, kinds, present)
    chosen, file = clear[0], clear[0].files[0]
    options: dict[str, Any] = {"kind": chosen.kind, "file": file.relative_to(folder).as_posix()}
    missing: list[str] = []
    if len(chosen.held) == 1:
        options["held_out"] = chosen.held[0].relative_to(folder).as_posix()
    if chosen.kind == "tokens" and file.suffix == ".bin":
        options["dtype"] = "uint16"
        missing.append(f"[data] dtype: uint16 is a guess, {file.name} does not say")
    if KINDS[chosen.kind].rows == "windows":
        more = [i.name for i in inputs if i.name in KINDS["text"].offers and i.name not in TOKENS]
        if more:
            missing.append(f"[data] separator: the token that ends each document, for {more[0]}")
    else:
        fields, columns, open_inputs = _fields(inputs, chosen.kind, file)
        options |= {"fields": fields} if any(a != b for a, b in fields) else {}
        options |= {"columns": columns} if columns else {}
        if open_inputs:
            missing.append(f"[data] fields: what of {file.name} is {', '.join(open_inputs)}")
    return Guess(options, tuple(missing))


def _input(value: Any) -> _Input:
    dims = [d for axis in value.order or () for d in axis]
    sizes = tuple(d.size.value if d.size.is_constant else None for d in dims[1:])
    return _Input(value.label, value.type.kind, sizes)


def _kinds(inputs: Sequence[_Input]) -> list[str]:
    """The kinds of data that inputs of these names and shapes can take, the likeliest first."""
    names = {i.name for i in inputs}
    if names <= set(KINDS["pairs"].offers):
        return ["pairs"]
    rows = all(len(i.sizes) == 1 and i.kind in ("int", "bool") for i in inputs)
    known = [i for i in inputs if i.name not in KINDS["text"].offers]
    windows = ["text", "tokens"] if rows and (not known or len(inputs) == 2) else []
    picture = [i for i in inputs if i.kind == "float" and len(i.sizes) in (2, 3)]
    label = [i for i in inputs if i.kind == "int" and not i.sizes]
    images = ["images"] if picture and len(picture) + len(label) == len(inputs) else []
    flat = all(len(i.sizes) < 2 for i in inputs)
    return [*windows, "arrays", *images, *(["table"] if flat else [])]


# What lies there


def _search(folder: Path, kind: str) -> _Found:
    """The data of a kind in a folder, or in its folder `data`."""
    found = _Found(kind)
    for path in _candidates(folder, kind):
        (found.held if path.stem.lower() in HELD else found.files).append(path)
    if not found.files:
        found.files, found.held = found.held, []
    endings = [p for p in found.files if p.suffix == SUFFIXES[kind][0]]
    if kind == "pairs" and endings:
        found.files = endings
    return found


def _images(folder: Path, labelled: bool) -> _Found:
    """The folders of images; that around them, where they are one for each class."""
    found = _search(folder, "images")
    data = [path for path in (*found.files, *found.held) if path.parent == folder / "data"]
    if data:  # beside it lie pictures for people
        found = _Found("images", [p for p in found.files if p in data], found.held)
    around = folder / "data"
    apart = any(p.stem.lower() in (*TRAINED, *HELD) for p in data)
    if (labelled or not apart) and len(data) > 1 and _of_classes(around, data):
        return _Found("images", [around])
    return found


def _of_classes(around: Path, inside: Sequence[Path]) -> bool:
    """Whether a folder has nothing but a folder of images for each class."""
    there = [p for p in around.iterdir() if not p.name.startswith(".")]
    if any(p.name.lower() in TRAINED for p in inside) or any(map(_is_image, there)):
        return False
    folders = {p for p in there if p.is_dir()}
    return folders == set(inside) and all(any(map(_is_image, p.iterdir())) for p in inside)


def _is_image(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in SUFFIXES["images"]


def _candidates(folder: Path, kind: str) -> Iterator[Path]:
    for at in (folder / "data", folder):
        for path in sorted(at.iterdir()) if at.is_dir() else ():
            if path.stem.upper().startswith(NO_DATA) or path.name.startswith("."):
                continue
            if kind == "images":
                if path.is_dir() and path.name != "data" and _has_images(path):
                    yield path
            elif path.is_file() and path.suffix in SUFFIXES[kind]:
                if path.suffix == ".npy" and (kind == "tokens") != _is_row(path):
                    continue
                yield path


def _has_images(folder: Path) -> bool:
    """Whether images lie in a folder, or in the folders in it."""
    inside = [folder, *(p for p in sorted(folder.iterdir()) if p.is_dir())]
    return any(p.suffix.lower() in SUFFIXES["images"] for f in inside[:9] for p in f.iterdir())


def _is_row(path: Path) -> bool:
    """Whether a .npy file has one dim."""
    return len((array_shapes(path) or {}).get(path.stem, (0, 0))) == 1


def _unclear(folder: Path, kinds: Sequence[str], present: Sequence[_Found]) -> Guess:
    """Where nothing lies there, or so much that it cannot be told."""
    kind = present[0].kind if present else kinds[0]
    options = {"kind": kind, "file": f"data/FILL_IN{'' if kind == 'images' else SUFFIXES[kind][0]}"}
    if present:
        names = [f.relative_to(folder).as_posix() for f in present[0].files]
        told = f"{', '.join(names[:-1])} or {names[-1]}: it cannot be told which"
        return Guess(options, (f"[data] file: {told}",))
    what = "; ".join(f"{k} ({', '.join(SUFFIXES[k][:3])})" for k in kinds)
    return Guess(
        options, (f"[data] file: none is here or in data/; these inputs could take {what}",)
    )


# Which input takes what


def _fields(
    inputs: Sequence[_Input], kind: str, file: Path
) -> tuple[tuple, tuple[tuple[str, str], ...], list[str]]:
    """What each input takes, columns that are no numbers, and inputs of which it is not known."""
    if kind == "arrays":
        shapes = array_shapes(file) or {}
        found = _matched(inputs, shapes, lambda i, name: _fits(i, shapes[name]))
        return tuple(found.items()), (), [i.name for i in inputs if i.name not in found]
    if kind == "images":
        roles = {i.name: "label" if i.kind == "int" else "image" for i in inputs}
        return tuple(roles.items()), (), []
    if kind == "table":
        return _columns(inputs, file)
    return (), (), []


def _matched(inputs: Sequence[_Input], offered: Any, fits: Any) -> dict[str, str]:
    """For each input that of its name, else the only one left that fits."""
    found = {i.name: i.name for i in inputs if i.name in offered}
    for i in inputs:
        left = [n for n in offered if n not in found.values() and fits(i, n)]
        if i.name not in found and len(left) == 1:
            found[i.name] = left[0]
    return found


def _fits(given: _Input, shape: Sequence[int]) -> bool:
    return len(shape) == len(given.sizes) + 1 and all(
        s in (None, n) for s, n in zip(given.sizes, shape[1:], strict=True)
    )


def _columns(
    inputs: Sequence[_Input], file: Path
) -> tuple[tuple, tuple[tuple[str, str], ...], list[str]]:
    """What inputs take of a table: columns are judged by their first rows."""
    kinds = _judged(file)
    words = "text" in kinds.values()
    takes: dict[str, Any] = {}

    def fits(given: _Input, name: str) -> bool:
        if given.kind == "int" and given.sizes:
            return kinds[name] == "text"
        if given.sizes:
            return kinds[name] == "list"
        if given.kind == "int":  # a class, so rather a word than a number
            return kinds[name] == "text" or (kinds[name] == "whole" and not words)
        return kinds[name] in (("truth",) if given.kind == "bool" else ("whole", "number"))

    roles = {f"{n}{e}" for n, kind in kinds.items() if kind == "text" for e in ("_live", "_count")}
    takes |= {i.name: i.name for i in inputs if i.name in roles}
    wide = [i for i in inputs if i.kind == "float" and i.sizes and i.name not in kinds]
    takes |= _matched([i for i in inputs if i not in wide and i.name not in takes], kinds, fits)
    numbers = [n for n, k in kinds.items() if k in ("whole", "number") and n not in takes.values()]
    if len(wide) == 1 and wide[0].sizes[0] in (None, len(numbers)) and numbers:
        takes[wide[0].name] = tuple(numbers)
    by_name = {i.name: i for i in inputs}
    columns = {
        column: "text" if by_name[name].sizes else "category"
        for name, column in takes.items()
        if isinstance(column, str) and kinds.get(column) == "text" and by_name[name].kind == "int"
    }
    open_inputs = [i.name for i in inputs if i.name not in takes]
    return tuple(takes.items()), tuple(columns.items()), open_inputs


def _judged(file: Path) -> dict[str, str]:
    """What the columns of a table hold: whole, number, truth, list or text."""
    names = column_names(file)
    with open(file, encoding="utf-8-sig", errors="replace", newline="") as opened:
        if file.suffix == ".csv":
            reader = csv.reader(opened, delimiter=delimiter(opened.readline()))
            lines = itertools.islice(reader, SEEN)
            rows = [dict(zip(names, line, strict=False)) for line in lines]
        else:
            texts = itertools.islice(opened, SEEN)
            rows = [row for row in map(_object, texts) if row]
    return {name: _judge([row[name] for row in rows if name in row]) for name in names}


def _object(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _judge(values: Sequence[Any]) -> str:
    if any(isinstance(v, list) for v in values):
        return "list"
    texts = [str(v).strip().lower() for v in values]
    if not texts:
        return "text"
    if all(t in ("true", "false") for t in texts):
        return "truth"
    try:
        numbers = [float(t) for t in texts]
    except ValueError:
        return "text"
    return "whole" if all(n == int(n) for n in numbers if n - n == 0) else "number"
