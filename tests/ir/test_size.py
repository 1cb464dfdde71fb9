"""Sizes against plain integers: an expression tree is built as a size and evaluated by Python."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from itertools import product

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from netwright.ir.size import (
    DivisionByZero,
    Size,
    SizeError,
    exact_quotient,
    maximum,
    minimum,
    power,
)
from netwright.ir.size_bounds import lower_bound, upper_bound
from netwright.ir.size_text import SizeSyntaxError, parse_size

NAMES = ("S", "T", "E")
S, T, E, N = map(Size.free, "STEN")
OPS = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
}


def trees(ops=("+", "-", "*", "//", "%", "min", "max"), leaves=8):
    """Nested tuples (op, left, right) over names and integers."""
    leaf = st.sampled_from(NAMES) | st.integers(-9, 20)
    return st.recursive(
        leaf, lambda inner: st.tuples(st.sampled_from(ops), inner, inner), max_leaves=leaves
    )


def plain(tree, values):
    """The value of a tree, by Python's integers."""
    if isinstance(tree, int):
        return tree
    if isinstance(tree, str):
        return values[tree]
    op, left, right = tree
    a, b = plain(left, values), plain(right, values)
    return OPS[op](a, b) if op in OPS else {"min": min, "max": max}[op](a, b)


def symbolic(tree):
    """The size that a tree is; a tree that always divides by 0 is not tried."""
    if isinstance(tree, int):
        return Size.of(tree)
    if isinstance(tree, str):
        return Size.free(tree)
    op, left, right = tree
    a, b = symbolic(left), symbolic(right)
    try:
        return OPS[op](a, b) if op in OPS else {"min": minimum, "max": maximum}[op](a, b)
    except DivisionByZero:
        assume(False)


def environments(most=40):
    return st.fixed_dictionaries({name: st.integers(1, most) for name in NAMES})


many = settings(max_examples=400, deadline=None)


@many
@given(trees(), st.lists(environments(), min_size=3, max_size=3))
@example(("//", ("-", 0, "S"), "T"), [{"S": 3, "T": 2, "E": 1}])
@example(("%", ("-", 0, "S"), -4), [{"S": 3, "T": 2, "E": 1}])
def test_size_is_what_python_computes(tree, environments):
    size = symbolic(tree)
    for values in environments:
        try:
            expected = plain(tree, values)
        except ZeroDivisionError:
            continue
        assert size.evaluate(values) == expected


@many
@given(trees())
def test_text_reads_back_as_the_same_size(tree):
    size = symbolic(tree)
    assert parse_size(str(size)) == size
    assert size.replace(lambda factor: None) == size
    assert copy.deepcopy(size) == pickle.loads(pickle.dumps(size)) == size


@many
@given(trees(leaves=5), trees(leaves=5), trees(leaves=4))
def test_ring_laws_hold_as_equality_of_data(x, y, z):
    a, b, c = symbolic(x), symbolic(y), symbolic(z)
    assert (a + b) * c == c * b + a * c
    assert hash((a + b) * c) == hash(c * b + a * c)
    assert str((a + b) * c) == str(c * b + a * c)
    assert a - a == 0
    assert (a - b) * (a + b) == power(a, 2) - power(b, 2)


@many
@given(trees(("+", "-", "*"), 4), trees(("+", "-", "*"), 4))
def test_polynomials_are_equal_exactly_if_their_values_are(x, y):
    grid = [dict(zip(NAMES, point, strict=True)) for point in product(range(1, 6), repeat=3)]
    same = all(plain(x, values) == plain(y, values) for values in grid)
    assert (symbolic(x) == symbolic(y)) == same


@many
@given(trees(), st.tuples(trees(leaves=3), trees(leaves=3)), environments())
def test_substitution_commutes_with_evaluation(tree, replacements, values):
    size = symbolic(tree)
    new = {"S": symbolic(replacements[0]), "T": symbolic(replacements[1])}
    try:
        inner = {name: s.evaluate(values) for name, s in new.items()}
        assume(min(inner.values()) >= 1)
        expected = size.evaluate({**values, **inner})
        substituted = size.substitute(new)
    except DivisionByZero:
        assume(False)
    assert substituted.evaluate(values) == expected


@many
@given(trees(), environments())
def test_bounds_hold(tree, values):
    size = symbolic(tree)
    lower = {"S": min(values["S"], 3)}
    try:
        value = size.evaluate(values)
    except DivisionByZero:
        assume(False)
    for low, high in (
        (lower_bound(size), upper_bound(size)),
        (lower_bound(size, lower), upper_bound(size, lower)),
    ):
        assert low is None or low <= value
        assert high is None or value <= high


@many
@given(trees(("+", "-", "*"), 5), trees(("+", "-", "*"), 5))
def test_exact_quotient_undoes_a_product(x, y):
    a, b = symbolic(x), symbolic(y)
    assume(b != 0)
    assert exact_quotient(a * b, b) == a
    quotient = exact_quotient(a, b)
    assert quotient is None or quotient * b == a


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (5 * N * S // (4 * E), "5 * N * S // (4 * E)"),
        (maximum(S // 2, 1), "max(1, S // 2)"),
        (1 + 2 * S, "2 * S + 1"),
        (1 - S, "1 - S"),
        (-S - 2, "-S - 2"),
        (T * S - 3 * T * T, "S * T - 3 * T * T"),
        (Size.of(0), "0"),
        (Size.of(-7), "-7"),
        ((S - 3) // 2 + 1, "(S + 1) // 2 - 1"),
        (-(-S // 16), "(S + 15) // 16"),
        (-(-S // T), "(S - 1) // T + 1"),
        ((-S) % 16, "(-S) % 16"),
        (17 * S % 16, "S % 16"),
        ((S % 4) // 3, "(S % 4) // 3"),
        (T * (S // 2), "T * (S // 2)"),
        (-(S // 2), "-(S // 2)"),
        (T // maximum(S, T + 2 - S), "T // max(T - S + 2, S)"),
        (((S + 1) // 2 + 1) // 2, "(S + 3) // 4"),
        (minimum(S, 4, T), "min(4, S, T)"),
    ],
)
def test_text_is_readable(size, text):
    assert str(size) == text
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("size", "simple"),
    [
        (4 * S // 4, S),
        ((4 * S + 3) // 4, S),
        ((4 * S + 4) // 4, S + 1),
        (6 * S // 4, 3 * S // 2),
        (S * T * E // (T * E), S),
        ((S * T + S) // (T + 1), S),
        ((E * S + S % E) // E, S),
        (S % 1, 0),
        (S % S, 0),
        (6 * S % 3, 0),
        (S * T % T, 0),
        ((S + 17) % 16, (S + 1) % 16),
        ((S % 8) % 4, S % 4),
        ((S % 4) % 8, S % 4),
        ((2 * S + 3) % 4, 2 * ((S + 1) % 2) + 1),
        (S % (S + 1), S),
        (S // 2 // 3, S // 6),
        ((-7) // Size.of(2), -4),
        ((-7) % Size.of(-4), -3),
        (S // -2, (-S) // 2),
        (maximum(1, S), S),
        (maximum(S, S + T), S + T),
        (minimum(S, maximum(S, T)), S),
        (maximum(S, minimum(S, T)), S),
        (minimum(T, S, T), minimum(S, T)),
        (maximum(S, maximum(T, E)), maximum(maximum(E, S), T)),
        (maximum(3, 5), 5),
    ],
)
def test_atoms_are_simplified(size, simple):
    assert size == simple
    assert hash(size) == hash(simple)


def test_division_is_only_simplified_where_the_divisor_is_positive():
    assert str((T - 1) // (T - 1)) == "(T - 1) // (T - 1)"
    with pytest.raises(DivisionByZero, match=r"S // \(T - 1\) divides by 0"):
        (S // (T - 1)).evaluate({"S": 1, "T": 1})


def test_properties():
    size = 2 * T * (S // 2) + 1
    assert size.names == ("S", "T")
    assert size.symbols == frozenset("ST")
    assert not size.is_constant
    assert (size - size + 3).value == 3
    assert S.symbol == "S" and size.symbol is None
    assert Size.of(3) == 3 and hash(Size.of(3)) == hash(3) and S != 3 and S != "S"
    assert size.substitute({"S": 5, "T": S}) == 4 * S + 1
    assert 7 - S == -(S - 7) and 7 // S * S + 7 % S != 0
    with pytest.raises(SizeError, match="S is not a constant"):
        _ = S.value
    with pytest.raises(SizeError, match="T has no value"):
        size.evaluate({"S": 1})
    with pytest.raises(AttributeError):
        S.terms = ()
    for wrong in (True, 1.0, "S", None):
        with pytest.raises(TypeError):
            Size.of(wrong)
    for wrong in ("", "2", "a b", "min", "S'"):
        with pytest.raises(SizeError):
            Size.free(wrong)


@pytest.mark.parametrize("text", ["S // 0", "S % 0", "S // (T - T)"])
def test_division_by_zero_is_an_error(text):
    with pytest.raises(DivisionByZero):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a size, not the end, at 1"),
        ("S +", "expected a size, not the end, at 4"),
        ("S ** 2", "expected a size, not '*', at 4"),
        ("S / 2", "expected an operator, not '/', at 3"),
        ("min()", "expected a size, not ')', at 5"),
        ("(S", "expected ')', not the end, at 3"),
        ("S T", "expected an operator, not 'T', at 3"),
        ("__import__('os')", "expected an operator, not '(', at 11"),
        ("(" * 500, "expected less nesting"),
        ("9" * 5000, "expected a size"),
    ],
)
def test_bad_text_is_an_error(text, message):
    with pytest.raises(SizeSyntaxError) as error:
        parse_size(text)
    assert message in str(error.value)


def test_sizes_out_of_hand_are_errors():
    size = S
    with pytest.raises(SizeError):
        for i in range(1000):
            size = maximum(size - i, T * i // size)
    with pytest.raises(SizeError):
        power(sum(map(Size.free, "ABCDEFGH"), Size.of(0)), 60)


def test_nothing_depends_on_the_hash_seed():
    code = (
        "from netwright.ir.claim import *; from netwright.ir.size_text import *;"
        "s = parse_size('max(A // 2, B % 3, min(C, D) * E) * F + G * H - C * (B // 7)');"
        "print(s, s.names, s.key, prove(parse_claim('A * B % 4 == 0')))"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(printed) == 1
