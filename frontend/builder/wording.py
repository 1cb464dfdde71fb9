"""Suggestions as they are written in Python."""

from __future__ import annotations

import re

from .ops import ops


def in_python(help: str) -> str:
    """A suggestion in the notation of model files, in that of Python."""
    if not help:
        return help
    found = help.replace(" -> ", " >> ")
    names = "|".join(sorted(ops(), key=len, reverse=True))
    return re.sub(rf"(?<![\w.`])({names})(?=[\[(])", r"nw.\1", found)
