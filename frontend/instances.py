"""Layers in their places: dim parameters, options, declarations, and the variants of their bodies."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..ir.core import Child, Claim, Dim, Instance, Region, Type, Variable, Variant, join
from ..ir.diagnostics import Diagnostic, Diagnostics, Place, Span, nearest
from ..ir.size import Size, exact_quotient
from . import tree
from .constants import FOLD_ERRORS, LayerRef, Mistake, OpRef, fold, fold_call, plain

if TYPE_CHECKING:
    from .names import SourceFile

DEEPEST = 60  # instances inside instances; recursion is refused long before


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
        self.free: list[str] = []
        self.instances: list[InstanceBuilder] = []
        self._reported: set[tuple[str, Span | None]] = set()

    def error(self, code: str, message: str, span: Span | None, **more: Any) -> Mistake:
        """Report a mistake once for each place; to be raised by the caller."""
        if (code, span) not in self._reported:
            self._reported.add((code, span))
            self.diagnostics.add(Diagnostic(code, message, span, **more))
        return Mistake()

    def claim(self, claim: Any, reason: str, span: Span) -> None:
        """Record something that must hold of sizes."""
        entry = Claim(claim, reason, span=span)
        if entry not in self.claims:
            self.claims.append(entry)

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
        self._resolving: list[str] = []
        shared.instances.append(self)

    # Dims.

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
        known = {*self.bound, *self.local, *(declared or {}), *self.file.dims}
        close = nearest(name, known)
        return self.shared.error(
            "unknown-dim",
            f"no dim is called {name}",
            span,
            facts=(f"known here: {', '.join(sorted(known))}",) if known else (),
            help=f"did you mean {close[0]}?" if close else f"declare it: dims: {name} = …",
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
        value = plain(self.constant(node, declared))
        if isinstance(value, bool) or not isinstance(value, int | Size):
            raise self.shared.error(
                "not-a-size",
                f"a size is a whole number; this is {_show(value)}",
                node.span,
                help="`//` rounds down" if isinstance(value, float) else "",
            )
        if isinstance(value, int) and value < 1:
            raise self.shared.error(
                "not-a-size", f"a size is at least 1; this is {value}", node.span
            )
        return Size.of(value)

    def constant(self, node: tree.Expr, declared: dict[str, Dim] | None = None) -> Any:
        """The value of an expression of constants, options and sizes; a mistake if it is none."""
        value = self.try_constant(node, declared)
        if value is NotImplemented:
            raise self.shared.error(
                "not-a-constant",
                "this must be known before anything runs",
                node.span,
                facts=("it may be made of numbers, constants, options and dims",),
            )
        return value

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
                if value is NotImplemented or isinstance(value, LayerRef | OpRef):
                    return NotImplemented
                if op == "not":
                    return not value if not isinstance(value, Size) else NotImplemented
                return -value
            case tree.Binary(op=op, left=left, right=right):
                a = self.try_constant(left, declared, hidden)
                b = self.try_constant(right, declared, hidden)
                return self._fold(op, a, b, node, declared)
            case tree.Call(callee=tree.Name(id=name), dims=None, keywords=()):
                values = [self.try_constant(a, declared, hidden) for a in node.arguments]
                if any(v is NotImplemented or not _number(v) for v in values):
                    return NotImplemented
                if name in hidden or name in self.children:
                    return NotImplemented
                try:
                    return fold_call(name, values)
                except FOLD_ERRORS as error:
                    raise self.shared.error(
                        "no-value", f"this has no value: {error}", node.span
                    ) from None
            case tree.Tuple(items=items):
                values = [self.try_constant(a, declared, hidden) for a in items]
                return NotImplemented if NotImplemented in values else tuple(map(plain, values))
        return NotImplemented

    def _fold(self, op: str, a: Any, b: Any, node: tree.Binary, declared: Any) -> Any:
        if a is NotImplemented or b is NotImplemented:
            return NotImplemented
        a, b = plain(a), plain(b)
        if op in ("==", "!=") and not (isinstance(a, Size) or isinstance(b, Size)):
            return (a == b) == (op == "==")
        if op in ("and", "or") and not isinstance(a, Size) and not isinstance(b, Size):
            return (a and b) if op == "and" else (a or b)
        if not _number(a) or not _number(b):
            return NotImplemented
        try:
            if op == "/" and isinstance(a, int | Size) and isinstance(b, int | Size):
                whole = exact_quotient(a, b)
                if whole is not None:
                    return plain(whole)
            return fold(op, a, b)
        except FOLD_ERRORS as error:
            raise self.shared.error("no-value", f"this has no value: {error}", node.span) from None

    def _named_constant(self, name: str, span: Span, declared: Any) -> Any:
        if name in self.options:
            self.used.add(name)
            return self.options[name]
        if name in self.file.consts:
            if self.file is self.shared.main and name in self.shared.overrides:
                return self.shared.overrides[name]
            if name in self._resolving:
                raise self.shared.error("size-cycle", f"{name} is written with itself", span)
            self._resolving.append(name)
            try:
                return plain(self.constant(self.file.consts[name].value))
            finally:
                self._resolving.pop()
        dim = self.find_dim(name, declared)
        if isinstance(dim, Dim):
            return plain(dim.size)
        return NotImplemented

    # What the layer declares.

    def option_or_ref(self, node: tree.Expr) -> Any:
        """The value of an option given at a `use`: a constant, an op or a layer."""
        if isinstance(node, tree.Name | tree.Member):
            found = self.layer_ref(node)
            if found is not None:
                return found
            if isinstance(node, tree.Name) and node.id not in self.options:
                from ..ir.registry import names

                if node.id in names() and node.id not in self.file.consts:
                    return OpRef(node.id)
        value = self.try_constant(node)
        if value is NotImplemented:
            raise self.shared.error(
                "not-an-option",
                "an option is a number, true, false, none, a pointwise op or a layer",
                node.span,
            )
        return value

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
                close = nearest(node.name, imported.layers)
                raise self.shared.error(
                    "unknown-layer",
                    f"{imported.name} has no layer {node.name}",
                    node.span,
                    help=f"{node.base.id}.{close[0]}" if close else "",
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


def _number(value: Any) -> bool:
    return isinstance(value, int | float | Size)


def _show(value: Any) -> str:
    return (
        {None: "none", True: "true", False: "false"}.get(value, str(value))
        if not isinstance(value, Size)
        else str(value)
    )
