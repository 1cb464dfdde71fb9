"""The chapter `norm` against Flax."""

import numpy as np
import pytest
from flax import linen as nn
from library_cases import Layer

pytestmark = pytest.mark.xdist_group("library-core")  # to compile each op once


def flax(case, make, params, x, **options):
    """A normalisation of Flax with our options and parameters."""
    known = {"epsilon": case.options["eps"], "use_scale": case.options["scale"]}
    if "bias" in case.options:
        known["use_bias"] = case.options["bias"]
    return make(**known, **options).apply({"params": params}, x)


def layer_norm(case, params, state, inputs):
    return flax(case, nn.LayerNorm, params, inputs["x"], use_fast_variance=False)


def rms_norm(case, params, state, inputs):
    params = {n: p + case.options["added"] for n, p in params.items()}
    return flax(case, nn.RMSNorm, params, inputs["x"])


def batch_norm(case, params, state, inputs):
    module = nn.BatchNorm(
        use_running_average=not case.train,
        momentum=case.options["momentum"],
        epsilon=case.options["eps"],
        use_scale=case.options["scale"],
        use_bias=case.options["bias"],
        use_fast_variance=False,
    )
    stats = {"mean": state["average"], "var": state["variance"]}
    mask = inputs["live"][..., None] if "live" in inputs else None
    y, found = module.apply(
        {"params": params, "batch_stats": stats}, inputs["x"], mask=mask, mutable=["batch_stats"]
    )
    found = found["batch_stats"]
    return y, {"average": found["mean"], "variance": found["var"]}


def group_norm(case, params, state, inputs):
    groups = case.options["groups"]
    return flax(case, nn.GroupNorm, params, inputs["x"], num_groups=groups, use_fast_variance=False)


def instance_norm(case, params, state, inputs):
    return flax(case, nn.InstanceNorm, params, inputs["x"], use_fast_variance=False)


def named(params, prefix=""):
    return {prefix + name: value for name, value in params.items()}


class Wrapped(nn.Module):
    """A dense layer in one of Flax's wrappers."""

    make: type
    features: int
    options: dict
    call: dict

    @nn.compact
    def __call__(self, x):
        dense = nn.Dense(self.features, use_bias=self.options["use_bias"])
        rest = {n: v for n, v in self.options.items() if n != "use_bias"}
        return self.make(dense, **rest)(x, **self.call)


def weight_norm(case, params, state, inputs):
    options = case.options
    own = {"epsilon": options["eps"], "use_scale": options["scale"], "use_bias": options["bias"]}
    params = dict(params)
    tree = {}
    if options["scale"]:
        tree["WeightNorm_0"] = {"Dense_0/kernel/scale": params.pop("scale")}
    tree["Dense_0"] = params
    module = Wrapped(nn.WeightNorm, case.sizes["F"], own, {})
    return module.apply({"params": tree}, inputs["x"])


def spectral_norm(case, params, state, inputs):
    options = case.options
    own = {"n_steps": options["steps"], "epsilon": options["eps"], "use_bias": options["bias"]}
    module = Wrapped(nn.SpectralNorm, case.sizes["F"], own, {"update_stats": case.train})
    u, sigma = (f"Dense_0/kernel/{name}" for name in ("u", "sigma"))
    stats = {"SpectralNorm_0": {u: state["u"][None], sigma: state["sigma"]}}
    y, found = module.apply(
        {"params": {"Dense_0": params}, "batch_stats": stats}, inputs["x"], mutable=["batch_stats"]
    )
    found = found["batch_stats"]["SpectralNorm_0"]
    return y, {"u": found[u][0], "sigma": found[sigma]}


YES, NO = ("true", "false"), ("false", "true")
AFFINE = {"scale": YES, "bias": YES}
INITS = ("lecun_normal", "normal(0.5)")
X, IMAGE = {"x": "[B, S, D]"}, {"x": "[B, Y, X, D]"}
SIZES = {"Y": 3, "X": 2, "D": 6}
LAYERS = [
    Layer("norm.LayerNorm", X, "[B, S, D]", layer_norm, options={"eps": ("1e-6", "0.1"), **AFFINE}),
    Layer(
        "norm.RMSNorm",
        X,
        "[B, S, D]",
        rms_norm,
        options={"eps": ("1e-6", "0.1"), "scale": YES, "added": ("0.0", "1.0")},
    ),
    Layer(
        "norm.BatchNorm",
        {**X, "live": "bool[B, S]"},
        "[B, S, D]",
        batch_norm,
        dims="[C = D]",
        options={
            "train": (True, False),
            "live": (False, True),
            "momentum": ("0.99", "0.9"),
            "eps": ("1e-5", "0.1"),
            **AFFINE,
        },
    ),
    Layer(
        "norm.BatchNorm",
        IMAGE,
        "[B, Y, X, D]",
        batch_norm,
        dims="[C = D]",
        options={"train": (True, False), "momentum": ("0.99",), "eps": ("1e-5",), **AFFINE},
        sizes=SIZES,
    ),
    Layer(
        "norm.GroupNorm",
        X,
        "[B, S, D]",
        group_norm,
        dims="[C = D]",
        options={"groups": ("32", "2", "8"), "eps": ("1e-6", "0.1"), **AFFINE},
        sizes={"S": 2, "D": 32},
    ),
    Layer(
        "norm.GroupNorm",
        IMAGE,
        "[B, Y, X, D]",
        group_norm,
        dims="[C = D]",
        options={"groups": ("32", "2"), "eps": ("1e-6",), **AFFINE},
        sizes={**SIZES, "D": 32},
    ),
    Layer(
        "norm.InstanceNorm",
        IMAGE,
        "[B, Y, X, D]",
        instance_norm,
        dims="[C = D]",
        options={"eps": ("1e-6", "0.1"), **AFFINE},
        sizes=SIZES,
    ),
    Layer(
        "norm.WeightNorm",
        X,
        "[B, S, F]",
        weight_norm,
        dims="[D -> F]",
        options={"eps": ("1e-12", "0.1"), **AFFINE, "init": INITS},
    ),
    Layer(
        "norm.SpectralNorm",
        X,
        "[B, S, F]",
        spectral_norm,
        dims="[D -> F]",
        options={
            "train": (True, False),
            "steps": ("1", "3"),
            "eps": ("1e-12", "0.1"),
            "bias": YES,
            "init": INITS,
        },
    ),
]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_equals_flax(layer, equal):
    equal(layer)


def test_spectral_norm_finds_the_largest_singular_value():
    """After many steps sigma is numpy's."""
    import jax
    from library_cases import Emitted, module_of

    text = (
        "import norm\ndims: B, D = 5, F = 4\nmodel M(x: [B, D]) -> [B, F]:\n"
        "    use it = norm.SpectralNorm[D -> F](steps = 100)\n    return it(x)\n"
    )
    emitted = Emitted(module_of(text))
    params, state = emitted.init_params(jax.random.key(0)), emitted.init_state()
    _, state = emitted(params, state, {"x": np.ones((1, 5), np.float32)}, train=True)
    largest = np.linalg.svd(params["it"]["kernel"], compute_uv=False)[0]
    np.testing.assert_allclose(state["it"]["sigma"], largest, rtol=1e-5)
