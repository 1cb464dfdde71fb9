"""The chapter `core` against Flax."""

import pytest
from flax import linen as nn
from library_cases import Layer


def linear(case, params, state, inputs):
    bias = case.options["bias"]
    return nn.Dense(case.sizes["F"], use_bias=bias).apply({"params": params}, inputs["x"])


LAYERS = [
    Layer(
        "core.Linear",
        {"x": "[B, S, D]"},
        "[B, S, F]",
        linear,
        dims="[D -> F]",
        options={"bias": ("true", "false")},
    ),
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_equals_flax(layer, equal):
    equal(layer)
