"""Calls of ops: brackets, operands and options."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

from ..ir.core import Dim, Op, attributes
from ..ir.diagnostics import nearest
from ..ir.registry import REQUIRED, OpDef, Option, ShapeError, lookup, names
from ..ir.size import Size
from . import tree
from .constants import Mistake, OpRef, is_constant, plain
from .instances import Pending

if TYPE_CHECKING:
    from .body import Body

from .layer_calls import call_child, call_layer, parameter_dims  # noqa: F401

RENAMED = {"min": "minimum", "max": "maximum"}
FANS = "initializer"


def unknown_callee(body: Body, callee: tree.Name) -> Mistake:
    """Report a call of something that is nothing."""
    inst = body.instance
    known = {
        *(n for n in names() if lookup(n).family not in ("structure", "layout")),
        *inst.children,
        *inst.file.layers,
    }
    close = nearest(callee.id, known)
    return body.shared.error(
        "unknown-op",
        f"there is no op, layer or instance called {callee.id}",
        callee.span,
        help=f"did you mean {close[0]}?" if close else "",
    )


def call_op(body: Body, written: str, node: tree.Call, labels) -> Any:
    """A call of an op by the name that was written."""
    from .body import Many, Val

    name = RENAMED[written] if written in RENAMED and node.dims is None else written
    definition = lookup(name)
    operands, words, attrs = _bind(body, definition, written, node)
    if (
        definition.effect == "random"
        and name != "dropout"
        and body.drawn is not None
        and not node.dims
    ):
        attrs["dims"] = body.drawn
    elif definition.family == FANS:
        attrs |= _fans(body, definition, node)
    elif body.drawn is not None and not node.dims and _makes(definition):
        attrs["dims"] = body.drawn
    else:
        attrs |= _brackets(body, definition, written, node, attrs, operands)
    if definition.effect == "random":
        attrs["salt"] = _salt(body, name)
    if name == "index" and attrs["dims"] and attrs["dims"][0] in body.steps:
        return Val(body.steps[attrs["dims"][0]], node.span)
    if name == "dropout":
        return _dropout(body, node, operands, attrs, labels)
    results = body.emit(name, operands, node, labels, words, **attrs)
    return results[0] if len(results) == 1 else Many(results, node.span)


def _makes(definition: OpDef) -> bool:
    """Whether an op makes an array of the dims in its brackets out of nothing."""
    return definition.family == "random" and not definition.operands


def _bind(body: Body, definition: OpDef, written: str, node: tree.Call):
    """Operands, their words, and options."""
    positional = list(node.arguments)
    given: dict[str, tree.Expr] = {}
    slots = list(definition.operands)
    rest: list[tree.Expr] = []
    if definition.variadic:
        rest, positional = positional, []
    for slot in slots if not definition.variadic else ():
        if positional:
            given[slot] = positional.pop(0)
    options = list(definition.options)
    for option in options:
        if positional:
            given[option] = positional.pop(0)
    if positional:
        most = len(slots) + len(options)
        raise body.shared.error(
            "too-many-arguments",
            f"{written} takes {most} argument{'s' if most != 1 else ''}",
            positional[0].span,
            facts=(_signature(definition, written),),
        )
    for keyword in node.keywords:
        if keyword.name not in (*slots, *options, *definition.optional):
            known = [*slots, *options, *definition.optional]
            close = nearest(keyword.name, known)
            raise body.shared.error(
                "unknown-option",
                f"{written} has no option {keyword.name}",
                keyword.span,
                facts=(_signature(definition, written),),
                help=f"did you mean {close[0]}?" if close else "",
            )
        if keyword.name in given:
            raise body.shared.error("given-twice", f"{keyword.name} is given twice", keyword.span)
        given[keyword.name] = keyword.value
    words: list[tree.Expr] = rest or []
    if definition.variadic:
        if not rest:
            raise body.shared.error("missing-argument", f"{written} needs values", node.span)
    else:
        for slot in slots:
            if slot not in given:
                raise body.shared.error(
                    "missing-argument",
                    f"{written} needs {slot}",
                    node.span,
                    facts=(_signature(definition, written),),
                )
            words.append(given[slot])
    extra = tuple(o for o in definition.optional if o in given and not _is_none(given[o]))
    words += [given[o] for o in extra]
    results = [body.single(body.expr(w), w) for w in words]
    if definition.family in ("arithmetic", "pointwise") and len(words) > 1:
        chosen = 1 if definition.name == "where" else 0
        fixed = [body.value(r, w) for r, w in zip(results[:chosen], words, strict=False)]
        operands = (
            *fixed,
            *body.unify(tuple(results[chosen:]), tuple(words[chosen:]), definition.name),
        )
    else:
        want = "float" if definition.family in ("pointwise", "product") else None
        operands = tuple(body.value(r, w, want) for r, w in zip(results, words, strict=True))
    attrs: dict[str, Any] = {"extra": extra} if definition.optional else {}
    for option, spec in definition.options.items():
        attrs[option] = _option(body, definition, written, option, spec, given.get(option), node)
    return operands, tuple(words), attrs


def _is_none(node: tree.Expr) -> bool:
    return isinstance(node, tree.Constant) and node.value is None


def _signature(definition: OpDef, written: str) -> str:
    operands = [*definition.operands, *(["…"] if definition.variadic else [])]
    options = [
        n if o.default is REQUIRED else f"{n} = {_text(o.default)}"
        for n, o in definition.options.items()
    ]
    dims = (
        "[…]" if definition.brackets.dims != (0, 0) or definition.brackets.arrows != (0, 0) else ""
    )
    return f"it is {written}{dims}({', '.join([*operands, *definition.optional, *options])})"


def _text(value: Any) -> str:
    return (
        {True: "true", False: "false", None: "none"}.get(value, str(value))
        if not isinstance(value, int | float) or isinstance(value, bool)
        else str(value)
    )


def _option(body, definition, written, name, spec: Option, node, call) -> Any:
    if node is None:
        if spec.default is REQUIRED:
            raise body.shared.error(
                "missing-argument",
                f"{written} needs {name}",
                call.span,
                facts=(_signature(definition, written),),
            )
        return spec.default
    if isinstance(node, tree.Name) and node.id in spec.words and node.id not in body.names:
        return node.id
    hidden = {k for k, v in body.names.items() if not is_constant(v)}
    constants = {k: v for k, v in body.names.items() if is_constant(v)}
    if isinstance(node, tree.Name) and node.id in constants:
        value = plain(constants[node.id])
    else:
        value = plain(body.instance.try_constant(node, body.declared, hidden))
    if value is NotImplemented:
        words = f"one of {', '.join(spec.words)}, or " if spec.words else ""
        close = nearest(node.id, spec.words) if isinstance(node, tree.Name) else []
        raise body.shared.error(
            "option-not-constant",
            f"{name} of {written} must be known before anything runs",
            node.span,
            facts=(f"it is {words}a constant",),
            help=f"did you mean {close[0]}?" if close else "",
        )
    kind = (
        "none" if value is None else
        "bool" if isinstance(value, bool) else
        "int" if isinstance(value, int | Size) else
        "float" if isinstance(value, float) else
        "pair" if isinstance(value, tuple) else
        "op" if isinstance(value, OpRef) else "other"
    )  # fmt: skip
    if (
        kind == "int"
        and "int" not in spec.kinds
        and "float" in spec.kinds
        and isinstance(value, int)
    ):
        return float(value)
    if kind not in spec.kinds:
        allowed = [*spec.words, *(k for k in spec.kinds if k != "word")]
        raise body.shared.error(
            "wrong-option",
            f"{name} of {written} cannot be {_text(value)}",
            node.span,
            facts=(f"it may be {', '.join(allowed)}",),
        )
    return value


def _salt(body: Body, op: str) -> int:
    """The number that tells this draw from others of the same body."""
    body.draws = getattr(body, "draws", 0) + 1
    return zlib.crc32(f"{body.statement}/{op}/{body.draws}".encode())


def _dropout(body: Body, node: tree.Call, operands, attrs, labels) -> Any:
    """Dropout, in training only; at rate 0 there is nothing to draw."""
    from .body import Val
    from ..ir.core import Region, Value

    if attrs["rate"] == 0:
        return Val(operands[0], node.span)
    body.builder.open()
    dropped = body.emit("dropout", operands, node, None, (), **attrs)[0]
    then = Region((), body.builder.close(), (dropped.id,))
    value = Value(
        -1, body.builder.type(operands[0]), body.label(labels[0] if labels else None, "dropout")
    )
    orelse = Region((), (), operands)
    op = Op("if_train", (), (value,), (), (then, orelse), span=node.span)
    return Val(body.builder.append(op)[0], node.span)


# Brackets.


def _brackets(body, definition: OpDef, written, node: tree.Call, attrs, operands) -> dict[str, Any]:
    """The attributes `dims` and `arrows`, with dims declared by arrows."""
    spec = definition.brackets
    items = node.dims or ()
    dims: list[Dim] = []
    arrows = []
    for item in items:
        if item.value is not None:
            raise body.shared.error(
                "dims-for-op", f"{written} is an op: its brackets only name dims", item.span
            )
        bare = item.right is None and isinstance(item.left, tree.Binary) and spec.bare
        if item.right is not None or bare:
            arrows.append((item, _side(body, item.left, spec.left, written)))
        elif isinstance(item.left, tree.Dots):
            if body.dots is None:
                raise body.shared.error(
                    "no-dots",
                    "`...` stands for nothing here: no argument of this layer has it",
                    item.span,
                )
            if not spec.dots:
                raise body.shared.error("no-dots", f"{written} takes no `...`", item.span)
            dims += body.dots
        elif isinstance(item.left, tree.Name):
            dims.append(body.instance.dim(item.left.id, item.left.span, body.declared))
        else:
            raise body.shared.error(
                "not-a-dim",
                f"between the brackets of {written} stand dims",
                item.span,
                help="an arrow says what a grid or a sum becomes: [A * B -> C]"
                if spec.left
                else "",
            )
    _counts(body, spec, written, node, len(dims), len(arrows))
    for index, dim in enumerate(dims):
        if dim in dims[:index]:
            raise body.shared.error(
                "dim-twice", f"{dim.name} stands twice between the brackets", node.span
            )
    found: dict[str, Any] = {}
    if spec.dims != (0, 0):
        found["dims"] = tuple(dims) if spec.ordered else tuple(sorted(dims, key=lambda d: d.id))
    if spec.arrows != (0, 0):
        found["arrows"] = tuple(
            (left, _right(body, definition, item, left, {**attrs, **found}))
            for item, left in arrows
        )
    return found


def _counts(body, spec, written, node, dims: int, arrows: int) -> None:
    for what, number, (least, most) in (("dim", dims, spec.dims), ("arrow", arrows, spec.arrows)):
        if number < least or (most is not None and number > most):
            wants = (
                f"{least}"
                if least == most
                else f"at least {least}"
                if most is None
                else f"{least} to {most}"
            )
            if most == 0:
                message = f"{written} takes no {what}s between brackets"
            else:
                message = f"{written} needs {wants} {what}{'' if wants == '1' else 's'} between its brackets"
            raise body.shared.error("wrong-brackets", message, node.span)


def _side(body: Body, side: tree.Expr, joined: str, written: str) -> tuple[Dim, ...]:
    """The dims of the left side of an arrow."""
    return tuple(
        body.instance.dim(name.id, name.span, body.declared)
        for name in _names(body, side, joined, written)
    )


def _names(body: Body, side: tree.Expr, joined: str, written: str) -> list[tree.Name]:
    if isinstance(side, tree.Name):
        return [side]
    if isinstance(side, tree.Binary) and joined and side.op == joined:
        return [
            *_names(body, side.left, joined, written),
            *_names(body, side.right, joined, written),
        ]
    wants = f"dims joined by `{joined}`" if joined else "one dim"
    raise body.shared.error(
        "wrong-arrow", f"{written} takes {wants} on this side of the arrow", side.span
    )


def _right(body: Body, definition: OpDef, item: tree.Item, left, attrs) -> tuple[Dim, ...]:
    """The dims right of an arrow: known ones are checked, new ones declared."""
    inst = body.instance
    if item.right is None:
        return _settle(body, definition, item, left, [(left[0].name, item.span, left[0])], attrs)
    named = _names(body, item.right, definition.brackets.right, definition.name)
    known = []
    for name in named:
        dim = inst.find_dim(name.id, body.declared)
        known.append((name.id, name.span, None if isinstance(dim, Pending) else dim))
    return _settle(body, definition, item, left, known, attrs)


def _settle(body, definition: OpDef, item, left, known, attrs) -> tuple[Dim, ...]:
    sizes = tuple(dim.size if dim is not None else None for _, _, dim in known)
    try:
        settled, claims = definition.arrow(definition.name, left, sizes, attrs)
    except ShapeError as error:
        raise body.shared.error(
            error.code, error.message, item.span, facts=error.facts, help=error.help
        ) from None
    for claim, reason in claims:
        body.shared.claim(claim, reason, item.span)
    dims = []
    for (name, span, dim), size in zip(known, settled, strict=True):
        if dim is None:
            if size.is_constant and size.value < 1:
                raise body.shared.error(
                    "empty-dim", f"{name} would have {size.value} elements here", span
                )
            dim = body.instance.new_dim(name, size)
            body.declared[name] = dim
        dims.append(dim)
    return tuple(dims)


def _fans(body: Body, definition: OpDef, node: tree.Call) -> dict[str, Any]:
    """Attributes of an initializer: all dims to be drawn, and which are fan-in and fan-out."""
    if body.drawn is None:
        raise body.shared.error(
            "initializer-in-body",
            f"{definition.name} belongs after the `=` of a param or state",
            node.span,
        )
    items = node.dims or ()
    if len(items) != 1 or items[0].value is not None:
        raise body.shared.error(
            "wrong-brackets",
            f"{definition.name} needs its fan-in between the brackets",
            node.span,
            help=f"{definition.name}[{body.drawn[0].name if body.drawn else 'D'}]()",
        )
    item = items[0]
    fan_in = _side(body, item.left, "*", definition.name)
    fan_out = _side(body, item.right, "*", definition.name) if item.right is not None else ()
    for dim in (*fan_in, *fan_out):
        if dim not in body.drawn:
            raise body.shared.error(
                "dim-not-there",
                f"{definition.name}[{dim.name}] needs {dim.name}, which is not a dim of what it fills",
                item.span,
                facts=(f"that has {', '.join(d.name for d in body.drawn)}",),
            )
    return {"dims": body.drawn, "fan_in": fan_in, "fan_out": fan_out}


__all__ = ["attributes", "call_child", "call_layer", "call_op", "parameter_dims", "unknown_callee"]
