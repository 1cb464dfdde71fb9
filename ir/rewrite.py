"""The one way in which passes change a module: op by op, from old values to new ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from .build import Builder
from .core import Instance, Module, Op, Region, Result, Value, Variable, Variant

Finish = Callable[[tuple[int, ...]], tuple[int, ...]]
Visit = Callable[["Scope", Op], "Iterable[int] | None"]


class Scope(Builder):
    """The body under construction that a visitor adds ops to.

    Attributes:
        module: the module being rewritten, as it was.
        instance: the instance being rewritten, as it was.
        variant: the variant being rewritten, as it was; None inside an initializer.
        variable: the parameter or state whose initializer is being rewritten; else None.
    """

    def __init__(self, module: Module, instance: Instance, variant: Variant | None, variable=None):
        super().__init__()
        self.module, self.instance, self.variant, self.variable = (
            module,
            instance,
            variant,
            variable,
        )
        self._map: dict[int, int] = {}
        self._labels: dict[int, str] = {}
        self._taken: set[str] = set()

    def define(self, value: Value) -> Value:
        """As in `Builder`; labels in use are remembered."""
        self._taken.add(value.label)
        return super().define(value)

    def new(self, old: int) -> int:
        """The new id of a value of the old body."""
        return self._map[old]

    def stand_for(self, old: int, new: int) -> None:
        """Let a value of the new body stand for one of the old body."""
        self._map[old] = new

    def inside(
        self,
        region: Region,
        visit: Visit,
        arguments: Iterable[Value] | None = None,
        finish: Finish | None = None,
    ) -> Region:
        """A region rewritten.

        Args:
            arguments: its arguments, to change their types or orders (ids are assigned here).
            finish: gives the ids to be returned for the ones that stand for its results; it may add
                ops at the region's end.
        """
        given = tuple(region.arguments if arguments is None else arguments)
        fresh = tuple(self.define(a) for a in given)
        for old, new in zip(region.arguments, fresh, strict=True):
            self._map[old.id] = new.id
        self.open()
        self.visit(region.ops, visit)
        results = tuple(self._map[r] for r in region.results)
        if finish is not None:
            results = finish(results)
        ops = self.close()
        arguments = tuple(replace(v, label=self._labels.get(v.id, v.label)) for v in fresh)
        return Region(arguments, ops, results)

    def visit(self, ops: Iterable[Op], visit: Visit) -> None:
        """Rewrite ops into the current body."""
        for old in ops:
            # What was removed is read by ops that are about to be removed as well.
            op = replace(old, operands=tuple(self._map.get(i, -1) for i in old.operands))
            made = visit(self, op)
            if made is None:
                regions = tuple(self.inside(r, visit) for r in op.regions)
                made = self.append(replace(op, regions=regions))
            made = tuple(made)
            if not made:
                continue
            for value, id in zip(old.results, made, strict=True):
                self._map[value.id] = id
                # The visitor may have kept the labelled value, and put another after it.
                free = value.label not in self._taken and id not in self._labels
                if free and not self._values[id].label:
                    self._labels[id] = value.label
                    self._taken.add(value.label)

    def close(self) -> tuple[Op, ...]:
        return tuple(self._labelled(op) for op in super().close())

    def _labelled(self, op: Op) -> Op:
        if not any(r.id in self._labels for r in op.results):
            return op
        results = tuple(
            replace(r, label=self._labels[r.id]) if r.id in self._labels else r for r in op.results
        )
        return replace(op, results=results)


Begin = Callable[[Scope, tuple[Value, ...]], tuple[Value, ...]]
End = Callable[[Scope, Result, int], int]


def rewrite(
    module: Module,
    visit: Visit,
    *,
    inputs: Begin | None = None,
    argument: Callable[[Scope, Value], int] | None = None,
    result: End | None = None,
    write: Callable[[Scope, str, int], int] | None = None,
    init: Callable[[Scope, tuple[int, ...]], tuple[int, ...]] | None = None,
    inits: bool = True,
) -> Module:
    """A module with every body rewritten.

    The visitor is called for each op, whose operands are already ids of the new body; it returns
    None to keep the op (its regions are then visited in turn), or the new ids that stand for its
    results; no ids at all for an op whose results nobody reads, or only ops that are removed in
    turn (for which it is operand -1).
    Labels are handed on to the values that replace labelled ones. Values are renumbered in order.

    Args:
        inputs: changes a variant's arguments (types, orders) before its body is visited.
        argument: gives the new id that stands for an argument in the body, given the argument.
        result: gives the new id to be returned for a result, given the one that stands for it.
        write: the same for a state that the variant updates.
        init: the same for what an initializer gives.
        inits: whether initializers are visited too.
    """
    instances = []
    for instance in module.instances:
        variants = []
        for variant in instance.variants:
            scope = Scope(module, instance, variant)
            given = variant.inputs if inputs is None else inputs(scope, variant.inputs)
            fresh = tuple(scope.define(v) for v in given)
            for before, new in zip(variant.inputs, fresh, strict=True):
                scope._map[before.id] = new.id if argument is None else argument(scope, new)
            scope.visit(variant.ops, visit)
            results = []
            for r in variant.results:
                id = scope.new(r.value)
                results.append(replace(r, value=id if result is None else result(scope, r, id)))
            writes = []
            for name, old in variant.writes:
                id = scope.new(old)
                writes.append((name, id if write is None else write(scope, name, id)))
            fresh = tuple(scope.value(v.id) for v in fresh)
            variants.append(Variant(fresh, scope.close(), tuple(results), tuple(writes)))

        def variable(v: Variable, instance: Instance = instance) -> Variable:
            if not inits:
                return v
            scope = Scope(module, instance, None, v)
            finish = None if init is None else lambda ids: init(scope, ids)
            return replace(v, init=scope.inside(v.init, visit, finish=finish))

        instances.append(
            replace(
                instance,
                variants=tuple(variants),
                params=tuple(map(variable, instance.params)),
                states=tuple(map(variable, instance.states)),
            )
        )
    return replace(module, instances=tuple(instances))
