"""What is said about a line that does not fit the grammar.

Rules look at the words around the place where the parser stumbled, the most telling first; what
none of them knows is told by what would have fitted.
"""

from __future__ import annotations

from collections.abc import Sequence

from lark.exceptions import UnexpectedToken

from ...ir.diagnostics import Diagnostic
from ..lexer import Word
from . import expressions, headers, statements, vocabulary
from .stumble import Stumble

_VALUE = {"NAME", "NUMBER", "LPAR", "MINUS"}
_NAMES = {
    "$END": "the end of the line",
    "NAME": "a name",
    "NUMBER": "a number",
    "COMMA": "`,`",
    "COLON": "`:`",
    "EQUALS": "`=`",
    "LPAR": "`(`",
    "RPAR": "`)`",
    "LSQB": "`[`",
    "RSQB": "`]`",
    "ARROW": "`->`",
    "UPDATE": "`<-`",
    "DOTS": "`...`",
    "CARRY": "`carry`",
}


def explain(
    words: list[Word], start: str, error: UnexpectedToken, rows: Sequence[str]
) -> Diagnostic:
    """Why the parser stumbled over a line, in the reader's terms."""
    index = next((i for i, word in enumerate(words) if word is error.token), len(words))
    at = Stumble(words, index, start, set(error.accepts or error.expected), rows)
    for rules in (vocabulary, headers, statements, expressions):
        for rule in rules.RULES:
            found = rule(at)
            if found is not None:
                return found
    return _generic(at)


def _generic(at: Stumble) -> Diagnostic:
    wanted = _wanted(at)
    if at.word is None:
        return at.say("syntax", f"the line ends too early: {wanted} should follow")
    return at.say("syntax", f"`{at.word}` cannot stand here", caption=f"expected {wanted}")


def _wanted(at: Stumble) -> str:
    """What would have fitted, in words; operators only where nothing else would."""
    expected = set(at.expected)
    names = []
    if expected >= _VALUE:
        names.append("a dimension" if at.inside == "[" else "a value")
        expected -= _VALUE | {"NOT", "TRUE", "FALSE", "NONE", "DOTS", "SCAN"}
    if "IMPORT" in expected:
        return "a statement"
    if "PLUS" in expected:
        return {
            "": "an operator or the end of the line",
            "(": "an operator, `,` or `)`",
            "[": "`,` or `]`",
        }[at.inside]
    names += [name for kind, name in _NAMES.items() if kind in expected]
    if not names:
        names.append("something else")
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " or " + names[-1]
