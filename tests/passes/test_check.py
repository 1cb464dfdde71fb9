"""Claims about sizes: proven, refuted, required; and sizes bound."""

from __future__ import annotations

import pytest
from netwright.ir.claim import parse_claim
from netwright.ir.core import Claim, Dim, Instance, Module, Op, Type, Value, Variant, attributes
from netwright.ir.diagnostics import InputError
from netwright.ir.plan import Plan
from netwright.ir.size import Size
from netwright.ir.size_text import parse_size
from netwright.passes.check import Bind, Check, bind, check, requirements, statement
from netwright.passes.manager import Pipeline


def module(*claims: str, half: str = "S // 2") -> Module:
    """A module of free B, S, T with these claims, a dim H, and a size in an attribute."""
    dims = (Dim(0, "S", Size.free("S")), Dim(1, "H", parse_size(half)))
    value = Value(0, Type("float", dims[1:]))
    op = Op(
        "full", (), (value,), attributes(dims=dims[1:], value=1.0, size=(parse_size("S + 1"), 2))
    )
    entry = Instance("", "M", dims=dims, variants=(Variant((), (op,), ()),))
    made = tuple(Claim(parse_claim(c), f"reason {i}") for i, c in enumerate(claims))
    return Module("m", "model", None, ("B", "S", "T"), (entry,), made)


@pytest.mark.parametrize(
    "claim",
    ["S == S", "S + 1 >= 2", "4 * S % 2 == 0", "2 * (S // 2) <= S", "7 == 7", "16 % 4 == 0"],
)
def test_what_is_proven_is_dropped(claim):
    after = check(module(claim))
    assert after.claims == ()
    assert after.facts == ("checked",)


@pytest.mark.parametrize(
    ("claim", "line"),
    [
        ("S % 16 == 0", "S must be a multiple of 16, because reason 0"),
        ("S >= 3", "S must be at least 3, because reason 0"),
        ("2 * (S // 2) == S", "2 * (S // 2) must be S, because reason 0"),
        ("T >= S", "T must be at least S, because reason 0"),
    ],
)
def test_what_holds_for_some_sizes_is_required(claim, line):
    after = check(module(claim))
    assert [c.verdict for c in after.claims] == ["required"]
    assert requirements(after) == [line]


@pytest.mark.parametrize(
    ("claim", "code", "fact"),
    [
        ("S == T", "size-mismatch", "for S = 1, T = 2: T is 2, not 1"),
        ("S == 4", "size-mismatch", "for S = 1: S is 1, not 4"),
        ("2 * (S // 2) == S + 1", "size-mismatch", "for S = 1: 2 * (S // 2) is 0, not 2"),
        ("S == S + 1", "size-mismatch", "for S = 1: S + 1 is 2, not 1"),
        ("3 == 4", "size-mismatch", "3, not 4"),
        ("0 >= S", "size-impossible", "for S = 1: 0 is less than 1 (S)"),
        ("2 >= 3", "size-impossible", "2 is less than 3"),
        ("15 % 4 == 0", "size-impossible", "15, not a multiple of 4"),
    ],
)
def test_what_cannot_be_is_an_error(claim, code, fact):
    with pytest.raises(InputError) as caught:
        check(module(claim))
    (found,) = caught.value.diagnostics
    assert found.code == code
    assert fact in found.facts
    assert found.message.endswith("because reason 0")


def test_every_mistake_is_reported_and_requirements_are_relied_on():
    with pytest.raises(InputError) as caught:
        check(module("S == T", "B == T", "S == T"))
    assert len(caught.value.diagnostics) == 2
    assert len(check(module("S % 16 == 0", "S % 8 == 0", "S >= 2")).claims) == 1
    with pytest.raises(InputError):
        check(module("S % 2 == 0", "S % 2 == 1"))


def test_statements():
    assert statement(parse_claim("S % 4 == 0")) == "S must be a multiple of 4"


def test_sizes_are_put_everywhere():
    after = bind(check(module("S % 2 == 0", "T >= B")), {"S": 6})
    (entry,) = after.instances
    assert [d.size.value for d in entry.dims] == [6, 3]
    (op,) = entry.variants[0].ops
    assert op["size"] == (Size.of(7), 2)
    assert op["dims"] == (entry.dims[1],)
    assert op.result.type.dims == (entry.dims[1],)
    assert after.sizes == (("S", 6),)
    assert requirements(after) == ["T must be at least B, because reason 1"]
    assert after.facts == ("checked",)
    whole = bind(after, {"B": 2, "T": 2})
    assert whole.facts == ("bound", "checked")
    assert whole.sizes == (("B", 2), ("S", 6), ("T", 2))
    assert whole.claims == ()


@pytest.mark.parametrize(
    ("sizes", "codes"),
    [
        ({"S": 7}, ["size-requirement"]),
        ({"S": 1}, ["size-requirement", "empty-dim"]),
        ({"Q": 3}, ["unknown-size"]),
        ({"S": 0}, ["not-a-size"]),
        ({"S": True}, ["not-a-size"]),
        ({"B": 3, "T": 2}, ["size-requirement"]),
    ],
)
def test_what_the_sizes_break_is_said(sizes, codes):
    with pytest.raises(InputError) as caught:
        bind(check(module("S % 2 == 0", "T >= B")), sizes)
    assert sorted(d.code for d in caught.value.diagnostics) == sorted(codes)


def test_a_size_is_bound_once():
    after = bind(module(), {"S": 6})
    assert bind(after, {"S": 6}) == after
    with pytest.raises(InputError, match="S is 6 already"):
        bind(after, {"S": 8})


def test_division_by_zero_is_said():
    with pytest.raises(InputError, match="divides by 0"):
        bind(module(half="4 // (S - 1)"), {"S": 1})


def test_as_passes():
    pipeline = Pipeline([Check(), Bind()])
    after = pipeline.run(module("S % 2 == 0", "S >= 1"), Plan(sizes=(("B", 1), ("S", 4), ("T", 1))))
    assert after.facts == ("bound", "checked")
    assert pipeline.records[0].statistics == {"claims proven": 1, "claims required": 1}
