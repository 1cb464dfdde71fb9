"""What stands between brackets: `D`, `...`, `S >> T`, `Y * Ky >> Yo`, `Ky: 3`."""

from __future__ import annotations

import ast
from typing import Any

from .checks import described
from .expressions import Arrow, Expr
from .forms import Bracketed, Ref
from .mistakes import mistake
from .source import Site


def bracketed(key: Any, site: Site) -> tuple[Bracketed, ...]:
    """What stands between brackets, given what Python hands over."""
    given = key if isinstance(key, tuple) else (key,)
    found = []
    for one, at in zip(given, site.brackets(len(given), site.node), strict=True):
        value = None
        whole = at
        if isinstance(one, slice):
            if one.step is not None or one.start is None or one.stop is None:
                raise mistake("wrong-brackets", "`:` stands between a dim and a size: [Ky: 3]", at)
            node = at.node
            value_at = at.part(node.upper) if isinstance(node, ast.Slice) else at
            at = at.part(node.lower) if isinstance(node, ast.Slice) else at
            value = Ref(_side(one.stop, value_at), value_at)
            one = one.start
        if isinstance(one, Arrow):
            left, right = at.sides()
            sides = Ref(_side(one.left, left), left), Ref(_side(one.right, right), right)
            found.append(Bracketed(*sides, value, whole))
        else:
            found.append(Bracketed(Ref(_side(one, at), at), None, value, whole))
    return tuple(found)


def _side(value: Any, site: Site) -> Any:
    if value is Ellipsis or isinstance(value, Expr):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        raise mistake(
            "not-a-dim",
            f"between brackets stand dims, not text: {value!r}",
            site,
            help=f'{value} = nw.dims("{value}")',
        )
    if isinstance(value, Arrow):
        raise mistake("wrong-arrow", "two arrows in a row: put a comma between them", site)
    raise mistake("not-a-dim", f"between brackets stand dims, not {described(value)}", site)
