"""What a syntax tree names."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .. import tree


def assigned(statements: Iterable[tree.Statement]) -> list[str]:
    """Names that statements bind, in order."""
    found: dict[str, None] = {}
    for node in statements:
        match node:
            case tree.Assign(targets=targets):
                found |= {t.id: None for t in targets if t.id != "_"}
            case tree.Scan(targets=targets, carry=carry):
                found |= {k.name: None for k in carry} | {t.id: None for t in targets}
            case tree.Param(name=name) | tree.State(name=name) | tree.Use(name=name):
                found[name] = None
            case tree.If(then=then, orelse=orelse):
                found |= dict.fromkeys([*assigned(then), *assigned(orelse)])
    return list(found)


def walk(node: object, visit: Callable[[tree.Node], None]) -> None:
    if isinstance(node, tree.Node):
        visit(node)
        for inner in vars(node).values():
            walk(inner, visit)
    elif isinstance(node, tuple):
        for inner in node:
            walk(inner, visit)


def names_in(node: tree.Expr | None) -> set[str]:
    """Names in an expression."""
    found: set[str] = set()
    walk(node, lambda n: found.add(n.id) if isinstance(n, tree.Name) else None)
    return found


def dim_names(file: tree.File) -> list[str]:
    """Dims that layers name between brackets and in types, and do not declare themselves."""
    found: dict[str, None] = {}
    layers = [i for i in file.items if isinstance(i, tree.Layer)]
    own: set[str] = {layer.name for layer in layers}

    def visit(node: tree.Node) -> None:
        if isinstance(node, tree.Item | tree.TypeExpr):
            walk(node, take)
        elif isinstance(node, tree.Use | tree.Scan):
            walk(node.along, take)

    def take(node: tree.Node) -> None:
        if isinstance(node, tree.Name) and node.id[:1].isupper() and node.id not in own:
            found[node.id] = None

    for layer in layers:
        own = {one.name for one in layers}
        for part in (layer.dims, layer.arguments, layer.results):
            walk(part, visit)
        own |= {d.name for s in layer.body if isinstance(s, tree.Dims) for d in s.items}
        walk(layer.body, visit)
    return list(found)


def symbolic_options(file: tree.File) -> set[tuple[str, str]]:
    """Options that some use in the file gives a size or constant: the layer, and the option."""
    consts = {c.name for i in file.items if isinstance(i, tree.Consts) for c in i.items}
    layers = {i.name for i in file.items if isinstance(i, tree.Layer)}
    found: set[tuple[str, str]] = set()
    before = -1

    def visit(node: tree.Node) -> None:
        if isinstance(node, tree.Use | tree.Call):
            callee = node.layer if isinstance(node, tree.Use) else node.callee
            for keyword in node.keywords:
                names = names_in(keyword.value)
                symbols = {n for n in names - layers if n in consts | mine or n[:1].isupper()}
                if isinstance(callee, tree.Name) and symbols:
                    found.add((callee.id, keyword.name))

    while len(found) > before:  # a layer may hand on what it was given
        before = len(found)
        for layer in file.items:
            if isinstance(layer, tree.Layer):
                mine = {option for of, option in found if of == layer.name}
                walk(layer.body, visit)
    return found
