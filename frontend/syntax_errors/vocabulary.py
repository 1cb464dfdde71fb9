"""Rules for words that do not belong there: each explains one mistake or none."""

from __future__ import annotations

import unicodedata

from ...ir.diagnostics import Diagnostic
from ..lexer import KEYWORDS, NUMBER
from .stumble import OPERATORS, VALUE_ENDS, Stumble

# What people write who come from elsewhere, and what it is here.
FOREIGN = {
    "&&": "and",
    "&": "and",
    "||": "or",
    "|": "or",
    "!": "not ",
    "~": "not ",
    ">>": "->",
    "=>": "->",
    "===": "==",
    "<>": "!=",
    ":=": "=",
    "^": "**",
    "→": "->",
    "←": "<-",
    "−": "-",
    "–": "-",
    "×": "*",
    "·": "*",
    "÷": "/",
    "≤": "<=",
    "≥": ">=",
    "≠": "!=",
    "…": "...",
}

# Words of the language that someone may well take for a name.
_NOUNS = "dims const layer model loss param state use scan carry emit metric repeat each import"
NOUNS = frozenset(_NOUNS.split())

PYTHON = {
    "def": ("a function is written as a layer", "layer Name[D](x: [..., D]) -> [..., D]:"),
    "class": (
        "there are no classes; a layer holds its parameters",
        "layer Name[D](x: [..., D]) -> [..., D]:",
    ),
    "for": (
        "there is no `for`: layers are stacked by `repeat`, and `scan` runs along a dimension",
        "use blocks = repeat[L] Block",
    ),
    "while": (
        "there is no `while`: layers are stacked by `repeat`, and `scan` runs along a dimension",
        "use blocks = repeat[L] Block",
    ),
    "lambda": ("there are no functions without a name; write a layer", ""),
    "with": ("there is no `with`: precision, devices and memory are decided outside the model", ""),
    "pass": ("there is no `pass`: a layer returns something", ""),
    "assert": ("there is no `assert`: sizes are proven when the model is checked", ""),
    "from": (
        "names are not imported one by one; a whole file is, and its names are `vision.Conv`",
        "import vision",
    ),
    "in": ("there is no `in`; compare with `==`, and join with `or`", ""),
    "is": ("there is no `is`; compare with `==`", ""),
    "yield": ("there is no `yield`; inside a scan, `emit` gives the result of a step", "emit h"),
    "del": ("nothing is deleted in a model; memory is planned by the compiler", ""),
}


def docstring(at: Stumble) -> Diagnostic | None:
    """Strings, and what is left of docstrings."""
    if at.type() == "UNCLOSED":
        return at.say(
            "unclosed-docstring",
            "this docstring never ends",
            caption="opened here",
            help='end it with `"""`',
        )
    if at.type() == "DOC" or (at.type(-1) == "DOC" and at.index == 1):
        if at.type() != "DOC":
            return at.say(
                "text-after-docstring",
                "a docstring stands alone on its line",
                help="put what follows it on the next line",
            )
        return at.say(
            "string",
            "a string cannot be a value; the only strings of a model are its docstrings",
            facts=("a docstring stands alone, first in the file or first in a layer",),
        )
    if at.type() != "STRING":
        return None
    text = at.near(0).strip("'\"")
    if len(at.words) == 1:
        return at.say(
            "docstring-quotes",
            "a docstring is written between three double quotes",
            help=f'"""{text}"""',
        )
    help = ""
    if at.kind == "IMPORT" and text.isidentifier():
        help = f"import {text}"
    elif text.isidentifier():
        help = at.fixed(at.index, at.index, text)
    return at.say(
        "string",
        "there are no strings in a model",
        facts=("choices such as `same` are plain names",) if at.kind != "IMPORT" else (),
        help=help,
    )


def number(at: Stumble) -> Diagnostic | None:
    """`2x`, `1__0`, `0x1F`."""
    if at.type() != "GLUED":
        return None
    word = at.near(0)
    match = NUMBER.match(word)
    digits = match.group() if match else ""
    rest = word[len(digits) :]
    if digits and rest.isidentifier() and not rest.startswith("_"):
        if digits == "0" and rest[0] in "xXbBoO":
            return at.say(
                "bad-number", f"`{at.word}` is not a number here", help="write numbers in decimal"
            )
        if rest in ("e", "E"):
            return at.say(
                "bad-number",
                f"the exponent of `{at.word}` has no digits",
                facts=("numbers are written 12, 1_000, 0.5 and 1e-6",),
            )
        return at.say(
            "glued-number",
            f"`{at.word}` is neither a number nor a name",
            facts=("a name starts with a letter, and a product is written with `*`",),
            help=at.fixed(at.index, at.index, f"{digits} * {rest}"),
        )
    return at.say(
        "bad-number",
        f"`{at.word}` is not a number",
        facts=("numbers are written 12, 1_000, 0.5 and 1e-6",),
    )


def python(at: Stumble) -> Diagnostic | None:
    """Python's keywords, as statements, in expressions and as names."""
    if at.type() != "PYTHON":
        return None
    word = str(at.word)
    if at.expected == {"NAME"} or at.type(1) == "EQUALS":
        return at.say(
            "keyword-name",
            f"`{word}` cannot be a name: it is a keyword of Python",
            help=at.fixed(at.index, at.index, word + "_"),
        )
    if word in ("True", "False", "None"):
        return at.say(
            "python-word",
            f"`{word}` is written `{word.lower()}`",
            help=at.fixed(at.index, at.index, word.lower()),
        )
    if word == "as" and at.kind == "IMPORT":
        return at.say(
            "python-word",
            "an import cannot be given another name",
            facts=(f"its names are written `{at.words[1]}.Conv`",),
            help=at.text(0, at.index - 1),
        )
    message, help = PYTHON.get(word, (f"`{word}` is a word of Python, not of this language", ""))
    return at.say("python-word", message, help=help)


def foreign(at: Stumble) -> Diagnostic | None:
    """Signs of other languages, and characters of none."""
    if at.type() != "ALIEN":
        return None
    sign = str(at.word)
    if sign == "@":
        if at.index == 0:
            return at.say(
                "decorator",
                "there are no decorators",
                facts=("how a layer runs is decided by the recipe, never in the model",),
                help="remove this line",
            )
        return at.say(
            "matrix-product",
            "there is no `@`: a product says which dimension it sums over",
            help=f"dot[D]({at.near(-1)}, {at.near(1)})"
            if at.type(-1) == at.type(1) == "NAME"
            else "dot[D](x, w)",
        )
    if len(sign) > 1 and sign.endswith("=") and sign not in FOREIGN and at.index == 1:
        name, op = at.words[0], sign[:-1]
        right = at.text(2, len(at.words) - 1)
        if op != "+" and _loose(at.words[2:]):
            right = f"({right})"
        help = f"{name} = {name} {op} {right}" if right and op not in "@&|^" else ""
        return at.say(
            "update-sign",
            f"there is no `{sign}`: a value is given a name, never changed",
            facts=("only a state changes, by `<-`",),
            help=help,
        )
    if sign in ("++", "--"):
        return at.say(
            "foreign-sign", f"there is no `{sign}`", help=at.fixed(at.index, at.index, "+")
        )
    if sign in FOREIGN:
        new = FOREIGN[sign]
        return at.say(
            "foreign-sign",
            f"`{sign}` is written `{new.strip()}`",
            help=at.fixed(at.index, at.index, new),
        )
    if sign == ";":
        return at.say("semicolon", "one line holds one statement; there is no `;`")
    if sign == "\\":
        return at.say(
            "backslash",
            "a line is not continued by `\\`",
            help="put the expression between parentheses: they may span lines",
        )
    if sign in "{}":
        return at.say("braces", "there are no braces: a body is what is indented below its header")
    if sign[0].isalpha() or "_" in sign:
        plain = unicodedata.normalize("NFKD", sign).encode("ascii", "ignore").decode()
        bad = next(c for c in sign if not c.isascii())
        return at.say(
            "bad-name",
            f"`{bad}` cannot stand in a name; names are made of a to z, A to Z, digits and `_`",
            help=at.fixed(at.index, at.index, plain) if plain.isidentifier() else "",
        )
    if sign.isspace() or not sign.isprintable():
        title = unicodedata.name(sign, "a control character").lower()
        return at.say(
            "bad-character",
            f"there is an invisible character here: U+{ord(sign[0]):04X}, {title}",
            help="delete it, or put an ordinary space there",
        )
    if sign in "“”„‘’":
        return at.say(
            "bad-character",
            f"`{sign}` is a typographic quote",
            help='a docstring is written """so"""',
        )
    return at.say("bad-character", f"`{sign}` means nothing in a model")


def _loose(words: list) -> bool:
    """Whether an expression has an operator outside of its parentheses."""
    depth = 0
    for word in words:
        depth += (word.type in ("LPAR", "LSQB")) - (word.type in ("RPAR", "RSQB"))
        if depth == 0 and word.type in OPERATORS:
            return True
    return False


def keyword(at: Stumble) -> Diagnostic | None:
    """Words of the language where a name should stand."""
    first = at.words[0]
    if at.start != "line" and at.index == 0 and at.type(1) != "EQUALS":
        return None  # a statement in a `dims:` block, rather than a name
    if (
        at.index == 1
        and first in KEYWORDS
        and first != "metric"
        and at.type() in ("EQUALS", "COMMA", "UPDATE")
    ):
        return _taken(at, 0)
    if at.index == 0 and first in KEYWORDS and at.type(1) in ("EQUALS", "COMMA", "UPDATE"):
        return _taken(at, 0)
    if at.word is None or str(at.word) not in KEYWORDS:
        return None
    word = str(at.word)
    if word == "if" and at.index and at.type(-1) in VALUE_ENDS:
        return at.say(
            "if-in-expression",
            "`if` starts a statement; inside an expression, write `where`",
            help="where(condition, a, b)",
        )
    if word == "scan" and at.index:
        return at.say(
            "scan-in-expression",
            "a scan is a statement: give its result a name first",
            help="ys = scan[T](x = xs):",
        )
    if word in ("repeat", "each", "use") and at.type(-1) == "EQUALS" and "NAME" in at.expected:
        first = at.words[0]
        right = at.text(at.index + (word == "use"), len(at.words) - 1)
        return at.say(
            "use-missing",
            "an instance of a layer is made by `use`",
            help=f"use {first} = {right}" if at.index == 2 else "",
        )
    if at.expected == {"NAME"} or ("NAME" in at.expected and at.index and word in NOUNS):
        return _taken(at, at.index)
    return None


def _taken(at: Stumble, index: int) -> Diagnostic:
    word = at.words[index]
    return at.say(
        "keyword-name",
        f"`{word}` cannot be a name: it is a word of the language",
        word.span,
        help=at.fixed(index, index, f"{word}_"),
    )


RULES = (docstring, number, python, foreign, keyword)
