"""The graph that memory planners see: what a training step computes, with bytes and operations.

It is built from a module after *layout*, whose transposes, casts and reshapes are so counted; in
training, with all sizes bound, per device of the plan's mesh and per microbatch. A *unit* is what
is checkpointed as one: the body of a `repeat` or `scan`, seen once whatever the number of copies,
with its calls inlined; the first unit is the rest, in which each loop is one node. Copies side by
side (`each`) are inlined, with all copies counted.

What gradients flow through, and what they keep, is added at the end (`gradients`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from ...ir.core import Dim, Instance, Module, Op, Type, Value, Variant, join, leading
from ...ir.diagnostics import Diagnostic, InputError
from ...ir.placement import value_rules, variable_rules
from ...ir.plan import Plan
from ...ir.registry import lookup
from ...ir.signature import callee
from .bodies import Frame, Inside, entering, what_runs
from .drafts import Body, Draft
from .gradients import finished
from .layouts import Layouts, Spread, as_seen, axes_of
from .units import Backward, Graph, Node, Unit, backward, residuals, shared

__all__ = ["Backward", "Graph", "Node", "Unit", "backward", "build", "residuals", "shared"]


def build(
    module: Module, plan: Plan, frozen: Iterable[str] = (), apart: Iterable[str] = ()
) -> Graph:
    """The graph of a module that has been laid out.

    Args:
        module: after the pass *layout*.
        plan: gives the sizes, the microbatches and the mesh.
        frozen: paths of parameters, or of instances, that are not trained.
        apart: paths of calls that are units of their own; those that run again are in any case.

    Raises:
        InputError: a free size has no value.
    """
    return Graphs(module, plan, frozen).graph(apart)


class Graphs:
    """The graphs of a module, by what is apart in them; what they have in common is found once."""

    def __init__(self, module: Module, plan: Plan, frozen: Iterable[str] = ()):
        """As for `build`."""
        sizes = {**dict(module.sizes), **dict(plan.sizes)}
        missing = [n for n in module.free if n not in sizes]
        if missing:
            what = ", ".join(missing)
            raise InputError(
                [Diagnostic("size-unbound", f"a memory plan needs numbers, and {what} has none")]
            )
        for name in leading(module):
            sizes[name] = max(1, dict(plan.sizes).get(name, sizes[name]) // plan.microbatches)
        self.facts = _Facts(module, plan, sizes, frozenset(frozen), Layouts(plan, sizes))
        self.made: dict[frozenset[str], Graph] = {}

    def graph(self, apart: Iterable[str] = ()) -> Graph:
        """The graph in which these calls are units of their own."""
        calls = frozenset(apart)
        if calls not in self.made:
            self.made[calls] = _Builder(self.facts, calls).build()
        return self.made[calls]


@dataclass(frozen=True)
class _Facts:
    """What all graphs of a module are built from.

    Attributes:
        counts: operations of ops on all devices, by their identities, as far as they are known.
    """

    module: Module
    plan: Plan
    sizes: Mapping[str, int]
    frozen: frozenset[str]
    layouts: Layouts
    counts: dict[int, int] = field(default_factory=dict)

    def flops(self, op: Op, types: tuple[Type, ...]) -> int:
        """Operations of an op, on all devices together."""
        found = self.counts.get(id(op))
        if found is None:
            rule = lookup(op.name).flops
            found = rule(types, op).evaluate(self.sizes) if rule is not None else 0
            self.counts[id(op)] = found
        return found


class _Builder:
    def __init__(self, facts: _Facts, apart: frozenset[str]):
        self.facts, self.apart = facts, apart
        self.module, self.plan, self.sizes = facts.module, facts.plan, facts.sizes
        self.frozen, self.layouts = facts.frozen, facts.layouts
        self.bodies: list[Body] = []

    def build(self) -> Graph:
        root = self.module.instances[0]
        variant = root.variants[0]
        body = Body("", "entry")
        self.bodies.append(body)
        frame = entering(root, variant)
        for value in variant.inputs:
            frame.spread[value.id] = self.layouts.ruled(root.path, value)
            given = frame.spread[value.id]
            frame.names[value.id] = self.argument(body, root.path, value, given, False, True)
        body.arguments = tuple(frame.names.values())
        self.ops(body, frame, variant.ops)
        body.results = tuple(frame.names[r.value] for r in variant.results)
        return Graph(finished(self.bodies, self.layouts), tuple(sorted(self.sizes.items())))

    # Nodes.

    def add(self, body: Body, draft: Draft) -> int:
        """A node, whose id is the next one of the body."""
        assert draft.node.id == len(body.nodes)
        body.nodes.append(draft)
        return draft.node.id

    def argument(
        self,
        body: Body,
        path: str,
        value: Value,
        spread: Spread,
        tangent: bool,
        varies: bool,
    ) -> int:
        key = f"{path}/{value.label}" if value.label else ""
        size = self.layouts.bytes(value.type, axes_of(spread))
        at = len(body.nodes)
        node = Node(at, key, "argument", "input", first=at, dtype=value.type.dtype, bytes=size)
        flows = tangent and value.type.kind == "float"
        return self.add(body, Draft(node, tangent=flows, varies=varies))

    def ops(self, body: Body, frame: Frame, ops: Iterable[Op]) -> None:
        for op in ops:
            if op.name in ("param", "state"):
                frame.names[op.result.id] = self.variable(body, frame, op)
                if frame.params == frame.copies:
                    frame.mapped.add(op.result.id)
            elif op.name == "if_train":
                self.ops(body, frame, op.regions[0].ops)
                self.stand_for(body, frame, op, op.regions[0].results, frame)
            elif op.name in ("repeat", "scan") or self.stands_apart(frame, op):
                self.unit(body, frame, op)
            elif op.name in ("call", "each"):
                self.call(body, frame, op)
            elif op.name == "rename":  # JAX knows no names: it is the operand itself
                self.stand_for(body, frame, op, op.operands, frame, _renamed(op))
            else:
                self.plain(body, frame, op)

    def stand_for(
        self,
        body: Body,
        frame: Frame,
        op: Op,
        ids: Iterable[int],
        inner: Frame,
        dims: Mapping[Dim, Dim] | None = None,
    ) -> None:
        """Let values of an inner frame be an op's results, which have keys of their own.

        Args:
            dims: what dims of the inner frame are here, where they are others.
        """
        for value, id in zip(op.results, ids, strict=True):
            frame.names[value.id] = inner.names[id]
            frame.spread[value.id] = as_seen(inner.spread.get(id, {}), dims)
            if id in inner.mapped or (op.name == "call" and frame.copies > 1):
                frame.mapped.add(value.id)
            draft = body.nodes[inner.names[id]]
            key = f"{frame.instance.path}/{value.label}" if value.label else ""
            if key and draft.node.kind == "value" and key not in (draft.node.key, *draft.node.also):
                also = (*draft.node.also, key) if draft.node.key else ()
                draft.node = replace(draft.node, key=draft.node.key or key, also=also)

    def variable(self, body: Body, frame: Frame, op: Op) -> int:
        path = join(frame.instance.path, op["child"]) if op["child"] else frame.instance.path
        key = join(path, op["name"])
        type_ = op.result.type
        known = body.variables.get((key, op.name))
        stored: set[str] = set()
        here: set[str] = set()
        if self.layouts.mesh:
            rules, used = (
                variable_rules(self.plan, path, op["name"]),
                value_rules(self.plan, path, ""),
            )
            for dim in type_.dims:
                stored.update(rules.axes(dim))
                kept = tuple(a for a in rules.axes(dim) if a in used.axes(dim))
                here.update(kept)
                if kept:
                    frame.spread.setdefault(op.result.id, {})[dim] = kept
        if known is not None:
            return known
        at = len(body.nodes)
        node = Node(
            at, key, op.name, op.name, "structure", first=at, dtype=type_.dtype,
            bytes=self.layouts.bytes(type_, here) * frame.params,
            stored=self.layouts.bytes(type_, stored) * frame.params, place=_place(op),
        )  # fmt: skip
        parts = key.split(".")
        around = {".".join(parts[:n]) for n in range(1, len(parts) + 1)}
        trained = op.name == "param" and type_.kind == "float" and not around & self.frozen
        varies = body.kind in ("repeat", "call")
        id = self.add(body, Draft(node, tangent=trained, varies=varies))
        body.variables[key, op.name] = id
        return id

    def plain(self, body: Body, frame: Frame, op: Op) -> None:
        """An op that computes something."""
        definition, path = lookup(op.name), frame.instance.path
        operands = tuple(frame.names[i] for i in op.operands)
        given = [body.nodes[i] for i in operands]
        types = tuple(frame.known[i].type for i in op.operands)
        random = definition.effect == "random"
        mapped = random or any(i in frame.mapped for i in op.operands)
        copies = frame.copies if mapped else 1
        varies = (random and body.kind != "entry") or any(d.varies for d in given)
        around = [frame.spread.get(i, {}) for i in op.operands]
        if op.name == "constrain":
            around = [dict(op["placement"])]
        spreads = [self.layouts.along(v.type, *around) for v in op.results]
        sizes = [
            self.layouts.bytes(v.type, axes_of(found)) * copies
            for v, found in zip(op.results, spreads, strict=True)
        ]
        flops = self.facts.flops(op, types) * copies // self.layouts.parts(axes_of(*around))
        kept = op.name == "cast" and types[0].dtype == op["dtype"]
        lowering = "view" if kept else definition.lowered
        view = lowering == "view"
        stored = 0
        if given and given[0].node.stored and (view or op.name == "cast"):
            stored = given[0].node.stored * sizes[0] // given[0].node.bytes
        tangent = op.name != "stop_gradient" and any(d.tangent for d in given)
        traffic = 0 if view else sum(d.node.bytes for d in given) + sum(sizes)
        place, root = _place(op), given[0].node.root if view else None
        whole = {d: a for found in around for d, a in found.items()}
        first = len(body.nodes)
        if not op.results:
            node = Node(
                first, "", op.name, "effect", definition.family, operands=operands, first=first,
                flops=flops, traffic=traffic, place=place,
            )  # fmt: skip
            self.add(body, Draft(node, op, types, whole, tangent, varies=varies, copies=copies))
        for value, size, found in zip(op.results, sizes, spreads, strict=True):
            frame.spread[value.id] = found
            key, at = f"{path}/{value.label}" if value.label else "", len(body.nodes)
            node = Node(
                at, key, op.name, "const" if op.name == "const" else "value", definition.family,
                operands=operands, first=first, dtype=value.type.dtype, bytes=size, stored=stored,
                flops=flops if at == first else 0, traffic=traffic if at == first else 0,
                place=place, alias_of=root, lowering=lowering, expensive=definition.expensive,
            )  # fmt: skip
            flows = tangent and value.type.kind == "float"
            draft = Draft(node, op, types, whole, flows, varies=varies, copies=copies)
            frame.names[value.id] = self.add(body, draft)
            if mapped:
                frame.mapped.add(value.id)

    def stands_apart(self, frame: Frame, op: Op) -> bool:
        """Whether a call is a unit of its own."""
        if op.name not in ("call", "each"):
            return False
        return op.get("keeps") is not None or join(frame.instance.path, op["child"]) in self.apart

    def called(self, frame: Frame, op: Op, instance: Instance, variant: Variant) -> Frame:
        """The frame of what an op calls, with copies side by side."""
        count = 1
        if op.name == "each":
            spread = self.layouts.parts(op.get("spread", ()))
            count = -(-op["along"].size.evaluate(self.sizes) // spread)
        return entering(instance, variant, frame.copies * count, frame.params * count)

    def call(self, body: Body, frame: Frame, op: Op) -> None:
        """A call, or copies side by side, inlined."""
        child, variant, dims = callee(self.module, frame.instance, op)
        back = {outer: inner for inner, outer in dims.items()}
        inner = self.called(frame, op, child, variant)
        for index, (value, id) in enumerate(zip(variant.inputs, op.operands, strict=True)):
            inner.names[value.id] = frame.names[id]
            inner.spread[value.id] = as_seen(frame.spread.get(id, {}), back)
            if id in frame.mapped or index in op.get("dealt", ()):
                inner.mapped.add(value.id)
        self.ops(body, inner, variant.ops)
        self.stand_for(body, frame, op, (r.value for r in variant.results), inner, dims)

    # Units.

    def unit(self, body: Body, frame: Frame, op: Op) -> None:
        """A loop, or a call that stands apart: one node here for each result, and a unit."""
        inside = what_runs(self.module, self.sizes, frame, op)
        outer = [body.nodes[frame.names[i]] if i is not None else None for i in inside.given]
        tangents = [draft is not None and draft.tangent for draft in outer]
        spreads = [
            as_seen(frame.spread.get(i, {}), inside.back) if i is not None else {}
            for i in inside.given
        ]
        at = len(self.bodies)
        while True:  # until a copy is given what the one before hands on
            del self.bodies[at:]
            unit = Body(inside.path, inside.kind, inside.along, carried=tuple(inside.links.items()))
            unit.keeps, unit.offloads = op.get("keeps"), op.get("offloads", ())
            unit.group = op.get("group", 0)
            if op.get("parts"):
                unit.keeps = ()  # what is taken in parts keeps nothing
            self.bodies.append(unit)
            inner = self.entered(unit, frame, op, inside, outer, tangents, spreads)
            self.ops(unit, inner, inside.ops)
            unit.results = tuple(inner.names[r] for r in inside.results)
            settled = True
            for r, p in inside.links.items():
                given = self.layouts.along(inside.values[p].type, spreads[p])
                handed = inner.spread.get(inside.results[r], {})
                wider = self.layouts.along(inside.values[p].type, given, handed)
                if wider != given:
                    spreads[p], settled = wider, False
                if unit.nodes[unit.results[r]].tangent and not tangents[p]:
                    tangents[p], settled = True, False
            if settled:
                break
        ids = tuple(frame.names[i] for i in inside.operands)
        varies = any(body.nodes[i].varies for i in ids) or body.kind in ("repeat", "call")
        first = len(body.nodes)
        for value, made, id in zip(op.results, unit.results, inside.results, strict=True):
            spread = self.layouts.along(value.type, as_seen(inner.spread.get(id, {}), inside.dims))
            frame.spread[value.id] = spread
            size = self.layouts.bytes(value.type, axes_of(spread))
            key = f"{frame.instance.path}/{value.label}" if value.label else ""
            node = Node(
                len(body.nodes), key, op.name, "value", "structure", operands=ids, first=first,
                dtype=value.type.dtype, bytes=size * frame.copies, place=_place(op), unit=at,
            )  # fmt: skip
            flow = unit.nodes[made].tangent
            frame.names[value.id] = self.add(body, Draft(node, tangent=flow, varies=varies))
            if frame.copies > 1:
                frame.mapped.add(value.id)

    def entered(
        self,
        unit: Body,
        frame: Frame,
        op: Op,
        inside: Inside,
        outer: list[Draft | None],
        tangents: list[bool],
        spreads: list[Spread],
    ) -> Frame:
        """The frame of a unit, with what it is given."""
        if inside.called is not None:
            inner = self.called(frame, op, *inside.called)
        else:
            own = set(frame.mapped) if frame.copies > 1 else set()
            copies = frame.copies * inside.together
            inner = replace(frame, names={}, mapped=own, spread={}, copies=copies)
        becomes = inside.links.values()
        for position, value in enumerate(inside.values):
            dealt = position in inside.dealt
            found = self.layouts.along(value.type, spreads[position])
            inner.spread[value.id] = found
            id = self.argument(
                unit, inside.path, value, found, tangents[position], dealt or position in becomes
            )
            inner.names[value.id] = id
            draft, around = unit.nodes[id], outer[position]
            mapped = frame.copies > 1
            if inside.kind == "call":  # what it takes is as it is around it
                assert around is not None
                draft.node = replace(draft.node, bytes=around.node.bytes)
                draft.varies = around.varies
                mapped = inside.given[position] in frame.mapped or position in op.get("dealt", ())
            elif inside.together > 1 and dealt:
                draft.node = replace(draft.node, bytes=draft.node.bytes * inside.together)
                mapped = True
            if mapped:
                inner.mapped.add(value.id)
        unit.arguments = tuple(inner.names[v.id] for v in inside.values)
        unit.dealt = tuple(sorted(inside.dealt))
        return inner


def _renamed(op: Op) -> dict[Dim, Dim]:
    ((left, right),) = op["arrows"]
    renamed = dict(zip(left, right, strict=True))
    return {**{d: d for d in op.result.type.dims}, **renamed}


def _place(op: Op) -> str:
    return f"{_file(op.span.file)}:{op.span.line}" if op.span is not None else ""


@cache
def _file(path: str) -> str:
    return Path(path).name
