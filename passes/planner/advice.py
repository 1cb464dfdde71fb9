"""What would be enough where no plan fits: each is tried with the model of memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from math import prod

from ...ir.core import Module, leading
from ...ir.optimizers import OPTIMIZERS
from ...ir.plan import Plan
from ..memory.model import MemoryReport, Training, predict

HALF = "mu_dtype"
"""The option by which one of an optimizer's arrays can be in bfloat16."""


def enough(
    apply: Callable[[Plan], Module],
    plan: Plan,
    training: Training,
    report: MemoryReport,
    room: int,
    batch: int,
) -> Iterable[str]:
    """What would bring a plan below a number of bytes, each by itself.

    Args:
        plan: that takes the least, with its decisions.
        report: what it takes.
        room: bytes per device.
        batch: size of the whole batch, 0 if it has none.
    """

    def peak(plan: Plan, training: Training) -> int:
        return predict(apply(plan), plan, training).peak

    devices = -(-report.peak // room)
    many = f"{devices - 1} more devices" if devices > 2 else "a second device"
    if plan.mesh.size() > 1:
        many = f"about {devices} times as many devices"
    yield f"{many}, with parameters and batch spread over all"
    names, axes = leading(apply(plan)), dict(plan.mesh.axes)
    along = {a for name, spread in plan.mesh.values if name in names for a in spread}
    parts = plan.microbatches * prod(axes[a] for a in along)  # that divide every batch
    if batch // parts > 1:

        def smaller(size: int) -> Plan:
            sizes = tuple((n, size * parts if n in names else s) for n, s in plan.sizes)
            return replace(plan, sizes=sizes)

        fits, not_fits = 0, batch // parts
        while not_fits - fits > max(1, fits // 8):
            middle = (fits + not_fits) // 2
            if peak(smaller(middle), training) <= room:
                fits = middle
            else:
                not_fits = middle
        if fits:
            yield f"a batch of {fits * parts} instead of {batch}"
    optimizer = training.optimizer
    name, options = optimizer[0] if optimizer else ("", ())
    if HALF in OPTIMIZERS.get(name, {}) and HALF not in dict(options):
        half = ((name, (*options, (HALF, "bfloat16"))), *optimizer[1:])
        if peak(plan, replace(training, optimizer=half)) <= room:
            yield f'optimizer state in bfloat16: {HALF} = "bfloat16" in [optimizer]'
