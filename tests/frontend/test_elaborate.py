"""What a model means, rule by rule, against the same thing in plain numpy."""

from pathlib import Path

import numpy as np
import pytest
from netwright import driver
from netwright.ir.diagnostics import InputError
from netwright.ir.evaluate import evaluate
from netwright.ir.text import parse, show
from netwright.ir.verify import verify

HERE = Path(__file__).parent


@pytest.fixture
def load(tmp_path):
    def load(text, entry=None, files=None, **settings):
        for name, more in (files or {}).items():
            (tmp_path / name).write_text(more)
        (tmp_path / "model.nw").write_text(text)
        module = driver.load(tmp_path / "model.nw", settings, entry).module
        assert not verify(module)
        assert parse(show(module)) == module
        return module

    return load


def arrays(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def run(module, params, inputs, state=None, train=False, **more):
    results, states, metrics = evaluate(module, params, state or {}, inputs, train=train, **more)
    return results, states, metrics


def value(module, params, *inputs, **more):
    ((result, *_), _, _) = run(module, params, inputs, **more)
    return result


def sizes(module, path=""):
    return {d.name: str(d.size) for d in module.instance(path).dims}


def shape_of(module, path, name):
    instance = module.instance(path)
    variable = next(v for v in (*instance.params, *instance.states) if v.name == name)
    return [(d.name, str(d.size)) for d in variable.order]


def codes(error):
    return [d.code for d in error.value.diagnostics]


# Names and sizes.


def test_a_glossary_gives_sizes_and_the_data_the_rest(load):
    module = load(
        "dims: B, D = 4, F = 3 * D\nmodel M(x: [B, D]) -> [B]:\n    return sum[D](x) * F\n"
    )
    assert module.free == ("B",)
    np.testing.assert_allclose(value(module, {}, np.ones((2, 4))), [48, 48])


def test_set_overrides_a_dim_and_what_is_written_with_it(load):
    text = "dims: B, D = 4, F = 3 * D\nconst: k = 2\nmodel M(x: [B, D]) -> [B]:\n"
    module = load(text + "    return sum[D](x) * F * k\n", D=5, k=10)
    np.testing.assert_allclose(value(module, {}, np.ones((1, 5))), [5 * 15 * 10])


def test_set_fixes_a_free_dim(load):
    assert load("dims: B\nmodel M(x: [B]) -> [B]:\n    return x\n", B=3).free == ()


def test_a_formula_follows_what_it_is_written_with(load):
    """Where D is bound anew, F = 4 * D uses that D."""
    text = """
dims: B, D = 2, E = 3, F = 4 * D

layer Mlp[D](x: [..., D]) -> [..., D]:
    param up: [D, F] = normal(1.0)
    param down: [F, D] = normal(1.0)
    return dot[F](dot[D](x, up), down)

model M(x: [B, E]) -> [B, E]:
    use mlp = Mlp[D = E]
    return mlp(x)
"""
    module = load(text)
    assert shape_of(module, "mlp", "up") == [("D", "3"), ("F", "12")]
    up, down = arrays(3, 12), arrays(12, 3, seed=2)
    x = arrays(2, 3, seed=1)
    params = {"mlp": {"up": up, "down": down}}
    np.testing.assert_allclose(value(module, params, x), x @ up @ down)


def test_a_layer_s_own_dims_hide_the_glossary(load):
    text = """
dims: B, D = 2, F = 7

layer Wide[D](x: [..., D]) -> [..., D]:
    dims: F = 3 * D
    param w: [D, F] = ones()
    return x * sum[F](w)

model M(x: [B, D]) -> [B, D]:
    use wide = Wide
    return wide(x)
"""
    assert shape_of(load(text), "wide", "w") == [("D", "2"), ("F", "6")]


def test_an_imported_layer_never_sees_the_importer_s_names(load):
    other = "dims: F = 5\nlayer Up[D](x: [..., D]) -> [..., F]:\n    return expand[F](sum[D](x))\n"
    text = """
import other

dims: B, D = 2, F = 7

model M(x: [B, D]) -> [B, Out]:
    return rename[F -> Out](other.Up(x))
"""
    with pytest.raises(InputError) as error:
        load(text, files={"other.nw": other})
    assert codes(error) == ["dim-clash"]  # the F of the result is not the F of this file
    assert load(text.replace(", F = 7", ""), files={"other.nw": other}).name == "M"


def test_what_stands_right_of_an_arrow_is_declared_there(load):
    text = """
dims: B, S, D = 2

model M(x: [B, S, D]) -> [B, S]:
    y = rename[S -> T](x)
    return sum[T](dot[D](x, y)) * T
"""
    x = arrays(2, 3, 2)
    module = load(text)
    np.testing.assert_allclose(value(module, {}, x), np.einsum("bsd,btd->bs", x, x) * 3)


def test_an_arrow_to_a_dim_that_has_a_size_must_agree(load):
    text = "dims: B, D = 4, E = 4, F = 5\nmodel M(x: [B, D]) -> [B, {0}]:\n    return rename[D -> {0}](x)\n"  # noqa: E501
    assert load(text.format("E")).name == "M"
    with pytest.raises(InputError) as error:
        load(text.format("F"))
    assert codes(error) == ["size-mismatch"]


def test_grids_and_ends(load):
    text = """
dims: B, E, D = 6, H = 2

model M(x: [B, D], y: [B, E]) -> [B, Both]:
    dims: Both = 6 + E
    heads = split[D -> H * K](x)
    again = merge[K * H -> D2](heads)
    return concat[D2 + E -> Both](again, y)
"""
    x, y = arrays(2, 6), arrays(2, 3, seed=1)
    expected = np.concatenate([x.reshape(2, 2, 3).transpose(0, 2, 1).reshape(2, 6), y], 1)
    np.testing.assert_allclose(value(load(text), {}, x, y), expected)


def test_sizes_are_integer_expressions(load):
    text = """
dims: B, A = 7 // 2, C = max(2, 10 % 4, A - 1), E = 12 / 4, G = min(A, E) + 1

model M(x: [B, A, C, E, G]) -> [B]:
    return sum[A, C, E, G](x)
"""
    found = sizes(load(text))
    assert [found[n] for n in "ACEG"] == ["3", "2", "3", "4"]


def test_a_division_of_sizes_comes_out_whole(load):
    with pytest.raises(InputError) as error:
        load("dims: B, D = 7 / 2\nmodel M(x: [B, D]) -> [B]:\n    return sum[D](x)\n")
    assert codes(error) == ["does-not-divide"]


def test_a_division_of_a_free_size_is_a_requirement(tmp_path):
    path = tmp_path / "model.nw"
    path.write_text(
        "dims: B, S, H = S / 2, Two = 2\nmodel M(x: [B, S]) -> [B, Two, H]:\n"
        "    return split[S -> Two * H](x)\n"
    )
    loaded = driver.load(path)
    assert [r.split(" (")[0] for r in loaded.requirements] == [
        "S must be a multiple of 2, because S / 2 is a size"
    ]
    x = arrays(2, 6)
    np.testing.assert_allclose(value(loaded.module, {}, x), x.reshape(2, 2, 3))


def test_floor_division_of_a_free_dim(tmp_path):
    """Half of S, rounded down, for every S: what fits is proven, what does not is required."""
    path = tmp_path / "model.nw"
    text = """
dims: B, S, H = S // 2

model M(x: [B, S]) -> [B, H]:
    first = slice[S -> H](x)
    return first + sum[S](x) / H
"""
    path.write_text(text)
    loaded = driver.load(path)
    # S >= S // 2 is proven for every S: nothing is left to be required of it.
    assert loaded.requirements == ()
    for length in (2, 5, 6):
        x = arrays(2, length)
        half = length // 2
        expected = x[:, :half] + x.sum(1, keepdims=True) / half
        np.testing.assert_allclose(value(loaded.module, {}, x), expected)
    path.write_text(
        text.replace("slice[S -> H](x)", "mean[Two](split[S -> H * Two](x))").replace(
            "H = S // 2", "H = S // 2, Two = 2"
        )
    )
    (required,) = driver.load(path).requirements
    assert required.startswith("2 * (S // 2) must be S") or "S must be" in required


def test_a_dim_s_name_is_its_size(load):
    text = (
        "dims: B, S, K = 16\nmodel M(x: [B, S]) -> [B, S]:\n    return x * sqrt(K) / S + K // 3\n"
    )
    x = arrays(2, 5)
    np.testing.assert_allclose(value(load(text), {}, x), x * 4 / 5 + 5)


def test_operands_align_by_name(load):
    text = "dims: B, S, D = 3\nmodel M(x: [B, S, D], y: [D, B]) -> [S, D, B]:\n    return x - y\n"
    x, y = arrays(2, 4, 3), arrays(3, 2, seed=1)
    np.testing.assert_allclose(value(load(text), {}, x, y), (x - y.T[:, None]).transpose(1, 2, 0))


def test_expand_means_an_outer_product(load):
    text = "dims: S, T\nmodel M(x: [S], y: [T]) -> [S, T]:\n    return expand[T](x) * y\n"
    x, y = arrays(3), arrays(4, seed=1)
    np.testing.assert_allclose(value(load(text), {}, x, y), np.outer(x, y))


def test_bools_count(load):
    text = "dims: B\nmodel M(x: [B]) -> [], int[]:\n    return mean[B](x > 0), sum[B](x > 0)\n"
    results, _, _ = run(load(text), {}, [np.array([1.0, -1.0, 2.0, 3.0])])
    assert [float(r) for r in results] == [0.75, 3]


def test_bools_are_numbers_where_floats_are_asked_for(load):
    text = """
dims: B, D = 2

layer Count(x: [...]) -> [...]:
    state seen: [] = zeros()
    param first: [D] = index[D]() == 0
    seen <- any[...](x > 0)
    return x + 1

layer Positive(x: [...]) -> [...]:
    return x > 0

model M(x: [B, D]) -> [B, D]:
    use count = Count
    return count(x > 0) + Positive(x)
"""
    x = np.array([[1.0, -1.0]])
    params, state = {"count": {"first": np.zeros(2)}}, {"count": {"seen": np.array(0.0)}}
    ((found,), after, _) = run(load(text), params, [x], state)
    assert found.tolist() == [[3, 1]] and after["count"]["seen"] == 1


def test_a_constant_may_come_before_the_value_that_sets_the_dots(load):
    text = """
dims: A, B

layer Mix(x: [...], y: [...], by: []) -> [...]:
    return x + y * by

model M(y: [A, B]) -> [A, B]:
    return Mix(1, y, A)
"""
    y = arrays(2, 3)
    np.testing.assert_allclose(value(load(text), {}, y), 1 + y * 2)


def test_names_may_hide_ops(load):
    text = "dims: B\nmodel M(sum: [B]) -> [B]:\n    relu = sum * 2\n    return relu + sum\n"
    np.testing.assert_allclose(value(load(text), {}, np.ones(2)), [3, 3])


def test_three_dots_are_the_other_dims(load):
    text = """
dims: A, B, D = 2

layer Center[D](x: [..., D], gain: [..., D]) -> [..., D]:
    return (x - mean[...](x)) * gain

model M(x: [A, D, B], gain: [B, D]) -> [A, B, D]:
    return Center(x, gain)
"""
    x, gain = arrays(3, 2, 4), arrays(4, 2, seed=1)
    moved = x.transpose(0, 2, 1)
    expected = (moved - moved.mean((0, 1))) * gain
    np.testing.assert_allclose(value(load(text), {}, x, gain), expected)


def test_three_dots_may_stand_among_bracketed_dims(load):
    text = """
dims: A, B, D = 2

layer Total[D](x: [..., D]) -> []:
    return sum[..., D](x)

model M(x: [A, B, D]) -> []:
    return Total(x)
"""
    x = arrays(3, 4, 2)
    np.testing.assert_allclose(value(load(text), {}, x), x.sum())


# Layers.

DENSE = """
dims: B, D = 2, E = 3

layer Dense[I -> O](x: [..., I], act = none, bias = true) -> [..., O]:
    param w: [I, O] = normal(1.0)
    y = dot[I](x, w)
    if bias:
        param b: [O] = zeros()
        y = y + b
    if act != none:
        y = act(y)
    return y
"""


def test_arrows_are_given_in_order(load):
    module = load(
        DENSE + "\nmodel M(x: [B, D]) -> [B, E]:\n    use up = Dense[D -> E]\n    return up(x)\n"
    )
    assert shape_of(module, "up", "w") == [("I", "2"), ("O", "3")]
    w, b, x = arrays(2, 3), arrays(3, seed=1), arrays(4, 2, seed=2)
    np.testing.assert_allclose(value(module, {"up": {"w": w, "b": b}}, x), x @ w + b)


def test_a_weight_of_two_dims_from_one_is_not_captured(load):
    module = load(
        DENSE + "\nmodel M(x: [B, D]) -> [B, D]:\n    use same = Dense[D -> D](bias = false)\n"
        "    return same(x)\n"
    )
    w, x = arrays(2, 2), arrays(4, 2, seed=2)
    np.testing.assert_allclose(value(module, {"same": {"w": w}}, x), x @ w)


def test_options_take_ops_constants_and_none(load):
    module = load(
        DENSE + "\nmodel M(x: [B, D]) -> [B, E]:\n"
        "    use up = Dense[D -> E](tanh, bias = false)\n    return up(x)\n"
    )
    w, x = arrays(2, 3), arrays(4, 2, seed=2)
    assert [v.name for v in module.instance("up").params] == ["w"]
    np.testing.assert_allclose(value(module, {"up": {"w": w}}, x), np.tanh(x @ w))


def test_options_take_layers(load):
    text = """
dims: B, D = 2

layer Scale[D](x: [..., D]) -> [..., D]:
    param scale: [D] = ones()
    return x * scale

layer Block[D](x: [..., D], norm = Scale, act = relu) -> [..., D]:
    use norm1 = norm
    return act(norm1(x))

layer Twice[D](x: [..., D]) -> [..., D]:
    return 2 * x

model M(x: [B, D]) -> [B, D]:
    use a = Block
    use b = Block(norm = Twice, act = tanh)
    return b(a(x))
"""
    module = load(text)
    s, x = arrays(2), arrays(3, 2, seed=1)
    expected = np.tanh(2 * np.maximum(x * s, 0))
    np.testing.assert_allclose(value(module, {"a": {"norm1": {"scale": s}}}, x), expected)
    assert not module.instance("b.norm1").params


CHOOSING = """
dims: B, Y = 5, Yo = 3, D = 4, H = 2

layer Scale[D, R = 1](x: [..., D], by = 2.0) -> [..., D]:
    return x * by * R

layer Dense[D -> H](
    x: [..., D], act = tanh, init = he_normal, bias_init = zeros, norm = none
) -> [..., H]:
    param w: [D, H] = init[D -> H]()
    param b: [H] = bias_init()
    y = dot[D](x, w) + b
    if norm != none:
        use normalise = norm[D = H]
        y = normalise(y)
    return act(y)

layer Conv[Y -> Yo](x: [..., Y], pad = same, pool = max_pool) -> [..., Yo]:
    dims: Ky = 3
    y = pool[Y * Ky -> Yo](x, stride = 2, pad = pad)
    if pad == same:
        y = -y
    return y
"""


def test_options_take_ops_and_layers_with_options_of_their_own(load):
    module = load(
        CHOOSING
        + """
layer Around[D -> H](x: [..., D], act = none, norm = Scale) -> [..., H]:
    use inner = Dense[D -> H](act = act, norm = norm(by = 3))
    return inner(x)

model M(x: [B, D]) -> [B, H]:
    use net = Around[D -> H](act = leaky_relu(slope = 0.5), norm = Scale[R = 5](4))
    return net(x)
"""
    )
    params = {"w": arrays(4, 2), "b": arrays(2, seed=1)}
    x = arrays(3, 4, seed=2)
    inner = 3 * 5 * (x @ params["w"] + params["b"])
    found = value(module, {"net": {"inner": params}}, x)
    np.testing.assert_allclose(found, np.where(inner >= 0, inner, 0.5 * inner))


def test_options_take_initializers(load):
    module = load(
        CHOOSING
        + """
model M(x: [B, D]) -> [B, H]:
    use a = Dense[D -> H](init = variance_scaling(2.0, fan_out, normal), bias_init = full(0.5))
    use b = Dense[D -> H](init = normal(0.02))
    return a(x) + b(x)
"""
    )
    found = {
        f"{path}.{v.name}": v.init.ops[0]
        for path in ("a", "b")
        for v in module.instance(path).params
    }
    scaled = found["a.w"]
    assert [scaled.name, scaled["mode"], scaled["distribution"]] == [
        "variance_scaling", "fan_out", "normal",
    ]  # fmt: skip
    assert [d.name for d in (*scaled["fan_in"], *scaled["fan_out"])] == ["D", "H"]
    assert [found["a.b"].name, found["a.b"]["value"]] == ["full", 0.5]
    drawn = found["b.w"]
    assert [drawn.name, drawn["stddev"], len(drawn["dims"])] == ["normal", 0.02, 2]
    assert found["b.b"].name == "zeros"


def test_options_take_words_and_pools(load):
    module = load(
        CHOOSING
        + """
model M(x: [B, Y]) -> [B, Yo]:
    return Conv[Y -> Yo](x) + Conv[Y -> Yo](x, pad = 1, pool = mean_pool)
"""
    )
    x = np.array([[1.0, 2.0, 3.0, 4.0, 6.0]])
    np.testing.assert_allclose(value(module, {}, x), [[-2 + 1.5, -4 + 3, -6 + 5]])


def test_dim_defaults(load):
    """Yo is Y unless told; Ky is 3 unless told."""
    text = """
dims: B, Y = 8, Y2 = 4, C = 2, W = 3

layer Conv[C -> Co, Y -> Yo = Y, Ky = 3](x: [..., Y, C], stride = 1) -> [..., Yo, Co]:
    param w: [Ky, C, Co] = he_normal[Ky * C]()
    return conv[Y * Ky -> Yo, C](x, w, stride = stride)

model M(x: [B, Y, C]) -> [B, Y2, W]:
    use first = Conv[C -> W]
    use second = Conv[W -> W, Y -> Y2, Ky = 5](stride = 2)
    return second(first(x))
"""
    module = load(text)
    assert shape_of(module, "first", "w") == [("Ky", "3"), ("C", "2"), ("Co", "3")]
    assert shape_of(module, "second", "w") == [("Ky", "5"), ("C", "3"), ("Co", "3")]
    params = {"first": {"w": arrays(3, 2, 3)}, "second": {"w": arrays(5, 3, 3)}}
    assert value(module, params, arrays(2, 8, 2)).shape == (2, 4, 3)


def test_an_arrow_may_declare_the_caller_s_dim(load):
    text = """
dims: B, Y, K = 3

layer Valid[Y -> Yo](x: [..., Y]) -> [..., Yo]:
    param w: [K] = ones()
    return conv[Y * K -> Yo](x, w, pad = valid)

model M(x: [B, Y]) -> [B, Short]:
    use v = Valid[Y -> Short]
    return v(x) * Short
"""
    x = arrays(2, 6)
    expected = (x[:, :-2] + x[:, 1:-1] + x[:, 2:]) * 4
    np.testing.assert_allclose(value(load(text), {"v": {"w": np.ones(3)}}, x), expected)


def test_constants_given_for_values_and_defaults(load):
    text = """
dims: B, S

layer Pool[S](x: [..., S], live: bool[..., S] = true, bias: [...] = 0.5) -> [...]:
    return sum[S](x, where = live) + bias

model M(x: [B, S]) -> [B], [B], [B]:
    return Pool(x), Pool(x, false), Pool(x, bias = 2)
"""
    x = arrays(2, 3)
    results, _, _ = run(load(text), {}, [x])
    for found, expected in zip(
        results, (x.sum(1) + 0.5, np.full(2, 0.5), x.sum(1) + 2), strict=True
    ):
        np.testing.assert_allclose(found, expected)


def test_results_with_names_taken_apart(load):
    text = """
dims: B

layer Both(x: [...]) -> low: [...], high: [...]:
    return x - 1, x + 1

model M(x: [B]) -> [B]:
    low, high = Both(x)
    _, again = Both(low)
    return high * again
"""
    np.testing.assert_allclose(value(load(text), {}, np.array([3.0])), [4 * 3])


def test_calling_twice_shares_weights(load):
    module = load(
        DENSE + "\nmodel M(x: [B, D]) -> [B, D]:\n    use f = Dense[D -> D](bias = false)\n"
        "    return f(f(x))\n"
    )
    assert [i.path for i in module.instances] == ["", "f"]
    w, x = arrays(2, 2), arrays(4, 2, seed=2)
    np.testing.assert_allclose(value(module, {"f": {"w": w}}, x), x @ w @ w)


def test_two_instances_do_not(load):
    text = "\nmodel M(x: [B, D]) -> [B, D]:\n    use f = Dense[D -> D](bias = false)\n"
    module = load(DENSE + text + "    use g = Dense[D -> D](bias = false)\n    return g(f(x))\n")
    w, v, x = arrays(2, 2), arrays(2, 2, seed=1), arrays(4, 2, seed=2)
    np.testing.assert_allclose(value(module, {"f": {"w": w}, "g": {"w": v}}, x), x @ w @ v)


def test_a_parameter_of_an_instance(load):
    text = """
dims: B, S, V = 5, D = 3

layer Embedding[V, D](ids: int[...]) -> [..., D]:
    param table: [V, D] = normal(1.0)
    return take[V](table, ids)

layer Encoder[V, D](ids: int[...]) -> [..., D]:
    use embed = Embedding
    return embed(ids)

model M(ids: int[B, S]) -> [B, S, V]:
    use encoder = Encoder
    return dot[D](encoder(ids), encoder.embed.table)
"""
    table = arrays(5, 3)
    ids = np.array([[0, 4, 2]])
    params = {"encoder": {"embed": {"table": table}}}
    np.testing.assert_allclose(value(load(text), params, ids), table[ids] @ table.T)


def test_dims_that_no_parameter_carries_may_be_given_at_a_call(load):
    text = """
dims: B, S, T, D = 2

layer Tower[S, D](x: [..., S, D]) -> [..., D]:
    param w: [D] = ones()
    return mean[S](x) * w

model M(a: [B, S, D], b: [B, T, D]) -> [B, D]:
    use tower = Tower
    return tower(a) - tower[S = T](b)
"""
    a, b, w = arrays(2, 3, 2), arrays(2, 5, 2, seed=1), arrays(2, seed=2)
    expected = (a.mean(1) - b.mean(1)) * w
    np.testing.assert_allclose(value(load(text), {"tower": {"w": w}}, a, b), expected)


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


def test_losses_of_a_file_share_a_use(load):
    text = """
dims: B, D = 2

model M(x: [B, D]) -> [B]:
    param w: [D] = ones()
    return dot[D](x, w)

loss first(x: [B, D]):
    use net = M
    return mean[B](net(x))

loss second(x: [B, D]):
    use net = M
    return mean[B](net(x) ** 2)
"""
    x, w = arrays(3, 2), arrays(2, seed=1)
    params = {"net": {"w": w}}
    np.testing.assert_allclose(value(load(text), params, x), ((x @ w) ** 2).mean())
    np.testing.assert_allclose(value(load(text, "first"), params, x), (x @ w).mean())
    assert load(text).instance("net") == load(text, "first").instance("net")
    assert load(text).name == "second" and load(text).model == "net"
    assert load(text, "M").kind == "model"


def test_initializers_fill_what_they_lack(load):
    text = """
dims: B, D = 2, F = 3

model M(x: [B, D]) -> [B, D, F]:
    param w: [D, F] = index[F]() * 0.5
    param v: [D, F] = 2
    return expand[F](x) * w + v
"""
    for variable in load(text).instance("").params:
        (result,) = variable.init.results
        made = {v.id: v for op in variable.init.ops for v in op.results}
        assert {d.name for d in made[result].type.dims} == {"D", "F"}


def test_a_layer_that_is_called_by_its_own_name_takes_options(load):
    text = """
dims: B, S, D = 2

layer Pool[S](x: [..., S], by = 1.0) -> [...]:
    return mean[S](x) * by

model M(x: [B, S, D]) -> [B, D], [B, S]:
    return Pool(x, by = 3), Pool[S = D](x)
"""
    x = arrays(2, 3, 2)
    results, _, _ = run(load(text), {}, [x])
    np.testing.assert_allclose(results[0], x.mean(1) * 3)
    np.testing.assert_allclose(results[1], x.mean(2))


def test_a_layer_that_is_an_option_knows_the_dims_where_it_was_written(load):
    text = """
dims: B, D = 2, F = 3

layer Wide[D, F](x: [..., D]) -> [..., D]:
    param w: [D, F] = ones()
    return x * sum[F](w)

layer Residual[D](x: [..., D], inner) -> [..., D]:
    use inner = inner
    return x + inner(x)

layer Again[D](x: [..., D], inner) -> [..., D]:
    use inner = inner
    return inner(x)

model M(x: [B, D]) -> [B, D]:
    use r = Again(Residual(Wide))
    return r(x)
"""
    module = load(text)
    assert shape_of(module, "r.inner.inner", "w") == [("D", "2"), ("F", "3")]
    w = {"r": {"inner": {"inner": {"w": np.full((2, 3), 0.5)}}}}
    np.testing.assert_allclose(value(module, w, np.ones((1, 2))), np.full((1, 2), 2.5))


def test_an_argument_that_is_given_its_default_is_not_there(load):
    text = """
dims: B, S

layer Inner[S](x: [..., S], live: bool[..., S] = true, by: [] = 1.0) -> [...]:
    return mean[S](x, where = live) * by

layer Outer[S](x: [..., S], live: bool[..., S] = true) -> [...]:
    use inner = Inner
    return inner(x, live = live)

model M(x: [B, S], live: bool[B, S]) -> [B], [B], [B]:
    use one = Outer
    use two = Outer
    use three = Inner
    return one(x), two(x, live = live), three(x, by = 2.0)
"""
    module = load(text)
    counts = [len(module.instance(p).variants[0].inputs) for p in ("one.inner", "two.inner")]
    assert counts == [1, 2]
    x, live = arrays(2, 3), np.array([[True, False, True]] * 2)
    (one, two, three), _, _ = run(module, {}, [x, live])
    np.testing.assert_allclose(one, x.mean(1))
    np.testing.assert_allclose(two, x[:, ::2].mean(1))
    np.testing.assert_allclose(three, 2 * x.mean(1))


def test_a_chapter_beside_the_file(load):
    chapter = """
dims: Ky = 3
const: half = 0.5

layer Scale[D](x: [..., D], by = half) -> [..., D]:
    param w: [D, Ky] = ones()
    return x * sum[Ky](w) * by
"""
    text = """
import chapter

dims: B, E = 2, Ky = 100

model M(x: [B, E]) -> [B, E]:
    use s = chapter.Scale[D = E]
    return s(x)
"""
    module = load(text, files={"chapter.nw": chapter})
    assert shape_of(module, "s", "w") == [("D", "2"), ("Ky", "3")]
    np.testing.assert_allclose(
        value(module, {"s": {"w": np.ones((2, 3))}}, np.ones((1, 2))), [[1.5, 1.5]]
    )


def test_set_speaks_of_the_main_file_only(load):
    chapter = "dims: K = 3\nlayer Sum(x: [...]) -> [...]:\n    return x * K\n"
    text = (
        "import chapter\ndims: B, K = 5\nmodel M(x: [B]) -> [B]:\n    return chapter.Sum(x) * K\n"
    )
    module = load(text, files={"chapter.nw": chapter}, K=7)
    np.testing.assert_allclose(value(module, {}, np.ones(1)), [21])


def test_the_models_of_the_page():
    loaded = driver.load(HERE / "models" / "page.nw")
    assert loaded.requirements == ()
    verify(loaded.module)
    assert parse(show(loaded.module)) == loaded.module


def test_every_instance_has_a_place():
    module = driver.load(HERE / "models" / "page.nw").module
    assert [i.path for i in module.instances] == [
        "", "net", "net.blocks", "net.blocks.mixture", "net.reader", "net.down", "net.down.norm",
    ]  # fmt: skip
