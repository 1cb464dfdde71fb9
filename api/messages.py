"""What the command line does with mistakes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from .ir.diagnostics import Diagnostic

WRONG = 1  # exit code: what was given is wrong


def teaches(function: Callable[..., Any], code: int = WRONG) -> Callable[..., Any]:
    """Turn what a person can put right into a message and an exit code."""

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        from .ir.diagnostics import InputError, render

        try:
            return function(*args, **kwargs)
        except InputError as error:
            color = sys.stderr.isatty() and "NO_COLOR" not in os.environ
            for diagnostic in error.diagnostics:
                click.echo(render(diagnostic, error.sources, color) + "\n", err=True)
            count = len(error.diagnostics)
            click.echo(f"{count} mistake{'s' if count != 1 else ''}", err=True)
            sys.exit(code)
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            click.echo(f"error: {place}{(error.strerror or str(error)).lower()}", err=True)
            sys.exit(code)

    return wrapped


def warn(found: Iterable[Diagnostic], sources: Mapping[str, str] | None = None) -> None:
    """Say what is not wrong, but worth saying."""
    from .ir.diagnostics import render

    for warning in found:
        click.echo(render(warning, sources or {}) + "\n", err=True)
