"""What the keys of a recipe's data, and those of its mesh, must agree on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ...ir.diagnostics import Place, nearest
from .values import BAD, ValueReader, short

TOKENS = ("tokens", "targets")
ROLES = ("source", "source_live", "source_count", "target_in", "target_out", "target_live")
"""What a pair offers, as `runtime.pairs` has it."""

OFFERS: dict[str, tuple[str, ...]] = {"text": TOKENS, "pairs": ROLES}
"""What data of a kind offer; arrays offer their own names."""


def check_data(reader: ValueReader, data: dict[str, Any]) -> None:
    """Report what does not go together in [data], and a file that is not there."""
    kind, at = data["kind"], ("data", "kind")
    if data["scale"] and kind != "arrays":
        reader.error(
            "recipe-kind",
            f'scale is for kind = "arrays"; this is kind = "{kind}"',
            reader.key_at(("data", "scale")),
            places=(Place(reader.at(at), ""),),
        )
    if kind == "text" and isinstance(data["held_out"], int) and data["held_out"]:
        reader.error(
            "recipe-range",
            f"of text, held_out is a fraction below 1; it is {data['held_out']}",
            reader.at(("data", "held_out")),
            help="held_out = 0.1",
        )
    offers = OFFERS.get(kind, ())
    for name, offer in data["fields"]:
        if offers and offer not in offers:
            reader.choice(offer, offers, {}, ("data", "fields", name))
    _check_file(reader, data["file"])


def _check_file(reader: ValueReader, name: str) -> None:
    folder = Path(reader.file).parent
    path = folder / name
    span = reader.at(("data", "file"))
    if path.is_file():
        return
    if path.is_dir():
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
        if p.is_file() and p.is_relative_to(folder) and p.suffix not in (".nw", ".md", ".toml")
    ]
    close = nearest(name, there) or nearest(Path(name).name, [Path(t).name for t in there])
    close = [t for t in there if t in close or Path(t).name in close][:1]
    reader.error(
        "recipe-data",
        f"there is no file {name}",
        span,
        facts=(f"it is looked for from the recipe's folder, {folder.resolve().name}",),
        help=f'file = "{close[0]}"' if close else "",
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
