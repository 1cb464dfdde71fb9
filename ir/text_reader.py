"""Reads the text form of modules; `ir.text` describes it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import NoReturn, TypeVar

from .claim import parse_claim
from .core import (
    Child,
    Claim,
    Dim,
    Instance,
    Module,
    Op,
    Order,
    Region,
    Result,
    Type,
    Value,
    Variable,
    Variant,
)
from .size import Size
from .size_text import parse_size

WORD = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_DEPTH = 100

T = TypeVar("T")


class TextError(ValueError):
    """Text that is not the text form of a module; `line` counts from 1."""

    def __init__(self, message: str, line: int):
        super().__init__(f"line {line}: {message}")
        self.message, self.line = message, line


def parse(text: str) -> Module:
    """The module that a text is the text form of; raises `TextError`."""
    return _Reader(text).module()


_BLANK = re.compile(r"(?:\s|#[^\n]*)*")
_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_DIM = re.compile(rf"(?:({WORD.pattern})|({_STRING.pattern}))\.(\d+)")
_NUMBER = re.compile(r"-?(?:inf\b|nan\b|\d+(?:\.\d+)?(?:e[+-]?\d+)?)")
_ID = re.compile(r"%(\d+)")


class _Reader:
    """Reads text from a place that moves on; blanks and comments before a token are skipped."""

    def __init__(self, text: str):
        self.text, self.at, self.depth = text, 0, 0
        self.table: dict[int, Dim] = {}
        self.skip()

    # Tokens

    def fail(self, message: str, at: int | None = None) -> NoReturn:
        raise TextError(message, self.text.count("\n", 0, self.at if at is None else at) + 1)

    def skip(self) -> None:
        match = _BLANK.match(self.text, self.at)
        assert match is not None
        self.at = match.end()

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        match = pattern.match(self.text, self.at)
        if match is not None:
            self.at = match.end()
            self.skip()
        return match

    def need(self, pattern: re.Pattern[str], what: str) -> re.Match[str]:
        return self.take(pattern) or self.expected(what)

    def expected(self, what: str) -> NoReturn:
        rest = self.text[self.at : self.at + 20].split("\n")[0]
        self.fail(f"expected {what}, not " + (repr(rest) if rest else "the end"))

    def sign(self, sign: str) -> bool:
        if not self.text.startswith(sign, self.at):
            return False
        self.at += len(sign)
        self.skip()
        return True

    def must(self, sign: str) -> None:
        if not self.sign(sign):
            self.expected(repr(sign))

    def keyword(self, *words: str) -> str | None:
        match = WORD.match(self.text, self.at)
        if match is None or match[0] not in words:
            return None
        self.at = match.end()
        self.skip()
        return match[0]

    def string(self) -> str:
        start = self.at
        match = self.need(_STRING, "a quoted string")
        try:
            return json.loads(match[0], strict=False)
        except ValueError:
            self.fail(f"{match[0]} is not a string", start)

    def word(self, what: str = "a word") -> str:
        if self.text.startswith('"', self.at):
            return self.string()
        return self.need(WORD, what)[0]

    def id(self) -> int:
        return int(self.need(_ID, "a value such as %3")[1])

    def ids(self, close: str) -> tuple[int, ...]:
        return self.listed(self.id, close)

    def listed(self, item: Callable[[], T], close: str) -> tuple[T, ...]:
        """Items with commas between, up to a sign; nothing before the sign is no item."""
        if self.sign(close):
            return ()
        items = [item()]
        while self.sign(","):
            items.append(item())
        self.must(close)
        return tuple(items)

    def commas(self, item: Callable[[], T]) -> tuple[T, ...]:
        items = [item()]
        while self.sign(","):
            items.append(item())
        return tuple(items)

    def size(self, stop: str) -> Size:
        """A size as `str` writes it: up to a sign of `stop` outside of parentheses."""
        start, depth = self.at, 0
        while self.at < len(self.text):
            c = self.text[self.at]
            if c in "\n#" or (depth == 0 and c in stop):
                break
            depth += (c == "(") - (c == ")")
            self.at += 1
        text = self.text[start : self.at].strip()
        self.skip()
        try:
            return parse_size(text)
        except ValueError as error:
            self.fail(f"{text!r} is not a size: {error}", start)

    # Parts

    def module(self) -> Module:
        if not self.keyword("module"):
            self.expected("module")
        name, kind, model = self.string(), self.word(), None
        free: tuple[str, ...] = ()
        sizes: tuple[tuple[str, int], ...] = ()
        facts: tuple[str, ...] = ()
        claims, instances = [], []
        while word := self.keyword("model", "free", "sizes", "facts", "claim"):
            if word == "model":
                model = self.string()
            elif word == "free":
                free = self.commas(self.word)
            elif word == "sizes":
                sizes = self.commas(self.bound)
            elif word == "facts":
                facts = self.commas(self.word)
            else:
                claims.append(self.claim())
        while self.keyword("instance"):
            instances.append(self.instance())
        if self.at < len(self.text):
            self.expected("an instance or the end")
        return Module(name, kind, model, free, tuple(instances), tuple(claims), sizes, facts)

    def bound(self) -> tuple[str, int]:
        name = self.word()
        self.must("=")
        return name, int(self.need(re.compile(r"-?\d+"), "an integer")[0])

    def claim(self) -> Claim:
        verdict, start, text = self.word(), self.at, self.string()
        self.must(":")
        reason = self.string()
        try:
            return Claim(parse_claim(text), reason, verdict)
        except ValueError as error:
            self.fail(f"{text!r} is not a claim: {error}", start)

    def instance(self) -> Instance:
        path, layer = self.string(), self.word()
        self.table = {}
        params: list[Variable] = []
        states: list[Variable] = []
        children, variants = [], []
        if self.keyword("dims"):
            self.commas(self.declared)
        dims = tuple(self.table.values())
        while word := self.keyword("param", "state", "child", "variant"):
            if word == "child":
                name, mode = self.string(), self.word()
                along = self.dim() if _DIM.match(self.text, self.at) else None
                children.append(Child(name, mode, along))
            elif word == "variant":
                variants.append(self.variant())
            else:
                (params if word == "param" else states).append(self.variable())
        return Instance(
            path,
            layer,
            dims=dims,
            params=tuple(params),
            states=tuple(states),
            children=tuple(children),
            variants=tuple(variants),
        )

    def declared(self) -> None:
        start = self.at
        name, number = self.numbered()
        if number in self.table:
            self.fail(f"dim {number} is declared twice", start)
        self.must("=")
        self.table[number] = Dim(number, name, self.size(","))

    def numbered(self) -> tuple[str, int]:
        start = self.at
        match = self.need(_DIM, "a dim such as D.2")
        try:
            return match[1] or json.loads(match[2], strict=False), int(match[3])
        except ValueError:
            self.fail(f"{match[2]} is not a string", start)

    def dim(self) -> Dim:
        start = self.at
        name, number = self.numbered()
        if self.sign("<"):
            size = self.size(">")
            self.must(">")
            return Dim(number, name, size)
        found = self.table.get(number)
        if found is None or found.name != name:
            self.fail(f"{name}.{number} is not among the dims of the instance", start)
        return found

    def variable(self) -> Variable:
        name = self.string()
        self.must(":")
        start, dtype = self.at, self.word("a dtype")
        self.must("[")
        order = dims = self.listed(self.dim, "]")
        if self.keyword("order"):
            order = tuple(d for axis in self.axes() for d in axis)
        self.must("=")
        return Variable(name, self.make(dtype, dims, start), order, self.region())

    def variant(self) -> Variant:
        self.must("(")
        inputs = self.listed(self.value, ")")
        self.must("{")
        ops = self.ops()
        results, writes = [], []
        while self.keyword("result"):
            value = self.id()
            name = self.string() if self.text.startswith('"', self.at) else ""
            self.must("[")
            results.append(Result(name, value, self.listed(self.dim, "]")))
        while self.keyword("write"):
            name = self.string()
            writes.append((name, self.id()))
        self.must("}")
        return Variant(inputs, ops, tuple(results), tuple(writes))

    def region(self) -> Region:
        self.depth += 1
        if self.depth > _DEPTH:
            self.fail("regions are nested too deeply")
        arguments = self.listed(self.value, ")") if self.sign("(") else ()
        self.must("{")
        ops = self.ops()
        results = self.commas(self.id) if self.keyword("result") else ()
        self.must("}")
        self.depth -= 1
        return Region(arguments, ops, results)

    def ops(self) -> tuple[Op, ...]:
        ops = []
        while True:
            if self.keyword("do"):
                ops.append(self.op(()))
            elif self.text.startswith("%", self.at):
                defined = self.commas(self.defined)
                self.must("=")
                ops.append(self.op(defined))
            else:
                return tuple(ops)

    def op(self, defined: tuple[tuple[int, str], ...]) -> Op:
        start, name = self.at, self.word("the name of an op")
        attrs: dict[str, object] = {}
        if self.sign("["):
            items = self.listed(self.bracket, "]")
            dims = tuple(i for i in items if isinstance(i, Dim))
            arrows = tuple(i for i in items if not isinstance(i, Dim))
            attrs |= {"arrows": arrows} if arrows else {}
            attrs |= {"dims": dims} if dims or not arrows else {}
        self.must("(")
        operands = self.ids(")")
        if self.sign("{"):
            for key, value in self.listed(self.attribute, "}"):
                if key in attrs:
                    self.fail(f"{key} is given twice", start)
                attrs[key] = value
        types: tuple[tuple[Type, Order | None], ...] = ()
        if defined:
            self.must(":")
            types = self.commas(self.typed)
        if len(types) != len(defined):
            self.fail(f"{len(defined)} results have {len(types)} types", start)
        results = tuple(
            Value(id, type_, label, order)
            for (id, label), (type_, order) in zip(defined, types, strict=True)
        )
        regions = []
        while self.keyword("region"):
            regions.append(self.region())
        return Op(name, operands, results, tuple(sorted(attrs.items())), tuple(regions))

    def bracket(self) -> Dim | tuple[tuple[Dim, ...], tuple[Dim, ...]]:
        left = self.side()
        if self.sign("->"):
            return left, self.side()
        if len(left) != 1:
            self.expected("'->'")
        return left[0]

    def side(self) -> tuple[Dim, ...]:
        if self.sign("("):
            self.must(")")
            return ()
        dims = [self.dim()]
        while _DIM.match(self.text, self.at):
            dims.append(self.dim())
        return tuple(dims)

    def attribute(self) -> tuple[str, object]:
        name = self.word("the name of an attribute")
        self.must("=")
        return name, self.constant()

    def constant(self) -> object:
        if self.sign("("):
            self.depth += 1
            if self.depth > _DEPTH:
                self.fail("tuples are nested too deeply")
            items = []
            while not self.sign(")"):
                items.append(self.constant())
                if not self.sign(","):
                    self.must(")")
                    break
            self.depth -= 1
            return tuple(items)
        if self.sign("<"):
            size = self.size(">")
            self.must(">")
            return size
        if _DIM.match(self.text, self.at):
            return self.dim()
        if self.text.startswith('"', self.at):
            return self.string()
        if word := self.keyword("true", "false", "none"):
            return {"true": True, "false": False, "none": None}[word]
        text = self.need(_NUMBER, "an attribute")[0]
        if text.endswith("nan"):
            return math.nan
        return float(text) if any(c in text for c in ".en") else int(text)

    def defined(self) -> tuple[int, str]:
        id = self.id()
        return id, self.string() if self.text.startswith('"', self.at) else ""

    def value(self) -> Value:
        id, label = self.defined()
        self.must(":")
        type_, order = self.typed()
        return Value(id, type_, label, order)

    def typed(self) -> tuple[Type, Order | None]:
        start, dtype = self.at, self.word("a dtype")
        self.must("[")
        type_ = self.make(dtype, self.listed(self.dim, "]"), start)
        return type_, self.axes() if self.keyword("order") else None

    def make(self, dtype: str, dims: tuple[Dim, ...], at: int) -> Type:
        try:
            return Type(dtype, dims)
        except ValueError as error:
            self.fail(str(error), at)

    def axes(self) -> Order:
        axes = []
        while True:
            if self.sign("("):
                axis = []
                while not self.sign(")"):
                    axis.append(self.dim())
                axes.append(tuple(axis))
            elif _DIM.match(self.text, self.at):
                axes.append((self.dim(),))
            else:
                return tuple(axes)
