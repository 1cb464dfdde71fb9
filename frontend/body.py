"""Bodies of layers: statements and expressions, from the syntax tree to ops."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from ..ir.build import Builder
from ..ir.core import Dim, Op, Region, Type, Value, attributes
from ..ir.diagnostics import Place, Span, nearest
from ..ir.registry import ShapeError, lookup, names
from ..ir.size import Size
from . import tree
from .constants import LayerRef, Mistake, OpRef, is_constant, plain
from .instances import ChildRecord, InstanceBuilder

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


@dataclass(frozen=True)
class Val:
    """A value, and the words that gave it."""

    id: int
    span: Span


@dataclass(frozen=True)
class Many:
    """The results of a call that gives several."""

    values: tuple[Val, ...]
    span: Span


@dataclass(frozen=True)
class StateName:
    """A state; reading it gives its newest value."""

    name: str


@dataclass(frozen=True)
class OneBranch:
    """A name that only one branch of an `if train` assigns."""

    span: Span


class Broken:
    """What a name is bound to when the statement that should bind it was wrong."""


BROKEN = Broken()


class Body:
    """A body, or an initializer, being elaborated.

    Attributes:
        builder: takes the ops.
        names: what each name is bound to: `Val`, a constant, a layer, an op, a child, a state.
        declared: dims declared by arrows in this body.
        dots: what `...` stands for; None where the layer has no `...`.
        states: for each state, its newest value.
        drawn: the declared dims, where this is an initializer.
        natural: the dims of the arguments, in the order in which they are written.
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
        self.inside: list[str] = []  # "train" and "scan", outermost first
        self.steps: dict[Dim, int] = {}
        self.returned: tuple[Val, ...] | None = None
        self.return_span: Span | None = None
        self.statement = name
        self.broken = False
        self._labels: Counter[str] = Counter()

    def rank(self, dim: Dim) -> tuple[int, int]:
        """Sorts dims as the arguments have them, then those declared later."""
        return (self.natural.index(dim) if dim in self.natural else len(self.natural), dim.id)

    # Statements.

    def run(self, statements: tuple[tree.Statement, ...]) -> None:
        """Elaborate statements; one that is wrong is given up, and the rest goes on."""
        for node in statements:
            if self.returned is not None:
                self.shared.error(
                    "after-return", "nothing can follow `return`", node.span,
                    places=(Place(self.return_span or node.span, "the layer ends here"),),
                )  # fmt: skip
                self.broken = True
                return
            try:
                self._statement(node)
            except Mistake:
                self.broken = True
                for name in _bound_by(node):
                    self.names[name] = BROKEN

    def _statement(self, node: tree.Statement) -> None:
        match node:
            case tree.Dims() | tree.Use():
                if isinstance(node, tree.Use):
                    record = self.instance.children.get(node.name)
                    if record is None:
                        raise Mistake
                    self.names[node.name] = record
            case tree.Param():
                variable = self.instance.params.get(node.name)
                if variable is None:
                    raise Mistake
                self.names[node.name] = Val(
                    self._variable("param", "", variable, node.span), node.span
                )
            case tree.State():
                variable = self.instance.states.get(node.name)
                if variable is None:
                    raise Mistake
                self.states[node.name] = self._variable("state", "", variable, node.span)
                self.names[node.name] = StateName(node.name)
            case tree.Assign():
                self._assign(node)
            case tree.Update():
                self._update(node)
            case tree.If():
                self._if(node)
            case tree.Scan():
                from .loops import scan

                scan(self, node)
            case tree.Emit():
                raise self.shared.error("emit-outside", "`emit` belongs into a scan", node.span)
            case tree.Return():
                self._return(node)
            case tree.Metric():
                self._metric(node)

    def _variable(self, op: str, child: str, variable, span: Span) -> int:
        value = Value(-1, variable.type, "", tuple((d,) for d in variable.order))
        made = Op(op, (), (value,), attributes(name=variable.name, child=child), span=span)
        return self.builder.append(made)[0]

    def _assign(self, node: tree.Assign) -> None:
        targets, values = node.targets, node.values
        if len(values) == 1 and len(targets) > 1:
            self.statement = next((t.id for t in targets if t.id != "_"), "_")
            result = self.expr(values[0], tuple(t.id for t in targets))
            given = result.values if isinstance(result, Many) else (result,)
            if len(given) != len(targets):
                raise self.shared.error(
                    "wrong-number-of-results",
                    f"this gives {_count(len(given), 'value')}, not {len(targets)}",
                    values[0].span,
                    places=(Place(targets[0].span.to(targets[-1].span), f"{len(targets)} names"),),
                )
        elif len(values) != len(targets):
            raise self.shared.error(
                "wrong-number-of-results",
                f"{_count(len(targets), 'name')}, but {_count(len(values), 'value')}",
                node.span,
            )
        else:
            given = []
            for target, value in zip(targets, values, strict=True):
                self.statement = target.id
                given.append(self.single(self.expr(value, (target.id,)), value))
        for target, value in zip(targets, given, strict=True):
            self.bind(target, value)

    def bind(self, target: tree.Name, value: Any) -> None:
        """Bind a name; parameters, states and instances keep theirs."""
        if target.id == "_":
            return
        inst = self.instance
        table = (
            "parameter" if target.id in inst.params else
            "state" if target.id in inst.states else
            "instance" if target.id in inst.children else ""
        )  # fmt: skip
        if table:
            raise self.shared.error(
                "cannot-assign",
                f"{target.id} is a {table} of this layer and cannot be bound again",
                target.span,
                help=f"{target.id} <- …" if table == "state" else "choose another name",
            )
        if isinstance(value, Val):
            value = Val(value.id, target.span)
        self.names[target.id] = value

    def _update(self, node: tree.Update) -> None:
        name = node.name.id
        inst = self.instance
        if name not in inst.states:
            what = (
                "a parameter, which the optimizer updates" if name in inst.params else "not a state"
            )
            close = nearest(name, inst.states)
            raise self.shared.error(
                "not-a-state",
                f"`<-` updates a state; {name} is {what}",
                node.name.span,
                help=f"did you mean {close[0]}?"
                if close
                else f"declare it: state {name}: […] = zeros()",
            )
        if "scan" in self.inside:
            raise self.shared.error(
                "state-in-scan",
                "a state cannot be updated inside a scan",
                node.span,
                facts=(
                    "the steps of a scan may run in any grouping; what goes from step to step is carried",
                ),
                help=f"scan[…](…) carry ({name} = …): and update the state once, after it",
            )
        if "train" not in self.inside:
            pass  # a state that is updated outside training too is legal: caches, counters
        variable = inst.states[name]
        self.statement = name
        value = self.value(self.expr(node.value, (f"{name}.new",)), node.value, variable.type.kind)
        found = self.builder.type(value)
        if set(found.dims) != set(variable.type.dims):
            raise self.shared.error(
                "state-type",
                f"the new value of {name} is {found}, but the state is {_written(variable)}",
                node.value.span,
                places=(Place(variable.span, "declared here"),) if variable.span else (),
                facts=_difference(found, variable.type),
            )
        self.states[name] = value

    def _return(self, node: tree.Return) -> None:
        if self.inside:
            where = "a branch on train" if self.inside[-1] == "train" else "a scan"
            raise self.shared.error(
                "return-inside",
                f"`return` cannot stand in {where}",
                node.span,
                help="assign the value there, and return it after",
            )
        self.statement = "return"
        values = []
        for expression in node.values:
            result = self.expr(expression)
            if isinstance(result, Many) and len(node.values) == 1:
                values += result.values
            else:
                single = self.single(result, expression)
                values.append(Val(self.value(single, expression), expression.span))
        self.returned, self.return_span = tuple(values), node.span

    def _metric(self, node: tree.Metric) -> None:
        if "scan" in self.inside:
            raise self.shared.error(
                "metric-in-scan",
                "a metric cannot be reported from inside a scan",
                node.span,
                help="`emit` the value, and report its mean after the scan",
            )
        self.statement = node.name
        id = self.value(self.expr(node.value, (node.name,)), node.value)
        self.report(node.name, id, node.span)

    def report(self, name: str, id: int, span: Span) -> None:
        """Report a scalar as a metric; a mean is reported with the number of what it averages."""
        if self.builder.type(id).dims:
            raise self.shared.error(
                "metric-not-scalar",
                f"the metric {name} is {self.builder.type(id)}, not a scalar",
                span,
                help=f"mean[{', '.join(d.name for d in self.builder.type(id).dims)}](…)",
            )
        operands = (id,)
        made = self.builder.defining(id)
        if made is not None and made.name == "mean":
            x = self.builder.type(made.operands[0])
            if set(made["dims"]) == set(x.dims):
                mask = made.extra("where")
                count = (
                    self.builder.add(
                        "count", made.operands[mask], dims=made["dims"], span=span,
                        label=self.label(f"{name}_count", "count"), extra=("where",),
                    )
                    if mask is not None
                    else self.builder.add("size", size=x.elements(), span=span)
                )
                operands = (id, count)
        self.builder.append(Op("metric", operands, (), attributes(name=name), span=span))

    def _if(self, node: tree.If) -> None:
        test = node.condition
        negated = isinstance(test, tree.Unary) and test.op == "not"
        inner = test.operand if isinstance(test, tree.Unary) and negated else test
        if isinstance(inner, tree.Name) and inner.id == "train" and "train" not in self.names:
            branches = (node.orelse, node.then) if negated else (node.then, node.orelse)
            from .loops import if_train

            if_train(self, node, *branches)
            return
        self.run(node.then if self.instance_condition(node) else node.orelse)

    def instance_condition(self, node: tree.If) -> bool:
        """The truth of a condition that is settled before anything runs."""
        return condition(self.instance, node, self.declared, self.names)

    # Expressions.

    def expr(self, node: tree.Expr, labels: tuple[str, ...] | None = None) -> Any:
        """What an expression gives: a `Val`, a `Many`, or a constant.

        Args:
            labels: the names that its results are assigned to.
        """
        hidden = {k for k, v in self.names.items() if not is_constant(v)}
        constant = self.instance.try_constant(node, self.declared, hidden)
        if constant is not NotImplemented and not isinstance(node, tree.Name):
            return constant
        match node:
            case tree.Name():
                return self._name(node)
            case tree.Member():
                return self._member(node)
            case tree.Unary(op=op, operand=operand):
                inner = self.value(self.single(self.expr(operand), operand), operand)
                name = "negate" if op == "-" else "logical_not"
                return Val(self.emit(name, (inner,), node, labels)[0].id, node.span)
            case tree.Binary(op=op, left=left, right=right):
                a = self.single(self.expr(left), left)
                b = self.single(self.expr(right), right)
                ids = self.unify((a, b), (left, right), INFIX[op])
                return self.emit(INFIX[op], ids, node, labels, (left, right))[0]
            case tree.Call():
                return self._call(node, labels)
            case tree.Dots():
                raise self.shared.error(
                    "dots-as-value", "`...` stands for dims; it is not a value", node.span
                )
        raise self.shared.error("not-a-value", "this is not a value", node.span)

    def single(self, result: Any, node: tree.Expr) -> Any:
        """The one value of a result; a mistake if it is several."""
        if isinstance(result, Many):
            if len(result.values) == 1:
                return result.values[0]
            raise self.shared.error(
                "several-results",
                f"this gives {len(result.values)} values where one is needed",
                node.span,
                help="take them apart: a, b = …",
            )
        return result

    def _name(self, node: tree.Name) -> Any:
        name = node.id
        if name in self.names:
            bound = self.names[name]
            if bound is BROKEN:
                raise Mistake
            if isinstance(bound, StateName):
                return Val(self.states[name], node.span)
            if isinstance(bound, Val):
                return Val(bound.id, node.span)
            if isinstance(bound, OneBranch):
                raise self.shared.error(
                    "one-branch",
                    f"only one branch gives {name} a value",
                    node.span,
                    places=(Place(bound.span, "assigned here, and not in the other branch"),),
                )
            if isinstance(bound, ChildRecord):
                raise self.shared.error(
                    "not-a-value",
                    f"{name} is an instance of {bound.builder.layer.name}, not a value",
                    node.span,
                    help=f"{name}(…)",
                )
            return bound
        inst = self.instance
        if name in inst.broken:
            raise Mistake
        if name in inst.options or name in inst.file.consts or inst.find_dim(name, self.declared):
            value = inst.try_constant(node, self.declared)
            if value is NotImplemented:
                inst.dim(name, node.span, self.declared)
            if isinstance(value, OpRef | LayerRef):
                raise self.shared.error(
                    "not-a-value",
                    f"{name} is an op or a layer, not a value",
                    node.span,
                    help=f"{name}(…)",
                )
            return value
        if name in names():
            raise self.shared.error(
                "not-a-value", f"{name} is an op, not a value", node.span, help=f"{name}(…)"
            )
        known = [*self.names, *inst.options, *inst.file.consts, *inst.bound, *inst.file.dims]
        close = nearest(name, known)
        late = f"{name} is assigned further down" if name in _assigned(inst.layer.body) else ""
        raise self.shared.error(
            "unknown-name",
            f"nothing is called {name} here",
            node.span,
            facts=(late,) if late else (),
            help=f"did you mean {close[0]}?" if close and not late else "",
        )

    def _member(self, node: tree.Member) -> Any:
        parts: list[str] = []
        base: tree.Expr = node
        while isinstance(base, tree.Member):
            parts.append(base.name)
            base = base.base
        parts.append(base.id)
        parts.reverse()
        record = self.names.get(parts[0])
        if record is BROKEN:
            raise Mistake
        for index, part in enumerate(parts[1:-1], 1):
            if not isinstance(record, ChildRecord):
                break
            record = record.builder.children.get(part)
            if record is not None and record.child.mode != "one":
                raise self.shared.error(
                    "inside-repeat",
                    f"{'.'.join(parts[: index + 1])} is one of several copies",
                    node.span,
                    help="pass the value out of the repeated layer as a result",
                )
        if not isinstance(record, ChildRecord):
            raise self.shared.error(
                "unknown-name",
                f"{'.'.join(parts[:-1])} is not an instance",
                node.span,
                facts=("`instance.parameter` reads a parameter of an instance made by `use`",),
            )
        builder = record.builder
        variable = builder.params.get(parts[-1])
        if variable is None:
            close = nearest(parts[-1], builder.params)
            raise self.shared.error(
                "unknown-parameter",
                f"{builder.layer.name} has no parameter {parts[-1]}",
                node.span,
                facts=(f"it has {', '.join(builder.params)}",) if builder.params else (),
                help=".".join([*parts[:-1], close[0]]) if close else "",
            )
        from .calls import parameter_dims

        order = parameter_dims(self, builder, variable, parts[1:-1], node)
        value = Value(-1, Type(variable.type.dtype, order), "", tuple((d,) for d in order))
        attrs = attributes(name=variable.name, child=".".join(parts[:-1]))
        return Val(
            self.builder.append(Op("param", (), (value,), attrs, span=node.span))[0], node.span
        )

    def _call(self, node: tree.Call, labels) -> Any:
        from . import calls

        callee = node.callee
        inst = self.instance
        if isinstance(callee, tree.Name):
            bound = self.names.get(callee.id)
            if bound is BROKEN or callee.id in inst.broken:
                raise Mistake
            if isinstance(bound, ChildRecord):
                return calls.call_child(self, bound, node, labels)
            if isinstance(bound, Val | StateName):
                raise self.shared.error(
                    "not-callable", f"{callee.id} is a value and cannot be called", callee.span
                )
            option = inst.options.get(callee.id)
            if isinstance(option, OpRef):
                inst.used.add(callee.id)
                return calls.call_op(self, option.name, node, labels)
        ref = inst.layer_ref(callee)
        if ref is not None:
            return calls.call_layer(self, ref, node, labels)
        if isinstance(callee, tree.Name):
            if callee.id in names() and lookup(callee.id).family not in ("structure", "layout"):
                return calls.call_op(self, callee.id, node, labels)
            raise calls.unknown_callee(self, callee)
        raise self.shared.error(
            "unknown-name", f"{_dotted(callee)} is neither a layer nor an instance", callee.span
        )

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
            return self.builder.add("size", size=value, span=node.span)
        if value is None or not isinstance(value, bool | int | float):
            raise self.shared.error("not-a-value", "none is not a value", node.span)
        own = "bool" if isinstance(value, bool) else "int" if isinstance(value, int) else "float"
        if want == "float" or own == "float":
            own, value = "float", float(value)
        elif want == "int" and own == "bool":
            own, value = "int", int(value)
        return self.builder.add("const", value=value, dtype=own, span=node.span)

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
            types = definition.shape(tuple(self.builder.type(i) for i in operands), op)
        except ShapeError as error:
            at = words[error.operand].span if error.operand is not None and words else node.span
            raise self.shared.error(
                error.code, error.message, at, facts=error.facts, help=error.help,
                places=self.origins(operands, error),
            ) from None  # fmt: skip
        results = tuple(
            Value(-1, t, self.label(labels[i] if labels and i < len(labels) else None, name))
            for i, t in enumerate(types)
        )
        ids = self.builder.append(Op(name, operands, results, op.attrs, span=node.span))
        return tuple(Val(i, node.span) for i in ids)

    def origins(self, operands: tuple[int, ...], error: ShapeError) -> tuple[Place, ...]:
        """Where the operands of a wrong op were declared, if they are declared arrays."""
        places = []
        for id in operands:
            made = self.builder.defining(id)
            if made is not None and made.name in ("param", "state") and made.span is not None:
                places.append(Place(made.span, f"{made['name']} is declared here"))
        return tuple(places[:2])

    def label(self, wanted: str | None, op: str) -> str:
        """A unique label: the assigned name, else the statement's name and the op's."""
        if self.drawn is not None or op in ("const", "size"):
            return ""
        if wanted == "_":
            wanted = None
        base = wanted if wanted is not None else f"{self.statement}:{op}"
        self._labels[base] += 1
        return base if self._labels[base] == 1 else f"{base}.{self._labels[base]}"

    def region(self, ops: tuple[Op, ...], results: tuple[int, ...], arguments=()) -> Region:
        """A region of ops."""
        return Region(tuple(arguments), ops, results)


def condition(instance: InstanceBuilder, node: tree.If, declared=None, names_=()) -> bool:
    """The truth of a condition on options, constants and fixed sizes.

    Raises:
        Mistake: it is not settled before anything runs, or is no truth value.
    """
    hidden = {k for k in names_ if not is_constant(names_[k])} if names_ else ()
    value = plain(instance.try_constant(node.condition, declared, hidden))
    if isinstance(value, bool):
        return value
    if isinstance(value, OpRef | LayerRef):
        return True
    facts = (
        "`if` is settled when the model is compiled: on train, options, constants and fixed sizes",
    )
    raise instance.shared.error(
        "if-on-value",
        "this condition is not known before the model runs"
        if value is NotImplemented or isinstance(value, Size)
        else "a condition is true or false",
        node.condition.span,
        facts=facts,
        help="where(condition, a, b) chooses element by element" if value is NotImplemented else "",
    )


def _bound_by(node: tree.Statement) -> list[str]:
    match node:
        case tree.Assign(targets=targets) | tree.Scan(targets=targets):
            more = [k.name for k in node.carry] if isinstance(node, tree.Scan) else []
            return [t.id for t in targets if t.id != "_"] + more
        case tree.Param(name=name) | tree.State(name=name) | tree.Use(name=name):
            return [name]
        case tree.If(then=then, orelse=orelse):
            return [n for s in (*then, *orelse) for n in _bound_by(s)]
    return []


def _assigned(body: tuple[tree.Statement, ...]) -> set[str]:
    return {n for s in body for n in _bound_by(s)}


def _count(n: int, what: str) -> str:
    return f"{'one' if n == 1 else n} {what}{'' if n == 1 else 's'}"


def _written(variable) -> str:
    return "[" + ", ".join(d.name for d in variable.order) + "]"


def _difference(found: Type, wanted: Type) -> tuple[str, ...]:
    more = [d.name for d in found.dims if d not in wanted.dims]
    less = [d.name for d in wanted.dims if d not in found.dims]
    facts = []
    if more:
        facts.append(f"too much: {', '.join(more)}")
    if less:
        facts.append(f"missing: {', '.join(less)}")
    return tuple(facts)


def _dotted(node: tree.Name | tree.Member) -> str:
    return node.id if isinstance(node, tree.Name) else f"{_dotted(node.base)}.{node.name}"
