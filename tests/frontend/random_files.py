"""Random model files that parse: every form of the grammar, laid out wildly, with comments.

`draw_file(random.Random(seed))` gives the text, and the comments that were put into it.
"""

from __future__ import annotations

from random import Random

NAMES = ("x", "y", "w", "mask", "hidden_state", "a_name_that_is_rather_long_for_a_value", "_", "k2")
DIMS = ("B", "S", "D", "K", "Yo", "Channels", "ADimensionWithQuiteALongName", "H2")
NUMBERS = ("0", "1", "2.5", "1e-6", ".5", "2.", "1_000", "3E+2", "128")
BINARY = ("+", "-", "*", "/", "//", "%", "**", "==", "<", ">=", "and", "or")
COMMENTS = (
    "#",
    "# why",
    "#tight",
    "# é – “quoted” ‮",
    "# " + "long " * 12,
    '# """',
    "# x = (",
    "##",
)
GAPS = ("", "", " ", "  ", "\t")
DOCS = (
    '"""One line."""',
    '"""Several\n  rows,\n\n      # none a comment\n   """',
    '""""""',
    '"""# é"""',
)


class File:
    """A file being drawn; `words` are lists of words, one for each logical line."""

    def __init__(self, rng: Random):
        self.rng = rng
        self.text = ""
        self.comments: list[str] = []

    # Layout.

    def gap(self, wanted: bool) -> str:
        return self.rng.choice(GAPS) or " " * wanted

    def comment(self) -> str:
        made = self.rng.choice(COMMENTS)
        self.comments.append(made.rstrip())
        return made + self.rng.choice(("", "", "  "))

    def between(self) -> None:
        """Blank rows and comments between lines."""
        while self.rng.random() < 0.25:
            if self.rng.random() < 0.5:
                self.text += " " * self.rng.choice((0, 3)) + "\n"
            else:
                self.text += " " * self.rng.randint(0, 14) + self.comment() + "\n"

    def line(self, words: list[str], indent: int) -> None:
        """A logical line, with breaks in its brackets."""
        self.between()
        rng, opened, fresh = self.rng, 0, False
        wild = rng.choice((0.0, 0.0, 0.02, 0.1, 0.4))
        self.text += " " * indent
        for n, word in enumerate(words):
            left = words[n - 1] if n else ""
            if n and not fresh:
                # What is apart for the eye only may be together, but words and signs may not merge.
                merge = (left[-1] + word[0]).replace("_", "x")
                together = any(c.isalnum() for c in merge[0]) and merge[1].isalnum()
                together |= (
                    not merge[0].isalnum()
                    and not merge[1].isalnum()
                    and not set(merge) & set("()[],")
                )
                together |= "." in merge or left == "<"
                self.text += self.gap(together)
            self.text += word
            fresh = False
            opened += word in ("(", "[")
            opened -= word in (")", "]")
            if opened and rng.random() < wild:
                if rng.random() < 0.4:
                    self.text += self.gap(True) + self.comment()
                self.text += "\n"
                while rng.random() < 0.3:
                    alone = " " * rng.randint(0, 9) + self.comment()
                    self.text += alone + "\n"
                    self.text += "\n" * rng.randint(0, 2)
                self.text += " " * rng.randint(0, 20)
                fresh = True
        if rng.random() < 0.2:
            self.text += self.gap(True) + self.comment()
        self.text += rng.choice(("", "", " ")) + "\n"

    # Words.

    def name(self) -> str:
        return self.rng.choice(NAMES)

    def dim(self) -> str:
        return self.rng.choice(DIMS)

    def several(self, make, most: int = 4, least: int = 0, trailing: bool = True) -> list[str]:
        """Things with commas between them, and perhaps one behind."""
        count = self.rng.randint(least, most)
        made: list[str] = []
        for n in range(count):
            made += [*([","] if n else []), *make()]
        return [*made, *([","] if trailing and count and self.rng.random() < 0.2 else [])]

    def expr(self, depth: int) -> list[str]:
        """An expression; operators are put in parentheses where that may matter."""
        rng = self.rng
        if depth <= 0:
            return rng.choice(
                ([self.name()], [self.dim()], [rng.choice(NUMBERS)], ["true"], ["none"])
            )
        kind = rng.randrange(12)
        if kind < 4:
            return self.call(depth)
        if kind < 6:
            made: list[str] = self.atom(depth - 1)
            for _ in range(rng.randint(1, 5)):
                made += [rng.choice(("+", "-", "*", "/", "//", "%", "**")), *self.atom(depth - 1)]
            return made
        if kind == 6:
            sign = rng.choice(("==", "!=", "<", "<=", ">", ">="))
            return [*self.call(depth - 1), sign, *self.call(depth - 1)]
        if kind == 7:
            word = rng.choice(("and", "or"))
            return [
                *self.atom(depth - 1),
                word,
                *rng.choice(([], ["not"])),
                *self.atom(depth - 1),
                word,
                self.name(),
            ]
        if kind == 8:
            return ["-", *self.atom(depth - 1)]
        if kind == 9:
            return ["not", *self.atom(depth - 1)]
        if kind == 10:
            return [self.name(), ".", self.name()]
        return ["(", *self.expr(depth - 1), ")"]

    def atom(self, depth: int) -> list[str]:
        return self.rng.choice(
            (self.call, lambda d: ["(", *self.expr(d), ")"], lambda d: self.expr(0))
        )(depth)

    def call(self, depth: int) -> list[str]:
        if depth <= 0:
            return [self.name()]
        brackets = self.brackets() if self.rng.random() < 0.6 else []
        named = iter("first second third fourth fifth sixth".split())
        values = self.several(lambda: self.expr(depth - 1), trailing=False)
        keywords = self.several(lambda: [next(named), "=", *self.value(depth - 1)], 2)
        comma = [","] if values and keywords else []
        return [self.name(), *brackets, "(", *values, *comma, *keywords, ")"]

    def value(self, depth: int) -> list[str]:
        if self.rng.random() < 0.15:
            items = [self.value(0) for _ in range(self.rng.randint(1, 3))]
            inner = [word for item in items for word in (*item, ",")]
            alone = len(items) == 1 or self.rng.random() < 0.3
            return ["(", *(inner if alone else inner[:-1]), ")"]
        return self.expr(depth)

    def brackets(self) -> list[str]:
        def item() -> list[str]:
            made = [self.dim()]
            if self.rng.random() < 0.3:
                made += [self.rng.choice("+*"), self.dim()]
            if self.rng.random() < 0.3:
                made += ["->", self.dim()]
            if self.rng.random() < 0.2:
                made += [
                    "=",
                    *self.rng.choice(
                        ([self.dim()], ["2", "*", self.dim()], ["(", "1", "+", self.dim(), ")"])
                    ),
                ]
            return self.rng.choice((made, made, ["..."]))

        return ["[", *self.several(item, 4, 1), "]"]

    def type(self) -> list[str]:
        dims = self.several(lambda: [self.rng.choice((self.dim(), "..."))], 5)
        return [*self.rng.choice(([], [], ["int"], ["bool"])), "[", *dims, "]"]

    # Blocks.

    def body(self, depth: int, indent: int, scan: bool) -> None:
        rng = self.rng
        step = rng.choice((1, 2, 4, 4, 7))
        inner = indent + step
        for _ in range(rng.randint(1, 4)):
            self.statement(depth, inner, scan)

    def statement(self, depth: int, indent: int, scan: bool) -> None:
        rng = self.rng
        kinds = ["assign", "assign", "metric", "if", "scan"]
        kinds += ["emit"] if scan else ["param", "state", "use", "update", "return", "dims"]
        kind = rng.choice(kinds[: 3 if depth <= 0 else None])
        expr = lambda: self.expr(rng.randint(0, 3))  # noqa: E731
        named = iter("one two three four five six".split())
        keyword = lambda: [next(named), "=", *self.value(rng.randint(0, 2))]  # noqa: E731
        match kind:
            case "assign":
                targets = self.several(lambda: [self.name()], 3, 1, trailing=False)
                self.line([*targets, "=", *self.several(expr, 2, 1, trailing=False)], indent)
            case "metric":
                self.line(["metric", self.name(), "=", *expr()], indent)
            case "param" | "state":
                self.line([kind, self.name(), ":", *self.type(), "=", *expr()], indent)
            case "update":
                self.line([self.name(), "<-", *expr()], indent)
            case "emit" | "return":
                self.line([kind, *self.several(expr, 3, 1, trailing=False)], indent)
            case "use":
                copies = rng.choice(([], ["repeat", "[", self.dim(), "]"], ["each", "[", "E", "]"]))
                options = ["(", *self.several(keyword), ")"] if rng.random() < 0.7 else []
                brackets = self.brackets() if rng.random() < 0.5 else []
                self.line(["use", self.name(), "=", *copies, "Layer", *brackets, *options], indent)
            case "dims":
                self.glossary("dims", indent)
            case "if":
                self.line(["if", *expr(), ":"], indent)
                self.body(depth - 1, indent, scan)
                if rng.random() < 0.5:
                    self.line(["elif", *expr(), ":"], indent)
                    self.body(depth - 1, indent, scan)
                if rng.random() < 0.5:
                    self.line(["else", ":"], indent)
                    self.body(depth - 1, indent, scan)
            case "scan":
                targets = rng.choice(([], [self.name(), "="], ["a", ",", "b", "="]))
                inputs = ["(", *self.several(keyword, 3, 1), ")"]
                carry = ["carry", "(", *self.several(keyword, 3, 1), ")"]
                carry = carry if rng.random() < 0.6 else []
                self.line([*targets, "scan", "[", self.dim(), "]", *inputs, *carry, ":"], indent)
                self.body(depth - 1, indent, True)

    def glossary(self, kind: str, indent: int) -> None:
        rng = self.rng

        def entry() -> list[str]:
            if kind == "const":
                return [rng.choice(("drop", "eps")), "=", *self.expr(rng.randint(0, 2))]
            size = ["=", *self.expr(rng.randint(0, 2))] if rng.random() < 0.7 else []
            return [self.dim(), *size]

        def entries() -> list[str]:
            return self.several(entry, 9 if rng.random() < 0.2 else 3, 1, trailing=False)

        block = rng.random() < 0.6
        first = [] if block and rng.random() < 0.8 else entries()
        self.line([kind, ":", *first], indent)
        for _ in range(rng.randint(1, 4) if block else 0):
            self.line(entries(), indent + 4)

    def layer(self) -> None:
        rng = self.rng
        named = iter("xs live first act norm pad".split())

        def own() -> list[str]:
            made = [self.dim()]
            made += ["->", self.dim()] if rng.random() < 0.3 else []
            return [*made, *(["=", "3"] if rng.random() < 0.3 else [])]

        def argument() -> list[str]:
            made = [next(named)]
            made += [":", *self.type()] if rng.random() < 0.6 else []
            return [*made, *(["=", *self.value(1)] if rng.random() < 0.4 else [])]

        def result() -> list[str]:
            return [*rng.choice(([], [self.name(), ":"])), *self.type()]

        kind = rng.choice(("layer", "model", "loss"))
        brackets = ["[", *self.several(own, 5, 1), "]"] if rng.random() < 0.7 else []
        gives = ["->", *self.several(result, 3, 1, trailing=False)]
        words = [kind, self.name() if kind == "loss" else "Layer", *brackets]
        words += ["(", *self.several(argument, 5), ")"]
        self.line([*words, *(gives if kind != "loss" or rng.random() < 0.3 else []), ":"], 0)
        if rng.random() < 0.4:
            self.between()
            self.text += "    " + rng.choice(DOCS) + "\n"
        self.line(["return", *self.expr(1)], 4)
        for _ in range(rng.randint(0, 5)):
            self.statement(2, 4, False)

    def draw(self) -> tuple[str, list[str]]:
        """The text and its comments."""
        rng = self.rng
        if rng.random() < 0.5:
            self.between()
            self.text += rng.choice(DOCS) + "\n"
        for _ in range(rng.randint(0, 5)):
            kind = rng.choice(("layer", "layer", "dims", "const", "import"))
            if kind == "layer":
                self.layer()
            elif kind == "import":
                self.line(["import", rng.choice(("vision", "norm"))], 0)
            else:
                self.glossary(kind, 0)
        self.between()
        ending = rng.choice(("\n", "\n", "\n", "\r\n"))
        return self.text.replace("\n", ending).rstrip("\n" * rng.randint(0, 1)), self.comments


def draw_file(rng: Random) -> tuple[str, list[str]]:
    """A random file: its text, and its comments in order."""
    return File(rng).draw()
