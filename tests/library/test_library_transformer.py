"""The chapter `transformer` against the same blocks made of Flax's layers."""

import jax
import numpy as np
import pytest
from flax import linen as nn
from flax_layers import dense, layer_norm, multi_head, rms_norm
from library_cases import Layer

pytestmark = pytest.mark.xdist_group("library-attention")  # to compile each op once

NORMS = {"norm.LayerNorm": layer_norm, "norm.RMSNorm": rms_norm}


def normed(case, params, x):
    return NORMS[case.options.get("norm") or "norm.LayerNorm"](params, x)


def feed_forward(params, x):
    if "glu" in params:
        glu = params["glu"]
        return dense(glu["down"], nn.silu(dense(glu["gate"], x)) * dense(glu["up"], x))
    return dense(params["down"], nn.gelu(dense(params["up"], x)))


def mask_of(x, memory, live=None, causal=False):
    mask = np.ones((*x.shape[:2], memory.shape[1]), bool)
    if live is not None:
        mask &= live[:, None]
    return mask & np.tril(mask) if causal else mask


def block(case, params, x, live=None):
    causal = "causal" in case.options["attn"]

    def attend(y):
        return multi_head(params["attn"], y, y, mask_of(y, y, live, causal))

    if case.options.get("parallel"):
        y = normed(case, params["attn_norm"], x)
        return x + attend(y) + feed_forward(params["mlp"], y)
    if case.options.get("post"):
        x = normed(case, params["attn_norm"], x + attend(x))
        return normed(case, params["mlp_norm"], x + feed_forward(params["mlp"], x))
    x = x + attend(normed(case, params["attn_norm"], x))
    return x + feed_forward(params["mlp"], normed(case, params["mlp_norm"], x))


def cross_block(case, params, x, memory, live=None, memory_live=None):
    def attend(y):
        return multi_head(params["attn"], y, y, mask_of(y, y, live, True))

    def look(y):
        return multi_head(params["cross"], y, memory, mask_of(y, memory, memory_live))

    if case.options.get("post"):
        x = normed(case, params["attn_norm"], x + attend(x))
        x = normed(case, params["cross_norm"], x + look(x))
        return normed(case, params["mlp_norm"], x + feed_forward(params["mlp"], x))
    x = x + attend(normed(case, params["attn_norm"], x))
    x = x + look(normed(case, params["cross_norm"], x))
    return x + feed_forward(params["mlp"], normed(case, params["mlp_norm"], x))


def stack(one, case, params, x, count, *rest):
    for i in range(count):
        x = one(case, jax.tree.map(lambda a, i=i: a[i], params["blocks"]), x, *rest)
    return normed(case, params["norm"], x) if "norm" in params else x


def a_block(case, params, state, inputs):
    return block(case, params, inputs["x"], inputs.get("live"))


def a_cross_block(case, params, state, inputs):
    found = [inputs.get(name) for name in ("memory", "live", "memory_live")]
    return cross_block(case, params, inputs["x"], *found)


def encoder(case, params, state, inputs):
    assert ("norm" in params) == (case.options["norm"] is not None)
    return stack(block, case, params, inputs["x"], case.sizes["L"], inputs.get("live"))


def decoder(case, params, state, inputs):
    assert ("norm" in params) == (case.options["norm"] is not None)
    found = [inputs.get(name) for name in ("memory", "live", "memory_live")]
    return stack(cross_block, case, params, inputs["x"], case.sizes["L"], *found)


def encoder_decoder(case, params, state, inputs):
    live = inputs.get("source_live")
    memory = stack(block, case, params["encoder"], inputs["source"], case.sizes["N"], live)
    rest = (memory, inputs.get("live"), live)
    return stack(cross_block, case, params["decoder"], inputs["x"], case.sizes["L"], *rest)


def starts(rng, shape):
    """Positions of which the first is there, so that every query sees one."""
    live = rng.random(shape) < 0.5
    live[:, 0] = True
    return live


ATTN = "attention.Attention"
CAUSAL = "attention.Attention(causal = true)"
SIZES = {"T": 3, "E": 8, "D": 6, "F": 8, "G": 2, "K": 3, "L": 2, "N": 1}
X, LIVE = {"x": "[B, S, D]"}, {"live": "bool[B, S]"}
GIVEN, NO = (False, True), ("false", "true")


def small(rng, params):
    """Weights with which a few blocks do not make rounding errors large."""
    return jax.tree.map(lambda a: 0.4 * a, params)


COMMON = {"sizes": SIZES, "imports": ("attention", "core", "norm"), "params": small}
CROSS = f"transformer.CrossBlock({CAUSAL}, {ATTN}, core.MLP)"
LAYERS = [
    Layer(
        "transformer.Block",
        {**X, **LIVE},
        "[B, S, D]",
        a_block,
        options={
            "attn": (ATTN, CAUSAL),
            "mlp": ("core.MLP", "core.SwiGLU"),
            "live": GIVEN,
            "norm": tuple(NORMS),
            "rate": ("0.0", "0.5"),
            "post": NO,
            "parallel": NO,
        },
        always=("attn", "mlp"),
        draw={"live": starts},
        **COMMON,
    ),
    Layer(
        "transformer.CrossBlock",
        {**X, "memory": "[B, T, E]", **LIVE, "memory_live": "bool[B, T]"},
        "[B, S, D]",
        a_cross_block,
        dims="[E = {E}]",
        alias={"E": "D"},
        options={
            "E": (8, None),
            "attn": (CAUSAL,),
            "cross": (ATTN,),
            "mlp": ("core.MLP", "core.SwiGLU"),
            "live": GIVEN,
            "memory_live": GIVEN,
            "norm": tuple(NORMS),
            "rate": ("0.0", "0.5"),
            "post": NO,
        },
        always=("attn", "cross", "mlp"),
        draw={"live": starts, "memory_live": starts},
        **COMMON,
    ),
    Layer(
        "transformer.Encoder",
        {**X, **LIVE},
        "[B, S, D]",
        encoder,
        options={
            "block": (f"transformer.Block({ATTN}, core.MLP)",),
            "attn": ("-",),
            "live": GIVEN,
            "norm": ("norm.LayerNorm", "none"),
        },
        always=("block",),
        draw={"live": starts},
        **COMMON,
    ),
    Layer(
        "transformer.Decoder",
        {**X, "memory": "[B, T, E]", **LIVE, "memory_live": "bool[B, T]"},
        "[B, S, D]",
        decoder,
        dims="[E = {E}]",
        alias={"E": "D"},
        options={
            "E": (8, None),
            "block": (CROSS,),
            "live": GIVEN,
            "memory_live": GIVEN,
            "norm": ("norm.LayerNorm", "none"),
        },
        always=("block",),
        draw={"live": starts, "memory_live": starts},
        **COMMON,
    ),
    Layer(
        "transformer.EncoderDecoder",
        {"source": "[B, T, D]", **X, "source_live": "bool[B, T]", **LIVE},
        "[B, S, D]",
        encoder_decoder,
        options={
            "encoder_block": (f"transformer.Block({ATTN}, core.MLP)",),
            "decoder_block": (CROSS,),
            "attn": ("-",),
            "live": GIVEN,
            "source_live": GIVEN,
            "norm": ("norm.LayerNorm", "none"),
        },
        always=("encoder_block", "decoder_block"),
        draw={"live": starts, "source_live": starts},
        **COMMON,
    ),
]


SLOW = ("transformer.Encoder", "transformer.Decoder", "transformer.EncoderDecoder")


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "layer",
    [pytest.param(x, id=x.name, marks=[pytest.mark.slow] * (x.name in SLOW)) for x in LAYERS],
)
def test_equals_the_same_of_flax(layer, equal):
    equal(layer)
