"""Random ops, creation, initializers and losses."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from netwright.ir.registry import ShapeError
from op_cases import CHECKS, Case, Emitted, Operand, between, dims, name_of, register_cases, run

ids = Operand("int[B, S]", between(-2, 9))
DIMS = {"dims": dims("B S D")}

CASES = register_cases(
    *(Case(op, **DIMS) for op in ("zeros", "ones")),
    Case("zeros", dims=()),
    Case("ones", dims=dims("S"), dtype="int"),
    Case("full", value=0.5, **DIMS),
    Case("normal", stddev=1.0, **DIMS),
    Case("normal", stddev=0.02, dims=dims("S")),
    Case("truncated_normal", stddev=0.02, **DIMS),
    Case("uniform", low=0.0, high=1.0, **DIMS),
    Case("uniform", low=-1.0, high=3, dims=()),
    Case("randint", low=2, high=7, **DIMS),
    Case("bernoulli", p=0.25, **DIMS),
    Case("dropout", "[B, S, D]", dims=(), rate=0.1),
    Case("dropout", "[B, S, D]", dims=(), rate=0),
    Case("dropout", "[B, S, D]", dims=dims("B"), rate=0.5),
    Case("dropout", "[B, S, D]", dims=dims("B D"), rate=0.5),
    Case("dropout", "int[S]", dims=(), rate=0.5),
    *(
        case
        for more in (
            {"smoothing": 0.0, "ignore": None},
            {"smoothing": 0.1, "ignore": 3},
        )
        for case in (
            Case("cross_entropy", "[B, S, V]", ids, dims=dims("V"), **more),
            Case("cross_entropy", "[V, S, B]", ids, dims=dims("V"), **more),
            Case("cross_entropy", "[B, S, V]", "int[S]", dims=dims("V"), **more),
            Case("cross_entropy", "[V]", "int[]", dims=dims("V"), **more),
        )
    ),
    Case("binary_cross_entropy", "[B, S]", "bool[B, S]"),
    Case("binary_cross_entropy", "[B, S]", Operand("[B, S]", between(0.0, 1.0))),
    Case("binary_cross_entropy", "[S]", Operand("[B, S]", between(0.0, 1.0))),
    Case("binary_cross_entropy", "[B, S]", Operand("[S]", between(0.0, 1.0))),
)


def fans(text: str) -> dict[str, object]:
    """Attributes of an initializer: all dims, inputs, outputs."""
    every, fan_in, fan_out = (dims(part) for part in text.split("/"))
    return {"dims": every, "fan_in": fan_in, "fan_out": fan_out}


SCALED = [
    f"{family}_{kind}" for family in ("lecun", "he", "glorot") for kind in ("normal", "uniform")
]
CASES += register_cases(
    *(Case(op, **fans("D H K/D/H K")) for op in SCALED),
    *(Case(op, **fans("G D K/D/K")) for op in SCALED),
    *(Case(op, **fans("D H/D/")) for op in SCALED if "glorot" not in op),
    *(Case(op, **fans("D/D/")) for op in SCALED if "glorot" not in op),
    Case(
        "variance_scaling", scale=0.5, mode="fan_out", distribution="uniform",
        **fans("G D K/D/K"),
    ),
    Case("orthogonal", scale=1.0, **fans("D K/D/K")),
    Case("orthogonal", scale=2.0, **fans("D H/H/D")),
    Case("orthogonal", scale=1.0, **fans("D G K/D/K")),
    Case("orthogonal", scale=1.0, **fans("H G R K/H/G K")),
    Case("orthogonal", scale=1.0, **fans("D:4 H/D:4/H")),
    Case("delta_orthogonal", scale=1.0, **fans("Y:3 H K/H/K")),
    Case("delta_orthogonal", scale=2.0, **fans("Y:4 X:3 H G R/H/G R")),
    Case("delta_orthogonal", scale=1.0, **fans("H K/H/K")),
    Case("identity", scale=1.0, **fans("D H/D/H")),
    Case("identity", scale=0.5, **fans("G H D/H/D")),
    Case("identity", scale=1.0, **fans("H G R/G R/H")),
)  # fmt: skip


@pytest.mark.sampled(3)
@pytest.mark.parametrize("check", CHECKS, ids=name_of)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case, check):
    run(case, check)


def test_a_delta_is_one_matrix_in_the_middle():
    found = draw(Case("delta_orthogonal", scale=2.0, **fans("Y:4 X:3 H:5 K:6/H:5/K:6")))
    middle = found[1, 1].copy()
    np.testing.assert_allclose(middle @ middle.T, 4 * np.eye(5), atol=1e-5)
    found[1, 1] = 0
    assert not found.any()


# What is drawn has the promised distribution


def draw(case: Case, dtype: str = "float32") -> np.ndarray:
    attrs = {**case.attrs, **({"dtype": dtype} if dtype != "float32" else {})}
    case = Case(case.op, *case.operands, **attrs)
    emitted = Emitted(case, case.types(float=dtype), case.orders())
    ones = [jnp.ones([d.size.value for d in o.dims], dtype) for o in case.operands]
    (found,) = emitted(*emitted.arranged(ones, case.orders()))
    return np.asarray(found.astype(jnp.float32), np.float64)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("op", "variance"),
    [
        ("lecun_normal", 1 / 100),
        ("lecun_uniform", 1 / 100),
        ("he_normal", 2 / 100),
        ("he_uniform", 2 / 100),
        ("glorot_normal", 2 / (100 + 200)),
        ("glorot_uniform", 2 / (100 + 200)),
    ],
)
@pytest.mark.parametrize(
    "form", ["E:9 D:100 H:200/D:100/H:200", "D:100 E:9 P:20 Q:10/D:100/P:20 Q:10"]
)
def test_initializers_have_the_promised_variance(op, variance, form):
    found = draw(Case(op, **fans(form)))
    np.testing.assert_allclose(found.var(), variance, rtol=0.02)
    np.testing.assert_allclose(found.mean(), 0, atol=0.01 * variance**0.5)
    limit = 3**0.5 if "uniform" in op else 2 / 0.87962566103423978
    assert abs(found).max() <= limit * variance**0.5 * 1.001


def test_fan_in_alone_gives_the_same_scale():
    found = draw(Case("he_normal", **fans("Y:3 X:3 C:50 O:300/Y:3 X:3 C:50/")))
    np.testing.assert_allclose(found.var(), 2 / 450, rtol=0.02)


@pytest.mark.parametrize(("rows", "columns"), [(6, 4), (4, 6), (5, 5)])
def test_orthogonal_matrices_stand_apart(rows, columns):
    found = draw(
        Case("orthogonal", scale=2.0, **fans(f"I:{rows} E:3 O:{columns}/I:{rows}/O:{columns}"))
    )
    for w in np.moveaxis(found, 1, 0):
        product = w.T @ w if rows >= columns else w @ w.T
        np.testing.assert_allclose(product, 4 * np.eye(min(rows, columns)), atol=1e-5)


@pytest.mark.parametrize(
    ("case", "mean", "variance", "least", "most"),
    [
        (Case("normal", stddev=0.5, dims=dims("N:90000")), 0, 0.25, -9, 9),
        (Case("truncated_normal", stddev=0.5, dims=dims("N:90000")), 0, 0.25 * 0.7737, -1, 1),
        (Case("uniform", low=1.0, high=4.0, dims=dims("N:90000")), 2.5, 0.75, 1, 4),
        (Case("bernoulli", p=0.25, dims=dims("N:90000")), 0.25, 0.1875, 0, 1),
        (Case("randint", low=-1, high=2, dims=dims("N:90000")), 0, 2 / 3, -1, 1),
        (Case("dropout", "[N:90000]", rate=0.2, dims=()), 1, 0.25, 0, 1.25),
    ],
    ids=str,
)
def test_draws_have_the_promised_distribution(case, mean, variance, least, most):
    found = draw(case)
    np.testing.assert_allclose(found.mean(), mean, atol=5 * (variance / 90000) ** 0.5)
    np.testing.assert_allclose(found.var(), variance, rtol=0.03)
    assert least <= found.min() and found.max() <= most


def test_a_lower_dtype_gets_the_same_numbers():
    case = Case("normal", stddev=0.5, dims=dims("N:100"))
    rounded = jnp.asarray(draw(case), jnp.bfloat16).astype(jnp.float32)
    np.testing.assert_array_equal(draw(case, "bfloat16"), np.asarray(rounded))


def test_dropout_shares_its_draw_over_the_other_dims():
    found = draw(Case("dropout", "[B:20, S, D]", rate=0.5, dims=dims("B:20")))
    assert set(found.reshape(20, -1).var(-1)) == {0.0} and found.var() > 0


@pytest.mark.parametrize(
    ("case", "code"),
    [
        (Case("dropout", "[S]", rate=1.0, dims=()), "option-out-of-range"),
        (Case("dropout", "[S]", rate=0.1, dims=dims("B")), "dim-not-there"),
        (Case("normal", stddev=-1.0, dims=()), "option-out-of-range"),
        (Case("uniform", low=1.0, high=1.0, dims=()), "option-out-of-range"),
        (Case("glorot_normal", **fans("D H/D/")), "no-fan-out"),
        (Case("orthogonal", scale=1.0, **fans("D H/D/")), "no-fan-out"),
        (Case("lecun_normal", **fans("D H//")), "no-fan-in"),
        (Case("lecun_normal", **fans("D H/K/")), "dim-not-there"),
        (Case("glorot_normal", **fans("D H/D/D")), "dim-twice"),
        (Case("cross_entropy", "[B, V]", "int[B, S]", dims=dims("V"), smoothing=0.0, ignore=None),
         "dims-do-not-align"),
        (Case("cross_entropy", "[B, V]", "[B]", dims=dims("V"), smoothing=0.0, ignore=None),
         "not-an-int"),
        (Case("cross_entropy", "[B, V]", "int[B]", dims=dims("B V"), smoothing=0.0, ignore=None),
         "one-dim-only"),
    ],
    ids=str,
)  # fmt: skip
def test_what_makes_no_sense_is_refused(case, code):
    with pytest.raises(ShapeError) as error:
        case.make(case.types())
    assert error.value.code == code


@pytest.mark.parametrize("logit", [-100.0, -20.0, 0.0, 20.0, 100.0])
@pytest.mark.parametrize("target", [0.0, 1.0])
def test_binary_cross_entropy_is_exact_far_out(logit, target):
    case = Case("binary_cross_entropy", "[]", "[]")
    emitted = Emitted(case, case.types(), case.orders())
    x = jnp.float32(logit)
    (found,) = emitted(x, jnp.float32(target))
    wanted = np.logaddexp(0, -logit if target else logit)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-30)
    slope = jax.grad(lambda x: emitted(x, jnp.float32(target))[0])(x)
    np.testing.assert_allclose(slope, 1 / (1 + np.exp(-logit)) - target, rtol=1e-5, atol=1e-30)


def test_cross_entropy_is_exact_far_out():
    case = Case("cross_entropy", "[V:3]", "int[]", dims=dims("V:3"), smoothing=0.0, ignore=None)
    emitted = Emitted(case, case.types(), case.orders())
    logits = jnp.array([1e4, 1e4 + 1, -1e4], jnp.float32)
    (found,) = emitted(logits, jnp.int32(1))
    np.testing.assert_allclose(found, np.log1p(np.exp(-1.0)), rtol=1e-5)
    slope = jax.grad(lambda x: emitted(x, jnp.int32(7))[0])(logits)
    np.testing.assert_array_equal(slope, 0)
