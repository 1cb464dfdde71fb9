"""What may stand in a model, and where."""

from __future__ import annotations

from types import FrameType
from typing import TYPE_CHECKING, Any

from ...ir.diagnostics import Place
from ..lexer import KEYWORDS
from .expressions import CURRENT, Expr, Value
from .mistakes import mistake, outside
from .source import Site, user_frame

if TYPE_CHECKING:
    from .trace import Trace


def in_layer(what: str, frame: FrameType | None = None) -> Trace:
    """The run of a layer that a statement belongs to.

    Raises:
        InputError: no layer is running.
    """
    frame = frame or user_frame()
    trace = CURRENT.get()
    if trace is None:
        raise outside(what, Site.of(frame))
    trace.event(frame)
    return trace


def checked(value: Any, site: Site, trace: Trace | None, operator: bool = False) -> Any:
    """Something that may stand in an expression: a symbol of this layer, or a constant.

    Raises:
        InputError: it is of another layer, or nothing that a model can hold.
    """
    from .layers import LayerOf
    from .ops import Op

    if isinstance(value, Expr):
        if value.trace is not None and value.trace is not trace:
            raise _foreign(value, site, trace)
        if isinstance(value, Value):
            value.used = True
        return value
    if value is None or isinstance(value, bool | int | float):
        return value
    if not operator:
        if isinstance(value, tuple):
            return tuple(checked(v, site, trace) for v in value)
        if isinstance(value, str | Op | LayerOf):
            return value
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        return value.item()
    raise mistake(
        "not-a-value", f"{described(value)} cannot be part of a model", site, help=_advice(value)
    )


def _foreign(value: Expr, site: Site, trace: Trace | None) -> Exception:
    made_at = (Place(value.site.span, "made here"),) if getattr(value, "site", None) else ()
    if trace is None or value.trace is None:
        message = "this belongs to a layer, and is used outside of it"
    else:
        message = f"this belongs to {value.trace.title}, and {trace.title} cannot see it"
    return mistake(
        "foreign-value",
        message,
        site,
        places=made_at,
        help="hand it over as an argument, or return it from the layer",
    )


def described(value: Any) -> str:
    from .instances import Instance
    from .layers import LayerOf
    from .ops import Op

    if isinstance(value, Op):
        return f"the op {value.name}"
    if isinstance(value, LayerOf | Instance):
        return f"the {'layer' if isinstance(value, LayerOf) else 'instance'} {value}"
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return "an array"
    return f"a {type(value).__name__}"


def _advice(value: Any) -> str:
    from .instances import Instance
    from .layers import LayerOf
    from .ops import Op

    if isinstance(value, Op | LayerOf | Instance):
        return "call it"
    if hasattr(value, "shape"):
        return "numbers that are learnt are a nw.param; others come with the batch, as arguments"
    return ""


def identifier(name: str) -> bool:
    """Whether a name can be that of a dim, constant, parameter or argument."""
    return name.isidentifier() and name.isascii() and name not in KEYWORDS
