"""What is said of keys and options that a recipe does not know."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...ir.diagnostics import nearest
from ...ir.optimizers import OPTIMIZERS, TRANSFORMATIONS
from ...ir.recipe import SECTIONS, Recipe
from ...ir.recipe_forms import Table, Text, toml
from ...ir.recipe_keys import keys_of
from ...ir.recipe_optimizer import Schedule, Transformation
from ...ir.schedules import SCHEDULES
from .toml_scan import KeyPath
from .values import ValueReader, short

SYNONYMS = {
    "lr": "learning_rate", "rate": "learning_rate", "batch_size": "batch", "max_steps": "steps",
    "num_steps": "steps", "iterations": "steps", "eval_every": "evaluate_every",
    "eval_interval": "evaluate_every", "save_every": "checkpoint_every", "grad_clip": "clip",
    "clip_norm": "clip", "max_grad_norm": "clip", "clip_by_global_norm": "clip",
    "beta1": "b1", "beta2": "b2", "wd": "weight_decay", "warmup": "warmup_steps", "type": "kind",
    "path": "file", "dtype": "policy", "valid": "held_out", "validation": "held_out",
    "test_size": "held_out", "held_out_file": "held_out", "num_epochs": "epochs",
    "augment": "flip", "epsilon": "eps", "min_lr": "end_value", "random_seed": "seed",
    "vocabulary": "ids", "total_steps": "decay_steps",
}  # fmt: skip
"""What other tools call these keys."""

ADVICE = {
    "length": "a length is the size of a dim of the model: [sizes] S = 128",
    "source_length": "a length is the size of a dim of the model: [sizes] S = 128",
    "target_length": "a length is the size of a dim of the model: [sizes] T = 128",
    "seq_len": "a length is the size of a dim of the model: [sizes] S = 128",
    "mask": 'say what decays with decay_on = "matrices" or "all"',
    "weight_decay_mask": 'say what decays with decay_on = "matrices" or "all"',
    "betas": "write b1 and b2",
    "chain": "before is a list of transformations before the optimizer, after of those behind it",
    "model": "the model is found beside the recipe; the recipe does not name it",
}
"""What to do about keys that have no counterpart."""


def unknown_key(reader: ValueReader, name: str, path: KeyPath, value: Any) -> None:
    """Report a key that no table of the schema has."""
    table = str(path[0]) if len(path) > 1 else ""
    known = [k.name for k in keys_of(SECTIONS[table])] if table else _top()
    if isinstance(value, dict) and not table:
        _unknown_table(reader, name, path)
        return
    close = nearest(name, known)
    if not close and SYNONYMS.get(name.lower()) in known:
        close = [SYNONYMS[name.lower()]]
    elsewhere = _homes(SYNONYMS.get(name.lower(), name))
    help = ""
    if name in ADVICE:
        help = ADVICE[name]
    elif elsewhere and _homes(name):
        help = f"put it under [{elsewhere[0]}]"
    elif close:
        help = f"{close[0]} = {as_toml(value)}"
    elif elsewhere:
        help = f"{SYNONYMS.get(name.lower(), name)} under [{elsewhere[0]}]"
    where = f"[{table}]" if table else "the top of a recipe"
    reader.error(
        "recipe-unknown-key",
        f"{where} has no key {_short_name(name)}",
        reader.key_at(path),
        facts=(f"{where} takes {', '.join(known)}",),
        help=help,
    )


def _unknown_table(reader: ValueReader, name: str, path: KeyPath) -> None:
    tables = _tables()
    close = nearest(name, tables)
    other = {
        "training": "train", "model": "", "dataset": "data", "optim": "optimizer",
        "opt": "optimizer", "scheduler": "schedule", "lr_schedule": "schedule",
        "sharding": "mesh", "dims": "sizes", "parallel": "mesh",
    }.get(name.lower(), "")  # fmt: skip
    if other:
        close = [other]
    reader.error(
        "recipe-unknown-table",
        f"a recipe has no table {_short_name(name)}",
        reader.key_at(path),
        facts=(f"its tables are {', '.join(tables)}",),
        help=f"[{close[0]}]" if close else ADVICE.get(name, ""),
    )


def unknown_option(
    reader: ValueReader,
    name: str,
    known: Mapping[str, Any],
    section: type,
    path: KeyPath,
    value: Any,
) -> None:
    """Report an option that an optimizer, transformation or schedule does not have.

    Args:
        reader: what reads the recipe.
        name: the optimizer, transformation or schedule.
        known: its options.
        section: the table of the schema that the option stands in.
        path: where it stands.
        value: its value.
    """
    option = str(path[-1])
    table = ".".join(p for p in path[:-1] if isinstance(p, str))
    own = [k.name for k in keys_of(section) if not k.rest]
    choices = [*own, *known]
    other = SYNONYMS.get(option.lower())
    close = [other] if other in choices else nearest(option, choices)
    homes = [h for h in _homes(other or option) if h != table]
    having = _having(section, option)
    if option in ADVICE:
        help = ADVICE[option]
    elif "schedule" in homes and section is not Schedule:
        help = "put it under [schedule]"
    elif having:
        shown = having if len(having) <= 12 else [*having[:12], f"{len(having) - 12} more"]
        help = f"{', '.join(shown)} {'has' if len(having) == 1 else 'have'} it"
    elif homes and not close:
        help = f"put it under [{homes[0]}]"
    else:
        help = f"{close[0]} = {as_toml(value)}" if close else ""
    reader.error(
        "recipe-unknown-key",
        f"{name} has no option {_short_name(option)}",
        reader.key_at(path),
        facts=(f"[{table}] takes {', '.join(own)}"
               + (f"; {name} also takes {', '.join(known)}" if known else ""),),
        help=help,
    )  # fmt: skip


def _having(section: type, option: str) -> list[str]:
    """The optimizers, transformations or schedules that have an option."""
    if section is Schedule:
        return [name for name, kind in SCHEDULES.items() if option in kind.options]
    functions = TRANSFORMATIONS if section is Transformation else OPTIMIZERS
    return [name for name, options in functions.items() if option in options]


def _top() -> list[str]:
    return [k.name for k in keys_of(Recipe) if not isinstance(k.form, Table)]


def _tables() -> list[str]:
    return [*SECTIONS, *(k.name for k in keys_of(Recipe) if isinstance(k.form, Table))]


def _homes(name: str) -> list[str]:
    """The tables that have a key of this name."""
    found = [
        table
        for table in ("train", *(t for t in SECTIONS if t != "train"))
        if any(k.name == name and not k.rest for k in keys_of(SECTIONS[table]))
    ]
    if any(name in options for options in OPTIMIZERS.values()):
        found.append("optimizer")
    if any(name in kind.options for kind in SCHEDULES.values()):
        found.append("schedule")
    return found


def _short_name(name: str) -> str:
    return name if re.fullmatch(r"[\w.\-]{1,60}", name) else short(name)


def as_toml(value: Any) -> str:
    """A short value as it would be written; … for any other."""
    plain = isinstance(value, bool | int | float | str)
    return toml(value, Text()) if plain and len(str(value)) <= 40 else "…"
