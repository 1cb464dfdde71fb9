"""From a file to a module: an entry, with every layer that it uses in its place."""

from __future__ import annotations

import itertools
from collections.abc import Collection
from contextlib import suppress
from typing import Any

from ..ir.core import Dim, Module, Type
from ..ir.diagnostics import Diagnostics, Span, nearest
from . import tree
from .body import Body
from .constants import Enough, LayerRef, Mistake
from .instances import BuiltVariant, InstanceBuilder
from .names import SourceFile
from .options import option_value
from .shared import DimParameter, Elaboration, Pending, dim_parameters
from .uses import declare
from .variants import elaborate_variant
from .wording import corrected, listed, spoken, written

NEEDS_SIZES = ("size-not-fixed", "if-on-value", "no-value", "not-a-constant")


def elaborate(
    file: SourceFile,
    diagnostics: Diagnostics,
    entry: str | None = None,
    overrides: dict[str, Any] | None = None,
) -> Module | None:
    """The module of an entry; None if there are mistakes, which are reported.

    Args:
        file: the file.
        diagnostics: takes what is wrong.
        entry: the name of a loss or model; by default the file's last loss, else its last model.
        overrides: values for dims of the glossary and constants, by name.
    """
    layer = _entry(file, diagnostics, entry)
    if layer is None:
        return None
    shared = Elaboration(diagnostics, file, dict(overrides or {}))
    before = len(diagnostics.errors)
    if not _check_overrides(shared, file):
        file.reached.update(file.layers)
        return None
    try:
        _check_glossaries(shared, file)
        built = _root(shared, LayerRef(layer, file))
        _finish(shared)
    except Enough:
        file.reached.update(file.layers)
        return None
    if built is None or len(diagnostics.errors) > before:
        return None
    model = file.last("model")
    path = next((i.path for i in shared.instances if model is not None and i.layer is model), None)
    return Module(
        name=layer.name,
        kind=layer.kind,
        model=path,
        free=tuple(shared.free),
        instances=tuple(i.build() for i in _in_order(shared.instances)),
        claims=tuple(shared.claims),
    )


def check_unused_layers(file: SourceFile, diagnostics: Diagnostics) -> None:
    """Elaborate every layer that no entry has reached, over free dims, for its mistakes alone.

    A layer with an option that has no default cannot be looked at by itself, and is left out. Dims
    that only a use would bind are free here, so that one has no fixed size says nothing.
    """
    for layer in file.layers.values():
        if layer.name in file.reached:
            continue
        if any(a.type is None and a.default is None for a in layer.arguments):
            continue
        apart = Diagnostics(diagnostics.sources)
        shared = Elaboration(apart, file, {})
        with suppress(Enough):
            _root(shared, LayerRef(layer, file), alone=True)
            _finish(shared)
        bare = [p for p in dim_parameters(layer) if p.default is None and p.name not in file.dims]
        known = {(d.code, d.span) for d in diagnostics.found}
        for diagnostic in apart.found:
            if (diagnostic.code, diagnostic.span) in known:
                continue
            if not (bare and diagnostic.code in NEEDS_SIZES):
                diagnostics.add(diagnostic)


def _finish(shared: Elaboration) -> None:
    """Look for dims that are never used, and note which layers have been looked at."""
    for inst in shared.instances:
        if inst.variants or inst.wrong:
            inst.file.reached.add(inst.layer.name)
        if inst.wrong or not inst.variants or any(v.variant is None for v in inst.variants):
            continue
        for parameter in dim_parameters(inst.layer):
            if parameter.name not in inst.used and not _mentions(inst.layer, parameter.name):
                shared.error(
                    "unused-dim",
                    f"{inst.layer.name} never uses its dim {parameter.name}",
                    parameter.span,
                    help="leave it out of the brackets",
                )


def _mentions(layer: tree.Layer, name: str) -> bool:
    types = [a.type for a in layer.arguments if a.type is not None]
    types += [r.type for r in layer.results]
    return any(isinstance(d, tree.Name) and d.id == name for t in types for d in t.dims)


def _check_glossaries(shared: Elaboration, file: SourceFile) -> None:
    """Look at every size and constant of a file and of those that it imports, used or not."""
    waiting, seen = [file], {file.name}
    while waiting:
        one = waiting.pop()
        for other in one.imports.values():
            if other.name not in seen:
                seen.add(other.name)
                waiting.append(other)
        if not any(d.size is not None for d in one.dims.values()) and not one.consts:
            continue
        apart = Elaboration(shared.diagnostics, file, shared.overrides)
        span = one.span
        nothing = tree.Layer("layer", "", span, (), (), (), "", (), span=span)
        looking = InstanceBuilder(apart, "", LayerRef(nothing, one), None)
        for name, dim in one.dims.items():
            with suppress(Mistake):
                looking.dim(name, dim.span)
        for name, const in one.consts.items():
            with suppress(Mistake):
                looking.constant(tree.Name(name, span=const.span))


def _entry(file: SourceFile, diagnostics: Diagnostics, entry: str | None) -> tree.Layer | None:
    entries = {n: layer for n, layer in file.layers.items() if layer.kind != "layer"}
    if entry is not None and entry not in entries:
        close = nearest(entry, entries)
        diagnostics.error(
            "unknown-entry",
            f"{file.name} has no loss or model called {entry}",
            facts=(f"it has {', '.join(entries)}",) if entries else (),
            help=f"--entry {close[0]}" if close else "",
        )
        return None
    found = entries[entry] if entry is not None else file.last("loss") or file.last("model")
    if found is None:
        diagnostics.error(
            "no-entry",
            f"{file.name} has no loss and no model",
            facts=(
                f"it has only {listed(file.layers)}" if file.layers else "it has no layers at all",
                "a program is made of a `loss`; a `model` can be checked and shown",
            ),
            help="model Name(x: [B, D]) -> [B, D]: …",
        )
    return found


def _check_overrides(shared: Elaboration, file: SourceFile) -> bool:
    fine = True
    for name, value in shared.overrides.items():
        if name in file.dims:
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                shared.error(
                    "wrong-override",
                    f"--set {name}={spoken(value)}: a dim's size is a whole number, at least 1",
                    None,
                )
                fine = False
        elif name in file.consts:
            fine &= _fits(shared, file.consts[name], value)
        else:
            known = [*file.dims, *file.consts]
            close = nearest(name, known)
            shared.error(
                "unknown-override",
                f"--set {name}: {file.name} has no dim or constant called {name}",
                None,
                facts=(f"it has {', '.join(known)}",) if known else (),
                help=f"--set {close[0]}={spoken(value)}" if close else "",
            )
            fine = False
    return fine


def _fits(shared: Elaboration, const: tree.ConstDecl, value: Any) -> bool:
    """Whether a constant stays the kind of thing that it is."""
    node = const.value
    if not isinstance(node, tree.Number | tree.Constant) or getattr(node, "value", 0) is None:
        return True
    wanted = "true or false" if isinstance(node, tree.Constant) else "a number"
    if isinstance(value, bool) == isinstance(node, tree.Constant) and value is not None:
        return True
    shared.error(
        "wrong-override",
        f"--set {const.name}={spoken(value)}: {const.name} is {wanted}",
        None,
        facts=(f"the file has {written(shared.diagnostics, const.span)}",),
    )
    return False


def _root(shared: Elaboration, ref: LayerRef, alone: bool = False) -> BuiltVariant | None:
    """The entry's own instance, its arguments over the dims of the glossary.

    Args:
        alone: whether it is a layer that is looked at for its mistakes: dims that a use would give
            are free.
    """
    layer = ref.layer
    root = InstanceBuilder(shared, "", ref, None)
    for parameter in dim_parameters(layer):
        try:
            _root_dim(root, parameter, alone)
        except Mistake:
            root.broken.add(parameter.name)
            root.wrong = True
    for argument in layer.arguments:
        try:
            if argument.type is None:
                _root_option(root, argument)
        except Mistake:
            root.broken.add(argument.name)
    declare(root)
    arguments = []
    dots: tuple[Dim, ...] | None = None
    for argument in layer.arguments:
        if argument.type is None:
            continue
        dims: list[Dim] = []
        for name in argument.type.dims:
            if isinstance(name, tree.Dots):
                if dots is None:
                    rest = _unused("N", {*ref.file.dims, *root.bound})
                    dots = (root.new_dim("..." if alone else rest, shared.free_size(rest)),)
                dims += dots
                continue
            try:
                dims.append(root.dim(name.id, name.span))
            except Mistake:
                root.broken |= {name.id, argument.name}
        if len({*dims}) != len(dims):
            root.broken.add(argument.name)
        if argument.name in root.broken:
            root.wrong = True
        else:
            arguments.append((argument, Type(argument.type.dtype, tuple(dims))))
    if layer.kind == "loss" and layer.results:
        results = layer.results[0].span.to(layer.results[-1].span)
        shared.error(
            "loss-promises",
            "a loss promises no result: it returns one scalar",
            results,
            help=_without_arrow(shared, results),
        )
        root.wrong = True
    built = BuiltVariant(None, 0, None)
    root.variants.append(built)

    def finish(body: Body) -> None:
        assert body.returned is not None and body.return_span is not None
        if layer.kind == "loss":
            body.report("loss", body.returned[0].id, body.return_span)

    built.variant = elaborate_variant(root, arguments, dots, (), built, {}, finish)
    return built if built.variant is not None else None


def _root_dim(root: InstanceBuilder, parameter: DimParameter, alone: bool) -> None:
    """Bind a bracketed dim of the entry: by the glossary, its default, the body, or the data."""
    name = parameter.name
    found = root.glossary_dim(name)
    if found is not None:
        size = found.size
    elif parameter.default is not None:
        size = root.size(parameter.default)
    elif parameter.made_from is not None and not alone:
        root.bound[name] = Pending(name, parameter.span)
        root.outside[name] = Pending(name, parameter.span)
        return
    else:
        size = root.shared.free_size(name)
    root.bound[name] = root.new_dim(name, size)
    root.outside[name] = None


def _unused(name: str, taken: Collection[str]) -> str:
    """The name, or the first with a number behind it, that is not taken."""
    numbered = (f"{name}{number}" for number in itertools.count(2))
    return next(n for n in itertools.chain((name,), numbered) if n not in taken)


def _root_option(root: InstanceBuilder, argument: tree.Argument) -> None:
    if argument.default is not None:
        root.options[argument.name] = option_value(root, argument.default, argument.name)
        return
    raise root.shared.error(
        "option-not-given",
        f"{root.layer.name} needs the option {argument.name}, and nothing gives it",
        argument.span,
        help=f"give it a default: {argument.name} = …, or a type, if it is a value",
    )


def _without_arrow(shared: Elaboration, results: Span) -> str:
    """The header of a loss without its results, where it is on one line."""
    head, arrow, rest = corrected(shared.diagnostics, results, "").rpartition("->")
    return f"{head.rstrip()}{rest.strip()}" if arrow else ""


def _in_order(instances: list[InstanceBuilder]) -> list[InstanceBuilder]:
    """Instances in pre-order of the tree."""
    by_path = {i.path: i for i in instances}
    ordered: list[InstanceBuilder] = []

    def visit(inst: InstanceBuilder) -> None:
        ordered.append(inst)
        for name in inst.children:
            child = by_path.get(inst.child_path(name))
            if child is not None:
                visit(child)

    visit(instances[0])
    return ordered
