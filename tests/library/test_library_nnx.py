"""Layers of the library against those of Flax's NNX, in the cases in which they equal Linen's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import flax_layers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import test_library_attention
import test_library_core
import test_library_norm
import test_library_recurrent
import test_library_vision
from flax import nnx
from library_cases import Emitted, Layer, module_of
from nnx_layers import NNX, PLAIN, fill

CHAPTERS = {
    "core": test_library_core,
    "norm": test_library_norm,
    "attention": test_library_attention,
    "vision": test_library_vision,
    "recurrent": test_library_recurrent,
}


def linear_of(case, params):
    layer = nnx.Linear(
        case.sizes["D"], case.sizes["F"], use_bias="bias" in params, rngs=nnx.Rngs(0)
    )
    fill(layer, {name: params[name] for name in ("kernel", "bias") if name in params})
    return layer


def weight_norm(case, params, state, inputs):
    options = case.options
    layer = nnx.WeightNorm(
        linear_of(case, params),
        use_scale=options["scale"],
        epsilon=options["eps"],
        rngs=nnx.Rngs(0),
    )
    if options["scale"]:
        layer.scales = nnx.data({path: params["scale"] for path in layer.scales})
    return layer(inputs["x"])


def spectral_norm(case, params, state, inputs):
    options = case.options
    layer = nnx.SpectralNorm(
        linear_of(case, params), n_steps=options["steps"], epsilon=options["eps"], rngs=nnx.Rngs(0)
    )
    for path in layer.batch_stats:
        value = state["u"][None] if path[-1] == "u" else state["sigma"]
        layer.batch_stats[path] = nnx.BatchStat(value)
    y = layer(inputs["x"], update_stats=case.train)
    found = {path[-1]: stat[...] for path, stat in layer.batch_stats.items()}
    return y, {"u": found["u"][0], "sigma": found["sigma"]}


def lora(case, params, state, inputs):
    rank = case.sizes["Rank"]
    scale = case.options["alpha"] / rank
    base = linear_of(case, params["base"])
    layer = nnx.LoRA(case.sizes["D"], rank, case.sizes["F"], base_module=base, rngs=nnx.Rngs(0))
    fill(layer, {"lora_a": params["a"] * scale, "lora_b": params["b"]})
    return layer(inputs["x"])


OWN = {"norm.WeightNorm": weight_norm, "norm.SpectralNorm": spectral_norm, "core.LoRA": lora}


# Options that NNX has no part in: how parameters begin, and which dims a use names.
OURS = (
    *("init", "bias_init", "recurrent_init"),
    *("To", "Zo", "Yo", "Xo", "K", "Kz", "Ky", "Kx", "State"),
)


def shared(layer: Layer) -> dict[str, Sequence[Any]]:
    """The options of a layer that NNX has, too."""
    options = {n: values[:1] if n in OURS else values for n, values in layer.options.items()}
    if layer.name.startswith("vision"):
        options["groups"] = (1, 2)
    return options


def behind(chapter, reference, namespace=NNX):
    """A reference that is made of NNX where it is made of Linen."""

    def found(*given):
        with (
            patch.object(chapter, "nn", namespace, create=True),
            patch.object(flax_layers, "nn", namespace),
        ):
            return reference(*given)

    return found


def same_as_linen() -> list[Layer]:
    """The layers that NNX has, each with what it is compared with there."""
    names = {
        "core": ("Linear", "Embed", "LoRA", "PReLU"),
        "norm": (
            "LayerNorm", "RMSNorm", "BatchNorm", "GroupNorm", "InstanceNorm", "WeightNorm",
            "SpectralNorm",
        ),
        "vision": (
            "Conv1d", "Conv", "Conv3d", "ConvTranspose1d", "ConvTranspose", "ConvTranspose3d",
        ),
        "recurrent": ("RNN", "LSTM", "GRU"),
    }  # fmt: skip
    found = []
    for chapter, wanted in names.items():
        for layer in CHAPTERS[chapter].LAYERS:
            if layer.name.split(".")[1] in wanted:
                own = OWN.get(layer.name)
                reference = own or behind(CHAPTERS[chapter], layer.reference)
                found.append(replace(layer, reference=reference, options=shared(layer)))
                if layer.name == "recurrent.LSTM":
                    reference = behind(CHAPTERS[chapter], layer.reference, PLAIN)
                    found.append(replace(found[-1], reference=reference))
    for layer in test_library_attention.LAYERS:
        if layer.reference is test_library_attention.multi_head:
            reference = behind(test_library_attention, layer.reference)
            found.append(replace(layer, reference=reference))
    return found


def without_scaled_state(layer: Layer) -> Layer:
    """NNX's GRU has no form that scales the state before the product."""
    if layer.name != "recurrent.GRU":
        return layer
    return replace(layer, options={**layer.options, "after": ("true",)})


def linear_general(case, params, state, inputs):
    layer = nnx.LinearGeneral(
        (case.sizes["S"], case.sizes["D"]), (case.sizes["F"], 2), axis=(-2, -1), rngs=nnx.Rngs(0)
    )
    fill(layer, {"kernel": params["kernel"], "bias": params["bias"]})
    return layer(inputs["x"])


def einsum(case, params, state, inputs):
    layer = nnx.Einsum(
        "bsd,dgf->bsgf", params["kernel"].shape, params["bias"].shape, rngs=nnx.Rngs(0)
    )
    fill(layer, {"kernel": params["kernel"], "bias": params["bias"]})
    return layer(inputs["x"])


# What is a layer there and a line of the language here.
LINES = [
    Layer(
        "core.dot-as-LinearGeneral",
        {"x": "[B, S, D]"},
        "[B, F, G]",
        linear_general,
        sizes={"G": 2},
        body=(
            "param kernel: [S, D, F, G] = zeros()",
            "param bias: [F, G] = zeros()",
            "return dot[S, D](x, kernel) + bias",
        ),
    ),
    Layer(
        "core.dot-as-Einsum",
        {"x": "[B, S, D]"},
        "[B, S, G, F]",
        einsum,
        sizes={"G": 2},
        body=(
            "param kernel: [D, G, F] = zeros()",
            "param bias: [G, F] = zeros()",
            "return dot[D](x, kernel) + bias",
        ),
    ),
]
FAST = ("core.PReLU", "core.dot-as-LinearGeneral", "core.dot-as-Einsum")


def marked(layer: Layer):
    marks = [] if layer.name in FAST else [pytest.mark.slow]
    return pytest.param(layer, id=layer.name, marks=[*marks, pytest.mark.xdist_group(group(layer))])


def group(layer: Layer) -> str:
    """Where each op of its chapter is compiled, once for both libraries of Flax."""
    chapter = layer.name.split(".")[0]
    return f"library-{'core' if chapter == 'norm' else chapter}"


LAYERS = [without_scaled_state(layer) for layer in same_as_linen()]


@pytest.mark.parametrize("layer", [marked(layer) for layer in (*LINES, *LAYERS)])
def test_equals_nnx(layer, equal):
    if layer.name.startswith("recurrent"):
        with jax.disable_jit():
            equal(layer)
    else:
        equal(layer)


def test_dropout_is_that_of_nnx_where_it_draws_the_same():
    text = "dims: B = 3, D = 5\nmodel M(x: [B, D]) -> [B, D]:\n    return dropout(x, rate = 0.25)\n"
    emitted = Emitted(module_of(text))
    kept = np.random.default_rng(0).random((3, 5)) < 0.75
    x = jnp.asarray(np.random.default_rng(1).normal(size=(3, 5)), jnp.float32)
    layer = nnx.Dropout(0.25, deterministic=False)
    with patch.object(jax.random, "bernoulli", lambda *_, **__: jnp.asarray(kept)):
        ours, back = jax.vjp(
            lambda x: emitted({}, {}, {"x": x}, train=True, key=jax.random.key(0)), x
        )
        theirs, their_back = jax.vjp(lambda x: layer(x, rngs=jax.random.key(1)), x)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    np.testing.assert_allclose(back(ours), their_back(theirs), rtol=1e-6)
