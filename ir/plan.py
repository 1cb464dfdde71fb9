"""The plan: every decision about how a module runs, with its reason and place.

Passes read it and nothing else decides. As JSON (`ir.plan_json`) it is a small file that a person
reads, edits, compares and passes back. A decision is addressed by a key: the path of an instance,
the path of a parameter, or `path/label` of a value. What is decided for an instance holds for those
inside it, unless they have a decision of their own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

from .core import CONCRETE, Module, join
from .diagnostics import Diagnostic, InputError, nearest
from .facts import known_values
from .text import show

FORMAT = 1
"""The version of the file format."""

Rule = tuple[str, tuple[str, ...]]
"""A dim's name and the mesh axes that it lies along, outermost first."""

Choice = str | int | tuple[Rule, ...]


@dataclass(frozen=True)
class Decision:
    """One decision.

    Attributes:
        key: what it is about: a path, or `path/label`.
        choice: a word, a number, or rules; which of them depends on the section.
        reason: half a sentence that says why.
        place: the line of the model, such as `gpt.nw:29`.
    """

    key: str
    choice: Choice
    reason: str = ""
    place: str = ""


Decisions = tuple[Decision, ...]
Table = dict[str, Decision]


@dataclass(frozen=True)
class Mesh:
    """The devices, and what lies along which of their axes.

    Attributes:
        axes: names and sizes, outermost first.
        values: for dims of values, by name, the axes that they lie along.
        params: the same for dims of parameters.
        overrides: by the path of a parameter, or of an instance: rules that replace `params`.
    """

    axes: tuple[tuple[str, int], ...] = ()
    values: tuple[Rule, ...] = ()
    params: tuple[Rule, ...] = ()
    overrides: Decisions = ()

    def size(self) -> int:
        """How many devices there are."""
        return prod(size for _, size in self.axes)

    def parts(self, names: Collection[str]) -> int:
        """Over how many devices values lie that have dims of these names."""
        axes = dict(self.axes)
        along = {a for name, spread in self.values if name in names for a in spread}
        return prod(axes[a] for a in along)


@dataclass(frozen=True)
class Precision:
    """The policy, and by path what differs from it: a float dtype, or the name of a policy."""

    policy: str = "float32"
    overrides: Decisions = ()


@dataclass(frozen=True)
class Plan:
    """All decisions. Sections that are empty decide nothing.

    Attributes:
        model: the `module_hash` of the module as elaborated, "" for none.
        recipe: what the recipe was, as text.
        sizes: what the free sizes are bound to.
        mesh: devices and sharding rules.
        microbatches: into how many parts a batch is cut, whose gradients are summed.
        precision: dtypes.
        roll: for each repeat: `scan` or `unroll`.
        groups: for repeats, and for loops by a value that they give: how many copies run again
            together for the gradient, so that of these only what the first is given stays.
        shard: for values: rules that replace those of the mesh.
        remat: for values and instances: `save`, `recompute` or `offload`.
        loss_chunks: for values: into how many parts the work on them is cut.
        layout: for values: their order, such as `(B S) D`.
    """

    model: str = ""
    recipe: str = ""
    sizes: tuple[tuple[str, int], ...] = ()
    mesh: Mesh = field(default_factory=Mesh)
    microbatches: int = 1
    precision: Precision = field(default_factory=Precision)
    roll: Decisions = ()
    groups: Decisions = ()
    shard: Decisions = ()
    remat: Decisions = ()
    loss_chunks: Decisions = ()
    layout: Decisions = ()

    def to_json(self) -> str:
        """The plan as a file that people read; the same plan gives the same text."""
        from .plan_json import to_json

        return to_json(self)

    @staticmethod
    def from_json(text: str, file: str = "plan.json") -> Plan:
        """The plan that a file holds; raises `InputError` with everything that is wrong in it."""
        from .plan_json import from_json

        return from_json(text, file)

    def decisions(self) -> Iterator[tuple[str, Decision]]:
        """Every decision with the name of its section, such as `mesh.overrides`."""
        for section in SECTIONS:
            for decision in getattr_path(self, section):
                yield section, decision


SECTIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "mesh.overrides": ("rules", ("param", "instance")),
    "precision.overrides": ("precision", ("instance", "value")),
    "roll": ("scan unroll", ("repeat",)),
    "groups": ("count", ("repeat", "value")),
    "shard": ("rules", ("value", "param")),
    "remat": ("save recompute offload", ("value", "instance")),
    "loss_chunks": ("count", ("value",)),
    "layout": ("text", ("value",)),
}
"""For each section of decisions: what may be chosen, and what keys may name."""

POLICIES = ("float32", "bfloat16", "float16", "float64")


def getattr_path(plan: Plan, section: str) -> Decisions:
    """The decisions of a section by its dotted name."""
    found: Any = plan
    for part in section.split("."):
        found = getattr(found, part)
    return found


def decide(decisions: Iterable[Decision], *new: Decision) -> Decisions:
    """Decisions with new ones put in, by key; the order is that of the keys."""
    table = {d.key: d for d in decisions} | {d.key: d for d in new}
    return tuple(sorted(table.values(), key=lambda d: by_path(d.key)))


def by_path(key: str) -> tuple[str, ...]:
    """Sorts keys as the tree is read: an instance before what is inside it."""
    path, _, label = key.partition("/")
    return (*path.split("."), "", label)


def find(decisions: Iterable[Decision], key: str) -> Decision | None:
    """The decision about exactly this key."""
    return next((d for d in decisions if d.key == key), None)


def inherited(decisions: Iterable[Decision] | Table, key: str) -> Decision | None:
    """The decision about this key, or else about the nearest instance around it, or the entry.

    Args:
        decisions: as they are, or by key where much is asked of them.
    """
    table = decisions if isinstance(decisions, dict) else {d.key: d for d in decisions}
    path, slash, _ = key.partition("/")
    if slash and key in table:
        return table[key]
    while path not in table:
        if not path:
            return None
        path = path.rpartition(".")[0]
    return table[path]


# A plan and a module


def module_hash(module: Module) -> str:
    """What a module computes, hashed: its text form without places, sizes, facts and claims."""
    text = show(replace(module, facts=(), sizes=(), claims=()), places=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def keys(module: Module) -> dict[str, tuple[str, ...]]:
    """Every key that a plan may use for this module, by kind: instance, repeat, param, value."""
    instances, repeats, params, values = [], [], [], []
    for instance in module.instances:
        instances.append(instance.path)
        repeats += [join(instance.path, c.name) for c in instance.children if c.mode == "repeat"]
        params += [join(instance.path, p.name) for p in instance.params]
        for variant in instance.variants:
            known = known_values(variant.inputs, variant.ops).values()
            values += [f"{instance.path}/{v.label}" for v in known if v.label]
    found = {"instance": instances, "repeat": repeats, "param": params, "value": values}
    return {kind: tuple(dict.fromkeys(names)) for kind, names in found.items()}


def check_plan(
    module: Module, plan: Plan, sizes: Iterable[tuple[str, int]] = ()
) -> tuple[Diagnostic, ...]:
    """Whether every entry of a plan means something in a module.

    Args:
        module: as elaborated, or bound.
        sizes: what free sizes are bound to elsewhere, such as by a recipe.

    Returns:
        Warnings: the model has changed since the plan was made.

    Raises:
        InputError: an entry matches nothing.
    """
    found = [*_sizes(module, plan, dict(sizes)), *_mesh(module, plan), *_entries(module, plan)]
    if found:
        raise InputError(found)
    if plan.model and not module.sizes and plan.model != module_hash(module):
        return (
            Diagnostic(
                "plan-of-another-model",
                "the model has changed since this plan was made",
                facts=("every entry still matches something, so it is used",),
                help="plan again if the sizes have changed",
                severity="warning",
            ),
        )
    return ()


def _sizes(module: Module, plan: Plan, elsewhere: dict[str, int]) -> Iterator[Diagnostic]:
    bound = dict(module.sizes) | elsewhere
    parts = plan.microbatches
    for name, value in plan.sizes:
        if name not in module.free:
            yield _nothing("sizes", name, module.free, "a free size of the model")
        elif bound.get(name, value) != value:
            yield Diagnostic(
                "plan-size",
                f"the plan is for {name} = {value}; here {name} is {bound[name]}",
                facts=(f"sizes are those of one of {parts} microbatches",) if parts > 1 else (),
                help="plan again for these sizes",
            )


def _mesh(module: Module, plan: Plan) -> Iterator[Diagnostic]:
    dims = {d.name for i in module.instances for d in i.dims}
    axes = [name for name, _ in plan.mesh.axes]
    tables = [("mesh.values", plan.mesh.values), ("mesh.params", plan.mesh.params)]
    for section, decision in plan.decisions():
        if isinstance(decision.choice, tuple):
            tables.append((f'{section}."{decision.key}"', decision.choice))
    for where, rules in tables:
        for dim, names in rules:
            if dim not in dims:
                yield _nothing(where, dim, dims, "a dim of the model")
            for name in names:
                if name not in axes:
                    yield _nothing(where, name, axes, "an axis of the mesh")


def _entries(module: Module, plan: Plan) -> Iterator[Diagnostic]:
    table = keys(module)
    for section, decision in plan.decisions():
        kinds = SECTIONS[section][1]
        known = [key for kind in kinds for key in table[kind]]
        if decision.key not in known:
            yield _nothing(section, decision.key, known, "the key of " + _or(kinds))
        elif section == "precision.overrides":
            words = (*POLICIES, *CONCRETE["float"])
            if decision.choice not in words:
                yield _nothing(section, str(decision.choice), words, "a precision")


def _or(kinds: tuple[str, ...]) -> str:
    return " or ".join(f"{'an' if k[0] in 'aeiou' else 'a'} {k}" for k in kinds)


def _nothing(where: str, name: str, known: Iterable[str], what: str) -> Diagnostic:
    close = nearest(name, known)
    return Diagnostic(
        "plan-entry",
        f'"{name}" in {where} matches nothing: it is not {what}',
        help=f"did you mean {close[0]}?" if close else "",
    )
