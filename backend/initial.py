"""Initial values: functions that make all parameters, or all states, as nested dicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..ir.core import Child, Instance, Variable, Variant, walk
from ..ir.effects import holds, salt
from ..ir.registry import lookup
from .body import Body
from .function import Function
from .lines import Entries, nested
from .naming import documented, fresh, prose, snake, wrap

if TYPE_CHECKING:
    from .model import ModelWriter


class Initials:
    """Writes the functions that make initial values.

    A function makes those of an instance and of all below it; it serves all instances that begin
    alike. What only one instance needs stands in the function around.

    Args:
        model: which gets the functions.
        kind: `params` or `states`.
    """

    def __init__(self, model: ModelWriter, kind: str):
        self.model, self.kind = model, kind
        self._functions: dict[tuple, str] = {}
        instances = model.module.instances
        self._served = Counter(self._identity(i) for i in instances)
        # Parameters are drawn; states rarely are.
        self._keyed = kind == "params" or any(
            lookup(op.name).effect == "random"
            for i in instances for state in i.states for op in walk(state.init.ops)
        )  # fmt: skip

    def function(self, instance: Instance) -> str:
        """The name of the function for an instance, written when it is first asked for."""
        identity = self._identity(instance)
        if identity in self._functions:
            return self._functions[identity]
        states, root = self.kind == "states", instance.path == ""
        name = "init_state" if states else "init_params"
        if not root:
            name = f"init_{snake(instance.layer)}{'_state' if states else ''}"
            name = fresh(name, self.model.taken)
        self.model.taken.add(name)
        self._functions[identity] = name
        lines = [f"def {name}({'key' if self._keyed and not (root and states) else ''}):"]
        if root:
            group = "States" if states else "Parameters"
            said = f"{group} of {documented(prose(instance.layer))}, as nested dicts."
            lines.append(f'    """{said}"""')
            if self._keyed and states:
                lines.append("    key = random.key(0)")
        entries = self._entries(instance, (), lines, set())
        lines += nested(entries, "    return ", "")
        self.model.texts.append(lines)
        return name

    def _variables(self, instance: Instance) -> tuple[Variable, ...]:
        return instance.params if self.kind == "params" else instance.states

    def _holding(self, instance: Instance) -> Iterator[tuple[Child, Instance]]:
        """The children that have something to be made."""
        for child in instance.children:
            inner = self.model.module.child_of(instance, child.name)
            if holds(self.model.module, inner.path, self.kind):
                yield child, inner

    def _identity(self, instance: Instance) -> tuple:
        """What two instances must share for one function to serve both."""
        children = tuple(
            (c.name, c.mode, c.along, self._identity(i)) for c, i in self._holding(instance)
        )
        return (instance.layer, instance.dims, self._variables(instance), children)

    def _entries(
        self, instance: Instance, salts: tuple[str, ...], lines: list[str], held: set[str]
    ) -> Entries:
        """Names with their source, or with entries of their own where no function is worth while.

        Statements that they need are added to `lines`, and the names that these bind to `held`.
        """
        entries: Entries = [
            (v.name, self._initial(instance, v, salts, lines, held))
            for v in self._variables(instance)
        ]
        for child, inner in self._holding(instance):
            below = (*salts, f"0x{salt(child.name):08x}")
            tiny = len(self._variables(inner)) == 1 and not any(self._holding(inner))
            if child.mode == "one" and (tiny or self._served[self._identity(inner)] == 1):
                entries.append((child.name, self._entries(inner, below, lines, held)))
            else:
                entries.append((child.name, self._call(child, self.function(inner), below)))
        return entries

    def _call(self, child: Child, function: str, salts: tuple[str, ...]) -> str:
        """Source of the initial values of a child, or of all its copies."""
        along, use = child.along, self.model.use
        count = "" if along is None else self.model.constant(along, along.size.value)
        if not self._keyed:
            use(*(["stacked"] if count else []))
            return f"stacked([{function}()] * {count})" if count else f"{function}()"
        key = f"fold(key, {', '.join(salts)})"
        use("fold", *(["copy_keys"] if count else []))
        return f"jax.vmap({function})(copy_keys({key}, {count}))" if count else f"{function}({key})"

    def _initial(
        self,
        instance: Instance,
        variable: Variable,
        salts: tuple[str, ...],
        lines: list[str],
        held: set[str],
    ) -> str:
        """Source of one initial value."""
        function = Function(self.model, instance, Variant((), variable.init.ops, ()))
        body = Body(function, variable.init.ops, variable.init.results, 4)
        body.salts = salts
        body.scope.held.update(dict.fromkeys(held))
        body.write()
        source = body.array(variable.init.results[0]).text
        for line in body.lines:
            lines += wrap(line)
        held.update(body.scope.held)
        return source
