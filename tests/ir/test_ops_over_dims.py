"""Reductions, and ops along dims."""

from __future__ import annotations

import pytest
from op_cases import CHECKS, Case, Operand, between, dims, name_of, register_cases, run

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


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case, check):
    run(case, check)
