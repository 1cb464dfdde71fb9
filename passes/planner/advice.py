"""What would be enough where no plan fits: each is tried with the model of memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from math import prod

from ...ir.core import Module, leading
from ...ir.optimizers import OPTIMIZERS
from ...ir.plan import Mesh, Plan
from ..memory.model import MemoryReport, Training, predict

HALF = "mu_dtype"
"""The option by which one of an optimizer's arrays can be in bfloat16."""

AXIS = "data"
"""The axis of the meshes that are advised."""


def enough(
    apply: Callable[[Plan], Module],
    plan: Plan,
    training: Training,
    report: MemoryReport,
    room: int,
    batch: int,
    fits: Callable[[Mesh], bool],
) -> Iterable[str]:
    """What would bring a plan below a number of bytes, each by itself.

    Args:
        plan: that takes the least, with its decisions.
        report: what it takes.
        room: bytes per device.
        batch: size of the whole batch, 0 if it has none.
        fits: whether some plan for these devices does.
    """

    def peak(plan: Plan, training: Training) -> int:
        return predict(apply(plan), plan, training).peak

    times = -(-report.peak // room)
    meshes = _meshes(apply(plan), plan, times, batch) if plan.mesh.size() == 1 else ()
    mesh = next((m for m in meshes if fits(m)), None)
    if mesh is None:
        yield f"about {times} times as many devices, with parameters and batch spread over all"
    else:
        more = mesh.size() - 1
        yield f"{more} more device{'s' * (more > 1)}: {_as_recipe(mesh)} in [mesh]"
    names = leading(apply(plan))
    parts = plan.microbatches * plan.mesh.parts(names)  # that divide every batch
    if batch // parts > 1:

        def smaller(size: int) -> Plan:
            sizes = tuple((n, size * parts if n in names else s) for n, s in plan.sizes)
            return replace(plan, sizes=sizes)

        low, high = 0, batch // parts  # that fits, and that does not
        while high - low > max(1, low // 8):
            middle = (low + high) // 2
            if peak(smaller(middle), training) <= room:
                low = middle
            else:
                high = middle
        if low:
            yield f"a batch of {low * parts} instead of {batch}"
    optimizer = training.optimizer
    name, options = optimizer[0] if optimizer else ("", ())
    if HALF in OPTIMIZERS.get(name, {}) and HALF not in dict(options):
        half = ((name, (*options, (HALF, "bfloat16"))), *optimizer[1:])
        if peak(plan, replace(training, optimizer=half)) <= room:
            yield f'optimizer state in bfloat16: {HALF} = "bfloat16" in [optimizer]'


def _meshes(module: Module, plan: Plan, least: int, batch: int) -> Iterable[Mesh]:
    """Meshes of one axis, fewest devices first: the batch lies along it, and of the
    dims of parameters the one that divides most of them."""
    names, sizes = leading(module), {**dict(module.sizes), **dict(plan.sizes)}
    for count in (n for n in range(max(2, least), batch + 1) if batch % n == 0):
        held, uneven = Counter[str](), set[str]()
        for instance in module.instances:
            for param in instance.params:
                shape = {d.name: d.size.evaluate(sizes) for d in param.order}
                held.update(dict.fromkeys(shape, prod(shape.values())))
                uneven |= {name for name, size in shape.items() if size % count}
        divided = next((name for name, _ in held.most_common() if name not in uneven), None)
        stored = ((divided, (AXIS,)),) if divided else ()
        yield Mesh(((AXIS, count),), tuple((name, (AXIS,)) for name in names), stored)


def _as_recipe(mesh: Mesh) -> str:
    """A mesh of `_meshes` as a recipe has it."""
    axes = ", ".join(f"{name} = {size}" for name, size in mesh.axes)
    values, params = (
        ", ".join(f'{name} = "{AXIS}"' for name, _ in rules) for rules in (mesh.values, mesh.params)
    )
    return f"axes = {{ {axes} }}, values = {{ {values} }}, params = {{ {params} }}"
