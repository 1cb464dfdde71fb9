"""Shard: holds values to the places on the mesh that the plan gives them.

A `constrain` node goes behind every product, every lookup, and every value that the plan's section
`shard` names. Nothing else needs one: gradients get theirs from JAX, which transposes each
constraint, and what lies between products follows from them. Weights get none at their use: left
alone, the compiler gathers one layer at a time, in each direction. `docs/sharding.md` has the
figures.

Copies of a layer side by side (`each`) that lie along axes of the mesh are marked, so that what is
constrained inside of them lies along those axes too.

The node says which dims lie along which axes of the mesh (attribute `placement`); layout turns that
into a spec for the axes of the array. Without a mesh the pass does nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from ..ir.core import Module, Op, Value
from ..ir.diagnostics import InputError
from ..ir.placement import constrained, value_placement, verify
from ..ir.plan import Plan, find
from ..ir.rewrite import Scope, rewrite
from .manager import Pass


@dataclass
class Shard(Pass):
    """Puts constraints where the mesh of the plan asks for them."""

    name: ClassVar[str] = "shard"

    def run(self, module: Module, plan: Plan) -> Module:
        """The module with constraints.

        Raises:
            InputError: the rules of the mesh cannot hold; see `ir.placement.verify`.
        """
        if not plan.mesh.axes:
            return module
        found = verify(module, plan)
        if found:
            raise InputError(found)

        def wanted(scope: Scope, value: Value) -> bool:
            key = f"{scope.instance.path}/{value.label}"
            return bool(value.label) and find(plan.shard, key) is not None

        def visit(scope: Scope, op: Op) -> tuple[int, ...] | None:
            if scope.variable is not None or op.name == "constrain":
                return None
            copies = op
            if op.name == "each" and (axes := dict(plan.mesh.values).get(op["along"].name)):
                op = op.with_attrs(spread=axes)
            held = [constrained(op) or wanted(scope, r) for r in op.results]
            held = [h and bool(r.type.dims) for h, r in zip(held, op.results, strict=True)]
            if not any(held):
                return None if op is copies else scope.append(op)
            # The label, by which plans speak of a value, goes to the constrained one.
            results = tuple(
                replace(r, label="") if h else r for r, h in zip(op.results, held, strict=True)
            )
            regions = tuple(scope.inside(r, visit) for r in op.regions)
            made = scope.append(replace(op, results=results, regions=regions))
            return tuple(
                self._constrain(scope, plan, id, value, op) if h else id
                for id, value, h in zip(made, op.results, held, strict=True)
            )

        def argument(scope: Scope, value: Value) -> int:
            # Those of the entry are placed as they come in.
            if not (scope.instance.path and value.type.dims and wanted(scope, value)):
                return value.id
            return self._constrain(scope, plan, value.id, value, None)

        return rewrite(module, visit, argument=argument, inits=False)

    def _constrain(self, scope: Scope, plan: Plan, id: int, value: Value, op: Op | None) -> int:
        self.count("constraints")
        value = replace(value, type=scope.type(id))
        placement = value_placement(plan, scope.instance.path, value)
        span = op.span if op is not None else None
        return scope.add("constrain", id, span=span, placement=placement)
