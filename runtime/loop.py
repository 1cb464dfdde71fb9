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
from .commit import NotWritten, not_written
from .evaluate import Evaluator
from .facts import facts
from .job import Job
from .log import Log, Unlogged, plain
from .prefetch import Prefetch
from .processes import check_mesh
from .progress import Plain, Quiet, duration, figures, make_progress
from .recorder import PATIENCE, Recorder
from .resume import CHECKPOINTS, begin, prepare
from .saver import Saver
from .source import Source
from .state import TrainState, count_parameters
from .step import Program
from .summary import is_step
from .tensorboard import TensorBoard
from .utilization import mfu_of_a_second

METRICS = "metrics.jsonl"


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

    board = TensorBoard(run, first) if job.tensorboard and speaks else None
    # -1: of an earlier start from nothing keep nothing
    log = Log(run / METRICS, step=first or -1, board=board) if speaks else Unlogged()
    if first:
        log.write(step=first, event="restore", seconds=seconds)
    if log.lost:
        steps_lost = sum(is_step(row) for row in log.lost)
        seconds = sum(row.get("seconds", 0.0) for row in log.lost)
        log.write(step=first, event="lost", steps=steps_lost, seconds=seconds)
    evaluator = Evaluator(program)
    size = source.size
    recorder = Recorder(
        log,
        show,
        unit=(source.unit, source.units),
        examples=size,
        share=mfu_of_a_second(job, program),
        patience=PATIENCE if job.settings.loss_scale == "dynamic" else 1,
    )
    stream = Prefetch(
        source.stream(program.rows(size)), lambda batch: program.put_batch(batch, size=size)
    )
    if first:  # checkpoints of format 1 have no position
        stream.set_state(start.about.get("data", {}).get("position", {"step": first}))
    saver = Saver(run / CHECKPOINTS, job.kept)

    def save(state: TrainState, evaluation: dict[str, float] | None, last: bool) -> None:
        try:
            log.sync()  # a checkpoint never knows more than the log
        except OSError as error:
            saver.refuse(step)
            refused = not_written(run, step, error)
            if last:
                raise refused from None
            show.warn(f"{refused}\nTraining goes on.")
            return
        now = {
            **about,
            "data": {**about["data"], "position": stream.get_state()},
            "evaluation": evaluation and plain(evaluation),
            "best": best.about(),
        }
        saver.save(state, now, wait=last)
        log_saves()

    def log_saves() -> None:
        try:
            for saved in saver.finished():
                log.write(step=saved.step, event="save", **saved.seconds(), bytes=saved.bytes)
        except NotWritten as error:
            show.warn(f"{error}\nTraining goes on.")

    def evaluate(state: TrainState, step: int) -> dict[str, float] | None:
        nonlocal best
        began, compiling = time.perf_counter(), evaluator.compile_seconds
        values = evaluator(state, source.held_out(), stopped)
        compiling = evaluator.compile_seconds - compiling
        seconds = time.perf_counter() - began - compiling
        if compiling:
            log.write(step=step, event="compile", what="evaluate", seconds=compiling)
        if values is not None:
            log.write(step=step, split="held_out", **values, seconds=seconds)
            if _due(step, job.evaluate_every):  # where the run happens to stop counts for nothing
                best = best.after(step, values, job.kept)
            show.note(f"step {step}: held out   {figures(values)}   in {duration(seconds)}")
        return values

    def look_into(state: TrainState) -> None:
        if recorder.suspect is None:
            return
        from .bad_step import look  # seldom needed

        began, step = time.perf_counter(), recorder.suspect[0]
        for line in look(job, program, state, recorder.suspect, run, look_again):
            show.note(line)
        log.write(step=step, event="diagnose", seconds=time.perf_counter() - began)
        recorder.cleared()
        recorder.restart()

    try:
        began = time.perf_counter()
        never = program.put_flag(False)
        compiled = program.guarded.lower(state, stream.peek(), never).compile()
        seconds = time.perf_counter() - began
        show.note(f"compiled in {duration(seconds)}")
        log.write(step=first, event="compile", what="step", seconds=seconds)

        if first and _due(first, job.evaluate_every) and not start.about.get("evaluation"):
            evaluate(state, first)  # the run was stopped in the midst of this one

        show.begin(first)
        began, step, held_out = time.perf_counter(), first, None
        recorder.restart()
        while step < last and not stopped() and not early:
            with recorder.fetching():
                batch = stream.next()
            skipped = recorder.watched()
            state, metrics = compiled(state, batch, never if skipped is None else skipped)
            if not recorder.add(step + 1, batch, metrics):  # it was held by the step before
                look_into(state)
                state, metrics = compiled(state, batch, never)
                recorder.add(step + 1, batch, metrics)
            step, held_out = step + 1, None
            log_saves()
            evaluating = step == last or _due(step, job.evaluate_every)
            saving = step == last or _due(step, job.checkpoint_every) or stopped()
            if evaluating or saving:
                recorder.drain()
                look_into(state)
                held_out = evaluate(state, step) if evaluating else None
                early = best.exhausted(job.patience)
                ending = step == last or stopped() or early is not None
                if saving or ending or (job.kept.best and best.step == step):
                    save(state, held_out, ending)
                recorder.restart()
        saver.wait()
        log_saves()
        if step > first and step not in steps_in(run / CHECKPOINTS):
            recorder.drain()
            save(state, held_out, True)
        seconds = time.perf_counter() - began
        return Result(source, state, first, step, held_out, seconds, early)
    finally:
        stream.close()
        saver.close()
        show.close()
        log.close()


def _introduce(show: Plain, job: Job, program: Program, source: Source, run: Path) -> None:
    devices = program.placement.mesh.devices.ravel() if program.placement else jax.devices()[:1]
    where = devices[0].platform if len(devices) == 1 else f"{len(devices)} {devices[0].platform}s"
    where += f" of {jax.process_count()} processes" if jax.process_count() > 1 else ""
    show.note(f"{job.name}: {count_parameters(program.abstract):,} parameters, on {where}")
    show.note(f"data: {source.summary()}")
    show.note(f"run: {run}")


def _due(step: int, every: int) -> bool:
    return bool(every) and step % every == 0
