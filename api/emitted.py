"""Emitted source as a module: loaded from a file by its place, under a name of its own."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from types import ModuleType


def from_file(name: str, path: Path) -> ModuleType:
    """The module that a file of an emitted program holds. It is not put into `sys.modules`."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def from_source(name: str, source: str) -> ModuleType:
    """The same of source that is in no file yet."""
    with tempfile.TemporaryDirectory(prefix="netwright-") as folder:
        path = Path(folder) / f"{name}.py"
        path.write_text(source, encoding="utf-8")
        return from_file(name, path)
