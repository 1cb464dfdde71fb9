"""The optimizer in the emitted `train.py`, as a person would write it with optax."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..ir.optimizers import DECAY_MASKS, SCHEDULES, STEPS
from ..ir.recipe import Recipe
from .naming import quoted
from .statements import Call, Named, dict_of, docstring, laid, literal, tuple_of


def mask_lines(small: Sequence[str]) -> list[str]:
    """The parameters that do not decay, and the function that says so to optax."""
    return [
        *laid("", "NOT_DECAYED = ", tuple_of([quoted(p) for p in small])),
        "",
        "",
        "def decayed(params):",
        '    """True for each parameter that weight decay shrinks: those of two or more dims."""',
        "    return jax.tree.map_with_path(",
        '        lambda path, _: ".".join(key.key for key in path) not in NOT_DECAYED, params',
        "    )",
    ]


def optimizer_lines(recipe: Recipe, masked: bool) -> list[str]:
    """The function `optimizer`."""
    chosen = recipe.optimizer
    arguments = ["learning_rate", *(f"{n}={literal(v)}" for n, v in chosen.options)]
    if masked:
        arguments.append(f"{DECAY_MASKS[chosen.name]}=decayed")
    update = Call(chosen.name, ("rate",))
    if chosen.clip is not None:
        clip = Call("optax.clip_by_global_norm", (literal(chosen.clip),))
        update = Call("optax.chain", (clip, update))
    return [
        "def optimizer():",
        *docstring(_about(recipe)),
        *laid("    ", "rate = ", _schedule(recipe)),
        "",
        "    @optax.inject_hyperparams  # so that its state says which learning rate is in effect",
        f"    def {chosen.name}(learning_rate):",
        *laid("        ", "return ", Call(f"optax.{chosen.name}", tuple(arguments))),
        "",
        *laid("    ", "return ", update),
    ]


def _about(recipe: Recipe) -> str:
    chosen = recipe.optimizer
    said = "The optimizer"
    if recipe.schedule.name != "constant":
        said += f", its learning rate by the schedule {recipe.schedule.name}"
    if chosen.clip is not None:
        said += "; gradients are clipped" if "," in said else ", after clipping gradients"
    return f"{said}."


def _schedule(recipe: Recipe) -> Call:
    """The learning rate, as a schedule."""
    rate, schedule = literal(recipe.optimizer.learning_rate), recipe.schedule
    kind, given = SCHEDULES[schedule.name], dict(schedule.options)
    values = {
        name: given.get(name, recipe.train.steps if default == STEPS else default)
        for name, default in kind.options.items()
    }
    if schedule.name == "constant":
        return Call("optax.constant_schedule", (rate,))
    if schedule.name == "warmup_linear":
        warmup = values["warmup_steps"]
        rise = [literal(values["init_value"]), rate, str(warmup)]
        fall = [rate, literal(values["end_value"]), str(values["decay_steps"] - warmup)]
        parts = tuple(Call("optax.linear_schedule", tuple(p)) for p in (rise, fall))
        return Call("optax.join_schedules", (Call("", parts, "[]"), f"boundaries=[{warmup}]"))
    # Defaults of ours and of optax's may differ, so what optax requires is written out.
    ours = {"decay_steps", "transition_steps", "init_value", "end_value"}
    arguments: list[Any] = [f"{kind.rate}={rate}"]
    for name, value in values.items():
        if (name in given or name in ours) and value is not None:
            table = isinstance(value, tuple)
            arguments.append(Named(name, dict_of(value)) if table else f"{name}={literal(value)}")
    return Call(f"optax.{kind.optax}", tuple(arguments))
