"""Emitted optimizers against optax called by hand: the same parameters after each of 20 steps."""

from __future__ import annotations

import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from netwright.backend.optimizer_script import OptimizerScript, schedule_call
from netwright.backend.statements import in_line
from netwright.ir.optimizers import CONTRIB, DECAY_MASKS, OPTIMIZERS, TRANSFORMATIONS
from netwright.ir.recipe import Data, Recipe, Train
from netwright.ir.recipe_optimizer import Chosen, Group, Optimizer, Schedule, Transformation
from netwright.ir.schedules import SCHEDULES
from test_train_script import options_of, schedule_of

STEPS = 20
SMALL = ("net.norm.scale", "net.bias")
PATHS = ("net.embed", "net.norm.scale", "net.w", "net.bias")


def emitted(recipe: Recipe, chosen: Chosen = Chosen()):  # noqa: B008
    """The optimizer that the script makes, run as Python."""
    script = OptimizerScript(recipe, chosen)
    source = "\n".join(["import jax", "import optax", *script.tables(), *script.functions()])
    module = types.ModuleType("emitted")
    exec(compile(source, "train.py", "exec"), module.__dict__)
    return module.optimizer()


def recipe_of(**sections) -> Recipe:
    return Recipe(Data("text", "x.txt"), train=Train(batch=4, steps=STEPS), **sections)


def params_of():
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    return {
        "net": {"embed": draw(6, 4), "norm": {"scale": draw(4)}, "w": draw(4, 4), "bias": draw(4)}
    }


def same(found, expected, rtol=2e-5, atol=1e-6):
    """Whether two optimizers go the same way into a bumpy bowl."""

    def loss(params):
        leaves = jax.tree.leaves(params)
        return sum(jnp.mean(jnp.square(x - 1) + jnp.sin(3 * x) / 3) for x in leaves)

    optimizers = [optax.with_extra_args_support(o) for o in (found, expected)]

    def step(carry, _):
        made = []
        for optimizer, (params, state) in zip(optimizers, carry, strict=True):
            value, gradients = jax.value_and_grad(loss)(params)
            updates, state = optimizer.update(gradients, state, params, value=value)
            made.append((optax.apply_updates(params, updates), state))
        return made, [params for params, _ in made]

    def run(params):
        start = [(params, optimizer.init(params)) for optimizer in optimizers]
        return jax.lax.scan(step, start, None, STEPS)[1]

    params = params_of()
    a, b = jax.jit(run)(params)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=atol), a, b)


def by_hand(name, rate, **options):
    return getattr(optax.contrib if name in CONTRIB else optax, name)(rate, **options)


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_goes_as_optax_s_own(name):
    """With a schedule where optax takes one itself; some take a number only."""
    options = options_of(name)
    fixed = name.startswith("schedule_free") or name in ("polyak_sgd", "rprop", "sm3")
    schedule = Schedule("constant") if fixed else Schedule("cosine")
    chosen = Optimizer(name, 0.05, clip=1.0, decay_on="all", options=options)
    found = emitted(recipe_of(optimizer=chosen, schedule=schedule))
    rate = 0.05 if fixed else optax.cosine_decay_schedule(0.05, STEPS)
    own = by_hand(name, rate, **dict(options))
    same(found, optax.chain(optax.clip_by_global_norm(1.0), own))


@pytest.mark.slow
@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_every_transformation_goes_as_optax_s_own(name):
    given = {"key": 0, "max_norm": 0.5, "max_delta": 0.1, "threshold": 0.1, "decay": 0.5}
    options = {
        k: given.get(k, 0.3) if v == "required" else v
        for k, v in TRANSFORMATIONS[name].items()
        if v is not None
    }
    part = Transformation(name, tuple(options.items()))
    chosen = Optimizer("sgd", 0.05, decay_on="all", before=(part,), after=(part,))
    found = emitted(recipe_of(optimizer=chosen))
    own = getattr(optax.contrib if name in CONTRIB else optax, name)
    own = optax.chain(own(**options), optax.sgd(0.05), own(**options))
    same(found, own)


@pytest.mark.slow
@pytest.mark.parametrize("name", DECAY_MASKS)
def test_decay_leaves_out_what_it_is_told_to(name):
    decay = "weight_decay_rate" if name == "adafactor" else "weight_decay"
    mask = {"net": {"embed": True, "norm": {"scale": False}, "w": True, "bias": False}}
    own = {decay: 0.3, DECAY_MASKS[name]: mask}
    if name in OPTIMIZERS:
        chosen = Optimizer(name, 0.05, options=((decay, 0.3),))
        expected = by_hand(name, 0.05, **own)
    else:
        chosen = Optimizer("sgd", 0.05, before=(Transformation(name, ((decay, 0.3),)),))
        expected = optax.chain(getattr(optax, name)(**own), optax.sgd(0.05))
    found = emitted(recipe_of(optimizer=chosen), Chosen(undecayed=SMALL))
    same(found, expected)


NUMBERS = ("b1", "b2", "eps", "weight_decay", "momentum")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adamw", "sgd", "lars", "lion", "muon", "prodigy", "rmsprop"])
def test_numbers_can_be_scheduled(name):
    """Where the schedule is constant, nothing changes."""
    values = dict(options_of(name))
    numbers = [n for n in NUMBERS if isinstance(values.get(n), float)]
    scheduled = tuple((n, Schedule("constant")) for n in numbers)
    chosen = Optimizer(name, 0.05, decay_on="all", options=tuple(values.items()))
    plain = emitted(recipe_of(optimizer=chosen))
    chosen = Optimizer(
        name, 0.05, decay_on="all", options=tuple(values.items()), schedules=scheduled
    )
    # 1 - b in float32 is not 1 - b in float64
    same(emitted(recipe_of(optimizer=chosen)), plain, rtol=3e-3, atol=3e-5)


def test_weight_decay_follows_its_schedule():
    decay = optax.linear_schedule(0.5, 0.0, STEPS)
    own = optax.inject_hyperparams(optax.adamw, static_args=("b1", "b2", "eps", "eps_root"))
    own = own(optax.cosine_decay_schedule(0.05, STEPS), weight_decay=decay)
    chosen = Optimizer(
        "adamw", 0.05, options=(("weight_decay", 0.5),),
        schedules=(("weight_decay", Schedule("linear")),),
    )  # fmt: skip
    found = emitted(recipe_of(optimizer=chosen, schedule=Schedule("cosine")))
    same(found, own)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_are_those_of_optax(name):
    kind = SCHEDULES[name]
    options = dict(schedule_of(name).options)
    found = eval(in_line(schedule_call(Schedule(name, tuple(options.items())), 0.5, 60)))
    lengths = {k: 60 for k, v in kind.options.items() if v == "train.steps"}
    joined = optax.join_schedules
    line = optax.linear_schedule
    own = {
        "warmup_linear": lambda: joined([line(0.0, 0.5, 5), line(0.5, 0.0, 55)], [5]),
        "warmup_stable_decay": lambda: joined(
            [line(0.0, 0.5, 5), lambda _: 0.5, line(0.5, 0.0, 10)], [5, 50]
        ),
        "join": lambda: joined([optax.cosine_decay_schedule(0.5, 20), line(0.1, 0.0, 40)], [20]),
        "sgdr": lambda: optax.sgdr_schedule(
            [
                dict(init_value=0.0, peak_value=0.5, warmup_steps=0, decay_steps=n, end_value=0.0)
                for n in (20, 40)
            ]
        ),
    }.get(name)
    if own is None:
        given = {k: v for k, v in {**kind.options, **lengths, **options}.items() if v is not None}
        given = {k: dict(v) if isinstance(v, tuple) else v for k, v in given.items()}
        made = getattr(optax, kind.optax)(**{kind.rate: 0.5, **given})
    else:
        made = own()
    np.testing.assert_allclose(
        [float(found(n)) for n in range(70)], [float(made(n)) for n in range(70)], rtol=1e-6
    )


def test_a_state_tells_its_groups_by_name():
    from netwright.runtime.state import leaves_by_path

    groups = (("embedding", Group(("net.embed",), factor=0.1)),)
    chosen = Chosen(groups=(("embedding", ("net.embed",)),))
    recipe = recipe_of(optimizer=Optimizer("adam", clip=1.0), groups=groups)
    paths = leaves_by_path(emitted(recipe, chosen).init(params_of()))
    found = {".".join(path) for path in paths}
    start = "1.inner_states.embedding.inner_state"
    assert f"{start}.hyperparams.learning_rate" in found
    assert f"{start}.inner_state.0.mu.net.embed" in found
    assert "1.inner_states.default.inner_state.inner_state.0.mu.net.w" in found


@pytest.mark.slow
def test_muon_sees_copies_and_many_dims_as_the_matrices_that_they_are():
    """Stacked weights of attention go as optax has each copy go, written as a matrix."""
    rng = np.random.default_rng(0)
    wq, wo = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((2, 6, 2, 4), (2, 2, 4, 6)))
    stacked = {"net": {"wq": wq, "wo": wo, "b": jnp.ones(3)}}
    apart = {
        "q": [wq[n].reshape(6, 8) for n in range(2)],
        "o": [wo[n].reshape(8, 6) for n in range(2)],
        "b": jnp.ones(3),
    }
    axes = (("net.wq", ((-3,), (-2, -1))), ("net.wo", ((-3, -2), (-1,))))
    recipe = recipe_of(optimizer=Optimizer("muon", 0.05, options=(("weight_decay", 0.1),)))
    found = descend(emitted(recipe, Chosen(matrices=axes, undecayed=("net.b",))), stacked, 5)
    expected = descend(optax.contrib.muon(0.05, weight_decay=0.1), apart, 5)
    for n in range(2):
        for name, shape in (("q", (6, 8)), ("o", (8, 6))):
            one = found["net"][f"w{name}"][n].reshape(shape)
            np.testing.assert_allclose(one, expected[name][n], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["net"]["b"], expected["b"], rtol=1e-5)


def descend(optimizer, params, steps):
    """Parameters after some steps towards the sines of themselves, element by element."""

    def step(carry, _):
        params, state = carry
        gradients = jax.tree.map(lambda x: x - jnp.sin(x), params)
        updates, state = optimizer.update(gradients, state, params)
        return (optax.apply_updates(params, updates), state), None

    run = jax.jit(lambda p: jax.lax.scan(step, (p, optimizer.init(p)), None, steps)[0][0])
    return jax.device_get(run(params))


# Groups at random


OPTIONS = {
    "sgd": {"momentum": st.sampled_from([0.5, 0.9])},
    "adamw": {"b1": st.sampled_from([0.5, 0.9]), "weight_decay": st.sampled_from([0.0, 0.3])},
    "lion": {"weight_decay": st.sampled_from([0.0, 0.3])},
    "adam": {"eps": st.sampled_from([1e-3, 1e-8])},
}


@st.composite
def kinds(draw):
    name = draw(st.sampled_from(sorted(OPTIONS)))
    return name, draw(st.fixed_dictionaries({}, optional=OPTIONS[name]))


def schedule(draw):
    return draw(st.sampled_from([Schedule("constant"), Schedule("cosine"), Schedule("linear")]))


@pytest.mark.slow
@given(st.data())
@settings(max_examples=8, deadline=None)
def test_random_groups_go_as_a_partition_by_hand(data):
    draw = data.draw
    rates = {
        "constant": lambda rate: lambda step: rate,
        "cosine": lambda rate: optax.cosine_decay_schedule(rate, STEPS),
        "linear": lambda rate: optax.linear_schedule(rate, 0.0, STEPS),
    }
    labels = {path: draw(st.sampled_from(["default", "a", "b"])) for path in PATHS}
    name, options = draw(kinds())
    clip = draw(st.sampled_from([None, 0.5]))
    rest = Optimizer(name, 0.1, clip=clip, options=tuple(options.items()))
    by = schedule(draw)
    groups, parts = [], {}

    def made(name, options, rate, decay_on="matrices"):
        options = dict(options)
        if options.get("weight_decay", OPTIMIZERS[name].get("weight_decay")):
            options["mask"] = mask(decay_on)
        return getattr(optax, name)(rate, **options)

    def mask(decay_on):
        def decays(params):
            return jax.tree.map(lambda x: decay_on == "all" or x.ndim > 1, params)

        return decays

    undecayed = set()

    def note(label, name, options, decay_on="matrices"):
        if decay_on == "matrices" and "weight_decay" in OPTIMIZERS[name]:
            undecayed.update(p for p in SMALL if labels[p] == label)

    for label in sorted({*labels.values()} - {"default"}):
        own = draw(st.one_of(st.none(), kinds()))
        factor = draw(st.sampled_from([None, 0.5]))
        high = draw(st.sampled_from([None, 0.02]))
        inner = draw(st.one_of(st.none(), st.builds(lambda: schedule(draw))))
        decay_on = draw(st.sampled_from([None, "all"]))
        part_clip = draw(st.sampled_from([None, 0.2]))
        group = Group(
            tuple(p for p in PATHS if labels[p] == label), factor=factor, learning_rate=high,
            schedule=inner, decay_on=decay_on, clip=part_clip,
            name=own and own[0], options=tuple(own[1].items()) if own else (),
        )  # fmt: skip
        groups.append((label, group))
        its_name, its_options = own or (name, options)
        note(label, its_name, its_options, decay_on or "matrices")
        rate = rates[(inner or by).name](high or 0.1)
        times = lambda step, f=factor or 1.0, rate=rate: f * rate(step)  # noqa: E731
        part = made(its_name, its_options, times, decay_on or "matrices")
        if part_clip:
            part = optax.chain(optax.clip_by_global_norm(part_clip), part)
        parts[label] = part
    note("default", name, options)
    parts["default"] = made(name, options, rates[by.name](0.1))
    chosen = Chosen(
        groups=tuple((label, group.on) for label, group in groups),
        undecayed=tuple(p for p in PATHS if p in undecayed),
        rest="default" in labels.values(),
    )
    found = emitted(recipe_of(optimizer=rest, schedule=by, groups=tuple(groups)), chosen)
    tree = {
        "net": {
            "embed": labels["net.embed"], "norm": {"scale": labels["net.norm.scale"]},
            "w": labels["net.w"], "bias": labels["net.bias"],
        }
    }  # fmt: skip
    expected = optax.multi_transform(parts, tree)
    if clip:
        expected = optax.chain(optax.clip_by_global_norm(clip), expected)
    same(found, expected, rtol=1e-4)
