"""The chapter `attention` against Flax, against JAX's own attention, and against the formulas.

Flax and JAX have no ALiBi, relative biases, sinks, soft caps, or rows that see nothing: for these,
and for all options with each other, the reference is the formula of the paper, written out here.
"""

import flax_layers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from library_cases import Emitted, Layer, module_of

pytestmark = pytest.mark.xdist_group("library-attention")  # to compile each op once

SIZES = {"S": 4, "T": 4, "D": 6, "E": 6, "G": 2, "R": 2, "K": 4}


def multi_head(case, params, state, inputs):
    assert ("query_bias" in params) == case.options["biased"]
    x, mask = inputs["x"], inputs.get("where")
    if case.options["causal"]:
        causal = np.tril(np.ones((case.sizes["B"], case.sizes["S"], case.sizes["T"]), bool))
        mask = causal if mask is None else mask & causal
    return flax_layers.multi_head(params, x, inputs["memory"], mask)


def projected(case, params, inputs):
    """q: [B, S, H, K] and k, v: [B, T, G, K]."""
    q = jnp.einsum("bsd,dgrk->bsgrk", inputs["x"], params["query"])
    k = jnp.einsum("btd,dgk->btgk", inputs["memory"], params["key"])
    v = jnp.einsum("btd,dgk->btgk", inputs["memory"], params["value"])
    q = q + params.get("query_bias", 0)
    k, v = k + params.get("key_bias", 0), v + params.get("value_bias", 0)
    return q.reshape(*q.shape[:2], -1, q.shape[-1]), k, v


def mixed(case, params, y):
    y = y.reshape(*y.shape[:2], case.sizes["G"], case.sizes["R"], -1)
    return jnp.einsum("bsgrk,grkd->bsd", y, params["out"]) + params.get("out_bias", 0)


def grouped(case, params, state, inputs):
    """JAX's own attention, which has groups, windows, a scale and a bias."""
    q, k, v = projected(case, params, inputs)
    bias = inputs.get("bias")
    if bias is not None:
        bias = bias.reshape(bias.shape[0], -1, *bias.shape[-2:])
    window = case.options["window"]
    y = jax.nn.dot_product_attention(
        q,
        k,
        v,
        bias,
        inputs["where"][:, None] if "where" in inputs else None,
        scale=None if isinstance(case.options["scale"], str) else case.options["scale"],
        is_causal=case.options["causal"],
        local_window_size=None if window is None else window - 1,
    )
    return mixed(case, params, y)


def softmax(logits, live):
    """Over the last axis, of what is live; 0 where nothing is."""
    top = jax.lax.stop_gradient(jnp.max(jnp.where(live, logits, -1e30), -1, keepdims=True))
    raised = jnp.where(live, jnp.exp(jnp.where(live, logits - top, 0)), 0)
    total = raised.sum(-1, keepdims=True)
    return raised / jnp.where(total > 0, total, 1), total, top


def turned(x, base=10000.0, fraction=1.0, interleaved=False, rate=None):
    """Su et al. 2021: pairs of features are complex numbers, multiplied by e^(i s theta)."""
    x = jnp.moveaxis(x, 1, -2)
    size = int(x.shape[-1] * fraction)
    rate = base ** (-jnp.arange(0, size, 2) / size) if rate is None else rate
    angle = jnp.arange(x.shape[-2])[:, None] * rate
    pairs = (slice(0, size, 2), slice(1, size, 2))
    if not interleaved:
        pairs = (slice(0, size // 2), slice(size // 2, size))
    a, b = x[..., pairs[0]], x[..., pairs[1]]
    x = x.at[..., pairs[0]].set(a * jnp.cos(angle) - b * jnp.sin(angle))
    x = x.at[..., pairs[1]].set(a * jnp.sin(angle) + b * jnp.cos(angle))
    return jnp.moveaxis(x, -2, 1)


def slopes(heads):
    """Press et al. 2022, as their code has it for numbers of heads that are no power of two."""

    def of_power(n):
        start = 2 ** (-8 / n)
        return [start ** (i + 1) for i in range(n)]

    power = 2 ** int(np.floor(np.log2(heads)))
    return np.array(of_power(power) + of_power(2 * power)[0::2][: heads - power])


def buckets(queries, keys, count, distance, both):
    """Raffel et al. 2020: the bucket of each key's position relative to each query's."""
    found = np.zeros((queries, keys), int)
    for s in range(queries):
        for t in range(keys):
            n, place, start = count, t - s, 0
            if both:
                n //= 2
                start = n if place > 0 else 0
                place = abs(place)
            else:
                place = max(-place, 0)
            if place >= n // 2:
                far = np.log(place / (n // 2)) / np.log(distance / (n // 2)) * (n - n // 2)
                place = min(n // 2 + int(far), n - 1)
            found[s, t] = start + place
    return found


def rms(params, x):
    return x / jnp.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * params["scale"]


def formula(case, params, state, inputs):
    """Every option, as its paper has it."""
    options = case.options
    q, k, v = projected(case, params, inputs)
    if options["norm"]:
        norm = rms if "RMS" in options["norm"] else flax_layers.layer_norm
        q, k = norm(params["query_norm"], q), norm(params["key_norm"], k)
    if options["rotary"]:
        more = {"base": 100.0, "fraction": 0.5, "interleaved": True}
        more = more if "interleaved" in options["rotary"] else {}
        q, k = turned(q, **more), turned(k, **more)
    k, v = (jnp.repeat(a, case.sizes["R"], axis=2) for a in (k, v))
    scale = options["scale"]
    scale = case.sizes["K"] ** -0.5 if isinstance(scale, str) else scale
    logits = scale * jnp.einsum("bshk,bthk->bhst", q, k)
    if options["cap"]:
        logits = options["cap"] * jnp.tanh(logits / options["cap"])
    heads, queries, keys = logits.shape[1:]
    if "bias" in inputs:
        logits = logits + inputs["bias"].reshape(-1, heads, queries, keys)
    place = np.arange(queries)[:, None] - np.arange(keys)
    if options["relative"] == "attention.ALiBi":
        logits = logits - slopes(heads)[:, None, None] * abs(place)
    elif options["relative"]:
        both = "both" not in options["relative"]
        table = params["relation"]["table"].reshape(8, heads)
        logits = logits + jnp.moveaxis(table[buckets(queries, keys, 8, 6, both)], -1, 0)
    live = np.ones(logits.shape, bool)
    if "live" in inputs:
        live &= inputs["live"][:, None, None]
    if "where" in inputs:
        live &= inputs["where"][:, None]
    if options["causal"]:
        live &= place >= 0
    if options["window"]:
        live &= abs(place) < options["window"]
    weights, total, top = softmax(logits, live)
    if options["sink"]:  # one more logit in the sum below the line
        sink = params["sink"].reshape(-1)[:, None, None]
        raised = jnp.where(live, jnp.exp(jnp.where(live, logits - top, 0)), 0)
        weights = raised / (total + jnp.exp(sink - jnp.where(total > 0, top, 0)))
    return mixed(case, params, jnp.einsum("bhst,bthk->bshk", weights, v))


def rotary(case, params, state, inputs):
    options, x = case.options, inputs["x"]
    size = int(x.shape[-1] * options["fraction"])
    base, factor, scaling = (options[n] for n in ("base", "factor", "scaling"))
    if scaling == "ntk":
        base *= factor ** (size / (size - 2))
    rate = base ** (-np.arange(0, size, 2) / size)
    if scaling not in (None, "ntk"):
        rate = slowed(rate, options, size)
    done = turned(x, options["base"], options["fraction"], options["interleaved"], rate)
    if scaling == "yarn":  # what is rotated is longer
        done = done.at[..., :size].multiply(0.1 * np.log(factor) + 1)
    return done


def slowed(rate, options, size):
    """Rates divided by the factor: all, or slow ones."""
    scaling = options["scaling"]
    high = options["high"] or {"yarn": 32.0}.get(scaling, 4.0)
    options = {**options, "high": high}
    if scaling == "linear":
        return rate / options["factor"]
    if scaling == "yarn":
        return yarn(rate, options, size)
    found = []  # Llama 3.1, by wave lengths, as its reference code has it
    for r in rate:
        wave = 2 * np.pi / r
        longest, shortest = (options["context"] / options[n] for n in ("low", "high"))
        smooth = (options["context"] / wave - options["low"]) / (options["high"] - options["low"])
        if wave > longest:
            r = r / options["factor"]
        elif wave >= shortest:
            r = (1 - smooth) * r / options["factor"] + smooth * r
        found.append(r)
    return np.array(found)


def yarn(rate, options, size):
    """The rates of YaRN, as its reference code has them: a ramp from pair to pair."""

    def pair(turns):
        return size * np.log(options["context"] / (turns * 2 * np.pi)) / 2 / np.log(options["base"])

    first = max(np.floor(pair(options["high"])), 0)
    last = min(np.ceil(pair(options["low"])), size - 1)
    last = last + 0.001 if first == last else last
    ramp = np.clip((np.arange(size // 2) - first) / (last - first), 0, 1)
    return rate * (1 - ramp) + rate / options["factor"] * ramp


def alibi(case, params, state, inputs):
    x = inputs["x"]
    place = np.arange(x.shape[-2])[:, None] - np.arange(x.shape[-1])
    own = slopes(x.shape[1] * x.shape[2]).reshape(x.shape[1:3])
    return x - own[:, :, None, None] * abs(place)


def relative_bias(case, params, state, inputs):
    x, options = inputs["x"], case.options
    found = buckets(*x.shape[-2:], options["buckets"], options["distance"], options["both"])
    return x + jnp.moveaxis(params["table"][found], (0, 1), (-2, -1))


def sees_one(rng, shape):
    """A mask with which every query sees a key: itself."""
    return (rng.random(shape) < 0.5) | np.eye(*shape[-2:], dtype=bool)


def sees_none(rng, shape):
    """A mask with which the first query sees nothing."""
    mask = rng.random(shape) < 0.6
    mask[..., 0, :] = False
    return mask


SELF = {"x": "[B, S, D]", "memory": "[B, T, E]"}
MASK = {"where": "bool[B, S, T]"}
TURN = "attention.Rotary(base = 100.0, fraction = 0.5, interleaved = true)"
BIAS = "attention.RelativeBias(buckets = 8, distance = 6)"
ONE_WAY = "attention.RelativeBias(buckets = 8, distance = 6, both = false)"


NO, YES = ("false", "true"), ("true", "false")
OPTIONS = {
    "live": (False, True),
    "where": (False, True),
    "bias": (False, True),
    "causal": NO,
    "window": ("none", "2"),
    "scale": ("1 / sqrt(K)", "0.3"),
    "cap": ("none", "2.0"),
    "sink": NO,
    "rotary": ("none", "attention.Rotary", TURN),
    "relative": ("none", "attention.ALiBi", BIAS, ONE_WAY),
    "norm": ("none", "norm.RMSNorm", "norm.LayerNorm(bias = false)"),
    "rate": ("0.0", "0.5"),
    "biased": YES,
    "key_biased": ("biased", "false"),
    "out_biased": ("biased", "false"),
    "init": ("lecun_normal", "normal(0.02)"),
    "query_init": ("init", "normal(0.02)"),
    "out_init": ("init", "normal(0.02)"),
    "bias_init": ("zeros", "normal(0.02)"),
    "R": (None, 2),
    "T": (5, None),
    "E": (5, None),
}
FEW = {n: OPTIONS[n] for n in ("live", "where", "causal", "cap", "sink", "relative")}
ONCE = {"scale": "1 / sqrt(K)", "window": "none", "norm": "none", "rotary": "none"}


def every_option(options, **more):
    """Attention against the formula, in these options."""
    return Layer(
        "attention.Attention",
        {**SELF, "live": "bool[B, T]", **MASK, "bias": "[B, G, R, S, T]"},
        "[B, S, D]",
        formula,
        dims="[R = {R}, T = {T}, E = {E}]",
        alias={"T": "S", "E": "D"},
        options={**{name: (value,) for name, value in ONCE.items()}, "bias": (False,), **options},
        sizes={**SIZES, "R": 1},
        draw={"where": sees_none},
        imports=("norm",),
        **more,
    )


LAYERS = [
    Layer(
        "attention.Attention",
        {**SELF, **MASK},
        "[B, S, D]",
        multi_head,
        dims="[T = T, E = E]",
        options={
            "where": (False, True),
            "causal": NO,
            "biased": YES,
            "norm": ("none", "norm.LayerNorm(bias = false)"),
        },
        sizes={**SIZES, "R": 1},
        draw={"where": sees_one},
        imports=("norm",),
    ),
    Layer(
        "attention.Attention",
        {**SELF, **MASK, "bias": "[B, G, R, S, T]"},
        "[B, S, D]",
        grouped,
        dims="[R = R, T = T, E = E]",
        options={
            "where": (False, True),
            "bias": (False, True),
            "causal": NO,
            "window": ("none", "2"),
            "scale": ("1 / sqrt(K)", "0.3"),
        },
        sizes=SIZES,
        draw={"where": sees_one},
        double=1e-5,  # JAX's attention takes its softmax in float32
    ),
    every_option(
        {**FEW, "R": (2,), "T": (4,), "E": (6,)},
        valid=lambda options: all(options[name] for name in FEW if name != "causal"),
    ),
    Layer(
        "attention.Rotary",
        {"x": "[B, S, G, K]"},
        "[B, S, G, K]",
        rotary,
        options={
            "base": ("10000.0", "10.0"),
            "fraction": ("1.0", "0.5"),
            "interleaved": NO,
            "factor": ("1.0", "4.0"),
            "context": ("8192", "20"),
            "low": ("1.0", "0.5"),
            "high": ("none", "3.0"),
            "scaling": ("none", "linear", "ntk", "llama3", "yarn"),
        },
        sizes={**SIZES, "K": 8},
        valid=lambda options: options["factor"] == 1.0 or options["scaling"] is not None,
    ),
    Layer(
        "attention.ALiBi",
        {"x": "[B, G, R, S, T]"},
        "[B, G, R, S, T]",
        alibi,
        options={"G": (1, 2, 3), "R": (1, 2)},
        sizes=SIZES,
    ),
    Layer(
        "attention.RelativeBias",
        {"x": "[B, G, R, S, T]"},
        "[B, G, R, S, T]",
        relative_bias,
        options={"buckets": ("32", "8"), "distance": ("128", "6"), "both": YES},
        sizes={**SIZES, "S": 8, "T": 7},
    ),
]


def in_one_array(options):
    """Where the keys are the queries, an array of both would have S twice."""
    return options["T"] is not None or not (options["where"] or options["bias"])


PAIRS = every_option(OPTIONS, valid=in_one_array)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_equals_its_reference(layer, equal):
    equal(layer)


@pytest.mark.slow
def test_every_pair_of_options_of_attention(equal):
    equal(PAIRS)


@pytest.mark.parametrize("options", ["", "sink = true", "cap = 2.0, rate = 0.1"])
def test_a_query_that_sees_nothing_gives_zeros_and_no_nan(options):
    text = (
        "import attention\ndims: S = 3, D = 4, G = 2, K = 2\n"
        "model M(x: [S, D], live: bool[S]) -> [S, D]:\n"
        f"    use it = attention.Attention({options}{', ' if options else ''}biased = false)\n"
        "    return it(x, x, live = live)\n"
    )
    emitted = Emitted(module_of(text))
    params = emitted.init_params(jax.random.key(0))
    x, live = jnp.ones((3, 4)), jnp.zeros(3, bool)

    def run(params, x):
        return emitted(params, {}, {"x": x, "live": live}, train=True, key=jax.random.key(1))

    assert not np.any(run(params, x))
    gradients = jax.grad(lambda *a: run(*a).sum(), (0, 1))(params, x)
    assert all(not np.any(g) for g in jax.tree.leaves(gradients))
