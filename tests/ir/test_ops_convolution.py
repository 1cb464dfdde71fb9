"""Convolutions, pools and changes of resolution."""

import pytest
from netwright.ir.claim import AtLeast, Equal
from netwright.ir.core import Dim, Op, Type, attributes
from netwright.ir.registry import ShapeError, lookup
from netwright.ir.size import Size
from op_cases import CHECKS, Case, Emitted, dims, name_of, register_cases, run


def arrows(*items: str):
    """The attribute `arrows`, of items such as `Y:8 Ky:3 -> Yo:4`."""
    sides = (item.split("->") for item in items)
    return tuple((dims(left), dims(right)) for left, right in sides)


ONE = "[B, Y:8, D]"
IMAGE = "[B, Y:8, X:7, D]"
W = "[Ky:3, Kx:2, D, F]"
STRIDED = arrows("Y:8 Ky:3 -> Yo:4", "X:7 Kx:2 -> Xo:4")
C = dims("D")

CASES = register_cases(
    Case("conv", ONE, "[Ky:3, D, F]", arrows=arrows("Y:8 Ky:3 -> Y:8"), dims=C),
    Case("conv", "[Y:8]", "[Ky:3]", arrows=arrows("Y:8 Ky:3 -> Y:8")),
    Case("conv", IMAGE, W, arrows=STRIDED, dims=C, stride=2),
    Case("conv", IMAGE, W, arrows=arrows("Y:8 Ky:3->Yo:6", "X:7 Kx:2->Xo:6"), dims=C, pad="valid"),
    Case("conv", IMAGE, W, arrows=arrows("Y:8 Ky:3->Y:8", "X:7 Kx:2->X:7"), dims=C, pad="causal"),
    Case("conv", IMAGE, W, arrows=STRIDED, dims=C, stride=2, pad="circular"),
    Case("conv", IMAGE, W, arrows=STRIDED, dims=C, stride=2, pad="reflect"),
    Case("conv", ONE, "[Ky:3, D, F]", arrows=arrows("Y:8 Ky:3->Yo:10"), dims=C, pad=2),
    Case("conv", ONE, "[Ky:3, D, F]", arrows=arrows("Y:8 Ky:3->Yo:9"), dims=C, pad=(3, 0)),
    Case("conv", ONE, "[Ky:3, D, F]", arrows=arrows("Y:8 Ky:3->Yo:8"), dims=C, dilation=3),
    Case(
        "conv",
        ONE,
        "[Ky:3, D]",
        arrows=arrows("Y:8 Ky:3->Yo:4"),
        dilation=2,
        stride=2,
        pad="causal",
    ),
    Case("conv", "[B, S, Y:8, G, D]", "[Ky:3, G, D, F]", arrows=arrows("Y:8 Ky:3->Y:8"), dims=C),
    Case("conv", "[B, Y:8, G, E]", "[F, G, Ky:2, E]", arrows=arrows("Y:8 Ky:2->Y:8")),
    Case(
        "conv",
        "[X:4, B, Y:8, Z:3]",
        "[Kz:2, Ky:3, Kx:3, F]",
        arrows=arrows("Y:8 Ky:3->Y:8", "X:4 Kx:3->X:4", "Z:3 Kz:2->Z:3"),
    ),
    Case("conv_transpose", ONE, "[Ky:3, D, F]", arrows=arrows("Y:8 Ky:3->Yo:16"), dims=C, stride=2),
    Case("conv_transpose", ONE, "[Ky:2, D, F]", arrows=arrows("Y:8 Ky:2->Yo:24"), dims=C, stride=3),
    Case(
        "conv_transpose",
        ONE,
        "[Ky:4, D, F]",
        arrows=arrows("Y:8 Ky:4->Yo:18"),
        dims=C,
        stride=2,
        pad="valid",
    ),
    Case(
        "conv_transpose",
        ONE,
        "[Ky:4, D, F]",
        arrows=arrows("Y:8 Ky:4->Yo:16"),
        dims=C,
        stride=2,
        pad="causal",
    ),
    Case(
        "conv_transpose",
        IMAGE,
        W,
        arrows=arrows("Y:8 Ky:3->Yo:15", "X:7 Kx:2->Xo:11"),
        dims=C,
        stride=2,
        dilation=2,
        pad=(1, 3),
    ),
    Case("conv_transpose", "[B, Y:8, G]", "[Ky:3, G]", arrows=arrows("Y:8 Ky:3->Y:8")),
    Case(
        "conv_transpose",
        IMAGE,
        W,
        arrows=arrows("Y:8 Ky:3->Yo:16", "X:7 Kx:2->Xo:14"),
        dims=C,
        stride=2,
        dilation=2,
        pad="circular",
    ),
    Case(
        "conv_transpose",
        "[Y:3, D]",
        "[Ky:4, D]",
        arrows=arrows("Y:3 Ky:4->Yo:3"),
        dilation=3,
        pad="circular",
    ),
    Case(
        "conv_transpose",
        ONE,
        "[Ky:2, D]",
        arrows=arrows("Y:8 Ky:2->Yo:24"),
        stride=3,
        pad="circular",
    ),
    Case("max_pool", IMAGE, arrows=arrows("Y:8 Ky:2->Yo:4", "X:7 Kx:3->Xo:2")),
    Case("max_pool", IMAGE, arrows=arrows("Y:8 Ky:3->Yo:4"), pad="same", stride=2),
    Case("max_pool", "[Y:8]", arrows=arrows("Y:8 Ky:3->Y:8"), pad=1, stride=1),
    Case("max_pool", "int[B, Y:8]", arrows=arrows("Y:8 Ky:3->Yo:5"), pad=(1, 2), stride=2),
    Case("max_pool", "[Y:8, B]", arrows=arrows("Y:8 Ky:3->Y:8"), pad="circular", stride=1),
    Case("mean_pool", IMAGE, arrows=arrows("Y:8 Ky:2->Yo:4", "X:7 Kx:3->Xo:2")),
    Case(
        "mean_pool", IMAGE, arrows=arrows("Y:8 Ky:3->Yo:4", "X:7 Kx:3->Xo:4"), pad="same", stride=2
    ),
    Case("mean_pool", "[Y:8]", arrows=arrows("Y:8 Ky:3->Y:8"), pad=1, stride=1),
    Case("mean_pool", "[B, Y:8]", arrows=arrows("Y:8 Ky:2->Yo:4"), pad="same"),
    Case("mean_pool", "[Y:8, B]", arrows=arrows("Y:8 Ky:3->Y:8"), pad="reflect", stride=1),
    Case("resize", IMAGE, arrows=arrows("Y:8->Yo:16", "X:7->Xo:5")),
    Case("resize", "int[B, Y:8]", arrows=arrows("Y:8->Yo:3")),
    Case("resize", IMAGE, arrows=arrows("Y:8->Yo:13", "X:7->Xo:5"), method="cubic", tolerance=1e-6),
    Case(
        "resize",
        IMAGE,
        arrows=arrows("Y:8->Yo:3", "X:7->Xo:9"),
        method="cubic",
        antialias=True,
        tolerance=1e-6,
    ),
    Case(
        "resize",
        "[B, Y:8]",
        arrows=arrows("Y:8->Yo:3"),
        method="linear",
        antialias=True,
        tolerance=1e-6,
    ),
    Case(
        "conv",
        IMAGE,
        W,
        arrows=arrows("Y:8 Ky:3->Yo:4", "X:7 Kx:2->Xo:8"),
        dims=C,
        stride=(2, 1),
        dilation=(1, 2),
        pad=((0, 1), (3, 0)),
    ),
    Case(
        "conv_transpose",
        IMAGE,
        W,
        arrows=arrows("Y:8 Ky:3->Yo:16", "X:7 Kx:2->Xo:7"),
        dims=C,
        stride=(2, 1),
        pad="same",
    ),
    Case("max_pool", IMAGE, arrows=arrows("Y:8 Ky:2->Yo:4", "X:7 Kx:3->Xo:5"), stride=(2, 1)),
    Case(
        "resize", IMAGE, arrows=arrows("Y:8->Yo:13", "X:7->Xo:5"), method="linear", tolerance=1e-6
    ),
)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("check", CHECKS, ids=name_of)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_ops(case, check):
    run(case, check)


def test_sources():
    def source(case):
        return Emitted(case, case.types(), case.orders()).text

    assert source(CASES[2]) == (
        'lax.conv_general_dilated(x0, x1, (2, 2), "SAME", '
        'dimension_numbers=("NHWC", "HWIO", "NHWC"))'
    )
    assert source(CASES[12]) == (
        'lax.conv_general_dilated(x0, x1, (1,), "SAME", '
        'dimension_numbers=("NWC", "WIO", "NWC"), feature_group_count=6)'
    )
    pool = next(c for c in CASES if c.op == "max_pool")
    assert source(pool) == (
        'lax.reduce_window(x0, -jnp.inf, lax.max, (1, 2, 3, 1), (1, 2, 3, 1), "VALID")'
    )
    pool = next(c for c in CASES if c.op == "mean_pool")
    assert source(pool).endswith(" / 6")


Y, K = Size.free("Y"), Size.free("K")


def sizes(name: str, right=None, k=K, **attrs):
    left = [Dim(0, "Y", Y), Dim(1, "K", Size.of(k))]
    found, claims = lookup(name).arrow(name, left, [right], attrs)
    return found[0], [c for c, _ in claims]


def test_sizes():
    assert sizes("conv") == (Y, [])
    assert sizes("conv", Y) == (Y, [Equal(Y, Y)])
    assert sizes("conv", stride=2) == ((Y + 1) // 2, [])
    assert sizes("conv", pad="valid") == (Y - K + 1, [AtLeast(Y, K)])
    assert sizes("conv", pad="valid", dilation=2) == (Y - 2 * K + 2, [AtLeast(Y, 2 * K - 1)])
    assert sizes("conv", k=3, pad=1) == (Y, [AtLeast(Y + 2, 3)])
    assert sizes("conv", k=3, pad="reflect") == (Y, [AtLeast(Y, 2)])
    assert sizes("conv_transpose", stride=2) == (2 * Y, [])
    assert sizes("conv_transpose", k=4, stride=2, pad="valid") == (2 * Y + 2, [])
    assert sizes("conv_transpose", k=4, stride=2, pad=1) == (2 * Y, [AtLeast(2 * Y, 1)])
    assert sizes("max_pool", k=2) == (Y // 2, [AtLeast(Y, 2)])
    assert sizes("max_pool", k=3, stride=2, pad=1) == ((Y + 1) // 2, [AtLeast(Y + 2, 3)])


@pytest.mark.parametrize(
    "name, operands, attrs, code",
    [
        ("conv", ["B S", "S K"], {"arrows": arrows("S K->S")}, "dim-twice"),
        ("conv", ["B S K", "K"], {"arrows": arrows("S K->S")}, "dim-twice"),
        ("conv", ["B S", "K"], {"arrows": arrows("S K->S"), "dims": dims("B")}, "dim-not-there"),
        ("conv", ["B", "K"], {"arrows": arrows("S K->S")}, "dim-not-there"),
        ("conv", ["B S", "K"], {"arrows": arrows("S K->S"), "stride": 0}, "option-out-of-range"),
        ("conv", ["B S", "K T"], {"arrows": arrows("S K->T")}, "dim-twice"),
        ("max_pool", ["B S K"], {"arrows": arrows("S K->S")}, "dim-twice"),
    ],
)
def test_mistakes(name, operands, attrs, code):
    types = tuple(Type("float", dims(o)) for o in operands)
    with pytest.raises(ShapeError) as error:
        lookup(name).shape(types, Op(name, attrs=attributes(**attrs)))
    assert error.value.code == code


def test_padding_alone_is_no_window():
    with pytest.raises(ShapeError, match="below K"):
        sizes("max_pool", k=2, pad=2)
