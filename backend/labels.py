"""What values are called: by their labels, which say the name, or the statement and the op."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..ir.core import Op
from ..ir.registry import names

if TYPE_CHECKING:
    from .body import Body

SUFFIX = {"collapse": "flat", "cast": "low", "transpose": "turned"}


def bases(body: Body, value: int) -> list[str]:
    """Names for a value, best first.

    They are the name that the model gives to it; that of what it becomes, as `q` is made of a
    product and then rotated; that of the child that gives it; else `mask` or `y`.
    """
    label = _label(body, value)
    own, colon, made = label.partition(":")
    if label and not colon:
        return [_plain(own) or "y"]
    if not label and (rearranged := _rearranged(body, value)):
        return rearranged
    child = "" if made.split(".")[0] in names() else made.split(".")[0]
    other = "mask" if body.function.values[value].type.kind == "bool" else "y"
    return [name for name in (_becomes(body, value), child, other) if name]


def _plain(label: str) -> str:
    """A name of the model; empty for what has none there."""
    name = label.split(".")[0]
    return "" if name in ("return", "emit", "_") else name


def _label(body: Body, value: int) -> str:
    """The label of a value; that of what it is cast to, where it has none of its own."""
    label = body.function.values[value].label
    if label:
        return label
    return next((op.result.label for op in _readers(body, value) if op.name == "cast"), "")


def _readers(body: Body, value: int) -> list[Op]:
    return [body.ops[u] for u in body.uses.users.get(value, ()) if u < len(body.ops)]


def _becomes(body: Body, value: int) -> str:
    """The name of what a value becomes, changed by op after op that does nothing else."""
    for _ in body.ops:
        readers = list(dict.fromkeys(_readers(body, value)))
        if len(readers) != 1:
            return ""
        (op,) = readers
        if op.name == "if_train":
            places = [r.results.index(value) for r in op.regions if value in r.results]
            if not places:
                return ""
            result = op.results[places[0]]
        elif len(op.results) == 1 and value in op.operands[:1] and op.name != "where":
            result = op.result
        else:
            return ""
        label = _label(body, result.id)
        if label and ":" not in label:
            return _plain(label)
        value = result.id
    return ""


def _rearranged(body: Body | None, value: int) -> list[str]:
    """Names for what has no label: after what it was made of."""
    while body is not None:
        op = body.made(value)
        if op is not None and op.operands:
            (source, *_) = op.operands
            held = body.codes.get(source)
            if op.name in SUFFIX and held is not None and held.text.isidentifier():
                wide = op.get("dtype") in ("float32", "float64")
                return [f"{held.text}_{'wide' if wide else SUFFIX[op.name]}"]
            return bases(body, source) if source in body.function.values else []
        body = body.outer
    return []
