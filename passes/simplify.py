"""Does less for the same meaning: folds constants, drops what changes nothing, computes equal
things once, drops what nobody reads, and writes sums of products as `dot`.

Each rule looks at one op and what defines its operands; rules run until none applies. Labels are
handed on to what stands for a labelled value. What a person declared (parameters, states,
instances) stays, used or not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

from ..ir.core import Module, Op, Region, Variable, Variant, attributes, walk
from ..ir.facts import effects
from ..ir.plan import Plan
from ..ir.registry import lookup
from ..ir.rewrite import Scope, rewrite
from ..ir.signature import CALLS
from .constant_folding import fold, scalar
from .manager import Pass

_ROUNDS = 20  # each round shrinks the module or ends the loop; this only guards against a bug


@dataclass
class Simplify(Pass):
    """Does less for the same meaning."""

    name: ClassVar[str] = "simplify"
    produces: ClassVar[tuple[str, ...]] = ("simplified",)

    def run(self, module: Module, plan: Plan) -> Module:
        return simplify(module, self.count)


@dataclass
class Specialise(Pass):
    """Keeps the branches of training, or those of evaluation."""

    name: ClassVar[str] = "specialise"
    produces: ClassVar[tuple[str, ...]] = ("specialised",)
    train: bool = True

    def run(self, module: Module, plan: Plan) -> Module:
        return specialise(module, self.train)


Count = Callable[[str], None]


def simplify(module: Module, count: Count = lambda what: None) -> Module:
    """The module simplified, with the fact `simplified`; `count` is told of each thing done."""
    for _ in range(_ROUNDS):
        before = module
        module = drop_unread(rewrite(module, _Rules(count)), count)
        if module == before:
            break
    return replace(module, facts=tuple(sorted({*module.facts, "simplified"})))


def specialise(module: Module, train: bool) -> Module:
    """The module without `if_train`, as it is in training or elsewhere; fact `specialised`."""

    def visit(scope: Scope, op: Op) -> Iterable[int] | None:
        if op.name != "if_train":
            return None
        region = op.regions[0 if train else 1]
        scope.visit(region.ops, visit)
        return [scope.new(r) for r in region.results]

    if any(op.name == "if_train" for _, _, op in module.walk()):
        module = drop_unread(rewrite(module, visit, inits=False))
    return replace(module, facts=tuple(sorted({*module.facts, "specialised"})))


# What nobody reads


def drop_unread(module: Module, count: Count = lambda what: None) -> Module:
    """The module without ops whose results nobody reads, but for those with an effect."""
    dead: dict[tuple[str, int], set[int]] = {}
    for instance in module.instances:
        bodies: list[tuple[Variant | Variable, tuple[Op, ...], list[int]]] = [
            (v, v.ops, [r.value for r in v.results] + [i for _, i in v.writes])
            for v in instance.variants
        ]
        variables = (*instance.params, *instance.states)
        bodies += [(v, v.init.ops, list(v.init.results)) for v in variables]
        for body, ops, ends in bodies:
            live = set(ends)
            gone: set[int] = set()
            _live(ops, live, gone, lambda op, of=instance: effects(module, of, op))
            if gone:
                dead[instance.path, id(body)] = gone

    def visit(scope: Scope, op: Op) -> Iterable[int] | None:
        gone = dead.get((scope.instance.path, id(scope.variant or scope.variable)), ())
        if op.results and op.results[0].id in gone:
            count("ops that nobody reads")
            return ()
        return None

    return rewrite(module, visit) if dead else module


def _live(ops: tuple[Op, ...], live: set[int], gone: set[int], effect: Callable) -> None:
    """Marks what is read, last op first; `gone` takes the first result of each op to be dropped."""
    for op in reversed(ops):
        if op.results and not any(r.id in live for r in op.results) and not effect(op):
            gone.add(op.results[0].id)
            continue
        live.update(op.operands)
        for region in op.regions:
            live.update(region.results)
            _live(region.ops, live, gone, effect)


# Rules


class _Rules:
    """The visitor. It remembers, for the body at hand, what is computed already."""

    def __init__(self, count: Count):
        self.count = count
        self.scope: Scope | None = None
        self.known: list[dict[object, tuple[int, ...]]] = []
        self.reads: Counter[int] = Counter()
        self.single: set[int] = set()

    def __call__(self, scope: Scope, op: Op) -> Iterable[int] | None:
        if scope is not self.scope:
            self.scope, self.known, self.single = scope, [{}], set()
            self.reads = _reads(scope)
        for rule in _RULES:
            made = rule(scope, op, self.single)
            if made is not None:
                self.count(rule.__name__.strip("_").replace("_", " "))
                return made
        key = _key(op)
        for table in reversed(self.known):
            if key is not None and key in table:
                self.count("computed already")
                self.single.difference_update(table[key])
                return table[key]
        regions = []
        if op.name == "scan":
            op = _read_outside(scope, op)
        for region in op.regions:
            self.known.append({})
            regions.append(scope.inside(region, self))
            self.known.pop()
        once = [self.reads[r.id] == 1 for r in op.results]
        ids = scope.append(replace(op, regions=tuple(regions)))
        self.single.update(i for i, single in zip(ids, once, strict=True) if single)
        if key is not None:
            self.known[-1][key] = ids
        return ids


def _reads(scope: Scope) -> Counter[int]:
    """How often each value of the old body is read."""
    found: Counter[int] = Counter()
    body = scope.variant
    if body is not None:
        found.update(r.value for r in body.results)
        found.update(id for _, id in body.writes)
        ops = body.ops
    else:
        init: Region = scope.variable.init
        found.update(init.results)
        ops = init.ops
    for op in walk(ops):
        found.update(op.operands)
        for region in op.regions:
            found.update(region.results)
    return found


def _key(op: Op) -> object:
    """Equal for ops that compute the same; None for those that draw, count, or hold bodies."""
    if op.regions or op.name in CALLS or not op.results or lookup(op.name).effect:
        return None
    forms = tuple((r.type, r.order) for r in op.results)
    return op.name, op.operands, exact(op.attrs), forms


def exact(value: object) -> object:
    """A constant so that equal means the same: 1, 1.0 and true differ, so do 0.0 and -0.0."""
    if isinstance(value, tuple):
        return tuple(map(exact, value))
    return type(value).__name__, repr(value) if isinstance(value, float) else value


def _read_outside(scope: Scope, op: Op) -> Op:
    """A scan whose body reads what is the same at every step from outside of it."""
    (region,) = op.regions
    first = len(op.operands) - op["carry"]
    operands, arguments = list(op.operands[first:]), list(region.arguments[first + 1 :])
    kept, steps = [], []
    for id, argument in zip(op.operands[:first], region.arguments[1:], strict=False):
        made = scope.defining(id)
        if made is None or made.name != "expand" or op["along"] not in made["dims"]:
            kept.append(id)
            steps.append(argument)
            continue
        rest = tuple(d for d in made["dims"] if d != op["along"])
        inner = made.operands[0]
        scope.stand_for(argument.id, scope.add("expand", inner, dims=rest) if rest else inner)
    arguments = [region.arguments[0], *steps, *arguments]
    inside = Region(tuple(arguments), region.ops, region.results)
    return replace(op, operands=(*kept, *operands), regions=(inside,))


def _same(scope: Scope, id: int, op: Op) -> tuple[int] | None:
    """The value in the place of the op's result, if types and orders allow it."""
    result = op.result
    if scope.type(id) != result.type:
        return None
    if result.order is not None and scope.value(id).order != result.order:
        return None
    return (id,)


def _folded(scope: Scope, op: Op, single: set[int]) -> Iterable[int] | None:
    value = fold(scope, op)
    if value is None:
        return None
    dtype = op.result.type.dtype
    order = op.result.order
    # A label is worth more than a number: a labelled value may be asked for.
    return (
        scope.add(
            "const", value=value, dtype=dtype, label=op.result.label, orders=(order,), span=op.span
        ),
    )


_NEUTRAL: dict[str, tuple[int | None, int | None]] = {
    "add": (0, 0),
    "subtract": (None, 0),
    "multiply": (1, 1),
    "divide": (None, 1),
    "logical_and": (True, True),
    "logical_or": (False, False),
}
"""For ops of two operands: the number that, as the first or second, changes nothing."""


def _neutral_operand(scope: Scope, op: Op, single: set[int]) -> Iterable[int] | None:
    for position, neutral in enumerate(_NEUTRAL.get(op.name, ())):
        if neutral is None:
            continue
        value = scalar(scope, op.operands[position])
        if type(value) is bool and value is neutral:
            made = _mask_over(scope, op.operands[1 - position], op)
        elif type(value) in (int, float) and value == neutral:
            made = _same(scope, op.operands[1 - position], op)
        else:
            continue
        if made is not None:
            return made
    return None


def _mask_over(scope: Scope, id: int, op: Op) -> Iterable[int] | None:
    """A mask over the dims of the op's result, which may be more than it has."""
    missing = tuple(d for d in op.result.type.dims if d not in scope.type(id).dims)
    if not missing or op.result.order is not None:
        return _same(scope, id, op)
    return (scope.add("expand", id, dims=missing, label=op.result.label, span=op.span),)


def _mask_of_all(scope: Scope, op: Op, single: set[int]) -> Iterable[int] | None:
    """An op whose mask leaves everything is the op without a mask."""
    position = op.extra("where")
    if position is None or scalar(scope, op.operands[position]) is not True:
        return None
    operands = tuple(id for i, id in enumerate(op.operands) if i != position)
    extra = tuple(name for name in op.get("extra", ()) if name != "where")
    attrs = {n: v for n, v in op.attrs if n != "extra"} | ({"extra": extra} if extra else {})
    return scope.append(replace(op, operands=operands, attrs=attributes(**attrs)))


def _undone(scope: Scope, op: Op, single: set[int]) -> Iterable[int] | None:
    if op.name not in ("negate", "logical_not"):
        return None
    inner = scope.defining(op.operands[0])
    if inner is None or inner.name != op.name:
        return None
    return _same(scope, inner.operands[0], op)


def _changes_nothing(scope: Scope, op: Op, single: set[int]) -> Iterable[int] | None:
    nothing = (
        (op.name == "dropout" and op.get("rate") == 0)
        or (op.name == "expand" and op.get("dims") == ())
        or (op.name == "cast" and scope.type(op.operands[0]).dtype == op.get("dtype"))
    )
    return _same(scope, op.operands[0], op) if nothing else None


def _same_in_both_branches(scope: Scope, op: Op, single: set[int]) -> Iterable[int] | None:
    """An `if_train` whose branches do nothing but give the same values."""
    if op.name != "if_train" or any(r.ops for r in op.regions):
        return None
    first, second = ([scope.new(i) for i in r.results] for r in op.regions)
    if first != second:
        return None
    for result, id in zip(op.results, first, strict=True):
        if result.order is not None and result.order != scope.value(id).order:
            return None
    return tuple(first)


def _sum_of_products(scope: Scope, op: Op, single: set[int]) -> Iterable[int] | None:
    """`sum[K](a * b)`, where a and b both have K, is `dot[K](a, b)`.

    Not where both have all dims: nothing is gained over multiplying and summing then, and a product
    of vectors for each element is slower.
    """
    if op.name != "sum" or op.get("extra") or op.result.order is not None:
        return None
    (id,) = op.operands
    inner = scope.defining(id)
    if inner is None or inner.name != "multiply" or id not in single:
        return None
    a, b = (scope.type(i) for i in inner.operands)
    summed = set(op["dims"])
    both = summed <= set(a.dims) and summed <= set(b.dims)
    if not summed or not both or a.dims == b.dims:
        return None
    if (a.dtype, b.dtype, op.result.type.dtype) != ("float", "float", "float"):
        return None
    made = Op("dot", inner.operands, op.results, (("dims", op["dims"]),), span=op.span)
    return scope.append(made)


def _mask_expanded(scope: Scope, op: Op, single: set[int]) -> Iterable[int] | None:
    """A mask may lack dims of what it masks, so that nobody need expand it over them."""
    position = op.extra("where")
    if position is None:
        return None
    made = scope.defining(op.operands[position])
    if made is None or made.name != "expand" or op.result.order is not None:
        return None
    mask, masked = scope.type(op.operands[position]), scope.type(op.operands[0])
    if set(made["dims"]) & set(op.get("dims", ())) or not set(mask.dims) <= set(masked.dims):
        return None
    operands = list(op.operands)
    operands[position] = made.operands[0]
    return scope.append(replace(op, operands=tuple(operands)))


def _chosen(scope: Scope, op: Op, single: set[int]) -> Iterable[int] | None:
    """`where` of a condition that is the same all over."""
    condition = scalar(scope, op.operands[0]) if op.name == "where" else None
    if type(condition) is not bool:
        return None
    return _same(scope, op.operands[1 if condition else 2], op)


_RULES = (
    _chosen,
    _folded,
    _neutral_operand,
    _mask_of_all,
    _mask_expanded,
    _undone,
    _changes_nothing,
    _same_in_both_branches,
    _sum_of_products,
)
