"""Ops: `nw.dot[K](q, k)`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...ir.registry import lookup, names
from .brackets import bracketed
from .checks import checked
from .expressions import CURRENT, Value, made
from .forms import Bracketed, Form, Ref
from .mistakes import mistake
from .source import Site, user_frame


@dataclass(frozen=True, eq=False)
class Called(Form):
    """`callee[dims](arguments, name = value)`."""

    callee: Ref
    items: tuple[Bracketed, ...] | None
    arguments: tuple[Ref, ...]
    keywords: tuple[tuple[str, Ref, Site], ...]
    word: str = "value"
    holds: bool = False

    @property
    def refs(self) -> tuple[Ref, ...]:
        return (*self.arguments, *(r for _, r, _ in self.keywords))

    @property
    def sizes(self) -> tuple[Ref, ...]:
        return tuple(r for item in self.items or () for r in item.refs)


def actuals(
    args: tuple, kwargs: dict[str, Any], site: Site, trace: Any
) -> tuple[tuple[Ref, ...], tuple[tuple[str, Ref, Site], ...]]:
    """The arguments of a call, with their places."""
    places = site.arguments(len(args))
    arguments = tuple(Ref(checked(a, s, trace), s) for a, s in zip(args, places, strict=True))
    keywords = []
    for name, value in kwargs.items():
        at = site.keyword(name)
        keywords.append((name, Ref(checked(value, at, trace), at), site.keyword(name, whole=True)))
    return arguments, tuple(keywords)


class Op:
    """An op of the registry, perhaps with its brackets."""

    def __init__(self, name: str, items: tuple[Bracketed, ...] | None = None):
        self.name, self.items = name, items
        self.__doc__ = lookup(name).doc

    def __getitem__(self, key: Any) -> Op:
        site = Site.here()
        if self.items is not None:
            raise mistake("wrong-brackets", f"{self.name} has its brackets already", site)
        items = bracketed(key, site)
        for item in items:
            if isinstance(item.left.value, int) and item.right is None and item.value is None:
                raise mistake(
                    "axis-number",
                    "there are no axis numbers: brackets hold names of dimensions",
                    item.site,
                    help=f"nw.{self.name}[D](x)",
                )
        return Op(self.name, items)

    def __call__(self, *args: Any, **kwargs: Any) -> Value:
        frame = user_frame()
        site = Site.of(frame)
        trace = CURRENT.get()
        if trace is not None:
            trace.event(frame)
        arguments, keywords = actuals(args, kwargs, site, trace)
        callee = Ref(self, site.callee())
        return made(trace, Called(callee, self.items, arguments, keywords, self.name), site)

    def __repr__(self) -> str:
        return f"nw.{self.name}"


def ops() -> tuple[str, ...]:
    """The names of the ops that a model may use."""
    from ..calls import HIDDEN

    return tuple(n for n in names() if lookup(n).family not in HIDDEN)
