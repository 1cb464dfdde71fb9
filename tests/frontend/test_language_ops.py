"""The page's list of ops, in models that run both ways, against numpy."""

from __future__ import annotations

import numpy as np
from trials import load, trial


def normal(*shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape)


def test_logic_comparisons_and_choices():
    text = """
dims: B = 2, S = 3
const:
    far = 2 * 0.4 - 0.1
model M(x: [B, S], y: [S], ok: bool[B]) -> bool[B, S], [B, S], [B, S]:
    keep = (x < y and not (x <= -far)) or expand[S](ok)
    both = where(keep, max(x, y), min(x, 0.5)) + clip(x, -1, 1) ** 2
    return keep, both, where(ok, 1.0, y * 0 + x) // 0.5 + x % 0.75
"""
    x, y, ok = normal(2, 3), normal(3), np.array([True, False])
    keep = ((x < y) & ~(x <= -0.7)) | ok[:, None]
    both = np.where(keep, np.maximum(x, y), np.minimum(x, 0.5)) + np.clip(x, -1, 1) ** 2
    last = np.where(ok[:, None], 1.0, x) // 0.5 + x % 0.75
    trial(text, x, y, ok).equals(keep, both, last)


def test_shapes():
    text = """
dims: B = 2, T = 4, D = 6, H = 2, K = 3, U = 7, Three = 3, Two = 2, One = 1, Tm = T
model M(x: [B, T, D]) -> [B, H, T, K], [B, U], [B, Three, T], [T, B], [B, T], [B, Tm], [B, T]:
    heads = split[D -> H * K](x)
    s = sum[D](x)
    long = pad[T -> Tl](s, before = 1, after = 0, value = 9)
    joined = concat[Tl + Two -> U](long, slice[T -> Two](s, start = 1))
    tall = stack[Three](s, 2 * s, shift[T](s, by = -1, fill = 5))
    a, b = unstack[H](sum[K](heads))
    turned = roll[T](a, shift = 1) + flip[T](b)
    return heads, joined, tall, a, turned, merge[One * T -> Tm](expand[One](a)), b
"""
    x = normal(2, 4, 6)
    heads, s = x.reshape(2, 4, 2, 3), x.sum(-1)
    joined = np.concatenate([np.full((2, 1), 9), s, s[:, 1:3]], 1)
    moved = np.concatenate([s[:, 1:], np.full((2, 1), 5)], 1)
    a, b = heads.sum(-1).transpose(2, 0, 1)
    trial(text, x).equals(
        heads.transpose(0, 2, 1, 3), joined, np.stack([s, 2 * s, moved], 1), a.T,
        np.roll(a, 1, 1) + b[:, ::-1], a, b,
    )  # fmt: skip


def test_lookups():
    text = """
dims: B = 2, T = 4, V = 5, D = 3
model M(table: [V, D], ids: int[B, T], n: int[B], x: [B, T]) -> [B, T, D], [B], [V], [B, T], int[B, T]:
    found = take[V](table, ids)
    last = take[T](x, n - 1)
    total = sum[B](scatter_add[T -> V](x, ids))
    return found, last, total, sort[T](x, descending = true), argsort[T](x)
"""  # noqa: E501
    table, x = normal(5, 3), normal(2, 4)
    ids, n = np.array([[0, 4, 2, 2], [1, 1, 9, -3]]), np.array([3, 1])
    total = np.zeros(5)
    for i, v in zip(ids.ravel(), x.ravel(), strict=True):
        if 0 <= i < 5:
            total[i] += v
    found = table[np.clip(ids, 0, 4)]
    trial(text, table, ids, n, x).equals(
        found, x[[0, 1], n - 1], total, -np.sort(-x), np.argsort(x)
    )


def test_attention_with_every_option():
    text = """
dims: B = 2, S = 4, T = 4, G = 2, R = 2, K = 3
model M(q: [B, S, G, R, K], k: [B, T, G, K], v: [B, T, G, K], m: bool[B, T], b: [G, R, S, T]) -> [B, S, G, R, K]:
    return attention[S, T, K](
        q, k, v, where = m, bias = b, window = 3, causal = true, cap = 2.0, scale = 0.7
    )
"""  # noqa: E501
    q, k, v = normal(2, 4, 2, 2, 3), normal(2, 4, 2, 3, seed=2), normal(2, 4, 2, 3, seed=3)
    b, m = normal(2, 2, 4, 4, seed=4), np.array([[1, 1, 0, 1], [0, 0, 1, 1]], bool)
    logits = 2 * np.tanh(0.7 * np.einsum("bsgrk,btgk->bgrst", q, k) / 2) + b
    offset = np.arange(4)[:, None] - np.arange(4)
    live = m[:, None, None, None] & (offset >= 0) & (offset < 3)
    e = np.where(live, np.exp(logits), 0)
    weights = e / np.maximum(e.sum(-1, keepdims=True), 1e-300)
    done = trial(text, q, k, v, m, b)
    done.equals(np.einsum("bgrst,btgk->bsgrk", weights, v))
    assert not done.results[0][1, :2].any()  # these see nothing


def test_transforms_and_pools():
    text = """
dims: B = 2, T = 8, D = 2
model M(x: [B, T, D]) -> [B, T, D], [B, U, D], [B, U, D], [B, W, D]:
    dims: U = 4, W = 3, Two = 2
    re, im = fft[T](x)
    back, _ = fft[T](re, imaginary = im, inverse = true)
    big = max_pool[T * Two -> U](x)
    return back, big, mean_pool[T * Two -> U](x), resize[T -> W](x, method = linear)
"""
    x = normal(2, 8, 2)
    pairs = x.reshape(2, 4, 2, 2)
    at = (np.arange(3) + 0.5) * 8 / 3 - 0.5
    low, part = np.floor(at).astype(int), (at % 1)[:, None]
    small = x[:, low] * (1 - part) + x[:, low + 1] * part
    trial(text, x).equals(x, pairs.max(2), pairs.mean(2), small)


def test_loops_in_loops():
    text = """
dims: B = 2, T = 3, D = 2, L = 2, E = 2
layer One[D](x: [..., D]) -> [..., D]:
    param w: [D] = ones()
    return tanh(x * w) + index[E]()
layer Deep[D](x: [..., D]) -> [..., D]:
    use parts = each[E] One
    return mean[E](parts(x)) + index[L]()
model M(xs: [B, T, D]) -> [B, T, D], [B, D]:
    use deep = repeat[L] Deep
    ys = scan[T](x = xs) carry (h = zeros[B, D]()):
        h = deep(x + h) * (1 + index[T]())
        emit h
    return ys, h
"""
    xs = normal(2, 3, 2)
    done = trial(text, xs)
    w, h, ys = done.params["deep"]["parts"]["w"], np.zeros((2, 2)), []
    for t in range(3):
        y = xs[:, t] + h
        for i in range(2):
            y = np.mean([np.tanh(y * w[i, e]) + e for e in range(2)], 0) + i
        h = y * (1 + t)
        ys.append(h)
    done.equals(np.stack(ys, 1), h)


def test_a_state_is_read_as_it_was_last_written():
    text = """
dims: D = 2
model M(x: [D]) -> [D], [D]:
    state s: [D] = zeros()
    before = s
    s <- s + x
    if train:
        s <- 2 * s
    return before, s
"""
    x = normal(2)
    for train in (True, False):
        done = trial(text, x, train=train)
        before, after = done.results
        np.testing.assert_allclose(after, (before + x) * (2 if train else 1))
        np.testing.assert_allclose(done.state["s"], after)


def test_sizes_follow_what_they_are_written_with():
    text = """
dims: B, D = 3, F = 4 * D
const:
    gain = D / 2
layer Up[D, F](x: [..., D]) -> [..., F]:
    param w: [D, F] = ones()
    return dot[D](x, w)
layer Wide[D](x: [..., D]) -> [..., D]:
    use up = Up
    use other = Up[D = D, F = D]
    return other(x) + sum[F](up(x)) * gain
model M(x: [B, D]) -> [B, D]:
    use wide = Wide
    return wide(x)
"""
    module = load(text, D=5)
    sizes = {d.name: str(d.size) for d in module.instance("wide.up").dims}
    assert (sizes["D"], sizes["F"]) == ("5", "20")
    sizes = {d.name: str(d.size) for d in module.instance("wide.other").dims}
    assert (sizes["D"], sizes["F"]) == ("5", "5")


def test_chapters_of_the_library_and_layers_of_them_as_options():
    text = """
import core
import norm
dims: B = 2, D = 4
layer Pair[D](x: [..., D], part = core.Linear, after = norm.LayerNorm) -> [..., D]:
    use first = part[D -> D](bias = false)
    y = first(x)
    if after != none:
        use last = after
        y = last(y)
    return y
model M(x: [B, D]) -> [B, D]:
    use a = Pair
    use b = Pair(after = none)
    use c = core.Linear[D -> D]
    return c(b(a(x)))
"""
    x = normal(2, 4)
    done = trial(text, x)
    a, b, c = (done.params[name] for name in "abc")
    y = x @ a["first"]["kernel"]
    y = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + 1e-6)
    y = y * a["last"]["scale"] + a["last"]["bias"]
    done.equals(y @ b["first"]["kernel"] @ c["kernel"] + c["bias"])
