"""Optimizers and transformations as optax has them: their names, options and defaults."""

from __future__ import annotations

from typing import Any

from .optax_options import REQUIRED

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
        "dtype_momentum": "float32", "weight_decay_rate": None, "eps": 1e-30,
        "factored": True,
    },
    "fromage": {"min_norm": 1e-6},
    "noisy_sgd": {"eta": 0.01, "gamma": 0.55, "key": REQUIRED},
    "optimistic_adam_v2": {
        "alpha": 1.0, "beta": 1.0, "b1": 0.9, "b2": 0.999, "eps": 1e-08, "eps_root": 0.0,
        "mu_dtype": None, "nesterov": True,
    },
    "optimistic_gradient_descent": {"alpha": 1.0, "beta": 1.0},
    "polyak_sgd": {"scaling": 1.0, "f_min": 0.0, "eps": 0.0, "variant": "sps"},
    "rprop": {
        "eta_minus": 0.5, "eta_plus": 1.2, "min_step_size": 1e-06, "max_step_size": 50.0,
    },
    "sign_sgd": {},
    "signum": {"beta": 0.9, "accumulator_dtype": None},
    "sm3": {"momentum": 0.9},
    "acprop": {"b1": 0.9, "b2": 0.999, "eps": 1e-16, "eps_root": 1e-16, "weight_decay": 0.0},
    "ademamix": {
        "b1": 0.9, "b2": 0.999, "b3": 0.9999, "alpha": 5.0, "eps": 1e-08, "eps_root": 0.0,
        "mu_dtype": None, "weight_decay": 0.0,
    },
    "adopt": {
        "b1": 0.9, "b2": 0.9999, "eps": 1e-06, "mu_dtype": None, "nesterov": False,
        "use_clipping": True,
    },
    "cocob": {"alpha": 100.0, "eps": 1e-08, "weight_decay": 0.0},
    "dadapt_adamw": {
        "betas": (0.9, 0.999), "eps": 1e-08, "estim_lr0": 1e-06, "weight_decay": 0.0,
    },
    "dog": {"eps": 1e-08, "weight_decay": None},
    "dowg": {"init_estim_sq_dist": None, "eps": 0.0001, "weight_decay": None},
    "galore": {"rank": 128, "update_proj_gap": 200, "scale": 1.0, "weight_decay": 0.0},
    "madgrad": {"momentum": 0.9, "weight_decay": 0.0, "eps": 1e-06},
    "momo": {"beta": 0.9, "lower_bound": 0.0, "weight_decay": 0.0, "adapt_lower_bound": False},
    "momo_adam": {
        "b1": 0.9, "b2": 0.999, "eps": 1e-08, "lower_bound": 0.0, "weight_decay": 0.0,
        "adapt_lower_bound": False,
    },
    "muon": {
        "ns_coeffs": (3.4445, -4.775, 2.0315), "ns_steps": 5, "beta": 0.95, "eps": 1e-08,
        "weight_decay": 0.0, "mu_dtype": None, "nesterov": True, "adaptive": False,
        "preconditioning": "frobenius", "adam_b1": 0.9, "adam_b2": 0.999, "adam_eps_root": 0.0,
        "adam_weight_decay": 0.0, "adam_learning_rate": None, "consistent_rms": None,
    },
    "prodigy": {
        "betas": (0.9, 0.999), "beta3": None, "eps": 1e-08, "estim_lr0": 1e-06,
        "estim_lr_coef": 1.0, "weight_decay": 0.0, "safeguard_warmup": False,
    },
    "schedule_free_adamw": {
        "warmup_steps": None, "b1": 0.9, "b2": 0.999, "eps": 1e-08, "weight_decay": 0.0,
        "weight_lr_power": 2.0, "state_dtype": None,
    },
    "schedule_free_sgd": {
        "warmup_steps": None, "b1": 0.9, "weight_decay": None, "weight_lr_power": 2.0,
        "state_dtype": None,
    },
    "simplified_ademamix": {
        "b1": 0.99, "b2": 0.95, "alpha": 0.0, "eps": 1e-08, "eps_root": 0.0, "weight_decay": 0.0,
    },
}  # fmt: skip
"""For each optimizer its options and their defaults."""

TRANSFORMATIONS: dict[str, dict[str, Any]] = {
    "clip": {"max_delta": REQUIRED},
    "clip_by_global_norm": {"max_norm": REQUIRED},
    "clip_by_block_rms": {"threshold": REQUIRED},
    "adaptive_grad_clip": {"clipping": REQUIRED, "eps": 0.001},
    "add_decayed_weights": {"weight_decay": 0.0},
    "add_noise": {"eta": REQUIRED, "gamma": REQUIRED, "key": REQUIRED},
    "apply_every": {"k": 1},
    "centralize": {},
    "ema": {"decay": REQUIRED, "debias": True, "accumulator_dtype": None},
    "keep_params_nonnegative": {},
    "normalize": {},
    "normalize_by_update_norm": {"scale_factor": 1.0, "eps": 1e-06},
    "reduce_on_plateau": {
        "factor": 0.1, "patience": 10, "rtol": 0.0001, "atol": 0.0, "cooldown": 0,
        "accumulation_size": 1, "min_scale": 0.0,
    },
    "scale": {"step_size": REQUIRED},
    "trace": {"decay": REQUIRED, "nesterov": False, "accumulator_dtype": None},
    "zero_nans": {},
    "scale_by_acprop": {"b1": 0.9, "b2": 0.999, "eps": 1e-16, "eps_root": 1e-16},
    "scale_by_adadelta": {"rho": 0.9, "eps": 1e-06},
    "scale_by_adam": {
        "b1": 0.9, "b2": 0.999, "eps": 1e-08, "eps_root": 0.0, "mu_dtype": None, "nesterov": False,
    },
    "scale_by_adamax": {"b1": 0.9, "b2": 0.999, "eps": 1e-08},
    "scale_by_adan": {"b1": 0.98, "b2": 0.92, "b3": 0.99, "eps": 1e-08, "eps_root": 0.0},
    "scale_by_ademamix": {
        "b1": 0.9, "b2": 0.999, "b3": 0.9999, "alpha": 6.0, "eps": 1e-08, "eps_root": 0.0,
        "mu_dtype": None,
    },
    "scale_by_adopt": {
        "b1": 0.9, "b2": 0.9999, "eps": 1e-06, "mu_dtype": None, "nesterov": False,
        "use_clipping": True,
    },
    "scale_by_amsgrad": {
        "b1": 0.9, "b2": 0.999, "eps": 1e-08, "eps_root": 0.0, "mu_dtype": None,
        "bias_correction_mu": True, "bias_correction_nu": True,
    },
    "scale_by_belief": {
        "b1": 0.9, "b2": 0.999, "eps": 1e-16, "eps_root": 1e-16, "nesterov": False,
    },
    "scale_by_cocob": {"alpha": 100.0, "eps": 1e-08},
    "scale_by_distance_over_gradients": {
        "reps_rel": 1e-06, "eps": 1e-08, "param_dtype": "float32", "global_scale": 1.0,
    },
    "scale_by_factored_rms": {
        "factored": True, "decay_rate": 0.8, "step_offset": 0, "min_dim_size_to_factor": 128,
        "epsilon": 1e-30,
    },
    "scale_by_galore": {"rank": 128, "update_proj_gap": 200, "scale": 1.0},
    "scale_by_lion": {
        "b1": 0.9, "b2": 0.99, "mu_dtype": None, "mode": "hard", "smooth_beta": 1.0,
    },
    "scale_by_novograd": {
        "b1": 0.9, "b2": 0.25, "eps": 1e-08, "eps_root": 0.0, "weight_decay": 0.0,
        "mu_dtype": None,
    },
    "scale_by_optimistic_gradient": {"alpha": 1.0, "beta": 1.0},
    "scale_by_param_block_norm": {"min_scale": 0.001},
    "scale_by_param_block_rms": {"min_scale": 0.001},
    "scale_by_polyak": {"f_min": 0.0, "max_learning_rate": 1.0, "eps": 0.0, "variant": "sps"},
    "scale_by_radam": {
        "b1": 0.9, "b2": 0.999, "eps": 1e-08, "eps_root": 0.0, "threshold": 5.0, "nesterov": False,
    },
    "scale_by_rms": {
        "decay": 0.9, "eps": 1e-08, "initial_scale": 0.0, "eps_in_sqrt": True,
        "bias_correction": False,
    },
    "scale_by_rss": {"initial_accumulator_value": 0.1, "eps": 1e-07},
    "scale_by_sign": {},
    "scale_by_simplified_ademamix": {
        "b1": 0.99, "b2": 0.95, "alpha": 0.0, "eps": 1e-08, "eps_root": 0.0,
    },
    "scale_by_sm3": {"b1": 0.9, "b2": 1.0, "eps": 1e-08},
    "scale_by_stddev": {
        "decay": 0.9, "eps": 1e-08, "initial_scale": 0.0, "eps_in_sqrt": True,
        "bias_correction": False,
    },
    "scale_by_trust_ratio": {"min_norm": 0.0, "trust_coefficient": 1.0, "eps": 0.0},
    "scale_by_yogi": {
        "b1": 0.9, "b2": 0.999, "eps": 0.001, "eps_root": 0.0, "initial_accumulator_value": 1e-06,
    },
}  # fmt: skip
"""For each transformation of gradients or updates its options and their defaults."""

FUNCTIONS = {**TRANSFORMATIONS, **OPTIMIZERS}
"""The options of everything that stands in `optimizer`, by name."""

CONTRIB = frozenset(
    "acprop ademamix adopt cocob dadapt_adamw dog dowg galore madgrad momo momo_adam muon normalize"
    " prodigy reduce_on_plateau scale_by_acprop scale_by_ademamix scale_by_adopt scale_by_cocob"
    " scale_by_galore scale_by_simplified_ademamix schedule_free_adamw schedule_free_sgd"
    " simplified_ademamix".split()
)
"""Those that are in `optax.contrib`."""

DECAY_MASKS = {
    **dict.fromkeys(
        ("adamw", "adamaxw", "nadamw", "adan", "lamb", "lion", "acprop", "ademamix", "cocob", "dog",
         "dowg", "galore", "simplified_ademamix", "add_decayed_weights"),
        "mask",
    ),
    **dict.fromkeys(("lars", "adadelta", "adafactor", "muon"), "weight_decay_mask"),
}  # fmt: skip
"""Those that can be told which parameters decay, and the argument that tells them."""
