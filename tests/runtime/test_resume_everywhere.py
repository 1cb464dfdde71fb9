"""A run that is stopped after any step, or in the midst of anything, goes on bit for bit."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil

import pytest
from netwright.runtime import Settings, data
from netwright.runtime.loop import train
from runtime_helpers import call, rows, tensors_of, without_times, write_program

pytestmark = pytest.mark.slow

STEPS = 50


class Watched(data.Text):
    """Text that notes which batches were taken."""

    def batch(self, step):
        batch = super().batch(step)
        self.taken[step] = hashlib.sha256(b"".join(v.tobytes() for v in batch.values())).digest()
        return batch


def test_every_step_of_fifty(job, text, tmp_path):
    """With dropout, running averages in the model, microbatches, a loss scale and an average."""
    taken = {}

    def watched():
        source = Watched(text, length=16, batch=8, held_out=0.1, seed=3)
        source.taken = taken
        return source

    job = dataclasses.replace(
        job,
        data=watched,
        steps=STEPS,
        checkpoint_every=1,
        evaluate_every=10,
        keep=STEPS,
        settings=Settings(microbatches=2, loss_scale="dynamic", ema=0.9),
    )
    whole = tmp_path / "whole"
    train(job, whole)
    expected, batches = without_times(rows(whole)), dict(taken)
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
        assert {n: batches[n] for n in range(step, STEPS)} == {
            n: taken[n] for n in range(step, STEPS)
        }
        shutil.rmtree(run)


STOPS = {
    "step": ("runtime.loop.Recorder", "add", 5),
    "save": ("runtime.snapshot.Snapshot", "write", 1),
    "evaluation": ("runtime.evaluate.Evaluator", "_run", 2),
}


@pytest.mark.parametrize("signal", [15, 2])
@pytest.mark.parametrize("where", STOPS)
def test_a_signal_anywhere_saves_within_a_step(tmp_path, where, signal):
    program = write_program(tmp_path / "program")
    whole = call(program)
    assert whole.returncode == 0, whole.stderr
    owner, method, count = STOPS[where]
    module, _, name = owner.rpartition(".")
    script = (program / "train.py").read_text()
    (program / "train.py").write_text(
        script.replace(
            "if __name__",
            f"""
import importlib

owner = getattr(importlib.import_module("{module}"), "{name}")
real, left = owner.{method}, [{count}]


def signalled(*arguments, **named):
    left[0] -= 1
    if not left[0] and "STOP" in os.environ:
        os.kill(os.getpid(), {signal})
    return real(*arguments, **named)


owner.{method} = signalled

if __name__""",
        )
    )
    stopped = call(program, "--run", "other", STOP="1")
    assert stopped.returncode == 128 + signal, stopped.stdout + stopped.stderr
    assert "stopped at step" in stopped.stdout and "and saved" in stopped.stdout
    going_on = call(program, "--run", "other", "--resume")
    assert going_on.returncode == 0, going_on.stderr
    assert tensors_of(program / "run", 12) == tensors_of(program / "other", 12)
    assert without_times(rows(program / "run")) == without_times(rows(program / "other"))
