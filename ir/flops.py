"""Floating-point operations of one forward pass, by instance, from what the registry says of ops.

A multiply-add counts as two, an `exp`, `log` or `sin` as ten. Bodies count as they are written:
what a pass or XLA drops, joins or fuses is still counted. Of `if train` it is the branch of
training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .core import Module, Op, Value, join
from .facts import known_values
from .registry import lookup
from .signature import CALLS
from .size import Size

_NONE = Size.of(0)


@dataclass(frozen=True)
class Flops:
    """Operations of a forward pass: all of them, and those of products (`dot`, `conv` …) alone."""

    total: Size = _NONE
    products: Size = _NONE

    def __add__(self, other: Flops) -> Flops:
        return Flops(self.total + other.total, self.products + other.products)

    def times(self, count: Size) -> Flops:
        """The same done so many times."""
        return Flops(self.total * count, self.products * count)


def flops(module: Module) -> dict[str, Flops]:
    """For the path of each instance, what its own ops do in one forward pass, children left out.

    All copies of a repeat and all steps of a scan are counted.
    """
    root = module.instances[0].path
    runs: dict[tuple[str, int], Size] = {(root, 0): Size.of(1)}  # of each body
    found: dict[str, Flops] = {}
    for instance in module.instances:  # callers come before those they call
        done = Flops()
        for index, variant in enumerate(instance.variants):
            count = runs.get((instance.path, index), _NONE)
            known = known_values(variant.inputs, variant.ops)
            for op, times in _executed(variant.ops, count):
                if op.name in CALLS:
                    callee = (join(instance.path, op["child"]), op["variant"])
                    copies = Size.of(1) if op.name == "call" else op["along"].size
                    runs[callee] = runs.get(callee, _NONE) + times * copies
                else:
                    done += _of(op, known).times(times)
        found[instance.path] = done
    return found


def training_flops(module: Module, sizes: Mapping[str, int]) -> int:
    """Operations of the products of one training step.

    A product of the forward pass makes two in the backward pass, one for each operand, so they
    are three times those of the forward pass.
    """
    total = sum((found.products for found in flops(module).values()), _NONE)
    return 3 * (total.value if total.is_constant else total.evaluate(sizes))


def _executed(ops: tuple[Op, ...], times: Size) -> Iterator[tuple[Op, Size]]:
    """The ops that a forward pass executes, and how often it does."""
    for op in ops:
        yield op, times
        if op.name == "if_train":
            yield from _executed(op.regions[0].ops, times)
        elif op.name == "scan":
            yield from _executed(op.regions[0].ops, times * op["along"].size)


def _of(op: Op, known: dict[int, Value]) -> Flops:
    definition = lookup(op.name)
    if definition.flops is None:
        return Flops()
    count = definition.flops(tuple(known[i].type for i in op.operands), op)
    return Flops(count, count if definition.precision == "product" else _NONE)
