"""What the commands on checkpoints show: tables for people."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import click

from .formats.common import Leaf, Path, shown

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]], numeric: int) -> None:
    """Print rows under headings, the last `numeric` columns to the right.

    For a terminal by rich, which folds what is too wide; else in plain columns.
    """
    left = len(headings) - numeric
    if sys.stdout.isatty():
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        made = Table(box=box.SIMPLE, pad_edge=False)
        for column, heading in enumerate(headings):
            side: Any = "left" if column < left else "right"
            made.add_column(
                Text(heading), justify=side, no_wrap=column >= left, overflow="fold",
                min_width=12 if column < left and heading else None,
            )  # fmt: skip
        for row in rows:
            made.add_row(*map(Text, row))
        Console().print(made, highlight=False)
        return
    widths = [max(len(row[i]) for row in (headings, *rows)) for i in range(len(headings))]
    lines = [
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (headings, *rows)
    ]
    click.echo("\n".join([lines[0], "─" * max(map(len, lines)), *lines[1:]]))


def size(count: int) -> str:
    """A number of bytes with three digits: `1.64 MiB`."""
    scaled, unit = float(count), 0
    while scaled >= 1024 and unit < len(_UNITS) - 1:
        scaled, unit = scaled / 1024, unit + 1
    digits = 0 if unit == 0 or scaled >= 100 else 1 if scaled >= 10 else 2
    return f"{scaled:.{digits}f} {_UNITS[unit]}"


@dataclass(frozen=True)
class Rows:
    """Leaves that are alike but for one number in their paths: `blocks_{0..11}.wq`."""

    name: str
    leaf: Leaf
    count: int


_NUMBER = re.compile(r"\d+")
_FEWEST = 3  # leaves that share a line


def collapsed(leaves: Iterable[tuple[Path, Leaf]]) -> list[Rows]:
    """Leaves in order, those together that differ in one number only and are of one kind.

    The numbers must follow each other: what is shown as `{0..11}` has twelve leaves.
    """
    groups: dict[tuple[str, int, Leaf], list[tuple[int, str]]] = {}
    names = [(shown(path), leaf) for path, leaf in leaves]
    for name, leaf in names:
        for found in _NUMBER.finditer(name):
            if found[0] == str(int(found[0])):
                key = (_cut(name, found), found.start(), leaf)
                groups.setdefault(key, []).append((int(found[0]), name))
    made: list[Rows] = []
    done: set[str] = set()
    for name, leaf in names:
        if name in done:
            continue
        best: list[tuple[int, str]] = []
        cut: re.Match[str] | None = None
        for found in _NUMBER.finditer(name):
            members = groups.get((_cut(name, found), found.start(), leaf), [])
            numbers = sorted(number for number, _ in members)
            follow = numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else 0
            if (
                follow
                and len(members) >= max(len(best) + 1, _FEWEST)
                and not done & {n for _, n in members}
            ):
                best, cut = members, found
        if cut is None:
            made.append(Rows(name, leaf, 1))
            continue
        numbers = sorted(number for number, _ in best)
        span = f"{{{numbers[0]}..{numbers[-1]}}}"
        made.append(Rows(name[: cut.start()] + span + name[cut.end() :], leaf, len(best)))
        done |= {n for _, n in best}
    return made


def _cut(name: str, found: re.Match[str]) -> str:
    return f"{name[: found.start()]}\0{name[found.end() :]}"
