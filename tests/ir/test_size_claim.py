"""Claims about sizes: verdicts against plain integers, and the ones that models need."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from netwright.ir.claim import (
    AtLeast,
    Divides,
    Equal,
    Verdict,
    names,
    parse_claim,
    prove,
    substitute,
)
from netwright.ir.size import Size, SizeError, maximum
from netwright.ir.size_text import SizeSyntaxError
from test_size import NAMES, E, S, T, environments, symbolic, trees

many = settings(max_examples=250, deadline=None)


@st.composite
def claims(draw, leaves=5):
    kind = draw(st.sampled_from([Equal, AtLeast, Divides]))
    first, second = (symbolic(draw(trees(leaves=leaves))) for _ in range(2))
    assume(kind != Divides or first != 0)
    return kind(first, second)


def holds(claim, values):
    """Whether the claim holds; None where it is not defined."""
    try:
        return claim.holds(values)
    except SizeError:
        return None


def check(claim, assumptions, verdict, environments):
    """What a verdict says is so, for the values that it gives and for others."""
    for values in environments:
        if all(holds(a, values) for a in assumptions) and holds(claim, values) is False:
            assert not verdict.proven, (str(claim), values)
    for values, expected in ((verdict.counterexample, False), (verdict.witness, True)):
        if values is not None:
            assert min(values.values(), default=1) >= 1
            assert all(a.holds(values) for a in assumptions if names(a) <= values.keys())
            assert claim.holds(values) is expected
            assert list(values) == sorted(values) and names(claim) <= values.keys()
    assert verdict.refuted == (verdict.counterexample is not None)


GRID = [dict(zip(NAMES, point, strict=True)) for point in product((1, 2, 3, 4, 7), repeat=3)]


@many
@given(claims(), st.lists(environments(200), min_size=10, max_size=10))
def test_verdicts_are_true(claim, environments):
    check(claim, (), prove(claim), environments + GRID)


@many
@given(
    claims(leaves=4),
    st.lists(claims(leaves=3), min_size=1, max_size=2),
    st.lists(environments(200), min_size=10, max_size=10),
)
def test_verdicts_are_true_under_assumptions(claim, assumptions, environments):
    check(claim, assumptions, prove(claim, assumptions), environments + GRID)


@many
@given(claims(), st.fixed_dictionaries({n: st.integers(1, 5) for n in NAMES}), environments(200))
def test_verdicts_are_true_above_lower_bounds(claim, lower, values):
    verdict = prove(claim, lower=lower)
    above = [v for v in [values, *GRID] if all(v[n] >= lower[n] for n in NAMES)]
    check(claim, [AtLeast(Size.free(n), k) for n, k in lower.items()], verdict, above)


@st.composite
def linear(draw):
    """Sums of S, T and floors and remainders of their sums, by constants."""
    size = Size.of(0)
    for _ in range(draw(st.integers(1, 2))):
        c = [draw(st.integers(-3, 3)) for _ in range(4)]
        k = draw(st.sampled_from([1, 2, 3, 4, 6, 8]))
        inner = c[0] * S + c[1] * T + c[2]
        size += c[3] * draw(st.sampled_from([inner // k, inner % k]))
    return size


@many
@given(linear(), linear(), st.sampled_from([2, 3, 4, 5, 8]))
def test_equalities_with_constant_divisors_are_decided(a, b, k):
    for claim in (Equal(a, b), Divides(k, a)):
        verdict = prove(claim)
        assert not verdict.open, str(claim)
        check(claim, (), verdict, ({"S": s, "T": t} for s in range(1, 20) for t in range(1, 20)))


@many
@given(claims())
def test_text_reads_back_as_the_same_claim(claim):
    assert parse_claim(str(claim)) == claim
    assert hash(parse_claim(str(claim))) == hash(claim)


def test_text_is_readable():
    assert str(Divides(16, S)) == "S % 16 == 0"
    assert str(Divides(4 * E, 5 * S)) == "5 * S % (4 * E) == 0"
    assert str(Divides(2, 2 * S)) == "2 * S % 2 == 0"
    assert str(Equal(S, T)) == "S == T"
    assert str(Equal(S % 16, 0)) == "(S % 16) == 0"
    assert str(AtLeast(S, 3)) == "S >= 3"
    assert parse_claim("3 <= S") == AtLeast(S, 3)
    assert parse_claim("S - T % 2 == 0") == Equal(S - T % 2, 0)
    assert parse_claim("-S % -2 == 0") == Divides(-2, -S)
    assert parse_claim("S % 4 % 2 == 0") == Divides(2, S % 4)
    assert parse_claim("S % 4 * 2 == 0") == Equal(2 * (S % 4), 0)
    assert parse_claim("S % (T + 1) == 0") == Divides(T + 1, S)


@pytest.mark.parametrize("text", ["", "S", "S == T == 1", "S > 1", "S = 1", "== 1", "S % == 0"])
def test_bad_text_is_an_error(text):
    with pytest.raises(SizeSyntaxError):
        parse_claim(text)


@pytest.mark.parametrize(
    "text",
    [
        "2 == 2",
        "S >= 1",
        "S * T >= S + T - 1",
        "S * S + 5 >= 4 * S",
        "S * (S + 1) * (S + 2) % 6 == 0",
        "(S + 15) // 16 * 16 >= S",
        "(S + 15) // 16 * 16 <= S + 15",
        "S // 2 + (S + 1) // 2 == S",
        "S % 4 // 2 == S // 2 % 2",
        "T * (S // T) + S % T == S",
        "S % T <= T - 1",
        "S // T <= S",
        "min(S, T) + max(S, T) == S + T",
        "min(S, T) * max(S, T) == S * T",
        "(S + T) // 2 >= min(S, T)",
        "max(S, T, U) >= min(S, T)",
        "max(S - 3, 1) + 3 >= S",
        "max(1, 5 * N * S // (4 * E)) >= 1",
        "S // (T - 1) >= 0",
        "S % 61 <= 60",
        "(2 * S - T) - (2 * S - T) % 5 == 5 * ((2 * S - T) // 5)",
        "-(3 * T // 8) % 5 == -(3 * T // 8) - 5 * (-(3 * T // 8) // 5)",
        "S // 16 * 16 == S | S % 16 == 0",
        "S % 128 == 0 | S % 256 == 0",
        "S + T % 1 >= 24 | S % 8 == 0, S % 12 == 0",
        "(S + T) % 8 == 0 | S % 8 == 0, T % 8 == 0",
        "D // H * H == D | D % H == 0",
        "D // H * H == D | D == H * K",
        "H * K // 16 * 16 == H * K | H * K % 16 == 0",
        "B // (M * N) * N * M == B | B % (M * N) == 0",
        "S == T | S == 2 * U, T == 2 * U",
        "T >= S + 1 | S + 1 == T",
        "S >= 5 | S >= 7",
        "S // T >= 1 | S >= T",
        "S // 2 >= T | S >= 2 * T",
        "S == 3 | S >= 3, S <= 3",
        "S * S <= 9 | S <= 3",
        "S >= 4 | S - 1 >= T, T >= 3",
        "(Y - 3) // 2 + 1 >= 1 | Y >= 3",
        "(Y + 2 - 3) // 2 + 1 == Y // 2 | Y % 2 == 0",
        "Y == 1 | Y % 4 == 0, Y % 4 == 1",
    ],
)
def test_proven(text):
    claim, _, known = text.partition("|")
    assumptions = [parse_claim(k) for k in known.split(",")] if known else []
    assert prove(parse_claim(claim), assumptions).proven


@pytest.mark.parametrize(
    ("text", "counterexample", "witness"),
    [
        ("S == T", {"S": 1, "T": 2}, {"S": 1, "T": 1}),
        ("S % 16 == 0", {"S": 1}, {"S": 16}),
        ("2 * (S // 2) == S", {"S": 1}, {"S": 2}),
        ("S >= 3", {"S": 1}, {"S": 3}),
        ("H * K == D", {"D": 1, "H": 1, "K": 2}, {"D": 1, "H": 1, "K": 1}),
        ("S == S + 1", {"S": 1}, None),
        ("2 * S == 2 * T + 1", {"S": 1, "T": 1}, None),
        ("1 == 2", {}, None),
        ("5 * N * S // (4 * E) >= 1", {"E": 2, "N": 1, "S": 1}, {"E": 1, "N": 1, "S": 1}),
        ("S <= 100000", {"S": 100001}, {"S": 1}),
        ("S % 61 <= 59", {"S": 60}, {"S": 1}),
        ("S + T <= 2000", {"S": 2000, "T": 1}, {"S": 1, "T": 1}),
    ],
)
def test_refuted(text, counterexample, witness):
    assert prove(parse_claim(text)) == Verdict("refuted", counterexample, witness)


def test_counterexamples_keep_to_what_is_assumed():
    verdict = prove(Divides(32, S), [Divides(16, S), Equal(T, 2 * S), AtLeast(S, 20)])
    assert verdict.counterexample == {"S": 48, "T": 96}
    assert verdict.witness == {"S": 32, "T": 64}
    assert prove(AtLeast(S, 4), [Equal(T, E)], {"S": 3}).counterexample == {"S": 3}
    assert prove(AtLeast(S, 4), lower={"S": 4}).proven


def test_values_for_which_an_assumption_is_not_defined_do_not_count():
    verdict = prove(Equal(S, T), [Equal(S, -T // (E - T))])
    assert verdict.counterexample == {"E": 1, "S": 1, "T": 3}
    assert prove(Equal(S, 1), [Equal(T // (S - 1), T)]).refuted


def test_open_is_said_when_nothing_is_found():
    verdict = prove(AtLeast(S * S + T * T, 2 * S * T))
    assert verdict == Verdict("open", None, {"S": 1, "T": 1})
    assert verdict.open


@pytest.mark.usefixtures("ends")
def test_work_is_bounded():
    free = [Size.free(f"A{i}") for i in range(12)]
    total = sum(free, Size.of(0))
    hard = [
        Equal(total * total // 7 * 7, total * total - total % 7),
        AtLeast(maximum(*free) * 12, total),
        Divides(97, total * free[0] * free[1]),
        AtLeast(sum((a // (i + 2) for i, a in enumerate(free)), Size.of(0)) * total, total - 99),
    ]
    for claim in hard:
        check(claim, (), prove(claim), [])


def test_claims_are_values():
    assert Equal(S, 3) == Equal(S, Size.of(3)) != Equal(T, 3)
    assert len({Divides(4, S), Divides(4, S), AtLeast(S, 4)}) == 2
    assert substitute(Divides(4, S), {"S": 4 * T}) == Divides(4, 4 * T)
    assert names(Equal(S, T // E)) == frozenset("EST")
    assert Divides(4, S).holds({"S": 8}) and not Divides(4, S).holds({"S": 6})
    with pytest.raises(SizeError):
        Divides(T - 1, S).holds({"S": 1, "T": 1})
    with pytest.raises(SizeError):
        Equal(S, T).holds({"S": 1})
