"""A model file in the notation of Python.

What is decided by options is Python's own `if`; what is decided by `train`, constants and sizes is
`nw.cond`, whose functions return the names that both notations give a value to.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager

from .. import tree
from .mentions import assigned, dim_names, names_in, symbolic_options

_WIDTH = 100
_IN_A_ROW = 4  # dims declared by one statement
# How tightly Python binds: `and`, `or` and `not` are its `&`, `|` and `~`.
_ATOM, _POWER, _SIGN, _PRODUCT, _SUM, _SHIFT, _AND, _OR, _COMPARE = range(9, 0, -1)
_LEVEL = {
    "**": _POWER, "*": _PRODUCT, "/": _PRODUCT, "//": _PRODUCT, "%": _PRODUCT,
    "+": _SUM, "-": _SUM, "and": _AND, "or": _OR,
}  # fmt: skip
_SIGNS = {"and": "&", "or": "|"}


def to_python(file: tree.File, beside: Collection[str] = ()) -> str:
    """The Python source of a model file.

    Args:
        file: its syntax tree.
        beside: the imports that are files beside it; others are chapters of the library.
    """
    return _Printer(file, beside).run()


class _Printer:
    def __init__(self, file: tree.File, beside: Collection[str]):
        self.file, self.beside = file, beside
        self.lines: list[str] = []
        self.indent = 0
        self.layers = {i.name: i for i in file.items if isinstance(i, tree.Layer)}
        self.glossary = {d.name: d for i in file.items if isinstance(i, tree.Dims) for d in i.items}
        self.consts = {c.name: c for i in file.items if isinstance(i, tree.Consts) for c in i.items}
        self.imports = [i.name for i in file.items if isinstance(i, tree.Import)]
        names = {n for layer in self.layers.values() for n in assigned(layer.body)} | {
            a.name for layer in self.layers.values() for a in layer.arguments
        }
        self.alias = {n: f"{n}_" if n in names else n for n in self.imports}
        self.options: set[str] = set()
        self.values: set[str] = set()
        self.states: set[str] = set()
        self.symbolic = symbolic_options(file)
        self.given: set[str] = set()  # the layer's options that may be symbols
        self.helpers = 0

    def put(self, text: str = "") -> None:
        self.lines += _folded(text, "    " * self.indent) if text else [""]

    def gap(self) -> None:
        """A blank line, but for the first one of a block."""
        if self.lines[-1] and not self.lines[-1].endswith(":"):
            self.put()

    def run(self) -> str:
        if self.file.doc:
            self._doc(self.file.doc)
            self.put()
        self.put("import netwright as nw")
        self.put()
        for name in self.imports:
            path = f"{name}.nw" if name in self.beside else name
            self.put(f'{self.alias[name]} = nw.library("{path}")')
        self._glossary()
        for layer in self._ordered():
            self.put()
            self.put()
            self._layer(layer)
        return "\n".join(self.lines) + "\n"

    def _doc(self, doc: str) -> None:
        rows = doc.replace("\\", "\\\\").replace('"""', '\\"\\"\\"').split("\n")
        for number, row in enumerate(rows):
            first = '"""' if number == 0 else ""
            last = '"""' if number == len(rows) - 1 else ""
            self.put(f"{first}{row}{last}" if row or first or last else "")

    def _glossary(self) -> None:
        free = [n for n, d in self.glossary.items() if d.size is None]
        others = [n for n in dim_names(self.file) if n not in self.glossary]
        for names in (free, others):
            if names:
                self.put(f'{", ".join(names)} = nw.dims("{" ".join(names)}")')
        left = [("dims", d.name, d.size) for d in self.glossary.values() if d.size is not None]
        left += [("const", c.name, c.value) for c in self.consts.values()]
        done = {*free, *others}
        while left:  # Python declares before it uses
            ready = [e for e in left if not names_in(e[2]) & {n for _, n, _ in left}] or left[:1]
            for kind in ("dims", "const"):
                given = [(n, f"{n}={self.expr(v)}") for k, n, v in ready if k == kind]
                for start in range(0, len(given), _IN_A_ROW):
                    row, sizes = zip(*given[start : start + _IN_A_ROW], strict=True)
                    self.put(f"{', '.join(row)} = nw.{kind}({', '.join(sizes)})")
            done |= {name for _, name, _ in ready}
            left = [e for e in left if e[1] not in done]

    def _ordered(self) -> list[tree.Layer]:
        """Layers in order, but behind those that stand in their defaults."""
        done: dict[str, tree.Layer] = {}

        def visit(layer: tree.Layer) -> None:
            if layer.name not in done:
                for argument in layer.arguments:
                    for name in names_in(argument.default):
                        if name in self.layers and self.layers[name] is not layer:
                            visit(self.layers[name])
                done[layer.name] = layer

        for layer in self.layers.values():
            visit(layer)
        return list(done.values())

    # Layers.

    def _layer(self, layer: tree.Layer) -> None:
        self.options = {a.name for a in layer.arguments if a.type is None}
        self.values = {a.name for a in layer.arguments if a.type is not None}
        self.states = set()
        self.given = {option for of, option in self.symbolic if of == layer.name}
        self.put(f"@nw.{layer.kind}{self._items(layer.dims or None)}")
        arguments: list[str] = []
        follow = []  # options whose default is another one: Python settles that in the body
        for argument in layer.arguments:
            text = argument.name
            if argument.default is not None and names_in(argument.default) & self.options:
                follow.append((argument.name, argument.default))
                arguments.append(f"{text}=None")
                continue
            if argument.type is not None:
                text += f": {self._type(argument.type)}"
            elif argument.default is None and "=" in "".join(arguments) and "*" not in arguments:
                arguments.append("*")  # Python wants those without a default first
            if argument.default is not None:
                self.values, values = set(), self.values
                default = self.expr(argument.default)
                self.values = values
                text += f" = {default}" if argument.type is not None else f"={default}"
            arguments.append(text)
        results = f" -> {self._results(layer.results)}" if layer.results else ""
        head = f"def {layer.name}({', '.join(arguments)}){results}:"
        if len(head) <= _WIDTH:
            self.put(head)
        else:
            self.put(f"def {layer.name}(")
            for written in arguments:
                self.put(f"    {written},")
            self.put(f"){results}:")
        self.indent += 1
        if layer.doc:
            self._doc(layer.doc)
        for name, given in follow:
            self.put(f"{name} = {self.expr(given)} if {name} is None else {name}")
        self._block(layer.body)
        self.indent -= 1

    def _type(self, type_: tree.TypeExpr) -> str:
        letter = {"float": "f", "int": "i", "bool": "b"}[type_.dtype]
        return f"nw.{letter}[{self._dims(type_)}]" if type_.dims else f"nw.{letter}"

    def _dims(self, type_: tree.TypeExpr) -> str:
        return ", ".join("..." if isinstance(d, tree.Dots) else d.id for d in type_.dims)

    def _results(self, results: tuple[tree.Result, ...]) -> str:
        if len(results) == 1 and results[0].name is None:
            return self._type(results[0].type)
        if all(r.name is not None for r in results):
            return "{" + ", ".join(f'"{r.name}": {self._type(r.type)}' for r in results) + "}"
        written = (
            self._type(r.type) if r.name is None else f'{{"{r.name}": {self._type(r.type)}}}'
            for r in results
        )
        return f"({', '.join(written)})"

    # Statements.

    def _block(self, statements: tuple[tree.Statement, ...]) -> None:
        before = len(self.lines)
        for node in statements:
            self._statement(node)
        if len(self.lines) == before:
            self.put("pass")

    def _statement(self, node: tree.Statement) -> None:
        match node:
            case tree.Dims(items=items):
                names = ", ".join(d.name for d in items)
                sizes = ", ".join(f"{d.name}={self.expr(d.size)}" for d in items if d.size)
                self.put(f"{names} = nw.dims({sizes})")
            case tree.Param(name=name) | tree.State(name=name):
                kind = "param" if isinstance(node, tree.Param) else "state"
                type_ = f"[{self._dims(node.type)}]"
                if node.type.dtype != "float":
                    type_ = self._type(node.type)
                self._statement_line(f'{name} = nw.{kind}("{name}", {type_}, ', node.init, ")")
                self.values.add(name)
                self.states |= {name} if kind == "state" else set()
            case tree.Use(name=name):
                self.put(f"{name} = {self._used(node)}")
                self.values.add(name)
            case tree.Assign(targets=targets, values=values):
                names = ", ".join(t.id for t in targets)
                given = ", ".join(map(self._value, values))
                self.put(f"{names} = {given}")
                self.values |= {t.id for t in targets}
            case tree.Update(name=name, value=value):
                self.put(f"{name.id} << {self.expr(value, _SHIFT + 1)}")
            case tree.Metric(name=name, value=value):
                self.put(f'nw.metric("{name}", {self.expr(value)})')
            case tree.Return(values=values):
                self.put(f"return {', '.join(map(self.expr, values))}")
            case tree.If():
                self._if(node)
            case tree.Scan():
                self._scan(node)

    def _statement_line(self, before: str, value: tree.Expr, after: str) -> None:
        self.put(f"{before}{self.expr(value)}{after}")

    def _value(self, node: tree.Expr) -> str:
        """What is assigned; a state gives the value that it has now."""
        text = self.expr(node)
        held = isinstance(node, tree.Name) and node.id in self.states
        return f"nw.value({text})" if held else text

    def _used(self, node: tree.Use) -> str:
        layer = self.expr(node.layer) + self._items(node.dims)
        given = [layer, *map(self.expr, node.arguments), *map(self._keyword, node.keywords)]
        call = "nw.use" if node.along is None else f"nw.{node.mode}[{node.along.id}]"
        return f"{call}({', '.join(given)})"

    def _if(self, node: tree.If) -> None:
        names = {n for n in names_in(node.condition) if n == "train" or self._means(n)}
        if names <= self.options - self.values - self.given:
            values = set(self.values)
            self.put(f"if {self._own(node.condition)}:")
            with self._indented():
                self._block(node.then)
            after, self.values = self.values, values
            if node.orelse:
                self.put("else:")
                with self._indented():
                    self._block(node.orelse)
            self.values = self.values | after
            return
        self._cond(node)

    def _cond(self, node: tree.If) -> None:
        then, orelse = assigned(node.then), assigned(node.orelse)
        results = [
            n
            for n in dict.fromkeys([*then, *orelse])
            if (n in then and n in orelse) or n in self.values
        ]
        arms = []
        for statements, own in ((node.then, then), (node.orelse, orelse)):
            if not statements and not results:
                arms.append("")
                continue
            self.helpers += 1
            name = f"_arm{self.helpers}"
            given = ", ".join(f"{n}={n}" for n in own if n in self.values)
            self.gap()
            self.put(f"def {name}({given}):")
            values = set(self.values)
            with self._indented():
                for statement in statements:
                    self._statement(statement)
                if results:
                    self.put(f"return {', '.join(results)}")
            self.values = values
            self.put()
            arms.append(name)
        condition = node.condition
        asked = self.expr(condition)
        if names_in(condition) == {"train"}:
            asked = "~nw.train" if isinstance(condition, tree.Unary) else "nw.train"
        left = f"{', '.join(results)} = " if results else ""
        if not arms[0]:
            arms[0] = "lambda: None"
        self.put(f"{left}nw.cond({', '.join([asked, *(a for a in arms if a)])})")
        self.values |= set(results)

    def _scan(self, node: tree.Scan) -> None:
        self.helpers += 1
        name = f"_step{self.helpers}"
        carry = [k.name for k in node.carry]
        given = [*(k.name for k in node.inputs), *carry]
        own = [n for n in assigned(node.body) if n in self.values and n not in given]
        inputs = [self._keyword(k) for k in node.inputs]
        first = ", ".join(f'"{k.name}": {self.expr(k.value)}' for k in node.carry)
        self.gap()
        self.put(f"def {name}({', '.join([*given, *(f'{n}={n}' for n in own)])}):")
        values = set(self.values)
        self.values |= set(given)
        emitted = "None"
        with self._indented():
            for statement in node.body:
                if isinstance(statement, tree.Emit):
                    words = ", ".join(map(self.expr, statement.values))
                    emitted = words if len(statement.values) == 1 else f"({words})"
                else:
                    self._statement(statement)
            self.put(f"return {_tuple(carry)}, {emitted}")
        self.put()
        self.values = values | set(carry)
        targets = _tuple([t.id for t in node.targets]) if node.targets else "_"
        more = [f"carry={{{first}}}"] if carry else []
        call = f"nw.scan[{node.along.id}]({', '.join([name, *more, *inputs])})"
        self.put(f"{_tuple(carry) if carry else '_'}, {targets} = {call}")
        self.values |= {t.id for t in node.targets}

    @contextmanager
    def _indented(self) -> Iterator[None]:
        self.indent += 1
        before = len(self.lines)
        yield
        if len(self.lines) == before:
            self.put("pass")
        self.indent -= 1

    # Expressions.

    def _own(self, node: tree.Expr) -> str:
        """A condition on options, which Python settles by itself."""
        match node:
            case tree.Unary(op="not", operand=operand):
                return f"not ({self._own(operand)})"
            case tree.Binary(op=("and" | "or") as op, left=left, right=right):
                return f"({self._own(left)}) {op} ({self._own(right)})"
            case tree.Binary(op=("==" | "!=") as op, left=left, right=tree.Constant(value=None)):
                return f"{self.expr(left)} is {'not ' if op == '!=' else ''}None"
            case tree.Binary(op=("==" | "!=") as op, left=left, right=tree.Name(id=word)):
                if word not in self.options and not self._means(word):
                    return f'{self.expr(left)} {op} "{word}"'
        return self.expr(node)

    def _means(self, name: str) -> bool:
        from .ops import ops

        known = (self.values, self.options, self.layers, self.consts, self.glossary)
        return any(name in table for table in known) or name in ops() or name[:1].isupper()

    def expr(self, node: tree.Expr, least: int = 0) -> str:
        """An expression, in parentheses if it binds less tightly than `least`."""
        text, level = self._written(node)
        return f"({text})" if level < least else text

    def _written(self, node: tree.Expr) -> tuple[str, int]:
        match node:
            case tree.Number(value=value):
                return repr(value), _ATOM
            case tree.Constant(value=value):
                return repr(value), _ATOM
            case tree.Dots():
                return "...", _ATOM
            case tree.Name(id=name):
                return self._name(name), _ATOM
            case tree.Member(base=base, name=name):
                if isinstance(base, tree.Name) and base.id in self.alias:
                    return f"{self.alias[base.id]}.{name}", _ATOM
                return f"{self.expr(base)}.{name}", _ATOM
            case tree.Unary(op="-", operand=operand):
                return f"-{self.expr(operand, _SIGN)}", _SIGN
            case tree.Unary(operand=operand):
                return f"~{self.expr(operand, _ATOM)}", _SIGN
            case tree.Binary(op="/", left=tree.Number(value=x), right=tree.Number(value=y)) if (
                isinstance(x, int) and isinstance(y, int) and y and x % y == 0
            ):
                return f"{x} // {y}", _PRODUCT
            case tree.Binary(op=op, left=left, right=right):
                level = _LEVEL.get(op, _COMPARE)
                tight = {"and": _SHIFT, "or": _SHIFT, "**": _ATOM}
                a = self.expr(left, tight.get(op, level if level != _COMPARE else _OR))
                b = self.expr(right, _SIGN if op == "**" else tight.get(op, level + 1))
                return f"{a} {_SIGNS.get(op, op)} {b}", level
            case tree.Tuple(items=items):
                comma = "," if len(items) == 1 else ""
                return f"({', '.join(map(self.expr, items))}{comma})", _ATOM
            case tree.Call():
                return self._call(node), _ATOM
        raise TypeError(node)

    def _name(self, name: str) -> str:
        from .ops import ops

        if name in self.values or name in self.options:
            return name
        if name in self.layers or name in self.consts or name[:1].isupper():
            return name
        return f"nw.{name}" if name in ops() else f'"{name}"'

    def _call(self, node: tree.Call) -> str:
        callee = self.expr(node.callee)
        given = [*map(self.expr, node.arguments)]
        words: Iterable[str] = ()
        if callee.startswith("nw."):
            from ...ir.registry import lookup

            options = lookup(callee.removeprefix("nw.")).options
            words = {w for o in options.values() for w in o.words}
        for keyword in node.keywords:
            value = keyword.value
            if isinstance(value, tree.Name) and value.id in words and value.id not in self.values:
                given.append(f'{keyword.name}="{value.id}"')
            else:
                given.append(self._keyword(keyword))
        return f"{callee}{self._items(node.dims)}({', '.join(given)})"

    def _keyword(self, keyword: tree.Keyword) -> str:
        return f"{keyword.name}={self.expr(keyword.value)}"

    def _items(self, items: tuple[tree.Item, ...] | None) -> str:
        if items is None:
            return ""
        return f"[{', '.join(map(self._item, items))}]" if items else ""

    def _item(self, item: tree.Item) -> str:
        text = self.expr(item.left)
        if item.right is not None:
            text = f"{self.expr(item.left, _SUM)} >> {self.expr(item.right, _SUM)}"
        return text if item.value is None else f"{text} : {self.expr(item.value)}"


def _folded(text: str, margin: str) -> list[str]:
    """A line, or several where it is too long: the arguments of its last call one by one."""
    if len(margin) + len(text) <= _WIDTH or not text.endswith((")", "),")):
        return [margin + text]
    comma = "," if text.endswith(",") else ""
    depth, start, commas = 0, 0, [len(text) - 1 - len(comma)]
    for place in range(commas[0], -1, -1):
        depth += {")": 1, "]": 1, "}": 1, "(": -1, "[": -1, "{": -1}.get(text[place], 0)
        if depth == 1 and text[place] == ",":
            commas.insert(0, place)
        if depth == 0:
            start = place
            break
    called = text[:start].endswith("]") or text[start - 1 : start].isidentifier()
    quoted = "".join(text[start:].split('"')[1::2])
    if not called or "," in quoted:
        return [margin + text]  # a comma there would mean another thing
    lines = [margin + text[: start + 1]]
    for before, after in zip([start, *commas], commas, strict=False):
        lines += _folded(text[before + 1 : after].strip() + ",", margin + "    ")
    return [*lines, f"{margin}){comma}"]


def _tuple(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"({', '.join(names)})" if names else "None"
