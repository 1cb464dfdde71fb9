"""Model files in the notation of Python, and whether both give the same module."""

from __future__ import annotations

import difflib
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import netwright as nw
from netwright.frontend.builder.printer import to_python
from netwright.frontend.parser import parse
from netwright.ir.core import Module
from netwright.ir.diagnostics import Diagnostics
from netwright.ir.text import show


def module_at(path: Path) -> ModuleType:
    """A Python file, imported."""
    spec = importlib.util.spec_from_file_location(f"twin_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def translated(path: Path, into: Path) -> Path:
    """A model file in the notation of Python, written by the printer beside its imports."""
    diagnostics = Diagnostics()
    tree = parse(path.read_text(), str(path), diagnostics)
    diagnostics.raise_errors()
    beside = {p.stem for p in path.parent.glob("*.nw")}
    done = into / f"{path.stem}_twin.py"
    done.write_text(to_python(tree, beside))
    return done


def built(path: Path, entry: str, **settings: Any) -> Module:
    """The module of an entry that is written in Python."""
    return nw.load(getattr(module_at(path), entry), **settings).module


def difference(one: Module, other: Module) -> str:
    """What the text forms of two modules differ in; places do not count."""
    texts = [show(m, places=False).split("\n") for m in (one, other)]
    return "\n".join(difflib.unified_diff(*texts, lineterm="", n=1))
