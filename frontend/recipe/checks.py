"""What the keys of a recipe's data, and those of its mesh, must agree on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ...ir.diagnostics import Place, nearest
from ...ir.recipe_data import KINDS, Data
from ...ir.recipe_keys import keys_of
from .values import BAD, ValueReader, short


def check_data(reader: ValueReader, data: dict[str, Any]) -> None:
    """Report what does not go together in [data], and files that are not there."""
    kind = data["kind"]
    for k in keys_of(Data):
        given = f"data.{k.name}" in reader.places
        if k.kinds and kind not in k.kinds and given:
            listed = " or ".join(f'"{name}"' for name in k.kinds)
            reader.error(
                "recipe-kind",
                f'{k.name} is for kind = {listed}; this is kind = "{kind}"',
                reader.key_at(("data", k.name)),
                places=(Place(reader.at(("data", "kind")), ""),),
            )
    held_out = data["held_out"]
    if KINDS[kind].rows == "windows" and isinstance(held_out, int) and held_out:
        reader.error(
            "recipe-range",
            f"of {kind}, held_out is a fraction below 1; it is {held_out}",
            reader.at(("data", "held_out")),
            help="held_out = 0.1",
        )
    if isinstance(held_out, str) and "data.split" in reader.places:
        reader.error(
            "recipe-kind",
            "split says which examples are held out; here they are a file of their own",
            reader.key_at(("data", "split")),
            places=(Place(reader.at(("data", "held_out")), ""),),
        )
    offers = KINDS[kind].offers
    for name, offer in data["fields"]:
        if isinstance(offer, tuple) and kind != "table":
            reader.error(
                "recipe-kind",
                f'a list of columns is for kind = "table"; this is kind = "{kind}"',
                reader.at(("data", "fields", name)),
            )
        elif offers and offer not in offers:
            reader.choice(offer, offers, {}, ("data", "fields", name))
    _check_file(reader, data["file"], "file", kind)
    if isinstance(held_out, str):
        _check_file(reader, held_out, "held_out", kind)
    if data["tokenizer"] is not None:
        _check_file(reader, data["tokenizer"], "tokenizer", "")


def check_instead(reader: ValueReader, table: str, section: type, found: dict[str, Any]) -> None:
    """Report keys that are given with what they stand instead of; else that has no value."""
    for k in keys_of(section):
        other = k.instead_of
        if not other or found[k.name] == k.default:
            continue
        if f"{table}.{other}" in reader.places:
            reader.error(
                "recipe-twice",
                f"{k.name} and {other} say the same in two ways",
                reader.key_at((table, k.name)),
                places=(Place(reader.key_at((table, other)), ""),),
                help=f"leave one of them out: {k.name} is {k.doc}",
            )
        found[other] = None


def _check_file(reader: ValueReader, name: str, key: str, kind: str) -> None:
    folder = Path(reader.file).parent
    path = folder / name
    span = reader.at(("data", key))
    if path.is_file() and kind != "images":
        return
    if path.is_file():
        around = path.parent.relative_to(folder).as_posix()
        reader.error(
            "recipe-data",
            f"{name} is a file; images are a folder",
            span,
            help=f'{key} = "{around}"' if around != "." else "",
        )
        return
    if path.is_dir():
        if kind and KINDS[kind].folder:
            return
        inside = sorted(p.name for p in path.iterdir() if p.is_file())[:8]
        reader.error(
            "recipe-data",
            f"{name} is a folder; the data are one file",
            span,
            facts=(f"in it are {', '.join(inside)}",) if inside else (),
        )
        return
    there = [
        p.relative_to(folder).as_posix()
        for p in [*folder.glob("*"), *folder.glob("data/*"), *path.parent.glob("*")]
        if (p.is_dir() if kind == "images" else p.is_file())
        and p.is_relative_to(folder)
        and p.suffix not in (".nw", ".md", ".toml")
    ]
    close = nearest(name, there) or nearest(Path(name).name, [Path(t).name for t in there])
    close = [t for t in there if t in close or Path(t).name in close][:1]
    reader.error(
        "recipe-data",
        f"there is no {'folder' if kind == 'images' else 'file'} {name}",
        span,
        facts=(f"it is looked for from the recipe's folder, {folder.resolve().name}",),
        help=f'{key} = "{close[0]}"' if close else "",
    )


def check_mesh(reader: ValueReader, mesh: dict[str, Any]) -> None:
    """Report axes that the mesh of a recipe does not have, or that cannot be named so."""
    axes = mesh["axes"]
    if axes is BAD:
        return
    names = [name for name, _ in axes]
    for name in names:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            reader.error(
                "recipe-axis",
                f"{short(name)} is no name for an axis: letters, digits and _ are",
                reader.key_at(("mesh", "axes", name)),
            )
    tables = [(f"mesh.{n}", mesh[n]) for n in ("values", "params") if mesh[n] is not BAD]
    if mesh["overrides"] is not BAD:
        tables += [(f"mesh.overrides.{path}", rules) for path, rules in mesh["overrides"]]
    for where, rules in tables:
        for dim, used in rules:
            for index, axis in enumerate(used):
                if axis in names:
                    continue
                place = reader.places.get(f"{where}.{dim}.{index}")
                span = place or reader.at(tuple(where.split(".")))
                close = nearest(axis, names)
                reader.error(
                    "recipe-axis",
                    f"the mesh has no axis {short(axis)}",
                    span,
                    facts=(f"its axes are {', '.join(names)}" if names else "it has no axes",),
                    help=f'{dim} = "{close[0]}"' if close and len(used) == 1 else (
                        f"did you mean {close[0]}?" if close
                        else "" if names else f"[mesh] axes = {{ {axis} = 2 }}"
                    ),
                )  # fmt: skip
