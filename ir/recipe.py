"""The recipe: everything about a training run that is not the model. Its schema stands here, once.

Each field of these dataclasses is a key of `recipe.toml`, and carries its form (type and bounds),
its default and one line that says what it is. The reader (`frontend.recipe.reader`), `to_toml` and
the reference page (`recipe_reference`) go by them. Optimizers and schedules have optax's own names.
"""

# ruff: noqa: RUF009  (the fields are made by `key`)

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .diagnostics import Span
from .optax_options import PRECISION
from .recipe_data import Data, given_in_python
from .recipe_forms import Either, Flag, Inner, Names, Real, Table, Text, Whole, Word, entries
from .recipe_keys import Options, key
from .recipe_optimizer import Group, Optimizer, Schedule

if TYPE_CHECKING:
    from .plan import Mesh as PlanMesh
    from .plan import Plan

Rule = tuple[str, tuple[str, ...]]
"""A dim's name and the mesh axes that it lies along, outermost first: as in a plan."""


_RULES = Table("dims", Names("mesh axis", "a dim lies along an axis once"))


@dataclass(frozen=True)
class Train:
    """How long, and what is done on the way."""

    steps: int | None = key(Whole(1), "how many updates to make", default=1000)
    epochs: float | None = key(
        Real(over=0.0),
        "how many times to go through the data to train on, instead of steps",
        default=None,
        example="20",
        instead_of="steps",
    )
    batch: int = key(
        Whole(1), "examples in a batch: the size of the leading dim of the inputs", default=32
    )
    microbatches: int = key(
        Whole(1),
        "how many parts a batch is cut into, whose gradients are summed: less memory, same result",
        default=1,
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
    keep: int = key(Whole(1), "how many checkpoints to keep: the newest", default=3)
    keep_best: int = key(
        Whole(0), "as many more: those with the best evaluations, which are then saved", default=0
    )
    keep_every: int = key(Whole(0), "and those of every step that this divides; 0: none", default=0)
    metric: str = key(
        Text("the name of a metric", 100), "what makes an evaluation better", default="loss",
        example='"accuracy"',
    )  # fmt: skip
    better: str = key(
        Word(("lower", "higher")), "which values of the metric are better", default="lower",
    )  # fmt: skip
    patience: int = key(
        Whole(0), "training ends after as many evaluations that were not better; 0: never",
        default=0,
    )  # fmt: skip
    tensorboard: bool = key(
        Flag(),
        "whether the log is written for TensorBoard too; needs tensorboardX",
        default=False,
    )
    peak: str | float | None = key(
        Either((Text("the name of a device"), Real(over=0.0))),
        "what one device does at most, operations of products in a second, for the share of it that"
        " is used (MFU); or a device that `netwright plan` knows, or a TOML file of one;"
        " left out, known kinds of devices are recognised",
        default=None,
        example="1.97e14",
    )
    freeze: tuple[str, ...] = key(
        Names("parameter or an instance", "once is enough"),
        "parameters that are not trained, or instances whose parameters are not, by path; * stands"
        " for anything in a part of a path, ** for any number of parts",
        default=(),
        example='["gpt.embed"]',
    )
    ema: float | None = key(
        Real(over=0.0, below=1.0),
        "the decay of a moving average of the parameters, with which is then evaluated;"
        " left out, none is kept",
        default=None,
        example="0.999",
    )


@dataclass(frozen=True)
class Precision:
    """In which precision the model computes. Parameters and sums stay in float32."""

    policy: str = key(
        PRECISION, "the policy; f32, bf16 and f16 are the same words", default="float32"
    )
    overrides: Options = key(
        Table("paths of instances or values", PRECISION, paths=True),
        "what differs from the policy, by path",
        default=(),
        example='{ "gpt.norm" = "float32" }',
    )
    loss_scale: str | float | None = key(
        Either((Word(("dynamic", "none")), Real(over=0.0))),
        "what the loss is multiplied by before differentiation; dynamic: halved when gradients"
        " overflow, doubled after 2000 steps; left out, dynamic for float16, else none",
        default=None,
        example='"dynamic"',
    )

    @property
    def scaling(self) -> str | float | None:
        """How the loss is scaled: "dynamic", by a number, or (None) not at all."""
        if self.loss_scale is None:
            dtypes = {self.policy, *(choice for _, choice in self.overrides)}
            return "dynamic" if "float16" in dtypes else None
        return None if self.loss_scale == "none" else self.loss_scale


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
class Memory:
    """The memory that a plan is made for. With either key, `train` and `emit` plan by themselves
    what is kept for the gradient; without, all of it is."""

    budget: str | None = key(
        Text("an amount of memory", 40),
        "what a step may take of one device; left out, all of its memory",
        default=None,
        example='"16GiB"',
    )
    device: str | None = key(
        Text("the name of a device"),
        "what it runs on: a name that `netwright plan` knows, or a TOML file",
        default=None,
        example='"h100"',
    )

    @property
    def asked(self) -> bool:
        """Whether a plan is to be made."""
        return self.budget is not None or self.device is not None


@dataclass(frozen=True)
class Recipe:
    """A recipe, valid in itself. Whether it fits a model is for `frontend.recipe.fit.fit` to say.

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
    memory: Memory = field(default_factory=Memory)
    roll: Options = key(
        Table("paths of repeats", Word(("scan", "unroll")), paths=True),
        "how repeats are run: scan compiles one copy (the default), unroll all of them",
        default=(),
        example='{ "gpt.blocks" = "unroll" }',
    )
    groups: tuple[tuple[str, Group], ...] = key(
        Table("names of groups", Inner(Group)),
        "parameters with an optimizer, a learning rate, a schedule or a decay of their own",
        default=(),
        example='{ embedding = { on = "gpt.embed", factor = 0.1 } }',
    )
    file: str = field(default="recipe.toml", compare=False)
    places: Mapping[str, Span] = field(default_factory=dict, compare=False, repr=False)

    @property
    def data_path(self) -> Path:
        """The file of data."""
        return self.beside(self.data.file)

    def beside(self, path: str) -> Path:
        """A path that the recipe names."""
        return Path(self.file).parent / path

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
            microbatches=self.train.microbatches,
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
    "memory": Memory,
}
"""The tables that have a dataclass of their own."""


def to_toml(recipe: Recipe) -> str:
    """The recipe as TOML with every key that has a value: reading it gives an equal recipe."""
    lines = entries(recipe)
    for name in SECTIONS:
        section = getattr(recipe, name)
        rows = entries(section) if section != given_in_python() else []
        lines += ["", f"[{name}]", *rows] if rows else []
    return "\n".join(lines).strip("\n") + "\n"
