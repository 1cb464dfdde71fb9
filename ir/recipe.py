"""The recipe: everything about a training run that is not the model. Its schema stands here, once.

Each field of these dataclasses is a key of `recipe.toml`, and carries its form (type and bounds),
its default and one line that says what it is. The reader (`frontend.recipe`), `to_toml` and the
reference page (`reference`) go by them. Optimizers and schedules have optax's own names.
"""

# ruff: noqa: RUF009  (the fields are made by `key`)

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .diagnostics import Span

if TYPE_CHECKING:
    from .plan import Mesh as PlanMesh
    from .plan import Plan

Scalar = bool | int | float | str
Options = tuple[tuple[str, Any], ...]
"""Names and values, in the order in which they were written."""

Rule = tuple[str, tuple[str, ...]]
"""A dim's name and the mesh axes that it lies along, outermost first: as in a plan."""


# Forms: what a value may be.


@dataclass(frozen=True)
class Whole:
    """A whole number between bounds."""

    least: int | None = None
    most: int | None = 2**63 - 1

    def __str__(self) -> str:
        return (
            "a whole number" if self.least is None else f"a whole number of at least {self.least}"
        )


@dataclass(frozen=True)
class Real:
    """A finite number; whole ones are taken too. `over` and `below` are bounds not reached."""

    least: float | None = None
    below: float | None = None
    over: float | None = None
    most: float | None = None

    def __str__(self) -> str:
        bounds = [
            f"{word} {bound:g}"
            for word, bound in (
                ("over", self.over),
                ("of at least", self.least),
                ("below", self.below),
                ("of at most", self.most),
            )
            if bound is not None
        ]
        return " ".join(["a number", " and ".join(bounds)]).strip()


@dataclass(frozen=True)
class Flag:
    """true or false."""

    def __str__(self) -> str:
        return "true or false"


@dataclass(frozen=True)
class Text:
    """Text of one line."""

    what: str = "text"
    longest: int = 255

    def __str__(self) -> str:
        return self.what


@dataclass(frozen=True)
class Word:
    """One of a few words; `also` are other spellings."""

    words: tuple[str, ...]
    also: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return " or ".join(f'"{w}"' for w in self.words)


@dataclass(frozen=True)
class Axes:
    """Mesh axes: the name of one, or a list of names; held as a tuple."""

    def __str__(self) -> str:
        return "the name of a mesh axis, or a list of names"


@dataclass(frozen=True)
class Table:
    """A table from names to values of one form; held as a tuple of pairs.

    Attributes:
        keys: what its keys are.
        value: the form of its values.
        paths: whether keys are paths such as gpt.norm, which may be written with or without quotes.
    """

    keys: str
    value: Form
    paths: bool = False

    def __str__(self) -> str:
        return f"a table from {self.keys} to {self.value}"


@dataclass(frozen=True)
class Either:
    """One form or another, told apart by the type of the value."""

    forms: tuple[Form, ...]

    def __str__(self) -> str:
        return ", or ".join(str(f) for f in self.forms)


Form = Whole | Real | Flag | Text | Word | Axes | Table | Either


def key(form: Form, doc: str, *, default: Any = MISSING, example: str = "", rest: bool = False):
    """A key of the recipe.

    Args:
        form: what its value may be.
        doc: one line that says what it is.
        default: its value where it is left out; without one the key must be given.
        example: TOML for the reference page, where the default does not show enough.
        rest: whether the field takes all keys of its table that no other field takes.
    """
    return field(default=default, metadata=dict(form=form, doc=doc, example=example, rest=rest))


POLICIES = ("float32", "bfloat16", "float16")
_PRECISION = Word(POLICIES, {"f32": "float32", "bf16": "bfloat16", "f16": "float16"})
_RULES = Table("dims", Axes())


# Optimizers, as optax has them.


REQUIRED = "required"
"""Stands where an option has no default."""

STEPS = "train.steps"
"""Stands where an option is the number of steps unless given."""

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"momentum": None, "nesterov": False, "accumulator_dtype": None},
    "adam": {
        "b1": 0.9, "b2": 0.999, "eps": 1e-8, "eps_root": 0.0, "mu_dtype": None, "nesterov": False,
    },
    "adamw": {
        "b1": 0.9, "b2": 0.999, "eps": 1e-8, "eps_root": 0.0, "mu_dtype": None,
        "weight_decay": 1e-4, "nesterov": False,
    },
    "adamax": {"b1": 0.9, "b2": 0.999, "eps": 1e-8},
    "adamaxw": {"b1": 0.9, "b2": 0.999, "eps": 1e-8, "weight_decay": 1e-4},
    "nadam": {
        "b1": 0.9, "b2": 0.999, "eps": 1e-8, "eps_root": 0.0, "mu_dtype": None, "nesterov": True,
    },
    "nadamw": {
        "b1": 0.9, "b2": 0.999, "eps": 1e-8, "eps_root": 0.0, "mu_dtype": None,
        "weight_decay": 1e-4, "nesterov": True,
    },
    "amsgrad": {
        "b1": 0.9, "b2": 0.999, "eps": 1e-8, "eps_root": 0.0, "mu_dtype": None,
        "bias_correction_mu": True, "bias_correction_nu": True,
    },
    "adabelief": {"b1": 0.9, "b2": 0.999, "eps": 1e-16, "eps_root": 1e-16, "nesterov": False},
    "radam": {
        "b1": 0.9, "b2": 0.999, "eps": 1e-8, "eps_root": 0.0, "threshold": 5.0, "nesterov": False,
    },
    "adan": {
        "b1": 0.98, "b2": 0.92, "b3": 0.99, "eps": 1e-8, "eps_root": 1e-8, "weight_decay": 0.0,
    },
    "yogi": {"b1": 0.9, "b2": 0.999, "eps": 1e-3},
    "lamb": {"b1": 0.9, "b2": 0.999, "eps": 1e-6, "eps_root": 0.0, "weight_decay": 0.0},
    "lars": {
        "weight_decay": 0.0, "trust_coefficient": 1e-3, "eps": 0.0, "momentum": 0.9,
        "nesterov": False,
    },
    "lion": {"b1": 0.9, "b2": 0.99, "mu_dtype": None, "weight_decay": 1e-3},
    "novograd": {"b1": 0.9, "b2": 0.25, "eps": 1e-6, "eps_root": 0.0, "weight_decay": 0.0},
    "rmsprop": {
        "decay": 0.9, "eps": 1e-8, "initial_scale": 0.0, "eps_in_sqrt": True, "centered": False,
        "momentum": None, "nesterov": False, "bias_correction": False,
    },
    "adagrad": {"initial_accumulator_value": 0.1, "eps": 1e-7},
    "adadelta": {"rho": 0.9, "eps": 1e-6, "weight_decay": 0.0},
    "adafactor": {
        "min_dim_size_to_factor": 128, "decay_rate": 0.8, "decay_offset": 0,
        "multiply_by_parameter_scale": True, "clipping_threshold": 1.0, "momentum": None,
        "weight_decay_rate": None, "eps": 1e-30, "factored": True,
    },
    "fromage": {"min_norm": 1e-6},
    "sign_sgd": {},
    "signum": {"beta": 0.9, "accumulator_dtype": None},
}  # fmt: skip
"""For each optimizer its options and their defaults."""

DECAYS = ("weight_decay", "weight_decay_rate")
"""The options that shrink parameters."""

DECAY_MASKS = {
    "adamw": "mask", "adamaxw": "mask", "nadamw": "mask", "adan": "mask", "lamb": "mask",
    "lion": "mask", "lars": "weight_decay_mask", "adadelta": "weight_decay_mask",
    "adafactor": "weight_decay_mask",
}  # fmt: skip
"""Optimizers that can be told which parameters decay, and the argument that tells them."""

_RATE = Real(least=0.0, below=1.0)
_FORMS: dict[str, Form] = {
    **dict.fromkeys(("b1", "b2", "b3", "beta", "rho", "decay", "momentum"), _RATE),
    **dict.fromkeys(("mu_dtype", "accumulator_dtype"), _PRECISION),
    **dict.fromkeys((*DECAYS, "eps", "eps_root", "alpha", "end_value", "init_value"), Real(0.0)),
    "clipping_threshold": Real(over=0.0),
    "min_dim_size_to_factor": Whole(1),
    **dict.fromkeys(("decay_steps", "transition_steps"), Whole(1)),
    **dict.fromkeys(("warmup_steps", "transition_begin"), Whole(0)),
    "decay_rate": Real(over=0.0),
    "pct_start": Real(over=0.0, below=1.0),
    **dict.fromkeys(("div_factor", "final_div_factor", "power", "exponent"), Real(over=0.0)),
    "boundaries_and_scales": Table("steps", Real(0.0)),
}


def option_form(name: str, default: Any = None) -> Form:
    """What an option may be: by its name, else by the type of its default."""
    if name in _FORMS:
        return _FORMS[name]
    if isinstance(default, bool):
        return Flag()
    return Whole(0) if isinstance(default, int) else Real()


# Schedules, as optax has them.


@dataclass(frozen=True)
class ScheduleKind:
    """A schedule of the learning rate.

    Attributes:
        optax: the function in optax; "" for one that is put together.
        rate: its argument that the optimizer's learning rate is given for.
        options: its other arguments, with optax's defaults where it has any, else ours.
        doc: what it does.
    """

    optax: str
    rate: str
    options: Mapping[str, Any]
    doc: str


SCHEDULES: dict[str, ScheduleKind] = {
    "constant": ScheduleKind("constant_schedule", "value", {}, "the same all the time"),
    "cosine": ScheduleKind(
        "cosine_decay_schedule",
        "init_value",
        {"decay_steps": STEPS, "alpha": 0.0, "exponent": 1.0},
        "falls along half a cosine to alpha times the learning rate",
    ),
    "warmup_cosine": ScheduleKind(
        "warmup_cosine_decay_schedule",
        "peak_value",
        {
            "init_value": 0.0, "warmup_steps": REQUIRED, "decay_steps": STEPS,
            "end_value": 0.0, "exponent": 1.0,
        },
        "rises from init_value in warmup_steps, then falls along half a cosine to end_value;"
        " decay_steps counts both",
    ),
    "linear": ScheduleKind(
        "linear_schedule",
        "init_value",
        {"end_value": 0.0, "transition_steps": STEPS, "transition_begin": 0},
        "falls along a line to end_value",
    ),
    "warmup_linear": ScheduleKind(
        "",
        "peak_value",
        {"init_value": 0.0, "warmup_steps": REQUIRED, "decay_steps": STEPS, "end_value": 0.0},
        "rises from init_value in warmup_steps, then falls along a line to end_value;"
        " decay_steps counts both",
    ),
    "warmup_constant": ScheduleKind(
        "warmup_constant_schedule",
        "peak_value",
        {"init_value": 0.0, "warmup_steps": REQUIRED},
        "rises from init_value in warmup_steps, then stays",
    ),
    "exponential": ScheduleKind(
        "exponential_decay",
        "init_value",
        {
            "transition_steps": STEPS, "decay_rate": REQUIRED, "transition_begin": 0,
            "staircase": False, "end_value": None,
        },
        "is multiplied by decay_rate every transition_steps",
    ),
    "warmup_exponential": ScheduleKind(
        "warmup_exponential_decay_schedule",
        "peak_value",
        {
            "init_value": 0.0, "warmup_steps": REQUIRED, "transition_steps": STEPS,
            "decay_rate": REQUIRED, "transition_begin": 0, "staircase": False, "end_value": None,
        },
        "rises from init_value in warmup_steps, then as exponential",
    ),
    "polynomial": ScheduleKind(
        "polynomial_schedule",
        "init_value",
        {
            "end_value": 0.0, "power": REQUIRED, "transition_steps": STEPS, "transition_begin": 0,
        },
        "falls to end_value along a polynomial of degree power",
    ),
    "piecewise": ScheduleKind(
        "piecewise_constant_schedule",
        "init_value",
        {"boundaries_and_scales": REQUIRED},
        "is multiplied by a number at each of some steps:"
        " boundaries_and_scales = { 1000 = 0.1, 1500 = 0.1 }",
    ),
    "onecycle": ScheduleKind(
        "cosine_onecycle_schedule",
        "peak_value",
        {
            "transition_steps": STEPS, "pct_start": 0.3, "div_factor": 25.0,
            "final_div_factor": 1e4,
        },
        "rises along half a cosine for the part pct_start, then falls along another",
    ),
}  # fmt: skip

SCHEDULE_WORDS = {k.optax: n for n, k in SCHEDULES.items() if k.optax}
"""Optax's names, which mean the same."""


# The recipe.


@dataclass(frozen=True)
class Data:
    """Where batches come from."""

    kind: str = key(
        Word(("text", "arrays", "pairs")),
        "what the file is: text (each byte a token), arrays (.npz), pairs (tab-separated lines)",
        example='"arrays"',
    )
    file: str = key(
        Text("the path of a file"),
        "the file, relative to the recipe",
        example='"data/digits.npz"',
    )
    held_out: int | float = key(
        Either((Whole(0), Real(least=0.0, below=1.0))),
        "what is kept for evaluation: a fraction, or a count of examples; of text it is the end",
        default=0.1,
    )
    fields: Options = key(
        Table("the model's inputs", Text("a name of what the data offer")),
        "which input takes what; left out, arrays and pairs go by name, text by order. Text offers"
        " tokens and targets; pairs offer source, source_live, source_count, target_in, target_out"
        " and target_live; arrays their names",
        default=(),
        example='{ image = "x", label = "y" }',
    )
    scale: Options = key(
        Table("inputs", Real()),
        "factors for inputs (arrays only); a scaled input is float",
        default=(),
        example="{ image = 0.0625 }",
    )
    ids: Options = key(
        Table("inputs", Either((Whole(1), Text("the name of a dim")))),
        "how many ids the model knows, or the dim that says so: the data are checked against it",
        default=(),
        example='{ label = "N" }',
    )
    seed: int | None = key(
        Whole(0),
        "determines the split and the order of batches; left out, the seed of [train]",
        default=None,
        example="0",
    )


@dataclass(frozen=True)
class Train:
    """How long, and what is done on the way."""

    steps: int = key(Whole(1), "how many updates to make", default=1000)
    batch: int = key(
        Whole(1), "examples in a batch: the size of the leading dim of the inputs", default=32
    )
    seed: int = key(
        Whole(0), "determines the first parameters and all randomness of the model", default=0
    )
    evaluate_every: int = key(
        Whole(0), "steps between evaluations of the held-out data; 0: at the end only", default=100
    )
    checkpoint_every: int = key(
        Whole(0), "steps between checkpoints; 0: at the end only", default=500
    )
    keep: int = key(Whole(1), "how many checkpoints to keep", default=3)


@dataclass(frozen=True)
class Optimizer:
    """An optimizer of optax, with its options under optax's own names."""

    name: str = key(Text("the name of an optimizer"), "one of those below", default="adamw")
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
    decay_on: str = key(
        Word(("matrices", "all")),
        "what weight decay shrinks: parameters of two or more dims (copies of a repeat apart),"
        " or all",
        default="matrices",
    )
    options: Options = key(
        Real(),
        "any option of the optimizer, as listed below",
        default=(),
        example="weight_decay = 0.1",
        rest=True,
    )

    @property
    def decay(self) -> float | None:
        """How much weights are shrunk: as given, else optax's default; None for not at all."""
        table = {**OPTIMIZERS.get(self.name, {}), **dict(self.options)}
        return next((table[name] for name in DECAYS if table.get(name)), None)


@dataclass(frozen=True)
class Schedule:
    """How the learning rate changes: a schedule of optax, with its options under optax's names."""

    name: str = key(
        Word(tuple(SCHEDULES), SCHEDULE_WORDS),
        "one of those below; left out, constant",
        default="constant",
        example='"warmup_cosine"',
    )
    options: Options = key(
        Real(),
        "any option of the schedule, as listed below",
        default=(),
        example="warmup_steps = 100",
        rest=True,
    )


@dataclass(frozen=True)
class Precision:
    """In which precision the model computes. Parameters and sums stay in float32."""

    policy: str = key(
        _PRECISION, "the policy; f32, bf16 and f16 are the same words", default="float32"
    )
    overrides: Options = key(
        Table("paths of instances or values", _PRECISION, paths=True),
        "what differs from the policy, by path",
        default=(),
        example='{ "gpt.norm" = "float32" }',
    )


@dataclass(frozen=True)
class Mesh:
    """The devices to train on, and what lies along which of their axes. Left out: one device."""

    axes: tuple[tuple[str, int], ...] = key(
        Table("names of axes", Whole(1)),
        "names and sizes of the axes, outermost first",
        default=(),
        example="{ data = 2, model = 4 }",
    )
    values: tuple[Rule, ...] = key(
        _RULES,
        "for dims of values (batches and what is computed), the axes that they lie along",
        default=(),
        example='{ B = "data", F = "model" }',
    )
    params: tuple[Rule, ...] = key(
        _RULES,
        "the same for dims of parameters",
        default=(),
        example='{ D = "data", F = "model" }',
    )
    overrides: tuple[tuple[str, tuple[Rule, ...]], ...] = key(
        Table("paths of parameters or instances", _RULES, paths=True),
        "by path, rules that replace those of params",
        default=(),
        example='{ "gpt.embed" = { V = ["data", "model"] } }',
    )


@dataclass(frozen=True)
class Recipe:
    """A recipe, valid in itself. Whether it fits a model is for `frontend.recipe_fit.fit` to say.

    `file` is the path of `recipe.toml` and `places` where each key's value stands, by section and
    key (`train.steps`, `mesh.overrides.gpt.embed`); they do not count for equality.
    """

    data: Data
    name: str | None = key(
        Text("a name", 60), "what the program is called; left out, the folder's name",
        default=None, example='"digits"',
    )  # fmt: skip
    loss: str | None = key(
        Text("the name of a loss", 100), "the loss to train; left out, the last one of the model",
        default=None, example='"digit"',
    )  # fmt: skip
    sizes: tuple[tuple[str, int], ...] = key(
        Table("free dims of the model", Whole(1)),
        "sizes of free dims; the leading dim of the inputs has [train] batch",
        default=(),
        example="{ S = 128 }",
    )
    train: Train = field(default_factory=Train)
    optimizer: Optimizer = field(default_factory=Optimizer)
    schedule: Schedule = field(default_factory=Schedule)
    precision: Precision = field(default_factory=Precision)
    mesh: Mesh = field(default_factory=Mesh)
    roll: Options = key(
        Table("paths of repeats", Word(("scan", "unroll")), paths=True),
        "how repeats are run: scan compiles one copy (the default), unroll all of them",
        default=(),
        example='{ "gpt.blocks" = "unroll" }',
    )
    file: str = field(default="recipe.toml", compare=False)
    places: Mapping[str, Span] = field(default_factory=dict, compare=False, repr=False)

    @property
    def data_path(self) -> Path:
        """The file of data."""
        return Path(self.file).parent / self.data.file

    @property
    def data_seed(self) -> int:
        """The seed of the data."""
        return self.train.seed if self.data.seed is None else self.data.seed

    def place(self, name: str) -> Span | None:
        """Where a key's value stands, else its table, else None."""
        while name and name not in self.places:
            name = name.rpartition(".")[0]
        return self.places.get(name)

    def plan(self, sizes: Mapping[str, int] | None = None) -> Plan:
        """The plan with what the recipe decides: sizes, mesh, precision, roll."""
        from .plan import Plan
        from .plan import Precision as PlanPrecision

        return Plan(
            recipe=to_toml(self),
            sizes=tuple(self.sizes if sizes is None else dict(sizes).items()),
            mesh=self._mesh(),
            precision=PlanPrecision(self.precision.policy, self._decisions("precision.overrides")),
            roll=self._decisions("roll"),
        )

    def _mesh(self) -> PlanMesh:
        from .plan import Mesh as PlanMesh

        mesh = self.mesh
        return PlanMesh(mesh.axes, mesh.values, mesh.params, self._decisions("mesh.overrides"))

    def _decisions(self, section: str):
        from .plan import Decision, decide

        found: Any = self
        for part in section.split("."):
            found = getattr(found, part)
        made = [
            Decision(path, choice, "the recipe says so", self._line(f"{section}.{path}"))
            for path, choice in found
        ]
        return decide((), *made)

    def _line(self, name: str) -> str:
        span = self.place(name)
        return f"{Path(span.file).name}:{span.line}" if span else ""


SECTIONS: dict[str, type] = {
    "data": Data,
    "train": Train,
    "optimizer": Optimizer,
    "schedule": Schedule,
    "precision": Precision,
    "mesh": Mesh,
}
"""The tables that have a dataclass of their own."""


@dataclass(frozen=True)
class Key:
    """What the schema says of one key."""

    name: str
    form: Form
    doc: str
    default: Any
    example: str
    rest: bool

    @property
    def required(self) -> bool:
        """Whether it must be given."""
        return self.default is MISSING


def keys_of(section: type) -> Iterator[Key]:
    """The keys of a table, or those of the recipe itself that stand outside of such tables."""
    for f in fields(section):
        if "form" in f.metadata:
            yield Key(name=f.name, default=f.default, **f.metadata)


# As text.


def to_toml(recipe: Recipe) -> str:
    """The recipe as TOML with every key that has a value: reading it gives an equal recipe."""
    lines = _entries(Recipe, recipe)
    for name, section in SECTIONS.items():
        rows = _entries(section, getattr(recipe, name))
        lines += ["", f"[{name}]", *rows] if rows else []
    return "\n".join(lines).strip("\n") + "\n"


def _entries(section: type, value: Any) -> list[str]:
    lines = []
    for k in keys_of(section):
        held = getattr(value, k.name)
        if k.rest:
            lines += [f"{_name(n)} = {toml(v, option_form(n, v))}" for n, v in held]
        elif held is not None and held != ():
            lines.append(f"{k.name} = {toml(held, k.form)}")
    return lines


def toml(value: Any, form: Form) -> str:
    """A value of a form as TOML."""
    if isinstance(form, Table):
        inner = ", ".join(f"{_name(n)} = {toml(v, form.value)}" for n, v in value)
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(form, Axes):
        return _string(value[0]) if len(value) == 1 else f"[{', '.join(map(_string, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _string(value)
    text = repr(value)
    return text if not isinstance(value, float) or "e" in text or "." in text else f"{text}.0"


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _name(text: Any) -> str:
    text = str(text)
    bare = text and all(c.isascii() and (c.isalnum() or c in "_-") for c in text)
    return text if bare else _string(text)


# The reference page


def reference() -> str:
    """The text of docs/recipe.md, made from the schema."""
    lines = [_INTRODUCTION, "## Every key", "", _KEYS, "", "```toml", *_sample(), "```", ""]
    lines += ["## Optimizers", "", _OPTIMIZERS, "", "| name | options and their defaults |"]
    lines += ["|---|---|"]
    lines += [f"| `{name}` | {_defaults(options)} |" for name, options in OPTIMIZERS.items()]
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
    lines = _sample_keys(keys_of(Recipe))
    for name, section in SECTIONS.items():
        lines += ["", f"# {_first(section.__doc__)}", f"[{name}]", *_sample_keys(keys_of(section))]
    return lines


def _sample_keys(known: Iterator[Key]) -> list[str]:
    import textwrap

    lines = []
    for k in known:
        required = "; required" if k.required else ""
        lines += [
            "",
            *textwrap.wrap(f"{k.doc}{required}", 96, initial_indent="# ", subsequent_indent="# "),
        ]
        value = k.example or (toml(k.default, k.form) if k.default is not None else "")
        if k.rest:
            lines += [value] if value else []
        else:
            lines.append(f"{k.name} = {value}")
    return lines[1:]


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
under `[sizes]`. A key that the recipe does not know is an error.
"""

_KEYS = "With their defaults, and where there is none, with an example."

_OPTIMIZERS = """Names and options are those of [optax](https://optax.readthedocs.io). Another of
its optimizers with a `learning_rate` can be named too; then optax is asked for its options."""

_SCHEDULES = """They change the learning rate from step to step. Options have optax's names, and
schedules may: `cosine_decay_schedule` is `cosine`. The argument that is the learning rate is not
given here: it is the `learning_rate` of `[optimizer]`. `--steps` on the command line stops earlier
or later, and leaves the schedule as it is."""
