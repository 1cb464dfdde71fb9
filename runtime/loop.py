"""The training loop: one plain function over the step, the data, the log and the checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import jax

from . import together
from .best import Best
from .checkpoint import steps as steps_in
from .errors import RunError
from .facts import facts
from .job import Job
from .open_run import OpenRun, due
from .processes import check_mesh
from .progress import Plain, Quiet, duration, make_progress
from .recorder import Skipping
from .resume import CHECKPOINTS, begin, prepare
from .source import Source
from .state import TrainState, count_parameters
from .step import Program


@dataclass(frozen=True)
class Result:
    """How a training ended.

    started and step are the first and last step of this process, equal if there was nothing left
    to do; held_out is the evaluation of the last step, None without held-out data or when
    stopped; seconds are those of this process, compilation apart; early says why it ended before
    its last step, None if it did not.
    """

    source: Source
    state: TrainState
    started: int
    step: int
    held_out: dict[str, float] | None
    seconds: float
    early: str | None = None


def train(
    job: Job,
    run: Path,
    *,
    steps: int | None = None,
    resume: bool = False,
    allow: Collection[str] = (),
    stopped: Callable[[], bool] = lambda: False,
    look_again: str = "",
    progress: Callable[[int, str], Plain] = make_progress,
) -> Result:
    """Train `job` in the folder `run` until `steps` (default: the job's) updates are made.

    With `resume` it goes on from the newest checkpoint there, exactly as if it had never stopped. A
    model, data or batch that have changed since are refused, unless `allow` has that word.
    Once `stopped()` is true it finishes the step, saves, and returns.
    `look_again` is the command, for messages, that looks into a step that went bad.
    Where JAX runs on several processes, all call this alike: it asks `stopped` equally often in
    all of them, and the first one writes the log and speaks.
    Raises RunError if the folder, the data, the mesh or the checkpoint is not as it must be.
    """
    last = job.steps if steps is None else steps
    speaks = jax.process_index() == 0
    source = job.data()
    program = job.build()
    check_mesh(program.placement)
    about = facts(job, source)
    prepare(run, resume)
    together.check_shared(run)
    show = (progress if speaks else Quiet)(last, source.unit)
    _introduce(show, job, program, source, run)
    began = time.perf_counter()
    start = begin(job, program, run, about, show, allow)
    state, best = start.state, Best.of(start.about, job.kept)
    first, seconds = int(state.step), time.perf_counter() - began
    early = best.exhausted(job.patience)
    if first >= last or early:
        return Result(source, state, first, first, None, 0.0, early)

    open_run = OpenRun(
        job, program, source, run, show,
        about=about, start=start, seconds=seconds, best=best, stopped=stopped,
        look_again=look_again,
    )  # fmt: skip
    log, recorder, stream, saver = open_run.log, open_run.recorder, open_run.stream, open_run.saver
    try:
        began = time.perf_counter()
        never = program.put_flag(False)
        compiled = program.guarded.lower(state, stream.peek(), never).compile()
        open_run.finite(state)  # compiled now, and not at the first save
        seconds = time.perf_counter() - began
        show.note(f"compiled in {duration(seconds)}")
        log.write(step=first, event="compile", what="step", seconds=seconds)

        held_out = None
        if first and due(first, job.evaluate_every) and not start.about.get("evaluation"):
            # the run was stopped in the midst of this one, which may have been the last
            held_out = open_run.evaluate(state, first)
            early = open_run.best.exhausted(job.patience)

        show.begin(first)
        began, step = time.perf_counter(), first
        recorder.restart()
        while step < last and not stopped() and not early:
            with recorder.fetching():
                batch = stream.next()
            skipped = recorder.watched()
            state, metrics = compiled(state, batch, never if skipped is None else skipped)
            if not recorder.add(step + 1, batch, metrics):  # it was held by the step before
                open_run.look_into(state)
                state, metrics = compiled(state, batch, never)
                recorder.add(step + 1, batch, metrics)
            step, held_out = step + 1, None
            open_run.log_saves()
            evaluating = step == last or due(step, job.evaluate_every)
            saving = step == last or due(step, job.checkpoint_every) or stopped()
            if evaluating or saving:
                recorder.drain()
                open_run.look_into(state)
                held_out = open_run.evaluate(state, step) if evaluating else None
                best = open_run.best
                early = best.exhausted(job.patience)
                ending = step == last or stopped() or early is not None
                if saving or ending or (job.kept.best and best.step == step):
                    open_run.save(state, held_out, ending)
                recorder.restart()
        saver.wait()
        open_run.log_saves()
        if step > first and step not in steps_in(run / CHECKPOINTS):
            recorder.drain()
            open_run.save(state, held_out, True)
        seconds = time.perf_counter() - began
        return Result(source, state, first, step, held_out, seconds, early)
    except Skipping as error:
        raise RunError(open_run.gave_up(error, state)) from None
    finally:
        open_run.close()


def _introduce(show: Plain, job: Job, program: Program, source: Source, run: Path) -> None:
    devices = program.placement.mesh.devices.ravel() if program.placement else jax.devices()[:1]
    where = devices[0].platform if len(devices) == 1 else f"{len(devices)} {devices[0].platform}s"
    where += f" of {jax.process_count()} processes" if jax.process_count() > 1 else ""
    show.note(f"{job.name}: {count_parameters(program.abstract):,} parameters, on {where}")
    show.note(f"data: {source.summary()}")
    show.note(f"run: {run}")
