"""What JAX keeps for the gradients of the bodies that a program runs again."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import netwright as nw
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun
from netwright import driver
from netwright.backend.model import ModelWriter
from netwright.ir.core import Module
from netwright.ir.plan import Decision, Plan, decide
from netwright.ir.signature import CALLS
from netwright.passes.remat import candidates

LAYERS = ("repeat", "each", "call")


def emitted(module: Module, plan: Plan) -> ModuleType:
    """The `model.py` of a module under a plan."""
    done = driver.compile_module(module, plan)
    made = ModuleType(module.name)
    text = ModelWriter(done, plan, "model.nw").write()
    exec(compile(text, "model.py", "exec"), made.__dict__)
    made.__dict__["SOURCE"] = text
    return made


def loaded(text: str, **sizes: Any) -> Module:
    """The module of a model's text."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.nw"
        path.write_text(text)
        return nw.load(path, **sizes).module


def bodies(module: Module) -> list[str]:
    """What may be run again: all repeats that no other is around; else what the model calls."""
    repeats = [
        f"{i.path}.{op['child']}".lstrip(".") for i, _, op in module.walk() if op.name == "repeat"
    ]
    outer = [p for p in repeats if not any(p.startswith(f"{o}.") for o in repeats)]
    if outer:
        return list(dict.fromkeys(outer))
    inner = module.model or ""
    called = [
        f"{i.path}.{op['child']}".lstrip(".")
        for i, _, op in module.walk()
        if op.name in CALLS and i.path == inner
    ]
    return list(dict.fromkeys(called)) or ([inner] if inner else [])


def drawn(module: Module, share: float, seed: int = 0, **more: Any) -> Plan:
    """A plan that runs bodies again and keeps a share of what they make, drawn at random."""
    rng = random.Random(seed)
    again = bodies(module)
    before = driver.pipeline()
    before.passes = before.passes[:3]  # what is left after simplifying, before names
    labels = [
        f"{path}/{label}"
        for path, label in candidates(before.run(module, Plan()))
        if any(path == b or path.startswith(f"{b}.") for b in again)
    ]
    kept = [key for key in labels if rng.random() < share]
    chosen = [Decision(path, "recompute") for path in again]
    return Plan(remat=decide(chosen, *(Decision(key, "save") for key in kept)), **more)


def run_again(program: ModuleType, batch: dict, train: bool = True) -> Iterator[Any]:
    """The `checkpoint` equations of a program's loss."""
    key = jax.random.key(0)
    params = jax.eval_shape(program.init_params, key)
    state = jax.eval_shape(program.init_state)
    traced = jax.make_jaxpr(lambda p, s, b, k: program.loss(p, s, b, k, train))(
        params, state, batch, key
    )
    yield from _equations(traced.jaxpr)


def _equations(jaxpr: Any) -> Iterator[Any]:
    for eqn in jaxpr.eqns:
        if eqn.primitive.name in ("checkpoint", "remat2", "remat"):
            yield eqn
        for value in eqn.params.values():
            for inner in value if isinstance(value, (tuple, list)) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from _equations(inner)


def origin(jaxpr: Any, var: Any) -> tuple[str, str]:
    """What gives a variable, also from within loops: ("name", …), else what it is instead."""
    if hasattr(var, "val") or var.aval.size <= 1:
        return "small", ""
    for eqn in jaxpr.eqns:
        if var not in eqn.outvars:
            continue
        primitive, inner = eqn.primitive.name, eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
        if primitive == "name":
            return "name", eqn.params["name"]
        if primitive in ("reduce_precision", "device_put"):
            return origin(jaxpr, eqn.invars[eqn.outvars.index(var)])
        inner = getattr(inner, "jaxpr", inner)
        if not hasattr(inner, "eqns"):
            return "made", f"{var.aval.str_short()} of {primitive}"
        there = inner.outvars[eqn.outvars.index(var)]
        found = origin(inner, there)
        if found[0] == "given" and primitive != "scan":
            return origin(jaxpr, eqn.invars[inner.invars.index(there)])
        return found
    return "given", ""


def kept(eqn: Any) -> tuple[set[str], list[str]]:
    """The names that the gradient of a body keeps, and what else that is no argument."""
    inner = eqn.params["jaxpr"]
    function = jaxpr_as_fun(ClosedJaxpr(inner, ()))
    policy = eqn.params["policy"]
    again = jax.checkpoint(lambda *a: function(*a), policy=policy)
    shapes = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in inner.invars]
    traced, (_, back) = jax.make_jaxpr(lambda *a: jax.vjp(again, *a), return_shape=True)(*shapes)
    outputs = traced.jaxpr.outvars
    found = [origin(traced.jaxpr, v) for v in outputs[len(outputs) - len(jax.tree.leaves(back)) :]]
    return {n for what, n in found if what == "name"}, [n for what, n in found if what == "made"]


def named(eqn: Any) -> set[str]:
    """The names that stand in a body, those in loops inside of it too."""

    def inside(jaxpr: Any) -> Iterator[str]:
        for inner in jaxpr.eqns:
            if inner.primitive.name == "name":
                yield inner.params["name"]
            for value in inner.params.values():
                value = getattr(value, "jaxpr", value)
                if hasattr(value, "eqns"):
                    yield from inside(value)

    return set(inside(eqn.params["jaxpr"]))
