"""Runs: every command on a run uses the run's own program, in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from .ir.diagnostics import Diagnostic, InputError

if TYPE_CHECKING:
    from .backend.program import ProgramFiles
    from .initial import Initial

PROGRAM = "program"

LARGE_PAGES = "glibc.malloc.hugetlb=1"
"""A setting of glibc's malloc: ask for large pages (`docs/training.md` says why)."""


def new_run(name: str) -> Path:
    """The first folder `runs/NAME`, `runs/NAME-2`, … that does not exist."""
    base = Path("runs") / name
    run, number = base, 1
    while run.exists():
        number += 1
        run = base.with_name(f"{name}-{number}")
    return run


def start(
    files: ProgramFiles,
    run: Path,
    steps: int | None,
    initial: Initial | None = None,
    joined: tuple[str, ...] = (),
) -> NoReturn:
    """Write a program into a run and train it there; leaves with the program's exit code.

    With `initial` it begins with these values, where it would have drawn them; `joined` are the
    options by which it trains with other processes, which do the same.
    """
    from .backend.program import write_program
    from .initial import NAME

    if (run / PROGRAM).exists() and any((run / "checkpoints").glob("step-*")):
        raise InputError(
            [
                Diagnostic(
                    "run-exists",
                    f"{run} already holds a run",
                    facts=("a run is never overwritten",),
                    help=f"netwright resume {run}, or --run with another folder",
                )
            ]
        )
    if initial is None and (run / NAME).exists():
        raise InputError(
            [
                Diagnostic(
                    "initial-exists",
                    f"{run} has {NAME}, first values from an earlier start",
                    facts=("the run would begin with them",),
                    help=f"--init-from {run / NAME} to say so, or remove it",
                )
            ]
        )
    if initial is not None:  # before the program: what can be resumed has them
        run.mkdir(parents=True, exist_ok=True)
        initial.write(run)
    write_program(files, run / PROGRAM)
    more = ("--steps", str(steps)) if steps is not None else ()
    call(run, "--run", str(run), *more, *joined)


def call(run: Path, *arguments: str) -> NoReturn:
    """Run the program of a run, and leave with its exit code. Signals reach it."""
    script = run / PROGRAM / "train.py"
    parts = (script, *(run / PROGRAM / name for name in ("model.py", "runtime")))
    lacking = next((path for path in parts if not path.exists()), None)
    if lacking is not None:
        raise InputError(
            [
                Diagnostic(
                    "no-run",
                    f"{run} is not a run: there is no {lacking}",
                    help="name the folder that `netwright train` made, such as runs/shakespeare",
                )
            ]
        )
    command = [sys.executable, str(script), *_before(arguments), *arguments]
    with subprocess.Popen(command, env=environment()) as process:
        # The terminal sends Ctrl-C to both; SIGTERM comes to this process alone and is handed on.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: process.send_signal(signal.SIGTERM))
        code = process.wait()
    sys.exit(code if code >= 0 else 128 - code)


def environment() -> dict[str, str]:
    """That of the process of a program; settings of malloc that are there already stay."""
    return {"GLIBC_TUNABLES": LARGE_PAGES, **os.environ, "PYTHONSAFEPATH": ""}


def _before(arguments: tuple[str, ...]) -> tuple[str, ...]:
    """The option that has the program speak of `netwright` commands; it follows an action's
    name."""
    return ("--commands", "netwright")
