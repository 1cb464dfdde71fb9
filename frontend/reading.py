"""What names in a body stand for: values, states, constants, parameters of instances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..ir.core import Dim, Op, Type, Value, attributes
from ..ir.diagnostics import Place, Span
from ..ir.registry import names
from . import tree
from .constants import LayerRef, Mistake, OpRef
from .instances import ChildRecord, InstanceBuilder
from .shared import Pending
from .wording import meant

if TYPE_CHECKING:
    from .values import Values


@dataclass(frozen=True)
class Val:
    """A value, and the words that gave it."""

    id: int
    span: Span


@dataclass(frozen=True)
class Many:
    """The results of a call that gives several."""

    values: tuple[Val, ...]
    span: Span


@dataclass(frozen=True)
class StateName:
    """A state; reading it gives its newest value."""

    name: str


@dataclass(frozen=True)
class OneBranch:
    """A name that only one branch of an `if train` assigns."""

    span: Span


class Broken:
    """What a name is bound to when the statement that should bind it was wrong."""


BROKEN = Broken()


def read_name(body: Values, node: tree.Name) -> Any:
    name = node.id
    inst = body.instance
    if body.hides(node):
        return _bound(body, node, body.names[name])
    if name in inst.broken:
        raise Mistake
    if name in inst.options or name in inst.file.consts or inst.find_dim(name, body.declared):
        value = inst.try_constant(node, body.declared)
        if value is NotImplemented:
            inst.dim(name, node.span, body.declared)
        if isinstance(value, OpRef | LayerRef):
            raise body.shared.error(
                "not-a-value",
                f"{name} is an op or a layer, not a value",
                node.span,
                help=f"{name}(…)",
            )
        return value
    if name == "train":
        raise body.shared.error(
            "train-as-value",
            "`train` is not a value: it is asked by `if`",
            node.span,
            help="if train:",
        )
    if name in names() or name in inst.file.layers:
        what = "an op" if name in names() else "a layer"
        raise body.shared.error(
            "not-a-value", f"{name} is {what}, not a value", node.span, help=f"{name}(…)"
        )
    raise inst.unknown_name(node, [n for n, v in body.names.items() if v is not BROKEN])


def _bound(body: Values, node: tree.Name, bound: Any) -> Any:
    if bound is BROKEN:
        raise Mistake
    if isinstance(bound, StateName):
        return Val(body.states[bound.name], node.span)
    if isinstance(bound, Val):
        return Val(bound.id, node.span)
    if isinstance(bound, OneBranch):
        raise body.shared.error(
            "one-branch",
            f"only one branch gives {node.id} a value",
            node.span,
            places=(Place(bound.span, "assigned here, and not in the other branch"),),
            help=f"give {node.id} a value before the branch, or in both",
        )
    if isinstance(bound, ChildRecord):
        raise body.shared.error(
            "not-a-value",
            f"{node.id} is an instance of {bound.builder.layer.name}, not a value",
            node.span,
            help=f"{node.id}(…)",
        )
    return bound


def read_member(body: Values, node: tree.Member) -> Any:
    parts: list[str] = []
    base: tree.Name | tree.Member = node
    while isinstance(base, tree.Member):
        parts.append(base.name)
        base = base.base
    parts.append(base.id)
    parts.reverse()
    record = body.names.get(parts[0])
    if record is BROKEN:
        raise Mistake
    for index, part in enumerate(parts[:-1]):
        if index:
            assert isinstance(record, ChildRecord)
            record = record.builder.children.get(part)
        if not isinstance(record, ChildRecord):
            raise _not_an_instance(body, node, parts, index)
        if record.child.mode != "one":
            along = record.child.along
            raise body.shared.error(
                "one-of-several",
                f"{'.'.join(parts[: index + 1])} has {along} copies, "
                f"so there is not one {parts[-1]}",
                node.span,
                places=(Place(record.child.span, "made here"),) if record.child.span else (),
                help="let the layer return what is needed: results come back stacked "
                f"along {along}",
            )
    assert isinstance(record, ChildRecord)
    builder = record.builder
    variable = builder.params.get(parts[-1])
    if variable is None:
        if parts[-1] in builder.broken:
            raise Mistake
        lead = ".".join(parts[:-1]) + "."
        raise body.shared.error(
            "unknown-parameter",
            f"{builder.layer.name} has no parameter {parts[-1]}"
            if parts[-1] not in builder.states
            else f"{parts[-1]} is a state of {builder.layer.name}; only parameters are read so",
            node.span,
            facts=(f"it has {', '.join(builder.params)}",) if builder.params else (),
            help=meant(body.shared.diagnostics, node.span, parts[-1], builder.params, lead),
        )
    order = _parameter_dims(body, builder, variable, parts[1:-1], node)
    value = Value(-1, Type(variable.type.dtype, order), "", tuple((d,) for d in order))
    attrs = attributes(name=variable.name, child=".".join(parts[:-1]))
    return Val(body.builder.append(Op("param", (), (value,), attrs, span=node.span))[0], node.span)


def _not_an_instance(body: Values, node: tree.Member, parts: list[str], index: int) -> Mistake:
    """Report a name with dots that leads to no instance."""
    inst, name = body.instance, parts[index]
    if name in inst.broken or name in inst.file.missing:
        return Mistake()
    lead = "".join(f"{p}." for p in parts[:index])
    record: Any = body.names.get(parts[0])
    known = list(inst.children)
    for part in parts[1:index] if index else ():
        record = record.builder.children[part]
    if index:
        known = list(record.builder.children)
    if name in inst.file.imports:
        message = f"{'.'.join(parts)} is not a value: {name} is a file that is imported"
        help = f"use … = {'.'.join(parts)}"
    else:
        message = f"{lead}{name} is not an instance"
        help = meant(body.shared.diagnostics, node.span, name, known, lead)
    return body.shared.error(
        "unknown-name",
        message,
        node.span,
        facts=("`instance.parameter` reads a parameter of an instance made by `use`",),
        help=help,
    )


def _parameter_dims(
    body: Values, builder: InstanceBuilder, variable, path: list[str], node
) -> tuple[Dim, ...]:
    """The caller's dims of a parameter read by `instance.parameter`."""
    dims = []
    for dim in variable.order:
        current: Dim | Pending | None = dim
        level: InstanceBuilder | None = builder
        while level is not None and level is not body.instance and isinstance(current, Dim):
            name = next((n for n, b in level.bound.items() if b == current), None)
            found = level.outside.get(name) if name is not None else None
            if found is None:
                origin = level.origins.get(current)
                found = body.instance.find_dim(origin[1]) if origin is not None else None
                current, level = found, body.instance
            else:
                current, level = found, level.parent
        if not isinstance(current, Dim):
            raise body.shared.error(
                "dim-not-there",
                f"{dim.name} of this parameter has no name here",
                node.span,
                facts=(f"give it one at the use: [{dim.name} = …]",),
            )
        dims.append(current)
    return tuple(dims)
