"""The loop, in this process: the log, evaluation, checkpoints, resuming, refusals."""

from __future__ import annotations

import dataclasses
import math
import os
import shutil
import types

import jax
import numpy as np
import optax
import pytest
import tiny_lm
from netwright.runtime import Keep, RunError, commit, data, tensors
from netwright.runtime.checkpoint import open_checkpoint, steps
from netwright.runtime.cli import main
from netwright.runtime.evaluate import Evaluator
from netwright.runtime.finite import Finite
from netwright.runtime.log import Log
from netwright.runtime.loop import train
from netwright.runtime.open_run import OpenRun
from netwright.runtime.state import leaves_by_path
from netwright.runtime.step import build
from runtime_helpers import adam, rows, tensors_of, without_times


class After:
    """Asks to stop once it has been asked `calls` times."""

    def __init__(self, calls):
        self.left = calls

    def __call__(self):
        self.left -= 1
        return self.left < 0


def test_a_whole_run(job, tmp_path, capsys):
    run = tmp_path / "run"
    result = train(job, run)
    assert (result.started, result.step) == (0, 10)
    assert list(steps(run / "checkpoints")) == [9, 10]
    found = rows(run)
    made = [row for row in found if "split" not in row and "event" not in row]
    assert [row["step"] for row in made] == list(range(1, 11))
    assert {"loss", "accuracy", "gradient_norm", "seconds", "tokens_per_second"} <= made[0].keys()
    assert all(0 <= row["data_seconds"] <= row["seconds"] for row in made)
    assert made[0]["tokens_per_second"] == pytest.approx(16 * made[0]["examples_per_second"])
    held_out = [row for row in found if row.get("split") == "held_out"]
    assert [row["step"] for row in held_out] == [5, 10]
    assert held_out[-1]["loss"] == result.held_out["loss"]
    assert next(row["what"] for row in found if "event" in row) == "step"
    printed = capsys.readouterr().out
    for text in (
        "sheep: 4,352 parameters, on cpu",
        "compiled in",
        "step 10 / 10   loss",
        "tokens/s",
    ):
        assert text in printed
    assert "step 5: held out   loss" in printed and "\r" not in printed and "\x1b" not in printed


def test_it_is_the_loop_that_one_would_write(job, tmp_path, optimised):
    result = train(job, tmp_path / "run")
    source = job.data()
    program = build(tiny_lm, adam())
    state = program.init(0)
    losses = []
    for step in range(10):
        state, metrics = program.step(state, program.put_batch(source.batch(step)))
        losses.append(float(metrics["loss"][0]) / float(metrics["loss"][1]))
    jax.tree.map(np.testing.assert_array_equal, result.state, state)
    logged = [r["loss"] for r in without_times(rows(tmp_path / "run")) if "split" not in r]
    assert logged == losses
    assert Evaluator(program)(state, source.held_out()) == result.held_out


@pytest.mark.parametrize("stop", [1, 4, 7, 12])
def test_stopped_and_resumed_is_the_same_run(job, tmp_path, stop):
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    train(job, whole)
    result = train(job, halves, stopped=After(stop))
    assert result.step < 10
    train(job, halves, resume=True)
    assert tensors_of(whole, 10) == tensors_of(halves, 10)
    assert without_times(rows(whole)) == without_times(rows(halves))


def test_fewer_steps_do_not_change_the_schedule(job, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(job, whole)
    train(job, parts, steps=4)
    train(job, parts, resume=True)
    assert tensors_of(whole, 10) == tensors_of(parts, 10)


def test_lost_steps_are_not_in_the_log_twice(job, tmp_path):
    whole, run = tmp_path / "whole", tmp_path / "run"
    train(job, whole)
    train(job, run, steps=8)
    # as if killed after step 8 and before its checkpoint
    shutil.rmtree(run / "checkpoints/step-00000008")
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9, "lo')
    train(job, run, resume=True)
    expected = without_times(rows(whole))
    assert without_times(rows(run)) == expected
    (lost,) = [row for row in rows(run) if row.get("event") == "lost"]
    assert (lost["step"], lost["steps"]) == (6, 2) and lost["seconds"] > 0


def test_a_damaged_checkpoint_is_passed_over_aloud(job, tmp_path, capsys):
    whole, run = tmp_path / "whole", tmp_path / "run"
    train(job, whole)
    train(job, run, steps=6)
    file = run / "checkpoints/step-00000006/state-00000.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    capsys.readouterr()
    train(job, run, resume=True)
    printed = capsys.readouterr().out
    assert "warning: the checkpoint" in printed and "resuming at step 3" in printed
    assert tensors_of(whole, 10) == tensors_of(run, 10)
    assert (run / "checkpoints/damaged-step-00000006").is_dir()


def test_the_last_checkpoint_may_be_all_there_is(job, tmp_path):
    job = dataclasses.replace(job, checkpoint_every=0, evaluate_every=0, keep=1)
    result = train(job, tmp_path / "run")
    assert list(steps(tmp_path / "run/checkpoints")) == [10]
    assert result.held_out


def test_nothing_left_to_do(job, tmp_path):
    train(job, tmp_path / "run")
    before = (tmp_path / "run/metrics.jsonl").read_bytes()
    result = train(job, tmp_path / "run", resume=True)
    assert result.started == result.step == 10
    assert (tmp_path / "run/metrics.jsonl").read_bytes() == before


def test_stopped_before_the_first_step_saves_nothing(job, tmp_path):
    assert train(job, tmp_path / "run", stopped=lambda: True).step == 0
    assert not steps(tmp_path / "run/checkpoints")
    assert train(job, tmp_path / "run", resume=True, steps=2).step == 2


def test_refusals(job, tmp_path):
    with pytest.raises(RunError, match=r"there is no run .*\nLeave out --resume"):
        train(job, tmp_path / "run", resume=True)
    train(job, tmp_path / "run", steps=1)
    with pytest.raises(RunError, match=r"already holds a run, at step 1.\nGo on .*--resume.*--run"):
        train(job, tmp_path / "run")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot be made"):
        train(job, tmp_path / "file")


def test_other_data_or_another_optimizer(job, text, tmp_path, capsys):
    train(job, tmp_path / "run", steps=2)
    other = dataclasses.replace(job, data=lambda: data.Text(text, length=16, batch=4, seed=4))
    refused = (
        r"cannot go on as it would have:\n(.*\n)*  data: seed was 3, is 4\n"
        r"  batch: batch was 8, is 4\n.*add --allow data --allow batch"
    )
    with pytest.raises(RunError, match=refused):
        train(other, tmp_path / "run", steps=3, resume=True)
    with pytest.raises(RunError, match=r"batch was 8"):
        train(other, tmp_path / "run", steps=3, resume=True, allow=["data", "model"])
    train(other, tmp_path / "run", steps=3, resume=True, allow=["data", "batch"])
    assert "batch was 8, is 4: it will not go on as it would have" in capsys.readouterr().out
    sgd = dataclasses.replace(job, optimizer=lambda: optax.sgd(0.1))
    with pytest.raises(RunError, match=r"opt_state.*: the checkpoint has it, the program does not"):
        train(sgd, tmp_path / "run", resume=True)
    with pytest.raises(RunError, match=r"with these parameters:\n.* --init-from .*/run$"):
        train(sgd, tmp_path / "run", resume=True, allow=["model"])


def test_a_model_of_other_shapes(job, tmp_path):
    train(job, tmp_path / "run", steps=2)

    def init_params(key):
        return {**job.model.init_params(key), "wider": np.zeros(3, np.float32)}

    model = types.SimpleNamespace(**{**vars(job.model), "init_params": init_params})
    wider = dataclasses.replace(job, model=model)
    names = " ".join(
        f"--init-only {name}" for name in sorted(job.model.init_params(jax.random.key(0)))
    )
    told = rf"  params.wider: the program has it, .*\n(.*\n)*.* that still fit:\n.*/run {names}$"
    with pytest.raises(RunError, match=told):
        train(wider, tmp_path / "run", resume=True, allow=["model"])


def test_a_loss_that_is_not_finite(job, tmp_path, capsys):
    wild = dataclasses.replace(job, optimizer=lambda: optax.sgd(math.inf), steps=4)
    train(wild, tmp_path / "run")
    told = "is skipped: its loss, gradients or state are not all finite"
    assert capsys.readouterr().out.count(told) == 1
    trained = [r for r in without_times(rows(tmp_path / "run")) if "skipped" in r]
    assert [r["skipped"] for r in trained] == [0, 1, 1, 1]
    assert trained[-1]["loss"] is None


def test_a_number_of_the_optimizer_that_goes_bad_alone(job, tmp_path, capsys):
    estimate = optax.GradientTransformation(
        lambda params: jax.numpy.float32(1),
        lambda updates, state, params: (updates, state * np.nan),
    )
    wild = dataclasses.replace(job, optimizer=lambda: optax.chain(adam(), estimate), steps=2)
    state = train(wild, tmp_path / "run").state
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state.params, state.opt_state)))
    printed = capsys.readouterr().out
    assert "step 1 is skipped" in printed and "number of its own state went bad" in printed


def test_fifty_skipped_steps_in_a_row_end_the_run(job, tmp_path, monkeypatch):
    monkeypatch.setattr("netwright.runtime.bad_step.look", lambda *_: [])  # tested elsewhere
    nothing = optax.stateless(lambda updates, _: jax.tree.map(lambda u: u * 1e-9, updates))
    estimate = optax.GradientTransformation(
        lambda params: jax.numpy.float32(1), lambda updates, state, _: (updates, state * np.nan)
    )
    wild = dataclasses.replace(job, optimizer=lambda: optax.chain(nothing, estimate), steps=60)
    told = r"50 steps in a row .* at step 50: the gradients .*\n.*learning_rate.*may help\."
    for every, more in ((0, "$"), (3, r"\nThe checkpoint of step 4[258] is whole\.$")):
        wild = dataclasses.replace(wild, checkpoint_every=every)
        with pytest.raises(RunError, match=told + more):
            train(wild, tmp_path / f"run-{every}")


def overflowing(step):
    """An optimizer whose updates are infinite from a step on, of finite gradients."""
    return lambda: optax.sgd(lambda count: jax.numpy.where(count < step - 1, 0.1, math.inf))


def test_parameters_that_an_update_makes_infinite(job, tmp_path, capsys):
    """The last finite checkpoint stays, those behind it say what they are, and all is told."""
    run = tmp_path / "run"
    names = _names(job)
    first = f"{names[0]} and {len(names) - 1} more"
    wild = dataclasses.replace(
        job, optimizer=overflowing(8), steps=70, checkpoint_every=3, keep=2, evaluate_every=0
    )
    train(wild, run, steps=15)
    printed = capsys.readouterr().out
    assert f"warning: step 9: the parameters themselves are not finite, {first}: an" in printed
    assert printed.count("themselves are not finite") == 1
    kept = steps(run / "checkpoints")
    assert list(kept) == [6, 12, 15]
    about = {step: open_checkpoint(path).manifest.about for step, path in kept.items()}
    assert "not_finite" not in about[6] and about[12]["not_finite"] == names
    told = (
        rf"50 steps in a row were skipped, the last at step 65: the parameters themselves .*"
        rf" {first}, so.*\n.*of finite gradients: .*\n.*\nThe checkpoint of step 6 is whole; to go"
        rf" on from it, move the later ones out of .*/checkpoints\.$"
    )
    with pytest.raises(RunError, match=told):
        train(wild, run, resume=True)
    printed = capsys.readouterr().out
    assert f"the parameters of step 15 are not finite, {first}: its steps will" in printed
    assert "To go on from step 6, move the later ones out of" in printed
    assert min(steps(run / "checkpoints")) == 6
    for path in steps(run / "checkpoints").values():
        if path.name != "step-00000006":
            shutil.rmtree(path)
    tame = dataclasses.replace(wild, optimizer=lambda: optax.sgd(lambda count: 0.1))
    assert train(tame, run, resume=True, steps=9).step == 9
    assert open_checkpoint(steps(run / "checkpoints")[9]).manifest.about.get("not_finite") is None


def test_no_checkpoint_with_finite_parameters(job, tmp_path):
    wild = dataclasses.replace(job, optimizer=overflowing(1), steps=60, checkpoint_every=3)
    told = r"step 51: the parameters themselves (.*\n)*None of the checkpoints in .* finite param"
    with pytest.raises(RunError, match=told):
        train(wild, tmp_path / "run")
    frozen = dataclasses.replace(
        job, optimizer=overflowing(1), steps=3,
        settings=dataclasses.replace(job.settings, frozen=tuple(_names(job)[1:])),
    )  # fmt: skip
    state = train(frozen, tmp_path / "frozen").state
    assert Finite(frozen.build(), frozen.settings.frozen)(state) == _names(job)[:1]


def _names(job):
    return [".".join(p) for p in leaves_by_path(job.model.init_params(jax.random.key(0)))]


def test_jobs_are_checked(job):
    with pytest.raises(RunError, match=r"steps = 0"):
        dataclasses.replace(job, steps=0)
    with pytest.raises(RunError, match=r"keep = 0"):
        dataclasses.replace(job, keep=0)


def test_the_log_keeps_what_is_before_the_step(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = Log(path)
    for step in range(1, 6):
        log.write(step=step, loss=1 / step)
    log.close()
    log = Log(path, 3)
    log.write(step=4, split="held_out", loss=math.nan)
    log.close()
    assert [row["step"] for row in rows(tmp_path)] == [1, 2, 3, 4]
    assert rows(tmp_path)[2]["loss"] == 1 / 3 and rows(tmp_path)[3]["loss"] is None


def test_early_stopping_and_the_best_are_part_of_the_checkpoint(job, tmp_path, capsys):
    keep = Keep(last=1, best=1)
    worse = dataclasses.replace(
        job, optimizer=lambda: optax.sgd(-20.0), evaluate_every=2, checkpoint_every=0, steps=50
    )
    patient = dataclasses.replace(worse, patience=3, keep=keep)
    stopped = train(patient, tmp_path / "run", steps=5)
    assert stopped.early is None
    result = train(patient, tmp_path / "run", resume=True)
    assert result.step == 8 and "loss has not been better" in result.early
    assert list(steps(tmp_path / "run/checkpoints")) == [2, 8]
    about = open_checkpoint(tmp_path / "run/checkpoints/step-00000008").manifest.about
    assert about["best"]["step"] == 2 and about["best"]["since"] == 3
    assert about["evaluation"]["loss"] > about["best"]["value"]
    again = train(patient, tmp_path / "run", resume=True)
    assert again.started == again.step == 8 and again.early
    unknown = dataclasses.replace(worse, keep=Keep(metric="f1"))
    with pytest.raises(RunError, match=r"no metric 'f1'; it has loss, accuracy"):
        train(unknown, tmp_path / "other")


def test_an_evaluation_that_is_made_up_for_counts_among_the_best(job, tmp_path, monkeypatch):
    """Stopped between the best checkpoint and the end of its evaluation, and stopped once more."""
    worse = dataclasses.replace(
        job, optimizer=lambda: optax.sgd(-20.0), evaluate_every=2, checkpoint_every=2, steps=4,
        keep=Keep(last=1, best=1),
    )  # fmt: skip
    run = tmp_path / "run"
    stopping = []

    def interrupted(self, *arguments):
        stopping.append(True)

    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "__call__", interrupted)
        train(worse, run, stopped=lambda: bool(stopping))
    assert list(steps(run / "checkpoints")) == [2]
    manifest = (run / "checkpoints/step-00000002/manifest.json").read_bytes()
    train(worse, run, resume=True, stopped=After(5))  # in step 3
    train(worse, run, resume=True)
    assert list(steps(run / "checkpoints")) == [2, 4]
    assert (run / "checkpoints/step-00000002/manifest.json").read_bytes() == manifest
    losses = {r["step"]: r["loss"] for r in rows(run) if r.get("split") == "held_out"}
    assert losses[2] < losses[4]


def test_how_it_goes_on_after_its_end(job, tmp_path, capsys):
    """Where the schedule has ended, further steps would change nothing; patience is a setting."""

    @optax.inject_hyperparams
    def sgd(learning_rate):
        return optax.sgd(learning_rate)

    ending = optax.linear_schedule(0.1, 0.0, 4)
    for last, told in ((3, False), (4, True)):
        run = str(tmp_path / str(last))
        scheduled = dataclasses.replace(job, optimizer=lambda: sgd(ending), steps=last)
        assert main(scheduled, ["--run", run, "--commands", "netwright"]) == 0
        printed = capsys.readouterr().out
        assert f"go on:   netwright resume {run} --steps {2 * last}\n" in printed
        assert ("at a learning rate of 0: its schedule, in " in printed) == told
    worse = dataclasses.replace(
        job, optimizer=lambda: optax.sgd(-20.0), evaluate_every=2, patience=1, steps=50
    )
    assert main(worse, ["--run", run + "-early", "--commands", "netwright"]) == 0
    printed = capsys.readouterr().out
    assert "ended early: loss has not been better" in printed
    assert f"train.py, then netwright resume {run}-early\n" in printed


def test_stopped_in_the_evaluation_that_ends_it_early(job, tmp_path, monkeypatch):
    worse = dataclasses.replace(
        job, optimizer=lambda: optax.sgd(-20.0), evaluate_every=2, patience=3, steps=50
    )
    evaluate, stopping = OpenRun.evaluate, []

    def interrupted(self, state, step):
        stopping.extend([step] if step == 8 else [])
        return evaluate(self, state, step)

    with monkeypatch.context() as patch:
        patch.setattr(OpenRun, "evaluate", interrupted)
        stopped = train(worse, tmp_path / "run", stopped=lambda: bool(stopping))
    assert stopped.step == 8 and stopped.early is None
    result = train(worse, tmp_path / "run", resume=True)
    assert result.step == 8 and "loss has not been better" in result.early
    assert result.held_out["loss"] == rows(tmp_path / "run")[-1]["loss"]


def test_what_is_kept(job, tmp_path):
    kept = dataclasses.replace(job, keep=Keep(last=2, every=4), checkpoint_every=1, steps=4)
    train(kept, tmp_path / "run")
    (tmp_path / "run/checkpoints/step-00000003/pinned").touch()
    train(kept, tmp_path / "run", resume=True, steps=10)
    assert list(steps(tmp_path / "run/checkpoints")) == [3, 4, 8, 9, 10]


def test_a_disk_that_is_full_does_not_end_training(job, tmp_path, capsys, monkeypatch):
    whole, run = tmp_path / "whole", tmp_path / "run"
    train(job, whole)
    write_all, left = tensors.write_all, [2]

    def full(handle, data):
        left[0] -= 1
        if left[0] == 0:
            raise OSError(28, "No space left on device")
        write_all(handle, data)

    monkeypatch.setattr(tensors, "write_all", full)
    train(job, run)
    printed = capsys.readouterr().out
    assert printed.count("No space left on device") == 1 and "Training goes on" in printed
    assert tensors_of(whole, 10) == tensors_of(run, 10)
    assert without_times(rows(whole)) == without_times(rows(run))
    assert list(steps(run / "checkpoints")) == [9, 10]
    left[0] = 1
    with pytest.raises(RunError, match=r"step 12 cannot be written"):
        train(job, run, resume=True, steps=12)
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == [
        "step-00000009",
        "step-00000010",
    ]


@pytest.mark.parametrize("refused", ["delete", "sync"])
def test_trouble_after_a_checkpoint_is_in_its_place(job, tmp_path, capsys, monkeypatch, refused):
    """Old ones that cannot be deleted, a name that is not synced: told, and training goes on."""
    rename, sync, times = os.rename, commit.sync_folder, []

    def once(trouble):
        if trouble and not times:
            times.append(trouble)
            raise OSError(5, "Input/output error")

    def renaming(source, target):
        once(refused == "delete" and commit.DELETING in str(target))
        rename(source, target)

    def syncing(path):
        once(refused == "sync" and path.name == "checkpoints")
        sync(path)

    monkeypatch.setattr(os, "rename", renaming)
    monkeypatch.setattr(commit, "sync_folder", syncing)
    train(dataclasses.replace(job, keep=1), tmp_path / "run")
    told = {"delete": "cannot be deleted", "sync": "may not outlive a loss of power"}[refused]
    printed = capsys.readouterr().out
    assert told in printed and printed.count("Training goes on") == 1
    assert list(steps(tmp_path / "run/checkpoints")) == [10]
    saved = [row["step"] for row in rows(tmp_path / "run") if row.get("event") == "save"]
    assert saved == ([3, 6, 9, 10] if refused == "delete" else [6, 9, 10])
