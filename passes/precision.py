"""Precision: puts a concrete dtype in the place of every float, int and bool, and casts in between.

The plan has a policy and, by path, what differs from it: for an instance the dtype that it
computes in, for a value the dtype that it gets. What each op then does follows from its class in
the registry; `docs/precision.md` has the rules and the reasons. For each body, `_Body` first
decides what the operands and results of every op shall be; the rewriter then puts the casts.

What a person can rely on: a decision about an instance changes only the ops of that instance, and
the casts of what goes into it and comes out of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

from ..ir.core import Instance, Module, Op, Region, Result, Value, Variable, Variant, join, walk
from ..ir.diagnostics import Span
from ..ir.facts import known_values
from ..ir.ops.common import promote
from ..ir.plan import Plan, find, inherited
from ..ir.registry import OpDef, ShapeError, lookup
from ..ir.rewrite import Scope, rewrite
from ..ir.signature import carried
from .manager import Pass

NARROW = {"bfloat16": (1.2e-38, 3.3e38), "float16": (6.2e-5, 65504.0)}
"""Dtypes in which sums lose too much, with the least and the greatest number they hold well."""


@dataclass
class Precision(Pass):
    """Gives every value a concrete dtype, as the plan's policy and overrides have it."""

    name: ClassVar[str] = "precision"
    produces: ClassVar[tuple[str, ...]] = ("precise",)

    def run(self, module: Module, plan: Plan) -> Module:
        if "precise" in module.facts:
            return module
        done = _drop_casts(_Rewriter(_Policy(module, plan)).run())
        casts = sum(op.name == "cast" for _, _, op in done.walk())
        if casts:
            self.count("casts", casts)
        return done


def wide(dtype: str) -> str:
    """The dtype in which sums and norms are computed where products are in `dtype`."""
    return "float64" if dtype == "float64" else "float32"


def holds(dtype: str, value: float) -> bool:
    """Whether a dtype holds a number neither as infinity nor as nearly zero."""
    if dtype not in NARROW or value == 0 or value != value or abs(value) == float("inf"):
        return True
    least, greatest = NARROW[dtype]
    return least <= abs(value) <= greatest


def settled(dtype: str, floats: str) -> str:
    """A dtype as it is, or if it is abstract, the concrete one."""
    return {"float": floats, "int": "int32"}.get(dtype, dtype)


class _Policy:
    """What the plan says of instances, and so of what goes into them and comes out."""

    def __init__(self, module: Module, plan: Plan):
        self.module, self.decisions = module, plan.precision.overrides
        self.policy = plan.precision.policy
        self.declared = wide(self.policy)  # of parameters, states, and what the runtime hands in
        self.outer = ("", module.model)
        self._low: dict[str, str] = {}
        self._becomes: dict[tuple[str, int], dict[int, int]] = {}
        for instance, _, op in module.walk():
            if op.name == "repeat":
                child = join(instance.path, str(op["child"]))
                self._becomes.setdefault((child, int(str(op["variant"]))), {}).update(carried(op))

    def low(self, path: str) -> str:
        """The dtype that an instance computes in."""
        if path not in self._low:
            decision = inherited(self.decisions, path)
            self._low[path] = self.policy if decision is None else str(decision.choice)
        return self._low[path]

    def told(self, path: str, label: str) -> str | None:
        """The dtype that the plan gives to one value."""
        decision = find(self.decisions, f"{path}/{label}") if label else None
        return None if decision is None else str(decision.choice)

    def variable(self, variable: Variable) -> str:
        """The dtype of a parameter or state."""
        return settled(variable.type.dtype, self.declared)

    def argument(self, instance: Instance, value: Value) -> str:
        """The dtype of an argument of an instance's body."""
        if value.type.kind != "float":
            return settled(value.type.dtype, "")
        return self.told(instance.path, value.label) or self._crossing(
            instance, not value.type.dims
        )

    def result(self, instance: Instance, index: int, position: int) -> str:
        """The dtype of a result of an instance's body, if it is a float."""
        variant = instance.variants[index]
        becomes = self._becomes.get((instance.path, index), {})
        if position in becomes:
            return self.argument(instance, variant.inputs[becomes[position]])
        return self._crossing(instance, not variant.results[position].order)

    def _crossing(self, instance: Instance, scalar: bool) -> str:
        low = self.low(instance.path)
        if self.crosses_wide(instance, scalar):
            return self.declared if instance.path in self.outer else wide(low)
        return low

    def crosses_wide(self, instance: Instance, scalar: bool) -> bool:
        """Whether a value goes into an instance or out of it in float32, whatever it computes in:
        scalars, and what the runtime hands in or asks for."""
        return scalar or instance.path in self.outer


@dataclass(frozen=True)
class _Fate:
    """What a float becomes.

    Attributes:
        dtype: its dtype.
        loose: whether it takes on the dtype of what it meets: numbers, scalars, parameters, and
            what is made of those only.
    """

    dtype: str
    loose: bool = False


@dataclass(frozen=True)
class _Choice:
    """What is decided of an op.

    Attributes:
        wants: the dtype of each operand, None for as it is.
        states: the dtype of each result as the op gives it.
        gives: the dtype of each result once it is cast back.
        accumulate: whether the op is told to accumulate in float32.
        arguments: dtypes of its region's arguments.
        ends: for each region the dtypes of its results, None for as they are.
    """

    wants: tuple[str | None, ...]
    states: tuple[str, ...]
    gives: tuple[str, ...]
    accumulate: bool = False
    arguments: tuple[str, ...] = ()
    ends: tuple[tuple[str | None, ...], ...] = ()


class _Body:
    """Decides what every op of a body does. Values go by their ids in the old body.

    Attributes:
        choices: by the id of an op's first result.
        made: values whose op gives whatever dtype it is asked for.
    """

    def __init__(self, policy: _Policy, instance: Instance, body: Variant | Variable):
        self.policy, self.instance = policy, instance
        self.choices: dict[int, _Choice] = {}
        self.made: set[int] = set()
        self._asked: dict[int, list[str]] = {}  # in which dtypes a value is read
        self._fresh: set[int] = set()  # narrow values that are at hand in the wide dtype too
        self._eager: set[int] = set()  # ops that could take what is at hand so, and give it so
        self._fates: dict[int, _Fate] = {}
        self._numbers: dict[int, float] = {}
        if isinstance(body, Variant):
            self.low, inputs, ops = policy.low(instance.path), body.inputs, body.ops
            index = instance.variants.index(body)
            states = {s.name: policy.variable(s) for s in instance.states}
            ends = [
                (r.value, policy.result(instance, index, i)) for i, r in enumerate(body.results)
            ]
            ends += [(id, states[name]) for name, id in body.writes]
        else:
            self.low, inputs, ops = policy.declared, (), body.init.ops
            ends = [(id, policy.variable(body)) for id in body.init.results]
        self.base = wide(self.low)
        self._values = known_values(inputs, ops)
        for value in inputs:
            self._argument(value)
        self._decide(ops)
        for id, dtype in ends:
            self._ask(id, dtype)
        self._settle(ops)

    def _told(self, value: Value) -> str | None:
        return self.policy.told(self.instance.path, value.label)

    def _argument(self, value: Value) -> None:
        if value.type.kind != "float":
            return
        dtype = self.policy.argument(self.instance, value)
        if self._told(value) is None and value.type.dims:
            dtype = self.low  # one of a model comes in wide, and is cast where it is used
        self._fates[value.id] = _Fate(dtype, loose=not value.type.dims)

    def _kinds(self, op: Op) -> list[str]:
        return [self._values[i].type.kind for i in op.operands]

    def _ask(self, id: int, dtype: str | None) -> None:
        """Note that a value is read in a dtype."""
        if dtype is not None:
            self._asked.setdefault(id, []).append(dtype)

    def _settle(self, ops: tuple[Op, ...]) -> None:
        """Decide what depends on those who read a value; they come later, so the last op first."""
        for op in reversed(ops):
            if not op.results:
                for id in op.operands:
                    self._ask(id, self.base)
                for region in reversed(op.regions):
                    self._settle(region.ops)
                continue
            if op.results[0].id in self.made:
                self.choices[op.result.id] = self._as_asked(op)
            elif self._may_stay_wide(op):
                self.choices[op.results[0].id] = self._kept_wide(op)
            choice = self.choices[op.results[0].id]
            for id, want in zip(op.operands, choice.wants, strict=True):
                self._ask(id, want)
            for region, ends in zip(op.regions, choice.ends, strict=True):
                for id, want in zip(region.results, ends, strict=True):
                    self._ask(id, want)
            for region in reversed(op.regions):
                self._settle(region.ops)

    def _as_asked(self, op: Op) -> _Choice:
        """What is made has the dtype that it is asked for, float32 if there are several."""
        asked = {*self._asked.get(op.result.id, ())}
        dtype = self._told(op.result) or (asked.pop() if len(asked) == 1 else self.base)
        wants = tuple(dtype if i in self.made else None for i in op.operands)
        return _Choice(wants, (dtype,), (dtype,))

    def _may_stay_wide(self, op: Op) -> bool:
        """Whether an op is better off with its operands as they were before they were rounded."""
        asked = (dtype for r in op.results for dtype in self._asked.get(r.id, ()))
        return op.results[0].id in self._eager and any(dtype not in NARROW for dtype in asked)

    def _kept_wide(self, op: Op) -> _Choice:
        choice = self.choices[op.results[0].id]
        wants = tuple(want and wide(want) for want in choice.wants)
        return replace(choice, wants=wants, states=_settled(op, wide(choice.states[0])))

    def _decide(self, ops: tuple[Op, ...]) -> None:
        for op in ops:
            if not op.results:
                for region in op.regions:
                    self._decide(region.ops)
                continue
            special = getattr(self, f"_{op.name}", None)
            choice = self._plain(op) if special is None else special(op)
            if choice is None:
                continue
            gives = list(choice.gives)
            for position, value in enumerate(op.results):
                told = self._told(value)
                if told is not None and value.type.kind == "float":
                    gives[position] = told
                    self._fates[value.id] = _Fate(told)
            self.choices[op.results[0].id] = replace(choice, gives=tuple(gives))

    def _give(self, op: Op, dtype: str, loose: bool = False) -> tuple[str, ...]:
        """Set the fates of an op's float results; the dtypes of all its results."""
        for value in op.results:
            if value.type.kind == "float":
                self._fates[value.id] = _Fate(dtype, loose or not value.type.dims)
        return _settled(op, dtype)

    def _make(self, op: Op) -> None:
        """Leave the dtype of the result to those who read it."""
        self._fates[op.result.id] = _Fate(self.base, loose=True)
        self.made.add(op.result.id)

    # Ops by class.

    def _plain(self, op: Op) -> _Choice | None:
        definition = lookup(op.name)
        told = next(filter(None, map(self._told, op.results)), None)
        if "float" not in self._kinds(op):
            if op.results[0].type.kind == "float" and self._asks(definition, op):
                self._make(op)
                return None
            return self._from_ints(definition, op)
        if definition.precision == "product":
            return self._product(op, told or self.low)
        if definition.precision == "wide":
            return self._wide(op, told or self.base)
        return self._follow(definition, op, told)

    def _asks(self, definition: OpDef, op: Op) -> bool:
        """Whether an op gives the dtype that its attribute `dtype` names."""
        types = tuple(self._values[i].type for i in op.operands)
        try:
            return definition.shape(types, op.with_attrs(dtype="float16"))[0].dtype == "float16"
        except ShapeError:
            return False

    def _from_ints(self, definition: OpDef, op: Op) -> _Choice:
        """An op of ints and bools; if it gives floats, they are float32 by themselves."""
        wants: tuple[str | None, ...] = (None,) * len(op.operands)
        if op.results[0].type.kind == "float" and self.base == "float64":
            count = 1 if definition.family == "loss" else _own_operands(op)
            wants = tuple("float64" if i < count else None for i in range(len(op.operands)))
        dtypes = self._give(op, self.base, loose=True)
        return _Choice(wants, dtypes, dtypes)

    def _product(self, op: Op, low: str) -> _Choice:
        kinds, own = self._kinds(op), _own_operands(op)
        if "int" in kinds:
            low = wide(low)  # a narrow float does not hold an int's digits
        wants: list[str | None] = []
        for position, kind in enumerate(kinds):
            if position >= own:
                wants.append(wide(low) if kind == "float" else None)
            else:
                wants.append(low if kind == "float" or low != "float32" else None)
        narrow = low in NARROW
        states = _settled(op, wide(low) if narrow else low)
        self._fresh.update(r.id for r in op.results if narrow)
        return _Choice(tuple(wants), states, self._give(op, low), narrow)

    def _wide(self, op: Op, dtype: str) -> _Choice:
        loose = all(self._fates[i].loose for i in op.operands if i in self._fates)
        return self._alike(op, dtype, dtype, loose)

    def _follow(self, definition: OpDef, op: Op, told: str | None) -> _Choice | None:
        if told is not None:
            return self._alike(op, told, told)
        found = [self._fates[i] for i in op.operands if i in self._fates]
        own = [f.dtype for f in found if not f.loose]
        if not own:
            made = definition.family == "shape" and all(i in self.made for i in op.operands)
            if made and len(op.results) == 1:
                self._make(op)
                return None
            dtype = promote(*(f.dtype for f in found))
            return self._alike(op, dtype, dtype, loose=True)
        dtype = promote(*own)
        if dtype not in NARROW:
            return self._alike(op, dtype, dtype)
        if not all(holds(dtype, self._numbers.get(i, 0)) for i in op.operands):
            return self._alike(op, wide(dtype), wide(dtype))
        results = {r.id for r in op.results}
        if definition.family == "arithmetic" and any(map(self._spread, op.operands)):
            self._fresh |= results
            return self._alike(op, wide(dtype), dtype)
        if all(i in self._fresh or self._fates[i].loose for i in op.operands if i in self._fates):
            self._fresh |= results
            self._eager.add(op.results[0].id)
        return self._alike(op, dtype, dtype)

    def _alike(self, op: Op, computes: str, gives: str, loose: bool = False) -> _Choice:
        """An op whose float operands all are cast to one dtype, and its results from there."""
        wants = tuple(computes if kind == "float" else None for kind in self._kinds(op))
        return _Choice(wants, _settled(op, computes), self._give(op, gives, loose))

    def _spread(self, id: int) -> bool:
        """Whether a narrow float must not meet a value as such: one whose gradient is a long sum,
        as a parameter's or a scalar's, or an int, which narrow floats do not hold."""
        if id in self.made or id in self._numbers:
            return False
        return self._values[id].type.kind == "int" or (id in self._fates and self._fates[id].loose)

    # Structure.

    def _const(self, op: Op) -> _Choice | None:
        if op.result.type.kind != "bool":
            self._numbers[op.result.id] = float(op["value"])  # type: ignore[arg-type]
        if op.result.type.kind == "float":
            self._make(op)
            return None
        dtypes = self._give(op, "")
        return _Choice((), dtypes, dtypes)

    def _param(self, op: Op) -> _Choice:
        dtypes = self._give(op, self.policy.declared, loose=op.name == "param")
        return _Choice((), dtypes, dtypes)

    _state = _param

    def _call(self, op: Op) -> _Choice:
        policy, index = self.policy, int(str(op["variant"]))
        child = policy.module.child_of(self.instance, str(op["child"]))
        variant = child.variants[index]
        wants = tuple(policy.argument(child, v) for v in variant.inputs)
        states, gives = list(self._give(op, self.low)), []
        for position, value in enumerate(op.results):
            given = states[position]
            if value.type.kind == "float":
                given = states[position] = policy.result(child, index, position)
                if not policy.crosses_wide(child, not variant.results[position].order):
                    given = self.low
                self._fates[value.id] = replace(self._fates[value.id], dtype=given)
            gives.append(given)
        return _Choice(wants, tuple(states), tuple(gives))

    _repeat = _each = _call

    def _if_train(self, op: Op) -> _Choice:
        for region in op.regions:
            self._decide(region.ops)
        ends: list[str | None] = []
        for value, *ids in zip(op.results, *(r.results for r in op.regions), strict=True):
            dtype = None
            if value.type.kind == "float":
                found = [self._fates[i] for i in ids]
                own = [f.dtype for f in found if not f.loose]
                dtype = promote(*(own or [f.dtype for f in found]))
                self._fates[value.id] = _Fate(dtype, loose=not own)
            ends.append(dtype)
        dtypes = _ended(op, ends)
        return _Choice((), dtypes, dtypes, ends=(tuple(ends),) * len(op.regions))

    def _scan(self, op: Op) -> _Choice:
        (region,), carry = op.regions, int(str(op["carry"]))
        step, *arguments = region.arguments
        inputs = len(arguments) - carry
        wants: list[str | None] = []
        dtypes = [settled(step.type.dtype, "")]
        for position, (value, id) in enumerate(zip(arguments, op.operands, strict=True)):
            want, told = None, self._told(value)
            if value.type.kind == "float":
                outside = self._fates[id]
                want = outside.dtype if position < inputs else told or self.base
                loose = position < inputs and outside.loose and told is None
                self._fates[value.id] = _Fate(told or want, loose)
            wants.append(want)
            dtypes.append(want or settled(value.type.dtype, ""))
        self._decide(region.ops)
        ends: list[str | None] = []
        for position, (value, id) in enumerate(zip(op.results, region.results, strict=True)):
            dtype = None
            if value.type.kind == "float":
                scalar = not self._values[id].type.dims
                dtype = wants[inputs + position] if position < carry else None
                dtype = dtype or (self.base if scalar else self.low)
                self._fates[value.id] = _Fate(dtype, loose=not value.type.dims)
            ends.append(dtype)
        given = _ended(op, ends)
        return _Choice(tuple(wants), given, given, arguments=tuple(dtypes), ends=(tuple(ends),))


def _own_operands(op: Op) -> int:
    """How many operands come before those that may be left out."""
    return len(op.operands) - len(op.get("extra", ()))  # type: ignore[arg-type]


def _settled(op: Op, dtype: str) -> tuple[str, ...]:
    """Dtypes of the results where floats are of this one."""
    return tuple(settled(r.type.dtype, dtype) for r in op.results)


def _ended(op: Op, ends: list[str | None]) -> tuple[str, ...]:
    return tuple(e or settled(r.type.dtype, "") for e, r in zip(ends, op.results, strict=True))


class _Rewriter:
    """Rewrites the module as its bodies have decided."""

    def __init__(self, policy: _Policy):
        self.policy = policy
        self.scope: Scope | None = None
        self.body: _Body | None = None
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
            self.body = _Body(self.policy, scope.instance, scope.variant or scope.variable)
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

    def _regions(self, scope: Scope, op: Op, choice: _Choice) -> tuple[Region, ...]:
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
