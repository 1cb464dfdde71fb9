"""Remat: makes the bodies that the plan recomputes, and names what they keep.

A decision `recompute` for an instance makes its body one that is run again for the gradient: each
copy of a repeat, each call. Its ops `call`, `repeat` and `each` get the attributes `keeps` and
`offloads`, the names of the values that stay, on the device or in the memory of the host. A value
belongs to the nearest such body around it, and stays if its decision, or that of the nearest
instance around it, is `save` or `offload`.

A decision of the section `groups` gives a `repeat` or `scan` the attribute `group`: so many copies
run again together, and of these only what the first is given stays.

Behind a value that stays goes a `name` node, and every reader reads that: of a value that is read
both ways JAX would keep one and compute the other again. `docs/remat.md` has the whole account.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from ..ir.core import Instance, Module, Op, Value, attributes, join, walk
from ..ir.diagnostics import Diagnostic, InputError
from ..ir.plan import Decision, Plan, by_path, inherited
from ..ir.rewrite import Scope, rewrite
from ..ir.signature import CALLS
from .manager import Pass

LOOPS = ("repeat", "scan")

GIVEN = ("param", "state", "const", "size")
"""Ops whose results are there in any case."""


@dataclass(frozen=True)
class Kept:
    """A value that stays.

    Attributes:
        name: of its node; unique within the outermost recomputed body around it.
        body: the path of the recomputed body that it belongs to.
        offload: whether it goes to the memory of the host.
    """

    name: str
    body: str
    offload: bool


@dataclass
class Remat(Pass):
    """Marks the bodies that are recomputed, and names the values that stay."""

    name: ClassVar[str] = "remat"

    def run(self, module: Module, plan: Plan) -> Module:
        """The module with every decision of the plan's sections `remat` and `groups`.

        Raises:
            InputError: a decision that can have no effect.
        """
        if not plan.remat and not plan.groups:
            return module
        kept = kept_values(module, plan)
        groups = {d.key: d for d in plan.groups}
        problems = [*_problems(module, plan, kept), *_group_problems(module, plan)]
        if problems:
            raise InputError(problems)
        within: dict[str, list[Kept]] = {path: [] for path in recomputed(plan)}
        for value in kept.values():
            within[value.body].append(value)

        def stays(scope: Scope, value: Value) -> Kept | None:
            return kept.get((scope.instance.path, value.label))

        def visit(scope: Scope, op: Op) -> tuple[int, ...] | None:
            if scope.variable is not None or op.name in GIVEN:
                return None
            before = op
            path = join(scope.instance.path, op["child"]) if op.name in CALLS else None
            if path in within:
                op = op.with_attrs(
                    keeps=tuple(k.name for k in within[path] if not k.offload),
                    offloads=tuple(k.name for k in within[path] if k.offload),
                )
                self.count("bodies")
            if op.name in LOOPS:
                for key in loop_keys(scope.instance, op):
                    if key in groups:
                        op = op.with_attrs(group=groups[key].choice)
                        self.count("groups")
            held = [stays(scope, r) for r in op.results]
            if op is before and not any(held):
                return None
            # The label, by which plans speak of a value, goes to the named one.
            results = tuple(
                replace(r, label="") if h else r for r, h in zip(op.results, held, strict=True)
            )
            regions = tuple(scope.inside(r, visit) for r in op.regions)
            made = scope.append(replace(op, results=results, regions=regions))
            return tuple(
                self._named(scope, id, h, op) if h else id for id, h in zip(made, held, strict=True)
            )

        def argument(scope: Scope, value: Value) -> int:
            found = stays(scope, value)
            return self._named(scope, value.id, found, None) if found else value.id

        return rewrite(module, visit, argument=argument, inits=False)

    def _named(self, scope: Scope, id: int, kept: Kept, op: Op | None) -> int:
        self.count("names")
        span = op.span if op is not None else None
        result = Value(-1, scope.type(id))
        return scope.append(Op("name", (id,), (result,), attributes(name=kept.name), span=span))[0]


def recomputed(plan: Plan) -> frozenset[str]:
    """The paths of the instances whose bodies are run again for the gradient."""
    return frozenset(d.key for d in plan.remat if "/" not in d.key and d.choice == "recompute")


def body_of(bodies: frozenset[str], path: str) -> str | None:
    """The nearest recomputed body around what is in the instance at a path."""
    while path not in bodies:
        if not path:
            return None
        path = path.rpartition(".")[0]
    return path


def kept_values(module: Module, plan: Plan) -> dict[tuple[str, str], Kept]:
    """By path and label, in the order of the tree: the values that stay."""
    bodies = recomputed(plan)
    table = {d.key: d for d in plan.remat}
    found: dict[tuple[str, str], Kept] = {}
    taken: set[tuple[str, str]] = set()
    for path, label in candidates(module):
        body = body_of(bodies, path)
        if body is None:
            continue
        decision = inherited(table, f"{path}/{label}")
        if decision is None or decision.choice == "recompute":
            continue
        outermost = min((b for b in bodies if _within(path, b)), key=len)
        inside = path[len(outermost) :].lstrip(".")
        name = join(inside, label)
        if (outermost, name) in taken:
            name = f"{path}/{label}"
        taken.add((outermost, name))
        found[path, label] = Kept(name, body, decision.choice == "offload")
    return found


def candidates(module: Module) -> Iterator[tuple[str, str]]:
    """The path and label of all that can be named: what is read, of arguments and results."""
    for instance in sorted(module.instances, key=lambda i: by_path(i.path)):
        labels: dict[str, None] = {}
        for variant in instance.variants:
            read = {r.value for r in variant.results} | {id for _, id in variant.writes}
            made = list(variant.inputs)
            for op in walk(variant.ops):
                read.update(op.operands, *(r.results for r in op.regions))
                made += op.results if op.name not in GIVEN else ()
            labels.update((v.label, None) for v in made if v.label and v.id in read)
        yield from ((instance.path, label) for label in labels)


def _within(path: str, body: str) -> bool:
    return path == body or path.startswith(f"{body}.") or not body


def _problems(
    module: Module, plan: Plan, kept: dict[tuple[str, str], Kept]
) -> Iterator[Diagnostic]:
    bodies = recomputed(plan)
    for decision in plan.remat:
        path, slash, label = decision.key.partition("/")
        inside = body_of(bodies, path) is not None
        if decision.key == "":
            yield _wrong(decision, "the loss as a whole cannot be computed twice", "name a layer")
        elif not inside and decision.choice != "save":
            around = path or next((i.path for i in module.instances if i.path), "")
            yield _wrong(
                decision,
                "it is in no body that is recomputed, so all of it is kept",
                f'put "{around}": "recompute" beside it',
            )
        elif not (slash and inside) or decision.choice == "recompute" or (path, label) in kept:
            continue
        elif not _given(module, path, label):
            yield _wrong(
                decision,
                "no op gives that value, or nothing reads it, once the model is simplified",
                "keep what it is made from, or what is made of it",
            )


def _given(module: Module, path: str, label: str) -> bool:
    """Whether a label is of a value that is there in any case."""
    of = module.instance(path)
    given = {
        r.label
        for instance, _, op in module.walk()
        if instance is of and op.name in GIVEN
        for r in op.results
    }
    return label in given


def loop_keys(instance: Instance, op: Op) -> tuple[str, ...]:
    """The keys by which a plan speaks of a loop: a repeat's path, the values that a scan gives."""
    if op.name == "repeat":
        return (join(instance.path, op["child"]),)
    return tuple(f"{instance.path}/{r.label}" for r in op.results if r.label)


def _group_problems(module: Module, plan: Plan) -> Iterator[Diagnostic]:
    loops: dict[str, Op] = {}
    for instance, _, op in module.walk():
        if op.name in LOOPS and not op.get("parts"):
            loops.update((key, op) for key in loop_keys(instance, op))
    sizes = {**dict(module.sizes), **dict(plan.sizes)}
    unrolled = {d.key for d in plan.roll if d.choice == "unroll"}
    for decision in plan.groups:
        found, size = loops.get(decision.key), decision.choice
        assert isinstance(size, int)
        what = f'"{decision.key}" in groups cannot be {size}'
        if found is None:
            known = ", ".join(sorted(loops, key=by_path)[:8]) or "this model has none"
            yield Diagnostic("plan-groups", f"{what}: it is no loop", facts=(f"loops: {known}",))
        elif decision.key in unrolled:
            help = f'leave "{decision.key}" out of groups, or out of roll'
            yield Diagnostic("plan-groups", f"{what}: its copies are written out", help=help)
        elif set(found["along"].size.names) <= set(sizes):
            count = found["along"].size.evaluate(sizes)
            possible = group_sizes(count, found.name)
            if size not in possible:
                good = ", ".join(map(str, possible)) or "none"
                facts = (f"it has {count} copies; sizes that divide them evenly: {good}",)
                yield Diagnostic(
                    "plan-groups", f"{what}: it takes several groups that are equal", facts=facts
                )


def group_sizes(copies: int, kind: str) -> tuple[int, ...]:
    """The sizes of groups that a loop can have; a copy by itself is what `recompute` says of a
    repeat, but of a scan nothing else says it."""
    first = 2 if kind == "repeat" else 1
    return tuple(n for n in range(first, copies) if copies % n == 0)


def _wrong(decision: Decision, message: str, help: str) -> Diagnostic:
    what = f'"{decision.key}" in remat cannot be {decision.choice}'
    return Diagnostic("plan-remat", f"{what}: {message}", help=help)
