"""Products and convolutions."""

import pytest
from netwright.ir.core import Op, Type, attributes
from netwright.ir.registry import ShapeError, lookup
from op_cases import CHECKS, Case, Emitted, Operand, dim, dims, name_of, register_cases, run

CASES = register_cases(
    Case("dot", "[B, S, D]", "[D, F]", dims=dims("D")),
    Case("dot", "[B, D]", "[D, F]", dims=dims("D")),
    Case("dot", "[D, B]", "[D, F]", dims=dims("D")),
    Case("dot", "[B, S, G, R, K]", "[B, T, G, K]", dims=dims("K")),
    Case("dot", "[B, S, G, R, K]", "[G, R, K, D]", dims=dims("G R K")),
    Case("dot", "[B, S]", "[B, S]", dims=dims("B S")),
    Case("dot", "[B, S]", "bool[B, T]", dims=dims("B")),
    Case("dot", "bool[B, S]", "bool[B, T]", dims=dims("B")),
    Case("dot", "int[B, S]", "bool[S]", dims=dims("S")),
    Case("dot", "[B, S, D]", "[B, S, E]", "[B, S, T]", dims=dims("B S")),
    Case("dot", "[B, D]", "[D, F]", "[F, H]", dims=dims("D F")),
    Case("dot", "[B, D]", "[D, F]", "[F, H]", "[B, H]", dims=dims("D F H")),
    Case(
        "dot", "[B, D]", "[D, F]", dims=dims("D"), accumulate="float32", skip=("meaning", "order")
    ),
    *(
        Case(
            "ragged_dot",
            x,
            w,
            Operand("int[E]", lambda rng, shape: [2, 0, 3]),
            dims=dims("V E D"),
        )
        for x, w in (("[V, D]", "[E, D, F]"), ("[D, V]", "[F, D, H, E]"), ("[V, D]", "[E, D]"))
    ),
    Case("fft", "[B, S, D]", dims=dims("S")),
    Case("fft", "[B, S, D]", dims=dims("S D")),
    Case("fft", "[B, S]", "[S, B]", dims=dims("B"), extra=("imaginary",), inverse=True),
)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("check", CHECKS, ids=name_of)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_ops(case, check):
    run(case, check)


def text(case: Case) -> str:
    return Emitted(case, case.types(), case.orders()).text


@pytest.mark.parametrize(
    "case, source",
    [
        (CASES[0], 'jnp.einsum("bsd,df->bsf", x0, x1)'),
        (CASES[1], "x0 @ x1"),
        (CASES[2], 'jnp.einsum("db,df->bf", x0, x1)'),
        (CASES[3], 'jnp.einsum("bsgrk,btgk->bsgrt", x0, x1)'),
        (CASES[10], 'jnp.einsum("bd,df,fh->bh", x0, x1, x2, optimize=[(0, 1), (0, 1)])'),
        (CASES[12], 'jnp.einsum("bd,df->bf", x0, x1, preferred_element_type=jnp.float32)'),
    ],
    ids=str,
)
def test_source(case, source):
    assert text(case) == source


def test_a_collapsed_axis_has_one_letter():
    case = Case("dot", "[B, S, D]", "[D, G, K]", dims=dims("D"))
    b, s, d, g, k = dims("B S D G K")
    emitted = Emitted(case, case.types(), (((b, s), (d,)), ((d,), (g, k))))
    assert emitted.text == "x0 @ x1"
    assert emitted.results == (((b, s), (g, k)),)


def test_groups_that_are_summed_whole_stay():
    case = Case("dot", "[B, S, G, K]", "[G, K, D]", dims=dims("G K"))
    b, s, d, g, k = dims("B S D G K")
    emitted = Emitted(case, case.types(), (((b, s), (g, k)), ((g, k), (d,))))
    assert emitted.text == "x0 @ x1"
    emitted = Emitted(case, case.types(), (((b,), (s, g), (k,)), ((g, k), (d,))))
    assert emitted.wanted == (((b,), (s,), (g,), (k,)), ((g,), (k,), (d,)))


def test_a_dim_of_one_operand_is_refused():
    op = Op("dot", attrs=attributes(dims=dims("S")))
    with pytest.raises(ShapeError) as error:
        lookup("dot").shape((Type("float", dims("B S")), Type("float", dims("B D"))), op)
    assert error.value.code == "dim-in-one-operand"
    assert error.value.operand == 0
    assert error.value.help.startswith("sum[S](…)")
    op = Op("dot", attrs=attributes(dims=(dim("K"),)))
    with pytest.raises(ShapeError, match="no operand has"):
        lookup("dot").shape((Type("float", dims("B S")), Type("float", dims("B D"))), op)
