"""next_token, written by Netwright from model.nw; numbers after # are lines there."""

import jax
import jax.numpy as jnp
from jax import lax, random

V, D, L, G = 256, 128, 4, 2
R, K, F = 2, 32, 384


def fold(key, *salts):
    """The key with numbers folded in, one after the other; without a key there is none."""
    for salt in salts:
        key = None if key is None else random.fold_in(key, salt)
    return key


def copy_keys(key, count):
    """One key for each of several copies of a layer."""
    return None if key is None else jax.vmap(random.fold_in, (None, 0))(key, jnp.arange(count))


def dropout(x, rate, key):
    """Zero with probability `rate`; what is left is scaled so that the mean stays."""
    return jnp.where(random.bernoulli(key, 1 - rate, x.shape), x / (1 - rate), 0)


def cross_entropy(logits, ids, axis):
    """-log softmax(logits)[ids] along `axis`; 0 where an id is out of range."""
    log_probs = jax.nn.log_softmax(logits, axis=axis)
    live = (ids >= 0) & (ids < logits.shape[axis])
    ids = jnp.expand_dims(jnp.where(live, ids, 0), axis)
    return jnp.where(live, -jnp.take_along_axis(log_probs, ids, axis).squeeze(axis), 0)


def rotary(x, axis, base):
    """Rotate the pairs of features (i, i + half) by angles that grow with the position (`axis`)."""
    half = x.shape[-1] // 2
    turns = jnp.arange(x.shape[axis])[:, None] * base ** (-jnp.arange(half) / half)
    turns = turns.reshape(-1, *[1] * (-2 - axis), half)
    cos, sin = jnp.cos(turns), jnp.sin(turns)
    a, b = jnp.split(x, 2, axis=-1)
    return jnp.concatenate((a * cos - b * sin, b * cos + a * sin), axis=-1).astype(x.dtype)


def rms_norm(params, x):
    """RMSNorm (model.nw:14)."""
    y = x * lax.rsqrt(jnp.mean(x**2, axis=-1) + 1e-06)[..., None]  # 16
    return y * params["scale"]


def attention(params, x):
    """Attention (model.nw:18): Grouped-query attention: k and v simply lack R."""
    B, S = x.shape[:2]
    x_flat = x.reshape(-1, D)
    q = jnp.einsum("bd,dgrk->bgrk", x_flat, params["wq"]).reshape(B, S, G, R, K)  # 24
    q = rotary(q, -4, 10000.0)
    k = jnp.einsum("bd,dgk->bgk", x_flat, params["wk"]).reshape(B, S, G, K)  # 25
    scores = jnp.einsum("bsgrk,btgk->bsgrt", q, rotary(k, -3, 10000.0))  # 27
    scores = scores / 5.656854249492381
    mask = (jnp.arange(S)[:, None] - jnp.arange(S) >= 0)[:, None, None]  # 28
    weights = jax.nn.softmax(scores, axis=-1, where=mask)
    v = jnp.einsum("bd,dgk->bgk", x_flat, params["wv"]).reshape(B, S, G, K)  # 26
    y = jnp.einsum("bsgrt,btgk->bsgrk", weights, v).reshape(-1, G, R, K)  # 29
    return jnp.einsum("bgrk,grkd->bd", y, params["wo"]).reshape(B, S, D)


def swiglu(params, x):
    """SwiGLU (model.nw:31)."""
    B, S = x.shape[:2]
    x_flat = x.reshape(-1, D)
    y = jax.nn.silu(x_flat @ params["gate"]) * (x_flat @ params["up"])  # 35
    return (y @ params["down"]).reshape(B, S, D)


def block(params, x, key, train):
    """Block (model.nw:37)."""
    attn = attention(params["attn"], rms_norm(params["norm1"], x))  # 42
    if train:
        attn = dropout(attn, 0.1, random.fold_in(key, 0x5faf6566))
    x = x + attn
    mlp = swiglu(params["mlp"], rms_norm(params["norm2"], x))  # 43
    if train:
        mlp = dropout(mlp, 0.1, random.fold_in(key, 0xb2cf415d))
    return x + mlp


def gpt(params, tokens, key=None, train=False):
    """GPT (model.nw:45)."""
    B, S = tokens.shape

    def step(x, copy):
        layer, layer_key = copy
        return block(layer, x, layer_key, train), None

    x, _ = lax.scan(  # 49
        step,
        jnp.take(params["embed"], tokens, axis=0, mode="clip"),
        (params["blocks"], copy_keys(fold(key, 0x129f40e6), L)),
    )
    y = jnp.einsum("bd,vd->bv", rms_norm(params["norm"], x).reshape(-1, D), params["embed"])  # 50
    return y.reshape(B, S, V)


def next_token(params, tokens, targets, key=None, train=False):
    """next_token (model.nw:52)."""
    B, S = tokens.shape
    logits = gpt(params["gpt"], tokens, fold(key, 0xe1323491), train)  # 54
    accuracy = jnp.mean(jnp.argmax(logits, axis=-1) == targets, axis=(-2, -1))  # 55
    y = jnp.mean(cross_entropy(logits, targets, axis=-1), axis=(-2, -1))  # 56
    return y, {"accuracy": (accuracy * (B * S), B * S), "loss": (y * (B * S), B * S)}


def init_block(key):
    return {
        "norm1": {"scale": jnp.ones((D,))},
        "attn": {
            "wq": 0.02 * random.normal(fold(key, 0xece9e273, 0xe61f5e8e), (D, G, R, K)),
            "wk": 0.02 * random.normal(fold(key, 0xece9e273, 0xd6934faf), (D, G, K)),
            "wv": 0.02 * random.normal(fold(key, 0xece9e273, 0x04c345f7), (D, G, K)),
            "wo": 0.0070710678118654745 * random.normal(
                fold(key, 0xece9e273, 0xdf78efd5), (G, R, K, D)
            ),
        },
        "norm2": {"scale": jnp.ones((D,))},
        "mlp": {
            "gate": 0.02 * random.normal(fold(key, 0xb6446ccb, 0xf53c1212), (D, F)),
            "up": 0.02 * random.normal(fold(key, 0xb6446ccb, 0x51b18c71), (D, F)),
            "down": 0.0070710678118654745 * random.normal(
                fold(key, 0xb6446ccb, 0xc0c53034), (F, D)
            ),
        },
    }


def init_params(key):
    """Parameters of next_token, as nested dicts."""
    return {
        "gpt": {
            "embed": 0.02 * random.normal(fold(key, 0xe1323491, 0xeef608f0), (V, D)),
            "blocks": jax.vmap(init_block)(copy_keys(fold(key, 0xe1323491, 0x129f40e6), L)),
            "norm": {"scale": jnp.ones((D,))},
        },
    }


def init_state():
    """This model has no state."""
    return {}


def loss(params, state, batch, key=None, train=False):
    """The loss of a batch, and (new state, metrics as (sum, count))."""
    value, metrics = next_token(params, batch["tokens"], batch["targets"], key, train)
    return value, (state, metrics)


def predict(params, state, batch):
    """What GPT gives for a batch, in evaluation."""
    return gpt(params["gpt"], batch["tokens"])
