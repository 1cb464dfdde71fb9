"""The emitted `train.py`: a recipe as literals, for people to read and own.

What it says is decided in the recipe; here it is laid out, in the form that `ruff format` gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..ir.core import Module, flat, join
from ..ir.optimizers import DECAY_MASKS, SCHEDULES, STEPS
from ..ir.recipe import Recipe
from .naming import documented, prose, quoted

WIDTH = 100


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


def small_params(module: Module) -> tuple[str, ...]:
    """The paths of the parameters with fewer than two dims of their own, copies apart."""
    return tuple(
        join(instance.path, p.name)
        for instance in module.instances
        for p in instance.params
        if len(p.order) < 2
    )


def train_script(
    recipe: Recipe,
    *,
    name: str,
    entry: str,
    inputs: Sequence[Input],
    small: Sequence[str] = (),
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
        small: the parameters that weight decay leaves alone, by path; see `small_params`.
        microbatches: how many parts a batch is cut into.
        kind: what the entry is, for the docstring.
        source: the file that the model was written in, for the docstring; "" for none.
    """
    masked = recipe.optimizer.decay is not None and recipe.optimizer.decay_on == "matrices"
    masked = masked and recipe.optimizer.name in DECAY_MASKS and bool(small)
    settings = bool(_settings(recipe, microbatches).arguments)
    lines = _head(name, entry, kind, source, masked, settings)
    lines += _mask(small) if masked else []
    lines += ["", "", *_optimizer(recipe, masked), "", ""]
    lines += [*_batches(recipe, inputs), "", ""]
    lines += [*_job(recipe, name, microbatches), ""]
    lines += ['if __name__ == "__main__":', "    sys.exit(main(JOB))", ""]
    return "\n".join(lines)


def _head(name: str, entry: str, kind: str, source: str, masked: bool, settings: bool) -> list[str]:
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
    lines += ["import jax"] if masked else []
    return [
        *lines,
        "import optax",
        "",
        # Which order tools want depends on whether they see model.py from where they are run.
        "# isort: off",
        "import model",
        f"from runtime import Job, {'Settings, ' if settings else ''}data, main",
        "",
        "HERE = Path(__file__).resolve().parent",
    ]


# The optimizer


def _mask(small: Sequence[str]) -> list[str]:
    return [
        *_laid("", "NOT_DECAYED = ", _tuple([quoted(p) for p in small])),
        "",
        "",
        "def decayed(params):",
        '    """True for each parameter that weight decay shrinks: those of two or more dims."""',
        "    return jax.tree.map_with_path(",
        '        lambda path, _: ".".join(key.key for key in path) not in NOT_DECAYED, params',
        "    )",
    ]


def _optimizer(recipe: Recipe, masked: bool) -> list[str]:
    chosen = recipe.optimizer
    lines = ["def optimizer():", *_doc(_optimizer_doc(recipe))]
    rate, before = _rate(recipe)
    lines += before
    arguments = [rate, *(f"{n}={_literal(v)}" for n, v in chosen.options)]
    if masked:
        arguments.append(f"{DECAY_MASKS[chosen.name]}=decayed")
    update = Call(f"optax.{chosen.name}", tuple(arguments))
    if chosen.clip is not None:
        clip = Call("optax.clip_by_global_norm", (_literal(chosen.clip),))
        update = Call("optax.chain", (clip, update))
    return [*lines, *_laid("    ", "return ", update)]


def _optimizer_doc(recipe: Recipe) -> str:
    chosen = recipe.optimizer
    said = "The optimizer"
    if recipe.schedule.name != "constant":
        said += f", its learning rate by the schedule {recipe.schedule.name}"
    if chosen.clip is not None:
        said += "; gradients are clipped" if "," in said else ", after clipping gradients"
    return f"{said}."


def _rate(recipe: Recipe) -> tuple[str, list[str]]:
    """The learning rate as an argument, and the statements before it."""
    rate, schedule = _literal(recipe.optimizer.learning_rate), recipe.schedule
    kind, given = SCHEDULES[schedule.name], dict(schedule.options)
    if schedule.name == "constant":
        return rate, []
    values = {
        name: given.get(name, recipe.train.steps if default == STEPS else default)
        for name, default in kind.options.items()
    }
    if schedule.name == "warmup_linear":
        warmup = values["warmup_steps"]
        rise = [_literal(values["init_value"]), rate, str(warmup)]
        fall = [rate, _literal(values["end_value"]), str(values["decay_steps"] - warmup)]
        parts = tuple(Call("optax.linear_schedule", tuple(p)) for p in (rise, fall))
        made = Call("optax.join_schedules", (Call("", parts, "[]"), f"boundaries=[{warmup}]"))
        return "rate", _laid("    ", "rate = ", made)
    # Defaults of ours and of optax's may differ, so what optax requires is written out.
    ours = {"decay_steps", "transition_steps", "init_value", "end_value"}
    arguments: list[Any] = [f"{kind.rate}={rate}"]
    for name, value in values.items():
        if (name in given or name in ours) and value is not None:
            table = isinstance(value, tuple)
            arguments.append(Named(name, _dict(value)) if table else f"{name}={_literal(value)}")
    return "rate", _laid("    ", "rate = ", Call(f"optax.{kind.optax}", tuple(arguments)))


# The data


def _batches(recipe: Recipe, inputs: Sequence[Input]) -> list[str]:
    data = recipe.data
    path = f'HERE / "data" / {quoted(recipe.data_path.name)}'
    arguments: list[Any] = [path]
    kind = {"text": "Text", "arrays": "Arrays", "pairs": "Pairs"}[data.kind]
    arguments += {"text": _of_text, "arrays": _of_arrays, "pairs": _of_pairs}[data.kind](
        recipe, inputs
    )
    arguments += [f"held_out={_literal(data.held_out)}", f"seed={recipe.data_seed}"]
    lines = ["def batches():", *_doc(_batches_doc(recipe, inputs))]
    return [*lines, *_laid("    ", "return ", Call(f"data.{kind}", tuple(arguments)))]


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
        Named("fields", _dict((i.name, i.takes) for i in inputs)),
        f"batch={recipe.train.batch}",
        *([Named("scale", _dict(recipe.data.scale))] if recipe.data.scale else []),
        *([Named("sizes", _dict(known))] if known else []),
    ]


def _of_pairs(recipe: Recipe, inputs: Sequence[Input]) -> list[Any]:
    arguments: list[Any] = [
        f"batch={recipe.train.batch}",
        Named("fields", _dict((i.name, i.takes) for i in inputs)),
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


def _job(recipe: Recipe, name: str, microbatches: int) -> list[str]:
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
        f"keep={train.keep}",
    ]
    settings = _settings(recipe, microbatches)
    if settings.arguments:
        arguments.append(Named("settings", settings))
    if recipe.mesh.axes:
        arguments.append(Named("mesh", _dict(recipe.mesh.axes)))
    return _laid("", "JOB = ", Call("Job", tuple(arguments)), broken=True)


def _settings(recipe: Recipe, microbatches: int) -> Call:
    """What is not as the runtime has it by default."""
    train = recipe.train
    arguments: list[Any] = []
    if microbatches > 1:
        arguments.append(f"microbatches={microbatches}")
    if recipe.precision.scaling is not None:
        arguments.append(f"loss_scale={_literal(recipe.precision.scaling)}")
    if train.freeze:
        arguments.append(Named("frozen", _tuple([_literal(path) for path in train.freeze])))
    if train.ema is not None:
        arguments.append(f"ema={_literal(train.ema)}")
    return Call("Settings", tuple(arguments))


# Laying out


@dataclass(frozen=True)
class Call:
    """A call, or with a name of "" something in brackets."""

    name: str
    arguments: tuple[Any, ...]
    brackets: str = "()"


@dataclass(frozen=True)
class Named:
    """An argument `name=value`."""

    name: str
    value: Call


def _flat(item: Any) -> str:
    if isinstance(item, Named):
        return f"{item.name}={_flat(item.value)}"
    if isinstance(item, Call):
        inner = ", ".join(_flat(a) for a in item.arguments)
        inner += "," if item.brackets == "()" and not item.name and len(item.arguments) == 1 else ""
        return f"{item.name}{item.brackets[0]}{inner}{item.brackets[1]}"
    return item


def _laid(pad: str, before: str, item: Any, after: str = "", broken: bool = False) -> list[str]:
    """A statement as lines: as few as there can be, or with each argument on its own if broken."""
    while isinstance(item, Named):
        before, item = f"{before}{item.name}=", item.value
    line = f"{pad}{before}{_flat(item)}{after}"
    if not isinstance(item, Call) or not item.arguments or (len(line) <= WIDTH and not broken):
        return [line]
    inner = pad + "    "
    opened = f"{pad}{before}{item.name}{item.brackets[0]}"
    one = inner + ", ".join(_flat(a) for a in item.arguments)
    tuple_of_one = item.brackets == "()" and not item.name and len(item.arguments) == 1
    if len(one) <= WIDTH and not broken and item.name and not tuple_of_one:
        body = [one]
    else:
        body = [row for a in item.arguments for row in _laid(inner, "", a, ",")]
    return [opened, *body, f"{pad}{item.brackets[1]}{after}"]


def _tuple(items: Sequence[str]) -> Call:
    return Call("", tuple(items))


def _dict(pairs: Any) -> Call:
    return Call("", tuple(f"{_literal(k)}: {_literal(v)}" for k, v in pairs), "{}")


def _doc(text: str) -> list[str]:
    return [f'    """{documented(prose(text))}"""']


def _literal(value: Any) -> str:
    return quoted(value) if isinstance(value, str) else repr(value)
