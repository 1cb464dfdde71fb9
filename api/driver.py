"""Strings the stages together: file → module → plan → program."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ..ir.core import Module
from ..ir.diagnostics import Diagnostic, Diagnostics, InputError

if TYPE_CHECKING:
    from ..backend.program import ProgramFiles
    from ..ir.plan import Plan
    from ..ir.recipe import Recipe

MODEL, RECIPE = "model.nw", "recipe.toml"
DEEP = 20_000  # frames; nested expressions are elaborated by recursion, 200 levels deep at most


@dataclass(frozen=True)
class Loaded:
    """A model file, elaborated and checked.

    Attributes:
        path: the model file.
        module: the entry, with what its sizes require.
        requirements: those requirements, a line each.
        warnings: what is not wrong, but worth saying.
        sources: the texts that messages quote.
    """

    path: Path
    module: Module
    requirements: tuple[str, ...]
    warnings: tuple[Diagnostic, ...]
    sources: Mapping[str, str]


def model_path(path: Path) -> Path:
    """The model file of a path: itself, or `model.nw` in a folder."""
    return path / MODEL if path.is_dir() else path


def load(path: Path, overrides: Mapping[str, Any] | None = None, entry: str | None = None) -> Loaded:
    """Read, elaborate and check a model file.

    Args:
        path: a model file, or a folder with a `model.nw`.
        overrides: values for dims and constants, by name.
        entry: the name of a loss or model; by default the file's last loss, else its last model.

    Raises:
        InputError: everything that is wrong with it.
    """
    from ..frontend.elaborate import check_unused_layers, elaborate
    from ..frontend.names import load as read
    from ..passes.check import check, requirements

    sys.setrecursionlimit(max(sys.getrecursionlimit(), DEEP))
    path = model_path(Path(path))
    diagnostics = Diagnostics()
    file = read(path, diagnostics)
    module = elaborate(file, diagnostics, entry, dict(overrides or {})) if file is not None else None
    if file is not None:
        reached = {i.layer for i in module.instances} if module is not None else set(file.layers)
        check_unused_layers(file, diagnostics, reached)
    if module is not None:
        module = check(module, diagnostics)
    diagnostics.raise_errors()
    assert module is not None
    warnings = tuple(d for d in diagnostics if d.severity == "warning")
    return Loaded(path, module, tuple(requirements(module)), warnings, diagnostics.sources)


def read_recipe(folder: Path) -> Recipe:
    """The recipe beside a model.

    Raises:
        InputError: everything that is wrong with it.
    """
    from ..frontend.recipe import read_recipe as read

    diagnostics = Diagnostics()
    recipe = read(Path(folder) / RECIPE, diagnostics)
    diagnostics.raise_errors()
    assert recipe is not None
    return recipe


def pipeline(print_after: Iterable[str] = ()):
    """The passes in order."""
    from ..passes.layout import Layout
    from ..passes.manager import Pipeline
    from ..passes.precision import Precision
    from ..passes.shard import Shard
    from ..passes.simplify import Simplify

    del print_after
    return Pipeline([Simplify(), Precision(), Shard(), Layout()])


def compile_module(
    module: Module, plan: Plan, print_after: Iterable[str] = (), stream: TextIO | None = None
) -> Module:
    """A module with every decision of a plan applied, ready to be written.

    Raises:
        InputError: the plan does not fit the module, or the sizes break a requirement.
    """
    from ..ir.plan import check_plan
    from ..passes.check import bind

    check_plan(module, plan)
    sizes = dict(plan.sizes)
    if set(module.free) <= set(sizes):
        bind(module, sizes)  # tests the requirements; the program stays open in its free sizes
        module = replace(module, sizes=tuple((n, sizes[n]) for n in module.free))
    return pipeline().run(module, plan, print_after=print_after, stream=stream)


def program(
    loaded: Loaded,
    recipe: Recipe,
    plan: Plan | None = None,
    print_after: Iterable[str] = (),
    stream: TextIO | None = None,
) -> ProgramFiles:
    """The files of the program that a model and a recipe make.

    Args:
        plan: a plan to be obeyed instead of the one that the recipe gives.
    """
    from ..backend.model import ModelWriter
    from ..backend.program import ProgramFiles
    from ..backend.train_script import train_script
    from ..ir.plan import module_hash
    from .planning import make_plan

    module = loaded.module
    if module.kind != "loss":
        raise InputError(
            [
                Diagnostic(
                    "no-loss",
                    f"{loaded.path} has no loss, so there is nothing to train",
                    help="loss name(…): … return mean[B](…)",
                )
            ]
        )
    plan = plan or make_plan(module, recipe)
    done = compile_module(module, plan, print_after, stream)
    model = ModelWriter(done, plan, loaded.path.name).write()
    train = train_script(recipe, module, plan, loaded.path.name)
    origin = {
        "model": module_hash(module),
        "recipe": _hash(recipe.path),
        "plan": hashlib.sha256(plan.to_json().encode()).hexdigest(),
    }
    data = {recipe.data.file.name: recipe.data.file}
    sample = recipe.data.kind == "text" and module.model is not None
    return ProgramFiles(recipe.name, model, train, plan.to_json(), origin, data, sample)


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
