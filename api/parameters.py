"""The census of a module as a table or JSON: `netwright show --parameters`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import reduce
from math import prod
from typing import TYPE_CHECKING, Any

from .ir.census import Census, Row
from .ir.core import Dim
from .ir.size import Factor, Size, exact_quotient, polynomial

if TYPE_CHECKING:
    from rich.table import Table

Cells = tuple[str, str, str, str, str]
_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_THOUSANDS = ("", "k", "M", "G", "T", "P", "E")


def table(found: Census) -> str:
    """The census in aligned columns, a line for each instance, parameter and state."""
    shared = _shared(found)
    rows = [_headings(shared), *(_cells(row, found, shared) for row in _shown(found))]
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    lines = [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    rule = "─" * max(map(len, lines))
    return "\n".join([lines[0], rule, *lines[1:], rule, *_totals(found, shared)])


def rich_table(found: Census) -> tuple[Table, str]:
    """The same for a terminal: a table of rich, and what stands below it."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shared = _shared(found)
    made = Table(box=box.SIMPLE, pad_edge=False)
    for column, heading in enumerate(_headings(shared)):
        made.add_column(
            Text(heading), justify="left" if column < 2 else "right", no_wrap=column != 1,
            overflow="fold",
        )  # fmt: skip
    for row in _shown(found):
        style = "bold" if row.kind == "instance" else ""
        made.add_row(*map(Text, _cells(row, found, shared)), style=style)
    return made, "\n".join(_totals(found, shared))


def as_json(found: Census) -> str:
    """The census as JSON. A count is a number, or the text of a formula in the free sizes."""
    module = found.module
    made = {
        "name": module.name,
        "kind": module.kind,
        "free": list(module.free),
        "parameters": _exact(found.parameters),
        "bytes": _exact(found.rows[0].bytes),
        "states": _exact(found.states),
        "state_bytes": _exact(found.state_bytes),
        "flops": _exact(found.rows[0].flops.total),
        "flops_in_products": _exact(found.rows[0].flops.products),
        "rows": [_row(row) for row in found.rows],
    }
    return json.dumps(made, indent=1)


def _row(row: Row) -> dict[str, Any]:
    made: dict[str, Any] = {"path": row.path, "kind": row.kind}
    made["copies"] = {dim.name: _exact(dim.size) for dim in row.copies}
    if row.kind == "instance":
        made |= {"layer": row.layer, "parameters": _exact(row.elements)}
    else:
        made |= {
            "dims": [dim.name for dim in row.dims],
            "shape": [_exact(dim.size) for dim in row.dims],
            "elements": _exact(row.elements),
        }
    made["bytes"] = _exact(row.bytes)
    if row.kind == "instance":
        made["flops"] = _exact(row.flops.total)
        made["flops_in_products"] = _exact(row.flops.products)
    return made


def _exact(size: Size) -> int | str:
    return size.value if size.is_constant else str(size)


def _headings(shared: Size) -> Cells:
    flops = "FLOPs" if shared == 1 else f"FLOPs / {_rounded(shared)}"
    return ("path", "shape", "parameters", "bytes", flops)


def _shown(found: Census) -> list[Row]:
    """The rows without those of instances that neither hold nor compute anything."""
    first, *rest = found.rows
    return [first, *(r for r in rest if r.elements != 0 or r.flops.total != 0)]


def _cells(row: Row, found: Census, shared: Size) -> Cells:
    path = row.path or found.module.name
    if row.kind == "instance":
        shape = row.layer if row.path else found.module.kind
        if row.repeats is not None:
            path += f" × {_number(row.repeats.size)}"
    else:
        copies = "".join(f"{_number(dim.size)} × " for dim in row.copies)
        shape = f"{copies}[{', '.join(map(_dim, row.dims))}]"
        shape = f"state {shape}" if row.kind == "state" else shape
    flops = "" if row.flops.total == 0 else _work(row.flops.total, shared)
    bytes = "" if row.bytes == 0 else _bytes(row.bytes)
    return (path, shape, _number(row.elements) if bytes else "", bytes, flops)


def _totals(found: Census, shared: Size) -> list[str]:
    whole = found.rows[0]
    lines = [f"{_number(whole.elements)} parameters in {_bytes(whole.bytes)}"]
    if found.states != 0:
        states = f"{_number(found.states)} elements of state in {_bytes(found.state_bytes)}"
        lines.append(f"{states}, which do not count as parameters")
    total, products = (_work(s, shared) for s in (whole.flops.total, whole.flops.products))
    per = "" if shared == 1 else f" for each {_rounded(shared)}"
    lines.append(f"{total} FLOPs{per} in one forward pass, {products} of them in products")
    less = "" if shared == 1 else f"; what does not grow with {_rounded(shared)} is left out"
    lines.append(f"a multiply-add is two FLOPs{less}")
    return lines


def _shared(found: Census) -> Size:
    """The free sizes that the work in products is proportional to: B, or B and S."""
    whole = found.rows[0].flops
    terms = whole.products.terms or whole.total.terms
    if not terms:
        return Size.of(1)
    names = [Counter(f for f in factors if isinstance(f, str)) for factors, _ in terms]
    common = reduce(lambda a, b: a & b, names)
    return prod(map(Size.free, common.elements()), start=Size.of(1))


def _work(size: Size, shared: Size) -> str:
    """Operations, for each of what is shared."""
    found = Size.of(0)
    for factors, number in size.terms:
        part = exact_quotient(polynomial({factors: number}), shared)
        found += 0 if part is None else part
    return _rounded(found)


def _product(factors: Iterable[Factor]) -> str:
    """A product of sizes: `B·S²`."""
    parts = []
    for factor, power in Counter(factors).items():
        name = factor if isinstance(factor, str) else str(Size.atom_of(factor))
        parts.append(name if power == 1 else name + str(power).translate(_RAISED))
    return "·".join(parts)


def _dim(dim: Dim) -> str:
    return dim.name if dim.size.symbol == dim.name else f"{dim.name} {dim.size}"


def _number(size: Size) -> str:
    return f"{size.value:,}" if size.is_constant else str(size)


def _rounded(size: Size) -> str:
    """A count with three digits: `1.64 M`; of a formula, each of its numbers."""
    if size.is_constant:
        return _scaled(size.value, 1000, _THOUSANDS)
    parts = []
    for factors, number in size.terms:
        rounded = _scaled(abs(number), 1000, _THOUSANDS)
        names = _product(factors)
        parts.append("- " if number < 0 else "+ ")
        parts.append(f"{rounded} {names}" if names and abs(number) != 1 else names or rounded)
        parts.append(" ")
    return "".join(parts).strip().removeprefix("+ ")


def _bytes(size: Size) -> str:
    if not size.is_constant:
        return f"{size} B"
    return _scaled(size.value, 1024, ("B", "KiB", "MiB", "GiB", "TiB", "PiB"))


def _scaled(number: int, base: int, units: Sequence[str]) -> str:
    power = 0
    while number >= base ** (power + 1) and power < len(units) - 1:
        power += 1
    scaled = number / base**power
    digits = 0 if power == 0 or scaled >= 100 else 1 if scaled >= 10 else 2
    return f"{scaled:.{digits}f} {units[power]}".rstrip()
