"""What stands between the brackets of an op: dims, arrows, fans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..ir.core import Dim
from ..ir.diagnostics import Span
from ..ir.registry import OpDef, ShapeError
from ..ir.size import SizeError
from . import tree
from .constants import Mistake
from .shared import Pending
from .wording import corrected, count, wrapped

if TYPE_CHECKING:
    from .values import Values


def brackets(
    body: Values, definition: OpDef, written: str, node: tree.Call, attrs, operands: tuple[int, ...]
) -> dict[str, Any]:
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
            if spec.arrows[1] == 0:
                raise _count_mistake(
                    body, definition, written, node, operands, "arrow", spec.arrows
                )
            left = _side(body, item.left, spec.left, written)
            if spec.bare and len(left) != 2:
                raise body.shared.error(
                    "wrong-arrow",
                    f"{written} slides a window along a dim: two dims, the second the window's",
                    item.left.span,
                    help=f"{left[0].name} * K",
                )
            arrows.append((item, left))
        elif isinstance(item.left, tree.Dots):
            if body.dots is None:
                raise body.shared.error(
                    "no-dots",
                    "`...` stands for nothing here: no argument of this layer has it",
                    item.span,
                    help="name the dims",
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
    for what, number, limits in (
        ("dim", len(dims), spec.dims),
        ("arrow", len(arrows), spec.arrows),
    ):
        if number < limits[0] or (limits[1] is not None and number > limits[1]):
            raise _count_mistake(body, definition, written, node, operands, what, limits)
    for index, dim in enumerate(dims):
        if dim in dims[:index]:
            raise body.shared.error(
                "dim-twice", f"{dim.name} stands twice between the brackets", node.span
            )
    found: dict[str, Any] = {}
    if spec.dims != (0, 0):
        found["dims"] = tuple(dims) if spec.ordered else tuple(sorted(dims, key=lambda d: d.id))
    if spec.arrows != (0, 0):
        many = {"windows": len(arrows)}
        found["arrows"] = tuple(
            (left, _right(body, definition, item, left, {**attrs, **found, **many, "window": i}))
            for i, (item, left) in enumerate(arrows)
        )
    return found


def form(definition: OpDef, name: str) -> str:
    """How an op's brackets are written: `[D, …]`, `[A * B -> C]`; "" where it takes none."""
    spec = definition.brackets
    inner = []
    if spec.arrows != (0, 0):
        left = {"*": "A * B", "+": "A + B"}.get(spec.left, "A")
        right = {"*": "B * C", "+": "B + C"}.get(spec.right, "C" if spec.left else "B")
        inner.append(f"{left} -> {right}")
    if definition.family == "initializer":
        inner.append("In -> Out")
    elif spec.dims[0] or spec.dims[1] is None or spec.dims[1] > 0:
        least = spec.dims[0] or 1
        inner += ["S", "T", "K", "D"][:least] if least > 1 else ["D"]
        if spec.dims[1] is None or spec.dims[1] > max(least, 1):
            inner.append("…")
    return f"[{', '.join(inner)}]" if inner else ""


def _count_mistake(
    body: Values, definition: OpDef, written: str, node: tree.Call, operands, what: str, limits
) -> Mistake:
    least, most = limits
    shape = f"{written}{form(definition, written)}"
    if most == 0:
        message = f"{written} takes no {what}s between brackets"
        return body.shared.error("wrong-brackets", message, node.span)
    if least == most:
        wants = count(least, what)
    elif most is None:
        wants = f"at least {count(least, what)}"
    else:
        wants = f"{least or 'none'} to {count(most, what)}"
    help = ""
    if what == "dim" and not node.dims and operands and least <= 1:
        dims = body.order_of(operands[0])
        if dims:
            help = corrected(
                body.shared.diagnostics, node.callee.span, f"{written}[{dims[-1].name}]"
            ).rstrip()
            if len(dims) > 1:
                names = ", ".join(d.name for d in dims)
                help += f"    # or [{names}], or some of them"
    return body.shared.error(
        "wrong-brackets",
        f"{written} needs {wants} between its brackets",
        node.span,
        facts=(f"it is written {shape}(…)",),
        help=help,
    )


def _side(body: Values, side: tree.Expr, joined: str, written: str) -> tuple[Dim, ...]:
    """The dims of the left side of an arrow."""
    return tuple(
        body.instance.dim(name.id, name.span, body.declared)
        for name in _names(body, side, joined, written)
    )


def _names(body: Values, side: tree.Expr, joined: str, written: str) -> list[tree.Name]:
    names: list[tree.Name] = []
    while isinstance(side, tree.Binary) and joined and side.op == joined:
        if not isinstance(side.right, tree.Name):
            break
        names.insert(0, side.right)
        side = side.left
    if isinstance(side, tree.Name):
        return [side, *names]
    wants = f"dims joined by `{joined}`" if joined else "one dim"
    raise body.shared.error(
        "wrong-arrow", f"{written} takes {wants} on this side of the arrow", side.span
    )


def _right(body: Values, definition: OpDef, item: tree.Item, left, attrs) -> tuple[Dim, ...]:
    """The dims right of an arrow: known ones are checked, new ones declared."""
    inst = body.instance
    if item.right is None:
        return _settle(body, definition, item, left, [(left[0].name, item.span, left[0])], attrs)
    named = _names(body, item.right, definition.brackets.right, definition.name)
    known: list[tuple[str, Span, Dim | None]] = []
    for index, name in enumerate(named):
        dim = inst.find_dim(name.id, body.declared)
        if any(name.id == n for n, _, _ in known):
            raise body.shared.error(
                "dim-twice", f"{name.id} stands twice on this side of the arrow", named[index].span
            )
        known.append((name.id, name.span, None if isinstance(dim, Pending) else dim))
    return _settle(body, definition, item, left, known, attrs)


def _settle(body: Values, definition: OpDef, item, left, known, attrs) -> tuple[Dim, ...]:
    sizes = tuple(dim.size if dim is not None else None for _, _, dim in known)
    assert definition.arrow is not None, f"{definition.name} takes no arrows"
    try:
        settled, claims = definition.arrow(definition.name, left, sizes, attrs)
    except ShapeError as error:
        help = error.help
        if error.code == "size-not-known":
            unknown = next((name for name, _, dim in known if dim is None), "D")
            help = f"declare it: dims: {unknown} = …"
        raise body.shared.error(
            error.code, error.message, item.span, facts=error.facts, help=help
        ) from None
    except SizeError as error:
        raise body.shared.error("no-value", f"a size has no value: {error}", item.span) from None
    pairs = {d.name: d.size for d in (*left, *(dim for _, _, dim in known if dim is not None))}
    for claim, reason in claims:
        claim_size(body, claim, reason, item.span, pairs)
    dims = []
    for (name, span, dim), size in zip(known, settled, strict=True):
        if dim is None:
            if size.is_constant and size.value < 1:
                raise body.shared.error(
                    "empty-dim",
                    f"{name} would have {size.value} elements here",
                    span,
                    facts=_sizes(pairs),
                )
            dim = body.instance.new_dim(name, size)
            body.declared[name] = dim
        dims.append(dim)
    return tuple(dims)


def claim_size(
    body: Values, claim: Any, reason: str, span: Span, pairs: dict[str, Any] | None = None
) -> None:
    """Record what must hold of sizes; where it speaks of numbers only, it is settled at once."""
    sizes = list(vars(claim).values())
    if not all(s.is_constant for s in sizes):
        body.shared.claim(claim, reason, span)
    elif not claim.holds({}):
        must = {"Divides": "a multiple of", "AtLeast": "at least"}.get(type(claim).__name__, "")
        a, b = (claim.a, claim.divisor) if hasattr(claim, "divisor") else (claim.a, claim.b)
        name, size = list(pairs.items())[-1] if pairs else ("", None)
        body.shared.error(
            "size-mismatch" if not must else "size-impossible",
            f"{a} must be {must}{' ' if must else ''}{b}, because {reason}",
            span,
            facts=_sizes(pairs) if pairs else (),
            help=f"dims: {name} = {a}" if not must and size == b else "",
        )


def _sizes(pairs: dict[str, Any]) -> tuple[str, ...]:
    return (", ".join(f"{name} = {size}" for name, size in pairs.items()),)


def fans(body: Values, definition: OpDef, node: tree.Call) -> dict[str, Any]:
    """Attributes of an initializer: all dims to be drawn, and which are fan-in and fan-out."""
    name = definition.name
    if body.drawn is None:
        raise body.shared.error(
            "initializer-in-body",
            f"{name} belongs after the `=` of a param or state",
            node.span,
        )
    items = node.dims or ()
    lead = ", ".join(d.name for d in body.drawn[:-1] or body.drawn) or "D"
    if len(items) != 1 or items[0].value is not None:
        shape = " * ".join(lead.split(", "))
        raise body.shared.error(
            "wrong-brackets",
            f"{name} needs its fan-in between the brackets",
            node.span,
            facts=("the fan-in are the dims that are summed over where the parameter is used",),
            help=corrected(body.shared.diagnostics, node.callee.span, f"{name}[{shape}]")
            if not items
            else wrapped(body.shared.diagnostics, node.span, "", ""),
        )
    item = items[0]
    fan_in = _side(body, item.left, "*", name)
    fan_out = _side(body, item.right, "*", name) if item.right is not None else ()
    for dim in (*fan_in, *fan_out):
        if dim not in body.drawn:
            raise body.shared.error(
                "dim-not-there",
                f"{name}[{dim.name}] needs {dim.name}, which is not a dim of what it fills",
                item.span,
                facts=(f"that is [{', '.join(d.name for d in body.drawn)}]",),
            )
    return {"dims": body.drawn, "fan_in": fan_in, "fan_out": fan_out}
