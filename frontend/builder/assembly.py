"""From a loss or model to files: every layer that it uses, run and written.

The layers of a Python file make one file of the syntax tree, with a glossary of the dims and
constants that they name; those of another Python file make another one, which is imported. A layer
is run once for each set of options that are Python's own: inside of it they are plain numbers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...ir.diagnostics import Diagnostics, InputError, Place, Span
from .. import tree
from ..names import SourceFile
from . import source as sources
from .expressions import Const, Dim, Expr, Fixed, Value
from .forms import Ref
from .layers import Chosen, FileLayer, LayerOf, PythonLayer, Variant
from .mistakes import mistake
from .ops import ops
from .signature import MISSING
from .source import Site
from .statements import _refs
from .trace import Returning, Trace
from .writer import Writer

MOST_LAYERS = 1000


class Apart(Exception):
    """A layer means another thing by a name than the layers that were written before it."""

    def __init__(self, layer: PythonLayer):
        super().__init__(layer)
        self.layer = layer


class PythonFile:
    """The layers of one Python file, and the names that they use.

    Attributes:
        own: the one layer of the file, where its names mean other things than those of the rest.
    """

    def __init__(self, assembly: Assembly, filename: str, own: PythonLayer | None):
        self.assembly, self.own = assembly, own
        self.source = sources.source(filename)
        self.path = Path(filename)
        self.keys: dict[tuple, tuple[str, Variant]] = {}
        self.layers: dict[str, tuple[int, tree.Layer | None]] = {}
        self.dims: dict[str, Dim] = {}
        self.consts: dict[str, Const] = {}
        self.imports: dict[str, PythonFile | SourceFile] = {}
        whole = Span(self.source.name, 1, 1, max(len(self.source.rows), 1), 1)
        self.made = SourceFile(self.source.name, self.path, whole)

    def layer(self, given: LayerOf | Variant, span: Span) -> tree.Name | tree.Member:
        """The name of a layer in this file, or through an import."""
        if isinstance(given, PythonLayer):
            given = given.defaults()
        layer = given.layer if isinstance(given, Variant) else given
        if isinstance(layer, Chosen):
            return tree.Name(layer.name, span=span)
        if isinstance(layer, FileLayer):
            self.assembly.texts(layer)
            alias = self._import(self.assembly.copy(layer.file), Path(layer.file.name).stem)
            return tree.Member(tree.Name(alias, span=span), layer.name, span=span)
        assert isinstance(layer, PythonLayer) and isinstance(given, Variant)
        home = self.assembly.file(layer)
        key = home.key(given)
        if home is self:
            return tree.Global(key, span=span)
        return tree.Member(tree.Name(self._import(home, home.path.stem), span=span), key, span=span)

    def _import(self, file: PythonFile | SourceFile, stem: str) -> str:
        alias, number = stem, 1
        while alias in self.imports and self.imports[alias] is not file:
            number += 1
            alias = f"{stem}_{number}"
        self.imports[alias] = file
        return alias

    def key(self, variant: Variant) -> str:
        """The name of a layer with its options; it is run when its turn comes."""
        layer = variant.layer
        assert isinstance(layer, PythonLayer)
        known = self.keys.get((layer, variant.key))
        if known is not None:
            return known[0]
        found, number = layer.name, 1
        while found in self.layers or found in self.assembly.reserved:
            number += 1
            found = f"{layer.name}_{number}"
        self.keys[layer, variant.key] = (found, variant)
        self.layers[found] = (layer.number, None)
        self.assembly.queue.append((self, found, variant))
        return found

    def note(self, symbol: Dim | Const, trace: Trace | None) -> None:
        """Put a dim or constant into the glossary; a layer's own dims stay in the layer."""
        if trace is not None and isinstance(symbol, Dim) and trace.declares(symbol):
            return
        table: dict[str, Any] = self.dims if isinstance(symbol, Dim) else self.consts
        other: dict[str, Any] = self.consts if isinstance(symbol, Dim) else self.dims
        known = table.get(symbol.name, other.get(symbol.name))
        if known is symbol:
            return
        if known is None or (isinstance(known, Dim) and known.size is None):
            table[symbol.name] = symbol
            given = symbol.size if isinstance(symbol, Dim) else symbol.value
            for inner in _symbols(given):
                self.note(inner, None)
            return
        if isinstance(symbol, Dim) and (symbol.size is None or _same(symbol.size, known.size)):
            return
        if trace is not None and trace.layer not in (None, self.own, self.assembly.entry):
            raise Apart(trace.layer)
        raise mistake(
            "declared-twice",
            f"two different things are called {symbol.name} here",
            symbol.site,
            places=(Place(known.site.span, "first declared here"),),
            help="rename one of them",
        )

    def finish(self, free: set[str], overrides: Mapping[str, Any], main: PythonFile) -> None:
        """Fill the file: the glossary, the layers in order, the imports."""
        for dim in self.assembly.known[self].values():
            if dim.name not in {**self.dims, **self.consts}:
                self.note(dim, None)  # layers of model files ask for dims by name
        made = self.made
        writer = Writer(self, Trace(None), [])
        for name, dim in self.dims.items():
            if dim.size is None and name not in free:
                continue
            size = None if dim.size is None else writer.size(Ref(dim.size, dim.site))
            if main.dims.get(name) is dim and isinstance(overrides.get(name), int):
                size = tree.Number(overrides[name], span=dim.site.span)
            made.dims[name] = tree.DimDecl(name, size, span=dim.site.span)
        for name, const in self.consts.items():
            value = writer.size(Ref(const.value, const.site))
            if main.consts.get(name) is const and isinstance(overrides.get(name), int | float):
                value = tree.Number(overrides[name], span=const.site.span)
            made.consts[name] = tree.ConstDecl(name, value, span=const.site.span)
        for key, (_, layer) in sorted(self.layers.items(), key=lambda item: item[1][0]):
            assert layer is not None
            made.layers[key] = layer
        for alias, file in self.imports.items():
            made.imports[alias] = file if isinstance(file, SourceFile) else file.made


class Assembly:
    """What one `load` runs and writes."""

    def __init__(self, diagnostics: Diagnostics, entry: PythonLayer, apart: frozenset[PythonLayer]):
        self.diagnostics, self.entry, self.apart = diagnostics, entry, apart
        self.files: dict[tuple[str, PythonLayer | None], PythonFile] = {}
        self.queue: list[tuple[PythonFile, str, Variant]] = []
        self.free: set[str] = set()
        self.reserved = {*ops(), "train"}
        self.known: dict[PythonFile, dict[str, Dim]] = defaultdict(dict)
        self._copies: dict[int, SourceFile] = {}

    def file(self, layer: PythonLayer) -> PythonFile:
        """The file of a layer."""
        name, own = layer.function.__code__.co_filename, layer if layer in self.apart else None
        if (name, own) not in self.files:
            self.files[name, own] = PythonFile(self, name, own)
        return self.files[name, own]

    def copy(self, file: SourceFile) -> SourceFile:
        """A model file, as nobody has looked at it yet."""
        if id(file) not in self._copies:
            self._copies[id(file)] = replace(file, reached=set(), cyclic=set())
        return self._copies[id(file)]

    def texts(self, layer: FileLayer) -> None:
        """Let messages quote the file of a layer."""
        for name, text in layer.texts.items():
            self.diagnostics.sources.setdefault(name, text)

    def run(self) -> None:
        """Run and write the layers that are asked for, until there are no more."""
        count = 0
        while self.queue:
            file, key, variant = self.queue.pop(0)
            count += 1
            if count > MOST_LAYERS:
                assert isinstance(variant.layer, PythonLayer)
                raise mistake(
                    "too-many-layers",
                    f"this model has more than {MOST_LAYERS:,} layers, each with other options",
                    variant.layer.site,
                    help="a layer that uses itself must come to an end",
                )
            number, _ = file.layers[key]
            file.layers[key] = (number, self._written(file, variant))

    def _written(self, file: PythonFile, variant: Variant) -> tree.Layer:
        layer = variant.layer
        assert isinstance(layer, PythonLayer)
        trace = Trace(layer)
        values: list[Value] = []
        given: dict[str, Any] = {}
        for name, type_, default, site in layer.arguments:
            if type_ is not None:
                values.append(Value(trace, None, site, name))
                given[name] = values[-1]
            elif name in variant.baked:
                given[name] = variant.baked[name]
            elif name in variant.chosen:
                given[name] = Chosen(name, variant.chosen[name])
            elif default is MISSING and name not in variant.given:
                return self._without_body(file, variant)
            else:
                given[name] = Fixed(trace, "option", name, site)
        with trace.running():
            result, at = trace.call(layer.function, **given)
            if result is not None:
                at = at or layer.signature.returned()
                trace.block.add(Returning(_refs(trace, _in_order(layer, result, at), at), at))
        return self._layer(file, variant, Writer(file, trace, values))

    def _without_body(self, file: PythonFile, variant: Variant) -> tree.Layer:
        """A layer that lacks an option: only a use that gives it can say what is in it."""
        layer = variant.layer
        assert isinstance(layer, PythonLayer)
        return self._layer(file, variant, Writer(file, Trace(layer), []))

    def _layer(self, file: PythonFile, variant: Variant, writer: Writer) -> tree.Layer:
        layer = variant.layer
        assert isinstance(layer, PythonLayer)
        types = [t for _, t, _, _ in layer.arguments if t is not None]
        if layer.kind != "layer":
            self.free.update(d.name for t in types for d in t.dims if isinstance(d, Dim))
        for one in (*types, *(t for _, t, _ in layer.results)):
            for dim in one.dims:
                if isinstance(dim, Dim):
                    file.note(dim, writer.trace)
        body = writer.body()
        self.known[file] |= {
            d.name: d
            for d in (*layer.scope, *layer.function.__globals__.values())
            if isinstance(d, Dim) and d.size is not None
        }
        return tree.Layer(
            layer.kind,
            layer.name,
            layer.signature.name_span(),
            writer.items(layer.dims) or (),
            tuple(self._arguments(layer, variant, writer)),
            tuple(tree.Result(n, t.write(s), span=s.span) for n, t, s in layer.results),
            _cleaned(layer.function.__doc__),
            body,
            span=layer.site.span,
        )

    def _arguments(self, layer: PythonLayer, variant: Variant, writer: Writer):
        for name, type_, default, site in layer.arguments:
            if name in variant.baked:
                continue
            node = None if default is MISSING else writer.size(Ref(default, site))
            written = None if type_ is None else type_.write(site)
            yield tree.Argument(name, written, node, span=site.span)


def source_file(
    entry: PythonLayer, diagnostics: Diagnostics, overrides: Mapping[str, Any] | None = None
) -> tuple[SourceFile, str, frozenset[str]]:
    """The file of a loss or model that is written in Python, and the name of the entry in it.

    The third result are the dims that are declared without a size, and bound by no data.

    Args:
        entry: the decorated function.
        diagnostics: gets the texts that messages quote.
        overrides: values for dims and constants, by name.

    Raises:
        InputError: Python was used in a way that makes no model.
    """
    if not isinstance(entry, PythonLayer) or entry.kind == "layer":
        kind = "a layer" if isinstance(entry, PythonLayer) else f"a {type(entry).__name__}"
        raise mistake(
            "no-entry",
            f"a program is made of a loss or a model; this is {kind}",
            entry.site if isinstance(entry, PythonLayer) else None,
            help="decorate a function with nw.loss or nw.model, and hand over that",
        )
    sources.refresh()
    apart: frozenset[PythonLayer] = frozenset()
    while True:
        assembly = Assembly(diagnostics, entry, apart)
        try:
            main = assembly.file(entry)
            key = main.key(entry.defaults())
            assembly.run()
            for file in assembly.files.values():
                file.finish(assembly.free, overrides or {}, main)
            break
        except Apart as conflict:
            apart |= {conflict.layer}
        except InputError as error:
            raise InputError(error.diagnostics, {**sources.texts(), **error.sources}) from None
    diagnostics.sources.update(sources.texts())
    sizeless = (d.name for f in assembly.files.values() for d in f.dims.values() if d.size is None)
    return main.made, key, frozenset(sizeless) - assembly.free


def _in_order(layer: PythonLayer, result: Any, at: Site) -> Any:
    """Results in the order in which they are promised."""
    if not isinstance(result, dict):
        return result
    names = [name for name, _, _ in layer.results]
    if set(result) != set(names):
        raise mistake(
            "wrong-results",
            f"{layer.name} promises {', '.join(map(str, names))}; this has {', '.join(result)}",
            at,
        )
    return tuple(result[name] for name in names)


def _symbols(given: Any) -> list[Dim | Const]:
    """The dims and constants in an expression."""
    if isinstance(given, Dim | Const):
        return [given]
    if isinstance(given, Value) and given.form is not None:
        refs = (*given.form.refs, *given.form.sizes)
        return [symbol for ref in refs for symbol in _symbols(ref.value)]
    return []


def _same(one: Any, other: Any) -> bool:
    plain = not isinstance(one, Expr) and not isinstance(other, Expr)
    return plain and one == other


def _cleaned(doc: str | None) -> str:
    import inspect

    return inspect.cleandoc(doc) if doc else ""
