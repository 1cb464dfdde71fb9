"""Functions that a model's file needs where JAX has none: the writer emits those that are called.

They are part of the program that a person reads. Each stands alone, and needs `jax`, `jnp`, `lax`.
"""

from __future__ import annotations

SAFE_SQRT = '''
def safe_sqrt(x):
    """The square root, whose gradient is 0 where x is 0."""
    zero = x == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, x)))
'''

MASKED_MEAN = '''
def masked_mean(x, mask, axis):
    """The mean over `axis` of the elements where the mask holds; of none it is 0."""
    live = jnp.sum(jnp.broadcast_to(mask, x.shape), axis=axis)
    return jnp.sum(x, axis=axis, where=mask) / jnp.maximum(live, 1)
'''

MASKED_VAR = '''
def masked_var(x, mask, axis):
    """The variance over `axis` of the elements where the mask holds; of none it is 0."""
    x = jnp.where(mask, x, 0)
    live = jnp.sum(jnp.broadcast_to(mask, x.shape), axis=axis, keepdims=True)
    live = jnp.maximum(live, 1)
    mean = jnp.sum(x, axis=axis, keepdims=True) / live
    squares = jnp.square(jnp.where(mask, x - mean, 0))
    return jnp.sum(squares / live, axis=axis)
'''

STANDARDIZE = '''
def standardize(x, axis, eps, mask=None):
    """x moved and scaled to mean 0 and variance 1 over `axis`, as measured where the mask holds."""
    live = jnp.broadcast_to(True if mask is None else mask, x.shape)
    count = jnp.maximum(jnp.sum(live, axis=axis, keepdims=True), 1)
    centred = x - jnp.sum(x, axis=axis, keepdims=True, where=mask) / count
    variance = jnp.sum(jnp.square(centred), axis=axis, keepdims=True, where=mask) / count
    return centred * lax.rsqrt(variance + eps)
'''

LINEAR_SCAN = '''
def linear_scan(a, b, axis):
    """h[t] = a[t] * h[t - 1] + b[t] along `axis`, from h[-1] = 0."""

    def after(first, second):
        (a1, b1), (a2, b2) = first, second
        return a2 * a1, a2 * b1 + b2

    a, b = jnp.broadcast_arrays(a, b)
    return lax.associative_scan(after, (a, b), axis=axis)[1]
'''

DROPOUT = '''
def dropout(x, rate, key):
    """Zero with probability `rate`; what is left is scaled so that the mean stays."""
    return jnp.where(random.bernoulli(key, 1 - rate, x.shape), x / (1 - rate), 0)
'''
CROSS_ENTROPY = '''
def cross_entropy(logits, ids, axis):
    """-log softmax(logits)[ids] along `axis`; 0 where an id is out of range."""
    log_probs = jax.nn.log_softmax(logits, axis=axis)
    live = (ids >= 0) & (ids < logits.shape[axis])
    ids = jnp.expand_dims(jnp.where(live, ids, 0), axis)
    return jnp.where(live, -jnp.take_along_axis(log_probs, ids, axis).squeeze(axis), 0)
'''
CROSS_ENTROPY_OPTIONS = '''
def cross_entropy_with(logits, ids, axis, smoothing=0.0, ignore=None):
    """-log softmax(logits)[ids] along `axis`; 0 where an id is out of range or to be ignored."""
    ids = jnp.broadcast_to(ids, logits.shape[:axis] + logits.shape[axis:][1:])
    live = (ids >= 0) & (ids < logits.shape[axis])
    if ignore is not None:
        live &= ids != ignore
    log_probs = jax.nn.log_softmax(logits, axis=axis)
    places = jnp.expand_dims(jnp.where(live, ids, 0), axis)
    loss = -jnp.take_along_axis(log_probs, places, axis=axis).squeeze(axis)
    if smoothing:
        seen = logits > -jnp.inf
        loss = (1 - smoothing) * loss - smoothing * jnp.mean(log_probs, axis=axis, where=seen)
    return jnp.where(live, loss, 0)
'''

BINARY_CROSS_ENTROPY = '''
def binary_cross_entropy(logits, targets):
    """-log of the probability that sigmoid(logits) gives to the targets."""
    return targets * jax.nn.softplus(-logits) + (1 - targets) * jax.nn.softplus(logits)
'''

ROTARY = '''
def rotary(x, axis, base):
    """Rotate the pairs of features (i, i + half) by angles that grow with the position (`axis`)."""
    half = x.shape[-1] // 2
    turns = jnp.arange(x.shape[axis])[:, None] * base ** (-jnp.arange(half) / half)
    turns = turns.reshape(-1, *[1] * (-2 - axis), half)
    cos, sin = jnp.cos(turns), jnp.sin(turns)
    a, b = jnp.split(x, 2, axis=-1)
    return jnp.concatenate((a * cos - b * sin, b * cos + a * sin), axis=-1).astype(x.dtype)
'''

ROTARY_PARTIAL = '''
def rotary_partial(x, axis, base, size):
    """Rotate the pairs (i, i + size / 2) of the first `size` features, as `rotary` does."""
    turns = jnp.arange(x.shape[axis])[:, None] * base ** (-jnp.arange(0, size, 2) / size)
    turns = turns.reshape(-1, *[1] * (-2 - axis), size // 2)
    cos, sin = jnp.cos(turns), jnp.sin(turns)
    a, b, rest = jnp.split(x, (size // 2, size), axis=-1)
    return jnp.concatenate((a * cos - b * sin, b * cos + a * sin, rest), axis=-1).astype(x.dtype)
'''

ROTARY_INTERLEAVED = '''
def rotary_interleaved(x, axis, base, size=None):
    """Rotate pairs of features (last axis) by angles that grow with the position along `axis`.

    The pair i of the first `size` features is 2 * i and 2 * i + 1, as in GPT-J.
    """
    size = size or x.shape[-1]
    turns = jnp.arange(x.shape[axis])[:, None] * base ** (-jnp.arange(0, size, 2) / size)
    turns = turns.reshape(-1, *[1] * (-2 - axis), size // 2)
    cos, sin = jnp.cos(turns), jnp.sin(turns)
    a, b, rest = x[..., 0:size:2], x[..., 1:size:2], x[..., size:]
    pairs = jnp.stack((a * cos - b * sin, b * cos + a * sin), axis=-1)
    pairs = pairs.reshape(*x.shape[:-1], size)
    return jnp.concatenate((pairs, rest), axis=-1).astype(x.dtype)
'''

ROTARY_RATES = '''
def rotary_rates(size, base):
    """By how many radians each of size / 2 pairs of features turns from position to position."""
    return base ** (-jnp.arange(0, size, 2) / size)
'''

LLAMA3_RATES = '''
def llama3_rates(size, base, factor, context, low, high):
    """Rates for a longer context: slow ones divided by the factor, fast ones as they are.

    Slow ones make at most `low` turns within the context trained on, fast ones at least `high`.
    """
    rates = rotary_rates(size, base)
    turns = context * rates / (2 * jnp.pi)
    kept = jnp.clip((turns - low) / (high - low), 0, 1)
    return rates * kept + rates / factor * (1 - kept)
'''

YARN_RATES = '''
def yarn_rates(size, base, factor, first, last):
    """Rates for a longer context: up to the pair `first` as they are, from `last` on divided."""
    kept = 1 - jnp.clip((jnp.arange(size // 2) - first) / (last - first), 0, 1)
    rates = rotary_rates(size, base)
    return rates * kept + rates / factor * (1 - kept)
'''

ROTARY_AT = '''
def rotary_at(x, axis, rates, interleaved=False, gain=1.0):
    """Rotate pairs of features (last axis) at these rates for each position along `axis`.

    Pairs are neighbours, or else a feature of the first half of what is rotated and of the second.
    """
    half = len(rates)
    turns = jnp.arange(x.shape[axis])[:, None] * rates
    turns = turns.reshape(-1, *[1] * (-2 - axis), half)
    cos, sin = gain * jnp.cos(turns), gain * jnp.sin(turns)
    rotated, rest = jnp.split(x, (2 * half,), axis=-1)
    pairs = (*x.shape[:-1], half, 2) if interleaved else (*x.shape[:-1], 2, half)
    a, b = jnp.unstack(rotated.reshape(pairs), axis=-1 if interleaved else -2)
    turned = a * cos - b * sin, b * cos + a * sin
    turned = jnp.stack(turned, axis=-1 if interleaved else -2).reshape(rotated.shape)
    return jnp.concatenate((turned, rest), axis=-1).astype(x.dtype)
'''

MEAN_POOL = '''
def mean_pool(x, sides, strides, padding):
    """The mean of each window, of the elements in it that are not padding."""
    ones = jnp.ones([n if side > 1 else 1 for n, side in zip(x.shape, sides)], x.dtype)
    number = lax.reduce_window(ones, 0.0, lax.add, sides, strides, padding)
    return lax.reduce_window(x, 0.0, lax.add, sides, strides, padding) / number
'''

ATTENTION = '''
def dot_product_attention(
    q, k, v, scores, values, scale, mask=None, bias=None, cap=None, dtype=None
):
    """softmax(scale * q k + bias) v, over the keys where the mask holds; of none it is 0.

    `scores` and `values` are the two products as einsum has them; scores end with queries, keys.
    """
    wide = jnp.promote_types(q.dtype, jnp.float32)
    logits = scale * jnp.einsum(scores, q, k, preferred_element_type=wide)
    if cap is not None:
        logits = cap * jnp.tanh(logits / cap)
    if bias is not None:
        logits = logits + bias
    weights = jax.nn.softmax(logits, axis=-1, where=mask)
    return jnp.einsum(values, weights.astype(v.dtype), v, preferred_element_type=dtype)
'''

BAND = '''
def band(queries, keys, before, after):
    """Where a key is at most `before` positions before the query and at most `after` after it."""
    offset = jnp.arange(queries)[:, None] - jnp.arange(keys)
    return (offset <= before) & (offset >= -after)
'''

FFT = '''
def fft(x, axes, imaginary=None, inverse=False):
    """The discrete Fourier transform over `axes`, as its real and its imaginary part."""
    z = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    if imaginary is not None:
        z = lax.complex(z, imaginary.astype(z.dtype))
    z = jnp.fft.ifftn(z, axes=axes) if inverse else jnp.fft.fftn(z, axes=axes)
    return z.real.astype(x.dtype), z.imag.astype(x.dtype)
'''

HELPERS: dict[str, str] = {
    text.split("(")[0].removeprefix("\ndef "): text.lstrip("\n")
    for text in (
        SAFE_SQRT,
        MASKED_MEAN,
        MASKED_VAR,
        STANDARDIZE,
        LINEAR_SCAN,
        DROPOUT,
        CROSS_ENTROPY,
        CROSS_ENTROPY_OPTIONS,
        BINARY_CROSS_ENTROPY,
        ROTARY,
        ROTARY_PARTIAL,
        ROTARY_INTERLEAVED,
        ROTARY_RATES,
        LLAMA3_RATES,
        YARN_RATES,
        ROTARY_AT,
        MEAN_POOL,
        ATTENTION,
        BAND,
        FFT,
    )
}
"""The text of each function, by its name."""
