"""Dims that mean others in one call of an instance: `tower[S = T](b)`, and what follows from that.

What is written with such a dim follows it: dims of the layer and of its file's glossary, defaults
between brackets, and dims that instances inside of it were given. Parameters cannot.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..ir.core import Dim
from ..ir.diagnostics import Place, Span
from . import tree
from .constants import Mistake
from .instances import ChildRecord, InstanceBuilder
from .uses import bind_dims, bind_options
from .wording import meant

if TYPE_CHECKING:
    from .values import Values


@contextmanager
def rebound(body: Values, record: ChildRecord, node: tree.Call) -> Iterator[None]:
    """Within, names of the called instance mean what they mean in this call.

    Raises:
        Mistake: the brackets of the call are wrong, or something cannot follow.
    """
    child, inst = record.builder, body.instance
    given = _given(body, child, node)
    if not given and not inst.moved:
        yield
        return
    along = record.child.along
    if along is not None and along in inst.moved:
        raise _fixed(body, along.name, "copies run along it", record.child.span, node.span)
    again = _bound_again(inst, child, given)
    if again.options != child.options:
        option = next(name for name, v in again.options.items() if child.options[name] != v)
        raise _fixed(body, option, "it is an option of the use", record.child.span, node.span)
    before = child.bound, child.outside, child.local, child.glossary, child.moved
    child.bound, child.outside = dict(child.bound), dict(child.outside)
    child.local, child.glossary, child.moved = dict(child.local), dict(child.glossary), {}
    child.forget_constants()
    try:
        _follow(child, again)
        for variable in (*child.params.values(), *child.states.values()):
            for dim in variable.order:
                if dim in child.moved:
                    why = f"the {'parameter' if variable.name in child.params else 'state'} "
                    why += f"{variable.name} has it"
                    at = next((i.span for i in node.dims or () if _name(i) == dim.name), node.span)
                    raise _fixed(body, dim.name, why, variable.span, at)
        yield
    finally:
        child.bound, child.outside, child.local, child.glossary, child.moved = before
        child.forget_constants()


def _name(item: tree.Item) -> str:
    return item.left.id if isinstance(item.left, tree.Name) else ""


def _given(body: Values, child: InstanceBuilder, node: tree.Call) -> dict[str, Dim]:
    """What the brackets of a call give, by the child's names."""
    found: dict[str, Dim] = {}
    for item in node.dims or ():
        value = item.value if item.value is not None else item.left
        if not isinstance(item.left, tree.Name) or not isinstance(value, tree.Name) or item.right:
            raise body.shared.error("dims-at-call", "a call gives dims by name: [S = T]", item.span)
        name = item.left.id
        if name not in child.bound:
            raise body.shared.error(
                "unknown-dim", f"{child.layer.name} has no dim {name}", item.span,
                facts=(f"its dims are {', '.join(child.bound)}" if child.bound else "it has none",),
                help=meant(body.shared.diagnostics, item.span, name, child.bound),
            )  # fmt: skip
        found[name] = body.instance.dim(value.id, value.span, body.declared)
    return found


def _bound_again(
    inst: InstanceBuilder, child: InstanceBuilder, given: dict[str, Dim]
) -> InstanceBuilder:
    """The child as its use would bind it where names mean what they mean now."""
    assert child.use is not None
    ref, place = child.use
    again = copy.copy(child)
    again.bound, again.outside, again.local, again.options = {}, {}, {}, {}
    again.dims, again.origins, again.glossary, again.used = [], {}, {}, set()
    again.forget_constants()
    bind_dims(inst, again, ref, place, given)
    bind_options(inst, again, dict(ref.given), place)
    return again


def _follow(child: InstanceBuilder, again: InstanceBuilder) -> None:
    """Let names mean what they were bound to again, and what is written with them follow."""
    for name, dim in again.bound.items():
        old, outside = child.bound[name], again.outside[name]
        if not isinstance(dim, Dim) or not isinstance(old, Dim):
            continue
        if dim.size != old.size or outside != child.outside[name]:
            child.bound[name] = child.moved[old] = child.dotted_dim(dim, f"@{name}", name)
            child.outside[name] = outside
    glossary = {dim: origin for origin, dim in child.glossary.items()}
    for old in sorted((*child.local.values(), *glossary), key=lambda d: d.id):  # as they came about
        origin = glossary.get(old)
        size = child.file.dims[old.name].size if origin else child.sizes[old.name]
        if size is None or (origin and child.given_from_outside(old.name)):
            continue
        dim = Dim(-1, old.name, child.size(size))
        if dim.size == old.size:
            continue
        new = child.moved[old] = child.dotted_dim(dim, "@", old.name)
        if origin:
            child.glossary[origin] = new
            child.origins[new] = origin
        else:
            child.local[old.name] = new


def _fixed(body: Values, name: str, why: str, place: Span | None, at: Span) -> Mistake:
    """Report what cannot follow."""
    return body.shared.error(
        "dim-of-parameter",
        f"{name} cannot change from call to call: {why}",
        at,
        places=(Place(place, "declared here"),) if place else (),
        help="give it at the use, and make a second instance for other sizes",
    )
