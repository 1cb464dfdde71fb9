"""Simplification of random bodies: the meaning stays."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from netwright.ir.build import Builder
from netwright.ir.core import (
    Dim,
    Instance,
    Module,
    Op,
    Region,
    Result,
    Type,
    Value,
    Variant,
    attributes,
    axes,
)
from netwright.ir.evaluate import evaluate
from netwright.ir.size import Size
from netwright.ir.text import parse, show
from netwright.ir.verify import verify
from netwright.passes.simplify import simplify, specialise

SIZES = (("A", 2), ("B", 3), ("C", 2))
A, B, C = (Dim(i, name, Size.of(size)) for i, (name, size) in enumerate(SIZES))


def inputs():
    rng = np.random.default_rng(3)
    return [rng.normal(size=(2, 3)), rng.normal(size=(3, 2)), rng.integers(-3, 4, 2)]


UNARY = ("negate", "tanh", "exp", "square", "stop_gradient", "abs")
BINARY = ("add", "subtract", "multiply", "maximum", "minimum")


class Maker:
    """Builds a body by drawing ops; every one takes values that are there."""

    def __init__(self, data):
        self.data, self.builder = data, Builder()
        self.ids: list[int] = []
        self.labels = 0
        self.inputs = []
        for name, dtype, dims in (
            ("x", "float", (A, B)),
            ("w", "float", (B, C)),
            ("n", "int", (A,)),
        ):
            value = self.builder.define(Value(-1, Type(dtype, dims), name, axes(dims)))
            self.inputs.append(value)
            self.ids.append(value.id)

    def pick(self, *kinds: str) -> int:
        wanted = [i for i in self.ids if self.builder.type(i).kind in (kinds or ("float",))]
        return self.data.draw(st.sampled_from(wanted))

    def label(self) -> str:
        self.labels += 1
        return self.data.draw(st.sampled_from(["", f"v{self.labels}"]))

    def add(self, name, *operands, **attrs) -> int:
        id = self.builder.add(name, *operands, label=self.label(), **attrs)
        self.ids.append(id)
        return id

    def number(self) -> int:
        value = self.data.draw(st.sampled_from([0.0, 1.0, -1.0, 0.5, 2.0]))
        return self.add("const", value=value, dtype="float")

    def step(self, depth: int) -> None:
        kinds = ["unary", "binary", "scalar", "number", "sum", "product", "int", "expand"]
        kind = self.data.draw(st.sampled_from(kinds + (["branch", "scan"] if depth < 2 else [])))
        if kind == "unary":
            self.add(self.data.draw(st.sampled_from(UNARY)), self.pick())
        elif kind == "binary":
            a = self.pick()
            dims = self.builder.type(a).dims
            like = [
                i for i in self.ids if self.builder.type(i) in (Type("float", dims), Type("float"))
            ]
            self.add(
                self.data.draw(st.sampled_from(BINARY)), a, self.data.draw(st.sampled_from(like))
            )
        elif kind == "scalar":
            pair = [self.pick(), self.number()]
            self.add(
                self.data.draw(st.sampled_from(BINARY)), *self.data.draw(st.permutations(pair))
            )
        elif kind == "number":
            self.number()
        elif kind == "sum":
            x = self.pick()
            dims = self.builder.type(x).dims
            if dims:
                chosen = self.data.draw(st.lists(st.sampled_from(dims), unique=True, min_size=1))
                self.add("sum", x, dims=tuple(sorted(chosen, key=lambda d: d.id)), extra=())
        elif kind == "product":
            a, b = self.pick(), self.pick()
            missing = [d for d in self.builder.type(b).dims if d not in self.builder.type(a).dims]
            wide = self.add("expand", a, dims=tuple(missing)) if missing else a
            both = self.add("multiply", wide, b)
            shared = [d for d in self.builder.type(a).dims if d in self.builder.type(b).dims]
            if shared:
                self.add("sum", both, dims=tuple(shared[:1]), extra=())
        elif kind == "int":
            self.add(
                self.data.draw(st.sampled_from(["add", "multiply"])),
                self.pick("int"),
                self.pick("int"),
            ) if len(
                {self.builder.type(i).dims for i in self.ids if self.builder.type(i).kind == "int"}
            ) == 1 else self.add("negate", self.pick("int"))
        elif kind == "expand":
            x = self.pick()
            missing = [d for d in (A, B, C) if d not in self.builder.type(x).dims]
            self.add("expand", x, dims=tuple(missing[:1]))
        elif kind == "branch":
            self.branch(depth)
        else:
            self.scan(depth)

    def body(self, depth: int) -> None:
        for _ in range(self.data.draw(st.integers(0, 4))):
            self.step(depth)

    def branch(self, depth: int) -> None:
        outside, regions, kept = list(self.ids), [], None
        for _ in range(2):
            self.builder.open()
            self.body(depth + 1)
            same = [i for i in self.ids if kept is None or self.builder.type(i) == kept]
            if kept is None:
                same = [i for i in same if i in outside or self.builder.type(i).dims == (A, B)]
            id = self.data.draw(
                st.sampled_from([i for i in same if self.builder.type(i).kind == "float"])
            )
            if kept is None and not any(
                self.builder.type(i) == self.builder.type(id) for i in outside
            ):
                id = outside[0]
            kept = self.builder.type(id)
            regions.append(Region((), self.builder.close(), (id,)))
            self.ids = list(outside)
        op = Op("if_train", (), (Value(-1, kept, self.label()),), (), tuple(regions))
        self.ids += self.builder.append(op)

    def scan(self, depth: int) -> None:
        x = self.inputs[0].id
        start = self.add("sum", x, dims=(B,), extra=())
        outside = list(self.ids)
        forms = (Type("int"), Type("float", (A,)), Type("float", (A,)))
        arguments = tuple(self.builder.define(Value(-1, t)) for t in forms)
        self.builder.open()
        self.ids += [a.id for a in arguments]
        self.body(depth + 1)
        fits = [i for i in self.ids if self.builder.type(i) == forms[2]]
        ends = tuple(self.data.draw(st.sampled_from(fits)) for _ in range(2))
        region = Region(arguments, self.builder.close(), ends)
        self.ids = outside
        results = (
            Value(-1, forms[2], self.label()),
            Value(-1, Type("float", (A, B)), self.label()),
        )
        op = Op("scan", (x, start), results, attributes(along=B, carry=1), (region,))
        self.ids += self.builder.append(op)

    def module(self) -> Module:
        self.body(0)
        self.body(0)
        results = []
        for _ in range(self.data.draw(st.integers(1, 3))):
            id = self.pick("float", "int")
            results.append(Result("", id, self.builder.type(id).dims))
        variant = Variant(tuple(self.inputs), self.builder.close(), tuple(results))
        entry = Instance("", "M", dims=(A, B, C), variants=(variant,))
        return Module("m", "model", None, (), (entry,))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_random_bodies_mean_the_same(data):
    before = Maker(data).module()
    assert verify(before) == []
    assert parse(show(before)) == before
    after = simplify(before)
    assert verify(after) == []
    assert simplify(after) == after
    kept = [after, specialise(after, True), specialise(before, True)]
    with np.errstate(all="ignore"):
        expected = evaluate(before, {}, {}, inputs(), train=True)[0]
        for made in kept:
            assert verify(made) == []
            for a, b in zip(expected, evaluate(made, {}, {}, inputs(), train=True)[0], strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)
        expected = evaluate(before, {}, {}, inputs(), train=False)[0]
        for a, b in zip(expected, evaluate(after, {}, {}, inputs(), train=False)[0], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)
