"""From what a layer did to the statements of its syntax tree.

Most values are written where they are used. One gets a statement of its own where Python gave it a
name, where it is used twice, and where something stands between that must not change places with
it. A name may be bound again; a value that is read after its name was taken gets another one, by a
statement that costs nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

from ...ir.diagnostics import Span
from .. import tree
from .expressions import Const, Dim, Fixed, Value
from .forms import Bracketed, Form, Infix, Literal, Prefix, Ref
from .instances import Instance, Path
from .layers import LayerOf, Variant
from .mistakes import mistake
from .ops import Called, Op
from .source import Site
from .trace import (
    Block,
    Branching,
    LocalDims,
    Record,
    Reporting,
    Returning,
    Scanning,
    Slot,
    Trace,
    Updating,
    Using,
    Variable,
)
from .uses import Uses

if TYPE_CHECKING:
    from .assembly import PythonFile


class Writer:
    """Writes one run of a layer."""

    def __init__(self, file: PythonFile, trace: Trace, arguments: list[Value]):
        self.file, self.trace = file, trace
        self.uses = Uses(trace.block)
        self.bound: dict[str, Value] = {}
        self.ids: dict[Value, str] = {}
        self.home: dict[Value, tuple[list, Any]] = {}
        self.open: list[list] = []
        self.apart: set[str] = set()  # names that an arm may not bind
        self.seen: set[str] = set()
        self.fixed: set[str] = set()
        self._declared(trace.block)
        self._arguments = arguments

    def body(self) -> tuple[tree.Statement, ...]:
        """The statements of the layer."""
        out: list[tree.Statement] = []
        for value in self._arguments:
            assert value.name is not None
            self._bind(value, value.name, out, None)
        self._block(self.trace.block, out)
        return tuple(out)

    def _declared(self, block: Block) -> None:
        """Names of parameters, states and instances; instances without one get theirs."""
        records = list(_all(block))
        self.fixed |= {r.fixed.name for r in records if isinstance(r, Variable)}
        instances = [r.instance for r in records if isinstance(r, Using)]
        self.fixed |= {i.name for i in instances if i.name is not None}
        for instance in instances:
            if instance.name is not None:
                instance.key = instance.name
                continue
            base = instance.suggested or _snake(instance.layer.name)
            instance.key, number = base, 1
            while instance.key in self.fixed:
                number += 1
                instance.key = f"{base}_{number}"
            self.fixed.add(instance.key)

    # Statements.

    def _block(self, block: Block, out: list) -> None:
        self.open.append(out)
        for record in block.records:
            self._record(record, out)
        self.open.pop()

    def _record(self, record: Record, out: list) -> None:
        match record:
            case Slot(value=value):
                if value not in self.uses.inline and value not in self.uses.dropped:
                    self._assign(value, out)
            case LocalDims(dims=dims, site=site):
                items = tuple(
                    tree.DimDecl(d.name, self.size(Ref(d.size, d.site)), span=d.site.span)
                    for d in dims
                )
                out.append(tree.Dims(items, span=site.span))
            case Variable(fixed=fixed, type=type_, init=init, site=site):
                kind = tree.Param if fixed.kind == "param" else tree.State
                for dim in type_.dims:
                    self.file.note(dim, self.trace)
                written = type_.write(site)
                out.append(kind(fixed.name, written, self.size(init), span=site.call()))
            case Using(instance=instance):
                out.append(self._use(instance))
            case Updating(state=state, value=value, site=site):
                at = site.sides()[0].span
                name = tree.Name(state.name, span=at)
                out.append(tree.Update(name, self.expr(value), span=site.span))
            case Reporting(name=name, value=value, site=site):
                out.append(tree.Metric(name, self.expr(value), span=site.call()))
            case Returning(values=values, site=site):
                out.append(tree.Return(tuple(map(self.expr, values)), span=site.span))
            case Branching():
                self._branch(record, out)
            case Scanning():
                self._scan(record, out)

    def _assign(self, value: Value, out: list) -> None:
        expression = self._form(value)
        targets = value.site.targets()
        if value.parts:
            names = [n or "_" for n in self._names(value.parts, "value")]
            if len(targets) != len(names):
                targets = [value.site] * len(names)
            node = tree.Assign(
                tuple(tree.Name(n, span=t.span) for n, t in zip(names, targets, strict=True)),
                (expression,),
                span=targets[0].span.to(value.site.span),
            )
            out.append(node)
            for part, name in zip(value.parts, names, strict=True):
                if name != "_":
                    self._bind(part, name, out, node)
            return
        form = value.form
        assert form is not None
        unused = not self.uses.count.get(value) and value.name is None
        name = "_" if unused else self._chosen(value, form.word)
        at = targets[0].span if len(targets) == 1 else value.site.span
        target = tree.Name(name, span=at)
        node = tree.Assign((target,), (expression,), span=_joined(at, value.site.span))
        out.append(node)
        if name != "_":
            self._bind(value, name, out, node)

    def _wanted(self, value: Value) -> bool:
        return value.name is not None or bool(self.uses.count.get(value))

    def _use(self, instance: Instance) -> tree.Use:
        along = instance.along
        variant = instance.variant
        return tree.Use(
            instance.key,
            instance.mode,
            None if along is None else tree.Name(self._dim_name(along), span=along.site.span),
            self.file.layer(variant.value, variant.site.name_of(variant.site.node).span),
            self.items(instance.layer.items),
            (),
            self._keywords(instance.keywords, self.size),
            span=instance.site.call(),
        )

    def _dim_name(self, ref: Ref) -> str:
        self.file.note(ref.value, self.trace)
        return ref.value.name

    def _branch(self, record: Branching, out: list) -> None:
        results = record.results
        names = self._names(results, "chosen")
        before, apart = dict(self.bound), self.apart
        bodies = []
        taken: set[str] = set(before)
        for arm in record.arms:
            self.bound, self.apart = dict(before), taken - {n for n in names if n}
            body: list[tree.Statement] = []
            self._block(arm.block, body)
            self.open.append(body)
            for name, ref in zip(names, arm.returned, strict=False):
                if name is not None:
                    self._settle(name, ref, body)
            self.open.pop()
            taken = taken | set(self.bound)
            bodies.append(tuple(body))
        self.bound, self.apart = before, apart
        node = tree.If(self._condition(record.condition), *bodies, span=record.site.call())
        out.append(node)
        for value, name in zip(results, names, strict=True):
            if name is not None:
                self._bind(value, name, out, node)

    def _settle(self, name: str, ref: Ref, body: list) -> None:
        """Let a name hold what an arm or a step hands on, if it does not already."""
        if isinstance(ref.value, Value) and self.bound.get(name) is ref.value:
            return
        if isinstance(ref.value, Fixed) and ref.value.name == name:
            return  # either side declares it, under this name
        target = tree.Name(name, span=ref.site.span)
        node = tree.Assign((target,), (self.expr(ref),), span=ref.site.span)
        body.append(node)
        if isinstance(ref.value, Value):
            self.bound[name] = ref.value
        else:
            self.bound.pop(name, None)

    def _condition(self, ref: Ref) -> tree.Expr:
        negated = getattr(ref.value, "negated", None)
        if negated is None:
            return self.size(ref)
        train = tree.Global("train", span=ref.site.span)
        return tree.Unary("not", train, span=ref.site.span) if negated else train

    def _scan(self, record: Scanning, out: list) -> None:
        along = tree.Name(self._dim_name(record.along), span=record.along.site.span)
        inputs = [
            tree.Keyword(name, self.expr(ref), span=step.site.span)
            for name, ref, step in record.inputs
        ]
        carry = [
            tree.Keyword(c.name, self.expr(c.first), span=c.step.site.span) for c in record.carry
        ]
        before, apart = dict(self.bound), self.apart
        self.apart = set()
        body: list[tree.Statement] = []
        steps = [(name, step) for name, _, step in record.inputs]
        for name, step in (*steps, *((c.name, c.step) for c in record.carry)):
            self._bind(step, name, body, None)
        self._block(record.block, body)
        self.open.append(body)
        for one in record.carry:
            if one.next is not None:
                self._settle(one.name, one.next, body)
        emitted = tuple(map(self.expr, record.emitted))
        if emitted:
            span = record.emitted[0].site.span.to(record.emitted[-1].site.span)
            body.append(tree.Emit(emitted, span=span))
        self.open.pop()
        self.bound, self.apart = before, apart
        kept = [c.name for c in record.carry if self.uses.count.get(c.last)]
        names = [n or "_" for n in self._names(record.results, "emitted", kept)]
        targets = tuple(tree.Name(n, span=record.site.span) for n in names)
        span = record.site.call()
        node = tree.Scan(targets, along, tuple(inputs), tuple(carry), tuple(body), span=span)
        out.append(node)
        for one in record.carry:
            self._bind(one.last, one.name, out, node)
        for value, name in zip(record.results, names, strict=True):
            if name != "_":
                self._bind(value, name, out, node)

    # Names.

    def _names(
        self, values: Iterable[Value], word: str, kept: Iterable[str] = ()
    ) -> list[str | None]:
        """Names for the results of one statement, each another one; None for what nobody wants."""
        taken = {*kept}
        found: list[str | None] = []
        for value in values:
            name = self._chosen(value, word, taken) if self._wanted(value) else None
            found.append(name)
            taken |= {name} if name is not None else set()
        return found

    def _chosen(self, value: Value, word: str, kept: Collection[str] = ()) -> str:
        """The name for a value: Python's, unless that would mean something else."""
        name = value.name
        taken = name in self.apart or name in kept or (value.helped and name in self.fixed)
        if name is not None and not taken:
            self.seen.add(name)
            return name
        base, number = name or word, 1 if name is None else 2
        while (found := f"{base}_{number}") in self.seen | self.fixed | self.apart:
            number += 1
        self.seen.add(found)
        return found

    def _bind(self, value: Value, name: str, out: list, node: Any) -> None:
        self.bound[name] = value
        self.ids[value] = name
        self.home[value] = (out, node)
        self.seen.add(name)

    def _visible(self, value: Value, site: Site) -> str:
        """The name that means a value here."""
        name = self.ids.get(value)
        if name is not None and self.bound.get(name) is value:
            return name
        home = self.home.get(value)
        if name is None or home is None or not any(home[0] is o for o in self.open):
            raise mistake(
                "value-outside-branch",
                "this was made in a branch or scan, and is used outside of it",
                site,
                help="return it from the function that makes it",
            )
        out, node = home
        number = 1
        while (other := f"{name}_{number}") in self.seen | self.fixed:
            number += 1
        self.seen.add(other)
        span = value.site.span
        words = tree.Name(name, span=span)
        alias = tree.Assign((tree.Name(other, span=span),), (words,), span=span)
        place = next((i + 1 for i, s in enumerate(out) if s is node), 0)
        out.insert(place, alias)
        self.ids[value] = other
        self.bound[other] = value
        self.home[value] = (out, alias)
        return other

    # Expressions.

    def expr(self, ref: Ref) -> tree.Expr:
        """A use of a value."""
        value = ref.value
        if isinstance(value, Value) and value.trace is not None:
            if value in self.uses.inline:
                return self._form(value)
            return tree.Name(self._visible(value, ref.site), span=ref.site.span)
        return self._constant(ref)

    def size(self, ref: Ref) -> tree.Expr:
        """An expression that is settled before anything runs, written out."""
        value = ref.value
        if isinstance(value, Value) and value.form is not None:
            return self._form(value, self.size)
        if isinstance(value, Value):
            return tree.Name(value.name or "_", span=ref.site.span)
        return self._constant(ref)

    def _constant(self, ref: Ref) -> tree.Expr:
        value, span = ref.value, ref.site.span
        match value:
            case None | bool():
                return tree.Constant(value, span=span)
            case int() | float():
                return self._number(value, ref.site)
            case str():
                return tree.Global(value, span=span)
            case tuple():
                return tree.Tuple(tuple(self._constant(Ref(v, ref.site)) for v in value), span=span)
            case Dim() | Const():
                self.file.note(value, self.trace)
                return tree.Global(value.name, span=span)
            case Fixed(name=name):
                return tree.Name(name, span=span)
            case Path(instance=instance, names=names):
                return self._path(instance, names, span)
            case Value():
                return self.size(ref)
            case Op(name=name, items=None):
                return tree.Global(name, span=span)
            case LayerOf(items=items, base=base):
                layer = self.file.layer(base, span)
                if items is None:
                    return layer
                return tree.Call(layer, self.items(items), (), (), span=span)
        what = f"nw.{value.name}" if isinstance(value, Op) else f"a {type(value).__name__}"
        raise mistake("not-a-value", f"{what} cannot stand here", ref.site)

    def _number(self, value: int | float, site: Site) -> tree.Expr:
        large = isinstance(value, int) and abs(value) >= 2**63
        if value != value or value in (float("inf"), float("-inf")) or large:
            raise mistake(
                "bad-number",
                f"{value} is no number that a model can hold",
                site,
                help="1e30 is as good as infinite; a mask leaves out: nw.softmax[T](x, where=live)",
            )
        if value < 0:
            return tree.Unary("-", tree.Number(-value, span=site.span), span=site.span)
        return tree.Number(value, span=site.span)

    def _path(self, instance: Instance, names: tuple[str, ...], span: Span) -> tree.Member:
        base: tree.Name | tree.Member = tree.Name(instance.key, span=span)
        for name in names:
            base = tree.Member(base, name, span=span)
        assert isinstance(base, tree.Member)
        return base

    def _form(self, value: Value, write: Any = None) -> tree.Expr:
        write = write or self.expr
        span = value.site.span
        form: Form | None = value.form
        match form:
            case Infix(op=op, left=left, right=right):
                return tree.Binary(op, write(left), write(right), span=span)
            case Prefix(op=op, operand=operand):
                return tree.Unary(op, write(operand), span=span)
            case Literal(value=inner):
                return write(inner)
            case Called():
                return tree.Call(
                    self._callee(form.callee),
                    self.items(form.items),
                    tuple(map(write, form.arguments)),
                    self._keywords(form.keywords, write),
                    span=value.site.call(),
                )
        raise TypeError(form)

    def _callee(self, ref: Ref) -> tree.Name | tree.Member:
        callee, span = ref.value, ref.site.span
        match callee:
            case Op(name=name):
                return tree.Global(name, span=span)
            case Variant():
                return self.file.layer(callee, span)
            case Instance(key=key):
                return tree.Name(key, span=span)
            case Path(instance=instance, names=names):
                return self._path(instance, names, span)
        raise TypeError(callee)

    def _keywords(self, keywords: Any, write: Any) -> tuple[tree.Keyword, ...]:
        return tuple(tree.Keyword(n, write(r), span=s.span) for n, r, s in keywords)

    def items(self, items: tuple[Bracketed, ...] | None) -> tuple[tree.Item, ...] | None:
        """What stands between brackets."""
        if items is None:
            return None
        return tuple(
            tree.Item(
                self._side(item.left),
                None if item.right is None else self._side(item.right),
                None if item.value is None else self.size(item.value),
                span=item.site.span,
            )
            for item in items
        )

    def _side(self, ref: Ref) -> tree.Expr:
        if ref.value is Ellipsis:
            return tree.Dots(span=ref.site.span)
        return self.size(ref)


def _all(block: Block):
    for record in block.records:
        yield record
        for inner in getattr(record, "arms", ()):
            yield from _all(inner.block)
        if isinstance(record, Scanning):
            yield from _all(record.block)


def _joined(a: Span, b: Span) -> Span:
    return a.to(b) if (a.line, a.column) <= (b.line, b.column) else b


def _snake(name: str) -> str:
    import re

    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
