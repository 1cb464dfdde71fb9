"""From a file to a module: an entry, with every layer that it uses in its place."""

from __future__ import annotations

from typing import Any

from ..ir.core import Module, Type
from ..ir.diagnostics import Diagnostics, Place, nearest
from . import tree
from .constants import LayerRef, Mistake
from .instances import BuiltVariant, Elaboration, InstanceBuilder, Pending, dim_parameters
from .names import SourceFile
from .uses import declare
from .variants import elaborate_variant


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
    if not _check_overrides(shared, file):
        return None
    before = len(diagnostics.errors)
    built = _root(shared, LayerRef(layer, file))
    _unused_dims(shared)
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


def check_unused_layers(file: SourceFile, diagnostics: Diagnostics, used: set[str]) -> None:
    """Elaborate every layer that no entry reaches, over free dims, for its mistakes alone.

    A layer with an option that has no default cannot be looked at by itself, and is left out.
    """
    for layer in file.layers.values():
        if layer.name in used or any(a.type is None and a.default is None for a in layer.arguments):
            continue
        shared = Elaboration(diagnostics, file, {})
        _root(shared, LayerRef(layer, file))
        _unused_dims(shared)


def _entry(file: SourceFile, diagnostics: Diagnostics, entry: str | None) -> tree.Layer | None:
    entries = {n: layer for n, layer in file.layers.items() if layer.kind != "layer"}
    if entry is not None and entry not in entries:
        close = nearest(entry, entries)
        diagnostics.error(
            "unknown-entry",
            f"{file.name} has no loss or model called {entry}",
            facts=(f"it has {', '.join(entries)}",) if entries else (),
            help=f"did you mean {close[0]}?" if close else "",
        )
        return None
    found = entries[entry] if entry is not None else file.last("loss") or file.last("model")
    if found is None:
        diagnostics.error(
            "no-entry",
            f"{file.name} has no loss and no model",
            facts=("a program is made of a `loss`; a `model` can be checked and shown",),
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
                    f"--set {name}={value}: a dim's size is a whole number from 1",
                    None,
                )
                fine = False
        elif name not in file.consts:
            known = [*file.dims, *file.consts]
            close = nearest(name, known)
            shared.error(
                "unknown-override",
                f"--set {name}: {file.name} has no dim or constant called {name}",
                None,
                facts=(f"it has {', '.join(known)}",) if known else (),
                help=f"--set {close[0]}={value}" if close else "",
            )
            fine = False
    return fine


def _root(shared: Elaboration, ref: LayerRef) -> BuiltVariant | None:
    """The entry's own instance, its arguments over the dims of the glossary."""
    try:
        root = InstanceBuilder(shared, "", ref, None)
        for parameter in dim_parameters(ref.layer):
            name = parameter.name
            found = root._glossary_dim(name)
            if found is not None:
                size = found.size
            elif parameter.default is not None:
                size = root.size(parameter.default)
            elif parameter.made_from is not None:
                root.bound[name] = Pending(name, parameter.span)
                root.outside[name] = Pending(name, parameter.span)
                continue
            else:
                size = shared.free_size(name)
            root.bound[name] = root.new_dim(name, size)
            root.outside[name] = None
        for argument in ref.layer.arguments:
            if argument.type is None and argument.default is not None:
                root.options[argument.name] = root.option_or_ref(argument.default)
        declare(root)
        arguments = []
        dots = None
        for argument in ref.layer.arguments:
            if argument.type is None:
                continue
            dims = []
            for name in argument.type.dims:
                if isinstance(name, tree.Dots):
                    dots = dots or (root.new_dim("N", shared.free_size("N")),)
                    dims += dots
                else:
                    dim = root.dim(name.id, name.span)
                    if dim in dims:
                        raise shared.error(
                            "dim-twice",
                            f"{name.id} stands twice in a type; a tensor has each dim once",
                            name.span,
                        )
                    dims.append(dim)
            arguments.append((argument, Type(argument.type.dtype, tuple(dims))))
        if ref.layer.kind == "loss" and ref.layer.results:
            raise shared.error(
                "loss-promises",
                "a loss promises no result: it returns one scalar",
                ref.layer.results[0].span,
            )
        built = BuiltVariant(None, 0, None)
        root.variants.append(built)
        finish = (
            (lambda body: body.report("loss", body.returned[0].id, body.return_span))
            if (ref.layer.kind == "loss")
            else None
        )
        built.variant = elaborate_variant(root, arguments, dots, (), built, {}, finish)
        return built if built.variant is not None else None
    except Mistake:
        return None


def _unused_dims(shared: Elaboration) -> None:
    """Refuse dim parameters that a layer never uses; they would mislead whoever calls it."""
    for inst in shared.instances:
        if inst.broken or any(v.variant is None for v in inst.variants):
            continue
        for parameter in dim_parameters(inst.layer):
            if parameter.name not in inst.used and not _mentions(inst.layer, parameter.name):
                shared.error(
                    "unused-dim",
                    f"{inst.layer.name} never uses its dim {parameter.name}",
                    parameter.span,
                    places=(Place(inst.layer.name_span, "this layer"),),
                    help="leave it out of the brackets",
                )


def _mentions(layer: tree.Layer, name: str) -> bool:
    types = [a.type for a in layer.arguments if a.type is not None] + [
        r.type for r in layer.results
    ]
    return any(isinstance(d, tree.Name) and d.id == name for t in types for d in t.dims)


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
