"""Ops that only passes make: layouts, casts, names, placement."""

import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from netwright.backend.source import OpSource
from netwright.ir.core import Dim, Op, Order, Type, Value, attributes, axes, flat
from netwright.ir.named import Named
from netwright.ir.registry import Code, lookup, names
from netwright.ir.size import Size
from op_cases import arrange, dims, residuals, shape_of

B, S, D, K = dims("B S D K")
ALL = axes((B, S, D))


def written(op_name: str, before: Order, after: Order, **attrs) -> str:
    type_ = Type("float", flat(before))
    op = Op(op_name, (0,), (Value(1, type_),), attributes(**attrs))
    (given,) = lookup(op_name).shape((type_,), op)
    op = replace(op, results=(Value(1, given, order=after),))
    assert lookup(op_name).order(op, (before,)) == ((before,), (after,))
    return OpSource(op, (type_,), (before,), (Code("x"),), str, {}, str).write().text


@pytest.mark.parametrize(
    "name, before, after, text",
    [
        ("transpose", ALL, axes((S, D, B)), "x.transpose(1, 2, 0)"),
        ("transpose", ALL, axes((B, D, S)), "x.swapaxes(1, 2)"),
        ("transpose", axes((B, D)), axes((D, B)), "x.T"),
        ("transpose", ALL, ALL, "x"),
        ("transpose", ((), (B,), (S, D)), ((B,), (S, D), ()), "x.transpose(1, 2, 0)"),
        ("collapse", ALL, ((B, S), (D,)), "x.reshape(2 * 3, 5)"),
        ("collapse", ALL, ((B, S, D),), "x.reshape(2 * 3 * 5)"),
        ("uncollapse", ((B, S), (D,)), ALL, "x.reshape(2, 3, 5)"),
        ("align", axes((B, D)), ((B,), (), (D,)), "x[:, None]"),
        ("align", axes((B, D)), ((), (B,), (D,)), "x[None]"),
        ("align", axes((B, D)), ((B,), (D,), ()), "x[..., None]"),
        ("align", axes((B,)), ((B,), ()), "x[:, None]"),
        ("align", axes((B,)), ((B,), (), ()), "x[:, None, None]"),
        ("align", ALL, ((B,), (), (S,), (), (D,)), "x[:, None, :, None]"),
        ("align", ALL, ((B,), (S,), (), (D,)), "x[:, :, None]"),
        ("align", ALL, ((B,), (S,), (D,), (), ()), "x[..., None, None]"),
        ("align", (), ((), ()), "x[None, None]"),
        ("squeeze_axes", ((B,), (), (D,)), axes((B, D)), "x.squeeze(1)"),
        ("squeeze_axes", ((), (B,), ()), axes((B,)), "x.squeeze((0, 2))"),
    ],
)
def test_orders(name, before, after, text):
    assert written(name, before, after) == text
    array = np.arange(60.0)[: int(np.prod([d.size.value for d in flat(before)]))]
    given = arrange(array, (flat(before),), before)
    found = eval(text, {"jnp": jnp}, {"x": jnp.asarray(given)})
    np.testing.assert_array_equal(found, arrange(given, before, after))


@pytest.mark.parametrize(
    "name, before, after, attrs",
    [
        ("transpose", ALL, axes((S, D, B)), {}),
        ("collapse", ALL, ((B, S), (D,)), {}),
        ("uncollapse", ((B, S), (D,)), ALL, {}),
        ("align", ALL, ((B,), (), (S,), (), (D,)), {}),
        ("squeeze_axes", ((B,), (), (D,)), axes((B, D)), {}),
        ("cast", ALL, ALL, {"dtype": "bfloat16"}),
        ("cast", ALL, ALL, {"dtype": "float32"}),
        ("name", ALL, ALL, {"name": "attn/q"}),
        ("constrain", ALL, ALL, {"spec": (("data",), (), ())}),
    ],
)
def test_keeps(name, before, after, attrs):
    """JAX saves nothing of them, and nothing is what the registry says."""
    text = written(name, before, after, **attrs)
    names = {"jnp": jnp, "lax": lax, "P": P, "checkpoint_name": checkpoint_name}
    type_ = Type("float32", flat(before))
    array = np.ones(shape_of(before), np.float32)
    mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Auto,))
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
        found = residuals(lambda x: (eval(text, {**names, "x": x}),), [array], (True,))
    assert found == []
    op = Op(name, (0,), (Value(1, type_),), attributes(**attrs))
    assert lookup(name).keeps(op, (type_,), (True,)) == ()


def test_every_op_of_a_layout_is_compared():
    compared = {"transpose", "collapse", "uncollapse", "align", "squeeze_axes", "cast", "name"}
    layouts = {name for name in names() if lookup(name).family == "layout"}
    assert layouts == {*compared, "constrain"}


def test_a_size_that_is_not_known_is_minus_one():
    b, s, d = (Dim(i, n, Size.free(n)) for i, n in enumerate("BSD"))
    assert written("collapse", axes((b, D, K)), ((b,), (D, K))) == "x.reshape(-1, 5 * 6)"
    assert written("collapse", axes((b, s, D)), ((b, s), (D,))) == "x.reshape(-1, 5)"
    assert written("collapse", axes((b, s, d)), ((b, s), (d,))) == "x.reshape(-1, D)"
    assert written("uncollapse", ((b, s), (D,)), axes((b, s, D))) == "x.reshape(B, S, 5)"


def test_cast():
    assert written("cast", ALL, ALL, dtype="bfloat16") == "x.astype(jnp.bfloat16)"
    assert written("cast", ALL, ALL, dtype="float32") == "x.astype(jnp.float32)"
    op = Op("cast", attrs=attributes(dtype="bfloat16"))
    assert lookup("cast").shape((Type("float", (B,)),), op) == (Type("bfloat16", (B,)),)
    meant = lookup("cast").meaning(np, (Named(np.asarray([1.001, 3.0]), (B,)),), op)
    assert meant.array.tolist() == [1.0, 3.0]


def test_name():
    text = written("name", ALL, ALL, name="attn/q")
    assert text == 'checkpoint_name(x, "attn/q")'
    assert eval(text, {"checkpoint_name": checkpoint_name, "x": jnp.ones(3)}).sum() == 3


@pytest.mark.parametrize(
    "spec, text",
    [
        ((("data",), (), ("model",)), 'P("data", None, "model")'),
        ((("data", "model"), (), ()), 'P(("data", "model"), None, None)'),
    ],
)
def test_constrain(spec, text):
    text = f"lax.with_sharding_constraint(x, {text})"
    assert written("constrain", ALL, ALL, spec=spec) == text
    mesh = jax.make_mesh((1, 1), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    with jax.set_mesh(mesh):
        found = jax.jit(lambda x: eval(text, {"lax": lax, "P": P, "x": x}))(jnp.ones((2, 3, 5)))
    assert found.sum() == 30


@pytest.mark.parametrize("mask", range(1, 32))
def test_axes_of_size_1_anywhere(mask):
    """Bits say where axes of size 1 stand among B, S and D."""
    left = list(ALL)
    after = [() if mask >> i & 1 else left.pop(0) for i in range(5) if left or mask >> i & 1]
    after = tuple([*after, *left])
    x = np.arange(30.0).reshape(2, 3, 5)
    there = eval(written("align", ALL, after), {"x": x})
    np.testing.assert_array_equal(there, arrange(x, ALL, after))
    back = eval(written("squeeze_axes", after, ALL), {"x": there})
    np.testing.assert_array_equal(back, x)
    for perm in itertools.permutations(after):
        found = eval(written("transpose", after, perm), {"x": there})
        np.testing.assert_array_equal(found, arrange(x, ALL, perm))
