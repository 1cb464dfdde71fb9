"""Modules of short texts, and what is in them."""

from __future__ import annotations

from dataclasses import replace

from netwright.frontend.elaborate import elaborate
from netwright.frontend.names import loads
from netwright.ir.core import Module, walk
from netwright.ir.diagnostics import Diagnostics
from netwright.passes.check import check


def module_of_text(text: str) -> Module:
    """The module of the last loss or model of a text."""
    diagnostics = Diagnostics()
    file = loads(text, diagnostics)
    diagnostics.raise_errors()
    module = elaborate(file, diagnostics)
    diagnostics.raise_errors()
    return check(replace(module))


def labels(module: Module) -> set[str]:
    """The labels of all values."""
    variants = [v for i in module.instances for v in i.variants]
    return {r.label for v in variants for op in walk(v.ops) for r in op.results}
