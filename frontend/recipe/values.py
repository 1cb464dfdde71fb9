"""The values of a recipe's keys, read as their forms in `ir.recipe_forms` say."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ...ir.diagnostics import Diagnostics, Place, Span, nearest
from ...ir.recipe_forms import (
    Either,
    Flag,
    Form,
    Inner,
    Many,
    Names,
    Real,
    Table,
    Text,
    Whole,
    Word,
    toml_name,
)
from .toml_scan import Document, KeyPath

BAD: Any = object()
"""Stands for a value that is wrong, and reported."""


def in_words(value: Any) -> str:
    """What a value is, in words."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"the number {value}" if abs(value) < 1e30 else "a number"
    if isinstance(value, str):
        return f"text, {short(value)}"
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a table"
    return "a date or time"


def short(text: str) -> str:
    """A text in quotes, cut where it is long."""
    return f'"{text}"' if len(text) <= 40 else f'"{text[:39]}…"'


class ValueReader:
    """Reads the values of one document, and reports those that are wrong.

    Attributes:
        places: where the value of each key stands, by its name in full.
    """

    def __init__(self, file: str, document: Document, diagnostics: Diagnostics):
        self.file, self.document, self.diagnostics = file, document, diagnostics
        self.places: dict[str, Span] = {}

    def at(self, path: KeyPath) -> Span:
        """Where a value stands, else its key, else the table that it is in, else the file."""
        for cut in range(len(path), 0, -1):
            for places in (self.document.at, self.document.keys):
                if path[:cut] in places:
                    return places[path[:cut]]
        return Span(self.file, 1, 1, 1, 1)

    def key_at(self, path: KeyPath) -> Span:
        """Where a key stands, else its value or table."""
        return self.document.keys.get(path) or self.at(path)

    def error(self, code: str, message: str, span: Span, **more: Any) -> None:
        """Report a mistake."""
        self.diagnostics.error(code, message, span, **more)

    def value(self, form: Form, value: Any, path: KeyPath) -> Any:
        """A value as its form holds it; `BAD` if it is wrong, which is then reported."""
        if isinstance(form, Either):
            return self.value(_chosen(form, value), value, path)
        self.places[".".join(str(p) for p in path)] = self.at(path)
        if isinstance(form, Table):
            return self._table(form, value, path)
        readers: dict[type, Callable[..., Any]] = {
            Whole: self._whole,
            Real: self._real,
            Flag: self._flag,
            Text: self._text,
            Word: self._word,
            Names: self._names,
            Many: self._many,
            Inner: self.inner,
        }
        return readers[type(form)](form, value, path)

    def wrong(self, form: Form, value: Any, path: KeyPath, help: str = "") -> Any:
        """Report a value of another type."""
        name = _label(path)
        self.error(
            "recipe-type",
            f"{name} must be {form}; here it is {in_words(value)}",
            self.at(path),
            help=f"{name.rpartition(' ')[2]} = {help}" if help else "",
        )
        return BAD

    def _whole(self, form: Whole, value: Any, path: KeyPath) -> Any:
        if isinstance(value, bool) or not isinstance(value, int):
            guess = value
            if isinstance(value, str):
                try:
                    guess = float(value)
                except ValueError:
                    guess = None
            fits = isinstance(guess, float) and math.isfinite(guess) and guess == int(guess)
            return self.wrong(form, value, path, str(int(guess)) if fits else "")
        low = form.least is not None and value < form.least
        if low or (form.most is not None and value > form.most):
            bound = f"at least {form.least}" if low else f"at most {form.most}"
            return self._range(path, bound, value)
        return value

    def _real(self, form: Real, value: Any, path: KeyPath) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float):
            fits = isinstance(value, str) and re.fullmatch(r"[+-]?\d+(\.\d+)?(e[+-]?\d+)?", value)
            return self.wrong(form, value, path, str(value) if fits else "")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            return self._range(path, "a finite number", value)
        for bound, holds, words in (
            (form.least, form.least is None or number >= form.least, "at least"),
            (form.over, form.over is None or number > form.over, "over"),
            (form.below, form.below is None or number < form.below, "below"),
            (form.most, form.most is None or number <= form.most, "at most"),
        ):
            if not holds:
                return self._range(path, f"{words} {bound:g}", value)
        return number

    def _range(self, path: KeyPath, bound: str, value: Any) -> Any:
        said = str(value) if not isinstance(value, int) or abs(value) < 10**30 else "far beyond"
        self.error("recipe-range", f"{_label(path)} must be {bound}; it is {said}", self.at(path))
        return BAD

    def _flag(self, form: Flag, value: Any, path: KeyPath) -> Any:
        if isinstance(value, bool):
            return value
        word = {"true": "true", "false": "false", "yes": "true", "no": "false", "1": "true",
                "0": "false"}.get(str(value).lower(), "")  # fmt: skip
        return self.wrong(form, value, path, word)

    def _text(self, form: Text, value: Any, path: KeyPath) -> Any:
        if not isinstance(value, str):
            plain = isinstance(value, int | float) and not isinstance(value, bool)
            return self.wrong(form, value, path, f'"{value}"' if plain else "")
        if not value.strip() or not value.isprintable() or len(value) > form.longest:
            why = (
                "is empty"
                if not value.strip()
                else f"has {len(value)} characters; at most {form.longest} are taken"
                if len(value) > form.longest
                else "has characters that cannot be printed"
            )
            written = self.document.text_at(path)
            self.error(
                "recipe-text",
                f"{_label(path)} {why}",
                self.at(path),
                help="in double quotes a backslash begins a special character: write / in paths"
                if "\\" in written and written.startswith('"')
                else "",
            )
            return BAD
        return value

    def _word(self, form: Word, value: Any, path: KeyPath) -> Any:
        if not isinstance(value, str):
            return self.wrong(form, value, path)
        value = form.also.get(value, value)
        if value in form.words:
            return value
        return self.choice(value, form.words, form.also, path)

    def choice(self, value: str, words: Iterable[str], also: Mapping, path: KeyPath) -> Any:
        """Report a word that is not one of those that there are."""
        words = list(words)
        close = [w for w in words if value and w.startswith(value.lower())][:1]
        close = close or nearest(value, [*words, *also])
        name = _label(path)
        self.error(
            "recipe-choice",
            f"{name} cannot be {short(value)}",
            self.at(path),
            facts=(f"it can be {_listed(words)}",),
            help=f'{name.rpartition(" ")[2]} = "{also.get(close[0], close[0])}"' if close else "",
        )
        return BAD

    def _names(self, form: Names, value: Any, path: KeyPath) -> Any:
        if isinstance(value, str):
            value = [value]
        if not isinstance(value, list):
            return self.wrong(form, value, path)
        names: list[str] = []
        for index, name in enumerate(value):
            if not isinstance(name, str):
                return self.wrong(form, name, path)
            if name in names:
                self.error(
                    "recipe-name-twice",
                    f"{name} stands here twice; {form.once}",
                    self.at((*path, index)),
                )
                return BAD
            names.append(name)
            self.places[f"{'.'.join(map(str, path))}.{index}"] = self.at((*path, index))
        return tuple(names)

    def _many(self, form: Many, value: Any, path: KeyPath) -> Any:
        count = len(value) if form.count is None and isinstance(value, list) else form.count
        if not isinstance(value, list) or len(value) != count:
            single = isinstance(form.value, Inner) and isinstance(value, dict)
            return self.wrong(form, value, path, "[{ … }]" if single else "")
        read = [self.value(form.value, item, (*path, n)) for n, item in enumerate(value)]
        return BAD if any(item is BAD for item in read) else tuple(read)

    def inner(self, form: Inner, value: Any, path: KeyPath) -> Any:
        """A table of the schema within another: its keys and their values, options unread."""
        raise NotImplementedError

    def _table(self, form: Table, value: Any, path: KeyPath) -> Any:
        if not isinstance(value, dict):
            return self.wrong(form, value, path)
        if form.paths:
            entries = list(_by_path(value, path, isinstance(form.value, Table)))
        else:
            entries = [(k, v, (*path, k)) for k, v in value.items()]
        found: dict[Any, Any] = {}
        firsts: dict[Any, KeyPath] = {}
        for name, held, where in entries:
            if form.keys == "steps":
                if not re.fullmatch(r"[0-9]{1,12}", name):
                    self.error(
                        "recipe-type",
                        f"a step is a whole number, but here it is {short(name)}",
                        self.key_at(where),
                    )
                    continue
                name = int(name)
            if name in found:
                self.error(
                    "recipe-twice",
                    f"{name} is given twice",
                    self.key_at(where),
                    caption="the second time",
                    places=(Place(self.key_at(firsts[name]), "the first time"),),
                )
                continue
            read = self.value(form.value, held, where)
            self.places[".".join([*map(str, path), str(name)])] = self.key_at(where)
            found[name], firsts[name] = read, where
        return tuple((k, v) for k, v in found.items() if v is not BAD)  # the rest is reported


def _chosen(form: Either, value: Any) -> Form:
    """The form that a value is meant in."""
    for choice in form.forms:
        kinds = {
            Whole: int,
            Real: float,
            Text: str,
            Word: str,
            Table: dict,
            Names: list,
            Many: list,
        }
        if isinstance(value, kinds.get(type(choice), object)) and not isinstance(value, bool):
            return choice
    return form.forms[-1]


def _by_path(values: Mapping, path: KeyPath, nested: bool):
    """Paths and what is said of them: `gpt.norm` is a table in a table, and "gpt.norm" is not."""

    def leaf(value: Any) -> bool:
        if not nested:
            return not isinstance(value, dict)
        return not isinstance(value, dict) or any(not isinstance(v, dict) for v in value.values())

    for name, value in values.items():
        where = (*path, name)
        if leaf(value) or not value:
            yield name, value, where
        else:
            for inner, held, at in _by_path(value, where, nested):
                yield f"{name}.{inner}", held, at


def _listed(words: Iterable[str]) -> str:
    words = [f'"{w}"' for w in words]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _label(path: KeyPath) -> str:
    """A key as messages call it: without its table, but with it where it is only a `name`."""
    parts = [str(p) for p in path]
    for table in ("precision.overrides", "mesh.overrides", "roll"):
        cut = table.count(".") + 1
        if ".".join(parts[:cut]) == table and len(parts) > cut:
            return ".".join(toml_name(p) for p in parts[cut:])
    if isinstance(path[-1], int) and isinstance(path[-2], str) and len(path) > 1:
        return f"item {path[-1] + 1} of {toml_name(path[-2])}"
    if parts[-1] == "name" and len(parts) > 1:
        return f"[{'.'.join(p for p in path[:-1] if isinstance(p, str))}] name"
    return toml_name(parts[-1])
