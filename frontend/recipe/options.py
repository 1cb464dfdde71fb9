"""The options of a recipe's optimizer and schedule, and what of them must agree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...ir.diagnostics import Place
from ...ir.optimizers import (
    DECAY_MASKS,
    DECAYS,
    OPTIMIZERS,
    REQUIRED,
    SCHEDULES,
    STEPS,
    option_form,
)
from ...ir.recipe import Optimizer
from .values import BAD, ValueReader
from .words import as_toml, unknown_option


def read_options(reader: ValueReader, found: dict[str, Any]) -> None:
    """Read the options in what was found of a recipe, and put them in their place there."""
    optimizer, schedule = found["optimizer"], found["schedule"]
    name = optimizer["name"]
    if name is not BAD:
        table = OPTIMIZERS.get(name) or _installed(name)
        if table is None and name not in OPTIMIZERS:
            reader.choice(name, OPTIMIZERS, {}, ("optimizer", "name"))
        else:
            optimizer["options"] = _rest(reader, "optimizer", name, table or {}, optimizer)
    name = schedule["name"]
    if name is not BAD:
        kind = SCHEDULES[name]
        schedule["options"] = _rest(reader, "schedule", name, kind.options, schedule, kind.rate)
        if reader.document.whole:
            _required(reader, name, kind.options)
        _warmup(reader, found)
    _decay(reader, optimizer)


def _decay(reader: ValueReader, optimizer: dict[str, Any]) -> None:
    """Whether the optimizer can be told what not to shrink."""
    name = optimizer["name"]
    if any(v is BAD for v in optimizer.values()) or name in DECAY_MASKS:
        return
    if Optimizer(**optimizer).decay is not None and optimizer["decay_on"] != "all":
        option = next(o for o in DECAYS if o in dict(optimizer["options"]))
        reader.error(
            "recipe-decay",
            f"{name} shrinks all parameters, and cannot leave out biases and scales",
            reader.key_at(("optimizer", option)),
            help='decay_on = "all" says that this is meant',
        )


def _rest(
    reader: ValueReader,
    table: str,
    name: str,
    known: Mapping[str, Any],
    values: dict,
    rate: str = "",
) -> Any:
    """The options of an optimizer or schedule."""
    read: dict[str, Any] = {}
    for option, value in values["options"]:
        path = (table, option)
        if option in known:
            read[option] = reader.value(option_form(option, known[option]), value, path)
            continue
        if option == rate:
            reader.error(
                "recipe-unknown-key",
                f"{option} is the learning_rate of [optimizer]",
                reader.key_at(path),
                help=f"learning_rate = {as_toml(value)} under [optimizer]",
            )
            continue
        unknown_option(reader, name, known, path, value)
    return BAD if any(v is BAD for v in read.values()) else tuple(read.items())


def _required(reader: ValueReader, name: str, known: Mapping[str, Any]) -> None:
    for option, default in known.items():
        if default == REQUIRED and ("schedule", option) not in reader.document.at:
            example = {"warmup_steps": "100", "decay_rate": "0.9", "power": "2.0"}.get(
                option, "{ 1000 = 0.1 }"
            )
            reader.error(
                "recipe-missing",
                f"the schedule {name} needs {option}",
                reader.at(("schedule", "name")),
                facts=(f"{name}: {SCHEDULES[name].doc}",),
                help=f"{option} = {example}",
            )


def _warmup(reader: ValueReader, found: dict[str, Any]) -> None:
    options, steps = found["schedule"]["options"], found["train"]["steps"]
    if options is BAD or steps is BAD:
        return
    known = SCHEDULES[found["schedule"]["name"]].options
    table = dict(options)
    warmup = table.get("warmup_steps")
    if warmup is None or known.get("decay_steps") != STEPS:
        return
    decay = table.get("decay_steps", steps)
    if warmup >= decay:
        other = ("schedule", "decay_steps")
        other = other if other in reader.document.at else ("train", "steps")
        places = (Place(reader.at(other), ""),) if other in reader.document.at else ()
        what = "decay_steps" if other[0] == "schedule" else "the steps of [train]"
        reader.error(
            "recipe-range",
            f"warmup_steps must be below {what}, {decay}; it is {warmup}",
            reader.at(("schedule", "warmup_steps")),
            places=places,
            facts=("decay_steps counts the steps of the warm-up too; left out, it is steps",),
        )


def _installed(name: str) -> dict[str, Any] | None:
    """The options of an optimizer that is not in our table, asked of optax itself."""
    import inspect

    try:
        import optax
    except ImportError:
        return None
    function = getattr(optax, name, None) if not name.startswith("_") else None
    if not inspect.isfunction(function) or name.startswith("scale_by"):
        return None
    parameters = inspect.signature(function).parameters
    if "learning_rate" not in parameters:
        return None
    return {
        p.name: p.default
        for p in parameters.values()
        if p.name != "learning_rate" and isinstance(p.default, bool | int | float | None)
    }
