"""What a body needs and gives besides its values: parameters, state, a key, `train`, metrics."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from .core import Module, Op, walk
from .registry import lookup
from .signature import CALLS


@dataclass(frozen=True)
class Effects:
    """What one variant, with all that it calls, touches.

    Attributes:
        params: whether it reads parameters.
        state: whether it reads or updates state.
        key: whether it draws random numbers.
        train: whether it does something else in training.
        metrics: whether it reports any.
        serial: whether copies of it can be made one after the other only.
    """

    params: bool = False
    state: bool = False
    key: bool = False
    train: bool = False
    metrics: bool = False
    serial: bool = False

    def __or__(self, other: Effects) -> Effects:
        return Effects(*(a or b for a, b in zip(_fields(self), _fields(other), strict=True)))


def _fields(e: Effects) -> tuple[bool, ...]:
    return (e.params, e.state, e.key, e.train, e.metrics, e.serial)


@lru_cache(maxsize=4096)
def effects(module: Module, path: str, variant: int) -> Effects:
    """The effects of a variant of the instance at a path."""
    instance = module.instance(path)
    found = Effects(state=bool(instance.variants[variant].writes))
    for op in walk(instance.variants[variant].ops):
        if op.name in CALLS:
            child = module.child_of(instance, op["child"])
            found |= effects(module, child.path, op["variant"])
        found |= Effects(
            params=op.name == "param",
            state=op.name == "state",
            key=lookup(op.name).effect == "random",
            train=op.name == "if_train",
            metrics=op.name == "metric",
            serial=not lookup(op.name).mapped,
        )
    return found


@lru_cache(maxsize=4096)
def draws(module: Module, path: str, variant: int) -> bool:
    """Whether a variant, with all that it calls, draws random numbers outside of training, too."""
    instance = module.instance(path)

    def some(ops: Sequence[Op]) -> bool:
        for op in ops:
            if lookup(op.name).effect == "random":
                return True
            if op.name in CALLS:
                child = module.child_of(instance, op["child"])
                if draws(module, child.path, op["variant"]):
                    return True
            if any(some(r.ops) for r in op.regions[op.name == "if_train" :]):
                return True
        return False

    return some(instance.variants[variant].ops)


def holds(module: Module, path: str, kind: str) -> bool:
    """Whether an instance or any below it declares `params` or `states`."""
    instance = module.instance(path)
    if getattr(instance, kind):
        return True
    return any(
        holds(module, module.child_of(instance, c.name).path, kind) for c in instance.children
    )


def salt(name: str, occurrence: int = 0) -> int:
    """The 32 bits that a call folds into the key: a hash of the instance's name and the
    occurrence."""
    return zlib.crc32(f"{name}/{occurrence}".encode())
