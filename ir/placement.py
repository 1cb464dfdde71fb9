"""Where arrays lie on the mesh: what the plan's rules say of one array, and whether they can hold.

Rules go by the name of a dim, as a person sees it. Values (batches, and what is computed from
them) have `mesh.values`, parameters and states have `mesh.params`; `mesh.overrides` and `shard`
replace them by path. A dim without a rule lies whole on every device.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from .core import Dim, Instance, Module, Op, Order, Value, Variable, join, walk
from .diagnostics import Diagnostic, Place, Span, nearest
from .plan import Plan, Rule, find, inherited
from .registry import lookup
from .size import SizeError

Axes = tuple[str, ...]
"""The mesh axes that one dim, or one axis of an array, lies along, outermost first."""

Spec = tuple[Axes, ...]
"""For each axis of an array its mesh axes: what a `PartitionSpec` says."""

Placement = tuple[tuple[Dim, Axes], ...]
"""The dims of a value that are spread, by id, each with its mesh axes."""


@dataclass(frozen=True)
class Rules:
    """Rules for one array, and the section of the plan that they come from."""

    table: Mapping[str, Axes]
    section: str

    def axes(self, dim: Dim) -> Axes:
        """The mesh axes of a dim; none where no rule names it."""
        return self.table.get(dim.name, ())


def value_rules(plan: Plan, path: str, label: str) -> Rules:
    """The rules for a value of the instance at a path, by its label ("" for none)."""
    decision = find(plan.shard, f"{path}/{label}") if label else None
    if decision is not None:
        return _decided("shard", decision.key, decision.choice)
    return Rules(dict(plan.mesh.values), "mesh.values")


def variable_rules(plan: Plan, path: str, name: str) -> Rules:
    """The rules for a parameter or state of the instance at a path."""
    key = join(path, name)
    decision = find(plan.shard, key)
    if decision is not None:
        return _decided("shard", key, decision.choice)
    decision = inherited(plan.mesh.overrides, key)
    if decision is not None:
        return _decided("mesh.overrides", decision.key, decision.choice)
    return Rules(dict(plan.mesh.params), "mesh.params")


def _decided(section: str, key: str, choice: object) -> Rules:
    assert isinstance(choice, tuple)
    return Rules(dict(choice), f"{section}.{key}")


def value_placement(plan: Plan, path: str, value: Value) -> Placement:
    """The dims of a value that the plan spreads, with their mesh axes."""
    rules = value_rules(plan, path, value.label)
    return tuple((d, rules.axes(d)) for d in value.type.dims if rules.axes(d))


def spread(order: Order, placement: Placement) -> Spec:
    """The spec of an array of this order. Of collapsed dims only the first may be spread.

    Trailing axes that lie along nothing are left out.
    """
    table = dict(placement)
    spec = []
    for axis in order:
        if any(d in table for d in axis[1:]):
            raise ValueError(f"{axis[-1]} is spread, and collapsed into an axis behind another dim")
        spec.append(table.get(axis[0], ()) if axis else ())
    while spec and not spec[-1]:
        spec.pop()
    return tuple(spec)


def input_spec(plan: Plan, path: str, value: Value) -> Spec:
    """The spec of an argument, in its order as written."""
    assert value.order is not None
    return spread(value.order, value_placement(plan, path, value))


def stack(
    module: Module, path: str, modes: tuple[str, ...] = ("repeat", "each")
) -> tuple[Dim, ...]:
    """The dims along which the variables of the instance at a path are stacked, outermost first.

    Args:
        modes: which copies count: those in sequence, those side by side.
    """
    found: list[Dim] = []
    parts = path.split(".") if path else []
    for depth, part in enumerate(parts):
        child = module.instance(".".join(parts[:depth])).child(part)
        found += [child.along] if child.along is not None and child.mode in modes else []
    return tuple(found)


def variable_spec(module: Module, plan: Plan, instance: Instance, variable: Variable) -> Spec:
    """The spec of a parameter or state as it is stored: stacked, then in its order as written."""
    rules = variable_rules(plan, instance.path, variable.name)
    dims = (*stack(module, instance.path), *variable.order)
    spec = [rules.axes(d) for d in dims]
    while spec and not spec[-1]:
        spec.pop()
    return tuple(spec)


CONSTRAINED = ("take", "scatter_add")
"""Ops that are constrained although they are no products: lookups in tables that may be spread."""


def constrained(op: Op) -> bool:
    """Whether the results of an op are held to their place by a constraint.

    Products are: without it the compiler moves their results instead of the smaller weights
    (`docs/sharding.md` has the figures). What lies between follows from them.
    """
    return lookup(op.name).precision == "product" or op.name in CONSTRAINED


# Whether the rules can hold


@dataclass(frozen=True)
class _Array:
    """An array that the plan places: what it is called, its dims, its rules, where it stands."""

    what: str
    dims: tuple[Dim, ...]
    rules: Rules
    span: Span | None


def verify(
    module: Module, plan: Plan, places: Mapping[str, Span] | None = None
) -> tuple[Diagnostic, ...]:
    """Everything about the mesh of a plan that cannot be.

    Args:
        places: where rules stand in the recipe, by section and key, such as `mesh.values.B`.

    Returns:
        Errors: an axis that the mesh has not, a rule for a dim that nothing has, an axis twice on
        one array, a dim that its axes do not divide. Sizes that are not bound are not judged.
    """
    if not plan.mesh.axes:
        return ()
    return tuple(dict.fromkeys(_Verifier(module, plan, places or {}).found()))


class _Verifier:
    def __init__(self, module: Module, plan: Plan, places: Mapping[str, Span]):
        self.module, self.plan, self.places = module, plan, places
        self.mesh = dict(plan.mesh.axes)
        self.sizes = {**dict(plan.sizes), **dict(module.sizes)}

    def found(self) -> Iterator[Diagnostic]:
        yield from self.tables()
        seen: set[tuple] = set()
        for array in (*self.values(), *self.variables()):
            for key, diagnostic in self.array(array):
                if key not in seen:
                    seen.add(key)
                    yield diagnostic

    # Rules by themselves.

    def tables(self) -> Iterator[Diagnostic]:
        plan = self.plan
        variables = [d for a in self.variables() for d in a.dims]
        values = [d for i in self.module.instances for d in _value_dims(i)]
        yield from self.table("mesh.values", plan.mesh.values, values, "value")
        yield from self.table("mesh.params", plan.mesh.params, variables, "parameter or state")
        for decision in plan.mesh.overrides:
            inside = [d for a in self.variables() if _within(a.what, decision.key) for d in a.dims]
            what = f"parameter or state at {decision.key}"
            yield from self.table(f"mesh.overrides.{decision.key}", decision.choice, inside, what)
        for decision in plan.shard:
            path, slash, label = decision.key.partition("/")
            if slash:
                dims = _labelled(self.module, path, label)
            else:
                dims = [d for a in self.variables() if a.what == decision.key for d in a.dims]
            yield from self.table(f"shard.{decision.key}", decision.choice, dims, decision.key)

    def table(
        self, section: str, rules: object, dims: Iterable[Dim], what: str
    ) -> Iterator[Diagnostic]:
        assert isinstance(rules, tuple)
        names = {d.name for d in dims}
        for dim, axes in rules:
            span = self.place(section, dim)
            if dim not in names:
                close = nearest(dim, names)
                yield Diagnostic(
                    "mesh-rule-unused",
                    f"{section} has a rule for {dim}, and no {what} has a dim of that name",
                    span,
                    facts=(f"the dims there are {', '.join(sorted(names))}",) if names else (),
                    help=f"did you mean {close[0]}?" if close else f"take {dim} out",
                )
            for axis in axes:
                if axis not in self.mesh:
                    close = nearest(axis, self.mesh)
                    yield Diagnostic(
                        "mesh-axis-unknown",
                        f"{section} puts {dim} along {axis}, which is no axis of the mesh",
                        span,
                        facts=(self.described(),),
                        help=f"did you mean {close[0]}?"
                        if close
                        else f"mesh.axes = {{ {axis} = … }}",
                    )

    def place(self, section: str, dim: str) -> Span | None:
        name = f"{section}.{dim}"
        while name and name not in self.places:
            name = name.rpartition(".")[0]
        return self.places.get(name)

    def described(self) -> str:
        return "the mesh has " + ", ".join(f"{name} = {size}" for name, size in self.mesh.items())

    # Arrays.

    def values(self) -> Iterator[_Array]:
        """The values that are placed: inputs of the entry, what is constrained, what is decided."""
        decided = {d.key for d in self.plan.shard}
        for instance in self.module.instances:
            for variant in instance.variants:
                for value in variant.inputs:
                    key = f"{instance.path}/{value.label}"
                    if not instance.path or key in decided:
                        yield self.value(instance, value, value.order, instance.span)
                for op in walk(variant.ops):
                    for value in op.results:
                        key = f"{instance.path}/{value.label}"
                        if constrained(op) or key in decided:
                            yield self.value(instance, value, None, op.span)

    def value(
        self, instance: Instance, value: Value, order: Order | None, span: Span | None
    ) -> _Array:
        dims = value.type.dims if order is None else tuple(d for axis in order for d in axis)
        dims = (*stack(self.module, instance.path, ("each",)), *dims)
        rules = value_rules(self.plan, instance.path, value.label)
        what = join(instance.path, value.label.split(":")[0]) or instance.layer
        return _Array(what, dims, rules, span)

    def variables(self) -> Iterator[_Array]:
        for instance in self.module.instances:
            along = stack(self.module, instance.path)
            for v in (*instance.params, *instance.states):
                rules = variable_rules(self.plan, instance.path, v.name)
                yield _Array(join(instance.path, v.name), (*along, *v.order), rules, v.span)

    def array(self, array: _Array) -> Iterator[tuple[tuple, Diagnostic]]:
        yield from self.twice(array)
        for dim in array.dims:
            axes = array.rules.axes(dim)
            if any(axis not in self.mesh for axis in axes):
                continue
            parts = math.prod(self.mesh[axis] for axis in axes)
            size = self.size(dim)
            if size is not None and size % parts:
                key = ("divide", dim.name, size, axes, array.rules.section)
                yield key, self.uneven(array, dim, size, axes, parts)

    def size(self, dim: Dim) -> int | None:
        if not set(dim.size.names) <= self.sizes.keys():
            return None
        try:
            return dim.size.evaluate(self.sizes)
        except SizeError:
            return None

    def uneven(self, array: _Array, dim: Dim, size: int, axes: Axes, parts: int) -> Diagnostic:
        section, along = array.rules.section, " × ".join(axes)
        divisors = [n for n in range(1, parts) if size % n == 0 and parts % n == 0]
        return self.pointed(
            array,
            (dim,),
            "mesh-does-not-divide",
            f"{dim} is {size}, which does not divide evenly over the {parts} parts of {along}",
            (f"{section} puts {dim} along {along}", self.described()),
            f"make {dim} a multiple of {parts}, give {along} the size {_or(divisors)}, "
            f"or take {dim} out of {section}",
            f"{array.what} has {dim} = {size}",
        )

    def twice(self, array: _Array) -> Iterator[tuple[tuple, Diagnostic]]:
        for axis in self.mesh:
            having = [d for d in array.dims for a in array.rules.axes(d) if a == axis]
            if len(having) < 2:
                continue
            names = " and ".join(dict.fromkeys(d.name for d in having))
            section = array.rules.section
            again = "twice by itself" if len(set(having)) == 1 else f"for {names}"
            yield (
                ("twice", axis, frozenset(d.name for d in having), section),
                self.pointed(
                    array,
                    having,
                    "mesh-axis-twice",
                    f"{array.what}: {_dims(array)} would lie along {axis} twice, {again}",
                    tuple(
                        dict.fromkeys(
                            f"{section} puts {d} along {' × '.join(array.rules.axes(d))}"
                            for d in having
                        )
                    ),
                    f"put only one of {names} along {axis}"
                    if len(set(having)) > 1
                    else f"name {axis} once",
                    f"{array.what} has {names}",
                ),
            )

    def pointed(
        self,
        array: _Array,
        dims: Iterable[Dim],
        code: str,
        message: str,
        facts: tuple[str, ...],
        help: str,
        caption: str,
    ) -> Diagnostic:
        """A diagnostic at the rule in the recipe, if its place is known, and at the array."""
        rules = [s for d in dims if (s := self.place(array.rules.section, d.name)) is not None]
        if not rules:
            return Diagnostic(code, message, array.span, caption, (), facts, help)
        places = [Place(s, "and this one") for s in dict.fromkeys(rules[1:]) if s != rules[0]]
        places += [Place(array.span, caption)] if array.span is not None else []
        return Diagnostic(code, message, rules[0], "this rule", tuple(places), facts, help)


def _dims(array: _Array) -> str:
    return "[" + ", ".join(d.name for d in array.dims) + "]"


def _or(numbers: list[int]) -> str:
    *most, last = map(str, numbers)
    return f"{', '.join(most)} or {last}" if most else last


def _within(key: str, path: str) -> bool:
    return not path or key == path or key.startswith(path + ".")


def _value_dims(instance: Instance) -> Iterator[Dim]:
    for variant in instance.variants:
        for value in variant.inputs:
            yield from value.type.dims
        for op in walk(variant.ops):
            for value in op.results:
                yield from value.type.dims


def _labelled(module: Module, path: str, label: str) -> list[Dim]:
    found: list[Dim] = []
    for variant in module.instance(path).variants:
        values = [*variant.inputs, *(r for op in walk(variant.ops) for r in op.results)]
        found += [d for v in values if v.label == label for d in v.type.dims]
    return found


__all__ = [
    "Axes",
    "Placement",
    "Rule",
    "Rules",
    "Spec",
    "constrained",
    "input_spec",
    "spread",
    "stack",
    "value_placement",
    "value_rules",
    "variable_rules",
    "variable_spec",
    "verify",
]
