"""Fitting a recipe's data to the inputs of a model: what each input takes, and its shape."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...ir.diagnostics import nearest
from ...ir.recipe import Recipe
from ...ir.recipe_data import KINDS, TOKENS, Offer

CHANNELS = (1, 3, 4)
TEXT_ENDINGS = ("", "_live", "_count")
"""What is offered of a column of text, as `runtime.table` has it."""

Takes = str | tuple[str, ...]


class DataFitter:
    """Says of each input of a model what it takes of the data.

    Args:
        recipe: the recipe.
        entry: the name of the loss.
        inputs: its inputs, as values of the module.
        sizes: sizes of free dims.
        error: reports a mistake: code, message, key of the recipe, and more.
    """

    def __init__(
        self,
        recipe: Recipe,
        entry: str,
        inputs: Sequence[Any],
        sizes: Mapping[str, int],
        error: Callable[..., None],
    ):
        self.recipe, self.entry, self.inputs, self.sizes = recipe, entry, inputs, sizes
        self._report, self.bad = error, False

    def error(self, code: str, message: str, place: str, **more: object) -> None:
        self.bad = True
        self._report(code, message, place, **more)

    def fields(self) -> tuple[tuple[str, Takes], ...]:
        """What each input takes, in order; empty if anything is wrong."""
        self._names()
        data = self.recipe.data
        names = [v.label for v in self.inputs]
        given = dict(data.fields)
        if data.kind not in KINDS:
            return tuple((name, name) for name in names)
        windows = KINDS[data.kind].rows == "windows"
        found: dict[str, Takes] = {name: given.get(name, name) for name in names}
        if windows and not given and not all(name in data.offers() for name in names):
            if len(names) != 2:
                self.error(
                    "recipe-field",
                    f"{data.kind} offers {' and '.join(data.offers())};"
                    f" {self.entry} takes {', '.join(names)}",
                    "data.kind",
                    help='say which is which: fields = { … = "tokens", … = "targets" }',
                )
                return ()
            found = dict(zip(names, TOKENS, strict=True))
        if self.bad:
            return ()
        if data.kind == "arrays":
            self._arrays(found)
        elif data.kind == "table":
            self._table(found)
        else:
            self._offered(found)
        return () if self.bad else tuple(found.items())

    def _names(self) -> None:
        """Report inputs that the model does not have."""
        data, names = self.recipe.data, [v.label for v in self.inputs]
        for section, table in (("fields", data.fields), ("scale", data.scale), ("ids", data.ids)):
            for name, _ in table:
                if name not in names:
                    close = nearest(name, names)
                    self.error(
                        "recipe-field",
                        f"{self.entry} has no input {name}",
                        f"data.{section}.{name}",
                        facts=(f"its inputs are {', '.join(names)}",),
                        help=f"did you mean {close[0]}?" if close else "",
                    )

    def _place(self, name: str, otherwise: str = "data.file") -> str:
        place = f"data.fields.{name}"
        return place if place in self.recipe.places else otherwise

    def _dims(self, value: Any) -> list[tuple[str, int | None]]:
        """Names and sizes of an input's dims, None for a size that is not known."""
        dims = [d for axis in value.order or () for d in axis]
        return [
            (d.name, d.size.value if d.size.is_constant else self.sizes.get(d.name)) for d in dims
        ]

    def _shown(self, value: Any) -> str:
        dtype = "" if value.type.kind == "float" else value.type.kind
        return dtype + _brackets(name for name, _ in self._dims(value))

    # What data of a kind offer by names that are known

    def _offered(self, found: Mapping[str, Takes]) -> None:
        data, kind = self.recipe.data, KINDS[self.recipe.data.kind]
        offers = data.offers()
        for value in self.inputs:
            name, takes = value.label, found[value.label]
            if takes not in offers:
                if takes in kind.offers:
                    self.error(
                        "recipe-field",
                        f"{takes} is offered only where a separator ends each document",
                        self._place(name, "data.kind"),
                        help="separator = 10",
                    )
                    continue
                self.error(
                    "recipe-field",
                    f"{self.entry} takes {name}, and {data.kind} offers nothing of that name"
                    if takes == name
                    else f"{data.kind} offers no {takes}",
                    self._place(name, "data.fields"),
                    facts=(f"{data.kind} offers {', '.join(offers)}",),
                    help=f'fields = {{ {name} = "{(nearest(name, offers) or [*offers])[0]}" }}',
                )
                continue
            self._check_offer(value, str(takes), offers[str(takes)])
        if self.bad:
            return
        if kind.rows == "windows":
            for token in TOKENS:
                if list(found.values()).count(token) != 1:
                    self.error(
                        "recipe-field",
                        f"of {data.kind}, one input takes tokens and one takes targets",
                        "data.fields",
                    )
                    return
        if data.kind == "images":
            self._images(found)
        else:
            self._lengths(found)

    def _check_offer(self, value: Any, takes: str, offer: Offer) -> None:
        """The input has the dtype and as many dims as what it takes."""
        kind, dims = value.type.kind, self._dims(value)
        if kind == offer.dtype and len(dims) in {len(choice) for choice in offer.dims}:
            return
        dtype = "" if offer.dtype == "float" else offer.dtype
        said = " or ".join(f"{dtype}{_brackets(choice)}" for choice in offer.dims)
        self.error(
            "recipe-shape",
            f"{value.label} is {self._shown(value)} in the model, but {takes} is {said}",
            self._place(value.label, "data.kind"),
        )

    def _lengths(self, found: Mapping[str, Takes]) -> None:
        """Inputs that are parts of one sequence have one length."""
        groups: dict[str, tuple[str, int]] = {}
        for value in self.inputs:
            takes = str(found[value.label])
            group = takes.split("_")[0] if self.recipe.data.kind == "pairs" else "window"
            dims = self._dims(value)
            if len(dims) < 2 or dims[1][1] is None:
                continue
            first = groups.setdefault(group, (value.label, dims[1][1]))
            if first[1] != dims[1][1]:
                self.error(
                    "recipe-shape",
                    f"{first[0]} has a length of {first[1]} in the model, and {value.label} of"
                    f" {dims[1][1]}; both are parts of one {group}",
                    self._place(value.label, "data.kind"),
                )

    def _images(self, found: Mapping[str, Takes]) -> None:
        images = [v for v in self.inputs if found[v.label] == "image"]
        if not images:
            self.error("recipe-field", f"no input of {self.entry} takes the image", "data.fields")
        for value in images:
            dims = self._dims(value)
            if len(dims) == 4 and dims[3][1] not in CHANNELS:
                self.error(
                    "recipe-shape",
                    f"{value.label} is {self._shown(value)} in the model, with {dims[3][1]}"
                    f" channels; images have {', '.join(map(str, CHANNELS[:-1]))} or"
                    f" {CHANNELS[-1]}",
                    self._place(value.label, "data.kind"),
                    facts=("the dims of an image are rows, columns, channels",),
                )

    # Arrays, whose names and shapes stand in the file

    def _arrays(self, found: Mapping[str, Takes]) -> None:
        shapes = array_shapes(self.recipe.data_path)
        if shapes is None:
            self.error(
                "recipe-data",
                f"{self.recipe.data.file} is not a .npz file",
                "data.file",
                facts=("numpy.savez writes such files: several arrays, each with a name",),
            )
            return
        for value in self.inputs:
            name, array = value.label, found[value.label]
            if array not in shapes:
                close = nearest(str(array), shapes)
                self.error(
                    "recipe-field",
                    f"{self.recipe.data.file} has no array {_said(array)}, for the input {name}",
                    self._place(name),
                    facts=(f"it has {', '.join(sorted(shapes))}",),
                    help=f'{name} = "{close[0]}"' if close else "",
                )
                continue
            dims = self._dims(value)
            shape = shapes[str(array)]
            if not dims:
                continue
            wanted = [size for _, size in dims[1:]]
            if len(shape) != len(dims) or any(
                w is not None and w != s for w, s in zip(wanted, shape[1:], strict=True)
            ):
                shown = [f"{n} = {w}" for n, w in dims[1:]]
                self.error(
                    "recipe-shape",
                    f"{name} is {_brackets([dims[0][0], *shown])} in the model, but the array"
                    f" {array} is {_brackets(shape)}",
                    self._place(name),
                    facts=(f"each of its {shape[0]} rows is an example",) if shape else (),
                )

    # Tables, whose columns stand in the file

    def _table(self, found: Mapping[str, Takes]) -> None:
        columns = column_names(self.recipe.data_path)
        kinds = dict(self.recipe.data.columns)
        for name in kinds:
            if name not in columns:
                self._no_column(name, columns, f"data.columns.{name}", "")
        texts = [name for name, kind in kinds.items() if kind == "text"]
        roles = [text + ending for text in texts for ending in TEXT_ENDINGS]
        for value in self.inputs:
            name, takes = value.label, found[value.label]
            wanted = [takes] if isinstance(takes, str) else list(takes)
            missing = [c for c in wanted if c not in columns and c not in roles]
            if missing:
                self._no_column(missing[0], [*columns, *roles], self._place(name), name)
            elif isinstance(takes, str) and takes in roles:
                ending = next(e for t in texts for e in TEXT_ENDINGS if t + e == takes)
                shape = ("batch",) if ending == "_count" else ("batch", "length")
                offer = Offer("bool" if ending == "_live" else "int", (shape,))
                self._check_offer(value, takes, offer)
            elif isinstance(takes, str) and kinds.get(takes) == "category":
                self._check_offer(value, takes, Offer("int", (("batch",),)))
            else:
                self._numbers(value, takes)
        for text in texts:
            used = {found[v.label]: v for v in self.inputs}
            longer = [used[r] for r in (text, f"{text}_live") if r in used]
            lengths = {self._dims(v)[1][1] for v in longer if len(self._dims(v)) > 1}
            if not self.bad and (len(lengths) > 1 or not longer):
                self.error(
                    "recipe-shape",
                    f"the inputs that take the text {text} have lengths of"
                    f" {' and '.join(map(str, lengths))}"
                    if longer
                    else f"no input takes the text {text}, so it has no length",
                    f"data.columns.{text}",
                )

    def _numbers(self, value: Any, takes: Takes) -> None:
        """An input of one column of numbers, or of a list of them."""
        dims = self._dims(value)
        if isinstance(takes, tuple):
            if len(dims) != 2 or dims[1][1] not in (None, len(takes)):
                shown = _brackets([dims[0][0], *(f"{n} = {s}" for n, s in dims[1:])])
                self.error(
                    "recipe-shape",
                    f"{value.label} is {shown} in the model, but takes {len(takes)} columns",
                    self._place(value.label),
                )
        elif len(dims) == 2 and self.recipe.data_path.suffix == ".csv":
            self.error(
                "recipe-shape",
                f"{value.label} is {self._shown(value)} in the model, and the column {takes} has"
                " one number a row",
                self._place(value.label),
                help=f'{value.label} = ["{takes}", "…"] takes several columns;'
                f' a text is named as such: columns = {{ {takes} = "text" }}',
            )
        elif len(dims) > 2:
            self._check_offer(value, takes, Offer("float", (("batch",), ("batch", "columns"))))

    def _no_column(self, name: str, columns: Sequence[str], place: str, wanted: str) -> None:
        close = nearest(name, columns)
        help = f"did you mean {close[0]}?" if close else ""
        if wanted == name:
            help = f'fields = {{ {name} = "{close[0] if close else "…"}" }}'
        self.error(
            "recipe-field",
            f"{self.recipe.data.file} has no column {name}"
            + (f", for the input {wanted}" if wanted else ""),
            place,
            facts=(f"it has {', '.join(columns)}",),
            help=help,
        )


def _brackets(parts: Iterable[object]) -> str:
    return f"[{', '.join(map(str, parts))}]"


def _said(takes: Takes) -> str:
    return takes if isinstance(takes, str) else " and ".join(takes)


def column_names(path: Path) -> list[str]:
    """The names of a table's columns, from its first line."""
    import csv

    with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
        if path.suffix in (".jsonl", ".ndjson", ".json"):
            try:
                row = json.loads(next((line for line in file if line.strip()), ""))
            except (ValueError, RecursionError):
                return []
            return list(row) if isinstance(row, dict) else []
        head = file.readline(2**20)
        return [name.strip() for name in next(csv.reader([head], delimiter=delimiter(head)), [])]


def delimiter(head: str) -> str:
    """What divides the columns of a table, by its first line, as `runtime.table` has it."""
    return max((",", "\t", ";"), key=head.count)


def array_shapes(path: Path) -> dict[str, tuple[int, ...]] | None:
    """The shapes of the arrays of a file or folder, read from their headers; None if there are
    none."""
    found = {}
    try:
        if path.is_dir() or path.suffix == ".npy":
            for file in sorted(path.glob("*.npy")) if path.is_dir() else [path]:
                with open(file, "rb") as opened:
                    found[file.stem] = _shape(opened)
            return found or None
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith(".npy"):
                    with archive.open(name) as opened:
                        found[name.removesuffix(".npy")] = _shape(opened)
    except (zipfile.BadZipFile, OSError, ValueError, EOFError):
        return None
    return found


def _shape(file: Any) -> tuple[int, ...]:
    from numpy.lib import format as npy

    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    return read(file)[0]
