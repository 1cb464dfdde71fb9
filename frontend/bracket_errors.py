"""What is said about brackets and indentation that do not fit."""

from __future__ import annotations

from ..ir.diagnostics import Diagnostics, Place
from .lexer import Word


def never_closed(opener: Word, words: list[Word], diagnostics: Diagnostics) -> None:
    diagnostics.error("unclosed-bracket", f"this `{opener}` is never closed", opener.span)


def wrong_closer(opener: Word, closer: Word, diagnostics: Diagnostics) -> None:
    diagnostics.error(
        "wrong-bracket",
        f"`{closer}` stands here while `{opener}` is still open",
        closer.span,
        places=(Place(opener.span, "opened here"),),
    )


def stray_closer(closer: Word, diagnostics: Diagnostics) -> None:
    diagnostics.error("stray-bracket", f"this `{closer}` closes nothing", closer.span)


def first_indented(line, diagnostics: Diagnostics) -> None:
    diagnostics.error("unexpected-indent", "the first line is indented", line.span)


def bad_unindent(line, outer: int, inner: int, diagnostics: Diagnostics) -> None:
    diagnostics.error("bad-unindent", "this line fits no block above", line.span)
