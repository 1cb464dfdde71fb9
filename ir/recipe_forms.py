"""Forms: what the value of a key of the recipe may be, and how it is written in TOML."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Whole:
    """A whole number between bounds."""

    least: int | None = None
    most: int | None = 2**63 - 1

    def __str__(self) -> str:
        return (
            "a whole number" if self.least is None else f"a whole number of at least {self.least}"
        )


@dataclass(frozen=True)
class Real:
    """A finite number; whole ones are taken too. `over` and `below` are bounds not reached."""

    least: float | None = None
    below: float | None = None
    over: float | None = None
    most: float | None = None

    def __str__(self) -> str:
        bounds = [
            f"{word} {bound:g}"
            for word, bound in (
                ("over", self.over),
                ("of at least", self.least),
                ("below", self.below),
                ("of at most", self.most),
            )
            if bound is not None
        ]
        return " ".join(["a number", " and ".join(bounds)]).strip()


@dataclass(frozen=True)
class Flag:
    """true or false."""

    def __str__(self) -> str:
        return "true or false"


@dataclass(frozen=True)
class Text:
    """Text of one line."""

    what: str = "text"
    longest: int = 255

    def __str__(self) -> str:
        return self.what


@dataclass(frozen=True)
class Word:
    """One of a few words; `also` are other spellings."""

    words: tuple[str, ...]
    also: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return " or ".join(f'"{w}"' for w in self.words)


@dataclass(frozen=True)
class Names:
    """The name of one thing, or a list of names without repetition; held as a tuple.

    Attributes:
        what: what they are names of.
        once: why none stands twice.
    """

    what: str
    once: str

    def __str__(self) -> str:
        return f"the name of a {self.what}, or a list of names"


@dataclass(frozen=True)
class Table:
    """A table from names to values of one form; held as a tuple of pairs.

    Attributes:
        keys: what its keys are.
        value: the form of its values.
        paths: whether keys are paths such as gpt.norm, which may be written with or without quotes.
    """

    keys: str
    value: Form
    paths: bool = False

    def __str__(self) -> str:
        return f"a table from {self.keys} to {self.value}"


@dataclass(frozen=True)
class Either:
    """One form or another, told apart by the type of the value."""

    forms: tuple[Form, ...]

    def __str__(self) -> str:
        return ", or ".join(str(f) for f in self.forms)


Form = Whole | Real | Flag | Text | Word | Names | Table | Either


def toml(value: Any, form: Form) -> str:
    """A value of a form as TOML."""
    if isinstance(form, Table):
        inner = ", ".join(f"{toml_name(n)} = {toml(v, form.value)}" for n, v in value)
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(form, Names):
        return _string(value[0]) if len(value) == 1 else f"[{', '.join(map(_string, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _string(value)
    text = repr(value)
    return text if not isinstance(value, float) or "e" in text or "." in text else f"{text}.0"


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def toml_name(text: Any) -> str:
    """A key as TOML: in quotes where it needs them."""
    text = str(text)
    bare = text and all(c.isascii() and (c.isalnum() or c in "_-") for c in text)
    return text if bare else _string(text)
