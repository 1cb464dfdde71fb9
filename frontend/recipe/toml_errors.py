"""Mistakes of TOML's syntax, in words: what `tomllib` says, told with the place and a way out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ...ir.diagnostics import Diagnostics, Place
from .toml_scan import Document, Scanner, key_parts, span_between


def open_at(text: str, start: int, stop: int) -> int | None:
    """The last bracket or triple quote opened between two places and not closed there."""
    stack: list[int] = []
    at = start
    first = text.find("=", start, stop)
    if first < 0:
        return None
    at = first
    while at < stop:
        char = text[at]
        if text.startswith(('"""', "'''"), at):
            close = text.find(text[at : at + 3], at + 3, stop)
            if close < 0:
                return at
            at = close + 3
            continue
        if char in "\"'":
            at += 1
            while at < stop and text[at] != char:
                at += 2 if text[at] == "\\" and char == '"' else 1
        elif char in "[{":
            stack.append(at)
        elif char in "]}" and stack:
            stack.pop()
        elif char == "#":
            break
        at += 1
    return stack[-1] if stack else None


@dataclass
class SyntaxMistake:
    """A mistake of syntax that tomllib found.

    Attributes:
        text: the whole text.
        file: its name.
        diagnostics: where the mistake goes.
        said: what tomllib says of it.
        start: where the statement begins that it is in.
        end: where the statement ends.
        at: where tomllib stopped.
        partial: whether the statement never ends.
    """

    text: str
    file: str
    diagnostics: Diagnostics
    said: str
    start: int
    end: int
    at: int
    partial: bool

    def __post_init__(self) -> None:
        stop = self.text.find("\n", self.start)
        self.line = self.text[self.start : len(self.text) if stop < 0 else stop]

    def error(self, message: str, start: int, end: int, **more: Any) -> None:
        span = span_between(self.text, self.file, start, end)
        self.diagnostics.error("recipe-syntax", message, span, **more)

    def report(self) -> None:
        """Report it in words."""
        for attempt in (self._twice, self._unclosed, self._sign, self._header, self._value):
            if attempt():
                return
        at = min(self.at, self.end)
        start = max(self.start, min(at, self.start + len(self.line.rstrip()) - 1))
        stop = self.start + len(self.line.rstrip())
        message = self.said[:1].lower() + self.said[1:]
        self.error(f"this is not TOML: {message}", start, max(start + 1, stop))

    def _twice(self) -> bool:
        if not re.search("twice|overwrite|mutate|redefine|Duplicate", self.said):
            return False
        header = re.match(r"\s*(\[\[?)([^\]\n]*)(\]\]?)", self.line)
        before = Document()
        Scanner(self.text[: self.start], self.file).document(before)
        if header:
            name = header[2].strip()
            path = tuple(key_parts(name))
            first = before.keys.get(path) or next(
                (s for k, s in before.keys.items() if k[: len(path)] == path), None
            )
            start = self.start + header.start(1)
            end = self.start + header.end(3)
            places = (Place(first, "the first time"),) if first else ()
            self.error(
                f"[{name}] stands here twice",
                start,
                end,
                caption="the second time",
                places=places,
                help=f"put all keys of [{name}] under one heading",
            )
            return True
        name = self.line.partition("=")[0].strip()
        inside = _heading(self.text[: self.start])
        path = (*inside, *key_parts(name))
        first = before.keys.get(path)
        if "Duplicate" in self.said:
            match = re.search(r"'(.*)'", self.said)
            name = match[1] if match else name
        places = (Place(first, "the first time"),) if first else ()
        start = self.start + self.line.find(name.split(".")[0])
        where = self.line.rfind(name) if "Duplicate" in self.said else self.line.find(name)
        start = self.start + max(where, 0)
        self.error(
            f"{name} is given twice",
            start,
            start + len(name),
            caption="the second time",
            places=places,
            help="keep one of them",
        )
        return True

    def _unclosed(self) -> bool:
        text = self.text
        opened = open_at(text, self.start, self.start + len(self.line))
        if opened is not None and text[opened] == "{":
            name = self.line.partition("=")[0].strip()
            name = ".".join([*_heading(text[: self.start]), name])
            self.error(
                "a table in braces must end on the line where it begins",
                opened,
                opened + 1,
                caption="opened here",
                help=f"close it on this line with }}, or use a table with a heading: [{name}]",
            )
            return True
        if opened is not None and (self.partial or "Unclosed array" in self.said):
            sign = text[opened : opened + 3] if text[opened] in "\"'" else text[opened]
            close = {"[": "]"}.get(sign, sign)
            name = self.line.partition("=")[0].strip()
            self.error(
                f"the {sign} is never closed" if sign == "[" else "the text is never closed",
                opened,
                opened + len(sign),
                caption="opened here",
                help=f"write {close} at the end of {name}",
            )
            return True
        match = re.search(r"=\s*([\"'])((?:(?!\1).)*)$", self.line)
        if match and ("string" in self.said or "Expected" in self.said or "Illegal" in self.said):
            self.error(
                "the text is never closed",
                self.start + match.start(1),
                self.start + len(self.line.rstrip()),
                help=f"{self.line.strip()}{match[1]}",
            )
            return True
        return False

    def _sign(self) -> bool:
        match = re.match(r"([\w.\-\"]+)(\s*:\s*|\s*:=\s*|\s*==\s*)(\S.*)$", self.line)
        if match and not self.line.lstrip().startswith("["):
            sign = match[2].strip()
            self.error(
                f'"{sign}" stands where "=" is expected',
                self.start + match.start(2) + len(match[2]) - len(match[2].lstrip()),
                self.start + match.start(2) + len(match[2].rstrip()),
                help=f"{match[1]} = {match[3].strip()}",
            )
            return True
        match = re.match(r"([\w.\-\"]+)\s*(.*)$", self.line)
        if match and "=" not in self.line and "Expected '='" in self.said:
            name, rest = match[1], match[2].strip()
            self.error(
                f"{name} has no value",
                self.start,
                self.start + len(name),
                help=f"{name} = {rest or '…'}",
            )
            return True
        return False

    def _header(self) -> bool:
        if not self.line.startswith("["):
            return False
        match = re.match(r"\[\[?\s*([^\]#\n]*)", self.line)
        name = match[1].strip() if match else ""
        if name and "]" not in self.line:
            self.error(
                "the heading is not closed",
                self.start,
                self.start + len(self.line.rstrip()),
                help=f"[{name}]",
            )
            return True
        rest = re.match(r"(\[[^\]\n]*\])\s*([^#\s].*)$", self.line)
        if rest:
            self.error(
                "nothing else may stand on the line of a heading",
                self.start + rest.start(2),
                self.start + len(self.line.rstrip()),
                help="put it on the next line",
            )
            return True
        return False

    def _value(self) -> bool:
        match = re.match(r"([\w.\-\"' ]*?)\s*=\s*(.*?)\s*$", self.line)
        if not match:
            return False
        name, value = match[1], match[2]
        start = self.start + match.start(2)
        if not name:
            self.error(
                "a value without a key", self.start, self.start + 1, help="write key = value"
            )
            return True
        bare = re.sub(r"\s+#.*$", "", value)
        end = start + len(bare)
        if not bare:
            sign = self.start + self.line.index("=")
            self.error(
                f"{name} has no value",
                sign,
                sign + 1,
                help=f"write it after the =, or leave {name} out",
            )
            return True
        if self.said.startswith(("Unescaped", "Escaped", "Invalid hex")) or (
            "\\" in bare and bare[0] == '"'
        ):
            self.error(
                "a backslash in double quotes begins a special character",
                start,
                end,
                help=f"{name} = '{bare[1:-1]}'" if bare[:1] == '"' else "use single quotes",
            )
            return True
        lowered = bare.lower()
        if lowered in ("none", "null", "nil"):
            self.error(
                f"{bare} is not a value here",
                start,
                end,
                help=f"leave {name} out to give it no value",
            )
            return True
        if lowered in ("true", "false", "yes", "no", "on", "off"):
            word = "true" if lowered in ("true", "yes", "on") else "false"
            self.error(f"{bare} is not a value here", start, end, help=f"{name} = {word}")
            return True
        number = re.fullmatch(r"([+-]?)(\d[\d_]*)?(?:\.(\d[\d_]*)?)?([eE][+-]?\d+)?", bare)
        if number and len(bare) > 40:
            self.error("this number is too long", start, end)
            return True
        if number and (number[2] or number[3]):
            whole = (number[2] or "0").lstrip("0_") or "0"
            fixed = f"{number[1]}{whole}" + (f".{number[3] or 0}" if "." in bare else "")
            self.error(
                "this is not how TOML writes a number",
                start,
                end,
                help=f"{name} = {fixed}{number[4] or ''}",
            )
            return True
        if re.fullmatch(r"[\d_.]+\s*(\*\*|[*/+-])\s*[\d_.()*/+ -]+", bare):
            self.error(
                "nothing is computed in a recipe", start, end, help="write the number that you mean"
            )
            return True
        if re.fullmatch(r"[A-Za-z_./~][\w./ \-]*", bare):
            self.error("text needs quotes", start, end, help=f'{name} = "{bare}"')
            return True
        return self._bare_word(name, start, bare)

    def _bare_word(self, name: str, start: int, bare: str) -> bool:
        """A word without quotes inside a list or a table."""
        for match in re.finditer(r"[\[{,=]\s*([A-Za-z_][\w\-]*)\s*(?=[\]},])", bare):
            word = match[1]
            if word not in ("true", "false"):
                end = start + match.end(1)
                self.error(
                    "text needs quotes",
                    start + match.start(1),
                    end,
                    help=f'{name} = {bare[: match.start(1)]}"{word}"{bare[match.end(1) :]}',
                )
                return True
        return False


def _heading(text: str) -> tuple[str, ...]:
    """The table that what follows a text belongs to: that of its last heading."""
    headers = re.findall(r"^\s*\[([^\[\]\n]+)\]\s*(?:#.*)?$", text, re.M)
    return tuple(key_parts(headers[-1].strip())) if headers else ()
