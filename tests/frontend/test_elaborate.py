"""What layers and their uses mean, rule by rule, against the same thing in plain numpy."""

from pathlib import Path

import numpy as np
from meanings import arrays, run, shape_of, value
from netwright import driver
from netwright.ir.text import parse, show
from netwright.ir.verify import verify

HERE = Path(__file__).parent


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


def test_a_repeated_layer_gives_dims_that_it_takes(load):
    """The channels that a copy makes are those that the next one takes, whatever it calls them."""
    module = load(
        CHOOSING
        + """
layer Slide[Y -> Yo = Y, C -> Co](x: [..., Y, C]) -> [..., Yo, Co]:
    dims: K = 3
    param w: [K, C, Co] = he_normal[K * C]()
    return conv[Y * K -> Yo, C](x, w)

model M(x: [B, Y, D]) -> [B, Y, D]:
    use slides = repeat[Yo] Slide[Y -> Y, D -> D]
    return slides(x)
"""
    )
    w, x = arrays(3, 3, 4, 4), arrays(2, 5, 4, seed=1)
    wanted = x
    for kernel in w:
        wide = np.pad(wanted, ((0, 0), (1, 1), (0, 0)))
        wanted = sum(wide[:, i : i + 5] @ kernel[i] for i in range(3))
    np.testing.assert_allclose(value(module, {"slides": {"w": w}}, x), wanted)


def test_a_layer_may_be_given_to_itself_as_an_option(load):
    """That ends, unlike a layer that uses itself by its own name."""
    module = load(
        """
dims: B, D = 2

layer Level[D](x: [..., D], inner = none) -> [..., D]:
    param scale: [D] = ones()
    if inner == none:
        y = x
    else:
        use below = inner
        y = below(x)
    return y * scale

model M(x: [B, D]) -> [B, D]:
    use top = Level(inner = Level(inner = Level))
    return top(x)
"""
    )
    a, b, c, x = (arrays(2, seed=i) for i in range(4))
    params = {"top": {"scale": a, "below": {"scale": b, "below": {"scale": c}}}}
    np.testing.assert_allclose(value(module, params, x[None]), [a * b * c * x])


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


def test_the_dims_of_dots_are_none_of_the_model_s_own(load):
    module = load("dims:\n    N\n\nmodel M(x: [..., N]) -> [...]:\n    return sum[N](x)\n")
    x = arrays(2, 3)
    np.testing.assert_allclose(value(module, {}, x), x.sum(1))
