"""Forms: what the value of a key of the recipe may be, and how it is written in TOML."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
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
class Many:
    """A list of values of one form; held as a tuple. `count` is how many there must be."""

    value: Form
    count: int | None = None

    def __str__(self) -> str:
        items = "tables" if isinstance(self.value, Inner) else "numbers"
        return f"a list of {self.count} {items}" if self.count else f"a list of {items}"


@dataclass(frozen=True)
class Inner:
    """A table with keys of its own, which a dataclass of the schema has; held as that class."""

    section: type

    def __str__(self) -> str:
        return "a table"


@dataclass(frozen=True)
class Either:
    """One form or another, told apart by the type of the value."""

    forms: tuple[Form, ...]

    def __str__(self) -> str:
        return ", or ".join(str(f) for f in self.forms)


Form = Whole | Real | Flag | Text | Word | Names | Table | Many | Inner | Either


def toml(value: Any, form: Form) -> str:
    """A value of a form as TOML."""
    if isinstance(form, Table):
        inner = ", ".join(f"{toml_name(n)} = {toml(v, form.value)}" for n, v in value)
        return f"{{ {inner} }}" if inner else "{}"
    if is_dataclass(value):
        return f"{{ {', '.join(entries(value))} }}"
    if isinstance(value, tuple) and not isinstance(form, Names):
        item = form.value if isinstance(form, Many) else form
        return f"[{', '.join(toml(v, item) for v in value)}]"
    if isinstance(form, Names):
        if isinstance(value, str):
            return _string(value)
        return _string(value[0]) if len(value) == 1 else f"[{', '.join(map(_string, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _string(value)
    text = repr(value)
    return text if not isinstance(value, float) or "e" in text or "." in text else f"{text}.0"


def entries(held: Any) -> list[str]:
    """The keys of a dataclass of the schema that have a value, each as `name = value`."""
    from .optax_options import option_form

    lines = []
    for f in fields(held):
        value = getattr(held, f.name)
        kinds = f.metadata.get("kinds")
        if kinds and held.kind not in kinds:
            continue
        if f.metadata.get("rest"):
            lines += [f"{toml_name(n)} = {toml(v, option_form(n, v))}" for n, v in value]
        elif "form" in f.metadata and value is not None and value != ():
            lines.append(f"{f.name} = {toml(value, f.metadata['form'])}")
    return lines


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def toml_name(text: Any) -> str:
    """A key as TOML: in quotes where it needs them."""
    text = str(text)
    bare = text and all(c.isascii() and (c.isalnum() or c in "_-") for c in text)
    return text if bare else _string(text)
