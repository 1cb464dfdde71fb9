"""Model files in their canonical layout: what `netwright fmt` does."""

from __future__ import annotations

import difflib
import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from .driver import DEEP
from .frontend.formatter import format_text
from .frontend.names import decoded, read
from .ir.diagnostics import Diagnostics


def model_files(paths: Iterable[Path], diagnostics: Diagnostics) -> list[Path]:
    """Files as they are, and every `*.nw` below folders, but none in hidden folders."""
    found: dict[Path, None] = {}
    for path in paths:
        inside = [path]
        if path.is_dir():
            below = (p for p in path.rglob("*.nw") if p.is_file())
            hidden = len(path.parts)
            inside = [p for p in below if not any(n[0] == "." for n in p.parts[hidden:])]
            if not inside:
                diagnostics.error(
                    "no-models", f"{path}: there is no model file (*.nw) in this folder"
                )
        found.update(dict.fromkeys(sorted(inside)))
    return list(found)


def formatted(path: Path, diagnostics: Diagnostics) -> tuple[str, str] | None:
    """The text of a model file as it is and in its canonical layout; None if it has mistakes."""
    text = read(path, diagnostics, str(path))
    return _both(text, str(path), diagnostics)


def formatted_bytes(raw: bytes, name: str, diagnostics: Diagnostics) -> tuple[str, str] | None:
    """The same for what was read elsewhere."""
    return _both(decoded(raw, diagnostics, name), name, diagnostics)


def _both(text: str | None, name: str, diagnostics: Diagnostics) -> tuple[str, str] | None:
    if text is None:
        return None
    sys.setrecursionlimit(max(sys.getrecursionlimit(), DEEP))
    made = format_text(text, name, diagnostics)
    return None if made is None else (text, made)


def difference(before: str, after: str, name: str) -> str:
    """What would change, as a unified diff."""
    names = f"{name} (as it is)", f"{name} (canonical)"
    return "".join(difflib.unified_diff(_rows(before), _rows(after), *names))


def _rows(text: str) -> list[str]:
    *rows, last = text.split("\n")
    whole = [row + "\n" for row in rows]
    return [*whole, f"{last}\n\\ no newline at the end\n"] if last else whole


def write(path: Path, text: str) -> None:
    """Put a text in the place of a file, whole or not at all; links and permissions stay."""
    path = path.resolve()
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.chmod(name, path.stat().st_mode)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
