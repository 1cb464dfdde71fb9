"""Reading `recipe.toml`, with messages as good as the language's.

Nothing in a recipe is evaluated. What may stand in it is said in `ir.recipe`; here is only how it
is read, and what is said where it is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...ir.diagnostics import Diagnostics, Span
from ...ir.recipe import SECTIONS, Recipe, Train
from ...ir.recipe_data import Data, given_in_python
from ...ir.recipe_forms import Inner
from ...ir.recipe_keys import Key, keys_of
from .checks import check_data, check_instead, check_mesh
from .options import read_options
from .toml_places import read as read_toml
from .toml_scan import Document, KeyPath, key_parts
from .values import BAD, ValueReader, in_words
from .words import unknown_key

OVERRIDES = "--set"
"""The name under which overrides are quoted."""


def read_recipe(
    path: str | Path,
    diagnostics: Diagnostics,
    overrides: Sequence[str] = (),
    data_in_python: bool = False,
) -> Recipe | None:
    """The recipe in a file; None if anything is wrong, which the diagnostics then say.

    Args:
        path: the file, shown in messages as given.
        diagnostics: where mistakes go; its sources get the text of the file.
        overrides: such as `train.steps=100`: a key and a value in TOML (of text, the quotes may be
            left out). They replace what the file says.
        data_in_python: whether data are given apart from the recipe: its [data] is not read then.
    """
    file = str(path)
    found = len(diagnostics.errors)
    text = _text(Path(path), file, diagnostics)
    if text is None:
        return None
    document = read_toml(text, file, diagnostics)
    _override(document, overrides, diagnostics)
    recipe = _Reader(file, document, diagnostics).recipe(data_in_python)
    return None if len(diagnostics.errors) > found else recipe


def _text(path: Path, file: str, diagnostics: Diagnostics) -> str | None:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        diagnostics.error("recipe-not-text", f"{file} is not UTF-8 text: see line {line}")
    except FileNotFoundError:
        diagnostics.error(
            "recipe-not-found",
            f"there is no recipe {file}",
            help='write one; the least is [data] with kind = "text" and file = "…"',
        )
    except OSError as error:
        diagnostics.error("recipe-not-found", f"{file} cannot be read: {error.strerror}")
    return None


def _override(document: Document, overrides: Sequence[str], diagnostics: Diagnostics) -> None:
    if not overrides:
        return
    import tomllib

    lines = [text.replace("\n", " ") for text in overrides]
    diagnostics.sources[OVERRIDES] = "\n".join(lines)
    for number, line in enumerate(lines, 1):
        name, sign, value = line.partition("=")
        whole = Span(OVERRIDES, number, 1, number, len(line) + 1)
        if not sign or not name.strip():
            diagnostics.error(
                "recipe-override", "expected a key, = and a value", whole, help="train.steps=100"
            )
            continue
        try:
            held = tomllib.loads(f"value = {value}")
        except ValueError:
            held = {}
        if list(held) != ["value"]:  # text without quotes
            held = {"value": value.strip()}
        keys = tuple(key_parts(name.strip()))
        table = document.values
        for key in keys[:-1]:
            if not isinstance(table.get(key), dict):
                table[key] = {}
            table = table[key]
        for section in ("precision.overrides", "roll"):  # "gpt.norm" and gpt.norm are the same
            _drop_path(document.values, section.split("."), keys)
        table[keys[-1]] = held["value"]
        for places in (document.keys, document.at):
            for known in [k for k in places if k[: len(keys)] == keys]:
                del places[known]
        column = len(name) + 1 + len(value) - len(value.lstrip()) + 1
        named = len(name) - len(name.lstrip())
        document.keys[keys] = Span(OVERRIDES, number, named + 1, number, len(name.rstrip()) + 1)
        document.at[keys] = Span(OVERRIDES, number, column, number, len(line.rstrip()) + 1)


def _drop_path(values: dict, section: list[str], keys: Sequence[str]) -> None:
    if list(keys[: len(section)]) != section:
        return
    table = values
    for part in section:
        table = table.get(part, {})
        if not isinstance(table, dict):
            return
    table.pop(".".join(keys[len(section) :]), None)


class _Reader(ValueReader):
    """Reads one document against the schema."""

    def recipe(self, data_in_python: bool) -> Recipe | None:
        values, before = self.document.values, len(self.diagnostics.errors)
        found: dict[str, Any] = {}
        for k in keys_of(Recipe):
            found[k.name] = self._field(k, values, ())
        for name, section in SECTIONS.items():
            if section is Data and data_in_python:
                found[name] = vars(given_in_python())
            else:
                found[name] = self._section(name, section, values.get(name, {}))
        for name in values:
            if name not in found:
                unknown_key(self, name, (name,), values[name])
        if not data_in_python and not any(v is BAD for v in found["data"].values()):
            check_data(self, found["data"])
        check_instead(self, "train", Train, found["train"])
        read_options(self, found)
        check_mesh(self, found["mesh"])
        if len(self.diagnostics.errors) > before or not self.document.whole:
            return None
        made = {
            name: SECTIONS[name](**value) if name in SECTIONS else value
            for name, value in found.items()
        }
        return Recipe(**made, file=self.file, places=self.places)

    def _section(self, name: str, section: type, values: Any) -> dict[str, Any]:
        path = (name,)
        needed = [k for k in keys_of(section) if k.required]
        if not values and needed and self.document.whole and path not in self.document.keys:
            self.diagnostics.error(
                "recipe-missing",
                f"{self.file} has no table [{name}]: {_lower(section.__doc__)}",
                help="\n".join([f"[{name}]", *(f"{k.name} = {k.example}" for k in needed)]),
            )
        return self._keys(section, values, path)

    def inner(self, form: Inner, value: Any, path: KeyPath) -> Any:
        found = self._keys(form.section, value, path)
        return BAD if any(v is BAD for v in found.values()) else found

    def _keys(self, section: type, values: Any, path: KeyPath) -> dict[str, Any]:
        """The keys of a table, by the schema."""
        known = list(keys_of(section))
        if not isinstance(values, dict):
            self.error(
                "recipe-type",
                f"{path[-1]} must be a table; here it is {in_words(values)}",
                self.at(path),
                help=f"[{'.'.join(str(p) for p in path)}]",
            )
            return {k.name: BAD for k in known}
        if path in self.document.keys:
            self.places[".".join(map(str, path))] = self.document.keys[path]
        names = {k.name for k in known if not k.rest}
        found: dict[str, Any] = {}
        for k in known:
            if k.rest:
                rest = {n: v for n, v in values.items() if n not in names}
                found[k.name] = tuple(rest.items())
            else:
                found[k.name] = self._field(k, values, path)
        if not any(k.rest for k in known):
            for key in values:
                if key not in names:
                    unknown_key(self, key, (*path, key), values[key])
        return found

    def _field(self, k: Key, values: Mapping, table: KeyPath) -> Any:
        path = (*table, k.name)
        if k.name in values:
            return self.value(k.form, values[k.name], path)
        if not k.required:
            return k.default
        if self.document.whole and (table in self.document.keys or table in self.document.at):
            self.error(
                "recipe-missing",
                f"[{'.'.join(str(p) for p in table if isinstance(p, str))}] needs {k.name}",
                self.at(table),
                facts=(f"{k.name}: {k.doc}",),
                help=f"{k.name} = {k.example}",
            )
        return BAD


def _lower(text: str | None) -> str:
    text = (text or "").strip().split(".")[0]
    return text[:1].lower() + text[1:]
