"""What a whole module means, computed in numpy at float64: the oracle of the tests.

It is written to be obviously right, not fast: one op after the other, arrays with named dims, every
result compared with the type and order that the module states.

Parameters and states are nested dicts by the authored path: that of `gpt.blocks.attn.wq` is
`params["gpt"]["blocks"]["attn"]["wq"]`, with the axes as declared and, for copies, one axis in
front for each `repeat` or `each` around it, outermost first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .bind import substitute
from .core import Dim, Instance, Module, Op, Region, Value, Variant, flat, join
from .effects import salt
from .facts import show_op
from .named import Named
from .registry import lookup
from .signature import CALLS, callee, carried


class EvaluationError(Exception):
    """A module that cannot be evaluated, or whose values are not what it states."""


@dataclass(frozen=True)
class Draw:
    """What a random op is given to draw by.

    Attributes:
        path: the instance.
        copies: which copy of each `repeat` and `each` around it, outermost first.
        steps: which step of each `scan` around it.
        op: the op.
        args: its operands.
        folds: the numbers folded into the key on the way to it, its own not included.
    """

    path: str
    copies: tuple[int, ...]
    steps: tuple[int, ...]
    op: Op
    args: tuple[Named, ...]
    folds: tuple[int, ...] = ()


Random = Callable[[Draw], "Named | tuple[Named, ...]"]
Tree = Mapping[str, Any]


def evaluate(
    module: Module,
    params: Tree,
    state: Tree,
    inputs: Mapping[str, Any] | Sequence[Any],
    *,
    train: bool,
    sizes: Mapping[str, int] | None = None,
    random: Random | None = None,
) -> tuple[tuple[Any, ...], dict[str, Any], dict[str, Any]]:
    """Run the entry of a module.

    Args:
        params, state: arrays in nested dicts by path; neither is changed.
        inputs: the arguments of the entry, by label or in order, their axes as declared.
        train: which branch of `if_train` runs.
        sizes: what the free sizes are; those that are dims of inputs may be left out.
        random: gives the results of random ops.

    Returns:
        The results, their axes as declared; the states after; the metrics by path and name,
        averaged over copies, steps and calls.

    Raises:
        EvaluationError: an array, or a value computed, is not as the module states.
    """
    import numpy as np

    entry = module.instances[0]
    (variant,) = entry.variants
    given = _inputs(np, variant, inputs)
    module = substitute(module, {**_found(variant, given), **(sizes or {})})
    entry = module.instances[0]
    (variant,) = entry.variants
    run = _Run(np, module, params, _copied(np, state), train, random)
    args = []
    for value, array in zip(variant.inputs, given, strict=True):
        dims = flat(value.order or ())
        array = array.reshape([d.size.value for d in dims])
        args.append(run.checked(Named(array, dims), value, "the argument " + value.label))
    with np.errstate(all="ignore"):
        results = run.body(_Frame(entry), variant, args)
    arrays = tuple(r.over(stated.order) for r, stated in zip(results, variant.results, strict=True))
    metrics = {name: total / count for name, (total, count) in run.metrics.items()}
    return arrays, run.state, metrics


def _inputs(np, variant: Variant, inputs) -> list[Any]:
    if isinstance(inputs, Mapping):
        names = [v.label for v in variant.inputs]
        if sorted(names) != sorted(inputs):
            raise EvaluationError(f"the entry takes {names}, given are {sorted(inputs)}")
        inputs = [inputs[n] for n in names]
    if len(inputs) != len(variant.inputs):
        raise EvaluationError(f"the entry takes {len(variant.inputs)} inputs, not {len(inputs)}")
    return list(map(np.asarray, inputs))


def _found(variant: Variant, given: list[Any]) -> dict[str, int]:
    """Free sizes that are those of an axis of an input."""
    found: dict[str, int] = {}
    for value, array in zip(variant.inputs, given, strict=True):
        order = value.order or ()
        if len(order) == array.ndim:
            for axis, size in zip(order, array.shape, strict=True):
                if len(axis) == 1 and axis[0].size.symbol:
                    found.setdefault(axis[0].size.symbol, size)
    return found


def _copied(np, tree: Tree) -> dict[str, Any]:
    return {
        name: _copied(np, leaf) if isinstance(leaf, Mapping) else np.array(leaf)
        for name, leaf in tree.items()
    }


@dataclass(frozen=True)
class _Frame:
    """An instance in the course of a call."""

    instance: Instance
    copies: tuple[int, ...] = ()
    steps: tuple[int, ...] = ()
    folds: tuple[int, ...] = ()


@dataclass
class _Run:
    np: Any
    module: Module
    params: Tree
    state: dict[str, Any]
    train: bool
    random: Random | None
    metrics: dict[str, tuple[Any, Any]] = field(default_factory=dict)

    def body(self, frame: _Frame, variant: Variant, args: Sequence[Named]) -> list[Named]:
        """Run a body, and put its writes into the states."""
        env = {v.id: a for v, a in zip(variant.inputs, args, strict=True)}
        self.ops(frame, variant.ops, env)
        for name, id in variant.writes:
            stated = next(s for s in frame.instance.states if s.name == name)
            self.leaf(self.state, frame.instance.path, name)[frame.copies] = env[id].over(
                stated.order
            )
        return [env[r.value] for r in variant.results]

    def ops(self, frame: _Frame, ops: tuple[Op, ...], env: dict[int, Named]) -> None:
        for op in ops:
            args = tuple(env[i] for i in op.operands)
            try:
                results = self.op(frame, op, args, env)
            except EvaluationError:
                raise
            except Exception as error:
                where = frame.instance.path or "the entry"
                raise EvaluationError(
                    f"{where}: {show_op(op)}: {type(error).__name__}: {error}"
                ) from error
            for value, array in zip(op.results, results, strict=True):
                what = f"{frame.instance.path or 'the entry'}: {show_op(op)}"
                env[value.id] = self.checked(array, value, what, op.name == "const")

    def op(
        self, frame: _Frame, op: Op, args: tuple[Named, ...], env: dict[int, Named]
    ) -> Sequence[Named]:
        if op.name in ("param", "state"):
            return [self.read(frame, op)]
        if op.name in CALLS:
            return self.call(frame, op, args)
        if op.name == "if_train":
            return self.region(frame, op.regions[0 if self.train else 1], (), env)
        if op.name == "scan":
            return self.scan(frame, op, args, env)
        if op.name == "metric":
            self.report(join(frame.instance.path, op["name"]), args)
            return []
        definition = lookup(op.name)
        if definition.effect == "random":
            if self.random is None:
                raise EvaluationError(
                    f"{frame.instance.path}: {show_op(op)} draws random numbers: give `random`"
                )
            drawn = self.random(
                Draw(frame.instance.path, frame.copies, frame.steps, op, args, frame.folds)
            )
            return drawn if isinstance(drawn, tuple) else (drawn,)
        if definition.meaning is None:
            raise EvaluationError(f"{show_op(op)} has no meaning")
        results = definition.meaning(self.np, args, op)
        return results if isinstance(results, tuple) else (results,)

    # Values

    def checked(self, array: Named, value: Value, what: str, convert: bool = False) -> Named:
        """The array in the widest dtype of its kind; it must be as the value states."""
        found = self.np.asarray(array.array)
        if set(array.dims) != set(value.type.dims) or len(array.dims) != found.ndim:
            raise EvaluationError(f"{what}: dims {array.dims} of {found.shape}, not {value.type}")
        sizes = tuple(d.size.value for d in array.dims)
        if found.shape != sizes:
            raise EvaluationError(f"{what}: the shape is {found.shape}, not {sizes}")
        if value.order is not None:
            dims = flat(value.order)
            if len(dims) != len(array.dims) or set(dims) != set(array.dims):
                raise EvaluationError(f"{what}: the order {value.order} is not of its dims")
        kinds = {"float": "f", "int": "iu", "bool": "b"}[value.type.kind]
        # What is narrower than numpy knows (bfloat16) says that its kind is V.
        if not convert and found.dtype.kind not in kinds + ("V" if kinds == "f" else ""):
            raise EvaluationError(f"{what}: the dtype is {found.dtype}, not {value.type}")
        wide = {"float": "float64", "int": "int64", "bool": "bool"}[value.type.kind]
        return Named(found.astype(wide), array.dims)

    def leaf(self, tree: Tree, path: str, name: str) -> Any:
        """The array of a variable, all its copies together."""
        node: Any = tree
        for part in join(path, name).split("."):
            if not isinstance(node, Mapping) or part not in node:
                raise EvaluationError(f"there is no array for {join(path, name)}")
            node = node[part]
        return node

    def read(self, frame: _Frame, op: Op) -> Named:
        child, name = op["child"], op["name"]
        path = join(frame.instance.path, child) if child else frame.instance.path
        tree = self.params if op.name == "param" else self.state
        array = self.np.array(self.np.asarray(self.leaf(tree, path, name))[frame.copies])
        order = op.result.order
        if order is None:
            owner = self.module.instance(path)
            declared = owner.params if op.name == "param" else owner.states
            order = tuple((d,) for v in declared if v.name == name for d in v.order)
        kind = {"float": "float64", "int": "int64", "bool": "bool"}[op.result.type.kind]
        return Named(array.astype(kind), flat(order))

    def report(self, name: str, args: tuple[Named, ...]) -> None:
        # The second operand is the weight of the first: of a mean, how many it averages.
        weight = args[1].array if len(args) > 1 else 1
        total, weights = self.metrics.get(name, (0.0, 0))
        self.metrics[name] = total + args[0].array * weight, weights + weight

    # Bodies in bodies

    def region(
        self, frame: _Frame, region: Region, args: Sequence[Named], env: dict[int, Named]
    ) -> list[Named]:
        inner = dict(env)
        for value, array in zip(region.arguments, args, strict=True):
            inner[value.id] = self.checked(array, value, f"%{value.id}")
        self.ops(frame, region.ops, inner)
        return [inner[r] for r in region.results]

    def scan(
        self, frame: _Frame, op: Op, args: tuple[Named, ...], env: dict[int, Named]
    ) -> list[Named]:
        (region,), along, carry = op.regions, op["along"], op["carry"]
        assert isinstance(along, Dim) and isinstance(carry, int)
        sliced, state = args[: len(args) - carry], list(args[len(args) - carry :])
        emitted: list[list[Named]] = []
        for step in range(along.size.value):
            given = [Named(self.np.asarray(step)), *(_part(a, along, step) for a in sliced)]
            inner = _Frame(frame.instance, frame.copies, (*frame.steps, step), (*frame.folds, step))
            results = self.region(inner, region, [*given, *state], env)
            state = results[:carry]
            emitted.append(results[carry:])
        return [*state, *(self.stacked(e, along) for e in zip(*emitted, strict=True))]

    def call(self, frame: _Frame, op: Op, args: tuple[Named, ...]) -> list[Named]:
        child, variant, mapping = callee(self.module, frame.instance, op)
        back = [{mapping[d]: d for d in v.type.dims} for v in variant.inputs]
        folds = (*frame.folds, salt(op["child"], op["occurrence"]))
        if op.name == "call":
            inside = [_renamed(a, names) for a, names in zip(args, back, strict=True)]
            inner = _Frame(child, frame.copies, frame.steps, folds)
            return [_renamed(r, mapping) for r in self.body(inner, variant, inside)]
        along, dealt, becomes = op["along"], op["dealt"], carried(op)
        assert isinstance(along, Dim) and isinstance(dealt, tuple)
        copies: list[list[Named]] = []
        carry: dict[int, Named] = {}
        for index in range(along.size.value):
            # A dim of the child may equal one of the caller: parts are taken before renaming.
            given = [
                _renamed(_part(a, along, index) if position in dealt else a, back[position])
                for position, a in enumerate(args)
            ]
            given = [carry.get(position, a) for position, a in enumerate(given)]
            inner = _Frame(child, (*frame.copies, index), frame.steps, (*folds, index))
            results = self.body(inner, variant, given)
            copies.append([_renamed(r, mapping) for r in results])
            for position, argument in becomes.items():
                carry[argument] = results[position]
        return [
            copies[-1][position] if position in becomes else self.stacked(parts, along)
            for position, parts in enumerate(zip(*copies, strict=True))
        ]

    def stacked(self, parts: Sequence[Named], along: Dim) -> Named:
        dims = parts[0].dims
        return Named(self.np.stack([p.over(dims) for p in parts]), (along, *dims))


def _part(array: Named, along: Dim, index: int) -> Named:
    return Named(array.array.take(index, array.axis(along)), array.without([along]))


def _renamed(array: Named, names: Mapping[Dim, Dim]) -> Named:
    return Named(array.array, tuple(names[d] for d in array.dims))
