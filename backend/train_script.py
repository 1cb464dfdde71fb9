"""The emitted `train.py`: a recipe as literals, for people to read and own.

What it says is decided in the recipe; here it is laid out, in the form that `ruff format` gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..ir.recipe import Recipe
from ..ir.recipe_data import KINDS
from ..ir.recipe_optimizer import Chosen
from .batches import DataFile, Input, batches, length
from .naming import documented, prose, quoted
from .optimizer_script import OptimizerScript
from .statements import Call, Named, dict_of, docstring, laid, literal, tuple_of


def train_script(
    recipe: Recipe,
    *,
    name: str,
    entry: str,
    inputs: Sequence[Input],
    chosen: Chosen = Chosen(),  # noqa: B008
    microbatches: int = 1,
    kind: str = "loss",
    source: str = "",
    flops: int | None = None,
    peak: float | None = None,
) -> str:
    """The text of `train.py`.

    Args:
        recipe: what to train with.
        name: the program's name.
        entry: the name of the loss that is trained.
        inputs: its inputs in order, their free dims bound.
        chosen: the parameters that the recipe means by its patterns.
        microbatches: how many parts a batch is cut into.
        kind: what the entry is, for the docstring.
        source: the file that the model was written in, for the docstring; "" for none.
        flops: of the products of a training step, if they are known.
        peak: how many of them one device does in a second, if the recipe says so.
    """
    written = OptimizerScript(recipe, chosen)
    settings = _settings(recipe, chosen, microbatches)
    used = ["Job", "data", "main"]
    used += ["Keep"] if isinstance(_keep(recipe), Named) else []
    used += ["Settings"] if settings.arguments else []
    if recipe.data.kind not in KINDS:
        used = [*(name for name in used if name != "data"), "RunError"]
    lines = _head(name, entry, kind, source, written.needs_jax, used)
    lines += [*written.tables(), "", "", *written.functions(), "", ""]
    lines += [*_batches(recipe, inputs), "", ""]
    lines += [*_job(recipe, name, settings, flops, peak), ""]
    lines += ['if __name__ == "__main__":', "    sys.exit(main(JOB))", ""]
    return "\n".join(lines)


def _head(
    name: str, entry: str, kind: str, source: str, needs_jax: bool, used: Sequence[str]
) -> list[str]:
    of = f" of {prose(source)}" if source else ""
    title = documented(f"Trains {prose(name)}: the {kind} {prose(entry)}{of}.")
    lines = [
        f'"""{title}',
        "",
        "`python train.py` trains; with --help it says what else it can.",
        '"""',
        "",
    ]
    lines += ["import sys", "from pathlib import Path", ""]
    lines += ["import jax"] if needs_jax else []
    return [
        *lines,
        "import optax",
        "",
        # Which order tools want depends on whether they see model.py from where they are run.
        "# isort: off",
        "import model",
        f"from runtime import {', '.join(sorted(used, key=lambda n: (n.islower(), n)))}",
        "",
        "HERE = Path(__file__).resolve().parent",
    ]


# The data


def _batches(recipe: Recipe, inputs: Sequence[Input]) -> list[str]:
    made = batches(recipe, inputs)
    lines = ["def batches():", *docstring(_batches_doc(recipe, inputs))]
    if not made.source:
        return [*lines, '    raise RunError("write what gives the batches, a data.Source")']
    arguments = [Named(n, _value(v)) if n else _value(v) for n, v in made.arguments]
    return [*lines, *laid("    ", "return ", Call(f"data.{made.source}", tuple(arguments)))]


def _batches_doc(recipe: Recipe, inputs: Sequence[Input]) -> str:
    batch, held, kind = recipe.train.batch, recipe.data.held_out, recipe.data.kind
    if kind not in KINDS:
        return f"Batches of {batch} examples of {', '.join(i.name for i in inputs)}."
    what = f"{batch} {KINDS[kind].rows}"
    kept = f"{held * 100:g} %" if isinstance(held, float) else str(held)
    if KINDS[kind].rows == "windows":
        unit = "bytes" if kind == "text" and recipe.data.tokenizer is None else "tokens"
        what += f" of {length(inputs, tuple(recipe.data.offers()))} {unit}"
        kept = f"the last {kept}"
    if isinstance(held, str):
        return f"Batches of {what}; held out is another file."
    return f"Batches of {what}" + (f"; {kept} are held out." if held else ".")


def _value(value: Any) -> Any:
    """A value as it is written."""
    if isinstance(value, DataFile):
        where = f"Path({quoted(str(value.path))})"
        return where if value.name is None else f'HERE / "data" / {quoted(value.name)}'
    if isinstance(value, dict):
        return Call("", tuple(Named(literal(k), _value(v), ": ") for k, v in value.items()), "{}")
    if isinstance(value, tuple):
        return tuple_of([_value(v) for v in value])
    return literal(value)


# The job


def _job(
    recipe: Recipe, name: str, settings: Call, flops: int | None, peak: float | None
) -> list[str]:
    train = recipe.train
    arguments: list[Any] = [
        f"name={quoted(name)}",
        "model=model",
        "optimizer=optimizer",
        "data=batches",
        f"steps={train.steps}",
        f"seed={train.seed}",
        f"evaluate_every={train.evaluate_every}",
        f"checkpoint_every={train.checkpoint_every}",
        _keep(recipe),
    ]
    if train.patience:
        arguments.append(f"patience={train.patience}")
    if flops is not None:
        arguments.append(f"flops={flops:_}")
    if peak is not None:
        arguments.append(f"peak={literal(peak)}")
    if train.tensorboard:
        arguments.append("tensorboard=True")
    if settings.arguments:
        arguments.append(Named("settings", settings))
    if recipe.mesh.axes:
        arguments.append(Named("mesh", dict_of(recipe.mesh.axes)))
    return laid("", "JOB = ", Call("Job", tuple(arguments)), broken=True)


def _keep(recipe: Recipe) -> Any:
    """Which checkpoints are kept: a number, where that says all."""
    train = recipe.train
    better = train.better == "higher"
    more = {
        "best": (train.keep_best, 0),
        "every": (train.keep_every, 0),
        "metric": (train.metric, "loss"),
        "highest": (better, False),
    }
    given = [f"{name}={literal(v)}" for name, (v, usual) in more.items() if v != usual]
    if not given:
        return f"keep={train.keep}"
    return Named("keep", Call("Keep", (f"last={train.keep}", *given)))


def _settings(recipe: Recipe, chosen: Chosen, microbatches: int) -> Call:
    """What is not as the runtime has it by default."""
    train = recipe.train
    arguments: list[Any] = []
    if microbatches > 1:
        arguments.append(f"microbatches={microbatches}")
    if recipe.precision.scaling is not None:
        arguments.append(f"loss_scale={literal(recipe.precision.scaling)}")
    if chosen.frozen:
        arguments.append(Named("frozen", tuple_of([literal(path) for path in chosen.frozen])))
    if train.ema is not None:
        arguments.append(f"ema={literal(train.ema)}")
    return Call("Settings", tuple(arguments))
