"""How a run begins: anew, with values that were given, or where its newest checkpoint left it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax

from . import commit, initial
from .checkpoint import steps
from .errors import RunError
from .facts import changes, refuse
from .finite import named
from .job import Job
from .progress import Plain
from .restore import OtherState, newest
from .retention import newest_finite, not_finite
from .state import TrainState
from .step import Program

CHECKPOINTS = "checkpoints"
MOST_PATHS = 8  # in an advice


@dataclass(frozen=True)
class Start:
    """The state to go on from, and what its checkpoint tells about it; {} where there is none."""

    state: TrainState
    about: Mapping[str, Any] = field(default_factory=dict)


def prepare(run: Path, resume: bool) -> None:
    """Make the folder of a run. RunError where two would be mixed, or there is none to resume."""
    present = steps(run / CHECKPOINTS)
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


def begin(
    job: Job,
    program: Program,
    run: Path,
    now: Mapping[str, Any],
    show: Plain,
    allow: Collection[str] = (),
) -> Start:
    """The newest whole checkpoint, or the state of step 0 where there is none at all.

    Damaged checkpoints that are newer are told and set aside. `now` are the facts of the job; what
    has changed since the checkpoint is a RunError unless `allow` has its kind: see `facts.KINDS`.
    """
    folder = run / CHECKPOINTS
    commit.clean(folder)
    if not steps(folder):
        given = initial.read(run, program.abstract)
        if given:
            show.note(f"first values: {run / initial.NAME}")
        return Start(program.init(job.seed, given))
    try:
        state, checkpoint, damaged = newest(
            folder, program.abstract, show.warn, program.placement and program.placement.state
        )
    except OtherState as error:
        raise RunError(f"{error}\n{_otherwise(error.fits, run)}") from None
    about = checkpoint.manifest.about
    found = changes(about, now)
    refuse(found, allow)
    for path in damaged if jax.process_index() == 0 else ():
        commit.set_aside(path)
    for lines in found.values():
        for line in lines:
            show.warn(f"{line}: it will not go on as it would have.")
    if bad := not_finite(about):
        last = newest_finite(folder)
        advice = f"\nTo go on from step {last}, move the later ones out of {folder}."
        show.warn(
            f"the parameters of step {int(state.step)} are not finite, {named(bad)}: its steps will"
            f" be skipped.{advice if last is not None else ''}"
        )
    show.note(f"resuming at step {int(state.step)}")
    return Start(state, about)


def _otherwise(fits: Collection[str], run: Path) -> str:
    """What can be done where the state of a run does not fit its program."""
    back = "Put back what was changed; no --allow makes one of the other."
    if not fits:
        return f"{back} Or begin another run, in a folder of its own."
    only = "".join(f" --init-only {path}" for path in sorted(fits)[:MOST_PATHS] if path)
    more = len(fits) - MOST_PATHS
    only += f", and {more} more" if more > 0 else ""
    what = "the parameters that still fit" if only else "these parameters"
    return (
        f"{back} Or begin another run with {what}:\nnetwright train FOLDER --init-from {run}{only}"
    )
