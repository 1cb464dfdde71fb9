"""`netwright plan`: what a training step takes, what is kept for the gradient, and what it costs.

From what a person gives it makes one `Question`, and from that one `Planned`, which every report
(`planned`, `report`) is written from.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .driver import (
    RECIPE,
    Loaded,
    compile_module,
    device_of,
    load,
    no_loss,
    obeying,
    pipeline,
    read_recipe,
)
from .ir.core import Module, leading
from .ir.diagnostics import Diagnostic, Diagnostics, InputError, Span
from .ir.plan import Decision, Plan, Precision, check_plan, inherited, module_hash

if TYPE_CHECKING:
    from .ir.hardware import Hardware
    from .ir.recipe import Recipe
    from .passes.memory.model import Training
    from .passes.planner.choose import Planned

UNCOUNTED = 10**6
"""Steps of a training that is counted in epochs, for schedules: their number takes no memory."""

DEVICE = "h100"
"""The device that is planned for when none is named."""

MOST_MEMORY = 2**63


@dataclass(frozen=True)
class Question:
    """What is to be planned.

    Attributes:
        loaded: the model.
        plan: what is decided already; its sizes are those of the whole batch.
        training: optimizer and the like.
        optimizer: source of a module whose `optimizer()` is that of optax.
        device, budget: what it is to run on, and the bytes that it may take of one device.
        batch: the size of the whole batch.
        given: whether the plan decides all, so that no other is looked for.
        warnings: what is not wrong, but worth saying.
    """

    loaded: Loaded
    plan: Plan
    training: Training
    optimizer: str
    device: Hardware
    budget: int
    batch: int
    given: bool = False
    warnings: tuple[Diagnostic, ...] = ()

    @property
    def module(self) -> Module:
        """The model, elaborated."""
        return self.loaded.module

    def answer(self, short: int | None = None) -> Planned:
        """The best plan; `short` is by how many bytes compiled peaks are above predicted ones."""
        from .passes.chunk import chunkable
        from .passes.planner.choose import choose
        from .passes.planner.given import given

        def apply(plan: Plan) -> Module:
            return compile_module(self.module, plan)

        if self.given:
            return given(apply, self.plan, self.training, self.device, self.budget, short)
        line = pipeline()
        line.passes = line.passes[:1]  # simplified, as cutting finds it
        return choose(
            apply,
            self.plan,
            self.training,
            self.device,
            self.budget,
            self.batch,
            short,
            chunkable(line.run(self.module, self.plan), self.plan),
        )

    def written(self, plan: Plan) -> Plan:
        """A plan as programs are made by it: with the sizes of one microbatch."""
        names = leading(self.module)
        sizes = tuple((n, s // plan.microbatches if n in names else s) for n, s in plan.sizes)
        return replace(plan, sizes=sizes, model=module_hash(self.module))


def memory_bytes(text: str, span: Span | None = None) -> int:
    """Bytes of a text such as `16GiB`, `80GB`, `500 MB`; without a unit they are bytes.

    Raises:
        InputError: it says no amount.
    """
    count = 0
    if match := re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgtp]?)(i?)b?\s*", text.lower()):
        power = " kmgtp".index(match[2] or " ")
        count = int(Fraction(match[1]) * (1024 if match[3] else 1000) ** power)
    if not 1 <= count < MOST_MEMORY:
        problem = Diagnostic(
            "memory-amount", f"{text!r} is no amount of memory", span, help="16GiB, or 80GB"
        )
        raise InputError([problem])
    return count


def of_folder(
    folder: Path,
    settings: Mapping[str, Any],
    memory: str | None = None,
    device: str | None = None,
    decided: Plan | None = None,
) -> Question:
    """The question of a folder with a model and a recipe.

    Args:
        decided: a plan that is obeyed as it is.

    Raises:
        InputError: everything that is wrong with what a person wrote.
    """
    recipe = read_recipe(folder)
    return of_recipe(load(folder, settings, recipe.loss), recipe, memory, device, decided)


def of_recipe(
    loaded: Loaded,
    recipe: Recipe,
    memory: str | None = None,
    device: str | None = None,
    decided: Plan | None = None,
) -> Question:
    """The question of a model and a recipe, whose `[memory]` says what is not given here."""
    from .backend.optimizer_script import OptimizerScript
    from .frontend.recipe.fit import fit
    from .ir.hardware import hardware as hardware_named
    from .passes.memory.model import Training

    diagnostics = Diagnostics(dict(loaded.sources))
    diagnostics.sources[recipe.file] = Path(recipe.file).read_text()
    if decided is not None:
        recipe, _ = obeying(decided, loaded, recipe, diagnostics)
    fitted = fit(recipe, loaded.module, diagnostics)
    diagnostics.raise_errors()
    assert fitted is not None
    names = leading(loaded.module)
    parts = recipe.train.microbatches
    sizes = {n: s * parts if n in names else s for n, s in fitted.sizes}
    training = Training.of(recipe, fitted.chosen)
    counted = replace(recipe, train=replace(recipe.train, steps=recipe.train.steps or UNCOUNTED))
    optimizer = OptimizerScript(counted, fitted.chosen).module()
    try:
        if device is None and recipe.memory.device is not None:
            hardware = device_of(recipe, "memory.device", recipe.memory.device)
        else:
            hardware = hardware_named(device or DEVICE)
        span = None if memory else recipe.place("memory.budget")
        budget = _budget(memory or recipe.memory.budget, hardware, span)
    except InputError as error:
        raise InputError(error.diagnostics, diagnostics.sources) from None
    plan = replace(decided or recipe.plan(), sizes=tuple(sizes.items()))
    return Question(
        loaded, plan, training, optimizer, hardware, budget, recipe.train.batch,
        decided is not None, tuple(d for d in diagnostics if d.severity == "warning"),
    )  # fmt: skip


def of_model(
    path: Path,
    settings: Mapping[str, Any],
    memory: str | None = None,
    device: str | None = None,
    entry: str | None = None,
    optimizer: str = "adamw",
    precision: str | None = None,
    decided: Plan | None = None,
) -> Question:
    """The question of a model file: its free dims are given with the settings.

    Args:
        decided: sizes, a mesh and a precision, where the others do not say otherwise. With
            decisions on what is kept it is obeyed as it is.

    Raises:
        InputError: everything that is wrong, and free dims without a size, by name.
    """
    from .ir.hardware import hardware as hardware_named
    from .ir.optax_options import PRECISION
    from .ir.optimizers import CONTRIB, OPTIMIZERS
    from .ir.placement import verify
    from .ir.plan import POLICIES
    from .passes.memory.model import Training

    decided = decided or Plan()
    unbound = load(path, {}, entry).module
    free, names = unbound.free, leading(unbound)
    parts = decided.microbatches
    sizes = {n: s * parts if n in names else s for n, s in decided.sizes}
    sizes |= {n: v for n, v in settings.items() if n in free}
    settings = {n: v for n, v in settings.items() if n not in free}
    loaded = load(path, settings, entry)
    problems = []
    missing = [n for n in loaded.module.free if n not in sizes]
    if missing:
        problems.append(
            Diagnostic(
                "size-unbound",
                f"a plan needs numbers, and {', '.join(missing)} "
                f"{'has' if len(missing) == 1 else 'have'} none",
                help=" ".join(f"--set {n}=…" for n in missing),
            )
        )
    for name, value in sizes.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            problems.append(Diagnostic("size-value", f"{name} = {value} is no size"))
    if optimizer not in OPTIMIZERS:
        problems.append(_unknown("optimizer", optimizer, OPTIMIZERS))
    policy = PRECISION.also.get(precision, precision) if precision else decided.precision.policy
    if policy not in POLICIES:
        problems.append(_unknown("precision", policy, POLICIES))
    problems += no_loss(loaded)
    if problems:
        raise InputError(problems)
    hardware = hardware_named(device or DEVICE)
    budget = _budget(memory, hardware)
    chosen = Precision(policy, decided.precision.overrides)
    plan = replace(decided, sizes=tuple(sizes.items()), precision=chosen)
    warnings = check_plan(loaded.module, plan)
    if wrong := verify(loaded.module, plan):
        raise InputError(wrong)
    batch = next((sizes[n] for n in leading(loaded.module)), 0)
    training = Training(((optimizer, ()),))
    call = f"optax.{'contrib.' if optimizer in CONTRIB else ''}{optimizer}(1e-3)"
    source = f"import optax\nimport optax.contrib\n\n\ndef optimizer():\n    return {call}\n"
    given = bool(plan.remat or plan.groups or plan.loss_chunks)
    return Question(
        loaded, plan, training, source, hardware, budget, batch, given, warnings
    )  # fmt: skip


def planned_for(loaded: Loaded, recipe: Recipe) -> Plan:
    """The plan that the `[memory]` of a recipe asks for.

    Raises:
        InputError: nothing fits, with what would be enough.
    """
    question = of_recipe(loaded, recipe)
    planned = question.answer()
    if not planned.fits:
        from .passes.planner.decisions import size_text

        problem = Diagnostic(
            "memory-budget",
            f"a step takes {size_text(planned.report.peak)} with as little kept as can be, and may "
            f"take {size_text(planned.budget)}",
            recipe.place("memory.budget"),
            facts=("what would be enough:", *planned.advice),
        )
        raise InputError([problem], {recipe.file: Path(recipe.file).read_text()})
    return question.written(planned.plan)


def _unknown(what: str, name: str, known: Any) -> Diagnostic:
    from .ir.diagnostics import nearest

    close = nearest(name, known)
    return Diagnostic(
        f"{what}-unknown",
        f"no {what} is called {name!r}",
        help=f"did you mean {close[0]}?" if close else ", ".join(known),
    )


def _budget(memory: str | None, device: Hardware, span: Span | None = None) -> int:
    return device.memory if memory is None else memory_bytes(memory, span)


def has_recipe(path: Path) -> bool:
    """Whether a path is a folder with a recipe."""
    return (path / RECIPE).exists()


# Two plans


def difference(a: Plan, b: Plan) -> list[str]:
    """What differs between two plans, a line each: what was, and what is."""
    lines = []
    if a.model != b.model and a.model and b.model:
        lines.append("they are for different models, or for one that has changed")
    if a.microbatches != b.microbatches:
        lines.append(f"microbatches: {a.microbatches} -> {b.microbatches}")
    for what, left, right in (
        ("sizes", dict(a.sizes), dict(b.sizes)),
        ("mesh.axes", dict(a.mesh.axes), dict(b.mesh.axes)),
        ("mesh.values", dict(a.mesh.values), dict(b.mesh.values)),
        ("mesh.params", dict(a.mesh.params), dict(b.mesh.params)),
        ("precision", {"policy": a.precision.policy}, {"policy": b.precision.policy}),
    ):
        for name in dict.fromkeys((*left, *right)):
            if left.get(name) != right.get(name):
                was, now = (_said(t.get(name)) for t in (left, right))
                lines.append(f"{what}.{name}: {was} -> {now}")
    before = {(s, d.key): d for s, d in a.decisions()}
    after = {(s, d.key): d for s, d in b.decisions()}
    for section, key in dict.fromkeys((*before, *after)):
        old, new = before.get((section, key)), after.get((section, key))
        if (old and old.choice) != (new and new.choice):
            lines.append(
                f"{section} {key}: {_choice(a, section, old, key)} -> "
                f"{_choice(b, section, new, key)}" + _why(new)
            )
    return lines


def _choice(plan: Plan, section: str, decision: Decision | None, key: str) -> str:
    if decision is not None:
        return _said(decision.choice)
    if section == "remat":
        around = inherited(plan.remat, key)
        return around.choice if around and isinstance(around.choice, str) else "save"
    return "none"


def _why(decision: Decision | None) -> str:
    return f"   ({decision.reason})" if decision is not None and decision.reason else ""


def _said(value: Any) -> str:
    if isinstance(value, tuple):
        return json.dumps({d: list(axes) for d, axes in value}) if value else "whole"
    return "none" if value is None else str(value)
