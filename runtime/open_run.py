"""A run in progress: what a training holds open, and what it does with it between its steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

from .best import Best
from .checkpoint import steps
from .commit import NotDeleted, NotWritten, not_written
from .evaluate import Evaluator
from .finite import Finite, named
from .job import Job
from .log import Log, Unlogged, plain
from .prefetch import Prefetch
from .progress import Plain, duration, figures
from .recorder import PATIENCE, Recorder, Skipping
from .resume import CHECKPOINTS, Start
from .retention import newest_finite
from .saver import Saver
from .source import Source
from .state import TrainState
from .step import Program
from .summary import is_step
from .tensorboard import TensorBoard
from .utilization import mfu_of_a_second

METRICS = "metrics.jsonl"


class OpenRun:
    """The log, data, metrics and checkpoints of a run; `close` it at the end.

    about:      what checkpoints say of the job and its data
    start:      where it goes on from; it took `seconds` to come there
    best:       the best evaluation so far
    stopped:    whether it is time to stop
    look_again: the command, for messages, that looks into a step that went bad
    """

    def __init__(
        self,
        job: Job,
        program: Program,
        source: Source,
        run: Path,
        show: Plain,
        *,
        about: Mapping[str, Any],
        start: Start,
        seconds: float,
        best: Best,
        stopped: Callable[[], bool],
        look_again: str,
    ):
        self.job, self.program, self.source, self.run, self.show = job, program, source, run, show
        self.about, self.best, self.stopped, self.look_again = about, best, stopped, look_again
        first, speaks = int(start.state.step), jax.process_index() == 0
        board = TensorBoard(run, first) if job.tensorboard and speaks else None
        # -1: of an earlier start from nothing keep nothing
        log = Log(run / METRICS, step=first or -1, board=board) if speaks else Unlogged()
        if first:
            log.write(step=first, event="restore", seconds=seconds)
        if log.lost:
            steps_lost = sum(is_step(row) for row in log.lost)
            seconds = sum(row.get("seconds", 0.0) for row in log.lost)
            log.write(step=first, event="lost", steps=steps_lost, seconds=seconds)
        self.log: Unlogged = log
        size = source.size
        self.recorder = Recorder(
            log,
            show,
            unit=(source.unit, source.units),
            examples=size,
            share=mfu_of_a_second(job, program),
            patience=PATIENCE if job.settings.loss_scale == "dynamic" else 1,
        )
        self.stream = Prefetch(
            source.stream(program.rows(size)), lambda batch: program.put_batch(batch, size=size)
        )
        if first:  # checkpoints of format 1 have no position
            self.stream.set_state(start.about.get("data", {}).get("position", {"step": first}))
        self.saver = Saver(run / CHECKPOINTS, job.kept, log.evaluations)
        self.evaluator = Evaluator(program)
        self.finite, self.told = Finite(program, job.settings.frozen), False

    def save(self, state: TrainState, evaluation: dict[str, float] | None, last: bool) -> None:
        """Save behind the steps to come, or wait for it where there are none."""
        bad = self.finite(state)
        if bad and not self.told:
            self.told = True
            self.show.warn(
                f"step {int(state.step)}: the parameters themselves are not finite, {named(bad)}:"
                " an update overflowed, though its gradients did not. They are saved all the same;"
                " the newest checkpoint before is kept too."
            )
        try:
            self.log.sync()  # a checkpoint never knows more than the log
        except OSError as error:
            step = int(state.step)
            self.saver.refuse(step)
            refused = not_written(self.run, step, error)
            if last:
                raise refused from None
            self.show.warn(f"{refused}\nTraining goes on.")
            return
        now = {
            **self.about,
            "data": {**self.about["data"], "position": self.stream.get_state()},
            "evaluation": evaluation and plain(evaluation),
            "best": self.best.about(),
            **({"not_finite": bad} if bad else {}),
        }
        self.saver.save(state, now, wait=last)
        self.log_saves()

    def log_saves(self) -> None:
        """Log what was saved meanwhile, and say what went wrong with it."""
        while True:
            try:
                done = self.saver.finished()
                break
            except (NotWritten, NotDeleted) as error:
                self.show.warn(f"{error}\nTraining goes on.")
        for saved in done:
            self.log.write(step=saved.step, event="save", **saved.seconds(), bytes=saved.bytes)

    def evaluate(self, state: TrainState, step: int) -> dict[str, float] | None:
        """The metrics of all held-out data; None without any, or when stopped."""
        began, compiling = time.perf_counter(), self.evaluator.compile_seconds
        values = self.evaluator(state, self.source.held_out(), self.stopped)
        compiling = self.evaluator.compile_seconds - compiling
        seconds = time.perf_counter() - began - compiling
        if compiling:
            self.log.write(step=step, event="compile", what="evaluate", seconds=compiling)
        if values is not None:
            self.log.write(step=step, split="held_out", **values, seconds=seconds)
            if due(step, self.job.evaluate_every):  # where a run happens to stop counts for nothing
                self.best = self.best.after(step, values, self.job.kept)
            self.show.note(f"step {step}: held out   {figures(values)}   in {duration(seconds)}")
        return values

    def look_into(self, state: TrainState) -> None:
        """Say what went wrong in the last step, if the recorder suspects it."""
        if self.recorder.suspect is None:
            return
        from .bad_step import look  # seldom needed

        began, step = time.perf_counter(), self.recorder.suspect[0]
        suspect, again = self.recorder.suspect, self.look_again
        for line in look(self.job, self.program, state, suspect, self.run, again):
            self.show.note(line)
        self.log.write(step=step, event="diagnose", seconds=time.perf_counter() - began)
        self.recorder.cleared()
        self.recorder.restart()

    def gave_up(self, why: Skipping, state: TrainState) -> str:
        """What is said at the end of a run whose steps are all skipped."""
        self.saver.wait()  # it may be the checkpoint that is to be named
        bad = self.finite(state)
        if bad:
            told = (
                f"{why}: the parameters themselves are not finite, {named(bad)}, so that no batch"
                " can be.\nAn update made them so, of finite gradients: its learning rate, or what"
                " the optimizer multiplies with, is infinite or much too large.\nA smaller"
                " learning_rate, a longer warm-up or clip = 1.0 in [optimizer] may help."
            )
        else:
            told = (
                f"{why}: the gradients are not finite, whatever the batch.\n"
                "A smaller learning_rate, clip = 1.0 in [optimizer], or float32 for the part that"
                " overflows ([precision] overrides) may help."
            )
        folder = self.run / CHECKPOINTS
        last, newest = newest_finite(folder), max(steps(folder), default=None)
        if last is not None:
            told += f"\nThe checkpoint of step {last} is whole"
            told += f"; to go on from it, move the later ones out of {folder}" * (last != newest)
            told += "."
        elif newest is not None:
            told += f"\nNone of the checkpoints in {folder} has finite parameters."
        return told

    def close(self) -> None:
        """Let go of all, and wait for the checkpoint that is being written."""
        self.stream.close()
        self.saver.close()
        self.show.close()
        self.log.close()


def due(step: int, every: int) -> bool:
    """Whether something that is done every so many steps is done after this one; 0 is never."""
    return bool(every) and step % every == 0
