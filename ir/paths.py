"""Patterns of paths: which parameters a recipe means."""

from __future__ import annotations

import re
from collections.abc import Iterable


def meant(pattern: str, paths: Iterable[str]) -> list[str]:
    """The parts of a model that a pattern names: parameters, or instances that hold some.

    `*` stands for anything within a part of a path, `**` for any number of parts. Each path of a
    parameter gives the shortest of its beginnings that match; one that matches nowhere gives none.
    """
    expression = re.compile(_expression(pattern))
    found: dict[str, None] = {}
    for path in paths:
        parts = path.split(".")
        beginnings = (".".join(parts[:n]) for n in range(1, len(parts) + 1))
        match = next((b for b in beginnings if expression.fullmatch(b)), None)
        if match is not None:
            found[match] = None
    return list(found)


def under(names: Iterable[str], paths: Iterable[str]) -> list[str]:
    """Those paths that are one of some names, or in an instance of such a name."""
    names = set(names)
    return [p for p in paths if p in names or any(p.startswith(f"{name}.") for name in names)]


def _expression(pattern: str) -> str:
    made = ""
    parts = pattern.split(".")
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        if part == "**":
            made += r".+" if last else r"(?:[^.]+\.)*"
            continue
        made += "".join("[^.]*" if c == "*" else re.escape(c) for c in part)
        made += "" if last else r"\."
    return made
