"""Rules for statements that are not complete or mixed up: each explains one mistake or none."""

from __future__ import annotations

from ...ir.diagnostics import Diagnostic, nearest
from ..lexer import KEYWORDS
from .stumble import OPERATORS, VALUE_ENDS, Stumble

_STARTERS = "import dims const layer model loss param state use if elif else emit return metric"
STARTERS = _STARTERS.split()


def declaration(at: Stumble) -> Diagnostic | None:
    """`param` and `state` without type or initial value."""
    if at.kind not in ("PARAM", "STATE"):
        return None
    word = str(at.words[0])
    if at.index == 1:
        return at.say("missing-name", f"a {word} has a name", help=f"{word} scale: [D] = ones()")
    name = at.words[1]
    if at.index == 2:
        right = at.text(2, len(at.words) - 1) if at.type() == "EQUALS" else "= zeros()"
        if at.type() == "LSQB":
            return at.say(
                "missing-colon",
                f"`:` is missing between `{name}` and its type",
                help=at.fixed(2, 1, ": ").replace(f"{name} :", f"{name}:"),
            )
        return at.say(
            "missing-type",
            f"the {word} `{name}` has no type",
            help=f"{word} {name}: [D] {right}",
        )
    if at.word is None and at.expected & {"EQUALS"}:
        return at.say(
            "missing-init",
            f"the {word} `{name}` has no initial value",
            help=f"{at.line} = {'zeros()' if word == 'state' else 'normal(0.02)'}",
        )
    return None


def use(at: Stumble) -> Diagnostic | None:
    """`use` without a name, and `repeat` and `each` written otherwise."""
    if at.kind != "USE":
        return None
    if at.index == 2 and at.type(-1) == "NAME":
        name = str(at.words[1])
        if name[0].isupper():
            rest = at.text(1, len(at.words) - 1)
            return at.say(
                "use-without-name",
                f"this use of `{name}` has no name",
                at.words[1].span,
                facts=(
                    "the name is the instance's place in the checkpoint, in plans and messages",
                ),
                help=f"use {name.lower()} = {rest}",
            )
        if at.type() in ("COLON", "NAME"):
            rest = at.text(2 + (at.type() == "COLON"), len(at.words) - 1)
            return at.say(
                "missing-equals", "`use` gives a name with `=`", help=f"use {name} = {rest}"
            )
        return at.say(
            "use-without-layer",
            f"`use {name}` does not say of which layer",
            help=f"use {name} = Block",
        )
    before = at.type(-1)
    if before in ("REPEAT", "EACH"):
        name = at.near(-1)
        return at.say(
            "missing-brackets",
            f"the dimension that `{name}` runs along stands between brackets",
            help=f"{at.text(0, at.index - 1)}[L] Block",
        )
    if before == "LSQB" and at.type(-2) in ("REPEAT", "EACH"):
        name = at.near(-2)
        facts = (f"declare it in the glossary: `L = {at.word}`",) if at.type() == "NUMBER" else ()
        return at.say(
            "repeat-dim",
            f"`{name}` runs along a dimension, which has a name",
            facts=facts,
            help=at.fixed(at.index, at.index, "L") if at.type() == "NUMBER" else "",
        )
    if at.type() == "LPAR" and before == "RSQB":
        close = at.match(at.index)
        inner = at.text(at.index + 1, close - 1)
        return at.say(
            "repeat-parentheses",
            "the layer stands behind the bracket, without parentheses",
            help=f"{at.text(0, at.index - 1)} {inner}{at.text(close + 1, len(at.words) - 1)}",
        )
    if at.word is None and before in ("EQUALS", "RSQB"):
        return at.say(
            "use-without-layer",
            "the layer is missing here",
            help=f"{at.line} Block",
        )
    return None


def metric(at: Stumble) -> Diagnostic | None:
    """`metric` without a name or value."""
    if at.kind != "METRIC" or at.index > 2 or "EQUALS" not in at.expected | {"EQUALS"}:
        return None
    if at.type() == "COLON" and at.index == 2:
        return at.say("missing-equals", "a metric is written with `=`", help=at.fixed(2, 2, " ="))
    value = at.text(1, len(at.words) - 1) if at.index == 2 and at.word is not None else ""
    if at.index == 1 and at.word is not None and at.type() != "EQUALS":
        value = at.text(1, len(at.words) - 1)
    if at.index == 1 and at.type() == "EQUALS":
        value = at.text(2, len(at.words) - 1)
    if at.index == 2 and at.word is None:
        return at.say(
            "missing-value", f"the metric `{at.words[1]}` has no value", help=f"{at.line} = x"
        )
    return at.say(
        "metric-without-name",
        "a metric has a name, under which it is reported",
        help=f"metric name = {value or 'x'}",
    )


def scan(at: Stumble) -> Diagnostic | None:
    """Scans whose carry or inputs are written otherwise."""
    places = [i for i, w in enumerate(at.words[: at.index]) if w.type == "SCAN"]
    if not places:
        return None
    if at.type() == "LPAR" and "CARRY" in at.expected:
        return at.say(
            "missing-carry",
            "what a scan carries along stands behind the word `carry`",
            help=at.fixed(at.index, at.index - 1, "carry "),
        )
    if at.type(-1) == "CARRY" and at.type() != "LPAR":
        return at.say(
            "missing-parentheses",
            "`carry` is followed by parentheses",
            help=f"{at.text(0, at.index - 1)} ({at.text(at.index, len(at.words) - 2)}):"
            if at.words[-1].type == "COLON" and at.index < len(at.words) - 1
            else "carry (h = zeros[H]())",
        )
    if at.type(-2) == "SCAN" and at.type(-1) == "LSQB" and at.type() != "NAME":
        return at.say(
            "scan-dim", "a scan runs along one dimension, which has a name", help="scan[T](x = xs):"
        )
    if at.type(-1) == "SCAN" and at.type() != "LSQB":
        return at.say(
            "scan-dim", "the dimension that a scan runs along is missing", help="scan[T](x = xs):"
        )
    if at.type(-1) == "COMMA" and at.inside == "[" and at.expected == {"RSQB"}:
        return at.say("scan-dim", "a scan runs along one dimension only")
    opener = at.opener
    if opener is not None and at.type(opener - at.index - 1) in ("RSQB", "CARRY"):
        what = (
            "what a scan carries"
            if at.type(opener - at.index - 1) == "CARRY"
            else "what a scan runs over"
        )
        if at.type(-1) == "NAME" and at.expected == {"EQUALS"} and at.type() in ("COMMA", "RPAR"):
            name = at.near(-1)
            return at.say(
                "scan-names",
                f"{what} has names, by which the body knows it",
                name.span,
                help=at.fixed(at.index - 1, at.index - 1, f"{name} = {name}"),
            )
        if at.expected <= {"EQUALS", "NAME", "RPAR", "COMMA"}:
            return at.say(
                "scan-names", f"{what} has names, by which the body knows it", help="x = xs"
            )
    return None


def imports(at: Stumble) -> Diagnostic | None:
    """`import a, b` and `import a.b`."""
    if at.kind != "IMPORT":
        return None
    if at.type() == "COMMA":
        return at.say("one-import", "one line imports one file", help=at.text(0, at.index - 1))
    if at.type() in ("DOT", "DIVIDE"):
        return at.say(
            "import-path",
            "an import is a plain name: of a file in the same folder, or of a library chapter",
            help=f"import {at.words[-1]}" if at.words[-1].type == "NAME" else "",
        )
    if at.word is None:
        return at.say("missing-name", "the name of a file is missing here", help="import vision")
    return None


def start(at: Stumble) -> Diagnostic | None:
    """Lines that start like no statement."""
    if at.start != "line":
        return _block_line(at)
    if at.kind != "NAME" or at.index != 1:
        return _value_line(at) if at.index == 0 else None
    first = str(at.words[0])
    meant = nearest(first, STARTERS)
    if at.type() in ("NAME", "COLON") and meant:
        return at.say(
            "unknown-statement",
            f"no statement starts with `{first}`",
            at.words[0].span,
            help=at.fixed(0, 0, meant[0]),
        )
    if at.type() == "NAME":
        return at.say(
            "unknown-statement",
            f"no statement starts with `{first}`",
            at.words[0].span,
            facts=(
                "a line gives a name (`x = ...`) or starts with a word such as param, use, return",
            ),
        )
    if at.type() == "COLON":
        typed = at.type(1) == "LSQB"
        return at.say(
            "unknown-statement",
            f"`{first}:` starts no statement",
            at.words[0].span.to(at.here),
            facts=("only `param` and `state` are declared with a type",) if typed else (),
            help=f"param {at.line}" if typed else "",
        )
    if at.type() == "LSQB" and at.type(at.match(1) + 1 - at.index) == "EQUALS":
        return at.say(
            "item-assignment",
            f"`{first}` cannot be changed in part: a value is given a name, never changed",
            at.words[0].span.to(at.words[at.match(1)].span),
            facts=("`where(mask, a, b)` chooses between two values",),
        )
    if at.type() == "DOT" and any(w.type == "EQUALS" for w in at.words) and at.type(2) == "EQUALS":
        return at.say(
            "member-assignment",
            f"`{at.text(0, 2)}` cannot be assigned: a value is given a plain name",
            at.words[0].span.to(at.words[2].span),
            help=at.text(2, len(at.words) - 1),
        )
    return _value_line(at)


def _value_line(at: Stumble) -> Diagnostic | None:
    """An expression where a statement should be."""
    if at.kind == "DIMS" or at.kind not in (
        "NAME",
        "NUMBER",
        "LPAR",
        "MINUS",
        "NOT",
        "TRUE",
        "FALSE",
        "NONE",
    ):
        return None
    equals = [i for i, w in enumerate(at.words) if w.type == "EQUALS"]
    if at.kind == "LPAR" and equals and at.match(0) + 1 == equals[0]:
        inner = at.text(1, equals[0] - 2)
        return at.say(
            "target-parentheses",
            "names on the left of `=` have no parentheses",
            at.words[0].span.to(at.words[equals[0] - 1].span),
            help=f"{inner} {at.text(equals[0], len(at.words) - 1)}",
        )
    if at.type() == "ARROW" or (at.type() in OPERATORS and at.type(1) == "EQUALS"):
        return None
    if at.word == "==" and at.index == 1:
        return at.say(
            "value-unused",
            "`==` compares; a name is given with `=`",
            help=at.fixed(1, 1, "="),
        )
    if at.kind == "NAME" and at.words[0] == "print" and at.type() == "LPAR":
        return at.say(
            "value-unused",
            "nothing is printed by a model; a metric is reported",
            at.words[0].span,
            help=f"metric name = {at.text(2, at.match(1) - 1)}",
        )
    return at.say(
        "value-unused",
        "this value is computed and then dropped",
        at.words[0].span.to(at.words[-1].span),
        help=f"y = {at.line}",
    )


def _block_line(at: Stumble) -> Diagnostic | None:
    """Lines of `dims:` and `const:` blocks."""
    block, example = ("dims", "D = 128") if at.start == "dim_line" else ("const", "drop = 0.1")
    if at.index == 0 and str(at.words[0]) in KEYWORDS and at.type(1) != "EQUALS":
        return at.say(
            "statement-in-block",
            f"`{at.words[0]}` cannot stand in the `{block}:` block",
            facts=("what is indented below it belongs to the block",),
            help=f"one item looks like this: {example}",
        )
    return None


def glossary(at: Stumble) -> Diagnostic | None:
    """Items of `dims:` and `const:`, in a block or on a line."""
    if at.kind not in ("DIMS", "CONST", ""):
        return None
    if at.inside:
        return None
    if (at.type() == "COLON" or at.word == "==") and at.type(-1) == "NAME":
        return at.say(
            "missing-equals",
            f"`=` is missing behind `{at.near(-1)}`",
            help=at.fixed(at.index - 1, at.index, f"{at.near(-1)} ="),
        )
    if (
        at.type(-1) == "NAME"
        and at.type(-2) in ("COMMA", "COLON", "")
        and at.expected == {"EQUALS"}
    ):
        name = at.near(-1)
        return at.say(
            "const-without-value",
            f"the constant `{name}` has no value",
            name.span,
            help=f"{name} = 0.1",
        )
    if at.type() == "NUMBER" and at.type(-1) == "NAME":
        return at.say(
            "missing-equals",
            f"`=` is missing behind `{at.near(-1)}`",
            help=at.fixed(at.index, at.index - 1, "= "),
        )
    if at.type() == "NAME" and at.type(-1) in VALUE_ENDS:
        return at.say(
            "missing-comma",
            "items of one line are separated by commas",
            help=at.fixed(at.index - 1, at.index - 1, f"{at.near(-1)},"),
        )
    return None


def lists(at: Stumble) -> Diagnostic | None:
    """Trailing and doubled commas, and statements that lack their values."""
    if at.kind in ("EMIT", "RETURN") and at.index == 1 and at.word is None:
        help = "emit h" if at.kind == "EMIT" else "return x"
        return at.say("missing-value", f"`{at.words[0]}` gives no value", help=help)
    if at.type(-1) == "COMMA" and not at.inside and at.type() in ("", "EQUALS"):
        return at.say(
            "trailing-comma",
            "nothing follows this comma",
            at.near(-1).span,
            help=at.fixed(at.index - 1, at.index - 1, ""),
        )
    if at.type() == "COMMA" and at.type(-1) in ("COMMA", "LPAR", "LSQB"):
        return at.say(
            "extra-comma", "nothing stands before this comma", help=at.fixed(at.index, at.index, "")
        )
    return None


RULES = (declaration, use, metric, scan, imports, start, glossary, lists)
