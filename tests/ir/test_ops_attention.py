"""Attention."""

import jax
import jax.numpy as jnp
import pytest
from netwright.ir.core import Op, Type, attributes
from netwright.ir.registry import ShapeError, lookup
from op_cases import CHECKS, Case, Emitted, dims, name_of, register_cases, run

QKV = ("[B, S, G, R, K]", "[B, T, G, K]", "[B, T, G, K]")
DIMS = dims("S T K")

CASES = register_cases(
    Case("attention", *QKV, dims=DIMS),
    Case("attention", "[S, K]", "[T, K]", "[T, D]", dims=DIMS, scale=0.5),
    Case("attention", "[B, S, K]", "[T, E, K]", "[D, B, T]", dims=DIMS, cap=2.0),
    Case("attention", *QKV, "bool[S, T]", dims=DIMS, extra=("where",)),
    Case("attention", *QKV, "bool[B, T]", "[G, R, S, T]", dims=DIMS, extra=("where", "bias")),
    Case("attention", *QKV, "[T, B]", dims=DIMS, extra=("bias",), cap=1.5),
    Case("attention", "[S, K]", "[T, K]", "[T, D]", "bool[S, T]", dims=DIMS, extra=("where",)),
    Case("attention", *QKV, dims=DIMS, causal=True),
    Case("attention", *QKV, dims=DIMS, causal=True, window=2),
    Case("attention", *QKV, dims=DIMS, window=1),
    Case("attention", *QKV, "bool[B, T]", dims=DIMS, extra=("where",), causal=True),
    Case(
        "attention", "[S, K]", "[T, K]", "[T, D]", "bool[S, T]", dims=DIMS, extra=("where",),
        window=2,
    ),
)  # fmt: skip


@pytest.mark.sampled(3)
@pytest.mark.parametrize("check", CHECKS, ids=name_of)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_ops(case, check):
    run(case, check)


def test_source():
    emitted = Emitted(CASES[3], CASES[3].types(), CASES[3].orders())
    assert emitted.text == (
        'dot_product_attention(x0, x1, x2, "bsgrk,btgk->bgrst", "bgrst,btgk->bsgrk", '
        "6**-0.5, mask=x3)"
    )


@pytest.mark.parametrize(
    "operands, more, code",
    [
        (("S K", "T", "T K"), {}, "dim-not-there"),
        (("S T K", "T K", "T K"), {}, "dim-twice"),
        (("S K", "T K", "T K", "S T"), {"extra": ("where",)}, "not-a-bool"),
        (("S K", "T K", "T K", "B T"), {"extra": ("bias",)}, "dims-do-not-align"),
        (("S K", "T K", "T K"), {"window": 0}, "option-out-of-range"),
    ],
)
def test_mistakes(operands, more, code):
    types = tuple(Type("float", dims(o)) for o in operands)
    op = Op("attention", tuple(range(len(types))), attrs=attributes(dims=DIMS, **more))
    with pytest.raises(ShapeError) as error:
        lookup("attention").shape(types, op)
    assert error.value.code == code


def test_a_query_without_keys_finds_nothing():
    s, t, _ = DIMS
    case = Case(
        "attention", "[S, K]", "[T, K]", "[T, K]", "bool[S, T]", dims=DIMS, extra=("where",)
    )
    emitted = Emitted(case, case.types(), case.orders())
    q, keys, v = (jnp.asarray(a, jnp.float32) for a in case.arrays()[:3])
    mask = jnp.ones((s.size.value, t.size.value), bool).at[1].set(False)

    def total(q, keys, v):
        (found,) = emitted(q, keys, v, mask)
        return jnp.sum(found**2), found

    grads, found = jax.grad(total, (0, 1, 2), has_aux=True)(q, keys, v)
    assert not found[1].any() and found[0].all() and found[2].all()
    assert all(jnp.isfinite(g).all() for g in grads)
    assert not grads[0][1].any()
