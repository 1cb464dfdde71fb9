"""Linear recurrences along a dim."""

from __future__ import annotations

from ..core import Op, Type
from ..named import Named, union
from ..registry import Keep, OpDef, Source, register
from .common import along_order, check_dims, check_one, count, real, same_dims
from .reduction import ONE_DIM, part


def _scan_shape(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
    check_one(op)
    dims = same_dims(types, op.name)
    result = Type(real(*(t.dtype for t in types)), dims)
    check_dims(op, result)
    return (result,)


def _scan_source(c: Source) -> str:
    (dim,) = c.op["dims"]
    (order,) = (c.op.result.order or (),)
    axis = order.index((dim,)) - len(order)
    return f"{c.helper('linear_scan')}({c.arg(0)}, {c.arg(1)}, axis={axis})"


def _scan_meaning(np, args, op):
    (dim,) = op["dims"]
    dims = union(*args)
    a, b = np.broadcast_arrays(*(x.over(dims) for x in args))
    a, b = (np.moveaxis(x.astype(np.float64), dims.index(dim), 0) for x in (a, b))
    h = np.zeros(b.shape)
    last = np.zeros(b.shape[1:])
    for t in range(len(b)):
        h[t] = last = a[t] * last + b[t]
    return Named(np.moveaxis(h, 0, dims.index(dim)), dims)


def _scan_keeps(op: Op, types, wants) -> tuple[Keep, ...]:
    """For each (a1, b1), (a2, b2) that the scan joins: b1 and a2, and a1 if a2 · a1 is needed."""
    (dim,) = op["dims"]
    rest = tuple(d for d in op.result.type.dims if d != dim)
    dtype = op.result.type.dtype
    if not dim.size.is_constant:
        return (part(dtype, rest, dim.size * 4),)
    sizes: list[int] = []

    def join(n: int, product: bool, tangent: bool) -> None:
        if not wants[0]:
            sizes.append(n)
        else:
            sizes.extend([n, n, n] if product else [n, n] if tangent else [n])

    def scan(n: int, top: bool) -> None:
        if n < 2:
            return
        join(n // 2, n // 2 > 1, wants[1] or not top)
        scan(n // 2, False)
        if n > 2:
            join((n - 1) // 2, False, True)

    scan(dim.size.value, True)
    return tuple(part(dtype, rest, n) for n in sizes)


register(
    OpDef(
        "linear_scan",
        "reduction",
        "The linear recurrence hₜ = aₜ · hₜ₋₁ + bₜ along a dim, from h = 0, in a logarithmic "
        "number of steps. What a mask hides leaves h as it was.",
        _scan_shape,
        _scan_source,
        _scan_meaning,
        operands=("a", "b"),
        hidden="hold",
        brackets=ONE_DIM,
        precision="wide",
        flops=lambda types, op: count(op.result.type.dims) * 6,
        keeps=_scan_keeps,
        order=along_order,
    )
)
