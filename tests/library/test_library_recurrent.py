"""The chapter `recurrent` against Flax's cells, which run over sequences of several lengths."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from library_cases import Case, Emitted, Layer, compare, module_of
from test_library_vision import each_dim, pad_of

SIZES = {"B": 2, "T": 3, "D": 3, "H": 4}
ACTS = {"tanh": jnp.tanh, "relu": nn.relu, "sigmoid": nn.sigmoid, "hard_sigmoid": nn.hard_sigmoid}


def lengths(rng, shape):
    """A mask of sequences of several lengths, the longest of which is the whole."""
    ends = np.concatenate([[shape[1]], rng.integers(1, shape[1], shape[0] - 1)])
    return np.arange(shape[1]) < ends[:, None]


def split(kernel, names, bias=None):
    """Flax's parameters of several dense layers, of one array with the gates along axis 1."""
    found = {n: {"kernel": kernel[:, i]} for i, n in enumerate(names)}
    for i, n in enumerate(names if bias is not None else ()):
        found[n]["bias"] = bias[i]
    return found


# For each cell: the Flax cell, its parameters, and how its carry and our state belong together.


def rnn_cell(case, params, width):
    act = ACTS[case.options.get("act", "tanh")]
    cell = nn.SimpleCell(width, activation_fn=act)
    bias = params.get("bias", jnp.zeros_like(params["kernel"][0]))
    given = {
        "i": {"kernel": params["kernel"], "bias": bias},
        "h": {"kernel": params["recurrent_kernel"]},
    }
    return cell, given


def lstm_cell(case, params, width):
    gate, act = (ACTS[case.options.get(n, d)] for n, d in (("gate", "sigmoid"), ("act", "tanh")))
    cell = nn.OptimizedLSTMCell(width, gate_fn=gate, activation_fn=act)
    inputs = split(params["kernel"], ("ii", "if", "ig", "io"))
    hidden = split(params["recurrent_kernel"], ("hi", "hf", "hg", "ho"), params["bias"])
    return cell, {**inputs, **hidden}


class GRUBefore(nn.GRUCell):
    """A GRU that scales the state before the product, of Flax's own dense layers."""

    @nn.compact
    def __call__(self, carry, inputs):
        dense = lambda name, bias: nn.Dense(self.features, use_bias=bias, name=name)  # noqa: E731
        r = self.gate_fn(dense("ir", True)(inputs) + dense("hr", False)(carry))
        z = self.gate_fn(dense("iz", True)(inputs) + dense("hz", False)(carry))
        n = self.activation_fn(dense("in", True)(inputs) + dense("hn", False)(r * carry))
        h = (1 - z) * n + z * carry
        return h, h


def gru_cell(case, params, width):
    gate, act = (ACTS[case.options.get(n, d)] for n, d in (("gate", "sigmoid"), ("act", "tanh")))
    after = case.options.get("after", True)
    cell = (nn.GRUCell if after else GRUBefore)(width, gate_fn=gate, activation_fn=act)
    inputs = split(params["kernel"], ("ir", "iz", "in"), params["bias"])
    hidden = split(params["recurrent_kernel"], ("hr", "hz", "hn"))
    if after:
        hidden["hn"]["bias"] = params["new_bias"]
    return cell, {**inputs, **hidden}


class ConvGates(nn.ConvLSTMCell):
    """Flax's ConvLSTM, of its own convolutions, with other gates."""

    gate: Any = nn.sigmoid
    act: Any = jnp.tanh

    @nn.compact
    def __call__(self, carry, inputs):
        def conv(name):
            padding, width = self.padding, 4 * self.features
            return nn.Conv(width, self.kernel_size, padding=padding, name=name)

        c, h = carry
        i, g, f, o = jnp.split(conv("ih")(inputs) + conv("hh")(h), 4, axis=-1)
        c = self.gate(f + 1) * c + self.gate(i) * self.act(g)
        h = self.gate(o) * self.act(c)
        return (c, h), h


def conv_cell(case, params, width):
    """Flax's gates are i, g, f, o, and it adds 1 to f."""
    ours = {"bias": jnp.zeros((4, width), params["kernel"].dtype), **params}
    flat = lambda a: a[..., jnp.array([0, 2, 1, 3]), :].reshape(*a.shape[:-2], -1)  # noqa: E731
    bias = flat(ours["bias"] - jnp.array([0, 1, 0, 0], ours["bias"].dtype)[:, None])
    given = {
        "ih": {"kernel": flat(ours["kernel"]), "bias": bias},
        "hh": {"kernel": flat(ours["recurrent_kernel"]), "bias": jnp.zeros_like(bias)},
    }
    window = params["kernel"].shape[:2]
    pad = each_dim(pad_of(case.options["pad"]), window)
    acts = [case.options[name] for name in ("gate", "act")]
    if acts == ["sigmoid", "tanh"]:
        return nn.ConvLSTMCell(width, window, padding=pad), given
    return ConvGates(width, window, padding=pad, gate=ACTS[acts[0]], act=ACTS[acts[1]]), given


CELLS = {"RNN": rnn_cell, "LSTM": lstm_cell, "GRU": gru_cell, "ConvLSTM": conv_cell}


def carry_of(kind, state, axis):
    """Flax's carry of our state: h alone, or (c, h) of an LSTM."""
    vectors = [jnp.take(state, i, axis) for i in range(state.shape[axis])]
    return tuple(reversed(vectors)) if "LSTM" in kind else vectors[0]


def state_of(kind, carry, axis):
    return jnp.stack(tuple(reversed(carry)) if "LSTM" in kind else (carry,), axis)


def run(case, kind, params, xs, live, first, width, axis=1, **more):
    """Outputs, 0 where not live, and the last state, of Flax's cell."""
    cell, given = CELLS[kind](case, params, width)
    if first is None:
        shape = (xs.shape[0], *xs.shape[2:-1], width)
        first = jnp.zeros((*shape[:1], 2 if "LSTM" in kind else 1, *shape[1:]), xs.dtype)
    ends = None if live is None else live.sum(1)
    carry, ys = nn.RNN(cell, return_carry=True, **more).apply(
        {"params": {"cell": given}}, xs, seq_lengths=ends, initial_carry=carry_of(kind, first, axis)
    )
    if live is not None:
        ys = jnp.where(live.reshape(*live.shape, *[1] * (ys.ndim - 2)), ys, 0)
    return ys, state_of(kind, carry, axis)


def cell_reference(kind):
    def reference(case, params, state, inputs):
        given = inputs["xs"], inputs.get("live"), inputs.get("first")
        return run(case, kind, params, *given, case.sizes["H"])

    return reference


def kind_of(case):
    return case.options.get("cell", "recurrent.LSTM").split(".")[1].split("(")[0]


def reversed_(case, params, state, inputs):
    given = inputs["xs"], inputs.get("live"), inputs.get("first")
    return run(
        case, kind_of(case), params["inner"], *given, case.sizes["H"],
        reverse=True, keep_order=True,
    )  # fmt: skip


def both_ways(case, params, xs, live, first):
    kind, half = kind_of(case), case.sizes["H"] // 2
    firsts = (None, None) if first is None else (first[..., :half], first[..., half:])
    there, end = run(case, kind, params["forward"], xs, live, firsts[0], half)
    back, start = run(
        case, kind, params["backward"]["inner"], xs, live, firsts[1], half,
        reverse=True, keep_order=True,
    )  # fmt: skip
    return jnp.concatenate([there, back], -1), jnp.concatenate([end, start], -1)


def bidirectional(case, params, state, inputs):
    return both_ways(case, params, inputs["xs"], inputs.get("live"), inputs.get("first"))


def stacked(case, params, state, inputs):
    levels = [params["bottom"]]
    for i in range(case.sizes["L"] - 1):
        levels.append(jax.tree.map(lambda a, i=i: a[i], params["above"])["inner"])
    ys, lasts = inputs["xs"], []
    for i, own in enumerate(levels):
        first = inputs["first"][i] if "first" in inputs else None
        if i:
            drop = nn.Dropout(case.options["rate"], deterministic=not case.train)
            ys = drop.apply({}, ys, rngs={"dropout": jax.random.key(0)})
        given = ys, inputs.get("live"), first
        if kind_of(case) == "Bidirectional":
            plain = Case({}, case.sizes, case.train)
            ys, last = both_ways(plain, own, *given)
        else:
            ys, last = run(case, kind_of(case), own, *given, case.sizes["H"])
        lasts.append(last)
    return ys, jnp.stack(lasts)


FLAGS = {"live": (True, False), "first": (True, False)}
RESULTS = "[B, T, H], [B, State, H]"


def recurrent(name, reference, options, state, own=True, **more):
    arguments = {"xs": "[B, T, D]", "live": "bool[B, T]", "first": "[B, State, H]"}
    return Layer(
        f"recurrent.{name}",
        more.pop("arguments", arguments),
        more.pop("results", RESULTS),
        reference,
        dims=more.pop("dims", "[D -> H, State = {State}]"),
        options={**FLAGS, **options, "State": (None, state) if own else (state,)},
        sizes={**SIZES, **more.pop("sizes", {}), "State": state},
        draw={"live": lengths},
        **more,
    )


def wrapper(name, reference, cells, state, options=None, **more):
    """A layer that is made of cells, those that keep so many vectors; LSTM is one by default."""
    default = ("recurrent.LSTM",)
    return recurrent(
        name, reference, {"cell": (*default, *cells), **(options or {})}, state, state == 2,
        valid=(lambda o: o["cell"] not in default) if state == 1 else lambda o: True,
        **more,
    )  # fmt: skip


GATES = {"gate": ("sigmoid", "hard_sigmoid"), "act": ("tanh", "relu", "sigmoid")}
INITS = {
    "init": ("lecun_normal", "normal(0.5)"),
    "recurrent_init": ("orthogonal", "zeros"),
    "bias_init": ("zeros", "normal(0.5)"),
}


def same_size(options):
    """Whether a convolution of these options keeps sizes."""
    high = options["Ky"] or 3
    window, pad = (high, options["Kx"] or high), pad_of(options["pad"])
    if isinstance(pad, str):
        return pad != "VALID" or window == (1, 1)
    pairs = zip(window, each_dim(pad, window), strict=True)
    return all(sum(ends) == size - 1 for size, ends in pairs)


LAYERS = [
    recurrent(
        "RNN",
        cell_reference("RNN"),
        {
            "act": ("tanh", "relu"),
            "bias": ("true", "false"),
            **INITS,
        },
        1,
    ),
    recurrent("LSTM", cell_reference("LSTM"), {**GATES, "forget": (0.0, 1.0), **INITS}, 2),
    recurrent("GRU", cell_reference("GRU"), {**GATES, "after": ("true", "false"), **INITS}, 1),
    recurrent(
        "ConvLSTM",
        cell_reference("ConvLSTM"),
        {
            **GATES,
            "pad": ("same", "valid", "causal", "circular", "reflect", 1, "(1, 0)"),
            "bias": ("true", "false"),
            **INITS,
            "recurrent_init": ("lecun_normal", "zeros"),
            "Ky": (None, 1, 2),
            "Kx": (None, 3),
        },
        2,
        arguments={
            "xs": "[B, T, Y, X, D]",
            "live": "bool[B, T]",
            "first": "[B, State, Y, X, H]",
        },
        results="[B, T, Y, X, H], [B, State, Y, X, H]",
        dims="[D -> H, Ky = {Ky}, Kx = {Kx}, State = {State}]",
        alias={"Kx": "Ky"},
        sizes={"Y": 3, "X": 4, "D": 2, "H": 2, "T": 3, "B": 2, "Ky": 3},
        valid=same_size,
    ),
    *(
        wrapper(name, reference, cells, state)
        for name, reference in (("Reversed", reversed_), ("Bidirectional", bidirectional))
        for cells, state in (
            (("recurrent.LSTM(forget = 1)",), 2),
            (("recurrent.GRU", "recurrent.RNN"), 1),
        )
    ),
    *(
        wrapper(
            "Stacked",
            stacked,
            cells,
            state,
            {"L": (2, 1, 3), "rate": (0.0, 0.5)},
            arguments={"xs": "[B, T, D]", "live": "bool[B, T]", "first": "[L, B, State, H]"},
            results="[B, T, H], [L, B, State, H]",
        )
        for cells, state in ((("recurrent.Bidirectional",), 2), (("recurrent.GRU",), 1))
    ),
]


def named(layer):
    """Which layer, and the cells that it is made of."""
    cells = [c.split(".")[1].split("(")[0] for c in layer.options.get("cell", ())[1:]]
    return "-".join([layer.name.split(".")[1], *cells])


FAST = ("recurrent.LSTM", "recurrent.GRU")


def marked(layer):
    """A layer as a parameter of the test; most are compared in slow runs only."""
    return pytest.param(
        layer, id=named(layer), marks=[pytest.mark.slow] if layer.name not in FAST else []
    )


@pytest.mark.parametrize("layer", [marked(one) for one in LAYERS])
def test_equals_flax(layer, equal):
    with jax.disable_jit():  # steps run one by one: compiling each scan would take minutes
        equal(layer)


MASKED = """
import recurrent
dims: B = 3, T = 4, D = 2, H = 2

model Net(xs: [B, T, D], live: bool[B, T]) -> [B, T, H], [B, State, H]:
    use net = recurrent.{layer}
    ys, last = net(xs, live)
    return ys, last
"""


@pytest.mark.parametrize("layer", ["Reversed", "Bidirectional", "GRU"])
def test_a_sequence_is_read_as_if_it_was_alone(layer):
    """Whatever stands at its end, in its middle or before it; of nothing the state is the first."""
    emitted = Emitted(module_of(MASKED.format(layer=layer)), "float32")
    rng = np.random.default_rng(0)
    params = emitted.init_params(jax.random.key(0))
    xs = rng.normal(size=(3, 4, 2)).astype(np.float32)
    live = np.array([[1, 1, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0]], bool)
    with jax.disable_jit():
        ys, last = emitted(params, {}, {"xs": xs, "live": live})
        for row, mask in enumerate(live):
            alone = xs[row, mask]
            if not len(alone):
                assert not np.any(ys[row]) and not np.any(last[row])
                continue
            padded = np.concatenate([alone, 9 * rng.normal(size=(4 - len(alone), 2))])
            front = np.arange(4) < len(alone)
            given = {"xs": np.float32(padded[None].repeat(3, 0)), "live": front[None].repeat(3, 0)}
            wanted, end = emitted(params, {}, given)
            np.testing.assert_allclose(ys[row, mask], wanted[0, : len(alone)], atol=1e-6)
            np.testing.assert_allclose(last[row], end[0], atol=1e-6)
            assert not np.any(ys[row, ~mask])


@pytest.mark.parametrize("cell", ["RNN", "LSTM", "GRU"])
def test_initializers_reach_parameters(cell):
    layer = f"{cell}(init = full(1), recurrent_init = full(2), bias_init = full(3))"
    emitted = Emitted(module_of(MASKED.format(layer=layer)))
    found = emitted.init_params(jax.random.key(0))["net"]
    for name, number in (("kernel", 1), ("recurrent_kernel", 2), ("bias", 3)):
        assert np.all(found[name] == number)


def test_the_bias_of_the_forget_gate():
    emitted = Emitted(module_of(MASKED.format(layer="LSTM(forget = 1)")))
    bias = emitted.init_params(jax.random.key(0))["net"]["bias"]
    np.testing.assert_array_equal(bias, np.array([0.0, 1.0, 0.0, 0.0])[:, None].repeat(2, 1))


def drawn(key, p=0.5, shape=(), **_):
    """What both draw: the same for equal shapes, in whatever order and by whatever key."""
    return jnp.asarray(np.random.default_rng(0).random(tuple(shape)) < p)


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["GRU", pytest.param("LSTM", marks=pytest.mark.slow)])
def test_dropout_between_levels_is_that_of_flax(cell, monkeypatch):
    """Between levels and nowhere else, where both draw the same."""
    layer = Layer(
        "recurrent.Stacked",
        {"xs": "[B, T, D]", "live": "bool[B, T]"},
        "[B, T, H], [L, B, State, H]",
        stacked,
        dims="[D -> H, State = State]",
        options={
            "cell": (f"recurrent.{cell}",),
            "rate": (0.5, 0.25),
            "train": ("true",),
            "L": (3,),
        },
        always=("cell", "rate"),
        sizes={**SIZES, "State": 2 if cell == "LSTM" else 1},
        draw={"live": lengths},
    )
    monkeypatch.setattr(jax.random, "bernoulli", drawn)
    with jax.disable_jit():
        assert compare(layer, "float64") == 2
