"""How the dims of a layer and of its caller stand for each other, in one call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..ir.claim import Equal
from ..ir.core import Dim, Type
from ..ir.diagnostics import Place
from ..ir.size import Size
from . import tree
from .brackets import claim_size
from .constants import Mistake
from .instances import BuiltVariant, InstanceBuilder
from .shared import Pending
from .wording import type_text, wrapped

if TYPE_CHECKING:
    from .values import Values


class Matcher:
    """How the dims of a child and of its caller stand for each other, in one call."""

    def __init__(self, body: Values, child: InstanceBuilder):
        self.body, self.child = body, child
        self.pairs: dict[Dim, Dim] = {}  # child's dim → caller's dim
        self.dots: tuple[Dim, ...] | None = None
        self.dots_outside: tuple[Dim, ...] = ()
        moved = set(child.moved.values())
        self.changed = {n: d for n, d in child.bound.items() if isinstance(d, Dim) and d in moved}

    def outside(self, name: str, span) -> Dim | None:
        """The caller's dim that a dim name of the child stands for; None if there is none."""
        child, inst = self.child, self.body.instance
        if name in child.bound:
            found = child.outside[name]
            if isinstance(found, Pending):
                found = inst.find_dim(found.name, self.body.declared)
            return found if isinstance(found, Dim) else None
        dim = child.find_dim(name)
        if dim is None or isinstance(dim, Pending):
            raise child.unknown_dim(name, span)
        return self.by_origin(dim)

    def by_origin(self, dim: Dim) -> Dim | None:
        """The caller's dim that goes back to the same glossary entry."""
        inst, origin = self.body.instance, self.child.origins.get(dim)
        if origin is None:
            return None
        same = [d for d, o in inst.origins.items() if o == origin and d.size == dim.size]
        if same:
            return same[0]
        if origin in inst.glossary or inst.file.name != origin[0]:
            return None
        found = inst.find_dim(origin[1])
        return found if isinstance(found, Dim) and found.size == dim.size else None

    def _expanded(self, name: str, node: tree.Expr) -> str:
        """The line with an argument that lacks a dim of the caller spread over it."""
        if not isinstance(self.body.instance.find_dim(name, self.body.declared), Dim):
            return ""
        line = wrapped(self.body.shared.diagnostics, node.span, f"expand[{name}](")
        return f"{line}    # if it is the same at every {name}" if line else ""

    def outside_dims(self, argument: tree.Argument) -> tuple[Dim, ...]:
        """The caller's dims of an argument that is given as a constant."""
        dims: list[Dim] = []
        for name in argument.declared.dims:
            if isinstance(name, tree.Dots):
                dims += self.dots_outside
            else:
                found = self.outside(name.id, name.span)
                if found is not None:
                    dims.append(found)
        return tuple(dims)

    def inside(self, argument: tree.Argument, type_: Type, id: int, node: tree.Expr) -> Type:
        """The type of an argument in the child's dims.

        Args:
            type_: its type in the caller's dims, without the dim that copies run along.
            id: the value.

        Raises:
            Mistake: it lacks a dim, has one too many, or has another dtype.
        """
        shared, child = self.body.shared, self.child
        declared = argument.declared
        place = (Place(declared.span, f"{child.layer.name} declares {argument.name} here"),)
        if type_.kind != declared.dtype and not (
            declared.dtype == "float" and type_.kind == "bool"
        ):
            raise shared.error(
                "wrong-dtype",
                f"{argument.name} of {child.layer.name} is {declared.dtype}; "
                f"this is {self.body.shown(id)}",
                node.span,
                places=place,
                help=self._as_dtype(declared.dtype, id),
            )
        left = [d for d in self.body.order_of(id) if d in type_.dims]
        inner: list[Dim] = []
        for name in declared.dims:
            if isinstance(name, tree.Dots):
                continue
            outer = self.outside(name.id, name.span)
            if outer is None and not isinstance(mine := child.find_dim(name.id), Pending):
                assert mine is not None
                outer = next((d for d in left if d.name == name.id and d.size == mine.size), None)
            if outer is None or outer not in left:
                wanted = outer.name if outer is not None else name.id
                called = f"{wanted} (its {name.id})" if wanted != name.id else wanted
                raise shared.error(
                    "dim-missing",
                    f"{child.layer.name} needs {called} in {argument.name}, "
                    f"which is {self.body.shown(id)}",
                    node.span,
                    places=place,
                    help=self._expanded(wanted, node),
                )
            left.remove(outer)
            dim = child.bound.get(name.id)
            if isinstance(dim, Pending):
                dim = self.changed.get(name.id) or child.dotted_dim(outer, f"@{name.id}", name.id)
                self.changed[name.id] = dim
            elif dim is None:
                dim = child.dim(name.id, name.span)
            self.pairs[dim] = outer
            inner.append(dim)
        if any(isinstance(d, tree.Dots) for d in declared.dims):
            if self.dots is None:
                self.dots_outside = tuple(left)
                self.dots = tuple(self._dotted(left))
            for outer in left:
                if outer not in self.dots_outside:
                    stands = ", ".join(d.name for d in self.dots_outside)
                    raise shared.error(
                        "dim-left-over",
                        f"{argument.name} has {outer.name}, "
                        "which the first argument with `...` lacks",
                        node.span,
                        places=place,
                        facts=(f"`...` stands for [{stands}] here",),
                    )
                inner.append(self.dots[self.dots_outside.index(outer)])
        elif left:
            raise shared.error(
                "dim-left-over",
                f"{child.layer.name} takes no {', '.join(d.name for d in left)} in {argument.name}",
                node.span,
                places=place,
                facts=(
                    f"this is {self.body.shown(id)}",
                    "`...` in the type would carry other dims along",
                ),
            )
        return Type(type_.kind if declared.dtype != "float" else declared.dtype, tuple(inner))

    def _as_dtype(self, wanted: str, id: int) -> str:
        """How an argument of the caller would be declared with another dtype."""
        argument = self.body.argument(id)
        if argument is None or argument.type is None:
            return ""
        dims = type_text(argument.type)
        dims = dims[dims.index("[") :]
        return f"{argument.name}: {wanted if wanted != 'float' else ''}{dims}"

    def _dotted(self, outers: list[Dim]) -> list[Dim]:
        seen: dict[tuple[str, Size], int] = {}
        dims = []
        for outer in outers:
            key = (outer.name, outer.size)
            seen[key] = seen.get(key, 0) + 1
            dim = self.child.dotted_dim(outer, str(seen[key]), outer.name)
            if outer in self.body.instance.origins:
                self.child.origins.setdefault(dim, self.body.instance.origins[outer])
            self.pairs[dim] = outer
            dims.append(dim)
        return dims

    def outer(self, dim: Dim, built: BuiltVariant, span) -> Dim:
        """The caller's dim that stands for a dim of a result; made if it is new to the caller."""
        if dim in self.pairs:
            return self.pairs[dim]
        child, inst = self.child, self.body.instance
        for name, bound in child.bound.items():
            given = child.outside[name]
            if bound == dim and isinstance(given, Dim):
                self.pairs[dim] = given
                return given
        for name, settled in built.settled.items():
            outside = child.outside.get(name)
            if settled == dim and isinstance(outside, Pending):
                found = inst.find_dim(outside.name, self.body.declared)
                if isinstance(found, Dim):
                    reason = f"{child.layer.name} gives {found.name} that size here"
                    claim_size(self.body, Equal(dim.size, found.size), reason, span)
                else:
                    found = self.body.declared[outside.name] = inst.new_dim(outside.name, dim.size)
                self.pairs[dim] = found
                return found
            if settled == dim and isinstance(outside, Dim):
                self.pairs[dim] = outside
                return outside
        found = self.by_origin(dim)
        if found is None:
            found = inst.find_dim(dim.name, self.body.declared)
            if found is None:
                found = self.body.declared[dim.name] = inst.new_dim(dim.name, dim.size)
            elif not isinstance(found, Dim) or found.size != dim.size:
                raise self._clash(dim, found, span)
        self.pairs[dim] = found
        return found

    def _clash(self, dim: Dim, found: Dim | Pending, span) -> Mistake:
        """Report a dim of a result whose name means another dim to the caller."""
        layer = self.child.layer
        known = f"of size {found.size}" if isinstance(found, Dim) else "not settled yet"
        return self.body.shared.error(
            "dim-clash",
            f"{layer.name} gives a dim {dim.name} of size {dim.size}, but {dim.name} is another "
            f"dim here, {known}",
            span,
            places=(Place(layer.span, "declared here"),),
            help=f"put {dim.name} between the brackets of {layer.name}, right of an arrow: "
            "its use then gives it a dim of yours",
        )
