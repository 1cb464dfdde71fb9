"""Flax's seq2seq example, written in Netwright and loaded with Flax's weights."""

from __future__ import annotations

import jax
import numpy as np
import pytest
import seq2seq
from compared import close, follow, program, scattered, shapes, trained
from netwright.weights import mapped

pytestmark = pytest.mark.slow
V, H = 14, 8


def gates(cell: str) -> dict:
    """What an LSTM gets: Flax keeps its gates apart, here they are one dim."""
    return {
        "kernel": lambda found: np.stack([found(f"{cell}/i{g}/kernel") for g in "ifgo"], axis=1),
        "recurrent_kernel": lambda found: np.stack(
            [found(f"{cell}/h{g}/kernel") for g in "ifgo"], axis=1
        ),
        "bias": lambda found: np.stack([found(f"{cell}/h{g}/bias") for g in "ifgo"]),
    }


TABLE = {
    **{f"encoder.{name}": rule for name, rule in gates("LSTMCell_0").items()},
    **{f"decoder.{name}": rule for name, rule in gates("DecoderLSTMCell_0/LSTMCell_0").items()},
    "out": "DecoderLSTMCell_0/Dense_0",
}


def batches(count: int, rows: int = 6) -> list[dict[str, np.ndarray]]:
    """Sums, as the example has them: «12+3» and «=15», one-hot, with an end and padding."""
    rng = np.random.default_rng(0)
    letters = "\0\1+=0123456789"
    found = []
    for _ in range(count):
        batch = {"question": np.zeros((rows, 6, V), np.float32)}
        batch["answer"] = np.zeros((rows, 5, V), np.float32)
        for row in range(rows):
            a, b = rng.integers(0, 50, 2)
            for name, text in (("question", f"{a}+{b}\1"), ("answer", f"={a + b}\1")):
                padded = text.ljust(batch[name].shape[1], "\0")
                for place, letter in enumerate(padded[: batch[name].shape[1]]):
                    batch[name][row, place, letters.index(letter)] = 1
        found.append(batch)
    return found


@pytest.fixture(scope="module")
def flax():
    """The twin, and weights."""
    twin = seq2seq.Seq2seq(teach=True, hidden=H, vocabulary=V)
    (batch,) = batches(1)
    keys = {"params": jax.random.key(0), "lstm": jax.random.key(1)}
    return twin, scattered(twin.init(keys, *batch.values())["params"])


@pytest.fixture(scope="module")
def ours():
    return program("flax/seq2seq.nw", H=H)


def logits_of(twin, weights, batch):
    key = {"lstm": jax.random.key(1)}
    return twin.apply({"params": weights}, batch["question"], batch["answer"], rngs=key)[0]


def test_logits_and_gradients(flax, ours):
    twin, weights = flax
    like = shapes(ours)["net"]
    params = {"net": mapped(like, weights, TABLE)}
    (batch,) = batches(1)

    def theirs(weights):
        logits = logits_of(twin, weights, batch)
        return seq2seq.loss(logits, batch["answer"][:, 1:]), logits

    def mine(params):
        return ours.loss(params, {}, batch, jax.random.key(0))[0]

    (value, logits), grads = jax.jit(jax.value_and_grad(theirs, has_aux=True))(weights)
    close(ours.predict(params, {}, batch)[0], logits)
    found, found_grads = jax.jit(jax.value_and_grad(mine))(params)
    close(found, value)
    close(found_grads["net"], mapped(like, grads, TABLE))


def test_letters_that_were_said_are_read(flax):
    """Without a teacher; very sure weights leave no choice to chance."""
    twin, weights = flax
    twin = seq2seq.Seq2seq(teach=False, hidden=H, vocabulary=V)
    made = program("flax/seq2seq.nw", H=H, teach=False)
    weights = jax.tree.map(lambda a: a, weights)
    sure = weights["DecoderLSTMCell_0"]["Dense_0"]
    sure["kernel"] = sure["kernel"] * 1e4
    params = {"net": mapped(shapes(made)["net"], weights, TABLE)}
    (batch,) = batches(1)
    wanted = seq2seq.loss(logits_of(twin, weights, batch), batch["answer"][:, 1:])
    found = made.loss(params, {}, batch, jax.random.key(0))[0]
    close(found, wanted, 1e-4)
    taught = program("flax/seq2seq.nw", H=H).loss(params, {}, batch)[0]
    assert abs(taught - wanted) > 0.01 * abs(wanted)


def test_training(flax, ours):
    twin, weights = flax
    params = {"net": mapped(shapes(ours)["net"], weights, TABLE)}

    def theirs(weights, state, batch):
        return seq2seq.loss(logits_of(twin, weights, batch), batch["answer"][:, 1:]), state

    def mine(params, state, batch):
        return ours.loss(params, {}, batch, jax.random.key(0), True)[0], state

    data = batches(5)
    follow(trained(mine, params, data), trained(theirs, weights, data))
