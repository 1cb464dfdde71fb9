"""Claims about sizes, and verdicts on them: proven, refuted or open.

A claim speaks of all values of its free sizes, integers of at least 1, for which its own sizes are
defined (no division by 0). `prove` gives a `Verdict`:

- *proven*: it holds for all of them.
- *refuted*: `counterexample` has values for which it does not. Then `witness` tells two kinds
  apart: values for which it does hold (`S == T` or `S % 16 == 0`: true for some sizes only), or
  None, when none were found (`S == S + 1`). What follows from it is for the caller to say.
- *open*: neither a proof nor a counterexample was found within the work allowed. A requirement.

Nothing here is random, and the work is bounded. How proofs go is in `netwright.ir.size_proof`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, combinations, islice, pairwise
from typing import TypeAlias

from .size import DivisionByZero, Size, SizeError
from .size_bounds import low
from .size_proof import Case, Fuel, absorb_case, prove_case
from .size_text import Parser, SizeSyntaxError, left_text, right_text, split_remainder


@dataclass(frozen=True)
class Equal:
    """The claim that `a == b`."""

    a: Size
    b: Size

    def __init__(self, a: int | Size, b: int | Size):
        _set(self, a=a, b=b)

    def holds(self, values: Mapping[str, int]) -> bool:
        """Whether it is true for these values; `SizeError` if a size is not defined for them."""
        return self.a.evaluate(values) == self.b.evaluate(values)

    def __str__(self) -> str:
        lone = self.b == 0 and self.a.atom is not None and self.a.atom.op == "%"
        return f"({self.a}) == 0" if lone else f"{self.a} == {self.b}"


@dataclass(frozen=True)
class AtLeast:
    """The claim that `a >= b`."""

    a: Size
    b: Size

    def __init__(self, a: int | Size, b: int | Size):
        _set(self, a=a, b=b)

    def holds(self, values: Mapping[str, int]) -> bool:
        """Whether it is true for these values; `SizeError` if a size is not defined for them."""
        return self.a.evaluate(values) >= self.b.evaluate(values)

    def __str__(self) -> str:
        return f"{self.a} >= {self.b}"


@dataclass(frozen=True)
class Divides:
    """The claim that `a` is a whole multiple of `divisor`."""

    divisor: Size
    a: Size

    def __init__(self, divisor: int | Size, a: int | Size):
        _set(self, divisor=divisor, a=a)
        if self.divisor == 0:
            raise DivisionByZero(f"{self} divides by 0")

    def holds(self, values: Mapping[str, int]) -> bool:
        """Whether it is true for these values; `SizeError` if a size is not defined for them."""
        divisor = self.divisor.evaluate(values)
        if not divisor:
            raise DivisionByZero(f"{self} divides by 0")
        return self.a.evaluate(values) % divisor == 0

    def __str__(self) -> str:
        return f"{left_text(self.a)} % {right_text(self.divisor)} == 0"


Claim: TypeAlias = "Equal | AtLeast | Divides"


def _set(claim: object, **sizes: int | Size) -> None:
    for name, size in sizes.items():
        object.__setattr__(claim, name, Size.of(size))


def names(claim: Claim) -> frozenset[str]:
    """The free sizes that a claim speaks of."""
    return frozenset(n for size in vars(claim).values() for n in size.names)


def substitute(claim: Claim, values: Mapping[str, int | Size]) -> Claim:
    """The claim with free sizes replaced."""
    return type(claim)(**{name: size.substitute(values) for name, size in vars(claim).items()})


def parse_claim(text: str) -> Claim:
    """The claim that a text means; the reverse of `str`. `a % b == 0` is a `Divides`."""
    match = re.fullmatch(r"([^=<>]*)(==|>=|<=)([^=<>]*)", text)
    if match is None:
        raise SizeSyntaxError(f"{text!r}: expected two sizes with ==, >= or <= between them")
    left, relation, right = match.groups()
    parts = split_remainder(left) if relation == "==" and right.strip() == "0" else None
    if parts is not None:
        return Divides(parts[1], parts[0])
    a, b = Parser(left).all(), Parser(right).all()
    return Equal(a, b) if relation == "==" else AtLeast(a, b) if relation == ">=" else AtLeast(b, a)


@dataclass(frozen=True)
class Verdict:
    """What became of a claim; see the module. `kind` is `proven`, `refuted` or `open`."""

    kind: str
    counterexample: dict[str, int] | None = None
    witness: dict[str, int] | None = None

    @property
    def proven(self) -> bool:
        return self.kind == "proven"

    @property
    def refuted(self) -> bool:
        return self.kind == "refuted"

    @property
    def open(self) -> bool:
        return self.kind == "open"


def prove(
    claim: Claim,
    assumptions: Iterable[Claim] = (),
    lower: Mapping[str, int] | None = None,
    work: int = 4000,
) -> Verdict:
    """Whether the claim holds for all free sizes for which the assumptions hold.

    `lower` gives lower bounds of free sizes, where they are more than 1. `work` bounds the proof,
    in terms looked at.
    The counterexample is a small one: the search tries values by their sum, and then larger ones,
    which it shrinks. It gives a value to each free size of the claim and of the assumptions that
    share free sizes with it.
    """
    case = _case(claim)
    if case.size == 0 or (not case.exact and low(case.size) >= 0):
        return Verdict("proven")
    bounds = [AtLeast(Size.free(name), least) for name, least in sorted((lower or {}).items())]
    known = _related(claim, [*assumptions, *bounds])
    facts = [_case(k) for k in known]
    spoken = sorted(names(claim).union(*map(names, known)))
    case = replace(
        case,
        zeros=tuple(f.size for f in facts if f.exact),
        positives=(*(f.size for f in facts if not f.exact), *_defined(claim)),
        origin=tuple((name, Size.free(name)) for name in spoken),
    )
    fuel = Fuel(work)
    absorbed = absorb_case(case)
    if absorbed is None:  # what is assumed contradicts itself
        return Verdict("proven")
    search = _Search(claim, known, absorbed)
    if search.run(islice(search.small(), 40)) or not spoken:
        return search.verdict()
    if prove_case(absorbed, fuel):
        return Verdict("proven", None, search.witness)
    if not search.run(search.small()):
        search.run(chain(search.large(), fuel.hints))
        search.shrink()
    return search.verdict()


def _case(claim: Claim) -> Case:
    if isinstance(claim, Divides):
        return Case(claim.a % claim.divisor, True)
    return Case(claim.a - claim.b, isinstance(claim, Equal))


def _defined(claim: Claim) -> list[Size]:
    """Sizes that are not negative where the claim is defined: b - 1, for divisors b >= 0."""
    sizes = vars(claim).values()
    divisors = [a.args[1] for size in sizes for a in size.atoms() if a.op in ("//", "%")]
    divisors += [claim.divisor] if isinstance(claim, Divides) else []
    return [b - 1 for b in dict.fromkeys(divisors) if low(b) == 0]


def _related(claim: Claim, known: list[Claim]) -> list[Claim]:
    """The claims known that share free sizes with the claim, directly or through others."""
    reached, found = names(claim), dict.fromkeys(k for k in known if not names(k))
    while new := [k for k in known if k not in found and not reached.isdisjoint(names(k))]:
        found.update(dict.fromkeys(new))
        reached = reached.union(*map(names, new))
    return [k for k in known if k in found]


class _Search:
    """A search for values that refute a claim, and for ones that bear it out."""

    def __init__(self, claim: Claim, known: list[Claim], case: Case):
        self.claim, self.known, self.case = claim, known, case
        self.unknowns = case.unknowns
        self.counterexample: dict[str, int] | None = None
        self.witness: dict[str, int] | None = None

    def verdict(self) -> Verdict:
        kind = "open" if self.case.origin else "proven"
        kind = kind if self.counterexample is None else "refuted"
        return Verdict(kind, self.counterexample, self.witness)

    def run(self, candidates: Iterable[dict[str, int]]) -> bool:
        """Try values until there is a counterexample, and then some more for a witness."""
        patience = 200
        for values in candidates:
            outcome = self.outcome(values)
            if outcome and self.witness is None:
                self.witness = values
            if outcome is False and self.counterexample is None:
                self.counterexample = values
            if self.counterexample is not None:
                patience -= 1
                if self.witness is not None or not patience:
                    return True
        return self.counterexample is not None

    def outcome(self, values: Mapping[str, int]) -> bool | None:
        """Whether the claim holds; None if the values break an assumption, or are not defined."""
        try:
            if min(values.values(), default=1) < 1 or not all(k.holds(values) for k in self.known):
                return None
            return self.claim.holds(values)
        except SizeError:
            return None

    def values(self, unknowns: Iterable[int]) -> dict[str, int]:
        """The free sizes of the question, from those that are left once what is known is used."""
        return self.case.values(dict(zip(self.unknowns, unknowns, strict=True)))

    def small(self) -> Iterator[dict[str, int]]:
        """Values by their sum, then in order."""
        return map(self.values, islice(_compositions(len(self.unknowns)), 400))

    def large(self) -> Iterator[dict[str, int]]:
        """One value apart from 1, the same for all, one value apart from that, and a mixture."""
        numbers = {2, 3, 5, 7, 8, 16, 17, 31, 64, 100, 128, 1000, 1024, 10**6, 10**9}
        for size in vars(self.claim).values():
            numbers.update(m for k in _constants(size) for m in (k - 1, k, k + 1, 2 * k) if m > 0)
        ordered = sorted(numbers)[:60]
        count, mixture = len(self.unknowns), 1
        for number in ordered:
            for place in range(min(count, 8)):
                yield self.values(number if i == place else 1 for i in range(count))
        for number in ordered:
            yield self.values([number] * count)
            for place in range(min(count, 8)):
                yield self.values(1 if i == place else number for i in range(count))
        for _ in range(200):
            picks = []
            for _ in range(count):
                mixture = (mixture * 1103515245 + 12345) % (1 << 31)
                picks.append(ordered[(mixture >> 16) % len(ordered)])
            yield self.values(picks)

    def shrink(self) -> None:
        """Make each value of the counterexample smaller as long as it remains one."""
        best, tries = self.counterexample, 200
        better = best is not None
        while better and best is not None:
            better = False
            for name, value in list(best.items()):
                for smaller in (1, 2, 3, value // 4, value // 2, value * 3 // 4, value - 1):
                    tries -= 1
                    if tries > 0 and 0 < smaller < value:
                        new = {**best, name: smaller}
                        if self.outcome(new) is False:
                            best, better = new, True
                            break
        self.counterexample = best


def _compositions(count: int) -> Iterator[tuple[int, ...]]:
    """All tuples of `count` positive integers, by their sum, then in order."""
    if count == 0:
        yield ()
        return
    total = count
    while True:
        for cuts in combinations(range(1, total), count - 1):
            ends = (0, *cuts, total)
            yield tuple(b - a for a, b in pairwise(ends))
        total += 1


def _constants(size: Size) -> set[int]:
    """The numbers that are written in a size."""
    found = {abs(c) for _, c in size.terms}
    for atom in size.atoms():
        found.update(abs(c) for arg in atom.args for _, c in arg.terms)
    return found
