"""Facts: what a pass may establish, require or break, each with a checker.

A module names the facts that hold of it in `facts`; the verifier runs their checkers. The checkers
are cheap and local: they find a pass that broke something, they do not do its work again.

- `checked`: every claim about sizes was looked at; those left are requirements.
- `simplified`: nothing is computed that nobody reads.
- `bound`: every size is a number.
- `specialised`: training and evaluation are told apart: no `if_train` is left.
- `precise`: every dtype is concrete.
- `ordered`: every value has an order, and every op finds its operands as it asks for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from .core import Instance, Module, Op, Order, Value, flat, walk
from .registry import lookup
from .signature import CALLS, SignatureError, signature
from .size import Size


@dataclass(frozen=True)
class Violation:
    """Something that must hold of every module, and does not hold of this one.

    Attributes:
        rule: the name of the rule or fact.
        path: the instance.
        message: what is wrong, naming the op or value.
    """

    rule: str
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.path or 'the entry'}: {self.message}"


Checker = Callable[[Module], Iterable[Violation]]
FACTS: dict[str, Checker] = {}


def fact(checker: Checker) -> Checker:
    """Register a checker under its name."""
    FACTS[checker.__name__] = checker
    return checker


def show_op(op: Op) -> str:
    """An op in a message: its label or number, its name, its line."""
    what = ", ".join(r.label or f"%{r.id}" for r in op.results)
    place = f" ({op.span.file}:{op.span.line})" if op.span is not None else ""
    return f"{what} = {op.name}{place}" if what else f"{op.name}{place}"


def show_order(order: Order | None) -> str:
    """An order in a message: `(B S) D`."""
    if order is None:
        return "no order"
    return " ".join(a[0].name if len(a) == 1 else f"({' '.join(d.name for d in a)})" for a in order)


def bodies(instance: Instance) -> Iterator[tuple[str, tuple[Value, ...], tuple[Op, ...]]]:
    """Every body of an instance: what it is, its arguments, its ops."""
    for index, variant in enumerate(instance.variants):
        yield f"variant {index}", variant.inputs, variant.ops
    for variable in (*instance.params, *instance.states):
        yield f"init of {variable.name}", variable.init.arguments, variable.init.ops


def known_values(inputs: tuple[Value, ...], ops: tuple[Op, ...]) -> dict[int, Value]:
    """All values of a body by id, those of regions included."""
    found = {v.id: v for v in inputs}
    for op in walk(ops):
        found.update((v.id, v) for v in op.results)
        found.update((v.id, v) for r in op.regions for v in r.arguments)
    return found


@fact
def checked(module: Module) -> Iterator[Violation]:
    """No claim is open."""
    for claim in module.claims:
        if claim.verdict != "required":
            yield Violation("checked", "", f"the claim {claim.claim} is {claim.verdict}")


def effects(module: Module, instance: Instance, op: Op) -> bool:
    """Whether an op must stay though nobody reads its results: a metric, a write, inside of it too.

    Random ops need not stay: their keys do not depend on each other.
    """
    if op.name in CALLS:
        child = module.child_of(instance, op["child"])
        return _body_effects(module, child, op["variant"])
    if lookup(op.name).effect == "metric":
        return True
    return any(effects(module, instance, inner) for r in op.regions for inner in r.ops)


def _body_effects(module: Module, child: Instance, index: int) -> bool:
    variant = child.variants[index]
    return bool(variant.writes) or any(effects(module, child, op) for op in variant.ops)


@fact
def simplified(module: Module) -> Iterator[Violation]:
    """No op without effect has only results that nobody reads."""
    for instance in module.instances:
        for variant in instance.variants:
            ends = {r.value for r in variant.results} | {id for _, id in variant.writes}
            used = ends.union(*(_reads(op) for op in walk(variant.ops)))
            for op in walk(variant.ops):
                dead = op.results and not any(r.id in used for r in op.results)
                if dead and not effects(module, instance, op):
                    yield Violation("simplified", instance.path, f"nobody reads {show_op(op)}")


def _reads(op: Op) -> set[int]:
    return set(op.operands).union(*(r.results for r in op.regions))


@fact
def bound(module: Module) -> Iterator[Violation]:
    """Every free size has a value, and every size in the module is a number."""
    missing = [n for n in module.free if n not in dict(module.sizes)]
    if missing:
        yield Violation("bound", "", f"{', '.join(missing)} has no value")
    for instance in module.instances:
        for dim in instance.dims:
            if not dim.size.is_constant:
                yield Violation("bound", instance.path, f"the size of {dim} is {dim.size}")
        for _, _, ops in bodies(instance):
            for op in walk(ops):
                for name, value in op.attrs:
                    if any(not s.is_constant for s in sizes_in(value)):
                        yield Violation(
                            "bound", instance.path, f"{name} of {show_op(op)} is {value}"
                        )


def parts(attribute: object) -> Iterator[object]:
    """What stands in an attribute: itself, or what is in its tuples."""
    if isinstance(attribute, tuple):
        for item in attribute:
            yield from parts(item)
    else:
        yield attribute


def sizes_in(attribute: object) -> Iterator[Size]:
    """The sizes in an attribute, those of dims aside."""
    return (part for part in parts(attribute) if isinstance(part, Size))


@fact
def specialised(module: Module) -> Iterator[Violation]:
    """There is no `if_train`."""
    for instance, _, op in module.walk():
        if op.name == "if_train":
            yield Violation("specialised", instance.path, f"{show_op(op)} is left")


@fact
def precise(module: Module) -> Iterator[Violation]:
    """No dtype is abstract."""
    for instance in module.instances:
        for variable in (*instance.params, *instance.states):
            if variable.type.dtype in ("float", "int"):
                yield Violation("precise", instance.path, f"{variable.name} is {variable.type}")
        for where, inputs, ops in bodies(instance):
            for value in known_values(inputs, ops).values():
                if value.type.dtype in ("float", "int"):
                    name = value.label or f"%{value.id}"
                    yield Violation("precise", instance.path, f"{name} of {where} is {value.type}")


@fact
def ordered(module: Module) -> Iterator[Violation]:
    """Every value has an order, and what an op takes and gives is arranged as its entry says."""
    for instance in module.instances:
        for where, inputs, ops in bodies(instance):
            known = known_values(inputs, ops)
            missing = [v for v in known.values() if v.order is None]
            for value in missing:
                name = value.label or f"%{value.id}"
                yield Violation("ordered", instance.path, f"{name} of {where} has no order")
            if missing:
                continue
            for op in walk(ops):
                for message in _arranged(module, instance, op, known):
                    yield Violation("ordered", instance.path, f"{show_op(op)}: {message}")
        for variant in instance.variants:
            known = known_values(variant.inputs, variant.ops)
            for result in variant.results:
                order = known[result.value].order
                if order is not None and flat(order) != result.order:
                    found = show_order(order)
                    yield Violation(
                        "ordered", instance.path, f"the result {result.name} is arranged {found}"
                    )


def _arranged(module: Module, instance: Instance, op: Op, known: dict[int, Value]) -> Iterator[str]:
    definition = lookup(op.name)
    if definition.shape is None:
        try:
            stated = signature(module, instance, op, known)
        except SignatureError as error:
            yield str(error)
            return
        operands = tuple(f.order for f in stated.operands)
        results = tuple(f.order for f in stated.results)
        for other in op.regions[1:]:
            if tuple(known[i].order for i in other.results) != results:
                yield "its branches are arranged differently"
    elif definition.order is not None:
        operands, results = definition.order(op, tuple(known[i].axes for i in op.operands))
    elif not op.operands:
        return
    else:
        yield "its entry has no order rule"
        return
    for position, (id, wanted) in enumerate(zip(op.operands, operands, strict=True)):
        if known[id].order != wanted:
            yield (
                f"operand {position} is {show_order(known[id].order)}, "
                f"where it asks for {show_order(wanted)}"
            )
    for value, given in zip(op.results, results, strict=True):
        if value.order != given:
            yield f"its result is {show_order(value.order)}, where it gives {show_order(given)}"
