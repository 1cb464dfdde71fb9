"""Logs of runs for people and for other programs: what `netwright metrics` prints."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .ir.diagnostics import Diagnostic, InputError
from .runtime.summary import read, summarise

FIRST = ("step", "split", "event", "what")


def rows_of(run: Path) -> list[dict[str, Any]]:
    """The rows of a run's log.

    Raises:
        InputError: the folder is not a run's.
    """
    path = run / "metrics.jsonl"
    if not path.is_file():
        raise InputError(
            [
                Diagnostic(
                    "no-run",
                    f"{run} is not a run: there is no {path}",
                    help="name a folder that `netwright train` made, such as runs/shakespeare",
                )
            ]
        )
    return read(path)


def csv_of(run: Path) -> str:
    """All rows as one table, columns in the order in which they first occur; nothing is null."""
    rows = rows_of(run)
    names = dict.fromkeys((*FIRST, *(name for row in rows for name in row)))
    text = io.StringIO()
    writer = csv.DictWriter(text, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def figures_of(run: Path, as_json: bool = False) -> str:
    """What the rows add up to, in lines or as JSON."""
    found = summarise(rows_of(run))
    if as_json:
        told = {**asdict(found), "seconds": found.seconds, "goodput": found.goodput}
        return json.dumps(told, indent=2) + "\n"
    lines = found.lines() or ["no step has been made yet"]
    return "\n".join(lines) + "\n"
