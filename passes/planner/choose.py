"""The plan for a budget: what each block keeps, and in how many parts a batch goes.

Of the ways to keep values (`pool`), with the work on logits whole or in parts, for each number of
microbatches, that is taken which takes the least time of those whose predicted peak fits. None of
them depends on the budget, so more memory never means more time, and no stock policy that fits is
better.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from functools import cache

from ...ir.core import Module, Op, leading
from ...ir.hardware import Hardware
from ...ir.plan import Decision, Decisions, Plan, decide
from ..memory.model import MemoryReport, Training
from ..remat import group_sizes, loop_keys
from .advice import enough
from .decisions import size_text, with_decisions
from .pool import Block, Option, Pool, worth

MARGIN, WIDE_MARGIN, WIDEST_MARGIN = 0.12, 0.2, 0.5
"""Of the budget, left free where nothing is compiled; the second where layers have loops inside or
are called one by one, of which the model of memory knows less, and the third for these on CPUs,
where XLA schedules for speed (`docs/remat.md` says how much that takes)."""

STRIDE = 1.4
"""By how much two numbers of microbatches that are tried differ at least."""

MOST_PARTS = 64

LOSS_PARTS = 16
"""Into how many parts the work on logits is cut, where it is."""

Apply = Callable[[Plan], Module]


@dataclass(frozen=True)
class Planned:
    """What was decided, and what it was decided from.

    Attributes:
        plan: with every decision.
        report: of the model of memory for it.
        budget: bytes per device.
        device: what the times are for.
        margin: of the budget, what is left free where nothing is compiled.
        fits: whether the predicted peak, with the margin, is within the budget.
        seconds: of a step without second runs, by the table of hardware.
        shortest: seconds of a step with memory for everything: nothing runs again, and the batch
            goes in no more microbatches than was asked for.
        chosen: the option that was taken.
        options: all, the least peak first.
        blocks: that were planned.
        advice: what would be enough, where nothing fits.
    """

    plan: Plan
    report: MemoryReport
    budget: int
    device: Hardware
    margin: float
    fits: bool
    seconds: float
    shortest: float
    chosen: Option
    options: tuple[Option, ...]
    blocks: tuple[Block, ...]
    advice: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """Second runs as a share of the step without any."""
        return self.chosen.again / self.seconds if self.seconds else 0.0

    @property
    def total(self) -> float:
        """Seconds of a step."""
        return self.seconds + self.chosen.again

    @property
    def longer(self) -> float:
        """By what share a step is longer than the shortest."""
        return self.total / self.shortest - 1 if self.shortest else 0.0


def choose(
    apply: Apply,
    plan: Plan,
    training: Training,
    device: Hardware,
    budget: int,
    batch: int = 0,
    short: int | None = None,
    cuts: Collection[str] = (),
) -> Planned:
    """The best plan within a budget; where there is none, what would be enough.

    Args:
        apply: applies a plan to the module.
        plan: what is decided already; its own decisions on what is kept are not used.
        training: optimizer and the like.
        budget: bytes per device.
        batch: what microbatches must divide; 0 for none but those of the plan.
        short: bytes by which compiled peaks of plans of before are above what was predicted for
            them; None where nothing is compiled, so that a margin is kept instead.
        cuts: keys of values that may be cut into parts (`passes.chunk`).

    Raises:
        InputError: a free size has no value.
    """
    once = cache(apply)

    def applied(plan: Plan) -> Module:  # no pass asks for the number of microbatches
        return once(replace(plan, microbatches=1))

    search = _Search(applied, training, device, budget, batch, short, cuts)
    plan = replace(plan, remat=(), groups=())
    best = search.best(plan)
    if best.fits:
        return best
    share = 1 - best.margin
    found = enough(
        applied, best.plan, training, best.report, max(1, int(budget * share)), batch,
        lambda mesh: search.fits(replace(plan, mesh=mesh)),
    )  # fmt: skip
    wanted = 1.005 * best.report.peak / share  # three digits are said, and not too little
    return replace(best, advice=(*found, f"a budget of {size_text(wanted)}"))


@dataclass(frozen=True)
class _Search:
    """The arguments of `choose`, for one plan or another."""

    apply: Apply
    training: Training
    device: Hardware
    budget: int
    batch: int
    short: int | None
    cuts: Collection[str]

    def best(self, plan: Plan) -> Planned:
        """The best plan, or the one that takes the least memory where none fits.

        What is tried does not depend on the budget, and what is left out could not be better: no
        plan takes less time than one of as many microbatches that runs nothing again, and that
        takes no less with more of them.
        """
        states = measures_batches(self.apply(plan))
        best: Planned | None = None
        shortest = None
        for parts in self.parts(plan):
            bound = None
            for pool in self.pools(replace(plan, microbatches=parts)):
                bound = bound or pool.seconds
                shortest = shortest or bound
                if best and best.fits and best.total <= bound:
                    return best
                if not best or (
                    pool.seconds + pool.again < best.total
                    if best.fits
                    else pool.floor < best.report.peak
                ):
                    found = _best(pool, shortest, self.budget, self.short)
                    best = _better(best, found) if best else found
            if best and best.fits and states:
                return best  # with more of them, means over a batch would be others
        assert best is not None
        return best

    def fits(self, plan: Plan) -> bool:
        """Whether there is a plan that fits."""
        for parts in self.parts(plan):
            for pool in self.pools(replace(plan, microbatches=parts)):
                room = room_of(self.budget, margin(pool.module, self.device), self.short)
                if pool.floor <= room and any(o.peak <= room for o in pool.options()):
                    return True
        return False

    def parts(self, plan: Plan) -> Iterable[int]:
        """Numbers of microbatches, the fewest first."""
        rows = self.batch // plan.mesh.parts(leading(self.apply(plan)))  # of one device
        return (plan.microbatches, *_more(plan.microbatches, rows))

    def pools(self, plan: Plan) -> Iterable[Pool]:
        """The pools of one number of microbatches; in the first nothing runs again of itself."""
        for variant in _variants(self.apply, plan, self.cuts):
            yield Pool(self.apply(variant), variant, self.training, self.device)


def _variants(apply: Apply, plan: Plan, cuts: Collection[str]) -> Iterable[Plan]:
    """The plan, and it with the work on logits in parts and with the steps of loops again."""
    yield plan
    for groups in _loops(apply(plan), plan):
        yield replace(plan, groups=groups)
    for key in () if plan.loss_chunks else cuts:
        reason = "whole it would take much of the peak; its parts are made again one by one"
        cut = replace(plan, loss_chunks=(Decision(key, LOSS_PARTS, reason),))
        yield cut
        for groups in _loops(apply(cut), cut):
            yield replace(cut, groups=groups)


def margin(module: Module, device: Hardware) -> float:
    """What is left free of a budget where nothing is compiled."""
    ops = [op for _, _, op in module.walk()]
    regular = any(op.name == "repeat" for op in ops) and not any(map(_is_loop, ops))
    if regular:
        return MARGIN
    return WIDEST_MARGIN if device.cpu else WIDE_MARGIN


def _better(a: Planned, b: Planned) -> Planned:
    """The one that fits, or else takes less memory; of two that fit the one with less time."""
    if a.fits != b.fits:
        return a if a.fits else b
    if a.fits:
        return b if b.total < a.total else a
    return b if b.report.peak < a.report.peak else a


def _loops(module: Module, plan: Plan) -> Iterable[Decisions]:
    """Ways to run the steps of all loops inside of layers again: each by itself, or in groups of
    about the root of their number, of which so many stay as are made again at a time."""
    sizes = {**dict(module.sizes), **dict(plan.sizes)}
    loops = {}
    for instance, _, op in module.walk():
        if _is_loop(op):
            count = op["along"].size.evaluate(sizes)
            found = group_sizes(count, op.name)
            if found:
                loops[loop_keys(instance, op)[0]] = (count, found)
    for root in (True, False) if loops else ():
        made = []
        for key, (count, found) in loops.items():
            size = min(found, key=lambda n: n + count / n) if root else 1
            what = "each step runs again" if size == 1 else f"groups of {size} run again"
            why = f"of {count} steps {what}: only what it is handed stays"
            made.append(Decision(key, size, why))
        yield decide((), *made)


def _is_loop(op: Op) -> bool:
    """Whether it is a loop that a layer has; a loss that is taken in parts is none."""
    return op.name == "scan" and bool(op["carry"]) and not op.get("parts")


def _more(parts: int, rows: int) -> Iterable[int]:
    """Larger numbers of microbatches that divide what a device has of the batch, some way apart."""
    last = parts
    for number in range(parts * 2, min(rows, MOST_PARTS) + 1, parts):
        if rows % number == 0 and number >= STRIDE * last:
            yield number
            last = number


def _best(pool: Pool, shortest: float, budget: int, short: int | None) -> Planned:
    """The best of a pool, or what takes the least memory."""
    options = worth(pool.options())
    free = margin(pool.module, pool.device)
    room = room_of(budget, free, short)
    fitting = [o for o in options if o.peak <= room]
    chosen = min(fitting, key=lambda o: (o.again, o.peak)) if fitting else options[0]
    made = with_decisions(pool.plan, pool.blocks, chosen)
    report = pool.report(chosen.points)
    return Planned(
        made, report, budget, pool.device, free, bool(fitting), pool.seconds, shortest, chosen,
        options, pool.blocks,
    )  # fmt: skip


def measures_batches(module: Module) -> bool:
    """Whether layers have states, such as means over a batch, which more microbatches change."""
    return any(variant.writes for instance in module.instances for variant in instance.variants)


def room_of(budget: int, free: float, short: int | None) -> int:
    """Bytes that a predicted peak may take; the arguments are as in `choose` and `Planned`."""
    return int(budget * (1 - free)) if short is None else budget - short
