"""Fitting a recipe to a model: sizes, inputs, and paths that must be there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...ir.core import join
from ...ir.diagnostics import Diagnostics, Place, Span, nearest
from ...ir.indexed import Index, indexed
from ...ir.recipe import Recipe
from ...ir.recipe_optimizer import Chosen
from .fit_data import DataFitter, Takes
from .groups import choose

if TYPE_CHECKING:
    from ...ir.core import Module


@dataclass(frozen=True)
class Fit:
    """A recipe and a model together.

    Attributes:
        sizes: what the free dims of the model are bound to, in the model's order.
        fields: for each input of the model, in order, what of the data it takes.
        ids: for inputs that are ids, how many there are: as the recipe says, else as the model
            looks them up.
        chosen: which parameters are frozen, in a group, or do not decay.
    """

    sizes: tuple[tuple[str, int], ...]
    fields: tuple[tuple[str, Takes], ...]
    ids: tuple[tuple[str, int], ...] = ()
    chosen: Chosen = field(default_factory=Chosen)


def fit(recipe: Recipe, module: Module, diagnostics: Diagnostics) -> Fit | None:
    """What a recipe says about a model: sizes, inputs, paths.

    Args:
        recipe: the recipe.
        module: the entry to be trained, as elaborated.
        diagnostics: where mistakes go.

    Returns:
        None if anything is wrong.
    """
    return _Fitter(recipe, module, diagnostics).fit()


class _Fitter:
    def __init__(self, recipe: Recipe, module: Module, diagnostics: Diagnostics):
        self.recipe, self.module, self.diagnostics = recipe, module, diagnostics
        self.inputs = module.instances[0].variants[0].inputs
        self.bad = False

    def error(self, code: str, message: str, place: str, **more: object) -> None:
        self.diagnostics.error(code, message, self.place(place), **more)
        self.bad = True

    def place(self, name: str) -> Span:
        return self.recipe.place(name) or Span(self.recipe.file, 1, 1, 1, 1)

    def fit(self) -> Fit | None:
        sizes = self._sizes()
        fields = DataFitter(self.recipe, self.module.name, self.inputs, sizes, self.error).fields()
        self._paths()
        self._evaluations()
        ids = self._ids(sizes)
        chosen = choose(self.recipe, self.module, self.error)
        return None if self.bad else Fit(tuple(sizes.items()), fields, ids, chosen)

    def _sizes(self) -> dict[str, int]:
        batch = self.recipe.train.batch
        parts = self.recipe.train.microbatches
        if batch % parts:
            near = max(n for n in range(1, parts) if batch % n == 0)
            self.error(
                "recipe-microbatches",
                f"a batch of {batch} cannot be cut into {parts} equal parts",
                "train.microbatches",
                help=f"microbatches = {near}",
            )
        free = self.module.free
        fixed = {d.name: d.size for i in self.module.instances for d in i.dims}
        given = dict(self.recipe.sizes)
        sizes = dict(given)
        for name in given:
            if name in free:
                continue
            close = nearest(name, free)
            size = fixed.get(name)
            if size is not None and size.is_constant:
                help = f"its size is the model's; change it there, or by --set {name}={given[name]}"
            else:
                help = f"{close[0]} = {given[name]}" if close else ""
            self.error(
                "recipe-size",
                f"{name} is not a free dim of {self.module.name}",
                f"sizes.{name}",
                facts=(f"its free dims are {', '.join(free) or 'none'}",),
                help=help,
            )
        for leading in self._leading():
            if leading.name not in free:
                if leading.size.is_constant and leading.size.value * parts != batch:
                    cut = f", in {parts} microbatches" if parts > 1 else ""
                    self.error(
                        "recipe-size",
                        f"the inputs of {self.module.name} lead with {leading.name}, whose size is"
                        f" {leading.size.value}; batch is {batch}{cut}",
                        "train.batch",
                        help=f"batch = {leading.size.value * parts}",
                    )
            elif given.get(leading.name, batch) != batch:
                self.error(
                    "recipe-size",
                    f"{leading.name} leads the inputs, so it is the batch, {batch};"
                    f" here it is {given[leading.name]}",
                    f"sizes.{leading.name}",
                    help=f"leave {leading.name} out, and set batch under [train]",
                )
            sizes[leading.name] = batch // parts
        for name in free:
            if name not in sizes:
                self.error(
                    "recipe-size",
                    f"the dim {name} of {self.module.name} has no size",
                    "sizes",
                    facts=(f"{name} is free in the model: the recipe binds it",),
                    help=f"{name} = 128" if given else f"[sizes]\n{name} = 128",
                )
        return {name: sizes[name] for name in free if name in sizes}

    def _evaluations(self) -> None:
        """What is decided by evaluations needs a metric that they have, and to be evaluated."""
        train = self.recipe.train
        ops = [(i.path, op) for i, _, op in self.module.walk() if op.name == "metric"]
        metrics = {"loss"} | {join(path, op["name"]) for path, op in ops}
        if train.metric not in metrics:
            close = nearest(train.metric, metrics)
            self.error(
                "recipe-metric",
                f"{self.module.name} has no metric {train.metric}",
                "train.metric",
                facts=(f"it has {', '.join(sorted(metrics))}",),
                help=f'did you mean "{close[0]}"?' if close else "",
            )
        for lacking, key, instead in (
            (not self.recipe.data.held_out, "data.held_out", "held_out = 0.1"),
            (not train.evaluate_every, "train.evaluate_every", "evaluate_every = 100"),
        ):
            for name in ("patience", "keep_best") if lacking else ():
                if getattr(train, name):
                    self.error(
                        "recipe-metric",
                        f"{name} goes by evaluations on the way, and there are none",
                        f"train.{name}",
                        places=(Place(self.place(key), "0: none"),),
                        help=instead,
                    )

    def _leading(self) -> list:
        """The leading dims of the inputs, each once."""
        found: dict[str, Any] = {}
        for value in self.inputs:
            if value.order and value.order[0]:
                dim = value.order[0][0]
                found.setdefault(dim.name, dim)
        first = next(iter(found), None)
        if len(found) > 1:
            other = list(found)[1]
            self.error(
                "recipe-inputs",
                f"the inputs of {self.module.name} lead with different dims, {first} and {other}",
                "train.batch",
                facts=("the leading dim of all inputs is the batch",),
            )
        return list(found.values())[:1]

    def _ids(self, sizes: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
        known: dict[str, set[int]] = {}
        for instance in self.module.instances:
            for dim in instance.dims:
                size = dim.size.value if dim.size.is_constant else sizes.get(dim.name)
                if size is not None:
                    known.setdefault(dim.name, set()).add(size)
        looked_up = indexed(self.module, sizes)
        scaled = {name for name, _ in self.recipe.data.scale}
        found = {n: index.size for n, index in looked_up.items() if n not in scaled}
        for name, value in self.recipe.data.ids:
            known_sizes = {value} if isinstance(value, int) else known.get(value, set())
            if len(known_sizes) == 1:
                (found[name],) = known_sizes
                if name in looked_up and found[name] > looked_up[name].size:
                    self._too_many(name, found[name], looked_up[name])
                continue
            close = nearest(value, known)
            self.error(
                "recipe-field",
                f"{value} has several sizes in the model"
                if known_sizes
                else f"the model has no dim {value} of a known size",
                f"data.ids.{name}",
                help=f"{name} = {max(known_sizes)}"
                if known_sizes
                else f'{name} = "{close[0]}"'
                if close
                else "",
            )
        return tuple(found.items())

    def _too_many(self, name: str, ids: int, index: Index) -> None:
        there = f"{index.op} looks them up: {index.dim} = {index.size}"
        self.error(
            "recipe-ids",
            f"{self.module.name} knows {index.size} ids of {name}, not {ids}",
            f"data.ids.{name}",
            places=(Place(index.span, there),) if index.span else (),
            help=f"{name} = {index.size}; left out, that is what the data are checked against",
        )

    def _paths(self) -> None:
        from ...ir.plan import SECTIONS as PLANNED
        from ...ir.plan import keys

        recipe = self.recipe
        decided = [
            ("precision.overrides", recipe.precision.overrides),
            ("mesh.overrides", recipe.mesh.overrides),
            ("roll", recipe.roll),
        ]
        table = keys(self.module) if any(d for _, d in decided) else {}
        for section, decisions in decided:
            kinds = PLANNED[section][1]
            known = [key for kind in kinds for key in table.get(kind, ())]
            for path, _ in decisions:
                if path not in known:
                    close = nearest(path, known)
                    what = " or ".join(kinds)
                    self.error(
                        "recipe-path",
                        f"{self.module.name} has no {what} {path}",
                        f"{section}.{path}",
                        facts=() if len(known) > 12 or not known else
                        (f"it has {', '.join(k for k in known if k)}",),
                        help=f'"{close[0]}"' if close else "",
                    )  # fmt: skip
        dims = {d.name for i in self.module.instances for d in i.dims}
        rules = [("mesh.values", recipe.mesh.values), ("mesh.params", recipe.mesh.params)]
        rules += [(f"mesh.overrides.{path}", r) for path, r in recipe.mesh.overrides]
        for where, table_ in rules:
            for dim, _ in table_:
                if dim not in dims:
                    close = nearest(dim, dims)
                    self.error(
                        "recipe-path",
                        f"{self.module.name} has no dim {dim}",
                        f"{where}.{dim}",
                        help=f"did you mean {close[0]}?" if close else "",
                    )
