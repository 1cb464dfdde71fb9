"""Sums of products over shared dims."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import combinations

from ..core import Dim, Op, Order, Type
from ..named import Named, union
from ..order import apart, squeezed
from ..registry import Brackets, Code, Keep, Levels, OpDef, Option, ShapeError, Source, register
from ..size import Size
from .common import check_dims, count, promote

GUESS = 64
"""What a free size counts for when the order of a product of many operands is chosen."""


def product_dtype(types: tuple[Type, ...], op: Op) -> str:
    """The dtype of a product: the widest operand's, or `accumulate`; bools count as ints."""
    dtype = promote(*(t.dtype for t in types))
    return op.get("accumulate") or ("int" if dtype == "bool" else dtype)


def _shape(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
    for dim in op["dims"]:
        having = [i for i, t in enumerate(types) if dim in t.dims]
        if not having:
            raise ShapeError(
                "dim-not-there",
                f"dot[{dim.name}] needs {dim.name}, which no operand has",
                None,
                [f"operand {i + 1} is {t}" for i, t in enumerate(types)],
            )
        if len(having) == 1:
            raise ShapeError(
                "dim-in-one-operand",
                f"dot[{dim.name}] needs {dim.name} in two operands or more, only one has it",
                having[0],
                (f"it is {types[having[0]]}",),
                f"sum[{dim.name}](…) around that operand sums over {dim.name}",
            )
    dims = dict.fromkeys(d for t in types for d in t.dims if d not in op["dims"])
    return (Type(product_dtype(types, op), tuple(dims)),)


def path(types: tuple[Type, ...], op: Op) -> tuple[tuple[int, int], ...]:
    """In which order a product of several operands is computed: pairs of positions, as in einsum.

    Each pair is taken out of the list of operands and its product put at the end. Of all orders
    the first one of fewest multiplications, where a free size counts as `GUESS`.
    """
    if len(types) > 6:
        return ((0, 1),) * (len(types) - 1)
    kept = frozenset(d for t in types for d in t.dims if d not in op["dims"])
    return _path(tuple(frozenset(t.dims) for t in types), kept)[1]


def _guess(dims: frozenset[Dim]) -> int:
    total = 1
    for dim in dims:
        total *= dim.size.evaluate(dict.fromkeys(dim.size.names, GUESS))
    return total


@lru_cache(maxsize=4096)
def _path(
    operands: tuple[frozenset[Dim], ...], kept: frozenset[Dim]
) -> tuple[int, tuple[tuple[int, int], ...]]:
    if len(operands) == 1:
        return 0, ()
    best: tuple[int, tuple[tuple[int, int], ...]] | None = None
    for i, j in combinations(range(len(operands)), 2):
        rest = tuple(o for k, o in enumerate(operands) if k not in (i, j))
        both = operands[i] | operands[j]
        cost, tail = _path((*rest, both & kept.union(*rest)), kept)
        cost += _guess(both)
        if best is None or cost < best[0]:
            best = cost, ((i, j), *tail)
    assert best is not None
    return best


def steps(types: tuple[Type, ...], op: Op) -> Iterator[tuple[int, int, tuple[Dim, ...], Type]]:
    """The products of two that a `dot` is made of.

    Yields:
        The positions of the two, counting results of earlier steps after the operands; all dims
        of the two; the type of the result.
    """
    kept = {d for t in types for d in t.dims if d not in op["dims"]}
    dtype = product_dtype(types, op)
    left = [(i, set(t.dims)) for i, t in enumerate(types)]
    for position, (i, j) in enumerate(path(types, op)):
        (a, x), (b, y) = left[i], left[j]
        left = [item for k, item in enumerate(left) if k not in (i, j)]
        both = x | y
        dims = both & kept.union(*(d for _, d in left))
        left.append((len(types) + position, dims))
        yield a, b, Type(dtype, tuple(both)).dims, Type(dtype, tuple(dims))


def _source(c: Source) -> Code:
    orders, result = c.orders, c.op.result.order
    assert result is not None
    accumulate = c.op.get("accumulate")
    if len(orders) == 2 and not accumulate and all(t.kind == "float" for t in c.types):
        a, b = orders
        contracted = (set(a) & set(b)) - set(result)
        if len(a) == len(b) == 2 and contracted == {a[1]} == {b[0]} and result == (a[0], b[1]):
            left, right = c.arg(0, Levels.MULTIPLY), c.arg(1, Levels.MULTIPLY + 1)
            return Code(f"{left} @ {right}", Levels.MULTIPLY)
    args = [c.arg(i) for i in range(len(orders))]
    if all(t.kind == "bool" for t in c.types):
        args[0] = f"{c.arg(0, Levels.ATOM)}.astype({c.dtype('int')})"
    spec = ",".join(map(c.letters, orders)) + "->" + c.letters(result)
    more = ""
    if len(orders) > 2:
        more += f", optimize={list(path(c.types, c.op))}"
    if accumulate:
        more += f", preferred_element_type={c.dtype(str(accumulate))}"
    return Code(f'jnp.einsum("{spec}", {", ".join(args)}{more})')


def _meaning(np, args, op):
    dims = union(*args)
    total = np.asarray(1)
    for a in args:
        total = total * a.over(dims)
    gone = [d for d in dims if d in op["dims"]]
    return Named(total.sum(tuple(map(dims.index, gone))), tuple(d for d in dims if d not in gone))


def _flops(types: tuple[Type, ...], op: Op) -> Size:
    total = Size.of(0)
    for _, _, dims, _ in steps(types, op):
        total = total + 2 * count(dims)
    return total


def _keeps(op: Op, types: tuple[Type, ...], wants: tuple[bool, ...]) -> tuple[Keep, ...]:
    made = list(types)
    wanted = list(wants)
    keep: dict[Keep, None] = {}

    def add(index: int) -> None:
        if index < len(types):
            keep[Keep("operand", index)] = None
        else:
            keep[Keep("internal", type=made[index])] = None

    for a, b, _, result in steps(types, op):
        if wanted[a]:
            add(b)
        if wanted[b]:
            add(a)
        made.append(result)
        wanted.append(wanted[a] or wanted[b])
    return tuple(keep)


def _order(op: Op, orders: tuple[Order, ...]) -> tuple[tuple[Order, ...], tuple[Order, ...]]:
    orders = agreeing(tuple(map(squeezed, orders)), op["dims"])
    result = dict.fromkeys(axis for o in orders for axis in o if axis[0] not in op["dims"])
    return orders, (tuple(result),)


def agreeing(orders: tuple[Order, ...], dims: tuple[Dim, ...]) -> tuple[Order, ...]:
    """The orders with those collapsed axes taken apart that cannot stand for one letter.

    One stays if every operand has all of it or nothing, and all of it or nothing is summed.
    """
    broken: set[Dim] = set()
    for axis in {axis for order in orders for axis in order if len(axis) > 1}:
        summed = [d in dims for d in axis]
        if any(summed) and not all(summed):
            broken.update(axis)
        for order in orders:
            if axis not in order and any(set(axis) & set(other) for other in order):
                broken.update(axis)
    before = None
    while before != orders:  # taking one apart may break another that shares a dim with it
        before, orders = orders, tuple(apart(o, broken) for o in orders)
        broken |= {d for o in orders for axis in o if broken & set(axis) for d in axis}
    return orders


register(
    OpDef(
        "dot",
        "product",
        "The sum of the product over the bracketed dims: `dot[K](a, b)` is Σₖ a·b. Any number of "
        "operands; every bracketed dim is in two of them or more, every other dim stays, and "
        "where operands share one it is paired. A bool counts as 0 or 1; what a mask hides is 0.",
        _shape,
        _source,
        _meaning,
        operands=("a", "b"),
        variadic=True,
        hidden="zero",
        also=("matmul", "einsum", "bmm", "tensordot"),
        brackets=Brackets(dims=(1, None)),
        precision="product",
        flops=_flops,
        keeps=_keeps,
        order=_order,
        linear=True,
    )
)


# fft


def _fft_shape(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
    check_dims(op, types[0])
    for i, type_ in enumerate(types):
        if type_.kind != "float":
            raise ShapeError("not-float", "fft takes floats", i, (f"this is {type_}",))
        if type_.dims != types[0].dims:
            raise ShapeError(
                "dims-do-not-align",
                "the imaginary part must have the dims of the real part",
                i,
                (f"the real part is {types[0]}", f"the imaginary part {type_}"),
            )
    found = Type(promote(*(t.dtype for t in types)), types[0].dims)
    return found, found


def _fft_order(op: Op, orders: tuple[Order, ...]) -> tuple[tuple[Order, ...], tuple[Order, ...]]:
    order = apart(squeezed(orders[0]), op["dims"])
    return (order,) * len(orders), (order, order)


def _fft_source(c: Source) -> str:
    axes = tuple(sorted(c.axis(0, d) for d in c.op["dims"]))
    more = f", {c.arg(1)}" if len(c.orders) > 1 else ""
    more += ", inverse=True" if c.op.get("inverse", False) else ""
    return f"{c.helper('fft')}({c.arg(0)}, {axes}{more})"


def _fft_meaning(np, args, op):
    dims = args[0].dims
    z = args[0].array + (1j * args[1].over(dims) if len(args) > 1 else 0)
    axes = tuple(map(dims.index, op["dims"]))
    z = np.fft.ifftn(z, axes=axes) if op.get("inverse", False) else np.fft.fftn(z, axes=axes)
    return Named(z.real, dims), Named(z.imag, dims)


def _fft_flops(types: tuple[Type, ...], op: Op) -> Size:
    """The usual 5 n log n, with 16 for the logarithm of a size that is not known."""
    length = count(op["dims"])
    return types[0].elements() * (5 * (length.value.bit_length() if length.is_constant else 16))


register(
    OpDef(
        "fft",
        "product",
        "The discrete Fourier transform: `re, im = fft[T](x)` has at f the sum of x · "
        "e^(-2πi·f·t/T) over t, as real and imaginary part; f goes by the name of T. x may have "
        "an imaginary part as a second operand. `inverse` goes back, dividing by T.",
        _fft_shape,
        _fft_source,
        _fft_meaning,
        operands=("x",),
        optional=("imaginary",),
        hidden="zero",
        options={"inverse": Option(False, ("bool",))},
        brackets=Brackets(dims=(1, None)),
        precision="wide",
        flops=_fft_flops,
        keeps=lambda op, types, wants: (),
        order=_fft_order,
        linear=True,
    )
)
