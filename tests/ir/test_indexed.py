"""Which inputs are ids, and of how many: what is followed, and what is left alone."""

import netwright as nw
import pytest
from netwright.ir.indexed import indexed

TOP = """
dims: B, S, V = 300, W = 40, N = 3, D = 4, L = 2

layer Look[V, D](ids: int[...]) -> [..., D]:
    param w: [V, D] = normal(0.1)
    return take[V](w, ids)

layer Same(ids: int[...]) -> int[...]:
    return ids

layer Scores[D](x: [..., D]) -> [..., N]:
    param w: [D, N] = normal(0.1)
    return dot[D](x, w)

"""


def known(tmp_path, inputs: str, body: str) -> dict[str, int]:
    lines = "".join(f"    {line}\n" for line in body.strip().split("\n"))
    (tmp_path / "model.nw").write_text(f"{TOP}loss l({inputs}):\n{lines}")
    module = nw.load(tmp_path).module
    return {name: found.size for name, found in indexed(module, {"B": 5, "S": 6}).items()}


@pytest.mark.parametrize(
    "body, expected",
    [
        ("use e = Look[V]\nreturn mean[B, S, D](e(x))", 300),
        (
            "use e = Look[V]\nparam u: [W, D] = ones()\nreturn mean[B, S, D](e(x) + take[W](u, x))",
            40,
        ),
        ("use e = Look[V]\nuse s = Same\nreturn mean[B, S, D](e(s(shift[S](x))))", 300),
        ("use e = Look[V]\nreturn mean[B, S, D](e(x * (x > 0)))", 300),
        ("use e = Look[V]\nreturn mean[B, S, D](e(x), where = x != 0)", 300),
        ("use e = Look[V]\nreturn mean[B, S, D](e(min(x, V - 1)))", None),
        ("use e = Look[V]\nreturn mean[B, S, D](e(x), where = x >= 0)", None),
        ("use e = Look[V]\nreturn mean[B, S, D](e(x), where = -1 != x)", None),
        ("use e = Look[V]\nreturn mean[B, S, D](e(x), where = x < V)", None),
        ("use e = Look[V]\nreturn mean[B, S, D](e(x + 1))", None),
        ("return mean[B, S, V](one_hot[V](x))", 300),
    ],
)
def test_what_is_looked_up(body, expected, tmp_path):
    found = known(tmp_path, "x: int[B, S]", body)
    assert found == ({} if expected is None else {"x": expected})


def test_a_piece_may_be_something_else_than_the_rest(tmp_path):
    body = """
a, b = unstack[L](x)
use e = Look[V]
return mean[B, D](e(a) + expand[D](b))
"""
    assert known(tmp_path, "x: int[B, L]", body) == {}


@pytest.mark.parametrize(
    "loss, ids",
    [
        ("mean[B](cross_entropy[N](s(x), y))", {"y": 3}),
        ("mean[B](cross_entropy[N](s(x), y, ignore = -1))", {}),
        ("mean[B](cross_entropy[N](s(x), y), where = live)", {}),
        ("mean[B](cross_entropy[N](s(x), y) * live)", {}),
        ("mean[B](cross_entropy[N](s(x), y) + (argmax[N](s(x)) == y))", {}),
    ],
)
def test_classes_of_a_loss_that_counts_them_all(loss, ids, tmp_path):
    found = known(tmp_path, "x: [B, D], y: int[B], live: bool[B]", f"use s = Scores\nreturn {loss}")
    assert found == ids


def test_a_metric_that_compares_with_the_best_class_is_no_mark(tmp_path):
    body = """
use s = Scores
metric accuracy = mean[B](argmax[N](s(x)) == y)
return mean[B](cross_entropy[N](s(x), y))
"""
    assert known(tmp_path, "x: [B, D], y: int[B]", body) == {"y": 3}


def test_through_loops_and_branches(tmp_path):
    body = """
use e = Look[V]
scan[S](id = x) carry (h = zeros[B, D]()):
    h = h + e(id)
return mean[B, D](h)
"""
    assert known(tmp_path, "x: int[B, S]", body) == {"x": 300}
