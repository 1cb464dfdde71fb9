"""The text of sizes: how they print, and a small parser that reads them back exactly."""

from __future__ import annotations

import re

from .size import MAX_DEPTH, NAME, RULES, Factor, Monomial, Size, SizeError

_TOKEN = re.compile(rf"\s*(?:(\d+)|({NAME})|(//|[-+*%(),])|(\S))")


class SizeSyntaxError(SizeError):
    """Text that is not a size or a claim."""


def size_text(size: Size) -> str:
    """Terms in order, but one that is added first."""
    if not size.terms:
        return "0"
    terms = list(size.terms)
    first = next((i for i, (_, c) in enumerate(terms) if c > 0), 0)
    terms.insert(0, terms.pop(first))
    text = ""
    for monomial, c in terms:
        sign = (" - " if c < 0 else " + ") if text else "-" if c < 0 else ""
        text += sign + _product_text(monomial, abs(c), sign == "-")
    return text


def _product_text(monomial: Monomial, c: int, negated: bool) -> str:
    if c == 1 and len(monomial) == 1 and not negated:
        return _factor_text(monomial[0], bare=True)
    factors = [_factor_text(f, bare=False) for f in monomial]
    return " * ".join([str(c), *factors] if c != 1 or not factors else factors)


def _factor_text(factor: Factor, bare: bool) -> str:
    if isinstance(factor, str):
        return factor
    if factor.op in ("min", "max"):
        return f"{factor.op}({', '.join(map(size_text, factor.args))})"
    a, b = factor.args
    text = f"{left_text(a)} {factor.op} {right_text(b)}"
    return text if bare else f"({text})"


def left_text(a: Size) -> str:
    """The text of a dividend: a product stands as it is."""
    text = size_text(a)
    lone = a.atom is not None and a.atom.op in ("//", "%")
    return f"({text})" if lone or len(a.terms) > 1 or text.startswith("-") else text


def right_text(b: Size) -> str:
    """The text of a divisor: only a name, a number or a call stands as it is."""
    text = size_text(b)
    return text if re.fullmatch(r"[\w.]+|(min|max)\([^()]*\)", text) else f"({text})"


class Parser:
    """A reader of sizes by recursive descent; unary minus binds as in Python."""

    def __init__(self, text: str):
        self.text, self.at, self.depth = text, 0, 0
        self.tokens: list[tuple[str, int]] = []
        for match in _TOKEN.finditer(text):
            self.tokens.append(
                (match.group(match.lastindex or 0), match.start(match.lastindex or 0))
            )

    def fail(self, expected: str) -> SizeSyntaxError:
        found, column = self.tokens[self.at] if self.at < len(self.tokens) else ("", len(self.text))
        found = repr(found) if found else "the end"
        return SizeSyntaxError(f"{self.text!r}: expected {expected}, not {found}, at {column + 1}")

    def peek(self) -> str:
        return self.tokens[self.at][0] if self.at < len(self.tokens) else ""

    def take(self, *words: str) -> str:
        """The next token, if it is one of the words; else nothing."""
        word = self.peek()
        if word not in words:
            return ""
        self.at += 1
        return word

    def expect(self, word: str) -> None:
        if not self.take(word):
            raise self.fail(repr(word) if word else "the end")

    def all(self) -> Size:
        """The size that the whole text means."""
        size = self.sum()
        if self.at < len(self.tokens):
            raise self.fail("an operator")
        return size

    def sum(self) -> Size:
        total = self.product()
        while op := self.take("+", "-"):
            total = total + self.product() if op == "+" else total - self.product()
        return total

    def product(self) -> Size:
        total = self.factor()
        while op := self.take("*", "//", "%"):
            other = self.factor()
            total = total * other if op == "*" else RULES[op](total, other)
        return total

    def factor(self) -> Size:
        self.depth += 1
        if self.depth > 3 * MAX_DEPTH:
            raise self.fail("less nesting")
        word = self.peek()
        if self.take("-"):
            size = -self.factor()
        elif self.take("("):
            size = self.sum()
            self.expect(")")
        elif word in ("min", "max"):
            self.at += 1
            self.expect("(")
            args = [self.sum()]
            while self.take(","):
                args.append(self.sum())
            self.expect(")")
            size = RULES[word](*args)
        elif word.isdecimal() and len(word) <= 100:
            self.at += 1
            size = Size.of(int(word))
        elif re.fullmatch(NAME, word):
            self.at += 1
            size = Size.free(word)
        else:
            raise self.fail("a size")
        self.depth -= 1
        return size


def parse_size(text: str) -> Size:
    """The size that a text means; the reverse of `str`."""
    return Parser(text).all()


def split_remainder(text: str) -> tuple[Size, Size] | None:
    """The two sizes of a text that is a bare `a % b`, before they are simplified; else None."""
    depth, before, place = 0, "", -1
    for token, start in Parser(text).tokens:
        if depth == 0 and token in ("+", "-") and before not in ("", "*", "//", "%"):
            return None
        if depth == 0 and token in ("*", "//", "%"):
            place = start if token == "%" else -1
        depth += (token == "(") - (token == ")")
        before = token
    if place < 0:
        return None
    return Parser(text[:place]).all(), Parser(text[place + 1 :]).all()
