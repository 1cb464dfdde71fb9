"""The reference page of the standard library, generated from its chapters."""

from __future__ import annotations

import inspect
import re

from ..ir.diagnostics import Diagnostics
from . import tree
from .names import LIBRARY
from .parser import parse

ORDER = ("core", "norm", "attention", "transformer", "vision", "recurrent")
"""Chapters in the order of the page; others follow by name."""


def reference() -> str:
    """The page, as Markdown: each chapter with its layers, as they are declared and documented."""
    lines = [
        "# The standard library",
        "",
        "Generated from `frontend/library`; `python -m pytest tests/library/test_library_page.py "
        "--update-golden` writes it anew.",
        "`import core` brings in a chapter; its layers are then `core.Linear` and so on. Brackets "
        "hold dims: those with an arrow are given in order, the others by name, or they are the "
        "model's own of that name. Arguments with a type are values, given at the call; the others "
        "are options, given at the `use`.",
        "",
    ]
    chapters = {path.stem: path for path in sorted(LIBRARY.glob("*.nw"))}
    for name in [*(n for n in ORDER if n in chapters), *sorted(set(chapters) - set(ORDER))]:
        text = chapters[name].read_text(encoding="utf-8")
        diagnostics = Diagnostics()
        parsed = parse(text, f"library/{name}.nw", diagnostics)
        diagnostics.raise_errors()
        assert parsed is not None
        lines += [f"## {name}", "", _prose(parsed.doc), ""]
        for layer in parsed.items:
            if isinstance(layer, tree.Layer):
                header = _header(text, layer.name_span.line)
                lines += [f"### {name}.{layer.name}", "", "```", f"{name}.{header}", "```", ""]
                lines += [_prose(layer.doc), ""]
    return "\n".join(lines).rstrip() + "\n"


def _header(text: str, line: int) -> str:
    """The header of the layer that begins at a line, as it is written."""
    rest = "\n".join(text.split("\n")[line - 1 :])
    found = re.match(r"layer\s+(.*?):\s*\n", rest, re.DOTALL)
    assert found is not None
    return found[1]


def _prose(doc: str) -> str:
    """A docstring as Markdown: stars are stars, a line that begins with `option: …` is an item."""
    parts = re.split(r"(`[^`]*`)", inspect.cleandoc(doc))
    doc = "".join(p if p.startswith("`") else p.replace("*", r"\*") for p in parts)
    return re.sub(r"^(\w+): ", r"- `\1`: ", doc, flags=re.MULTILINE)
