"""The plan that a recipe gives: its decisions, with the reason that a person took them."""

from __future__ import annotations

from ..ir.core import Module
from ..ir.plan import Plan
from ..ir.recipe import Recipe


def make_plan(module: Module, recipe: Recipe) -> Plan:
    """The plan of a recipe for a module."""
    raise NotImplementedError((module, recipe))


__all__ = ["Plan", "make_plan"]
