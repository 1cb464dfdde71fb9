"""From text to words.

Words are cut without complaint, even the ones that the language does not have (`+=`, `"same"`,
`2x`): the parser stumbles over them where they stand, and `syntax_errors` then says what to write.
"""

from __future__ import annotations

import re

from lark import Token

from ..ir.diagnostics import Span

_KEYWORDS = """
    import dims const layer model loss param state use if elif else scan carry emit return metric
    repeat each and or not true false none
"""
_PYTHON_KEYWORDS = """
    False None True as assert async await break class continue def del except finally for from
    global in is lambda nonlocal pass raise try while with yield
"""
KEYWORDS = frozenset(_KEYWORDS.split())
PYTHON_KEYWORDS = frozenset(_PYTHON_KEYWORDS.split())

SIGNS = {
    "->": "ARROW",
    "<-": "UPDATE",
    "...": "DOTS",
    "**": "POWER",
    "*": "STAR",
    "+": "PLUS",
    "-": "MINUS",
    "=": "EQUALS",
    ":": "COLON",
    ",": "COMMA",
    ".": "DOT",
    "(": "LPAR",
    ")": "RPAR",
    "[": "LSQB",
    "]": "RSQB",
    "/": "DIVIDE",
    "//": "DIVIDE",
    "%": "DIVIDE",
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">="), "COMPARE"),
}

_WORD = re.compile(
    r"""
    (?P<space>[ \t]+|\#.*)
  | (?P<name>[^\W\d]\w*)
  | (?P<sign>\.\.\.)
  | (?P<number>\.?\d(?:[eE][+-]?\d|[\w.])*)
  | (?P<doc>\"{3})
  | (?P<string>"[^"]*"?|'[^']*'?)
  | (?P<op>(?:\*\*|//|<<|>>|[-+*/%@&|^:])=|->|<-|=>|===?|!=|<>|<=|>=|<<|>>|\*\*|//|\+\+|&&|\|\||.)
    """,
    re.VERBOSE | re.DOTALL,
)
_DIGITS = r"\d+(?:_\d+)*"
NUMBER = re.compile(rf"(?:{_DIGITS}(?:\.(?:{_DIGITS})?)?|\.{_DIGITS})(?:[eE][+-]?\d+)?", re.ASCII)


class Word(Token):
    """A word with its place; `type` is the name that the grammar has for it."""

    __slots__ = ("file",)
    file: str
    line: int
    column: int
    end_line: int
    end_column: int

    def __new__(cls, type: str, text: str, span: Span) -> Word:
        return cls._at(
            type, text, span.file, span.line, span.column, span.end_line, span.end_column
        )

    @classmethod
    def _at(cls, type: str, text: str, file: str, *place: int) -> Word:
        # Lark's own constructor would take half of the time that reading a file takes.
        word = str.__new__(cls, text)
        word.type = type
        word.value = text
        word.file = file
        word.line, word.column, word.end_line, word.end_column = place
        word.start_pos = word.end_pos = 0
        return word

    @property
    def span(self) -> Span:
        """Where the word stands."""
        return Span(self.file, self.line, self.column, self.end_line, self.end_column)


def cut(rows: list[str], file: str) -> list[list[Word]]:
    """The words of each row; a docstring over several rows belongs to the first of them."""
    found: list[list[Word]] = [[] for _ in rows]
    number = 0
    while number < len(rows):
        words, at = found[number], number
        column = 0
        while column < len(rows[at]):
            word, at, column = _word(rows, at, column, file)
            if word is None:
                continue
            if words and words[-1].type == "DOC" and words[-1].span.end_line > number + 1:
                # Text after the end of a long docstring: more likely it was never closed, and what
                # looks like its end opens the next one.
                words[-1], at = _unclosed(rows, words[-1].span, file)
                break
            words.append(word)
        number = at + 1
    return found


def _word(rows: list[str], row: int, column: int, file: str) -> tuple[Word | None, int, int]:
    """The word at a place (None for space and comments), and the place behind it."""
    match = _WORD.match(rows[row], column)
    assert match is not None
    kind, text, end = match.lastgroup, match.group(), match.end()
    if kind == "space" or (text == "\r" and end == len(rows[row])):
        return None, row, end
    if kind == "doc":
        return _docstring(rows, Span(file, row + 1, column + 1, row + 1, end + 1), file)
    if kind == "name":
        if text in KEYWORDS:
            kind = text.upper()
        elif text in PYTHON_KEYWORDS:
            kind = "PYTHON"
        else:
            kind = "NAME" if text.isascii() else "ALIEN"
    elif kind == "number":
        kind = "NUMBER" if NUMBER.fullmatch(text) else "GLUED"
    elif kind == "string":
        kind = "STRING"
    else:
        kind = SIGNS.get(text, "ALIEN")
    return Word._at(kind, text, file, row + 1, column + 1, row + 1, end + 1), row, end


def _docstring(rows: list[str], opener: Span, file: str) -> tuple[Word, int, int]:
    start = opener.column + 2
    for row in range(opener.line - 1, len(rows)):
        end = rows[row].find('"""', start)
        if end >= 0:
            inside = [*rows[opener.line - 1 : row], rows[row][:end]]
            inside[0] = inside[0][opener.column + 2 :]
            span = Span(file, opener.line, opener.column, row + 1, end + 4)
            return Word("DOC", "\n".join(inside), span), row, end + 3
        start = 0
    word, row = _unclosed(rows, opener, file)
    return word, row, len(rows[row])


def _unclosed(rows: list[str], opener: Span, file: str) -> tuple[Word, int]:
    """A docstring without an end, and the last row before one that clearly starts a statement."""
    span = Span(file, opener.line, opener.column, opener.line, opener.column + 3)
    row = opener.line
    while row < len(rows):
        words: list[Word] = []
        column = 0
        while column < len(rows[row]) and len(words) < 4:
            if rows[row].startswith('"""', column):
                break
            word, _, column = _word(rows, row, column, file)
            if word is not None:
                words.append(word)
        if starts_statement(words):
            break
        row += 1
    return Word("UNCLOSED", '"""', span), row - 1


def starts_statement(words: list[Word]) -> bool:
    """Whether a row can be nothing but the start of a statement, though a bracket is open."""
    kinds = [w.type for w in words[:3]] + ["", "", ""]
    if kinds[0] in ("LAYER", "MODEL", "LOSS"):
        return kinds[1] == "NAME" and kinds[2] in ("LSQB", "LPAR", "COLON")
    if kinds[0] in ("PARAM", "STATE"):
        return kinds[1] == "NAME" and kinds[2] == "COLON"
    if kinds[0] in ("USE", "METRIC"):
        return kinds[1] == "NAME" and kinds[2] == "EQUALS"
    if kinds[0] in ("DIMS", "CONST"):
        return kinds[1] == "COLON"
    if kinds[0] in ("IF", "ELIF", "ELSE"):
        return words[-1].type == "COLON"
    return kinds[0] in ("RETURN", "EMIT", "IMPORT")
