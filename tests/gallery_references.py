"""The gallery's models once more, in plain numpy, from their papers and published code.

Each function takes the parameters as the emitted program holds them, a batch and the sizes, and
gives what the file's model gives, in evaluation. Nothing here is shared with the library: heads are
axis 1 and positions axes 2 and 3 of attention, as most implementations have it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = np.ndarray
Params = Any
Sizes = Any


def gpt2(params: Params, batch: Any, sizes: Sizes) -> Array:
    p = params["gpt"]
    tokens = batch["tokens"]
    x = p["embed"]["table"][tokens] + p["positions"][: tokens.shape[1]]
    body = p["body"]
    for block in copies(body["blocks"]):
        y = layer_norm(x, block["attn_norm"], 1e-5)
        x = x + attention(block["attn"], y, y, causal(y))
        x = x + mlp(block["mlp"], layer_norm(x, block["mlp_norm"], 1e-5), gelu_tanh)
    return layer_norm(x, body["norm"], 1e-5) @ p["embed"]["table"].T


def llama2(params: Params, batch: Any, sizes: Sizes) -> Array:
    p = params["llama"]
    x = p["embed"]["table"][batch["tokens"]]
    size = p["body"]["blocks"]["attn"]["query"].shape[-1]
    x = llama_body(p["body"], x, frequencies(size, 10000.0), causal(x))
    return x @ p["head"]["kernel"]


def llama3(params: Params, batch: Any, sizes: Sizes) -> Array:
    p = params["llama"]
    x = p["embed"]["table"][batch["tokens"]]
    size = p["body"]["blocks"]["attn"]["query"].shape[-1]
    found = []
    for frequency in frequencies(size, 500000.0):  # one at a time, as the published code does
        wave = 2 * math.pi / frequency
        if wave < sizes["context"] / 4:
            found.append(frequency)
        elif wave > sizes["context"]:
            found.append(frequency / 8)
        else:
            smooth = (sizes["context"] / wave - 1) / (4 - 1)
            found.append((1 - smooth) * frequency / 8 + smooth * frequency)
    x = llama_body(p["body"], x, np.array(found), causal(x))
    return x @ p["head"]["kernel"]


def mistral(params: Params, batch: Any, sizes: Sizes) -> Array:
    p = params["mistral"]
    x = p["embed"]["table"][batch["tokens"]]
    size = p["body"]["blocks"]["attn"]["query"].shape[-1]
    mask = causal(x) & ~np.tril(causal(x), -sizes["window"])
    x = llama_body(p["body"], x, frequencies(size, 10000.0), mask)
    return x @ p["head"]["kernel"]


def gemma(params: Params, batch: Any, sizes: Sizes) -> Array:
    p = params["gemma"]
    x = p["embed"]["table"][batch["tokens"]]
    x = x * math.sqrt(x.shape[-1])
    size = p["body"]["blocks"]["attn"]["query"].shape[-1]
    x = llama_body(p["body"], x, frequencies(size, 10000.0), causal(x), gelu_tanh, 1e-6, 1.0)
    return x @ p["embed"]["table"].T


def bert(params: Params, batch: Any, sizes: Sizes) -> tuple[Array, Array]:
    p = params["bert"]
    tokens = batch["tokens"]
    x = p["embed"]["table"][tokens] + p["segment"]["table"][batch["segments"]]
    x = layer_norm(x + p["positions"][: tokens.shape[1]], p["norm"], 1e-12)
    mask = batch["live"][:, None, None, :]
    for block in copies(p["blocks"]):
        x = layer_norm(x + attention(block["attn"], x, x, mask), block["attn_norm"], 1e-12)
        x = layer_norm(x + mlp(block["mlp"], x, gelu_erf), block["mlp_norm"], 1e-12)
    return x, np.tanh(linear(p["pooler"], x[:, 0]))


def t5(params: Params, batch: Any, sizes: Sizes) -> Array:
    p = params["t5"]
    mask = batch["live"][:, None, None, :]

    def attend(part, x, memory, mask, bias=0.0):
        return attention(part["attn"], x, memory, mask, bias, scale=1.0)

    x = p["embed"]["table"][batch["source"]]
    bias = t5_bias(p["read_bias"]["table"], x.shape[1], both=True)
    for block in copies(p["encoder"]):
        y = rms_norm(x, block["norm"])
        x = x + attend(block["attn"], y, y, mask, bias)
        x = x + mlp(block["mlp"]["mlp"], rms_norm(x, block["mlp"]["norm"]), relu)
    memory = rms_norm(x, p["encoder_norm"])
    x = p["embed"]["table"][batch["tokens"]]
    bias = t5_bias(p["write_bias"]["table"], x.shape[1], both=False)
    for block in copies(p["decoder"]):
        y = rms_norm(x, block["norm"])
        x = x + attend(block["attn"], y, y, causal(y), bias)
        x = x + attend(block["cross"], rms_norm(x, block["cross_norm"]), memory, mask)
        x = x + mlp(block["mlp"]["mlp"], rms_norm(x, block["mlp"]["norm"]), relu)
    x = rms_norm(x, p["decoder_norm"]) * x.shape[-1] ** -0.5
    return x @ p["embed"]["table"].T


def vit(params: Params, batch: Any, sizes: Sizes) -> Array:
    p = params["vit"]
    x = patches(p["patch"], batch["image"], sizes["P"])
    first = np.broadcast_to(p["first"], (x.shape[0], 1, x.shape[-1]))
    x = np.concatenate([first, x], axis=1) + p["positions"]
    everything = np.ones((1, 1), bool)
    for block in copies(p["body"]["blocks"]):
        y = layer_norm(x, block["attn_norm"], 1e-6)
        x = x + attention(block["attn"], y, y, everything)
        x = x + mlp(block["mlp"], layer_norm(x, block["mlp_norm"], 1e-6), gelu_tanh)
    return linear(p["head"], layer_norm(x, p["body"]["norm"], 1e-6)[:, 0])


def mixer(params: Params, batch: Any, sizes: Sizes) -> Array:
    p = params["mixer"]
    x = patches(p["patch"], batch["image"], sizes["P"])
    for block in copies(p["blocks"]):
        y = layer_norm(x, block["patch_norm"], 1e-6).swapaxes(1, 2)
        x = x + mlp(block["patches"], y, gelu_tanh).swapaxes(1, 2)
        x = x + mlp(block["channels"], layer_norm(x, block["channel_norm"], 1e-6), gelu_tanh)
    return linear(p["head"], layer_norm(x, p["norm"], 1e-6).mean(axis=1))


def whisper(params: Params, batch: Any, sizes: Sizes) -> Array:
    p = params["whisper"]
    everything = np.ones((1, 1), bool)
    x = gelu_erf(convolution(p["conv1"], batch["audio"], 1))
    x = gelu_erf(convolution(p["conv2"], x, 2))
    half = x.shape[-1] // 2
    rates = np.exp(-math.log(10000) / (half - 1) * np.arange(half))
    angles = np.arange(x.shape[1])[:, None] * rates
    x = x + np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    encoder, decoder = p["body"]["encoder"], p["body"]["decoder"]
    for block in copies(encoder["blocks"]):
        y = layer_norm(x, block["attn_norm"], 1e-5)
        x = x + attention(block["attn"], y, y, everything)
        x = x + mlp(block["mlp"], layer_norm(x, block["mlp_norm"], 1e-5), gelu_erf)
    memory = layer_norm(x, encoder["norm"], 1e-5)
    tokens = batch["tokens"]
    x = p["embed"]["table"][tokens] + p["positions"][: tokens.shape[1]]
    for block in copies(decoder["blocks"]):
        y = layer_norm(x, block["attn_norm"], 1e-5)
        x = x + attention(block["attn"], y, y, causal(y))
        y = layer_norm(x, block["cross_norm"], 1e-5)
        x = x + attention(block["cross"], y, memory, everything)
        x = x + mlp(block["mlp"], layer_norm(x, block["mlp_norm"], 1e-5), gelu_erf)
    return layer_norm(x, decoder["norm"], 1e-5) @ p["embed"]["table"].T


def llama_body(body, x, rates, mask, act=None, eps=1e-5, added=0.0) -> Array:
    """Llama's blocks and last norm; Gemma's with gelu and scales that are added to 1."""
    act = act or (lambda y: y / (1 + np.exp(-y)))
    for block in copies(body["blocks"]):
        y = rms_norm(x, block["attn_norm"], eps, added)
        x = x + attention(block["attn"], y, y, mask, rates=rates)
        y = rms_norm(x, block["mlp_norm"], eps, added)
        glu = block["mlp"]["glu"]
        x = x + linear(glu["down"], act(linear(glu["gate"], y)) * linear(glu["up"], y))
    return rms_norm(x, body["norm"], eps, added)


def copies(stacked: Params) -> list[Params]:
    """Stacked parameters, one tree for each copy."""
    if not isinstance(stacked, dict):
        return list(stacked)
    parts = {name: copies(part) for name, part in stacked.items()}
    count = len(next(iter(parts.values())))
    return [{name: part[i] for name, part in parts.items()} for i in range(count)]


def attention(p, x, memory, mask, bias=0.0, scale=None, rates=None) -> Array:
    """Multi-head attention [B, S, D]; keys and values are repeated for the queries' heads."""
    d, groups, repeats, size = p["query"].shape
    heads = groups * repeats

    def split(name, source, count):
        y = source @ p[name].reshape(source.shape[-1], count * size)
        if f"{name}_bias" in p:
            y = y + p[f"{name}_bias"].reshape(count * size)
        return y.reshape(*source.shape[:2], count, size).swapaxes(1, 2)

    q, k, v = split("query", x, heads), split("key", memory, groups), split("value", memory, groups)
    if rates is not None:
        q, k = turned(q, rates), turned(k, rates)
    k, v = np.repeat(k, repeats, axis=1), np.repeat(v, repeats, axis=1)
    scores = q @ k.swapaxes(2, 3) * (size**-0.5 if scale is None else scale) + bias
    scores = np.where(mask, scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights = weights / weights.sum(axis=-1, keepdims=True)
    y = (weights @ v).swapaxes(1, 2).reshape(*x.shape[:2], heads * size)
    y = y @ p["out"].reshape(heads * size, d)
    return y + p["out_bias"] if "out_bias" in p else y


def frequencies(size: int, base: float) -> Array:
    """The angle that each pair of features turns by from one position to the next."""
    return 1.0 / base ** (np.arange(0, size, 2) / size)


def turned(x: Array, rates: Array) -> Array:
    """[B, H, S, K] turned by position: x cos + (-second half, first half) sin."""
    angles = np.concatenate([rates, rates]) * np.arange(x.shape[2])[:, None]
    first, second = np.split(x, 2, axis=-1)
    return x * np.cos(angles) + np.concatenate([-second, first], axis=-1) * np.sin(angles)


def t5_bias(table: Array, length: int, both: bool, distance: int = 128) -> Array:
    """[1, H, S, T]: the learned bias of each head for the bucket of each distance."""
    buckets = table.shape[0]
    result = np.zeros((1, table.shape[1], length, length))
    for s in range(length):
        for t in range(length):
            n, start, away = buckets, 0, s - t
            if both:
                n = buckets // 2
                start, away = (n if away < 0 else 0), abs(away)
            away = max(away, 0)
            exact = n // 2
            if away >= exact:
                far = math.log(away / exact) / math.log(distance / exact) * (n - exact)
                away = min(exact + int(far), n - 1)
            result[0, :, s, t] = table[start + away, :, 0]
    return result


def patches(p: Params, image: Array, size: int) -> Array:
    """The patches of an image [B, Y, X, C], row by row, each through a dense layer."""
    _, rows, columns, _ = image.shape
    found = [
        image[:, y : y + size, x : x + size].reshape(len(image), -1)
        for y in range(0, rows, size)
        for x in range(0, columns, size)
    ]
    return linear(p, np.stack(found, axis=1))


def convolution(p: Params, x: Array, stride: int) -> Array:
    """Windows of three frames of x [B, T, C], a frame of zeros at both ends."""
    x = np.pad(x, ((0, 0), (1, 1), (0, 0)))
    starts = range(0, x.shape[1] - 2, stride)
    found = [np.einsum("bkc,kcd->bd", x[:, t : t + 3], p["kernel"]) for t in starts]
    return np.stack(found, axis=1) + p["bias"]


def causal(x: Array) -> Array:
    """Which position of x [B, S, D] may see which."""
    return np.tril(np.ones((x.shape[1], x.shape[1]), bool))


def linear(p: Params, x: Array) -> Array:
    y = x @ p["kernel"]
    return y + p["bias"] if "bias" in p else y


def mlp(p: Params, x: Array, act) -> Array:
    return linear(p["down"], act(linear(p["up"], x)))


def layer_norm(x: Array, p: Params, eps: float) -> Array:
    x = x - x.mean(axis=-1, keepdims=True)
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + eps) * p["scale"] + p["bias"]


def rms_norm(x: Array, p: Params, eps: float = 1e-6, added: float = 0.0) -> Array:
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + eps) * (p["scale"] + added)


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


def gelu_erf(x: Array) -> Array:
    return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2


def gelu_tanh(x: Array) -> Array:
    return x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2
