"""What a training step takes: bytes at the peak and when, operations, and an estimate of its time.

    peak = state + batch + max over the step of what lives then

The state (parameters, optimizer, averages, states of the model) is donated, so that it counts once.
What lives during the step is found by walking the entry's forward and backward pass (`liveness`),
in which each loop is one step that takes its stacks and the worst moment of one copy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import TYPE_CHECKING, Any

from ...ir.core import BYTES, Module, join
from ...ir.hardware import Hardware
from ...ir.placement import stack, variable_rules
from ...ir.plan import Plan
from .graph import Graph, Unit, backward, build, residuals, shared
from .liveness import LoopCost, Program, Walk, count
from .optimizer import Stored, state_bytes
from .units import Choice, Node, kept_bytes

if TYPE_CHECKING:
    from ...ir.recipe import Recipe
    from ...ir.recipe_optimizer import Chosen


Functions = tuple[tuple[str, tuple[tuple[str, Any], ...]], ...]
"""Optimizers and transformations of optax: names and options that differ from the defaults."""

MOST_ALIVE = 8
"""How much of what lives at a moment is named."""


@dataclass(frozen=True)
class Training:
    """What of a recipe decides about memory.

    Attributes:
        optimizer: of the parameters that are in no group.
        groups: optimizers, and transformations before and after them, of groups of parameters, by
            their paths.
        around: transformations before and after these, of all parameters.
        frozen: paths of parameters, or of instances, that are not trained.
        ema: whether an average of the parameters is kept.
        matrices: paths of the parameters that Muon takes for matrices; None for those of two dims.
        schedules: bytes that optimizers keep of their schedules.
    """

    optimizer: Functions = (("adamw", ()),)
    groups: tuple[tuple[tuple[str, ...], Functions], ...] = ()
    around: Functions = ()
    frozen: tuple[str, ...] = ()
    ema: bool = False
    matrices: tuple[str, ...] | None = None
    schedules: int = 0

    def functions(self, path: str) -> Functions:
        """What the parameter at a path is trained with."""
        inner = next((f for paths, f in self.groups if path in paths), self.optimizer)
        return (*inner, *self.around)

    def state_bytes(self, params: Iterable[Stored]) -> int:
        """Bytes per device that optimizers keep for trained parameters."""
        params = list(params)
        grouped = {path for paths, _ in self.groups for path in paths}
        parts = [([p for p in params if p.path in paths], f) for paths, f in self.groups]
        rest = [p for p in params if p.path not in grouped]
        if rest or not parts:
            parts.append((rest, self.optimizer))
        return self.schedules + sum(
            state_bytes(name, dict(options), mine, self.matrices)
            for mine, functions in (*parts, (params, self.around))
            for name, options in functions
        )

    @staticmethod
    def of(recipe: Recipe, chosen: Chosen | None = None) -> Training:
        """That of a recipe.

        Args:
            chosen: which parameters its patterns name in a model; by default it has none.
        """
        from ...ir.recipe_optimizer import Chosen

        chosen = chosen or Chosen()
        rest = recipe.optimizer
        groups = dict(recipe.groups)
        made = [(paths, groups[name].optimizer(rest)) for name, paths in chosen.groups]
        functions = lambda *parts: tuple((p.name, tuple(p.options)) for p in parts)  # noqa: E731
        scheduled = [o for _, o in made] + ([rest] if chosen.rest else [])
        return Training(
            functions(rest),
            tuple((paths, functions(*o.before, o, *o.after)) for paths, o in made),
            functions(*rest.before, *rest.after),
            chosen.frozen,
            recipe.train.ema is not None,
            tuple(path for path, _ in chosen.matrices) or None,
            # A count for each optimizer; for its rate and each of its schedules, value and count.
            sum(4 + 8 * (1 + len(o.schedules)) for o in scheduled),
        )


@dataclass(frozen=True)
class KeptValue:
    """A value that stays from the forward to the backward pass.

    Attributes:
        key: `path/label`, "" for what is inside of an op.
        op: the op that gives it, or inside of which it is.
        place: the line of the model.
        bytes: of all copies, per device.
        unit: the path of the unit.
        offloaded: whether it stays on the host.
    """

    key: str
    op: str
    place: str
    bytes: int
    unit: str
    offloaded: bool = False


@dataclass(frozen=True)
class Moment:
    """A moment of the step: its name, bytes by component, and the largest of what lives then."""

    name: str
    components: tuple[tuple[str, int], ...]
    alive: tuple[tuple[str, int], ...] = ()

    @property
    def bytes(self) -> int:
        """All together."""
        return sum(size for _, size in self.components)


@dataclass(frozen=True)
class MemoryReport:
    """What one training step takes, per device.

    Attributes:
        peak: bytes at the worst moment.
        moment: its name.
        components: bytes by component then.
        alive: what lives then beside the state: (name, bytes), largest first.
        timeline: moments in order, one for each step of the entry's program.
        kept: what stays from the forward to the backward pass, largest first.
        flops: floating-point operations of the step: forward, backward and what is recomputed.
        recomputed: those of them that compute something again.
        traffic: bytes read and written, roughly.
        seconds: an estimate of the step's time; None without hardware.
        graph: that it was computed on.
    """

    peak: int
    moment: str
    components: tuple[tuple[str, int], ...]
    alive: tuple[tuple[str, int], ...]
    timeline: tuple[Moment, ...]
    kept: tuple[KeptValue, ...]
    flops: int
    recomputed: int
    traffic: int
    seconds: float | None
    graph: Graph = field(repr=False, compare=False)


def predict(
    module: Module,
    plan: Plan,
    training: Training = Training(),
    hardware: Hardware | None = None,
    choices: Mapping[str, Choice] | None = None,
    graph: Graph | None = None,
) -> MemoryReport:
    """What a training step takes.

    Args:
        module: after the pass *layout*.
        plan: that was applied to it.
        training: optimizer and the like.
        hardware: for an estimate of the time.
        choices: by the path of a unit, what stays of it; replaces what the module says.
        graph: `build(module, plan, training.frozen)`, where it is at hand.

    Raises:
        InputError: a free size has no value.
    """
    graph = graph or build(module, plan, training.frozen)
    return _Model(module, plan, training, graph, choices or {}).report(hardware)


def peak(
    module: Module, plan: Plan, training: Training, choices: Mapping[str, Choice], graph: Graph
) -> int:
    """The peak alone, of the same."""
    return _Model(module, plan, training, graph, choices).peak()


def _counters(ops: Iterable[Node]) -> int:
    """Bytes of what random numbers are made of, beside their keys: the two halves of the number of
    each. They are the same in all copies, so that XLA makes them before the loop, once a shape."""
    return 8 * sum({count(v) for v in ops if v.family == "random"})


def _alive(program: Program, live: Mapping[int, int]) -> tuple[tuple[str, int], ...]:
    """Names and bytes of what lives in a step, the largest first."""
    found = [
        (program.names[b].lstrip("~") if b >= 0 else "at work within the step", size)
        for b, size in live.items()
        if size
    ]
    return tuple(sorted(found, key=lambda item: -item[1]))


def saved_ids(unit: Unit, keys: Iterable[str]) -> tuple[int, ...]:
    """The values that keys mean; keys that mean nothing in this unit are left out."""
    table = unit.keyed()
    return tuple(i for key in keys for i in table.get(key, ()))


def kept_values(unit: Unit) -> Iterator[KeptValue]:
    """What all copies of a repeat or a call keep, as it is decided for it."""
    if unit.kind not in ("repeat", "call") or not any(v.differentiated for v in unit.values):
        return
    if unit.saved is None and not unit.group:
        for node in unit.values:
            for _, size in () if node.invariant else node.internals:
                yield KeptValue("", node.op, node.place, size * unit.copies, unit.path)
        ids = [i for i, _, _ in residuals(unit) if i is not None]
    else:
        carry = [unit.arguments[a] for _, a in unit.carried]
        kept = () if unit.saved is None or unit.group else backward(unit, unit.saved).kept
        ids = list(dict.fromkeys((*carry, *kept)))
    copies = unit.copies // max(unit.group, 1)
    gone = {unit[i].root for i in unit.offloaded}
    for node in map(unit.__getitem__, ids):
        key, size = node.key or unit[node.root].key, node.bytes * copies
        yield KeptValue(key, node.op, node.place, size, unit.path, node.root in gone)


def _chosen(unit: Unit, choices: Mapping[str, Choice]) -> Unit:
    """The unit with what a choice for its path says of it."""
    found = choices.get(unit.path)
    if found is None or unit.kind == "scan":
        return unit
    gone = saved_ids(unit, found.offloaded)
    stays = None if found.keys is None else (*saved_ids(unit, found.keys), *gone)
    return replace(unit, saved=stays, offloaded=gone, group=found.group)


class _Model:
    def __init__(
        self,
        module: Module,
        plan: Plan,
        training: Training,
        graph: Graph,
        choices: Mapping[str, Choice],
    ):
        self.module, self.plan, self.training = module, plan, training
        units = tuple(_chosen(unit, choices) for unit in graph.units)
        self.graph, self.spread = replace(graph, units=units), plan.mesh.size() > 1
        self.costs: dict[int, LoopCost] = {}
        for index in reversed(range(1, len(graph.units))):
            self.costs[index] = self.loop(index)

    # Loops.

    def loop(self, index: int) -> LoopCost:
        """What a loop takes, apart from the loops in it, which are known."""
        unit, saved = self.graph.units[index], self.graph.units[index].saved
        values = unit.values
        fed = [a for a in unit.arguments if values[a].differentiated and not values[a].invariant]
        if saved is None:
            held = residuals(unit)
            each = kept_bytes(unit)
            at_hand = [i for i, _, _ in held if i is not None]
            again: tuple[int, ...] = ()
            common, moving = sum(size for _, _, size in shared(unit)), 0
        else:
            work = backward(unit, saved)
            gone = {values[i].root for i in unit.offloaded}
            carry = [unit.arguments[a] for _, a in unit.carried]
            stays = [i for i in (*work.kept, *carry) if i not in gone]
            each = sum(values[i].bytes for i in dict.fromkeys(stays))
            at_hand, again = [*work.kept], work.recomputed
            common, moving = 0, sum(values[i].bytes for i in gone)
        forward = Walk(unit, self.costs, self.spread)
        forward.outside(unit.arguments)
        forward.forward([v.id for v in values], unit.results)
        back = Walk(
            unit, self.costs, self.spread, again=None if saved is None else frozenset(again)
        )
        back.outside(unit.arguments)
        back.outside(v.id for v in values if v.kind in ("param", "state", "const"))
        back.outside(at_hand)
        if saved is None:
            back.outside(v.id for v in values if v.alias_of is None)
        else:
            again_set = set(again)
            back.forward([v.id for v in values if v.id in again_set or v.alias_of is not None])
        flowing = [r for r in dict.fromkeys(unit.results) if values[r].differentiated]
        if flowing:
            back.backward(flowing)
        carried = {unit.arguments[p] for _, p in unit.carried}
        carry_bytes = sum(values[a].bytes for a in fed if a in carried)
        total, _, live = back.program.peak()
        worst = _alive(back.program, live)
        stored = sum(v.stored for v in values if v.kind == "param" and v.differentiated)
        stacks, passing = each * unit.copies, carry_bytes + moving
        if unit.kind != "call":
            passing += _counters(v for v in values if v.id in again)
        drawn = _counters(v for v in values if v.differentiated) if unit.kind == "repeat" else 0
        drawn += drawn  # and as much in zeros, that stand where a mask lets nothing through
        if unit.group:
            # What goes from group to group stays; one group has its stacks, and slices of its own.
            dealt = sum(values[unit.arguments[p]].bytes for p in unit.dealt)
            handed = sum(values[unit.arguments[p]].bytes for _, p in unit.carried)
            stacks = handed * (unit.copies // unit.group)
            if unit.group > 1:
                passing += (each + dealt + 2 * stored) * unit.group
            passing, common = passing + common, 0
        return LoopCost(
            stacks,
            common,
            forward.program.peak()[0] + carry_bytes + moving + drawn,
            total + passing,
            stored * unit.copies if unit.kind in ("repeat", "call") else 0,
            worst,
        )

    # State.

    def variables(self, kind: str) -> Iterable[tuple[str, int, tuple[int, ...], int]]:
        """Path, bytes per device, stored shape and parts of each parameter or state."""
        sizes = {**dict(self.module.sizes), **dict(self.plan.sizes)}
        mesh = dict(self.plan.mesh.axes)
        for instance in self.module.instances:
            along = stack(self.module, instance.path)
            for v in instance.params if kind == "param" else instance.states:
                dims = (*along, *v.order)
                shape = tuple(d.size.evaluate(sizes) for d in dims)
                parts = 1
                if mesh:
                    rules = variable_rules(self.plan, instance.path, v.name)
                    parts = prod(mesh[a] for a in {a for d in dims for a in rules.axes(d)})
                size = -(-prod(shape) // parts) * BYTES[v.type.dtype]
                yield join(instance.path, v.name), size, shape, parts

    def trained(self, path: str) -> bool:
        return not any(path == f or path.startswith(f + ".") for f in self.training.frozen)

    def state(self) -> dict[str, int]:
        """Bytes per device of what stays from step to step."""
        parts = {"parameters": 0, "optimizer": 0, "averages": 0, "model state": 0}
        trained = []
        for path, size, shape, split in self.variables("param"):
            parts["parameters"] += size
            if self.trained(path):
                trained.append(Stored(path, shape, split))
                parts["averages"] += size if self.training.ema else 0
        parts["optimizer"] = self.training.state_bytes(trained)
        parts["model state"] = sum(size for _, size, _, _ in self.variables("state"))
        return parts

    def gradient_bytes(self) -> int:
        """Bytes per device of one tree of gradients."""
        return sum(s for path, s, _, _ in self.variables("param") if self.trained(path))

    def batch(self) -> int:
        """Bytes per device of the whole batch."""
        entry = self.graph.units[0]
        return sum(entry[a].bytes for a in entry.arguments) * self.plan.microbatches

    # All together.

    def step(self) -> tuple[Program, dict[str, int], Moment]:
        """The forward and backward pass, what lives all through them, and the update after them."""
        entry = self.graph.units[0]
        walk = Walk(entry, self.costs, self.spread, self.plan.microbatches > 1)
        walk.outside(entry.arguments)
        walk.forward([v.id for v in entry.values], entry.results)
        turn = len(walk.program.steps)
        walk.backward(entry.results)
        walk.program.turn(turn)
        fixed = {**self.state(), "batch": self.batch()}
        if self.plan.microbatches > 1:
            fixed["sums of gradients"] = self.gradient_bytes()
            fixed["batch"] += fixed["batch"]  # cut into parts, which is a copy
        # XLA copies the optimizer's arrays, which both their own and the parameters' update read.
        update = {**fixed, "optimizer, copied": fixed["optimizer"]}
        if self.plan.microbatches == 1:
            update["gradients"] = self.gradient_bytes()
        return walk.program, fixed, Moment("update", tuple((k, v) for k, v in update.items() if v))

    def peak(self) -> int:
        """The most bytes at any moment."""
        program, fixed, update = self.step()
        return max(sum(fixed.values()) + program.peak()[0], update.bytes)

    def report(self, hardware: Hardware | None) -> MemoryReport:
        """All that is said of the step."""
        program, fixed, update = self.step()
        timeline = []
        for name, live in program.timeline():
            parts = dict(fixed)
            for buffer, size in live.items():
                component = program.components[buffer] if buffer >= 0 else "transient"
                parts[component] = parts.get(component, 0) + size
            components = tuple((k, v) for k, v in parts.items() if v)
            timeline.append(Moment(name, components, _alive(program, live)[:MOST_ALIVE]))
        timeline.append(update)
        worst = max(timeline, key=lambda m: m.bytes)
        _, _, live = program.peak()
        flops, again, traffic = self.work()
        seconds = None
        if hardware is not None:
            dtype = self.plan.precision.policy
            seconds = max(flops / hardware.flops(dtype), traffic / hardware.bandwidth)
        return MemoryReport(
            worst.bytes,
            worst.name,
            worst.components,
            _alive(program, live),
            tuple(timeline),
            tuple(self.kept()),
            flops,
            again,
            traffic,
            seconds,
            self.graph,
        )

    def kept(self) -> list[KeptValue]:
        """What stays from the forward to the backward pass."""
        found = [value for unit in self.graph.units for value in kept_values(unit)]
        return sorted(found, key=lambda k: -k.bytes)

    def work(self) -> tuple[int, int, int]:
        """Operations of a step, those of them done again, and bytes moved."""
        times = self.graph.times()
        flops = again = traffic = 0
        for index, unit in enumerate(self.graph.units):
            for node in unit.values:
                if node.unit is not None:
                    continue
                flops += times[index] * node.flops * (1 + (node.products or node.differentiated))
                traffic += times[index] * node.traffic * (1 + 2 * node.differentiated)
            if unit.group:
                again += times[index] * sum(v.flops for v in unit.values if v.unit is None)
                traffic += times[index] * sum(v.traffic for v in unit.values if v.unit is None)
            if unit.saved is not None:
                more = backward(unit, unit.saved)
                again += times[index] * more.flops
                traffic += times[index] * more.traffic
        parts = self.plan.microbatches
        return (flops + again) * parts, again * parts, traffic * parts
