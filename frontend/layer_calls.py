"""Instances of layers: what a `use` binds, what the layer declares, and calls of its body."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..ir.core import Child, Dim, Op, Region, Result, Type, Value, Variant, attributes, axes
from ..ir.diagnostics import Place, nearest
from ..ir.size import Size
from . import tree
from .constants import LayerRef, Mistake, is_constant, plain
from .instances import (
    DEEPEST,
    BuiltVariant,
    ChildRecord,
    InstanceBuilder,
    Pending,
    dim_parameters,
)

if TYPE_CHECKING:
    from .body import Body, Val


# What a `use` binds.


def use(parent: InstanceBuilder, node: tree.Use) -> None:
    """Make the instance that a `use` names, and declare what its layer declares."""
    shared = parent.shared
    if node.name in parent.children:
        raise shared.error(
            "declared-twice", f"{node.name} is used twice in this layer", node.span,
            places=(Place(parent.children[node.name].child.span or node.span, "first here"),),
            help="give the second instance a name of its own",
        )  # fmt: skip
    ref = parent.layer_ref(node.layer)
    if ref is None:
        raise unknown_layer(parent, node.layer)
    along = None
    if node.along is not None:
        along = parent.dim(node.along.id, node.along.span)
    child = Child(node.name, node.mode, along, node.span)
    parent.children[node.name] = ChildRecord(child, _instance(parent, node.name, ref, node))


def unknown_layer(parent: InstanceBuilder, node: tree.Name | tree.Member) -> Mistake:
    """Report a name that means no layer."""
    name = node.id if isinstance(node, tree.Name) else node.name
    close = nearest(name, parent.file.layers)
    known = ", ".join(sorted(parent.file.layers))
    return parent.shared.error(
        "unknown-layer",
        f"no layer is called {name}",
        node.span,
        facts=(f"this file has {known}",) if known else (),
        help=f"did you mean {close[0]}?" if close else "",
    )


def _instance(parent: InstanceBuilder, name: str, ref: LayerRef, node: tree.Use | tree.Call):
    shared, layer = parent.shared, ref.layer
    if layer.kind == "loss":
        raise shared.error(
            "use-of-loss", f"{layer.name} is a loss; only layers and models are used", node.span
        )
    chain = list(parent.ancestors())
    if any(b.layer is layer for b in chain):
        names = [b.layer.name for b in reversed(chain)]
        names = names[names.index(layer.name) :]
        raise shared.error(
            "recursion",
            f"{layer.name} uses itself",
            node.span,
            facts=(" → ".join([*names, layer.name]),),
            help="repeat[L] makes L copies, one after the other",
        )
    if len(chain) > DEEPEST:
        raise shared.error("too-deep", f"instances are nested more than {DEEPEST} deep", node.span)
    builder = InstanceBuilder(shared, parent.child_path(name), ref, parent)
    _bind_dims(parent, builder, node.dims or (), node)
    _bind_options(parent, builder, node)
    declare(builder)
    return builder


def _bind_dims(parent: InstanceBuilder, child: InstanceBuilder, items, node) -> None:
    """Bind the dims between a layer's brackets: what the use gives, else defaults, else the caller's."""
    shared, layer = parent.shared, child.layer
    parameters = dim_parameters(layer)
    by_name = {p.name: p for p in parameters}
    arrows = [p for p in parameters if p.made_from is not None]
    given: dict[str, tuple[tree.Expr, bool]] = {}
    position = 0
    for item in items:
        if item.right is not None:
            if position >= len(arrows):
                raise shared.error(
                    "too-many-arrows",
                    f"{layer.name} takes {len(arrows)} arrows between its brackets",
                    item.span,
                    places=(Place(layer.span, "declared here"),),
                )
            to = arrows[position]
            position += 1
            given[to.made_from or ""] = (item.left, False)
            given[to.name] = (item.right, True)
        elif isinstance(item.left, tree.Name):
            name = item.left.id
            if name not in by_name:
                close = nearest(name, by_name)
                raise shared.error(
                    "unknown-dim",
                    f"{layer.name} has no dim {name}",
                    item.span,
                    places=(Place(layer.span, "declared here"),),
                    facts=(f"its dims are {', '.join(by_name) or 'none'}",),
                    help=f"did you mean {close[0]}?" if close else "",
                )
            given[name] = (item.value if item.value is not None else item.left, False)
        else:
            raise shared.error(
                "not-a-dim",
                f"give a dim by name: [{parameters[0].name if parameters else 'D'} = …]",
                item.span,
            )
    for parameter in parameters:
        name = parameter.name
        outside: Dim | Pending | None = None
        size: Size | None = None
        if name in given:
            expression, declares = given[name]
            if isinstance(expression, tree.Name):
                found = parent.find_dim(expression.id)
                if found is None and declares:
                    outside = Pending(expression.id, expression.span)
                elif found is None:
                    raise parent.unknown_dim(expression.id, expression.span)
                else:
                    outside = found
            else:
                size = parent.size(expression)
        elif parameter.default is not None:
            default = parameter.default
            if isinstance(default, tree.Name) and default.id in child.bound:
                outside = child.outside[default.id]
                size = child.bound[default.id].size if outside is None else None
            else:
                size = child.size(default)
        else:
            outside = parent.find_dim(name)
            if outside is None:
                raise shared.error(
                    "dim-not-given",
                    f"{layer.name} needs the dim {name}, and there is none of that name here",
                    node.span,
                    places=(Place(parameter.span, "needed here"),),
                    help=f"{layer.name}[{name} = …]",
                )
        child.outside[name] = outside
        if isinstance(outside, Dim):
            child.bound[name] = child.new_dim(name, outside.size, parent.origins.get(outside))
        elif size is not None:
            child.bound[name] = child.new_dim(name, size)
        else:
            child.bound[name] = Pending(name, parameter.span)
    child.used.clear()


def _bind_options(
    parent: InstanceBuilder, child: InstanceBuilder, node: tree.Use | tree.Call
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
                f"{layer.name} takes {len(options)} options at its use",
                node.arguments[len(options)].span,
                facts=("values are given at the call",),
            )
    for keyword in node.keywords:
        if keyword.name not in names:
            if isinstance(node, tree.Call) or any(a.name == keyword.name for a in layer.arguments):
                if isinstance(node, tree.Call):
                    continue
                raise shared.error(
                    "value-at-use",
                    f"{keyword.name} is a value of {layer.name}: it is given at the call",
                    keyword.span,
                )
            close = nearest(keyword.name, names)
            raise shared.error(
                "unknown-option",
                f"{layer.name} has no option {keyword.name}",
                keyword.span,
                facts=(f"its options are {', '.join(names) or 'none'}",),
                help=f"did you mean {close[0]}?" if close else "",
            )
        given[keyword.name] = keyword.value
    for argument in options:
        if argument.name in given:
            child.options[argument.name] = parent.option_or_ref(given[argument.name])
        elif argument.default is not None:
            child.options[argument.name] = child.option_or_ref(argument.default)
        else:
            raise shared.error(
                "option-not-given",
                f"{layer.name} needs the option {argument.name}",
                node.span,
                places=(Place(argument.span, "needed here"),),
                help=f"{layer.name}({argument.name} = …)",
            )
    child.used.clear()


# What a layer declares.


def declare(inst: InstanceBuilder) -> None:
    """Declare the dims, parameters, states and instances of a layer."""
    for argument in inst.layer.arguments:
        if argument.type is not None:
            for dim in argument.type.dims:
                if isinstance(dim, tree.Name):
                    inst.used.add(dim.id)
    _declare(inst, inst.layer.body, False)


def _declare(inst: InstanceBuilder, statements, in_train: bool) -> None:
    from .body import condition

    for node in statements:
        try:
            match node:
                case tree.Dims():
                    for dim in node.items:
                        _local_dim(inst, dim)
                case tree.Param() | tree.State() | tree.Use() if in_train:
                    what = {tree.Param: "param", tree.State: "state"}.get(type(node), "use")
                    raise inst.shared.error(
                        "declared-under-train",
                        f"`{what}` cannot stand under a branch on train",
                        node.span,
                        help="declare it before the branch",
                    )
                case tree.Param() | tree.State():
                    _variable(inst, node)
                case tree.Use():
                    use(inst, node)
                case tree.If():
                    if _on_train(node.condition):
                        _declare(inst, node.then, True)
                        _declare(inst, node.orelse, True)
                    elif _declares(node):
                        chosen = node.then if condition(inst, node) else node.orelse
                        _declare(inst, chosen, in_train)
        except Mistake:
            inst.broken.update(
                [node.name] if hasattr(node, "name") and isinstance(node.name, str) else []
            )


def _on_train(node: tree.Expr) -> bool:
    inner = node.operand if isinstance(node, tree.Unary) and node.op == "not" else node
    return isinstance(inner, tree.Name) and inner.id == "train"


def _declares(node: tree.If) -> bool:
    kinds = (tree.Param, tree.State, tree.Use, tree.Dims)
    return any(
        isinstance(s, kinds) or (isinstance(s, tree.If) and _declares(s))
        for s in (*node.then, *node.orelse)
    )


def _local_dim(inst: InstanceBuilder, node: tree.DimDecl) -> None:
    if node.name in inst.bound:
        raise inst.shared.error(
            "dim-declared-twice",
            f"{node.name} is a dim between this layer's brackets already",
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


def _variable(inst: InstanceBuilder, node: tree.Param | tree.State) -> None:
    from .body import Body

    if node.name in (*inst.params, *inst.states):
        first = {**inst.params, **inst.states}[node.name]
        raise inst.shared.error(
            "declared-twice", f"{node.name} is declared twice in this layer", node.span,
            places=(Place(first.span or node.span, "first here"),), help="rename one of them",
        )  # fmt: skip
    dims = []
    for name in node.type.dims:
        if isinstance(name, tree.Dots):
            raise inst.shared.error(
                "dots-in-param",
                "`...` cannot stand in the type of a parameter or state",
                name.span,
                facts=("its dims must be the same at every call",),
            )
        dim = inst.dim(name.id, name.span)
        if dim in dims:
            raise inst.shared.error(
                "dim-twice",
                f"{name.id} stands twice in a type; a tensor has each dim once",
                name.span,
                help=f"declare a second dim of the same size: dims: {name.id}2 = {name.id}",
            )
        dims.append(dim)
    order = tuple(dims)
    type_ = Type(node.type.dtype, order)
    body = Body(inst, drawn=order, name=node.name)
    result = body.single(body.expr(node.init), node.init)
    id = body.value(result, node.init, type_.kind)
    found = body.builder.type(id)
    left = [d for d in found.dims if d not in order]
    if left or found.kind != type_.kind:
        raise inst.shared.error(
            "init-type",
            f"the initializer gives {found}, but {node.name} is {type_}",
            node.init.span,
            places=(Place(node.type.span, "declared here"),),
        )
    if len(found.dims) < len(order):
        missing = tuple(d for d in order if d not in found.dims)
        id = body.builder.add("expand", id, dims=missing, span=node.init.span)
    inst.declare_variable(node, Region((), body.builder.close(), (id,)), type_, order)


# Calls.


def call_layer(body: Body, ref: LayerRef, node: tree.Call, labels) -> Any:
    """A call of a layer by its own name: allowed where it has no parameters and no state."""
    inst = body.instance
    known = getattr(inst, "anonymous", None)
    if known is None:
        known = inst.anonymous = {}
    key = (node.span.line, node.span.column, ref.layer.name)
    record = known.get(key)
    if record is None:
        base = ref.layer.name
        count = sum(1 for k in known if k[2] == base)
        name = base if count == 0 else f"{base}_{count + 1}"
        items = tuple(i for i in node.dims or () if True)
        builder = _instance(
            inst, name, ref, tree.Call(node.callee, items, (), node.keywords, span=node.span)
        )
        if _holds(builder):
            inst.shared.instances.remove(builder)
            raise inst.shared.error(
                "layer-with-parameters",
                f"{base} has parameters: it needs a place in the tree",
                node.callee.span,
                help=f"use {base.lower()} = {base}",
            )
        record = known[key] = ChildRecord(Child(name, "one", None, node.span), builder)
        inst.children[name] = record
    plain_call = tree.Call(
        node.callee, None, node.arguments, _values_only(ref, node), span=node.span
    )
    return call_child(body, record, plain_call, labels)


def _holds(builder: InstanceBuilder) -> bool:
    if builder.params or builder.states:
        return True
    return any(_holds(c.builder) for c in builder.children.values())


def _values_only(ref: LayerRef, node: tree.Call):
    options = {a.name for a in ref.layer.arguments if a.type is None}
    return tuple(k for k in node.keywords if k.name not in options)


def call_child(body: Body, record: ChildRecord, node: tree.Call, labels) -> Any:
    """A call of an instance: arguments matched by name, the body elaborated for their types."""
    from .body import Many, Val

    child, inst = record.builder, body.instance
    shared = inst.shared
    overrides = _dims_at_call(body, record, node)
    along = record.child.along
    given = _arguments(body, child, node)
    matcher = Matcher(body, child, along, overrides)
    types: list[tuple[tree.Argument, Type, int]] = []
    dealt: list[int] = []
    absent = []
    for argument in (a for a in child.layer.arguments if a.type is not None):
        if argument.name not in given:
            absent.append(argument.name)
            continue
        result, expression = given[argument.name]
        id = _argument(body, matcher, argument, result, expression)
        type_ = body.builder.type(id)
        if along is not None and along in type_.dims:
            dealt.append(len(types))
            type_ = type_.with_dims(d for d in type_.dims if d != along)
        types.append((argument, matcher.inside(argument, type_, expression), id))
    for argument in (a for a in child.layer.arguments if a.type is not None and a.name in absent):
        if argument.default is None:
            raise shared.error(
                "argument-not-given",
                f"{child.layer.name} needs {argument.name}",
                node.span,
                places=(Place(argument.span, "needed here"),),
            )
    built = _variant(child, [(a, t) for a, t, _ in types], matcher, tuple(absent), node)
    if built.variant is None:
        raise Mistake
    return _emit_call(body, record, node, built, matcher, types, dealt, labels, Val, Many)


def _dims_at_call(body: Body, record: ChildRecord, node: tree.Call) -> dict[str, Dim]:
    overrides: dict[str, Dim] = {}
    child = record.builder
    for item in node.dims or ():
        value = item.value if item.value is not None else item.left
        if not isinstance(item.left, tree.Name) or not isinstance(value, tree.Name) or item.right:
            raise body.shared.error("dims-at-call", "a call gives dims by name: [S = T]", item.span)
        name = item.left.id
        if name not in child.bound:
            raise body.shared.error(
                "unknown-dim", f"{child.layer.name} has no dim {name}", item.span,
                facts=(f"its dims are {', '.join(child.bound)}",),
            )  # fmt: skip
        carried = [
            v.name
            for v in (*child.params.values(), *child.states.values())
            if child.bound[name] in v.order
        ]
        if carried:
            raise body.shared.error(
                "dim-of-parameter",
                f"{name} cannot change from call to call: the parameter {carried[0]} has it",
                item.span,
            )
        overrides[name] = body.instance.dim(value.id, value.span, body.declared)
    return overrides


def _arguments(
    body: Body, child: InstanceBuilder, node: tree.Call
) -> dict[str, tuple[Any, tree.Expr]]:
    values = [a for a in child.layer.arguments if a.type is not None]
    options = {a.name for a in child.layer.arguments if a.type is None}
    given: dict[str, tuple[Any, tree.Expr]] = {}
    if len(node.arguments) > len(values):
        raise body.shared.error(
            "too-many-arguments",
            f"{child.layer.name} takes {len(values)} value{'s' if len(values) != 1 else ''}",
            node.arguments[len(values)].span,
            places=(Place(child.layer.span, "declared here"),),
        )
    for argument, expression in zip(values, node.arguments, strict=False):
        given[argument.name] = (body.single(body.expr(expression), expression), expression)
    for keyword in node.keywords:
        if keyword.name in options:
            raise body.shared.error(
                "option-at-call",
                f"{keyword.name} is an option of {child.layer.name}: it is given at the use",
                keyword.span,
                help=f"use … = {child.layer.name}({keyword.name} = …)",
            )
        if keyword.name not in {a.name for a in values}:
            close = nearest(keyword.name, [a.name for a in values])
            raise body.shared.error(
                "unknown-argument",
                f"{child.layer.name} takes no {keyword.name}",
                keyword.span,
                help=f"did you mean {close[0]}?" if close else "",
            )
        if keyword.name in given:
            raise body.shared.error("given-twice", f"{keyword.name} is given twice", keyword.span)
        given[keyword.name] = (body.single(body.expr(keyword.value), keyword.value), keyword.value)
    return given


def _argument(
    body: Body, matcher: Matcher, argument: tree.Argument, result: Any, node: tree.Expr
) -> int:
    """The id of an argument; a constant is expanded over the dims that the layer declares for it."""
    if not is_constant(plain(result)):
        return body.value(result, node)
    id = body.value(result, node, argument.type.dtype)
    dims = matcher.outside_dims(argument)
    return body.builder.add("expand", id, dims=dims, span=node.span) if dims else id


class Matcher:
    """How the dims of a child and of its caller stand for each other, in one call."""

    def __init__(
        self, body: Body, child: InstanceBuilder, along: Dim | None, overrides: dict[str, Dim]
    ):
        self.body, self.child, self.along, self.overrides = body, child, along, overrides
        self.pairs: dict[Dim, Dim] = {}  # child's dim → caller's dim
        self.dots: tuple[Dim, ...] | None = None
        self.dots_outside: tuple[Dim, ...] = ()
        self.changed: dict[str, Dim] = {}

    def outside(self, name: str, span) -> Dim | None:
        """The caller's dim that a dim name of the child stands for; None if there is none."""
        child, inst = self.child, self.body.instance
        if name in self.overrides:
            return self.overrides[name]
        if name in child.bound:
            found = child.outside[name]
            if isinstance(found, Pending):
                return inst.find_dim(found.name, self.body.declared)
            return found
        dim = child.find_dim(name)
        if dim is None or isinstance(dim, Pending):
            raise child.unknown_dim(name, span)
        return self.by_origin(dim)

    def by_origin(self, dim: Dim) -> Dim | None:
        """The caller's dim that goes back to the same glossary entry."""
        inst, origin = self.body.instance, self.child.origins.get(dim)
        if origin is None:
            return None
        same = [d for d, o in inst.origins.items() if o == origin and d.size == dim.size]
        if same:
            return same[0]
        if origin in inst.glossary or inst.file.name != origin[0]:
            return None
        found = inst.find_dim(origin[1])
        return found if isinstance(found, Dim) and found.size == dim.size else None

    def outside_dims(self, argument: tree.Argument) -> tuple[Dim, ...]:
        """The caller's dims of an argument that is given as a constant."""
        dims: list[Dim] = []
        for name in argument.type.dims:
            if isinstance(name, tree.Dots):
                dims += self.dots_outside
            else:
                found = self.outside(name.id, name.span)
                if found is not None:
                    dims.append(found)
        return tuple(dims)

    def inside(self, argument: tree.Argument, type_: Type, node: tree.Expr) -> Type:
        """The type of an argument in the child's dims.

        Raises:
            Mistake: it lacks a dim, has one too many, or has another dtype.
        """
        shared, child = self.body.shared, self.child
        declared = argument.type
        place = (Place(declared.span, f"{child.layer.name} declares {argument.name} here"),)
        if type_.kind != declared.dtype and not (
            declared.dtype == "float" and type_.kind == "bool"
        ):
            raise shared.error(
                "wrong-dtype",
                f"{argument.name} of {child.layer.name} is {declared.dtype}; this is {type_.kind}",
                node.span,
                places=place,
            )
        left = sorted(type_.dims, key=self.body.rank)
        inner: list[Dim] = []
        for name in declared.dims:
            if isinstance(name, tree.Dots):
                continue
            outer = self.outside(name.id, name.span)
            if (
                outer is None
                and name.id in child.bound
                and not isinstance(child.bound[name.id], Pending)
            ):
                size = child.bound[name.id].size
                outer = next((d for d in left if d.name == name.id and d.size == size), None)
            if outer is None or outer not in left:
                wanted = outer.name if outer is not None else name.id
                called = f"{wanted} (its {name.id})" if wanted != name.id else wanted
                raise shared.error(
                    "dim-missing",
                    f"{child.layer.name} needs {called} in {argument.name}, which is {type_}",
                    node.span,
                    places=place,
                )
            left.remove(outer)
            dim = child.bound.get(name.id)
            if isinstance(dim, Pending) or name.id in self.overrides:
                dim = self.changed.get(name.id) or child.dotted_dim(outer, f"@{name.id}", name.id)
                self.changed[name.id] = dim
            elif dim is None:
                dim = child.dim(name.id, name.span)
            self.pairs[dim] = outer
            inner.append(dim)
        if any(isinstance(d, tree.Dots) for d in declared.dims):
            if self.dots is None:
                self.dots_outside = tuple(left)
                self.dots = tuple(self._dotted(left))
            for outer in left:
                if outer not in self.dots_outside:
                    raise shared.error(
                        "dim-left-over",
                        f"{argument.name} has {outer.name}, which the first argument with `...` lacks",
                        node.span,
                        places=place,
                        facts=(
                            f"`...` stands for [{', '.join(d.name for d in self.dots_outside)}] here",
                        ),
                    )
                inner.append(self.dots[self.dots_outside.index(outer)])
        elif left:
            raise shared.error(
                "dim-left-over",
                f"{child.layer.name} takes no {', '.join(d.name for d in left)} in {argument.name}",
                node.span,
                places=place,
                facts=(f"this is {type_}", "`...` in the type would carry other dims along"),
            )
        return Type(type_.kind if declared.dtype != "float" else declared.dtype, tuple(inner))

    def _dotted(self, outers: list[Dim]) -> list[Dim]:
        seen: dict[tuple[str, Size], int] = {}
        dims = []
        for outer in outers:
            key = (outer.name, outer.size)
            seen[key] = seen.get(key, 0) + 1
            dim = self.child.dotted_dim(outer, str(seen[key]), outer.name)
            if outer in self.body.instance.origins:
                self.child.origins.setdefault(dim, self.body.instance.origins[outer])
            self.pairs[dim] = outer
            dims.append(dim)
        return dims

    def outer(self, dim: Dim, built: BuiltVariant, span) -> Dim:
        """The caller's dim that stands for a dim of a result; made if it is new to the caller."""
        if dim in self.pairs:
            return self.pairs[dim]
        child, inst = self.child, self.body.instance
        for name, bound in child.bound.items():
            if bound == dim and isinstance(child.outside[name], Dim):
                self.pairs[dim] = child.outside[name]
                return self.pairs[dim]
        for name, settled in built.settled.items():
            outside = child.outside.get(name)
            if settled == dim and isinstance(outside, Pending):
                found = inst.find_dim(outside.name, self.body.declared)
                if not isinstance(found, Dim):
                    found = self.body.declared[outside.name] = inst.new_dim(outside.name, dim.size)
                self.pairs[dim] = found
                return found
            if settled == dim and isinstance(outside, Dim):
                self.pairs[dim] = outside
                return outside
        found = self.by_origin(dim)
        if found is None:
            found = inst.new_dim(dim.name, dim.size)
            self.body.declared.setdefault(dim.name, found)
        self.pairs[dim] = found
        return found


def _variant(child, arguments, matcher: Matcher, absent, node) -> BuiltVariant:
    """The variant for these argument types, elaborated if it is new."""
    key = (
        tuple((a.name, t) for a, t in arguments),
        matcher.dots,
        absent,
        tuple(matcher.changed.items()),
    )
    for built in child.variants:
        if built.key == key:
            return built
    built = BuiltVariant(key, sum(1 for v in child.variants if v.variant is not None), None)
    child.variants.append(built)
    built.variant = elaborate_variant(
        child, arguments, matcher.dots, absent, built, matcher.changed
    )
    return built


def elaborate_variant(
    inst: InstanceBuilder,
    arguments: list[tuple[tree.Argument, Type]],
    dots: tuple[Dim, ...] | None,
    absent: tuple[str, ...],
    built: BuiltVariant,
    changed: dict[str, Dim],
    finish: Callable[[Body], None] | None = None,
) -> Variant | None:
    """The body of an instance for given argument types; None if it has mistakes."""
    from .body import Body, Val

    body = Body(inst)
    body.dots = dots
    body.declared.update(changed)
    shadowed = {n: inst.bound[n] for n in changed if n in inst.bound}
    inst.bound.update(changed)
    inputs = []
    try:
        for argument, type_ in arguments:
            order = []
            for name in argument.type.dims:
                if isinstance(name, tree.Dots):
                    order += [d for d in dots or () if d in type_.dims]
                else:
                    order.append(next(d for d in (inst.find_dim(name.id, body.declared),)))
            value = body.builder.define(
                Value(-1, type_, body.label(argument.name, ""), axes(tuple(order)))
            )
            inputs.append(value)
            body.natural += [d for d in order if d not in body.natural]
            body.names[argument.name] = Val(value.id, argument.span)
        for argument in inst.layer.arguments:
            if argument.name in absent and argument.default is not None:
                _default(body, argument)
        body.run(inst.layer.body)
        if body.broken:
            return None
        results = _results(body, built)
        if finish is not None:
            finish(body)
    except Mistake:
        return None
    finally:
        inst.bound.update(shadowed)
    for name, bound in inst.bound.items():
        if isinstance(bound, Pending) and name in body.declared:
            built.settled[name] = body.declared[name]
    initial = {v.id: v for v in body.builder._values.values()}
    writes = []
    for name, id in body.states.items():
        made = body.builder.defining(id)
        if made is None or made.name != "state" or made["name"] != name or made["child"]:
            writes.append((name, id))
    del initial
    return Variant(tuple(inputs), body.builder.close(), results, tuple(writes))


def _default(body: Body, argument: tree.Argument) -> None:
    """Bind an argument that is not given to its default, expanded over its dims."""
    from .body import Val

    id = body.value(body.expr(argument.default), argument.default, argument.type.dtype)
    dims: list[Dim] = []
    for name in argument.type.dims:
        if isinstance(name, tree.Dots):
            dims += body.dots or ()
        else:
            dims.append(body.instance.dim(name.id, name.span, body.declared))
    have = body.builder.type(id).dims
    missing = tuple(d for d in dims if d not in have)
    if missing:
        id = body.builder.add("expand", id, dims=missing, span=argument.span)
    body.names[argument.name] = Val(id, argument.span)


def _results(body: Body, built: BuiltVariant) -> tuple[Result, ...]:
    inst = body.instance
    layer, shared = inst.layer, inst.shared
    if body.returned is None:
        raise shared.error(
            "no-return",
            f"{layer.name} never returns",
            layer.name_span,
            help="end it with `return …`",
        )
    promised = layer.results
    if not promised:
        return _loss_result(body)
    if len(promised) != len(body.returned):
        raise shared.error(
            "wrong-number-of-results",
            f"{layer.name} promises {len(promised)} and returns {len(body.returned)}",
            body.return_span,
            places=(Place(promised[0].span.to(promised[-1].span), "promised here"),),
        )
    results = []
    for promise, value in zip(promised, body.returned, strict=True):
        found = body.builder.type(value.id)
        order: list[Dim] = []
        for name in promise.type.dims:
            if isinstance(name, tree.Dots):
                order += body.dots or ()
            else:
                order.append(inst.dim(name.id, name.span, body.declared))
        _check_result(body, promise, value, found, order)
        results.append(Result(promise.name or "", value.id, tuple(order)))
    return tuple(results)


def _check_result(
    body: Body, promise: tree.Result, value: Val, found: Type, order: list[Dim]
) -> None:
    shared = body.shared
    left = [d for d in found.dims if d not in order]
    missing = [d for d in order if d not in found.dims]
    written = (
        "["
        + ", ".join("..." if isinstance(d, tree.Dots) else d.id for d in promise.type.dims)
        + "]"
    )
    facts = (f"the layer promises {written}; this is {found}",)
    if left and not missing:
        names = ", ".join(d.name for d in left)
        raise shared.error(
            "dim-left-over",
            f"{names} {'is' if len(left) == 1 else 'are'} never summed, so {'it stays' if len(left) == 1 else 'they stay'} in the result",
            value.span,
            places=_carriers(body, left),
            facts=facts,
            help=_suggest_sum(body, value, left),
        )
    if missing:
        same = [(a, b) for a in left for b in missing if a.size == b.size]
        raise shared.error(
            "dim-missing",
            f"the result lacks {', '.join(d.name for d in missing)}"
            + (f" and has {', '.join(d.name for d in left)} instead" if left else ""),
            value.span,
            places=(Place(promise.span, "promised here"),),
            facts=facts,
            help=f"rename[{same[0][0].name} -> {same[0][1].name}](…)" if same else "",
        )
    if found.kind != promise.type.dtype and not (
        promise.type.dtype == "float" and found.kind == "bool"
    ):
        raise shared.error(
            "wrong-dtype",
            f"the layer promises {promise.type.dtype}, and this is {found.kind}",
            value.span,
            places=(Place(promise.span, "promised here"),),
        )


def _carriers(body: Body, dims: list[Dim]) -> tuple[Place, ...]:
    places = []
    for dim in dims:
        for variable in body.instance.params.values():
            if dim in variable.order and variable.span is not None:
                places.append(Place(variable.span, f"{dim.name} comes from here"))
                break
    return tuple(dict.fromkeys(places))


def _suggest_sum(body: Body, value: Val, left: list[Dim]) -> str:
    made = body.builder.defining(value.id)
    text = body.shared.diagnostics.sources.get(value.span.file, "").split("\n")
    names = [d.name for d in left]
    if made is None or value.span.line != value.span.end_line or value.span.line > len(text):
        return f"sum[{', '.join(names)}](…)"
    words = text[value.span.line - 1][value.span.column - 1 : value.span.end_column - 1]
    if (
        made.name == "dot"
        and words.startswith("dot[")
        and all(sum(d in body.builder.type(o).dims for o in made.operands) >= 2 for d in left)
    ):
        inner = words[4 : words.index("]")].split(", ")
        return f"dot[{', '.join([*inner, *names])}]" + words[words.index("]") + 1 :]
    return f"sum[{', '.join(names)}]({words})"


def _loss_result(body: Body) -> tuple[Result, ...]:
    """A loss gives one scalar, which is reported as the metric `loss`."""
    (value, *more) = body.returned
    found = body.builder.type(value.id)
    if more or found.dims or found.kind != "float":
        what = f"{len(body.returned)} values" if more else str(found)
        dims = ", ".join(d.name for d in found.dims)
        raise body.shared.error(
            "loss-not-scalar",
            f"a {body.instance.layer.kind} without a promised result returns one float scalar; this is {what}",
            value.span,
            help=f"mean[{dims}](…)" if dims and not more else "",
        )
    return (Result("", value.id, ()),)


def _emit_call(
    body,
    record: ChildRecord,
    node,
    built: BuiltVariant,
    matcher: Matcher,
    types,
    dealt,
    labels,
    val,
    many,
):
    """Append the `call`, `repeat` or `each`."""
    variant, child = built.variant, record.child
    mode, along = child.mode, child.along
    carried: list[tuple[int, int]] = []
    names = [a.name for a, _, _ in types]
    if mode == "repeat":
        for index, result in enumerate(variant.results):
            if index == 0 and names:
                carried.append((0, 0))
            elif result.name in names:
                carried.append((index, names.index(result.name)))
        _check_carried(body, record, node, variant, carried, dealt, types)
    value_types = {v.id: v.type for v in _values(variant)}
    results = []
    kept = {i for i, _ in carried}
    for index, result in enumerate(variant.results):
        inner = value_types[result.value]
        dims = tuple(matcher.outer(d, built, node.span) for d in result.order)
        if len(set(dims)) != len(dims):
            twice = next(d for d in dims if dims.count(d) > 1)
            raise body.shared.error(
                "dim-twice", f"the result would have {twice.name} twice", node.span,
                facts=("a tensor has each dim once",), help="give the layer another dim for one of them",
            )  # fmt: skip
        if mode == "each" or (mode == "repeat" and index not in kept):
            dims = (along, *dims)
        label = labels[index] if labels and index < len(labels) else None
        results.append(
            Value(-1, Type(inner.dtype, dims), body.label(label, child.name), axes(dims))
        )
    binding = tuple(sorted(((d.id, o) for d, o in matcher.pairs.items()), key=lambda p: p[0]))
    attrs = {
        "child": child.name,
        "variant": built.index,
        "occurrence": record.calls,
        "binding": binding,
    }
    if mode != "one":
        attrs |= {"along": along, "dealt": tuple(dealt)}
    if mode == "repeat":
        attrs["carried"] = tuple(carried)
    record.calls += 1
    name = {"one": "call", "repeat": "repeat", "each": "each"}[mode]
    ids = body.builder.append(
        Op(name, tuple(i for _, _, i in types), tuple(results), attributes(**attrs), span=node.span)
    )
    values = tuple(val(i, node.span) for i in ids)
    return values[0] if len(values) == 1 else many(values, node.span)


def _check_carried(body, record, node, variant, carried, dealt, types) -> None:
    value_types = {v.id: v.type for v in _values(variant)}
    for result, argument in carried:
        gives = value_types[variant.results[result].value]
        takes = types[argument][1]
        if gives.dims != takes.dims or argument in dealt:
            raise body.shared.error(
                "repeat-changes",
                f"{record.builder.layer.name} takes {takes} and gives {gives}: it cannot be repeated",
                node.span,
                places=(Place(record.child.span or node.span, "repeated here"),),
                facts=("the first result becomes the first argument of the next copy",),
            )


def _values(variant: Variant):
    from ..ir.core import walk

    yield from variant.inputs
    for op in walk(variant.ops):
        yield from op.results


def parameter_dims(
    body: Body, builder: InstanceBuilder, variable, path: list[str], node
) -> tuple[Dim, ...]:
    """The caller's dims of a parameter read by `instance.parameter`."""
    dims = []
    for dim in variable.order:
        current: Dim | Pending | None = dim
        level = builder
        while level is not body.instance and isinstance(current, Dim):
            name = next((n for n, b in level.bound.items() if b == current), None)
            found = level.outside.get(name) if name is not None else None
            if found is None:
                origin = level.origins.get(current)
                found = body.instance.find_dim(origin[1]) if origin is not None else None
                current, level = found, body.instance
            else:
                current, level = found, level.parent
        if not isinstance(current, Dim):
            raise body.shared.error(
                "dim-not-there",
                f"{dim.name} of this parameter has no name here",
                node.span,
                facts=(f"give it one at the use: [{dim.name} = …]",),
            )
        dims.append(current)
    return tuple(dims)
