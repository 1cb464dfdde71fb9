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


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case, check):
    run(case, check)
