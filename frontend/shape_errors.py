"""Mistakes of shape: what an op says of its operands, at the words, with their types under them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..ir.core import Dim
from ..ir.diagnostics import Place
from ..ir.registry import ShapeError, lookup
from . import tree
from .constants import Mistake
from .wording import corrected, listed, written

if TYPE_CHECKING:
    from .values import Values

REPEATED = (
    "it is ", "the operand is ", "this is ", "one operand is ", "operand ", "the operand ",
    "x is ", "the ids are ", "the scores are ", "the mask is ", "the logits are ",
)  # fmt: skip
SYMBOLS = {
    "add": "+", "subtract": "-", "multiply": "*", "divide": "/", "floor_divide": "//",
    "remainder": "%", "power": "**", "less": "<", "less_equal": "<=", "greater": ">",
    "greater_equal": ">=", "equal": "==", "not_equal": "!=", "logical_and": "and",
    "logical_or": "or",
}  # fmt: skip


def shape_mistake(
    body: Values,
    error: ShapeError,
    name: str,
    operands: tuple[int, ...],
    node: tree.Expr,
    words: tuple[tree.Expr, ...],
) -> Mistake:
    """Report operands or dims that an op cannot take."""
    at = node.span
    main = error.operand
    if main is not None and main < len(words):
        at = words[main].span
    caption = ""
    places: list[Place] = []
    shown = [body.shown(o) for o in operands]
    if len(words) == len(operands) <= 4:
        for index, (word, type_) in enumerate(zip(words, shown, strict=True)):
            if _is_constant(body, operands[index]) or word.span.line != word.span.end_line:
                continue
            if word.span == at:
                caption = f"this is {type_}"
            else:
                places.append(Place(word.span, type_))
    told = bool(caption or places)
    facts = [f for f in error.facts if not (told and f.startswith(REPEATED))]
    message, help = error.message, error.help
    for operand, type_ in zip(operands, shown, strict=True):
        stated = str(body.builder.type(operand))
        facts = [f.replace(stated, type_) for f in facts]
        message, help = message.replace(stated, type_), help.replace(stated, type_)
    message = re.sub(r"that of (\w+) is \1$", r"\1 is free", message)
    if name in SYMBOLS:
        message = message.replace(f" {name} ", f" {SYMBOLS[name]} ")
    places += body.origins(operands if main is None else (operands[main],))
    suggestion = _suggestion(body, error, name, operands, node, words)
    facts += _same_size(body, error, operands)
    if error.code in ("no-fan-in", "no-fan-out") and help:
        suggestion = corrected(body.shared.diagnostics, node.span, help)
    if error.code == "not-a-bool" and main is not None and main < len(words):
        said = written(body.shared.diagnostics, at)
        simple = isinstance(words[main], tree.Name | tree.Call)
        suggestion = corrected(body.shared.diagnostics, at, f"{said} != 0") if simple else ""
    if error.code in ("not-int", "not-an-int") and main is not None:
        argument = body.argument(operands[main])
        if argument is not None and argument.type is not None and argument.type.dtype == "float":
            dims = written(body.shared.diagnostics, argument.type.span)
            places.append(Place(argument.span, "declared here, as floats"))
            suggestion = f"{argument.name}: int{dims}" if dims else ""
    return body.shared.error(
        error.code,
        message,
        at,
        caption=caption,
        places=tuple(dict.fromkeys(places)),
        facts=tuple(facts),
        help=suggestion or help,
    )


def _same_size(body: Values, error: ShapeError, operands: tuple[int, ...]) -> list[str]:
    """A fact, where two operands would align if one dim had the other's name."""
    if error.code != "dims-do-not-align" or len(operands) != 2:
        return []
    first, second = (body.order_of(o) for o in operands)
    alone = [[d for d in a if d not in b] for a, b in ((first, second), (second, first))]
    if [len(dims) for dims in alone] == [1, 1]:
        (a,), (b,) = alone
        if a.size == b.size and a.name != b.name:
            return [
                f"{a.name} and {b.name} have one size: rename[{b.name} -> {a.name}](…) aligns them"
            ]
        if a.name == b.name:
            return [f"there are two dims {a.name} here: one has the size {a.size}, one {b.size}"]
    return []


def _is_constant(body: Values, id: int) -> bool:
    made = body.builder.defining(id)
    return made is not None and made.name in ("const", "size")


def _suggestion(body: Values, error: ShapeError, name: str, operands, node, words) -> str:
    """A corrected line, where it is plain what was meant; "" where it is not."""
    if len(words) != len(operands) or not words:
        return ""
    texts = [written(body.shared.diagnostics, w.span) for w in words]
    if not all(texts):
        return ""
    if error.code == "dim-in-one-operand" and isinstance(node, tree.Call):
        return _dot(body, operands, node, texts)
    if error.code == "dim-not-there" and isinstance(node, tree.Call):
        return _there(body, error, operands, node)
    family = lookup(name).family
    if error.code == "dims-do-not-align" and family in ("arithmetic", "pointwise"):
        return _expand(body, name, operands, node, words, texts)
    return ""


def _there(body: Values, error: ShapeError, operands, node: tree.Call) -> str:
    """The call over those of its dims that the operand has, or over the only one that it has."""
    dims = [d.name for d in body.order_of(operands[error.operand or 0])]
    items = node.dims or ()
    named = [i.left.id for i in items if isinstance(i.left, tree.Name)]
    if not items or len(named) < len(items) or any(i.right or i.value for i in items):
        return ""
    kept = [name for name in named if name in dims]
    span = items[0].span.to(items[-1].span)
    fixed = corrected(body.shared.diagnostics, span, ", ".join(kept or dims[-1:]))
    return fixed if kept or len(dims) == 1 or not fixed else f"{fixed}    # it has {listed(dims)}"


def _dot(body: Values, operands, node: tree.Call, texts: list[str]) -> str:
    """A product over what the operands share; what only one has is summed there first."""
    types = [body.builder.type(o).dims for o in operands]
    asked = [i.left.id for i in node.dims or () if isinstance(i.left, tree.Name)]
    dims = {d.name: d for t in types for d in t}
    if any(a not in dims for a in asked):
        return ""
    many = [a for a in asked if sum(dims[a] in t for t in types) > 1]
    alone = [a for a in asked if a not in many]
    diagnostics = body.shared.diagnostics
    if many:
        inner = []
        for text, type_ in zip(texts, types, strict=True):
            own = [a for a in alone if dims[a] in type_]
            inner.append(f"sum[{', '.join(own)}]({text})" if own else text)
        return corrected(diagnostics, node.span, f"dot[{', '.join(many)}]({', '.join(inner)})")
    shared = [d for d in body.order_of(operands[0]) if all(d in t for t in types)]
    if len(shared) == 1:
        return corrected(diagnostics, node.span, f"dot[{shared[0].name}]({', '.join(texts)})")
    return ""


def _expand(body: Values, name: str, operands, node, words, texts: list[str]) -> str:
    """The operand with the most dims, expanded over those of the others."""
    orders = [body.order_of(o) for o in operands]
    every: list[Dim] = [d for order in orders for d in order]
    best = max(range(len(orders)), key=lambda i: len(orders[i]))
    missing = list(dict.fromkeys(d for d in every if d not in orders[best]))
    if not missing:
        return ""
    fixed = f"expand[{', '.join(d.name for d in missing)}]({texts[best]})"
    line = corrected(body.shared.diagnostics, words[best].span, fixed)
    if not line:
        return ""
    return (
        f"{line}    # if every pair is meant: the result has {listed(d.name for d in missing)} too"
    )
