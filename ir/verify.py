"""The verifier: what must hold of every module, as a list of small rules.

The manager runs it after each pass. Rules of form (`ir.verify_form`) come first, and the others
only run on a module that keeps those, so that they need not guard against nonsense. A violation is
a bug of Netwright, never a mistake of the person who wrote the model.
"""

from __future__ import annotations

from collections.abc import Iterator

from .build import result_types
from .claim import names as claim_names
from .core import Child, Dim, Instance, Module, Op, Region, Type, Value, flat, walk
from .facts import (
    FACTS,
    Checker,
    Violation,
    bodies,
    known_values,
    show_op,
    show_order,
    sizes_in,
)
from .registry import ShapeError, lookup
from .signature import CALLS, SignatureError, signature
from .size import Size
from .verify_form import FORM

MEANING: dict[str, Checker] = {}
"""Rules by name, in the order in which they run."""

_MODES = {"one": "call", "repeat": "repeat", "each": "each"}


def verify(module: Module) -> list[Violation]:
    """Everything that does not hold of a module: its rules, and the facts that it claims."""
    found = _run(FORM, module)
    if found:
        return found
    found = _run(MEANING, module)
    for name in module.facts:
        if name not in FACTS:
            found.append(Violation("facts", "", f"no fact is called {name!r}"))
        elif not found:
            found += FACTS[name](module)
    return found


def _run(rules: dict[str, Checker], module: Module) -> list[Violation]:
    return [violation for rule in rules.values() for violation in rule(module)]


def meaning(rule: Checker) -> Checker:
    """Register a rule of meaning."""
    MEANING[rule.__name__] = rule
    return rule


@meaning
def types(module: Module) -> Iterator[Violation]:
    """The types that are stated are those that the op gives for its operands; where it holds bodies
    together, they are those of the bodies, and its operands fit."""
    for instance in module.instances:
        for _, inputs, ops in bodies(instance):
            known = known_values(inputs, ops)
            for op in walk(ops):
                for message in _types(module, instance, op, known):
                    yield Violation("types", instance.path, f"{show_op(op)}: {message}")


def _types(module: Module, instance: Instance, op: Op, known: dict[int, Value]) -> Iterator[str]:
    given = tuple(known[i].type for i in op.operands)
    stated = tuple(r.type for r in op.results)
    definition = lookup(op.name)
    try:
        if definition.shape is not None:
            wanted, results = given, result_types(op, given)
        else:
            found = signature(module, instance, op, known)
            wanted = tuple(f.type for f in found.operands)
            results = tuple(f.type for f in found.results)
    except (ShapeError, SignatureError) as error:
        yield str(error)
        return
    except Exception as error:  # an entry that breaks on bad attributes
        yield f"its shape rule raises {type(error).__name__}: {error}"
        return
    if len(wanted) != len(given):
        yield f"it has {len(given)} operands, where {len(wanted)} are asked for"
        return
    for position, (have, want) in enumerate(zip(given, wanted, strict=True)):
        if have != want:
            yield f"operand {position} is {have}, where it asks for {want}"
    if results != stated:
        yield f"it gives {', '.join(map(str, results))}, not {', '.join(map(str, stated))}"
    if op.name == "if_train":
        other = tuple(known[i].type for i in op.regions[1].results)
        if other != results:
            yield f"its second branch gives {', '.join(map(str, other))}"
        if any(r.arguments for r in op.regions):
            yield "a branch takes arguments"
    if op.name == "metric" and any(t.dims for t in given):
        yield "what is reported is not a scalar"


@meaning
def calls(module: Module) -> Iterator[Violation]:
    """A call fits the way in which the child is used, and no two calls of a body share their child
    and occurrence, unless they are branches of one `if_train`."""
    for instance in module.instances:
        children = {c.name: c for c in instance.children}
        for _, _, ops in bodies(instance):
            for op in walk(ops):
                if op.name in CALLS:
                    for message in _use(children.get(str(op["child"])), op):
                        yield Violation("calls", instance.path, f"{show_op(op)}: {message}")
            yield from _occurrences(instance, ops, set())


def _use(child: Child | None, op: Op) -> Iterator[str]:
    if child is None:
        yield "there is no such child"
    elif _MODES.get(child.mode) != op.name:
        yield f"the child is used as {child.mode}"
    elif child.along != op.get("along"):
        yield f"the child is stacked along {child.along}, not {op.get('along')}"


def _occurrences(instance: Instance, ops: tuple[Op, ...], seen: set) -> Iterator[Violation]:
    for op in ops:
        if op.name in CALLS:
            key = (op["child"], op["occurrence"])
            if key in seen:
                message = f"{show_op(op)} is the second with occurrence {op['occurrence']}"
                yield Violation("calls", instance.path, message)
            seen.add(key)
        after = set(seen)
        for region in op.regions:
            branch = set(seen)
            yield from _occurrences(instance, region.ops, branch)
            after |= branch
        seen |= after


@meaning
def orders(module: Module) -> Iterator[Violation]:
    """An order has exactly the dims of its value; arguments and results have the one as written."""
    for instance in module.instances:
        for where, inputs, ops in bodies(instance):
            for value in known_values(inputs, ops).values():
                if value.order is not None and not _permutes(flat(value.order), value):
                    name = value.label or f"%{value.id} of {where}"
                    message = f"{name} is {value.type}, ordered {show_order(value.order)}"
                    yield Violation("orders", instance.path, message)
        for variant in instance.variants:
            known = known_values(variant.inputs, variant.ops)
            for value in variant.inputs:
                if value.order is None:
                    yield Violation("orders", instance.path, f"argument %{value.id} has no order")
            for result in variant.results:
                value = known[result.value]
                if not _permutes(result.order, value):
                    message = f"the result {result.name} is {value.type}, not as declared"
                    yield Violation("orders", instance.path, message)


def _permutes(dims: tuple[Dim, ...], value: Value) -> bool:
    return tuple(sorted(dims, key=lambda d: d.id)) == value.type.dims


@meaning
def labels(module: Module) -> Iterator[Violation]:
    """Labels are unique in a variant, and none has a slash, so that `path/label` is unique."""
    for instance in module.instances:
        for variant in instance.variants:
            seen: set[str] = set()
            for value in known_values(variant.inputs, variant.ops).values():
                if value.label in seen or "/" in value.label:
                    message = f"the label {value.label!r} is taken or has a slash"
                    yield Violation("labels", instance.path, message)
                seen.update([value.label] if value.label else ())


@meaning
def variables(module: Module) -> Iterator[Violation]:
    """Params and states have unique names and an order of their dims; their initializers take
    nothing, give one value of exactly these dims, and read no instance."""
    outside = {*CALLS, "param", "state", "metric", "if_train"}
    for instance in module.instances:
        seen: set[str] = set()
        for v in (*instance.params, *instance.states):
            if v.name in seen:
                yield Violation("variables", instance.path, f"{v.name} is declared twice")
            seen.add(v.name)
            if tuple(sorted(v.order, key=lambda d: d.id)) != v.type.dims:
                names = ", ".join(map(str, v.order))
                message = f"{v.name} is {v.type}, ordered {names}"
                yield Violation("variables", instance.path, message)
            for message in _initializer(v.init, v.type, outside):
                yield Violation("variables", instance.path, f"init of {v.name}: {message}")


def _initializer(init: Region, type_: Type, outside: set[str]) -> Iterator[str]:
    if init.arguments or len(init.results) != 1:
        yield f"it takes {len(init.arguments)} and gives {len(init.results)} values"
        return
    found = known_values((), init.ops)[init.results[0]].type
    if found.dims != type_.dims or found.kind != type_.kind:
        yield f"it gives {found}, not {type_}"
    for op in walk(init.ops):
        if op.name in outside:
            yield f"it has {show_op(op)}"


@meaning
def writes(module: Module) -> Iterator[Violation]:
    """A body writes states of its instance, each once, with a value of the state's type."""
    for instance in module.instances:
        states = {s.name: s for s in instance.states}
        for variant in instance.variants:
            known = known_values(variant.inputs, variant.ops)
            written = [name for name, _ in variant.writes]
            for name, id in variant.writes:
                if name not in states:
                    yield Violation("writes", instance.path, f"there is no state {name!r}")
                elif written.count(name) > 1:
                    yield Violation("writes", instance.path, f"{name} is written twice")
                elif known[id].type != states[name].type:
                    message = f"{name} is {states[name].type}, written with {known[id].type}"
                    yield Violation("writes", instance.path, message)


@meaning
def results(module: Module) -> Iterator[Violation]:
    """Named results have unique names; the entry has one body; that of a loss gives a scalar."""
    for instance in module.instances:
        for variant in instance.variants:
            named = [r.name for r in variant.results if r.name]
            if len({*named}) != len(named):
                yield Violation("results", instance.path, f"two results of one name: {named}")
    entry = module.instances[0]
    if len(entry.variants) != 1:
        yield Violation("results", "", f"the entry has {len(entry.variants)} bodies")
    elif module.kind == "loss":
        (variant,) = entry.variants
        if not variant.results or variant.results[0].order:
            yield Violation("results", "", "a loss gives a scalar first")


@meaning
def free_sizes(module: Module) -> Iterator[Violation]:
    """Sizes, and claims about them, speak of the module's free sizes only."""
    free = set(module.free)
    for instance in module.instances:
        found: list[tuple[str, Size]] = [(d.name, d.size) for d in instance.dims]
        for _, _, ops in bodies(instance):
            for op in walk(ops):
                found += [(show_op(op), s) for _, value in op.attrs for s in sizes_in(value)]
        for where, size in found:
            if not free.issuperset(size.names):
                yield Violation("free_sizes", instance.path, f"{where} speaks of {size}")
    for claim in module.claims:
        if not free.issuperset(claim_names(claim.claim)):
            yield Violation("free_sizes", "", f"the claim {claim.claim}")
