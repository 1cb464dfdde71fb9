"""Holding a plan to what XLA makes of it: shallow copies of the model are compiled, and the depth
is extrapolated, in which memory is linear under `lax.scan`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .compiled import Job, peaks
from .driver import compile_module, load
from .ir.core import Module
from .ir.diagnostics import InputError
from .ir.plan import Plan

if TYPE_CHECKING:
    from .passes.planner.choose import Planned
    from .planning import Question

SHALLOW = 2
"""Copies of a block in the shallowest model that is compiled."""

TRIES = 6


@dataclass(frozen=True)
class Verified:
    """What compiling says of a plan.

    Attributes:
        target: what was compiled for.
        peak: bytes per device.
        depths: the numbers of copies that were compiled, by dim; empty for the model as it is.
        fits: whether the peak is within the budget.
        tries: how many plans were compiled.
    """

    target: str
    peak: int
    depths: tuple[tuple[str, int], ...]
    fits: bool
    tries: int

    def __str__(self) -> str:
        from .passes.planner.choose import size_text

        how = ", ".join(f"{n} = {SHALLOW} and {SHALLOW + 1} instead of {d}" for n, d in self.depths)
        said = f"{size_text(self.peak)} as compiled for {self.target}"
        said += f", {how}" if how else ""
        return said if self.tries == 1 else f"{said}; plan {self.tries} that was tried"


def verified(question: Question, target: str = "cpu") -> tuple[Planned, Verified]:
    """The best plan whose compiled peak is within the budget, or the last that was tried.

    Raises:
        InputError: nothing can be compiled for the target here.
    """
    from .passes.planner.choose import MARGIN

    short = -int(MARGIN * question.budget)  # compiling needs no margin
    for tries in range(1, TRIES + 1):
        planned = question.answer(short)
        peak, depths = measured(question, planned.plan, target)
        found = Verified(target, peak, depths, peak <= question.budget, tries)
        if found.fits:
            planned = replace(planned, fits=True, advice=())
        if found.fits or not planned.fits:
            break
        short += peak - question.budget + question.budget // 1000
    return planned, found


def measured(
    question: Question, plan: Plan, target: str = "cpu"
) -> tuple[int, tuple[tuple[str, int], ...]]:
    """The compiled peak of a plan, and the depths that it was extrapolated to."""
    deep = _depths(question)
    shallow = dict.fromkeys(deep, SHALLOW)
    depths = [shallow, *({**shallow, name: SHALLOW + 1} for name in deep)] if deep else [{}]
    found = peaks([_job(question, plan, d) for d in depths], target)
    total = found[0]
    for more, count in zip(found[1:], deep.values(), strict=True):
        total += (count - SHALLOW) * (more - found[0])
    return total, tuple(deep.items())


def _depths(question: Question) -> dict[str, int]:
    """The dims along which blocks are repeated, that can be set, and how many copies there are."""
    found: dict[str, int] = {}
    for instance in question.module.instances:
        for child in instance.children:
            along = child.along
            if child.mode != "repeat" or along is None or not along.size.is_constant:
                continue
            if along.size.value > SHALLOW + 1:
                found.setdefault(along.name, along.size.value)
    settable = {}
    for name, count in found.items():
        try:
            module = _module(question, {name: SHALLOW})
        except InputError:
            continue
        dims = [c.along for i in module.instances for c in i.children]
        sizes = {d.size for d in dims if d is not None and d.name == name}
        if all(s.is_constant and s.value == SHALLOW for s in sizes):
            settable[name] = count
    return settable


def _module(question: Question, depths: dict[str, int]) -> Module:
    if not depths:
        return question.module
    settings = {**dict(question.settings), **depths}
    return load(question.loaded.path, settings, question.module.name).module


def _job(question: Question, plan: Plan, depths: dict[str, int]) -> Job:
    from .backend.model import ModelWriter

    module = _module(question, depths)
    done = compile_module(module, plan)
    sizes = dict(plan.sizes)
    inputs = {}
    for value in module.instances[0].variants[0].inputs:
        shape = tuple(d.size.evaluate(sizes) for (d,) in value.axes)
        dtype = {"int": "int32", "float": "float32", "bool": "bool"}[value.type.kind]
        inputs[value.label] = (shape, dtype)
    training = question.training
    return Job(
        ModelWriter(done, plan, "model.nw").write(),
        tuple((name, dict(options)) for name, options in training.functions("")),
        inputs,
        plan.microbatches,
        plan.precision.policy == "float16",
        dict(plan.mesh.axes) or None,
        training.frozen,
        training.ema,
    )
