"""Shapes, lookups and positions."""

import pytest
from netwright.ir.claim import AtLeast, Divides, Equal
from netwright.ir.core import Dim, Op, Type, attributes
from netwright.ir.registry import ShapeError, lookup
from netwright.ir.size import Size
from op_cases import (
    CHECKS,
    Case,
    Emitted,
    Operand,
    between,
    dims,
    name_of,
    register_cases,
    run,
)


def arrow(left: str, right: str):
    """The attribute of an op with one arrow."""
    return ((dims(left), dims(right)),)


def distinct(rng, shape):
    """Values of an operand, all different."""
    size = 1
    for n in shape:
        size *= n
    return rng.permutation(size).reshape(shape) / 7


IDS = between(-2, 9)
SPLIT = arrow("Y:6", "P:2 K:3")

CASES = register_cases(
    Case("rename", "[B, S, D]", arrows=arrow("S", "T:3")),
    Case("split", "[B, Y:6, D]", arrows=SPLIT),
    Case("split", "int[Y:6]", arrows=SPLIT),
    Case("merge", "[B, P:2, K:3, D]", arrows=arrow("P:2 K:3", "Y:6")),
    Case("merge", "[B, P:2, D, K:3]", arrows=arrow("K:3 P:2", "Y:6")),
    Case("expand", "[B, D]", dims=dims("T")),
    Case("expand", "bool[]", dims=dims("T S")),
    Case("expand", "[B, D]", dims=dims("N:1 M:1")),
    Case("slice", "[B, T, D]", arrows=arrow("T", "S")),
    Case("slice", "[B, T, D]", arrows=arrow("T", "W:2"), start=1),
    Case("slice", "[T]", arrows=arrow("T", "W:2"), start=2),
    Case("concat", "[B, S, D]", "[D, T, B]", arrows=arrow("S T", "Y:7")),
    Case("concat", "[B, S]", "int[B, S]", "[B, S]", arrows=arrow("S S S", "Y:9")),
    Case("stack", "[B, D]", "[D, B]", dims=dims("G")),
    Case("unstack", "[B, G, D]", dims=dims("G")),
    Case("unstack", "[G, B]", dims=dims("G")),
    Case("unstack", "[B, N:1]", dims=dims("N:1")),
    Case("pad", "[B, S, D]", arrows=arrow("S", "Y:6"), before=1, after=2),
    Case("pad", "[S]", arrows=arrow("S", "T"), before=1, after=0, value=-2.5),
    Case("pad", "bool[S]", arrows=arrow("S", "T"), after=1),
    Case("glu", "[B, F, D]", arrows=arrow("F", "E")),
    Case("glu", "int[F]", arrows=arrow("F", "E"), tolerance=1e-6),
    Case("flip", "[B, S, D]", dims=dims("S")),
    Case("flip", "[B, S, D]", dims=dims("B S")),
    Case("roll", "[B, S, D]", dims=dims("S"), shift=2),
    Case("shift", "[B, S, D]", dims=dims("S")),
    Case("shift", "[B, S]", dims=dims("S"), by=-1, fill=2.0),
    Case("shift", "int[S]", dims=dims("S"), by=9),
    Case("take", "[V, D]", Operand("int[B, S]", IDS), dims=dims("V")),
    Case("take", "[D, V, E]", Operand("int[B, S]", IDS), dims=dims("V")),
    Case("take", "[B, V]", Operand("int[B]", IDS), dims=dims("V")),
    Case("take", "[B, V, D]", Operand("int[S, B]", IDS), dims=dims("V")),
    Case("take", "[B, V, D]", Operand("int[S, B, T]", IDS), dims=dims("V")),
    Case("take", "[B, V]", Operand("int[]", IDS), dims=dims("V")),
    Case("take", "[B, V]", Operand("int[V]", IDS), dims=dims("V")),
    Case("take", "[B, V]", Operand("int[V, B]", IDS), dims=dims("V")),
    Case("take", "int[B, V]", Operand("int[S]", IDS), dims=dims("V")),
    Case("one_hot", Operand("int[B, S]", IDS), dims=dims("V")),
    Case("one_hot", Operand("int[]", IDS), dims=dims("V")),
    Case("top_k", Operand("[B, V, D]", distinct), arrows=arrow("V", "N:3")),
    Case("top_k", Operand("[B, V]", distinct), arrows=arrow("V", "N:2")),
    Case("sort", Operand("[B, V, D]", distinct), dims=dims("V")),
    Case("sort", Operand("[B, V]", distinct), dims=dims("V"), descending=True),
    Case("argsort", "int[B, V]", dims=dims("V")),
    Case("argsort", "int[B, V]", dims=dims("V"), descending=True),
    Case("scatter_add", "[H, B]", Operand("int[H]", IDS), arrows=arrow("H", "V")),
    Case("scatter_add", "[B, H, D]", Operand("int[B, H]", IDS), arrows=arrow("H", "V")),
    Case("scatter_add", "[B, S, H]", Operand("int[S, H, B]", IDS), arrows=arrow("H", "V")),
    Case("index", dims=dims("S")),
    Case("offset", dims=dims("S T")),
    Case("rotary", "[B, S, K]", dims=dims("S K")),
    Case("rotary", "[B, S, G, K]", dims=dims("S K"), base=500000.0),
    Case("rotary", "[B, S, G, K]", dims=dims("S K"), fraction=0.7),
    Case("rotary", "[S, K]", dims=dims("S K"), interleaved=True, fraction=0.7),
    Case("rotary", "[S, B, K]", dims=dims("S K"), interleaved=True),
    *(
        Case("rotary", x, dims=dims("S K:16"), context=64, low=1.0, high=None, **more)
        for x, more in (
            ("[B, S, K:16]", {"scaling": "linear", "factor": 4.0}),
            ("[B, S, K:16]", {"scaling": "ntk", "factor": 4.0}),
            ("[B, S, K:16]", {"scaling": "llama3", "factor": 8.0, "interleaved": True}),
            ("[S, B, K:16]", {"scaling": "yarn", "factor": 4.0}),
            ("[B, S, K:16]", {"scaling": "yarn", "factor": 4.0, "fraction": 0.5}),
        )
    ),
)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("check", CHECKS, ids=name_of)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_ops(case, check):
    run(case, check)


def source(name: str, *operands: str, orders=None, **attrs) -> str:
    case = Case(name, *operands, **attrs)
    return Emitted(case, case.types(), orders or case.orders()).text


def test_sources():
    b, s = dims("B S")
    assert source("rename", "[B, S]", arrows=arrow("S", "T:3")) == "x0"
    assert source("split", "[B, Y:6, D]", arrows=SPLIT) == "x0.reshape(2, 2, 3, 5)"
    assert source("expand", "[B]", dims=dims("T")) == "jnp.broadcast_to(x0, (4, 2))"
    assert source("slice", "[B, T, D]", arrows=arrow("T", "S")) == "x0[..., :3, :]"
    assert source("slice", "[B, T]", arrows=arrow("T", "S"), start=1) == "x0[..., 1:4]"
    assert source("take", "[V, D]", "int[B, S]", dims=dims("V")) == (
        'jnp.take(x0, x1, axis=0, mode="clip")'
    )
    assert source("one_hot", "int[B, S]", dims=dims("V")) == "jax.nn.one_hot(x0, 7, dtype=bool)"
    assert source("index", dims=dims("S")) == "jnp.arange(3)"
    assert source("offset", dims=dims("S T")) == "jnp.arange(3)[:, None] - jnp.arange(4)"
    assert source("unstack", "[B, G]", dims=dims("G")) == "jnp.unstack(x0, axis=-1)"
    assert source("stack", "[B]", "[B]", dims=dims("G")) == "jnp.stack((x0, x1))"
    assert source("rotary", "[B, S, G, K]", dims=dims("S K")) == "rotary(x0, -3, 10000.0)"
    assert source("scatter_add", "[H, B]", "int[H]", arrows=arrow("H", "V")) == (
        "jax.ops.segment_sum(x0, x1, 7)"
    )
    merge = arrow("B S", "Y:6")
    assert source("merge", "[B, S, D]", arrows=merge) == "x0.reshape(6, 5)"
    assert source("merge", "[B, S, D]", arrows=merge, orders=(((b, s), dims("D")),)) == "x0"


S, T, P, K = (Size.free(n) for n in "STPK")


def sizes(name: str, left: list[Size], right: list, **attrs):
    """What the arrow facet gives: the sizes, and the claims as text."""
    dims = [Dim(i, "ABCD"[i], size) for i, size in enumerate(left)]
    found, claims = lookup(name).arrow(name, dims, right, attrs)
    return list(found), [c for c, _ in claims]


def test_sizes_right_of_the_arrow():
    assert sizes("rename", [S], [None]) == ([S], [])
    assert sizes("rename", [S], [T]) == ([T], [Equal(S, T)])
    eight = Size.of(8)
    assert sizes("split", [S], [None, eight]) == ([S // 8, eight], [Divides(eight, S)])
    assert sizes("split", [S], [P, K]) == ([P, K], [Equal(S, P * K)])
    assert sizes("merge", [P, K], [None]) == ([P * K], [])
    assert sizes("merge", [P, K], [S]) == ([S], [Equal(P * K, S)])
    assert sizes("concat", [S, T], [None]) == ([S + T], [])
    assert sizes("slice", [S], [T], start=2) == ([T], [AtLeast(S, T + 2)])
    assert sizes("pad", [S], [None], before=1, after=2) == ([S + 3], [])
    assert sizes("top_k", [S], [T]) == ([T], [AtLeast(S, T)])
    for name in ("slice", "top_k", "scatter_add"):
        with pytest.raises(ShapeError) as error:
            sizes(name, [S], [None])
        assert error.value.code == "size-not-known"
    with pytest.raises(ShapeError):
        sizes("split", [S], [None, None])


@pytest.mark.parametrize(
    "name, operands, attrs, code",
    [
        ("rename", ["B S"], {"arrows": arrow("T", "K")}, "dim-not-there"),
        ("rename", ["B S"], {"arrows": arrow("S", "B")}, "dim-twice"),
        ("expand", ["B S"], {"dims": dims("S")}, "dim-twice"),
        ("stack", ["B", "B", "B"], {"dims": dims("G")}, "operands-do-not-match"),
        ("stack", ["B", "B S"], {"dims": dims("G")}, "dims-do-not-align"),
        ("concat", ["B S", "T"], {"arrows": arrow("S T", "Y:7")}, "dims-do-not-align"),
        ("concat", ["B S"], {"arrows": arrow("S T", "Y:7")}, "operands-do-not-match"),
        ("take", ["V D", "B"], {"dims": dims("V")}, "not-int"),
        ("rotary", ["S D"], {"dims": dims("S D")}, "size-not-even"),
        ("unstack", ["B S"], {"dims": dims("G")}, "dim-not-there"),
    ],
)
def test_mistakes(name, operands, attrs, code):
    types = tuple(Type("float", dims(o)) for o in operands)
    with pytest.raises(ShapeError) as error:
        lookup(name).shape(types, Op(name, attrs=attributes(**attrs)))
    assert error.value.code == code
