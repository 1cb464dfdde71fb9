"""Schedules as optax has them: their names, options and defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .optax_options import REQUIRED, STEPS


@dataclass(frozen=True)
class ScheduleKind:
    """A schedule of the learning rate, or of another option.

    Attributes:
        optax: the function in optax; "" for one that is put together from several.
        rate: its argument that what is scheduled is given for; "" if it has none.
        options: its other arguments, with optax's defaults where it has any, else ours.
        doc: what it does.
    """

    optax: str
    rate: str
    options: Mapping[str, Any]
    doc: str


SCHEDULES: dict[str, ScheduleKind] = {
    "constant": ScheduleKind("constant_schedule", "value", {}, "the same all the time"),
    "cosine": ScheduleKind(
        "cosine_decay_schedule",
        "init_value",
        {"decay_steps": STEPS, "alpha": 0.0, "exponent": 1.0},
        "falls along half a cosine to alpha times the learning rate",
    ),
    "warmup_cosine": ScheduleKind(
        "warmup_cosine_decay_schedule",
        "peak_value",
        {
            "init_value": 0.0, "warmup_steps": REQUIRED, "decay_steps": STEPS,
            "end_value": 0.0, "exponent": 1.0,
        },
        "rises from init_value in warmup_steps, then falls along half a cosine to end_value;"
        " decay_steps counts both",
    ),
    "linear": ScheduleKind(
        "linear_schedule",
        "init_value",
        {"end_value": 0.0, "transition_steps": STEPS, "transition_begin": 0},
        "falls along a line to end_value",
    ),
    "warmup_linear": ScheduleKind(
        "",
        "peak_value",
        {"init_value": 0.0, "warmup_steps": REQUIRED, "decay_steps": STEPS, "end_value": 0.0},
        "rises from init_value in warmup_steps, then falls along a line to end_value;"
        " decay_steps counts both",
    ),
    "warmup_constant": ScheduleKind(
        "warmup_constant_schedule",
        "peak_value",
        {"init_value": 0.0, "warmup_steps": REQUIRED},
        "rises from init_value in warmup_steps, then stays",
    ),
    "warmup_stable_decay": ScheduleKind(
        "",
        "peak_value",
        {
            "init_value": 0.0, "warmup_steps": REQUIRED, "decay_steps": REQUIRED,
            "total_steps": STEPS, "end_value": 0.0,
        },
        "rises from init_value in warmup_steps, stays, and falls along a line to end_value in the"
        " last decay_steps of total_steps; wsd for short",
    ),
    "exponential": ScheduleKind(
        "exponential_decay",
        "init_value",
        {
            "transition_steps": STEPS, "decay_rate": REQUIRED, "transition_begin": 0,
            "staircase": False, "end_value": None,
        },
        "is multiplied by decay_rate every transition_steps",
    ),
    "warmup_exponential": ScheduleKind(
        "warmup_exponential_decay_schedule",
        "peak_value",
        {
            "init_value": 0.0, "warmup_steps": REQUIRED, "transition_steps": STEPS,
            "decay_rate": REQUIRED, "transition_begin": 0, "staircase": False, "end_value": None,
        },
        "rises from init_value in warmup_steps, then as exponential",
    ),
    "polynomial": ScheduleKind(
        "polynomial_schedule",
        "init_value",
        {
            "end_value": 0.0, "power": REQUIRED, "transition_steps": STEPS, "transition_begin": 0,
        },
        "falls to end_value along a polynomial of degree power",
    ),
    "piecewise": ScheduleKind(
        "piecewise_constant_schedule",
        "init_value",
        {"boundaries_and_scales": REQUIRED},
        "is multiplied by a number at each of some steps:"
        " boundaries_and_scales = { 1000 = 0.1, 1500 = 0.1 }",
    ),
    "interpolate": ScheduleKind(
        "piecewise_interpolate_schedule",
        "init_value",
        {"interpolate_type": REQUIRED, "boundaries_and_scales": REQUIRED},
        "as piecewise, with linear or cosine (interpolate_type) passages from each to the next",
    ),
    "onecycle": ScheduleKind(
        "cosine_onecycle_schedule",
        "peak_value",
        {
            "transition_steps": STEPS, "pct_start": 0.3, "div_factor": 25.0,
            "final_div_factor": 1e4,
        },
        "rises along half a cosine for the part pct_start, then falls along another",
    ),
    "linear_onecycle": ScheduleKind(
        "linear_onecycle_schedule",
        "peak_value",
        {
            "transition_steps": STEPS, "pct_start": 0.3, "pct_final": 0.85, "div_factor": 25.0,
            "final_div_factor": 1e4,
        },
        "rises along a line for the part pct_start, falls back until pct_final, then further",
    ),
    "sgdr": ScheduleKind(
        "sgdr_schedule",
        "peak_value",
        {
            "cycles": REQUIRED, "warmup_steps": 0, "init_value": 0.0, "end_value": 0.0,
            "exponent": 1.0, "factor": 1.0,
        },
        "warmup_cosine again and again, each as long as cycles = [100, 200, 400] says, its peak"
        " factor times the one before",
    ),
    "join": ScheduleKind(
        "join_schedules",
        "",
        {"schedules": REQUIRED, "boundaries": REQUIRED},
        "one schedule after the other: schedules = [{ … }, { … }], each counting steps from its"
        " beginning; boundaries = [100] are the steps where the next begins",
    ),
}  # fmt: skip

SCHEDULE_WORDS = {k.optax: n for n, k in SCHEDULES.items() if k.optax}
SCHEDULE_WORDS["wsd"] = "warmup_stable_decay"
"""Optax's names, which mean the same, and a short one."""


def part_lengths(boundaries: tuple[int, ...], steps: int) -> list[int]:
    """How many steps each part of a joined schedule has."""
    return [end - start for start, end in zip([0, *boundaries], [*boundaries, steps], strict=True)]
