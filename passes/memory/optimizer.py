"""How many bytes optimizers of optax keep beside the parameters."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from ...ir.core import BYTES
from ...ir.optimizers import FUNCTIONS

WIDTH = BYTES["float32"]

STATE: dict[str, tuple[int, int]] = {
    "adam": (2, 4), "adamw": (2, 4), "adamax": (2, 4), "adamaxw": (2, 4), "nadam": (2, 4),
    "nadamw": (2, 4), "amsgrad": (3, 4), "adabelief": (2, 4), "radam": (2, 4), "adan": (4, 4),
    "yogi": (2, 4), "lamb": (2, 4), "lars": (1, 0), "lion": (1, 4), "novograd": (1, 4),
    "rmsprop": (1, 0),
    "adagrad": (1, 0), "adadelta": (2, 0), "adafactor": (0, 4), "noisy_sgd": (0, 12),
    "optimistic_adam_v2": (3, 5), "optimistic_gradient_descent": (1, 1), "rprop": (2, 0),
    "signum": (1, 4), "sm3": (1, 0), "acprop": (2, 4), "ademamix": (3, 8), "adopt": (2, 4),
    "cocob": (5, 0), "dadapt_adamw": (3, 12), "dog": (1, 9), "dowg": (1, 8), "galore": (2, 8),
    "madgrad": (3, 4), "momo": (1, 16), "momo_adam": (2, 16), "muon": (2, 8), "prodigy": (4, 12),
    "schedule_free_adamw": (2, 20), "schedule_free_sgd": (1, 16), "simplified_ademamix": (2, 4),
    "add_noise": (0, 12), "apply_every": (1, 4), "ema": (1, 4), "reduce_on_plateau": (0, 24),
    "trace": (1, 0), "scale_by_acprop": (2, 4), "scale_by_adadelta": (2, 0),
    "scale_by_adam": (2, 4), "scale_by_adamax": (2, 4), "scale_by_adan": (4, 4),
    "scale_by_ademamix": (3, 8), "scale_by_adopt": (2, 4), "scale_by_amsgrad": (3, 4),
    "scale_by_belief": (2, 4), "scale_by_cocob": (5, 0),
    "scale_by_distance_over_gradients": (1, 0), "scale_by_factored_rms": (0, 4),
    "scale_by_galore": (2, 8), "scale_by_lion": (1, 4), "scale_by_novograd": (1, 4),
    "scale_by_optimistic_gradient": (1, 1), "scale_by_radam": (2, 4), "scale_by_rms": (1, 0),
    "scale_by_rss": (1, 0), "scale_by_simplified_ademamix": (2, 4), "scale_by_sm3": (1, 0),
    "scale_by_stddev": (2, 0), "scale_by_yogi": (2, 4),
}  # fmt: skip
"""How many arrays of a parameter's shape are kept with the options at their defaults, and how many
bytes for all parameters together, such as the number of the step; where nothing stands, none."""

EACH = {
    "novograd": 4, "scale_by_novograd": 4, "zero_nans": 1, "scale_by_distance_over_gradients": 8,
}  # fmt: skip
"""Bytes for each parameter besides, whatever its shape."""

FIRST = ("mu_dtype", "accumulator_dtype", "dtype_momentum", "state_dtype")
"""Options that give the dtype of the first of these arrays."""

ALL = {
    "ademamix": "mu_dtype", "scale_by_ademamix": "mu_dtype",
    "scale_by_distance_over_gradients": "param_dtype",
}  # fmt: skip
"""Those whose option gives the dtype of all of them."""

MOMENTUM = ("sgd", "rmsprop", "adafactor")
"""Optimizers that keep one array more if they are given a momentum."""

COUNTED = ("bias_correction", "warmup_steps")
"""Options for which the steps are counted once more."""

SETS = {"standard": 1, "dion": 5}
"""How many sets of three coefficients each of Muon's named ones has."""


@dataclass(frozen=True)
class Stored:
    """A trained parameter of float32.

    Attributes:
        path: by which it is known.
        shape: as it is stored, copies of a repeat stacked.
        parts: over how many devices it is spread.
    """

    path: str
    shape: tuple[int, ...]
    parts: int = 1

    @property
    def count(self) -> int:
        """Its numbers on one device."""
        return -(-prod(self.shape) // self.parts)


def state_bytes(
    name: str,
    options: Mapping[str, Any],
    params: Iterable[Stored],
    matrices: Collection[str] | None = None,
) -> int:
    """Bytes per device that an optimizer, or a transformation, keeps, to the byte.

    Args:
        name: of optax.
        options: those that differ from the defaults.
        params: that it trains.
        matrices: paths of those that Muon takes for matrices; by default those of two dims.
    """
    settings = {**FUNCTIONS[name], **options}
    arrays, fixed = STATE.get(name, (0, 0))
    widths = [WIDTH] * arrays
    if name in MOMENTUM and settings.get("momentum") is not None:
        widths.append(WIDTH)
        fixed += 4 if name == "adafactor" else 0
    if name == "rmsprop" and settings["centered"]:
        widths.append(WIDTH)
    first = next((settings[o] for o in FIRST if settings.get(o)), None)
    if name in ALL and settings[ALL[name]]:
        widths = [BYTES[settings[ALL[name]]]] * len(widths)
    elif first is not None and widths:
        widths[0] = BYTES[first]
    total = fixed + sum(4 for o in COUNTED if settings.get(o))
    if name == "muon":
        given = settings["ns_coeffs"]
        sets = SETS[given] if isinstance(given, str) else 1
        total += sets * 3 * WIDTH
    for param in params:
        total += EACH.get(name, 0) + _each(name, settings, param, widths, matrices)
    return total


def _each(
    name: str,
    settings: Mapping[str, Any],
    param: Stored,
    widths: list[int],
    matrices: Collection[str] | None,
) -> int:
    """Bytes for one parameter."""
    shape = param.shape
    if name == "muon":
        matrix = len(shape) == 2 if matrices is None else param.path in matrices
        return sum(widths[:1] if matrix else widths) * param.count  # all others are left to Adam
    if name in ("galore", "scale_by_galore") and len(shape) == 2:
        # Adam's two arrays of the gradient's projection, and what projects.
        rank = min(settings["rank"], *shape)
        return -(-(2 * rank * min(shape) + rank * max(shape)) // param.parts) * WIDTH
    found = sum(widths) * param.count
    if name in ("adafactor", "scale_by_factored_rms"):
        found += _factored(settings, shape, param.parts)
    if name in ("sm3", "scale_by_sm3"):  # a maximum for each position of each dim
        found += sum(shape) * WIDTH
    return found


def _factored(settings: Mapping[str, Any], shape: tuple[int, ...], parts: int) -> int:
    """Means over the two largest dims, where the smaller of these is large enough (optax)."""
    by_size = sorted(range(len(shape)), key=lambda i: shape[i])
    least = settings["min_dim_size_to_factor"]
    if settings["factored"] and len(shape) >= 2 and shape[by_size[-2]] >= least:
        rows, columns = (prod(shape) // shape[i] for i in by_size[-2:])
        return (-(-rows // parts) + -(-columns // parts) + 1) * WIDTH
    return (-(-prod(shape) // parts) + 2) * WIDTH
