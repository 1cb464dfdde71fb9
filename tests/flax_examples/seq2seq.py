"""A twin of the model of Flax's seq2seq example, for tests.

It has the parameter tree, the sizes, the initializers and the arithmetic of `Seq2seq` in
examples/seq2seq/models.py at commit 18f8f311c275d57f46d95e41b15aa97b454754c0 of google/flax, and
was written anew, with the loss of train.py beside it.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

END = 1


class DecoderLSTMCell(nn.RNNCellBase):
    features: int
    teach: bool
    vocabulary: int

    @nn.compact
    def __call__(self, carry, x):
        memory, last = carry
        memory, y = nn.LSTMCell(self.features)(memory, x if self.teach else last)
        logits = nn.Dense(self.vocabulary)(y)
        drawn = jax.random.categorical(self.make_rng("lstm"), logits)
        said = jax.nn.one_hot(drawn, self.vocabulary)
        return (memory, said), (logits, said)

    @property
    def num_feature_axes(self) -> int:
        return 1


class Seq2seq(nn.Module):
    teach: bool
    hidden: int
    vocabulary: int

    @nn.compact
    def __call__(self, question, answer):
        encoder = nn.RNN(nn.LSTMCell(self.hidden), return_carry=True, name="encoder")
        cell = DecoderLSTMCell(answer.shape[-1], self.teach, self.vocabulary)
        decoder = nn.RNN(cell, split_rngs={"params": False, "lstm": True}, name="decoder")
        lengths = jnp.argmax(jnp.argmax(question, axis=-1) == END, axis=-1)
        memory, _ = encoder(question, seq_lengths=lengths)
        return decoder(answer[:, :-1], initial_carry=(memory, answer[:, 0]))


def loss(logits, labels):
    """The mean over all letters, those behind the end being 0."""
    ends = labels[:, :, END]
    first = jnp.argmax(ends, axis=-1)
    lengths = jnp.where(ends.max(axis=-1) > 0, first + 1, labels.shape[1])
    losses = jnp.sum(nn.log_softmax(logits) * labels, axis=-1)
    return -jnp.mean(losses * (lengths[:, None] > jnp.arange(labels.shape[1])))
