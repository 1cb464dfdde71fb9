"""A twin of the transformer of Flax's lm1b example, for tests.

It has the parameter tree, the sizes, the initializers and the arithmetic of `TransformerLM` in
examples/lm1b/models.py at commit 18f8f311c275d57f46d95e41b15aa97b454754c0 of google/flax, and was
written anew: without decoding, and without the names of axes for sharding, which change neither.
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

GLOROT = nn.initializers.xavier_uniform()
SMALL = nn.initializers.normal(1e-6)


def moved(x, segments):
    """One position to the right; a sentence begins with 0."""
    right = lambda a: jnp.pad(a, ((0, 0), (1, 0)))[:, :-1]  # noqa: E731
    return right(x) * (segments == right(segments))


def waves(width: int, length: int):
    """The table of sines and cosines: [length, width]."""
    half = width // 2
    rates = jnp.exp(-jnp.log(10000.0) / (half - 1) * jnp.arange(half))
    angles = jnp.arange(length)[:, None] * rates
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=1)


class MlpBlock(nn.Module):
    width: int
    rate: float
    train: bool

    @nn.compact
    def __call__(self, x):
        given = x.shape[-1]
        x = nn.relu(nn.Dense(self.width, kernel_init=GLOROT, bias_init=SMALL)(x))
        x = nn.Dropout(self.rate, deterministic=not self.train)(x)
        x = nn.Dense(given, kernel_init=GLOROT, bias_init=SMALL)(x)
        return nn.Dropout(self.rate, deterministic=not self.train)(x)


class EncoderDecoder1DBlock(nn.Module):
    heads: int
    width: int
    rate: float
    train: bool

    @nn.compact
    def __call__(self, inputs, mask):
        x = nn.LayerNorm()(inputs)
        x = nn.MultiHeadDotProductAttention(
            num_heads=self.heads, qkv_features=inputs.shape[-1], kernel_init=GLOROT,
            bias_init=SMALL, use_bias=False, broadcast_dropout=False, dropout_rate=self.rate,
            deterministic=not self.train,
        )(x, mask=mask)  # fmt: skip
        x = nn.Dropout(self.rate, deterministic=not self.train)(x) + inputs
        return x + MlpBlock(self.width, self.rate, self.train)(nn.LayerNorm()(x))


class Decoder(nn.Module):
    vocabulary: int
    layers: int
    size: int
    heads: int
    width: int
    longest: int
    rate: float
    train: bool

    @nn.compact
    def __call__(self, inputs, positions, segments, mask):
        y = moved(inputs, segments)
        y = nn.Embed(self.vocabulary, self.size, embedding_init=nn.initializers.normal(1.0))(y)
        y = y + waves(self.size, self.longest)[positions]
        y = nn.Dropout(self.rate, deterministic=not self.train)(y)
        for n in range(self.layers):
            block = EncoderDecoder1DBlock(
                self.heads, self.width, self.rate, self.train, name=f"encoderdecoderblock_{n}"
            )
            y = block(y, mask)
        y = nn.LayerNorm(name="encoderdecoder_norm")(y)
        return nn.Dense(
            self.vocabulary, kernel_init=GLOROT, bias_init=SMALL, name="logitdense"
        )(y)  # fmt: skip


class TransformerLM(nn.Module):
    vocabulary: int = 30_000
    layers: int = 6
    size: int = 512
    heads: int = 8
    width: int = 2048
    longest: int = 2048
    rate: float = 0.1
    train: bool = False

    @nn.compact
    def __call__(self, inputs, positions, segments):
        mask = nn.combine_masks(
            nn.make_attention_mask(inputs > 0, inputs > 0),
            nn.make_causal_mask(inputs),
            nn.make_attention_mask(segments, segments, jnp.equal),
        )
        decoder = Decoder(
            self.vocabulary, self.layers, self.size, self.heads, self.width, self.longest,
            self.rate, self.train, name="decoder",
        )  # fmt: skip
        return decoder(inputs, positions, segments, mask)


def loss(logits, targets):
    """Cross-entropy over what is not padding, as train.py beside it has it without smoothing."""
    live = targets > 0
    soft = nn.one_hot(targets, logits.shape[-1])
    losses = -jnp.sum(soft * nn.log_softmax(logits), axis=-1)
    return (losses * live).sum() / live.sum()
