"""The options of a recipe's optimizers, transformations and schedules, and what must agree."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...ir.diagnostics import Place
from ...ir.optax_options import DECAYS, REQUIRED, STEPS, option_form
from ...ir.optimizers import DECAY_MASKS, OPTIMIZERS, TRANSFORMATIONS
from ...ir.recipe_forms import Form, Inner, Many, Real, Table, Whole, Word
from ...ir.recipe_optimizer import Group, Optimizer, Schedule, Transformation
from ...ir.schedules import SCHEDULES, part_lengths
from .toml_scan import KeyPath
from .values import BAD, ValueReader, short
from .words import as_toml, unknown_option

_PARTS = Many(Inner(Schedule))


def read_options(reader: ValueReader, found: dict[str, Any]) -> None:
    """Read the options in what was found of a recipe.

    The tables of `[optimizer]` and `[schedule]` get their options read; groups, and what stands in
    lists and tables of these, become the classes of the schema.
    """
    steps = found["train"]["steps"]
    options = _Options(reader, None if steps is BAD else steps)
    optimizer, schedule = found["optimizer"], found["schedule"]
    options.optimizer(optimizer, ("optimizer",))
    options.schedule(schedule, ("schedule",))
    if found["groups"] is not BAD:
        rest = None if any(v is BAD for v in optimizer.values()) else Optimizer(**optimizer)
        made = [(name, options.group(name, held, rest)) for name, held in found["groups"]]
        found["groups"] = BAD if any(g is BAD for _, g in made) else tuple(made)


class _Options:
    def __init__(self, reader: ValueReader, steps: int | None):
        self.reader, self.steps = reader, steps

    # Optimizers

    def optimizer(self, values: dict[str, Any], path: KeyPath) -> None:
        """Read the options of [optimizer], in place."""
        name = values["name"]
        if name is not BAD and name not in OPTIMIZERS:
            name = values["name"] = self._unknown(name, path)
        self._rest(values, path, name)
        if not any(v is BAD for v in values.values()):
            self._decay(Optimizer(**values), path)

    def group(self, name: str, values: dict[str, Any], rest: Optimizer | None) -> Any:
        """A group; BAD if anything is wrong with it."""
        path = ("groups", name)
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or name == "default":
            self.reader.error(
                "recipe-group",
                f"{short(name)} is no name for a group: "
                + ("it is that of all other parameters" if name == "default"
                   else "letters, digits and _ are, after a letter"),
                self.reader.key_at(path),
            )  # fmt: skip
            return BAD
        kind = values["name"] or (rest.name if rest else BAD)
        if kind is not BAD and kind not in OPTIMIZERS:
            kind = values["name"] = self._unknown(kind, path)
        inherited = dict(rest.options) if rest and values["name"] is None else {}
        self._rest(values, path, kind, inherited)
        if values["schedule"] is not None and not self.schedule(
            values["schedule"], (*path, "schedule")
        ):
            return BAD
        if any(v is BAD for v in values.values()) or rest is None:
            return BAD
        if values["schedule"] is not None:
            values["schedule"] = Schedule(**values["schedule"])
        group = Group(**values)
        return group if self._decay(group.optimizer(rest), path) else BAD

    def _unknown(self, name: str, path: KeyPath) -> Any:
        if name in TRANSFORMATIONS:
            self.reader.error(
                "recipe-choice",
                f"{name} is no optimizer, but a transformation",
                self.reader.at((*path, "name")),
                help=f'before = [{{ name = "{name}" }}], and name = "sgd"',
            )
            return BAD
        return self.reader.choice(name, OPTIMIZERS, {}, (*path, "name"))

    def _rest(
        self, values: dict, path: KeyPath, name: Any, inherited: Mapping | None = None
    ) -> None:
        """The options of an optimizer, the schedules of some, and what goes before and after it."""
        for place in ("before", "after"):
            if values[place] is not BAD:
                made = tuple(
                    self.transformation(held, (*path, place, n))
                    for n, held in enumerate(values[place])
                )
                values[place] = BAD if any(t is BAD for t in made) else made
        if name is BAD:
            values["options"] = BAD
            return
        known = OPTIMIZERS[name]
        section = Optimizer if path == ("optimizer",) else Group
        values["options"] = self._options(section, name, known, values["options"], path, inherited)
        if values["options"] is BAD or values["schedules"] is BAD:
            return
        scheduled: list[tuple[str, Schedule]] = []
        begin = {**known, **(inherited or {}), **dict(values["options"])}
        for option, held in values["schedules"]:
            where = (*path, "schedules", option)
            if self._can_change(name, option, begin, where) and self.schedule(held, where):
                scheduled.append((option, Schedule(**held)))
        right = len(scheduled) == len(values["schedules"])
        values["schedules"] = tuple(scheduled) if right else BAD

    def _can_change(self, name: str, option: str, begin: Mapping, where: KeyPath) -> bool:
        """Whether an option is a number with a value to begin with."""
        known = OPTIMIZERS[name]
        numbers = [o for o, v in known.items() if isinstance(option_form(o, v), Real)]
        if option not in numbers:
            self.reader.error(
                "recipe-unknown-key",
                f"{name} has no number {option} to be scheduled",
                self.reader.key_at(where),
                facts=(f"its numbers are {', '.join(numbers) or 'none'}",),
                help="[schedule] is that of the learning rate" if option == "learning_rate" else "",
            )
            return False
        if begin[option] in (None, REQUIRED):
            self.reader.error(
                "recipe-missing",
                f"the schedule of {option} needs a value to begin with",
                self.reader.key_at(where),
                help=f"{option} = {_example(option_form(option), option)}",
            )
            return False
        return True

    def _decay(self, optimizer: Optimizer, path: KeyPath) -> bool:
        """Whether everything that shrinks parameters can be told what not to shrink."""
        parts = [(optimizer.name, optimizer.decay, path)]
        for part in (*optimizer.before, *optimizer.after):
            parts.append((part.name, dict(part.options).get("weight_decay"), path))
        for name, decay, where in parts:
            if name in DECAY_MASKS or not decay or optimizer.decay_on == "all":
                continue
            option = next((o for o in DECAYS if o in dict(optimizer.options)), "name")
            self.reader.error(
                "recipe-decay",
                f"{name} shrinks all parameters, and cannot leave out biases and scales",
                self.reader.key_at((*where, option)),
                help='decay_on = "all" says that this is meant',
            )
            return False
        return True

    # Transformations

    def transformation(self, values: Any, path: KeyPath) -> Any:
        name = values["name"]
        if name in OPTIMIZERS:
            self.reader.error(
                "recipe-choice",
                f"{name} is an optimizer; here transformations stand",
                self.reader.at((*path, "name")),
                help=f'name = "scale_by_{name}"' if f"scale_by_{name}" in TRANSFORMATIONS else "",
            )
            return BAD
        if name not in TRANSFORMATIONS:
            return self.reader.choice(name, TRANSFORMATIONS, {}, (*path, "name"))
        known = TRANSFORMATIONS[name]
        read = self._options(Transformation, name, known, values["options"], path)
        return BAD if read is BAD else Transformation(name, read)

    # Schedules

    def schedule(self, values: dict[str, Any], path: KeyPath, length: int | None = None) -> bool:
        """Read the options of a schedule, in place; False if anything is wrong with it."""
        name = values["name"]
        if name is BAD:
            return False
        kind = SCHEDULES[name]
        steps = self.steps if length is None else length
        known, part = kind.options, length is not None
        if part and kind.rate:
            known = {**known, kind.rate: None}
        read = self._options(
            Schedule, name, known, values["options"], path, doc=kind.doc, rate=kind.rate
        )
        values["options"] = read
        if read is BAD:
            return False
        table = dict(read)
        if name == "join":
            return self._join(values, table, path, steps)
        return steps is None or self._warmup(name, table, path, steps, part)

    def _join(self, values: dict[str, Any], table: dict, path: KeyPath, steps: int | None) -> bool:
        parts, bounds = table["schedules"], table["boundaries"]
        at = (*path, "boundaries")
        if len(bounds) != len(parts) - 1:
            self.reader.error(
                "recipe-schedule",
                f"between schedules stand boundaries: {len(parts)} here, so {len(parts) - 1} of"
                f" them, not {len(bounds)}",
                self.reader.at(at),
            )
            return False
        ends = [*bounds, *([] if steps is None else [steps])]
        if any(b <= a for a, b in zip([0, *ends], ends, strict=False)):
            self.reader.error(
                "recipe-schedule",
                f"boundaries must rise, and be below the steps of [train], {steps}",
                self.reader.at(at),
            )
            return False
        lengths = part_lengths(bounds, steps or bounds[-1] + 1)
        made = []
        for index, (held, length) in enumerate(zip(parts, lengths, strict=True)):
            if not self.schedule(held, (*path, "schedules", index), length):
                return False
            made.append(Schedule(**held))
        values["options"] = (("schedules", tuple(made)), ("boundaries", bounds))
        return True

    def _warmup(self, name: str, table: dict, path: KeyPath, steps: int, part: bool) -> bool:
        known = SCHEDULES[name].options
        warmup = table.get("warmup_steps")
        total = "total_steps" if "total_steps" in known else "decay_steps"
        if warmup is None or known.get(total) != STEPS:
            return True
        end = table.get(total, steps)
        taken = warmup + (table["decay_steps"] if total == "total_steps" else 0)
        if taken < end or (total == "total_steps" and taken == end):
            return True
        other = (*path, total)
        at = self.reader.document.at
        other = other if other in at else ("train", "steps")
        what = (
            total
            if other[-1] == total
            else "the length of its part"
            if part
            else "the steps of [train]"
        )
        said = "warmup_steps and decay_steps" if total == "total_steps" else "warmup_steps"
        self.reader.error(
            "recipe-range",
            f"{said} must be below {what}, {end}; it is {taken}"
            if total == "decay_steps"
            else f"{said} together are {taken}, more than {what}, {end}",
            self.reader.at((*path, "warmup_steps")),
            places=(Place(self.reader.at(other), ""),) if other in at and not part else (),
            facts=("decay_steps counts the steps of the warm-up too; left out, it is steps",)
            if total == "decay_steps"
            else (),
        )
        return False

    # Options

    def _options(
        self,
        section: type,
        name: str,
        known: Mapping[str, Any],
        given: Any,
        path: KeyPath,
        inherited: Mapping[str, Any] | None = None,
        doc: str = "",
        rate: str = "",
    ) -> Any:
        """The options of a function of optax; BAD if any is wrong or missing."""
        read: dict[str, Any] = {}
        bad = False
        for option, value in given:
            where = (*path, option)
            if option in known:
                form = _PARTS if option == "schedules" else option_form(option, known[option])
                read[option] = self.reader.value(form, value, where)
                bad = bad or read[option] is BAD
                continue
            bad = True
            if option == rate:
                self.reader.error(
                    "recipe-unknown-key",
                    f"{option} is the learning_rate of [optimizer]",
                    self.reader.key_at(where),
                    help=f"learning_rate = {as_toml(value)} under [optimizer]",
                )
                continue
            unknown_option(self.reader, name, known, section, where, value)
        for option, default in known.items():
            if default != REQUIRED or option in {**dict(given), **(inherited or {})}:
                continue
            bad = True
            if not self.reader.document.whole:
                continue
            form = _PARTS if option == "schedules" else option_form(option)
            self.reader.error(
                "recipe-missing",
                f"{'the schedule ' if doc else ''}{name} needs {option}",
                self.reader.at((*path, "name")),
                facts=(f"{name}: {doc}",) if doc else (),
                help=f"{option} = {_example(form, option)}",
            )
        return BAD if bad else tuple(read.items())


def _example(form: Form, option: str = "") -> str:
    """A value of a form, for advice."""
    for name, example in (("power", "2.0"), ("decay_rate", "0.9"), ("max", "1.0"), ("key", "0")):
        if option.startswith(name):
            return example
    if isinstance(form, Word):
        return f'"{form.words[0]}"'
    if isinstance(form, Many):
        return "[{ … }, { … }]" if isinstance(form.value, Inner) else "[100]"
    return "{ 1000 = 0.1 }" if isinstance(form, Table) else (
        "100" if isinstance(form, Whole) else "0.1"
    )  # fmt: skip
