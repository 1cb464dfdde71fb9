"""Attention as one op."""

from __future__ import annotations

from ..core import Dim, Op, Order, Type
from ..named import Named, union
from ..order import apart, squeezed
from ..registry import Brackets, Keep, OpDef, Option, ShapeError, Source, register
from ..size import Size
from .common import check_bool, closed, count, promote
from .product import agreeing, product_dtype
from .shape import Orders, lacks, needs

NAMES = ("q", "k", "v")


def _scores(q: tuple[Dim, ...], k: tuple[Dim, ...], op: Op) -> tuple[Dim, ...]:
    """The dims of the scores: those of q and k without the features; queries and keys last."""
    rest = [d for d in dict.fromkeys((*q, *k)) if d not in op["dims"]]
    return (*rest, *op["dims"][:2])


def _shape(types: tuple[Type, ...], op: Op) -> tuple[Type, ...]:
    s, t, k = op["dims"]
    q_type, k_type, v_type = types[:3]
    for i, (type_, has, has_not) in enumerate(
        ((q_type, (s, k), (t,)), (k_type, (t, k), (s,)), (v_type, (t,), (s,)))
    ):
        needs(op, type_, has, i)
        lacks(op, type_, has_not, i)
        if type_.kind != "float":
            raise ShapeError(
                "not-float", f"attention takes floats for {NAMES[i]}", i, (f"this is {type_}",)
            )
    scores = _scores(q_type.dims, k_type.dims, op)
    for name in op.get("extra", ()):
        index = op.extra(name)
        assert index is not None
        type_ = types[index]
        if name == "where":
            check_bool(op.name, type_, index, "its mask")
        left = [d.name for d in type_.dims if d not in scores]
        if left:
            raise ShapeError(
                "dims-do-not-align",
                f"the {name} of attention has {', '.join(left)}, which its scores do not have",
                index,
                (f"the scores are [{', '.join(d.name for d in scores)}]", f"it is {type_}"),
            )
    window = op.get("window")
    if window is not None and window < 1:
        raise ShapeError("option-out-of-range", f"window must be at least 1, not {window}")
    dims = dict.fromkeys((*scores, *v_type.dims))
    dims.pop(t)
    return (Type(product_dtype(types[:3], op), tuple(dims)),)


def _axes(orders: tuple[Order, ...], op: Op) -> tuple[Order, Order]:
    """The orders of scores and result, for operands as the order rule wants them."""
    s, t, k = op["dims"]
    q, keys, v = orders[:3]
    rest = dict.fromkeys(axis for axis in (*q, *keys) if axis not in ((s,), (t,), (k,)))
    result = dict.fromkeys(axis for axis in (*q, *keys) if axis not in ((t,), (k,)))
    result.update(dict.fromkeys(axis for axis in v if axis != (t,)))
    return (*rest, (s,), (t,)), tuple(result)


def _order(op: Op, orders: tuple[Order, ...]) -> Orders:
    found = agreeing(tuple(apart(squeezed(o), op["dims"]) for o in orders), ())
    scores, result = _axes(found, op)
    wanted = list(found)
    for i in range(3, len(found)):
        order = [axis if axis in found[i] else () for axis in scores]
        while order and not order[0]:
            order.pop(0)
        wanted[i] = tuple(order)
    return tuple(wanted), (result,)


def _banded(op: Op) -> bool:
    return bool(op.get("causal", False)) or op.get("window") is not None


def _source(c: Source) -> str:
    s, t, k = c.op["dims"]
    scores, result = _axes(c.orders, c.op)
    q, keys, v = (c.letters(o) for o in c.orders[:3])
    first = f"{q},{keys}->{c.letters(scores)}"
    second = f"{c.letters(scores)},{v}->{c.letters(result)}"
    scale = c.op.get("scale")
    args = [*(c.arg(i) for i in range(3)), f'"{first}"', f'"{second}"']
    args.append(f"{closed(c.size(k.size))}**-0.5" if scale is None else repr(scale))
    mask = c.op.extra("where")
    if _banded(c.op):
        window = c.op.get("window")
        before = c.size(s.size) if window is None else str(window - 1)
        after = "0" if c.op.get("causal", False) else before
        band = f"{c.helper('band')}({c.size(s.size)}, {c.size(t.size)}, {before}, {after})"
        args.append(f"mask={band}" if mask is None else f"mask={c.arg(mask, 10)} & {band}")
    elif mask is not None:
        args.append(f"mask={c.arg(mask)}")
    bias = c.op.extra("bias")
    if bias is not None:
        args.append(f"bias={c.arg(bias)}")
    if c.op.get("cap") is not None:
        args.append(f"cap={float(c.op['cap'])}")
    if c.op.get("accumulate"):
        args.append(f"dtype={c.dtype(c.op['accumulate'])}")
    return f"{c.helper('dot_product_attention')}({', '.join(args)})"


def _meaning(np, args, op):
    s, t, k = op["dims"]
    q, keys, v = args[:3]
    scores = _scores(q.dims, keys.dims, op)
    both = (*scores, k)
    scale = op.get("scale")
    scale = k.size.value**-0.5 if scale is None else scale
    logits = scale * (q.over(both) * keys.over(both)).sum(-1)
    if op.get("cap") is not None:
        logits = op["cap"] * np.tanh(logits / op["cap"])
    bias, mask = op.extra("bias"), op.extra("where")
    if bias is not None:
        logits = logits + args[bias].over(scores)
    live = np.ones_like(logits, bool)
    if mask is not None:
        live &= args[mask].over(scores).astype(bool)
    offset = np.arange(s.size.value)[:, None] - np.arange(t.size.value)
    if op.get("causal", False):
        live &= offset >= 0
    if op.get("window") is not None:
        live &= abs(offset) < op["window"]
    top = np.where(live, logits, -np.inf).max(-1, keepdims=True)
    weights = np.where(live, np.exp(logits - np.where(np.isfinite(top), top, 0)), 0)
    total = weights.sum(-1, keepdims=True)
    weights = Named(weights / np.where(total > 0, total, 1), scores)
    every = union(weights, v)
    found = (weights.over(every) * v.over(every)).sum(every.index(t))
    return Named(found, tuple(d for d in every if d != t))


def _flops(types: tuple[Type, ...], op: Op) -> Size:
    scores = _scores(types[0].dims, types[1].dims, op)
    first = 2 * count((*scores, op["dims"][2]))
    second = 2 * count(tuple(dict.fromkeys((*scores, *types[2].dims))))
    return first + second + count(scores) * 10


def _keeps(op: Op, types: tuple[Type, ...], wants: tuple[bool, ...]) -> tuple[Keep, ...]:
    scores = _scores(types[0].dims, types[1].dims, op)
    t = op["dims"][1]
    wide = promote(types[0].dtype, "float" if types[0].dtype == "float" else "float32")
    bias, mask = op.extra("bias"), op.extra("where")
    found = []
    if wants[0]:
        found.append(Keep("operand", 1))
    if wants[1]:
        found.append(Keep("operand", 0))
    full = Keep("internal", type=Type(wide, scores))
    if wants[0] or wants[1] or (bias is not None and wants[bias]):
        rest = tuple(d for d in scores if d != t)
        found += [Keep("operand", 2), full, *[Keep("internal", type=Type(wide, rest))] * 2]
        if mask is not None:
            if len(types[mask].dims) < len(scores):
                found += [Keep("internal", type=Type("bool", scores))] * 3
            elif _banded(op):
                found.append(Keep("internal", type=Type("bool", scores)))
            else:
                found.append(Keep("operand", mask))
    if op.get("cap") is not None and (wants[0] or wants[1]):
        found += [full, full]
    if wants[2]:
        found.append(Keep("internal", type=Type(types[2].dtype, scores)))
    return tuple(found)


register(
    OpDef(
        "attention",
        "attention",
        "What queries find at keys: `attention[S, T, K](q, k, v)` is softmax over T of scale · Σₖ "
        "q·k, times v, summed over T. `scale` is 1 / √K unless told. Other dims that q, k and v "
        "share are paired. `where` masks keys, and a query without any gets 0; `bias` is added to "
        "the scores, after `cap` has bounded them to cap · tanh(scores / cap). With `causal` a "
        "query sees no later key; with `window` only those fewer than so many positions away. "
        "Softmax is in float32 at least.",
        _shape,
        _source,
        _meaning,
        operands=NAMES,
        optional=("where", "bias"),
        options={
            "window": Option(None, ("int", "none")),
            "cap": Option(None, ("int", "float", "none")),
            "scale": Option(None, ("int", "float", "none")),
            "causal": Option(False, ("bool",)),
        },
        brackets=Brackets(dims=(3, 3), dots=False, ordered=True),
        precision="product",
        flops=_flops,
        keeps=_keeps,
        order=_order,
    )
)
