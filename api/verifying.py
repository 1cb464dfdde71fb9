"""Holding a plan to what XLA makes of it: the step is compiled, never run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .compiled import Job, peaks
from .driver import compile_module
from .ir.plan import Plan

if TYPE_CHECKING:
    from .passes.planner.choose import Planned
    from .planning import Question

TRIES = 8
"""Plans that are compiled at most."""


@dataclass(frozen=True)
class Verified:
    """What compiling says of a plan.

    Attributes:
        target: what was compiled for, in words.
        peak: bytes per device.
        fits: whether the peak is within the budget.
        tries: how many plans were compiled.
        host: bytes of what goes to the host, which the compiler for CPUs counts as the device's;
            taken off the peak.
    """

    target: str
    peak: int
    fits: bool
    tries: int
    host: int = 0

    def __str__(self) -> str:
        from .passes.planner.decisions import size_text

        said = f"{size_text(self.peak)} as compiled for {self.target}"
        said += f", without {size_text(self.host)} on the host" if self.host else ""
        return said if self.tries == 1 else f"{said}; plan {self.tries} that was tried"


def verified(question: Question, target: str = "cpu") -> tuple[Planned, Verified]:
    """The best plan whose compiled peak is within the budget, or the last that was tried.

    Raises:
        InputError: nothing can be compiled for the target here.
    """
    planned, found = held(
        question.budget,
        question.answer,
        lambda plan: measured(question, [plan], target)[0],
        target,
        1 if question.given else TRIES,
    )
    if target == "cpu" and as_accelerators(question):
        found = replace(found, target="cpu, with accelerators' schedule")
    return planned, found


def held(
    budget: int,
    answer: Callable[[int], Planned],
    measure: Callable[[Plan], int],
    target: str = "cpu",
    most: int = TRIES,
) -> tuple[Planned, Verified]:
    """The first plan that holds when it is measured, or the last that was tried.

    Args:
        answer: the best plan, given how many bytes a compiled peak is above a predicted one.
        measure: the compiled peak of a plan.
        most: how many plans are tried.
    """
    short = 0
    for tries in range(1, most + 1):
        planned = answer(short)
        peak = measure(planned.plan)
        host = sum(k.bytes for k in planned.report.kept if k.offloaded) if target == "cpu" else 0
        peak -= host
        found = Verified(target, peak, peak <= budget, tries, host)
        if found.fits:
            planned = replace(planned, fits=True, advice=())
        if found.fits or not planned.fits:
            break
        short = max(short, peak - planned.report.peak + budget // 1000)
    return planned, found


def measured(question: Question, plans: Sequence[Plan], target: str = "cpu") -> list[int]:
    """The compiled peaks of plans, by one process."""
    jobs = [job(question, plan) for plan in plans]
    return peaks(jobs, target, as_accelerators=as_accelerators(question))


def as_accelerators(question: Question) -> bool:
    """Whether XLA for the CPU stands for that of a device that is none, and has its schedule."""
    return not question.device.cpu


def job(question: Question, plan: Plan) -> Job:
    """What is compiled of a plan."""
    from .backend.model import ModelWriter

    module = question.module
    done = compile_module(module, plan)
    sizes = dict(plan.sizes)
    inputs = {}
    for value in module.instances[0].variants[0].inputs:
        shape = tuple(d.size.evaluate(sizes) for (d,) in value.axes)
        dtype = {"int": "int32", "float": "float32", "bool": "bool"}[value.type.kind]
        inputs[value.label] = (shape, dtype)
    return Job(
        ModelWriter(done, plan, "model.nw").write(),
        question.optimizer,
        inputs,
        plan.microbatches,
        plan.precision.policy == "float16",
        dict(plan.mesh.axes) or None,
        question.training.frozen,
        question.training.ema,
    )
