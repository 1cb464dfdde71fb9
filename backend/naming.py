"""Names in emitted source: what is taken, what a name may become, how text is quoted."""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Iterator

from ..ir.ops.helpers import HELPERS

RESERVED = {
    *keyword.kwlist,
    *keyword.softkwlist,
    *dir(builtins),
    *("jax", "jnp", "lax", "random", "P", "params", "state", "key", "train", "batch", "metrics"),
    *("fold", "copy_keys", "copy_of", "joined", "stacked", "tied", "in_groups", "ungrouped"),
    *("loss", "predict", "init_params", "init_state", "checkpoint_name"),
    *HELPERS,
}


def snake(name: str) -> str:
    """A layer's name as a function's: `SwiGLU` is `swiglu`, `RMSNorm` `rms_norm`, `LSTMCell`
    `lstm_cell`."""
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])", "_", name)
    name = re.sub(r"(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return re.sub(r"\W", "_", name, flags=re.ASCII).lower()


def identifier(text: str) -> str:
    """Text as an identifier that means nothing else in an emitted file."""
    name = re.sub(r"\W", "_", text, flags=re.ASCII).strip("_") or "value"
    if name[0].isdigit():
        name = f"_{name}"
    return f"{name}_" if name in RESERVED else name


def fresh(base: str, taken) -> str:
    """The first of `base`, `base_2`, `base_3`, … that is not taken."""
    name, number = base, 1
    while name in taken:
        number += 1
        name = f"{base}_{number}"
    return name


def prose(text: str) -> str:
    """Text from a model as one line without what cannot be seen, as it may stand in Markdown."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def documented(text: str) -> str:
    """Text of one line, safe before the end of a triple-quoted docstring."""
    return re.sub(r'"(?="|\Z)', r'\\"', text.replace("\\", "\\\\"))


def quoted(text: str) -> str:
    """Text as a Python string literal in double quotes; what cannot be seen is escaped."""
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return f"\\{char}"
    if char == "\n":
        return "\\n"
    if char.isprintable():
        return char
    number = ord(char)
    if number <= 0xFF:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"


def wrap(line: str, width: int = 100) -> list[str]:
    """A statement broken at its outermost brackets where it is too long."""
    if len(line) <= width:
        return [line]
    indent = len(line) - len(line.lstrip())
    comment = ""
    match = re.search(r"  # [^\"']*$", line)
    if match:
        line, comment = line[: match.start()], line[match.start() :]
    groups = _groups(line)
    returned = split_commas(line[indent + 7 :]) if line[indent:].startswith("return ") else []
    if len(returned) > 1:
        pad = " " * (indent + 4)
        parts = [part for item in returned for part in wrap(f"{pad}{item},", width)]
        return [f"{' ' * indent}return ({comment}", *parts, f"{' ' * indent})"]
    if not groups:
        return [line + comment]
    start, close = max(groups, key=lambda g: g[1] - g[0])
    inner = split_commas(line[start + 1 : close])
    pad = " " * (indent + 4)
    head, tail = line[: start + 1], " " * indent + line[close:]
    if len(inner) <= 1 and start > indent and len(head) > width:
        return [line + comment]
    joined = pad + ", ".join(inner)
    magic = "" if len(inner) == 1 else ","
    body = (
        [joined]
        if len(joined) <= width
        else [part for item in inner for part in wrap(f"{pad}{item}{magic}", width)]
    )
    return [head + comment, *body, tail]


def _groups(line: str) -> list[tuple[int, int]]:
    """Where the outermost brackets of a line open and close."""
    groups, depth, start = [], 0, 0
    for index, char in _code(line):
        if char in "([{":
            start = index if depth == 0 else start
            depth += 1
        elif char in ")]}":
            depth -= 1
            if depth == 0:
                groups.append((start, index))
    return groups


def split_commas(text: str) -> list[str]:
    """The parts of an argument list, split at commas outside of brackets and strings."""
    parts, depth, start = [], 0, 0
    for index, char in _code(text):
        depth += (char in "([{") - (char in ")]}")
        if char == "," and depth == 0:
            parts.append(text[start:index].strip())
            start = index + 1
    last = text[start:].strip()
    return [*parts, last] if last else parts


def _code(text: str) -> Iterator[tuple[int, str]]:
    """The characters outside of strings, with their places."""
    string = escaped = False
    for index, char in enumerate(text):
        if escaped:
            escaped = False
        elif string and char == "\\":
            escaped = True
        elif char == '"':
            string = not string
        elif not string:
            yield index, char
