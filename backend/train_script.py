"""The emitted `train.py`: a recipe as literals, for people to read and own.

What it says is decided in the recipe; here it is laid out, in the form that `ruff format` gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..ir.core import Module, flat
from ..ir.recipe import Recipe
from ..ir.recipe_optimizer import Chosen
from .naming import documented, prose, quoted
from .optimizer_script import OptimizerScript
from .statements import Call, Named, dict_of, docstring, laid, literal, tuple_of


@dataclass(frozen=True)
class Input:
    """An input of the model: the batch's field, its dims with their sizes, and what it takes.

    Attributes:
        name: the field.
        dims: names and sizes of its dims, as written; the first is the batch.
        takes: what of the data it is: "tokens" of text, the name of an array, a role in a pair.
        ids: how many ids the model knows, None where that is not known.
    """

    name: str
    dims: tuple[tuple[str, int], ...]
    takes: str
    ids: int | None = None


def inputs_of(
    module: Module,
    sizes: Mapping[str, int],
    fields: Mapping[str, str],
    ids: Mapping[str, int] | None = None,
) -> tuple[Input, ...]:
    """The inputs of a module, for `train_script`.

    Args:
        module: the entry.
        sizes: what its free dims are bound to.
        fields: for each input, what of the data it takes.
        ids: for some inputs, how many ids the model knows.
    """
    made = []
    for value in module.instances[0].variants[0].inputs:
        dims = tuple((d.name, _size(d.size, sizes)) for d in flat(value.order or ()))
        name = value.label
        made.append(Input(name, dims, fields.get(name, name), (ids or {}).get(name)))
    return tuple(made)


def _size(size: Any, sizes: Mapping[str, int]) -> int:
    return size.value if size.is_constant else size.evaluate(sizes)


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
    """
    written = OptimizerScript(recipe, chosen)
    settings = _settings(recipe, chosen, microbatches)
    more = ["Keep"] if isinstance(_keep(recipe), Named) else []
    more += ["Settings"] if settings.arguments else []
    lines = _head(name, entry, kind, source, written.needs_jax, more)
    lines += [*written.tables(), "", "", *written.functions(), "", ""]
    lines += [*_batches(recipe, inputs), "", ""]
    lines += [*_job(recipe, name, settings), ""]
    lines += ['if __name__ == "__main__":', "    sys.exit(main(JOB))", ""]
    return "\n".join(lines)


def _head(
    name: str, entry: str, kind: str, source: str, needs_jax: bool, more: Sequence[str]
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
        f"from runtime import {', '.join(['Job', *more])}, data, main",
        "",
        "HERE = Path(__file__).resolve().parent",
    ]


# The data


def _batches(recipe: Recipe, inputs: Sequence[Input]) -> list[str]:
    data = recipe.data
    path = f'HERE / "data" / {quoted(recipe.data_path.name)}'
    arguments: list[Any] = [path]
    kind = {"text": "Text", "arrays": "Arrays", "pairs": "Pairs"}[data.kind]
    arguments += {"text": _of_text, "arrays": _of_arrays, "pairs": _of_pairs}[data.kind](
        recipe, inputs
    )
    arguments += [f"held_out={literal(data.held_out)}", f"seed={recipe.data_seed}"]
    lines = ["def batches():", *docstring(_batches_doc(recipe, inputs))]
    return [*lines, *laid("    ", "return ", Call(f"data.{kind}", tuple(arguments)))]


def _batches_doc(recipe: Recipe, inputs: Sequence[Input]) -> str:
    batch, held = recipe.train.batch, recipe.data.held_out
    kept = f"{held * 100:g} %" if isinstance(held, float) else f"{held:,}"
    if recipe.data.kind == "text":
        what = f"{batch} windows of {_length(inputs, ('tokens', 'targets'))} bytes"
        kept = f"the last {kept} are held out"
    else:
        what = f"{batch} {'pairs' if recipe.data.kind == 'pairs' else 'examples'}"
        kept = f"{kept} are held out"
    return f"Batches of {what}" + (f"; {kept}." if held else ".")


def _of_text(recipe: Recipe, inputs: Sequence[Input]) -> list[Any]:
    by = {i.takes: i for i in inputs}
    names = ", ".join(quoted(by[t].name) for t in ("tokens", "targets"))
    known = by["tokens"].ids
    return [
        f"length={_length(inputs, ('tokens', 'targets'))}",
        f"batch={recipe.train.batch}",
        f"fields=({names})",
        *([f"vocabulary={known}"] if known is not None else []),
    ]


def _of_arrays(recipe: Recipe, inputs: Sequence[Input]) -> list[Any]:
    known = [(i.name, i.ids) for i in inputs if i.ids is not None]
    return [
        Named("fields", dict_of((i.name, i.takes) for i in inputs)),
        f"batch={recipe.train.batch}",
        *([Named("scale", dict_of(recipe.data.scale))] if recipe.data.scale else []),
        *([Named("sizes", dict_of(known))] if known else []),
    ]


def _of_pairs(recipe: Recipe, inputs: Sequence[Input]) -> list[Any]:
    arguments: list[Any] = [
        f"batch={recipe.train.batch}",
        Named("fields", dict_of((i.name, i.takes) for i in inputs)),
    ]
    for side, roles in (
        ("source", ("source", "source_live")),
        ("target", ("target_in", "target_out", "target_live")),
    ):
        length = _length(inputs, roles)
        if length is not None:
            arguments.append(f"{side}_length={length}")
    for side in ("source", "target"):
        known = [i.ids for i in inputs if i.takes.startswith(side) and i.ids is not None]
        if known:
            arguments.append(f"{side}_vocabulary={min(known)}")
    return arguments


def _length(inputs: Sequence[Input], roles: Sequence[str]) -> int | None:
    """The size of the second dim of the inputs that take one of these."""
    return next((i.dims[1][1] for i in inputs if i.takes in roles and len(i.dims) > 1), None)


# The job


def _job(recipe: Recipe, name: str, settings: Call) -> list[str]:
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
