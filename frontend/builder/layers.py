"""Layers and their instances."""

from __future__ import annotations

import ast
import inspect
import itertools
from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

from ...ir.diagnostics import Place, nearest
from .. import tree
from ..lexer import KEYWORDS
from .brackets import bracketed
from .checks import checked
from .expressions import CURRENT, Dim, Expr, Value, made
from .forms import Bracketed, Ref
from .mistakes import mistake, outside
from .ops import Called, Op, actuals
from .source import Site, source, user_frame
from .types import ArrayType

if TYPE_CHECKING:
    from ..names import SourceFile
    from .trace import Trace

_NUMBERS = itertools.count()
MISSING = inspect.Parameter.empty


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
        elif args or rest:
            raise outside(f"a call of {self.name}", site)
        variant, keywords = base.variant((), mine, site, trace)
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
        key: tells it from others of the layer.
    """

    layer: LayerOf
    baked: Mapping[str, Any]
    chosen: Mapping[str, Any]
    key: tuple


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
        items: what stands between its brackets.
        arguments: name, type (None for an option) and default (`MISSING` if there is none) of each.
        results: name (None if it has none) and type of each.
        number: counts layers in the order in which they are declared.
        scope: dims that are known where it is declared.
    """

    def __init__(
        self,
        kind: str,
        function: Callable,
        dims: tuple[Bracketed, ...],
        frame: FrameType,
        decorated: Site,
    ):
        self.kind, self.function, self.dims = kind, function, dims
        self.name = function.__name__
        self.number = next(_NUMBERS)
        self.source = source(function.__code__.co_filename)
        self.node = self._definition()
        line = function.__code__.co_firstlineno
        self.site = Site(self.source, self.source.line(line))
        if self.node is not None:
            self.site = Site(self.source, self._header(self.node), self.node)
        self.scope = [one for one in frame.f_locals.values() if isinstance(one, Dim)]
        self.arguments: list[tuple[str, ArrayType | None, Any, Site]] = []
        self.results: list[tuple[str | None, ArrayType, Site]] = []
        self._signature(frame)
        self.__doc__ = function.__doc__
        self.__name__ = self.__qualname__ = self.name
        self.__module__ = function.__module__

    def _definition(self) -> ast.FunctionDef | None:
        code = self.function.__code__
        for node in self.source.functions:
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            if node.name == code.co_name and code.co_firstlineno in (first, node.lineno):
                return node
        return None

    def _header(self, node: ast.FunctionDef):
        last: Any = node.returns or (node.args.args[-1] if node.args.args else None)
        start = self.source.columns(node.lineno, node.col_offset, node.lineno, node.col_offset + 4)
        if last is None:
            return self.name_span(node)
        return start.to(self.source.span(last))

    def name_span(self, node: ast.FunctionDef | None = None):
        """The place of the function's name."""
        node = node or self.node
        if node is None:
            return self.site.span
        column = node.col_offset + 4
        return self.source.columns(node.lineno, column, node.lineno, column + len(node.name))

    # The signature.

    def _signature(self, frame: FrameType) -> None:
        nodes = {a.arg: a for a in self._argument_nodes()}
        for name, parameter in inspect.signature(self.function).parameters.items():
            node = nodes.get(name)
            site = self.site.part(node)
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise mistake("wrong-argument", "a layer's arguments are listed one by one", site)
            if name in KEYWORDS or not name.isascii():
                raise mistake("wrong-argument", f"an argument cannot be called {name}", site)
            at = self.site.part(node.annotation if node is not None else None)
            type_ = self._type(parameter.annotation, frame, at)
            self.arguments.append((name, type_, parameter.default, site))
        returns = self.site.part(self.node.returns if self.node is not None else None)
        given = self._evaluated(self.function.__annotations__.get("return"), frame, returns)
        if given is None:
            if self.kind != "loss":
                raise mistake(
                    "missing-result",
                    f"the {self.kind} `{self.name}` does not say what it gives",
                    self.name_span(),
                    help=f"def {self.name}(…) -> nw.f[..., D]:",
                )
            return
        self._results(given, returns)

    def _argument_nodes(self) -> list[ast.arg]:
        if self.node is None:
            return []
        a = self.node.args
        return [*a.posonlyargs, *a.args, *a.kwonlyargs]

    def _results(self, given: Any, site: Site) -> None:
        node = site.node
        nodes: list[Any]
        if isinstance(given, dict):
            nodes = list(node.values) if isinstance(node, ast.Dict) else [None] * len(given)
            pairs = list(given.items())
        elif isinstance(given, tuple | list):
            nodes = [None] * len(given)
            if isinstance(node, ast.Tuple | ast.List):
                nodes = list(node.elts)
            pairs = [(None, one) for one in given]
        else:
            nodes, pairs = [node], [(None, given)]
        for (name, one), at in zip(pairs, nodes, strict=True):
            place = site.part(at)
            if not isinstance(one, ArrayType):
                raise mistake(
                    "wrong-result",
                    f"{self.name} gives arrays; this is a {type(one).__name__}",
                    place,
                    help='-> nw.f[..., D], or several: -> {"y": nw.f[..., D], "balance": nw.f}',
                )
            self.results.append((name, one, place))

    def _type(self, given: Any, frame: FrameType, site: Site) -> ArrayType | None:
        if given is MISSING:
            return None
        found = self._evaluated(given, frame, site)
        if isinstance(found, ArrayType):
            return found
        # Annotated like any Python argument: `eps: float = 1e-6` is an option.
        return None

    def _evaluated(self, given: Any, frame: FrameType, site: Site) -> Any:
        """An annotation, also where `from __future__ import annotations` made it a string."""
        if not isinstance(given, str):
            return given
        closure = inspect.getclosurevars(self.function).nonlocals if self._closes() else {}
        scopes = []
        at: FrameType | None = frame
        while at is not None and at.f_code.co_filename == self.function.__code__.co_filename:
            scopes.append(dict(at.f_locals))
            at = at.f_back
        names = ChainMap(dict(closure), *scopes)
        try:
            return eval(given, self.function.__globals__, names)
        except Exception as error:
            raise mistake(
                "wrong-annotation",
                f"this annotation cannot be read: {error}",
                site,
                help="leave out `from __future__ import annotations`, "
                "where dims are not those of the module",
            ) from None

    def _closes(self) -> bool:
        return bool(self.function.__code__.co_freevars)

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
        return self._with(baked, chosen), tuple(keywords)

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

    def _with(self, baked: Mapping[str, Any], chosen: Mapping[str, Any]) -> Variant:
        key = tuple(sorted((name, _key(value)) for name, value in {**baked, **chosen}.items()))
        return Variant(self, baked, chosen, key)

    def defaults(self) -> Variant:
        """The variant for options that are not given."""
        known = {
            name: default
            for name, type_, default, _ in self.arguments
            if type_ is None and default is not MISSING
        }
        chosen = {name: value for name, value in known.items() if _choice(value)}
        plain = {n: v for n, v in known.items() if n not in chosen and not isinstance(v, Expr)}
        return self._with(plain, chosen)


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
        return PythonLayer(self.kind, function, self.dims, frame, site)


layer, model, loss = Kind("layer"), Kind("model"), Kind("loss")
