"""Reductions, and ops along dims."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from netwright.ir.registry import ShapeError
from op_cases import CHECKS, Case, Emitted, Operand, between, dims, name_of, register_cases, run

NONE_LIVE = Operand("bool[B, S]", lambda rng, s: rng.random(s) < [[0.7], [0.0]])
positive = Operand("[B, S]", between(0.2, 4.0))
SLOW = ("shape", "meaning", "order", "gradient")
WHERE = {"extra": ("where",)}
REAL = ("sum", "mean", "var", "std", "l2norm", "logsumexp", "prod", "max", "min")
KEEPING = ("softmax", "log_softmax", "standardize")
ONE = ("argmax", "argmin", "cumsum", "cumprod")


def with_options(op: str) -> dict[str, object]:
    return {"eps": 1e-6} if op == "standardize" else {}


CASES = register_cases(
    *(
        case
        for op in (*REAL, *KEEPING)
        for o in [with_options(op)]
        for case in (
            Case(op, "[B, S, D]", dims=dims("D"), **o),
            Case(op, "[B, S, D]", dims=dims("S B"), **o),
            Case(op, "[B, S]", dims=dims("B S"), **o),
            Case(op, "[S:9]", dims=dims("S:9"), **o),
            Case(op, "[B, S]", dims=(), **o),
            Case(op, "[B, S, D]", "bool[B, S, D]", dims=dims("S"), **WHERE, **o),
            Case(op, "[B, S, D]", "bool[S]", dims=dims("S"), **WHERE, **o),
            Case(op, "[B, S, D]", "bool[B, S]", dims=dims("S D"), **WHERE, **o),
            Case(op, "[B, S, D]", NONE_LIVE, dims=dims("S"), **WHERE, **o),
            Case(op, "int[B, S]", dims=dims("S"), tolerance=1e-6, **o),
            Case(op, "bool[B, S]", dims=dims("S"), tolerance=1e-6, **o),
            Case(op, "int[B, S]", NONE_LIVE, dims=dims("S"), tolerance=1e-6, **WHERE, **o),
            Case(op, "bool[B, S]", NONE_LIVE, dims=dims("S"), tolerance=1e-6, **WHERE, **o),
        )
    ),
    *(
        case
        for op in ONE
        for case in (
            Case(op, "[B, S, D]", dims=dims("S")),
            Case(op, "[B, S:8]", dims=dims("S:8")),
            Case(op, "[B, S:7]", dims=dims("S:7")),
            Case(op, "[S:2]", dims=dims("S:2")),
            Case(op, "[B, S, D]", "bool[B, S]", dims=dims("S"), **WHERE),
            Case(op, "[B, S, D]", NONE_LIVE, dims=dims("S"), **WHERE),
            Case(op, "int[B, S]", dims=dims("S")),
            Case(op, "int[B, S]", "bool[S]", dims=dims("S"), **WHERE),
            Case(op, "bool[B, S]", dims=dims("S")),
            Case(op, "bool[B, S]", "bool[B, S]", dims=dims("S"), **WHERE),
        )
    ),
    *(
        case
        for op in ("any", "all")
        for case in (
            Case(op, "bool[B, S]", dims=dims("S")),
            Case(op, "bool[B, S]", dims=dims("S B")),
            Case(op, "bool[B, S]", NONE_LIVE, dims=dims("S"), **WHERE),
        )
    ),
    Case("count", dims=dims("B S")),
    Case("count", "bool[B, S]", dims=dims("S"), **WHERE),
    Case("count", "bool[B, S]", dims=dims("S D"), **WHERE),
    *(
        case
        for n in range(1, 18)
        for case in (
            Case("linear_scan", f"[B, T:{n}]", f"[B, T:{n}]", dims=dims(f"T:{n}"), skip=SLOW),
            Case("prod", f"[B, T:{n}]", dims=dims(f"T:{n}"), skip=SLOW),
            Case("cumprod", f"[B, T:{n}]", dims=dims(f"T:{n}"), skip=SLOW),
        )
    ),
    Case("linear_scan", "[T, D]", "[B, T, D]", dims=dims("T")),
    Case("linear_scan", "[D]", "[B, T, D]", dims=dims("T")),
    Case("linear_scan", "[B, T, D]", "[T]", dims=dims("T")),
)


@pytest.mark.sampled(8)
@pytest.mark.parametrize("check", CHECKS, ids=name_of)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case, check):
    run(case, check)


# Masks: what is hidden does not count, whatever it is


def emit(case: Case) -> Emitted:
    return Emitted(case, case.types(), case.orders())


@pytest.mark.parametrize("garbage", [0.0, np.inf, -np.inf, np.nan, 1e30])
@pytest.mark.parametrize("op", [*REAL, *KEEPING, "cumsum", "cumprod"])
def test_what_is_masked_does_not_count(op, garbage):
    case = Case(op, "[B:3, S:4]", "bool[B:3, S:4]", dims=dims("S:4"), **WHERE, **with_options(op))
    emitted = emit(case)
    live = jnp.array([[1, 0, 1, 1], [0, 0, 0, 0], [0, 1, 0, 0]], bool)
    x = jnp.array(np.random.default_rng(0).normal(size=(3, 4)), jnp.float32)
    hidden = jnp.where(live, x, garbage)
    along = op == "standardize"  # which gives something for masked places too

    def total(x):
        (y,) = emitted(x, live)
        counts = jnp.isfinite(y) & (live if along else True)
        weights = jnp.arange(1.0, y.size + 1).reshape(y.shape)
        return jnp.sum(jnp.where(counts, y * weights, 0))

    (plain,), (spoilt,) = emitted(x, live), emitted(hidden, live)
    if along:
        plain, spoilt = (jnp.where(live, y, 0) for y in (plain, spoilt))
    np.testing.assert_array_equal(plain, spoilt)
    assert not jnp.isnan(plain).any()
    slope, spoilt_slope = jax.grad(total)(x), jax.grad(total)(hidden)
    assert jnp.isfinite(slope).all()
    if along and not np.isfinite(garbage):
        return
    np.testing.assert_allclose(slope, spoilt_slope, rtol=1e-5)
    if not along:
        np.testing.assert_array_equal(jnp.where(live, 0, slope), 0)


OF_NOTHING = {"sum": 0, "mean": 0, "var": 0, "std": 0, "l2norm": 0, "logsumexp": -np.inf, "prod": 1}
OF_NOTHING |= {"max": -np.inf, "min": np.inf, "softmax": 0, "log_softmax": -np.inf}


@pytest.mark.parametrize(("op", "value"), OF_NOTHING.items())
def test_of_nothing(op, value):
    emitted = emit(Case(op, "[S]", "bool[S]", dims=dims("S"), **WHERE))
    (found,) = emitted(jnp.ones(3), jnp.zeros(3, bool))
    np.testing.assert_array_equal(found, value)


@pytest.mark.parametrize("op", ["std", "l2norm", "standardize", "softmax", "logsumexp"])
@pytest.mark.parametrize("level", [0.0, 1.0, -1e4])
def test_gradients_where_all_are_equal(op, level):
    if op == "l2norm" and level:
        return
    emitted = emit(Case(op, "[S]", dims=dims("S"), **with_options(op)))
    x = jnp.full(3, level)
    slope = jax.grad(lambda x: jnp.sum(emitted(x)[0] * (1 + jnp.arange(3))))(x)
    assert jnp.isfinite(slope).all()
    if op in ("std", "l2norm"):
        np.testing.assert_array_equal(slope, 0)


@pytest.mark.parametrize("op", ["std", "l2norm", "var", "mean", "softmax", "standardize"])
def test_nan_is_not_hidden(op):
    emitted = emit(Case(op, "[S]", dims=dims("S"), **with_options(op)))
    assert jnp.isnan(emitted(jnp.array([1.0, np.nan, 2.0]))[0]).all()


def test_ties_share_the_gradient():
    emitted = emit(Case("max", "[S]", dims=dims("S")))
    slope = jax.grad(lambda x: emitted(x)[0])(jnp.array([2.0, 2.0, 1.0]))
    np.testing.assert_array_equal(slope, [0.5, 0.5, 0])


@pytest.mark.parametrize(
    ("case", "code"),
    [
        (Case("argmax", "[B, S]", dims=dims("B S")), "one-dim-only"),
        (Case("cumsum", "[B, S]", dims=()), "one-dim-only"),
        (Case("sum", "[B, S]", dims=dims("T")), "dim-not-there"),
        (Case("linear_scan", "[B, S]", "[S]", dims=dims("T")), "dim-not-there"),
        (Case("sum", "[S]", "bool[B, S]", dims=dims("S"), **WHERE), "dims-do-not-align"),
        (Case("softmax", "[S]", "[S]", dims=dims("S"), **WHERE), "not-a-bool"),
        (Case("any", "[S]", dims=dims("S")), "not-a-bool"),
        (Case("count", "[S]", dims=dims("S"), **WHERE), "not-a-bool"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(case, code):
    with pytest.raises(ShapeError) as error:
        case.make(case.types())
    assert error.value.code == code


@pytest.mark.parametrize(
    ("case", "text"),
    [
        (Case("sum", "[B, S, D]", dims=dims("S B")), "jnp.sum(x0, axis=(-3, -2))"),
        (Case("mean", "[B, S]", dims=dims("S")), "jnp.mean(x0, axis=-1)"),
        (
            Case("softmax", "[B, S]", "bool[S]", dims=dims("S"), **WHERE),
            "jax.nn.softmax(x0, axis=-1, where=x1)",
        ),
        (
            Case("mean", "[B, S]", "bool[S]", dims=dims("B"), **WHERE),
            "masked_mean(x0, x1, axis=-2)",
        ),
        (Case("std", "[B, S]", dims=dims("S")), "safe_sqrt(jnp.var(x0, axis=-1))"),
        (Case("count", dims=dims("B S")), "6"),
        (
            Case("count", "bool[B]", dims=dims("B S"), **WHERE),
            "jnp.sum(x0, axis=-1) * 3",
        ),
    ],
    ids=str,
)
def test_source_reads_well(case, text):
    assert emit(case).text == text
