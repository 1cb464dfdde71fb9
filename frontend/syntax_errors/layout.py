"""What is said about brackets, indentation and blocks that do not fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...ir.diagnostics import Diagnostic, Place, Span
from .. import tree
from ..lexer import KEYWORDS, Word

if TYPE_CHECKING:
    from ..lines import Line


# Brackets.


def never_closed(opener: Word, words: list[Word]) -> Diagnostic:
    closer = ")" if opener == "(" else "]"
    return Diagnostic(
        "unclosed-bracket",
        f"this `{opener}` is never closed",
        opener.span,
        help=_closed(opener, closer, words),
    )


def _closed(opener: Word, closer: str, words: list[Word]) -> str:
    """The line with the bracket closed where it likely should be; empty if it has more rows."""
    if words[0].line != words[-1].end_line:
        return ""
    at = next(i for i, word in enumerate(words) if word is opener)
    depth = 0
    for index in range(at + 1, len(words)):
        word = words[index]
        depth += (word.type in ("LPAR", "LSQB")) - (word.type in ("RPAR", "RSQB"))
        ends_dims = opener == "[" and word.type == "LPAR" and depth == 1
        ends_type = opener == "[" and word.type == "EQUALS" and words[0].type in ("PARAM", "STATE")
        ends_arguments = opener == "(" and word.type == "ARROW" and depth == 0
        ends_header = word.type == "COLON" and index == len(words) - 1
        if ends_dims or ends_type or ends_arguments or ends_header:
            gap = " " if ends_type or ends_arguments else ""
            return f"{_text(words[:index])}{closer}{gap}{_text(words[index:])}"
    return _text(words) + closer


def _text(words: Sequence[Word]) -> str:
    """Words of one row, with the space that was between them."""
    text = ""
    for index, word in enumerate(words):
        gap = word.column - words[index - 1].end_column if index else 0
        text += " " * gap + (f'"""{word}"""' if word.type == "DOC" else word)
    return text


def wrong_closer(opener: Word, closer: Word) -> Diagnostic:
    right = ")" if opener == "(" else "]"
    return Diagnostic(
        "wrong-bracket",
        f"`{closer}` stands here, but `{opener}` is still open",
        closer.span,
        caption=f"expected `{right}` first",
        places=(Place(opener.span, "opened here"),),
    )


def stray_closer(closer: Word) -> Diagnostic:
    return Diagnostic(
        "stray-bracket", f"no bracket is open that this `{closer}` could close", closer.span
    )


# Indentation.


def tab(span: Span) -> Diagnostic:
    return Diagnostic(
        "tab-indent",
        "this line is indented with a tab",
        span,
        facts=("indentation is made of spaces, so that it looks the same everywhere",),
        help="use four spaces for each tab, here and in the lines below",
    )


def unexpected_indent(line: Line, above: Line | None) -> Diagnostic:
    if above is None:
        return Diagnostic(
            "unexpected-indent",
            "the first statement of a file is not indented",
            line.words[0].span,
        )
    if starts(line):
        return Diagnostic(
            "unexpected-indent",
            "this line is indented, but the line above it opens no block",
            line.words[0].span,
            places=(Place(above.words[0].span, "indent it like this one"),),
        )
    whole = [*above.words, *line.words]
    at = 1 if above.words[0].type == "RETURN" else 2
    named = len(above.words) > at and above.words[at - 1].type in ("RETURN", "EQUALS")
    return Diagnostic(
        "unexpected-indent",
        "an expression goes on in the next line only between parentheses",
        line.words[0].span,
        help=f"{_text(whole[:at])} ({_text(above.words[at:])}\n        {_text(line.words)})"
        if named
        else "",
    )


def starts(line: Line) -> bool:
    """Whether a line starts like a statement, not like the rest of an expression."""
    first = line.words[0]
    return first.type in ("NAME", "DOC") or str(first) in KEYWORDS - {"and", "or", "not"}


def bad_unindent(line: Line, outer: int, inner: int) -> Diagnostic:
    return Diagnostic(
        "bad-unindent",
        f"this line is indented by {line.indent}, which fits no block above it",
        line.words[0].span,
        facts=(f"the blocks around it are indented by {outer} and by {inner}",),
    )


# Blocks.

_BODY = {
    "DIMS": "D = 128",
    "CONST": "drop = 0.1",
    "IF": "y = x",
    "ELIF": "y = x",
    "ELSE": "y = x",
}


def empty_body(line: Line, only_doc: bool = False) -> Diagnostic:
    kind = line.words[0]
    scan = any(word.type == "SCAN" for word in line.words)
    what = "this scan" if scan else f"`{kind}`"
    if kind.type in ("LAYER", "MODEL", "LOSS"):
        what = f"the {kind} `{line.words[1]}`"
    body = "emit h" if scan else _BODY.get(kind.type, "return x")
    has = "only a docstring for a body" if only_doc else "no body"
    return Diagnostic(
        "empty-body",
        f"{what} has {has}",
        line.words[0].span.to(line.words[-1].span),
        facts=("a body stands on the lines below, indented by four spaces",),
        help=f"    {body}",
    )


def body_not_indented(header: Line, first: Line) -> Diagnostic:
    return Diagnostic(
        "body-not-indented",
        f"the body of this `{header.words[0]}` is not indented",
        first.words[0].span,
        places=(Place(header.words[0].span, "the header"),),
        help=f"indent what belongs to `{header.words[0]}` by four spaces",
    )


def else_without_if(line: Line) -> Diagnostic:
    return Diagnostic(
        "else-without-if",
        f"this `{line.words[0]}` belongs to no `if`",
        line.words[0].span,
        facts=("it stands directly below the body of the `if`, indented like it",),
    )


def nested_layer(node: tree.Layer) -> Diagnostic:
    return Diagnostic(
        "nested-layer",
        f"the {node.kind} `{node.name}` stands inside of another one",
        node.name_span,
        facts=("layers stand side by side at the left margin, and `use` joins them",),
        help=f"move it above, to the left margin, and write: use {node.name.lower()} = {node.name}",
    )


def docstring_place(word: Word) -> Diagnostic:
    span = Span(word.span.file, word.line, word.column, word.line, word.column + 3)
    return Diagnostic(
        "docstring-place",
        "a docstring stands first in the file, or first in a layer",
        span,
        help="write a comment here, behind `#`",
    )


def misplaced(node: tree.Node, line: Line, scope: str) -> Diagnostic:
    """A statement that is right, in the wrong place; `scope` is `top`, `layer` or `scan`."""
    first = line.words[0]
    say: dict[str, Any] = {"code": "misplaced", "span": first.span}
    if scope == "top":
        return _misplaced_top(node, line)
    if isinstance(node, tree.Consts):
        return Diagnostic(
            message="a layer has no `const:` of its own",
            facts=("`const:` stands at the left margin, for the whole file",),
            help="or make it an option: layer Name[D](x: [D], rate = 0.1)",
            **say,
        )
    if isinstance(node, tree.Import):
        return Diagnostic(
            message="an `import` stands at the left margin, not in a layer",
            help=f"{_text(line.words)}",
            **say,
        )
    if isinstance(node, tree.Emit):
        return Diagnostic(
            message="`emit` stands outside of a scan",
            facts=("a layer gives its results with `return`",),
            help=_text(line.words).replace("emit", "return", 1),
            **say,
        )
    if isinstance(node, tree.Return):
        return Diagnostic(
            message="`return` stands inside of a scan",
            facts=("a step gives its result with `emit`; the layer returns after the scan",),
            help=_text(line.words).replace("return", "emit", 1),
            **say,
        )
    if isinstance(node, tree.Update):
        return Diagnostic(
            "misplaced",
            f"the state `{node.name.id}` is updated inside of a scan",
            node.span,
            facts=("what a scan changes from step to step, it carries along",),
            help=f"carry (a = {node.name.id}), and after the scan: {node.name.id} <- a",
        )
    return Diagnostic(
        message=f"`{first}` stands inside of a scan",
        facts=("every step shares it, so it is declared before the scan",),
        help="move it above the scan",
        **say,
    )


def _misplaced_top(node: tree.Node, line: Line) -> Diagnostic:
    first = line.words[0]
    if isinstance(node, tree.Assign) and len(node.targets) == 1:
        name = node.targets[0].id
        block = "dims" if name[0].isupper() else "const"
        what = "size" if block == "dims" else "constant"
        return Diagnostic(
            "misplaced",
            f"`{name}` is given outside of a layer",
            first.span,
            facts=(f"a {what} of the whole file stands below `{block}:`",),
            help=f"{block}:\n    {_text(line.words)}",
        )
    what = "this scan" if any(w.type == "SCAN" for w in line.words) else f"`{first}`"
    if isinstance(node, tree.Assign | tree.Update):
        what = "this assignment"
    return Diagnostic(
        "misplaced",
        f"{what} stands outside of a layer",
        first.span,
        help="indent it below the header of the layer that it belongs to",
    )


def too_deep(line: Line) -> Diagnostic:
    return Diagnostic(
        "nested-too-deep",
        "this line nests too many operations in one another",
        line.words[0].span,
        help="give parts of it names of their own",
    )
