"""The intermediate representation: dims, types, values, ops, instances, modules. All immutable.

A `Module` is one elaborated entry (a loss, or a model): a tuple of instances, addressed by path.
Each instance has its own dims, parameters and states, and one *variant* of its body for each set of
argument types that it is called with. Values and dims are numbered within their instance.

Equality is structural; places in source files do not count.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from .diagnostics import Span
from .size import Size

ABSTRACT = ("float", "int", "bool")
"""Dtypes as a model writes them; the precision pass puts concrete ones in their place."""

CONCRETE = {
    "float": ("float32", "bfloat16", "float16", "float64"),
    "int": ("int32", "int64"),
    "bool": ("bool",),
}
BYTES = {
    "float32": 4, "bfloat16": 2, "float16": 2, "float64": 8, "int32": 4, "int64": 8, "bool": 1,
    "float": 4, "int": 4,
}  # fmt: skip


def kind(dtype: str) -> str:
    """The abstract dtype of an abstract or concrete one: float, int or bool."""
    return next(k for k in ABSTRACT if dtype == k or dtype in CONCRETE[k])


@dataclass(frozen=True)
class Dim:
    """A dimension of one instance: a unique number, the name that a person sees, and a size."""

    id: int
    name: str
    size: Size

    def __str__(self) -> str:
        return self.name


Axis = tuple[Dim, ...]
"""One axis: a dim, several collapsed into one (row-major), or none (an axis of size 1)."""

Order = tuple[Axis, ...]
"""The axes of an array, outermost first. After layout, every value's is known."""


@dataclass(frozen=True)
class Type:
    """A dtype and a set of dims, kept sorted by id, so that equal sets are equal types."""

    dtype: str
    dims: tuple[Dim, ...] = ()

    def __post_init__(self) -> None:
        dims = tuple(sorted(set(self.dims), key=lambda d: d.id))
        if len(dims) != len(self.dims):
            raise ValueError(f"a dim twice in a type: {[d.name for d in self.dims]}")
        object.__setattr__(self, "dims", dims)

    @property
    def kind(self) -> str:
        """float, int or bool."""
        return kind(self.dtype)

    def with_dtype(self, dtype: str) -> Type:
        """The same dims with another dtype."""
        return Type(dtype, self.dims)

    def with_dims(self, dims) -> Type:
        """The same dtype over other dims."""
        return Type(self.dtype, tuple(dims))

    def elements(self) -> Size:
        """How many elements an array of this type has."""
        size = Size.of(1)
        for dim in self.dims:
            size = size * dim.size
        return size

    def bytes(self) -> Size:
        """How many bytes an array of this type has; abstract floats and ints count as four each."""
        return self.elements() * BYTES[self.dtype]

    def __str__(self) -> str:
        inner = "[" + ", ".join(d.name for d in self.dims) + "]"
        return inner if self.dtype == "float" else self.dtype + inner


@dataclass(frozen=True)
class Value:
    """What an op gives, or an argument.

    Attributes:
        id: unique in its variant (or initializer), in order of definition.
        type: dtype and dims.
        label: the name by which plans address it; unique in its instance's variant, "" for none.
        order: the axes of the array; None before layout, unless declared.
    """

    id: int
    type: Type
    label: str = ""
    order: Order | None = None

    @property
    def axes(self) -> Order:
        """The axes of the array, which layout has settled."""
        if self.order is None:
            raise AssertionError(f"value {self.id} has no order before layout")
        return self.order


Attribute = "int | float | bool | str | None | Dim | Size | tuple[Attribute, ...]"


@dataclass(frozen=True)
class Region:
    """A body inside an op, or an initializer. It may read values of the bodies around it."""

    arguments: tuple[Value, ...]
    ops: tuple[Op, ...]
    results: tuple[int, ...]


@dataclass(frozen=True)
class Op:
    """One operation.

    Attributes:
        name: its entry in the registry.
        operands: ids of values defined before.
        results: the values that it defines.
        attrs: constants, sorted by name. `dims` are the bracketed dims, `arrows` the bracketed
            arrows as ((left dims), (right dims)) pairs, `extra` the names of the trailing optional
            operands.
        regions: bodies: two for `if_train`, one for `scan`.
        span: the words that it comes from.
    """

    name: str
    operands: tuple[int, ...] = ()
    results: tuple[Value, ...] = ()
    attrs: tuple[tuple[str, Any], ...] = ()
    regions: tuple[Region, ...] = ()
    span: Span | None = field(default=None, compare=False)

    def __getitem__(self, name: str) -> Any:
        for key, value in self.attrs:
            if key == name:
                return value
        raise KeyError(f"{self.name} has no attribute {name!r}")

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, or the default where the op does not have it."""
        return next((value for key, value in self.attrs if key == name), default)

    def with_attrs(self, **changes: object) -> Op:
        """The same op with attributes set."""
        return replace(self, attrs=attributes(**{**dict(self.attrs), **changes}))

    @property
    def result(self) -> Value:
        """The only result."""
        (value,) = self.results
        return value

    def extra(self, name: str) -> int | None:
        """The position of an optional operand, or None where it was not given."""
        names = self.get("extra", ())
        if name not in names:
            return None
        return len(self.operands) - len(names) + names.index(name)


def attributes(**attrs: Any) -> tuple[tuple[str, Any], ...]:
    """Attributes in canonical order."""
    return tuple(sorted(attrs.items()))


@dataclass(frozen=True)
class Variable:
    """A parameter or a state of an instance, as declared.

    Attributes:
        name: its name in the instance.
        type: dtype and dims.
        order: the dims as written: the layout in memory and in files.
        init: the initializer, a region without arguments whose result has exactly these dims.
    """

    name: str
    type: Type
    order: tuple[Dim, ...]
    init: Region
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Child:
    """An instance used by another.

    Attributes:
        name: the name given by `use`; the child's path is the parent's path and this name.
        mode: `one`, `repeat` or `each`.
        along: the dim of the parent that its copies are stacked along; None for `one`.
    """

    name: str
    mode: str = "one"
    along: Dim | None = None
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Result:
    """A result of a variant: its name ("" for none), the value, and its axes as written."""

    name: str
    value: int
    order: tuple[Dim, ...]


@dataclass(frozen=True)
class Variant:
    """A body of an instance for one set of argument types.

    Attributes:
        inputs: the arguments; each has the order as written, and its name as label.
        ops: the body, in order.
        results: what it gives.
        writes: for each state that it updates, the name and the value that it has at the end.
    """

    inputs: tuple[Value, ...]
    ops: tuple[Op, ...]
    results: tuple[Result, ...]
    writes: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Instance:
    """A layer in its place: one path, one set of parameters.

    Attributes:
        path: the place in the tree, such as `gpt.blocks.attn`; "" for the entry itself.
        layer: the name of the layer.
        doc: its docstring.
        dims: every dim that its declarations and bodies use, by id.
        params, states: as declared.
        children: the instances that it uses.
        variants: its bodies; ops of callers name one by its position.
    """

    path: str
    layer: str
    doc: str = field(default="", compare=False)
    dims: tuple[Dim, ...] = ()
    params: tuple[Variable, ...] = ()
    states: tuple[Variable, ...] = ()
    children: tuple[Child, ...] = ()
    variants: tuple[Variant, ...] = ()
    span: Span | None = field(default=None, compare=False)

    def child(self, name: str) -> Child:
        """The child of that name."""
        return next(c for c in self.children if c.name == name)


@dataclass(frozen=True)
class Claim:
    """Something about sizes that must hold, with the words that need it.

    Attributes:
        claim: the `Equal`, `AtLeast` or `Divides` of `ir.size`.
        reason: half a sentence that completes «…, because».
        verdict: `open` until the check pass has looked; then `required`, and tested when sizes
            bind.
    """

    claim: Any
    reason: str
    verdict: str = "open"
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Module:
    """One elaborated entry with all that it uses.

    Attributes:
        name: the name of the loss or model.
        kind: `loss` or `model`.
        model: the path of the instance of the file's default model; None if the loss uses none.
        free: the free sizes, in order of appearance, such as ("B", "S").
        instances: in pre-order; the first is the entry, with path "".
        claims: what must hold of the sizes.
        sizes: what the free sizes are bound to; empty until bound.
        facts: names of facts that hold, as passes have established them.
    """

    name: str
    kind: str
    model: str | None
    free: tuple[str, ...]
    instances: tuple[Instance, ...]
    claims: tuple[Claim, ...] = ()
    sizes: tuple[tuple[str, int], ...] = ()
    facts: tuple[str, ...] = ()

    @cached_property
    def _by_path(self) -> dict[str, Instance]:
        return {i.path: i for i in self.instances}

    @cached_property
    def _hash(self) -> int:
        return hash((self.name, self.instances, self.sizes, self.facts))

    def __hash__(self) -> int:
        return self._hash  # of a large tree, which caches ask for again and again

    def instance(self, path: str) -> Instance:
        """The instance at a path; KeyError if there is none."""
        return self._by_path[path]

    def child_of(self, instance: Instance, name: str) -> Instance:
        """The instance that a `call`, `repeat` or `each` of `instance` names."""
        return self._by_path[join(instance.path, name)]

    def walk(self) -> Iterator[tuple[Instance, Variant, Op]]:
        """Every op of every body, those inside regions after the op that holds them."""
        for instance in self.instances:
            for variant in instance.variants:
                for op in walk(variant.ops):
                    yield instance, variant, op


def leading(module: Module) -> tuple[str, ...]:
    """The free dims that lead the inputs: the batch."""
    found: dict[str, None] = {}
    for value in module.instances[0].variants[0].inputs:
        if value.axes and value.axes[0]:
            found.update(dict.fromkeys(value.axes[0][0].size.names))
    return tuple(found)


def join(path: str, name: str) -> str:
    """The path of a member: `join("gpt", "norm")` is `gpt.norm`."""
    return f"{path}.{name}" if path else name


def walk(ops: tuple[Op, ...]) -> Iterator[Op]:
    """Ops and those of their regions, each before what it holds."""
    for op in ops:
        yield op
        for region in op.regions:
            yield from walk(region.ops)


def axes(dims: tuple[Dim, ...]) -> Order:
    """The order that has each of these dims as an axis of its own."""
    return tuple((d,) for d in dims)


def flat(order: Order) -> tuple[Dim, ...]:
    """The dims of an order, outermost first, collapsed ones taken apart."""
    return tuple(d for axis in order for d in axis)
