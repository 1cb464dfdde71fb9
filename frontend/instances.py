"""Layers in their places: what their names mean, and what is settled before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..ir.core import Child, Dim, Instance, Region, Type, Variable, Variant, join
from ..ir.diagnostics import Place, Span
from ..ir.size import Size
from . import tree
from .constants import LayerRef, Mistake
from .settled import Settled
from .shared import Elaboration, Pending
from .wording import assigned, meant, some

if TYPE_CHECKING:
    pass

DEEPEST = 60  # instances inside instances; recursion is refused long before


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
    copies: tuple[InstanceBuilder, ...] = ()  # whose copy numbers it takes as further inputs
    settled: dict[str, Dim] = field(default_factory=dict)


class InstanceBuilder(Settled):
    """One instance under construction.

    Attributes:
        bound: its bracketed dims by name; Pending where the body will settle the size.
        outside: for each bracketed dim, the caller's dim that was given for it (or Pending there).
        options: the values of its options.
        broken: names whose declaration was wrong, and has been reported.
        wrong: whether any declaration was wrong.
        use: the layer and the `use` or call that made it; None of the entry.
        sizes: what the dims of its own are written as.
        moved: while its names mean other dims for one call: what each became.
        along: the caller's dim that its copies run along, where it is one of several.
        repeated: whether these are in sequence.
        anonymous: instances of layers called by their own name, by the identity of the call.
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
        self.use: tuple[LayerRef, tree.Use | tree.Call] | None = None
        self.sizes: dict[str, tree.Expr] = {}
        self.moved: dict[Dim, Dim] = {}
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
        self.along: Dim | None = None
        self.repeated = False
        self.anonymous: dict[int, ChildRecord] = {}
        self._resolving: list[str] = []
        self._constants: dict[str, Any] = {}
        self._sizing = False
        shared.instances.append(self)

    # Dims.

    def forget(self) -> None:
        """Forget what was derived while dims and options were being bound."""
        self.used.clear()
        self.glossary.clear()
        self.forget_constants()

    def forget_constants(self) -> None:
        """Forget the values of constants, which may be written with sizes."""
        self._constants = {}

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
        return self.glossary_dim(name)

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
        late = [d for s in self.layer.body if isinstance(s, tree.Dims) for d in s.items]
        places = tuple(Place(d.span, "declared only here") for d in late if d.name == name)
        known = {*self.bound, *self.local, *(declared or {}), *self.file.dims}
        facts = [f"known here: {some(sorted(known))}"] if known else []
        main = self.shared.main
        help = meant(self.shared.diagnostics, span, name, known)
        if self.file is not main and name in main.dims:
            facts.append(f"{main.name} has a dim {name}, but a file sees only its own names")
            help = f"name it between the brackets of the layer: {self.layer.name}[{name}]"
        if places:
            help = "put `dims:` first in the layer"
        if not name[:1].isupper():
            facts.insert(0, "a dim begins with a capital letter")
        return self.shared.error(
            "unknown-dim",
            f"no dim is called {name}" if not places else f"{name} is declared further down",
            span,
            places=places,
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
            places: tuple[Place, ...] = (Place(late, "assigned only here"),)
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

    def glossary_dim(self, name: str) -> Dim | None:
        origin = (self.file.name, name)
        if origin in self.glossary:
            return self.glossary[origin]
        declaration = self.file.dims.get(name)
        if declaration is None:
            return None
        if name in self._resolving:
            raise self.cycle(name, declaration.span)
        if self.given_from_outside(name):
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

    def given_from_outside(self, name: str) -> bool:
        """Whether a dim of the glossary has its size by `--set`."""
        return self.file is self.shared.main and name in self.shared.overrides

    def cycle(self, name: str, span: Span) -> Mistake:
        """Report a size or constant that is written with itself; each cycle once."""
        chain = self._resolving[self._resolving.index(name) :]
        if self.file.cyclic.issuperset(chain):
            return Mistake()
        self.file.cyclic.update(chain)
        return self.shared.error(
            "size-cycle",
            f"{name} is written with itself",
            span,
            facts=(" → ".join([*chain, name]),),
        )

    def outer(self, dim: Dim | Pending | None) -> Dim | Pending | None:
        """The dim that was given by the instance around this one for a bracketed dim."""
        if not isinstance(dim, Dim) or self.parent is None:
            return None
        for name, bound in self.bound.items():
            if bound == dim and self.outside.get(name) is not None:
                return self.outside[name]
        return None

    def dotted_dim(self, outer: Dim, number: str, name: str) -> Dim:
        """The dim that stands for a caller's dim in `...`; the same for the same name and size."""
        key = (name, outer.size, number)
        if key not in self.dotted:
            self.dotted[key] = self.new_dim(name, outer.size)
        return self.dotted[key]

    # What the layer declares.

    def layer_ref(self, node: tree.Name | tree.Member) -> LayerRef | None:
        """The layer that a name means in this layer's file, options included; None if none."""
        if isinstance(node, tree.Name):
            option = self.options.get(node.id)
            if isinstance(option, LayerRef) and not isinstance(node, tree.Global):
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

    def ancestors(self) -> Iterator[InstanceBuilder]:
        """This instance and those around it, innermost first."""
        builder: InstanceBuilder | None = self
        while builder is not None:
            yield builder
            builder = builder.parent
