"""What names and sizes mean, rule by rule, against the same thing in plain numpy."""

import numpy as np
import pytest
from meanings import arrays, codes, run, shape_of, sizes, value
from netwright import driver
from netwright.ir.diagnostics import InputError


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
