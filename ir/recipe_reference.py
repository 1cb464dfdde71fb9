"""The text of docs/recipe.md, made from the schema."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from .optax_options import REQUIRED, STEPS, option_form
from .optimizers import CONTRIB, OPTIMIZERS, TRANSFORMATIONS
from .recipe import SECTIONS, Recipe
from .recipe_data import KINDS, Kind
from .recipe_forms import Inner, Table, toml
from .recipe_keys import Key, keys_of
from .schedules import SCHEDULES


def reference() -> str:
    """The text of docs/recipe.md, made from the schema."""
    lines = [_INTRODUCTION, "## Every key", "", _KEYS, "", "```toml", *_sample(), "```", ""]
    lines += ["## Kinds of data", "", _DATA, "", "| kind | the file | what inputs may take |"]
    lines += ["|---|---|---|", *(_kind(name, kind) for name, kind in KINDS.items()), ""]
    lines += ["## Optimizers", "", _OPTIMIZERS, "", "| name | options and their defaults |"]
    lines += ["|---|---|"]
    lines += [f"| {_linked(name)} | {_defaults(options)} |" for name, options in OPTIMIZERS.items()]
    lines += ["", "## Transformations", "", _TRANSFORMATIONS, ""]
    lines += ["| name | options and their defaults |", "|---|---|"]
    lines += [
        f"| {_linked(name)} | {_defaults(options)} |" for name, options in TRANSFORMATIONS.items()
    ]
    lines += [
        "",
        "## Schedules",
        "",
        _SCHEDULES,
        "",
        "| name | the rate | options |",
        "|---|---|---|",
    ]
    lines += [
        f"| `{name}` | {kind.doc} | {_defaults(kind.options)} |" for name, kind in SCHEDULES.items()
    ]
    return "\n".join(lines) + "\n"


def _sample() -> list[str]:
    """A recipe with every key, as TOML."""
    lines = _sample_keys(k for k in keys_of(Recipe) if _tables(k) is None)
    tables = dict(SECTIONS)
    tables |= {f"{k.name}.embedding": held for k in keys_of(Recipe) if (held := _tables(k))}
    for name, section in tables.items():
        lines += ["", f"# {_first(section.__doc__)}", f"[{name}]", *_sample_keys(keys_of(section))]
    return lines


def _tables(k: Key) -> type | None:
    """Of a key whose value is a table of tables, what the inner ones are."""
    inner = k.form.value if isinstance(k.form, Table) else None
    return inner.section if isinstance(inner, Inner) else None


def _linked(name: str) -> str:
    return f"`{name}`" + (", of optax.contrib" if name in CONTRIB else "")


def _sample_keys(known: Iterable[Key]) -> list[str]:
    lines = []
    for k in known:
        required = "; required" if k.required else ""
        said = f"{k.said}{required}"
        lines += ["", *textwrap.wrap(said, 96, initial_indent="# ", subsequent_indent="# ")]
        value = k.example or (toml(k.default, k.form) if k.default is not None else "")
        aside = k.instead_of or (k.kinds and "arrays" not in k.kinds)  # the example is of arrays
        if k.rest:
            lines += [value] if value else []
        else:
            lines.append(f"{'# ' if aside else ''}{k.name} = {value}")
    return lines[1:]


def _kind(name: str, kind: Kind) -> str:
    offers = ", ".join(
        f"`{offer}`: " + " or ".join(f"{o.dtype} [{', '.join(dims)}]" for dims in o.dims)
        for offer, o in kind.offers.items()
    )
    return f"| `{name}` | {kind.doc} | {offers or 'what the file has, by name'} |"


def _defaults(options: Mapping[str, Any]) -> str:
    said = []
    for name, default in options.items():
        if default == REQUIRED:
            said.append(f"`{name}` (required)")
        elif default == STEPS:
            said.append(f"`{name}` = the steps of [train]")
        elif default is None:
            said.append(f"`{name}`")
        else:
            said.append(f"`{name} = {toml(default, option_form(name, default))}`")
    return ", ".join(said) or "none"


def _first(doc: str | None) -> str:
    return (doc or "").split(". ")[0].strip().rstrip(".")


_INTRODUCTION = """# The recipe

<!-- Generated from ir/recipe.py: pytest tests/frontend/test_recipe.py --update-golden -->

A recipe says everything about a training run that is not the model: data, optimizer, how long, in
which precision, on which devices. It is the file `recipe.toml` beside `model.nw`. The least that it
must say is where the data are:

```toml
[data]
kind = "text"
file = "data/shakespeare.txt"

[sizes]
S = 128
```

The leading dim of the model's inputs is the batch. Other free dims of the model get their sizes
under `[sizes]`. A key that the recipe does not know is an error. `netwright recipe FOLDER` writes a
recipe for a model, with every key and what it means.
"""

_KEYS = """With their defaults, and where there is none, with an example. Some are for certain kinds
of data; those that do not go with the others here stand behind a `#`."""

_DATA = "[A page of its own](data.md) has an example of each."

_OPTIMIZERS = """Names and options are those of [optax](https://optax.readthedocs.io). Another
optimizer is handed over in Python: `netwright.load(…).compile(optimizer=…)` takes what optax calls
a gradient transformation."""

_TRANSFORMATIONS = """What may stand in `before` and `after`: gradients are clipped by value, by
block or adaptively, or an optimizer is put together, as
`before = [{ name = "scale_by_adam" }, { name = "scale_by_trust_ratio" }]` with `name = "sgd"`."""

_SCHEDULES = """They change the learning rate from step to step, or with `[optimizer.schedules]`
another option. Options have optax's names, and schedules may: `cosine_decay_schedule` is `cosine`.
The argument that is the learning rate is not given here: it is the `learning_rate` of
`[optimizer]`; only in the parts of `join` can it be another. `--steps` on the command line stops
earlier or later, and leaves the schedule as it is."""
