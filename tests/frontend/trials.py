"""Small models run both ways, by what they mean in numpy and as the emitted program."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from netwright import driver
from netwright.backend.model import ModelWriter
from netwright.ir.core import Module, join
from netwright.ir.evaluate import evaluate
from netwright.ir.plan import Plan, Precision
from netwright.ir.text import parse, show
from netwright.ir.verify import verify
from twins import built, difference, translated

DOUBLE = Plan(precision=Precision("float64"))


@dataclass(frozen=True)
class Trial:
    """A model that was run.

    Attributes:
        params: what the parameters were, as nested dicts; copies are stacked.
        results: of the entry.
        state: after the call.
        metrics: by path.
        text: of the emitted program.
    """

    params: dict[str, Any]
    results: tuple[Any, ...]
    state: dict[str, Any]
    metrics: dict[str, Any]
    text: str

    def equals(self, *wanted: Any) -> None:
        """Demand that the results are these."""
        assert len(wanted) == len(self.results)
        for found, want in zip(self.results, wanted, strict=True):
            want = np.asarray(want)
            assert found.shape == want.shape, f"{found.shape}, not {want.shape}\n{self.text}"
            np.testing.assert_allclose(found, want, 1e-9, 1e-9, err_msg=self.text)


def load(text: str, files: Mapping[str, str] | None = None, **settings: Any) -> Module:
    """The module of a model, with files beside it; written in Python, it must be the same."""
    with tempfile.TemporaryDirectory() as folder:
        for name, more in {"model.nw": text, **(files or {})}.items():
            (Path(folder) / name).write_text(more)
        path = Path(folder) / "model.nw"
        module = driver.load(path, settings).module
        twin = built(translated(path, path.parent), module.name, **settings)
        assert difference(module, twin) == "", "the same in Python is another module"
        return module


def drawn(module: Module, rng: np.random.Generator) -> tuple[dict, dict]:
    """Parameters and states of normal numbers; both as nested dicts by path."""
    trees: tuple[dict, dict] = ({}, {})
    lead: dict[str, tuple[int, ...]] = {"": ()}
    for instance in module.instances:
        for child in instance.children:
            more = () if child.along is None else (child.along.size.value,)
            lead[join(instance.path, child.name)] = (*lead[instance.path], *more)
        for tree, variables in zip(trees, (instance.params, instance.states), strict=True):
            for variable in variables:
                node = tree
                for part in instance.path.split(".") if instance.path else ():
                    node = node.setdefault(part, {})
                shape = (*lead[instance.path], *(d.size.value for d in variable.order))
                node[variable.name] = rng.normal(size=shape)
    return trees


def trial(
    text: str, /, *inputs: Any, files: Mapping[str, str] | None = None, train: bool = False
) -> Trial:
    """Run a model whose sizes are fixed, in double precision, and demand both ways to agree.

    Args:
        inputs: the arguments of the entry, in order.
        files: other files beside the model, by name.
    """
    module = load(text, files)
    assert not verify(module)
    assert parse(show(module)) == module
    params, state = drawn(module, np.random.default_rng(0))
    results, after, metrics = evaluate(module, params, state, list(inputs), train=train)
    with jax.enable_x64(True):
        writer = ModelWriter(driver.compile_module(module, DOUBLE), DOUBLE, "model.nw")
        source = writer.write()
        names: dict[str, Any] = {}
        exec(compile(source, "model.py", "exec"), names)
        entry = names[writer.names[("", 0)]]
        known = {"params": params, "state": state, "train": train, "key": jax.random.key(0)}
        takes, given = list(inspect.signature(entry).parameters), list(inputs)
        args = [known[n] if n in known else given.pop(0) for n in takes]
        found = entry(*jax.tree.map(jnp.asarray, args))
        parts = [found] if len(results) + bool(state) + bool(metrics) == 1 else list(found)
        parts = jax.tree.map(np.asarray, parts)
    measured = {k: s / n for k, (s, n) in (parts.pop() if metrics else {}).items()}
    states = parts.pop() if state else {}
    ours, theirs = (tuple(parts), states, measured), (results, after, metrics)
    assert jax.tree.structure(ours) == jax.tree.structure(theirs), source
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(one, other, 1e-9, 1e-9, err_msg=source)
    return Trial(params, tuple(np.asarray(r) for r in results), after, metrics, source)
