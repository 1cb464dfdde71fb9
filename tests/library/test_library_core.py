"""The chapter `core` against Flax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax_layers import dense
from library_cases import Emitted, Layer, module_of
from netwright.ir.registry import elsewhere, names
from programs import ROOT

pytestmark = pytest.mark.xdist_group("library-core")  # to compile each op once

ACTS = {
    "gelu": nn.gelu,
    "gelu(exact = true)": lambda x: nn.gelu(x, approximate=False),
    "relu": nn.relu,
    "relu6": nn.relu6,
    "leaky_relu": nn.leaky_relu,
    "leaky_relu(slope = 0.2)": lambda x: nn.leaky_relu(x, 0.2),
    "elu": nn.elu,
    "elu(alpha = 0.5)": lambda x: nn.elu(x, 0.5),
    "selu": nn.selu,
    "celu": nn.celu,
    "celu(alpha = 0.5)": lambda x: nn.celu(x, 0.5),
    "silu": nn.silu,
    "softplus": nn.softplus,
    "sigmoid": nn.sigmoid,
    "tanh": nn.tanh,
    "hard_sigmoid": nn.hard_sigmoid,
    "hard_silu": nn.hard_silu,
}
INITS = {
    "lecun_normal": nn.initializers.lecun_normal(),
    "lecun_uniform": nn.initializers.lecun_uniform(),
    "glorot_normal": nn.initializers.glorot_normal(),
    "glorot_uniform": nn.initializers.glorot_uniform(),
    "he_normal": nn.initializers.he_normal(),
    "he_uniform": nn.initializers.he_uniform(),
    "orthogonal": nn.initializers.orthogonal(),
    "normal(0.02)": nn.initializers.normal(0.02),
    "truncated_normal(0.02)": nn.initializers.truncated_normal(0.02),
    "uniform(-0.1, 0.1)": lambda key, shape: nn.initializers.uniform(0.2)(key, shape) - 0.1,
    "zeros": nn.initializers.zeros,
    "ones": nn.initializers.ones,
    "full(0.5)": nn.initializers.constant(0.5),
    "variance_scaling(scale = 2.0, mode = fan_avg, distribution = uniform)": (
        nn.initializers.variance_scaling(2.0, "fan_avg", "uniform")
    ),
}
KERNELS = ("lecun_normal", "normal(0.02)")
BIASES = ("zeros", "normal(0.02)")


def linear(case, params, state, inputs):
    assert ("bias" in params) == case.options["bias"]
    return dense(params, inputs["x"])


def embed(case, params, state, inputs):
    table = nn.Embed(case.sizes["V"], case.sizes["D"])
    tied = {"params": {"embedding": params["it"]["table"]}}
    found = table.apply(tied, inputs["ids"])
    return table.apply(tied, found, method="attend")


def mlp(case, params, state, inputs):
    assert ("bias" in params["up"]) == ("bias" in params["down"]) == case.options["bias"]
    return dense(params["down"], ACTS[case.options["act"]](dense(params["up"], inputs["x"])))


def glu(case, params, state, inputs, act=None):
    act = ACTS[act or case.options["act"]]
    gated = act(dense(params["gate"], inputs["x"])) * dense(params["up"], inputs["x"])
    return dense(params["down"], gated)


def named_glu(act):
    return lambda case, params, state, inputs: glu(case, params["glu"], state, inputs, act)


def lora(case, params, state, inputs):
    """Hu et al. 2022, section 4.1: W x + alpha / r * B A x."""
    base = dense(params["base"], inputs["x"])
    scale = case.options["alpha"] / case.sizes["Rank"]
    return base + scale * jnp.dot(jnp.dot(inputs["x"], params["a"]), params["b"])


def prelu(case, params, state, inputs):
    return nn.PReLU().apply({"params": {"negative_slope": params["slope"]}}, inputs["x"])


X = {"x": "[B, S, D]"}
MORE = {
    "rate": ("0.0", "0.5"),
    "init": KERNELS,
    "out_init": ("init", "normal(0.02)"),
    "bias_init": BIASES,
}
NO = ("false", "true")
NAMED = {"bias": NO, "rate": ("0.0", "0.5"), "init": KERNELS}
LAYERS = [
    Layer(
        "core.Linear",
        X,
        "[B, S, F]",
        linear,
        dims="[D -> F]",
        options={"bias": ("true", "false"), "init": tuple(INITS), "bias_init": BIASES},
    ),
    Layer(
        "core.Embed",
        {"ids": "int[B, S]"},
        "[B, S, V]",
        embed,
        options={"init": ("variance_scaling", "normal(0.02)")},
        body=("use it = {use}", "return dot[D](it(ids), it.table)"),
    ),
    Layer(
        "core.MLP",
        X,
        "[B, S, D]",
        mlp,
        options={"act": tuple(ACTS), "bias": ("true", "false"), **MORE},
    ),
    Layer(
        "core.GLU",
        X,
        "[B, S, D]",
        glu,
        options={"act": ("sigmoid", "gelu", "silu", "tanh", "relu"), "bias": NO, **MORE},
    ),
    Layer("core.SwiGLU", X, "[B, S, D]", named_glu("silu"), options=NAMED),
    Layer("core.GeGLU", X, "[B, S, D]", named_glu("gelu"), options=NAMED),
    Layer("core.ReGLU", X, "[B, S, D]", named_glu("relu"), options=NAMED),
    Layer(
        "core.LoRA",
        X,
        "[B, S, F]",
        lora,
        dims="[D -> F, Rank = {Rank}]",
        options={
            "base": ("core.Linear", "core.Linear(bias = false)"),
            "alpha": ("16.0", "4.0"),
            "Rank": (None, 1, 3),
        },
        sizes={"Rank": 8},
    ),
    Layer("core.PReLU", X, "[B, S, D]", prelu, options={"slope": ("0.01", "0.3")}),
]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_equals_flax(layer, equal):
    equal(layer)


# What Flax has by another name, and is neither an op nor a name that a message knows.
OTHERWISE = {
    "GeGLU": "core.GeGLU",
    "PReLU": "core.PReLU",
    "constant": "full",
    "ones_init": "ones",
    "zeros_init": "zeros",
}


@pytest.mark.parametrize("module", ["activation", "initializers"])
def test_flax_has_no_other(module):
    """All its activations and initializers are ops, or layers of the library."""
    exported = getattr(nn, module)
    own = {
        name
        for name in vars(exported)
        if not name.startswith("_") and callable(getattr(exported, name))
    }
    own -= {"Any", "Array", "Dense", "Dtype", "Initializer", "Module", "Optional", "compact"}
    assert len(own) > 15
    left = {name for name in own if name not in names() and name not in elsewhere()}
    assert left <= set(OTHERWISE), left
    page = (ROOT / "docs/library.md").read_text(encoding="utf-8")
    for name in left:
        ours = OTHERWISE[name]
        assert ours in names() or f"### {ours}\n" in page


@pytest.mark.parametrize("init", INITS)
def test_initial_weights_are_drawn_as_flax_draws_them(init):
    text = (
        "import core\ndims: D = 60, F = 40\nmodel M(x: [D]) -> [F]:\n"
        f"    use it = core.Linear[D -> F](init = {init})\n    return it(x)\n"
    )
    ours = Emitted(module_of(text)).init_params(jax.random.key(0))["it"]["kernel"]
    theirs = INITS[init](jax.random.key(1), (60, 40))
    for measure in (np.mean, np.std):
        assert abs(measure(ours) - measure(theirs)) <= 0.05 * np.abs(theirs).max()
    assert abs(np.std(ours) - np.std(theirs)) <= 0.04 * np.std(theirs)


def test_dropout_keeps_the_mean():
    text = (
        "import core\ndims: B, D = 4, F = 400\nmodel M(x: [B, D]) -> [B, D]:\n"
        "    use it = core.MLP(rate = 0.25)\n    return it(x)\n"
    )
    emitted = Emitted(module_of(text))
    params = emitted.init_params(jax.random.key(0))
    x = {"x": jnp.ones((1, 4))}
    keys = jax.random.split(jax.random.key(1), 400)
    run = jax.vmap(lambda key: emitted(params, {}, x, train=True, key=key))
    draws, still = run(keys), emitted(params, {}, x)
    assert np.std(draws, axis=0).min() > 0
    np.testing.assert_allclose(np.mean(draws, axis=0), still, atol=5 * np.std(draws) / 20)
