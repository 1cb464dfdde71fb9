"""Units of a memory plan: values with their bytes and costs, what gradients keep of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Node:
    """A value: what one op gives, an argument of the unit, or a parameter.

    An op of several results has a node for each; the first bears its costs.

    Attributes:
        id: its place in `Unit.values`, which stand in the order of execution.
        key: `path/label`, by which a plan speaks of it; of a parameter or state its path; "" for
            none. A layer that is called twice gives two nodes of one key.
        also: other keys that mean it: a call's result has its own in the caller.
        op: the name of the op in the registry; `argument` of what the unit takes.
        family: that of the op.
        lowering: what XLA makes of it, as the registry has it.
        expensive: whether XLA avoids to compute it twice.
        kind: `input`, `param`, `state`, `const`, `value`, or `effect` (a metric).
        operands: ids of what the op reads.
        first: the id of the op's first result.
        dtype: concrete.
        bytes: per device. A parameter's are those where it is used, gathered as that needs.
        stored: of a parameter or state, or one that was cast: bytes per device where it lies as a
            parameter is stored, one copy.
        flops: of computing it once, per device.
        traffic: bytes that the op reads and writes.
        place: the line of the model, such as `gpt.nw:29`.
        alias_of: the id of the value whose bytes these are, of views (never a view itself); None
            for a value of its own.
        keeps: ids of what the op's gradient keeps.
        internals: dtypes and bytes of what it keeps besides, such as an `exp` inside of softmax.
        hoisted: bytes of what it keeps besides that is the same in every copy of a loop, and so is
            kept once: a mask spread over the scores.
        differentiated: whether a gradient flows through it.
        products: of a product: of how many operands the gradient is computed.
        invariant: whether it is the same in every copy, so that a loop computes it once, outside.
        unit: of a loop: the position in `Graph.units` of what it runs; else None.
    """

    id: int
    key: str
    op: str
    kind: str
    family: str = ""
    lowering: str = "written"
    expensive: bool = False
    also: tuple[str, ...] = ()
    operands: tuple[int, ...] = ()
    first: int = -1
    dtype: str = "float32"
    bytes: int = 0
    stored: int = 0
    flops: int = 0
    traffic: int = 0
    place: str = ""
    alias_of: int | None = None
    keeps: tuple[int, ...] = ()
    internals: tuple[tuple[str, int], ...] = ()
    hoisted: int = 0
    differentiated: bool = False
    products: int = 0
    invariant: bool = False
    unit: int | None = None

    @property
    def kept(self) -> int:
        """Bytes per device of keeping it: a parameter that was cast stays as spread as it was."""
        return self.stored or self.bytes

    @property
    def root(self) -> int:
        """The id of the value whose bytes these are."""
        return self.id if self.alias_of is None else self.alias_of

    @property
    def fuses(self) -> bool:
        """Whether XLA computes it where it is read."""
        return self.lowering in ("view", "fused")

    @property
    def is_routine(self) -> bool:
        """Whether it is computed by a routine that wants its operands in memory."""
        return self.lowering == "routine"


@dataclass(frozen=True)
class Unit:
    """What is checkpointed as one.

    Attributes:
        path: of the instance that is repeated or called; "" for the rest; of a scan that of its
            instance.
        kind: `entry`, `repeat`, `scan`, or `call`: a layer that is called once, and may run again.
        copies: how often it runs for each time that its loop does.
        values: all of its values, in the order of execution.
        results: ids of what it gives.
        arguments: ids of what it takes, one for each operand of its loop.
        carried: pairs (result, argument), by position: what is handed to the next copy.
        dealt: positions of arguments of which each copy gets a slice.
        saved: where the module says that copies are run again for the gradient: ids of the values
            that stay, on the device or on the host; None where all that gradients keep stays.
        offloaded: those of them that go to the memory of the host.
        group: how many copies run again together, so that of them only what the first is given
            stays; 0 where each copy stands by itself.
    """

    path: str
    kind: str
    copies: int
    values: tuple[Node, ...]
    results: tuple[int, ...]
    arguments: tuple[int, ...] = ()
    carried: tuple[tuple[int, int], ...] = ()
    dealt: tuple[int, ...] = ()
    saved: tuple[int, ...] | None = None
    offloaded: tuple[int, ...] = ()
    group: int = 0

    def __getitem__(self, id: int) -> Node:
        return self.values[id]

    def keyed(self) -> dict[str, tuple[int, ...]]:
        """For every key, also the second ones, the nodes that it means."""
        table: dict[str, tuple[int, ...]] = {}
        for node in self.values:
            for key in (node.key, *node.also):
                if key:
                    table[key] = (*table.get(key, ()), node.id)
        return table


@dataclass(frozen=True)
class Choice:
    """What stays of a unit for its gradient.

    Attributes:
        keys: of the values that stay on the device; None where nothing runs again copy by copy.
        offloaded: keys of those that stay on the host.
        group: as in `Unit`.
    """

    keys: frozenset[str] | None = None
    offloaded: frozenset[str] = frozenset()
    group: int = 0


@dataclass(frozen=True)
class Graph:
    """All units of a module; the first is the entry.

    Attributes:
        sizes: what the free sizes are here; that of the batch is of one microbatch.
    """

    units: tuple[Unit, ...]
    sizes: tuple[tuple[str, int], ...]

    def times(self) -> list[int]:
        """How often each unit runs in the forward pass of a microbatch."""
        times = [1] + [0] * (len(self.units) - 1)
        for index, unit in enumerate(self.units):
            for node in unit.values:
                if node.unit is not None and node.first == node.id:
                    times[node.unit] += times[index] * self.units[node.unit].copies
        return times

    def unit(self, path: str, kind: str = "repeat") -> Unit:
        """The unit of a repeat at a path; KeyError if there is none."""
        for found in self.units:
            if found.path == path and found.kind == kind:
                return found
        raise KeyError(path)


@dataclass(frozen=True)
class Backward:
    """What the backward pass of a checkpointed unit works from.

    Attributes:
        kept: ids of saved values that it reads, and so are kept; those that nothing reads are not.
        recomputed: ids of values that it computes again, in the order of execution.
        flops, traffic: of computing these.
        internals: bytes that gradients keep inside of recomputed ops, while one copy goes backward.
    """

    kept: tuple[int, ...]
    recomputed: tuple[int, ...]
    flops: int
    traffic: int
    internals: int


def backward(unit: Unit, saved: Iterable[int]) -> Backward:
    """What the backward pass keeps and recomputes, if these values are saved and no others.

    What the unit takes is always there: JAX keeps the arguments of what is checkpointed. An op
    whose gradient needs an internal, or its own result, runs again whether or not that is saved:
    JAX takes both before they have a name. A mask that is drawn is made of its key alone.

    Args:
        saved: ids of values; a view of a saved value is as good as saved.
    """
    nodes = unit.values
    have = {nodes[i].root for i in saved}
    kept: set[int] = set()
    again: set[int] = set()
    stack: list[int] = []
    internals = 0

    def need(id: int) -> None:
        node = nodes[nodes[id].root]
        if node.kind in ("input", "param", "state", "const", "effect"):
            return
        if node.id in have:
            kept.add(node.id)
        elif node.first not in again:
            again.add(node.first)
            stack.append(node.first)

    for node in nodes:
        if not (node.keeps or node.internals):
            continue
        own = [id for id in node.keeps if nodes[id].first == node.first]
        for id in node.keeps:
            if id not in own:
                need(id)
        internals += sum(size for _, size in node.internals)
        drawn = node.family == "random"
        if (own or (node.internals and not drawn)) and node.first not in again:
            again.add(node.first)
            stack.append(node.first)
    while stack:
        for id in nodes[stack.pop()].operands:
            need(id)
    order = tuple(sorted(again))
    return Backward(
        tuple(sorted(kept)),
        order,
        sum(nodes[i].flops for i in order),
        sum(nodes[i].traffic for i in order),
        internals,
    )


def residuals(unit: Unit) -> tuple[tuple[int | None, str, int], ...]:
    """What is kept of one copy where nothing is checkpointed: (id, dtype, bytes).

    Internals have no id. Parameters and constants, which are there already, are left out, as is
    what all copies `shared`. Outside of loops XLA sees that a value and its reshape are one.
    """
    kept = _kept(unit)
    if unit.kind == "call":
        kept = tuple(dict.fromkeys(unit[i].root for i in kept))
    found = {i: (i, unit[i].dtype, unit[i].kept) for i in kept if not unit[i].invariant}
    inner = [
        (None, dtype, size)
        for node in unit.values
        if not node.invariant
        for dtype, size in node.internals
    ]
    return (*found.values(), *inner)


def kept_bytes(unit: Unit) -> int:
    """Bytes that one copy keeps where nothing runs again; a call's arguments are there anyway."""
    there = unit.arguments if unit.kind == "call" else ()
    return sum(size for id, _, size in residuals(unit) if id not in there)


def stays(unit: Unit) -> tuple[tuple[int | None, str, int], ...]:
    """What stays of all copies, as it is decided for the unit: (id, dtype, bytes).

    What a copy is given by what is around the unit, and not by the copy before, is among it, though
    it is there in any case.
    """
    if unit.saved is None and not unit.group:
        return tuple((i, dtype, size * unit.copies) for i, dtype, size in residuals(unit))
    handed = [unit.arguments[a] for _, a in unit.carried]
    needed = [i for i in unit.arguments if i not in handed and unit[i].differentiated]
    if unit.group:
        found = dict.fromkeys((*handed, *needed))
        number = unit.copies // unit.group
        return tuple((i, unit[i].dtype, unit[i].bytes * number) for i in found)
    gone = {unit[i].root for i in unit.offloaded}
    kept = (*handed, *backward(unit, unit.saved or ()).kept)
    found = dict.fromkeys((*(i for i in kept if unit[i].root not in gone), *needed))
    return tuple((i, unit[i].dtype, unit[i].bytes * unit.copies) for i in found)


def shared(unit: Unit) -> tuple[tuple[int | None, str, int], ...]:
    """What the gradients of all copies keep together, once: (id, dtype, bytes)."""
    found = {i: (i, unit[i].dtype, unit[i].kept) for i in _kept(unit) if unit[i].invariant}
    inner = [
        (None, dtype, size)
        for node in unit.values
        if node.invariant
        for dtype, size in node.internals
    ]
    inner += [(None, "bool", node.hoisted) for node in unit.values if node.hoisted]
    return (*found.values(), *inner)


def _kept(unit: Unit) -> tuple[int, ...]:
    held = ("param", "state", "const")
    ids = dict.fromkeys(i for node in unit.values for i in node.keeps)
    return tuple(i for i in ids if unit[unit[i].root].kind not in held)
