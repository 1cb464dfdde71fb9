"""The options of optax's functions: what each may be, by its name."""

from __future__ import annotations

from typing import Any

from .recipe_forms import Either, Flag, Form, Many, Real, Table, Whole, Word

PRECISION = Word(
    ("float32", "bfloat16", "float16"), {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}
)
"""The name of a dtype to compute in."""

REQUIRED = "required"
"""Stands where an option has no default."""

STEPS = "train.steps"
"""Stands where an option is the number of steps unless given."""

DECAYS = ("weight_decay", "weight_decay_rate")
"""The options that shrink parameters."""

_RATE = Real(least=0.0, below=1.0)
_POSITIVE = Real(over=0.0)
_FORMS: dict[str, Form] = {
    **dict.fromkeys(("b1", "b3", "beta", "rho", "decay", "momentum", "adam_b1", "adam_b2"), _RATE),
    "b2": Real(least=0.0, most=1.0),  # 1 in SM3: sums, not averages
    "beta3": _RATE,
    "betas": Many(_RATE, 2),
    **dict.fromkeys(
        ("mu_dtype", "accumulator_dtype", "dtype_momentum", "state_dtype", "param_dtype"),
        PRECISION,
    ),
    **dict.fromkeys(
        (*DECAYS, "eps", "eps_root", "alpha", "end_value", "init_value", "peak_value", "value",
         "adam_weight_decay", "adam_learning_rate", "adam_eps_root", "optimism", "eta", "gamma"),
        Real(0.0),
    ),
    **dict.fromkeys(
        ("clipping_threshold", "max_norm", "max_delta", "threshold", "clipping", "decay_rate",
         "div_factor", "final_div_factor", "power", "exponent", "init_estim_sq_dist", "factor",
         "consistent_rms", "smooth_beta"),
        _POSITIVE,
    ),
    **dict.fromkeys(
        ("min_dim_size_to_factor", "decay_steps", "transition_steps", "total_steps", "k", "rank",
         "update_proj_gap", "accumulation_size", "ns_steps"),
        Whole(1),
    ),
    **dict.fromkeys(("warmup_steps", "transition_begin", "key"), Whole(0)),
    **dict.fromkeys(("pct_start", "pct_final"), Real(over=0.0, below=1.0)),
    "ns_coeffs": Either((Word(("standard", "dion")), Many(Real(), 3))),
    "preconditioning": Word(("frobenius", "spectral", "aol", "schatten")),
    "variant": Word(("sps", "sps+")),
    "mode": Word(("hard", "smooth", "refined")),
    "interpolate_type": Word(("linear", "cosine")),
    "boundaries_and_scales": Table("steps", Real(0.0)),
    **dict.fromkeys(("boundaries", "cycles"), Many(Whole(1))),
}  # fmt: skip


def option_form(name: str, default: Any = None) -> Form:
    """What an option may be: by its name, else by the type of its default."""
    if isinstance(default, bool):
        return Flag()
    if name in _FORMS:
        return _FORMS[name]
    return Whole(0) if isinstance(default, int) else Real()
