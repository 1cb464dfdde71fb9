"""Symbols of Python, and what operators make of them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from .forms import Form, Infix, Prefix, Ref
from .mistakes import mistake, no_attribute
from .source import Site, unpacking, user_frame

if TYPE_CHECKING:
    from .trace import Trace

CURRENT: ContextVar[Trace | None] = ContextVar("trace", default=None)
DEEPEST = 60  # expressions inside one another; deeper ones are given names between


class Expr:
    """Something that stands for dims, sizes, constants or arrays; operators make more of it."""

    __hash__ = object.__hash__
    trace: Trace | None = None

    def __add__(self, other: Any) -> Value:
        return binary("+", self, other)

    def __radd__(self, other: Any) -> Value:
        return binary("+", other, self)

    def __sub__(self, other: Any) -> Value:
        return binary("-", self, other)

    def __rsub__(self, other: Any) -> Value:
        return binary("-", other, self)

    def __mul__(self, other: Any) -> Value:
        return binary("*", self, other)

    def __rmul__(self, other: Any) -> Value:
        return binary("*", other, self)

    def __truediv__(self, other: Any) -> Value:
        return binary("/", self, other)

    def __rtruediv__(self, other: Any) -> Value:
        return binary("/", other, self)

    def __floordiv__(self, other: Any) -> Value:
        return binary("//", self, other)

    def __rfloordiv__(self, other: Any) -> Value:
        return binary("//", other, self)

    def __mod__(self, other: Any) -> Value:
        return binary("%", self, other)

    def __rmod__(self, other: Any) -> Value:
        return binary("%", other, self)

    def __pow__(self, other: Any) -> Value:
        return binary("**", self, other)

    def __rpow__(self, other: Any) -> Value:
        return binary("**", other, self)

    def __and__(self, other: Any) -> Value:
        return binary("and", self, other)

    def __rand__(self, other: Any) -> Value:
        return binary("and", other, self)

    def __or__(self, other: Any) -> Value:
        return binary("or", self, other)

    def __ror__(self, other: Any) -> Value:
        return binary("or", other, self)

    def __lt__(self, other: Any) -> Value:
        return binary("<", self, other)

    def __le__(self, other: Any) -> Value:
        return binary("<=", self, other)

    def __gt__(self, other: Any) -> Value:
        return binary(">", self, other)

    def __ge__(self, other: Any) -> Value:
        return binary(">=", self, other)

    def __eq__(self, other: Any) -> Any:
        return binary("==", self, other)

    def __ne__(self, other: Any) -> Any:
        return binary("!=", self, other)

    def __neg__(self) -> Value:
        return unary("-", self)

    def __invert__(self) -> Value:
        return unary("not", self)

    def __pos__(self) -> Expr:
        return self

    def __abs__(self) -> Value:
        from .ops import Op

        return Op("abs")(self)

    def __round__(self, digits: int | None = None) -> Value:
        from .ops import Op

        return Op("round")(self)

    def __rshift__(self, other: Any) -> Arrow:
        return Arrow(self, other)

    def __rrshift__(self, other: Any) -> Arrow:
        return Arrow(other, self)

    def __lshift__(self, other: Any) -> NoReturn:
        raise mistake(
            "not-a-state",
            "`<<` updates a state; this is none",
            Site.here().sides()[0],
            help='average = nw.state("average", [C], nw.zeros())',
        )

    # What Python asks of numbers and arrays, and nobody knows before the model runs.

    def __bool__(self) -> bool:
        raise _no_truth(self, Site.here())

    def __iter__(self) -> Iterator[Any]:
        raise mistake(
            "not-iterable",
            "this cannot be gone through in Python",
            Site.here(),
            facts=("how many elements it has is not known here",),
        )

    def __len__(self) -> int:
        raise mistake(
            "no-length",
            "a value has no length",
            Site.here(),
            help="a dim is its size: nw.sqrt(K)",
        )

    def __getitem__(self, key: Any) -> NoReturn:
        raise mistake(
            "no-indexing",
            "values are not indexed: dims are matched by name",
            Site.here(),
            help="nw.slice[S >> T](x, start=0) takes a stretch, nw.take[V](x, ids) looks up",
        )

    def __matmul__(self, other: Any) -> NoReturn:
        raise mistake(
            "no-matmul",
            "`@` does not say which dims are summed over",
            Site.here(),
            help="nw.dot[D](x, w)",
        )

    __rmatmul__ = __matmul__

    def _not_known(self, *_: Any) -> NoReturn:
        raise mistake(
            "not-known",
            "this is a symbol: it has no number before the model runs",
            Site.here(),
            facts=("it was to be made a number, or an array of numpy or jax",),
            help="the ops of netwright take it: nw.exp(x), nw.sqrt(K)",
        )

    __float__ = __int__ = __index__ = __complex__ = __array__ = __jax_array__ = _not_known

    def __array_ufunc__(self, ufunc: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        if method == "__call__" and len(args) == 2 and not kwargs and ufunc.__name__ in _UFUNCS:
            return binary(_UFUNCS[ufunc.__name__], *args)  # a number of numpy stands on the left
        raise mistake(
            "numpy-op",
            f"numpy's {ufunc.__name__} takes arrays; this is a symbol",
            Site.here(),
            help=f"nw.{ufunc.__name__}(x)",
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise _no_attribute(name, Site.here())


_UFUNCS = {
    "add": "+",
    "subtract": "-",
    "multiply": "*",
    "divide": "/",
    "floor_divide": "//",
    "remainder": "%",
    "power": "**",
    "less": "<",
    "less_equal": "<=",
    "greater": ">",
    "greater_equal": ">=",
    "equal": "==",
    "not_equal": "!=",
}


def _no_attribute(name: str, site: Site) -> Exception:
    """What people write after a dot who come from arrays."""
    from ..build import ATTRIBUTES, METHODS
    from .wording import in_python

    at = site.name_of(site.node)
    if name in METHODS:
        message = f"values have no methods, such as `.{name}()`"
        return no_attribute("method-call", message, at, in_python(METHODS[name].format("x")))
    if name in ATTRIBUTES:
        message, help = ATTRIBUTES[name]
        return no_attribute("attribute", message, at, in_python(help.format("x")))
    return no_attribute("attribute", f"values have no attribute `{name}`", at, "")


def _no_truth(value: Expr, site: Site) -> Exception:
    node = site.node
    if isinstance(node, ast.Compare) and len(node.ops) > 1:
        return mistake(
            "chained-comparison",
            "a comparison has two sides; join two of them with `&`",
            site,
            help="(a < b) & (b < c)",
        )
    facts = ["Python asks for a truth value: by `if`, `while`, `and`, `or`, `not` or `in`"]
    if _settled(value):
        message = "sizes and constants are settled when the model is read, after this has run"
        help = "nw.cond(C != Co, then, otherwise) chooses; an option is a number of Python's own"
    else:
        message = "whether this is true is not known before the model runs"
        help = "nw.where(x > 0, a, b) chooses element by element; `&`, `|` and `~` join and negate"
    return mistake("if-on-value", message, site, facts=tuple(facts), help=help)


def _settled(value: Any) -> bool:
    """Whether something is made of dims, constants and numbers alone."""
    if isinstance(value, Value):
        return value.form is not None and all(_settled(r.value) for r in value.form.refs)
    if isinstance(value, Fixed):
        return value.kind == "option"
    return not isinstance(value, Expr) or isinstance(value, Dim | Const)


@dataclass(frozen=True, eq=False)
class Arrow:
    """`left >> right`, between brackets."""

    left: Any
    right: Any

    def __bool__(self) -> bool:
        raise mistake("if-on-value", "an arrow stands between brackets", Site.here())


class Dim(Expr):
    """The name of a dimension, with a size or without.

    Attributes:
        name: as it was given to `nw.dims`.
        size: a number or an expression; None if the data, an arrow or a use gives it.
        site: where it was declared.
    """

    def __init__(self, name: str, size: Any, site: Site):
        self.name, self.size, self.site = name, size, site

    def __repr__(self) -> str:
        return self.name


class Const(Expr):
    """A constant that settings can change."""

    def __init__(self, name: str, value: Any, site: Site):
        self.name, self.value, self.site = name, value, site

    def __repr__(self) -> str:
        return self.name


class Fixed(Expr):
    """A parameter, state or option: its name in the layer never means anything else."""

    def __init__(self, trace: Trace, kind: str, name: str, site: Site):
        self.trace, self.kind, self.name, self.site = trace, kind, name, site

    def __lshift__(self, other: Any) -> Any:
        if self.kind != "state":
            return super().__lshift__(other)
        from .checks import checked, in_layer

        frame = user_frame()
        trace = in_layer("an update", frame)
        site = Site.of(frame)
        self._one_name(frame, site)
        trace.update(self, Ref(checked(other, site.sides()[1], trace), site.sides()[1]), site)
        return None

    def _one_name(self, frame: FrameType, site: Site) -> None:
        """Refuse a second variable for a state: it would read the new value too."""
        names = [n for n, held in frame.f_locals.items() if held is self]
        if len(names) > 1:
            raise mistake(
                "state-alias",
                f"{names[1]} is another name of the state {self.name}, not its value before",
                site,
                help=f"{names[1]} = nw.value({names[0]})",
            )

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name}>"


class Value(Expr):
    """What an expression gives.

    Attributes:
        trace: the run of a layer that made it; None if it was made outside, of dims and constants.
        form: how it was made; None for an argument, or a result of `cond` and `scan`.
        site: where.
        name: the Python variable that it was bound to first.
        helped: whether that was a variable of a helper function.
        parts: what it was taken apart into, if it was.
        used: whether anything has used it yet.
    """

    def __init__(self, trace: Trace | None, form: Form | None, site: Site, name: str | None = None):
        self.trace, self.form, self.site, self.name = trace, form, site, name
        self.helped = False
        self.parts: list[Value] | None = None
        self.used = False
        self.depth = 0
        for r in form.refs if form is not None else ():
            if isinstance(r.value, Value):
                r.value.used = True
                if r.value.name is None:
                    self.depth = max(self.depth, r.value.depth + 1)
        self.forced = self.depth >= DEEPEST
        if self.forced:
            self.depth = 0

    def __iter__(self) -> Iterator[Any]:
        frame = user_frame()
        site = Site.of(frame)
        count = unpacking(frame)
        if count is None or self.trace is None:
            raise mistake(
                "not-iterable",
                "a value cannot be gone through in Python",
                site,
                facts=("how many values a call gives is known only when it is taken apart",),
                help="a, b = nw.unstack[E](x) names them; nw.scan[S](step, …) goes along a dim",
            )
        from .checks import in_layer

        in_layer("a value", frame)
        if self.parts is None or len(self.parts) != count:
            self.parts = [Value(self.trace, None, self.site) for _ in range(count)]
            self.trace.waiting += self.parts
        return iter(self.parts)

    def __repr__(self) -> str:
        return f"<value {self.name or ''}>"


def binary(op: str, left: Any, right: Any) -> Value:
    """The value of an operator."""
    from .checks import checked

    frame = user_frame()
    site = Site.of(frame)
    trace = CURRENT.get()
    if trace is not None:
        trace.event(frame)
    refs = [
        Ref(checked(v, at, trace, operator=True), at)
        for v, at in zip((left, right), site.sides(), strict=True)
    ]
    return made(trace, Infix(op, *refs), site)


def unary(op: str, operand: Expr) -> Value:
    """The value of `-x` and `~x`."""
    from .checks import checked

    frame = user_frame()
    site = Site.of(frame)
    trace = CURRENT.get()
    if trace is not None:
        trace.event(frame)
    at = site.part(site.node.operand) if isinstance(site.node, ast.UnaryOp) else site
    return made(trace, Prefix(op, Ref(checked(operand, at, trace), at)), site)


def made(trace: Trace | None, form: Form, site: Site) -> Value:
    """A new value, recorded where a layer is running."""
    value = Value(trace, form, site)
    if trace is not None:
        trace.add(value)
    return value
