"""The emitted train.py: what it says, that tools find nothing in it, and that its parts work."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import netwright.runtime
import pytest
from netwright.backend.batches import Input, inputs_of
from netwright.backend.train_script import train_script
from netwright.frontend.elaborate import elaborate
from netwright.frontend.names import load
from netwright.frontend.recipe.fit import fit
from netwright.frontend.recipe.reader import read_recipe
from netwright.ir.diagnostics import Diagnostics
from netwright.ir.optax_options import REQUIRED
from netwright.ir.optimizers import OPTIMIZERS
from netwright.ir.recipe import Data, Mesh, Precision, Recipe, Train
from netwright.ir.recipe_optimizer import Chosen, Group, Optimizer, Schedule, Transformation
from netwright.ir.schedules import SCHEDULES

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted(p.parent.name for p in ROOT.glob("examples/*/recipe.toml"))
SHAKESPEARE = ROOT / "examples/shakespeare/data/shakespeare.txt"
SMALL = Chosen(undecayed=("net.norm.scale", "net.bias"))
NONE = Chosen()


def windows(tokens="tokens", targets="targets") -> tuple[Input, ...]:
    dims = (("B", 4), ("S", 16))
    return Input(tokens, dims, "tokens", 256), Input(targets, dims, "targets")


def script(recipe: Recipe, inputs=None, name="sheep", chosen=SMALL) -> str:
    return train_script(
        recipe, name=name, entry="next_token", inputs=inputs or windows(), chosen=chosen
    )


def text(**sections) -> Recipe:
    return Recipe(Data("text", str(SHAKESPEARE)), train=Train(batch=4, steps=60), **sections)


def example(name: str) -> tuple[str, Recipe]:
    folder = ROOT / "examples" / name
    diagnostics = Diagnostics()
    recipe = read_recipe(folder / "recipe.toml", diagnostics)
    diagnostics.raise_errors()
    module = elaborate(load(folder / "model.nw", diagnostics), diagnostics)
    fitted = fit(recipe, module, diagnostics)
    diagnostics.raise_errors()
    inputs = inputs_of(module, dict(fitted.sizes), dict(fitted.fields), dict(fitted.ids))
    written = train_script(
        recipe, name=name, entry=module.name, inputs=inputs, chosen=fitted.chosen, source="model.nw"
    )
    return written, recipe


def loaded(source: str, folder: Path, monkeypatch) -> types.ModuleType:
    """The module of a train.py that stands in a folder."""
    (folder / "train.py").write_text(source)
    (folder / "model.py").write_text("")
    model = types.ModuleType("model")
    model.__file__ = str(folder / "model.py")
    monkeypatch.setitem(sys.modules, "model", model)
    monkeypatch.setitem(sys.modules, "runtime", netwright.runtime)
    spec = importlib.util.spec_from_file_location("emitted_train", folder / "train.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def with_data(folder: Path, recipe: Recipe) -> Path:
    (folder / "data").mkdir()
    shutil.copy(recipe.data_path, folder / "data")
    return folder


def updated(module, steps=2):
    """A toy tree after some updates by the module's optimizer with gradients of zero."""
    import jax
    import jax.numpy as jnp
    import optax

    params = {
        "net": {"norm": {"scale": jnp.ones((3, 4))}, "w": jnp.ones((4, 4)), "bias": jnp.ones(4)}
    }
    optimizer = optax.with_extra_args_support(module.optimizer())
    state = optimizer.init(params)
    for _ in range(steps):
        grads = jax.tree.map(jnp.zeros_like, params)
        updates, state = optimizer.update(grads, state, params, value=1.0)
        params = optax.apply_updates(params, updates)
    return params["net"]


# What it says


def test_a_whole_script():
    chosen = Optimizer("adamw", 3e-3, 1.0, options=(("b2", 0.95), ("weight_decay", 0.1)))
    schedule = Schedule("warmup_cosine", (("warmup_steps", 6), ("end_value", 3e-4)))
    recipe = replace(
        text(optimizer=chosen, schedule=schedule), mesh=Mesh((("data", 2), ("model", 4)))
    )
    assert script(recipe) == EXPECTED


EXPECTED = '''\
"""Trains sheep: the loss next_token.

`python train.py` trains; with --help it says what else it can.
"""

import sys
from pathlib import Path

import jax
import optax

# isort: off
import model
from runtime import Job, data, main

HERE = Path(__file__).resolve().parent
NOT_DECAYED = ("net.norm.scale", "net.bias")


def decayed(params):
    """True for each parameter that weight decay shrinks."""
    return jax.tree.map_with_path(
        lambda path, _: ".".join(key.key for key in path) not in NOT_DECAYED, params
    )


def optimizer():
    """The optimizer; its learning rate goes by warmup_cosine, and gradients are clipped."""
    rate = optax.warmup_cosine_decay_schedule(
        peak_value=0.003, init_value=0.0, warmup_steps=6, decay_steps=60, end_value=0.0003
    )

    @optax.inject_hyperparams  # so that its state says which learning rate is in effect
    def adamw(learning_rate):
        return optax.adamw(learning_rate, b2=0.95, weight_decay=0.1, mask=decayed)

    return optax.chain(optax.clip_by_global_norm(1.0), adamw(rate))


def batches():
    """Batches of 4 windows of 16 bytes; the last 10 % are held out."""
    return data.Text(
        HERE / "data" / "shakespeare.txt",
        length=16,
        batch=4,
        fields=("tokens", "targets"),
        vocabulary=256,
        held_out=0.1,
        seed=0,
    )


JOB = Job(
    name="sheep",
    model=model,
    optimizer=optimizer,
    data=batches,
    steps=60,
    seed=0,
    evaluate_every=100,
    checkpoint_every=500,
    keep=3,
    mesh={"data": 2, "model": 4},
)

if __name__ == "__main__":
    sys.exit(main(JOB))
'''


GROUPED = Chosen(
    groups=(("embedding", ("net.embed",)), ("small", ("net.norm.scale", "net.bias"))),
    undecayed=("net.norm.scale", "net.bias"),
)


def grouped() -> Recipe:
    """A recipe with two groups, one of them with everything of its own."""
    small = Group(
        ("**.scale", "**.bias"), name="sgd", learning_rate=0.1, schedule=Schedule("constant"),
        clip=0.5, before=(Transformation("centralize"),), options=(("momentum", 0.9),),
    )  # fmt: skip
    chosen = Optimizer(
        "adamw", 3e-3, 1.0, options=(("weight_decay", 0.1),),
        schedules=(("weight_decay", Schedule("linear")),),
        before=(Transformation("adaptive_grad_clip", (("clipping", 0.01),)),),
        after=(Transformation("keep_params_nonnegative"),),
    )  # fmt: skip
    wsd = Schedule("warmup_stable_decay", (("warmup_steps", 6), ("decay_steps", 20)))
    groups = (("embedding", Group(("net.embed",), factor=0.1)), ("small", small))
    return replace(text(optimizer=chosen, schedule=wsd), groups=groups)


def test_groups_are_written_as_optax_has_them():
    written = script(grouped(), chosen=GROUPED)
    assert GROUPS_EXPECTED in written


GROUPS_EXPECTED = '''\
GROUPS = {
    "embedding": ("net.embed",),
    "small": ("net.norm.scale", "net.bias"),
}


def group(params):
    """The group of each parameter; "default" for those that are in none."""
    of = {path: name for name, paths in GROUPS.items() for path in paths}
    return jax.tree.map_with_path(
        lambda path, _: of.get(".".join(key.key for key in path), "default"), params
    )


def optimizer():
    """The optimizer; its learning rate goes by warmup_stable_decay, and gradients are clipped."""
    rate = optax.join_schedules(
        [
            optax.linear_schedule(0.0, 0.003, 6),
            optax.constant_schedule(0.003),
            optax.linear_schedule(0.003, 0.0, 20),
        ],
        boundaries=[6, 40],
    )
    weight_decay = optax.linear_schedule(init_value=0.1, end_value=0.0, transition_steps=60)
    small_rate = optax.constant_schedule(0.1)

    @optax.inject_hyperparams  # so that its state says which learning rate is in effect
    def adamw(learning_rate, weight_decay):
        return optax.adamw(learning_rate, weight_decay=weight_decay)

    @optax.inject_hyperparams
    def embedding(learning_rate, weight_decay):
        return optax.adamw(learning_rate, weight_decay=weight_decay)

    @optax.inject_hyperparams
    def small(learning_rate):
        return optax.sgd(learning_rate, momentum=0.9)

    groups = {
        "default": adamw(rate, weight_decay=weight_decay),
        "embedding": embedding(lambda step: 0.1 * rate(step), weight_decay=weight_decay),
        "small": optax.chain(optax.clip_by_global_norm(0.5), optax.centralize(), small(small_rate)),
    }
    return optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adaptive_grad_clip(clipping=0.01),
        optax.partition(groups, group),
        optax.keep_params_nonnegative(),
    )
'''


def test_nothing_but_the_recipe_decides_the_text():
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_train_script import example\n"
        "print(example('shakespeare')[0])"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", program, str(Path(__file__).parent)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(texts) == 1


# Tidiness


def variants():
    for name in EXAMPLES:
        yield name, example(name)[0]
    for name in SCHEDULES:
        yield name, script(text(schedule=schedule_of(name)))
    for name in OPTIMIZERS:
        chosen = Optimizer(name, clip=0.5, decay_on="all", options=options_of(name))
        yield f"optimizer_{name}", script(text(optimizer=chosen), chosen=NONE)
    yield "groups", script(grouped(), chosen=GROUPED)
    axes = (("net.embed", ((-2,), (-1,))), ("net.w", ((-3, -2), (-1,))))
    muon = text(optimizer=Optimizer("muon", options=(("beta", 0.9),)))
    yield "muon", script(muon, chosen=Chosen(matrices=axes))
    long = tuple(f"network.blocks.attention_{i}.norm.scale" for i in range(9))
    yield "long", script(text(), chosen=Chosen(undecayed=long))
    yield "one", script(text(), chosen=Chosen(undecayed=("network.norm",)))
    yield (
        "one_long",
        script(text(), chosen=Chosen(undecayed=("network." + "block." * 14 + "scale",))),
    )
    yield "strange", script(text(), windows('a"b', "é😀"), name='a "quoted" name\\ """ {} 😀')
    yield (
        "mesh",
        script(replace(text(), mesh=Mesh(tuple((f"a_long_axis_{i}", 2) for i in range(9))))),
    )


def options_of(name: str) -> tuple[tuple[str, Any], ...]:
    """All options of an optimizer, with optax's defaults."""
    options = {k: 0 if v == REQUIRED else v for k, v in OPTIMIZERS[name].items()}
    return tuple((k, v) for k, v in options.items() if v is not None)


def schedule_of(name: str) -> Schedule:
    given = {"warmup_steps": 5, "decay_rate": 0.9, "power": 2.0}
    given |= {"boundaries_and_scales": ((20, 0.5), (40, 0.1)), "interpolate_type": "cosine"}
    given |= {"cycles": (20, 40), "boundaries": (20,), "decay_steps": 10}
    given["schedules"] = (Schedule("cosine"), Schedule("linear", (("init_value", 0.1),)))
    needed = [k for k, v in SCHEDULES[name].options.items() if v == REQUIRED]
    return Schedule(name, tuple((k, given[k]) for k in needed))


def test_ruff_finds_nothing_and_changes_nothing(tmp_path):
    ruff = shutil.which("ruff") or str(Path(sys.executable).with_name("ruff"))
    odd = tmp_path / "odd"  # ruff format would take single quotes around double ones
    odd.mkdir()
    for name, source in variants():
        folder = odd if name == "strange" else tmp_path
        (folder / f"{name}.py").write_text(source)
        assert max(map(len, source.splitlines())) <= 100 or name == "one_long"
        compile(source, name, "exec")
    for arguments in (
        ["check"],
        ["format", "--diff", "--line-length", "100", "--exclude", "odd"],
    ):
        done = subprocess.run(
            [ruff, *arguments, "--isolated", str(tmp_path)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


# Its parts


def test_decay_leaves_out_small_parameters_even_where_they_are_stacked(tmp_path, monkeypatch):
    chosen = Optimizer("adamw", 0.1, options=(("weight_decay", 0.5),))
    left = updated(loaded(script(text(optimizer=chosen)), tmp_path, monkeypatch))
    assert (
        float(left["w"][0, 0]) < 1
        and (left["norm"]["scale"] == 1).all()
        and (left["bias"] == 1).all()
    )
    everything = script(text(optimizer=replace(chosen, decay_on="all")), chosen=NONE)
    assert "decayed" not in everything
    left = updated(loaded(everything, tmp_path, monkeypatch))
    assert float(left["norm"]["scale"][0, 0]) < 1 and float(left["bias"][0]) < 1


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_builds_and_updates(name, tmp_path, monkeypatch):
    recipe = text(
        optimizer=Optimizer(name, clip=1.0, options=options_of(name)),
        schedule=schedule_of("cosine"),
    )
    updated(loaded(script(recipe), tmp_path, monkeypatch))


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_starts_and_ends_as_it_says(name, tmp_path, monkeypatch):
    source = script(text(optimizer=Optimizer("sgd", 0.5), schedule=schedule_of(name)))
    module = loaded(source, tmp_path, monkeypatch)
    monkeypatch.setattr(module.optax, "inject_hyperparams", lambda _: lambda rate: rate)
    rate = module.optimizer()
    values = [float(rate(step)) for step in range(61)]
    assert max(values) == pytest.approx(0.5, abs=0.05)
    if name.startswith("warmup"):
        assert values[0] == 0 and values[5] == pytest.approx(0.5)
    if name in ("cosine", "warmup_cosine", "linear", "warmup_linear", "polynomial"):
        assert values[60] == pytest.approx(0, abs=1e-6)
    if name == "piecewise":
        assert values[30] == pytest.approx(0.25) and values[50] == pytest.approx(0.025)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_give_batches(name, tmp_path, monkeypatch):
    source, recipe = example(name)
    module = loaded(source, with_data(tmp_path, recipe), monkeypatch)
    source = module.batches()
    batch = source.batch(0)
    assert all(len(field) == recipe.train.batch for field in batch.values())
    assert next(iter(source.held_out()))
    assert module.JOB.steps == recipe.train.steps
    assert module.optimizer().init({"w": 1.0}) is not None


def test_text_from_a_recipe_stays_text(tmp_path, monkeypatch):
    name = '"); import os; os.abort() #\\'
    file = tmp_path / '"+x+".txt'
    recipe = replace(text(), data=Data("text", str(file)))
    module = loaded(script(recipe, windows('a"b', "é😀"), name=name), tmp_path, monkeypatch)
    assert module.JOB.name == name
    assert re.search(r'\\"\+x\+\\"', (tmp_path / "train.py").read_text())
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / '"+x+".txt').write_text("All the world is a stage. " * 20)
    assert set(module.batches().batch(0)) == {'a"b', "é😀"}


def test_settings_stand_there_only_where_they_differ():
    assert "Settings" not in script(text())
    train = Train(batch=4, steps=60, freeze=("net.embed",), ema=0.999)
    chosen = Chosen(frozen=("net.embed",))
    recipe = Recipe(Data("text", str(SHAKESPEARE)), train=train, precision=Precision("float16"))
    written = train_script(
        recipe, name="sheep", entry="next_token", inputs=windows(), chosen=chosen, microbatches=2
    )
    assert "from runtime import Job, Settings, data, main\n" in written
    expected = 'microbatches=2, loss_scale="dynamic", frozen=("net.embed",), ema=0.999'
    assert f"    settings=Settings({expected}),\n" in written
