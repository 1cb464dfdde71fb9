"""Proofs about sizes: whether a size is always 0, or never negative.

A `Case` is a goal together with what may be assumed. Every free size in it is at least 1. `settle`
proves a case by rules, each of which is sound: it replaces the case by others that together imply
it. What is known is used up by substitution wherever possible (from `S % 16 == 0`: S = 16 * S, from
`S >= T`: S = T + S - 1), so that the simplifications of `netwright.ir.size` do the work. The rules:

- *Signs.* With every free size written as 1 + x, x >= 0, a polynomial without negative coefficients
  is not negative (`low`).
- *Floors.* If p = C * (a // b) + R with b > 0, then b * p lies between the values for
  a - b + 1 and a in place of b * (a // b); and p >= 0 exactly if b * p >= 1 - b, p being whole.
- *Min and max.* Two arguments are compared: one case for a >= b and one for b >= a + 1.
- *Residues.* A free size under `// k` or `% k` is k * q + r for one of k values of r; in each case
  the atom turns into a polynomial (the idea of Presburger arithmetic: Cooper, *Theorem proving in
  arithmetic without multiplication*, 1972). This decides what has only constant divisors, unless
  a min, a max or an inequality of degree 2 stands in the way.
- *Peeling.* A free size is 1, or it is at least 2.

`Fuel` bounds the work; when it is used up, nothing is proven.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from math import gcd, inf, lcm, prod

from .size import (
    Atom,
    DivisionByZero,
    Factor,
    Monomial,
    Size,
    SizeError,
    exact_quotient,
    polynomial,
    without,
)
from .size_bounds import low, upper_bound

MAX_MODULUS = 64
MAX_WEIGHT = 300


class Spent(Exception):
    """The work allowed is used up."""


@dataclass
class Fuel:
    """How much work is left, in terms looked at, and values to try where a proof failed."""

    work: int
    hints: list[dict[str, int]] = field(default_factory=list)

    def spend(self, size: Size) -> None:
        self.work -= 4 + size.weight * (1 + size.depth)
        if self.work < 0:
            raise Spent


@dataclass(frozen=True)
class Case:
    """The goal `size == 0` (or `size >= 0`, unless `exact`), under what is known.

    Attributes:
        zeros: sizes known to be 0.
        positives: sizes known not to be negative.
        origin: what each free size of the question is, in the free sizes of this case.
        peeled: how often a free size was peeled.
    """

    size: Size
    exact: bool
    zeros: tuple[Size, ...] = ()
    positives: tuple[Size, ...] = ()
    origin: tuple[tuple[str, Size], ...] = ()
    peeled: int = 0

    def change(self, by: Callable[[Size], Size]) -> Case:
        """The case with every size in it changed."""
        return replace(
            self,
            size=by(self.size),
            zeros=tuple(map(by, self.zeros)),
            positives=tuple(map(by, self.positives)),
            origin=tuple((name, by(size)) for name, size in self.origin),
        )

    def put(self, name: str, size: int | Size) -> Case:
        """The case with a free size replaced."""
        return self.change(lambda s: s.substitute({name: size}))

    def values(self, given: Mapping[str, int]) -> dict[str, int]:
        """The free sizes of the question, from those of the case; none if they are not defined."""
        try:
            return {name: size.evaluate(given) for name, size in self.origin}
        except DivisionByZero:
            return {}

    @property
    def unknowns(self) -> list[str]:
        """The free sizes on which those of the question depend."""
        return sorted({name for _, size in self.origin for name in size.names})


def linear(size: Size) -> Iterator[tuple[Factor, Size, Size]]:
    """(f, C, R) with size = C * f + R, for each f that is nowhere in C and R."""
    for factor in dict.fromkeys(f for m, _ in size.terms for f in m):
        product: dict[Monomial, int] = {}
        rest: dict[Monomial, int] = {}
        for monomial, c in size.terms:
            if any(_inside(factor, f) for f in monomial) or monomial.count(factor) > 1:
                break
            over = without(monomial, (factor,))
            (rest if over is None else product)[monomial if over is None else over] = c
        else:
            yield factor, polynomial(product), polynomial(rest)


def _inside(factor: Factor, other: Factor) -> bool:
    """Whether the other is an atom with the factor inside."""
    if isinstance(other, str):
        return False
    if isinstance(factor, str):
        return any(factor in a.names for a in other.args)
    return any(factor in a.atoms() for a in other.args)


# Using what is known


def absorb(case: Case) -> Case | None:
    """The case with what is known put in where possible; None if that contradicts itself."""
    while True:
        new = _absorb_one(case)
        if new is None or new is case:
            return new
        case = new


def _absorb_one(case: Case) -> Case | None:
    for i, size in enumerate(case.zeros):
        others = case.zeros[:i] + case.zeros[i + 1 :]
        if low(size) > 0 or low(-size) > 0:
            return None
        if size == 0:
            return replace(case, zeros=others)
        if solved := _solve(size):
            name, value = solved
            new = replace(case, zeros=others).put(name, value)
            return replace(new, positives=(*new.positives, value - 1))
    for i, size in enumerate(case.positives):
        others = case.positives[:i] + case.positives[i + 1 :]
        if low(-size) > 0:
            return None
        if low(size) >= 0:
            return replace(case, positives=others)
        for factor, product, rest in linear(size):
            if isinstance(factor, Atom):
                parts = _parts(factor, product, rest)
                if parts is not None:
                    return replace(case, positives=others + parts)
            elif product.is_constant and product.value > 0 and rest.is_constant:
                least = -(rest.value // product.value)
                value = Size.free(factor) + (least - 1)
                return replace(case, positives=others).put(factor, value)
            elif product == 1 and low(-rest) >= 1:
                return replace(case, positives=others).put(factor, Size.free(factor) - rest - 1)
    return case


def _parts(atom: Atom, product: Size, rest: Size) -> tuple[Size, ...] | None:
    """What `product * atom + rest >= 0` means without the atom, where that is simple."""
    if not product.is_constant:
        return None
    c = product.value
    if atom.op == ("min" if c > 0 else "max"):
        return tuple(c * a + rest for a in atom.args)
    if atom.op == "//" and abs(c) == 1 and low(atom.args[1]) >= 1:
        a, b = atom.args
        return (a + rest * b,) if c > 0 else (rest * b - a + b - 1,)
    return None


def _solve(size: Size) -> tuple[str, Size] | None:
    """(name, value) so that `size == 0` means that the free size has the value."""
    if len(size.terms) == 1:
        (monomial, _), *_ = size.terms
        if len(monomial) == 1 and isinstance(monomial[0], Atom) and monomial[0].op == "%":
            return _solve_divides(*monomial[0].args)
    found = None
    for factor, product, rest in linear(size):
        if isinstance(factor, str) and product.is_constant and abs(product.value) == 1:
            value = -rest if product.value == 1 else rest
            if low(value) >= 1:
                return factor, value
            found = found or (factor, value)
    return found


def _solve_divides(a: Size, divisor: Size) -> tuple[str, Size] | None:
    if a.symbol and a.symbol not in divisor.names and low(divisor) >= 1:
        return a.symbol, divisor * a
    if not divisor.is_constant or divisor.value < 1:
        return None
    for factor, product, rest in linear(a):
        if isinstance(factor, str) and product.is_constant and rest.is_constant:
            k, c, r = divisor.value, product.value, rest.value
            step = k // gcd(k, c)
            if r % gcd(k, c) == 0:
                first = -r // gcd(k, c) * pow(c // gcd(k, c), -1, step) % step or step
                return factor, Size.free(factor) * step + (first - step)
    return None


def _reduce(size: Size, zeros: tuple[Size, ...]) -> Size:
    """The size minus multiples of what is 0, by division of its terms by their leading terms."""
    for zero in zeros:
        lead, unit = zero.terms[0]
        if abs(unit) != 1:
            continue
        for _ in range(8):
            for monomial, c in size.terms:
                over = without(monomial, lead)
                if over is not None:
                    size = size - zero * polynomial({over: c * unit})
                    break
            else:
                break
    return size


def flatten(size: Size) -> Size:
    """The size with a - b * (a // b) for each a % b, and one form for all equal a // k."""

    def change(factor: Factor) -> Size | None:
        if isinstance(factor, str) or factor.op not in ("//", "%"):
            return None
        a, b = factor.args
        quotient = _quotient_by(a, b.value) if b.is_constant else a // b
        return quotient if factor.op == "//" else a - b * quotient

    return size.replace(change)


def _quotient_by(a: Size, k: int) -> Size:
    """a // k = whole + r // k with coefficients of r from 0 to k - 1; or with r mirrored.

    r // k = -((k - 1 - r) // k), rounding down being rounding up, mirrored. Of r and what is left
    of its mirror image, the one with the smaller coefficients is taken.
    """
    whole = polynomial({m: c // k for m, c in a.terms})
    r = a - whole * k
    ones = polynomial({m: 1 for m, _ in r.terms if m})
    mirrored = ones * k + (k - 1) - r
    constants = (dict(r.terms).get((), 0), dict(mirrored.terms).get((), 0))
    pairs = [(c, k - c) for m, c in r.terms if m] + [constants]
    if [a for a, _ in pairs] <= [b for _, b in pairs]:
        return whole + r // k
    return whole + ones - mirrored // k


# Proving


def absorb_case(case: Case) -> Case | None:
    """`absorb`, or the case as it is where that gets out of hand."""
    try:
        return absorb(case)
    except SizeError:
        return case


def prove_case(case: Case, fuel: Fuel) -> bool:
    """Whether the case was proven; False says nothing."""
    try:
        return settle(case, fuel)
    except (Spent, SizeError):
        return False


def settle(case: Case, fuel: Fuel) -> bool:
    """Prove a case, or raise `Spent`."""
    try:
        known = absorb(case)
        if known is None:
            return True
        fuel.spend(known.size)
        return _settle(known, fuel)
    except DivisionByZero:  # the claim is not about these values
        return True


def _settle(case: Case, fuel: Fuel) -> bool:
    size = case.size
    if size == 0 or (not case.exact and low(size) >= 0):
        return True
    if size.is_constant or size.weight > MAX_WEIGHT:
        return _fail(case, fuel)
    atoms, flat = size.atoms(), size
    if case.zeros or atoms:
        flat = _reduce(flatten(size), tuple(map(flatten, case.zeros)))
        if flat == 0 or (not case.exact and low(flat) >= 0):
            return True
    for atom in atoms:
        if atom.op in ("min", "max"):
            return all(settle(c, fuel) for c in _compare(case, atom))
    if not case.exact and any(
        _relax(s, case.positives, fuel, 4) for s in dict.fromkeys((flat, size))
    ):
        return True
    for name, most in _ranges(case):
        return all(settle(case.put(name, value), fuel) for value in range(1, most + 1))
    moduli: dict[str, int] = {}
    _moduli(size, 1, moduli)
    if case.exact and prod(moduli.values()) > MAX_MODULUS:
        for atom in atoms:
            if named := _quotient(atom):
                return all(settle(c, fuel) for c in _name_quotient(case, *named))
    for name, modulus in sorted(moduli.items(), key=lambda item: (item[1], item[0])):
        if 1 < modulus <= MAX_MODULUS:
            free = Size.free(name) * modulus
            cases = (case.put(name, free + (r - modulus)) for r in range(1, modulus + 1))
            return all(settle(c, fuel) for c in cases)
    if case.exact and all(_relax(side, case.positives, fuel, 4) for side in (flat, -flat)):
        return True
    if atoms or case.exact or case.peeled >= 12:
        return _fail(case, fuel)
    name = size.names[case.peeled % len(size.names)]
    case = replace(case, peeled=case.peeled + 1)
    return all(settle(case.put(name, s), fuel) for s in (1, Size.free(name) + 1))


def _fail(case: Case, fuel: Fuel) -> bool:
    """Leave values to try."""
    if len(fuel.hints) < 24:
        fuel.hints += [case.values(dict.fromkeys(case.unknowns, n)) for n in (1, 2, 3, 50)]
    return False


def _compare(case: Case, atom: Atom) -> Iterator[Case]:
    """The cases a >= b and b > a for the first two arguments, without the one that loses."""
    a, b = atom.args[:2]
    for more, less, gap in ((a, b, 0), (b, a, 1)):
        loser = less if atom.op == "max" else more
        kept = [s for s in atom.args if s != loser]
        new = Size.atom_of(Atom(atom.op, tuple(kept))) if len(kept) > 1 else kept[0]
        changed = case.change(partial(_put, atom, new))
        yield replace(changed, positives=(*changed.positives, more - less - gap))


def _put(atom: Atom, new: Size, size: Size) -> Size:
    """A size with another in the place of an atom."""
    return size.replace(lambda factor: new if factor == atom else None)


def _ranges(case: Case) -> Iterator[tuple[str, int]]:
    """Free sizes of the goal that have few values, with the largest of them."""
    for size in case.positives:
        for factor, product, rest in linear(size):
            if isinstance(factor, str) and product.is_constant and product.value < 0:
                top = upper_bound(rest)
                most = None if top is None else top // -product.value
                if most is not None and most <= MAX_MODULUS and factor in case.size.names:
                    yield factor, most


def _moduli(size: Size, scale: int, moduli: dict[str, int]) -> None:
    """For each free size, a modulus that turns every `// k` and `% k` into a polynomial."""
    for monomial, c in size.terms:
        need = scale // gcd(scale, c)
        for factor in monomial:
            if isinstance(factor, str):
                moduli[factor] = lcm(moduli.get(factor, 1), need)
                continue
            constant = factor.op in ("//", "%") and factor.args[1].is_constant
            for arg in factor.args:
                inner = need * factor.args[1].value if constant else need
                _moduli(arg, abs(inner), moduli)


def _quotient(atom: Atom) -> tuple[str, Size, Size, Size] | None:
    """(name, c, R, k) if the atom is c * name + R over or modulo k, for c = 1 or -1."""
    a, k = atom.args
    if k.is_constant and 1 < k.value <= MAX_MODULUS and len(a.names) > 1:
        for factor, product, rest in linear(a):
            if isinstance(factor, str) and product in (1, -1):
                return factor, product, rest, k
    return None


def _name_quotient(case: Case, name: str, c: Size, rest: Size, k: Size) -> Iterator[Case]:
    """The cases c * name + rest = k * q + r, with q in place of the name.

    q is moved to be at least 1; where it has no least value, it is a difference of two free sizes.
    """
    q, least = Size.free(name), low(c * Size.free(name) + rest)
    if least == -inf:
        other = name
        while other in case.unknowns:
            other += ".0"
        q -= Size.free(other)
    else:
        q += int(least) // k.value - 1
    for r in range(k.value):
        value = c * (k * q + (r - rest))
        new = case.put(name, value)
        yield replace(new, positives=(*new.positives, value - 1))


def _relax(size: Size, positives: tuple[Size, ...], fuel: Fuel, depth: int) -> bool:
    """Prove `size >= 0` by the rule on floors, bounds of remainders, and what is known."""
    if low(size) >= 0:
        return True
    if depth == 0 or size.is_constant or size.weight > MAX_WEIGHT:
        return False
    fuel.spend(size)
    for i, known in enumerate(positives):
        times = exact_quotient(size, known) if known != 0 else None
        if times is not None and low(times) >= 0:
            return True
        if _relax(size - known, positives[i + 1 :], fuel, depth - 1):
            return True
    for factor, product, rest in linear(size):
        if isinstance(factor, str) or factor.op not in ("//", "%"):
            continue
        a, b = factor.args
        up, down = low(product) >= 0, low(-product) >= 0
        if low(b) < 1 or not (up or down):
            continue
        if factor.op == "//":
            floor = a - b + 1 if up else a
            worst = [product * floor + b * rest + b - 1]
        else:
            worst = [rest] if up else [product * (b - 1) + rest]
            worst += [product * a + rest] if down and low(a) >= 0 else []
        if any(_relax(w, positives, fuel, depth - 1) for w in worst):
            return True
    return False
