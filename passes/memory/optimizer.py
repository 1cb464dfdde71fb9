"""How many bytes optimizers of optax keep beside the parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from typing import Any

from ...ir.core import BYTES
from ...ir.optimizers import FUNCTIONS

SLOTS = {
    "adam": 2, "adamw": 2, "adamax": 2, "adamaxw": 2, "nadam": 2, "nadamw": 2, "amsgrad": 3,
    "adabelief": 2, "radam": 2, "adan": 4, "yogi": 2, "lamb": 2, "lion": 1, "novograd": 1,
    "rmsprop": 1, "adagrad": 1, "adadelta": 2, "signum": 1, "optimistic_adam_v2": 3,
    "optimistic_gradient_descent": 1, "rprop": 2, "acprop": 2, "ademamix": 3, "adopt": 2,
    "cocob": 5, "dadapt_adamw": 3, "dog": 1, "dowg": 1, "galore": 2, "madgrad": 3, "momo": 1,
    "momo_adam": 2, "muon": 2, "prodigy": 4, "schedule_free_adamw": 2, "schedule_free_sgd": 1,
    "simplified_ademamix": 2, "sm3": 1, "ema": 1, "trace": 1, "apply_every": 1,
    "scale_by_acprop": 2, "scale_by_adadelta": 2, "scale_by_adam": 2, "scale_by_adamax": 2,
    "scale_by_adan": 4, "scale_by_ademamix": 3, "scale_by_adopt": 2, "scale_by_amsgrad": 3,
    "scale_by_belief": 2, "scale_by_cocob": 5, "scale_by_distance_over_gradients": 1,
    "scale_by_galore": 2, "scale_by_lion": 1, "scale_by_novograd": 1,
    "scale_by_optimistic_gradient": 1, "scale_by_radam": 2, "scale_by_rms": 1, "scale_by_rss": 1,
    "scale_by_simplified_ademamix": 2, "scale_by_sm3": 1, "scale_by_stddev": 2, "scale_by_yogi": 2,
}  # fmt: skip
"""How many arrays of a parameter's shape are kept with the options at their defaults; else none."""

FIRST = ("mu_dtype", "accumulator_dtype", "dtype_momentum", "state_dtype")
"""Options that give the dtype of the first of these arrays."""

MOMENTUM = ("sgd", "lars", "rmsprop", "adafactor")
"""Optimizers that keep one array more if they are given a momentum."""


def state_bytes(name: str, options: Mapping[str, Any], shape: Iterable[int], parts: int = 1) -> int:
    """Bytes that an optimizer, or a transformation, keeps for one parameter of float32.

    Counters and what is kept for all parameters together are left out. Of `galore` it is a bound.

    Args:
        name: of optax.
        options: those that differ from the defaults.
        shape: of the parameter as it is stored, copies of a repeat stacked.
        parts: over how many devices it is spread.
    """
    settings = {**FUNCTIONS[name], **options}
    shape = tuple(shape)
    count = -(-prod(shape) // parts)
    width = BYTES["float32"]
    slots = [width] * SLOTS.get(name, 0)
    if name in MOMENTUM and settings.get("momentum") is not None:
        slots.append(width)
    if name == "rmsprop" and settings["centered"]:
        slots.append(width)
    if name == "muon" and len(shape) == 2:  # all others are left to Adam
        slots.pop()
    first = next((settings[o] for o in FIRST if settings.get(o)), None)
    if first is not None and slots:
        slots[0] = BYTES[first]
    found = sum(slots) * count
    if name in ("adafactor", "scale_by_factored_rms"):
        found += _factored(settings, shape, parts)
    if name in ("sm3", "scale_by_sm3"):  # a maximum for each position of each dim
        found += (sum(shape) if shape else 1) * width
    return found


def _factored(settings: Mapping[str, Any], shape: tuple[int, ...], parts: int) -> int:
    """Means over the two largest dims, where the smaller of these is large enough (optax)."""
    width = BYTES["float32"]
    by_size = sorted(range(len(shape)), key=lambda i: shape[i])
    least = settings["min_dim_size_to_factor"]
    if settings["factored"] and len(shape) >= 2 and shape[by_size[-2]] >= least:
        rows, columns = (prod(shape) // shape[i] for i in by_size[-2:])
        return (-(-rows // parts) + -(-columns // parts) + 1) * width
    return (-(-prod(shape) // parts) + 2) * width
