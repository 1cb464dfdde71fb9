"""Flax's lm1b example, written in Netwright and loaded with Flax's weights."""

from __future__ import annotations

import jax
import lm1b
import numpy as np
import pytest
from compared import close, follow, program, scattered, shapes, trained
from netwright.weights import mapped

pytestmark = pytest.mark.slow
SIZES = {"V": 32, "L": 2, "D": 16, "G": 2, "F": 24}
BLOCK = "decoder/encoderdecoderblock_{}"
ATTENTION = f"{BLOCK}/MultiHeadDotProductAttention_0"
TABLE = {
    "embed.table": "decoder/Embed_0/embedding",
    "blocks.attn_norm": f"{BLOCK}/LayerNorm_0",
    "blocks.attn.query": f"{ATTENTION}/query/kernel",
    "blocks.attn.key": f"{ATTENTION}/key/kernel",
    "blocks.attn.value": f"{ATTENTION}/value/kernel",
    "blocks.attn.out": f"{ATTENTION}/out/kernel",
    "blocks.mlp_norm": f"{BLOCK}/LayerNorm_1",
    "blocks.mlp.up": f"{BLOCK}/MlpBlock_0/Dense_0",
    "blocks.mlp.down": f"{BLOCK}/MlpBlock_0/Dense_1",
    "last_norm": "decoder/encoderdecoder_norm",
    "logits": "decoder/logitdense",
}


def batches(count: int, rows: int = 4, length: int = 12) -> list[dict[str, np.ndarray]]:
    """Rows of two packed sentences, each of rising letters, and padding."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(count):
        batch = {
            n: np.zeros((rows, length), np.int32) for n in ("tokens", "positions", "sentences")
        }
        for row in range(rows):
            start = 0
            for sentence in (1, 2):
                size = rng.integers(3, length // 2 + 1)
                place = slice(start, start + size)
                first = rng.integers(1, SIZES["V"])
                batch["tokens"][row, place] = (first + np.arange(size)) % (SIZES["V"] - 1) + 1
                batch["positions"][row, place] = np.arange(size)
                batch["sentences"][row, place] = sentence
                start += size
        found.append(batch)
    return found


@pytest.fixture(scope="module")
def flax():
    """The twin, and weights."""
    size = {"vocabulary": 32, "layers": 2, "size": 16, "heads": 2, "width": 24, "longest": 20}
    twin = lm1b.TransformerLM(**size, rate=0.0)
    (batch,) = batches(1)
    return twin, scattered(twin.init(jax.random.key(0), *batch.values())["params"])


@pytest.fixture(scope="module")
def ours():
    return program("flax/lm1b.nw", drop=0.0, **SIZES)


def test_logits_and_gradients(flax, ours):
    twin, weights = flax
    like = shapes(ours)["lm"]
    params = {"lm": mapped(like, weights, TABLE)}
    (batch,) = batches(1)
    live = batch["tokens"] > 0

    def theirs(weights):
        logits = twin.apply({"params": weights}, *batch.values())
        return lm1b.loss(logits, batch["tokens"]), logits

    def mine(params):
        return ours.loss(params, {}, batch)[0]

    (value, logits), grads = jax.value_and_grad(theirs, has_aux=True)(weights)
    close(ours.predict(params, {}, batch)[live], logits[live])
    found, found_grads = jax.value_and_grad(mine)(params)
    close(found, value)
    close(found_grads["lm"], mapped(like, grads, TABLE))


def test_training(flax, ours):
    twin, weights = flax
    params = {"lm": mapped(shapes(ours)["lm"], weights, TABLE)}
    data = batches(5)

    def theirs(weights, state, batch):
        logits = twin.apply({"params": weights}, *(batch[n] for n in data[0]))
        return lm1b.loss(logits, batch["tokens"]), state

    def mine(params, state, batch):
        return ours.loss(params, {}, batch, jax.random.key(0), True)[0], state

    follow(trained(mine, params, data), trained(theirs, weights, data))
