"""What lives when: a walk over a unit's forward and backward pass, with the habits of XLA.

The walk writes a program of *steps*, each of which reads buffers and writes one; a buffer lives
from the step that writes it to the last one that reads it. The habits (`docs/memory.md` has the
measurements behind them):

- What acts element by element is fused into what reads it, and has no buffer. It is written out
  where a product reads it, where it is a result, or where it is expensive and read more than once.
- A step that only acts element by element writes over an operand that dies with it.
- Products of a gradient with respect to weights come last: until then the cotangents of what the
  weights made stay alive.
- What a loop kept is read from its stack by a slice; a product has the slice written out.
- Each of the two gradients of a product of values has the cotangent written out as it needs it.
- What runs again for the gradient of a weight alone is written at the end, with that gradient, and
  what it is made of stays alive till then; so it is for gradients of biases and scales.
- What is drawn stands in memory as 64 bits a number, outside of loops until its gradient is
  through; and so does what is expensive in an op.
- The gradient of a convolution's kernel has the cotangent laid out anew: what it is made of stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ...ir.core import BYTES
from .graph import Node, Unit

CONVOLUTIONS = ("conv", "conv_transpose")

SCATTER = ": scatter"

OUTSIDE = "kept outside of loops"
"""The component of what the gradient keeps and is in no stack of a loop."""

Buffers = frozenset[int]
NONE: Buffers = frozenset()


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        name: of what it computes: a key, or the op.
        reads: buffers.
        writes: a buffer, or None.
        scratch: bytes that live only during the step.
    """

    name: str
    reads: Buffers
    writes: int | None = None
    scratch: int = 0


@dataclass
class Program:
    """Steps, and the buffers that they read and write.

    Attributes:
        sizes: bytes of each buffer.
        names: what each is.
        components: what each is a part of, such as `kept` or `gradients`.
        held: buffers that live to the end.
    """

    steps: list[Step] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    components: list[str] = field(default_factory=list)
    held: set[int] = field(default_factory=set)

    def buffer(self, size: int, name: str, component: str = "transient") -> int:
        self.sizes.append(size)
        self.names.append(name)
        self.components.append(component)
        return len(self.sizes) - 1

    def step(
        self,
        name: str,
        reads: Iterable[int] = (),
        size: int = 0,
        scratch: int = 0,
        component: str = "transient",
    ) -> int | None:
        """Add a step; the buffer that it writes, if it writes any bytes."""
        made = self.buffer(size, name, component) if size else None
        self.steps.append(Step(name, frozenset(reads), made, scratch))
        return made

    def timeline(self) -> list[tuple[str, dict[int, int]]]:
        """For each step its name and the buffers alive in it, with their bytes (scratch as -1)."""
        return [(step.name.lstrip("~"), {**live, -1: step.scratch}) for step, live in self._run()]

    def _run(self) -> Iterator[tuple[Step, dict[int, int]]]:
        """Each step, and the buffers alive in it: always the same dict, which goes on changing."""
        last = self._last()
        live: dict[int, int] = {}
        for at, step in enumerate(self.steps):
            dying = [b for b in step.reads if last[b] == at and b in live]
            if step.writes is not None:
                size = self.sizes[step.writes]
                # An operand that dies here, and is as large, is written over.
                if step.name.startswith("~"):
                    for b in dying:
                        if self.sizes[b] == size:
                            dying.remove(b)
                            del live[b]
                            break
                live[step.writes] = size
            yield step, live
            for b in dying:
                live.pop(b, None)
            if step.writes is not None and last[step.writes] == at:
                live.pop(step.writes, None)

    def _last(self) -> dict[int, int]:
        """For each buffer the step that reads it last."""
        last: dict[int, int] = {}
        for at, step in enumerate(self.steps):
            for read in step.reads:
                last[read] = at
            if step.writes is not None:
                last.setdefault(step.writes, at)
        return {**last, **dict.fromkeys(self.held, len(self.steps))}

    def turn(self, at: int) -> None:
        """The backward pass begins at a step: what was written before and is read from there on is
        kept."""
        last = self._last()
        for made in (step.writes for step in self.steps[:at]):
            if made is not None and last[made] >= at and self.components[made] == "transient":
                self.components[made] = OUTSIDE

    def peak(self) -> tuple[int, str, dict[int, int]]:
        """The most bytes alive in a step, its name, and what is alive."""
        best: tuple[int, str, dict[int, int]] = (0, "", {})
        for step, live in self._run():
            total = sum(live.values()) + step.scratch
            if total > best[0]:
                best = (total, step.name.lstrip("~"), {**live, -1: step.scratch})
        return best


@dataclass(frozen=True)
class LoopCost:
    """What a loop takes while it runs.

    Attributes:
        stacks: bytes that stay from its forward to its backward pass.
        shared: bytes of what all copies keep once.
        forward, backward: bytes that live besides within one copy at the worst moment.
        gradients: bytes of the gradients of its parameters, of all copies.
        worst: what is alive then, in the backward pass: (name, bytes), largest first.
    """

    stacks: int
    shared: int
    forward: int
    backward: int
    gradients: int
    worst: tuple[tuple[str, int], ...] = ()


class Walk:
    """The program of one unit.

    Args:
        unit: the unit.
        loops: what inner loops take, by position of their unit.
        spread: whether arrays lie on a mesh.
        summed: whether gradients of microbatches are summed.
        again: of a backward pass, the ops that run again in it; None where all have run before.
    """

    def __init__(
        self,
        unit: Unit,
        loops: dict[int, LoopCost],
        spread: bool = False,
        summed: bool = False,
        again: frozenset[int] | None = None,
    ):
        self.again = again
        self.unit, self.loops, self.spread, self.summed = unit, loops, spread, summed
        self.program = Program()
        self.at: dict[int, Buffers] = {}  # by root: what has to be alive to read it
        self.written: dict[int, int] = {}  # by root: the buffer that holds it
        self.stacks: dict[int, int] = {}
        self.late: set[int] = set()  # roots that are written only where gradients of weights are
        self.within: dict[int, Buffers] = {}  # what is expensive in an op, and its gradient reads
        self.users = self._users()

    def _users(self) -> dict[int, list[Node]]:
        users: dict[int, list[Node]] = {}
        for node in self.unit.values:
            if node.alias_of is None:
                for id in {self.root(i) for i in node.operands}:
                    users.setdefault(id, []).append(node)
        return users

    def root(self, id: int) -> int:
        return self.unit.values[id].root

    def name(self, node: Node) -> str:
        return node.key or node.op

    # Forward.

    def outside(self, ids: Iterable[int]) -> None:
        """These are at hand elsewhere: arguments, parameters, what is in stacks."""
        for id in ids:
            self.at[self.root(id)] = NONE

    def forward(self, ids: Iterable[int], results: Iterable[int] = ()) -> None:
        wanted = {self.root(i) for i in results}
        for id in ids:
            node = self.unit.values[id]
            if node.alias_of is not None or node.first != node.id:
                if node.alias_of is None:
                    self.at.setdefault(node.id, self.at.get(node.first, NONE))
                continue
            if node.id in self.at or node.kind in ("param", "state", "const", "input"):
                self.at.setdefault(node.id, NONE)
                continue
            self._compute(node, node.id in wanted)

    def reads(self, ids: Iterable[int]) -> Buffers:
        return NONE.union(*(self.at.get(self.root(i), NONE) for i in ids)) if ids else NONE

    def _compute(self, node: Node, wanted: bool) -> None:
        program, reads = self.program, self.reads(node.operands)
        if node.kind == "effect" or not node.bytes:
            program.step(self.name(node), reads)
            return
        if node.unit is not None:
            self._loop_forward(node, reads)
            return
        if node.is_routine:
            scratch = self._operands(node, node.operands)
            made = program.step(self.name(node), reads, node.bytes, scratch)
        elif node.op == "cross_entropy":
            self._loss_forward(node, reads)
            return
        elif self.again is not None and node.expensive and len(node.internals) > 1:
            # What is expensive in it is written, and its result made of that where it is read.
            made = program.step(f"{self.name(node)}: within", reads, node.bytes)
            assert made is not None
            self.at[node.id] = reads | {made}
            self.late.add(node.id)
            return
        elif size := self._within(node):
            within = program.step(f"{self.name(node)}: within", reads, size)
            assert within is not None
            self.within[node.id] = frozenset((within,))
            self.at[node.id] = reads | {within}
            if not wanted and not any(u.is_routine for u in self.users.get(node.id, ())):
                return
            made = program.step("~" + self.name(node), self.at[node.id], node.bytes)
        elif not node.fuses or wanted or self._needs_writing(node):
            made = program.step("~" + self.name(node), reads, node.bytes)
        elif node.family == "random" and self.again is not None:
            # Drawn again, 64 bits a number stand in memory until the gradient is through.
            made = program.step(f"{self.name(node)}: bits", (), 8 * count(node))
            assert made is not None
            self.at[node.id] = reads | {made}
            return
        else:
            self.at[node.id] = reads
            if any(u.is_routine for u in self.users.get(node.id, ())):
                self.late.add(node.id)
            return
        assert made is not None
        self.at[node.id] = frozenset((made,))
        self.written[node.id] = made

    def _loss_forward(self, node: Node, reads: Buffers) -> None:
        """The exponentials stay for the gradient; the loss itself is computed last of all.

        Not so in a loop over microbatches, which has to give the loss of each.
        """
        logits = self.unit.values[self.root(node.operands[0])]
        size = max((size for _, size in node.internals), default=logits.bytes)
        made = self.program.step(f"{self.name(node)}: exp", reads, size)
        self.at[node.id] = frozenset((made,)) if made is not None else reads
        if not self.summed:
            self.program.held.update(b for b in reads if self.program.sizes[b] >= logits.bytes)

    def _needs_writing(self, node: Node) -> bool:
        users = self.users.get(node.id, [])
        runs = [u for u in users if self.again is None or u.first in self.again]
        if any(u.is_routine or u.unit is not None for u in runs):
            return True
        number = len(users) + sum(1 for u in users if node.differentiated and u.keeps)
        return node.expensive and number > 1

    def _within(self, node: Node) -> int:
        """Bytes of what is expensive in an op beside its result; its gradient reads them, but in a
        loop, where what is kept is in the stacks, and masks as such."""
        if self.again is not None or not (node.differentiated and node.internals):
            return 0
        if node.family == "random":
            return 8 * count(node)
        return node.bytes if node.expensive and self.unit.kind == "entry" else 0

    def _operands(self, node: Node, ids: Iterable[int]) -> int:
        """Bytes of operands that a product has written out for itself: slices of stacks, and what
        runs again for this gradient alone."""
        values = self.unit.values
        return sum(
            values[i].bytes
            for i in dict.fromkeys(self.root(i) for i in ids)
            if (not self.at.get(i) or i in self.late)
            and values[i].kind != "const"
            and self.unit.kind in ("repeat", "scan")
        )

    def _loop_forward(self, node: Node, reads: Buffers) -> None:
        program = self.program
        assert node.unit is not None
        cost = self.loops[node.unit]
        values = [v for v in self.unit.values if v.first == node.id]
        flows = any(v.differentiated for v in values)
        stacks = cost.stacks + cost.shared if flows else 0
        made = program.step(f"{self.name(node)}: stacks", (), stacks, component="kept")
        if made is not None:
            self.stacks[node.id] = made
            reads = reads | {made}
        program.step(f"{self.name(node)}: forward", reads, 0, cost.forward)
        for value in values:
            buffer = program.step("~" + self.name(value), reads, value.bytes)
            self.at[value.id] = frozenset((buffer,)) if buffer is not None else NONE

    # Backward.

    def backward(self, cotangents: Iterable[int], order: Iterable[int] | None = None) -> None:
        """The backward pass.

        Args:
            cotangents: ids of results, whose cotangents come from outside.
        """
        program, values = self.program, self.unit.values
        found: dict[int, list[Buffers]] = {}
        for id in cotangents:
            node = values[self.root(id)]
            made = program.step(f"∂{self.name(node)}", (), node.bytes)
            found.setdefault(node.id, []).append(frozenset((made,)) if made is not None else NONE)
        later: list[tuple[str, Buffers, int, int]] = []
        for node in reversed(values):
            if node.alias_of is not None or node.first != node.id:
                continue
            group = [v for v in values[node.id :] if v.first == node.id] if node.unit else [node]
            given = [b for v in group for b in found.pop(v.id, [])]
            if not given or node.kind in ("input", "param", "state", "const"):
                if given:
                    found[node.id] = given
                continue
            self._transpose(node, given, found, later)
        if self.spread and self.unit.kind != "entry":
            # One collective sums the gradients of all weights of a copy, whole, to another buffer.
            reads = NONE.union(*(reads for _, reads, _, _ in later))
            program.step("∂weights", reads, 0, 2 * sum(size for _, _, size, _ in later))
            later.clear()
        for name, reads, size, scratch in later:
            self._gradient(name, reads, size, scratch)
        # Cotangents of what comes from outside are handed out.
        for id, given in found.items():
            if values[id].kind == "input" and values[id].differentiated:
                program.step(f"∂{self.name(values[id])}", NONE.union(*given))

    def _gradient(self, name: str, reads: Buffers, size: int, scratch: int) -> None:
        """The gradient of a parameter: in a loop it goes to a stack, else it lives to the end."""
        if self.unit.kind == "entry":
            made = self.program.step(name, reads, size, scratch, "gradients")
            if made is not None:
                self.program.held.add(made)
        else:
            self.program.step(name, reads, 0, scratch + size)

    def _transpose(self, node: Node, given: list[Buffers], found, later) -> None:
        program, values = self.program, self.unit.values
        name = f"∂{self.name(node)}"
        cotangent = NONE.union(*given)
        wanted = [
            i
            for i in dict.fromkeys(self.root(i) for i in node.operands)
            if values[i].differentiated
        ]
        if node.unit is not None:
            self._loop_backward(node, cotangent, found)
            return
        kept = self.reads(node.keeps)
        if node.is_routine:
            # The gradient of a kernel has the cotangent laid out anew, from what it is made of.
            made_of = cotangent if node.op in CONVOLUTIONS and self.unit.kind == "entry" else NONE
            laid = 0  # what each gradient of a product of two values has written for itself alone
            if len(wanted) > 1 and not any(values[i].stored for i in wanted):
                laid = node.bytes
            else:
                cotangent = self._written(name, node, cotangent)
            for id in wanted:
                operand = values[id]
                others = [i for i in node.keeps if self.root(i) != id]
                scratch = self._operands(node, others) + laid
                reads = cotangent | self.reads(others)
                if operand.stored:  # a parameter; its gradient is added up in float32
                    size = operand.bytes * 4 // BYTES[operand.dtype]
                    gradient = (f"∂{operand.key or name}", reads | made_of, size, scratch)
                    tied = len(self.users.get(id, ())) > 1
                    if self.unit.kind == "entry" and tied and not self.spread:
                        self._gradient(*gradient)
                    else:
                        later.append(gradient)
                    continue
                made = program.step(f"∂{self.name(operand)}", reads, operand.bytes, scratch)
                assert made is not None
                found.setdefault(id, []).append(frozenset((made,)))
            return
        if node.op == "cross_entropy":  # the gradient of the lookup is a scatter into zeros
            logits = values[self.root(node.operands[0])]
            made = program.step(name + SCATTER, cotangent, logits.bytes)
            cotangent = self.at[node.id] | (frozenset((made,)) if made is not None else NONE)
        if len(given) > 1 and len(cotangent) > 1 and node.op != "concat":
            cotangent = self._written(name, node, cotangent)
        within = self.within.get(node.id, self.at.get(node.id, NONE)) if node.internals else NONE
        reads = cotangent | kept | within
        if not node.fuses and any(values[i].bytes >= node.bytes for i in wanted):
            program.step(name, reads)  # a reduction over the cotangent, small
        for id in wanted:
            operand = values[id]
            if operand.kind == "param":
                gradient = (f"∂{operand.key}", reads, operand.bytes, 0)
                if self.again is None:
                    self._gradient(*gradient)
                else:
                    later.append(gradient)
            else:
                found.setdefault(id, []).append(reads)

    def _written(self, name: str, node: Node, cotangent: Buffers) -> Buffers:
        """The cotangent in a buffer of its own, if it is not in one already."""
        if len(cotangent) == 1:
            (only,) = cotangent
            if self.program.sizes[only] == node.bytes and self.program.names[only].startswith("∂"):
                return cotangent
        # What flattens on the way has another shape than what it reads, and cannot go over it.
        flattens = any(self.program.names[b].endswith(SCATTER) for b in cotangent)
        made = self.program.step(name if flattens else "~" + name, cotangent, node.bytes)
        return frozenset((made,)) if made is not None else NONE

    def _loop_backward(self, node: Node, cotangent: Buffers, found) -> None:
        program, values = self.program, self.unit.values
        assert node.unit is not None
        cost = self.loops[node.unit]
        stack = self.stacks.get(node.id)
        reads = cotangent | self.reads(node.operands)
        if stack is not None:
            reads |= {stack}
        name = f"∂{self.name(node)}"
        if cost.gradients:
            made = program.step(f"{name}: gradients", reads, cost.gradients, 0, "gradients")
            assert made is not None
            if self.unit.kind == "entry":
                program.held.add(made)
            reads |= {made}
        program.step(f"{name}: backward", reads, 0, cost.backward)
        for id in dict.fromkeys(self.root(i) for i in node.operands):
            if values[id].differentiated and values[id].kind != "param":
                made = program.step("~" + f"∂{self.name(values[id])}", reads, values[id].bytes)
                found.setdefault(id, []).append(frozenset((made,)) if made is not None else NONE)


def count(node: Node) -> int:
    """How many numbers a value has."""
    return node.bytes // BYTES[node.dtype]
