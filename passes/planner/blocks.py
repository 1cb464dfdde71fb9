"""The blocks of a model that are planned: what a repeat runs, and layers that are called once.

A repeat is a block, whatever it runs. Of what is called once and holds no repeat, the outermost
layers are, unless one is so large that it is better taken apart: the layers that it calls are
blocks then. The model as a whole is none, since it would have to run again whole.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...ir.core import Instance, Module, Op, join
from ..memory.graph import Graph

LARGEST = 0.25
"""Of all that gradients keep, what a block holds at most, if it can be taken apart."""

SMALLEST = 0.01
"""Of the same, what a block holds at least: less is not worth a second run."""

MOST = 120
"""How many values a block has at most, if it can be taken apart; beyond, a search takes seconds."""


def apart(module: Module, graph: Graph) -> tuple[str, ...]:
    """The paths of the calls that are blocks of their own.

    Args:
        module: after the pass *layout*.
        graph: of it, with all calls inlined.
    """
    return tuple(_Cuts(module, graph).within(module.instances[0]))


class _Cuts:
    def __init__(self, module: Module, graph: Graph):
        self.module = module
        # By path, what gradients keep in and below it, and how many values there are.
        self.bytes: dict[str, int] = {}
        self.values: dict[str, int] = {}
        entry = graph.units[0]
        kept = {entry[i].root for node in entry.values for i in node.keeps}
        for node in entry.values:
            size = node.bytes if node.id in kept and node.kind == "value" else 0
            size += sum(size for _, size in node.internals)
            path = node.key.partition("/")[0]
            for around in _around(path):
                self.bytes[around] = self.bytes.get(around, 0) + size
                self.values[around] = self.values.get(around, 0) + (node.kind == "value")

    def within(self, instance: Instance) -> list[str]:
        """The blocks within what is called at a path, which is none itself."""
        found: list[str] = []
        for op in _calls(instance):
            path = join(instance.path, op["child"])
            child, share = self.module.instance(path), self.share(path)
            whole = instance is self.module.instances[0] or self.repeats(child)
            large = share > LARGEST or self.values.get(path, 0) > MOST
            if whole or (large and _calls(child)):
                found += self.within(child)
            elif share > SMALLEST:
                found.append(path)
        return list(dict.fromkeys(found))

    def share(self, path: str) -> float:
        return self.bytes.get(path, 0) / max(self.bytes.get("", 0), 1)

    def repeats(self, instance: Instance) -> bool:
        """Whether there is a repeat in what is called, or below it."""
        return any(
            op.name == "repeat"
            for i, _, op in self.module.walk()
            if i.path == instance.path or i.path.startswith(f"{instance.path}.")
        )


def _around(path: str) -> Iterator[str]:
    """A path and those around it."""
    yield path
    while path:
        path = path.rpartition(".")[0]
        yield path


def _calls(instance: Instance) -> list[Op]:
    """The calls of a body, outside of loops and branches."""
    return [op for v in instance.variants for op in v.ops if op.name == "call"]
