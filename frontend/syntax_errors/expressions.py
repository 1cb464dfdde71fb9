"""Rules for expressions: each explains one mistake or none."""

from __future__ import annotations

from ...ir.diagnostics import Diagnostic
from .stumble import OPERATORS, VALUE_ENDS, VALUE_STARTS, Stumble


def brackets(at: Stumble) -> Diagnostic | None:
    """Indexing, brackets behind parentheses, brackets without parentheses."""
    opener = at.opener
    value = at.expected & {"ARROW", "NAME", "LPAR"}
    if value and at.type() == "COLON" and opener is not None and at.inside == "[":
        return _indexing(at, opener)
    if at.type() == "RSQB" and at.type(-1) == "LSQB":
        return at.say(
            "empty-brackets",
            "nothing stands between these brackets",
            at.near(-1).span.to(at.here),
            facts=("leave them out, or name the dimensions that are meant",),
            help=at.fixed(at.index - 1, at.index, ""),
        )
    if at.type() == "LSQB" and at.type(-1) == "RPAR":
        opener, closer = at.match(at.index - 1), at.match(at.index)
        if _looks_like_dims(at, at.index) and at.type(opener - 1 - at.index) == "NAME":
            first = opener - 1
            call = f"{at.words[first]}{at.text(at.index, closer)}{at.text(opener, at.index - 1)}"
            return at.say(
                "dims-after-values",
                "the dimensions stand before the values",
                at.here.to(at.words[closer].span),
                help=call,
            )
        return _indexing(at, at.index)
    if at.type(-1) == "RSQB" and "LPAR" in at.expected and at.expected <= {"LPAR"}:
        opener = at.match(at.index - 1)
        if not _looks_like_dims(at, opener):
            return _indexing(at, opener)
        name = at.text(opener - 1, at.index - 1)
        return at.say(
            "missing-parentheses",
            f"`{name}` lacks its parentheses",
            at.words[opener - 1].span.to(at.words[at.index - 1].span),
            facts=("brackets hold dimensions, parentheses hold values, also where there are none",),
            help=f"{name}()",
        )
    return None


def _looks_like_dims(at: Stumble, opener: int) -> bool:
    inside = at.words[opener + 1 : at.match(opener)]
    return bool(inside) and all(
        w[0].isupper() if w.type == "NAME" else w.type in ("COMMA", "DOTS", "ARROW", "STAR", "PLUS")
        for w in inside
    )


def _indexing(at: Stumble, opener: int) -> Diagnostic:
    what = at.text(opener - 1, at.match(opener)) if opener else at.text(opener, at.match(opener))
    name = at.words[opener - 1] if opener and at.words[opener - 1].type == "NAME" else "x"
    return at.say(
        "indexing",
        f"`{what}`: values are not indexed by number; brackets hold names of dimensions",
        at.words[max(opener - 1, 0)].span.to(at.words[at.match(opener)].span),
        facts=(
            f"`slice[S -> T]({name}, start = 0)` takes a stretch of S, as long as T",
            f"`take[S]({name}, ids)` looks places up, `unstack[S]({name})` takes all of them apart",
        ),
    )


def signs(at: Stumble) -> Diagnostic | None:
    """Signs where they mean nothing."""
    kind = at.type()
    if kind == "MINUS" and at.type(1) and at.near(1) == ">":
        return at.say(
            "split-arrow",
            "`->` is written without a space",
            at.here.to(at.near(1).span),
            help=at.fixed(at.index, at.index + 1, "->"),
        )
    if kind == "EQUALS" and at.kind == "NAME" and not at.inside and at.type(-1) in VALUE_ENDS:
        return at.say(
            "chained-assignment",
            "one line gives one value; `=` stands in it once",
            facts=("a comparison is written `==`",),
        )
    if kind == "EQUALS" and at.inside == "(" and at.type(-1) in VALUE_ENDS:
        return at.say(
            "equals-in-expression",
            "`=` stands behind a plain name only: `name = value`",
            facts=("a comparison is written `==`",),
        )
    if kind == "EQUALS" and at.type(-1) in VALUE_ENDS and not at.inside:
        return at.say(
            "equals-in-expression",
            "`=` cannot stand here",
            facts=("a comparison is written `==`",),
            help=at.fixed(at.index, at.index, "=="),
        )
    if kind == "COLON" and at.inside == "(" and at.type(-1) == "NAME" and "EQUALS" in at.expected:
        return at.say(
            "colon-in-call",
            "a value is given to a name with `=`",
            help=at.fixed(at.index - 1, at.index, f"{at.near(-1)} ="),
        )
    if kind == "ARROW":
        return at.say(
            "arrow",
            "`->` cannot stand here",
            facts=("it renames a dimension between brackets, and stands before a layer's results",),
        )
    if kind == "DOT" and "DOTS" in at.expected:
        last = at.index + (at.type(1) == "DOT")
        return at.say(
            "dots",
            "`...` has three dots",
            at.here.to(at.words[last].span),
            help=at.fixed(at.index, last, "..."),
        )
    if kind == "DOTS":
        return at.say(
            "dots",
            "`...` cannot stand here",
            facts=("between brackets it stands for the dimensions that a layer does not name",),
        )
    if kind == "PLUS" and "NUMBER" in at.expected:
        right = at.near(1) if at.type(1) else ""
        return at.say(
            "unary-plus",
            "this `+` has nothing on its left",
            help=at.fixed(at.index, at.index + 1, right) if right else "",
        )
    if kind in ("STAR", "POWER") and at.type(-1) in ("LPAR", "COMMA"):
        return at.say("unpacking", "nothing is unpacked by a star: values are given one by one")
    if kind == "LSQB" and "NUMBER" in at.expected:
        return at.say(
            "list",
            "there are no lists: brackets hold dimensions, and stand behind the name of an op",
        )
    opener = at.opener
    if kind == "COMMA" and opener is not None and at.inside == "(" and "RPAR" in at.expected:
        return at.say(
            "pair",
            "a pair is no value by itself",
            at.words[opener].span.to(at.words[at.match(opener)].span),
            facts=("it can be given to an option: `pad = (0, 1)`",),
        )
    if kind == "NOT" and at.type(-1) in OPERATORS:
        return at.say(
            "not", "`not` binds loosely here", help="put `not` and what follows in parentheses"
        )
    return None


def operands(at: Stumble) -> Diagnostic | None:
    """Two values without a sign between them, and signs without values."""
    if at.type() in VALUE_STARTS | {"LSQB"} and at.type(-1) in VALUE_ENDS:
        left, right = at.near(-1), at.near(0)
        if right == "(" and left == ")":
            return at.say(
                "call-of-call",
                "what a call gives is a value, and a value is not called",
                facts=("a layer with options is made by `use`, and then called",),
            )
        if at.inside:
            return at.say(
                "missing-comma",
                f"something is missing between `{left}` and `{right}`",
                facts=("a comma, or an operator",) if at.inside == "(" else (),
                help=at.fixed(at.index - 1, at.index - 1, f"{left},"),
            )
        if right.type != "LSQB":
            return at.say(
                "missing-operator", f"an operator is missing between `{left}` and `{right}`"
            )
    if at.type(-1) in OPERATORS and at.expected & {"NUMBER", "NAME"}:
        sign = at.near(-1)
        if at.word is None or at.type() in ("RPAR", "RSQB", "COMMA", "COLON"):
            return at.say(
                "missing-value",
                f"nothing stands on the right of `{sign}`",
                sign.span,
                facts=("only what is between parentheses or brackets may go on in the next line",)
                if at.word is None
                else (),
            )
        if at.type() in OPERATORS:
            return at.say("missing-value", f"a value is missing between `{sign}` and `{at.word}`")
    if at.type() in OPERATORS and at.type(-1) in ("LPAR", "LSQB", "COMMA", "COLON"):
        return at.say("missing-value", f"nothing stands on the left of `{at.word}`")
    return None


RULES = (brackets, signs, operands)
