"""Layers in their places: dim parameters, options, declarations, and the variants of their bodies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..ir.claim import Divides
from ..ir.core import Child, Claim, Dim, Instance, Region, Type, Variable, Variant, join
from ..ir.diagnostics import Diagnostic, Diagnostics, Place, Span
from ..ir.size import DivisionByZero, Size, exact_quotient
from . import tree
from .constants import (
    FOLD_ERRORS,
    LayerRef,
    Mistake,
    OpRef,
    fold,
    fold_call,
    fold_unary,
    is_number,
    plain,
)
from .wording import assigned, corrected, meant, some, spoken, written

if TYPE_CHECKING:
    from .names import SourceFile

DEEPEST = 60  # instances inside instances; recursion is refused long before
MOST_ERRORS = 100


class Elaboration:
    """What all instances of one entry share: messages, overrides, claims, the list of instances.

    Args:
        diagnostics: takes what is wrong.
        main: the file whose glossary and constants the overrides change.
        overrides: `--set` values by name.
    """

    def __init__(self, diagnostics: Diagnostics, main: SourceFile, overrides: dict[str, Any]):
        self.diagnostics, self.main, self.overrides = diagnostics, main, overrides
        self.claims: list[Claim] = []
        self._claimed: set[tuple[Any, str]] = set()
        self.free: list[str] = []
        self.instances: list[InstanceBuilder] = []
        self._reported: set[tuple[str, Span | str]] = set()

    def error(self, code: str, message: str, span: Span | None, **more: Any) -> Mistake:
        """Report a mistake once for each place; to be raised by the caller."""
        key = (code, span if span is not None else message)
        if key not in self._reported and len(self._reported) < MOST_ERRORS:
            self._reported.add(key)
            self.diagnostics.add(Diagnostic(code, message, span, **more))
        return Mistake()

    def forget(self, builder: InstanceBuilder) -> None:
        """Drop an instance that was made in vain, with those inside of it."""
        self.instances.remove(builder)
        for record in builder.children.values():
            if record.builder in self.instances:
                self.forget(record.builder)

    def claim(self, claim: Any, reason: str, span: Span) -> None:
        """Record something that must hold of sizes."""
        key = (claim, reason)
        if key not in self._claimed:
            self._claimed.add(key)
            self.claims.append(Claim(claim, reason, span=span))

    def free_size(self, name: str) -> Size:
        """The size of a free dim."""
        if name not in self.free:
            self.free.append(name)
        return Size.free(name)


@dataclass
class DimParameter:
    """A dim between a layer's brackets: its name, default, and what it is made from (`C -> Co`)."""

    name: str
    default: tree.Expr | None
    made_from: str | None
    span: Span


def dim_parameters(layer: tree.Layer) -> list[DimParameter]:
    """The dims between a layer's brackets, in order."""
    found = []
    for item in layer.dims:
        if isinstance(item.left, tree.Name):
            default = item.value if item.right is None else None
            found.append(DimParameter(item.left.id, default, None, item.left.span))
            if isinstance(item.right, tree.Name):
                right = item.right
                found.append(DimParameter(right.id, item.value, item.left.id, right.span))
    return found


@dataclass(frozen=True)
class Pending:
    """A dim right of an arrow whose size the body settles."""

    name: str
    span: Span


@dataclass
class ChildRecord:
    """A `use` as its parent sees it."""

    child: Child
    builder: InstanceBuilder
    calls: int = 0


@dataclass
class BuiltVariant:
    """A variant with what its callers need: how its dims came about."""

    key: Any
    index: int
    variant: Variant | None  # None where its body was wrong, and while it is being built
    inputs: tuple[str, ...] = ()
    settled: dict[str, Dim] = field(default_factory=dict)


class InstanceBuilder:
    """One instance under construction.

    Attributes:
        bound: its bracketed dims by name; Pending where the body will settle the size.
        outside: for each bracketed dim, the caller's dim that was given for it (or Pending there).
        options: the values of its options.
        broken: names whose declaration was wrong, and has been reported.
        wrong: whether any declaration was wrong.
        anonymous: instances of layers called by their own name, by place.
    """

    def __init__(
        self, shared: Elaboration, path: str, ref: LayerRef, parent: InstanceBuilder | None
    ):
        self.shared, self.path, self.layer, self.file = shared, path, ref.layer, ref.file
        self.parent = parent
        self.dims: list[Dim] = []
        self.origins: dict[Dim, tuple[str, str]] = {}
        self.bound: dict[str, Dim | Pending] = {}
        self.outside: dict[str, Dim | Pending | None] = {}
        self.local: dict[str, Dim] = {}
        self.glossary: dict[tuple[str, str], Dim] = {}
        self.dotted: dict[tuple[str, Size, str], Dim] = {}
        self.options: dict[str, Any] = {}
        self.params: dict[str, Variable] = {}
        self.states: dict[str, Variable] = {}
        self.children: dict[str, ChildRecord] = {}
        self.variants: list[BuiltVariant] = []
        self.used: set[str] = set()
        self.broken: set[str] = set()
        self.wrong = False
        self.anonymous: dict[tuple[int, int, str], ChildRecord] = {}
        self._resolving: list[str] = []
        self._constants: dict[str, Any] = {}
        self._sizing = False
        shared.instances.append(self)

    # Dims.

    def forget(self) -> None:
        """Forget what was derived while dims and options were being bound."""
        self.used.clear()
        self.glossary.clear()
        self._constants.clear()

    def new_dim(self, name: str, size: Size, origin: tuple[str, str] | None = None) -> Dim:
        """A dim of this instance; `origin` is the glossary entry that it goes back to."""
        dim = Dim(len(self.dims), name, size)
        self.dims.append(dim)
        if origin is not None:
            self.origins[dim] = origin
        return dim

    def find_dim(self, name: str, declared: dict[str, Dim] | None = None) -> Dim | Pending | None:
        """The dim that a name means here; None if it means none."""
        self.used.add(name)
        if name in self.bound:
            dim = self.bound[name]
            if isinstance(dim, Pending) and declared and name in declared:
                return declared[name]
            return dim
        if name in self.local:
            return self.local[name]
        if declared and name in declared:
            return declared[name]
        return self._glossary_dim(name)

    def dim(self, name: str, span: Span, declared: dict[str, Dim] | None = None) -> Dim:
        """The dim that a name means here; a mistake if there is none or its size is not settled."""
        dim = self.find_dim(name, declared)
        if isinstance(dim, Pending):
            raise self.shared.error(
                "dim-not-settled",
                f"the size of {name} is not known here",
                span,
                places=(Place(dim.span, f"{name} is what this layer makes"),),
                facts=(f"an arrow such as `conv[… -> {name}]` must settle it before it is used",),
            )
        if dim is None:
            raise self.unknown_dim(name, span, declared)
        return dim

    def unknown_dim(self, name: str, span: Span, declared: dict[str, Dim] | None = None) -> Mistake:
        """Report a name that means no dim."""
        if name in self.broken:  # its declaration has been reported
            return Mistake()
        known = {*self.bound, *self.local, *(declared or {}), *self.file.dims}
        facts = [f"known here: {some(sorted(known))}"] if known else []
        main = self.shared.main
        help = meant(self.shared.diagnostics, span, name, known)
        if self.file is not main and name in main.dims:
            facts.append(f"{main.name} has a dim {name}, but a file sees only its own names")
            help = f"name it between the brackets of the layer: {self.layer.name}[{name}]"
        if not name[:1].isupper():
            facts.insert(0, "a dim begins with a capital letter")
        return self.shared.error(
            "unknown-dim",
            f"no dim is called {name}",
            span,
            facts=tuple(facts),
            help=help or (f"declare it: dims: {name} = …" if name[:1].isupper() else ""),
        )

    def unknown_name(self, node: tree.Name, names: Iterable[str] = ()) -> Mistake:
        """Report a name that means nothing."""
        name = node.id
        if name in self.broken:
            return Mistake()
        file = self.file
        late = assigned(self.layer.body).get(name)
        known = [*names, *self.options, *file.consts, *self.bound, *self.local, *file.dims]
        if late is not None and (late.line, late.column) >= (node.span.line, node.span.column):
            places = (Place(late, "assigned only here"),)
            help = ""
        else:
            places = ()
            help = meant(self.shared.diagnostics, node.span, name, known)
        return self.shared.error(
            "unknown-name",
            f"nothing is called {name} here"
            if not places
            else f"{name} has no value here: it is assigned further down",
            node.span,
            places=places,
            help=help,
        )

    def _glossary_dim(self, name: str) -> Dim | None:
        origin = (self.file.name, name)
        if origin in self.glossary:
            return self.glossary[origin]
        declaration = self.file.dims.get(name)
        if declaration is None:
            return None
        if name in self._resolving:
            raise self.shared.error(
                "size-cycle",
                f"the size of {name} is written with itself",
                declaration.span,
                facts=(" → ".join([*self._resolving[self._resolving.index(name) :], name]),),
            )
        main = self.file is self.shared.main
        if main and name in self.shared.overrides:
            size = Size.of(self.shared.overrides[name])
        elif declaration.size is None:
            size = self.shared.free_size(name)
        else:
            self._resolving.append(name)
            try:
                size = self.size(declaration.size)
            finally:
                self._resolving.pop()
        dim = self.new_dim(name, size, origin)
        self.glossary[origin] = dim
        return dim

    def dotted_dim(self, outer: Dim, number: str, name: str) -> Dim:
        """The dim that stands for a caller's dim in `...`; the same for the same name and size."""
        key = (name, outer.size, number)
        if key not in self.dotted:
            self.dotted[key] = self.new_dim(name, outer.size)
        return self.dotted[key]

    # Constants and sizes.

    def size(self, node: tree.Expr, declared: dict[str, Dim] | None = None) -> Size:
        """The size that an integer expression of dims and constants means; at least 1."""
        outer, self._sizing = self._sizing, True
        try:
            value = plain(self.constant(node, declared))
        finally:
            self._sizing = outer
        if isinstance(value, bool) or not isinstance(value, int | Size):
            if isinstance(value, OpRef | LayerRef):
                value = "an op or a layer"
            words = written(self.shared.diagnostics, node.span)
            raise self.shared.error(
                "not-a-size",
                f"a size is a whole number; this is {spoken(value)}",
                node.span,
                facts=self._sizes_in(node, declared),
                help=f"floor({words}) rounds down"
                if isinstance(value, float) and not isinstance(node, tree.Number)
                else "",
            )
        if isinstance(value, int) and value < 1:
            raise self.shared.error(
                "not-a-size",
                f"a size is at least 1; this is {value}",
                node.span,
                facts=self._sizes_in(node, declared),
            )
        return Size.of(value)

    def _sizes_in(self, node: tree.Expr, declared: Any) -> tuple[str, ...]:
        """What the names in an expression stand for, as a fact: `D = 100 (by --set), H = 8`."""
        facts: dict[str, str] = {}

        def visit(inner: tree.Expr) -> None:
            match inner:
                case tree.Name(id=name):
                    value = self.try_constant(inner, declared)
                    if isinstance(value, int | float | Size):
                        given = self.file is self.shared.main and name in self.shared.overrides
                        facts[name] = f"{name} = {spoken(value)}{' (by --set)' if given else ''}"
                case tree.Unary(operand=operand):
                    visit(operand)
                case tree.Binary(left=left, right=right):
                    visit(left)
                    visit(right)
                case tree.Call(arguments=arguments):
                    for argument in arguments:
                        visit(argument)

        visit(node)
        return (", ".join(facts.values()),) if facts else ()

    def constant(self, node: tree.Expr, declared: dict[str, Dim] | None = None) -> Any:
        """The value of an expression of constants, options and sizes; a mistake if it is none."""
        value = self.try_constant(node, declared)
        if value is NotImplemented:
            raise self._not_constant(node, declared)
        return value

    def _not_constant(self, node: tree.Expr, declared: Any) -> Mistake:
        """Report an expression that is not constant, at the name that is to blame if there is one."""
        match node:
            case tree.Name(id=name):
                if isinstance(self.find_dim(name, declared), Pending):
                    self.dim(name, node.span, declared)
                if name[:1].isupper():
                    return self.unknown_dim(name, node.span, declared)
                if name not in {a.name for a in self.layer.arguments} | {*assigned(self.layer.body)}:
                    return self.unknown_name(node)
            case tree.Unary(operand=operand):
                return self._not_constant(operand, declared)
            case tree.Binary(left=left, right=right):
                for side in (left, right):
                    if self.try_constant(side, declared) is NotImplemented:
                        return self._not_constant(side, declared)
        return self.shared.error(
            "not-a-constant",
            "this must be known before anything runs",
            node.span,
            facts=("it may be made of numbers, constants, options and dims",),
        )

    def try_constant(
        self, node: tree.Expr, declared: dict[str, Dim] | None = None, hidden: Any = ()
    ) -> Any:
        """The value of a constant expression; NotImplemented if it is not constant.

        Args:
            hidden: names of values, which hide constants of the same name.
        """
        match node:
            case tree.Number() | tree.Constant():
                return node.value
            case tree.Name(id=name):
                if name in hidden:
                    return NotImplemented
                return self._named_constant(name, node.span, declared)
            case tree.Unary(op=op, operand=operand):
                value = self.try_constant(operand, declared, hidden)
                return fold_unary(op, value)
            case tree.Binary(op=op, left=left, right=right):
                a = self.try_constant(left, declared, hidden)
                b = self.try_constant(right, declared, hidden)
                return self.fold(op, a, b, node, declared)
            case tree.Call(callee=tree.Name(id=name), dims=None, keywords=()):
                values = [self.try_constant(a, declared, hidden) for a in node.arguments]
                if name in hidden or name in self.children:
                    return NotImplemented
                return self.fold_call(name, values, node)
            case tree.Tuple(items=items):
                values = [self.try_constant(a, declared, hidden) for a in items]
                return NotImplemented if NotImplemented in values else tuple(map(plain, values))
        return NotImplemented

    def fold_call(self, name: str, values: list[Any], node: tree.Expr) -> Any:
        """A function of constants; NotImplemented where it is not one."""
        if any(v is NotImplemented or not is_number(v) for v in values):
            return NotImplemented
        try:
            return fold_call(name, values)
        except FOLD_ERRORS as error:
            shown = f"{name}({', '.join(spoken(plain(v)) for v in values)})"
            raise self._no_value(shown, error, node) from None

    def fold(self, op: str, a: Any, b: Any, node: tree.Binary, declared: Any = None) -> Any:
        """An operator on constants; NotImplemented where it is not to be settled here."""
        if a is NotImplemented or b is NotImplemented:
            return NotImplemented
        a, b = plain(a), plain(b)
        if op in ("==", "!=") and not (isinstance(a, Size) or isinstance(b, Size)):
            return (a == b) == (op == "==")
        if op in ("and", "or") and not isinstance(a, Size) and not isinstance(b, Size):
            return (a and b) if op == "and" else (a or b)
        if not is_number(a) or not is_number(b):
            return NotImplemented
        try:
            if op == "/" and isinstance(a, int | Size) and isinstance(b, int | Size):
                whole = exact_quotient(a, b)
                if whole is not None:
                    return plain(whole)
                if self._sizing:
                    return self._quotient(a, b, node, declared)
            return fold(op, a, b)
        except FOLD_ERRORS as error:
            raise self._no_value(f"{spoken(a)} {op} {spoken(b)}", error, node) from None

    def _quotient(self, a: int | Size, b: int | Size, node: tree.Binary, declared: Any) -> Size:
        """A division of sizes, which must come out whole: for numbers it does not, else a claim."""
        diagnostics = self.shared.diagnostics
        words = written(diagnostics, node.span)
        if isinstance(a, Size) or isinstance(b, Size):
            self.shared.claim(Divides(Size.of(b), Size.of(a)), f"{words} is a size", node.span)
            return Size.of(a) // Size.of(b)
        if b == 0:
            raise ZeroDivisionError
        left, right = (written(diagnostics, n.span) for n in (node.left, node.right))
        floor = corrected(diagnostics, node.span, f"{left} // {right}") if left and right else ""
        raise self.shared.error(
            "does-not-divide",
            f"{words or 'this size'} does not come out whole: {a} / {b} is {a / b:g}",
            node.span,
            facts=self._sizes_in(node, declared),
            help=f"{floor}    # rounds down" if floor else "",
        )

    def _no_value(self, shown: str, error: Exception, node: tree.Expr) -> Mistake:
        zero = isinstance(error, ZeroDivisionError | DivisionByZero)
        if isinstance(error, OverflowError):
            message = "this number is too large"
        elif zero and isinstance(node, tree.Binary):
            message = "this divides by 0"
        else:
            message = "this has no value"
        words = written(self.shared.diagnostics, node.span)
        return self.shared.error(
            "no-value", message, node.span, facts=(f"it is {shown}",) if shown != words else ()
        )

    def _named_constant(self, name: str, span: Span, declared: Any) -> Any:
        if name in self.options:
            self.used.add(name)
            return self.options[name]
        if name in self.file.consts:
            if self.file is self.shared.main and name in self.shared.overrides:
                return self.shared.overrides[name]
            if name in self._constants:
                return self._constants[name]
            if name in self._resolving:
                chain = self._resolving[self._resolving.index(name) :]
                raise self.shared.error(
                    "size-cycle",
                    f"{name} is written with itself",
                    self.file.consts[name].span,
                    facts=(" → ".join([*chain, name]),),
                )
            self._resolving.append(name)
            outer, self._sizing = self._sizing, False
            try:
                value = plain(self.constant(self.file.consts[name].value))
            finally:
                self._resolving.pop()
                self._sizing = outer
            self._constants[name] = value
            return value
        dim = self.find_dim(name, declared)
        if isinstance(dim, Dim):
            return plain(dim.size)
        return NotImplemented

    # What the layer declares.

    def option_or_ref(self, node: tree.Expr, name: str) -> Any:
        """The value of an option given at a `use`: a constant, an op or a layer."""
        if isinstance(node, tree.Name | tree.Member):
            found = self.layer_ref(node)
            if found is not None:
                return found
            if isinstance(node, tree.Name) and node.id not in self.options:
                from ..ir.registry import lookup, names

                if node.id in names() and node.id not in self.file.consts:
                    if lookup(node.id).family != "pointwise":
                        raise self.shared.error(
                            "not-an-option",
                            f"{name} cannot be {node.id}, which is not a pointwise op",
                            node.span,
                            facts=("an option may be a pointwise op, such as gelu, or a layer",),
                        )
                    return OpRef(node.id)
        value = self.try_constant(node)
        if value is not NotImplemented:
            return value
        known = {a.name for a in self.layer.arguments} | {*assigned(self.layer.body)}
        if isinstance(node, tree.Name) and node.id not in known:
            from ..ir.registry import lookup, names

            ops = [n for n in names() if lookup(n).family == "pointwise"]
            raise self.unknown_name(node, [*self.file.layers, *ops])
        raise self.shared.error(
            "not-an-option",
            f"{name} is an option, which is known before anything runs; this is a value",
            node.span,
            facts=("an option is a number, true, false, none, a pointwise op or a layer",),
            help=f"a value is an argument with a type, such as {name}: [...], given at the call",
        )

    def layer_ref(self, node: tree.Name | tree.Member) -> LayerRef | None:
        """The layer that a name means in this layer's file, options included; None if none."""
        if isinstance(node, tree.Name):
            option = self.options.get(node.id)
            if isinstance(option, LayerRef):
                self.used.add(node.id)
                return option
            layer = self.file.layers.get(node.id)
            return LayerRef(layer, self.file) if layer is not None else None
        if isinstance(node.base, tree.Name) and node.base.id in self.file.imports:
            imported = self.file.imports[node.base.id]
            layer = imported.layers.get(node.name)
            if layer is None:
                lead = f"{node.base.id}."
                known = some(sorted(imported.layers))
                raise self.shared.error(
                    "unknown-layer",
                    f"{imported.name} has no layer {node.name}",
                    node.span,
                    facts=(f"it has {known}",) if known else (),
                    help=meant(
                        self.shared.diagnostics, node.span, node.name, imported.layers, lead
                    ),
                )
            return LayerRef(layer, imported)
        return None

    def build(self) -> Instance:
        """The finished instance."""
        return Instance(
            path=self.path,
            layer=self.layer.name,
            doc=self.layer.doc,
            dims=tuple(self.dims),
            params=tuple(self.params.values()),
            states=tuple(self.states.values()),
            children=tuple(c.child for c in self.children.values()),
            variants=tuple(v.variant for v in self.variants if v.variant is not None),
            span=self.layer.name_span,
        )

    def declare_variable(
        self, node: tree.Param | tree.State, region: Region, type_: Type, order
    ) -> None:
        """Add a parameter or state."""
        table = self.params if isinstance(node, tree.Param) else self.states
        table[node.name] = Variable(node.name, type_, order, region, node.span)

    def child_path(self, name: str) -> str:
        """The path of a child."""
        return join(self.path, name)

    def ancestors(self):
        """This instance and those around it, innermost first."""
        builder: InstanceBuilder | None = self
        while builder is not None:
            yield builder
            builder = builder.parent
