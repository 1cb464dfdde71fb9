"""Strings the stages together: file → module → plan → program."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from .ir.core import Module
from .ir.diagnostics import Diagnostic, Diagnostics, InputError, nearest

if TYPE_CHECKING:
    from .backend.program import ProgramFiles
    from .frontend.builder.layers import PythonLayer
    from .frontend.names import SourceFile
    from .frontend.recipe.fit import Fit
    from .ir.hardware import Hardware
    from .ir.plan import Plan
    from .ir.recipe import Recipe
    from .passes.manager import Pipeline

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
        losses: those that the file has, by name.
    """

    path: Path
    module: Module
    requirements: tuple[str, ...]
    warnings: tuple[Diagnostic, ...]
    sources: Mapping[str, str]
    losses: tuple[str, ...] = ()


def model_path(path: Path) -> Path:
    """The model file of a path: itself, or `model.nw` in a folder."""
    return path / MODEL if path.is_dir() else path


def load(
    path: Path, overrides: Mapping[str, Any] | None = None, entry: str | None = None
) -> Loaded:
    """Read, elaborate and check a model file.

    Args:
        path: a model file, or a folder with a `model.nw`.
        overrides: values for dims and constants, by name.
        entry: the name of a loss or model; by default the file's last loss, else its last model.

    Raises:
        InputError: everything that is wrong with it.
    """
    from .frontend.names import load as read

    path = model_path(Path(path))
    diagnostics = Diagnostics()
    file = read(path, diagnostics)
    if file is None:
        raise InputError(diagnostics.errors, diagnostics.sources)
    return _checked(path, file, diagnostics, entry, overrides)


def load_python(entry: PythonLayer, overrides: Mapping[str, Any] | None = None) -> Loaded:
    """Run, elaborate and check a loss or model that is written in Python.

    Args:
        entry: the decorated function.
        overrides: values for dims and constants, by name.

    Raises:
        InputError: everything that is wrong with it.
    """
    from .frontend.builder.assembly import source_file
    from .frontend.builder.wording import told

    diagnostics = Diagnostics()
    file, name, unbound = source_file(entry, diagnostics, overrides)
    assert file.path is not None
    try:
        return _checked(file.path, file, diagnostics, name, overrides)
    except InputError as error:
        raise InputError([told(d, unbound) for d in error.diagnostics], error.sources) from None


def in_python(path: Path) -> str:
    """A model file in the notation of Python; comments are not kept.

    Raises:
        InputError: it cannot be read.
    """
    from .frontend.builder.printer import to_python
    from .frontend.names import load as read
    from .frontend.parser import parse

    path = model_path(Path(path))
    diagnostics = Diagnostics()
    read(path, diagnostics)
    diagnostics.raise_errors()
    file = parse(diagnostics.sources[str(path)], str(path), diagnostics)
    assert file is not None
    return to_python(file, {p.stem for p in path.parent.glob("*.nw")})


def _checked(
    path: Path,
    file: SourceFile,
    diagnostics: Diagnostics,
    entry: str | None,
    overrides: Mapping[str, Any] | None,
) -> Loaded:
    """Elaborate and check a file."""
    from .frontend.elaborate import check_unused_layers, elaborate
    from .passes.check import check, requirements

    sys.setrecursionlimit(max(sys.getrecursionlimit(), DEEP))
    module = elaborate(file, diagnostics, entry, dict(overrides or {}))
    check_unused_layers(file, diagnostics)
    if module is not None:
        try:
            module = check(module)
        except InputError as error:
            diagnostics.found += error.diagnostics
    diagnostics.raise_errors()
    assert module is not None
    warnings = tuple(d for d in diagnostics if d.severity == "warning")
    losses = tuple(name for name, layer in file.layers.items() if layer.kind == "loss")
    required = tuple(requirements(module))
    return Loaded(path, module, required, warnings, diagnostics.sources, losses)


def read_recipe(path: Path, overrides: Sequence[str] = (), data_in_python: bool = False) -> Recipe:
    """A recipe, from its file or the folder that it is in.

    Args:
        path: the file or folder.
        overrides: such as `train.steps=100`; see `frontend.recipe.reader.read_recipe`.
        data_in_python: whether data are given apart from the recipe.

    Raises:
        InputError: everything that is wrong with it.
    """
    from .frontend.recipe.reader import read_recipe as read

    diagnostics = Diagnostics()
    path = Path(path)
    file = path / RECIPE if path.is_dir() else path
    recipe = read(file, diagnostics, overrides, data_in_python)
    diagnostics.raise_errors()
    assert recipe is not None
    return recipe


def new_recipe(
    path: Path, overrides: Mapping[str, Any] | None = None, entry: str | None = None
) -> tuple[Path, tuple[str, ...]]:
    """Write a recipe to begin with beside a model.

    Args:
        path: a model file, or a folder with a `model.nw`.
        overrides: values for dims and constants, by name.
        entry: the name of a loss; by default the file's last.

    Returns:
        Where it is, and what must still be filled in.

    Raises:
        InputError: the model is wrong or has no loss, or there is a recipe already.
    """
    from .frontend.recipe.template import template

    loaded = load(path, overrides, entry)
    file = loaded.path.parent / RECIPE
    _must_be_loss(loaded)
    made = template(loaded.module, loaded.path.parent)
    try:
        with file.open("x", encoding="utf-8") as out:
            out.write(made.text)
    except FileExistsError:
        problem = Diagnostic(
            "recipe-there", f"{file} is there already", help="move it away for a new one"
        )
        raise InputError([problem]) from None
    return file, made.missing


def no_loss(loaded: Loaded) -> list[Diagnostic]:
    """What is said of an entry that is a model, which cannot be trained."""
    if loaded.module.kind == "loss":
        return []
    what, help = f"{loaded.path} has no loss", "loss name(…): … return mean[B](…)"
    if loaded.losses:
        what, help = f"{loaded.module.name} is a model", "a loss: " + ", ".join(loaded.losses)
    return [Diagnostic("no-loss", f"{what}, so there is nothing to train", help=help)]


def _must_be_loss(loaded: Loaded) -> None:
    if problems := no_loss(loaded):
        raise InputError(problems)


def pipeline() -> Pipeline:
    """The passes in order."""
    from .passes.chunk import Chunk
    from .passes.layout import Layout
    from .passes.manager import Pipeline
    from .passes.precision import Precision
    from .passes.remat import Remat
    from .passes.shard import Shard
    from .passes.simplify import Simplify

    return Pipeline([Simplify(), Chunk(), Precision(), Shard(), Remat(), Layout()])


def compile_module(
    module: Module, plan: Plan, print_after: Iterable[str] = (), stream: TextIO | None = None
) -> Module:
    """A module with every decision of a plan applied, ready to be written.

    Raises:
        InputError: the plan does not fit the module, or the sizes break a requirement.
    """
    from .ir.plan import check_plan
    from .passes.check import bind

    check_plan(module, plan)
    sizes = dict(plan.sizes)
    if set(module.free) <= set(sizes):
        bind(module, sizes)  # tests the requirements; the program stays open in its free sizes
        module = replace(module, sizes=tuple((n, sizes[n]) for n in module.free))
    return pipeline().run(module, plan, print_after=print_after, stream=stream)


def compile_up_to(
    loaded: Loaded, last: str | None, print_after: Iterable[str] = (), plan: Plan | None = None
) -> Module:
    """The module as it is after a pass, by default the last one.

    Raises:
        InputError: there is no such pass.
    """
    from .ir.plan import Plan

    line = pipeline()
    names = [p.name for p in line.passes]
    for name in (*print_after, *([last] if last is not None else [])):
        if name not in names:
            close = nearest(name, names)
            help = f"did you mean {close[0]}?" if close else ""
            problem = Diagnostic(
                "unknown-pass", f"no pass is called {name}", facts=(", ".join(names),), help=help
            )
            raise InputError([problem])
    if last is not None:
        line.passes = line.passes[: names.index(last) + 1]
    return line.run(loaded.module, plan or Plan(), print_after=print_after)


def read_plan(path: Path) -> Plan:
    """The plan in a file.

    Raises:
        InputError: it is none.
    """
    from .frontend.names import decoded
    from .ir.plan import Plan

    diagnostics = Diagnostics()
    text = decoded(path.read_bytes(), diagnostics, str(path))
    diagnostics.raise_errors()
    assert text is not None
    return Plan.from_json(text, str(path))


def program_of(
    folder: Path,
    overrides: Mapping[str, Any] | None = None,
    plan_file: Path | None = None,
    print_after: Iterable[str] = (),
) -> ProgramFiles:
    """The files of the program that a folder with a model and a recipe makes.

    Args:
        folder: the folder.
        overrides: values for dims and constants, by name.
        plan_file: a `plan.json` to be obeyed instead of the plan that the recipe gives.
        print_after: passes after which what they changed is printed.

    Raises:
        InputError: everything that is wrong with what a person wrote.
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "there is no such folder"
        raise InputError(
            [
                Diagnostic(
                    "no-folder", f"{folder}: {what}", help=f"a folder with {MODEL} and {RECIPE}"
                )
            ]
        )
    problems: list[Diagnostic] = []
    sources: dict[str, str] = {}
    try:
        recipe = read_recipe(folder)
    except InputError as error:
        problems, sources = list(error.diagnostics), error.sources
    try:
        loaded = load(folder, overrides, recipe.loss if not problems else None)
    except InputError as error:  # one run reports every independent mistake
        raise InputError([*problems, *error.diagnostics], {**sources, **error.sources}) from None
    if problems:
        raise InputError(problems, sources)
    plan = read_plan(plan_file) if plan_file is not None else None
    return program(loaded, recipe, plan, print_after)


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
        print_after: passes after which what they changed is printed to `stream`.

    Raises:
        InputError: the recipe or the plan does not fit the model.
    """
    from .backend.batches import inputs_of
    from .backend.model import ModelWriter
    from .backend.program import ProgramFiles
    from .backend.train_script import train_script
    from .datafiles import counted, to_copy
    from .frontend.recipe.fit import fit
    from .ir.flops import training_flops
    from .ir.hardware import peaks
    from .ir.plan import module_hash

    module = loaded.module
    _must_be_loss(loaded)
    diagnostics = Diagnostics(dict(loaded.sources))
    diagnostics.sources[recipe.file] = Path(recipe.file).read_text()
    fitted = fit(recipe, module, diagnostics)
    diagnostics.raise_errors()
    assert fitted is not None
    if plan is None and recipe.memory.asked:
        from .planning import planned_for

        plan = planned_for(loaded, recipe)
    if plan is None:
        plan = replace(recipe.plan(dict(fitted.sizes)), model=module_hash(module))
    recipe, fitted = obeying(plan, loaded, recipe, diagnostics)
    try:
        done = compile_module(module, plan, print_after, stream)
    except InputError as error:
        raise InputError(error.diagnostics, {**diagnostics.sources, **error.sources}) from None
    name = recipe.name or Path(recipe.file).resolve().parent.name
    source = loaded.path.name
    inputs = inputs_of(module, dict(fitted.sizes), dict(fitted.fields), dict(fitted.ids))
    data = to_copy(recipe, diagnostics)
    train = train_script(
        counted(recipe, inputs, diagnostics),
        name=name,
        entry=module.name,
        inputs=inputs,
        chosen=fitted.chosen,
        microbatches=plan.microbatches,
        source=source,
        flops=training_flops(module, dict(plan.sizes)),
        peak=_peak(recipe, plan.precision.policy, diagnostics.sources),
    )
    text = plan.to_json()
    origin = {
        "model": module_hash(module),
        "recipe": hashlib.sha256(diagnostics.sources[recipe.file].encode()).hexdigest(),
        "plan": hashlib.sha256(text.encode()).hexdigest(),
    }
    return ProgramFiles(
        name,
        ModelWriter(done, plan, source).write(),
        train,
        text,
        origin,
        data,
        _speaks(recipe) and module.model is not None,
        (*recipe.data.packages(), *(["tensorboardX>=2.6"] if recipe.train.tensorboard else [])),
        peaks(plan.precision.policy),
        tuple(d for d in diagnostics if d.severity == "warning"),
    )


def obeying(
    plan: Plan, loaded: Loaded, recipe: Recipe, diagnostics: Diagnostics
) -> tuple[Recipe, Fit]:
    """A recipe with the microbatches of a plan, and how it fits the model then.

    Raises:
        InputError: the plan contradicts the recipe, or does not fit the model.
    """
    from .frontend.recipe.fit import fit
    from .ir.placement import verify
    from .ir.plan import check_plan

    recipe = replace(recipe, train=replace(recipe.train, microbatches=plan.microbatches))
    fitted = fit(recipe, loaded.module, diagnostics)
    diagnostics.raise_errors()
    assert fitted is not None
    diagnostics.found += verify(loaded.module, plan, recipe.places)
    diagnostics.raise_errors()
    try:
        diagnostics.found += check_plan(loaded.module, plan, fitted.sizes)
    except InputError as error:
        raise InputError(error.diagnostics, {**diagnostics.sources, **error.sources}) from None
    return recipe, fitted


def _peak(recipe: Recipe, dtype: str, sources: Mapping[str, str]) -> float | None:
    """Operations a second of one device, where the recipe says what that is."""
    named = recipe.train.peak
    if not isinstance(named, str):
        return named
    try:
        return device_of(recipe, "train.peak", named).flops(dtype)
    except InputError as error:
        raise InputError(error.diagnostics, sources) from None


def device_of(recipe: Recipe, key: str, name: str) -> Hardware:
    """The device that a recipe names at a key; a TOML file is looked for beside the recipe."""
    from .ir.hardware import hardware

    named = str(recipe.beside(name)) if name.endswith(".toml") else name
    return hardware(named, recipe.place(key))


def _speaks(recipe: Recipe) -> bool:
    """Whether what a model of these data gives can be read as text."""
    data = recipe.data
    return data.kind == "text" or (data.kind == "tokens" and data.tokenizer is not None)
