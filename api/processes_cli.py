"""Options of the commands that several processes may run together."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import click


def processes_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options by which processes meet; the command gets them as `joined`, in the words of
    `train.py`."""

    @functools.wraps(command)
    def collected(
        *args: Any,
        coordinator: str | None,
        processes: int | None,
        process: int | None,
        cluster: bool,
        **more: Any,
    ) -> Any:
        given = {"coordinator": coordinator, "processes": processes, "process": process}
        words = [w for n, v in given.items() if v is not None for w in (f"--{n}", str(v))]
        words += ["--cluster"] if cluster else []
        return command(*args, joined=tuple(words), **more)

    options = (
        click.option(
            "--coordinator", metavar="HOST:PORT",
            help="Where several processes find the first; with --processes and --process.",
        ),
        click.option("--processes", type=int, metavar="N", help="How many processes there are."),
        click.option("--process", type=int, metavar="I", help="Which this one is, from 0 on."),
        click.option(
            "--cluster", is_flag=True,
            help="All three as Slurm, Open MPI, Kubernetes or Cloud TPU have them.",
        ),
    )  # fmt: skip
    for option in reversed(options):
        collected = option(collected)
    return collected


def together(joined: tuple[str, ...]) -> bool:
    """Whether other processes run the same command, by options or the environment."""
    from .runtime.processes import VARIABLES

    return bool(joined) or any(name in os.environ for name in VARIABLES.values())
