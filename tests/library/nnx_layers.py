"""Flax's NNX behind the interface of Linen, so that both are references in the very same cases.

`NNX` stands in for `flax.linen` in the files that compare layers of the library with Linen: what
NNX has is made of it and given the parameters that Linen's layer would take; the rest is Linen's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
from flax import linen, nnx
from flax.nnx.nn import attention


def fill(module: nnx.Module, params: Mapping[str, Any]) -> None:
    """Give a module parameters: arrays by name, dicts to the modules inside."""
    for name, value in params.items():
        if isinstance(value, Mapping):
            fill(getattr(module, name), value)
        else:
            setattr(module, name, nnx.Param(value))


@dataclass
class Layer:
    """A layer with Linen's `apply`.

    Attributes:
        make: (parameters, inputs) -> the module of NNX.
        given: what its call is given besides the inputs.
        fills: (module, parameters), as above unless told.
    """

    make: Callable[..., nnx.Module]
    given: dict[str, Any] = field(default_factory=dict)
    fills: Callable[[Any, Any], None] = fill

    def apply(self, variables, *inputs, mutable=(), method="", **given):
        params, stats = variables.get("params", {}), variables.get("batch_stats", {})
        module: Any = self.make(params, *inputs)
        self.fills(module, params)
        for name, value in stats.items():
            setattr(module, name, nnx.BatchStat(value))
        call = getattr(module, method) if method else module
        y = call(*inputs, **self.given, **{n: v for n, v in given.items() if v is not None})
        found = {name: getattr(module, name)[...] for name in stats}
        return (y, {"batch_stats": found}) if mutable else y


def normalisation(make: Callable[..., nnx.Module]):
    """A normalisation over the last axis."""

    def layer(epsilon=None, **options):
        options |= {} if epsilon is None else {"epsilon": epsilon}
        return Layer(lambda params, x: make(x.shape[-1], **options, rngs=nnx.Rngs(0)))

    return layer


class Namespace:
    """What stands in for `flax.linen`."""

    def __getattr__(self, name: str):
        if name[0].isupper() and name != "Module":
            raise AttributeError(f"NNX is not asked for {name}")
        return getattr(linen, name)

    def Dense(self, features, **options):
        return Layer(
            lambda params, x: nnx.Linear(x.shape[-1], features, **options, rngs=nnx.Rngs(0))
        )  # fmt: skip

    def Embed(self, rows, features):
        def make(params, ids):
            dtype = params["embedding"].dtype
            return nnx.Embed(rows, features, param_dtype=dtype, rngs=nnx.Rngs(0))

        return Layer(make)

    def PReLU(self):
        return Layer(lambda params, x: nnx.PReLU())

    def Conv(self, features, window, **options):
        return Layer(
            lambda params, x: nnx.Conv(x.shape[-1], features, window, **options, rngs=nnx.Rngs(0))
        )

    def ConvTranspose(self, features, window, **options):
        return Layer(
            lambda params, x: nnx.ConvTranspose(
                x.shape[-1], features, window, **options, rngs=nnx.Rngs(0)
            )
        )

    LayerNorm = staticmethod(normalisation(nnx.LayerNorm))
    RMSNorm = staticmethod(normalisation(nnx.RMSNorm))
    InstanceNorm = staticmethod(normalisation(nnx.InstanceNorm))

    def GroupNorm(self, num_groups, epsilon, **options):
        return normalisation(nnx.GroupNorm)(epsilon, num_groups=num_groups, **options)

    def BatchNorm(self, use_running_average, momentum, epsilon, **options):
        layer = normalisation(nnx.BatchNorm)(epsilon, momentum=momentum, **options)
        layer.given["use_running_average"] = use_running_average
        return layer

    def MultiHeadDotProductAttention(self, heads, qkv_features, out_features, **options):
        def make(params, x, memory):
            return nnx.MultiHeadAttention(
                heads,
                x.shape[-1],
                qkv_features,
                out_features,
                in_kv_features=memory.shape[-1],
                decode=False,
                attention_fn=in_steps,
                **options,
                rngs=nnx.Rngs(0),
            )

        return Layer(make)

    def RNN(self, cell, **options):
        make, fills = cell

        def made(params, xs):
            return nnx.RNN(make(xs.shape[-1]), **options, rngs=nnx.Rngs(0))

        return Layer(made, fills=lambda module, params: fills(module.cell, params["cell"]))

    def SimpleCell(self, width, activation_fn):
        def fills(cell, params):
            fill(cell, {"dense_i": params["i"], "dense_h": params["h"]})

        options = {"activation_fn": activation_fn, "dtype": None}
        return lambda size: nnx.SimpleCell(size, width, **options, rngs=nnx.Rngs(0)), fills

    def LSTMCell(self, width, **options):
        def fills(cell, params):
            fill(cell, {{"if": "if_"}.get(name, name): own for name, own in params.items()})

        return lambda size: nnx.LSTMCell(size, width, **options, rngs=nnx.Rngs(0)), fills

    def OptimizedLSTMCell(self, width, **options):
        def fills(cell, params):
            fill(cell, {"dense_i": joined(params, "i", "ifgo")})
            fill(cell, {"dense_h": joined(params, "h", "ifgo")})

        return lambda size: nnx.OptimizedLSTMCell(size, width, **options, rngs=nnx.Rngs(0)), fills

    def GRUCell(self, width, **options):
        def fills(cell, params):
            fill(cell, {"dense_i": joined(params, "i", "rzn")})
            cell.dense_h.use_bias = True  # Linen's has one for n, which NNX leaves out
            fill(cell, {"dense_h": joined(params, "h", "rzn")})

        return lambda size: nnx.GRUCell(size, width, **options, rngs=nnx.Rngs(0)), fills


def joined(params: Mapping[str, Any], side: str, gates: str) -> dict[str, Any]:
    """The parameters of one dense layer for all gates, of Linen's for each."""
    own = [params[f"{side}{gate}"] for gate in gates]
    found = {"kernel": jnp.concatenate([one["kernel"] for one in own], -1)}
    biases = [one.get("bias") for one in own]
    if any(bias is not None for bias in biases):
        zero = jnp.zeros_like(next(bias for bias in biases if bias is not None))
        found["bias"] = jnp.concatenate([zero if bias is None else bias for bias in biases], -1)
    return found


def in_steps(query, key, value, mask=None, dtype=None, **_):
    """NNX's attention as it makes it with dropout; else it takes JAX's, in float32."""
    weights = attention.dot_product_attention_weights(query, key, mask=mask, dtype=dtype)
    return jnp.einsum("...hqk,...khd->...qhd", weights, value)


class Plain(Namespace):
    """The same with an LSTM whose gates have a dense layer each."""

    OptimizedLSTMCell = Namespace.LSTMCell


NNX, PLAIN = Namespace(), Plain()
