"""The chapter `vision` against Flax's convolutions and normalisations."""

from __future__ import annotations

import ast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from library_cases import Emitted, Layer, module_of

ACTS = {
    "none": lambda x: x,
    None: lambda x: x,
    "relu": nn.relu,
    "relu6": nn.relu6,
    "silu": nn.silu,
    "tanh": jnp.tanh,
    "sigmoid": nn.sigmoid,
    "hard_sigmoid": nn.hard_sigmoid,
}
MODES = {"circular": "wrap", "reflect": "reflect"}


def numbers(written):
    """A number or numbers as they are written, `2` or `((0, 1), (2, 0))`."""
    return ast.literal_eval(written) if isinstance(written, str) else written


def each(value, rank):
    """One for each dim."""
    return value if isinstance(value, tuple) else (value,) * rank


def pad_of(written):
    """A pad as it is written, as Flax takes it: a word, a pair, or pairs for each dim."""
    if isinstance(written, str) and written.isalpha():
        return written.upper()
    pad = numbers(written)
    return pad if isinstance(pad, tuple) else (pad, pad)


def each_dim(pad, spans):
    """The same for windows that cover so many elements; Flax has CAUSAL for one dim only."""
    if pad == "CAUSAL" and len(spans) > 1:
        return [(span - 1, 0) for span in spans]
    return pad if isinstance(pad, str) or isinstance(pad[0], tuple) else [pad] * len(spans)


def convolve(x, params, *, stride=1, pad="same", dilation=1, groups=1):
    """Flax's convolution with a kernel of any rank."""
    window = params["kernel"].shape[:-2]
    stride, dilation = (each(numbers(v), len(window)) for v in (stride, dilation))
    spans = [(k - 1) * d + 1 for k, d in zip(window, dilation, strict=True)]
    layer = nn.Conv(
        params["kernel"].shape[-1],
        window,
        strides=stride,
        padding=each_dim(pad_of(pad), spans),
        kernel_dilation=dilation,
        feature_group_count=groups,
        use_bias="bias" in params,
    )
    return layer.apply({"params": params}, x)


def conv(case, params, state, inputs):
    o = case.options
    groups = case.sizes["C"] if o["groups"] == "C" else o["groups"]
    return convolve(
        inputs["x"],
        params,
        stride=o["stride"],
        pad=o["pad"],
        dilation=o["dilation"],
        groups=groups,
    )


def conv_transpose(case, params, state, inputs):
    """Flax slides the kernel as it is, so ours is turned; its pads are outside, ours inside.

    It has no groups: each is a layer.
    """
    o, x = case.options, inputs["x"]
    window = params["kernel"].shape[:-2]
    stride, dilation = (each(numbers(o[name]), len(window)) for name in ("stride", "dilation"))
    spans = [(k - 1) * d + 1 for k, d in zip(window, dilation, strict=True)]
    pad = pad_of(o["pad"])
    if pad == "CAUSAL":
        pad = [(span - 1, step - 1) for span, step in zip(spans, stride, strict=True)]
    elif not isinstance(pad, str):
        pads = each_dim(pad, spans)
        pad = [(span - 1 - a, span - 1 - b) for span, (a, b) in zip(spans, pads, strict=True)]
    groups = case.sizes["C"] if o["groups"] == "C" else o["groups"]
    kernel = jnp.flip(params["kernel"], tuple(range(len(window))))
    layer = nn.ConvTranspose(
        kernel.shape[-1] // groups,
        window,
        strides=stride,
        padding=pad,
        kernel_dilation=dilation,
        use_bias=False,
    )
    parts = zip(jnp.split(x, groups, -1), jnp.split(kernel, groups, -1), strict=True)
    y = jnp.concatenate([layer.apply({"params": {"kernel": k}}, part) for part, k in parts], -1)
    return y + params["bias"] if "bias" in params else y


def pool(case, params, state, inputs):
    o, x = case.options, inputs["x"]
    window = case.sizes["Ky"], case.sizes["Kx"]
    stride = window if o["stride"] is None else each(numbers(o["stride"]), 2)
    pad = pad_of(o["pad"])
    if pad in ("CIRCULAR", "REFLECT"):
        ends = [((size - 1) // 2, size // 2) for size in window]
        x = jnp.pad(x, ((0, 0), *ends, (0, 0)), mode=MODES[pad.lower()])
        pad = "VALID"
    pad = each_dim(pad, window)
    if o["kind"] == "max_pool":
        return nn.max_pool(x, window, stride, pad)
    return nn.avg_pool(x, window, stride, pad, count_include_pad=False)


def upsample(case, params, state, inputs):
    x, method = inputs["x"], case.options["method"]
    shape = (x.shape[0], case.sizes["Yo"], case.sizes["Xo"], x.shape[-1])
    return jax.image.resize(x, shape, method, antialias=False)


def patches(case, params, state, inputs):
    s = case.sizes
    layer = nn.Conv(s["D"], (s["P"], s["Q"]), (s["P"], s["Q"]), use_bias="bias" in params)
    y = layer.apply({"params": params}, inputs["image"])
    return y.reshape(s["B"], -1, s["D"])


def squeezed(x, params, act="relu", gate="sigmoid"):
    dense = lambda name, y: y @ params[name]["kernel"] + params[name]["bias"]  # noqa: E731
    weights = dense("excite", ACTS[act](dense("squeeze", x.mean((-3, -2)))))
    return x * ACTS[gate](weights)[:, None, None]


def squeeze_excite(case, params, state, inputs):
    return squeezed(inputs["x"], params, case.options["act"], case.options["gate"])


# Blocks. Each gives its result and its new state.


def normalised(x, params, state, norm, train):
    """Flax's normalisation of channels, and its new averages."""
    if norm is None:
        return x, {}
    if norm.startswith("norm.GroupNorm"):
        return nn.GroupNorm(2, epsilon=1e-6).apply({"params": params}, x), {}
    momentum, eps = (0.5, 1e-3) if "(" in norm else (0.99, 1e-5)
    names = {"mean": "average", "var": "variance"}
    layer = nn.BatchNorm(not train, momentum=momentum, epsilon=eps, use_fast_variance=False)
    stats = {theirs: state[ours] for theirs, ours in names.items()}
    y, after = layer.apply({"params": params, "batch_stats": stats}, x, mutable=["batch_stats"])
    return y, {ours: after["batch_stats"][theirs] for theirs, ours in names.items()}


class Blocks:
    """Blocks of ConvNorm, with the options of a case, that gather the new state by path."""

    def __init__(self, case, norm="norm.BatchNorm"):
        self.norm, self.train = case.options.get("norm", norm), case.train

    def conv_norm(self, x, params, state, act=None, norm="", **options):
        y = convolve(x, params["conv"], **options)
        norm = self.norm if norm == "" else norm
        own = params.get("normalise", {}), state.get("normalise", {})
        y, after = normalised(y, *own, norm, self.train)
        return ACTS[act](y), {"normalise": after} if after else {}

    def run(self, x, params, state, names, options):
        """Some ConvNorms in sequence; the result and their new states by name."""
        found = {}
        for name, more in zip(names, options, strict=True):
            x, after = self.conv_norm(x, params[name], state.get(name, {}), **more)
            found |= {name: after} if after else {}
        return x, found

    def shortcut(self, x, params, state, stride):
        if "project" not in params:
            return x, {}
        more = ({"stride": stride},)
        return self.run(x, params, state, ("project",), more)


def conv_norm(case, params, state, inputs):
    o = case.options
    groups = case.sizes["C"] if o["groups"] == "C" else o["groups"]
    return _both(
        state,
        Blocks(case).conv_norm(
            inputs["x"], params, state, o["act"], stride=o["stride"], pad=o["pad"],
            dilation=o["dilation"], groups=groups,
        ),
    )  # fmt: skip


def _both(state, found):
    return found if state else found[0]


def shortcut(case, params, state, inputs):
    found = Blocks(case).shortcut(inputs["x"], params, state, case.options["stride"])
    return _both(state, found)


def residual(case, params, state, inputs):
    o, x, blocks = case.options, inputs["x"], Blocks(case)
    last = {} if o["last_norm"] == "norm" else {"norm": o["last_norm"]}
    y, after = blocks.run(
        x, params, state, ("first", "second"),
        (
            {"stride": o["stride"], "pad": o["pad"], "act": o["act"]},
            {"pad": o["pad"], **last},
        ),
    )  # fmt: skip
    around, more = blocks.shortcut(
        x, params.get("shortcut", {}), state.get("shortcut", {}), o["stride"]
    )
    after |= {"shortcut": more} if more else {}
    return _both(state, (ACTS[o["act"]](y + around), after))


def bottleneck(case, params, state, inputs):
    o, x, blocks = case.options, inputs["x"], Blocks(case)
    last = {} if o["last_norm"] == "norm" else {"norm": o["last_norm"]}
    middle = {"stride": o["stride"], "pad": o["pad"], "groups": o["groups"], "act": o["act"]}
    y, after = blocks.run(
        x, params, state, ("narrow", "middle", "widen"), ({"act": o["act"]}, middle, last)
    )
    around, more = blocks.shortcut(
        x, params.get("shortcut", {}), state.get("shortcut", {}), o["stride"]
    )
    after |= {"shortcut": more} if more else {}
    return _both(state, (ACTS[o["act"]](y + around), after))


def inverted_residual(case, params, state, inputs):
    o, x, blocks = case.options, inputs["x"], Blocks(case)
    act, y, after = o["act"], inputs["x"], {}
    if "widen" in params:
        y, after = blocks.run(y, params, state, ("widen",), ({"act": act},))
    groups = params["middle"]["conv"]["kernel"].shape[-1]
    more = {"stride": o["stride"], "pad": o["pad"], "groups": groups, "act": act}
    y, found = blocks.run(y, params, state, ("middle",), (more,))
    after |= found
    if o["gate"] is not None:
        y = squeezed(y, params["weigh"])
    y, found = blocks.run(y, params, state, ("narrow",), ({},))
    if o["stride"] == 1 and case.sizes["C"] == case.sizes["Co"]:
        y = y + x
    return _both(state, (y, {**after, **found}))


def kept(*outs, window=("Ky", "Kx")):
    """Whether the dims of a result that a use does not name have the sizes of those of x."""

    def valid(options):
        named = [options[out] is not None for out in outs]
        if named != sorted(named, reverse=True):  # arrows are given in order
            return False
        sizes = []
        for name in window:
            sizes.append(options.get(name) or (sizes[-1] if sizes else 3))
        stride = each(numbers(options["stride"]), len(outs))
        dilation = each(numbers(options.get("dilation", 1)), len(outs))
        spans = [(k - 1) * d + 1 for k, d in zip(sizes, dilation, strict=True)]
        pads = each_dim(pad_of(options.get("pad", "same")), spans)
        for i, told in enumerate(named):
            whole = pads != "VALID" if isinstance(pads, str) else sum(pads[i]) == spans[i] - 1
            if not told and not (stride[i] == 1 and whole):
                return False
        return True

    return valid


def kept_at_all(options):
    """Whether the middle of an inverted residual keeps the size, so that x can be added."""
    return kept("Yo", "Xo", window=("K", "K"))({**options, "Yo": None, "Xo": None})


PADS = ("same", "valid", "causal", "circular", "reflect", 1, "(0, 1)")
SAME = (*(pad for pad in PADS if pad not in ("valid", "(0, 1)")), "(2, 0)")
STRIDES = (1, 2, "(2, 1)")
SIZES = {"B": 2, "Y": 6, "X": 5, "C": 4, "Co": 4}
FILLED = {"init": ("lecun_normal", "orthogonal"), "bias_init": ("zeros", "normal(0.5)")}
CONV = {
    "stride": (1, 2),
    "pad": PADS,
    "dilation": (1, 2),
    "groups": (1, 2, "C"),
    "bias": ("true", "false"),
    **FILLED,
}
TRANSPOSED = {
    "stride": (1, 2),
    "pad": ("same", "valid", "causal", "circular", 1, "(0, 1)"),
    "dilation": (1, 2),
    "groups": (1, 2, "C"),
    "bias": ("true", "false"),
    **FILLED,
}
INITS = ("he_normal", "normal(0.1)")
NORMS = (
    "norm.BatchNorm", "norm.BatchNorm(momentum = 0.5, eps = 1e-3)", "norm.GroupNorm(groups = 2)",
    "none",
)  # fmt: skip


def lively(rng, params):
    """Parameters with which few units are dead, so that their variance is not lost in rounding."""

    def draw(path, array):
        return rng.uniform(0.5, 1.5, array.shape) if path[-1].key in ("scale", "bias") else array

    return jax.tree_util.tree_map_with_path(draw, params)


def block(name, reference, options, dims="", valid=lambda options: True, **more):
    if "Yo" not in options:
        options = {**options, "Yo": ("new", None), "Xo": ("new", None)}
    fits = kept("Yo", "Xo", window=more.pop("window", ("Ky", "Kx")))
    return Layer(
        f"vision.{name}",
        {"x": "[B, Y, X, C]"},
        "[B, Yo, Xo, Co]",
        reference,
        dims=f"[C -> Co, Y -> {{Yo}}, X -> {{Xo}}{dims}]",
        alias={**OUT, **more.pop("alias", {})},
        options={**options, "train": ("true", "false")},
        sizes={**SIZES, **more.pop("sizes", {})},
        imports=("norm",),
        params=lively,
        valid=lambda o: fits(o) and valid(o),
        **more,
    )


NEW = ("new", None)
OUT = {"Yo": "Y", "Xo": "X"}
LAYERS = [
    Layer(
        "vision.Conv1d",
        {"x": "[B, T, C]"},
        "[B, To, Co]",
        conv,
        dims="[C -> Co, T -> {To}, K = {K}]",
        alias={"To": "T"},
        options={
            **CONV,
            "stride": (1, 2, "(2,)"),
            "dilation": (1, 2, "(2,)"),
            "To": NEW,
            "K": (None, 2),
        },
        sizes={"B": 2, "T": 7, "C": 4, "Co": 4, "K": 3},
        valid=kept("To", window=("K",)),
    ),
    Layer(
        "vision.Conv",
        {"x": "[B, Y, X, C]"},
        "[B, Yo, Xo, Co]",
        conv,
        dims="[C -> Co, Y -> {Yo}, X -> {Xo}, Ky = {Ky}, Kx = {Kx}]",
        alias={**OUT, "Kx": "Ky"},
        options={
            **CONV,
            "stride": (1, 2, "(2, 1)"),
            "pad": (*PADS, "((0, 1), (2, 0))"),
            "dilation": (1, 2, "(1, 2)"),
            "Yo": NEW,
            "Xo": NEW,
            "Ky": (None, 2),
            "Kx": (None, 3),
        },
        sizes={**SIZES, "Ky": 3},
        valid=kept("Yo", "Xo"),
    ),
    Layer(
        "vision.Conv3d",
        {"x": "[B, Z, Y, X, C]"},
        "[B, Zo, Yo, Xo, Co]",
        conv,
        dims="[C -> Co, Z -> {Zo}, Y -> {Yo}, X -> {Xo}, Kz = {Kz}, Ky = {Ky}, Kx = {Kx}]",
        alias={"Zo": "Z", **OUT, "Ky": "Kz", "Kx": "Ky"},
        options={
            **CONV,
            "stride": (1, 2, "(2, 1, 2)"),
            "dilation": (1, 2, "(1, 2, 1)"),
            "Zo": NEW,
            "Yo": NEW,
            "Xo": NEW,
            "Kz": (None, 2),
            "Ky": (None, 2),
            "Kx": (None, 3),
        },
        sizes={"B": 1, "Z": 5, "Y": 5, "X": 5, "C": 4, "Co": 4, "Kz": 3},
        valid=kept("Zo", "Yo", "Xo", window=("Kz", "Ky", "Kx")),
    ),
    Layer(
        "vision.ConvTranspose1d",
        {"x": "[B, T, C]"},
        "[B, To, Co]",
        conv_transpose,
        dims="[C -> Co, T -> To, K = {K}]",
        options={
            **TRANSPOSED,
            "stride": (1, 2, "(2,)"),
            "dilation": (1, 2, "(2,)"),
            "K": (None, 3),
        },
        sizes={"B": 2, "T": 4, "C": 4, "Co": 4, "K": 2},
    ),
    Layer(
        "vision.ConvTranspose",
        {"x": "[B, Y, X, C]"},
        "[B, Yo, Xo, Co]",
        conv_transpose,
        dims="[C -> Co, Y -> Yo, X -> Xo, Ky = {Ky}, Kx = {Kx}]",
        alias={"Kx": "Ky"},
        options={
            **TRANSPOSED,
            "stride": (1, 2, "(2, 1)"),
            "pad": (*TRANSPOSED["pad"], "((0, 1), (2, 0))"),
            "dilation": (1, 2, "(1, 2)"),
            "Ky": (None, 3),
            "Kx": (None, 3),
        },
        sizes={"B": 2, "Y": 4, "X": 3, "C": 4, "Co": 4, "Ky": 2},
    ),
    Layer(
        "vision.ConvTranspose3d",
        {"x": "[B, Z, Y, X, C]"},
        "[B, Zo, Yo, Xo, Co]",
        conv_transpose,
        dims="[C -> Co, Z -> Zo, Y -> Yo, X -> Xo, Kz = {Kz}, Ky = {Ky}, Kx = {Kx}]",
        alias={"Ky": "Kz", "Kx": "Ky"},
        options={
            **TRANSPOSED,
            "stride": (1, 2, "(2, 1, 2)"),
            "dilation": (1, 2, "(1, 2, 1)"),
            "Kz": (None, 3),
            "Ky": (None, 2),
            "Kx": (None, 3),
        },
        # With Z = 2 and Y = 3, where x is no larger than the kernel, XLA's compiler for CPUs aborts
        # on a window of 2 over strides of 2 without padding, in Flax's layer as in ours.
        sizes={"B": 1, "Z": 4, "Y": 4, "X": 4, "C": 4, "Co": 4, "Kz": 2},
    ),
    Layer(
        "vision.Pool",
        {"x": "[B, Y, X, C]"},
        "[B, Yo, Xo, C]",
        pool,
        dims="[Y -> Yo, X -> Xo, Ky = {Ky}, Kx = {Kx}]",
        alias={"Kx": "Ky"},
        options={
            "kind": ("max_pool", "mean_pool"),
            "stride": ("none", 1, 2, "(2, 1)"),
            "pad": ("valid", *(p for p in PADS if p != "valid"), "((0, 1), (1, 0))"),
            "Ky": (None, 3),
            "Kx": (None, 2, 3),
        },
        sizes={**SIZES, "Ky": 2},
    ),
    Layer(
        "vision.Upsample",
        {"x": "[B, Y, X, C]"},
        "[B, Yo, Xo, C]",
        upsample,
        dims="[Y -> Yo, X -> Xo]",
        options={"method": ("nearest", "linear", "cubic"), "Yo": (8, 5), "Xo": (6, 3)},
        sizes={"B": 2, "Y": 4, "X": 3, "C": 2},
    ),
    Layer(
        "vision.PatchEmbed",
        {"image": "[B, Y, X, C]"},
        "[B, N, D]",
        patches,
        dims="[C -> D, P = {P}, Q = {Q}, N = {N}]",
        alias={"Q": "P"},
        options={
            "bias": ("true", "false"),
            **FILLED,
            "P": (None, 2),
            "Q": (None, 8),
            "N": ("given", None),
        },
        sizes={"B": 2, "Y": 16, "X": 16, "C": 1, "D": 5, "P": 16, "N": "Y / P * (X / Q)"},
    ),
    Layer(
        "vision.SqueezeExcite",
        {"x": "[B, Y, X, C]"},
        "[B, Y, X, C]",
        squeeze_excite,
        dims="[R = {R}]",
        options={
            "act": ("relu", "silu"),
            "gate": ("sigmoid", "hard_sigmoid"),
            "R": (None, 3),
            **FILLED,
        },
        sizes={"B": 2, "Y": 3, "X": 2, "C": 4},
    ),
    block(
        "ConvNorm",
        conv_norm,
        {
            "stride": STRIDES,
            "pad": PADS,
            "dilation": (1, 2, "(1, 2)"),
            "groups": (1, 2, "C"),
            "bias": ("norm == none", "true", "false"),
            "init": INITS,
            "norm": NORMS,
            "act": ("relu", "none", "silu"),
            "Ky": (None, 2),
            "Kx": (None, 3),
        },
        ", Ky = {Ky}, Kx = {Kx}",
        alias={"Kx": "Ky"},
        # No window spans an image: XLA's compiler for CPUs aborts on some of those with groups.
        sizes={"Ky": 3, "X": 7},
    ),
    block(
        "Shortcut",
        shortcut,
        {"stride": STRIDES, "norm": NORMS, "Co": (4, 6), "init": INITS},
    ),
    block(
        "Residual",
        residual,
        {
            "stride": STRIDES,
            "pad": SAME,
            "norm": NORMS,
            "last_norm": ("norm", "norm.BatchNorm(momentum = 0.5, eps = 1e-3)"),
            "act": ("relu", "tanh"),
            "init": INITS,
            "Co": (4, 6),
        },
    ),
    block(
        "Bottleneck",
        bottleneck,
        {
            "stride": STRIDES,
            "pad": SAME,
            "groups": (1, 2),
            "norm": NORMS,
            "last_norm": ("norm", "norm.BatchNorm(momentum = 0.5, eps = 1e-3)"),
            "act": ("relu", "tanh"),
            "init": INITS,
            "Co": (4, 8),
            "M": (None, 2),
        },
        ", M = {M}",
        valid=lambda o: o["M"] or o["Co"] == 8 or o["groups"] == 1,
    ),
    block(
        "InvertedResidual",
        inverted_residual,
        {
            "stride": STRIDES,
            "pad": PADS,
            "norm": NORMS,
            "act": ("relu6", "tanh"),
            "gate": ("none", "vision.SqueezeExcite"),
            "init": INITS,
            "M": (None, 4, 8),
            "Co": (4, 6),
            "K": (None, 2),
        },
        ", M = {M}, K = {K}",
        window=("K", "K"),
        sizes={"K": 3},
        valid=lambda o: o["stride"] != 1 or o["Co"] == 6 or kept_at_all(o),
    ),
]
SLOW = (
    "ConvNorm",
    "Conv1d",
    "Conv3d",
    "ConvTranspose",
    "ConvTranspose1d",
    "ConvTranspose3d",
    "Shortcut",
    "Residual",
    "Bottleneck",
    "InvertedResidual",
)


def marked(layer):
    """A layer as a parameter of the test; blocks much like another are compared in slow runs."""
    name = layer.name.split(".")[1]
    return pytest.param(layer, id=name, marks=[pytest.mark.slow] if name in SLOW else [])


@pytest.mark.sampled(2)
@pytest.mark.parametrize("layer", [marked(one) for one in LAYERS])
def test_equals_flax(layer, equal):
    equal(layer)


IMAGE = "[B, Y, X, C]"


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    "use, takes",
    [
        ("Conv1d[C -> C, T = Y]", "[B, Y, C]"),
        ("Conv[C -> C]", IMAGE),
        slow("Conv3d[C -> C, Z = X2]", "[B, X2, Y, X, C]"),
        slow("ConvTranspose1d[C -> C, Y -> Y]", "[B, Y, C]"),
        ("ConvTranspose[C -> C, Y -> Y, X -> X]", IMAGE),
        slow("ConvTranspose3d[C -> C, X2 -> X2, Y -> Y, X -> X]", "[B, X2, Y, X, C]"),
        ("PatchEmbed[C -> C, P = 2]", IMAGE),
        ("SqueezeExcite", IMAGE),
        ("ConvNorm[C -> C]", IMAGE),
        slow("Shortcut[C -> Co]", IMAGE),
        ("Residual[C -> Co]", IMAGE),
        slow("Bottleneck[C -> Co]", IMAGE),
        ("InvertedResidual[C -> C]", IMAGE),
    ],
)
def test_initializers_reach_all_parameters(use, takes):
    norms = use.split("[")[0] in ("ConvNorm", "Shortcut", "Residual", "Bottleneck")
    norms = norms or use.startswith("Inverted")
    options = "init = full(2)" if norms else "init = full(2), bias_init = full(3)"
    gives = takes.replace("C]", "Co]") if "-> Co" in use else takes
    gives = "[B, N, C]" if use.startswith("Patch") else gives
    text = (
        "import vision\ndims: B = 1, Y = 4, X = 4, X2 = 4, C = 2, Co = 4, N = 4\n"
        f"model Net(x: {takes}) -> {gives}:\n    use net = vision.{use}({options})\n"
        "    return net(x)\n"
    )
    found = Emitted(module_of(text)).init_params(jax.random.key(0))["net"]
    kernels = 0
    for path, array in jax.tree_util.tree_leaves_with_path(found):
        names = [key.key for key in path]
        if "normalise" in names:
            continue
        assert np.all(array == (2 if names[-1] == "kernel" else 3)), names
        kernels += names[-1] == "kernel"
    assert kernels
