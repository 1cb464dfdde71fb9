"""What a layer declares, and what a `use` binds: dims, options, parameters, states, instances."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ..ir.core import Child, Dim, Region, Type, Variable
from ..ir.diagnostics import Place, Span
from ..ir.size import Size
from . import tree
from .constants import Enough, LayerRef, Mistake
from .instances import DEEPEST, ChildRecord, InstanceBuilder
from .options import option_value, unknown_option
from .shared import MOST_INSTANCES, DimParameter, Pending, dim_parameters
from .wording import (
    bound_by,
    corrected,
    count,
    dotted,
    listed,
    meant,
    some,
    spoken,
    type_text,
    written,
)


def use(parent: InstanceBuilder, node: tree.Use) -> None:
    """Make the instance that a `use` names, and declare what its layer declares."""
    _refuse_second(parent, node, "give the second one a name of its own")
    ref = parent.layer_ref(node.layer)
    if ref is None:
        raise unknown_layer(parent, node.layer)
    along = None
    if node.along is not None:
        along = parent.dim(node.along.id, node.along.span)
    child = Child(node.name, node.mode, along, node.span)
    builder = instance(parent, node.name, ref, node)
    builder.along, builder.repeated = along, node.mode == "repeat"
    parent.children[node.name] = ChildRecord(child, builder)


def unknown_layer(parent: InstanceBuilder, node: tree.Name | tree.Member) -> Mistake:
    """Report a name that means no layer."""
    file, shared = parent.file, parent.shared
    if isinstance(node, tree.Member):
        chapter = dotted(node.base)
        if chapter in file.missing:  # the import has been reported
            return Mistake()
        return shared.error(
            "unknown-layer",
            f"nothing is imported as {chapter}",
            node.span,
            facts=(f"this file imports {listed(file.imports)}",) if file.imports else (),
            help=meant(shared.diagnostics, node.span, chapter, file.imports) or f"import {chapter}",
        )
    name = node.id
    if name in parent.options:
        return shared.error(
            "not-a-layer",
            f"{name} is {spoken(parent.options[name])}, not a layer",
            node.span,
            help="an option may be tested before it is used: if …: use … = …",
        )
    elsewhere = [f"{c}.{name}" for c, f in file.imports.items() if name in f.layers]
    help = meant(shared.diagnostics, node.span, name, file.layers)
    if elsewhere:
        help = corrected(shared.diagnostics, node.span, elsewhere[0])
    known = some(sorted(n for n, layer in file.layers.items() if layer.kind != "loss"))
    return shared.error(
        "unknown-layer",
        f"no layer is called {name}",
        node.span,
        facts=(f"this file has {known}",) if known else (),
        help=help,
    )


def instance(parent: InstanceBuilder, name: str, ref: LayerRef, node: tree.Use | tree.Call):
    """An instance of a layer, its dims and options bound, its declarations made."""
    shared, layer = parent.shared, ref.layer
    callee = node.layer if isinstance(node, tree.Use) else node.callee
    at = callee.span
    if layer.kind == "loss":
        raise shared.error(
            "use-of-loss",
            f"{layer.name} is a loss; only layers and models are used",
            at,
            places=(Place(layer.name_span, "declared as a loss here"),),
        )
    chain = list(parent.ancestors())
    chosen = isinstance(callee, tree.Name) and callee.id in parent.options  # and so it ends
    if not chosen and any(b.layer is layer for b in chain):
        names = [b.layer.name for b in reversed(chain)]
        names = names[names.index(layer.name) :]
        raise shared.error(
            "recursion",
            f"{layer.name} uses itself",
            at,
            places=(Place(layer.name_span, "inside of this layer"),),
            facts=(" → ".join([*names, layer.name]),),
            help="repeat[L] makes L copies of a layer, one after the other",
        )
    if len(shared.instances) >= MOST_INSTANCES:
        shared.error(
            "too-many-instances",
            f"this model has more than {MOST_INSTANCES:,} instances of layers",
            at,
            help="repeat[L] makes L copies of a layer, and counts as one",
        )
        raise Enough
    if len(chain) > DEEPEST:
        raise shared.error("too-deep", f"instances are nested more than {DEEPEST} deep", node.span)
    builder = InstanceBuilder(shared, parent.child_path(name), ref, parent)
    builder.use = ref, node
    bind_dims(parent, builder, ref, node)
    bind_options(parent, builder, dict(ref.given), node)
    declare(builder)
    return builder


def bind_dims(
    parent: InstanceBuilder,
    child: InstanceBuilder,
    ref: LayerRef,
    node,
    called: Mapping[str, Dim] = MappingProxyType({}),
) -> None:
    """Bind a layer's bracketed dims: what a call gives, else the use, else sizes that came with an
    option, else defaults, else the caller's, else those of the place where the option was
    written."""
    shared, layer = parent.shared, child.layer
    items = node.dims or ()
    parameters = dim_parameters(layer)
    given, preset = _given_dims(parent, layer, parameters, items), dict(ref.sizes)
    missing = []
    for p in parameters:
        if p.name in {**given, **preset} or p.default is not None or parent.find_dim(p.name):
            continue
        there = ref.home.find_dim(p.name) if ref.home is not None else None
        preset |= {p.name: there.size} if isinstance(there, Dim) else {}
        missing += [p] if p.name not in preset else []
    if missing:
        names = listed(p.name for p in missing)
        arrows = [p for p in parameters if p.made_from is not None]
        if arrows and any(p.name in (a.name, a.made_from) for p in missing for a in arrows):
            shape = ", ".join(f"{a.made_from} -> {a.name}" for a in arrows)
            fact = f"its arrows are given in order: {layer.name}[… -> …] for [{shape}]"
            inner = ", ".join("… -> …" for _ in arrows)
        else:
            fact, inner = "", ", ".join(f"{p.name} = …" for p in missing)
        callee = node.layer if isinstance(node, tree.Use) else node.callee
        raise shared.error(
            "dim-not-given",
            f"{layer.name} needs the {'dim' if len(missing) == 1 else 'dims'} {names}, "
            f"and there is none of that name here",
            callee.span,
            places=(Place(missing[0].span, "needed here"),),
            facts=(fact,) if fact else (),
            help=""
            if items
            else corrected(shared.diagnostics, callee.span, f"{dotted(callee)}[{inner}]"),
        )
    for parameter in parameters:
        name = parameter.name
        _bind_dim(parent, child, parameter, given.get(name), preset.get(name), called.get(name))
    child.forget()


def _fewer_arrows(parent: InstanceBuilder, items, item: tree.Item, arrows) -> str:
    """The line of a use without the arrow that is one too many."""
    diagnostics = parent.shared.diagnostics
    if len(items) > 1:
        before = items[max(items.index(item) - 1, 0)].span
        at = Span(before.file, before.line, before.end_column, item.span.line, item.span.end_column)
        return corrected(diagnostics, at, "") if items.index(item) else ""
    span = item.span
    whole = Span(span.file, span.line, span.column - 1, span.line, span.end_column + 1)
    return corrected(diagnostics, whole, "") if written(diagnostics, whole)[:1] == "[" else ""


def _given_dims(
    parent: InstanceBuilder, layer: tree.Layer, parameters: list[DimParameter], items
) -> dict[str, tuple[tree.Expr, bool]]:
    """What the brackets of a use give to each dim, and whether it stands right of an arrow."""
    shared = parent.shared
    by_name = {p.name: p for p in parameters}
    arrows = [p for p in parameters if p.made_from is not None]
    given: dict[str, tuple[tree.Expr, bool]] = {}
    position = 0
    for item in items:
        if item.right is not None:
            if position >= len(arrows):
                raise shared.error(
                    "too-many-arrows",
                    f"{layer.name} takes {count(len(arrows), 'arrow')} between its brackets"
                    if arrows
                    else f"{layer.name} takes no arrow between its brackets",
                    item.span,
                    places=(Place(layer.span, "declared here"),),
                    help=_fewer_arrows(parent, items, item, arrows),
                )
            to = arrows[position]
            position += 1
            pairs = [(to.made_from or "", item.left, False), (to.name, item.right, True)]
        elif isinstance(item.left, tree.Name):
            name = item.left.id
            if name not in by_name:
                raise shared.error(
                    "unknown-dim",
                    f"{layer.name} has no dim {name}",
                    item.span,
                    places=(Place(layer.span, "declared here"),),
                    facts=(f"its dims are {', '.join(by_name)}" if by_name else "it has none",),
                    help=meant(shared.diagnostics, item.span, name, by_name),
                )
            pairs = [(name, item.value if item.value is not None else item.left, False)]
        else:
            raise shared.error(
                "not-a-dim",
                f"give a dim by name: [{parameters[0].name if parameters else 'D'} = …]",
                item.span,
            )
        for name, expression, declares in pairs:
            if name in given:
                raise shared.error("given-twice", f"{name} is given twice", item.span)
            given[name] = (expression, declares)
    return given


def _bind_dim(
    parent: InstanceBuilder,
    child: InstanceBuilder,
    parameter,
    given,
    size: Size | None,
    called: Dim | None,
) -> None:
    name = parameter.name
    outside: Dim | Pending | None = called
    if called is not None:
        pass
    elif given is not None:
        size, (expression, declares) = None, given
        if isinstance(expression, tree.Name):
            outside = parent.find_dim(expression.id)
            if outside is None and declares:
                outside = Pending(expression.id, expression.span)
            elif outside is None:
                value = parent.try_constant(expression)
                if value is NotImplemented:
                    raise parent.unknown_dim(expression.id, expression.span)
                size = parent.size(expression)
        else:
            size = parent.size(expression)
    elif size is not None:
        pass
    elif parameter.default is not None:
        default = parameter.default
        if isinstance(default, tree.Name) and default.id in child.bound:
            outside = child.outside[default.id]
            bound = child.bound[default.id]
            if outside is None and isinstance(bound, Dim):
                size = bound.size
        else:
            size = child.size(default)
    else:
        outside = parent.find_dim(name)
    child.outside[name] = outside
    if isinstance(outside, Dim):
        child.bound[name] = child.new_dim(name, outside.size, parent.origins.get(outside))
    elif size is not None:
        child.bound[name] = child.new_dim(name, size)
    else:
        child.bound[name] = Pending(name, parameter.span)


def bind_options(
    parent: InstanceBuilder, child: InstanceBuilder, preset: dict[str, Any], node
) -> None:
    shared, layer = parent.shared, child.layer
    options = [a for a in layer.arguments if a.type is None]
    names = [a.name for a in options]
    given: dict[str, tree.Expr] = {}
    if isinstance(node, tree.Use):
        for argument, expression in zip(options, node.arguments, strict=False):
            given[argument.name] = expression
        if len(node.arguments) > len(options):
            raise shared.error(
                "too-many-arguments",
                f"{layer.name} takes {count(len(options), 'option')} at its use"
                if options
                else f"{layer.name} takes no options at its use",
                node.arguments[len(options)].span,
                places=(Place(layer.span, "declared here"),),
                facts=("values are given at the call",),
            )
    for keyword in node.keywords:
        if keyword.name not in names:
            _refuse_option(parent, layer, names, node, keyword)
            continue
        if keyword.name in given:
            raise shared.error("given-twice", f"{keyword.name} is given twice", keyword.span)
        given[keyword.name] = keyword.value
    for argument in options:
        if argument.name in given:
            child.options[argument.name] = option_value(parent, given[argument.name], argument.name)
        elif argument.name in preset:
            child.options[argument.name] = preset[argument.name]
        elif argument.default is not None:
            child.options[argument.name] = option_value(child, argument.default, argument.name)
        else:
            callee = node.layer if isinstance(node, tree.Use) else node.callee
            help = f"{layer.name}({argument.name} = …)"
            if isinstance(node, tree.Use) and not node.arguments and not node.keywords:
                words = written(shared.diagnostics, node.span)
                # Where the use ends in its name or brackets, parentheses can be put behind it.
                if words and not words.endswith(")"):
                    help = f"{words}({argument.name} = …)"
            raise shared.error(
                "option-not-given",
                f"{layer.name} needs the option {argument.name}",
                callee.span,
                places=(Place(argument.span, "needed here"),),
                help=help,
            )
    child.forget()


def _refuse_option(parent: InstanceBuilder, layer: tree.Layer, names, node, keyword) -> None:
    """Report an option that the layer does not have; values at a call are not its business."""
    if isinstance(node, tree.Call):
        return
    shared = parent.shared
    if any(a.name == keyword.name for a in layer.arguments):
        value = written(shared.diagnostics, keyword.value.span) or "…"
        raise shared.error(
            "value-at-use",
            f"{keyword.name} is a value of {layer.name}: it is given at the call, not at the use",
            keyword.span,
            facts=("an argument with a type is a value, one without is an option",),
            help=f"{node.name}(…, {keyword.name} = {value})",
        )
    raise unknown_option(shared, layer.name, keyword, names)


# What a layer declares.


def declare(inst: InstanceBuilder) -> None:
    """Declare the dims, parameters, states and instances of a layer."""
    types = [a.type for a in inst.layer.arguments if a.type is not None]
    for type_ in (*types, *(r.type for r in inst.layer.results)):
        try:
            once(inst, type_)
        except Mistake:
            inst.wrong = True
    for type_ in types:
        inst.used.update(d.id for d in type_.dims if isinstance(d, tree.Name))
    _declare(inst, inst.layer.body, False)


def once(inst: InstanceBuilder, type_: tree.TypeExpr) -> None:
    """Refuse a type that has a dim twice."""
    seen: set[str] = set()
    for dim in type_.dims:
        name = "..." if isinstance(dim, tree.Dots) else dim.id
        if name in seen:
            raise inst.shared.error(
                "dim-twice",
                f"{name} stands twice in a type; a tensor has each dim once",
                dim.span,
                help=f"declare a second dim of the same size: dims: {name}2 = {name}"
                if name != "..."
                else "",
            )
        seen.add(name)


def _declare(inst: InstanceBuilder, statements, in_train: bool) -> None:
    for node in statements:
        try:
            match node:
                case tree.Dims():
                    _local_dims(inst, node)
                case tree.Param() | tree.State() | tree.Use() if in_train:
                    what = {tree.Param: "param", tree.State: "state"}.get(type(node), "use")
                    raise inst.shared.error(
                        "declared-under-train",
                        f"`{what}` cannot stand under a branch on train",
                        node.span,
                        facts=("what a model consists of is the same in training and outside",),
                        help="declare it before the branch",
                    )
                case tree.Param() | tree.State():
                    _variable(inst, node)
                case tree.Use():
                    use(inst, node)
                case tree.If():
                    _declare_if(inst, node, in_train)
        except Mistake:
            inst.wrong = True
            if isinstance(node, tree.If):
                inst.broken.update(name for name, _ in bound_by(node))
            elif isinstance(node, tree.Param | tree.State | tree.Use):
                inst.broken.add(node.name)


def _declare_if(inst: InstanceBuilder, node: tree.If, in_train: bool) -> None:
    from .conditions import condition

    if _on_train(node.condition):
        _declare(inst, node.then, True)
        _declare(inst, node.orelse, True)
    elif _declares(node):
        _declare(inst, node.then if condition(inst, node) else node.orelse, in_train)


def _on_train(node: tree.Expr) -> bool:
    inner = node.operand if isinstance(node, tree.Unary) and node.op == "not" else node
    return isinstance(inner, tree.Name) and inner.id == "train"


def _declares(node: tree.If) -> bool:
    kinds = (tree.Param, tree.State, tree.Use, tree.Dims)
    return any(
        isinstance(s, kinds) or (isinstance(s, tree.If) and _declares(s))
        for s in (*node.then, *node.orelse)
    )


def _local_dims(inst: InstanceBuilder, node: tree.Dims) -> None:
    for dim in node.items:
        try:
            _local_dim(inst, dim)
        except Mistake:
            inst.wrong = True
            if dim.name not in {**inst.bound, **inst.local}:
                inst.broken.add(dim.name)


def _local_dim(inst: InstanceBuilder, node: tree.DimDecl) -> None:
    for table, where in ((inst.bound, "between this layer's brackets"), (inst.local, "above")):
        if node.name in table:
            raise inst.shared.error(
                "dim-declared-twice",
                f"{node.name} is a dim {where} already",
                node.span,
                help="choose another name",
            )
    types = [a.type for a in inst.layer.arguments if a.type is not None]
    if any(isinstance(d, tree.Name) and d.id == node.name for t in types for d in t.dims):
        raise inst.shared.error(
            "dim-declared-twice",
            f"{node.name} is a dim of this layer's arguments already",
            node.span,
            help="choose another name",
        )
    if node.size is None:
        raise inst.shared.error(
            "free-dim-in-layer",
            f"{node.name} needs a size: only the glossary of a file has free dims",
            node.span,
            help=f"{node.name} = …",
        )
    inst.local[node.name] = inst.new_dim(node.name, inst.size(node.size))
    inst.sizes[node.name] = node.size


def _refuse_second(
    inst: InstanceBuilder, node: tree.Use | tree.Param | tree.State, help: str
) -> None:
    """Report a `use`, parameter or state whose name another one has already."""
    known: dict[str, Child | Variable] = {**inst.params, **inst.states}
    known |= {name: record.child for name, record in inst.children.items()}
    first = known.get(node.name)
    if first is not None:
        raise inst.shared.error(
            "declared-twice",
            f"{node.name} is declared twice in this layer",
            node.span,
            places=(Place(first.span or node.span, "first here"),),
            help=help,
        )


def _variable(inst: InstanceBuilder, node: tree.Param | tree.State) -> None:
    from .body import Body

    _refuse_second(inst, node, "rename one of them")
    dims: list[Dim] = []
    for name in node.type.dims:
        if isinstance(name, tree.Dots):
            raise inst.shared.error(
                "dots-in-param",
                "`...` cannot stand in the type of a parameter or state",
                name.span,
                facts=("its dims must be the same at every call",),
            )
    once(inst, node.type)
    for name in node.type.dims:
        assert isinstance(name, tree.Name)
        dims.append(inst.dim(name.id, name.span))
    order = tuple(dims)
    type_ = Type(node.type.dtype, order)
    body = Body(inst, drawn=order, name=node.name)
    result = body.single(body.expr(node.init), node.init)
    id = body.value(result, node.init, type_.kind)
    if type_.kind == "float":
        id = body.as_float(id, node.init.span)
    found = body.builder.type(id)
    left = [d for d in found.dims if d not in order]
    if left or found.kind != type_.kind:
        raise inst.shared.error(
            "init-type",
            f"the initializer gives {body.shown(id)}, but {node.name} is {type_text(node.type)}",
            node.init.span,
            caption=f"{listed(d.name for d in left)} is too much" if left else "",
            places=(Place(node.type.span, "declared here"),),
        )
    if len(found.dims) < len(order):
        missing = tuple(d for d in order if d not in found.dims)
        id = body.builder.add("expand", id, dims=missing, span=node.init.span)
    inst.declare_variable(node, Region((), body.builder.close(), (id,)), type_, order)
