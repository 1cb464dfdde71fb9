"""The JAX source of one op: what the registry's `source` facets ask the writer for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..ir.core import Axis, Dim, Op, Order, Type
from ..ir.ops.common import closed
from ..ir.registry import Code, Source, lookup
from ..ir.size import Size


class OpSource(Source):
    """Source of an op whose operands have been written.

    Args:
        op: the op; its results have orders.
        types, orders: of the operands.
        args: source of the operands.
        size: how a size is written.
        letter: an einsum letter for each dim.
        key: source of the op's random key, asked for only by ops that draw.
        dim: how the size of a dim is written; as its size by default.

    Attributes:
        helpers: names of the functions of `ir.ops.helpers` that the source written so far calls.
    """

    def __init__(
        self,
        op: Op,
        types: Sequence[Type],
        orders: Sequence[Order],
        args: Sequence[Code],
        size: Callable[[Size], str],
        letter: Mapping[Dim, str],
        key: Callable[[], str],
        dim: Callable[[Dim], str] | None = None,
    ):
        self.op, self.types, self.orders = op, tuple(types), tuple(orders)
        self._args, self._size, self._letter, self._key = tuple(args), size, letter, key
        self._dim = dim or (lambda d: size(d.size))
        self.helpers: dict[str, None] = {}

    def code(self, index: int) -> Code:
        return self._args[index]

    def array(self, index: int, dtype: str = "") -> Code:
        return as_array(self._args[index], dtype or self.types[index].dtype)

    def size(self, size: Size) -> str:
        return self._size(size)

    def shape(self, order: Order) -> str:
        sizes = [self.extent(axis) for axis in order]
        return "(" + ", ".join(sizes) + ("," if len(sizes) == 1 else "") + ")"

    def extent(self, axis: Axis) -> str:
        sizes = [self._dim(d) for d in axis]
        return " * ".join(map(closed, sizes) if len(sizes) > 1 else sizes) or "1"

    def letters(self, order: Order) -> str:
        return "".join(self._letter[axis[0]] for axis in order)

    def key(self) -> str:
        return self._key()

    def dtype(self, dtype: str) -> str:
        return written_dtype(dtype)

    def helper(self, name: str) -> str:
        self.helpers[name] = None
        return name

    def write(self) -> Code:
        """The op's source."""
        code = lookup(self.op.name).source(self)
        return Code(code) if isinstance(code, str) else code


def written_dtype(dtype: str) -> str:
    """Source of a dtype."""
    return {"float": "jnp.float32", "int": "jnp.int32", "bool": "jnp.bool_"}.get(
        dtype, f"jnp.{dtype}"
    )


def as_array(code: Code, dtype: str) -> Code:
    """Source of an array of that dtype where it is a number, else the source as it is."""
    if not code.number:
        return code
    more = "" if dtype == "bool" else f", {written_dtype(dtype)}"
    return Code(f"jnp.asarray({code.text}{more})")


def letters(dims: Sequence[Dim]) -> dict[Dim, str]:
    """An einsum letter for each dim: its name where that is one, else of its name, else any."""
    taken: dict[str, Dim] = {}
    found: dict[Dim, str] = {}
    for dim in sorted(dims, key=lambda d: len(d.name) > 1):
        wanted = [c for c in dim.name.lower() if "a" <= c <= "z"]
        wanted += [c.upper() for c in wanted]
        choices = wanted + [chr(c) for c in range(ord("a"), ord("z") + 1)]
        choices += [c.upper() for c in choices]
        letter = next(c for c in choices if c not in taken)
        taken[letter] = dim
        found[dim] = letter
    return found
