"""Looks at every claim about sizes: proves it, refutes it, or keeps it as a requirement; and binds
free sizes to numbers, where the requirements are tested."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from ..ir.bind import substitute
from ..ir.claim import AtLeast, Divides, Equal, names, prove
from ..ir.core import Claim, Module
from ..ir.diagnostics import Diagnostic, Diagnostics, nearest
from ..ir.size import Size, SizeError
from .manager import Pass

if TYPE_CHECKING:
    from ..ir.plan import Plan


@dataclass
class Check(Pass):
    """Looks at every claim about sizes."""

    name: ClassVar[str] = "check"
    produces: ClassVar[tuple[str, ...]] = ("checked",)

    def run(self, module: Module, plan: Plan) -> Module:
        after = check(module)
        self.count("claims proven", len(module.claims) - len(after.claims))
        self.count("claims required", len(after.claims))
        return after


@dataclass
class Bind(Pass):
    """Binds the free sizes to those of the plan."""

    name: ClassVar[str] = "bind"
    requires: ClassVar[tuple[str, ...]] = ("checked",)

    def run(self, module: Module, plan: Plan) -> Module:
        return bind(module, dict(plan.sizes))


def check(module: Module) -> Module:
    """The module with the fact `checked`: claims that are proven are gone, the rest is required.

    Raises:
        InputError: a claim can never hold, or is an equality that is plainly false.
    """
    found = Diagnostics()
    required: list[Claim] = []
    seen: set[object] = set()
    for entry in module.claims:
        claim = entry.claim
        if claim in seen:
            continue
        seen.add(claim)
        # What is required already may be relied on: it is tested before anything runs.
        verdict = prove(claim, [r.claim for r in required])
        if verdict.proven:
            continue
        if verdict.refuted and (verdict.witness is None or _plain(claim)):
            found.add(_refuted(entry, verdict.counterexample or {}, verdict.witness is None))
        else:
            required.append(replace(entry, verdict="required"))
    found.raise_errors()
    facts = tuple(sorted({*module.facts, "checked"}))
    return replace(module, claims=tuple(required), facts=facts)


def _plain(claim: object) -> bool:
    """Whether a claim is an equality between sizes that no rounding makes true for some values."""
    if not isinstance(claim, Equal):
        return False
    return not any(a.op in ("//", "%") for s in (claim.a, claim.b) for a in s.atoms())


def _refuted(entry: Claim, values: Mapping[str, int], never: bool) -> Diagnostic:
    claim = entry.claim
    facts = [_example(claim, values)]
    if never and values:
        facts.append("no sizes were found for which it holds")
    return Diagnostic(
        "size-mismatch" if isinstance(claim, Equal) else "size-impossible",
        f"{statement(claim)}, because {entry.reason}",
        entry.span,
        facts=tuple(facts),
    )


def _example(claim: Any, values: Mapping[str, int]) -> str:
    """What the claim comes to for some values: `for S = 3: 2 * (S // 2) is 2, not 3`."""
    spoken = {n: values[n] for n in sorted(values) if n in names(claim)}
    given = "".join(f"{', ' if i else ''}{n} = {v}" for i, (n, v) in enumerate(spoken.items()))
    lead = f"for {given}: " if given else ""
    if isinstance(claim, Divides):
        a, b = claim.a.evaluate(values), claim.divisor.evaluate(values)
        return f"{lead}{_is(claim.a, a)}, not a multiple of {_named(claim.divisor, b)}"
    assert isinstance(claim, Equal | AtLeast)
    a, b = claim.a.evaluate(values), claim.b.evaluate(values)
    first, second, left, right = claim.a, claim.b, a, b
    if not second.is_constant and (first.is_constant or first.symbol):
        # The formula is the news, not the number or name that it should be.
        first, second, left, right = second, first, right, left
    if isinstance(claim, Equal):
        return f"{lead}{_is(first, left)}, not {right}"
    less = " is" if claim.a.is_constant else ","
    return f"{lead}{_is(claim.a, a)}{less} less than {_named(claim.b, b)}"


def _is(size: Size, value: int) -> str:
    return str(value) if size.is_constant else f"{size} is {value}"


def _named(size: Size, value: int) -> str:
    return str(value) if size.is_constant else f"{value} ({size})"


def statement(claim: object) -> str:
    """A claim as the beginning of a sentence: `S must be a multiple of 16`."""
    if isinstance(claim, Divides):
        return f"{claim.a} must be a multiple of {claim.divisor}"
    if isinstance(claim, AtLeast):
        if claim.a.is_constant and not claim.b.is_constant:
            return f"{claim.b} must be at most {claim.a}"
        return f"{claim.a} must be at least {claim.b}"
    assert isinstance(claim, Equal)
    return f"{claim.a} must be {claim.b}"


def requirements(module: Module) -> list[str]:
    """A line for each requirement of a checked module, for people."""
    lines = []
    for entry in module.claims:
        place = f" ({entry.span.file}:{entry.span.line})" if entry.span is not None else ""
        lines.append(f"{statement(entry.claim)}, because {entry.reason}{place}")
    return list(dict.fromkeys(lines))


def bind(module: Module, sizes: Mapping[str, int]) -> Module:
    """The module with sizes in the place of free ones, and with the fact `bound` if none is left.

    Requirements that then speak of numbers only are tested, and dropped; the others stay.

    Raises:
        InputError: a name that is none, a size below 1, a requirement that does not hold, a dim
            that would have no elements.
    """
    found = Diagnostics()
    for diagnostic in _given(module, sizes):
        found.add(diagnostic)
    found.raise_errors()
    known = {**dict(module.sizes), **sizes}
    kept = []
    for entry in module.claims:
        if not names(entry.claim) <= known.keys():
            kept.append(entry)
            continue
        try:
            holds = entry.claim.holds(known)
            facts = () if holds else (_example(entry.claim, known),)
        except SizeError as error:
            holds, facts = False, (str(error),)
        if not holds:
            message = f"{statement(entry.claim)}, because {entry.reason}"
            found.error("size-requirement", message, entry.span, facts=facts)
    for diagnostic in _empty(module, known):
        found.add(diagnostic)
    found.raise_errors()
    after = substitute(replace(module, claims=tuple(kept)), sizes)
    if all(name in dict(after.sizes) for name in after.free):
        after = replace(after, facts=tuple(sorted({*after.facts, "bound"})))
    return after


def _given(module: Module, sizes: Mapping[str, int]) -> Iterator[Diagnostic]:
    bound = dict(module.sizes)
    for name, value in sizes.items():
        if name not in module.free:
            close = nearest(name, module.free)
            has = f"its free sizes are {', '.join(module.free)}" if module.free else "it has none"
            yield Diagnostic(
                "unknown-size",
                f"{module.name} has no free size {name}",
                facts=(has,),
                help=f"did you mean {close[0]}?" if close else "",
            )
        elif type(value) is not int or value < 1:
            yield Diagnostic("not-a-size", f"{name} must be at least 1, not {value}")
        elif bound.get(name, value) != value:
            message = f"{name} is {bound[name]} already, and cannot be {value}"
            yield Diagnostic("size-bound", message)


def _empty(module: Module, sizes: Mapping[str, int]) -> Iterator[Diagnostic]:
    """Dims that would have no elements."""
    reported = set()
    for instance in module.instances:
        for dim in instance.dims:
            if dim.size.is_constant or not set(dim.size.names) <= sizes.keys():
                continue
            try:
                value = dim.size.evaluate(sizes)
            except SizeError as error:
                value, fact = 0, str(error)
            else:
                fact = f"{dim.size} is {value}"
            if value < 1 and (dim.name, dim.size) not in reported:
                reported.add((dim.name, dim.size))
                given = ", ".join(f"{n} = {sizes[n]}" for n in dim.size.names)
                yield Diagnostic(
                    "empty-dim",
                    f"{dim.name} would have no elements for {given}",
                    instance.span,
                    facts=(fact,),
                )
