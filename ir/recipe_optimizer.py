"""What a recipe says of optimizers: their options, schedules, groups of parameters."""

# ruff: noqa: RUF009  (the fields are made by `key`)

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from .matrices import Axes
from .optax_options import DECAYS
from .optimizers import FUNCTIONS
from .recipe_forms import Either, Form, Inner, Many, Names, Real, Table, Text, Word
from .recipe_keys import Options, key
from .schedules import SCHEDULE_WORDS, SCHEDULES


@dataclass(frozen=True)
class Schedule:
    """How the learning rate changes: a schedule of optax, with its options under optax's names."""

    name: str = key(
        Word(tuple(SCHEDULES), SCHEDULE_WORDS),
        "its name in optax, or a short one; left out, constant",
        default="constant",
        example='"warmup_cosine"',
    )
    options: Options = key(
        Real(),
        "any option of the schedule, under its name in optax",
        default=(),
        example="warmup_steps = 100",
        rest=True,
    )


@dataclass(frozen=True)
class Transformation:
    """A transformation of gradients or updates by optax, with its options under optax's names."""

    name: str = key(Text("the name of a transformation"), "its name in optax", example='"clip"')
    options: Options = key(
        Real(), "any option of it", default=(), example="max_delta = 1.0", rest=True
    )


_LIST = Many(Inner(Transformation))
_SCHEDULED = Table("options", Inner(Schedule))
_DECAY_ON: Form = Either(
    (Word(("matrices", "all")), Names("parameter or an instance", "once is enough"))
)


@dataclass(frozen=True)
class Optimizer:
    """An optimizer of optax, with its options under optax's own names."""

    name: str = key(Text("the name of an optimizer"), "its name in optax", default="adamw")
    learning_rate: float = key(
        Real(least=0.0), "the learning rate; with a schedule, its highest or first", default=1e-3
    )
    clip: float | None = key(
        Real(over=0.0),
        "gradients of a larger norm, all parameters together, are scaled down to it;"
        " left out, none are",
        default=None,
        example="1.0",
    )
    decay_on: str | tuple[str, ...] = key(
        _DECAY_ON,
        "what weight decay shrinks: parameters of two or more dims (matrices; copies of a repeat"
        " apart), all, or a list of paths as in freeze",
        default="matrices",
    )
    before: tuple[Transformation, ...] = key(
        _LIST,
        "transformations that gradients pass through before the optimizer, after clip, in this"
        " order; each can also be a table [[optimizer.before]]",
        default=(),
        example='[{ name = "adaptive_grad_clip", clipping = 0.01 }]',
    )
    after: tuple[Transformation, ...] = key(
        _LIST,
        "transformations that updates pass through after the optimizer",
        default=(),
        example='[{ name = "keep_params_nonnegative" }]',
    )
    schedules: tuple[tuple[str, Schedule], ...] = key(
        _SCHEDULED,
        "schedules of other options, by name; each has the option's value where [schedule] has the"
        " learning rate",
        default=(),
        example='{ weight_decay = { name = "cosine" } }',
    )
    options: Options = key(
        Real(),
        "any option of the optimizer, under its name in optax",
        default=(),
        example="weight_decay = 0.1",
        rest=True,
    )

    @property
    def decay(self) -> float | None:
        """How much weights are shrunk: as given, else optax's default; None for not at all."""
        table = {**FUNCTIONS.get(self.name, {}), **dict(self.options)}
        return next((table[name] for name in DECAYS if table.get(name)), None)

    @property
    def decays_beside(self) -> bool:
        """Whether a transformation before or after it shrinks parameters."""
        beside = (dict(part.options) for part in (*self.before, *self.after))
        return any(options.get("weight_decay") for options in beside)

    @property
    def decays(self) -> bool:
        """Whether it, or a transformation beside it, shrinks parameters."""
        return self.decay is not None or self.decays_beside


@dataclass(frozen=True)
class Group:
    """Parameters that are trained in another way. What a group leaves out is as in [optimizer]."""

    on: tuple[str, ...] = key(
        Names("parameter or an instance", "once is enough"),
        "its parameters, or instances with all they hold, by path, as in freeze; a parameter is in"
        " the first group of the file that names it",
        example='["gpt.embed", "**.bias"]',
    )
    factor: float | None = key(
        Real(least=0.0),
        "its learning rate is at all times this times what it would be",
        default=None,
        example="0.1",
    )
    name: str | None = key(
        Text("the name of an optimizer"),
        "its optimizer; the options of [optimizer] are then not taken over",
        default=None,
        example='"adamw"',
    )
    learning_rate: float | None = key(
        Real(least=0.0), "its learning rate", default=None, example="0.0003"
    )
    schedule: Schedule | None = key(
        Inner(Schedule),
        "its schedule, as in [schedule]",
        default=None,
        example='{ name = "cosine" }',
    )
    clip: float | None = key(
        Real(over=0.0), "the norm of its gradients, clipped apart", default=None, example="1.0"
    )
    decay_on: str | tuple[str, ...] | None = key(
        _DECAY_ON, "what weight decay shrinks of it", default=None, example='"all"'
    )
    before: tuple[Transformation, ...] = key(
        _LIST,
        "transformations of its gradients alone",
        default=(),
        example='[{ name = "centralize" }]',
    )
    after: tuple[Transformation, ...] = key(
        _LIST,
        "transformations of its updates alone",
        default=(),
        example='[{ name = "scale", step_size = 0.5 }]',
    )
    schedules: tuple[tuple[str, Schedule], ...] = key(
        _SCHEDULED,
        "schedules of its options",
        default=(),
        example='{ weight_decay = { name = "linear" } }',
    )
    options: Options = key(
        Real(),
        "any option of the optimizer",
        default=(),
        example="weight_decay = 0.0",
        rest=True,
    )

    def optimizer(self, rest: Optimizer) -> Optimizer:
        """Its optimizer, where that of the rest is `rest`."""
        own = {f.name: getattr(self, f.name) for f in fields(Optimizer)}
        given = {name: value for name, value in own.items() if value not in (None, ())}
        if self.name is None:
            given["options"] = tuple({**dict(rest.options), **dict(self.options)}.items())
            given["schedules"] = tuple({**dict(rest.schedules), **dict(self.schedules)}.items())
        else:
            given = {"options": (), "schedules": (), **given}
        return replace(rest, **{"clip": None, "before": (), "after": (), **given})


@dataclass(frozen=True)
class Chosen:
    """Parameters by path, in the model's order.

    Attributes:
        frozen: parameters, or instances with all they hold, that are not trained.
        groups: for each group of the recipe, its parameters; no parameter is in two.
        undecayed: the trained parameters that weight decay leaves alone.
        rest: whether any parameter is trained that is in no group.
        matrices: where muon is used, the parameters that are matrices; see `ir.matrices`.
    """

    frozen: tuple[str, ...] = ()
    groups: tuple[tuple[str, tuple[str, ...]], ...] = ()
    undecayed: tuple[str, ...] = ()
    rest: bool = True
    matrices: tuple[tuple[str, Axes], ...] = ()
