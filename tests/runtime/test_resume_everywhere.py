"""A run that is stopped after any step, or in the midst of anything, goes on bit for bit."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import re
import shutil
from pathlib import Path

import netwright as nw
import numpy as np
import pytest
from netwright.runtime import scale
from netwright.runtime.loop import train
from runtime_helpers import call, rows, tensors_of, without_times, write_program

pytestmark = pytest.mark.slow

STEPS = 50

RECIPE = f"""
[data]
kind = "arrays"
file = "data.npz"
held_out = 16
ids = {{ y = "N" }}
[train]
steps = {STEPS}
batch = 8
microbatches = 2
evaluate_every = 10
checkpoint_every = 1
keep = {STEPS}
ema = 0.9
[precision]
policy = "float16"
loss_scale = "dynamic"
[optimizer]
name = "adam"
learning_rate = 1e-2
[schedule]
name = "cosine"
"""


@pytest.fixture
def carrying(tmp_path, monkeypatch):
    """A job with dropout, BatchNorm, microbatches, a scale that goes up and down, and an average.

    Its program is traced and compiled once.
    """
    monkeypatch.setattr(scale, "INTERVAL", 4)
    folder = tmp_path / "carries"
    folder.mkdir()
    shutil.copy(Path(__file__).parent / "carries.nw", folder / "model.nw")
    (folder / "recipe.toml").write_text(RECIPE)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(80, 6)).astype(np.float32), rng.integers(0, 3, 80)
    np.savez(folder / "data.npz", x=x, y=y)
    compiled = nw.load(folder).compile()
    program = compiled.job.build()
    monkeypatch.setattr(type(compiled.job), "build", lambda _: program)
    yield compiled.job


def test_every_step_of_fifty(carrying, tmp_path):
    taken = {}

    def watched():
        source = carrying.data()
        real = source.batch

        def batch(step):
            batch = real(step)
            joined = b"".join(value.tobytes() for value in batch.values())
            taken[step] = hashlib.sha256(joined).digest()
            return batch

        source.batch = batch
        return source

    job = dataclasses.replace(carrying, data=watched)
    whole = tmp_path / "whole"
    state = train(job, whole).state
    expected, batches = without_times(rows(whole)), dict(taken)
    scales = [row["loss_scale"] for row in expected if "loss_scale" in row]
    changes = {after / before for before, after in itertools.pairwise(scales)}
    assert changes == {0.5, 1.0, 2.0}
    assert 0 < sum(row["skipped"] for row in expected if "skipped" in row) < STEPS / 4
    assert not np.allclose(state.model_state["net"]["batch"]["variance"], 1)
    again = dataclasses.replace(job, checkpoint_every=0, keep=1)
    for step in range(1, STEPS):
        taken.clear()
        run = tmp_path / str(step)
        name = f"checkpoints/step-{step:08d}"
        shutil.copytree(whole / name, run / name)
        shutil.copy(whole / "metrics.jsonl", run)
        train(again, run, resume=True)
        assert tensors_of(run, STEPS) == tensors_of(whole, STEPS), step
        assert without_times(rows(run)) == expected, step
        left = range(step, STEPS)
        assert {n: batches[n] for n in left} == {n: taken[n] for n in left}
        shutil.rmtree(run)


STOPS = {
    "step": ("runtime.recorder.Recorder", "add", 5),
    "save": ("runtime.snapshot.Snapshot", "write", 1),
    "evaluation": ("runtime.evaluate.Evaluator", "_run", 2),
}

SIGNALLED = """
import importlib

where, number = os.environ.get("STOP", " ").split(" ")
if where:
    owner, method, count = STOPS[where]
    module, _, name = owner.rpartition(".")
    owner = getattr(importlib.import_module(module), name)
    real, left = getattr(owner, method), [count]

    def signalled(*arguments, **named):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), int(number))
        return real(*arguments, **named)

    setattr(owner, method, signalled)

if __name__"""


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """A program that sends itself a signal where the environment says so, after a run without."""
    program = write_program(tmp_path_factory.mktemp("signals") / "program")
    script = (program / "train.py").read_text()
    signalled = f"\nSTOPS = {STOPS}{SIGNALLED}"
    (program / "train.py").write_text(script.replace("\nif __name__", signalled))
    whole = call(program)
    assert whole.returncode == 0, whole.stderr
    return program


@pytest.mark.parametrize("where, signal", [*((where, 15) for where in STOPS), ("save", 2)])
def test_a_signal_anywhere_saves_within_a_step(program, where, signal):
    run = f"{where}-{signal}"
    stopped = call(program, "--run", run, STOP=f"{where} {signal}")
    assert stopped.returncode == 128 + signal, stopped.stdout + stopped.stderr
    step = "5" if where != "save" else r"\d+"  # that is written while steps go on
    assert re.search(rf"stopped at step {step} of 12, and saved", stopped.stdout), stopped.stdout
    going_on = call(program, "--run", run, "--resume")
    assert going_on.returncode == 0, going_on.stderr
    assert tensors_of(program / "run", 12) == tensors_of(program / run, 12)
    assert without_times(rows(program / "run")) == without_times(rows(program / run))
