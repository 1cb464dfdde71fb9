"""Expressions: from the syntax tree to ops, and to constants."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ..ir.build import Builder
from ..ir.core import Dim, Op, Type, Value, attributes, flat
from ..ir.diagnostics import Place, Span
from ..ir.registry import ShapeError, lookup, names
from ..ir.size import Size, SizeError
from . import tree
from .constants import LayerRef, Mistake, OpRef, fold_unary, is_constant, plain
from .instances import ChildRecord, InstanceBuilder
from .reading import BROKEN, Many, StateName, Val, read_member, read_name
from .wording import corrected, dotted, spoken, written

INFIX = {
    "+": "add",
    "-": "subtract",
    "*": "multiply",
    "/": "divide",
    "//": "floor_divide",
    "%": "remainder",
    "**": "power",
    "<": "less",
    "<=": "less_equal",
    ">": "greater",
    ">=": "greater_equal",
    "==": "equal",
    "!=": "not_equal",
    "and": "logical_and",
    "or": "logical_or",
}


class Values:
    """What expressions give, in a body or an initializer that is being elaborated.

    Attributes:
        builder: takes the ops.
        names: what each name is bound to: `Val`, a constant, a layer, an op, a child, a state.
        declared: dims declared by arrows in this body.
        dots: what `...` stands for; None where the layer has no `...`.
        states: for each state, its newest value.
        drawn: the declared dims, where this is an initializer.
        natural: the dims of the arguments, in the order in which they are written.
        inside: "train" and "scan", outermost first.
        training: in a branch on `train`, which one; None elsewhere.
        steps: for each dim that a scan runs along, the number of its step.
        copies: for instances around this one that are one of several, the input that is the number
            of the copy, where the body asks for it.
        statement: the name that the statement assigns, for labels.
    """

    def __init__(
        self, instance: InstanceBuilder, drawn: tuple[Dim, ...] | None = None, name: str = ""
    ):
        self.instance, self.shared = instance, instance.shared
        self.builder = Builder()
        self.names: dict[str, Any] = {}
        self.declared: dict[str, Dim] = {}
        self.dots: tuple[Dim, ...] | None = None
        self.states: dict[str, int] = {}
        self.drawn = drawn
        self.natural: list[Dim] = []
        self.inside: list[str] = []
        self.training: bool | None = None
        self.steps: dict[Dim, int] = {}
        self.copies: dict[InstanceBuilder, int] = {}
        self.statement = name
        self.draws = 0
        self._labels: Counter[str] = Counter()
        self._orders: list[tuple[Dim, ...]] = []

    def rank(self, dim: Dim) -> tuple[int, int]:
        """Sorts dims as the arguments have them, then those declared later."""
        return (self.natural.index(dim) if dim in self.natural else len(self.natural), dim.id)

    def copy_number(self, dim: Dim) -> int | None:
        """The number of the copy, where a dim is one that copies of this instance run along."""
        level = self.instance
        current: Any = dim
        origin = level.origins.get(dim)
        while level.parent is not None and self.drawn is None:
            current = level.outer(current)
            if isinstance(current, Dim):
                origin = level.parent.origins.get(current)
            along = level.along
            if along is not None and (
                current == along
                or (
                    origin is not None
                    and origin == level.parent.origins.get(along)
                    and along.size == dim.size
                )
            ):
                return self.copy_input(level)
            level = level.parent
        return None

    def copy_input(self, level: InstanceBuilder) -> int:
        """The input of this body that is the number of the copy of an instance around it."""
        if level not in self.copies:
            value = self.builder.define(Value(-1, Type("int"), self.label("copy", ""), ()))
            self.copies[level] = value.id
        return self.copies[level]

    # What messages show.

    def order_of(self, id: int) -> tuple[Dim, ...]:
        """The dims of a value in the order in which a person would write them."""
        while len(self._orders) <= id:
            self._orders.append(self._written_order(len(self._orders)))
        return self._orders[id]

    def _written_order(self, id: int) -> tuple[Dim, ...]:
        value = self.builder.value(id)
        if value.order is not None:
            return flat(value.order)
        wanted, found = set(value.type.dims), dict[Dim, None]()
        made = self.builder.defining(id)
        if made is not None and not made.regions:
            moved: dict[Dim, tuple[Dim, ...]] = {}
            arrows: Any = made.get("arrows", ())
            for (first, *rest), right in arrows:
                moved |= {first: right} | {d: () for d in rest}
            operands = sorted(made.operands, key=lambda o: not wanted <= {*self.order_of(o)})
            for operand in operands:
                for dim in self.order_of(operand):
                    found.update(dict.fromkeys(d for d in moved.get(dim, (dim,)) if d in wanted))
        found.update(dict.fromkeys(sorted(wanted, key=self.rank)))
        return tuple(found)

    def shown(self, id: int) -> str:
        """The type of a value as a person would write it: `[..., S, D]`, `int[B]`."""
        type_ = self.builder.type(id)
        words: list[str] = []
        dots = self.dots if self.dots and set(self.dots) <= set(type_.dims) else ()
        for dim in self.order_of(id):
            if dim not in dots:
                words.append(dim.name)
            elif "..." not in words:
                words.append("...")
        return f"{type_.kind if type_.kind != 'float' else ''}[{', '.join(words)}]"

    def origins(self, operands: tuple[int, ...]) -> tuple[Place, ...]:
        """Where operands of a wrong op were declared, if they are declared arrays."""
        places = []
        for id in operands:
            made = self.builder.defining(id)
            if made is not None and made.name in ("param", "state") and not made["child"]:
                table = {**self.instance.params, **self.instance.states}
                variable = table.get(made["name"])
                if variable is not None and variable.span is not None:
                    places.append(Place(variable.span, f"{made['name']} is declared here"))
        return tuple(places[:2])

    def argument(self, id: int) -> tree.Argument | None:
        """The argument of the layer that a value is."""
        if self.builder.defining(id) is not None:
            return None
        label = self.builder.value(id).label
        return next((a for a in self.instance.layer.arguments if a.name == label), None)

    # Expressions.

    def expr(self, node: tree.Expr, labels: tuple[str, ...] | None = None) -> Any:
        """What an expression gives: a `Val`, a `Many`, or a constant.

        Args:
            labels: the names that its results are assigned to.
        """
        match node:
            case tree.Number() | tree.Constant():
                return node.value
            case tree.Name():
                return read_name(self, node)
            case tree.Member():
                return read_member(self, node)
            case tree.Unary(op=op, operand=operand):
                inner = self.single(self.expr(operand), operand)
                if is_constant(inner):
                    folded = fold_unary(op, inner)
                    if folded is not NotImplemented:
                        return folded
                name = "negate" if op == "-" else "logical_not"
                return self.emit(name, (self.value(inner, operand),), node, labels, (operand,))[0]
            case tree.Binary(op=op, left=left, right=right):
                a = self.single(self.expr(left), left)
                b = self.single(self.expr(right), right)
                if is_constant(a) and is_constant(b):
                    folded = self.instance.fold(op, a, b, node)
                    if folded is not NotImplemented:
                        return folded
                ids = self.unify((a, b), (left, right), INFIX[op])
                return self.emit(INFIX[op], ids, node, labels, (left, right))[0]
            case tree.Call():
                return self._call(node, labels)
            case tree.Dots():
                raise self.shared.error(
                    "dots-as-value", "`...` stands for dims; it is not a value", node.span
                )
        raise self.shared.error(
            "not-a-value",
            "a pair is not a value: it is what some options are, such as pad = (1, 2)"
            if isinstance(node, tree.Tuple)
            else "this is not a value",
            node.span,
        )

    def single(self, result: Any, node: tree.Expr) -> Any:
        """The one value of a result; a mistake if it is several."""
        if isinstance(result, Many):
            if len(result.values) == 1:
                return result.values[0]
            raise self.shared.error(
                "several-results",
                f"this gives {len(result.values)} values where one is needed",
                node.span,
                help=self._taken_apart(len(result.values), node),
            )
        return result

    def _taken_apart(self, count: int, node: tree.Expr) -> str:
        words = written(self.shared.diagnostics, node.span)
        line = corrected(self.shared.diagnostics, node.span, words)
        target, equals, rest = line.partition(" = ")
        if words and equals and rest == words and target.isidentifier():
            return f"{', '.join([target, *['_'] * (count - 1)])} = {words}"
        names = ", ".join("ab"[:count] if count < 3 else [f"a{i}" for i in range(count)])
        return f"{names} = {words or '…'}"

    def hides(self, node: tree.Name) -> bool:
        """Whether a name is bound in this body, whatever else it means."""
        return node.id in self.names and not isinstance(node, tree.Global)

    def _call(self, node: tree.Call, labels) -> Any:
        from . import calls, layer_calls

        callee = node.callee
        inst = self.instance
        if isinstance(callee, tree.Name) and not isinstance(callee, tree.Global):
            name = callee.id
            bound = self.names.get(name)
            if bound is BROKEN or name in inst.broken:
                raise Mistake
            if isinstance(bound, ChildRecord):
                return layer_calls.call_child(self, bound, node, labels)
            option = inst.options.get(name)
            if isinstance(bound, Val | StateName):
                raise calls.not_callable(self, name, "a value", node)
            if isinstance(option, OpRef):
                inst.used.add(name)
                return calls.call_op(self, option, node, labels, chosen=True)
            constant = bound if name in self.names else option
            if name in self.names or (name in inst.options and not isinstance(option, LayerRef)):
                raise calls.not_callable(self, name, spoken(constant), node)
        ref = inst.layer_ref(callee)
        if ref is not None:
            return layer_calls.call_layer(self, ref, node, labels)
        if isinstance(callee, tree.Name):
            if callee.id in names() and lookup(callee.id).family not in calls.HIDDEN:
                return calls.call_op(self, OpRef(callee.id), node, labels)
            if callee.id in inst.file.consts:
                value = inst.try_constant(callee)
                raise calls.not_callable(self, callee.id, spoken(value), node)
            raise calls.unknown_callee(self, callee)
        from .uses import unknown_layer

        base = callee.base
        if isinstance(base, tree.Name) and isinstance(self.names.get(base.id), ChildRecord):
            raise self.shared.error(
                "not-callable",
                f"{dotted(callee)} is inside of another instance and cannot be called from here",
                callee.span,
            )
        raise unknown_layer(inst, callee)

    # Values.

    def value(self, result: Any, node: tree.Expr, want: str | None = None) -> int:
        """The id of a value; a constant becomes one, of the wanted kind."""
        result = self.single(result, node)
        if isinstance(result, Val):
            return result.id
        return self.constant(result, node, want)

    def constant(self, value: Any, node: tree.Expr, want: str | None = None) -> int:
        """A constant as a value."""
        value = plain(value)
        if isinstance(value, Size):
            id = self.builder.add("size", size=value, span=node.span)
            if want != "float":
                return id
            one = self.builder.add("const", value=1.0, dtype="float", span=node.span)
            label = self.label(None, "multiply")
            return self.builder.add("multiply", id, one, label=label, span=node.span)
        if value is None or not isinstance(value, bool | int | float):
            words = written(self.shared.diagnostics, node.span)
            raise self.shared.error(
                "not-a-value",
                f"{words} is none here, which is not a value"
                if words != "none"
                else "none is not a value",
                node.span,
                help=f"ask first: if {words} != none:" if words.isidentifier() else "",
            )
        own = "bool" if isinstance(value, bool) else "int" if isinstance(value, int) else "float"
        if want == "float" or own == "float":
            own, value = "float", float(value)
        elif want == "int" and own == "bool":
            own, value = "int", int(value)
        return self.builder.add("const", value=value, dtype=own, span=node.span)

    def as_float(self, id: int, span: Span) -> int:
        """A bool as the numbers 0 and 1; what is no bool as it is."""
        if self.builder.type(id).kind != "bool":
            return id
        one, zero = (
            self.builder.add("const", value=v, dtype="float", span=span) for v in (1.0, 0.0)
        )
        label = self.label(None, "where")
        return self.builder.add("where", id, one, zero, label=label, span=span)

    def unify(
        self, given: tuple[Any, ...], nodes: tuple[tree.Expr, ...], op: str
    ) -> tuple[int, ...]:
        """Ids of operands; constants take the kind of the values that they stand beside."""
        kinds = [self.builder.type(g.id).kind for g in given if isinstance(g, Val)]
        numbers = [g for g in given if not isinstance(g, Val)]
        real = (
            "float" in kinds or op == "divide" or any(isinstance(plain(n), float) for n in numbers)
        )
        want = "float" if real else None
        ids = []
        for index, (g, node) in enumerate(zip(given, nodes, strict=True)):
            exponent = op == "power" and index == 1 and isinstance(plain(g), int)
            ids.append(self.value(g, node, None if exponent else want))
        return tuple(ids)

    def emit(
        self,
        name: str,
        operands: tuple[int, ...],
        node: tree.Expr,
        labels: tuple[str, ...] | None = None,
        words: tuple[tree.Expr, ...] = (),
        **attrs: Any,
    ) -> tuple[Val, ...]:
        """Append an op; a shape that is wrong becomes a diagnostic at the operand's words."""
        op = Op(name, operands, (), attributes(**attrs), span=node.span)
        definition = lookup(name)
        try:
            types = definition.types(tuple(self.builder.type(i) for i in operands), op)
        except ShapeError as error:
            from .shape_errors import shape_mistake

            raise shape_mistake(self, error, name, operands, node, words) from None
        except SizeError as error:
            raise self.shared.error(
                "no-value", f"a size has no value: {error}", node.span
            ) from None
        results = tuple(
            Value(-1, t, self.label(labels[i] if labels and i < len(labels) else None, name))
            for i, t in enumerate(types)
        )
        ids = self.builder.append(Op(name, operands, results, op.attrs, span=node.span))
        return tuple(Val(i, node.span) for i in ids)

    def label(self, wanted: str | None, op: str) -> str:
        """A unique label: the assigned name, else the statement's name and the op's."""
        if self.drawn is not None or op in ("const", "size"):
            return ""
        if wanted == "_":
            wanted = None
        base = wanted if wanted is not None else f"{self.statement}:{op}"
        self._labels[base] += 1
        return base if self._labels[base] == 1 else f"{base}.{self._labels[base]}"
