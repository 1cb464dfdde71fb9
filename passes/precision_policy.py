"""What the plan says of dtypes: of instances, of values, of what goes in and comes out."""

from __future__ import annotations

from ..ir.core import Instance, Module, Value, Variable, join
from ..ir.plan import Plan, find, inherited
from ..ir.signature import carried

NARROW = {"bfloat16": (1.2e-38, 3.3e38), "float16": (6.2e-5, 65504.0)}
"""Dtypes in which sums lose too much, with the least and the greatest number they hold well."""


def wide(dtype: str) -> str:
    """The dtype in which sums and norms are computed where products are in `dtype`."""
    return "float64" if dtype == "float64" else "float32"


def holds(dtype: str, value: float) -> bool:
    """Whether a dtype holds a number neither as infinity nor as nearly zero."""
    if dtype not in NARROW or value == 0 or value != value or abs(value) == float("inf"):
        return True
    least, greatest = NARROW[dtype]
    return least <= abs(value) <= greatest


def settled(dtype: str, floats: str) -> str:
    """A dtype as it is, or if it is abstract, the concrete one."""
    return {"float": floats, "int": "int32"}.get(dtype, dtype)


class Policy:
    """What the plan says of instances, and so of what goes into them and comes out."""

    def __init__(self, module: Module, plan: Plan):
        self.module, self.decisions = module, plan.precision.overrides
        self.policy = plan.precision.policy
        self.declared = wide(self.policy)  # of parameters, states, and what the runtime hands in
        self.outer = ("", module.model)
        self._low: dict[str, str] = {}
        self._becomes: dict[tuple[str, int], dict[int, int]] = {}
        for instance, _, op in module.walk():
            if op.name == "repeat":
                child = join(instance.path, op["child"])
                self._becomes.setdefault((child, op["variant"]), {}).update(carried(op))

    def low(self, path: str) -> str:
        """The dtype that an instance computes in."""
        if path not in self._low:
            decision = inherited(self.decisions, path)
            self._low[path] = self.policy if decision is None else str(decision.choice)
        return self._low[path]

    def told(self, path: str, label: str) -> str | None:
        """The dtype that the plan gives to one value."""
        decision = find(self.decisions, f"{path}/{label}") if label else None
        return None if decision is None else str(decision.choice)

    def variable(self, variable: Variable) -> str:
        """The dtype of a parameter or state."""
        return settled(variable.type.dtype, self.declared)

    def argument(self, instance: Instance, value: Value) -> str:
        """The dtype of an argument of an instance's body."""
        if value.type.kind != "float":
            return settled(value.type.dtype, "")
        return self.told(instance.path, value.label) or self._crossing(
            instance, not value.type.dims
        )

    def result(self, instance: Instance, index: int, position: int) -> str:
        """The dtype of a result of an instance's body, if it is a float."""
        variant = instance.variants[index]
        becomes = self._becomes.get((instance.path, index), {})
        if position in becomes:
            return self.argument(instance, variant.inputs[becomes[position]])
        return self._crossing(instance, not variant.results[position].order)

    def _crossing(self, instance: Instance, scalar: bool) -> str:
        low = self.low(instance.path)
        if self.crosses_wide(instance, scalar):
            return self.declared if instance.path in self.outer else wide(low)
        return low

    def crosses_wide(self, instance: Instance, scalar: bool) -> bool:
        """Whether a value goes into an instance or out of it in float32, whatever it computes in:
        scalars, and what the runtime hands in or asks for."""
        return scalar or instance.path in self.outer
