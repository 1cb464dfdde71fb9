"""One logical line of a model file, laid out in rows of at most 100 columns.

What fits on one row stands on one. Otherwise one pair of brackets is opened, with what it holds on
a row of its own, or with a row for each element; a formula is broken before its loosest operators,
inside parentheses. Of the ways to do so the first is taken that makes all fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from .lexer import Word
from .lines import CLOSERS

WIDTH = 100
INDENT = 4
SMALL = 12  # brackets that hold less are opened only where nothing else helps

# How tightly operators bind; a formula is broken before the loosest.
_BINDS = {"OR": 1, "AND": 2, "COMPARE": 3, "PLUS": 4, "MINUS": 4, "STAR": 5, "DIVIDE": 5}
_BINDS["POWER"] = 6
_OPERANDS = ("NAME", "NUMBER", "TRUE", "FALSE", "NONE", "RPAR", "RSQB", "DOTS")
_VALUE_FOLLOWS = ("EQUALS", "UPDATE", "RETURN", "EMIT", "IF", "ELIF")


@dataclass(frozen=True)
class Row:
    """A row of the result; one without text is a comment alone."""

    indent: int
    text: str
    comment: str = ""


@dataclass(eq=False)
class Token:
    """A word, whether a space stands before it, and the comments around it."""

    text: str
    kind: str
    space: bool = False
    before: list[str] = field(default_factory=list)  # on rows of their own
    after: str = ""  # at the end of its row


class Element:
    """What stands between two commas.

    Attributes:
        comma: whether one follows.
        after: the comment at the end of its row.
        below: the comments on rows of their own before the next element.
    """

    def __init__(self, items: list[Item], comma: Token | None = None):
        self.items = items
        self.comma = comma is not None
        self.after, self.below = "", []
        if comma is not None:
            self.below, self.after = comma.before, comma.after
        if self.after and self.below:
            self.below, self.after = [*self.below, self.after], ""
        if items and (last := _last(items[-1])).after:
            self.below = [*([self.after] if self.after else []), *self.below]
            self.after, last.after = last.after, ""


class Group:
    """Brackets or parentheses.

    Attributes:
        extendable: whether a comma may follow the last element.
        single: whether it is a tuple of one, whose comma makes it one.
        needed: whether comments stand in it that do not stand in other brackets inside.
        commented: whether comments stand in it at all, so that it must be opened.
    """

    def __init__(self, opener: Token, elements: list[Element], closer: Token, extendable: bool):
        self.opener, self.elements, self.closer = opener, elements, closer
        self.extendable = extendable or len(elements) > 1
        self.single = not self.extendable and len(elements) == 1 and elements[0].comma
        self.needed = bool(opener.after or closer.before) or any(
            e.after or e.below or _first(e.items[0]).before or _interrupted(e.items)
            for e in elements
        )
        self.commented: bool = self.needed or any(
            part.commented for e in elements for part in _parts(e.items)
        )


class Formula:
    """Operands and operators.

    Attributes:
        around: the parentheses to break it in; None where it stands between brackets already.
        cuts: where the operands begin, and where the last one ends.
        hanging: whether it is an operand itself, with the operator before it; later rows of it
            stand further right.
    """

    def __init__(self, items: list[Item], bare: bool, hanging: bool = False):
        self.items = items
        self.hanging = hanging
        self.commented: bool = _interrupted(items)
        start = int(hanging and _kinds(items[:1])[0] in _BINDS)
        self.cuts = [0, *(n + start for n in _loosest(items[start:])), len(items)]
        self.around: Group | None = None
        if not bare:
            held = Element([Formula(items, bare=True)])
            opener, closer = Token("(", "LPAR", space=True), Token(")", "RPAR")
            self.around = Group(opener, [held], closer, False)


Item = Token | Group | Formula


def tokens(words: Sequence[Word]) -> list[Token]:
    """Words with the spaces before them, and no comments yet."""
    made: list[Token] = []
    left = ""
    for word in words:
        kind = word.type
        if kind == "MINUS" and left not in _OPERANDS:
            kind = "NEGATIVE"
        made.append(Token(str(word), kind, left != "" and _spaced(left, kind)))
        left = kind
    return made


def _spaced(left: str, right: str) -> bool:
    if right in ("COMMA", "COLON", "RPAR", "RSQB", "DOT"):
        return False
    if left in ("LPAR", "LSQB", "DOT", "NEGATIVE"):
        return False
    if right == "LPAR":
        return left not in ("NAME", "RSQB")
    if right == "LSQB":
        return left not in ("NAME", "SCAN", "REPEAT", "EACH")
    return True


def wrap(line: list[Token], indent: int) -> list[Row]:
    """The rows of a logical line."""
    line = [replace(token) for token in line]
    comment, line[-1].after = line[-1].after, ""
    rows = _Layout().rows(_line(_nested(line)), indent, 0)
    return [*rows[:-1], replace(rows[-1], comment=comment)]


def flat(items: Sequence[Item]) -> str:
    """Items on one row, however wide; comments are left out."""
    parts: list[str] = []
    for token in _leaves(items):
        if token.space and parts:
            parts.append(" ")
        parts.append(token.text)
    return "".join(parts)


# From tokens to groups.


def _nested(line: list[Token]) -> list[Item]:
    """Tokens with their brackets as groups, found without recursion."""
    levels: list[list[Element]] = []
    openers: list[tuple[Token, bool]] = []
    items: list[list[Item]] = [[]]
    left = ""
    for token in line:
        if token.kind in CLOSERS:
            called = left in ("NAME", "RSQB", "CARRY")
            loop = left in ("SCAN", "REPEAT", "EACH")
            openers.append((token, called if token.kind == "LPAR" else not loop))
            levels.append([])
            items.append([])
        elif token.kind in CLOSERS.values():
            last = items.pop()
            elements = [*levels.pop(), *([_element(last)] if last else [])]
            opener, extendable = openers.pop()
            items[-1].append(Group(opener, elements, token, extendable))
        elif token.kind == "COMMA" and openers:
            levels[-1].append(_element(items[-1], token))
            items[-1] = []
        else:
            items[-1].append(token)
        left = token.kind
    return items[0]


def _kinds(items: Sequence[Item]) -> list[str]:
    return [i.kind if isinstance(i, Token) else "" for i in items]


def _element(items: list[Item], comma: Token | None = None) -> Element:
    """What stands between brackets, with the formula in it marked."""
    made = Element(items, comma)
    kinds = _kinds(items)
    if "EQUALS" in kinds:
        at = kinds.index("EQUALS") + 1
        made.items = [*items[:at], *_value(items[at:])]
    elif "ARROW" not in kinds and "COLON" not in kinds and _loosest(items):
        made.items = [Formula(items, bare=True)]
    return made


def _line(items: list[Item]) -> list[Item]:
    """A line with the formulas in it marked: what stands behind `=`, `return` and such."""
    kinds = _kinds(items)
    start = next((n + 1 for n, k in enumerate(kinds) if k in _VALUE_FOLLOWS), len(items))
    made = items[:start]
    value: list[Item] = []
    for item, kind in zip(items[start:], kinds[start:], strict=True):
        if kind in ("COMMA", "COLON"):
            made += [*_value(value), item]
            value = []
        else:
            value.append(item)
    return made + _value(value)


def _value(items: list[Item]) -> list[Item]:
    """A value, without parentheses around the whole of it, and marked if it is a formula."""
    while len(items) == 1 and isinstance(group := items[0], Group) and _needless(group):
        items = group.elements[0].items
        if isinstance(formula := items[0], Formula):
            items = formula.items
        first = _first(items[0])
        first.space, first.before = True, group.opener.before
    return [Formula(items, bare=False)] if _loosest(items) else items


def _needless(group: Group) -> bool:
    return not group.extendable and not group.single and not group.needed


def _loosest(items: Sequence[Item]) -> list[int]:
    """Where the loosest operators stand, outside of brackets."""
    binds = [(_BINDS[k], n) for n, k in enumerate(_kinds(items)) if k in _BINDS]
    least = min(binds, default=(0, 0))[0]
    return [n for bind, n in binds if bind == least]


def _leaves(items: Sequence[Item]) -> Iterator[Token]:
    """The tokens of items in order, found without recursion."""
    left: list = list(reversed(items))
    while left:
        item = left.pop()
        if isinstance(item, Token):
            yield item
        elif isinstance(item, Formula):
            left += reversed(item.items)
        else:
            left.append(item.closer)
            for n, element in reversed(list(enumerate(item.elements))):
                if n + 1 < len(item.elements) or item.single:
                    left.append(Token(",", "COMMA"))
                left += reversed(element.items)
            left.append(item.opener)


def _first(item: Item) -> Token:
    while isinstance(item, Formula):
        item = item.items[0]
    return item.opener if isinstance(item, Group) else item


def _last(item: Item) -> Token:
    while isinstance(item, Formula):
        item = item.items[-1]
    return item.closer if isinstance(item, Group) else item


# Comments force what they stand in to be opened.


def _interrupted(items: Sequence[Item]) -> bool:
    """Whether comments stand between items, or between those of formulas."""
    if any(_last(i).after for i in items[:-1]) or any(_first(i).before for i in items[1:]):
        return True
    return any(i.commented for i in items if isinstance(i, Formula))


def _parts(items: Sequence[Item]) -> list[Group | Formula]:
    """What can be opened among items: formulas, groups, and the groups of formulas."""
    found: list[Group | Formula] = []
    for item in items:
        if isinstance(item, Formula):
            found += [item, *_parts(item.items)]
        elif isinstance(item, Group):
            found.append(item)
    return found


# From groups to rows.


class _Layout:
    """The layout of a logical line. What a group holds is laid out once for each indentation."""

    def __init__(self) -> None:
        self.known: dict[tuple[int, int], list[Row]] = {}
        self.kept: list[Group] = []  # whose ids are in use

    def rows(self, items: list[Item], indent: int, tail: int) -> list[Row]:
        """Rows for items, with room for `tail` characters behind the last one."""
        parts = _parts(items)
        must = {id(p) for p in parts if p.commented}
        if not must and not _interrupted(items):
            alone = [Row(indent, "", c) for c in _first(items[0]).before]
            made = [*alone, Row(indent, flat(items), _last(items[-1]).after)]
            if not _beyond(made, tail):
                return made
        best = self.opened(items, indent, must)
        least = _beyond(best, tail)
        wishes = [id(p) for p in _by_preference(items, parts) if id(p) not in must]
        ways = [{wish} for wish in wishes]
        ways += [set(wishes[:n]) for n in range(2, len(wishes) + 1)]
        for way in ways if least else ():
            made = self.opened(items, indent, must | way)
            beyond = _beyond(made, tail)
            if beyond < least:
                best, least = made, beyond
            if not least:
                break
        return best

    def opened(self, items: Sequence[Item], indent: int, which: set[int]) -> list[Row]:
        """Items in rows, with some groups and formulas opened."""
        writer = _Writer(indent)
        left: list[Item] = list(reversed(items))
        while left:
            item = left.pop()
            if isinstance(item, Token):
                writer.put(item)
            elif isinstance(item, Formula):
                if id(item) not in which:
                    left += reversed(item.items)
                elif item.around is None:
                    writer.rows += self.operands(item, indent)
                else:
                    self.group(item.around, writer)
            elif id(item) in which:
                self.group(item, writer)
            else:
                for token in _leaves([item]):
                    writer.put(token)
        return writer.finished()

    def group(self, group: Group, writer: _Writer) -> None:
        """An opened group."""
        writer.put(group.opener)
        indent = writer.begun
        writer.finished()
        writer.rows += self.held(group, indent + INDENT)
        writer.indent = indent
        writer.put(replace(group.closer, before=[]))

    def operands(self, formula: Formula, indent: int) -> list[Row]:
        """A formula with a row for each operand, the operator before it."""
        made: list[Row] = []
        for start, end in pairwise(formula.cuts):
            operand = formula.items[start:end]
            inner = Formula(operand, bare=True, hanging=True)
            right = indent + INDENT * (formula.hanging and start > 0)
            made += self.rows([inner] if len(inner.cuts) > 2 else operand, right, 0)
        return made

    def held(self, group: Group, indent: int) -> list[Row]:
        """What an opened group holds: on one row, filling rows, or with a row for each element."""
        key = id(group), indent
        if key not in self.known:
            made = [] if group.commented else self.joined(group, indent)
            made = made or self.listed(group, indent)
            self.kept.append(group)
            self.known[key] = made + [Row(indent, "", c) for c in group.closer.before]
        return self.known[key]

    def joined(self, group: Group, indent: int) -> list[Row]:
        """Elements on one row, or filling rows if they are names and numbers; else no rows."""
        texts = [flat(e.items) for e in group.elements]
        one = Row(indent, ", ".join(texts) + "," * group.single)
        if not _beyond([one], 0):
            return [one]
        if len(texts) == 1 or any(_parts(e.items) for e in group.elements):
            return []
        return filled(texts, indent, group.extendable)

    def listed(self, group: Group, indent: int) -> list[Row]:
        """A row or more for each element, with the comments around commas."""
        made: list[Row] = []
        for number, element in enumerate(group.elements, 1):
            comma = number < len(group.elements) or group.extendable or group.single
            made += self.rows(element.items, indent, comma)
            if comma:
                made[-1] = replace(made[-1], text=made[-1].text + ",")
            made[-1] = replace(made[-1], comment=element.after)
            made += [Row(indent, "", note) for note in element.below]
        return made


def filled(texts: Sequence[str], indent: int, comma: bool) -> list[Row]:
    """Texts with commas between them, as many on a row as there is room for."""
    made: list[str] = []
    for number, text in enumerate(texts, 1):
        text += "," * (comma or number < len(texts))
        if made and indent + len(made[-1]) + 1 + len(text) <= WIDTH:
            made[-1] += " " + text
        else:
            made.append(text)
    return [Row(indent, row) for row in made]


class _Writer:
    """Rows in the making; comments end a row, and what follows them stands further right."""

    def __init__(self, indent: int):
        self.rows: list[Row] = []
        self.text = ""
        self.indent = self.begun = indent
        self.further = indent + INDENT

    def put(self, token: Token) -> None:
        """A token behind the others, with its comments."""
        if token.before:
            self.finished()
            self.rows += [Row(self.indent, "", c) for c in token.before]
        self.begun = self.indent
        self.text += " " * (token.space and bool(self.text)) + token.text
        if token.after:
            self.finished(token.after)

    def finished(self, comment: str = "") -> list[Row]:
        """The rows so far; the next token begins one."""
        if self.text:
            self.rows.append(Row(self.indent, self.text, comment))
            self.text, self.indent = "", self.further
        return self.rows


def _by_preference(items: list[Item], parts: list[Group | Formula]) -> list[Group | Formula]:
    """What is best opened first: the call that a formula ends with, a formula, larger groups."""
    first: list[Group | Formula] = []
    for formula in reversed([i for i in items if isinstance(i, Formula)]):
        last = formula.items[-1]
        alone = len(_loosest(formula.items)) == 1
        longer = len(flat([last])) > len(flat(formula.items[:-1]))
        if alone and longer and isinstance(last, Group):
            first.append(last)
        first.append(formula)
    rest = [p for p in reversed(parts) if isinstance(p, Group) and p.elements and p not in first]
    rest.sort(key=lambda g: (len(flat([g])) < SMALL, g.opener.kind == "LSQB"))
    return first + rest


def _beyond(rows: Sequence[Row], tail: int) -> int:
    """How many characters stand right of the last column."""
    widths = [r.indent + len(r.text) for r in rows]
    widths[-1] += tail
    return sum(max(0, width - WIDTH) for width in widths)
