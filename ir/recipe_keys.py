"""The keys of a recipe: fields of dataclasses that say what their values may be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from .recipe_forms import Form

Options = tuple[tuple[str, Any], ...]
"""Names and values, in the order in which they were written."""


def key(
    form: Form,
    doc: str,
    *,
    default: Any = MISSING,
    example: str = "",
    rest: bool = False,
    kinds: tuple[str, ...] = (),
    instead_of: str = "",
) -> Any:
    """A key of the recipe.

    Args:
        form: what its value may be.
        doc: one line that says what it is.
        default: its value where it is left out; without one the key must be given.
        example: TOML for the reference page, where the default does not show enough.
        rest: whether the field takes all keys of its table that no other field takes.
        kinds: the kinds of data that it is for; none: for all.
        instead_of: a key of the same table that may not be given with it.
    """
    metadata: dict[str, Any] = dict(form=form, doc=doc, example=example, rest=rest)
    metadata |= dict(kinds=kinds, instead_of=instead_of)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Key:
    """What the schema says of one key."""

    name: str
    form: Form
    doc: str
    default: Any
    example: str
    rest: bool
    kinds: tuple[str, ...]
    instead_of: str

    @property
    def required(self) -> bool:
        """Whether it must be given."""
        return self.default is MISSING

    @property
    def said(self) -> str:
        """What it is, and for which kinds of data."""
        return f"{self.doc} ({', '.join(self.kinds)})" if self.kinds else self.doc


def keys_of(section: type) -> Iterator[Key]:
    """The keys of a table, or those of the recipe itself that stand outside of such tables."""
    for f in fields(section):
        if "form" in f.metadata:
            yield Key(name=f.name, default=f.default, **f.metadata)
