"""Optimizers and schedules as optax has them: their names, options and defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .recipe_forms import Flag, Form, Real, Table, Whole, Word

PRECISION = Word(
    ("float32", "bfloat16", "float16"), {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}
)
"""The name of a dtype to compute in."""

REQUIRED = "required"
"""Stands where an option has no default."""

STEPS = "train.steps"
"""Stands where an option is the number of steps unless given."""

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"momentum": None, "nesterov": False, "accumulator_dtype": None},
    "adam": {
        "b1": 0.9, "b2": 0.999, "eps": 1e-8, "eps_root": 0.0, "mu_dtype": None, "nesterov": False,
    },
    "adamw": {
        "b1": 0.9, "b2": 0.999, "eps": 1e-8, "eps_root": 0.0, "mu_dtype": None,
        "weight_decay": 1e-4, "nesterov": False,
    },
    "adamax": {"b1": 0.9, "b2": 0.999, "eps": 1e-8},
    "adamaxw": {"b1": 0.9, "b2": 0.999, "eps": 1e-8, "weight_decay": 1e-4},
    "nadam": {
        "b1": 0.9, "b2": 0.999, "eps": 1e-8, "eps_root": 0.0, "mu_dtype": None, "nesterov": True,
    },
    "nadamw": {
        "b1": 0.9, "b2": 0.999, "eps": 1e-8, "eps_root": 0.0, "mu_dtype": None,
        "weight_decay": 1e-4, "nesterov": True,
    },
    "amsgrad": {
        "b1": 0.9, "b2": 0.999, "eps": 1e-8, "eps_root": 0.0, "mu_dtype": None,
        "bias_correction_mu": True, "bias_correction_nu": True,
    },
    "adabelief": {"b1": 0.9, "b2": 0.999, "eps": 1e-16, "eps_root": 1e-16, "nesterov": False},
    "radam": {
        "b1": 0.9, "b2": 0.999, "eps": 1e-8, "eps_root": 0.0, "threshold": 5.0, "nesterov": False,
    },
    "adan": {
        "b1": 0.98, "b2": 0.92, "b3": 0.99, "eps": 1e-8, "eps_root": 1e-8, "weight_decay": 0.0,
    },
    "yogi": {"b1": 0.9, "b2": 0.999, "eps": 1e-3},
    "lamb": {"b1": 0.9, "b2": 0.999, "eps": 1e-6, "eps_root": 0.0, "weight_decay": 0.0},
    "lars": {
        "weight_decay": 0.0, "trust_coefficient": 1e-3, "eps": 0.0, "momentum": 0.9,
        "nesterov": False,
    },
    "lion": {"b1": 0.9, "b2": 0.99, "mu_dtype": None, "weight_decay": 1e-3},
    "novograd": {"b1": 0.9, "b2": 0.25, "eps": 1e-6, "eps_root": 0.0, "weight_decay": 0.0},
    "rmsprop": {
        "decay": 0.9, "eps": 1e-8, "initial_scale": 0.0, "eps_in_sqrt": True, "centered": False,
        "momentum": None, "nesterov": False, "bias_correction": False,
    },
    "adagrad": {"initial_accumulator_value": 0.1, "eps": 1e-7},
    "adadelta": {"rho": 0.9, "eps": 1e-6, "weight_decay": 0.0},
    "adafactor": {
        "min_dim_size_to_factor": 128, "decay_rate": 0.8, "decay_offset": 0,
        "multiply_by_parameter_scale": True, "clipping_threshold": 1.0, "momentum": None,
        "weight_decay_rate": None, "eps": 1e-30, "factored": True,
    },
    "fromage": {"min_norm": 1e-6},
    "sign_sgd": {},
    "signum": {"beta": 0.9, "accumulator_dtype": None},
}  # fmt: skip
"""For each optimizer its options and their defaults."""

DECAYS = ("weight_decay", "weight_decay_rate")
"""The options that shrink parameters."""

DECAY_MASKS = {
    "adamw": "mask", "adamaxw": "mask", "nadamw": "mask", "adan": "mask", "lamb": "mask",
    "lion": "mask", "lars": "weight_decay_mask", "adadelta": "weight_decay_mask",
    "adafactor": "weight_decay_mask",
}  # fmt: skip
"""Optimizers that can be told which parameters decay, and the argument that tells them."""

_RATE = Real(least=0.0, below=1.0)
_FORMS: dict[str, Form] = {
    **dict.fromkeys(("b1", "b2", "b3", "beta", "rho", "decay", "momentum"), _RATE),
    **dict.fromkeys(("mu_dtype", "accumulator_dtype"), PRECISION),
    **dict.fromkeys((*DECAYS, "eps", "eps_root", "alpha", "end_value", "init_value"), Real(0.0)),
    "clipping_threshold": Real(over=0.0),
    "min_dim_size_to_factor": Whole(1),
    **dict.fromkeys(("decay_steps", "transition_steps"), Whole(1)),
    **dict.fromkeys(("warmup_steps", "transition_begin"), Whole(0)),
    "decay_rate": Real(over=0.0),
    "pct_start": Real(over=0.0, below=1.0),
    **dict.fromkeys(("div_factor", "final_div_factor", "power", "exponent"), Real(over=0.0)),
    "boundaries_and_scales": Table("steps", Real(0.0)),
}


def option_form(name: str, default: Any = None) -> Form:
    """What an option may be: by its name, else by the type of its default."""
    if name in _FORMS:
        return _FORMS[name]
    if isinstance(default, bool):
        return Flag()
    return Whole(0) if isinstance(default, int) else Real()


@dataclass(frozen=True)
class ScheduleKind:
    """A schedule of the learning rate.

    Attributes:
        optax: the function in optax; "" for one that is put together.
        rate: its argument that the optimizer's learning rate is given for.
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
    "onecycle": ScheduleKind(
        "cosine_onecycle_schedule",
        "peak_value",
        {
            "transition_steps": STEPS, "pct_start": 0.3, "div_factor": 25.0,
            "final_div_factor": 1e4,
        },
        "rises along half a cosine for the part pct_start, then falls along another",
    ),
}  # fmt: skip

SCHEDULE_WORDS = {k.optax: n for n, k in SCHEDULES.items() if k.optax}
"""Optax's names, which mean the same."""
