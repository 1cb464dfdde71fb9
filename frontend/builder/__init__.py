"""Models written in Python: the same notation, read into the same syntax tree.

A decorated function is called once with symbols for its arguments. What it does with them is
recorded, and written as the syntax tree of a layer, which is elaborated as that of a model file is:
both notations give the same module, and the same messages.
"""

from __future__ import annotations

from functools import cache
from typing import Any

_WHERE = {
    "statements": (
        "dims",
        "const",
        "param",
        "state",
        "metric",
        "value",
        "train",
        "cond",
        "scan",
    ),
    "layers": ("layer", "model", "loss"),
    "instances": ("use", "repeat", "each"),
    "library": ("library",),
}
_TYPES = {"f": "FLOAT", "i": "INT", "b": "BOOL"}

NOTATION = (*(n for names in _WHERE.values() for n in names), *_TYPES)


def notation(name: str) -> Any:
    """What a name of the notation means: a statement, a type or an op.

    Raises:
        AttributeError: it means nothing.
    """
    from importlib import import_module

    for module, names in _WHERE.items():
        if name in names:
            return getattr(import_module(f".{module}", __name__), name)
    if name in _TYPES:
        from . import types

        return getattr(types, _TYPES[name])
    from .ops import ops

    if name in ops():
        return _op(name)
    from ...ir.diagnostics import nearest

    close = nearest(name, [*ops(), *NOTATION])
    more = f"; did you mean nw.{close[0]}?" if close else ""
    raise AttributeError(f"there is no op, statement or type called {name}{more}")


@cache
def _op(name: str) -> Any:
    from .ops import Op

    return Op(name)
