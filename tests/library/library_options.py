"""What each layer of the library may be told, read from the library itself, and what cases tell it.

A knob is whatever a use or a call of a layer settles: an option, a dim that has a default, a value
that may be left out, and `train` where the layer asks for it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

from library_cases import Layer, choices, model_text
from netwright.frontend import tree
from netwright.frontend.names import LIBRARY
from netwright.frontend.parser import parse
from netwright.ir.diagnostics import Diagnostics
from netwright.ir.registry import REGISTRY

GIVEN, LEFT = "given", "left out"


@dataclass(frozen=True)
class Knob:
    """One thing that a layer may be told.

    Attributes:
        default: as it is written; None where it must be given.
        must: what cases have to tell it: values as they are written, or kinds: `a number`,
            `a pair`, `another` than the default.
    """

    default: str | None
    must: frozenset[str]

    def missing(self, seen: Iterable[str]) -> set[str]:
        """What no case tells."""
        seen = set(seen)
        found = self.must - seen
        if any(_is_number(value) for value in seen):
            found -= {"a number"}
        if any(value.startswith("(") for value in seen):
            found -= {"a pair"}
        if seen - {self.default}:
            found -= {"another"}
        return found


def _is_number(written: str) -> bool:
    return written.lstrip("-")[:1].isdigit()


@cache
def library() -> dict[str, tree.Layer]:
    """All layers of the library, by `chapter.Layer`."""
    found = {}
    for chapter, (file, _) in chapters().items():
        for item in file.items:
            if isinstance(item, tree.Layer):
                found[f"{chapter}.{item.name}"] = item
    return found


@cache
def chapters() -> dict[str, tuple[tree.File, str]]:
    """The chapters, parsed, and their texts."""
    found = {}
    for path in sorted(LIBRARY.glob("*.nw")):
        text = path.read_text(encoding="utf-8")
        diagnostics = Diagnostics()
        file = parse(text, path.name, diagnostics)
        diagnostics.raise_errors()
        assert file is not None
        found[path.stem] = file, text
    return found


def knobs(name: str) -> dict[str, Knob]:
    """All that a layer may be told."""
    layer, found = library()[name], {}
    lines = chapters()[name.split(".")[0]][1].split("\n")
    for argument in layer.arguments:
        if argument.type is not None:
            if argument.default is not None:
                found[argument.name] = Knob(LEFT, frozenset({LEFT, GIVEN}))
        else:
            default = argument.default and _written(argument.default, lines)
            must = {"another"} if default is not None else set()
            if default in ("true", "false"):
                must = {"true", "false"}
            must |= set(_taken(name, argument.name))
            must |= {default} if default else set()
            found[argument.name] = Knob(default, frozenset(must))
    for item in layer.dims:
        if item.value is not None:
            dim = item.right or item.left
            assert isinstance(dim, tree.Name)
            found[dim.id] = Knob(LEFT, frozenset({LEFT, GIVEN}))
    if any(isinstance(n, tree.If) and _asks(n.condition) for n in _nodes(layer.body)):
        found["train"] = Knob(None, frozenset({"true", "false"}))
    return found


def _written(node: tree.Node, lines: list[str]) -> str:
    """An expression as it is written, on one line."""
    span = node.span
    return lines[span.line - 1][span.column - 1 : span.end_column - 1]


def _asks(condition: tree.Expr) -> bool:
    return any(isinstance(n, tree.Name) and n.id == "train" for n in _nodes(condition))


def _nodes(value: Any) -> Iterator[tree.Node]:
    """A node, or nodes, and all inside."""
    if isinstance(value, tuple):
        for one in value:
            yield from _nodes(one)
    elif isinstance(value, tree.Node):
        yield value
        for one in fields(value):
            yield from _nodes(getattr(value, one.name))


def _taken(name: str, option: str) -> Iterator[str]:
    """What the ops take that an option of a layer is handed on to."""
    layer, chapter = library()[name], name.split(".")[0]
    defaults = {a.name: a.default for a in layer.arguments}
    for node in _nodes(layer.body):
        if not isinstance(node, tree.Call | tree.Use):
            continue
        callee = node.callee if isinstance(node, tree.Call) else node.layer
        if isinstance(callee, tree.Name) and isinstance(defaults.get(callee.id), tree.Name):
            callee = defaults[callee.id]  # an option: what it is by default
        for keyword in node.keywords:
            if not (isinstance(keyword.value, tree.Name) and keyword.value.id == option):
                continue
            if isinstance(callee, tree.Member):
                yield from _taken(f"{callee.base.id}.{callee.name}", keyword.name)
            elif f"{chapter}.{callee.id}" in library():
                yield from _taken(f"{chapter}.{callee.id}", keyword.name)
            elif callee.id in REGISTRY and keyword.name in REGISTRY[callee.id].options:
                known = REGISTRY[callee.id].options[keyword.name]
                yield from known.words
                if "bool" in known.kinds:
                    yield from ("true", "false")
                if {"int", "float"} & set(known.kinds):
                    yield "a number"
                if "pair" in known.kinds:
                    yield "a pair"
                if "none" in known.kinds:
                    yield "none"


def told(layer: Layer, choice: Mapping[str, Any]) -> dict[str, str]:
    """What a case tells a layer, by knob, read from the model that is written for it."""
    text, _ = model_text(layer, choice)
    file = parse(text, "model.nw", Diagnostics())
    assert file is not None, text
    chapter, _, name = layer.name.partition(".")
    use = next(
        n for n in _nodes(file.items)
        if isinstance(n, tree.Use) and isinstance(n.layer, tree.Member)
        and (n.layer.base.id, n.layer.name) == (chapter, name)
    )  # fmt: skip
    assert not use.arguments, f"{layer.name}: options by name, so that they can be counted"
    declared = library()[layer.name]
    written = {keyword.name: str(choice[keyword.name]) for keyword in use.keywords}
    dims = dict.fromkeys(_dims(declared, use.dims or ()), GIVEN)
    found = {}
    for knob, about in knobs(layer.name).items():
        if knob == "train":
            found[knob] = str(choice.get("train", False)).lower()
        elif knob[0].isupper():
            found[knob] = dims.get(knob, LEFT)
        elif about.default == LEFT:
            given = knob in layer.arguments and choice.get(knob, True)
            found[knob] = GIVEN if given else LEFT
        else:
            found[knob] = written.get(knob, about.default)
    return found


def _dims(layer: tree.Layer, items: tuple[tree.Item, ...]) -> Iterator[str]:
    """The dims that a use settles."""
    arrows = [item.right.id for item in layer.dims if item.right is not None]
    given = [item for item in items if item.right is not None]
    yield from arrows[: len(given)]
    for item in items:
        if item.right is None:
            yield item.left.id


Pair = tuple[tuple[str, str], tuple[str, str]]


def coverage(layers: Iterable[Layer]) -> tuple[dict[str, set[str]], set[Pair]]:
    """The values that the tables of one layer tell each knob, and the pairs of them that meet."""
    values: dict[str, set[str]] = {}
    met: set[Pair] = set()
    for layer in layers:
        for choice in choices(layer):
            found = sorted(told(layer, choice).items())
            for name, value in found:
                values.setdefault(name, set()).add(value)
            met |= set(itertools.combinations(found, 2))
    return values, met


def all_pairs(values: Mapping[str, set[str]]) -> Iterator[Pair]:
    """Every value of every two knobs."""
    for a, b in itertools.combinations(sorted(values), 2):
        yield from itertools.product(((a, v) for v in values[a]), ((b, v) for v in values[b]))
