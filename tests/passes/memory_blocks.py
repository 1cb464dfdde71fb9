"""Blocks of emitted models beside their units in the graph of memory planners."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
from netwright.backend.model import ModelWriter
from netwright.driver import pipeline
from netwright.ir.core import Module, Value
from netwright.ir.effects import effects
from netwright.ir.placement import stack
from netwright.ir.plan import Plan
from netwright.passes.memory.graph import Graph, Unit, build, residuals


class Blocks:
    """An emitted model with its graph.

    Args:
        module: as elaborated.
        plan: with all sizes.
    """

    def __init__(self, module: Module, plan: Plan):
        self.module = pipeline().run(module, plan)
        self.plan, self.sizes = plan, dict(plan.sizes)
        self.graph: Graph = build(self.module, plan)
        writer = ModelWriter(self.module, plan, "model.nw")
        self.emitted = ModuleType("emitted")
        exec(writer.write(), self.emitted.__dict__)
        self.names = writer.names
        self.params = jax.eval_shape(self.emitted.init_params, jax.random.key(0))
        self.state = jax.eval_shape(self.emitted.init_state)

    def shape(self, value: Value) -> jax.ShapeDtypeStruct:
        shape = tuple(_product(d.size.evaluate(self.sizes) for d in axis) for axis in value.axes)
        return jax.ShapeDtypeStruct(shape, jnp.dtype(value.type.dtype))

    def slice(self, tree: Any, path: str) -> Any:
        """The part of a tree of parameters at a path, of one copy."""
        for part in path.split(".") if path else ():
            if part not in tree:
                return {}
            tree = tree[part]
        depth = len(stack(self.module, path))
        return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[depth:], a.dtype), tree)

    def units(self) -> Iterator[Unit]:
        """The bodies of repeats that are functions of their own."""
        for unit in self.graph.units:
            if unit.kind == "repeat":
                yield unit

    def call(self, unit: Unit, variant: int = 0):
        """A block in training as a function of (params, inputs, key); shapes of the first two."""
        found = effects(self.module, unit.path, variant)
        inputs = self.module.instance(unit.path).variants[variant].inputs
        function = getattr(self.emitted, self.names[unit.path, variant])
        state = self.slice(self.state, unit.path)

        def run(params, given, key):
            arguments = [params] if found.params else []
            arguments += [jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), state)] * found.state
            arguments += given
            arguments += [key] if found.key else []
            arguments += [True] if found.train or found.key else []
            gives = function(*arguments)
            return jax.tree.leaves(gives)[: len(unit.results)]

        return run, self.slice(self.params, unit.path), [self.shape(v) for v in inputs]

    def kept_by_jax(self, unit: Unit) -> Counter:
        """(dtype, bytes) of what the gradient of one copy keeps, how often.

        Parameters do not count, nor what is made of constants only, which a scan does not stack.
        """
        run, params, inputs = self.call(unit)
        wanted = [i for i, a in enumerate(unit.arguments) if unit[a].differentiated]

        def primal(params, key, *wanted_inputs):
            given = [jnp.ones(v.shape, v.dtype) for v in inputs]
            for index, value in zip(wanted, wanted_inputs, strict=True):
                given[index] = value
            gives = run(params, given, key)
            return [g for g, r in zip(gives, unit.results, strict=True) if unit[r].differentiated]

        def saved(params, key, *given):
            return jax.vjp(lambda p, *g: primal(p, key, *g), params, *given)[1]

        given = [inputs[i] for i in wanted]
        jaxpr = jax.make_jaxpr(saved)(params, jax.random.key(0), *given).jaxpr
        leaves = len(jax.tree.leaves(params))
        still = [
            v
            for i, v in zip(wanted, jaxpr.invars[leaves + 1 :], strict=True)
            if unit[unit.arguments[i]].invariant
        ]
        constant = _constants(jaxpr, {*jaxpr.invars[:leaves], *still}, set())
        return Counter(
            (str(v.aval.dtype), v.aval.size * v.aval.dtype.itemsize)
            for v in {id(v): v for v in jaxpr.outvars}.values()
            if not hasattr(v, "val") and v not in constant and v.aval.size > 1
        )


def _constants(jaxpr, weights: set, constants: set) -> set:
    """Variables that are made of constants, and parameters or these reshaped."""
    found, weights = constants | set(jaxpr.constvars), set(weights)
    for equation in jaxpr.eqns:
        given = [v for v in equation.invars if not hasattr(v, "val")]
        name = equation.primitive.name
        if name in ("jit", "pjit", "custom_jvp_call", "custom_vjp_call"):
            inner = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
            inner = getattr(inner, "jaxpr", inner)
            pairs = list(zip(inner.invars, equation.invars, strict=True))
            known = {i for i, v in pairs if hasattr(v, "val") or v in found}
            same = _constants(
                inner, {i for i, v in pairs if i not in known and v in weights}, known
            )
            found.update(
                o
                for o, v in zip(equation.outvars, inner.outvars, strict=True)
                if hasattr(v, "val") or v in same
            )
        elif all(v in found for v in given) and not equation.effects:
            found.update(equation.outvars)
        elif name in ("reshape", "broadcast_in_dim", "squeeze"):
            (v,), (out,) = given[:1], equation.outvars
            if v in weights and v.aval.size == out.aval.size:
                weights.add(out)
    return found | weights


def kept_by_graph(unit: Unit) -> Counter:
    """The same, as the graph has it."""
    found = residuals(unit)
    return Counter((_concrete(dtype), size) for _, dtype, size in found if size > 4)


def _concrete(dtype: str) -> str:
    return {"float": "float32", "int": "int32"}.get(dtype, dtype)


def _product(numbers) -> int:
    return functools.reduce(lambda a, b: a * b, numbers, 1)
