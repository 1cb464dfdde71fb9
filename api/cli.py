"""The command line: `netwright`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from .checkpoints_cli import ckpt
from .initial_cli import init_options, initial_of
from .messages import WRONG, teaches, warn
from .processes_cli import processes_options, together

EPILOG = """
\b
A folder with a model and a recipe is all that is needed:
  netwright check examples/shakespeare     proves the shapes
  netwright fmt examples/shakespeare       gives model files their one layout
  netwright recipe mine                    a recipe for a model, to begin with
  netwright train examples/shakespeare     writes the program and runs it
  netwright sample runs/shakespeare        text from the trained model
  netwright emit examples/shakespeare -o mine    the program alone, to keep
"""


class Setting(click.ParamType):
    """`NAME=VALUE` of a dim or constant."""

    name = "name=value"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, Any]:
        if isinstance(value, tuple):
            return value
        name, equals, text = value.partition("=")
        words: dict[str, Any] = {"true": True, "false": False, "none": None}
        if not equals or not name.isidentifier():
            self.fail(f"{value!r} is not of the form NAME=VALUE, such as D=256", param, ctx)
        if text in words:
            return name, words[text]
        for kind in (int, float):
            try:
                return name, kind(text)
            except ValueError:
                continue
        self.fail(f"{text!r} is not a number, true, false or none", param, ctx)
        raise AssertionError


setting = click.option(
    "--set",
    "settings",
    type=Setting(),
    multiple=True,
    metavar="NAME=VALUE",
    help="Another size of a dim or value of a constant, such as D=256. May be repeated.",
)
entry = click.option(
    "--entry", metavar="NAME", help="A loss or model; by default the file's last loss."
)
existing = click.Path(path_type=Path)


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="netwright", prog_name="netwright")
def main() -> None:
    """Prove, plan and write neural networks as JAX programs of your own."""


main.add_command(ckpt)


@main.command()
@click.argument("model", type=existing)
@setting
@entry
@teaches
def check(model: Path, settings: tuple, entry: str | None) -> None:
    """Prove the shapes of MODEL, a *.nw file or a folder that has one.

    Every size is checked for all values of the free dims. What cannot be settled before the data
    are known is listed as a requirement, and tested when they are.
    """
    from . import driver

    loaded = driver.load(model, dict(settings), entry)
    warn(loaded.warnings, loaded.sources)
    module = loaded.module
    free = f" for every {', '.join(module.free)}" if module.free else ""
    click.echo(f"{loaded.path}: {module.kind} {module.name} is right{free}")
    layers = len({i.layer for i in module.instances})
    instances = len(module.instances)
    click.echo(f"{instances} instances of {layers} layers, {_parameters(module)} parameters")
    for line in loaded.requirements:
        click.echo(f"required: {line}")


def _parameters(module: Any) -> str:
    from .ir.census import census

    total = census(module).parameters
    return f"{total.value:,}" if total.is_constant else str(total)


@main.command()
@click.argument("model", type=existing)
@setting
@entry
@click.option(
    "--after", metavar="PASS", help="As it is after a pass: simplify, precision, shard, layout."
)
@click.option(
    "--parameters",
    is_flag=True,
    help="A table by path instead: shapes, parameters, bytes, operations of a forward pass.",
)
@click.option("--json", "as_json", is_flag=True, help="That table as JSON.")
@click.option(
    "--python", "as_python", is_flag=True, help="The model file in the notation of Python instead."
)
@click.option(
    "--print-after", "print_after", multiple=True, metavar="PASS", help="What a pass changed."
)
@teaches
def show(
    model: Path,
    settings: tuple,
    entry: str | None,
    after: str | None,
    parameters: bool,
    as_json: bool,
    as_python: bool,
    print_after: tuple[str, ...],
) -> None:
    """Show what Netwright makes of MODEL: its intermediate form, or its parameters."""
    from . import driver

    if as_python:
        click.echo(driver.in_python(model), nl=False)
        return
    loaded = driver.load(model, dict(settings), entry)
    if parameters or as_json:
        _show_parameters(loaded.module, as_json)
        return
    from .ir.text import show as text

    if after is None and not print_after:
        click.echo(text(loaded.module))
        return
    module = driver.compile_up_to(loaded, after, print_after)
    if after is not None:
        click.echo(text(module))


def _show_parameters(module: Any, as_json: bool) -> None:
    from . import parameters
    from .ir.census import census

    found = census(module)
    if as_json:
        click.echo(parameters.as_json(found))
    elif sys.stdout.isatty():
        from rich.console import Console

        Console().print(*parameters.rich_table(found), sep="", highlight=False)
    else:
        click.echo(parameters.table(found))


@main.command()
@click.argument("paths", type=existing, nargs=-1, required=True, metavar="FILE|FOLDER...")
@click.option("--check", is_flag=True, help="Change nothing; name files that would, and exit 1.")
@click.option("--diff", is_flag=True, help="Change nothing; show what would change.")
@teaches
def fmt(paths: tuple[Path, ...], check: bool, diff: bool) -> None:
    """Give model files their one layout: FILEs, all *.nw in FOLDERs, or - for standard input.

    Meaning and comments stay; rows have at most 100 columns. A file with a mistake in it is
    left alone.
    """
    from . import formatting
    from .ir.diagnostics import Diagnostics

    diagnostics = Diagnostics()
    changed = 0
    piped = [p for p in paths if str(p) == "-"]
    files = formatting.model_files((p for p in paths if str(p) != "-"), diagnostics)
    for path in [*piped, *files]:
        name = "standard input" if path in piped else str(path)
        if path in piped:
            raw = sys.stdin.buffer.read()
            texts = formatting.formatted_bytes(raw, name, diagnostics)
        else:
            texts = formatting.formatted(path, diagnostics)
        if texts is None:
            continue
        before, after = texts
        changed += before != after
        if diff:
            click.echo(formatting.difference(before, after, name), nl=False)
        elif check and before != after:
            click.echo(f"{name} would change")
        elif path in piped and not check:
            sys.stdout.buffer.write(after.encode())
        elif before != after:
            formatting.write(path, after)
            click.echo(f"{name} has changed")
    diagnostics.raise_errors()
    if check and changed:
        sys.exit(WRONG)


@main.command()
@click.argument("model", type=existing, default=".", metavar="[FOLDER|MODEL]")
@setting
@entry
@teaches
def recipe(model: Path, settings: tuple, entry: str | None) -> None:
    """Write a recipe.toml beside a model, with every key and what it means.

    The data and the sizes of free dims are filled in as far as they can be told; all other keys
    stand behind a # with their defaults. A recipe that is there is never overwritten.
    """
    from . import driver

    path, missing = driver.new_recipe(model, dict(settings), entry)
    click.echo(f"{path} is written")
    for line in missing:
        click.echo(f"fill in:  {line}")
    if not missing:
        click.echo(f"train it: netwright train {path.parent}")


@main.command()
@click.argument("folder", type=existing)
@click.option(
    "-o", "--output", type=existing, required=True, metavar="DIR", help="Where to write it."
)
@setting
@click.option(
    "--plan", "plan_file", type=existing, metavar="FILE", help="A plan.json to be obeyed."
)
@click.option(
    "--print-after", "print_after", multiple=True, metavar="PASS", help="What a pass changed."
)
@teaches
def emit(
    folder: Path,
    output: Path,
    settings: tuple,
    plan_file: Path | None,
    print_after: tuple[str, ...],
) -> None:
    """Write the training program of FOLDER, which has a model.nw and a recipe.toml.

    The program needs jax, optax and numpy, and nothing of Netwright. Files in it that
    you have edited are never overwritten.
    """
    from . import driver

    files = driver.program_of(folder, dict(settings), plan_file, print_after)
    warn(files.warnings)
    from .backend.program import write_program

    changed = write_program(files, output)
    click.echo(
        f"{output}: {len(changed)} files written" if changed else f"{output}: nothing has changed"
    )
    click.echo(f"run it:  python {output / 'train.py'}")


@main.command()
@click.argument("folder", type=existing)
@setting
@click.option("--steps", type=click.IntRange(1), metavar="N", help="Stop after step N.")
@click.option(
    "--run", "run", type=existing, metavar="DIR", help="The run's folder; by default runs/NAME."
)
@click.option(
    "--plan", "plan_file", type=existing, metavar="FILE", help="A plan.json to be obeyed."
)
@init_options
@processes_options
@teaches
def train(
    folder: Path,
    settings: tuple,
    steps: int | None,
    run: Path | None,
    plan_file: Path | None,
    joined: tuple[str, ...],
    **init: Any,
) -> None:
    """Train the model in FOLDER: write its program into a new run, and run that.

    Ctrl-C stops after the step with a checkpoint, and says how to go on.
    """
    from . import driver, running

    if run is None and together(joined):
        raise click.UsageError("several processes need --run DIR, the same folder for all of them")
    files = driver.program_of(folder, dict(settings), plan_file)
    warn(files.warnings)
    initial = initial_of(files, **init)
    run = run or running.new_run(files.name)
    running.start(files, run, steps, initial, joined)


@main.command()
@click.argument("run", type=existing)
@click.option("--steps", type=click.IntRange(1), metavar="N", help="Stop after step N.")
@click.option(
    "--allow", type=click.Choice(["model", "data", "batch"]), multiple=True,
    help="Go on although this has changed since the checkpoint. May be repeated.",
)  # fmt: skip
@processes_options
@teaches
def resume(run: Path, steps: int | None, allow: tuple[str, ...], joined: tuple[str, ...]) -> None:
    """Go on with RUN from its newest checkpoint, bit for bit as if it had never stopped.

    A model, data or batch that are not those of the checkpoint are refused, and what has changed
    is said.
    """
    from . import running

    more = ["--steps", str(steps)] if steps is not None else []
    more += [part for kind in allow for part in ("--allow", kind)]
    running.call(run, "--resume", str(run), *more, *joined)


@main.command(name="eval")
@click.argument("run", type=existing)
@processes_options
@teaches
def evaluate(run: Path, joined: tuple[str, ...]) -> None:
    """Evaluate the newest checkpoint of RUN on all of the held-out data."""
    from . import running

    running.call(run, "evaluate", "--run", str(run), *joined)


@main.command()
@click.argument("run", type=existing)
@click.option("--step", type=click.IntRange(1), metavar="N", help="Which; by default the last.")
@teaches
def diagnose(run: Path, step: int | None) -> None:
    """Say what went wrong in a step of RUN that was not finite.

    The run has kept its batch and the state before it. With a model.py that you have changed
    since, in RUN/program, it says what would go wrong now.
    """
    from . import running

    more = ("--step", str(step)) if step is not None else ()
    running.call(run, "diagnose", "--run", str(run), *more)


@main.command()
@click.argument("run", type=existing)
@click.option("--prompt", default="\n", metavar="TEXT", help="What to go on from.")
@click.option(
    "--length", type=click.IntRange(1), default=500, show_default=True, metavar="N", help="Tokens."
)
@click.option(
    "--temperature", type=click.FloatRange(0), default=0.8, show_default=True, metavar="T",
    help="How daring; 0 always takes the likeliest.",
)  # fmt: skip
@click.option(
    "--top-k", type=click.IntRange(1), metavar="K", help="Draw among the K likeliest only."
)
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Of the drawing.")
@teaches
def sample(
    run: Path, prompt: str, length: int, temperature: float, top_k: int | None, seed: int
) -> None:
    """Text from the newest checkpoint of RUN, a trained language model."""
    from . import running

    more = ("--top-k", str(top_k)) if top_k is not None else ()
    running.call(
        run, "sample", "--run", str(run), "--prompt", prompt, "--length", str(length),
        "--temperature", str(temperature), "--seed", str(seed), *more,
    )  # fmt: skip


@main.command()
@click.argument("paths", type=existing, nargs=-1, required=True, metavar="FOLDER|MODEL")
@setting
@entry
@click.option(
    "--memory", metavar="AMOUNT", help="What a step may take of one device, such as 16GiB."
)
@click.option("--device", metavar="NAME", help="h100, v5e, … or a TOML file; by default h100.")
@click.option("--optimizer", metavar="NAME", help="Of a MODEL; by default adamw.")
@click.option("--precision", metavar="POLICY", help="Of a MODEL; by default float32.")
@click.option(
    "--plan", "plan_file", type=existing, metavar="FILE",
    help="A plan.json: of a MODEL with sizes, mesh or precision, to begin with; with more, or for "
    "a FOLDER, the plan that is reported, and no other is looked for.",
)  # fmt: skip
@click.option(
    "--verify",
    is_flag=False,
    flag_value="cpu",
    metavar="TARGET",
    help="Compile the step, and take a plan that holds; for cpu, or tpu:v5e.",
)
@click.option("--json", "as_json", is_flag=True, help="All of it as JSON.")
@click.option("--html", type=existing, metavar="FILE", help="Where to write a report to look at.")
@click.option("-o", "--output", type=existing, metavar="FILE", help="Where to write the plan.json.")
@teaches
def plan(
    paths: tuple[Path, ...],
    settings: tuple,
    entry: str | None,
    memory: str | None,
    device: str | None,
    optimizer: str | None,
    precision: str | None,
    plan_file: Path | None,
    verify: str | None,
    as_json: bool,
    html: Path | None,
    output: Path | None,
) -> None:
    """Say what a training step takes, and plan what is kept for its gradient.

    FOLDER has a model and a recipe; for a MODEL alone, --set gives the sizes of its free dims.
    No device is needed, and nothing runs. What -o writes can be edited, and handed to emit and
    train by --plan.

    \b
    netwright plan diff A.json B.json     what differs between two plans
    """
    from . import driver, planning

    if str(paths[0]) == "diff" and len(paths) == 3:
        a, b = map(driver.read_plan, paths[1:])
        lines = planning.difference(a, b)
        click.echo("\n".join(lines) if lines else "nothing differs")
        return
    if len(paths) != 1:
        raise click.UsageError("one folder or model; or: netwright plan diff A.json B.json")
    (path,) = paths
    decided = driver.read_plan(plan_file) if plan_file is not None else None
    if planning.has_recipe(path):
        of_models = {"--entry": entry, "--optimizer": optimizer, "--precision": precision}
        for option, value in of_models.items():
            if value is not None:
                file = path / driver.RECIPE
                raise click.UsageError(f"{option} is for a MODEL; for a folder {file} says it")
        question = planning.of_folder(path, dict(settings), memory, device, decided)
    else:
        optimizer = optimizer or "adamw"
        question = planning.of_model(
            path, dict(settings), memory, device, entry, optimizer, precision, decided
        )
    warn(question.warnings)
    found = None
    if verify is None:
        planned = question.answer()
    else:
        from .verifying import verified

        planned, found = verified(question, verify)
    if output is not None:
        output.write_text(question.written(planned.plan).to_json())
    if html is not None:
        from .report.planned import report

        html.write_text(report(question, planned, found), encoding="utf-8")
    from . import planned as planned_report

    if as_json:
        click.echo(planned_report.as_json(question, planned, found))
    else:
        click.echo(planned_report.text(question, planned, str(found) if found else ""))
    if not planned.fits or (found is not None and not found.fits):
        sys.exit(WRONG)


@main.command()
@click.argument("runs", type=existing, nargs=-1, required=True, metavar="RUN...")
@click.option(
    "-o", "--output", type=existing, default=Path("curves.png"), show_default=True, metavar="FILE",
    help="Where to draw it: *.png, *.svg or *.pdf.",
)  # fmt: skip
@click.option("--metric", default="loss", show_default=True, metavar="NAME", help="What is drawn.")
@click.option("--log-x", is_flag=True, help="Steps on a logarithmic axis.")
@teaches
def plot(runs: tuple[Path, ...], output: Path, metric: str, log_x: bool) -> None:
    """Draw the learning curves of RUNs, with learning rates, gradient norms and speeds.

    Needs matplotlib: pip install 'netwright[plot]'.
    """
    from . import plotting

    plotting.draw(runs, output, metric, log_x)
    click.echo(str(output))


@main.command()
@click.argument("run", type=existing)
@click.option(
    "--csv", "as_csv", is_flag=True, help="All rows of the log, as comma-separated values."
)
@click.option("--json", "as_json", is_flag=True, help="The same figures as JSON.")
@teaches
def metrics(run: Path, as_csv: bool, as_json: bool) -> None:
    """What the log of RUN adds up to: speed of its steps, and where its time went."""
    from . import logs

    click.echo(logs.csv_of(run) if as_csv else logs.figures_of(run, as_json), nl=False)


@main.command(hidden=True)
@click.argument("file", type=existing)
def replay(file: Path) -> None:
    """Run again the passes that failed on a module, from the FILE that the failure left."""
    from .passes.manager import PassError, ReplayError
    from .passes.manager import replay as again

    try:
        again(str(file))
    except (PassError, ReplayError, OSError) as error:
        click.echo(str(error), err=True)
        sys.exit(WRONG)
    click.echo("it does not fail any more")
