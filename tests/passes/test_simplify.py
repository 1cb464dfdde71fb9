"""Simplification: each rule by an example, and on random bodies the meaning stays."""

from __future__ import annotations

import numpy as np
import pytest
from netwright.frontend.elaborate import elaborate
from netwright.frontend.names import loads
from netwright.ir.core import (
    Dim,
    Module,
    walk,
)
from netwright.ir.diagnostics import Diagnostics
from netwright.ir.evaluate import evaluate
from netwright.ir.size import Size
from netwright.ir.text import parse, show
from netwright.ir.verify import verify
from netwright.passes.simplify import drop_unread, simplify, specialise

A, B, C = (
    Dim(i, name, Size.of(size)) for i, (name, size) in enumerate([("A", 2), ("B", 3), ("C", 2)])
)


INPUTS = (
    '%0 "x" : float[A.0, B.1] order A.0 B.1, '
    '%1 "w" : float[B.1, C.2] order B.1 C.2, '
    '%2 "n" : int[A.0] order A.0'
)


def module(body: str) -> Module:
    """A module of one body over x[A, B], w[B, C], n: int[A]; `result` lines end it."""
    lines = "\n".join("    " + line.strip() for line in body.strip().splitlines())
    made = parse(
        f"""
module "m" model

instance "" M
  dims A.0 = 2, B.1 = 3, C.2 = 2
  state "s" : float[] = {{
    %0 = const() {{dtype = "float", value = 0.0}} : float[]
    result %0
  }}
  variant ({INPUTS}) {{
{lines}
  }}
"""
    )
    assert verify(made) == []
    return made


def ops(made: Module) -> list[str]:
    """The names of the ops that are left."""
    assert verify(made) == []
    return [op.name for op in walk(made.instances[0].variants[0].ops)]


def inputs():
    rng = np.random.default_rng(3)
    return [rng.normal(size=(2, 3)), rng.normal(size=(3, 2)), rng.integers(-3, 4, 2)]


def same(before: Module, after: Module) -> None:
    """Both give the same, in training and elsewhere."""
    assert verify(after) == []
    for train in (True, False):
        old, new = (
            evaluate(m, {}, {"s": np.array(2.0)}, inputs(), train=train, random=lambda d: d.args[0])
            for m in (before, after)
        )
        for a, b in zip(old[0], new[0], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
        assert np.allclose(old[1]["s"], new[1]["s"])
        assert old[2].keys() == new[2].keys()


def check(body: str, *left: str) -> Module:
    """The body simplified has just these ops."""
    before = module(body)
    after = simplify(before)
    assert ops(after) == list(left), show(after)
    assert after.facts == ("simplified",)
    same(before, after)
    return after


ONE = '%3 = const() {dtype = "float", value = 1.0} : float[]\n'
ZERO = '%3 = const() {dtype = "float", value = 0} : float[]\n'


@pytest.mark.parametrize(
    "body",
    [
        ONE + "%4 = multiply(%0, %3) : float[A.0, B.1]",
        ONE + "%4 = multiply(%3, %0) : float[A.0, B.1]",
        ONE + "%4 = divide(%0, %3) : float[A.0, B.1]",
        ZERO + "%4 = add(%0, %3) : float[A.0, B.1]",
        ZERO + "%4 = add(%3, %0) : float[A.0, B.1]",
        ZERO + "%4 = subtract(%0, %3) : float[A.0, B.1]",
        "%3 = negate(%0) : float[A.0, B.1]\n%4 = negate(%3) : float[A.0, B.1]",
        "%4 = expand[](%0) : float[A.0, B.1]",
        '%4 = cast(%0) {dtype = "float"} : float[A.0, B.1]',
        "%4 = dropout(%0) {dims = (), rate = 0, salt = 1} : float[A.0, B.1]",
    ],
)
def test_what_changes_nothing_is_dropped(body):
    made = simplify(module(body + "\nresult %4 [A.0, B.1]"))
    assert ops(made) == []
    assert made.instances[0].variants[0].results[0].value == 0


MASK = (
    '%3 = const() {dtype = "bool", value = VALUE} : bool[]\n'
    "%4 = expand[A.0, B.1](%3) : bool[A.0, B.1]\n"
    '%5 = const() {dtype = "int", value = 0} : int[]\n'
    "%6 = less(%2, %5) : bool[A.0]\n"
)


@pytest.mark.parametrize(("name", "neutral"), [("logical_and", "true"), ("logical_or", "false")])
def test_a_mask_and_its_neutral_is_the_mask(name, neutral):
    both = f"%7 = {name}(%4, %6) : bool[A.0, B.1]\nresult %7 [A.0, B.1]"
    check(MASK.replace("VALUE", neutral) + both, "const", "less", "expand")
    other = {"true": "false", "false": "true"}[neutral]
    made = simplify(module(MASK.replace("VALUE", other) + both))
    assert name in ops(made)


def test_a_mask_that_leaves_everything_is_dropped():
    masked = '%7 = softmax[B.1](%0, %4) {extra = ("where",)} : float[A.0, B.1]'
    kept = "\nresult %7 [A.0, B.1]"
    check(MASK.replace("VALUE", "true") + masked + kept, "softmax")
    made = simplify(module(MASK.replace("VALUE", "false") + masked + kept))
    assert "expand" in ops(made)


def test_a_mask_need_not_be_expanded_but_over_the_dims_of_the_op():
    less = "%6 = less(%2, %3) : bool[A.0]\n%4 = expand[B.1](%6) : bool[A.0, B.1]\n"
    zero = '%3 = const() {dtype = "int", value = 0} : int[]\n'
    over = '%7 = softmax[{}](%0, %4) {{extra = ("where",)}} : float[A.0, B.1]\nresult %7 [A.0, B.1]'
    check(zero + less + over.format("A.0"), "const", "less", "softmax")
    check(zero + less + over.format("B.1"), "const", "less", "expand", "softmax")


def test_what_changes_something_stays():
    check(
        ZERO + "%4 = subtract(%3, %0) : float[A.0, B.1]\nresult %4 [A.0, B.1]", "const", "subtract"
    )
    check(ONE + "%4 = divide(%3, %0) : float[A.0, B.1]\nresult %4 [A.0, B.1]", "const", "divide")
    # It makes a float of an int, and more dims.
    check(ONE + "%4 = multiply(%2, %3) : float[A.0]\nresult %4 [A.0]", "const", "multiply")
    ones = (
        ONE + "%4 = expand[A.0](%3) : float[A.0]\n%5 = sum[A.0, B.1](%0) {extra = ()} : float[]\n"
    )
    check(
        ones + "%6 = multiply(%5, %4) : float[A.0]\nresult %6 [A.0]",
        "const",
        "expand",
        "sum",
        "multiply",
    )


def number(value: object, dtype: str, id: int) -> str:
    return f'%{id} = const() {{dtype = "{dtype}", value = {value}}} : {dtype}[]\n'.replace(
        "True", "true"
    )


@pytest.mark.parametrize(
    ("op", "a", "b", "dtype", "gives", "result"),
    [
        ("add", 2, 3, "int", "int", 5),
        ("subtract", 2.5, 3.0, "float", "float", -0.5),
        ("multiply", 0.1, 3.0, "float", "float", 0.1 * 3.0),
        ("divide", 1, 3, "int", "float", 1 / 3),
        ("divide", 1.0, 3.0, "float", "float", 1 / 3),
        ("floor_divide", -7, 2, "int", "int", -4),
        ("remainder", -7, 2, "int", "int", 1),
        ("maximum", 2.0, 3.0, "float", "float", 3.0),
        ("less", 2, 3, "int", "bool", True),
        ("equal", 2.0, 3.0, "float", "bool", False),
        ("logical_and", "true", "false", "bool", "bool", False),
    ],
)
def test_constants_are_folded(op, a, b, dtype, gives, result):
    body = (
        number(a, dtype, 3)
        + number(b, dtype, 4)
        + f'%5 "c" = {op}(%3, %4) : {gives}[]\nresult %5 []'
    )
    after = check(body, "const")
    (made,) = after.instances[0].variants[0].ops
    assert repr(made["value"]) == repr(result)
    assert made.result.label == "c"


@pytest.mark.parametrize(
    ("op", "a", "b", "dtype", "gives"),
    [
        ("divide", 1.0, 0.0, "float", "float"),
        ("floor_divide", 1, 0, "int", "int"),
        ("multiply", 2**20, 2**21, "int", "int"),
        ("add", "nan", 1.0, "float", "float"),
        ("floor_divide", 7.5, 2.0, "float", "float"),
        ("add", 1.0, 2.0, "bfloat16", "bfloat16"),
    ],
)
def test_what_is_not_known_exactly_is_not_folded(op, a, b, dtype, gives):
    body = (
        number(a, dtype, 3) + number(b, dtype, 4) + f"%5 = {op}(%3, %4) : {gives}[]\nresult %5 []"
    )
    assert ops(simplify(module(body))) == ["const", "const", op]


def test_equal_things_are_computed_once():
    check(
        """
        %3 "a" = exp(%0) : float[A.0, B.1]
        %4 "b" = exp(%0) : float[A.0, B.1]
        %5 = add(%3, %4) : float[A.0, B.1]
        result %5 [A.0, B.1]
        """,
        "exp",
        "add",
    )
    # 1 and 1.0, 0.0 and -0.0 are different constants.
    body = number(0.0, "float", 3) + number(-0.0, "float", 4) + "result %3 []\nresult %4 []"
    check(body, "const", "const")


def test_draws_are_never_shared():
    body = """
        %3 = dropout(%0) {dims = (), rate = 0.5, salt = 1} : float[A.0, B.1]
        %4 = dropout(%0) {dims = (), rate = 0.5, salt = 1} : float[A.0, B.1]
        %5 = add(%3, %4) : float[A.0, B.1]
        result %5 [A.0, B.1]
        """
    assert ops(simplify(module(body))) == ["dropout", "dropout", "add"]


BRANCH = """
    %3 = exp(%0) : float[A.0, B.1]
    %4 "z" = if_train() : float[A.0, B.1]
      region {
        %5 = exp(%0) : float[A.0, B.1]
        %6 "then" = negate(%5) : float[A.0, B.1]
        result %6
      }
      region {
        %7 = tanh(%0) : float[A.0, B.1]
        %8 "else" = negate(%7) : float[A.0, B.1]
        result %8
      }
    %9 = tanh(%0) : float[A.0, B.1]
    %10 = add(%3, %9) : float[A.0, B.1]
    result %4 [A.0, B.1]
    result %10 [A.0, B.1]
"""


def test_a_region_shares_what_is_around_it_but_not_the_other_way():
    check(BRANCH, "exp", "if_train", "negate", "tanh", "negate", "tanh", "add")


def test_branches_that_are_the_same_are_none():
    check(
        """
        %3 = if_train() : float[A.0, B.1]
          region {
            %4 = dropout(%0) {dims = (), rate = 0.0, salt = 1} : float[A.0, B.1]
            result %4
          }
          region {
            result %0
          }
        %5 "y" = exp(%3) : float[A.0, B.1]
        result %5 [A.0, B.1]
        """,
        "exp",
    )


def test_a_branch_is_chosen():
    before = module(BRANCH)
    for train in (True, False):
        after = specialise(before, train)
        assert after.facts == ("specialised",)
        assert "if_train" not in ops(after)
        assert ('"then"' in show(after)) == train
        assert ('"else"' in show(after)) != train
        old = evaluate(before, {}, {"s": np.array(0.0)}, inputs(), train=train)[0]
        new = evaluate(after, {}, {"s": np.array(0.0)}, inputs(), train=not train)[0]
        assert all((a == b).all() for a, b in zip(old, new, strict=True))


def test_what_nobody_reads_is_dropped_unless_it_has_an_effect():
    check(
        """
        %3 = exp(%0) : float[A.0, B.1]
        %4 = negate(%3) : float[A.0, B.1]
        %5 = sum[A.0, B.1](%0) {extra = ()} : float[]
        do metric(%5) {name = "m"}
        %6 = state() {child = "", name = "s"} : float[]
        %7 = tanh(%6) : float[]
        %8 = tanh(%5) : float[]
        result %0 [A.0, B.1]
        write "s" %7
        """,
        "sum",
        "metric",
        "state",
        "tanh",
    )


def test_calls_with_effects_stay():
    text = """
module "m" model

instance "" M
  child "f" one
  child "g" one
  variant () {
    %0 = call() {binding = (), child = "f", occurrence = 0, variant = 0} : float[]
    %1 = call() {binding = (), child = "g", occurrence = 0, variant = 0} : float[]
    %2 = const() {dtype = "float", value = 1.0} : float[]
    result %2 []
  }

instance "f" F
  variant () {
    %0 = const() {dtype = "float", value = 1.0} : float[]
    do metric(%0) {name = "m"}
    result %0 []
  }

instance "g" G
  variant () {
    %0 = const() {dtype = "float", value = 1.0} : float[]
    result %0 []
  }
"""
    after = drop_unread(parse(text))
    assert [op["child"] for op in after.instances[0].variants[0].ops if op.name == "call"] == ["f"]
    assert len(after.instances) == 3


def test_a_sum_of_products_is_a_dot():
    wide = (
        "%3 = expand[C.2](%0) : float[A.0, B.1, C.2]\n"
        "%4 = multiply(%3, %1) : float[A.0, B.1, C.2]\n"
    )
    after = check(
        wide + '%5 "y" = sum[B.1](%4) {extra = ()} : float[A.0, C.2]\nresult %5 [A.0, C.2]',
        "expand",
        "dot",
    )
    assert after.instances[0].variants[0].ops[-1].result.label == "y"


@pytest.mark.parametrize(
    "body",
    [
        # All dims are in both: nothing to gain.
        "%4 = multiply(%0, %0) : float[A.0, B.1]\n"
        "%5 = sum[B.1](%4) {extra = ()} : float[A.0]\nresult %5 [A.0]",
        # A is in one only.
        "%3 = sum[A.0](%0) {extra = ()} : float[B.1]\n%4 = multiply(%0, %3) : float[A.0, B.1]\n"
        "%5 = sum[A.0, B.1](%4) {extra = ()} : float[]\nresult %5 []",
        # The product is read elsewhere.
        "%3 = sum[A.0](%0) {extra = ()} : float[B.1]\n%4 = multiply(%0, %3) : float[A.0, B.1]\n"
        "%5 = sum[B.1](%4) {extra = ()} : float[A.0]\nresult %5 [A.0]\nresult %4 [A.0, B.1]",
        # Ints.
        "%4 = multiply(%2, %2) : int[A.0]\n%5 = sum[A.0](%4) {extra = ()} : int[]\nresult %5 []",
    ],
)
def test_other_sums_stay(body):
    assert "dot" not in ops(simplify(module(body)))
    same(module(body), simplify(module(body)))


def test_what_every_step_of_a_scan_reads_alike_is_read_from_outside():
    """A mask that a model does not give is no mask, inside of a scan either."""
    text = """
dims: B = 2, T = 3

layer Total[T](x: [..., T], live: bool[..., T] = true, weight: [...] = 2.0) -> [..., T]:
    ys = scan[T](x = x, live = live, w = expand[T](weight)) carry (h = zeros[...]()):
        h = where(live, h + w * x, h)
        emit where(live, h, 0.0)
    return ys

model M(x: [B, T], weight: [B]) -> [B, T]:
    use total = Total
    return total(x, weight = weight)
"""
    diagnostics = Diagnostics()
    file = loads(text, diagnostics)
    assert file is not None
    before = elaborate(file, diagnostics)
    assert before is not None
    after = simplify(before)
    assert verify(after) == []
    (variant,) = after.instance("total").variants
    (scan,) = [op for op in walk(variant.ops) if op.name == "scan"]
    assert len(scan.operands) == 2  # x, and what is carried
    assert "where" not in [op.name for op in walk(variant.ops)]
    x, weight = np.arange(6.0).reshape(2, 3), np.array([3.0, 4.0])
    for made in (before, after):
        given = evaluate(made, {}, {}, [x, weight], train=False)[0]
        np.testing.assert_allclose(given[0], weight[:, None] * x.cumsum(1))
