"""Arithmetic and pointwise ops."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from netwright.ir.core import Op, attributes
from netwright.ir.registry import ShapeError, lookup
from op_cases import CHECKS, Case, Emitted, Operand, between, name_of, register_cases, run

positive = Operand("[B, S]", between(0.2, 4.0))
apart_from_0 = Operand("[B, S]", lambda rng, s: rng.uniform(0.2, 3, s) * rng.choice([-1, 1], s))
ints = Operand("int[B, S]")
TWO = Operand("int[]", literal=2)
HALF = Operand("[]", literal=0.5)

BINARY = ("add", "subtract", "multiply", "minimum", "maximum")
COMPARISONS = ("less", "less_equal", "greater", "greater_equal", "equal", "not_equal")
UNARY = [
    *("exp", "expm1", "abs", "sign", "sin", "cos", "tanh", "erf", "square", "negate"),
    *("sigmoid", "relu", "relu6", "silu", "softplus", "selu", "hard_sigmoid", "hard_silu"),
    *("hard_tanh", "log_sigmoid", "soft_sign", "mish", "sparse_plus", "sparse_sigmoid"),
    *("round", "floor", "ceil", "isfinite", "stop_gradient"),
]

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
    Case("divide", "int[B, S]", Operand("int[B]", between(1, 5)), tolerance=1e-6),
    Case("divide", "[B, S]", TWO),
    Case("divide", Operand("int[]", literal=1), apart_from_0),
    Case("power", positive, "[S]"),
    Case("squareplus", "[B, S]", b=4.0),
    Case("squareplus", "[B, S]", b=0.5),
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


@pytest.mark.sampled(4)
@pytest.mark.parametrize("check", CHECKS, ids=name_of)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case, check):
    run(case, check)


def source(case: Case, **dtypes: str) -> str:
    return Emitted(case, case.types(**dtypes), case.orders()).text


@pytest.mark.parametrize(
    ("case", "text"),
    [
        (Case("power", "[S]", TWO), "x0**2"),
        (Case("power", Operand("[]", literal=-2.0), "[S]"), "(-2.0)**x1"),
        (Case("power", "[S]", Operand("int[]", literal=-1)), "x0**-1"),
        (Case("subtract", "[S]", Operand("[]", literal=-2.0)), "x0 - -2.0"),
        (Case("add", "bool[S]", "bool[S]"), "x0.astype(jnp.int32) + x1"),
        (Case("add", "bool[S]", "int[S]"), "x0 + x1"),
        (Case("negate", "bool[S]"), "-x0.astype(jnp.int32)"),
        (Case("logical_not", "bool[S]"), "~x0"),
        (Case("silu", "int[S]"), "jax.nn.silu(x0.astype(jnp.float32))"),
        (Case("silu", Operand("int[]", literal=2)), "jax.nn.silu(jnp.asarray(2, jnp.float32))"),
        (Case("floor", "[S]"), "jnp.floor(x0).astype(jnp.int32)"),
        (Case("floor", "int[S]"), "x0"),
        (Case("gelu", "[S]", exact=False), "jax.nn.gelu(x0)"),
        (Case("clip", "[S]", low=None, high=2), "jnp.clip(x0, None, 2)"),
    ],
    ids=str,
)  # fmt: skip
def test_source_reads_well(case, text):
    assert source(case) == text


@pytest.mark.parametrize(
    ("case", "code"),
    [
        (Case("add", "[S]", "[T]"), "dims-do-not-align"),
        (Case("add", "[B, S]", "[S, T]"), "dims-do-not-align"),
        (Case("where", "bool[S]", "[B]", "[T]"), "dims-do-not-align"),
        (Case("where", "[S]", "[S]", "[S]"), "not-a-bool"),
        (Case("logical_and", "[S]", "bool[S]"), "not-a-bool"),
        (Case("logical_not", "int[S]"), "not-a-bool"),
        (Case("clip", "[S]", low=2, high=1), "option-out-of-range"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(case, code):
    op = Op(case.op, tuple(range(len(case.operands))), (), attributes(**case.attrs))
    with pytest.raises(ShapeError) as error:
        lookup(case.op).shape(case.types(), op)
    assert error.value.code == code


@pytest.mark.parametrize(
    ("op", "at", "slope"),
    [
        ("relu", 0, 0),
        ("relu6", 0, 0),
        ("relu6", 6, 0),
        ("abs", 0, 1),
        ("leaky_relu", 0, 1),
        ("elu", 0, 1),
        ("celu", 0, 1),
        ("softplus", 0, 0.5),
        ("silu", 0, 0.5),
        ("hard_sigmoid", -3, 0),
        ("sign", 0, 0),
        ("silu", -1e30, 0),
        ("softplus", 1e30, 1),
        ("softplus", -1e30, 0),
        ("sigmoid", -1e30, 0),
        ("elu", 1e30, 1),
        ("stop_gradient", 1, 0),
    ],
)
def test_gradients_at_edges(op, at, slope):
    options = {"leaky_relu": {"slope": 0.01}, "elu": {"alpha": 1.0}, "celu": {"alpha": 1.0}}
    case = Case(op, "[]", **options.get(op, {}))
    emitted = Emitted(case, case.types(), case.orders())
    found = jax.grad(lambda x: emitted(x)[0])(jnp.float32(at))
    np.testing.assert_allclose(found, slope, atol=1e-12)


def test_ties_share_the_gradient():
    case = Case("maximum", "[]", "[]")
    emitted = Emitted(case, case.types(), case.orders())
    assert jax.grad(lambda a, b: emitted(a, b)[0], (0, 1))(1.0, 1.0) == (0.5, 0.5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_dtypes_of_results(dtype):
    def result(case: Case) -> str:
        return case.make(case.types(float=dtype, int="int32")).result.type.dtype

    assert result(Case("exp", "[S]")) == dtype
    assert result(Case("add", "[S]", "int[S]")) == dtype
    assert result(Case("multiply", "bool[S]", "[S]")) == dtype
    assert result(Case("divide", "int[S]", "int[S]")) == "float32"
    assert result(Case("floor_divide", "int[S]", "int[S]")) == "int32"
    assert result(Case("add", "bool[S]", "bool[S]")) == "int"
    assert result(Case("clip", "[S]", low=0.5, high=None)) == dtype
    assert result(Case("less", "[S]", "[S]")) == "bool"
