"""Lines of emitted source: constants, nested dicts, bodies without idle blank lines."""

from __future__ import annotations

from .naming import quoted, wrap

Entries = list[tuple[str, "str | Entries"]]
"""A dict as source: names with what they map to, or with entries of their own."""


def packed(constants: list[tuple[str, int]]) -> list[str]:
    """Constants as assignments, four on a line."""
    lines = []
    for start in range(0, len(constants), 4):
        names, values = zip(*constants[start : start + 4], strict=True)
        lines.append(f"{', '.join(names)} = {', '.join(map(str, values))}")
    return lines


def nested(entries: Entries, before: str, after: str) -> list[str]:
    """A nested dict as source: on one line where it is short, else an entry a line."""
    one = before + _flat(entries) + after
    if len(one) <= 88:
        return [one]
    indent = " " * (len(before) - len(before.lstrip()))
    lines = [before + "{"]
    for name, source in entries:
        lead = f"{indent}    {quoted(name)}: "
        lines += nested(source, lead, ",") if isinstance(source, list) else wrap(f"{lead}{source},")
    return [*lines, f"{indent}}}{after}"]


def _flat(entries: Entries) -> str:
    parts = (f"{quoted(n)}: {_flat(s) if isinstance(s, list) else s}" for n, s in entries)
    return "{" + ", ".join(parts) + "}"


def tidy(lines: list[str]) -> list[str]:
    """Lines wrapped, without blank lines that follow each other or open and close a body."""
    out: list[str] = []
    for line in lines:
        if not line.strip():
            if out and out[-1].strip() and not out[-1].rstrip().endswith(":"):
                out.append("")
            continue
        out += wrap(line)
    while out and not out[-1]:
        out.pop()
    return out
