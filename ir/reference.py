"""The reference page of ops, generated from the registry."""

from __future__ import annotations

from .registry import REQUIRED, OpDef, lookup, names

FAMILIES = {
    "arithmetic": "Arithmetic, comparisons, logic",
    "pointwise": "Pointwise",
    "reduction": "Over dims",
    "normalising": "Over dims, keeping them",
    "product": "Products",
    "convolution": "Convolutions and pools",
    "shape": "Shape",
    "lookup": "Lookup",
    "position": "Positions",
    "attention": "Attention",
    "random": "Random ops and constants",
    "initializer": "Initializers",
    "loss": "Losses",
}
"""Families in the order of the page; `structure` and `layout` are made by stages, not written."""

WRITTEN = {"minimum": "min", "maximum": "max", "logical_and": "and", "logical_or": "or"}
WRITTEN |= {"logical_not": "not", "negate": "-"}


def reference() -> str:
    """The page, as Markdown."""
    lines = [
        "# Ops",
        "",
        "Generated from the registry; `python -m pytest tests/ir/test_reference.py "
        "--update-golden` writes it anew.",
        "Brackets hold dims, parentheses values, then options with their defaults. `?` marks what "
        "may be left out.",
        "",
    ]
    found: dict[str, list[OpDef]] = {}
    for name in names():
        definition = lookup(name)
        found.setdefault(definition.family, []).append(definition)
    for family in [*FAMILIES, *sorted(set(found) - {*FAMILIES, "structure", "layout"})]:
        if family not in found:
            continue
        lines += [f"## {FAMILIES.get(family, family.capitalize())}", ""]
        for definition in found[family]:
            also = f" Elsewhere: {', '.join(definition.also)}." if definition.also else ""
            lines += [f"**`{signature(definition)}`**  ", definition.doc + also, ""]
    return "\n".join(lines).rstrip() + "\n"


def signature(definition: OpDef) -> str:
    """How an op is written, such as `softmax[…](x, where?)`."""
    name = WRITTEN.get(definition.name, definition.name)
    if definition.infix:
        return f"{definition.operands[0]} {definition.infix} {definition.operands[1]}"
    brackets = definition.brackets
    inside = []
    if brackets.arrows != (0, 0):
        inside.append(f"{_side(brackets.left)} -> {_side(brackets.right)}")
    if brackets.dims != (0, 0):
        inside.append("D" if brackets.dims[1] == 1 else "D, …")
    if definition.family == "initializer":
        inside = ["D -> H"]
    arguments = [*definition.operands, *(["…"] if definition.variadic else [])]
    arguments += [f"{o}?" for o in definition.keywords]
    arguments += [_option(n, o.default) for n, o in definition.options.items()]
    return name + (f"[{', '.join(inside)}]" if inside else "") + f"({', '.join(arguments)})"


def _side(joined: str) -> str:
    return f"A {joined} B" if joined else "A"


def _option(name: str, default: object) -> str:
    if default is REQUIRED:
        return name
    words = {True: "true", False: "false", None: "none"}
    shown = words[default] if default is None or isinstance(default, bool) else default
    return f"{name} = {shown}"
