"""Random modules: trees of instances with every structure, drawn from a `random.Random`.

`draw_program(random.Random(seed))` gives a `Program`: a module that verifies, and what its free
sizes are. The same seed gives the same program. What is drawn by `hypothesis.strategies.randoms`
shrinks. `random_ops` tells how each op is drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

from netwright.ir.build import Builder
from netwright.ir.core import (
    Child,
    Dim,
    Instance,
    Module,
    Op,
    Region,
    Result,
    Type,
    Value,
    Variable,
    Variant,
    attributes,
    axes,
    join,
    walk,
)
from netwright.ir.diagnostics import Span
from netwright.ir.signature import CALLS
from netwright.ir.size import Size
from random_ops import DRAWN, WEIGHTS

FREE = ("B", "S", "T")
DIM_NAMES = ("B", "S", "T", "D", "H", "K", "E", "d_model", "Y", "if", "sum", "x", "copy", "step")
LAYERS = ("Net", "Block", "LSTMCell", "Head", "Mix", "list", "Fold", "step")
NAMES = (
    *("x", "y", "h", "mask", "lambda", "params", "key", "state", "carry", "copy", "layer", "step"),
    *(
        "t",
        "fft",
        "inputs",
        "out",
        "len",
        "jnp",
        "metrics",
        "train",
        "found",
        "y0",
        "D",
        "loss",
        "net",
    ),
)
CHILDREN = ("net", "blocks", "cell", "heads", "x", "params", "step", "y", "layer", "lambda")
INITIALIZERS = [f"{f}_{k}" for f in ("lecun", "he", "glorot") for k in ("normal", "uniform")]
INITIALIZERS += ["variance_scaling", "orthogonal", "delta_orthogonal", "identity"]
KINDS = ("float", "float", "float", "float", "int", "bool")


@dataclass(frozen=True)
class Program:
    """A module, and the sizes that its inputs have.

    Attributes:
        draws: whether something is drawn outside of branches of training.
    """

    module: Module
    sizes: dict[str, int]
    draws: bool


def draw_program(rng: Random, ops: int = 10, wanted: tuple[str, ...] = ()) -> Program:
    """A random program.

    Args:
        ops: how many ops the body of the entry has, about.
        wanted: ops that it shall have among others.
    """
    free = rng.sample(FREE, rng.choice((0, 1, 2, 2)))
    sizes = {name: rng.choice((1, 2, 2, 3, 3, 4)) for name in free}
    loss = rng.random() < 0.4
    bound = tuple(sizes.items()) if rng.random() < 0.2 else ()
    trunk = Trunk(rng, sizes, bool(bound), ops)
    trunk.wanted = [name for name in wanted if name in DRAWN]
    trunk.initializers = [name for name in wanted if name in INITIALIZERS]
    place = Place(trunk, "", rng.choice(LAYERS), tuple(free), 0)
    place.loss = loss
    place.draw(repeats=False)
    instances = tuple(p.finish() for p in trunk.places)
    model = "" if not loss else _model(rng, instances)
    module = Module(
        rng.choice(("main", "train", 'a "b" \\')), "loss" if loss else "model", model, tuple(free),
        instances, sizes=bound,
    )  # fmt: skip
    return Program(module, sizes, _draws(module, ""))


def _model(rng: Random, instances: tuple[Instance, ...]) -> str | None:
    """The path of an instance that `predict` may run: no copy of it, and of all others around
    it."""
    single = {""}
    for instance in instances:
        if instance.path in single:
            single.update(join(instance.path, c.name) for c in instance.children if c.mode == "one")
    found = sorted(i.path for i in instances if i.path in single - {""} and i.variants)
    return rng.choice(found) if found else None


def _draws(module: Module, path: str | None) -> bool:
    """Whether an instance, or one below it, draws in evaluation."""
    from netwright.ir.registry import lookup

    def draws(ops) -> bool:
        for op in ops:
            if lookup(op.name).effect == "random":
                return True
            regions = op.regions[1:] if op.name == "if_train" else op.regions
            if any(draws(r.ops) for r in regions):
                return True
        return False

    own = [i for i in module.instances if path is not None and _below(i.path, path)]
    return any(draws(v.ops) for i in own for v in i.variants)


def _below(path: str, root: str) -> bool:
    return root == "" or path == root or path.startswith(root + ".")


class Trunk:
    """What all instances of one module share.

    Attributes:
        sizes: what the free sizes are.
        bound: whether the module knows them.
        places: the instances drawn, in pre-order.
    """

    def __init__(self, rng: Random, sizes: dict[str, int], bound: bool, ops: int):
        self.rng, self.sizes, self.bound, self.ops = rng, sizes, bound, ops
        self.places: list[Place] = []
        self.salts = 0
        self.wanted: list[str] = []
        self.initializers: list[str] = []


class Place:
    """An instance being drawn."""

    def __init__(self, trunk: Trunk, path: str, layer: str, free: tuple[str, ...], depth: int):
        self.trunk, self.rng, self.sizes = trunk, trunk.rng, trunk.sizes
        self.path, self.layer, self.free, self.depth = path, layer, free, depth
        self.known = tuple(trunk.sizes) if trunk.bound else free
        self.dims: list[Dim] = []
        self.params: list[Variable] = []
        self.states: list[Variable] = []
        self.children: list[tuple[Child, Place]] = []
        self.variants: list[Variant] = []
        self.calls: dict[str, int] = {}
        self.carried: dict[int, list[tuple[int, int]]] = {}
        self.handed: list[int] = []  # how many results of each body are made to be handed on
        self.loss = False
        self.effects = False  # whether it, or one below it, has state or metrics
        self.stored = False  # whether it, or one below it, has parameters or state
        trunk.places.append(self)

    # Dims.

    def dim(self, size: Size, without=(), fresh: bool = False) -> Dim:
        """A dim of that size: one that is there, or a new one."""
        found = [d for d in self.dims if d.size == size and d not in without]
        if found and not fresh and self.rng.random() < 0.7:
            return self.rng.choice(found)
        taken = {d.name for d in self.dims}
        name = size.symbol or self.rng.choice(DIM_NAMES)
        if name in taken and self.rng.random() < 0.9:
            number = next(i for i in range(1, 999) if f"{name}{i}" not in taken)
            name = f"{name}{number}"
        dim = Dim(len(self.dims) + 3 * (self.depth % 2), name, size)
        self.dims.append(dim)
        return dim

    def n(self, dim: Dim) -> int:
        """How large a dim is."""
        return dim.size.evaluate(self.sizes)

    def told(self, fixed: bool = False) -> list[Dim]:
        """Dims whose sizes the instance knows, by its inputs or since they are numbers."""
        return [
            d for d in self.dims
            if (d.size.is_constant or (not fixed and set(d.size.names) <= set(self.known)))
            and self.n(d) <= 12
        ]  # fmt: skip

    def some_dim(self, draft: Draft, without=()) -> Dim:
        """A dim that is there, or a new one of a fixed size."""
        found = [d for d in self.told() if d not in without and self.n(d) <= 6]
        if found and self.rng.random() < 0.9:
            return self.rng.choice(found)
        return self.dim(Size.of(self.rng.choice((1, 2, 2, 3, 4))), without=without, fresh=True)

    # What is declared.

    def draw(self, repeats: bool = True, signature: str = "") -> None:
        """Draw children, then variables, then bodies."""
        rng = self.rng
        for name in self.free:
            self.dim(Size.free(name), fresh=True)
        for _ in range(rng.randint(1, 2)):
            self.dim(Size.of(rng.choice((1, 2, 2, 3, 3, 4))), fresh=True)
        most = (3, 2, 0)[min(self.depth, 2)]
        for name in rng.sample(CHILDREN, rng.randint(0, most)):
            self.child(name)
        for _ in range(
            max(rng.choice((0, 1, 2)), 0 if self.path else len(self.trunk.initializers))
        ):
            self.variable(self.params)
        for _ in range(rng.choice((0, 0, 1, 2))):
            self.variable(self.states)
        self.stored = bool(self.params or self.states) or any(p.stored for _, p in self.children)
        self.effects = bool(self.states) or any(p.effects for _, p in self.children)
        for _ in range(1 if not self.path else rng.choice((1, 1, 2))):
            self.variant(signature)

    def child(self, name: str) -> None:
        rng = self.rng
        mode = rng.choice(("one", "one", "repeat", "repeat", "each"))
        free = tuple(n for n in self.free if rng.random() < 0.7)
        twin = [p for c, p in self.children if rng.random() < 0.3]
        place = Place(self.trunk, join(self.path, name), rng.choice(LAYERS), free, self.depth + 1)
        if twin:
            place.copy(twin[0])
        else:
            place.draw(signature=mode)
        along = None
        if mode != "one":
            told = [d for d in self.told() if self.n(d) <= 4]
            fixed = [d for d in told if d.size.is_constant]
            along = rng.choice(fixed if place.stored or rng.random() < 0.7 else told)
        self.children.append((Child(name, mode, along), place))

    def copy(self, other: Place) -> None:
        """Become the same as another instance, with all below it: functions of both are one."""
        self.layer, self.free, self.known = other.layer, other.free, other.known
        self.dims, self.params, self.states = list(other.dims), other.params, other.states
        self.variants, self.calls, self.handed = other.variants, dict(other.calls), other.handed
        self.effects, self.stored = other.effects, other.stored
        for child, place in other.children:
            mine = Place(self.trunk, join(self.path, child.name), "", (), self.depth + 1)
            mine.copy(place)
            self.children.append((child, mine))

    def variable(self, table: list[Variable]) -> None:
        rng = self.rng
        taken = {v.name for v in (*self.params, *self.states)} | {c.name for c, _ in self.children}
        names = [n for n in NAMES if n not in taken]
        fixed = self.told(fixed=True)
        state = table is self.states
        kind = rng.choice(KINDS) if state else "float"
        if self.trunk.initializers and not state:
            while len(fixed) < 2:
                fixed.append(self.dim(Size.of(rng.choice((2, 3))), fresh=True))
            order = tuple(rng.sample(fixed, 2))
        else:
            order = tuple(rng.sample(fixed, rng.randint(0, min(3, len(fixed)))))
        init = self.init(kind, order, draws=not state)
        table.append(Variable(rng.choice(names), Type(kind, order), order, init))

    def init(self, kind: str, order: tuple[Dim, ...], draws: bool) -> Region:
        """An initializer; those of states draw nothing."""
        rng = self.rng
        self.known, known = (), self.known
        draft = Draft(self, plain=True)
        wanted = draws and self.trunk.initializers
        if kind == "float" and len(order) > 1 and draws and (wanted or rng.random() < 0.5):
            fans = rng.sample(order, rng.randint(2, len(order)))
            cut = rng.randint(1, len(fans) - 1)
            name = wanted.pop() if wanted else rng.choice(INITIALIZERS)
            ins, outs = (math.prod(map(self.n, part)) for part in (fans[:cut], fans[cut:]))
            if name == "delta_orthogonal" and ins > outs:
                name = "orthogonal"
            attrs = {"scale": rng.choice((1.0, 2.0))}
            attrs = attrs if name in ("orthogonal", "delta_orthogonal", "identity") else {}
            if name == "variance_scaling":
                attrs = {
                    "scale": 0.5,
                    "mode": rng.choice(("fan_in", "fan_out", "fan_avg")),
                    "distribution": rng.choice(("truncated_normal", "normal", "uniform")),
                }
            id = draft.put(
                name, dims=order, fan_in=tuple(fans[:cut]), fan_out=tuple(fans[cut:]),
                **({} if name == "identity" else {"salt": draft.salt()}), **attrs,
            )  # fmt: skip
        elif rng.random() < 0.5:
            id = draft.mold(draft.const({"float": 0.5, "int": 2, "bool": True}[kind]), order)
        else:
            if kind == "float":
                ops = ("zeros", "ones", "full", "index")
                ops += ("normal", "truncated_normal", "uniform") if draws else ()
                for _ in range(rng.randint(1, 3)):
                    name = rng.choice(ops)
                    DRAWN[name](draft, name)
            draft.steps(rng.randint(0, 2) if draws else 0)
            id = draft.mold(draft.pick(kind, level=1), order)
        self.known = known
        return Region((), draft.builder.close(), (id,))

    def finish(self) -> Instance:
        """The instance."""
        return Instance(
            self.path,
            self.layer,
            self.rng.choice(("", "A layer.", 'Says "hi" \\ and\n"""more""".', "Long. " * 30)),
            tuple(self.dims),
            tuple(self.params),
            tuple(self.states),
            tuple(c for c, _ in self.children),
            tuple(self.variants),
            None if self.rng.random() < 0.5 else span(self.rng),
        )

    # Bodies.

    def variant(self, mode: str) -> None:
        """Draw a body: its arguments, ops, results and writes."""
        rng = self.rng
        draft = Draft(self)
        names = rng.sample(NAMES, 4)
        draft.labels.update(names)
        free = [d for d in self.dims if d.size.symbol in self.free]
        free = list({d.size.symbol: d for d in reversed(free)}.values())
        first = True
        inputs = []
        for name in names[: rng.randint(1, 3)]:
            others = [d for d in self.told() if d not in free]
            dims = list(free) if first else rng.sample(free, rng.randint(0, len(free)))
            dims += rng.sample(others, rng.randint(0, min(2, len(others))))
            rng.shuffle(dims)
            kind = "float" if first else rng.choice(KINDS)
            value = draft.builder.define(
                Value(-1, Type(kind, tuple(dims)), name, axes(tuple(dims)))
            )
            draft.see(value.id, exact=not self.path or kind != "float")
            inputs.append(value)
            first = False
        draft.steps(max(1, int(self.trunk.ops * rng.uniform(0.3, 1.2) / (1 + self.depth))))
        if not self.path:
            draft.steps_of(self.trunk.wanted)
        for child, _ in self.children:
            if rng.random() < 0.8 and not any(
                op.name in CALLS and op["child"] == child.name for op in walk(tuple(draft.ops))
            ):
                draft.call(child.name)
        writes = draft.writes()
        results = self.results(draft, inputs, mode)
        ops = draft.builder.close()
        self.variants.append(Variant(tuple(inputs), ops, results, writes))

    def results(self, draft: Draft, inputs: list[Value], mode: str) -> tuple[Result, ...]:
        rng = self.rng
        if self.loss:
            kept = [draft.calm(i, 1) for i in draft.unread()] or [draft.pick("float")]
            kept = [draft.mean(id) for id in kept]
            if draft.type(kept[0]).kind != "float":
                kept.insert(0, draft.mean(draft.pick("float")))
            total = kept[0]
            for id in kept[1:]:
                total = draft.put("add", total, id)
            draft.metric("loss", total)
            return (Result("", total, ()),)
        found = []
        if mode == "repeat" and rng.random() < 0.9:
            for value in rng.sample(inputs, rng.randint(1, len(inputs))):
                id = draft.pick(value.type.kind, level=0)
                id = draft.narrow(draft.calm(draft.mold(id, value.type.dims), 0))
                found.append((id, tuple(rng.sample(value.type.dims, len(value.type.dims)))))
                if rng.random() < 0.8:
                    found[-1] = (id, tuple(a[0] for a in value.order))
        self.handed.append(len(found))
        unread = draft.unread()
        for id in unread if not self.path else unread[:2]:
            dims = draft.dims(id)
            found.append((id, tuple(rng.sample(dims, len(dims)))))
        for _ in range(rng.randint(0, 1) if found else 1):
            id = draft.pick(rng.choice(KINDS), level=2)
            if rng.random() < 0.05:
                id = inputs[0].id
            dims = draft.dims(id)
            found.append((id, tuple(rng.sample(dims, len(dims)))))
        names = [rng.choice(("out", "h", "last", "more", "y")) + str(i) for i in range(len(found))]
        return tuple(
            Result(n if rng.random() < 0.3 else "", id, order)
            for n, (id, order) in zip(names, found, strict=True)
        )


def span(rng: Random) -> Span:
    """Some place in a file."""
    line = rng.randint(1, 40)
    return Span("random.nw", line, 1, line, 5)


class Draft:
    """A body being drawn.

    Attributes:
        seen: ids of values that may be read now, with whether each is exact, and its level.
        inside: the ops around: `scan` and `train`.
    """

    def __init__(self, place: Place, plain: bool = False):
        self.place, self.rng, self.plain = place, place.rng, plain
        self.builder = Builder()
        self.seen: dict[int, tuple[bool, int]] = {}
        self.inside: list[str] = []
        self.labels: set[str] = set()
        self.metrics: set[str] = set()
        self.states: dict[str, int] = {}  # what was put into states within branches

    @property
    def ops(self) -> list[Op]:
        return [op for body in self.builder.bodies for op in body]

    # Values.

    def chance(self, p: float) -> bool:
        return self.rng.random() < p

    def kind(self) -> str:
        return self.rng.choice(KINDS)

    def shuffled(self, *items) -> list:
        return self.rng.sample(items, len(items))

    def see(self, id: int, exact: bool = False, level: int = 0) -> int:
        self.seen[id] = (exact, level)
        return id

    def type(self, id: int) -> Type:
        return self.builder.type(id)

    def dims(self, id: int) -> tuple[Dim, ...]:
        return self.type(id).dims

    def n(self, dim: Dim) -> int:
        return self.place.n(dim)

    def exact(self, id: int) -> bool:
        return self.seen[id][0] or self.type(id).kind != "float"

    def level(self, id: int) -> int:
        return self.seen[id][1]

    def salt(self) -> int:
        self.place.trunk.salts += 1
        return self.place.trunk.salts * 7919 % 2**32

    def label(self) -> str:
        """A label that the body does not have yet, or none."""
        if self.plain or self.chance(0.4):
            return ""
        base = self.rng.choice(NAMES)
        base = self.rng.choice((base, base, f"{base}.2", f"{base}:add", f"{base}:net", "return:y"))
        found, number = base, 1
        while found in self.labels:
            number += 1
            found = f"{base}.{number}"
        self.labels.add(found)
        return found

    def span(self) -> Span | None:
        return None if self.chance(0.7) else span(self.rng)

    def put(
        self, name: str, /, *operands: int, exact: bool = False, level: int | None = None, **attrs
    ) -> int:
        """Append an op of one result."""
        attrs |= attrs.pop("more", {})
        attrs = {k: tuple(v) if isinstance(v, list) else v for k, v in attrs.items()}
        results = (Value(-1, Type("float"), self.label()),)
        (id,) = self.builder.append(
            Op(name, operands, results, attributes(**attrs), span=self.span())
        )
        if level is None:
            level = max((self.level(o) for o in operands), default=0)
        return self.see(id, exact, min(level, 3))

    def put_several(
        self, name: str, *operands: int, count: int, exact=False, level=None, **attrs
    ) -> tuple[int, ...]:
        """Append an op of several results."""
        results = tuple(Value(-1, Type("float"), self.label()) for _ in range(count))
        ids = self.builder.append(Op(name, operands, results, attributes(**attrs), (), self.span()))
        level = max(map(self.level, operands)) if level is None else level
        for id in ids:
            self.see(id, exact, level)
        return ids

    def const(self, value: bool | int | float) -> int:
        """A number."""
        dtype = "bool" if isinstance(value, bool) else type(value).__name__
        id = self.builder.add("const", value=value, dtype=dtype)
        return self.see(id, True, 0)

    def pick(
        self, kind: str, exact: bool = False, level: int = 1, within: tuple | list | None = None
    ) -> int:
        """A value that is there, or a new one; over some of the dims `within` if they are given."""
        found = [
            i for i, (e, l) in self.seen.items()  # noqa: E741
            if self.type(i).kind == kind and (e or not exact or kind != "float")
            and (exact is False or l <= level)
            and (within is None or set(self.dims(i)) <= set(within))
        ]  # fmt: skip
        # Late values more often, so that programs grow deep.
        if found and self.chance(0.5):
            found = found[-4:]
        if found and (within is None or self.chance(0.7)) and self.chance(0.93):
            return self.calm(self.rng.choice(found), level)
        if within is not None and not exact and self.chance(0.7):
            dims = tuple(d for d in within if self.chance(0.7))
            other = self.pick(kind, level=level)
            return self.calm(self.mold(other, dims), level)
        return self.make(kind, within)

    def make(self, kind: str, within: tuple | list | None = None) -> int:
        """A value from nothing."""
        told = [d for d in self.place.told() if within is None or d in within]
        dims = self.rng.sample(told, min(len(told), self.rng.randint(0, 2)))
        variables = [
            (op, v)
            for op, table in (("param", self.place.params), ("state", self.place.states))
            for v in table
            if v.type.kind == kind and (within is None or set(v.order) <= set(within))
        ]
        if variables and not self.plain and self.chance(0.6):
            return self.read(*self.rng.choice(variables))
        if kind == "float":
            if dims and self.chance(0.5):
                id = self.make("int", within)
                return self.put("multiply", id, self.const(0.3), exact=False)
            return self.mold(self.const(self.rng.choice((0.7, -0.4, 1.5))), dims)
        if kind == "int":
            if dims:
                id = self.put("index", dims=(dims[0],), exact=True)
                return self.mold(id, dims)
            return self.const(self.rng.choice((0, 1, 2, 3)))
        id = self.put("less", self.make("int", within), self.const(1), exact=True)
        return id

    def read(self, op: str, v: Variable) -> int:
        """A parameter or state, as it was when the body began."""
        order = axes(v.order) if self.chance(0.8) or v.order != v.type.dims else None
        value = Value(-1, v.type, self.label(), order)
        attrs = attributes(name=v.name, child="")
        (id,) = self.builder.append(Op(op, (), (value,), attrs, (), self.span()))
        return self.see(id, op == "param" or v.type.kind != "float", 0)

    def unread(self) -> list[int]:
        """What can be read here and nobody does, late values first."""
        ops = tuple(self.ops)
        read = {o for op in walk(ops) for o in op.operands}
        read.update(i for op in walk(ops) for r in op.regions for i in r.results)
        made = [r.id for op in ops if op.name not in ("const", "size") for r in op.results]
        return [i for i in reversed(made) if i not in read and i in self.seen]

    def calm(self, id: int, level: int) -> int:
        """The value, or what is made of it, at a level at most."""
        if self.level(id) <= level:
            return id
        if self.type(id).kind == "int":
            return self.put("remainder", id, self.const(5), level=0, exact=True)
        if self.type(id).kind == "bool":
            return id
        if level < 2 and self.level(id) < 3 and self.chance(0.3):
            return self.put("clip", id, low=-2.0, high=2.0, level=0)
        return self.put(self.rng.choice(("tanh", "sigmoid", "erf")), id, level=0)

    def mean(self, id: int) -> int:
        return self.put("mean", id, dims=self.dims(id)) if self.dims(id) else id

    def widened(self, id: int) -> int:
        """The value over one more dim."""
        dim = self.place.some_dim(self, without=self.dims(id))
        return self.put("expand", id, dims=(dim,), exact=self.exact(id))

    def mold(self, id: int, dims) -> int:
        """A value made of one, over exactly these dims."""
        more = [d for d in self.dims(id) if d not in dims]
        if more:
            kind = self.type(id).kind
            name = {"int": "max", "bool": "any"}.get(kind) or self.rng.choice(("sum", "mean"))
            id = self.put(name, id, dims=tuple(more), level=self.level(id), exact=kind != "float")
        missing = [d for d in dims if d not in self.dims(id)]
        self.rng.shuffle(missing)
        if missing:
            id = self.put("expand", id, dims=tuple(missing), exact=self.exact(id))
        return id

    def of_type(self, type_: Type, level: int = 0) -> int:
        """A value of that type."""
        return self.calm(self.mold(self.pick(type_.kind, level=level), type_.dims), level)

    def narrow(self, id: int) -> int:
        """The value; if it is an int, in 32 bits in double precision too: loops insist on that."""
        if self.type(id).kind != "int":
            return id
        real = self.put("multiply", id, self.const(1.0), exact=True)
        return self.put("round", real, exact=True)

    # Ops.

    def steps(self, number: int) -> None:
        """Append about so many ops."""
        structures = {"if_train": 0.9, "scan": 0.9, "metric": 0.6, "param": 1, "state": 0.7}
        if self.place.children:
            structures |= {"call": 5, "inner": 0.5}
        if self.plain:
            structures = {}
        weights = {**WEIGHTS, **{k: v * len(WEIGHTS) / 12 for k, v in structures.items()}}
        if self.plain:
            for name in ("name",):
                weights.pop(name)
        names = list(weights)
        for _ in range(number):
            (name,) = self.rng.choices(names, list(weights.values()))
            self.step(name)

    def steps_of(self, names: list[str]) -> None:
        """Append each of these ops; what cannot be drawn is tried again."""
        for name in names:
            for _ in range(20):
                if DRAWN[name](self, name) and any(op.name == name for op in walk(tuple(self.ops))):
                    break

    def step(self, name: str) -> None:
        if name in DRAWN:
            DRAWN[name](self, name)
        elif name == "call":
            self.call(self.rng.choice(self.place.children)[0].name)
        elif name == "metric":
            self.metric(self.rng.choice(("loss", "accuracy", "size", "x")))
        elif name in ("param", "state"):
            table = self.place.params if name == "param" else self.place.states
            if table:
                self.read(name, self.rng.choice(table))
        elif name == "inner":
            self.inner()
        elif len(self.inside) < 2:
            getattr(self, f"_{name}")()

    def inner(self) -> None:
        """A parameter of an instance that this one uses."""
        found: list[tuple[str, Variable]] = []

        def look(prefix: str, place: Place) -> None:
            for child, inner in place.children:
                if child.mode == "one":
                    path = join(prefix, child.name)
                    found.extend((path, v) for v in inner.params)
                    look(path, inner)

        look("", self.place)
        if not found:
            return
        path, v = self.rng.choice(found)
        order: list[Dim] = []
        for dim in v.order:
            order.append(self.place.dim(dim.size, without=order))
        value = Value(-1, Type("float", tuple(order)), self.label(), axes(tuple(order)))
        attrs = attributes(name=v.name, child=path)
        (id,) = self.builder.append(Op("param", (), (value,), attrs, (), self.span()))
        self.see(id, True, 0)

    def metric(self, name: str, id: int | None = None) -> None:
        """Report a scalar, perhaps with how many it is the mean of."""
        if "scan" in self.inside or name in self.metrics:
            return
        self.metrics.add(name)
        self.place.effects = True
        x = self.pick("float", level=1) if id is None else id
        operands = (self.mean(x),)
        if self.chance(0.4) and self.dims(x):
            size = x if False else self.type(x).elements()
            operands = (*operands, self.put("size", size=size, exact=True))
        self.builder.append(Op("metric", operands, (), attributes(name=name), (), self.span()))

    def call(self, name: str) -> None:
        """A call of a child, in the way in which it is used."""
        place = self.place
        child, inner = next((c, p) for c, p in place.children if c.name == name)
        if not inner.variants or ("scan" in self.inside and inner.effects):
            return
        index = self.rng.randrange(len(inner.variants))
        variant = inner.variants[index]
        known = {v.id: v for v in variant.inputs}
        known |= {r.id: r for op in variant.ops for r in op.results}
        used = dict.fromkeys(d for v in variant.inputs for d in v.type.dims)
        used.update(dict.fromkeys(d for r in variant.results for d in r.order))
        mapping: dict[Dim, Dim] = {}
        for dim in used:
            taken = (*mapping.values(), *((child.along,) if child.along else ()))
            mapping[dim] = place.dim(dim.size, without=taken)
        count = len(variant.inputs)
        carried = self._carried(inner, index, known) if child.mode == "repeat" else []
        targets = {a for _, a in carried}
        dealt: tuple[int, ...] = ()
        if child.mode != "one":
            dealt = tuple(i for i in range(count) if i not in targets and self.chance(0.4))
        operands = []
        for position, value in enumerate(variant.inputs):
            dims = [mapping[d] for d in value.type.dims]
            if position in dealt:
                dims.append(child.along)
            operand = self.of_type(Type(value.type.kind, tuple(dims)))
            operands.append(self.narrow(operand) if position in targets else operand)
        results = []
        state_order = self.chance(0.7)
        for position, result in enumerate(variant.results):
            order = tuple(mapping[d] for d in result.order)
            if child.mode != "one" and position not in dict(carried):
                order = (child.along, *order)
            type_ = Type(known[result.value].type.kind, order)
            stated = axes(order) if state_order else None
            results.append(Value(-1, type_, self.label(), stated))
        attrs = {
            "child": name,
            "variant": index,
            "occurrence": place.calls.get(name, 0),
            "binding": tuple(sorted(((d.id, o) for d, o in mapping.items()), key=lambda p: p[0])),
        }
        place.calls[name] = place.calls.get(name, 0) + 1
        if child.mode != "one":
            attrs |= {"along": child.along, "dealt": dealt}
        if child.mode == "repeat":
            attrs["carried"] = tuple(carried)
        mode = {"one": "call"}.get(child.mode, child.mode)
        op = Op(mode, tuple(operands), tuple(results), attributes(**attrs), (), self.span())
        for id in self.builder.append(op):
            self.see(id, False, 3 if self.type(id).kind == "float" else 0)

    def _carried(self, inner: Place, index: int, known: dict[int, Value]) -> list[tuple[int, int]]:
        """What the copies hand on; the same wherever a body is repeated."""
        if index in inner.carried:
            return inner.carried[index]
        variant = inner.variants[index]
        pairs: list[tuple[int, int]] = []
        for position, result in enumerate(variant.results):
            type_ = known[result.value].type
            fits = [
                i for i, v in enumerate(variant.inputs)
                if v.type == type_ and (type_.kind != "int" or position < inner.handed[index])
                and i not in {a for _, a in pairs}
            ]  # fmt: skip
            if fits and self.chance(0.85):
                pairs.append((position, self.rng.choice(fits)))
        inner.carried[index] = self.shuffled(*pairs) if self.chance(0.3) else pairs
        return inner.carried[index]

    # Bodies inside the body.

    def _if_train(self) -> None:
        if "train" in self.inside:
            return
        outside = dict(self.seen)
        self.inside.append("train")
        count = self.rng.randint(0, 3)
        types: list[Type] = []
        regions, seen = [], []
        for branch in range(2):
            self.builder.open()
            self.seen = dict(outside)
            if self.chance(0.75):
                self.steps(self.rng.randint(1, 3))
            if branch == 0:
                ids = [self.pick(self.kind(), level=1) for _ in range(count)]
                types = [self.type(i) for i in ids]
                if self.seen.keys() == outside.keys() and self.chance(0.3):
                    ids, types = ids[:1], types[:1]
            else:
                same = [[i for i in outside if self.type(i) == t] for t in types]
                ids = [
                    self.rng.choice(s) if s and self.chance(0.7) else self.of_type(t, 1)
                    for s, t in zip(same, types, strict=True)
                ]
            seen.append([self.seen[i] for i in ids])
            regions.append(Region((), self.builder.close(), tuple(ids)))
        self.inside.pop()
        self.seen = outside
        results = tuple(Value(-1, t, self.label()) for t in types)
        if not results and not any(r.ops for r in regions):
            return
        op = Op("if_train", (), results, (), tuple(regions), self.span())
        for id, (a, b) in zip(self.builder.append(op), zip(*seen, strict=True), strict=True):
            self.see(id, a[0] and b[0], max(a[1], b[1]))

    def _scan(self) -> None:
        along = self.place.some_dim(self)
        inputs = []
        for _ in range(self.rng.choice((0, 1, 1, 2))):
            x = self.pick(self.kind(), level=1)
            if along not in self.dims(x):
                x = self.put("expand", x, dims=(along,), exact=self.exact(x))
            inputs.append(x)
        carry = []
        for _ in range(self.rng.choice((0, 1, 1, 2))):
            x = self.pick(self.rng.choice(("float", "float", "int", "bool")), level=0)
            x = self.mold(x, tuple(d for d in self.dims(x) if d != along))
            carry.append(self.narrow(x))
        outside = dict(self.seen)
        step = self.builder.define(Value(-1, Type("int")))
        arguments = [step]
        self.see(step.id, True, 0)
        for x in (*inputs, *carry):
            type_ = self.type(x)
            type_ = type_.with_dims(d for d in type_.dims if d != along)
            value = self.builder.define(Value(-1, type_, self.label()))
            arguments.append(value)
            sliced = x in inputs
            self.see(value.id, sliced and self.exact(x), self.level(x) if sliced else 0)
        self.inside.append("scan")
        self.builder.open()
        if self.chance(0.9):
            self.steps(self.rng.randint(1, 4))
        ends = [self.narrow(self.of_type(v.type)) for v in arguments[1 + len(inputs) :]]
        emits = []
        for _ in range(self.rng.choice((0, 1, 1, 2) if ends else (1, 1, 2))):
            x = self.pick(self.kind(), level=1)
            emits.append(self.mold(x, tuple(d for d in self.dims(x) if d != along)))
        found = [self.type(e) for e in emits]
        levels = [self.seen[e] for e in emits]
        region = Region(tuple(arguments), self.builder.close(), (*ends, *emits))
        self.inside.pop()
        self.seen = outside
        results = [Value(-1, self.type(c), self.label()) for c in carry]
        results += [Value(-1, t.with_dims((*t.dims, along)), self.label()) for t in found]
        attrs = attributes(along=along, carry=len(carry))
        op = Op("scan", (*inputs, *carry), tuple(results), attrs, (region,), self.span())
        ids = self.builder.append(op)
        for position, id in enumerate(ids):
            exact, level = (False, 0) if position < len(carry) else levels[position - len(carry)]
            self.see(id, exact, level)

    def writes(self) -> tuple[tuple[str, int], ...]:
        """What the states get: some, and of these some in training only."""
        found = []
        for state in self.place.states:
            if not self.chance(0.7):
                continue
            if self.chance(0.4):
                old = self.read("state", state)
                self.builder.open()
                outside = dict(self.seen)
                new = self.of_type(state.type)
                then = Region((), self.builder.close(), (new,))
                self.seen = outside
                value = Value(-1, state.type, self.label())
                op = Op("if_train", (), (value,), (), (then, Region((), (), (old,))))
                (id,) = self.builder.append(op)
                self.see(id, False, 0)
            else:
                id = self.of_type(state.type)
            found.append((state.name, id))
        return tuple(found)
