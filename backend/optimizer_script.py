"""The optimizer in the emitted `train.py`, as a person would write it with optax."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from ..ir.optax_options import STEPS
from ..ir.optimizers import CONTRIB, DECAY_MASKS, OPTIMIZERS
from ..ir.recipe import Recipe
from ..ir.recipe_optimizer import Chosen, Optimizer, Schedule
from ..ir.schedules import SCHEDULES, part_lengths
from .naming import fresh, identifier
from .statements import Call, Named, dict_of, docstring, laid, literal, tuple_of

_TAKEN = ("optax", "jax", "group", "decayed", "groups", "rate", "optimizer", "matrices")


class OptimizerScript:
    """The functions of `train.py` that make the optimizer."""

    def __init__(self, recipe: Recipe, chosen: Chosen):
        self.recipe, self.chosen = recipe, chosen
        self.grouped = {path for _, paths in chosen.groups for path in paths}
        self.masked = self.orthogonal = False
        self.optimizer = self._optimizer()

    @property
    def needs_jax(self) -> bool:
        """Whether they say anything by jax."""
        return self.masked or self.orthogonal or bool(self.chosen.groups)

    def tables(self) -> list[str]:
        """Which parameters do not decay, and which are in which group."""
        lines, chosen = [], self.chosen
        if self.masked:
            lines += laid("", "NOT_DECAYED = ", _paths(chosen.undecayed))
        if chosen.groups:
            rows = tuple(Named(literal(n), _paths(paths), ": ") for n, paths in chosen.groups)
            lines += laid("", "GROUPS = ", Call("", rows, "{}"), broken=True)
        if self.orthogonal:
            lines += laid("", "MATRICES = ", dict_of(chosen.matrices), broken=True)
        return lines

    def functions(self) -> list[str]:
        """The functions."""
        made = [_DECAYED] if self.masked else []
        made += [_GROUP] if self.chosen.groups else []
        made += [_MATRICES] if self.orthogonal else []
        return "\n\n\n".join([*made, "\n".join(self.optimizer)]).split("\n")

    def module(self) -> str:
        """A module of them alone."""
        return "\n".join(["import jax", "import optax", *self.tables(), *self.functions(), ""])

    def _optimizer(self) -> list[str]:
        rest = self.recipe.optimizer
        bare = replace(rest, clip=None, before=(), after=())
        others = tuple(path for path in self.chosen.undecayed if path not in self.grouped)
        default = _Part(self, "default", bare, others, self.recipe.schedule)
        parts = [default] if self.chosen.rest else []
        for (name, paths), (_, group) in zip(self.chosen.groups, self.recipe.groups, strict=True):
            chosen, by = group.optimizer(rest), group.schedule or self.recipe.schedule
            parts.append(_Part(self, name, chosen, paths, by, group.factor, default))
        names = set(_TAKEN)
        for part in dict.fromkeys([default, *parts]):
            part.take_names(names)
        lines = ["def optimizer():", *docstring(self._about())]
        written: set[str] = set()
        for part in parts:
            lines += part.schedules(written)
        for part in parts:
            why = "  # so that its state says which learning rate is in effect"
            lines += ["", *part.function(why if part is parts[0] else "")]
        lines.append("")
        made: Any = parts[0].made()
        if self.chosen.groups:
            rows = tuple(Named(literal(part.name), part.made(), ": ") for part in parts)
            lines += laid("    ", "groups = ", Call("", rows, "{}"), broken=True)
            made = Call("optax.partition", ("groups", "group"))
        return [*lines, *laid("    ", "return ", self.chained(rest, made, self.chosen.undecayed))]

    def chained(self, chosen: Optimizer, made: Any, paths: Collection[str]) -> Any:
        """What is made of an optimizer, with what goes before and after it."""
        before = [self.call(t.name, [], dict(t.options), paths, chosen) for t in chosen.before]
        after = [self.call(t.name, [], dict(t.options), paths, chosen) for t in chosen.after]
        if chosen.clip is not None:
            before.insert(0, Call("optax.clip_by_global_norm", (literal(chosen.clip),)))
        return Call("optax.chain", (*before, made, *after)) if before or after else made

    def call(
        self,
        name: str,
        first: list[str],
        options: Mapping[str, Any],
        paths: Collection[str],
        chosen: Optimizer,
    ) -> Call:
        """The call of a function of optax."""
        arguments = [*first, *(f"{n}={literal(v)}" for n, v in options.items())]
        decays = chosen.decay if name == chosen.name else options.get("weight_decay")
        if decays and name in DECAY_MASKS and set(paths) & set(self.chosen.undecayed):
            arguments.append(f"{DECAY_MASKS[name]}=decayed")
            self.masked = True
        if name == "muon" and self.chosen.matrices:
            arguments.append("muon_weight_dimension_numbers=matrices")
            self.orthogonal = True
        return Call(f"optax.{'contrib.' if name in CONTRIB else ''}{name}", tuple(arguments))

    def schedule(self, chosen: Schedule, value: float) -> Call:
        """A schedule that begins at a value, or has it as its highest."""
        steps = self.recipe.train.steps
        assert steps is not None, "epochs are counted before"
        return schedule_call(chosen, value, steps)

    def _about(self) -> str:
        clipped, by = self.recipe.optimizer.clip is not None, self.recipe.schedule.name
        if by == "constant":
            return "The optimizer, after clipping gradients." if clipped else "The optimizer."
        also = ", and gradients are clipped" if clipped else ""
        return f"The optimizer; its learning rate goes by {by}{also}."


class _Part:
    """The optimizer of a group, or of the parameters that are in none, the default.

    Schedules that are those of the default are not written again.
    """

    def __init__(
        self,
        script: OptimizerScript,
        name: str,
        optimizer: Optimizer,
        paths: Collection[str],
        by: Schedule,
        factor: float | None = None,
        default: _Part | None = None,
    ):
        self.script, self.name, self.optimizer = script, name, optimizer
        self.paths, self.factor, self.default = paths, factor, default
        options = {**OPTIMIZERS[optimizer.name], **dict(optimizer.options)}
        self.scheduled = {"rate": script.schedule(by, optimizer.learning_rate)}
        for option, schedule in optimizer.schedules:
            self.scheduled[option] = script.schedule(schedule, options[option])

    def take_names(self, taken: set[str]) -> None:
        """Choose the names of its function and its schedules."""

        def take(name: str) -> str:
            name = fresh(identifier(name), taken)
            taken.add(name)
            return name

        if self.default is None:
            self.function_name = take(self.optimizer.name)
            self.names = {what: what for what in self.scheduled}
            taken.update(self.names)
            return
        self.function_name = take(self.name)
        self.names = {
            what: what
            if self.default.scheduled.get(what) == schedule
            else take(f"{self.function_name}_{what}")
            for what, schedule in self.scheduled.items()
        }

    def schedules(self, written: set[str]) -> list[str]:
        """Its schedules, as statements, if they are not written yet."""
        lines = []
        for what, schedule in self.scheduled.items():
            name = self.names[what]
            if name not in written:
                lines += laid("    ", f"{name} = ", schedule)
                written.add(name)
        return lines

    def function(self, why: str) -> list[str]:
        """The function that makes it, of what changes from step to step."""
        changing = [what for what in self.scheduled if what != "rate"]
        options = {n: v for n, v in self.optimizer.options if n not in changing}
        given = ["learning_rate", *(f"{n}={n}" for n in changing)]
        call = self.script.call(self.optimizer.name, given, options, self.paths, self.optimizer)
        return [
            f"    @optax.inject_hyperparams{why}",
            f"    def {self.function_name}({', '.join(['learning_rate', *changing])}):",
            *laid("        ", "return ", call),
        ]

    def made(self) -> Any:
        """The expression that makes it."""
        rate = self.names["rate"]
        if self.factor is not None:
            rate = f"lambda step: {literal(self.factor)} * {rate}(step)"
        others = (f"{what}={name}" for what, name in self.names.items() if what != "rate")
        made = Call(self.function_name, (rate, *others))
        return self.script.chained(self.optimizer, made, self.paths)


def schedule_call(chosen: Schedule, value: float, steps: int) -> Call:
    """A schedule as a call of optax.

    Args:
        chosen: the schedule.
        value: what it begins at, or has as its highest.
        steps: how many steps it is for.
    """
    kind, given, rate = SCHEDULES[chosen.name], dict(chosen.options), literal(value)
    rate = literal(given.get(kind.rate, value))
    values = {
        name: given.get(name, steps if default == STEPS else default)
        for name, default in kind.options.items()
    }
    if chosen.name == "join":
        lengths = part_lengths(values["boundaries"], steps)
        parts = [
            schedule_call(part, value, length)
            for part, length in zip(values["schedules"], lengths, strict=True)
        ]
        return _joined(parts, values["boundaries"])
    if chosen.name in ("warmup_linear", "warmup_stable_decay"):
        warmup, decay = values["warmup_steps"], values["decay_steps"]
        stays = chosen.name == "warmup_stable_decay"
        start = values["total_steps"] - decay if stays else warmup
        rise = Call("optax.linear_schedule", (literal(values["init_value"]), rate, str(warmup)))
        fall = [rate, literal(values["end_value"]), str(decay if stays else decay - warmup)]
        middle = [Call("optax.constant_schedule", (rate,))] if stays else []
        parts = [rise, *middle, Call("optax.linear_schedule", tuple(fall))]
        return _joined(parts, (warmup, start) if stays else (warmup,))
    if chosen.name == "sgdr":
        return Call("optax.sgdr_schedule", (Call("", tuple(_cycles(values, value)), "[]"),))
    if chosen.name == "constant":
        return Call("optax.constant_schedule", (rate,))
    # Defaults of ours and of optax's may differ, so what optax requires is written out.
    ours = {"decay_steps", "transition_steps", "init_value", "end_value"}
    arguments: list[Any] = [f"{kind.rate}={rate}"]
    for name, held in values.items():
        if (name in given or name in ours) and held is not None:
            table = isinstance(held, tuple)
            arguments.append(Named(name, dict_of(held)) if table else f"{name}={literal(held)}")
    return Call(f"optax.{kind.optax}", tuple(arguments))


def _joined(parts: Iterable[Call], boundaries: Iterable[int]) -> Call:
    bounds = ", ".join(map(str, boundaries))
    return Call("optax.join_schedules", (Call("", tuple(parts), "[]"), f"boundaries=[{bounds}]"))


def _cycles(values: Mapping[str, Any], peak: float) -> Iterable[Call]:
    for number, length in enumerate(values["cycles"]):
        high = values.get("peak_value", peak) * values["factor"] ** number
        row = [
            ("init_value", values["init_value"]), ("peak_value", high),
            ("warmup_steps", values["warmup_steps"]), ("decay_steps", length),
            ("end_value", values["end_value"]),
            *([("exponent", values["exponent"])] if values["exponent"] != 1 else []),
        ]  # fmt: skip
        yield dict_of(row)


def _paths(paths: Iterable[str]) -> Call:
    return tuple_of([literal(path) for path in paths])


_DECAYED = '''def decayed(params):
    """True for each parameter that weight decay shrinks."""
    return jax.tree.map_with_path(
        lambda path, _: ".".join(key.key for key in path) not in NOT_DECAYED, params
    )'''

_MATRICES = '''def matrices(params):
    """The axes of matrices that are summed in products, and the others; Adam trains the rest."""

    def of(path, _):
        axes = MATRICES.get(".".join(key.key for key in path))
        return axes and optax.contrib.MuonDimensionNumbers(*axes)

    return jax.tree.map_with_path(of, params)'''

_GROUP = '''def group(params):
    """The group of each parameter; "default" for those that are in none."""
    of = {path: name for name, paths in GROUPS.items() for path in paths}
    return jax.tree.map_with_path(
        lambda path, _: of.get(".".join(key.key for key in path), "default"), params
    )'''
