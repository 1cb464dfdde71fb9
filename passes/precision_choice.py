"""What each op of a body does about dtypes, decided before anything is rewritten.

An op follows its class in the registry, what its operands are, and who reads its results.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..ir.core import Instance, Op, Value, Variable, Variant
from ..ir.facts import known_values
from ..ir.ops.common import promote
from ..ir.registry import OpDef, ShapeError, lookup
from .precision_policy import NARROW, Policy, holds, settled, wide


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
class Choice:
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


class Choices:
    """Decides what every op of a body does. Values go by their ids in the old body.

    Attributes:
        choices: by the id of an op's first result.
        made: values whose op gives whatever dtype it is asked for.
    """

    def __init__(self, policy: Policy, instance: Instance, body: Variant | Variable):
        self.policy, self.instance = policy, instance
        self.choices: dict[int, Choice] = {}
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

    def _as_asked(self, op: Op) -> Choice:
        """What is made has the dtype that it is asked for, float32 if there are several."""
        asked = {*self._asked.get(op.result.id, ())}
        dtype = self._told(op.result) or (asked.pop() if len(asked) == 1 else self.base)
        wants = tuple(dtype if i in self.made else None for i in op.operands)
        return Choice(wants, (dtype,), (dtype,))

    def _may_stay_wide(self, op: Op) -> bool:
        """Whether an op is better off with its operands as they were before they were rounded."""
        asked = (dtype for r in op.results for dtype in self._asked.get(r.id, ()))
        return op.results[0].id in self._eager and any(dtype not in NARROW for dtype in asked)

    def _kept_wide(self, op: Op) -> Choice:
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

    def _plain(self, op: Op) -> Choice | None:
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
        if definition.shape is None:
            return False
        types = tuple(self._values[i].type for i in op.operands)
        try:
            return definition.types(types, op.with_attrs(dtype="float16"))[0].dtype == "float16"
        except ShapeError:
            return False

    def _from_ints(self, definition: OpDef, op: Op) -> Choice:
        """An op of ints and bools; if it gives floats, they are float32 by themselves."""
        wants: tuple[str | None, ...] = (None,) * len(op.operands)
        if op.results[0].type.kind == "float" and self.base == "float64":
            count = 1 if definition.family == "loss" else _own_operands(op)
            wants = tuple("float64" if i < count else None for i in range(len(op.operands)))
        dtypes = self._give(op, self.base, loose=True)
        return Choice(wants, dtypes, dtypes)

    def _product(self, op: Op, low: str) -> Choice:
        kinds, own, definition = self._kinds(op), _own_operands(op), lookup(op.name)
        counts = [definition.operands.index(name) for name in definition.counts]
        if any(kind == "int" and i not in counts for i, kind in enumerate(kinds)):
            low = wide(low)  # a narrow float does not hold an int's digits
        wants: list[str | None] = []
        for position, kind in enumerate(kinds):
            if position in counts:
                wants.append(None)
            elif position >= own:
                wants.append(wide(low) if kind == "float" else None)
            else:
                wants.append(low if kind == "float" or low != "float32" else None)
        narrow = low in NARROW
        states = _settled(op, wide(low) if narrow else low)
        self._fresh.update(r.id for r in op.results if narrow)
        return Choice(tuple(wants), states, self._give(op, low), narrow)

    def _wide(self, op: Op, dtype: str) -> Choice:
        loose = all(self._fates[i].loose for i in op.operands if i in self._fates)
        return self._alike(op, dtype, dtype, loose)

    def _follow(self, definition: OpDef, op: Op, told: str | None) -> Choice | None:
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

    def _alike(self, op: Op, computes: str, gives: str, loose: bool = False) -> Choice:
        """An op whose float operands all are cast to one dtype, and its results from there."""
        wants = tuple(computes if kind == "float" else None for kind in self._kinds(op))
        return Choice(wants, _settled(op, computes), self._give(op, gives, loose))

    def _spread(self, id: int) -> bool:
        """Whether a narrow float must not meet a value as such: one whose gradient is a long sum,
        as a parameter's or a scalar's, or an int, which narrow floats do not hold."""
        if id in self.made or id in self._numbers:
            return False
        return self._values[id].type.kind == "int" or (id in self._fates and self._fates[id].loose)

    # Structure.

    def _const(self, op: Op) -> Choice | None:
        if op.result.type.kind != "bool":
            self._numbers[op.result.id] = float(op["value"])
        if op.result.type.kind == "float":
            self._make(op)
            return None
        dtypes = self._give(op, "")
        return Choice((), dtypes, dtypes)

    def _param(self, op: Op) -> Choice:
        dtypes = self._give(op, self.policy.declared, loose=op.name == "param")
        return Choice((), dtypes, dtypes)

    _state = _param

    def _call(self, op: Op) -> Choice:
        policy, index = self.policy, op["variant"]
        child = policy.module.child_of(self.instance, op["child"])
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
        return Choice(wants, tuple(states), tuple(gives))

    _repeat = _each = _call

    def _if_train(self, op: Op) -> Choice:
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
        return Choice((), dtypes, dtypes, ends=(tuple(ends),) * len(op.regions))

    def _scan(self, op: Op) -> Choice:
        (region,), carry = op.regions, op["carry"]
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
        return Choice(tuple(wants), given, given, arguments=tuple(dtypes), ends=(tuple(ends),))


def _own_operands(op: Op) -> int:
    """How many operands come before those that may be left out."""
    return len(op.operands) - len(op.get("extra", ()))


def _settled(op: Op, dtype: str) -> tuple[str, ...]:
    """Dtypes of the results where floats are of this one."""
    return tuple(settled(r.type.dtype, dtype) for r in op.results)


def _ended(op: Op, ends: list[str | None]) -> tuple[str, ...]:
    return tuple(e or settled(r.type.dtype, "") for e, r in zip(ends, op.results, strict=True))
