"""Windows that slide along dims: how many places they have, and how they are padded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..claim import AtLeast, Equal
from ..core import Dim, Op, Type
from ..named import Named
from ..registry import ShapeError, Source
from ..size import Size, maximum
from .along import pad_widths

PADS = ("same", "valid", "causal", "circular", "reflect")


class Window(NamedTuple):
    """A window along a dim.

    Attributes:
        out: how many places it has.
        before, after: by how much the dim is padded (of `conv_transpose`: the result cut).
        claims: what must hold of the sizes, with reasons.
    """

    out: Size
    before: Size
    after: Size
    claims: tuple[tuple[AtLeast | Equal, str], ...] = ()


def _positive(attrs: Mapping[str, object], name: str, default: int = 1) -> int:
    value = attrs.get(name, default)
    value = default if value is None else value
    if type(value) is not int or value < 1:
        raise ShapeError(
            "option-out-of-range", f"{name} must be a whole number of at least 1, not {value}"
        )
    return value


def at_arrow(attrs: Mapping[str, Any], index: int) -> dict[str, Any]:
    """The options of one of several windows: those that are given for each, picked.

    Raises:
        ShapeError: an option is given for another number of windows.
    """
    found = dict(attrs)
    number = int(attrs.get("windows", 1))
    for name in ("stride", "dilation", "pad"):
        value = attrs.get(name)
        if not isinstance(value, tuple) or (
            name == "pad" and not (value and isinstance(value[0], tuple))
        ):
            continue
        if len(value) != number:
            raise ShapeError(
                "option-out-of-range",
                f"{name} is given for {len(value)} windows, and there are {number}",
                help=f"one number for all, or {number} in the order of the brackets",
            )
        if name != "pad" and type(value[index]) is not int:
            shown = ", ".join("none" if v is None else str(v).lower() for v in value)
            raise ShapeError(
                "option-out-of-range",
                f"{name} must be a whole number for each window, not ({shown})",
            )
        found[name] = value[index]
    return found


def _pads(pad: object) -> tuple[int, int]:
    ends = pad if isinstance(pad, tuple) else (pad, pad)
    if len(ends) != 2 or not all(type(end) is int for end in ends):
        shown = f"({', '.join(map(str, ends))})"
        raise ShapeError("option-out-of-range", f"pad must be two whole numbers, not {shown}")
    before, after = ends
    if before < 0 or after < 0:
        raise ShapeError("option-out-of-range", "pad must not be negative")
    return before, after


def span_of(attrs: Mapping[str, object], kernel: Size) -> Size:
    """How many positions a window covers, those that dilation leaves out included."""
    return (kernel - 1) * _positive(attrs, "dilation") + 1


def window(attrs: Mapping[str, object], size: Size, kernel: Size, name: str) -> Window:
    """The window of a convolution or pool along a dim of that size and name."""
    stride, span = _positive(attrs, "stride"), span_of(attrs, kernel)
    pad = attrs["pad"]
    zero = Size.of(0)
    if pad == "valid":
        fits = AtLeast(size, span), f"a window must fit into {name}"
        return Window((size - span) // stride + 1, zero, zero, (fits,))
    if pad in PADS:
        out = (size + (stride - 1)) // stride
        if pad == "causal":
            return Window(out, span - 1, zero)
        total = span - 1
        if pad == "same":
            total = maximum((out - 1) * stride + span - size, 0)
        before = total // 2
        after = total - before
        if pad == "reflect":
            fits = AtLeast(size, after + 1), f"{name} is reflected at its ends"
            return Window(out, before, after, (fits,))
        return Window(out, before, after)
    before, after = map(Size.of, _pads(pad))
    padded = size + before + after
    fits = AtLeast(padded, span), f"a window must fit into {name} with its padding"
    return Window((padded - span) // stride + 1, before, after, (fits,))


def window_transposed(attrs: Mapping[str, object], size: Size, kernel: Size, name: str) -> Window:
    """What `conv_transpose` makes of a dim of that size, and how much of it is cut."""
    stride, span = _positive(attrs, "stride"), span_of(attrs, kernel)
    pad = attrs["pad"]
    whole = (size - 1) * stride + span
    if pad == "valid":
        return Window(whole, Size.of(0), Size.of(0))
    if pad in ("same", "causal", "circular"):
        total = span - stride
        before = Size.of(0) if pad == "causal" else maximum(total, 0) // 2
        return Window(size * stride, before, total - before)
    if isinstance(pad, str):
        raise ShapeError("option-out-of-range", f"conv_transpose has no pad = {pad}")
    before, after = map(Size.of, _pads(pad))
    out = whole - before - after
    left = AtLeast(out, 1), f"something must be left of {name} when its ends are cut"
    return Window(out, before, after, (left,))


def attributes(op: Op) -> dict[str, Any]:
    """The options of a window with defaults filled in."""
    pool = op.name.endswith("pool")
    return {"stride": None if pool else 1, "dilation": 1, "pad": _PAD[op.name], **dict(op.attrs)}


_PAD = {"conv": "same", "conv_transpose": "same", "max_pool": "valid", "mean_pool": "valid"}


def steps(op: Op, name: str, spatial: Sequence[Dim], default: int = 1) -> list[int]:
    """An option of windows, a number for each of these dims."""
    attrs = {**attributes(op), "windows": len(op["arrows"])}
    found = {y: at_arrow(attrs, i)[name] for i, ((y, _), _) in enumerate(op["arrows"])}
    return [default if found[d] is None else int(str(found[d])) for d in spatial]


def windows(op: Op) -> dict[Dim, Window]:
    """The window along each dim that an op slides along."""
    attrs = attributes(op)
    make = window_transposed if op.name == "conv_transpose" else window
    found = {}
    attrs["windows"] = len(op["arrows"])
    for index, ((y, k), _) in enumerate(op["arrows"]):
        own = at_arrow(attrs, index)
        own["stride"] = k.size.value if own["stride"] is None else own["stride"]
        found[y] = make(own, y.size, k.size, y.name)
    return found


def window_arrow(name: str, left: Sequence[Dim], right, given):
    y, k = left
    attrs = {"stride": 1, "dilation": 1, "pad": _PAD[name], **given}
    attrs = at_arrow(attrs, given.get("window", 0))
    if name.endswith("pool"):
        fixed(name, k)
        if given.get("stride") is None or attrs["stride"] is None:
            attrs["stride"] = k.size.value
        pad = attrs["pad"]
        if not isinstance(pad, str) and max(_pads(pad)) >= k.size.value:
            raise ShapeError(
                "option-out-of-range",
                f"pad must be below {k.name} = {k.size}, the size of a window",
            )
    make = window_transposed if name == "conv_transpose" else window
    found = make(attrs, y.size, k.size, y.name)
    if right[0] is None:
        return (found.out,), found.claims
    fits = Equal(found.out, right[0]), f"{name} along {y.name} gives a dim of that size"
    return (right[0],), (fits, *found.claims)


def fixed(name: str, dim: Dim) -> None:
    if not dim.size.is_constant:
        raise ShapeError(
            "size-not-fixed",
            f"{name} needs a window of fixed size, and that of {dim.name} is {dim.size}",
        )


def continued(op: Op) -> dict[Dim, tuple[Size, Size]]:
    """How many elements of x stand again before and after it, where `pad` goes on with x itself.

    Dims to which none are added are left out.
    """
    if attributes(op)["pad"] not in ("circular", "reflect"):
        return {}
    found = windows(op)
    ends = {y: (window.before, window.after) for y, window in found.items()}
    if op.name == "conv_transpose":
        # Those that reach the result: stride·y + dilation·ky - before is in [0, Y·stride).
        spatial = [y for (y, _), _ in op["arrows"]]
        strides, dilations = (steps(op, name, spatial) for name in ("stride", "dilation"))
        for ((y, k), _), stride, dilation in zip(op["arrows"], strides, dilations, strict=True):
            before = found[y].before
            reach = (k.size - 1) * dilation - before
            ends[y] = (reach // stride, (before + (stride - 1)) // stride)
    return {y: end for y, end in ends.items() if end != (0, 0)}


def check_floats(op: Op, types: Sequence[Type]) -> None:
    for i, type_ in enumerate(types):
        if type_.kind != "float":
            raise ShapeError("not-float", f"{op.name} takes floats", i, (f"this is {type_}",))


def tuple_of(items: Sequence[object]) -> str:
    return "(" + ", ".join(map(str, items)) + ("," if len(items) == 1 else "") + ")"


def padded(c: Source, spatial: Sequence[Dim]) -> tuple[str, str]:
    """Source of x, padded where lax has no such padding, and of the padding that is left to do."""
    found, pad = windows(c.op), attributes(c.op)["pad"]
    x = with_continued(c)
    if pad in ("same", "valid"):
        return x, f'"{str(pad).upper()}"'
    if pad in ("circular", "reflect"):
        return x, '"VALID"'
    ends = [(c.size(found[d].before), c.size(found[d].after)) for d in spatial]
    return x, tuple_of([f"({a}, {b})" for a, b in ends])


def with_continued(c: Source) -> str:
    """Source of x, with what `continued` tells."""
    ends = {d: (c.size(a), c.size(b)) for d, (a, b) in continued(c.op).items()}
    if not ends:
        return c.arg(0)
    mode = "wrap" if attributes(c.op)["pad"] == "circular" else "reflect"
    return f'jnp.pad({c.arg(0)}, {pad_widths(c.orders[0], ends)}, mode="{mode}")'


def windowed(np, x: Named, op: Op, fill: float = 0.0) -> Named:
    """x with each dim that is slid along as two: places of the window, and places within it."""
    attrs = attributes(op)
    modes = {"circular": "wrap", "reflect": "reflect"}
    array, found = x.array, windows(op)
    dims: list[Any] = list(x.dims)
    for index, ((y, k), (to,)) in enumerate(op["arrows"]):
        own = at_arrow({**attrs, "windows": len(op["arrows"])}, index)
        out, before, after, _ = found[y]
        axis, width = dims.index(y), k.size.value
        ends = [(0, 0)] * len(dims)
        ends[axis] = (before.value, after.value)
        if attrs["pad"] in modes:
            array = np.pad(array, ends, mode=modes[attrs["pad"]])
        else:
            array = np.pad(array, ends, constant_values=fill)
        stride = width if own["stride"] is None else own["stride"]
        places = np.arange(out.value)[:, None] * stride + np.arange(width) * own["dilation"]
        array = array.take(places, axis)
        # the place may go by the name of a dim that is still to be slid along: only at the end
        dims[axis : axis + 1] = [(to,), k]
    return Named(array, tuple(d[0] if isinstance(d, tuple) else d for d in dims))
