"""A step that went bad: what is kept of it, and looking into it, at once or later.

    run/bad-step-17/  batch.npz  step-00000016/  report.json

In the folder stand the batch of the step, the state before it as a checkpoint, and what was found.
That is all that the step is a function of, so it can be looked into again by one process, though
several trained, and with a model.py that has been changed since.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .diagnosis import diagnose
from .errors import RunError
from .job import Job
from .restore import newest
from .saver import save
from .state import TrainState
from .step import Program

BATCH = "batch.npz"
FAILURES = (
    ArithmeticError, AssertionError, AttributeError, LookupError, OSError, RunError, RuntimeError,
    TypeError, ValueError,
)  # fmt: skip
"""What may go wrong while a step is looked into, which must not end a run that goes on."""


def folder_of(run: Path, step: int) -> Path:
    """Where a bad step is kept."""
    return run / f"bad-step-{step}"


def before(state: TrainState, row: Mapping[str, Any]) -> TrainState:
    """The state that a skipped step began with, from the one that it left and its row."""
    scale = state.scale
    if "loss_scale" in row:
        scale = scale._replace(value=jnp.full_like(scale.value, row["loss_scale"]))
    return state._replace(step=state.step - 1, scale=scale)


def look(
    job: Job,
    program: Program,
    state: TrainState,
    suspect: tuple[int, Any, Mapping[str, Any]],
    run: Path,
    again: str = "",
) -> list[str]:
    """Keep a suspect of the recorder, and tell what went wrong in it, in lines for a person.

    Where several processes train, all call this, and what they keep is to be looked into by one.
    Nothing that happens here stands in the way of training.

    again: the command that looks into it
    """
    step, batch, row = suspect
    folder = folder_of(run, step)
    alone = jax.process_count() == 1
    try:
        begun = before(state, row)
        kept = _keep(folder, begun, batch)
        if alone:
            lines = _told(job, program, begun, batch, step, folder)
            then = "look again"
        else:
            lines, then = [f"step {step} went bad:"], "what went wrong, says one process alone"
        lines += [f"  {kept}"]
        return lines + ([f"  {then}: {again}"] if again else [])
    except FAILURES as error:
        return [f"step {step} could not be looked into: {type(error).__name__}: {error}"]


def look_again(job: Job, run: Path, step: int | None) -> list[str]:
    """What went wrong in a step that a run has kept, by default the last one.

    A program for a mesh runs on as many devices that JAX makes of the processor, wherever it was
    trained. RunError if nothing is kept.
    """
    kept = sorted((int(p.name.rpartition("-")[2]), p) for p in run.glob("bad-step-[0-9]*"))
    if not kept:
        raise RunError(f"no step of {run} has gone bad, or none was kept.")
    if step is not None and step not in dict(kept):
        raise RunError(
            f"{run} has kept no bad step {step}; it has {', '.join(str(s) for s, _ in kept)}."
        )
    step = kept[-1][0] if step is None else step
    folder = dict(kept)[step]
    if job.mesh:
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", int(np.prod(list(job.mesh.values()))))
    program = job.build()
    state, _, _ = newest(
        folder, program.abstract, lambda _: None, program.placement and program.placement.state
    )
    try:
        with np.load(folder / BATCH, allow_pickle=False) as file:
            batch = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError) as error:
        raise RunError(f"{folder / BATCH} cannot be read: {error}") from None
    return _told(job, program, state, program.put_batch(batch), step, folder)


def _told(
    job: Job, program: Program, state: TrainState, batch: Any, step: int, folder: Path
) -> list[str]:
    find = program.placement.traced(diagnose) if program.placement else diagnose
    lines = find(job, state, batch, folder)
    return [f"what went wrong in step {step}:", *(f"  {line}" for line in lines)]


def _keep(folder: Path, state: TrainState, batch: Mapping[str, Any]) -> str:
    """Write the batch and the state before the step; tells where."""
    if jax.process_index() == 0:
        shutil.rmtree(folder, ignore_errors=True)  # of an earlier run of the same step
    save(folder, state, about={})
    if jax.process_count() > 1:
        from jax.experimental.multihost_utils import process_allgather

        batch = process_allgather(batch, tiled=True)
    if jax.process_index() == 0:
        arrays: dict[str, Any] = {name: np.asarray(value) for name, value in batch.items()}
        np.savez(folder / BATCH, **arrays)
    return f"the batch, and the state before the step, are kept in {folder}"
