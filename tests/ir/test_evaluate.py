"""The meaning of whole modules: against the same thing computed by hand."""

# ruff: noqa: E501  (lines of the text form)

from __future__ import annotations

import numpy as np
import pytest
from netwright.ir.bind import substitute
from netwright.ir.evaluate import EvaluationError, evaluate
from netwright.ir.named import Named
from netwright.ir.text import parse
from sample_module import MODULE, TEXT

B, S = 2, 4
RNG = np.random.default_rng(0)
PARAMS = {
    "net": {
        "bias": RNG.normal(size=S),
        "blocks": {"w": RNG.normal(size=(3, S))},
        "heads": {"v": RNG.normal(size=(2, S))},
    }
}
STATE = {"net": {"calls": np.array(5.0), "blocks": {"count": np.array([10, 20, 30])}}}
X, SCALE = RNG.normal(size=(B, S)), RNG.normal(size=S)


def by_hand(x, train):
    """One call of the net, and what its blocks report."""
    net, seen = PARAMS["net"], []
    for copy in range(3):
        x = x * net["blocks"]["w"][copy] + SCALE
        seen.append(x.sum(1))
    mixed = sum(x * net["heads"]["v"][e] for e in range(2))
    h, running = sum(seen), []
    for t in range(S):
        h = h + mixed[:, t]
        running.append(h * t)
    return np.stack(running, 1), [s.sum() for s in seen]


@pytest.mark.parametrize("train", [True, False])
def test_the_sample_is_what_it_is_by_hand(train):
    (loss,), state, metrics = evaluate(MODULE, PARAMS, STATE, [X, SCALE], train=train)
    first, reported = by_hand(X, train)
    second, more = by_hand(first, train)
    np.testing.assert_allclose(loss, (second + PARAMS["net"]["bias"]).mean(), rtol=1e-12)
    # The net is called twice; each call sees the newest state.
    assert state["net"]["calls"] == (7.0 if train else 5.0)
    assert state["net"]["blocks"]["count"].tolist() == [12, 22, 32]
    np.testing.assert_allclose(metrics["net.blocks.size"], np.mean(reported + more), rtol=1e-12)
    np.testing.assert_allclose(metrics["value"], loss)


def test_nothing_given_is_changed():
    before = STATE["net"]["blocks"]["count"].copy()
    evaluate(MODULE, PARAMS, STATE, [X, SCALE], train=True)
    assert (STATE["net"]["blocks"]["count"] == before).all()


def test_sizes_may_be_bound_before_or_given():
    expected = evaluate(MODULE, PARAMS, STATE, [X, SCALE], train=True)[0]
    whole = substitute(MODULE, {"B": B, "S": S})
    assert evaluate(whole, PARAMS, STATE, [X, SCALE], train=True)[0] == expected
    given = evaluate(
        MODULE, PARAMS, STATE, {"scale": SCALE, "x": X}, train=True, sizes={"B": B, "S": S}
    )
    assert given[0] == expected


NESTED = """
module "m" model

instance "" M
  dims L.0 = 2
  child "outer" repeat L.0
  variant (%0 "x" : float[] order) {
    %1 = repeat(%0) {along = L.0, binding = (), carried = ((0, 0),), child = "outer", dealt = (), occurrence = 0, variant = 0} : float[]
    result %1 []
  }

instance "outer" Outer
  dims L.0 = 2
  child "inner" repeat L.0
  variant (%0 "x" : float[] order) {
    %1, %2 = repeat(%0) {along = L.0, binding = (), carried = ((0, 0),), child = "inner", dealt = (), occurrence = 0, variant = 0} : float[], float[L.0]
    %3 = sum[L.0](%2) {extra = ()} : float[]
    %4 = add(%1, %3) : float[]
    result %4 []
  }

instance "outer.inner" Inner
  param "w" : float[] = {
    %0 = const() {dtype = "float", value = 1.0} : float[]
    result %0
  }
  state "s" : float[] = {
    %0 = const() {dtype = "float", value = 0.0} : float[]
    result %0
  }
  variant (%0 "x" : float[] order) {
    %1 = param() {child = "", name = "w"} : float[]
    %2 = multiply(%0, %1) : float[]
    result %2 []
    result %0 "before" []
    write "s" %2
  }
"""


def test_copies_inside_copies_are_stacked_outermost_first():
    w = np.array([[2.0, 3.0], [5.0, 7.0]])
    params, state = {"outer": {"inner": {"w": w}}}, {"outer": {"inner": {"s": np.zeros((2, 2))}}}
    (y,), state, _ = evaluate(parse(NESTED), params, state, [1.0], train=True)
    expected, s = 1.0, np.zeros((2, 2))
    for i in range(2):
        seen = 0.0
        for j in range(2):
            seen += expected
            expected = s[i, j] = expected * w[i, j]
        expected += seen
    assert y == expected
    assert (state["outer"]["inner"]["s"] == s).all()


DRAW = """
module "m" model
  free B

instance "" M
  dims B.0 = B, T.1 = 2
  variant (%0 "x" : float[B.0, T.1] order B.0 T.1) {
    %1 = dropout(%0) {dims = (B.0, T.1), extra = (), rate = 0.5, salt = 1} : float[B.0, T.1]
    result %1 [T.1, B.0]
  }
"""


def test_random_ops_need_to_be_told_what_they_draw():
    x = np.arange(6.0).reshape(3, 2)
    module = parse(DRAW)
    with pytest.raises(EvaluationError, match="draws random numbers: give `random`"):
        evaluate(module, {}, {}, [x], train=True)
    seen = []

    def random(draw):
        seen.append((draw.path, draw.copies, draw.op["rate"]))
        return Named(draw.args[0].array * 2, draw.args[0].dims)

    (y,), _, _ = evaluate(module, {}, {}, [x], train=True, random=random)
    assert (y == 2 * x.T).all()
    assert seen == [("", (), 0.5)]


def test_what_is_missing_or_of_another_shape_is_said():
    with pytest.raises(EvaluationError, match=r"there is no array for net\.bias"):
        evaluate(
            MODULE,
            {"net": {"blocks": PARAMS["net"]["blocks"], "heads": PARAMS["net"]["heads"]}},
            STATE,
            [X, SCALE],
            train=True,
        )
    wrong = {"net": {**PARAMS["net"], "bias": np.zeros(S + 1)}}
    with pytest.raises(EvaluationError, match=r"the shape is \(5,\), not \(4,\)"):
        evaluate(MODULE, wrong, STATE, [X, SCALE], train=True)
    with pytest.raises(EvaluationError, match="the entry takes 2 inputs, not 1"):
        evaluate(MODULE, PARAMS, STATE, [X], train=True)
    with pytest.raises(EvaluationError, match="the entry takes"):
        evaluate(MODULE, PARAMS, STATE, {"x": X}, train=True)


def test_values_must_be_what_the_module_states():
    lie = parse(
        TEXT.replace(
            '%5 "sum" = sum[T.7](%4) {extra = ()} : float[B.5]',
            '%5 "sum" = sum[T.7](%4) {extra = ()} : float[T.7]',
        )
    )
    with pytest.raises(EvaluationError, match=r"net\.blocks: sum = sum: dims"):
        evaluate(lie, PARAMS, STATE, [X, SCALE], train=True)
    text = TEXT.replace(
        "sum[L.2](%4) {extra = ()} : float[B.0]", "sum[L.2](%4) {extra = ()} : int[B.0]"
    )
    with pytest.raises(EvaluationError, match="the dtype is float64"):
        evaluate(parse(text), PARAMS, STATE, [X, SCALE], train=True)


def test_collapsed_orders_change_nothing():
    text = """
module "m" model
  free B, S

instance "" M
  dims B.0 = B, S.1 = S, D.2 = 4
  variant (%0 "x" : float[B.0, S.1, D.2] order B.0 S.1 D.2) {
    %1 = collapse(%0) : float[B.0, S.1, D.2] order (B.0 S.1) D.2
    %2 = align(%1) : float[B.0, S.1, D.2] order (B.0 S.1) () D.2
    result %2 [D.2, S.1, B.0]
  }
"""
    x = RNG.normal(size=(2, 3, 4))
    (y,), _, _ = evaluate(parse(text), {}, {}, [x], train=True)
    assert (y == x.transpose(2, 1, 0)).all()
    lie = text.replace("order (B.0 S.1) D.2", "order (B.0 S.1)", 1)
    with pytest.raises(EvaluationError, match="the order"):
        evaluate(parse(lie), {}, {}, [x], train=True)
