"""Rules for headers and types: each explains one mistake or none."""

from __future__ import annotations

from ...ir.diagnostics import Diagnostic
from .stumble import Stumble

_SIZE_WORDS = ("NUMBER", "STAR", "PLUS", "MINUS", "DIVIDE", "EQUALS", "ARROW", "POWER")
HEADERS = frozenset(("LAYER", "MODEL", "LOSS", "IF", "ELIF", "ELSE", "DIMS", "CONST"))


def condition(at: Stumble) -> Diagnostic | None:
    """`if x = 3:` and `else if x:`."""
    if at.kind in ("IF", "ELIF") and at.type() == "EQUALS" and not at.inside:
        return at.say(
            "equals-in-condition",
            "`=` gives a name; a condition compares with `==`",
            help=at.fixed(at.index, at.index, "=="),
        )
    if at.kind == "ELSE" and at.type() == "IF":
        return at.say("else-if", "`else if` is one word", help=at.fixed(0, 1, "elif"))
    if at.kind == "ELSE" and at.index == 1 and at.words[-1].type == "COLON":
        return at.say(
            "else-condition",
            "`else` takes no condition",
            help=f"elif {at.text(1, len(at.words) - 1)}",
        )
    return None


def header(at: Stumble) -> Diagnostic | None:
    """Headers without their colon, arguments or name, or with something behind the colon."""
    scan = any(w.type == "SCAN" for w in at.words[: at.index])
    if at.kind not in HEADERS and not scan:
        return None
    if at.type(-1) == "COLON" and at.word is not None and not at.expected & {"NAME", "LSQB"}:
        return at.say(
            "body-after-colon",
            "the body stands on the lines below, indented",
            help=f"{at.text(0, at.index - 1)}\n    {at.text(at.index, len(at.words) - 1)}"
            if at.words[0].span.line == at.words[-1].span.end_line
            else "",
        )
    if at.kind in ("LAYER", "MODEL", "LOSS"):
        found = _layer_header(at)
        if found:
            return found
    if "COLON" in at.expected and not at.inside:
        if at.word is None:
            return at.say(
                "missing-colon",
                f"the `{_what(at, scan)}` line does not end in `:`",
                help=f"{at.line}:",
            )
        if at.kind in ("DIMS", "CONST") and at.index == 1:
            return at.say(
                "missing-colon",
                f"`{at.words[0]}` is followed by `:`",
                help=at.fixed(1, 0, ": ").replace(f"{at.words[0]} :", f"{at.words[0]}:"),
            )
    return None


def _what(at: Stumble, scan: bool) -> str:
    return "scan" if scan else str(at.words[0])


def _layer_header(at: Stumble) -> Diagnostic | None:
    kind = str(at.words[0])
    if at.index == 1 and at.word is None:
        return at.say("missing-name", f"a {kind} has a name", help=f"{kind} Name(x: [D]) -> [D]:")
    if at.index == 1:
        return at.say(
            "missing-name",
            f"a {kind} has a name",
            help=at.fixed(1, 0, " Name").replace(f"{kind}  Name", f"{kind} Name"),
        )
    if at.index == 2 and at.type() == "DOT":
        return at.say("dotted-name", f"the name of a {kind} has no dots")
    if at.expected == {"LPAR"} or (at.index == 2 and "LPAR" in at.expected):
        return at.say(
            "missing-arguments",
            f"the arguments of `{at.words[1]}` are missing",
            facts=("they stand between parentheses, also where there are none: `()`",),
            help=at.fixed(at.index, at.index - 1, "(x: [..., D])")
            if at.type() in ("COLON", "ARROW", "")
            else "",
        )
    if at.type() == "LPAR" and at.type(-1) == "ARROW":
        return at.say(
            "result-parentheses",
            "results stand without parentheses",
            help=f"{at.text(0, at.index - 1)} {at.text(at.index + 1, at.match(at.index) - 1)}:",
        )
    if at.inside == "(" and at.type(-1) == "NAME":
        name = at.near(-1)
        if at.type() == "LSQB" or (at.type() == "NAME" and at.type(1) == "LSQB"):
            return at.say(
                "missing-colon",
                f"`:` is missing between `{name}` and its type",
                help=at.fixed(at.index - 1, at.index - 1, f"{name}:").replace(":[", ": ["),
            )
        if at.type() == "NUMBER":
            return at.say(
                "missing-equals",
                f"`=` is missing behind `{name}`",
                help=at.fixed(at.index - 1, at.index - 1, f"{name} ="),
            )
    if at.inside == "(" and at.type() == "COLON" and "COMMA" in at.expected:
        return at.say(
            "type-after-default",
            "the type of an argument stands before its default",
            help="x: [] = 3",
        )
    if at.type() == "LSQB" and at.type(-1) == "RPAR" and not at.inside:
        last, first = at.match(at.index), at.match(at.index - 1)
        help = ""
        if first == 2:
            help = f"{at.text(0, 1)}{at.text(at.index, last)}{at.text(first, at.index - 1)}"
            help += at.text(last + 1, len(at.words) - 1).replace("->", " ->", 1)
        return at.say(
            "dims-after-values",
            f"the dimensions of `{at.words[1]}` stand before its arguments",
            help=help,
        )
    return None


def types(at: Stumble) -> Diagnostic | None:
    """Types without brackets, with sizes in them, or missing."""
    if at.word is None and at.type(-1) == "COLON" and at.type(-2) == "NAME" and at.index > 4:
        name = str(at.near(-2))
        return at.say(
            "bare-type",
            f"`{name}` is not a type" if name[0].islower() else "a type has brackets",
            at.near(-2).span,
            facts=("types are [B, S, D], int[B, S], bool[S, T]; `[]` is a single number",),
            help=at.fixed(at.index - 2, at.index - 2, "[]" if name[0].islower() else f"[{name}]"),
        )
    wants_type = "LSQB" in at.expected and at.type(-1) in ("COLON", "ARROW", "COMMA")
    if (
        at.type(-1) == "NAME"
        and at.type(-2) in ("COLON", "ARROW")
        and at.expected <= {"LSQB", "COLON"}
    ):
        word = str(at.near(-1))
        if word[0].isupper():
            return at.say(
                "bare-type",
                "a type has brackets around its dimensions",
                at.near(-1).span,
                help=at.fixed(at.index - 1, at.index - 1, f"[{word}]"),
            )
        if word in ("int", "bool"):
            return at.say(
                "bare-type",
                f"`{word}` lacks its dimensions; a single number has the type `{word}[]`",
                at.near(-1).span,
                help=at.fixed(at.index - 1, at.index - 1, f"{word}[]"),
            )
        return at.say(
            "bare-type",
            f"`{word}` is not a type",
            at.near(-1).span,
            facts=("types are [B, S, D], int[B, S], bool[S, T]; `[]` is a single number",),
            help=at.fixed(at.index - 1, at.index - 1, "[]"),
        )
    if (
        at.inside == "["
        and at.expected <= {"NAME", "DOTS", "RSQB", "COMMA"}
        and at.type() in _SIZE_WORDS
    ):
        if at.opener and at.type(at.opener - 1 - at.index) in ("REPEAT", "EACH", "SCAN"):
            return None
        return at.say(
            "size-in-type",
            "a type lists names of dimensions; a size has a name too",
            facts=("give it one in `dims:`, and write that one here",),
            help=f"dims: F = {_element(at)}" if at.type() not in ("EQUALS", "ARROW") else "",
        )
    if wants_type and at.word is not None and at.type() in ("COLON", "EQUALS", "RPAR"):
        return at.say(
            "missing-type",
            "a type is missing here",
            facts=("types are [B, S, D], int[B, S], bool[S, T]; `[]` is a single number",),
        )
    return None


def _element(at: Stumble) -> str:
    """The element of a list that the place is in."""
    first, last = at.index, at.index
    while at.words[first - 1].type not in ("LSQB", "COMMA"):
        first -= 1
    while at.words[last + 1].type not in ("RSQB", "COMMA"):
        last += 1
    return at.text(first, last)


RULES = (condition, header, types)
