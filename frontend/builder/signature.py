"""The signature of a decorated function: what a layer takes and gives, and where that stands."""

from __future__ import annotations

import ast
import inspect
from collections import ChainMap
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

from ..lexer import KEYWORDS
from .mistakes import mistake
from .source import Site, source
from .types import ArrayType

MISSING = inspect.Parameter.empty


class Signature:
    """What a layer takes and gives.

    Attributes:
        arguments: name, type (None for an option), default (`MISSING` if there is none) and place
            of each.
        results: name (None if it has none), type and place of each.
        site: the header.
    """

    def __init__(self, kind: str, function: Callable, frame: FrameType):
        self._kind, self._function = kind, function
        self._source = source(function.__code__.co_filename)
        self._node = self._definition()
        self.site = Site(self._source, self._source.line(function.__code__.co_firstlineno))
        if self._node is not None:
            self.site = Site(self._source, self._header(self._node), self._node)
        self.arguments: list[tuple[str, ArrayType | None, Any, Site]] = []
        self.results: list[tuple[str | None, ArrayType, Site]] = []
        self._signature(frame)

    def _definition(self) -> ast.FunctionDef | None:
        code = self._function.__code__
        for node in self._source.functions:
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            if node.name == code.co_name and code.co_firstlineno in (first, node.lineno):
                return node
        return None

    def _header(self, node: ast.FunctionDef):
        last: Any = node.returns or (node.args.args[-1] if node.args.args else None)
        start = self._source.columns(node.lineno, node.col_offset, node.lineno, node.col_offset + 4)
        if last is None:
            return self.name_span(node)
        return start.to(self._source.span(last))

    def name_span(self, node: ast.FunctionDef | None = None):
        """The place of the function's name."""
        node = node or self._node
        if node is None:
            return self.site.span
        column = node.col_offset + 4
        return self._source.columns(node.lineno, column, node.lineno, column + len(node.name))

    def returned(self) -> Site:
        """The last `return` of the function."""
        found = [n for n in ast.walk(self._node or ast.Pass()) if isinstance(n, ast.Return)]
        return self.site.part(found[-1] if found else None)

    def _signature(self, frame: FrameType) -> None:
        nodes = {a.arg: a for a in self._argument_nodes()}
        for name, parameter in inspect.signature(self._function).parameters.items():
            node = nodes.get(name)
            site = self.site.part(node)
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise mistake("wrong-argument", "a layer's arguments are listed one by one", site)
            if name in KEYWORDS or not name.isascii():
                raise mistake("wrong-argument", f"an argument cannot be called {name}", site)
            at = self.site.part(node.annotation if node is not None else None)
            type_ = self._type(parameter.annotation, frame, at)
            self.arguments.append((name, type_, parameter.default, site))
        returns = self.site.part(self._node.returns if self._node is not None else None)
        given = self._evaluated(self._function.__annotations__.get("return"), frame, returns)
        if given is None:
            if self._kind != "loss":
                raise mistake(
                    "missing-result",
                    f"the {self._kind} `{self._function.__name__}` does not say what it gives",
                    self.name_span(),
                    help=f"def {self._function.__name__}(…) -> nw.f[..., D]:",
                )
            return
        self._results(given, returns)

    def _argument_nodes(self) -> list[ast.arg]:
        if self._node is None:
            return []
        a = self._node.args
        return [*a.posonlyargs, *a.args, *a.kwonlyargs]

    def _results(self, given: Any, site: Site) -> None:
        pairs = _named(given, site)
        for name, one, place in pairs:
            if not isinstance(one, ArrayType):
                raise mistake(
                    "wrong-result",
                    f"{self._function.__name__} gives arrays; this is a {type(one).__name__}",
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
        closure = {}
        for name, cell in zip(
            self._function.__code__.co_freevars, self._function.__closure__ or (), strict=True
        ):
            with suppress(ValueError):  # a name that is bound later, such as the layer's own
                closure[name] = cell.cell_contents
        scopes = []
        at: FrameType | None = frame
        while at is not None and at.f_code.co_filename == self._function.__code__.co_filename:
            scopes.append(dict(at.f_locals))
            at = at.f_back
        names = ChainMap(closure, *scopes)
        try:
            return eval(given, self._function.__globals__, names)
        except Exception as error:
            raise mistake(
                "wrong-annotation",
                f"this annotation cannot be read: {error}",
                site,
                help="leave out `from __future__ import annotations`, "
                "where dims are not those of the module",
            ) from None


def _named(given: Any, site: Site) -> list[tuple[str | None, Any, Site]]:
    """Results with their names, if they have some: a type, a tuple, a dict, dicts in a tuple."""
    node = site.node
    if isinstance(given, dict):
        values = list(node.values) if isinstance(node, ast.Dict) else [None] * len(given)
        return [
            (name, one, site.part(at))
            for (name, one), at in zip(given.items(), values, strict=True)
        ]
    if isinstance(given, tuple | list):
        parts: list[Any] = [None] * len(given)
        if isinstance(node, ast.Tuple | ast.List):
            parts = list(node.elts)
        inner = zip(given, parts, strict=True)
        return [found for one, at in inner for found in _named(one, site.part(at))]
    return [(None, given, site)]
