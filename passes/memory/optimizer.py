"""How many bytes optimizers of optax keep beside the parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from typing import Any

from ...ir.core import BYTES
from ...ir.optimizers import OPTIMIZERS

SLOTS = {
    "sgd": 0, "adam": 2, "adamw": 2, "adamax": 2, "adamaxw": 2, "nadam": 2, "nadamw": 2,
    "amsgrad": 3, "adabelief": 2, "radam": 2, "adan": 4, "yogi": 2, "lamb": 2, "lars": 0,
    "lion": 1, "novograd": 1, "rmsprop": 1, "adagrad": 1, "adadelta": 2, "adafactor": 0,
    "fromage": 0, "sign_sgd": 0, "signum": 1,
}  # fmt: skip
"""How many arrays of a parameter's shape are kept with the options at their defaults."""


def state_bytes(name: str, options: Mapping[str, Any], shape: Iterable[int], parts: int = 1) -> int:
    """Bytes that an optimizer keeps for one parameter of float32; counters are left out.

    Args:
        name: of optax.
        options: those that differ from the defaults.
        shape: of the parameter as it is stored, copies of a repeat stacked.
        parts: over how many devices it is spread.
    """
    settings = {**OPTIMIZERS[name], **options}
    shape = tuple(shape)
    count = -(-prod(shape) // parts)
    width = BYTES["float32"]
    slots = [width] * SLOTS[name]
    momentum = settings.get("momentum")
    first = settings.get("mu_dtype") or settings.get("accumulator_dtype")
    if momentum is not None and name in ("sgd", "lars", "rmsprop", "adafactor"):
        slots.append(width)
    if name == "rmsprop" and settings["centered"]:
        slots.append(width)
    if first is not None and slots:
        slots[0] = BYTES[first]
    found = sum(slots) * count
    if name == "adafactor":
        found += _adafactor(settings, shape, parts)
    return found


def _adafactor(settings: Mapping[str, Any], shape: tuple[int, ...], parts: int) -> int:
    """Means over the two largest dims, where the smaller of these is large enough (optax)."""
    width = BYTES["float32"]
    largest = sorted(range(len(shape)), key=lambda i: shape[i])
    if (
        settings["factored"]
        and len(shape) >= 2
        and shape[largest[-2]] >= settings["min_dim_size_to_factor"]
    ):
        a, b = largest[-2:]
        whole = prod(shape)
        return (-(-whole // shape[a] // parts) + -(-whole // shape[b] // parts) + 1) * width
    return (-(-prod(shape) // parts) + 2) * width
