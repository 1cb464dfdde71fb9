"""Functions of one value, element by element, and `logaddexp` of two.

Precision: `wide` are those whose results outgrow float16 (exp, square, reciprocal …), or that are
looked at for small differences (log, sqrt, rsqrt …). Activations follow their operand, as is
common. Where a function has a kink, the gradient there is what jax.nn has: 0 for relu at 0, and for
relu6 at 0 and 6; 1 for abs and leaky_relu at 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from ..core import Op, Type
from ..named import Named, union
from ..registry import Code, Keep, OpDef, Option, Source, register
from .common import (
    TRANSCENDENTAL,
    cast,
    costs,
    elements,
    keeping,
    nothing,
    number,
    pointwise_order,
    real,
    same_dims,
)


def _pointwise(
    name: str,
    source: str,
    meaning: Callable,
    doc: str,
    kept: tuple[int | str, ...] = (),
    weight: int = 1,
    wide: bool = False,
    result: Callable[..., str] = real,
    options: Mapping[str, Option] = {},
    **more,
) -> None:
    """Register a function of one operand, whose source has `{x}` in the operand's place."""

    def shape(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
        return (types[0].with_dtype(result(types[0].dtype)),)

    def write(c: Source) -> Code:
        dtype = result(c.types[0].dtype)
        x = cast(c, 0, dtype) if result in (real, number) else c.array(0)
        return Code(source.format(x=x.text, **{k: c.op[k] for k in options}))

    def means(np, args, op):
        x = args[0].array
        x = x.astype(np.int32) if x.dtype == bool else x
        x = x.astype(np.float64) if result is real and x.dtype.kind in "iu" else x
        return Named(np.asarray(meaning(np, x, *(op[k] for k in options))), args[0].dims)

    register(
        OpDef(
            name,
            "pointwise",
            doc,
            shape,
            write,
            means,
            options=options,
            precision="wide" if wide else "follow",
            flops=costs(weight),
            keeps=keeping(*kept),
            order=pointwise_order,
            **more,
        )
    )


def _erf(np, x):
    return np.vectorize(math.erf, otypes=[np.float64])(x)


def _sigmoid(np, x):
    return 0.5 * (1 + np.tanh(0.5 * x))


def _gelu(np, x, exact):
    if exact:
        return 0.5 * x * (1 + _erf(np, x / math.sqrt(2)))
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


_ALPHA, _SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946
_T = TRANSCENDENTAL

_pointwise(
    "exp", "jnp.exp({x})", lambda np, x: np.exp(x), "eˣ.", ("result",), _T, wide=True,
    expensive=True,
)  # fmt: skip
_pointwise(
    "expm1", "jnp.expm1({x})", lambda np, x: np.expm1(x),
    "eˣ - 1, exact for small x too.", ("array",), _T, wide=True, expensive=True,
)  # fmt: skip
_pointwise(
    "log", "jnp.log({x})", lambda np, x: np.log(x),
    "The natural logarithm; -∞ at 0, NaN below.", (0,), _T, wide=True, expensive=True,
)  # fmt: skip
_pointwise(
    "log1p", "jnp.log1p({x})", lambda np, x: np.log1p(x),
    "log(1 + x), exact for small x too.", ("array",), _T, wide=True, expensive=True,
)  # fmt: skip
_pointwise(
    "sqrt", "jnp.sqrt({x})", lambda np, x: np.sqrt(x),
    "The square root √x; its gradient at 0 is infinite.", ("array",), wide=True, expensive=True,
)  # fmt: skip
_pointwise(
    "rsqrt", "lax.rsqrt({x})", lambda np, x: 1 / np.sqrt(x), "1 / √x.", ("array",), wide=True,
    expensive=True,
)  # fmt: skip
_pointwise(
    "reciprocal", "jnp.reciprocal({x})", lambda np, x: 1 / x, "1 / x.", ("array",), wide=True
)  # fmt: skip
_pointwise(
    "square", "jnp.square({x})", lambda np, x: np.square(x), "x².", ("array",), wide=True,
    result=number,
)  # fmt: skip
_pointwise(
    "abs", "jnp.abs({x})", lambda np, x: np.abs(x), "|x|.", ("mask",), result=number
)  # fmt: skip
_pointwise(
    "sign", "jnp.sign({x})", lambda np, x: np.sign(x), "-1, 0 or 1. Its gradient is 0.",
    result=number,
)  # fmt: skip
_pointwise(
    "sin", "jnp.sin({x})", lambda np, x: np.sin(x), "The sine.", ("array",), _T, expensive=True
)
_pointwise(
    "cos", "jnp.cos({x})", lambda np, x: np.cos(x), "The cosine.", ("array",), _T, expensive=True
)
_pointwise(
    "tanh", "jnp.tanh({x})", lambda np, x: np.tanh(x),
    "(eˣ - e⁻ˣ) / (eˣ + e⁻ˣ).", ("result", "array"), _T, expensive=True,
)  # fmt: skip
_pointwise(
    "sigmoid", "jax.nn.sigmoid({x})", _sigmoid, "1 / (1 + e⁻ˣ).", ("array",), _T, expensive=True
)  # fmt: skip
_pointwise(
    "relu", "jax.nn.relu({x})", lambda np, x: np.maximum(x, 0), "max(x, 0).", ("mask",),
    result=number,
)  # fmt: skip
_pointwise(
    "relu6", "jax.nn.relu6({x})", lambda np, x: np.clip(x, 0, 6),
    "min(max(x, 0), 6).", ("mask",), 2,
)  # fmt: skip
_pointwise(
    "leaky_relu", "jax.nn.leaky_relu({x}, {slope})",
    lambda np, x, slope: np.where(x >= 0, x, slope * x),
    "x where it is not negative, else slope · x.", ("mask",), 2,
    options={"slope": Option(0.01)},
)  # fmt: skip
_pointwise(
    "elu", "jax.nn.elu({x}, {alpha})",
    lambda np, x, alpha: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))),
    "x where it is positive, else alpha · (eˣ - 1).", ("mask", "mask", "array"), 2 + _T,
    options={"alpha": Option(1.0)}, expensive=True,
)  # fmt: skip
_pointwise(
    "selu", "jax.nn.selu({x})",
    lambda np, x: _SCALE * np.where(x > 0, x, _ALPHA * np.expm1(np.minimum(x, 0))),
    "λ · elu(x, α), λ and α such that mean 0 and variance 1 are kept.",
    ("mask", "mask", "array"), 3 + _T, expensive=True,
)  # fmt: skip
_pointwise(
    "celu", "jax.nn.celu({x}, {alpha})",
    lambda np, x, alpha: np.maximum(x, 0) + alpha * np.expm1(np.minimum(x, 0) / alpha),
    "max(x, 0) + alpha · (e^(min(x, 0) / alpha) - 1).", ("array", "array", "array"), 5 + _T,
    options={"alpha": Option(1.0)}, expensive=True,
)  # fmt: skip
_pointwise(
    "silu", "jax.nn.silu({x})", lambda np, x: x * _sigmoid(np, x),
    "x · sigmoid(x).", (0, "array", "array"), 1 + _T, also=("swish",), expensive=True,
)  # fmt: skip
_pointwise(
    "softplus", "jax.nn.softplus({x})", lambda np, x: np.logaddexp(x, 0),
    "log(1 + eˣ).", ("array", "array"), 2 * _T, expensive=True,
)  # fmt: skip
_pointwise(
    "hard_sigmoid", "jax.nn.hard_sigmoid({x})", lambda np, x: np.clip(x + 3, 0, 6) / 6,
    "relu6(x + 3) / 6.", ("mask",), 4,
)  # fmt: skip
_pointwise(
    "hard_silu", "jax.nn.hard_silu({x})", lambda np, x: x * np.clip(x + 3, 0, 6) / 6,
    "x · hard_sigmoid(x).", (0, "mask", "array"), 5, also=("hard_swish", "hardswish"),
)  # fmt: skip
_pointwise(
    "hard_tanh", "jax.nn.hard_tanh({x})", lambda np, x: np.clip(x, -1, 1),
    "min(max(x, -1), 1).", ("mask", "mask"), 2,
)  # fmt: skip
_pointwise(
    "log_sigmoid", "jax.nn.log_sigmoid({x})", lambda np, x: -np.logaddexp(-x, 0),
    "log sigmoid(x), without overflow.", ("array", "array"), 2 * _T,
)  # fmt: skip
_pointwise(
    "soft_sign", "jax.nn.soft_sign({x})", lambda np, x: x / (1 + np.abs(x)),
    "x / (1 + |x|).", (0, "array", "array", "mask"), 3,
)  # fmt: skip
_pointwise(
    "squareplus", "jax.nn.squareplus({x}, {b})", lambda np, x, b: (x + np.sqrt(x * x + b)) / 2,
    "(x + √(x² + b)) / 2.", ("array", "array"), 4, options={"b": Option(4.0)},
)  # fmt: skip
_pointwise(
    "mish", "jax.nn.mish({x})", lambda np, x: x * np.tanh(np.logaddexp(x, 0)),
    "x · tanh(softplus(x)).", (0, "array", "array", "array", "array"), 1 + 3 * _T, expensive=True,
)  # fmt: skip
_pointwise(
    "sparse_plus", "jax.nn.sparse_plus({x})",
    lambda np, x: np.where(x >= 1, x, np.maximum(x + 1, 0) ** 2 / 4),
    "0 up to -1, x from 1 on, (x + 1)² / 4 between.", ("mask", "mask", "array"), 5,
)  # fmt: skip
_pointwise(
    "sparse_sigmoid", "jax.nn.sparse_sigmoid({x})", lambda np, x: np.clip(x + 1, 0, 2) / 2,
    "The gradient of sparse_plus: (x + 1) / 2, bounded to 0 and 1.", ("array", "array"), 4,
)  # fmt: skip
_pointwise(
    "erf", "lax.erf({x})", _erf, "2 / √π · ∫₀ˣ e^(-t²) dt.", ("array",), _T, expensive=True
)  # fmt: skip
_pointwise(
    "isfinite", "jnp.isfinite({x})", lambda np, x: np.isfinite(x),
    "Whether x is neither infinite nor NaN.", result=lambda dtype: "bool",
)  # fmt: skip


def _gelu_keeps(op: Op, types, wants) -> tuple[Keep, ...]:
    inner = Keep("internal", type=op.result.type)
    return (inner,) * 3 if op["exact"] else (Keep("operand", 0), *(inner,) * 4)


register(
    OpDef(
        "gelu",
        "pointwise",
        "x · Φ(x), Φ the normal distribution: x / 2 · (1 + erf(x / √2)) if exact, else "
        "x / 2 · (1 + tanh(√(2 / π) · (x + 0.044715 · x³))).",
        lambda types, op: (types[0].with_dtype(real(types[0].dtype)),),
        lambda c: (
            f"jax.nn.gelu({cast(c, 0, 'float').text}"
            + (", approximate=False)" if c.op["exact"] else ")")
        ),
        lambda np, args, op: Named(
            _gelu(np, args[0].array.astype(np.float64), op["exact"]), args[0].dims
        ),
        options={"exact": Option(False, ("bool",))},
        flops=costs(7 + _T),
        keeps=_gelu_keeps,
        expensive=True,
        order=pointwise_order,
    )
)


def _rounding(name: str, function: str, doc: str) -> None:
    def shape(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
        dtype = types[0].dtype if types[0].kind == "int" else "int"
        return (types[0].with_dtype(dtype),)

    def source(c: Source) -> Code:
        if c.types[0].kind != "float":
            return cast(c, 0, c.op.result.type.dtype)
        return Code(f"{function}({c.arg(0)}).astype({c.dtype(c.op.result.type.dtype)})")

    def meaning(np, args, op):
        rounded = getattr(np, function.removeprefix("jnp."))(args[0].array)
        return Named(rounded.astype(np.int32), args[0].dims)

    register(
        OpDef(
            name, "pointwise", doc, shape, source, meaning,
            flops=elements, keeps=nothing, order=pointwise_order,
        )
    )  # fmt: skip


_rounding("round", "jnp.round", "The nearest int, of two equally near ones the even one.")
_rounding("floor", "jnp.floor", "The greatest int that is not above x.")
_rounding("ceil", "jnp.ceil", "The least int that is not below x.")

register(
    OpDef(
        "stop_gradient",
        "pointwise",
        "x, but its gradient is 0.",
        lambda types, op: types,
        lambda c: f"lax.stop_gradient({c.arg(0)})",
        lambda np, args, op: args[0],
        flops=costs(0),
        keeps=nothing,
        order=pointwise_order,
        arranges=True,
        lowering="view",
    )
)


def _logaddexp_shape(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
    return (Type(real(*(t.dtype for t in types)), same_dims(types, op.name)),)


def _logaddexp_meaning(np, args, op):
    dims = union(*args)
    return Named(np.logaddexp(*(a.over(dims) for a in args)), dims)


register(
    OpDef(
        "logaddexp",
        "pointwise",
        "log(eᵃ + eᵇ), without overflow.",
        _logaddexp_shape,
        lambda c: f"jnp.logaddexp({c.code(0).text}, {c.code(1).text})",
        _logaddexp_meaning,
        operands=("a", "b"),
        precision="wide",
        flops=costs(3 + 2 * _T),
        keeps=keeping("array", "array"),
        order=pointwise_order,
    )
)
