"""What is wrong in Python itself, before a syntax tree is made: told at once, in the same form."""

from __future__ import annotations

from typing import Any

from ...ir.diagnostics import Diagnostic, InputError, Span
from .source import Site, texts


def mistake(code: str, message: str, at: Site | Span | None = None, **more: Any) -> InputError:
    """An exception to be raised; keyword arguments are the other fields of `Diagnostic`."""
    span = at.span if isinstance(at, Site) else at
    return InputError([Diagnostic(code, message, span, **more)], texts())


class NoAttribute(InputError, AttributeError):
    """A value has no such attribute; `hasattr` may ask all the same."""


def no_attribute(code: str, message: str, at: Site, help: str) -> NoAttribute:
    """An exception for what people write after a dot who come from arrays."""
    return NoAttribute([Diagnostic(code, message, at.span, help=help)], texts())


def outside(what: str, at: Site) -> InputError:
    """Something stands outside of a layer that makes sense only inside of one."""
    return mistake(
        "outside-layer",
        f"{what} belongs into the body of a layer, model or loss",
        at,
        facts=("a decorated function runs when `nw.load` reads the model that uses it",),
    )
