"""Holding a plan to what XLA makes of it: the step is compiled, never run. Of blocks that are
unrolled only a few copies are, and the depth is extrapolated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from .compiled import Job, peaks
from .driver import compile_module, load
from .ir.core import Module, join
from .ir.diagnostics import InputError
from .ir.plan import Plan, find

if TYPE_CHECKING:
    from .passes.planner.choose import Planned
    from .planning import Question

SHALLOW = 2
"""Copies of an unrolled block in the shallowest model that is compiled."""

TRIES = 8
"""Plans that are compiled at most."""


@dataclass(frozen=True)
class Verified:
    """What compiling says of a plan.

    Attributes:
        target: what was compiled for.
        peak: bytes per device.
        depths: the numbers of copies that were extrapolated to, by dim; of loops none is.
        fits: whether the peak is within the budget.
        tries: how many plans were compiled.
        host: bytes of what goes to the host, which the compiler for CPUs counts as the device's;
            taken off the peak.
    """

    target: str
    peak: int
    depths: tuple[tuple[str, int], ...]
    fits: bool
    tries: int
    host: int = 0

    def __str__(self) -> str:
        from .passes.planner.choose import size_text

        how = ", ".join(f"{n} = {d}" for n, d in self.depths)
        said = f"{size_text(self.peak)} as compiled for {self.target}"
        said += f", of shallow copies of {how}" if how else ""
        said += f", without {size_text(self.host)} on the host" if self.host else ""
        return said if self.tries == 1 else f"{said}; plan {self.tries} that was tried"


def verified(question: Question, target: str = "cpu") -> tuple[Planned, Verified]:
    """The best plan whose compiled peak is within the budget, or the last that was tried.

    Raises:
        InputError: nothing can be compiled for the target here.
    """
    return held(
        question.budget, question.answer, lambda plan: measured(question, plan, target), target
    )


def held(
    budget: int,
    answer: Callable[[int], Planned],
    measure: Callable[[Plan], tuple[int, tuple[tuple[str, int], ...]]],
    target: str = "cpu",
) -> tuple[Planned, Verified]:
    """The first plan that holds when it is measured, or the last that was tried.

    Args:
        answer: the best plan, given how many bytes a compiled peak is above a predicted one.
        measure: the peak of a plan, and the depths that it was extrapolated to.
    """
    short = 0
    for tries in range(1, TRIES + 1):
        planned = answer(short)
        peak, depths = measure(planned.plan)
        host = sum(k.bytes for k in planned.report.kept if k.offloaded) if target == "cpu" else 0
        peak -= host
        found = Verified(target, peak, depths, peak <= budget, tries, host)
        if found.fits:
            planned = replace(planned, fits=True, advice=())
        if found.fits or not planned.fits:
            break
        short = max(short, peak - planned.report.peak + budget // 1000)
    return planned, found


def measured(
    question: Question, plan: Plan, target: str = "cpu"
) -> tuple[int, tuple[tuple[str, int], ...]]:
    """The compiled peak of a plan, and the depths that it was extrapolated to."""
    return measured_all(question, [plan], target)[0]


def measured_all(
    question: Question, plans: Sequence[Plan], target: str = "cpu"
) -> list[tuple[int, tuple[tuple[str, int], ...]]]:
    """The same of several plans, compiled by one process."""
    depths = [_depths(question, plan) for plan in plans]
    jobs = []
    for plan, deep in zip(plans, depths, strict=True):
        shallow = dict.fromkeys(deep, SHALLOW)
        more = [{**shallow, name: SHALLOW + 1} for name in deep]
        jobs += [job(question, plan, d) for d in (shallow, *more)]
    found = iter(peaks(jobs, target))
    rows = []
    for deep in depths:
        total = least = next(found)
        for count in deep.values():
            total += (count - SHALLOW) * (next(found) - least)
        rows.append((total, tuple(deep.items())))
    return rows


def _depths(question: Question, plan: Plan) -> dict[str, int]:
    """The dims, that can be set, along which blocks are repeated that the plan unrolls. Where they
    are a loop, all of them are compiled as fast as two."""
    found: dict[str, int] = {}
    for instance in question.module.instances:
        for child in instance.children:
            along = child.along
            if child.mode != "repeat" or along is None or not along.size.is_constant:
                continue
            decision = find(plan.roll, join(instance.path, child.name))
            if decision is not None and decision.choice == "unroll":
                found[along.name] = along.size.value
    settable = {}
    for name, count in found.items():
        if count <= SHALLOW + 1:
            continue
        try:
            module = _module(question, {name: SHALLOW})
        except InputError:
            continue
        dims = [c.along for i in module.instances for c in i.children]
        sizes = {d.size for d in dims if d is not None and d.name == name}
        if all(s.is_constant and s.value == SHALLOW for s in sizes):
            settable[name] = count
    return settable


def _module(question: Question, depths: Mapping[str, int]) -> Module:
    if not depths:
        return question.module
    settings = {**dict(question.settings), **depths}
    return load(question.loaded.path, settings, question.module.name).module


def job(question: Question, plan: Plan, depths: Mapping[str, int] = MappingProxyType({})) -> Job:
    """What is compiled of a plan, with other depths where they are given."""
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
