"""Precision: puts a concrete dtype in the place of every float, int and bool, and casts in between.

The plan has a policy and, by path, what differs from it: for an instance the dtype that it
computes in, for a value the dtype that it gets. What each op then does follows from its class in
the registry; `docs/precision.md` has the rules and the reasons. For each body, `Choices` first
decides what the operands and results of every op shall be; the rewriter then puts the casts.

What a person can rely on: a decision about an instance changes only the ops of that instance, and
the casts of what goes into it and comes out of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

from ..ir.core import Instance, Module, Op, Region, Result, Value, Variable, walk
from ..ir.diagnostics import Span
from ..ir.plan import Plan
from ..ir.registry import lookup
from ..ir.rewrite import Scope, rewrite
from .manager import Pass
from .precision_choice import Choice, Choices
from .precision_policy import NARROW, Policy, settled


@dataclass
class Precision(Pass):
    """Gives every value a concrete dtype, as the plan's policy and overrides have it."""

    name: ClassVar[str] = "precision"
    produces: ClassVar[tuple[str, ...]] = ("precise",)

    def run(self, module: Module, plan: Plan) -> Module:
        if "precise" in module.facts:
            return module
        done = _drop_casts(_Rewriter(Policy(module, plan)).run())
        casts = sum(op.name == "cast" for _, _, op in done.walk())
        if casts:
            self.count("casts", casts)
        return done


class _Rewriter:
    """Rewrites the module as its bodies have decided."""

    def __init__(self, policy: Policy):
        self.policy = policy
        self.scope: Scope | None = None
        self.body: Choices | None = None
        self.told: set[int] = set()  # values of this body whose dtype the plan names
        # (body, value, dtype) → the value cast so; the body is kept, lest its id be used again.
        self._made: dict[tuple[int, int, str], tuple[list, int]] = {}

    def run(self) -> Module:
        """The module with concrete dtypes."""
        module = rewrite(
            self.policy.module,
            self.visit,
            inputs=self._inputs,
            result=self._result,
            write=self._write,
            init=self._init,
        )
        return replace(module, instances=tuple(map(self._declared, module.instances)))

    def _declared(self, instance: Instance) -> Instance:
        def variable(v: Variable) -> Variable:
            return replace(v, type=v.type.with_dtype(self.policy.variable(v)))

        return replace(
            instance,
            params=tuple(map(variable, instance.params)),
            states=tuple(map(variable, instance.states)),
        )

    def _inputs(self, scope: Scope, values: tuple[Value, ...]) -> tuple[Value, ...]:
        policy, instance = self.policy, scope.instance
        return tuple(
            replace(v, type=v.type.with_dtype(policy.argument(instance, v))) for v in values
        )

    def _result(self, scope: Scope, result: Result, id: int) -> int:
        assert scope.variant is not None
        if scope.type(id).kind != "float":
            return id
        index = scope.instance.variants.index(scope.variant)
        position = next(i for i, r in enumerate(scope.variant.results) if r is result)
        return self.to(scope, id, self.policy.result(scope.instance, index, position))

    def _write(self, scope: Scope, name: str, id: int) -> int:
        state = next(s for s in scope.instance.states if s.name == name)
        return self.to(scope, id, self.policy.variable(state))

    def _init(self, scope: Scope, ids: tuple[int, ...]) -> tuple[int, ...]:
        return (self.to(scope, ids[0], self.policy.variable(scope.variable)),)

    def visit(self, scope: Scope, op: Op) -> Iterable[int]:
        """An op as decided, with casts before and after it."""
        if scope is not self.scope:
            self.scope, self.told = scope, set()
            self.body = Choices(self.policy, scope.instance, scope.variant or scope.variable)
        assert self.body is not None
        if not op.results:
            operands = self._reported(scope, op, self.body.base)
            regions = tuple(scope.inside(r, self.visit) for r in op.regions)
            return scope.append(replace(op, operands=operands, regions=regions))
        choice = self.body.choices[op.results[0].id]
        operands = tuple(
            self.to(scope, i, want, op.span)
            for i, want in zip(op.operands, choice.wants, strict=True)
        )
        results = tuple(
            replace(r, type=r.type.with_dtype(dtype), label="")
            for r, dtype in zip(op.results, choice.states, strict=True)
        )
        regions = self._regions(scope, op, choice)
        done = replace(op, operands=operands, results=results, regions=regions)
        made = op.results[0].id in self.body.made and lookup(op.name).family != "shape"
        if made or op.get("dtype") is not None:
            asked = str(op.get("dtype", "float"))
            done = done.with_attrs(dtype=settled(asked, choice.states[0]))
        if choice.accumulate:
            done = done.with_attrs(accumulate="float32")
        ids = []
        for old, new, dtype in zip(op.results, scope.append(done), choice.gives, strict=True):
            ids.append(self.to(scope, new, dtype, op.span))
            if self.policy.told(scope.instance.path, old.label) is not None:
                self.told.add(ids[-1])
        return ids

    def _reported(self, scope: Scope, op: Op, dtype: str) -> tuple[int, ...]:
        return tuple(
            self.to(scope, i, dtype, op.span) if scope.type(i).kind == "float" else i
            for i in op.operands
        )

    def _regions(self, scope: Scope, op: Op, choice: Choice) -> tuple[Region, ...]:
        regions = []
        for region, ends in zip(op.regions, choice.ends, strict=True):
            arguments = [
                replace(a, type=a.type.with_dtype(dtype))
                for a, dtype in zip(region.arguments, choice.arguments, strict=True)
            ]

            def finish(ids: tuple[int, ...], ends=ends) -> tuple[int, ...]:
                return tuple(self.to(scope, i, e, op.span) for i, e in zip(ids, ends, strict=True))

            regions.append(scope.inside(region, self.visit, arguments, finish))
        return tuple(regions)

    def to(self, scope: Scope, id: int, dtype: str | None, span: Span | None = None) -> int:
        """The value in a dtype; each cast is made once.

        What was just rounded is not widened again: it is read as it was before, unless the plan
        names its dtype.
        """
        type_, made = scope.type(id), scope.defining(id)
        if dtype is None or type_.dtype == dtype:
            return id
        if made is not None and made.name == "cast" and id not in self.told:
            before = made.operands[0]
            if scope.type(before).dtype == dtype:
                return before
        # The gradient of what a loop reads is summed over its steps: what is narrow is cast inside.
        for body in scope.bodies[-1:] if dtype in NARROW else scope.bodies:
            found = self._made.get((_id(body), id, dtype))
            if found is not None and found[0] is body:
                return found[1]
        span = made.span if span is None and made is not None else span
        if made is not None and made.name == "const":
            value = made["value"]
            if scope.type(id).kind != "float" and dtype not in ("int32", "int64", "bool"):
                value = float(value)  # a sigmoid of 1 is refused, one of True is in float32
            done = scope.add("const", value=value, dtype=dtype, span=span)
        else:
            done = scope.add("cast", id, dtype=dtype, span=span)
        body = scope.bodies[-1]
        self._made[_id(body), id, dtype] = (body, done)
        return done


_id = id  # `id` names values everywhere else here


def _drop_casts(module: Module) -> Module:
    """The module without casts and numbers that nobody reads; a label goes to what was cast."""
    read: dict[int, set[int]] = {}
    for instance in module.instances:
        for variant in instance.variants:
            ends = {r.value for r in variant.results} | {id for _, id in variant.writes}
            read[_id(variant)] = ends.union(*map(_reads, walk(variant.ops)))

    def visit(scope: Scope, op: Op) -> Iterable[int] | None:
        made = op.name in ("cast", "const")
        unread = made and op.result.id not in read[_id(scope.variant)]
        return op.operands if unread else None

    return rewrite(module, visit, inits=False)


def _reads(op: Op) -> set[int]:
    return set(op.operands).union(*(r.results for r in op.regions))
