"""Which Python name holds which value, and which names may be bound."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable

from .naming import identifier


class Scope:
    """The names of one body, inside of those around it.

    Args:
        taken: names that mean something in the whole file.
        outer: the names around.
        kept: names around that must not be hidden; None for all of them. Only the body of a Python
            function may hide any.

    Attributes:
        held: the value that a name holds; None for what is no value, or is needed to the end.
    """

    def __init__(self, taken: set[str], outer: Scope | None, kept: set[str] | None = None):
        self.taken, self.outer, self.kept = taken, outer, kept
        self.held: dict[str, int | None] = {}

    def free(self, name: str, dead: Callable[[int], bool] = lambda value: False) -> bool:
        """Whether a name can be bound without hiding what is still needed.

        Args:
            dead: whether a value of this body is needed no more.
        """
        if name in self.taken:
            return False
        held = self.held.get(name)
        if name in self.held and (held is None or not dead(held)):
            return False
        if self.kept is not None:
            return name not in self.kept
        return self.outer is None or self.outer.free(name)

    def first(self, bases: Iterable[str], dead: Callable[[int], bool] = lambda value: False) -> str:
        """The first of some names that is free, or else the last one with a number."""
        wanted = [identifier(base) for base in bases]
        numbered = (f"{wanted[-1]}_{number}" for number in itertools.count(2))
        return next(n for n in itertools.chain(wanted, numbered) if self.free(n, dead))

    def temporary(self, base: str) -> str:
        """A name that nothing holds, and nothing will."""
        name = self.first([base])
        self.held[name] = None
        return name

    def keep(self, text: str) -> None:
        """Keep what the names in source hold, to the end."""
        for name in self.held.keys() & words(text):
            self.held[name] = None
        if self.outer is not None:
            self.outer.keep(text)


def words(text: str) -> set[str]:
    """The identifiers in source, those in strings aside."""
    return set(re.findall(r"[^\W\d]\w*", re.sub(r'"(?:[^"\\]|\\.)*"', "", text)))
