"""What a module holds: parameters by path, with shapes and sizes."""

from __future__ import annotations

from dataclasses import dataclass

from .core import Dim, Module, join
from .size import Size


@dataclass(frozen=True)
class Row:
    """One parameter or state: its authored path, the dims as stored, the number of its elements."""

    path: str
    kind: str
    dims: tuple[Dim, ...]
    elements: Size


@dataclass(frozen=True)
class Census:
    """The parameters and states of a module, in order of declaration.

    Attributes:
        rows: one for each; copies of a repeat are stacked, as they are in memory and in files.
        parameters: the number of all elements of parameters.
        states: the same for states.
    """

    rows: tuple[Row, ...]
    parameters: Size
    states: Size


def census(module: Module) -> Census:
    """Count what a module holds."""
    rows: list[Row] = []

    def visit(path: str, stacked: tuple[Dim, ...]) -> None:
        instance = module.instance(path)
        for kind, variables in (("param", instance.params), ("state", instance.states)):
            for variable in variables:
                dims = (*stacked, *variable.order)
                count = Size.of(1)
                for dim in dims:
                    count = count * dim.size
                rows.append(Row(join(path, variable.name), kind, dims, count))
        for child in instance.children:
            along = () if child.along is None else (child.along,)
            visit(join(path, child.name), (*stacked, *along))

    visit("", ())
    total = {"param": Size.of(0), "state": Size.of(0)}
    for row in rows:
        total[row.kind] = total[row.kind] + row.elements
    return Census(tuple(rows), total["param"], total["state"])


def table(found: Census) -> str:
    """The census as text, one line a parameter, totals at the end."""
    if not found.rows:
        return "no parameters"
    cells = [
        (
            row.path,
            "[" + ", ".join(f"{d.name} {d.size}" for d in row.dims) + "]",
            _number(row.elements),
            "" if row.kind == "param" else "state",
        )
        for row in found.rows
    ]
    widths = [max(len(c[i]) for c in cells) for i in range(3)]
    lines = [
        f"{path:<{widths[0]}}  {dims:<{widths[1]}}  {count:>{widths[2]}}  {kind}".rstrip()
        for path, dims, count, kind in cells
    ]
    rule = "─" * max(len(line) for line in lines)
    total = f"{_number(found.parameters)} parameters, {_bytes(found.parameters)} in float32"
    if found.states != 0:
        total += f"; {_number(found.states)} in states"
    return "\n".join([*lines, rule, total])


def _number(size: Size) -> str:
    return f"{size.value:,}" if size.is_constant else str(size)


def _bytes(size: Size) -> str:
    if not size.is_constant:
        return f"{size * 4} bytes"
    count = float(size.value * 4)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:,.1f} {unit}"
        count /= 1024
    raise AssertionError
