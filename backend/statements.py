"""Statements of Python, laid out as `ruff format` would have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .naming import documented, prose, quoted

WIDTH = 100


@dataclass(frozen=True)
class Call:
    """A call, or with a name of "" something in brackets."""

    name: str
    arguments: tuple[Any, ...]
    brackets: str = "()"


@dataclass(frozen=True)
class Named:
    """An argument `name=value`, or with a sign of ": " an entry of a dict."""

    name: str
    value: Call
    sign: str = "="


def in_line(item: Any) -> str:
    """An expression on one line."""
    if isinstance(item, Named):
        return f"{item.name}{item.sign}{in_line(item.value)}"
    if isinstance(item, Call):
        inner = ", ".join(in_line(a) for a in item.arguments)
        inner += "," if item.brackets == "()" and not item.name and len(item.arguments) == 1 else ""
        return f"{item.name}{item.brackets[0]}{inner}{item.brackets[1]}"
    return item


def laid(pad: str, before: str, item: Any, after: str = "", broken: bool = False) -> list[str]:
    """A statement as lines: as few as there can be, or with each argument on its own if broken."""
    while isinstance(item, Named):
        before, item = f"{before}{item.name}{item.sign}", item.value
    line = f"{pad}{before}{in_line(item)}{after}"
    if not isinstance(item, Call) or not item.arguments or (len(line) <= WIDTH and not broken):
        return [line]
    inner = pad + "    "
    opened = f"{pad}{before}{item.name}{item.brackets[0]}"
    one = inner + ", ".join(in_line(a) for a in item.arguments)
    tuple_of_one = item.brackets == "()" and not item.name and len(item.arguments) == 1
    if len(one) <= WIDTH and not broken and item.name and not tuple_of_one:
        body = [one]
    else:
        body = [row for a in item.arguments for row in laid(inner, "", a, ",")]
    return [opened, *body, f"{pad}{item.brackets[1]}{after}"]


def tuple_of(items: Sequence[str]) -> Call:
    """A tuple of expressions."""
    return Call("", tuple(items))


def dict_of(pairs: Any) -> Call:
    """A dict of literals."""
    return Call("", tuple(f"{literal(k)}: {literal(v)}" for k, v in pairs), "{}")


def docstring(text: str) -> list[str]:
    """The docstring of a function, of one line."""
    return [f'    """{documented(prose(text))}"""']


def literal(value: Any) -> str:
    """A text or number as source."""
    return quoted(value) if isinstance(value, str) else repr(value)
