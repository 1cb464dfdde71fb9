"""What was chosen, as decisions of a plan, each with its reason and its place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ...ir.plan import Decision, Plan, decide
from .frontier import Point, point
from .pool import Block, Option


def with_decisions(plan: Plan, blocks: tuple[Block, ...], option: Option) -> Plan:
    """The plan with an option's decisions, each with its reason and place."""
    made: list[Decision] = []
    groups: list[Decision] = []
    for block, found in zip(blocks, option.points, strict=True):
        if found.choice.group:
            groups.append(_group(block, found))
        if found.choice.keys is not None:
            made += _decisions(block, found)
    return replace(plan, remat=decide((), *made), groups=decide(plan.groups, *groups))


def _group(block: Block, found: Point) -> Decision:
    number = block.unit.copies // found.choice.group
    why = f"{number} times {found.choice.group} copies: what goes from group to group stays, "
    why += f"{size_text(found.saved)}; each group runs forward once more"
    return Decision(block.unit.path, found.choice.group, why)


def _decisions(block: Block, found: Point) -> Iterable[Decision]:
    asked, choice = block.problem, found.choice
    copies = choice.group or asked.copies
    each = point(replace(asked, copies=copies), replace(choice, group=0))
    whole = 3 * asked.forward or 1.0
    how = f"as {found.policy} has it, " if found.policy else ""
    within = "a group of " if choice.group else ""
    yield Decision(
        asked.path,
        "recompute",
        f"{how}{size_text(each.saved)} of {size_text(asked.everything * copies)} stay in "
        f"{within}{copies} {'copy' if copies == 1 else 'copies'}; the rest is made again in "
        f"{each.seconds / whole:.0%} of the block's time",
    )
    kept, gone = choice.keys or frozenset(), choice.offloaded
    for candidate in asked.candidates:
        key, size = candidate.key, size_text(candidate.bytes * copies)
        if key in kept:
            without = asked.outcome(kept - {key}, gone)
            spared = (without.seconds - each.seconds) / whole
            why = f"{size}, spares {spared:.1%} of the block's time"
            yield Decision(key, "save", why, candidate.place)
        elif key in gone:
            why = f"{size}, moved in {candidate.moving / whole:.1%} of the block's time"
            if not candidate.given:
                without = asked.outcome(kept, gone - {key})
                instead = without.seconds - each.seconds + candidate.moving
                why += f", not made again in {instead / whole:.1%}"
            yield Decision(key, "offload", why, candidate.place)


UNITS = ("B", "kB", "MB", "GB", "TB")


def size_text(count: float) -> str:
    """Bytes as people write them: `12.3 GB`, of 1000 MB each."""
    for unit in UNITS:
        if count < 1000 or unit == UNITS[-1]:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.3g} {unit}"
        count /= 1000
    raise AssertionError
