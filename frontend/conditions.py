"""Conditions of `if`, settled when the model is compiled."""

from __future__ import annotations

from typing import Any

from ..ir.size import Size
from . import tree
from .constants import LayerRef, OpRef, is_constant, plain
from .instances import InstanceBuilder
from .wording import listed, spoken, written

SETTLED = "`if` is settled when the model is compiled: on train, options, constants and fixed sizes"


def condition(
    instance: InstanceBuilder, node: tree.If, declared: Any = None, names: Any = ()
) -> bool:
    """The truth of a condition on options, constants and fixed sizes.

    Raises:
        Mistake: it is not settled before anything runs, or is no truth value.
    """
    hidden = {k for k in names if not is_constant(names[k])} if names else ()
    value = plain(instance.try_constant(node.condition, declared, hidden))
    if isinstance(value, bool):
        return value
    if isinstance(value, OpRef | LayerRef):
        return True
    if value is None:
        return False
    shared = instance.shared
    words = written(shared.diagnostics, node.condition.span) or "…"
    if value is not NotImplemented and not isinstance(value, Size):
        raise shared.error(
            "if-on-value",
            f"a condition is true or false; this is {spoken(value)}",
            node.condition.span,
            help=f"if {words} != 0:",
        )
    found = _names(node.condition)
    unknown = [n for n in found if not _known(instance, n.id, declared, names)]
    if unknown:
        raise instance.unknown_name(unknown[0], [*names, "train"])
    free = []
    for name in found:
        dim = instance.find_dim(name.id, declared) if name.id not in hidden else None
        if dim is not None and not getattr(getattr(dim, "size", None), "is_constant", False):
            free.append(name.id)
    message = "this condition is not known before the model runs"
    if free:
        which = "is a free size" if len(free) == 1 else "are free sizes"
        message = f"{listed(dict.fromkeys(free))} {which}, not known when the model is compiled"
    raise shared.error(
        "if-on-value",
        message,
        node.condition.span,
        facts=(SETTLED,),
        help=_where(shared, node, words),
    )


def _known(instance: InstanceBuilder, name: str, declared: Any, names: Any) -> bool:
    return (
        name in names
        or name in instance.options
        or name in instance.file.consts
        or name in instance.broken
        or name == "train"
        or name in {**instance.params, **instance.states, **instance.children}
        or any(a.name == name for a in instance.layer.arguments)
        or instance.find_dim(name, declared) is not None
    )


def _names(node: tree.Expr) -> list[tree.Name]:
    match node:
        case tree.Name():
            return [node]
        case tree.Unary(operand=operand):
            return _names(operand)
        case tree.Binary(left=left, right=right):
            return [*_names(left), *_names(right)]
    return []


def _where(shared: Any, node: tree.If, words: str) -> str:
    """The branches as a choice element by element, where each is one assignment to one name."""
    match (node.then, node.orelse):
        case (
            (tree.Assign(targets=(a,), values=(x,)),),
            (tree.Assign(targets=(b,), values=(y,)),),
        ) if a.id == b.id:
            first = written(shared.diagnostics, x.span) or "…"
            second = written(shared.diagnostics, y.span) or "…"
            return f"{a.id} = where({words}, {first}, {second})"
    return f"where({words}, a, b) chooses element by element"
