"""Instances: what `use`, `repeat` and `each` make, and calls of them."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from ..lexer import KEYWORDS
from .brackets import bracketed
from .checks import described, in_layer
from .expressions import Expr, Value, made
from .forms import Bracketed, Ref
from .layers import LayerOf
from .mistakes import mistake
from .ops import Called, actuals
from .source import Site, user_frame
from .trace import Using

if TYPE_CHECKING:
    from .trace import Trace


class Instance:
    """What `use`, `repeat` and `each` make: calls share its parameters.

    Attributes:
        name: the name that was given; None where the variable names it.
        suggested: that variable.
        mode: one, repeat or each.
        along: the dim that copies run along.
        key: its name in the syntax tree, once that is written.
    """

    def __init__(
        self,
        trace: Trace,
        name: str | None,
        mode: str,
        along: Ref | None,
        layer: LayerOf,
        variant: Ref,
        keywords: tuple[tuple[str, Ref, Site], ...],
        site: Site,
    ):
        self._trace = trace
        self.name, self.mode, self.along, self.layer = name, mode, along, layer
        self.variant, self.keywords, self.site = variant, keywords, site
        self.suggested: str | None = None
        self.key = ""

    def __getitem__(self, key: Any) -> _AtCall:
        return _AtCall(self, bracketed(key, Site.here()))

    def __call__(self, *args: Any, **kwargs: Any) -> Value:
        return call_instance(self, None, args, kwargs)

    def __getattr__(self, name: str) -> Path:
        if name.startswith("__"):
            raise AttributeError(name)
        return Path(self, (name,))

    def __iter__(self) -> Any:
        raise mistake(
            "not-iterable",
            "an instance is called; its copies are not gone through one by one",
            Site.here(),
            help="blocks = [nw.use(Block) for _ in range(3)] makes a list of instances",
        )

    def __repr__(self) -> str:
        return f"<{self.layer.name} {self.name or self.suggested or ''}>"


class _AtCall:
    """`tower[S: T]`, to be called."""

    def __init__(self, instance: Instance, items: tuple[Bracketed, ...]):
        self._instance, self._items = instance, items

    def __call__(self, *args: Any, **kwargs: Any) -> Value:
        return call_instance(self._instance, self._items, args, kwargs)


class Path(Expr):
    """`encoder.embed`: a parameter of an instance, or an instance inside of it."""

    def __init__(self, instance: Instance, names: tuple[str, ...]):
        self.instance, self.names = instance, names
        self.trace = instance._trace

    def __getattr__(self, name: str) -> Path:
        if name.startswith("_"):
            raise AttributeError(name)
        return Path(self.instance, (*self.names, name))

    def __call__(self, *args: Any, **kwargs: Any) -> Value:
        return call_instance(self, None, args, kwargs)


def call_instance(
    callee: Instance | Path, items: tuple[Bracketed, ...] | None, args: tuple, kwargs: dict
) -> Value:
    """The value of a call of an instance."""
    frame = user_frame()
    trace = in_layer("a call of an instance", frame)
    site = Site.of(frame)
    owner = callee.instance if isinstance(callee, Path) else callee
    if owner._trace is not trace:
        raise mistake(
            "foreign-value",
            f"this instance belongs to {owner._trace.title}, and {trace.title} cannot see it",
            site,
            help="make it where it is called, by nw.use",
        )
    arguments, keywords = actuals(args, kwargs, site, trace)
    form = Called(Ref(callee, site.callee()), items, arguments, keywords, owner.layer.name, True)
    return made(trace, form, site)


def make(
    name_and_layer: tuple, options: tuple, keywords: dict, mode: str, along: Ref | None
) -> Instance:
    """An instance, recorded in the layer that is running."""
    frame = user_frame()
    what = {"one": "nw.use", "repeat": "nw.repeat", "each": "nw.each"}[mode]
    trace = in_layer(what, frame)
    site = Site.of(frame)
    name = None
    given = [*name_and_layer]
    if given and isinstance(given[0], str):
        name = given.pop(0)
        if not name.isidentifier() or not name.isascii() or name in KEYWORDS:
            raise mistake("wrong-name", f"an instance cannot be called {name!r}", site)
    if not given or not isinstance(given[0], LayerOf):
        shown = described(given[0]) if given else "nothing"
        raise mistake(
            "not-a-layer", f"{what} needs a layer; this is {shown}", site, help=f"{what}(Block)"
        )
    layer, *more = given
    args = (*more, *options)
    variant, pairs = layer.base.variant(args, keywords, site, trace)
    places = site.arguments(len(name_and_layer) + len(options))
    at = places[1 if name is not None else 0]
    if isinstance(at.node, ast.Subscript):
        at = at.part(at.node.value)
    instance = Instance(trace, name, mode, along, layer, Ref(variant, at), pairs, site)
    trace.block.add(Using(instance))
    trace.instances.append(instance)
    return instance


class Copies:
    """`repeat` and `each`, perhaps with the dim that the copies run along."""

    def __init__(self, mode: str, along: Ref | None = None):
        self.mode, self.along = mode, along

    def __getitem__(self, key: Any) -> Copies:
        site = Site.here()
        (item, *rest) = bracketed(key, site)
        if rest or item.right is not None or not hasattr(item.left.value, "size"):
            raise mistake("wrong-brackets", f"nw.{self.mode} runs along one dim", site)
        return Copies(self.mode, item.left)

    def __call__(self, *args: Any, **kwargs: Any) -> Instance:
        if self.along is None:
            raise mistake(
                "wrong-brackets",
                f"nw.{self.mode} needs the dim that its copies run along",
                Site.here(),
                help=f"nw.{self.mode}[L](Block)",
            )
        return make(args, (), kwargs, self.mode, self.along)


def use(*args: Any, **kwargs: Any) -> Instance:
    """An instance of a layer: `attn = nw.use(Attention)`, `c = nw.use(Conv[C >> Co], stride=2)`.

    Args:
        args: a name, if the variable's is not meant; the layer, perhaps with dims; its options in
            order.
        kwargs: its options by name.

    Raises:
        InputError: it does not stand in a layer, or names none.
    """
    return make(args, (), kwargs, "one", None)


repeat, each = Copies("repeat"), Copies("each")
