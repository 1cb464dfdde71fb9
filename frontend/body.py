"""Bodies of layers, statement by statement."""

from __future__ import annotations

from typing import Any

from ..ir.core import Dim, Op, Value, attributes
from ..ir.diagnostics import Place, Span
from . import tree
from .branches import if_train
from .conditions import condition
from .constants import Mistake
from .instances import InstanceBuilder
from .loops import scan
from .reading import BROKEN, Many, StateName, Val
from .values import Values
from .wording import bound_by, corrected, count, meant, wrapped, written

COLUMNS = (  # of the log
    "step", "seconds", "data_seconds", "mfu", "split", "event", "what", "steps",
    "gradient_norm", "skipped", "loss_scale", "learning_rate",
)  # fmt: skip


class Body(Values):
    """A body, or an initializer, being elaborated.

    Attributes:
        returned: what it returns, once it has.
        broken: whether a statement was wrong.
        early: whether it returned from a branch that is settled at compile time.
    """

    def __init__(
        self, instance: InstanceBuilder, drawn: tuple[Dim, ...] | None = None, name: str = ""
    ):
        super().__init__(instance, drawn, name)
        self.returned: tuple[Val, ...] | None = None
        self.return_span: Span | None = None
        self.broken = False
        self.early = False
        self.metrics: dict[str, Span] = {}

    def run(self, statements: tuple[tree.Statement, ...]) -> None:
        """Elaborate statements; one that is wrong is given up, and the rest goes on."""
        for node in statements:
            if self.returned is not None and self.early:
                return  # a branch that is settled when the model is compiled has returned
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
                for bound, _ in bound_by(node):
                    self.names[bound] = BROKEN
                self.instance.broken |= _new_dims(node) - self.declared.keys()

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
            given: list[Any] = list(result.values) if isinstance(result, Many) else [result]
            if len(given) != len(targets):
                names = [t.id for t in targets][: len(given)]
                names += ["_"] * (len(given) - len(names))
                at = targets[0].span.to(targets[-1].span)
                raise self.shared.error(
                    "wrong-number-of-results",
                    f"this gives {count(len(given), 'value')}, not {len(targets)}",
                    values[0].span,
                    places=(Place(at, f"{len(targets)} names"),),
                    help=corrected(self.shared.diagnostics, at, ", ".join(names)),
                )
        elif len(values) != len(targets):
            raise self.shared.error(
                "wrong-number-of-results",
                f"{count(len(targets), 'name')}, but {count(len(values), 'value')}",
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
            where = {**inst.params, **inst.states}.get(target.id) or inst.children[target.id].child
            article = "an" if table == "instance" else "a"
            raise self.shared.error(
                "cannot-assign",
                f"{target.id} is {article} {table} of this layer and cannot be bound again",
                target.span,
                places=(Place(where.span, "declared here"),) if where.span is not None else (),
                facts=("a parameter is changed by the optimizer, not by the model",)
                if table == "parameter"
                else (),
                help=self._arrowed(target) if table == "state" else "choose another name",
            )
        if isinstance(value, Val):
            value = Val(value.id, target.span)
        self.names[target.id] = value

    def _arrowed(self, target: tree.Name) -> str:
        line = corrected(self.shared.diagnostics, target.span, target.id)
        fixed = line.replace(f"{target.id} = ", f"{target.id} <- ", 1)
        return fixed if fixed != line and line.startswith(target.id) else f"{target.id} <- …"

    def _update(self, node: tree.Update) -> None:
        name = node.name.id
        inst = self.instance
        if name in inst.broken:
            raise Mistake
        if name not in inst.states:
            raise self._not_a_state(node)
        if "scan" in self.inside:
            raise self.shared.error(
                "state-in-scan",
                "a state cannot be updated inside of a scan",
                node.span,
                facts=("what a scan changes from step to step, it carries along",),
                help=f"carry (a = {name}), and after the scan: {name} <- a",
            )
        variable = inst.states[name]
        self.statement = name
        value = self.value(self.expr(node.value, (f"{name}.new",)), node.value, variable.type.kind)
        if variable.type.kind == "float":
            value = self.as_float(value, node.value.span)
        found = self.builder.type(value)
        if set(found.dims) != set(variable.type.dims):
            raise self.shared.error(
                "state-type",
                f"the new value of {name} is {self.shown(value)}, but the state is {variable.type}",
                node.value.span,
                places=(Place(variable.span, "declared here"),) if variable.span else (),
                help=self._state_help(value, variable, node),
            )
        if found.kind != variable.type.kind:
            raise self.shared.error(
                "state-type",
                f"the new value of {name} is {found.kind}, but the state is {variable.type.kind}",
                node.value.span,
                places=(Place(variable.span, "declared here"),) if variable.span else (),
            )
        self.states[name] = value

    def _not_a_state(self, node: tree.Update) -> Mistake:
        name, inst, diagnostics = node.name.id, self.instance, self.shared.diagnostics
        places: tuple[Place, ...] = ()
        if name in inst.params:
            variable = inst.params[name]
            what = "a parameter, which only the optimizer changes"
            at = variable.span
            places = (Place(at, "declared here"),) if at is not None else ()
            words = written(diagnostics, at) if at is not None else ""
            help = words.replace("param ", "state ", 1)
        elif name in inst.children:
            what, help = "an instance", ""
        elif isinstance(self.names.get(name), Val):
            what, help = "a value", corrected(diagnostics, node.span, "").strip()
            help = written(diagnostics, node.span).replace("<-", "=", 1)
        else:
            what = "not declared"
            help = meant(diagnostics, node.name.span, name, inst.states)
            if not help:
                value = self.value(self.expr(node.value), node.value)
                dims = ", ".join(d.name for d in self.order_of(value))
                kind = self.builder.type(value).kind
                type_ = f"{kind if kind != 'float' else ''}[{dims}]"
                help = f"state {name}: {type_} = zeros()    # among the layer's declarations"
        return self.shared.error(
            "not-a-state",
            f"`<-` updates a state; {name} is {what}",
            node.name.span,
            places=places,
            help=help,
        )

    def _state_help(self, value: int, variable: Any, node: tree.Update) -> str:
        type_ = self.builder.type(value)
        more = [d for d in self.order_of(value) if d not in variable.type.dims]
        if not set(variable.type.dims) <= set(type_.dims):
            return ""
        dims = "..." if tuple(more) == self.dots else ", ".join(d.name for d in more)
        return wrapped(self.shared.diagnostics, node.value.span, f"mean[{dims}](")

    def _return(self, node: tree.Return) -> None:
        if self.inside:
            where = "a branch on train" if self.inside[-1] == "train" else "a scan"
            raise self.shared.error(
                "return-inside",
                f"`return` cannot stand in {where}",
                node.span,
                help="assign the value there, and return it at the end",
            )
        self.statement = "return"
        values: list[Val] = []
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
                "a metric cannot be reported from inside of a scan",
                node.span,
                help="`emit` the value, and report its mean after the scan",
            )
        if "train" in self.inside:
            raise self.shared.error(
                "metric-under-train",
                "a metric cannot be reported from a branch on train",
                node.span,
                facts=("the same metrics are reported in training and in evaluation",),
                help="assign the value in both branches, and report it after them",
            )
        if node.name in COLUMNS or node.name.endswith("_per_second"):
            raise self.shared.error(
                "metric-name",
                f"a metric cannot be called {node.name}: the log has a column of that name",
                node.span,
                facts=(f"taken are {', '.join(COLUMNS)}, and what ends in _per_second",),
                help="choose another name",
            )
        first = self.metrics.get(node.name)
        if first is not None:
            raise self.shared.error(
                "declared-twice",
                f"the metric {node.name} is reported twice in this layer",
                node.span,
                places=(Place(first, "first here"),),
                help="rename one of them",
            )
        self.metrics[node.name] = node.span
        self.statement = node.name
        id = self.value(self.expr(node.value, (node.name,)), node.value)
        if self.builder.type(id).dims:
            dims = ", ".join(d.name for d in self.order_of(id))
            raise self.shared.error(
                "metric-not-scalar",
                f"the metric {node.name} is {self.shown(id)}, not a scalar",
                node.value.span,
                help=wrapped(self.shared.diagnostics, node.value.span, f"mean[{dims}]("),
            )
        self.report(node.name, id, node.span)

    def report(self, name: str, id: int, span: Span) -> None:
        """Report a scalar as a metric; a mean is reported with the number of what it averages."""
        operands: tuple[int, ...] = (id,)
        made = self.builder.defining(id)
        if made is not None and made.name == "mean":
            x = self.builder.type(made.operands[0])
            if set(made["dims"]) == set(x.dims):
                mask = made.extra("where")
                count = (
                    self.builder.add(
                        "count",
                        made.operands[mask],
                        dims=made["dims"],
                        span=span,
                        label=self.label(f"{name}_count", "count"),
                        extra=("where",),
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
            if_train(self, node, *branches)
            return
        truth = condition(self.instance, node, self.declared, self.names)
        self.run(node.then if truth else node.orelse)
        self.early = self.returned is not None


def _new_dims(node: object) -> set[str]:
    """The names right of arrows in a statement."""
    found: set[str] = set()
    waiting: list[object] = [node]
    while waiting:
        one = waiting.pop()
        if isinstance(one, tree.Item) and one.right is not None:
            sides: list[object] = [one.right]
            while sides:
                side = sides.pop()
                if isinstance(side, tree.Name):
                    found.add(side.id)
                elif isinstance(side, tree.Binary):
                    sides += [side.left, side.right]
        elif isinstance(one, tree.Node):
            waiting += vars(one).values()
        elif isinstance(one, tuple):
            waiting += one
    return found
