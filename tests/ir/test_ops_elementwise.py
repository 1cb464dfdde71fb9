"""Arithmetic and pointwise ops."""

from __future__ import annotations

import pytest
from op_cases import CHECKS, Case, Operand, between, name_of, register_cases, run

positive = Operand("[B, S]", between(0.2, 4.0))
apart_from_0 = Operand("[B, S]", lambda rng, s: rng.uniform(0.2, 3, s) * rng.choice([-1, 1], s))
ints = Operand("int[B, S]")
TWO = Operand("int[]", literal=2)
HALF = Operand("[]", literal=0.5)

BINARY = ("add", "subtract", "multiply", "minimum", "maximum")
COMPARISONS = ("less", "less_equal", "greater", "greater_equal", "equal", "not_equal")
UNARY = (
    "exp expm1 abs sign sin cos tanh sigmoid relu relu6 silu softplus selu hard_sigmoid hard_silu erf "
    "square round floor ceil isfinite stop_gradient negate"
).split()

CASES = register_cases(
    *(
        case
        for op in (*BINARY, *COMPARISONS)
        for case in (
            Case(op, "[B, S, D]", "[D, S]"),
            Case(op, "[S]", "[B, S]"),
            Case(op, "[B, S]", HALF),
            Case(op, TWO, "[B, S]"),
            Case(op, "int[B, S]", "int[S]"),
            Case(op, "int[B, S]", "[S]"),
            Case(op, "bool[B, S]", "bool[S]"),
            Case(op, "bool[B, S]", "[S]"),
            Case(op, "[]", "[]"),
        )
    ),
    Case("divide", "[B, S, D]", Operand("[D]", between(0.5, 2.0))),
    Case("divide", "[B, S]", Operand("[B, S]", between(0.5, 2.0))),
    Case("divide", "int[B, S]", Operand("int[B]", between(1, 5))),
    Case("divide", "[B, S]", TWO),
    Case("divide", Operand("int[]", literal=1), apart_from_0),
    Case("power", positive, "[S]"),
    Case("power", "[B, S, D]", TWO),
    Case("power", apart_from_0, Operand("int[]", literal=-1)),
    Case("power", positive, HALF),
    Case("power", positive, Operand("[]", literal=-1.5)),
    Case("power", ints, TWO),
    Case("power", Operand("int[]", literal=2), Operand("int[S]", between(0, 4))),
    Case("power", "bool[B, S]", "bool[S]"),
    Case("floor_divide", "[B, S]", Operand("[S]", between(0.7, 2.0))),
    Case("floor_divide", "[B, S]", Operand("[]", literal=-0.75)),
    Case("floor_divide", ints, TWO),
    Case("floor_divide", ints, Operand("int[]", literal=-2)),
    Case("remainder", "[B, S]", Operand("[S]", between(0.7, 2.0))),
    Case("remainder", "[B, S]", Operand("[B, S]", between(-2.0, -0.7))),
    Case("remainder", "[B, S]", Operand("[]", literal=-0.75)),
    Case("remainder", ints, TWO),
    Case("remainder", ints, Operand("int[]", literal=-3)),
    Case("logical_and", "bool[B, S]", "bool[S]"),
    Case("logical_and", "bool[B, S]", Operand("bool[]", literal=True)),
    Case("logical_or", "bool[S]", "bool[B, S]"),
    Case("logical_not", "bool[B, S]"),
    Case("where", "bool[B, S]", "[B, S]", "[S]"),
    Case("where", "bool[S]", "[B, S, D]", "[B]"),
    Case("where", "bool[B, S]", "[B, S]", Operand("[]", literal=-1.0)),
    Case("where", "bool[B, S]", "int[]", "int[S]"),
    Case("where", "bool[B, S]", "bool[B]", "bool[S]"),
    Case("where", "bool[B, S]", "[B]", "[S]"),
    Case("clip", "[B, S]", low=-1.0, high=1.0),
    Case("clip", "[B, S]", low=None, high=0.5),
    Case("clip", "int[B, S]", low=0, high=2),
    Case("clip", "int[B, S]", low=0.5, high=2),
    Case("clip", "bool[B, S]", low=1, high=None),
    *(Case(op, Operand(t)) for op in UNARY for t in ("[B, S, D]", "[]")),
    *(Case(op, Operand(t), tolerance=1e-6) for op in UNARY for t in ("int[B, S]", "bool[S]")),
    *(Case(op, positive) for op in ("log", "log1p", "sqrt", "rsqrt", "reciprocal")),
    *(
        Case(op, Operand("int[S]", between(1, 9)), tolerance=1e-6)
        for op in ("log", "log1p", "sqrt", "rsqrt", "reciprocal")
    ),
    Case("leaky_relu", "[B, S]", slope=0.01),
    Case("elu", "[B, S]", alpha=1.0),
    Case("elu", "[B, S]", alpha=0.5),
    Case("celu", "[B, S]", alpha=1.0),
    Case("celu", "[B, S]", alpha=2.0),
    Case("gelu", "[B, S]", exact=False),
    Case("gelu", "[B, S]", exact=True),
    Case("gelu", "int[B, S]", exact=True, tolerance=1e-6),
    Case("logaddexp", "[B, S]", "[S]"),
    Case("logaddexp", "[B, S]", "int[B]"),
)


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case, check):
    run(case, check)
