"""The text form of a module: what people read in dumps and bug reports, and tests compare.

`show` writes it and `parse` reads it: `parse(show(m)) == m` for every module, whether it is valid
or not. What is read is data only, nothing is evaluated. It looks like this:

    module "next_token" loss
      model "gpt"
      free B, S
      claim open "S >= 2": "the window is 2"

    instance "gpt.norm" RMSNorm
      dims B.0 = B, D.1 = 128
      param "scale" : float[D.1] = {
        %0 = const() {dtype = "float", value = 1.0} : float[]
        %1 = expand[D.1](%0) : float[D.1]
        result %1
      }
      variant (%0 "x" : float[B.0, D.1] order B.0 D.1) {
        %1 = param() {child = "", name = "scale"} : float[D.1]
        %2 "y" = multiply(%0, %1) : float[B.0, D.1]  # gpt.nw:12
        result %2 [B.0, D.1]
      }

A dim is its name and number, and its size stands in the table of its instance; one that is not in
the table as it is carries its size along: `D.1<64>`. An order lists axes: `(B.0 S.1) D.2`
collapses two dims, `()` is an axis of size 1. `<S // 2>` is a size among attributes. Places and
docstrings are written as comments and not read back. A NaN comes back as a NaN.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from .core import Dim, Instance, Module, Op, Order, Region, Type, Value, Variable
from .size import Size
from .text_reader import WORD, TextError, parse

__all__ = ["TextError", "parse", "show", "show_instance"]

_WIDTH = 100


def show(module: Module, *, places: bool = True) -> str:
    """The text form of a module; `places` adds source lines and docstrings, as comments."""
    lines = [f"module {_quote(module.name)} {_word(module.kind)}"]
    if module.model is not None:
        lines.append(f"  model {_quote(module.model)}")
    if module.free:
        lines.append("  free " + ", ".join(map(_word, module.free)))
    if module.sizes:
        lines.append("  sizes " + ", ".join(f"{_word(n)} = {v}" for n, v in module.sizes))
    if module.facts:
        lines.append("  facts " + ", ".join(map(_word, module.facts)))
    for c in module.claims:
        lines.append(
            f"  claim {_word(c.verdict)} {_quote(str(c.claim))}: {_quote(c.reason)}"
            + _place(c, places)
        )
    for instance in module.instances:
        lines += ["", *show_instance(instance, places=places)]
    return "\n".join(lines) + "\n"


def show_instance(instance: Instance, *, places: bool = True) -> list[str]:
    """The lines of one instance, as they stand in the text form of its module."""
    return _Writer(instance, places).instance()


def _quote(text: str) -> str:
    return (
        json.dumps(text, ensure_ascii=False).replace("\u2028", "\\u2028").replace("\x85", "\\u0085")
    )


def _word(text: str) -> str:
    return text if WORD.fullmatch(text) else _quote(text)


def _place(of: object, places: bool) -> str:
    span = getattr(of, "span", None)
    if span is None or not places:
        return ""
    return "  # " + re.sub(r"[^\x20-\x7e]", "?", f"{span.file}:{span.line}")


class _Writer:
    """Writes one instance."""

    def __init__(self, instance: Instance, places: bool):
        self.of, self.places = instance, places
        self.table = {d.id: d for d in instance.dims}

    def instance(self) -> list[str]:
        of = self.of
        lines = [f"instance {_quote(of.path)} {_word(of.layer)}" + _place(of, self.places)]
        if of.doc and self.places:
            lines += [f"  # {row.strip()}".rstrip() for row in of.doc.splitlines()]
        if of.dims:
            row = "  dims"
            for i, d in enumerate(of.dims):
                item = f" {_word(d.name)}.{d.id} = {d.size}" + ("," if i + 1 < len(of.dims) else "")
                if len(row) + len(item) > _WIDTH:
                    lines.append(row)
                    row = "      "
                row += item
            lines.append(row)
        for word, variables in (("param", of.params), ("state", of.states)):
            for v in variables:
                lines += self.variable(word, v)
        for c in of.children:
            along = f" {self.dim(c.along)}" if c.along is not None else ""
            lines.append(
                f"  child {_quote(c.name)} {_word(c.mode)}{along}" + _place(c, self.places)
            )
        for variant in of.variants:
            inputs = ", ".join(map(self.value, variant.inputs))
            lines.append(f"  variant ({inputs}) {{")
            lines += self.ops(variant.ops, "    ")
            for r in variant.results:
                name = f" {_quote(r.name)}" if r.name else ""
                lines.append(f"    result %{r.value}{name} [{', '.join(map(self.dim, r.order))}]")
            lines += [f"    write {_quote(name)} %{id}" for name, id in variant.writes]
            lines.append("  }")
        return lines

    def variable(self, word: str, v: Variable) -> list[str]:
        # Written with its dims in the declared order, which then need not be said again.
        plain = tuple(sorted(v.order, key=lambda d: d.id)) == v.type.dims
        dims = ", ".join(map(self.dim, v.order if plain else v.type.dims))
        order = "" if plain else " order" + "".join(f" {self.dim(d)}" for d in v.order)
        head = f"  {word} {_quote(v.name)} : {v.type.dtype}[{dims}]{order} = "
        lines = self.region(v.init, "  ", head)
        lines[0] += _place(v, self.places)
        return lines

    def region(self, region: Region, indent: str, head: str) -> list[str]:
        arguments = ", ".join(map(self.value, region.arguments))
        lines = [head + (f"({arguments}) {{" if arguments else "{")]
        lines += self.ops(region.ops, indent + "  ")
        if region.results:
            lines.append(f"{indent}  result " + ", ".join(f"%{r}" for r in region.results))
        return [*lines, indent + "}"]

    def ops(self, ops: Iterable[Op], indent: str) -> list[str]:
        lines = []
        for op in ops:
            lines.append(indent + self.op(op) + _place(op, self.places))
            for region in op.regions:
                lines += self.region(region, indent + "  ", indent + "  region ")
        return lines

    def op(self, op: Op) -> str:
        left = ", ".join(self.defined(r) for r in op.results)
        text = (f"{left} = " if left else "do ") + _word(op.name)
        attrs: dict[str, Any] = dict(op.attrs)
        brackets = self.brackets(attrs)
        if brackets is not None:
            text += f"[{brackets}]"
        text += "(" + ", ".join(f"%{i}" for i in op.operands) + ")"
        if attrs:
            inner = ", ".join(f"{_word(k)} = {self.attribute(v)}" for k, v in attrs.items())
            text += f" {{{inner}}}"
        if op.results:
            text += " : " + ", ".join(self.type(r.type) + self.order(r.order) for r in op.results)
        return text

    def brackets(self, attrs: dict[str, Any]) -> str | None:
        """Takes `dims` and `arrows` out of the attributes, and writes them between brackets."""
        dims, arrows = attrs.get("dims"), attrs.get("arrows")
        items: list[str] = []
        pointed = bool(arrows) and _arrows(arrows)
        # Between brackets, no dims before arrows means that there is no attribute `dims`.
        if _dims(dims) and (dims or not pointed):
            items += map(self.dim, attrs.pop("dims"))
        elif not pointed:
            return None
        if pointed:
            arrows = attrs.pop("arrows")
            items += [" -> ".join(self.side(side) for side in arrow) for arrow in arrows]
        return ", ".join(items)

    def side(self, dims: tuple[Dim, ...]) -> str:
        return " ".join(map(self.dim, dims)) or "()"

    def attribute(self, value: object) -> str:
        if value is None or isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, str):
            return _quote(value)
        if isinstance(value, Dim):
            return self.dim(value)
        if isinstance(value, Size):
            return f"<{value}>"
        if isinstance(value, tuple):
            inner = ", ".join(map(self.attribute, value))
            return f"({inner},)" if len(value) == 1 else f"({inner})"
        if type(value) in (int, float):
            return repr(value)
        raise TypeError(f"an attribute cannot be {value!r}")

    def dim(self, d: Dim) -> str:
        text = f"{_word(d.name)}.{d.id}"
        return text if self.table.get(d.id) == d else f"{text}<{d.size}>"

    def type(self, t: Type) -> str:
        return f"{t.dtype}[{', '.join(map(self.dim, t.dims))}]"

    def order(self, order: Order | None) -> str:
        if order is None:
            return ""
        axes = (self.dim(a[0]) if len(a) == 1 else f"({' '.join(map(self.dim, a))})" for a in order)
        return " order" + "".join(f" {a}" for a in axes)

    def defined(self, v: Value) -> str:
        return f"%{v.id} {_quote(v.label)}" if v.label else f"%{v.id}"

    def value(self, v: Value) -> str:
        return f"{self.defined(v)} : {self.type(v.type)}{self.order(v.order)}"


def _dims(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(d, Dim) for d in value)


def _arrows(value: object) -> bool:
    return isinstance(value, tuple) and all(
        isinstance(a, tuple) and len(a) == 2 and all(map(_dims, a)) for a in value
    )
