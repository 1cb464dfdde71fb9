"""What copies, states, branches and loops mean, against the same thing in plain numpy."""

from pathlib import Path

import numpy as np
import pytest
from meanings import arrays, codes, run, value
from netwright.ir.diagnostics import InputError

HERE = Path(__file__).parent


def test_repeat_carries_the_first_result(load):
    text = """
dims: B, L = 3, D = 2

layer Scale[D](x: [..., D]) -> [..., D]:
    param w: [D] = ones()
    return x * w + index[L]()

model M(x: [B, D]) -> [B, D]:
    use tower = repeat[L] Scale
    return tower(x)
"""
    module = load(text)
    w, x = arrays(3, 2), arrays(4, 2, seed=1)
    expected = x
    for copy in range(3):
        expected = expected * w[copy] + copy
    np.testing.assert_allclose(value(module, {"tower": {"w": w}}, x), expected)


def test_the_copy_s_number_reaches_what_is_inside(load):
    text = """
dims: B, L = 3, D = 2

layer Shift(x: [...], by = 1) -> [...]:
    return x + index[L]() * by

layer Inner[D](x: [..., D]) -> [..., D]:
    param w: [D] = ones()
    return Shift(x * w) + Shift(x, by = 10)

layer Block[D, Depth](x: [..., D]) -> [..., D]:
    use inner = Inner
    return inner(x) + index[Depth]()

model M(x: [B, D]) -> [B, D]:
    use tower = repeat[L] Block[Depth = L]
    return tower(x) + sum[L](index[L]())
"""
    w, x = arrays(3, 2), arrays(4, 2, seed=1)
    expected = x
    for copy in range(3):
        expected = (expected * w[copy] + copy) + (expected + 10 * copy) + copy
    module = load(text)
    np.testing.assert_allclose(value(module, {"tower": {"inner": {"w": w}}}, x), expected + 3)


def test_an_instance_called_with_other_sizes_keeps_its_dims_apart(load):
    text = """
dims: B, Y, Z, K = 3

layer Valid[Y -> Yo](x: [..., Y]) -> [..., Yo]:
    param w: [K] = ones()
    return conv[Y * K -> Yo](x, w, pad = valid)

model M(x: [B, Y], z: [B, Z]) -> [B, Short]:
    use v = Valid[Y -> Short]
    a = v(x)
    return a + v[Y = Z](z)
"""
    with pytest.raises(InputError) as error:
        load(text)
    assert codes(error) == ["size-mismatch"]


def test_repeat_carries_by_name_stacks_the_rest_and_deals_out(load):
    text = """
dims: B, L = 3

layer Step(x: [...], total: [...], rate: [], bias: [...]) -> y: [...], total: [...], seen: [...]:
    y = x * rate + bias
    return y, total + y, y * 10

model M(x: [B], rates: [L], bias: [B]) -> [B], [B], [L, B]:
    use steps = repeat[L] Step
    y, total, seen = steps(x, 0.0, rates, bias)
    return y, total, seen
"""
    x, rates, bias = arrays(4), arrays(3, seed=1), arrays(4, seed=2)
    results, _, _ = run(load(text), {}, [x, rates, bias])
    y, total, seen = x, 0.0, []
    for rate in rates:
        y = y * rate + bias
        total = total + y
        seen.append(y * 10)
    for found, expected in zip(results, (y, total, np.stack(seen)), strict=True):
        np.testing.assert_allclose(found, expected)


def test_each_deals_out_and_stacks(load):
    text = """
dims: B, E = 3, D = 2

layer Expert[D](x: [..., D], gate: [...]) -> [..., D]:
    param w: [D] = ones()
    return x * w * gate

model M(x: [B, D], gates: [B, E]) -> [B, D]:
    use experts = each[E] Expert
    return sum[E](experts(x, gates))
"""
    w, x, gates = arrays(3, 2), arrays(4, 2, seed=1), arrays(4, 3, seed=2)
    expected = np.einsum("bd,ed,be->bd", x, w, gates)
    np.testing.assert_allclose(value(load(text), {"experts": {"w": w}}, x, gates), expected)


def test_a_repeat_inside_a_repeat(load):
    text = """
dims: B, L = 2, J = 3, D = 2

layer Scale[D](x: [..., D]) -> [..., D]:
    param w: [D] = ones()
    return x * w

layer Group[D](x: [..., D]) -> [..., D]:
    use inner = repeat[J] Scale
    return inner(x) + 1

model M(x: [B, D]) -> [B, D]:
    use outer = repeat[L] Group
    return outer(x)
"""
    w, x = arrays(2, 3, 2), arrays(4, 2, seed=1)
    expected = x
    for group in w:
        expected = expected * group.prod(0) + 1
    np.testing.assert_allclose(value(load(text), {"outer": {"inner": {"w": w}}}, x), expected)


def test_state_is_read_at_its_newest(load):
    text = """
dims: B

layer Count(x: [...]) -> [...]:
    state n: [] = zeros()
    before = n
    n <- n + 1
    n <- n * 2
    return x * n + before

model M(x: [B]) -> [B], [B]:
    use count = Count
    return count(x), count(x)
"""
    results, state, _ = run(load(text), {}, [np.ones(2)], {"count": {"n": np.array(3.0)}})
    np.testing.assert_allclose(results[0], [8 + 3] * 2)
    np.testing.assert_allclose(results[1], [18 + 8] * 2)
    assert state["count"]["n"] == 18


def test_a_branch_on_train(load):
    text = (HERE / "models" / "page.nw").read_text()
    layer = text[text.index("layer BatchNorm") : text.index("layer Down")]
    module = load(
        f"dims: B, C = 2\n{layer}\nmodel M(x: [B, C]) -> [B, C]:\n    use n = BatchNorm\n    return n(x)\n"  # noqa: E501
    )
    x = arrays(5, 2)
    params = {"n": {"scale": np.array([1.0, 2.0]), "shift": np.array([0.0, 1.0])}}
    state = {"n": {"average": np.array([0.5, 0.5]), "variance": np.array([2.0, 3.0])}}
    ((found,), after, _) = run(module, params, [x], state, train=False)
    np.testing.assert_allclose(
        found, (x - 0.5) / np.sqrt(np.array([2, 3]) + 1e-5) * [1, 2] + [0, 1]
    )
    assert after["n"]["average"].tolist() == [0.5, 0.5]
    ((found,), after, _) = run(module, params, [x], state, train=True)
    m, v = x.mean(0), x.var(0)
    np.testing.assert_allclose(found, (x - m) / np.sqrt(v + 1e-5) * [1, 2] + [0, 1])
    np.testing.assert_allclose(after["n"]["average"], 0.45 + 0.1 * m)


def test_branches_on_options_and_sizes_are_settled(load):
    text = """
dims: B, D = 4
const: deep = true

model M(x: [B, D]) -> [B, D]:
    if D > 3 and deep:
        param w: [D] = ones()
        x = x * w
    elif not deep:
        return x - 1
    else:
        x = x + 1
    return x
"""
    assert [v.name for v in load(text).instance("").params] == ["w"]
    x = np.ones((1, 2))
    np.testing.assert_allclose(value(load(text, D=2), {}, x), x + 1)
    np.testing.assert_allclose(value(load(text, deep=False), {}, np.ones((1, 4))), np.zeros((1, 4)))


def test_a_scan(load):
    text = (HERE / "models" / "page.nw").read_text()
    layer = text[text.index("layer LSTM") : text.index("layer Experts")]
    head = "dims: B, T, D = 2, H = 3\n"
    module = load(
        f"{head}{layer}\nmodel M(x: [B, T, D], live: bool[B, T]) -> [B, T, H]:\n"
        "    use lstm = LSTM\n    return lstm(x, live)\n"
    )
    wx, wh, bias = arrays(2, 4, 3), arrays(3, 4, 3, seed=1), arrays(4, 3, seed=2)
    x, live = arrays(2, 5, 2, seed=3), np.arange(5) < np.array([[5], [3]])
    h = c = np.zeros((2, 3))
    expected = []
    for t in range(5):
        gates = np.einsum("bd,dgh->gbh", x[:, t], wx) + np.einsum("bp,pgh->gbh", h, wh)
        i, f, g, o = gates + bias[:, None]
        on = live[:, t, None]
        new = 1 / (1 + np.exp(-f)) * c + 1 / (1 + np.exp(-i)) * np.tanh(g)
        c = np.where(on, new, c)
        h = np.where(on, 1 / (1 + np.exp(-o)) * np.tanh(c), h)
        expected.append(h)
    params = {"lstm": {"wx": wx, "wh": wh, "bias": bias}}
    np.testing.assert_allclose(value(module, params, x, live), np.stack(expected, 1), rtol=1e-9)


def test_a_scan_with_several_emits_its_last_values_and_its_steps(load):
    text = """
dims: B, T

model M(x: [B, T], k: [B]) -> [B, T], [B, T], [B]:
    a, b = scan[T](x = x) carry (h = zeros[B]()):
        h = h * k + x
        emit h, x * index[T]()
    return a, b, h
"""
    x, k = arrays(2, 4), arrays(2, seed=1)
    results, _, _ = run(load(text), {}, [x, k])
    h, a = np.zeros(2), []
    for t in range(4):
        h = h * k + x[:, t]
        a.append(h)
    for found, expected in zip(results, (np.stack(a, 1), x * np.arange(4), h), strict=True):
        np.testing.assert_allclose(found, expected)


def test_an_instance_called_in_a_scan_shares_its_weights(load):
    text = """
dims: B, T, D = 2

layer Cell[D](x: [..., D], h: [..., D]) -> [..., D]:
    param w: [D] = ones()
    return x + h * w

model M(x: [B, T, D]) -> [B, D]:
    use cell = Cell
    scan[T](x = x) carry (h = zeros[B, D]()):
        h = cell(x, h)
    return h
"""
    x, w = arrays(2, 3, 2), arrays(2, seed=1)
    expected = x[:, 2] + w * (x[:, 1] + w * x[:, 0])
    np.testing.assert_allclose(value(load(text), {"cell": {"w": w}}, x), expected)


def test_metrics_go_by_path_and_are_averaged_over_copies(load):
    text = """
dims: B, L = 3

layer Add(x: [...]) -> [...]:
    y = x + 1
    metric size = mean[...](y)
    return y

model M(x: [B]) -> [B]:
    use adds = repeat[L] Add
    return adds(x)

loss total(x: [B]):
    use net = M
    y = net(x)
    metric top = max[B](y)
    return mean[B](y)
"""
    (loss,), _, metrics = run(load(text), {}, [np.array([0.0, 2.0])])
    assert (loss, metrics) == (4, {"net.adds.size": 3, "top": 5, "loss": 4})
