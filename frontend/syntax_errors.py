"""What is said about a line that does not fit the grammar."""

from __future__ import annotations

from lark.exceptions import UnexpectedToken

from ..ir.diagnostics import Diagnostic
from .lines import Line


def explain(line: Line, start: str, error: UnexpectedToken) -> Diagnostic:
    """Why the parser stumbled, in the reader's terms."""
    return Diagnostic("syntax", f"unexpected {error.token}", getattr(error.token, "span", line.words[-1].span))
