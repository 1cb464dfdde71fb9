"""Ops that reduce their bracketed dims to one value, and those that run along one dim.

What a mask hides does not count: the sum, mean, var, std and l2norm of nothing are 0, its prod is
1, its max -∞ and its min ∞ (for ints: the least and the greatest), its logsumexp -∞, its argmax and
argmin 0; the gradient of all of these is 0. max and min share the gradient among ties, and the
gradients of std and l2norm at 0 are 0. Bools count as 0 and 1 in sums; a mean is always a float.

Precision: whatever adds up or multiplies many numbers is `wide`; max, min and what gives bools or
ints is exact, so it follows.
"""

from __future__ import annotations

from collections.abc import Callable

from ..core import Dim, Op, Order, Type
from ..named import Named
from ..order import apart
from ..registry import Brackets, Code, Keep, OpDef, Source, register
from ..size import Size
from .common import (
    TRANSCENDENTAL,
    cast,
    check_bool,
    check_dims,
    check_mask,
    check_one,
    closed,
    count,
    internal,
    keeping_order,
    kept_mask,
    masked,
    nothing,
    number,
    real,
    reduction_order,
)

ANY_DIMS = Brackets(dims=(1, None))
ONE_DIM = Brackets(dims=(1, 1))

Rule = Callable[[Op, tuple[Type, ...], tuple[bool, ...]], tuple[Keep, ...]]


def same(dtype: str) -> str:
    """The result's dtype of ops that pick one of the elements."""
    return dtype


def always(dtype: str) -> Callable[[str], str]:
    """The result's dtype of ops that give the same whatever they are given."""
    return lambda given: dtype


def per_element(weight: int):
    """A flops rule: so many operations for each element of the first operand."""
    return lambda types, op: types[0].elements() * weight


def arrays(np, args, op) -> tuple:
    """For a meaning: the first operand, its mask over the same dims or True, and its axes."""
    x = args[0]
    index = op.extra("where")
    mask = True if index is None else args[index].over(x.dims)
    values = x.array.astype(np.int32) if x.array.dtype == bool else x.array
    return values, mask, tuple(x.axis(d) for d in op["dims"])


def _register(
    name: str,
    doc: str,
    source: Callable[[Source], Code | str],
    meaning: Callable,
    keeps: Rule,
    result: Callable[[str], str],
    *,
    weight: int = 1,
    wide: bool = True,
    one: bool = False,
    bools: bool = False,
    reduces: bool = True,
) -> None:
    def shape(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
        if one:
            check_one(op)
        if bools:
            check_bool(name, types[0], 0, "its operand")
        check_dims(op, types[0])
        check_mask(op, types)
        left = tuple(d for d in types[0].dims if not (reduces and d in op["dims"]))
        return (Type(result(types[0].dtype), left),)

    def means(np, args, op):
        x, mask, axes = arrays(np, args, op)
        x = args[0].array if result is same else x
        left = args[0].without(op["dims"]) if reduces else args[0].dims
        return Named(np.asarray(meaning(np, x, mask, axes)), left)

    register(
        OpDef(
            name,
            "reduction",
            doc,
            shape,
            source,
            means,
            optional=("where",),
            brackets=ONE_DIM if one else ANY_DIMS,
            precision="wide" if wide else "follow",
            flops=per_element(weight),
            keeps=keeps,
            order=reduction_order if reduces else keeping_order,
        )
    )


# Source


def _call(function: str, convert: bool = False):
    """A call of a function of JAX that knows masks."""

    def source(c: Source) -> str:
        x = cast(c, 0, "float").text if convert else c.arg(0)
        return f"{function}({x}, axis={c.axes(0, c.op['dims'])}{masked(c)})"

    return source


def _or_helper(function: str, helper: str):
    """A call of a function of JAX, or where there is a mask of a helper."""

    def source(c: Source) -> str:
        axes, mask = c.axes(0, c.op["dims"]), c.op.extra("where")
        if mask is None:
            return f"{function}({c.arg(0)}, axis={axes})"
        return f"{c.helper(helper)}({c.arg(0)}, {c.arg(mask)}, axis={axes})"

    return source


def _std(c: Source) -> str:
    return f"{c.helper('safe_sqrt')}({_or_helper('jnp.var', 'masked_var')(c)})"


def _l2norm(c: Source) -> str:
    squares = f"jnp.square({_hidden(c, cast(c, 0, 'float').text, '0')})"
    return f"{c.helper('safe_sqrt')}(jnp.sum({squares}, axis={c.axes(0, c.op['dims'])}))"


def least(kind: str) -> str:
    """Source of what is below all numbers of a kind."""
    return {"float": "-jnp.inf", "int": "jnp.iinfo(jnp.int32).min", "bool": "False"}[kind]


def greatest(kind: str) -> str:
    """Source of what is above all numbers of a kind."""
    return {"float": "jnp.inf", "int": "jnp.iinfo(jnp.int32).max", "bool": "True"}[kind]


def _extreme(function: str, neutral: Callable[[str], str]):
    def source(c: Source) -> str:
        mask = masked(c) and f"{masked(c)}, initial={neutral(c.types[0].kind)}"
        return f"{function}({c.arg(0)}, axis={c.axes(0, c.op['dims'])}{mask})"

    return source


def _hidden(c: Source, x: str, neutral: str) -> str:
    """The operand, written `x`, with something neutral where the mask hides it."""
    mask = c.op.extra("where")
    return x if mask is None else f"jnp.where({c.arg(mask)}, {x}, {neutral})"


def _position(function: str, neutral: Callable[[str], str]):
    def source(c: Source) -> str:
        kind = c.types[0].kind
        x = cast(c, 0, "int").text if kind == "bool" else c.arg(0)
        hidden = _hidden(c, x, neutral("float" if kind == "float" else "int"))
        return f"{function}({hidden}, axis={c.axes(0, c.op['dims'])})"

    return source


def _cumulative(function: str, neutral: str):
    def source(c: Source) -> str:
        return f"{function}({_hidden(c, c.arg(0), neutral)}, axis={c.axes(0, c.op['dims'])})"

    return source


# What gradients keep


def _full(op: Op, types) -> Keep:
    return Keep("internal", type=types[0].with_dtype(op.result.type.dtype))


def _small(op: Op, types) -> Keep:
    return Keep("internal", type=op.result.type)


def kept_masks(op: Op, types, copies: int = 1) -> tuple[Keep, ...]:
    """The mask, if any. One that lacks dims is spread over them, each time that JAX uses it."""
    index = op.extra("where")
    if index is None:
        return ()
    keep = kept_mask(op, types, index, types[0])
    return (keep,) * (copies if keep.what == "internal" else 1)


def _keeps(
    full: int = 0, small: int = 0, small_masks: int = 0, hidden: int = 0, copies: int = 1
) -> Rule:
    """Arrays over all dims and over those that are left; with a mask, `hidden` more of these."""

    def keeps(op: Op, types, wants) -> tuple[Keep, ...]:
        number = small + (hidden if op.extra("where") is not None else 0)
        return (
            *kept_masks(op, types, copies),
            *(_full(op, types),) * full,
            *(_small(op, types),) * number,
            *(internal("bool", op.result.type.dims),) * small_masks,
        )

    return keeps


def part(dtype: str, dims: tuple[Dim, ...], size: Size | int) -> Keep:
    """An array over some dims and a stretch of another."""
    return internal(dtype, (*dims, Dim(-1, "part", Size.of(size))))


def _stretches(op: Op, types, sizes: Callable[[int], list[int]], bound: int) -> tuple[Keep, ...]:
    """Arrays over stretches of the bracketed dims; a bound where their size is not known."""
    dims, dtype = op["dims"], op.result.type.dtype
    rest = tuple(d for d in types[0].dims if d not in dims)
    size = count(dims)
    if not size.is_constant:
        return (part(dtype, rest, size * bound),)
    return tuple(part(dtype, rest, n) for n in sizes(size.value) if n)


def _halves(n: int) -> list[int]:
    """What a product keeps: at each level of a tree, both halves."""
    sizes = []
    while n > 1:
        n = (n + 1) // 2
        sizes += [n, n]
    return sizes


def _pairs(n: int) -> list[int]:
    """What an associative scan of products keeps: both factors of each product."""
    if n < 2:
        return []
    pairs, between = n // 2, (n - 1) // 2
    return [pairs, pairs, *_pairs(pairs), between, between]


def _prod_keeps(op: Op, types, wants) -> tuple[Keep, ...]:
    return (*kept_masks(op, types), *_stretches(op, types, _halves, 2))


def _cumprod_keeps(op: Op, types, wants) -> tuple[Keep, ...]:
    return (*kept_masks(op, types), *_stretches(op, types, _pairs, 4))


# Meanings


def _live(np, x, mask, axes, keepdims=False):
    live = np.broadcast_to(mask, x.shape).sum(axes, keepdims=keepdims)
    return np.maximum(live, 1)


def _np_mean(np, x, mask, axes):
    return x.sum(axes, where=mask) / _live(np, x, mask, axes)


def _np_var(np, x, mask, axes):
    x = np.where(mask, x, 0)
    mean = x.sum(axes, keepdims=True) / _live(np, x, mask, axes, True)
    return (np.where(mask, x - mean, 0) ** 2).sum(axes) / _live(np, x, mask, axes)


def _np_extreme(name: str, sign: int):
    def meaning(np, x, mask, axes):
        if x.dtype.kind == "f":
            neutral = sign * np.inf
        elif x.dtype.kind == "b":
            neutral = sign > 0
        else:
            neutral = np.iinfo(np.int32).min if sign < 0 else np.iinfo(np.int32).max
        return getattr(np, name)(x, axes, where=mask, initial=neutral)

    return meaning


def _np_logsumexp(np, x, mask, axes):
    x = np.where(mask, x, -np.inf)
    top = x.max(axes, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, 0)
    return np.log(np.exp(x - top).sum(axes)) + top.reshape(np.exp(x - top).sum(axes).shape)


def _np_position(name: str, sign: int):
    def meaning(np, x, mask, axes):
        hidden = np.where(mask, x.astype(np.float64), sign * np.inf)
        return getattr(np, name)(hidden, axes[0]).astype(np.int32)

    return meaning


_register(
    "sum", "The sum over the dims: Σ x.", _call("jnp.sum"),
    lambda np, x, m, a: x.sum(a, where=m), _keeps(), number,
)  # fmt: skip
_register(
    "mean", "The mean over the dims: Σ x / n.", _or_helper("jnp.mean", "masked_mean"),
    _np_mean, _keeps(hidden=1), real,
)  # fmt: skip
_register(
    "var", "The variance over the dims: Σ (x - mean)² / n.", _or_helper("jnp.var", "masked_var"),
    _np_var, _keeps(full=1, hidden=2), real, weight=4,
)  # fmt: skip
_register(
    "std", "The standard deviation over the dims: √ var.", _std,
    lambda np, x, m, a: np.sqrt(_np_var(np, x, m, a)),
    _keeps(full=1, small=1, small_masks=1, hidden=2), real, weight=4,
)  # fmt: skip
_register(
    "l2norm", "The Euclidean norm over the dims: √ Σ x².", _l2norm,
    lambda np, x, m, a: np.sqrt((x.astype(np.float64) ** 2).sum(a, where=m)),
    _keeps(full=1, small=1, small_masks=1), real, weight=2,
)  # fmt: skip
_register(
    "logsumexp", "log Σ eˣ over the dims, without overflow.",
    _call("jax.nn.logsumexp", convert=True),
    _np_logsumexp, _keeps(full=1, small=1, small_masks=1, copies=2), real,
    weight=3 + TRANSCENDENTAL,
)  # fmt: skip
_register(
    "prod", "The product over the dims: Π x.", _call("jnp.prod"),
    lambda np, x, m, a: x.prod(a, where=m), _prod_keeps, number,
)  # fmt: skip
_register(
    "max", "The greatest over the dims. Of two values, `max(a, b)` is another op.",
    _extreme("jnp.max", least), _np_extreme("max", -1),
    _keeps(full=1, small=1, hidden=1), same, wide=False,
)  # fmt: skip
_register(
    "min", "The least over the dims. Of two values, `min(a, b)` is another op.",
    _extreme("jnp.min", greatest), _np_extreme("min", 1),
    _keeps(full=1, small=1, hidden=1), same, wide=False,
)  # fmt: skip
_register(
    "any", "Whether one is true, over the dims; of nothing: false.", _call("jnp.any"),
    lambda np, x, m, a: x.any(a, where=m), nothing, always("bool"), wide=False, bools=True,
)  # fmt: skip
_register(
    "all", "Whether all are true, over the dims; of nothing: true.", _call("jnp.all"),
    lambda np, x, m, a: x.all(a, where=m), nothing, always("bool"), wide=False, bools=True,
)  # fmt: skip
_register(
    "argmax", "The position of the greatest along a dim, of equals the first.",
    _position("jnp.argmax", least), _np_position("argmax", -1), nothing, always("int"),
    wide=False, one=True,
)  # fmt: skip
_register(
    "argmin", "The position of the least along a dim, of equals the first.",
    _position("jnp.argmin", greatest), _np_position("argmin", 1), nothing, always("int"),
    wide=False, one=True,
)  # fmt: skip
_register(
    "cumsum", "The sum up to and with each place along a dim; what is masked counts as 0.",
    _cumulative("jnp.cumsum", "0"), lambda np, x, m, a: np.where(m, x, 0).cumsum(a[0]), _keeps(),
    number, one=True, reduces=False,
)  # fmt: skip
_register(
    "cumprod", "The product up to and with each place along a dim; what is masked counts as 1.",
    _cumulative("jnp.cumprod", "1"), lambda np, x, m, a: np.where(m, x, 1).cumprod(a[0]),
    _cumprod_keeps, number, one=True, reduces=False,
)  # fmt: skip


# How many are live


def _counted(op: Op, types: tuple[Type, ...]) -> tuple[tuple[Dim, ...], tuple[Dim, ...]]:
    """The counted dims that the mask has, and those that it lacks."""
    own = types[0].dims if types else ()
    return tuple(d for d in op["dims"] if d in own), tuple(d for d in op["dims"] if d not in own)


def _count_shape(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
    if not types:
        return (Type("int"),)
    check_bool("count", types[0], 0, "its mask")
    return (Type("int", tuple(d for d in types[0].dims if d not in op["dims"])),)


def _count_source(c: Source) -> Code:
    own, other = _counted(c.op, c.types)
    number = c.size(count(other))
    if not c.types:
        return Code(number, 0, True)
    total = f"jnp.sum({c.arg(0)}, axis={c.axes(0, own)})"
    return Code(f"{total} * {closed(number)}", 12) if other else Code(total)


def _count_meaning(np, args, op):
    number = 1
    for dim in op["dims"]:
        if not args or dim not in args[0].dims:
            number *= dim.size.value
    if not args:
        return Named(np.asarray(number))
    axes = tuple(args[0].axis(d) for d in op["dims"] if d in args[0].dims)
    return Named(args[0].array.sum(axes) * number, args[0].without(op["dims"]))


def _count_order(op: Op, orders: tuple[Order, ...]):
    if not orders:
        return (), ((),)
    order = tuple(a for a in apart(orders[0], op["dims"]) if a)
    return (order,), (tuple(a for a in order if a[0] not in op["dims"]),)


register(
    OpDef(
        "count",
        "reduction",
        "How many elements over the dims the mask leaves; without a mask, their number. A mean is "
        "the sum divided by this.",
        _count_shape,
        _count_source,
        _count_meaning,
        operands=(),
        optional=("where",),
        brackets=Brackets(dims=(1, None), new=True),
        flops=lambda types, op: types[0].elements() if types else Size.of(0),
        keeps=nothing,
        order=_count_order,
    )
)
