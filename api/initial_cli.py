"""Options of `netwright train` that say what a run begins with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .checkpoints_cli import LeafPath, opened, pickles

if TYPE_CHECKING:
    from .backend.program import ProgramFiles
    from .initial import Initial


def init_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say what a run begins with."""
    options = (
        click.option(
            "--init-from", type=click.Path(path_type=Path), metavar="WHAT",
            help="Begin with the parameters in a run, checkpoint or file of any format that "
            "`netwright ckpt` reads.",
        ),
        click.option(
            "--init-map", type=click.Path(path_type=Path), metavar="FILE",
            help="A TOML file: where each parameter is there, if not under its own path.",
        ),
        click.option(
            "--init-only", type=LeafPath(), multiple=True, metavar="PATH",
            help="Take only the parameters at or below a path. May be repeated.",
        ),
        pickles,
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def initial_of(
    files: ProgramFiles,
    init_from: Path | None,
    init_map: Path | None,
    init_only: tuple[tuple[str, ...], ...],
    allow_pickle: bool,
) -> Initial | None:
    """What a program begins with, by the options; None if it draws all by itself."""
    from .initial import initial

    if init_from is None:
        if init_map is not None or init_only:
            raise click.UsageError("--init-map and --init-only say more about --init-from WHAT")
        return None
    made = initial(files, opened(init_from, allow_pickle), init_map, init_only)
    for line in made.notes:
        click.echo(line)
    return made
