"""A recipe to begin with: every key of the schema, most of them behind a #."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...ir.core import join
from ...ir.recipe import SECTIONS, Recipe
from ...ir.recipe_forms import Inner, Names, Table, toml, toml_name
from ...ir.recipe_keys import Key, keys_of
from .guess import guess

if TYPE_CHECKING:
    from ...ir.core import Module

SIZE = 128  # of a free dim of which nothing is known


@dataclass(frozen=True)
class Template:
    """A recipe to begin with.

    Attributes:
        text: the file.
        missing: what must still be filled in, each as the name of a key and what it is.
    """

    text: str
    missing: tuple[str, ...]


def template(module: Module, folder: Path) -> Template:
    """A recipe for a model: its data and sizes as far as they can be told, all else by default.

    Args:
        module: the entry to be trained.
        folder: where the recipe will stand; data are looked for in it and in its folder `data`.
    """
    found = guess(_inputs(module), folder)
    given: dict[str, Any] = {f"data.{name}": value for name, value in found.options.items()}
    leading = {v.order[0][0].name for v in _inputs(module) if v.order and v.order[0]}
    sizes = tuple((name, SIZE) for name in module.free if name not in leading)
    if sizes:
        given["sizes"] = sizes
    missing = [*found.missing]
    missing += [f"[sizes] {name}: {SIZE} is a guess" for name, _ in sizes]
    return Template("\n".join(_lines(module, given)) + "\n", tuple(missing))


def _lines(module: Module, given: Mapping[str, Any]) -> Iterator[str]:
    paths = [join(i.path, p.name) for i in module.instances for p in i.params]
    yield f"# How {module.name} is trained, by netwright train. A key behind a # is left out; it"
    yield "# stands there with its default or, where it has none, with an example."
    yield ""
    tables = {"": Recipe, **SECTIONS}
    tables |= {f"{k.name}.some": s for k in keys_of(Recipe) if (s := _inner(k)) is not None}
    for name, section in tables.items():
        if name:
            yield from ("", f"# {(section.__doc__ or '').split('. ')[0].strip().rstrip('.')}")
            yield f"[{name}]" if name in SECTIONS else f"#[{name}]"
        known = list(keys_of(section))
        if not name:
            known = [k for k in known if k.name != "sizes" and _inner(k) is None]
        for k in known:
            yield from _key(k, name, given, paths[:1])
        if name == "data" and "sizes" in given:
            doc = next(k.doc for k in keys_of(Recipe) if k.name == "sizes")
            yield from ("", *_doc(doc), "[sizes]")
            yield from (f"{toml_name(n)} = {size}" for n, size in given["sizes"])


def _key(k: Key, table: str, given: Mapping[str, Any], paths: Sequence[str]) -> Iterator[str]:
    yield from _doc(k.said)
    value = given.get(f"{table}.{k.name}")
    if value is not None:
        yield f"{k.name} = {toml(value, k.form)}"
        return
    example = k.example or (
        toml(k.default, k.form) if not k.required and k.default is not None else ""
    )
    if isinstance(k.form, Names) and "parameter" in k.form.what:
        example = toml(tuple(paths), k.form) if paths else example
    if k.rest:
        yield f"#{example}"
    else:
        default = not k.required and k.default not in (None, ())
        yield f"#{k.name} = {toml(k.default, k.form) if default else example}"


def _doc(text: str) -> list[str]:
    return textwrap.wrap(text, 98, initial_indent="# ", subsequent_indent="# ")


def _inner(k: Key) -> type | None:
    inner = k.form.value if isinstance(k.form, Table) else None
    return inner.section if isinstance(inner, Inner) else None


def _inputs(module: Module) -> Any:
    return module.instances[0].variants[0].inputs
