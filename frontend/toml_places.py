"""TOML with places: what a file says, where each key and value stands, and mistakes of syntax.

`tomllib` reads; it tells only the line and column of its first error. Here every statement is found
again with its place, errors are put in words, and reading goes on behind them.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field

from ..ir.diagnostics import Diagnostics, Place, Span

LONGEST, WIDEST, DEEPEST = 100_000, 4_000, 40
"""Characters in a file and in a line, and keys in keys: what is beyond is not a recipe."""

KeyPath = tuple[str | int, ...]


@dataclass
class Document:
    """A file of TOML.

    Attributes:
        values: what `tomllib` made of it.
        keys: for each path of keys, the place of its last key (or of the table's header).
        at: for each path of keys, the place of its value.
        whole: whether there were no errors of syntax.
    """

    values: dict = field(default_factory=dict)
    keys: dict[KeyPath, Span] = field(default_factory=dict)
    at: dict[KeyPath, Span] = field(default_factory=dict)
    whole: bool = True
    text: str = ""

    def text_at(self, path: KeyPath) -> str:
        """A value as it is written, if it stands on one line."""
        span = self.at.get(path)
        lines = self.text.split("\n")
        if span is None or span.line > len(lines):
            return ""
        return lines[span.line - 1][span.column - 1 : span.end_column - 1]


def read(text: str, file: str, diagnostics: Diagnostics) -> Document:
    """What a text says; errors of syntax are reported, and their statements left out."""
    text = text.replace("\r\n", "\n")
    diagnostics.sources[file] = text
    if len(text) > LONGEST:
        diagnostics.error(
            "recipe-too-long",
            f"{file} has {len(text):,} characters; at most {LONGEST:,} are read",
        )
        return Document(whole=False)
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) > WIDEST:
            diagnostics.error(
                "recipe-too-long",
                f"this line has {len(line):,} characters; at most {WIDEST:,} are read",
                Span(file, number, 1, number, 2),
            )
            return Document(whole=False)
    return _Reader(text, file, diagnostics).read()


_BROKEN = "__broken"
_HEADER = re.compile(r"\s*\[\[?\s*([\w.\-]+(?:\.\"[^\"\n]*\")*)")
_HEADING = re.compile(r"\s*\[\[?[A-Za-z_][^\],]*\]?\]?\s*(?:#.*)?$")
_PAIR = re.compile(r"\s*[A-Za-z_][\w.\-]*\s*=")


class _Reader:
    """Reads, and on an error reports it, blanks the statement and reads again."""

    def __init__(self, text: str, file: str, diagnostics: Diagnostics):
        self.original, self.text, self.file, self.diagnostics = text, text, file, diagnostics
        self.seen: dict[KeyPath, Span] = {}

    def read(self) -> Document:
        for _ in range(30):
            try:
                values = tomllib.loads(self.text)
            except RecursionError:
                self.diagnostics.error(
                    "recipe-syntax", f"lists and tables are nested too deeply in {self.file}"
                )
                return Document(whole=False)
            except ValueError as error:  # TOMLDecodeError, and numbers of thousands of digits
                if not self._recover(str(error)):
                    return Document(whole=False)
                continue
            document = Document(values, whole=self.text == self.original, text=self.text)
            scanner = _Scanner(self.text, self.file)
            if not scanner.document(document):
                start = min(scanner.pos, len(self.text))
                self.diagnostics.error(
                    "recipe-syntax",
                    "keys, lists or tables are nested too deeply here",
                    span(self.text, self.file, start, start + 1),
                )
                return Document(whole=False)
            for name in [n for n in values if n.startswith(_BROKEN)]:
                del values[name]
            return document
        return Document(whole=False)

    def _recover(self, message: str) -> bool:
        """Report an error, and take its statement out of the text."""
        match = re.search(r"\(at line (\d+), column (\d+)\)$", message)
        at = len(self.text)
        if match:
            line, column = int(match[1]), int(match[2])
            at = _offset(self.text, line) + column - 1
        elif "at end of document" not in message:
            at = self._long_number()
        start, end, partial = self._statement(at)
        said = re.sub(r" \(at .*\)$", "", message)
        _Explain(self, said, start, end, at, partial).report()
        if partial and end <= start:
            return False
        lines = self.text[start:end]
        header = _HEADER.match(lines)
        if header:
            name = header[1]
            replaced = f"[{name}]"
            if replaced == lines.strip() or "twice" in said or not re.fullmatch(r"[\w.\-]+", name):
                replaced = f"[{_BROKEN}{start}]"
            else:  # a header that was not closed: what follows belongs to that table
                try:
                    tomllib.loads(self.text[: self._line_start(start)] + replaced)
                except ValueError:
                    replaced = f"[{_BROKEN}{start}]"
        else:
            replaced = ""
        blank = "\n" * lines.count("\n")
        self.text = self.text[: self._line_start(start)] + replaced + blank + self.text[end:]
        return True

    def _line_start(self, at: int) -> int:
        return self.text.rfind("\n", 0, at) + 1

    def _long_number(self) -> int:
        match = re.search(r"[0-9_]{4000,}", self.text)
        return match.start() if match else 0

    def _statement(self, at: int) -> tuple[int, int, bool]:
        """Start and end of the statement at or around a place, and whether it never ends."""
        scanner = _Scanner(self.text, self.file)
        start = 0
        while True:
            scanner.blank()
            start = scanner.pos
            if start >= len(self.text):
                start = self._line_start(max(0, min(at, len(self.text)) - 1))
                return start, len(self.text), False
            try:
                scanner.statement()
            except (_Stuck, RecursionError):
                break
            scanner.line_rest()
            if scanner.pos >= at or not scanner.at_line_end():
                break
        stop = self.text.find("\n", start)
        stop = len(self.text) if stop < 0 else stop
        opened = _open_at(self.text, start, stop)
        if opened is None:
            return start, max(stop, min(scanner.pos, len(self.text))), False
        if scanner.ended and scanner.at_line_end():  # it goes on over lines, and ends
            return start, max(stop, scanner.pos), False
        return start, self._unclosed_end(opened, stop), True

    def _unclosed_end(self, opened: int, stop: int) -> int:
        """Where what a bracket or quote opened may be taken to end, though it is not closed."""
        sign = self.text[opened]
        at = stop
        while at < len(self.text):
            after = self.text.find("\n", at + 1)
            after = len(self.text) if after < 0 else after
            line = self.text[at + 1 : after]
            if sign == "{" and line.strip().startswith("}"):
                return after
            if _HEADING.match(line) or (sign == "[" and _PAIR.match(line)):
                return at
            at = after
        return len(self.text)


def _offset(text: str, line: int) -> int:
    at = 0
    for _ in range(line - 1):
        at = text.find("\n", at) + 1
    return at


def _open_at(text: str, start: int, stop: int) -> int | None:
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


class _Explain:
    """Puts an error of tomllib in words."""

    def __init__(self, reader: _Reader, said: str, start: int, end: int, at: int, partial: bool):
        self.reader, self.said, self.start, self.end = reader, said, start, end
        self.at, self.partial = at, partial
        text = reader.text
        stop = text.find("\n", start)
        self.line = text[start : len(text) if stop < 0 else stop]

    def span(self, start: int, end: int) -> Span:
        return span(self.reader.text, self.reader.file, start, end)

    def error(self, message: str, start: int, end: int, **more) -> None:
        self.reader.diagnostics.error("recipe-syntax", message, self.span(start, end), **more)

    def report(self) -> None:
        """Record the diagnostic."""
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
        _Scanner(self.reader.text[: self.start], self.reader.file).document(before)
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
        inside = _heading(self.reader.text[: self.start])
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
        text = self.reader.text
        stop = self.start + len(self.line)
        opened = _open_at(text, self.start, stop)
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


def key_parts(name: str) -> list[str]:
    scanner = _Scanner(name, "")
    try:
        return [part for part, _, _ in scanner.key()]
    except _Stuck:
        return [name]


def span(text: str, file: str, start: int, end: int) -> Span:
    """The span between two offsets of a text."""
    line = text.count("\n", 0, start) + 1
    column = start - (text.rfind("\n", 0, start) + 1) + 1
    end_line = text.count("\n", 0, end) + 1
    end_column = end - (text.rfind("\n", 0, end) + 1) + 1
    return Span(file, line, column, end_line, end_column)


class _Stuck(Exception):
    """The text is not TOML here."""


class _Scanner:
    """Walks over TOML that is known to be valid, and notes places; raises `_Stuck` elsewhere."""

    BARE = re.compile(r"[A-Za-z0-9_-]+")
    BLANK = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
    SPACE = re.compile(r"[ \t]*")
    PLAIN = re.compile(r"[^\s,\]}#]+(?: \d[^\s,\]}#]*)?")  # a date and a time have a space between

    def __init__(self, text: str, file: str):
        self.text, self.file, self.pos = text, file, 0
        self.starts = [0, *(m.end() for m in re.finditer("\n", text))]
        self.table: KeyPath = ()
        self.counts: dict[KeyPath, int] = {}
        self.out = Document()
        self.ended = True

    def document(self, out: Document) -> bool:
        """Note the places of everything; False where it stops before the end."""
        self.out = out
        while True:
            self.blank()
            if self.pos >= len(self.text):
                return True
            try:
                self.statement()
            except (_Stuck, RecursionError):
                return False

    def blank(self) -> None:
        self.pos = self.BLANK.match(self.text, self.pos).end()

    def line_rest(self) -> None:
        self.pos = self.SPACE.match(self.text, self.pos).end()
        if self.text[self.pos : self.pos + 1] == "#":
            stop = self.text.find("\n", self.pos)
            self.pos = len(self.text) if stop < 0 else stop

    def at_line_end(self) -> bool:
        return self.pos >= len(self.text) or self.text[self.pos] == "\n"

    def statement(self) -> None:
        self.ended = False
        if self.peek() == "[":
            self._header()
        else:
            self._pair(self.table)
        self.ended = True

    def peek(self) -> str:
        return self.text[self.pos : self.pos + 1]

    def expect(self, sign: str) -> None:
        if not self.text.startswith(sign, self.pos):
            raise _Stuck
        self.pos += len(sign)

    def space(self) -> None:
        self.pos = self.SPACE.match(self.text, self.pos).end()

    def _header(self) -> None:
        start = self.pos
        double = self.text.startswith("[[", self.pos)
        self.pos += 2 if double else 1
        path: KeyPath = ()
        for part, _, _ in self.key():
            path = (*path, part)
            if path in self.counts and (not double or len(path) < 99):
                path = (*path, self.counts[path])
        self.expect("]]" if double else "]")
        if double:
            base = path[:-1] if path and isinstance(path[-1], int) else path
            self.counts[base] = self.counts.get(base, -1) + 1
            path = (*base, self.counts[base])
        where = self.place(start, self.pos)
        self.out.keys[path] = where
        for cut in range(1, len(path)):
            self.out.keys.setdefault(path[:cut], where)
        self.table = path

    def _pair(self, table: KeyPath) -> None:
        path = table
        for part, start, end in self.key():
            path = (*path, part)
            self.out.keys.setdefault(path, self.place(start, end))
        self.out.keys[path] = self.place(start, end)
        self.expect("=")
        self.space()
        self.value(path)

    def key(self) -> list[tuple[str, int, int]]:
        parts = []
        while True:
            self.space()
            start = self.pos
            if self.peek() in ('"', "'"):
                self._string()
                raw = self.text[start : self.pos]
                try:
                    name = tomllib.loads(f"k = {raw}")["k"]
                except ValueError:
                    raise _Stuck from None
            else:
                match = self.BARE.match(self.text, self.pos)
                if not match:
                    raise _Stuck
                name, self.pos = match[0], match.end()
            parts.append((name, start, self.pos))
            if len(parts) > DEEPEST:
                raise _Stuck
            self.space()
            if self.peek() != ".":
                return parts
            self.pos += 1

    def value(self, path: KeyPath) -> None:
        start = self.pos
        char = self.peek()
        if len(path) > DEEPEST:
            raise _Stuck
        if char in ('"', "'") and char:
            self._string()
        elif char == "[":
            self._list(path)
        elif char == "{":
            self._table(path)
        else:
            match = self.PLAIN.match(self.text, self.pos)
            if not match:
                raise _Stuck
            self.pos = match.end()
        self.out.at[path] = self.place(start, self.pos)

    def _list(self, path: KeyPath) -> None:
        self.pos += 1
        index = 0
        while True:
            self.blank()
            if self.peek() == "]":
                self.pos += 1
                return
            self.value((*path, index))
            index += 1
            self.blank()
            if self.peek() == ",":
                self.pos += 1
            elif self.peek() != "]":
                raise _Stuck

    def _table(self, path: KeyPath) -> None:
        self.pos += 1
        while True:
            self.blank()
            if self.peek() == "}":
                self.pos += 1
                return
            self._pair(path)
            self.blank()
            if self.peek() == ",":
                self.pos += 1
            elif self.peek() != "}":
                raise _Stuck

    def _string(self) -> None:
        quote = self.peek()
        if self.text.startswith(quote * 3, self.pos):
            at = self.pos + 3
            while not self.text.startswith(quote * 3, at):
                if at >= len(self.text):
                    raise _Stuck
                at += 2 if quote == '"' and self.text[at] == "\\" else 1
            at += 3
            while self.text[at : at + 1] == quote:  # up to two quotes may stand before the end
                at += 1
            self.pos = at
            return
        at = self.pos + 1
        while self.text[at : at + 1] != quote:
            if at >= len(self.text) or self.text[at] == "\n":
                raise _Stuck
            at += 2 if quote == '"' and self.text[at] == "\\" else 1
        self.pos = at + 1

    def place(self, start: int, end: int) -> Span:
        from bisect import bisect_right

        line, end_line = bisect_right(self.starts, start), bisect_right(self.starts, end)
        column, end_column = start - self.starts[line - 1] + 1, end - self.starts[end_line - 1] + 1
        return Span(self.file, line, column, end_line, end_column)
