"""Random Python that computes with arrays: names bound again, lists, helpers, branches, scans.

`draw(random.Random(seed))` gives the text of `body(o, n, x, y, xs)`, which runs with symbols of the
builder and, just so, with arrays of numpy: `o` has the functions of either.
"""

from __future__ import annotations

from random import Random
from types import SimpleNamespace
from typing import Any

import netwright as nw
import numpy as np

NAMES = ("x", "y", "a", "mean", "n2")
D, S = nw.dims(D=3, S=4)

SYMBOLS = SimpleNamespace(
    tanh=nw.tanh,
    exp=lambda v: nw.exp(-abs(v)),
    total=lambda v: nw.sum[S](v),
    value=nw.value,
    cond=lambda f, g: nw.cond(nw.train, f, g),
    scan=lambda step, carry, xs: nw.scan[S](step, carry=carry, x=xs),
)


class Array:
    """An array, or a state, which is read anew each time."""

    def __init__(self, held: Any):
        self.held = held

    def __lshift__(self, other: Array) -> None:
        self.held = _plain(other)

    def __neg__(self) -> Array:
        return Array(-self.held)

    def __abs__(self) -> Array:
        return Array(abs(self.held))


def _plain(value: Any) -> Any:
    return value.held if isinstance(value, Array) else value


def _operator(name: str, turned: bool) -> Any:
    def apply(self: Array, other: Any) -> Array:
        one, two = _plain(self), _plain(other)
        return Array(getattr(np, name)(*((two, one) if turned else (one, two))))

    return apply


for sign, ufunc in (("add", "add"), ("sub", "subtract"), ("mul", "multiply")):
    setattr(Array, f"__{sign}__", _operator(ufunc, False))
    setattr(Array, f"__r{sign}__", _operator(ufunc, True))


def arrays(train: bool) -> SimpleNamespace:
    """What `SYMBOLS` has, for arrays."""

    def scan(step: Any, carry: dict[str, Array], xs: Array) -> tuple:
        held, emitted = {k: Array(v.held) for k, v in carry.items()}, []
        for x in _plain(xs):
            on, out = step(x=Array(x), **held)
            on = on if isinstance(on, tuple) else (on,)
            held = {k: Array(_plain(v)) for k, v in zip(held, on, strict=True)}
            emitted.append(_plain(out))
        last = tuple(held.values())
        return (last[0] if len(last) == 1 else last), Array(np.stack(emitted))

    def value(v: Any) -> Array:
        return Array(np.array(_plain(v)))

    return SimpleNamespace(
        tanh=lambda v: Array(np.tanh(_plain(v))),
        exp=lambda v: Array(np.exp(-abs(_plain(v)))),
        total=lambda v: Array(_plain(v).sum(0)),
        value=value,
        cond=lambda f, g: (f if train else g)(),
        scan=scan,
    )


class _Draw:
    def __init__(self, rng: Random):
        self.rng, self.lines, self.depth = rng, [], 1
        self.known = ["x", "y"]
        self.lists = 0

    def put(self, text: str) -> None:
        self.lines.append("    " * self.depth + text)

    def read(self) -> str:
        choices = [*self.known, "o.value(n)", "(n + 0)"] + [f"kept[{i}]" for i in range(self.lists)]
        return self.rng.choice(choices)

    def expr(self, deep: int = 2) -> str:
        kind = self.rng.randrange(6)
        if deep == 0 or kind == 0:
            return self.read()
        inner = self.expr(deep - 1)
        if kind == 1:
            return f"o.{self.rng.choice(('tanh', 'exp'))}({inner})"
        if kind == 2:
            return f"helper(o, {inner})"
        if kind == 3:
            return f"({self.rng.choice(('0.5', '2'))} {self.rng.choice('+-*')} {inner})"
        return f"({inner} {self.rng.choice('+-*')} {self.expr(deep - 1)})"

    def bind(self, name: str) -> str:
        if name not in self.known:
            self.known.append(name)
        return name

    def statement(self, nested: bool = False) -> None:
        kind = self.rng.randrange(7 if nested else 10)
        one, two = self.rng.sample(NAMES, 2)
        if kind <= 1:
            self.put(f"{one} = {self.expr()}")
            self.bind(one)
        elif kind == 2:
            self.put(f"{one}, {two} = {self.expr(1)}, {self.expr(1)}")
            self.bind(one), self.bind(two)
        elif kind == 3 and {one, two} <= {*self.known}:
            self.put(f"{one}, {two} = {two}, {one}")
        elif kind == 4:
            source = self.rng.choice(self.known)
            self.put(f"{one} = {source}")
            self.bind(one)
        elif kind == 5 and not nested:
            self.put(f"kept.append({self.expr(1)})")
            self.lists += 1
        elif kind == 6 and not nested:
            self.put(f"for i in range(2): {one} = o.tanh({self.read()} + i)")
            self.bind(one)
        elif kind == 7:
            self.put(f"n << {self.expr(1)}")
        elif kind == 8:
            self.branch(one, two)
        elif kind == 9:
            self.loop(one)

    def function(self, head: str, ends: str) -> None:
        """A function whose variables are its own."""
        self.put(head)
        outer, self.depth = (list(self.known), self.lists), self.depth + 1
        if self.rng.random() < 0.5 and "step" not in head:
            self.put(f"n << {self.expr(1)}")
        for _ in range(self.rng.randrange(3)):
            self.statement(nested=True)
        self.put(f"return {ends.format(*(self.expr(1) for _ in range(2)))}")
        self.depth -= 1
        self.known, self.lists = outer

    def branch(self, one: str, two: str) -> None:
        given = ", ".join(f"{n}={n}" for n in self.known)
        for name in ("then", "otherwise"):
            self.function(f"def {name}({given}):", "{}, {}")
        self.put(f"{one}, {two} = o.cond(then, otherwise)")
        self.bind(one), self.bind(two)

    def loop(self, one: str) -> None:
        carry = self.rng.choice(self.known)
        given = ", ".join(f"{n}={n}" for n in self.known if n not in ("x", "h"))
        known, self.known = self.known, [*dict.fromkeys([*self.known, "x", "h"])]
        self.function(f"def step(x, h{', ' + given if given else ''}):", "{}, {}")
        self.known = known
        self.put(f"last, {one} = o.scan(step, dict(h={carry}), xs)")
        self.put(f"{one} = last * o.total({one})")
        self.bind(one)


def draw(rng: Random) -> str:
    """The text of a function `body(o, n, x, y, xs)`."""
    drawn = _Draw(rng)
    for _ in range(rng.randrange(4, 12)):
        drawn.statement()
    lines = [
        "def helper(o, a):",
        "    x = a * 0.5",
        "    a = o.tanh(x)",
        "    return a - x",
        "def body(o, n, x, y, xs):",
        "    kept = []",
        *drawn.lines,
        f"    return {' + '.join(drawn.known)} + o.exp(n)"
        + "".join(f" + kept[{i}]" for i in range(drawn.lists)),
    ]
    return "\n".join(lines) + "\n"


def run(text: str, train: bool, given: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The result and the state after, of arrays."""
    scope: dict[str, Any] = {}
    exec(text, scope)
    state = Array(given["n"])
    values = [Array(given[k]) for k in ("x", "y", "xs")]
    result = scope["body"](arrays(train), state, *values)
    return _plain(result), _plain(state)


def model(text: str) -> Any:
    """The model of a text."""
    scope: dict[str, Any] = {}
    exec(text, scope)

    @nw.model
    def Random(x: nw.f[D], y: nw.f[D], xs: nw.f[S, D]) -> nw.f[D]:
        n = nw.state("n", [D], nw.ones())
        return scope["body"](SYMBOLS, n, x, y, xs)

    return Random
