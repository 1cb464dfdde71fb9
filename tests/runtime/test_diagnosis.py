"""Faults put into a model that is fine: what is said of each, and that it was nothing else."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import netwright as nw
import numpy as np
import optax
import pytest
from netwright.ir.plan import Plan
from netwright.runtime import RunError
from netwright.runtime.bad_step import look_again
from netwright.runtime.diagnosis import diagnose
from netwright.runtime.loop import train
from netwright.runtime.nonfinite import first_nonfinite
from netwright.runtime.stream import Steps
from runtime_helpers import rows

RECIPE = """
name = "faults"
[data]
kind = "arrays"
file = "data.npz"
held_out = 8
[train]
steps = 4
batch = 4
microbatches = 2
"""


def compiled(folder, more=""):
    folder.mkdir(exist_ok=True)
    shutil.copy(Path(__file__).parent / "faults.nw", folder / "model.nw")
    rng = np.random.default_rng(0)
    np.savez(
        folder / "data.npz",
        x=rng.normal(size=(40, 6, 8)).astype(np.float32),
        live=np.arange(6)[None] < rng.integers(1, 7, size=(40, 1)),
        size=rng.uniform(1, 2, 40).astype(np.float32),
        want=rng.normal(size=40).astype(np.float32),
    )
    (folder / "recipe.toml").write_text(RECIPE + more)
    return nw.load(folder).compile()


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="module")
def unrolled(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("unrolled"), '[roll]\n"net.blocks" = "unroll"\n')


def report(program, tmp_path, spoil):
    """What is said of the first step, with its state and batch spoilt."""
    state = program.init(0)
    batch = {name: np.array(value) for name, value in program.data.batch(0).items()}
    params = jax.tree.map(np.array, state.params)
    spoil(params["net"], batch)
    lines = diagnose(program.job, state._replace(params=params), batch, tmp_path)
    found = json.loads((tmp_path / "report.json").read_text())
    assert found["step"] == 1 and found["text"] == lines
    return found


def line(text):
    """The line of the model that has this."""
    lines = (Path(__file__).parent / "faults.nw").read_text().splitlines()
    (number,) = [n for n, row in enumerate(lines, 1) if text in row]
    return f"model.nw:{number}"


def no_tail(net, batch):
    batch["live"][3] = False


def gain(net, batch):
    net["blocks"]["gain"][2, 3] = 500


FAULTS = {
    "log of 0, in one part of the batch": (
        lambda net, batch: batch["size"].__setitem__(1, 0.0),
        ("log", "net", "", line("log(size)"), ["microbatch 2 of 2"], False),
    ),
    "overflow in one copy": (
        gain,
        ("exp", "net.blocks[2]", "grown", line("grown = "), ["microbatch 1 of 2"], False),
    ),
    "overflow in one step": (
        lambda net, batch: batch["x"].__setitem__((2, 4, 5), 100.0),
        ("exp", "net.walk", "h", line("h = tanh"), ["microbatch 1 of 2", "step 4 of 6"], True),
    ),
    "0 divided by 0": (
        no_tail,
        ("div", "net", "", line("return part"), ["microbatch 2 of 2"], False),
    ),
    "a running average": (
        lambda net, batch: batch["size"].__setitem__(1, 1e25),
        ("square", "power", "power", line("power <-"), ["microbatch 2 of 2"], False),
    ),
    "a slope": (
        lambda net, batch: net["walk"]["rate"].fill(0),
        ("div", "net", "far", line("far = "), ["microbatch 1 of 2"], True),
    ),
}


@pytest.mark.parametrize("which", ["program", pytest.param("unrolled", marks=pytest.mark.slow)])
@pytest.mark.parametrize("fault", FAULTS)
def test_the_first_bad_value_is_named(fault, which, request, tmp_path):
    spoil, (op, path, label, origin, turns, gradient) = FAULTS[fault]
    found = report(request.getfixturevalue(which), tmp_path, spoil)
    place = found["place"]
    assert (found["op"], place["path"], place["label"], place["origin"]) == (
        op,
        path,
        label,
        origin,
    )
    assert place["turns"] == turns
    assert found["text"][0].endswith("but not its gradient") == gradient


def test_what_was_bad_before_is_named(program, tmp_path):
    found = report(program, tmp_path, lambda net, _: net["tail"]["w"].__setitem__(2, np.inf))
    assert found["text"][0].startswith("net.tail.w (params) is not finite before the step")
    found = report(program, tmp_path, lambda _, batch: batch["x"].__setitem__((1, 0, 0), np.nan))
    assert found["text"][0].startswith("x (batch) is not finite before the step")


def test_what_is_fine_is_called_fine(program, tmp_path):
    assert "everything is finite" in report(program, tmp_path, lambda *_: None)["text"][0]


def first(function, *arguments):
    origin, _ = first_nonfinite(function, arguments, lambda result: [result])
    return origin and (origin.equation.primitive.name if origin.equation else "given")


def test_infinities_that_were_written():
    x = jnp.array([1.0, 0.0, 2.0])
    hidden = jnp.where(x > 1, x, -jnp.inf)
    assert first(lambda x: jax.nn.softmax(jnp.where(x > 1, x, -jnp.inf)).sum(), x) is None
    assert first(lambda x: jax.nn.softmax(jnp.where(x > 5, x, -jnp.inf)).sum(), x) == "sub"
    assert first(lambda x: jax.nn.softmax(x).sum(), hidden) is None
    assert first(lambda x: (jnp.exp(jnp.where(x > 1, x, -jnp.inf)) / (0 * x)).sum(), x) == "div"
    # NaN where it is not chosen, and then a fault elsewhere
    assert first(lambda x: jnp.where(x > 0, x / x, 0).sum(), x) is None
    assert first(lambda x: jnp.where(x > 0, x / x, 0).sum() + jnp.log(x).sum(), x) == "log"
    nothing = jnp.zeros(3, bool)
    assert first(lambda x: jax.nn.softmax(x, where=nothing).sum(), x) is None
    assert first(lambda x: (jax.nn.softmax(x, where=nothing) + jnp.sqrt(-x)).sum(), x) == "sqrt"
    assert first(lambda x: jnp.float16(x * 3e4).sum(), x) == "convert_element_type"


def test_a_skipped_step_is_looked_into_from_its_own_state(program, tmp_path, capsys):
    """In the midst of a run, with the step behind it dispatched already."""

    class Spoilt:
        def __init__(self, source):
            self._source = source

        def __getattr__(self, name):
            return getattr(self._source, name)

        def stream(self, rows):
            return Steps(self, rows)

        def batch(self, step):
            batch = self._source.batch(step)
            return {**batch, "size": batch["size"] * (step not in (2, 3))}

    job = dataclasses.replace(
        program.job, data=lambda: Spoilt(program.data), optimizer=lambda: optax.sgd(0.1)
    )
    result = train(job, tmp_path)
    assert [row["skipped"] for row in rows(tmp_path) if "skipped" in row] == [0, 0, 1, 1]
    printed = capsys.readouterr().out
    assert printed.count("what went wrong in step 3:") == 1
    assert printed.count("what went wrong") == 1 and "log(size)" in printed
    kept = np.load(tmp_path / "bad-step-3/batch.npz")
    assert not kept["size"].any()
    np.testing.assert_array_equal(kept["x"], program.data.batch(2)["x"])
    said = printed.partition("what went wrong")[2].partition("the batch")[0].split("\n")
    again = look_again(job, tmp_path, None)
    assert again[1:] == said[1:-1] and again == look_again(job, tmp_path, 3)
    with pytest.raises(RunError, match="kept no bad step 4; it has 3"):
        look_again(job, tmp_path, 4)
    # what looked into it has changed nothing
    plain = job.build()
    state = plain.init(0)
    for step in range(4):
        batch = job.data().batch(step)
        state, _ = plain.step(state, plain.put_batch(batch))
    jax.tree.map(np.testing.assert_array_equal, result.state, state)


@pytest.mark.slow
def test_bodies_that_run_again(program, tmp_path):
    folder = tmp_path / "again"
    compiled(folder)
    plan = json.loads(program.sources["plan.json"])
    plan["remat"] = {"net.blocks": "recompute", "net.walk": "recompute"}
    again = nw.load(folder).compile(plan=Plan.from_json(json.dumps(plan), "plan.json"))
    for fault in ("overflow in one copy", "overflow in one step"):
        spoil, (op, path, label, *_) = FAULTS[fault]
        found = report(again, tmp_path, spoil)
        place = found["place"]
        assert (found["op"], place["path"], place["label"]) == (op, path, label)
