"""Types of arguments and results: `nw.f[..., D]`, `nw.i[B, S]`, `nw.b[S, T]`."""

from __future__ import annotations

import ast
from typing import Any

from .. import tree
from .expressions import Dim
from .mistakes import mistake
from .source import Placed, Site, elements


class ArrayType:
    """A dtype with dims; a bare `nw.f` is a scalar.

    Attributes:
        dtype: float, int or bool.
        dims: `Dim`s and `...`.
        site: where it was written, between brackets.
    """

    def __init__(self, dtype: str, dims: tuple[Any, ...] = (), site: Site | None = None):
        self.dtype, self.dims, self.site = dtype, dims, site

    def __getitem__(self, key: Any) -> ArrayType:
        return ArrayType(self.dtype, dims_of(key, Site.here()), Site.here())

    def __repr__(self) -> str:
        dims = ", ".join("..." if d is Ellipsis else d.name for d in self.dims)
        return f"{self.dtype if self.dtype != 'float' else ''}[{dims}]"

    def write(self, site: Site) -> tree.TypeExpr:
        """The type in the syntax tree; `site` is where it stands, if nothing better is known."""
        at = self.site or site
        node = at.node
        inner: list[Placed] = []
        if isinstance(node, ast.Subscript):
            inner = list(elements(node))
        elif isinstance(node, ast.List):
            inner = list(node.elts)
        sites = [at.part(n) for n in inner] if len(inner) == len(self.dims) else [at] * 99
        dims = tuple(
            tree.Dots(span=s.span) if d is Ellipsis else tree.Name(d.name, span=s.span)
            for d, s in zip(self.dims, sites, strict=False)
        )
        return tree.TypeExpr(self.dtype, dims, span=at.span)


def dims_of(key: Any, site: Site) -> tuple[Any, ...]:
    """The dims of a type, given what stands between its brackets."""
    given = tuple(key) if isinstance(key, tuple | list) else (key,)
    for one in given:
        if one is not Ellipsis and not isinstance(one, Dim):
            shown = f"{one!r}" if isinstance(one, str | int) else f"a {type(one).__name__}"
            raise mistake(
                "not-a-dim",
                f"a type consists of dims; {shown} is none",
                site,
                help='D = nw.dims(D=128) has a size; B = nw.dims("B") gets it from the data',
            )
    return given


def array_type(given: Any, site: Site) -> ArrayType:
    """The type of a parameter or state: a list of dims, or a type."""
    if isinstance(given, ArrayType):
        return ArrayType(given.dtype, given.dims, given.site or site)
    if isinstance(given, list | tuple):
        return ArrayType("float", dims_of(tuple(given), site), site)
    return ArrayType("float", dims_of((given,), site), site)


FLOAT, INT, BOOL = ArrayType("float"), ArrayType("int"), ArrayType("bool")
