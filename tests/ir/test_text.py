"""The text form: what is written comes back, and what is not the text form is refused by line."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from netwright.ir.claim import AtLeast, Divides, Equal
from netwright.ir.core import (
    Child,
    Claim,
    Dim,
    Instance,
    Module,
    Op,
    Region,
    Result,
    Type,
    Value,
    Variable,
    Variant,
    attributes,
)
from netwright.ir.diagnostics import Span
from netwright.ir.size import Size
from netwright.ir.text import TextError, parse, show

B = Dim(0, "B", Size.free("B"))
S = Dim(1, "S", Size.free("S"))
D = Dim(2, "D", Size.of(4))
T = Dim(3, "T", Size.free("S") // 2 + 1)
L = Dim(4, "L", Size.of(3))
TABLE = (B, S, D, T, L)

number = st.one_of(st.integers(), st.floats(allow_nan=False), st.booleans(), st.none())
dims = st.lists(st.sampled_from(TABLE), unique=True, max_size=4).map(tuple)
sizes = st.sampled_from([Size.of(0), Size.of(-3), Size.free("S") % 3 * 2 - 7, Size.free("gpt.S")])
constants = st.recursive(
    st.one_of(number, st.text(max_size=8), st.sampled_from(TABLE), sizes),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=8,
)
attrs = st.dictionaries(
    st.one_of(st.sampled_from(["dims", "arrows", "value"]), st.text(max_size=4)),
    st.one_of(constants, dims, st.lists(st.tuples(dims, dims), max_size=2).map(tuple)),
    max_size=3,
).map(lambda a: attributes(**a))
types = st.builds(Type, st.sampled_from(["float", "int", "bool", "bfloat16"]), dims)
orders = st.one_of(st.none(), st.lists(dims, max_size=3).map(tuple))
values = st.builds(Value, st.integers(0, 99), types, st.text(max_size=5), orders)
tuples = lambda inner, most=3: st.lists(inner, max_size=most).map(tuple)  # noqa: E731
name = st.one_of(st.text(max_size=6), st.sampled_from(["result", "do", "x", "a.b", "region"]))
ids = tuples(st.integers(0, 99))
plain = st.builds(Op, name, ids, tuples(values), attrs)
regions = st.builds(Region, tuples(values), tuples(plain), ids)
ops = st.one_of(plain, st.builds(Op, name, ids, tuples(values), attrs, tuples(regions, 2)))
spans = st.one_of(st.none(), st.builds(Span, st.text(max_size=5), *[st.integers(1, 9)] * 4))
variables = st.builds(Variable, name, types, dims, regions)
children = st.builds(Child, name, name, st.one_of(st.none(), st.sampled_from(TABLE)))
results = st.builds(Result, name, st.integers(0, 9), dims)
variants = st.builds(
    Variant,
    tuples(values),
    tuples(ops),
    tuples(results),
    tuples(st.tuples(name, st.integers(0, 9))),
)
instances = st.builds(
    Instance,
    name,
    name,
    st.text(max_size=5),
    st.sampled_from([TABLE, TABLE[:2], ()]),
    tuples(variables, 1),
    tuples(variables, 1),
    tuples(children),
    tuples(variants, 2),
    spans,
)
modules = st.builds(
    Module,
    name,
    name,
    st.one_of(st.none(), name),
    tuples(name),
    tuples(instances, 2),
    tuples(
        st.builds(
            Claim,
            st.builds(
                lambda kind, a, b: kind(a if a != 0 else Size.of(5), b if b != 0 else Size.of(5)),
                st.sampled_from([Equal, AtLeast, Divides]),
                sizes,
                sizes,
            ),
            name,
            name,
            spans,
        )
    ),
    tuples(st.tuples(name, st.integers(0, 99))),
    tuples(name),
)


@settings(max_examples=150, deadline=None)
@given(modules)
def test_round_trip(module):
    text = show(module)
    assert parse(text) == module
    assert show(parse(text), places=False) == show(module, places=False)


def _module(*ops: Op, results=(), instance=None) -> Module:
    variant = Variant((), ops, tuple(results))
    instance = instance or Instance("", "main", "Words.", TABLE, variants=(variant,))
    return Module("main", "model", None, ("B", "S"), (instance,))


def test_reads_like_this():
    scores = Value(7, Type("float", (B, S)), "scores", ((B, S), (), (D,)))
    op = Op(
        "dot", (3, 6), (scores,), attributes(dims=(D,), scale=0.5), (), Span("m.nw", 29, 1, 29, 9)
    )
    text = show(_module(op))
    assert (
        '%7 "scores" = dot[D.2](%3, %6) {scale = 0.5} : float[B.0, S.1] order (B.0 S.1) () D.2'
        "  # m.nw:29\n" in text
    )
    assert "dims B.0 = B, S.1 = S, D.2 = 4, T.3 = S // 2 + 1, L.4 = 3\n" in text
    assert "# m.nw" not in show(_module(op), places=False)


@pytest.mark.parametrize("value", [0.1, -0.0, 1e300, 5e-324, math.inf, -math.inf, 1.0, 2**80])
def test_numbers_are_exact(value):
    (op,) = (
        parse(show(_module(Op("const", attrs=attributes(value=value)))))
        .instances[0]
        .variants[0]
        .ops
    )
    assert repr(op["value"]) == repr(value)


def test_nan_comes_back():
    (op,) = (
        parse(show(_module(Op("c", attrs=attributes(value=math.nan))))).instances[0].variants[0].ops
    )
    assert math.isnan(op["value"])


def test_types_of_constants_are_kept():
    for value in (True, 1, 1.0, Size.of(1)):
        (op,) = (
            parse(show(_module(Op("c", attrs=attributes(v=value))))).instances[0].variants[0].ops
        )
        assert type(op["v"]) is type(value)


def test_a_dim_that_is_not_in_the_table_carries_its_size():
    other = replace(D, size=Size.free("S") * 2)
    module = _module(Op("f", (), (Value(0, Type("float", (other,))),)))
    assert "D.2<2 * S>" in show(module)
    assert parse(show(module)) == module


def test_text_of_a_model_never_breaks_out():
    evil = 'x"\n  result %1 # \u2028'
    module = _module(Op(evil, attrs=attributes(**{evil: evil})))
    assert parse(show(module)) == module


GOOD = show(_module(Op("f", (), (Value(0, Type("float", (D,))),), attributes(a=1))), places=False)


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("module", "nodule", 1, "expected module"),
        ("D.2 = 4", "D.2 = 4 +", 5, "is not a size"),
        ("{a = 1}", "{a = }", 7, "expected an attribute"),
        ("{a = 1}", "{a = 1, a = 2}", 7, "a is given twice"),
        ("%0 = f", "%0, %1 = f", 7, "2 results have 1 types"),
        ("float[D.2]", "float[E.2]", 7, "E.2 is not among the dims"),
        ("float[D.2]", "float[D.2, D.2]", 7, "a dim twice in a type"),
        ("S.1 = S", "S.0 = S", 5, "dim 0 is declared twice"),
        ("  }\n", "  }\n)", 9, "expected an instance or the end"),
        ("  }\n", "", 8, "expected '}', not the end"),
        ("{a = 1}", "{a = " + "(" * 5000 + "}", 7, "nested too deeply"),
        ('"main" model', '"ma\\qin" model', 1, "is not a string"),
    ],
)
def test_bad_text_is_refused_with_its_line(old, new, line, message):
    assert old in GOOD
    with pytest.raises(TextError, match=r"line \d+") as caught:
        parse(GOOD.replace(old, new, 1))
    assert message in str(caught.value)
    assert caught.value.line == line


def test_every_prefix_is_refused_or_read():
    for end in range(len(GOOD)):
        try:
            parse(GOOD[:end])
        except TextError:
            continue
