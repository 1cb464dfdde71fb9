"""Symbolic sizes of dims: integer polynomials over free sizes and opaque atoms.

A `Size` is a polynomial with integer coefficients. Its unknowns are *free* sizes, written by name,
each an integer of at least 1, and *atoms*: floor division, remainder, min and max, whose arguments
are sizes again. The form is canonical: terms are merged and sorted, so two polynomials are equal
exactly if they are the same object of data, and `==` and `hash` say so. Atoms are simplified by
identities that hold wherever both sides are defined (Graham, Knuth, Patashnik, *Concrete
Mathematics*, chapter 3, is the source of those on floors); what needs a real argument is the
business of `netwright.ir.claim`.

Division and remainder are Python's: `a // b` rounds down, `a % b` has the sign of b. A size that
divides by 0 for some values is undefined there, and equality speaks of the other values only.
Nothing depends on hash order, and sizes that grow out of hand raise `SizeError`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from math import gcd
from typing import NamedTuple, TypeAlias

from .size_bounds import low

MAX_TERMS = 10_000
MAX_DEPTH = 30
MAX_BITS = 4000


class SizeError(ValueError):
    """A size that has no value or cannot be made: a missing name, out of hand, and those below."""


class DivisionByZero(SizeError):
    """A size whose divisor is 0."""


class Atom(NamedTuple):
    """An opaque unknown: `op` is `//`, `%`, `min` or `max`, applied to sizes."""

    op: str
    args: tuple[Size, ...]


Factor: TypeAlias = "str | Atom"
Monomial: TypeAlias = "tuple[Factor, ...]"  # sorted by `_rank`; a power is written out
NAME = r"[^\W\d]\w*(?:\.\w+)*"


class Size:
    """An immutable symbolic integer; see the module. Make one with `Size.of` or `Size.free`.

    Attributes:
        terms: monomials and their coefficients, none 0: highest degree first, then by name.
        key: a total order of sizes that is the same in every run.
        names: the free sizes in it, sorted.
        weight: the number of terms and factors, with those inside of atoms.
        depth: how deep its atoms are nested.
    """

    __slots__ = ("_hash", "depth", "key", "names", "terms", "weight")
    terms: tuple[tuple[Monomial, int], ...]
    key: tuple
    names: tuple[str, ...]
    _hash: int
    weight: int
    depth: int

    @staticmethod
    def of(x: int | Size) -> Size:
        """The size itself, or the size that is always the given integer."""
        if isinstance(x, Size):
            return x
        if not isinstance(x, int) or isinstance(x, bool):
            raise TypeError(f"a size is an integer or a Size, not {x!r}")
        return polynomial({(): x})

    @staticmethod
    def free(name: str) -> Size:
        """A free size: some integer of at least 1."""
        if not re.fullmatch(NAME, name) or name in ("min", "max"):
            raise SizeError(f"{name!r} cannot be the name of a size")
        return polynomial({(name,): 1})

    @staticmethod
    def atom_of(atom: Atom) -> Size:
        """The size that an atom is, simplified."""
        return RULES[atom.op](*atom.args)

    @property
    def symbols(self) -> frozenset[str]:
        """The free sizes in it, as a set."""
        return frozenset(self.names)

    @property
    def is_constant(self) -> bool:
        """Whether it is the same integer for all values of all free sizes."""
        return not self.terms or (len(self.terms) == 1 and not self.terms[0][0])

    @property
    def value(self) -> int:
        """The integer that a constant size is."""
        if not self.is_constant:
            raise SizeError(f"{self} is not a constant")
        return self.terms[0][1] if self.terms else 0

    @property
    def symbol(self) -> str | None:
        """The name, if it is a single free size."""
        return lone if isinstance(lone := self._lone(), str) else None

    @property
    def atom(self) -> Atom | None:
        """The atom, if it is a single one."""
        return lone if isinstance(lone := self._lone(), Atom) else None

    def _lone(self) -> Factor | None:
        if len(self.terms) == 1 and self.terms[0][1] == 1 and len(self.terms[0][0]) == 1:
            return self.terms[0][0][0]
        return None

    def evaluate(self, values: Mapping[str, int]) -> int:
        """Its value, when each free size has the value given."""
        total = 0
        for monomial, coefficient in self.terms:
            for factor in monomial:
                coefficient *= _evaluate(factor, values)
            total += coefficient
        return total

    def substitute(self, values: Mapping[str, int | Size]) -> Size:
        """The size with free sizes replaced; what replaces one must be at least 1 as well."""
        return self.replace(
            lambda f: Size.of(values[f]) if isinstance(f, str) and f in values else None,
            lambda size: not values.keys().isdisjoint(size.names),
        )

    def replace(
        self,
        change: Callable[[Factor], Size | None],
        within: Callable[[Size], bool] = lambda size: True,
    ) -> Size:
        """The size with factors replaced, inner ones first; None keeps one, `within` keeps out."""
        if not within(self):
            return self
        table: dict[Monomial, int] = {}
        for monomial, coefficient in self.terms:
            kept, products = [], []
            for factor in monomial:
                if isinstance(factor, Atom) and any(map(within, factor.args)):
                    rebuilt = RULES[factor.op](*(a.replace(change, within) for a in factor.args))
                    if rebuilt.atom is None:
                        products.append(rebuilt)
                        continue
                    factor = rebuilt.atom
                new = change(factor)
                if new is None:
                    kept.append(factor)
                else:
                    products.append(new)
            product = polynomial({tuple(sorted(kept, key=_rank)): coefficient})
            for other in products:
                product *= other
            for m, c in product.terms:
                table[m] = table.get(m, 0) + c
        return polynomial(table)

    def atoms(self) -> list[Atom]:
        """Every atom in it, once, inner ones before those that hold them."""
        found: dict[Atom, None] = {}
        for monomial, _ in self.terms:
            for factor in monomial:
                if isinstance(factor, Atom):
                    found.update(dict.fromkeys(b for a in factor.args for b in a.atoms()))
                    found[factor] = None
        return list(found)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Size):
            return self is other or (self._hash == other._hash and self.terms == other.terms)
        return self.is_constant and self.value == other if isinstance(other, int) else False

    def __hash__(self) -> int:
        return self._hash

    def __neg__(self) -> Size:
        return polynomial({m: -c for m, c in self.terms})

    def __add__(self, other: int | Size) -> Size:
        table = dict(self.terms)
        for monomial, c in Size.of(other).terms:
            table[monomial] = table.get(monomial, 0) + c
        return polynomial(table)

    def __sub__(self, other: int | Size) -> Size:
        return self + -Size.of(other)

    def __mul__(self, other: int | Size) -> Size:
        other = Size.of(other)
        if len(self.terms) * len(other.terms) > MAX_TERMS:
            raise SizeError("the size has too many terms")
        table: dict[Monomial, int] = {}
        for m, c in self.terms:
            for n, d in other.terms:
                mn = tuple(sorted(m + n, key=_rank)) if m and n else m or n
                table[mn] = table.get(mn, 0) + c * d
        if any(c.bit_length() > MAX_BITS for c in table.values()):
            raise SizeError("the size has numbers that are too large")
        return polynomial(table)

    def __floordiv__(self, other: int | Size) -> Size:
        return _floordiv(self, Size.of(other))

    def __mod__(self, other: int | Size) -> Size:
        return _mod(self, Size.of(other))

    def __rsub__(self, other: int | Size) -> Size:
        return -self + other

    def __rfloordiv__(self, other: int | Size) -> Size:
        return _floordiv(Size.of(other), self)

    def __rmod__(self, other: int | Size) -> Size:
        return _mod(Size.of(other), self)

    __radd__, __rmul__ = __add__, __mul__

    def __str__(self) -> str:
        from .size_text import size_text

        return size_text(self)

    def __repr__(self) -> str:
        return f"parse_size({str(self)!r})"

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a Size is immutable")

    def __reduce__(self) -> tuple:
        return polynomial, (dict(self.terms),)


def _rank(factor: Factor) -> tuple:
    """Names before atoms; the keys of two factors can always be compared."""
    if isinstance(factor, str):
        return ("", factor)
    return (factor.op, *(a.key for a in factor.args))


def polynomial(table: Mapping[Monomial, int]) -> Size:
    """The size of the given terms, put in order."""
    rows = [(-len(m), tuple(map(_rank, m)), c, m) for m, c in table.items() if c]
    if len(rows) > 1:
        rows.sort(key=lambda row: row[:2])
    names: set[str] = set()
    weight, depth = len(rows), 0
    for *_, monomial in rows:
        for factor in monomial:
            weight += 1
            if isinstance(factor, str):
                names.add(factor)
                continue
            for arg in factor.args:
                names.update(arg.names)
                weight += arg.weight
                depth = max(depth, arg.depth + 1)
    if depth > MAX_DEPTH or weight > MAX_TERMS:
        raise SizeError("the size is too large")
    size = object.__new__(Size)
    put = object.__setattr__
    terms = tuple((m, c) for _, _, c, m in rows)
    put(size, "terms", terms)
    put(size, "key", tuple(row[:3] for row in rows))
    put(size, "names", tuple(sorted(names)))
    put(size, "weight", weight)
    put(size, "depth", depth)
    constant = not rows or not rows[0][3]
    put(size, "_hash", hash(terms[0][1] if rows else 0) if constant else hash(terms))
    return size


_ZERO = polynomial({})


def _wrap(op: str, *args: Size) -> Size:
    return polynomial({(Atom(op, args),): 1})


def _evaluate(factor: Factor, values: Mapping[str, int]) -> int:
    if isinstance(factor, str):
        try:
            return values[factor]
        except KeyError:
            raise SizeError(f"{factor} has no value") from None
    args = [a.evaluate(values) for a in factor.args]
    if factor.op in ("min", "max"):
        return min(args) if factor.op == "min" else max(args)
    if not args[1]:
        raise DivisionByZero(f"{polynomial({(factor,): 1})} divides by 0")
    return args[0] // args[1] if factor.op == "//" else args[0] % args[1]


def without(monomial: Monomial, divisor: Monomial) -> Monomial | None:
    """The monomial without the factors of the divisor; None if it lacks one."""
    rest = list(monomial)
    for factor in divisor:
        if factor not in rest:
            return None
        rest.remove(factor)
    return tuple(rest)


def exact_quotient(a: int | Size, b: int | Size) -> Size | None:
    """The q with a = q * b as polynomials, which is `a / b` for every value; None if there is none.

    Long division by the leading term. The quotient may be whole for other reasons: it is `a // b`
    wherever the claim `Divides(b, a)` of `netwright.ir.claim` holds.
    """
    rest, b = Size.of(a), Size.of(b)
    if not b.terms:
        raise DivisionByZero(f"{rest} / 0 divides by 0")
    (lead, unit), quotient = b.terms[0], _ZERO
    while rest.terms:
        monomial, c = rest.terms[0]
        over = without(monomial, lead)
        if over is None or c % unit:
            return None
        step = polynomial({over: c // unit})
        quotient, rest = quotient + step, rest - step * b
    return quotient


def _split(a: Size, b: Size) -> tuple[Size, Size]:
    """(q, r) with a = q * b + r: the terms of a that b divides, for b > 0."""
    if len(b.terms) > 1:
        whole = exact_quotient(a, b)
        return (_ZERO, a) if whole is None else (whole, _ZERO)
    (divisor, k) = b.terms[0]
    parts: dict[Monomial, int] = {}
    left: dict[Monomial, int] = {}
    for monomial, c in a.terms:
        over = without(monomial, divisor)
        if over is not None and (c % k == 0 or not monomial):
            parts[over] = c // k
            c %= k
        left[monomial] = c
    return polynomial(parts), polynomial(left)


def _within(a: Size, b: Size) -> bool:
    """Whether 0 <= a < b by simple bounds."""
    atom = a.atom
    if atom is not None and atom.op == "%" and atom.args[1] == b:
        return True
    return low(a) >= 0 and low(b - a) >= 1


def _common(a: Size, b: Size) -> Size:
    """The largest term that divides b and all of a; its number need not divide a constant."""
    number, monomial = 0, b.terms[0][0]
    for terms, spare in ((b.terms, False), (a.terms, True)):
        for m, c in terms:
            number = number if spare and not m else gcd(number, c)
            shared, left = [], list(m)
            for factor in monomial:
                if factor in left:
                    left.remove(factor)
                    shared.append(factor)
            monomial = tuple(shared)
    return polynomial({monomial: number})


def _shrink(a: Size, b: Size, g: Size) -> tuple[Size, Size, int]:
    """(p, q, c) with a = g * p + c and b = g * q, where 0 <= c < g and c is a constant.

    Then a // b = p // q and a % b = g * (p % q) + c.
    """
    constant = dict(a.terms).get((), 0)
    c = constant % g.value if g.is_constant else 0
    p, q = exact_quotient(a - c, g), exact_quotient(b, g)
    assert p is not None and q is not None
    return p, q, c


@lru_cache(maxsize=4096)
def _floordiv(a: Size, b: Size) -> Size:
    if b == 0:
        raise DivisionByZero(f"({a}) // 0 divides by 0")
    if b.terms[0][1] < 0:
        a, b = -a, -b
    if not a.terms or b == 1:
        return a
    if low(b) < 1:
        return _wrap("//", a, b)
    if _within(a, b):
        return _ZERO
    whole, rest = _split(a, b)
    if _within(rest, b):
        return whole
    if _within(-1 - rest, b):
        return whole - 1
    if (g := _common(rest, b)) != 1:
        p, q, _ = _shrink(rest, b, g)
        return whole + _floordiv(p, q)
    signs = {c < 0 for m, c in rest.terms if m}
    if signs == {True}:  # rounding down is rounding up, mirrored
        return whole - _floordiv(b - 1 - rest, b)
    ones = [polynomial({m: c}) for m, c in rest.terms]
    inner = [one for one in ones if one.atom is not None and one.atom.op == "//"]
    if len(inner) == 1 and inner[0].atom:  # (x // y + r) // b = (x + r * y) // (y * b)
        x, y = inner[0].atom.args
        return whole + _floordiv(x + (rest - inner[0]) * y, y * b)
    return whole + _wrap("//", rest, b)


@lru_cache(maxsize=4096)
def _mod(a: Size, b: Size) -> Size:
    if b == 0:
        raise DivisionByZero(f"({a}) % 0 divides by 0")
    if b.terms[0][1] < 0:
        return -_mod(-a, -b)
    if not a.terms or b == 1:
        return _ZERO
    if low(b) < 1:
        return _wrap("%", a, b)
    _, rest = _split(a, b)
    for monomial, c in rest.terms:  # (x % (k * b) + r) % b = (x + r) % b
        for factor in monomial:
            if isinstance(factor, Atom) and factor.op == "%":
                x, y = factor.args
                others = without(monomial, (factor,))
                if others is not None and exact_quotient(y, b) is not None:
                    return _mod(rest + polynomial({others: c}) * x - polynomial({monomial: c}), b)
    if b.is_constant:  # coefficients nearest to 0; the constant is not negative
        k = b.value
        near = {m: c % k - (k if m and 2 * (c % k) > k else 0) for m, c in rest.terms}
        rest = polynomial(near)
    if _within(rest, b):
        return rest
    if _within(-1 - rest, b):
        return rest + b
    if (g := _common(rest, b)) != 1:
        p, q, c = _shrink(rest, b, g)
        return g * _mod(p, q) + c
    return _wrap("%", rest, b)


def minimum(*sizes: int | Size) -> Size:
    """The least of one or more sizes."""
    return _extreme("min", sizes, lambda a, b: _at_least(b, a))


def maximum(*sizes: int | Size) -> Size:
    """The greatest of one or more sizes."""
    return _extreme("max", sizes, _at_least)


def _extreme(op: str, sizes: Iterable[int | Size], beats: Callable[[Size, Size], bool]) -> Size:
    kept: list[Size] = []
    flat: list[Size] = []
    for size in map(Size.of, sizes):
        flat += size.atom.args if size.atom is not None and size.atom.op == op else [size]
    if not flat:
        raise SizeError(f"{op} of nothing")
    for size in sorted(flat, key=lambda s: (not s.is_constant, s.key)):
        if not any(beats(other, size) for other in kept):
            kept = [*(other for other in kept if not beats(size, other)), size]
    return kept[0] if len(kept) == 1 else _wrap(op, *kept)


def _at_least(a: Size, b: Size) -> bool:
    """Whether a >= b by simple bounds."""
    if a == b:
        return True
    if a.atom is not None and a.atom.op == "max" and b in a.atom.args:
        return True
    if b.atom is not None and b.atom.op == "min" and a in b.atom.args:
        return True
    return low(a - b) >= 0


def power(size: int | Size, exponent: int) -> Size:
    """The size times itself, `exponent` (0 or more) times."""
    if exponent < 0 or exponent > 64:
        raise SizeError(f"the exponent {exponent} is not from 0 to 64")
    result = polynomial({(): 1})
    for _ in range(exponent):
        result *= size
    return result


RULES: dict[str, Callable[..., Size]] = {"//": _floordiv, "%": _mod}
RULES |= {"min": minimum, "max": maximum}
