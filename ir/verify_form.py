"""The verifier's rules of form, on which those of meaning rely: names, numbers, counts, kinds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from .core import ABSTRACT, CONCRETE, Dim, Instance, Module, Op, Value, flat, join, walk
from .facts import Checker, Violation, bodies, known_values, parts, show_op
from .registry import REGISTRY, lookup, names
from .size import Size

FORM: dict[str, Checker] = {}
"""Rules by name, in the order in which they run."""

_DTYPES = {*ABSTRACT, *(d for ds in CONCRETE.values() for d in ds)}
_REGIONS = {"if_train": 2, "scan": 1}
_OPERANDS = {"const": (0,), "param": (0,), "state": (0,), "if_train": (0,), "metric": (1, 2)}


def form(rule: Checker) -> Checker:
    """Register a rule that the rules of meaning rely on."""
    FORM[rule.__name__] = rule
    return rule


@form
def paths(module: Module) -> Iterator[Violation]:
    """Paths are unique, the entry is first, and each other instance is a child of an earlier one;
    every child has an instance; `model` is one of them."""
    seen: set[str] = set()
    children = {""}
    for index, instance in enumerate(module.instances):
        path = instance.path
        if path in seen:
            yield Violation("paths", path, "two instances have this path")
        if (index == 0) != (path == ""):
            yield Violation("paths", path, "the entry, and it alone, has the empty path")
        if path not in children:
            yield Violation("paths", path, "no instance before it has this child")
        seen.add(path)
        of = [c.name for c in instance.children]
        children.update(join(path, name) for name in of)
        for name in sorted({n for n in of if of.count(n) > 1}):
            yield Violation("paths", path, f"two children are called {name!r}")
    for path in sorted(children - seen):
        yield Violation("paths", path, "there is no instance of this path")
    if module.model is not None and module.model not in seen:
        yield Violation("paths", module.model, "the model is not there")


@form
def dims(module: Module) -> Iterator[Violation]:
    """Dims of an instance have unique numbers, and each dim in use is in its table as it is."""
    for instance in module.instances:
        table = {d.id: d for d in instance.dims}
        if len(table) != len(instance.dims):
            yield Violation("dims", instance.path, "two dims have one number")
        for where, dim in _dims(instance):
            if table.get(dim.id) != dim:
                known = "another dim" if dim.id in table else "no dim"
                yield Violation(
                    "dims", instance.path, f"{where} has {dim}.{dim.id}; that number is {known}"
                )


def _dims(instance: Instance) -> Iterator[tuple[str, Dim]]:
    for variable in (*instance.params, *instance.states):
        for dim in (*variable.type.dims, *variable.order):
            yield variable.name, dim
    for child in instance.children:
        if child.along is not None:
            yield child.name, child.along
    for where, inputs, ops in bodies(instance):
        for value in known_values(inputs, ops).values():
            for dim in (*value.type.dims, *flat(value.order or ())):
                yield value.label or f"%{value.id} of {where}", dim
        for op in walk(ops):
            for name, attribute in op.attrs:
                for part in parts(attribute):
                    if isinstance(part, Dim):
                        yield f"{name} of {show_op(op)}", part
    for variant in instance.variants:
        for result in variant.results:
            for dim in result.order:
                yield f"the result {result.name}", dim


@form
def ids(module: Module) -> Iterator[Violation]:
    """In a body every value is defined once, and before it is read; what a region defines is not
    seen outside of it."""
    for instance in module.instances:
        for (where, inputs, ops), ends in zip(bodies(instance), _ends(instance), strict=True):
            defined: set[int] = set()
            scope: set[int] = set()
            yield from _define(instance, where, inputs, defined, scope)
            yield from _scoped(instance, where, ops, defined, scope)
            for what, id in ends:
                if id not in scope:
                    yield Violation("ids", instance.path, f"{what} reads %{id}, not defined there")


def _ends(instance: Instance) -> Iterator[list[tuple[str, int]]]:
    """For each of the `bodies`: what its end reads."""
    for variant in instance.variants:
        read = [(f"the result {r.name}", r.value) for r in variant.results]
        yield read + [(f"the write of {name}", id) for name, id in variant.writes]
    for variable in (*instance.params, *instance.states):
        yield [(f"init of {variable.name}", id) for id in variable.init.results]


def _define(
    instance: Instance, where: str, new: Iterable[Value], defined: set[int], scope: set[int]
) -> Iterator[Violation]:
    for value in new:
        if value.id in defined:
            yield Violation("ids", instance.path, f"%{value.id} is defined twice in {where}")
        defined.add(value.id)
        scope.add(value.id)


def _scoped(
    instance: Instance, where: str, ops: tuple[Op, ...], defined: set[int], scope: set[int]
) -> Iterator[Violation]:
    for op in ops:
        for id in op.operands:
            if id not in scope:
                yield Violation(
                    "ids", instance.path, f"{show_op(op)} reads %{id}, not defined there"
                )
        for region in op.regions:
            inner = set(scope)
            yield from _define(instance, where, region.arguments, defined, inner)
            yield from _scoped(instance, where, region.ops, defined, inner)
            for id in region.results:
                if id not in inner:
                    yield Violation(
                        "ids", instance.path, f"{show_op(op)} gives %{id}, not defined there"
                    )
        yield from _define(instance, where, op.results, defined, scope)


@form
def registered(module: Module) -> Iterator[Violation]:
    """Every op has an entry in the registry."""
    names()
    for instance, op in _ops(module):
        if op.name not in REGISTRY:
            yield Violation("registered", instance.path, f"there is no op {op.name!r}")


def _ops(module: Module) -> Iterator[tuple[Instance, Op]]:
    """Every op, those of initializers included."""
    for instance in module.instances:
        for _, _, ops in bodies(instance):
            for op in walk(ops):
                yield instance, op


@form
def attributes(module: Module) -> Iterator[Violation]:
    """Attributes are constants, in order of their names; structure ops have theirs."""
    for instance, op in _ops(module):
        keys = [name for name, _ in op.attrs]
        if keys != sorted(set(keys)):
            yield Violation("attributes", instance.path, f"{show_op(op)}: not in order: {keys}")
        for name, value in op.attrs:
            if not all(map(_constant, parts(value))):
                yield Violation(
                    "attributes", instance.path, f"{name} of {show_op(op)} is {value!r}"
                )
        for name, check in _WANTED.get(op.name, {}).items():
            if not check(op.get(name)):
                yield Violation(
                    "attributes", instance.path, f"{name} of {show_op(op)} is {op.get(name)!r}"
                )


def _constant(value: object) -> bool:
    return value is None or isinstance(value, Size | Dim) or type(value) in (int, float, bool, str)


def _text(value: object) -> bool:
    return isinstance(value, str)


def _count(value: object) -> bool:
    return type(value) is int and value >= 0


def _number(value: object) -> bool:
    return type(value) in (int, float, bool)


def _counts(value: object) -> bool:
    return isinstance(value, tuple) and all(map(_count, value)) and len({*value}) == len(value)


def _carried(value: Any) -> bool:
    pairs = isinstance(value, tuple) and all(isinstance(p, tuple) and len(p) == 2 for p in value)
    # A result becomes one argument, and an argument is one result.
    return pairs and all(_counts(side) for side in zip(*value, strict=True))


def _binding(value: object) -> bool:
    return isinstance(value, tuple) and all(
        isinstance(p, tuple) and len(p) == 2 and _count(p[0]) and isinstance(p[1], Dim)
        for p in value
    )


def _dim(value: object) -> bool:
    return isinstance(value, Dim)


_CALL = {"child": _text, "variant": _count, "occurrence": _count, "binding": _binding}
_WANTED = {
    "const": {"value": _number, "dtype": _text},
    "param": {"name": _text, "child": _text},
    "state": {"name": _text, "child": _text},
    "call": _CALL,
    "repeat": {**_CALL, "along": _dim, "dealt": _counts, "carried": _carried},
    "each": {**_CALL, "along": _dim, "dealt": _counts},
    "scan": {"along": _dim, "carry": _count},
    "metric": {"name": _text},
}


@form
def operands(module: Module) -> Iterator[Violation]:
    """An op has as many operands, and as many regions, as its entry says."""
    for instance, op in _ops(module):
        if op.name not in REGISTRY:
            continue
        definition, count = lookup(op.name), len(op.operands)
        extra = op.get("extra", ())
        if definition.family == "structure":
            good = count in _OPERANDS.get(op.name, (count,))
        else:
            stray = [n for n in extra if n not in definition.optional]
            plain = count - len(extra)
            least = len(definition.operands)
            good = not stray and (plain >= 1 if definition.variadic else plain == least)
        if not good:
            yield Violation("operands", instance.path, f"{show_op(op)} has {count} operands")
        if len(op.regions) != _REGIONS.get(op.name, 0):
            yield Violation(
                "operands", instance.path, f"{show_op(op)} has {len(op.regions)} regions"
            )


@form
def dtypes(module: Module) -> Iterator[Violation]:
    """Every dtype is one of `ir.core`."""
    for instance in module.instances:
        values = [
            (v.label or f"%{v.id} of {where}", v.type)
            for where, inputs, ops in bodies(instance)
            for v in known_values(inputs, ops).values()
        ]
        declared = [(v.name, v.type) for v in (*instance.params, *instance.states)]
        for name, type_ in (*values, *declared):
            if type_.dtype not in _DTYPES:
                yield Violation("dtypes", instance.path, f"{name} is {type_.dtype!r}")
