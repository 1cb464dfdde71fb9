"""Layers and their instances."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

from ...ir.diagnostics import Place, nearest
from .. import tree
from .brackets import bracketed
from .checks import checked
from .expressions import CURRENT, Dim, Expr, Value, made
from .forms import Bracketed, Ref
from .mistakes import mistake, outside
from .ops import Called, Op, actuals
from .signature import MISSING, Signature
from .source import Site, user_frame

if TYPE_CHECKING:
    from ..names import SourceFile
    from .trace import Trace

_NUMBERS = itertools.count()


class LayerOf:
    """A layer that can be used, called, and given dims between brackets."""

    name: str
    kind: str
    items: tuple[Bracketed, ...] | None = None

    def __getitem__(self, key: Any) -> LayerOf:
        site = Site.here()
        if self.items is not None:
            raise mistake("wrong-brackets", f"{self.name} has its brackets already", site)
        return WithDims(self.base, bracketed(key, site))

    def __call__(self, *args: Any, **kwargs: Any) -> Value:
        frame = user_frame()
        site = Site.of(frame)
        base, trace = self.base, CURRENT.get()
        mine = {k: v for k, v in kwargs.items() if base.takes(k)}
        rest = {k: v for k, v in kwargs.items() if k not in mine}
        if trace is not None:
            trace.event(frame)
        elif rest or not all(a is None or isinstance(a, _OPTIONS) for a in args):
            raise outside(f"a call of {self.name}", site)
        options: tuple = ()
        if args and not any(isinstance(a, Expr) for a in (*args, *rest.values())):
            args, options = (), args  # no value at all: a layer with options, to be an option
        variant, keywords = base.variant(options, mine, site, trace)
        arguments, values = actuals(args, rest, site, trace)
        callee = Ref(variant, site.callee())
        holds = not isinstance(unwrapped(base), Op)
        form = Called(callee, self.items, arguments, (*keywords, *values), self.name, holds)
        return made(trace, form, site)

    @property
    def base(self) -> LayerOf:
        """The layer without dims."""
        return self

    def options(self) -> tuple[str, ...]:
        """The names of the arguments that are given at a use."""
        raise NotImplementedError

    def takes(self, name: str) -> bool:
        """Whether a keyword of a call is an option, and no value."""
        return name in self.options()

    def variant(
        self, args: tuple, kwargs: dict[str, Any], site: Site, trace: Trace | None
    ) -> tuple[Variant, tuple[tuple[str, Ref, Site], ...]]:
        """The layer with options, and those that stay options in the syntax tree."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return self.name


@dataclass(frozen=True, eq=False)
class Variant:
    """A layer with what its body sees of its options.

    Attributes:
        baked: options that are Python's own; the body is run with them.
        chosen: ops and layers that are given for options; the body gets a `Chosen` for each.
        given: the options that the use gives.
        key: tells it from others of the layer.
    """

    layer: LayerOf
    baked: Mapping[str, Any]
    chosen: Mapping[str, Any]
    key: tuple
    given: frozenset[str] = frozenset()


class WithDims(LayerOf):
    """`Conv[C >> Co]`."""

    def __init__(self, layer: LayerOf, items: tuple[Bracketed, ...]):
        self.layer, self.items = layer, items
        self.name, self.kind = layer.name, layer.kind

    @property
    def base(self) -> LayerOf:
        return self.layer


class FileLayer(LayerOf):
    """A layer of a model file."""

    def __init__(self, file: SourceFile, layer: tree.Layer, texts: Mapping[str, str]):
        self.file, self.layer, self.texts = file, layer, texts
        self.name, self.kind = layer.name, layer.kind

    def options(self) -> tuple[str, ...]:
        return tuple(a.name for a in self.layer.arguments if a.type is None)

    def variant(self, args, kwargs, site, trace):
        names = self.options()
        keywords = []
        for name, value in (*zip(names, args, strict=False), *kwargs.items()):
            at = site.keyword(name)
            keywords.append((name, Ref(checked(value, at, trace), at), site.keyword(name, True)))
        if len(args) > len(names):
            raise _too_many(self, names, site)
        return Variant(self, {}, {}, ()), tuple(keywords)


class Chosen(LayerOf):
    """An option that is an op or a layer, as the body of the layer sees it."""

    kind = "layer"

    def __init__(self, name: str, given: Any):
        self.name, self.given = name, given
        while isinstance(given, Chosen):
            given = given.given
        items = given.items if isinstance(given, WithDims) else None
        if isinstance(given, Value) and isinstance(given.form, Called):
            items = given.form.items
        sized = all(i.value is not None and isinstance(i.value.value, int) for i in items or ())
        # Sizes come along with the option, but not where options are given anew, as below.
        self.items = items if sized and isinstance(unwrapped(self), PythonLayer) else None

    def __getitem__(self, key: Any) -> LayerOf:
        own = bracketed(key, Site.here())
        given = {i.left.value for i in own}
        more = [i for i in self.items or () if i.left.value not in given]
        return WithDims(self, (*more, *own))

    def takes(self, name: str) -> bool:
        base = unwrapped(self)
        return not isinstance(base, LayerOf) or base.takes(name)

    def variant(self, args, kwargs, site, trace):
        base = unwrapped(self)
        if isinstance(base, PythonLayer) and (args or kwargs):
            # Its options are Python's own, so they are given where it is used, with those before.
            before, given = {}, self.given
            while isinstance(given, Chosen):
                given = given.given
            if isinstance(given, Value) and isinstance(given.form, Called):
                before = given.form.callee.value.baked
            return base.variant(args, {**before, **kwargs}, site, trace)
        keywords = [
            (name, Ref(checked(value, at, trace), at), site.keyword(name, True))
            for name, value in kwargs.items()
            for at in [site.keyword(name)]
        ]
        options = base.options() if isinstance(base, LayerOf) else ()
        for name, value in zip(options, args, strict=False):
            keywords.append((name, Ref(checked(value, site, trace), site), site))
        if len(args) > len(options):
            raise _too_many(self, options, site)
        return Variant(self, {}, {}, ()), tuple(keywords)

    def __eq__(self, other: object) -> bool:
        one, two = unwrapped(self), unwrapped(other)
        if isinstance(one, Op) and isinstance(two, Op):
            return one.name == two.name
        return one is two

    def __hash__(self) -> int:
        return hash(self.name)


_OPTIONS = bool | int | float | str | tuple | Op | LayerOf


def unwrapped(given: Any) -> Any:
    """The op or layer that an option is in the end, without options and dims of its own."""
    while True:
        if isinstance(given, Chosen):
            given = given.given
        elif isinstance(given, Value) and isinstance(given.form, Called):
            given = given.form.callee.value
        elif isinstance(given, Variant | WithDims):
            given = given.layer
        else:
            return given


def _choice(given: Any) -> bool:
    """Whether an option is an op or a layer, perhaps with options of its own."""
    if isinstance(given, Op | LayerOf):
        return True
    form = given.form if isinstance(given, Value) else None
    return (
        isinstance(form, Called)
        and not any(isinstance(r.value, Expr) for r in form.arguments)
        and isinstance(form.callee.value, Op | Variant)
        and _may_be_given(form.callee.value)
    )


def _may_be_given(callee: Any) -> bool:
    from ...ir.registry import lookup
    from ..options import may_be_given

    return not isinstance(callee, Op) or may_be_given(lookup(callee.name))


class PythonLayer(LayerOf):
    """A decorated function.

    Attributes:
        function: the function.
        dims: what stands between the brackets of its decorator.
        arguments, results, site: see `Signature`.
        number: counts layers in the order in which they are declared.
        scope: dims that are known where it is declared.
    """

    def __init__(
        self, kind: str, function: Callable, dims: tuple[Bracketed, ...], frame: FrameType
    ):
        self.kind, self.function, self.dims = kind, function, dims
        self.name = function.__name__
        self.number = next(_NUMBERS)
        self.signature = Signature(kind, function, frame)
        self.arguments, self.results = self.signature.arguments, self.signature.results
        self.site = self.signature.site
        self.scope = [one for one in frame.f_locals.values() if isinstance(one, Dim)]
        self.__doc__ = function.__doc__
        self.__name__ = self.__qualname__ = self.name
        self.__module__ = function.__module__

    # Uses.

    def options(self) -> tuple[str, ...]:
        return tuple(name for name, type_, _, _ in self.arguments if type_ is None)

    def variant(self, args, kwargs, site, trace):
        names = self.options()
        if len(args) > len(names):
            raise _too_many(self, names, site)
        given = dict(zip(names, args, strict=False))
        for name, value in kwargs.items():
            if name in given:
                raise mistake("given-twice", f"{name} is given twice", site.keyword(name, True))
            given[name] = value
        keywords = []
        default = self.defaults()
        baked = {n: v for n, v in default.baked.items() if n not in given}
        chosen = {n: v for n, v in default.chosen.items() if n not in given}
        for name, value in given.items():
            at = site.keyword(name)
            if name not in names:
                raise self._no_option(name, site.keyword(name, True))
            if isinstance(value, Expr | Op | LayerOf):
                pair = (name, Ref(checked(value, at, trace), at), site.keyword(name, True))
                keywords.append(pair)
                if _choice(value):
                    chosen[name] = value
            else:
                baked[name] = value
        for name, type_, default, at in self.arguments:
            if type_ is None and default is MISSING and name not in given:
                raise mistake(
                    "option-not-given",
                    f"{self.name} needs the option {name}",
                    site,
                    places=(Place(at.span, "needed here"),),
                    help=f"nw.use({self.name}, {name}=…)",
                )
        return self._with(baked, chosen, given), tuple(keywords)

    def _no_option(self, name: str, site: Site) -> Exception:
        if any(name == argument for argument, _, _, _ in self.arguments):
            return mistake(
                "value-at-use",
                f"{name} is a value of {self.name}: it is given at the call, not at the use",
                site,
                places=(Place(self.site.span, "declared here"),),
                facts=("an argument with a type is a value, one without is an option",),
            )
        names = self.options()
        close = nearest(name, names)
        return mistake(
            "unknown-option",
            f"{self.name} has no option {name}",
            site,
            places=(Place(self.site.span, "declared here"),),
            facts=(f"its options are {', '.join(names)}" if names else "it has no options",),
            help=f"did you mean {close[0]}?" if close else "",
        )

    def _with(
        self, baked: Mapping[str, Any], chosen: Mapping[str, Any], given: Mapping[str, Any]
    ) -> Variant:
        key = tuple(sorted((name, _key(value)) for name, value in {**baked, **chosen}.items()))
        return Variant(self, baked, chosen, key, frozenset(given))

    def defaults(self) -> Variant:
        """The variant for options that are not given."""
        known = {
            name: default
            for name, type_, default, _ in self.arguments
            if type_ is None and default is not MISSING
        }
        chosen = {name: value for name, value in known.items() if _choice(value)}
        plain = {n: v for n, v in known.items() if n not in chosen and not isinstance(v, Expr)}
        return self._with(plain, chosen, {})


def _key(value: Any) -> str:
    """What tells an option from another of the same value: 1, 1.0 and True are three."""
    if value is None or isinstance(value, bool | int | float | str):
        return f"{type(value).__name__} {value!r}"
    if isinstance(value, tuple):
        return f"({', '.join(map(_key, value))})"
    if isinstance(value, Op) and value.items is None:
        return f"op {value.name}"
    return f"object {id(value)}"


def _too_many(layer: LayerOf, names: tuple[str, ...], site: Site) -> Exception:
    many = "one option" if len(names) == 1 else f"{len(names)} options" if names else "no options"
    return mistake(
        "too-many-arguments",
        f"{layer.name} takes {many} at its use",
        site,
        facts=("values are given at the call of the instance",),
    )


class Kind:
    """The decorators `layer`, `model` and `loss`, perhaps with brackets."""

    def __init__(self, kind: str, dims: tuple[Bracketed, ...] = ()):
        self.kind, self.dims = kind, dims

    def __getitem__(self, key: Any) -> Kind:
        site = Site.here()
        dims = bracketed(key, site)
        for item in dims:
            for side in (item.left, item.right):
                if side is not None and not hasattr(side.value, "size"):
                    raise mistake(
                        "header-dim",
                        "between the brackets of a layer stand the names of its dimensions",
                        side.site,
                        facts=("they look like this: D, C >> Co, Ky: 3",),
                    )
        return Kind(self.kind, dims)

    def __call__(self, function: Callable) -> PythonLayer:
        frame = user_frame()
        site = Site.of(frame)
        if not inspect.isfunction(function):
            raise mistake("wrong-decorator", f"@nw.{self.kind} stands before a function", site)
        return PythonLayer(self.kind, function, self.dims, frame)


layer, model, loss = Kind("layer"), Kind("model"), Kind("loss")
