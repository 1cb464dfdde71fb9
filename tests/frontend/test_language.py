"""What the page on the language promises, sentence by sentence: each model runs both ways."""

from __future__ import annotations

import math

import jax
import numpy as np
import pytest
from netwright import driver
from netwright.backend.model import ModelWriter
from netwright.ir.diagnostics import InputError
from netwright.ir.plan import Plan
from trials import load, trial


def normal(*shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape)


def gelu(x):
    return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2


def tanh_gelu(x):
    return x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2


# Options


FEED = """
layer RMS[D](x: [..., D], eps = 1e-6) -> [..., D]:
    param scale: [D] = ones()
    return x * rsqrt(mean[D](x ** 2) + eps) * scale

layer Feed[D](x: [..., D], act = gelu, norm = none, bias = false, gain = 1) -> [..., D]:
    dims: F = D
    param w: [D, F] = lecun_normal[D]()
    if norm != none:
        use before = norm
        x = before(x)
    y = gain * act(dot[D](x, w))
    if bias:
        param b: [F] = zeros()
        y = y + b
    return rename[F -> D](y)
"""


@pytest.mark.parametrize("gain", ["1", "2.5"])
@pytest.mark.parametrize("bias", ["true", "false"])
@pytest.mark.parametrize("norm", ["RMS", "none"])
@pytest.mark.parametrize("act", ["tanh", "square", ""])
def test_options_are_numbers_bools_ops_layers_and_none(act, norm, bias, gain):
    given = f"norm = {norm}, bias = {bias}, gain = {gain}" + (f", act = {act}" if act else "")
    text = f"dims: B = 2, D = 3\n{FEED}\nmodel M(x: [B, D]) -> [B, D]:\n"
    text += f"    use feed = Feed({given})\n    return feed(x)\n"
    x = normal(2, 3)
    done = trial(text, x)
    p = done.params["feed"]
    if norm != "none":
        x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * p["before"]["scale"]
    y = float(gain) * {"tanh": np.tanh, "square": np.square, "": tanh_gelu}[act](x @ p["w"])
    done.equals(y + p["b"] if bias == "true" else y)


def test_an_option_is_handed_on():
    text = """
dims: B = 2, D = 3
layer Act[D](x: [..., D], f) -> [..., D]:
    param s: [D] = ones()
    return f(s * x)
layer Twice[D](x: [..., D], part, f = tanh) -> [..., D]:
    use one = part(f = f)
    use two = part(f = sin)
    return two(one(x))
model M(x: [B, D]) -> [B, D]:
    use twice = Twice(part = Act, f = cos)
    return twice(x)
"""
    x = normal(2, 3)
    done = trial(text, x)
    p = done.params["twice"]
    done.equals(np.sin(p["two"]["s"] * np.cos(p["one"]["s"] * x)))


def test_branches_on_sizes_and_constants():
    text = """
dims: B = 2, D = 3
const:
    deep = true
layer Deep[D](x: [..., D]) -> [..., D]:
    if D >= 4:
        param w: [D] = ones()
        x = x * w
    elif deep and D == 3:
        x = x + 1
    else:
        x = x - 1
    return x
model M(x: [B, D]) -> [B, D]:
    use deep_one = Deep
    return deep_one(x)
"""
    x = normal(2, 3)
    trial(text, x).equals(x + 1)


# Results


def test_several_results_by_name_and_underscore():
    text = """
dims: B = 2, D = 3
layer Both[D](x: [..., D]) -> up: [..., D], total: [...]:
    return x + 1, sum[D](x)
model M(x: [B, D]) -> a: [B, D], t: [B]:
    use both = Both
    a, _ = both(x)
    _, t = both(a)
    return a, t
"""
    x = normal(2, 3)
    trial(text, x).equals(x + 1, (x + 1).sum(-1))


# Repeat


def test_repeat_with_side_inputs_stacked_results_and_index():
    text = """
dims: B = 2, D = 3, L = 4
layer Step[D](x: [..., D], all: [...], own: [..., D], h: [D]) -> [..., D], out: [..., D], h: [D]:
    param w: [D] = ones()
    state seen: [D] = zeros()
    seen <- seen + h
    metric size = mean[..., D](x)
    y = tanh(x * w + own) + expand[D](all) * (1 + index[L]())
    return y, y * h, h + 1
model M(x: [B, D], all: [B], own: [L, B, D], h: [D]) -> [B, D], [L, B, D], [D]:
    use steps = repeat[L] Step
    y, out, h = steps(x, all, own, h)
    return y, out, h
"""
    x, each, own, h = normal(2, 3), normal(2), normal(4, 2, 3), normal(3)
    done = trial(text, x, each, own, h)
    outs, sizes, seen = [], [], []
    for i in range(4):
        sizes.append(x.mean())
        seen.append(h)
        x = np.tanh(x * done.params["steps"]["w"][i] + own[i]) + each[:, None] * (1 + i)
        outs.append(x * h)
        h = h + 1
    done.equals(x, np.stack(outs), h)
    np.testing.assert_allclose(done.metrics["steps.size"], np.mean(sizes))
    assert done.state["steps"]["seen"].shape == (4, 3)


def test_index_of_repeats_in_repeats():
    text = """
dims: B = 2, L = 2, K = 3
layer Inner(x: [...]) -> [...]:
    return 2 * x + index[K]() + 10 * index[L]()
layer Outer(x: [...]) -> [...]:
    use inner = repeat[K] Inner
    return inner(x) - index[L]()
model M(x: [B]) -> [B]:
    use outer = repeat[L] Outer
    return outer(x)
"""
    x = want = normal(2)
    for i in range(2):
        for k in range(3):
            want = 2 * want + k + 10 * i
        want = want - i
    trial(text, x).equals(want)


# Each


def test_each_deals_out_and_stacks():
    text = """
dims: B = 2, D = 3, E = 4
layer One[D](x: [..., D], y: [..., D], g: []) -> [..., D], s: [...]:
    param w: [D] = ones()
    state n: [] = zeros()
    n <- n + 1
    metric top = max[..., D](x)
    return g * x * w + y + index[E](), sum[D](x * w)
model M(x: [B, D], y: [B, E, D], g: [E]) -> [E, B, D], [B, E]:
    use ones_ = each[E] One
    a, s = ones_(x, y, g)
    return a, s
"""
    x, y, g = normal(2, 3), normal(2, 4, 3), normal(4)
    done = trial(text, x, y, g)
    w = done.params["ones_"]["w"]
    a = np.stack([g[e] * x * w[e] + y[:, e] + e for e in range(4)])
    done.equals(a, np.stack([(x * w[e]).sum(-1) for e in range(4)], 1))
    np.testing.assert_allclose(done.metrics["ones_.top"], x.max())


def test_each_within_repeat():
    text = """
dims: B = 2, D = 3, E = 2, L = 3
layer One[D](x: [..., D]) -> [..., D]:
    param w: [D] = ones()
    return x * w
layer Mix[D](x: [..., D]) -> [..., D]:
    use heads = each[E] One
    return mean[E](tanh(heads(x)))
model M(x: [B, D]) -> [B, D]:
    use mixes = repeat[L] Mix
    return mixes(x)
"""
    x = normal(2, 3)
    done = trial(text, x)
    w = done.params["mixes"]["heads"]["w"]
    for i in range(3):
        x = np.mean([np.tanh(x * w[i, e]) for e in range(2)], 0)
    done.equals(x)


# Instances


def test_parts_of_instances_and_shared_calls():
    text = """
dims: B = 2, V = 5, D = 3
layer Embed[V, D](ids: int[...]) -> [..., D]:
    param table: [V, D] = normal(0.02)
    return take[V](table, ids)
layer Encoder[V, D](ids: int[...]) -> [..., D]:
    use embed = Embed
    return tanh(embed(ids))
model M(a: int[B], b: int[B]) -> [B, V], [B, D]:
    use encoder = Encoder
    x = encoder(a)
    return dot[D](x, encoder.embed.table), encoder(b)
"""
    a, b = np.array([1, 4]), np.array([0, 4])
    done = trial(text, a, b)
    t = done.params["encoder"]["embed"]["table"]
    done.equals(np.tanh(t[a]) @ t.T, np.tanh(t[b]))


def test_dims_given_at_a_call():
    text = """
dims: B = 2, S = 3, T = 4, D = 3
layer Tower[S, D](x: [..., S, D]) -> [..., D]:
    param w: [D] = ones()
    return mean[S](tanh(x * w)) + S
model M(a: [B, S, D], b: [B, T, D]) -> [B, D]:
    use tower = Tower
    return tower(a) * tower[S = T](b)
"""
    a, b = normal(2, 3, 3), normal(2, 4, 3)
    done = trial(text, a, b)
    w = done.params["tower"]["w"]
    done.equals((np.tanh(a * w).mean(1) + 3) * (np.tanh(b * w).mean(1) + 4))


def test_what_is_written_with_a_dim_given_at_a_call_follows_it():
    """Dims of the layer and of the glossary, constants, defaults, and instances inside of it."""
    text = """
dims: B = 2, S = 4, T = 6, D = 3, L = 2, Third = 2 * S
const: scale = 1 / S
layer Head[N, D](x: [..., N, D]) -> [..., D]:
    dims: Half = N // 2
    return sum[Half](slice[N -> Half](x)) + Half
layer Inner[S, D, More = S + 1](x: [..., S, D]) -> [..., S, D]:
    param w: [D] = ones()
    return x * w - mean[S](x) + More
layer Tower[S, D](x: [..., S, D]) -> [..., D]:
    use inner = Inner
    use more = repeat[L] Inner
    use other = Inner[More = 3 * S]
    use head = Head[N = S]
    return head(other(more(inner(x)))) + Head[N = S](x) + Third * scale + sum[S](x)
model M(a: [B, S, D], b: [B, T, D]) -> [B, D], [B, D], [B, D]:
    use tower = Tower
    return tower(a), tower[S = T](b), tower(a)
"""
    a, b = normal(2, 4, 3), normal(2, 6, 3)
    done = trial(text, a, b)
    p = done.params["tower"]

    def tower(x):
        size = x.shape[1]

        def inner(x, w, m):
            return x * w - x.mean(1, keepdims=True) + m

        def head(x):
            return x[:, : size // 2].sum(1) + size // 2

        y = inner(x, p["inner"]["w"], size + 1)
        for w in p["more"]["w"]:
            y = inner(y, w, size + 1)
        y = inner(y, p["other"]["w"], 3 * size)
        return head(y) + head(x) + 2 * size / size + x.sum(1)

    done.equals(tower(a), tower(b), tower(a))


@pytest.mark.parametrize(
    ("inside", "said"),
    [
        ("    param w: [Half] = ones()\n    use i = Inner\n    return i(x) * sum[Half](w)\n",
         "Half cannot change from call to call: the parameter w has it"),
        ("    use p = Wide\n    use i = Inner\n    return p(i(x))\n",
         "N cannot change from call to call: the parameter w has it"),
        ("    use i = Inner(gain = 1 / S)\n    return i(x)\n",
         "gain cannot change from call to call: it is an option of the use"),
        ("    use i = repeat[S] Single\n    return x + i(sum[S](x))\n",
         "S cannot change from call to call: copies run along it"),
    ],
)  # fmt: skip
def test_what_cannot_follow_a_dim_given_at_a_call(inside, said):
    text = f"""
dims: B = 2, S = 4, T = 6, D = 3
layer Inner[S](x: [..., S], gain = 1) -> [..., S]:
    return x * gain + S
layer Wide[S](x: [..., S]) -> [..., S]:
    dims: N = 2 * S
    param w: [N] = ones()
    return x + sum[N](w)
layer Single(x: [...]) -> [...]:
    return x + 1
layer Tower[S](x: [..., S]) -> [..., S]:
    dims: Half = S // 2
{inside}model M(a: [B, S], b: [B, T]) -> [B, S], [B, T]:
    use tower = Tower
    return tower(a), tower[S = T](b)
"""
    with pytest.raises(InputError) as error:
        load(text)
    assert said in {d.message for d in error.value.diagnostics}


def test_a_constant_for_a_value_is_expanded():
    text = """
dims: B = 2, S = 3, D = 2
layer Pool[S, D](x: [..., S, D], mask: bool[..., S] = true, shift: [..., D] = 0.5) -> [..., D]:
    return mean[S](x, where = mask) + shift
model M(x: [B, S, D], m: bool[B, S]) -> [B, D], [B, D], [B, D]:
    return Pool(x), Pool(x, m, 2), Pool(x, shift = -1, mask = false)
"""
    x, m = normal(2, 3, 2), np.array([[True, False, True], [False, False, False]])
    masked = np.stack([x[0, [0, 2]].mean(0), np.zeros(2)])
    trial(text, x, m).equals(x.mean(1) + 0.5, masked + 2, np.full((2, 2), -1.0))


# Dots


def test_dots_among_bracketed_dims_and_fewer_of_them():
    text = """
dims: A = 2, B = 3, D = 4, F = 2
layer Mid[D](x: [A, ..., D], y: [..., D], z: [...]) -> [..., D], [D]:
    return sum[A](x) * y + expand[D](z), max[..., A](x)
model M(x: [A, B, F, D], y: [F, D], z: [B]) -> [B, F, D], [D]:
    use mid = Mid
    a, b = mid(x, y, expand[F](z))
    return a, b
"""
    x, y, z = normal(2, 3, 2, 4), normal(2, 4), normal(3)
    trial(text, x, y, z).equals(x.sum(0) * y + z[:, None, None], x.max((0, 1, 2)))


def test_dots_that_stand_for_nothing():
    text = """
dims: D = 4
layer Norm[D](x: [..., D]) -> [..., D]:
    return x - mean[..., D](x)
model M(x: [D]) -> [D]:
    return Norm(x)
"""
    x = normal(4)
    trial(text, x).equals(x - x.mean())


# Imports


def test_imports_beside_the_file():
    norms = """
dims: W = 2
const:
    start = 3.0
layer Scale[D](x: [..., D], by = start) -> [..., D]:
    dims: Two = W
    param s: [Two, D] = ones()
    return by * x * sum[Two](s)
"""
    text = """
import norms
dims: B = 2, D = 3, W = 7
layer Use[D](x: [..., D], norm) -> [..., D]:
    use n = norm(by = 2.0)
    return n(x)
model M(x: [B, D]) -> [B, D]:
    use one = norms.Scale
    use two = Use(norm = norms.Scale)
    return two(one(x)) + W
"""
    x = normal(2, 3)
    done = trial(text, x, files={"norms.nw": norms})
    p = done.params
    done.equals(2 * 3 * x * p["one"]["s"].sum(0) * p["two"]["n"]["s"].sum(0) + 7)


# Scan


def test_scan_with_several_of_everything():
    text = """
dims: B = 2, T = 5, D = 3
model M(a: [B, T, D], b: [T, D], live: bool[B, T], k: [D]) -> [B, T, D], [T], [B, D], [D]:
    ys, ns = scan[T](a = a, b = b, live = live) carry (h = zeros[B, D](), n = zeros[D]()):
        new = tanh(h * k + a + b)
        h = where(live, new, h)
        n = n + b * index[T]()
        emit h, sum[D](n)
    return ys, ns, h, n
"""
    a, b, k = normal(2, 5, 3), normal(5, 3), normal(3)
    live = np.arange(5) < np.array([[5], [2]])
    h, n, ys, ns = np.zeros((2, 3)), np.zeros(3), [], []
    for t in range(5):
        h = np.where(live[:, t, None], np.tanh(h * k + a[:, t] + b[t]), h)
        n = n + b[t] * t
        ys.append(h)
        ns.append(n.sum())
    trial(text, a, b, live, k).equals(np.stack(ys, 1), np.stack(ns), h, n)


def test_scan_backwards_and_within_repeat():
    text = """
dims: B = 2, T = 4, D = 3, L = 2
layer Cell[D](h: [..., D], x: [..., D]) -> [..., D]:
    param w: [D] = ones()
    return tanh(h * w + x)
layer Back[T, D](xs: [..., T, D]) -> [..., T, D]:
    use cell = Cell
    ys = scan[T](x = flip[T](xs)) carry (h = zeros[..., D]()):
        h = cell(h, x)
        emit h
    return flip[T](ys)
model M(x: [B, T, D]) -> [B, T, D]:
    use stack_ = repeat[L] Back
    return stack_(x)
"""
    x = normal(2, 4, 3)
    done = trial(text, x)
    for i in range(2):
        w, h, ys = done.params["stack_"]["cell"]["w"][i], np.zeros((2, 3)), []
        for t in range(3, -1, -1):
            h = np.tanh(h * w + x[:, t])
            ys.insert(0, h)
        x = np.stack(ys, 1)
    done.equals(x)


# Sizes


def test_arrows_of_layers_and_formulas():
    text = """
dims: B = 2, Y = 8, D = 4
const:
    half = 0.5
layer Pool[Y -> Yo = Y / K, D -> Do = D, K = 2](x: [..., Y, D]) -> [..., Yo, Do]:
    dims: Two = min(2, D) * 1
    param w: [D, Do, Two] = ones()
    p = mean[K](split[Y -> Yo * K](x))
    return sum[Two](dot[D](p, w)) * half
model M(x: [B, Y, D]) -> [B, Ya, D], [B, Yb, Da]:
    dims: Ya = Y // 2, Yb = Y / 4, Da = 3
    use a = Pool[Y -> Ya]
    use b = Pool[Y -> Yb, D -> Da, K = 4]
    return a(x), b(x)
"""
    x = normal(2, 8, 4)
    done = trial(text, x)
    p = done.params
    a = x.reshape(2, 4, 2, 4).mean(2) @ p["a"]["w"].sum(-1) / 2
    done.equals(a, x.reshape(2, 2, 4, 4).mean(2) @ p["b"]["w"].sum(-1) / 2)


def test_ints_bools_and_sizes_in_arithmetic():
    text = """
dims: B = 3, S = 4
model M(x: [B, S], n: int[B]) -> [B, S], [B], [B, S]:
    mask = index[S]() < expand[S](n)
    up = floor(x) + mask
    return x / sqrt(S) * up, n / 2 + B, x + mask * 1
"""
    x, n = normal(3, 4), np.array([0, 2, 5])
    mask = np.arange(4) < n[:, None]
    trial(text, x, n).equals(x / 2 * (np.floor(x) + mask), n / 2 + 3, x + mask)


# Ops in models


def test_scaled_rotary_positions():
    text = """
dims: S = 3, K = 8
model M(x: [S, K]) -> [S, K], [S, K]:
    near = rotary[S, K](x, base = 500000, scaling = llama3, factor = 8, context = 8192, high = 4)
    return near, rotary[S, K](x, scaling = linear, factor = 4, interleaved = true)
"""
    x, s = normal(3, 8), np.arange(3)[:, None]
    rates = 500000.0 ** -(np.arange(4) / 4)
    waves = 2 * np.pi / rates  # the rule of Llama 3.1, by wavelengths
    smooth = (8192 / waves - 1) / (4 - 1)
    between = (1 - smooth) * rates / 8 + smooth * rates
    rates = np.where(waves < 8192 / 4, rates, np.where(waves > 8192, rates / 8, between))
    cos, sin, (a, b) = np.cos(s * rates), np.sin(s * rates), np.split(x, 2, -1)
    near = np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)
    angle = s / 4 * 10000.0 ** -(np.arange(4) / 4)
    z = (x[:, ::2] + 1j * x[:, 1::2]) * np.exp(1j * angle)
    trial(text, x).equals(near, np.stack([z.real, z.imag], -1).reshape(3, 8))


def test_windows_with_options_of_their_own():
    text = """
dims: Y = 6, X = 5, Ky = 3, Kx = 2
model M(x: [Y, X], w: [Ky, Kx]) -> [Yo, Xo], [Yo, Xp]:
    dims: Yo = 3, Xo = 6, Xp = 4
    y = conv[Y * Ky -> Yo, X * Kx -> Xo](x, w, stride = (2, 1), pad = ((1, 0), (0, 2)))
    return y, max_pool[Y * Ky -> Yo, X * Kx -> Xp](pad[Y -> Yy](x, before = 1), stride = (2, 1))
"""
    text = text.replace("max_pool[Y * Ky", "max_pool[Yy * Ky")
    x, w = normal(6, 5), normal(3, 2)
    wide = np.pad(x, ((1, 0), (0, 2)))
    y = [[(wide[2 * i : 2 * i + 3, j : j + 2] * w).sum() for j in range(6)] for i in range(3)]
    top = [[wide[2 * i : 2 * i + 3, j : j + 2].max() for j in range(4)] for i in range(3)]
    trial(text, x, w).equals(y, top)


def test_experts_that_drop_nothing():
    text = """
dims: S = 7, D = 3, F = 2, E = 3
model M(x: [S, D], w: [E, D, F], choice: int[S]) -> [S, F]:
    order = argsort[S](choice)
    rows = take[S](x, rename[S -> R](order))
    counts = sum[S](one_hot[E](choice))
    y = ragged_dot[R, E, D](rows, w, counts)
    return scatter_add[R -> S](y, rename[S -> R](order))
"""
    x, w, choice = normal(7, 3), normal(3, 3, 2), np.array([2, 0, 0, 2, 1, 2, 0])
    trial(text, x, w, choice).equals(np.einsum("sd,sdf->sf", x, w[choice]))


# Masks


MASKED = {
    "sum": lambda x: x.sum(),
    "mean": lambda x: x.mean() if x.size else 0,
    "var": lambda x: x.var() if x.size else 0,
    "std": lambda x: x.std() if x.size else 0,
    "max": lambda x: x.max() if x.size else -np.inf,
    "min": lambda x: x.min() if x.size else np.inf,
    "prod": lambda x: x.prod(),
    "logsumexp": lambda x: np.log(np.exp(x).sum()) if x.size else -np.inf,
    "l2norm": lambda x: np.sqrt((x**2).sum()),
}
MASKS = np.array([[True, False, True, True], [False, True, False, False], [False] * 4])


@pytest.mark.parametrize("op", MASKED)
def test_masked_reductions(op):
    text = "dims: B = 3, T = 4\nmodel M(x: [B, T], m: bool[B, T]) -> [B]:\n"
    text += f"    return {op}[T](x, where = m)\n"
    x = normal(3, 4)
    trial(text, x, MASKS).equals(
        [MASKED[op](row[live]) for row, live in zip(x, MASKS, strict=True)]
    )


def _softmax(x):
    return np.exp(x) / np.exp(x).sum()


ALONG = {
    "softmax": lambda x: _softmax(x),
    "cumsum": lambda x: x.cumsum(),
    "cumprod": lambda x: x.cumprod(),
    "sort": lambda x: np.sort(x),
}


@pytest.mark.parametrize("op", ALONG)
def test_masked_ops_along_a_dim(op):
    text = "dims: B = 3, T = 4\nmodel M(x: [B, T], m: bool[B, T]) -> [B, T]:\n"
    text += f"    return where(m, {op}[T](x, where = m), 0)\n"
    if op == "sort":  # what is live comes first, what is not last
        text = text.replace("where(m, ", "where(expand[B](index[T]()) < sum[T](m), ")
    x = normal(3, 4)
    wanted = np.zeros_like(x)
    for want, row, live in zip(wanted, x, MASKS, strict=True):
        at = np.arange(live.sum()) if op == "sort" else live
        want[at] = ALONG[op](row[live]) if live.any() else 0
    trial(text, x, MASKS).equals(wanted)


def test_masked_argmax_any_all_standardize_and_top_k():
    text = """
dims: B = 3, T = 4, N = 2
model M(x: [B, T], m: bool[B, T], ok: bool[B, T]) -> int[B], int[B], bool[B], bool[B], [B, T]:
    best, least = argmax[T](x, where = m), argmin[T](x, where = m)
    some, every = any[T](ok, where = m), all[T](ok, where = m)
    return best, least, some, every, standardize[T](x, where = m)
"""
    x, ok = normal(3, 4), normal(3, 4, seed=2) > 0
    hidden = np.where(MASKS, x, -np.inf).argmax(-1), np.where(MASKS, x, np.inf).argmin(-1)
    done = trial(text, x, MASKS, ok)
    np.testing.assert_array_equal(done.results[0], hidden[0])
    np.testing.assert_array_equal(done.results[1], hidden[1])
    np.testing.assert_array_equal(done.results[2], (ok & MASKS).any(-1))
    np.testing.assert_array_equal(done.results[3], (ok | ~MASKS).all(-1))
    live = x[0][MASKS[0]]
    np.testing.assert_allclose(
        done.results[4][0], (x[0] - live.mean()) / np.sqrt(live.var() + 1e-6), 1e-4
    )


def test_masked_linear_scan():
    text = "dims: B = 3, T = 4\nmodel M(a: [B, T], b: [B, T], m: bool[B, T]) -> [B, T]:\n"
    text += "    return linear_scan[T](a, b, where = m)\n"
    a, b = normal(3, 4), normal(3, 4, seed=2)
    h, out = np.zeros(3), []
    for t in range(4):
        h = np.where(MASKS[:, t], a[:, t] * h + b[:, t], h)
        out.append(h)
    trial(text, a, b, MASKS).equals(np.stack(out, 1))


def test_masked_dot():
    text = "dims: B = 3, T = 4, D = 2\nmodel M(a: [B, T], b: [T, D], m: bool[B, T]) -> [B, D]:\n"
    text += "    return dot[T](a, b, where = m)\n"
    a, b = normal(3, 4), normal(4, 2)
    trial(text, a, b, MASKS).equals((a * MASKS) @ b)


@pytest.mark.parametrize("op", ["max_pool", "mean_pool"])
def test_masked_pools(op):
    text = "dims: B = 3, T = 4, K = 2\nmodel M(x: [B, T], m: bool[B, T]) -> [B, U]:\n"
    text += f"    dims: U = 2\n    return {op}[T * K -> U](x, where = m)\n"
    x = normal(3, 4)
    wanted = np.zeros((3, 2))
    for b in range(3):
        for u in range(2):
            live = x[b, 2 * u : 2 * u + 2][MASKS[b, 2 * u : 2 * u + 2]]
            if op == "max_pool":
                wanted[b, u] = live.max(initial=-np.inf)
            else:
                wanted[b, u] = live.sum() / max(1, live.size)
    trial(text, x, MASKS).equals(wanted)


def test_masked_top_k_argsort_conv_and_cross_entropy():
    text = """
dims: B = 2, T = 4, N = 2, K = 3
model M(x: [B, T], m: bool[B, T], w: [K], ids: int[B]) -> [B, N], int[B, T], [B, T], [B]:
    values, _ = top_k[T -> N](x, where = m)
    order = argsort[T](x, descending = true, where = m)
    y = conv[T * K](x, w, where = m)
    return values, order, y, cross_entropy[T](x, ids, where = m)
"""
    x, m, w = normal(2, 4), MASKS[:2], normal(3)
    done = trial(text, x, m, w, np.array([2, 1]))
    low = np.where(m, x, -np.inf)
    zero = np.pad(np.where(m, x, 0), ((0, 0), (1, 1)))
    y = np.stack([zero[:, t : t + 3] @ w for t in range(4)], 1)
    loss = np.log(np.exp(low).sum(-1)) - x[[0, 1], [2, 1]]
    done.equals(-np.sort(-low)[:, :2], np.argsort(-low, kind="stable"), y, loss)


def test_a_mask_that_no_factor_has():
    text = "dims: S = 3, T = 4\nmodel M(a: [S], b: [T], m: bool[S, T]) -> []:\n"
    text += "    return dot[S, T](dot[S](a, eye), b, where = m)\n"
    text = text.replace("dot[S, T](dot[S](a, eye), b", "dot[S, T](a, b, expand[S, T](1.0)")
    a, b = normal(3), normal(4)
    trial(text, a, b, MASKS).equals(a @ MASKS @ b)


# Losses


def test_one_use_in_two_losses_is_one_instance():
    text = """
dims: B = 2, D = 3
model Net(x: [B, D]) -> [B, D]:
    param w: [D] = ones()
    return x * w
loss first(x: [B, D]):
    use net = Net
    return mean[B, D](net(x))
loss second(x: [B, D]):
    use net = Net
    metric size = max[B, D](net(x))
    return sum[B, D](net(x) ** 2)
"""
    x = normal(2, 3)
    done = trial(text, x)
    y = x * done.params["net"]["w"]
    done.equals((y**2).sum())
    np.testing.assert_allclose(done.metrics["size"], y.max())


def test_initializers_by_named_dims():
    text = """
dims: B = 2, D = 3, H = 2, K = 4
layer Q[D, H, K](x: [..., D]) -> [..., H, K]:
    param w: [D, H, K] = glorot_uniform[D -> H * K]()
    param b: [H, K] = where(index[H]() == 1, 1.0, uniform(-1, 1))
    param slope: [K] = 2 ** (-8 * (index[K]() + 1) / K)
    param eye: [D, K] = identity[D -> K]()
    state n: [H] = index[H]() / H
    n <- n
    return dot[D](x, w) + b + slope + expand[H](dot[D](x, eye)) + expand[K](n)
model M(x: [B, D]) -> [B, H, K]:
    use q = Q
    return q(x)
"""
    plan = Plan()
    writer = ModelWriter(driver.compile_module(load(text), plan), plan, "model.nw")
    names = {}
    exec(writer.write(), names)
    params, state = names["init_params"](jax.random.key(0)), names["init_state"]()
    q = params["q"]
    assert abs(q["w"]).max() <= math.sqrt(6 / (3 + 8))
    np.testing.assert_allclose(q["b"][1], np.ones(4))
    np.testing.assert_allclose(q["slope"], 2.0 ** (-8 * np.arange(1, 5) / 4), 1e-6)
    np.testing.assert_allclose(q["eye"], np.eye(3, 4))
    np.testing.assert_allclose(state["q"]["n"], [0, 0.5])
