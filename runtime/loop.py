"""The training loop: one plain function over the step, the data, the log and the checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from . import commit, initial
from .checkpoint import steps as steps_in
from .commit import NotWritten
from .errors import RunError
from .evaluate import Evaluator
from .job import Job
from .log import Log
from .progress import Plain, duration, figures, make_progress
from .recorder import Recorder
from .restore import newest
from .retention import Keep
from .saver import Saver
from .source import Source
from .state import TrainState, count_parameters
from .step import Program
from .summary import is_step

CHECKPOINTS, METRICS = "checkpoints", "metrics.jsonl"


@dataclass(frozen=True)
class Result:
    """How a training ended.

    started and step are the first and last step of this process, equal if there was nothing left
    to do; held_out is the evaluation of the last step, None without held-out data or when
    stopped; seconds are those of this process, compilation apart.
    """

    source: Source
    state: TrainState
    started: int
    step: int
    held_out: dict[str, float] | None
    seconds: float


def train(
    job: Job,
    run: Path,
    *,
    steps: int | None = None,
    resume: bool = False,
    stopped: Callable[[], bool] = lambda: False,
    progress: Callable[[int, str], Plain] = make_progress,
) -> Result:
    """Train `job` in the folder `run` until `steps` (default: the job's) updates are made.

    With `resume` it goes on from the newest checkpoint there, exactly as if it had never stopped.
    Once `stopped()` is true it finishes the step, saves, and returns.
    Raises RunError if the folder, the data, the mesh or the checkpoint is not as it must be.
    """
    last = job.steps if steps is None else steps
    source = job.data()
    program = job.build()
    about = job.about(source)
    _check(run, resume)
    show = progress(last, source.unit)
    _introduce(show, job, program, source, run)
    began = time.perf_counter()
    state = _begin(job, program, run, about, show)
    first, seconds = int(state.step), time.perf_counter() - began
    if first >= last:
        return Result(source, state, first, first, None, 0.0)

    log = Log(run / METRICS, step=first or -1)  # -1: of an earlier start from nothing keep nothing
    if first:
        log.write(step=first, event="restore", seconds=seconds)
    if log.lost:
        steps_lost = sum(is_step(row) for row in log.lost)
        seconds = sum(row.get("seconds", 0.0) for row in log.lost)
        log.write(step=first, event="lost", steps=steps_lost, seconds=seconds)
    evaluator = Evaluator(program)
    examples = next(iter(source.shapes.values()))[0][0]
    recorder = Recorder(log, show, unit=(source.unit, source.units), examples=examples)

    saver = Saver(run / CHECKPOINTS, Keep(job.keep))

    def save(state: TrainState, last: bool) -> None:
        log.sync()  # a checkpoint never knows more than the log
        saver.save(state, about, wait=last)
        log_saves()

    def log_saves() -> None:
        try:
            for saved in saver.finished():
                log.write(step=saved.step, event="save", **saved.seconds(), bytes=saved.bytes)
        except NotWritten as error:
            show.warn(f"{error}\nTraining goes on.")

    def evaluate(state: TrainState, step: int) -> dict[str, float] | None:
        began, compiling = time.perf_counter(), evaluator.compile_seconds
        values = evaluator(state, source.held_out(), stopped)
        compiling = evaluator.compile_seconds - compiling
        seconds = time.perf_counter() - began - compiling
        if compiling:
            log.write(step=step, event="compile", what="evaluate", seconds=compiling)
        if values is not None:
            log.write(step=step, split="held_out", **values, seconds=seconds)
            show.note(f"step {step}: held out   {figures(values)}   in {duration(seconds)}")
        return values

    try:
        began = time.perf_counter()
        compiled = program.step.lower(state, program.put_batch(source.batch(first))).compile()
        seconds = time.perf_counter() - began
        show.note(f"compiled in {duration(seconds)}")
        log.write(step=first, event="compile", what="step", seconds=seconds)

        if first and _due(first, job.evaluate_every) and not log.evaluated(first):
            evaluate(state, first)  # the run was stopped in the midst of this one

        show.begin(first)
        began, step, held_out = time.perf_counter(), first, None
        recorder.restart()
        while step < last and not stopped():
            with recorder.fetching():
                batch = program.put_batch(source.batch(step))
            state, metrics = compiled(state, batch)
            step += 1
            recorder.add(step, metrics)
            log_saves()
            evaluating = step == last or _due(step, job.evaluate_every)
            saving = step == last or _due(step, job.checkpoint_every) or stopped()
            if evaluating or saving:
                recorder.drain()
                held_out = evaluate(state, step) if evaluating else None
                if saving or stopped():
                    save(state, step == last or stopped())
                recorder.restart()
        saver.wait()
        log_saves()
        if step > first and step not in steps_in(run / CHECKPOINTS):
            recorder.drain()
            save(state, True)
        return Result(source, state, first, step, held_out, time.perf_counter() - began)
    finally:
        saver.close()
        show.close()
        log.close()


def _check(run: Path, resume: bool) -> None:
    """Refuse to mix two runs in one folder, and to resume what is not there."""
    present = steps_in(run / CHECKPOINTS)
    if present and not resume:
        raise RunError(
            f"{run} already holds a run, at step {max(present)}.\n"
            "Go on with it by --resume, or start another one by --run with a new folder."
        )
    if resume and not run.is_dir():
        raise RunError(f"there is no run {run} to resume.\nLeave out --resume to start it.")
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"the folder {run} cannot be made: {error.strerror}.") from None


def _begin(
    job: Job, program: Program, run: Path, about: Mapping[str, Any], show: Plain
) -> TrainState:
    """The newest whole checkpoint, or the state of step 0 where there is none at all."""
    folder = run / CHECKPOINTS
    commit.clean(folder)
    if not steps_in(folder):
        given = initial.read(run, program.abstract)
        if given:
            show.note(f"first values: {run / initial.NAME}")
        return program.init(job.seed, given)
    state, checkpoint, damaged = newest(
        folder, program.abstract, show.warn, program.placement and program.placement.state
    )
    for path in damaged:
        commit.set_aside(path)
    for text in _changes(checkpoint.manifest.about, about):
        show.warn(text)
    show.note(f"resuming at step {int(state.step)}")
    return state


def _changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What is no longer as it was when the checkpoint was made."""
    texts = []
    if then["program"] != now["program"]:
        texts.append("model.py is not the one that this run was started with.")
    old, new = then["data"], now["data"]
    changed = [
        f"{name} (was {old.get(name)}, is {new.get(name)})"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name) and name != "fingerprint"
    ]
    if changed:
        texts.append(
            f"the data are not those that this run was started with: {', '.join(changed)};"
            " it will not continue as it would have."
        )
    return texts


def _introduce(show: Plain, job: Job, program: Program, source: Source, run: Path) -> None:
    devices = program.placement.mesh.devices.ravel() if program.placement else jax.devices()[:1]
    where = devices[0].platform if len(devices) == 1 else f"{len(devices)} {devices[0].platform}s"
    show.note(f"{job.name}: {count_parameters(program.abstract):,} parameters, on {where}")
    show.note(f"data: {source.summary()}")
    show.note(f"run: {run}")


def _due(step: int, every: int) -> bool:
    return bool(every) and step % every == 0
