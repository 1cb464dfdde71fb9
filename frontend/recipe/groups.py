"""Which parameters of a model a recipe means: those frozen, those of a group, those that decay."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from ...ir.core import join
from ...ir.diagnostics import nearest
from ...ir.matrices import Axes, matrices
from ...ir.paths import meant, under
from ...ir.recipe import Recipe
from ...ir.recipe_optimizer import Chosen, Optimizer

if TYPE_CHECKING:
    from ...ir.core import Module


def choose(recipe: Recipe, module: Module, error: Callable[..., None]) -> Chosen:
    """Find the parameters that the keys of a recipe mean.

    Args:
        recipe: the recipe.
        module: the entry to be trained.
        error: reports a mistake: (code, message, the key's name, facts=…, help=…).
    """
    return _Chooser(recipe, module, error).choose()


class _Chooser:
    def __init__(self, recipe: Recipe, module: Module, error: Callable[..., None]):
        self.recipe, self.module, self.error = recipe, module, error
        held = [(join(i.path, p.name), len(p.order)) for i in module.instances for p in i.params]
        self.dims = dict(held)
        """For each parameter how many dims it has, copies of a repeat apart."""

    def choose(self) -> Chosen:
        frozen = self._meant(self.recipe.train.freeze, "train.freeze")
        still = set(under(frozen, self.dims))
        trained = [path for path in self.dims if path not in still]
        if self.dims and not trained:
            self.error("recipe-freeze", "no parameter is left to be trained", "train.freeze")
        left, undecayed = list(trained), set()
        groups: list[tuple[str, tuple[str, ...]]] = []
        for name, group in self.recipe.groups:
            mine = under(self._meant(group.on, f"groups.{name}.on"), trained)
            paths = [path for path in mine if path in left]
            if mine and not paths:
                self._taken(name, mine, groups)
            elif not mine and under(self._quietly(group.on), self.dims):
                self.error(
                    "recipe-group",
                    f"every parameter of the group {name} is frozen",
                    f"groups.{name}.on",
                )
            left = [path for path in left if path not in paths]
            groups.append((name, tuple(paths)))
            optimizer = group.optimizer(self.recipe.optimizer)
            undecayed |= self._undecayed(optimizer, paths, f"groups.{name}.decay_on")
        rest = self.recipe.optimizer
        mine = trained if rest.decays_beside else left  # [optimizer] before is for all parameters
        undecayed |= self._undecayed(rest, mine, "optimizer.decay_on")
        ordered = tuple(path for path in trained if path in undecayed)
        return Chosen(
            tuple(frozen),
            tuple(groups),
            ordered,
            bool(left) or not trained,
            self._matrices(trained),
        )

    def _matrices(self, trained: list[str]) -> tuple[tuple[str, Axes], ...]:
        names = {self.recipe.optimizer.name, *(group.name for _, group in self.recipe.groups)}
        known = matrices(self.module) if "muon" in names else {}
        return tuple((path, known[path]) for path in trained if path in known)

    def _undecayed(self, optimizer: Optimizer, paths: list[str], place: str) -> set[str]:
        """Those of some paths that an optimizer shrinks not, though it shrinks others."""
        on = optimizer.decay_on
        if on == "all" or not optimizer.decays:
            return set()
        if on == "matrices":
            return {path for path in paths if self.dims[path] < 2}
        own = self.recipe.place(place) is not None  # what is inherited is reported once
        return set(paths) - set(under(self._meant(on, place) if own else self._quietly(on), paths))

    def _taken(self, name: str, paths: list[str], groups: list) -> None:
        before = next(n for n, held in groups if paths[0] in held)
        self.error(
            "recipe-group",
            f"every parameter of the group {name} is in a group before it",
            f"groups.{name}.on",
            facts=(f"{paths[0]} is in {before}; a parameter is in the first group that names it",),
            help=f"put [groups.{name}] before [groups.{before}]",
        )

    def _quietly(self, patterns: Iterable[str]) -> list[str]:
        return [name for pattern in patterns for name in meant(pattern, self.dims)]

    def _meant(self, patterns: str | Iterable[str], place: str) -> list[str]:
        """What patterns name; those that name nothing are reported."""
        found: dict[str, None] = {}
        for index, pattern in enumerate(patterns):
            names = meant(pattern, self.dims)
            found |= dict.fromkeys(names)
            if names:
                continue
            parts = [path.split(".") for path in self.dims]
            known = {".".join(path[:n]) for path in parts for n in range(1, len(path) + 1)}
            close = nearest(pattern, sorted(known))
            self.error(
                "recipe-path",
                f"{self.module.name} has no parameters under {pattern}",
                f"{place}.{index}",
                facts=() if close or len(self.dims) > 12
                else (f"its parameters are {', '.join(self.dims)}",),
                help=f'"{close[0]}"' if close else "",
            )  # fmt: skip
        return list(found)
