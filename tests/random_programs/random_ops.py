"""How each registered op is drawn: operands that fit, attributes that are valid.

A value is *exact* if it is an input, or made of one without rounding; ops that jump (floor, less,
argmax) take exact ones only, lest the last bit of an operand decide. The *level* of a value bounds
its magnitude: 0 for a few, 1 for tens, 2 for more, 3 for what may be infinite. Operands are brought
down to the level that an op can bear, so that results stay comparable to 1e-9.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from netwright.ir.core import Dim
from netwright.ir.registry import lookup
from netwright.ir.size import Size

if TYPE_CHECKING:
    from random_modules import Draft

DRAWN: dict[str, Callable[[Draft, str], object]] = {}
"""For each op that stands in bodies, what appends one."""

WEIGHTS: dict[str, float] = {}


def drawn(*ops: str, weight: float = 1):
    """Register what appends these ops."""

    def register(function: Callable[[Draft, str], object]):
        DRAWN.update(dict.fromkeys(ops, function))
        WEIGHTS.update(dict.fromkeys(ops, weight))
        return function

    return register


def some(rng: Random, items, least: int = 0, most: int | None = None) -> tuple:
    """Some of the items, in any order."""
    items = list(items)
    most = len(items) if most is None else min(most, len(items))
    return tuple(rng.sample(items, rng.randint(min(least, most), most)))


def arrows(d: Draft, name: str, left, right, **attrs) -> tuple[Dim, ...] | None:
    """The dims right of an arrow, their sizes computed; None where the sizes do not allow it."""
    sizes, claims = lookup(name).arrow(name, left, right, attrs)
    if any(s.evaluate(d.place.sizes) < 1 for s in sizes):
        return None
    if not all(c.holds(d.place.sizes) for c, _ in claims):
        return None
    return tuple(d.place.dim(s, fresh=True) for s in sizes)


# Element by element


@drawn("exp", "expm1", "softplus", "selu", "elu", "celu", "gelu", "silu", "hard_silu")
@drawn("log_sigmoid", "squareplus", "mish", "sparse_plus")
def growing(d: Draft, name: str):
    options = {"elu": ("alpha",), "celu": ("alpha",), "squareplus": ("b",)}.get(name, ())
    attrs = {o: d.rng.choice((0.5, 1.0, 2.0)) for o in options}
    if name == "gelu":
        attrs["more"] = {"exact": d.chance(0.5)}
    kind = "float" if d.chance(0.9) else d.rng.choice(("int", "bool"))
    return d.put(name, d.pick(kind, level=0), level=1 if name.startswith("exp") else 0, **attrs)


@drawn("sin", "cos", "tanh", "erf", "sigmoid", "relu6", "hard_sigmoid")
@drawn("hard_tanh", "soft_sign", "sparse_sigmoid")
def bounded(d: Draft, name: str):
    kind = "float" if d.chance(0.9) else d.rng.choice(("int", "bool"))
    return d.put(name, d.pick(kind, level=1), level=1 if name == "relu6" else 0)


@drawn("negate", "abs", "relu", "leaky_relu", "stop_gradient")
def same(d: Draft, name: str):
    attrs = {"slope": d.rng.choice((0.01, 0.25))} if name == "leaky_relu" else {}
    kinds = ("float", "float", "int") if name == "leaky_relu" else ("float", "float", "int", "bool")
    x = d.pick(d.rng.choice(kinds), level=2)
    return d.put(name, x, exact=d.exact(x) and name != "leaky_relu", **attrs)


@drawn("square")
def square(d: Draft, name: str):
    x = d.pick(d.rng.choice(("float", "float", "int")), level=0)
    return d.put(name, x, level=1)


@drawn("sign", "round", "floor", "ceil", "isfinite")
def jumping(d: Draft, name: str):
    return d.put(name, d.pick(d.rng.choice(("float", "float", "int")), exact=True), exact=True)


def positive(d: Draft, id: int) -> int:
    """A value that is at least a half."""
    half = d.const(d.rng.choice((0.5, 1.0, 0.75)))
    squared = d.put("square", id, level=1)
    return d.put("add", *d.shuffled(squared, half))


@drawn("log", "log1p", "sqrt", "rsqrt", "reciprocal")
def of_positive(d: Draft, name: str):
    return d.put(name, positive(d, d.pick("float", level=0)), level=1 if name == "log" else 0)


def pair(d: Draft, kind: str, level: int = 1, exact: bool = False, second: str = "") -> list[int]:
    """Two values, of which one has all the dims of the other."""
    a = d.pick(kind, level=level, exact=exact)
    b = d.pick(second or kind, level=level, exact=exact, within=d.dims(a))
    return d.shuffled(a, b)


@drawn("add", "subtract", "minimum", "maximum", weight=2)
def both(d: Draft, name: str):
    kind = d.rng.choice(("float", "float", "float", "int", "bool"))
    second = d.rng.choice((kind, kind, "int", "bool")) if kind != "bool" else "bool"
    a, b = pair(d, kind, second=second)
    if d.chance(0.15):
        number = d.rng.choice((0.0, 1.0, -2.5) if kind == "float" else (0, 1, -2))
        a, b = d.shuffled(a, d.const(number))
    kept = name in ("minimum", "maximum") and d.exact(a) and d.exact(b)
    whole = "float" not in (d.type(a).kind, d.type(b).kind)
    return d.put(name, a, b, exact=kept or whole, level=max(d.level(a), d.level(b)))


@drawn("multiply", weight=3)
def multiply(d: Draft, name: str):
    kind = d.rng.choice(("float", "float", "float", "int"))
    a, b = pair(d, kind, level=0 if kind == "int" else 1, second=d.rng.choice((kind, "bool")))
    return d.put(name, a, b, exact=kind == "int", level=d.level(a) + d.level(b) + 1)


@drawn("divide", "floor_divide", "remainder")
def divided(d: Draft, name: str):
    if name != "divide":
        kind = d.rng.choice(("float", "int"))
        a = d.pick(kind, exact=True, level=1)
        by = d.const(d.rng.choice((0.75, -1.5, 2.0) if kind == "float" else (2, 3, -2)))
        return d.put(name, a, by, exact=True)
    a = d.pick(d.rng.choice(("float", "float", "int")), level=1)
    if d.chance(0.2):
        return d.put(name, a, d.const(d.rng.choice((2.0, -4.0, 3))))
    b = positive(d, d.pick("float", within=d.dims(a), level=0))
    return d.put(name, *((a, b) if d.chance(0.8) else (d.const(1.5), b)))


@drawn("power")
def power(d: Draft, name: str):
    if d.chance(0.2):
        return d.put(name, d.pick("int", level=0), d.const(2), level=1, exact=True)
    base = positive(d, d.pick("float", level=0))
    base = d.put("tanh", base, level=0)
    if d.chance(0.5):
        return d.put(name, base, d.const(d.rng.choice((2, 0.5, -1, -1.5, 3))), level=1)
    other = d.put("tanh", d.pick("float", within=d.dims(base)), level=0)
    return (
        d.put(name, *d.shuffled(base, other), level=1)
        if d.chance(0)
        else d.put(name, base, other, level=1)
    )


@drawn("logaddexp")
def logaddexp(d: Draft, name: str):
    return d.put(name, *pair(d, "float", level=1))


@drawn("less", "less_equal", "greater", "greater_equal", "equal", "not_equal")
def compared(d: Draft, name: str):
    kind = d.rng.choice(("float", "int", "int"))
    a, b = pair(d, kind, exact=True)
    if d.chance(0.3):
        b = d.const(0.25 if kind == "float" else 1)
    return d.put(name, a, b, exact=True, level=0)


@drawn("logical_and", "logical_or")
def logic(d: Draft, name: str):
    return d.put(name, *pair(d, "bool"), exact=True)


@drawn("logical_not")
def negated(d: Draft, name: str):
    return d.put(name, d.pick("bool"), exact=True)


@drawn("where")
def where(d: Draft, name: str):
    mask = d.pick("bool")
    kind = d.rng.choice(("float", "float", "int", "bool"))
    a = d.pick(kind, within=d.dims(mask), level=2)
    b = d.pick(kind, within=d.dims(mask), level=2)
    if d.chance(0.2) and kind != "bool":
        b = d.const(-1.0 if kind == "float" else 3)
    exact = d.exact(a) and d.exact(b)
    return d.put(name, mask, a, b, exact=exact, level=max(d.level(a), d.level(b)))


@drawn("clip")
def clip(d: Draft, name: str):
    kind = d.rng.choice(("float", "int"))
    low, high = d.rng.choice(((-1, 1), (0, 2), (None, 1), (-2, None)))
    if kind == "float" and d.chance(0.5):
        low, high = (x if x is None else float(x) for x in (low, high))
    x = d.pick(kind)
    return d.put(name, x, low=low, high=high, exact=d.exact(x))


# Along dims


def masked(d: Draft, x: int) -> tuple[tuple[int, ...], dict]:
    """Perhaps a mask for a value, with the attribute that names it."""
    if d.chance(0.6):
        return (), {"extra": ()} if d.chance(0.5) else {}
    return (d.pick("bool", within=d.dims(x)),), {"extra": ("where",)}


def with_dims(d: Draft, kind: str = "float", least: int = 1, **wanted) -> int:
    """A value that has some dims."""
    x = d.pick(kind, **wanted)
    for _ in range(least - len(d.dims(x))):
        x = d.widened(x)
    return x


@drawn("sum", "mean", weight=3)
@drawn("var", "std", "l2norm", "logsumexp", "max", "min", "prod")
@drawn("softmax", "log_softmax", "standardize")
def along_dims(d: Draft, name: str):
    growing = name in ("prod", "var", "l2norm", "std", "logsumexp")
    x = with_dims(d, level=0 if growing else 1)
    mask, attrs = masked(d, x)
    if name == "standardize":
        attrs["eps"] = d.rng.choice((1e-2, 1e-5))
    wild = mask and name in ("max", "min", "logsumexp", "log_softmax")
    level = 3 if wild else 2 if name == "prod" else 1
    if name in ("softmax", "mean") and not mask:
        level = d.level(x)
    exact = name in ("max", "min") and not mask and d.exact(x)
    dims = some(d.rng, d.dims(x), 1)
    return d.put(name, x, *mask, dims=dims, level=level, exact=exact, **attrs)


@drawn("any", "all")
def of_bools(d: Draft, name: str):
    x = with_dims(d, "bool")
    mask, attrs = masked(d, x)
    return d.put(name, x, *mask, dims=some(d.rng, d.dims(x), 1), exact=True, **attrs)


@drawn("count")
def count(d: Draft, name: str):
    if d.chance(0.5):
        dims = some(d.rng, d.place.told(), 1, 2)
        return d.put(name, dims=dims, exact=True, level=1) if dims else None
    x = with_dims(d, "bool")
    dims = some(d.rng, d.dims(x), 1)
    return d.put(name, x, dims=dims, extra=("where",), exact=True, level=1)


@drawn("argmax", "argmin", "cumsum", "cumprod")
def along_one(d: Draft, name: str):
    jumps = name.startswith("arg")
    kind = d.rng.choice(("float", "float", "int"))
    x = with_dims(d, kind, exact=jumps, level=0)
    mask, attrs = masked(d, x)
    dims = (d.rng.choice(d.dims(x)),)
    exact = kind == "int" or jumps
    level = {"cumsum": 1, "cumprod": 2}.get(name, 0)
    return d.put(name, x, *mask, dims=dims, exact=exact, level=level, **attrs)


@drawn("linear_scan")
def linear_scan(d: Draft, name: str):
    x = with_dims(d, level=0)
    other = d.pick("float", within=d.dims(x), level=0)
    dims = (d.rng.choice(d.dims(x)),)
    return d.put(name, *d.shuffled(x, other), dims=dims, level=2)


# Shapes


@drawn("rename")
def rename(d: Draft, name: str):
    x = with_dims(d, d.kind(), level=2)
    old = d.rng.choice(d.dims(x))
    new = d.place.dim(old.size, without=d.dims(x))
    return d.put(name, x, arrows=(((old,), (new,)),), exact=d.exact(x))


@drawn("split")
def split(d: Draft, name: str):
    x = with_dims(d, d.kind(), level=2)
    old = d.rng.choice(d.dims(x))
    by = d.rng.choice([k for k in (1, 2, 3, 4) if d.n(old) % k == 0])
    right = [None, Size.of(by)] if d.chance(0.5) else [Size.of(by), None]
    new = arrows(d, name, [old], right)
    return new and d.put(name, x, arrows=(((old,), new),), exact=d.exact(x))


@drawn("merge", weight=2)
def merge(d: Draft, name: str):
    x = with_dims(d, d.kind(), least=2, level=2)
    old = some(d.rng, d.dims(x), 2, 3)
    new = arrows(d, name, old, [None])
    return new and d.put(name, x, arrows=((old, new),), exact=d.exact(x))


@drawn("expand", weight=2)
def expand(d: Draft, name: str):
    x = d.pick(d.kind(), level=2)
    told = [t for t in d.place.told() if t not in d.dims(x)]
    new = some(d.rng, told, 0, 2) or (d.place.dim(Size.of(d.rng.choice((1, 2))), fresh=True),)
    return d.put(name, x, dims=new, exact=d.exact(x)) if len(d.dims(x)) < 4 else None


@drawn("slice")
def slice_(d: Draft, name: str):
    x = with_dims(d, d.kind(), level=2)
    old = d.rng.choice(d.dims(x))
    n = d.n(old)
    start = d.rng.randint(0, n - 1)
    size = Size.of(d.rng.randint(1, n - start))
    if start and not old.size.is_constant and d.chance(0.5):
        size = old.size - start
    new = d.place.dim(size, without=d.dims(x))
    attrs = {"start": start} if start or d.chance(0.5) else {}
    return d.put(name, x, arrows=(((old,), (new,)),), exact=d.exact(x), **attrs)


@drawn("glu")
def glu(d: Draft, name: str):
    x = with_dims(d, level=1)
    even = [t for t in d.dims(x) if d.n(t) % 2 == 0]
    if not even:
        return None
    old = d.rng.choice(even)
    new = arrows(d, name, [old], [None])
    return new and d.put(name, x, arrows=(((old,), new),), level=d.level(x) + 1)


@drawn("pad")
def pad(d: Draft, name: str):
    kind = d.rng.choice(("float", "float", "int"))
    x = with_dims(d, kind, level=2)
    old = d.rng.choice(d.dims(x))
    attrs = {"before": d.rng.randint(0, 2), "after": d.rng.randint(0, 2)}
    new = arrows(d, name, [old], [None], **attrs)
    if d.chance(0.4):
        attrs["value"] = d.rng.choice((1, -2))
    return new and d.put(name, x, arrows=(((old,), new),), exact=d.exact(x), **attrs)


@drawn("concat")
def concat(d: Draft, name: str):
    x = with_dims(d, level=2)
    kinds = ("float", "float", "int")
    dim = d.rng.choice(d.dims(x))
    rest = [t for t in d.dims(x) if t != dim]
    values, left = [x], [dim]
    for _ in range(d.rng.randint(0, 2)):
        other = dim if d.chance(0.5) else d.place.some_dim(d, without=rest)
        values.append(d.mold(d.pick(d.rng.choice(kinds), level=2), (*rest, other)))
        left.append(other)
    if sum(d.n(t) for t in left) > 9:
        return None
    new = arrows(d, name, left, [None])
    exact = all(d.exact(v) for v in values)
    level = max(map(d.level, values))
    return new and d.put(name, *values, arrows=((tuple(left), new),), exact=exact, level=level)


@drawn("stack")
def stack(d: Draft, name: str):
    x = d.pick(d.kind(), level=2)
    count = d.rng.randint(1, 3)
    if len(d.dims(x)) > 3:
        return None
    others = [d.mold(d.pick(d.type(x).kind, level=2), d.dims(x)) for _ in range(count - 1)]
    new = d.place.dim(Size.of(count), without=d.dims(x))
    exact = all(map(d.exact, (x, *others)))
    return d.put(name, x, *others, dims=(new,), exact=exact, level=max(map(d.level, (x, *others))))


@drawn("unstack")
def unstack(d: Draft, name: str):
    x = with_dims(d, d.kind(), level=2)
    fixed = [t for t in d.dims(x) if t.size.is_constant]
    if not fixed:
        return None
    dim = d.rng.choice(fixed)
    return d.put_several(name, x, count=dim.size.value, dims=(dim,), exact=d.exact(x))


@drawn("flip")
def flip(d: Draft, name: str):
    x = with_dims(d, d.kind(), level=2)
    return d.put(name, x, dims=some(d.rng, d.dims(x), 1), exact=d.exact(x))


@drawn("roll", "shift")
def moved(d: Draft, name: str):
    x = with_dims(d, d.rng.choice(("float", "int")), level=2)
    attrs = {"shift": d.rng.randint(-3, 3)} if name == "roll" else {"by": d.rng.randint(-3, 3)}
    if name == "shift" and d.chance(0.5):
        attrs["fill"] = d.rng.choice((2, -1))
    return d.put(name, x, dims=(d.rng.choice(d.dims(x)),), exact=d.exact(x), **attrs)


# Lookups and positions


@drawn("take", weight=2)
def take(d: Draft, name: str):
    table = with_dims(d, d.rng.choice(("float", "float", "int")), level=2)
    dim = d.rng.choice(d.dims(table))
    ids = d.pick("int")
    if len({*d.dims(table), *d.dims(ids)}) > 5:
        return None
    return d.put(name, table, ids, dims=(dim,), exact=d.exact(table), level=d.level(table))


@drawn("one_hot")
def one_hot(d: Draft, name: str):
    ids = d.pick("int")
    new = d.place.some_dim(d, without=d.dims(ids))
    return d.put(name, ids, dims=(new,), exact=True, level=0) if len(d.dims(ids)) < 4 else None


@drawn("top_k")
def top_k(d: Draft, name: str):
    x = with_dims(d, exact=True)
    old = d.rng.choice(d.dims(x))
    new = d.place.dim(Size.of(d.rng.randint(1, d.n(old))), without=d.dims(x))
    return d.put_several(name, x, count=2, arrows=(((old,), (new,)),), exact=True)


@drawn("sort", "argsort")
def sort(d: Draft, name: str):
    x = with_dims(d, d.rng.choice(("float", "int")), exact=True)
    attrs = {"descending": d.chance(0.5)} if d.chance(0.7) else {}
    return d.put(name, x, dims=(d.rng.choice(d.dims(x)),), exact=True, **attrs)


@drawn("scatter_add")
def scatter_add(d: Draft, name: str):
    x = with_dims(d, d.rng.choice(("float", "float", "int")))
    old = d.rng.choice(d.dims(x))
    ids = d.pick("int", within=d.dims(x))
    ids = d.mold(ids, tuple({**dict.fromkeys(d.dims(ids)), old: None}))
    new = d.place.dim(Size.of(d.rng.randint(1, 4)), without=d.dims(x))
    exact = d.type(x).kind == "int"
    return d.put(name, x, ids, arrows=(((old,), (new,)),), level=d.level(x) + 1, exact=exact)


@drawn("index", weight=0.5)
def index(d: Draft, name: str):
    told = d.place.told()
    return told and d.put(name, dims=(d.rng.choice(told),), exact=True, level=0)


@drawn("offset", weight=0.5)
def offset(d: Draft, name: str):
    told = d.place.told()
    return len(told) > 1 and d.put(name, dims=some(d.rng, told, 2, 2), exact=True, level=0)


@drawn("rotary")
def rotary(d: Draft, name: str):
    x = d.pick("float")
    s, k = d.place.some_dim(d), d.place.dim(Size.of(d.rng.choice((2, 4))))
    if s == k:
        return None
    x = d.mold(x, tuple(dict.fromkeys((*d.dims(x)[:2], s, k))))
    attrs = {}
    if d.chance(0.4):
        attrs["interleaved"] = d.chance(0.7)
    if d.chance(0.3) and d.n(k) == 4:
        attrs["fraction"] = 0.5
    if d.chance(0.3):
        attrs["base"] = 100.0
    if d.chance(0.3):
        attrs["scaling"] = d.rng.choice(("linear", "ntk", "yarn", "llama3"))
        attrs |= {"factor": 2.0, "context": 8, "low": 1.0, "high": d.rng.choice((None, 3.0))}
    return d.put(name, x, dims=(s, k), level=d.level(x), **attrs)


@drawn("ragged_dot")
def ragged_dot(d: Draft, name: str):
    sizes = [Size.of(d.rng.choice((1, 2, 3))) for _ in range(4)]
    rows, groups, summed, out = (d.place.dim(size, fresh=True) for size in sizes)
    x = d.mold(d.pick("float"), (rows, summed))
    w = d.mold(d.pick("float"), d.rng.choice(((groups, summed), (groups, out, summed))))
    counts = d.mold(d.pick("int"), (groups,))
    zero = d.const(0)
    counts = d.put("maximum", counts, zero, exact=True)
    level = d.level(x) + d.level(w) + 1
    return d.put(name, x, w, counts, dims=(rows, groups, summed), level=level)


# Products


@drawn("dot", weight=4)
def dot(d: Draft, name: str):
    kind = "float" if d.chance(0.9) else "int"
    values = [d.pick(kind, level=1 if kind == "float" else 0)]
    values += [
        d.pick(d.rng.choice((kind, kind, "bool")), level=1 if kind == "float" else 0)
        for _ in range(d.rng.choice((1, 1, 1, 2)))
    ]
    every = dict.fromkeys(t for v in values for t in d.dims(v))
    shared = [t for t in every if sum(t in d.dims(v) for v in values) > 1]
    if not shared:
        shared = [d.place.some_dim(d)]
        values = [d.mold(v, tuple(dict.fromkeys((*d.dims(v), *shared)))) for v in values]
        every = dict.fromkeys(t for v in values for t in d.dims(v))
    dims = some(d.rng, shared, 1)
    if len(every) > 5 or (len(values) > 2 and len(shared) < 1):
        return None
    level = sum(map(d.level, values)) + 1
    return d.put(name, *values, dims=dims, level=level, exact=kind == "int")


@drawn("conv", "conv_transpose", weight=2)
def conv(d: Draft, name: str):
    x = with_dims(d, least=2)
    slid = some(d.rng, d.dims(x), 1, 2)
    rest = [t for t in d.dims(x) if t not in slid]
    summed = some(d.rng, rest, 0, 1)
    paired = some(d.rng, [t for t in rest if t not in summed], 0, 1)
    pads = ("same", "valid", "causal", "circular", 0, 1, (1, 0))
    if name == "conv":
        pads += ("reflect",)
    attrs = {}
    if d.chance(0.8):
        attrs["pad"] = d.rng.choice(pads)
    if d.chance(0.5):
        attrs["stride"] = d.rng.choice((1, 2))
    if d.chance(0.3):
        attrs["dilation"] = d.rng.choice((1, 2))
    found, kernel = [], []
    for y in slid:
        k = d.place.dim(Size.of(d.rng.choice((1, 2, 3))), without=(*d.dims(x), *kernel), fresh=True)
        new = arrows(d, name, [y, k], [None], **attrs)
        if not new or d.n(new[0]) > 12:
            return None
        if new[0].size == y.size and d.chance(0.5):
            new = (y,)
        kernel.append(k)
        found.append(((y, k), new))
    out = [t for t in (d.place.some_dim(d),) if t not in d.dims(x) and d.chance(0.7)]
    taken = {*kernel, *(t for _, new in found for t in new)}
    out = [t for t in out if t not in taken]
    w = d.pick("float", level=0)
    w = d.mold(w, tuple(d.shuffled(*kernel, *summed, *paired, *out)))
    attrs |= {"dims": summed} if summed or d.chance(0.5) else {}
    return d.put(name, x, w, arrows=tuple(found), level=d.level(x) + 1, **attrs)


@drawn("fft")
def fft(d: Draft, name: str):
    x = with_dims(d, level=0)
    dims = some(d.rng, d.dims(x), 1, 2)
    more, attrs = (), {}
    if d.chance(0.4):
        more, attrs = (d.mold(d.pick("float", level=0), d.dims(x)),), {"extra": ("imaginary",)}
    if d.chance(0.5):
        attrs["inverse"] = d.chance(0.5)
    return d.put_several(name, x, *more, count=2, dims=dims, level=1, **attrs)


@drawn("attention")
def attention(d: Draft, name: str):
    s = d.place.some_dim(d)
    t = d.place.dim(s.size, without=(s,)) if d.chance(0.5) else d.place.some_dim(d, without=(s,))
    k = d.place.some_dim(d, without=(s, t))
    more = [u for u in d.place.told() if u not in (s, t, k)]
    own = [some(d.rng, more, 0, 1) for _ in range(3)]
    q = d.mold(d.pick("float", level=0), (*own[0], s, k))
    keys = d.mold(d.pick("float", level=0), (*own[1], t, k))
    v = d.mold(d.pick("float", level=0), (*own[2], t, k))
    if d.chance(0.3):
        v = d.mold(v, tuple(dict.fromkeys((*own[2], t))))
    attrs, values, extra = {}, [], []
    scores = tuple(dict.fromkeys((*own[0], *own[1], s, t)))
    if d.chance(0.4):
        values.append(d.pick("bool", within=scores))
        extra.append("where")
    if d.chance(0.4):
        values.append(d.pick("float", within=scores, level=0))
        extra.append("bias")
    if extra or d.chance(0.5):
        attrs["extra"] = tuple(extra)
    if d.chance(0.4):
        attrs["causal"] = True
    if d.chance(0.3):
        attrs["window"] = d.rng.choice((1, 2))
    if d.chance(0.3):
        attrs["cap"] = 2.0
    if d.chance(0.3):
        attrs["scale"] = 0.5
    return d.put(name, q, keys, v, *values, dims=(s, t, k), level=0, **attrs)


@drawn("max_pool", "mean_pool")
def pool(d: Draft, name: str):
    kind = "int" if name == "max_pool" and d.chance(0.2) else "float"
    x = d.narrow(with_dims(d, kind))
    attrs = {}
    if d.chance(0.6):
        attrs["pad"] = d.rng.choice(("same", "valid", "causal", "circular", "reflect", 0, 1))
    if d.chance(0.5):
        attrs["stride"] = d.rng.choice((1, 2))
    found, used = [], []
    for y in some(d.rng, d.dims(x), 1, 2):
        k = d.place.dim(Size.of(d.rng.choice((2, 3))), without=(*d.dims(x), *used), fresh=True)
        used.append(k)
        new = arrows(d, name, [y, k], [None], **attrs)
        if not new:
            return None
        found.append(((y, k), (y,) if new[0].size == y.size and d.chance(0.5) else new))
    return d.put(name, x, arrows=tuple(found), exact=d.exact(x) and name == "max_pool", **attrs)


@drawn("resize")
def resize(d: Draft, name: str):
    x = with_dims(d)
    y = d.rng.choice(d.dims(x))
    # Weights of `linear` are computed in float32: exact for powers of two only.
    linear = d.n(y) in (1, 2, 4) and d.chance(0.5)
    new = d.place.dim(Size.of(d.rng.choice((2, 4) if linear else (1, 2, 3, 5))), fresh=True)
    attrs = {"method": "linear"} if linear else {"method": "nearest"} if d.chance(0.5) else {}
    exact = d.exact(x) and not linear
    return d.put(name, x, arrows=(((y,), (new,)),), exact=exact, level=d.level(x), **attrs)


# Losses


@drawn("cross_entropy")
def cross_entropy(d: Draft, name: str):
    x = with_dims(d)
    dim = d.rng.choice(d.dims(x))
    ids = d.pick("int", within=[t for t in d.dims(x) if t != dim])
    attrs = {"smoothing": d.rng.choice((0.0, 0.1)), "ignore": d.rng.choice((None, None, 1))}
    return d.put(name, x, ids, dims=(dim,), level=1, **attrs)


@drawn("binary_cross_entropy")
def binary_cross_entropy(d: Draft, name: str):
    x = d.pick("float")
    if d.chance(0.5):
        target = d.pick("bool", within=d.dims(x))
    else:
        target = d.put("sigmoid", d.pick("float", within=d.dims(x)), level=0)
    return d.put(name, *((x, target) if d.chance(0.9) else (d.const(0.5), target)), level=1)


# What is made of nothing, and what is drawn


@drawn("zeros", "ones", "full", weight=0.5)
def filled(d: Draft, name: str):
    attrs = {"value": d.rng.choice((0.5, 2, -1.25))} if name == "full" else {}
    dims = some(d.rng, d.place.told(), 0, 3)
    return d.put(name, dims=dims, exact=True, level=0, **attrs)


@drawn("normal", "truncated_normal", "uniform", "randint", "bernoulli", weight=0.7)
def random(d: Draft, name: str):
    attrs = {
        "uniform": {"low": d.rng.choice((0.0, -1.0)), "high": d.rng.choice((1.0, 3))},
        "randint": {"low": d.rng.choice((-2, 0)), "high": d.rng.choice((1, 4))},
        "bernoulli": {"p": d.rng.choice((0.25, 0.5))},
    }.get(name, {"stddev": d.rng.choice((1.0, 0.02))})
    dims = some(d.rng, d.place.told(), 0, 3)
    return d.put(name, dims=dims, salt=d.salt(), exact=True, level=0, **attrs)


@drawn("dropout")
def dropout(d: Draft, name: str):
    x = d.pick("float" if d.chance(0.9) else "int")
    dims = some(d.rng, d.dims(x), 0, 1)
    rate = d.rng.choice((0.5, 0.25, 0.1, 0))
    return d.put(name, x, dims=dims, rate=rate, salt=d.salt(), level=d.level(x))


# Structure without bodies, and what passes make


@drawn("const", weight=0.5)
def const(d: Draft, name: str):
    value = d.rng.choice((0.0, 1.0, -2.5, 3, 0, True, 1e-3, 0.1))
    return d.const(value)


@drawn("size", weight=0.7)
def size(d: Draft, name: str):
    told = d.place.told()
    if not told:
        return None
    found = d.rng.choice(told).size
    if d.chance(0.5):
        found = found * d.rng.choice(told).size + d.rng.choice((0, 1, 2))
    return d.put(name, size=found, exact=True, level=1)


@drawn("name", weight=0.5)
def name_(d: Draft, name: str):
    x = d.pick("float")
    return d.put(name, x, name=f"kept/{d.salt() % 1000}", exact=d.exact(x))
