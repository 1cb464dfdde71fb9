"""What optimizers keep, to the byte, against the states that optax makes."""

from __future__ import annotations

from math import prod

import jax
import jax.numpy as jnp
import optax
import pytest
from netwright.ir.optimizers import CONTRIB, FUNCTIONS, OPTIMIZERS, REQUIRED
from netwright.ir.recipe_optimizer import Chosen, Group, Optimizer, Schedule, Transformation
from netwright.passes.memory.model import Training
from netwright.passes.memory.optimizer import Stored, state_bytes
from test_optimizer_script import emitted, recipe_of

SHAPES = [(256, 512), (3, 200, 300), (7,), (3, 7), (), (130, 2, 140), (40, 30)]


def held(state) -> int:
    """The bytes of a state."""

    def size(leaf):
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.eval_shape(jax.random.key_data, leaf)
        return prod(leaf.shape) * leaf.dtype.itemsize

    return sum(map(size, jax.tree.leaves(state)))


def variants(name):
    """Options that may change what is kept: each by itself, in another way than its default."""
    yield {}
    for option, default in FUNCTIONS[name].items():
        if isinstance(default, bool):
            yield {option: not default}
        elif "dtype" in option:
            yield {option: "bfloat16"}
        elif option == "ns_coeffs":
            yield {option: "standard"}
            yield {option: "dion"}
            yield {option: "dion", "ns_steps": 9}
        elif option in ("rank", "min_dim_size_to_factor"):
            yield {option: 3}
        elif option == "warmup_steps":
            yield {option: 10}
        elif default is None:
            yield {option: 0.5}


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_what_optax_keeps(name):
    shapes = [s for s in SHAPES if s or "sm3" not in name]
    params = {str(s): jax.ShapeDtypeStruct(s, jnp.float32) for s in shapes}
    stored = [Stored(str(s), s) for s in shapes]
    function = getattr(optax.contrib if name in CONTRIB else optax, name)
    given = {k: int(k == "k") for k, v in FUNCTIONS[name].items() if v == REQUIRED}
    rate = (1e-3,) if name in OPTIMIZERS else ()
    for options in variants(name):
        state = jax.eval_shape(function(*rate, **{**given, **options}).init, params)
        assert state_bytes(name, options, stored) == held(state), options


NET = {"embed": (64, 8), "norm": {"scale": (8,)}, "wq": (2, 8, 2, 4), "w": (2, 8, 8), "b": (2, 8)}
PATHS = ("net.embed", "net.norm.scale", "net.wq", "net.w", "net.b")


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_the_optimizer_of_a_recipe_keeps(name):
    """In groups, with schedules, and what goes before and after; one parameter frozen."""
    given = tuple((k, 0) for k, v in OPTIMIZERS[name].items() if v == REQUIRED)
    decay = (("weight_decay", Schedule("linear")),) if name == "adamw" else ()
    rest = Optimizer(
        name, options=given, schedules=decay, decay_on="all", clip=1.0,
        after=(Transformation("trace", (("decay", 0.5),)),),
    )  # fmt: skip
    other = Group(("net.wq", "net.embed"), name="muon" if name != "muon" else "galore")
    axes = (("net.wq", ((-3,), (-2, -1))), ("net.w", ((-2,), (-1,))))
    chosen = Chosen(("net.b",), (("other", ("net.embed", "net.wq")),), matrices=axes)
    recipe = recipe_of(optimizer=rest, groups=(("other", other),))
    is_shape = lambda x: isinstance(x, tuple)  # noqa: E731
    params = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s, jnp.float32), NET, is_leaf=is_shape)
    shapes = dict(zip(PATHS, (NET["embed"], (8,), NET["wq"], NET["w"], NET["b"]), strict=True))
    trained = {"net": {k: v for k, v in params.items() if k != "b"}}
    state = jax.eval_shape(emitted(recipe, chosen).init, trained)
    stored = [Stored(path, shape) for path, shape in shapes.items() if path != "net.b"]
    assert Training.of(recipe, chosen).state_bytes(stored) == held(state)
