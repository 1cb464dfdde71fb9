"""The model of memory: state against optax, the peak against XLA, and what must hold of reports."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from types import ModuleType

import jax
import jax.numpy as jnp
import netwright as nw
import optax
import pytest
from netwright.backend.model import ModelWriter
from netwright.driver import pipeline
from netwright.ir.hardware import hardware
from netwright.ir.plan import Plan, Precision
from netwright.passes.memory.model import Training, predict
from netwright.passes.memory.units import Choice
from netwright.runtime.settings import Settings
from netwright.runtime.step import build
from programs import EXAMPLES, SMALL


def report(training=Training(), **changes):  # noqa: B008
    plan = replace(Plan(sizes=(("B", 8), ("S", 16))), **changes)
    loaded = nw.load(EXAMPLES / "shakespeare" / "model.nw", **SMALL)
    return predict(pipeline().run(loaded.module, plan), plan, training, hardware("v5e"))


def test_a_report():
    found = report()
    parts = dict(found.components)
    assert found.peak == sum(parts.values()) == max(m.bytes for m in found.timeline)
    assert parts["optimizer"] == 2 * parts["parameters"] + 4
    assert found.seconds > 0 and found.recomputed == 0
    assert sum(k.bytes for k in found.kept) <= parts["kept"]
    names = {m.name for m in found.timeline}
    assert {"gpt/x: forward", "∂gpt/x: backward", "update"} <= names


def test_what_the_recipe_changes():
    plain = report()
    parts = dict(plain.components)
    assert report(Training((("sgd", ()),))).peak == plain.peak - parts["optimizer"]
    assert report(Training(ema=True)).peak == plain.peak + parts["parameters"]
    frozen = report(Training(frozen=("gpt.blocks",)))
    assert dict(frozen.components)["optimizer"] < parts["optimizer"]


def test_microbatches_take_less_for_values_and_one_more_tree_of_gradients():
    plain, cut = dict(report().components), dict(report(microbatches=4).components)
    assert 3 * cut["kept"] < plain["kept"]
    assert cut["sums of gradients"] == plain["parameters"]


def test_keeping_less_recomputes_more():
    plan = Plan(sizes=(("B", 8), ("S", 16)))
    loaded = nw.load(EXAMPLES / "shakespeare" / "model.nw", **SMALL)
    module = pipeline().run(loaded.module, plan)
    every = predict(module, plan)
    nothing = predict(module, plan, choices={"gpt.blocks": Choice(frozenset())})
    product = frozenset(["gpt.blocks.mlp/return:dot"])
    some = predict(module, plan, choices={"gpt.blocks": Choice(product)})
    assert nothing.peak < some.peak < every.peak
    assert nothing.recomputed > some.recomputed > every.recomputed == 0
    assert {k.key for k in some.kept} == {"gpt.blocks/x", "gpt.blocks.mlp/return:dot"}


ORACLE = {
    "xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED",
    "xla_disable_hlo_passes": "cse_barrier_expander",
    "xla_cpu_experimental_ynn_fusion_type": "",
    "xla_backend_optimization_level": 0,
}
"""XLA as the model describes it: it schedules for memory. Its machine code is of no interest."""


@pytest.mark.slow
@pytest.mark.parametrize(("policy", "microbatches"), [("float32", 1), ("float16", 2)])
def test_the_peak_is_what_xla_plans(policy, microbatches):
    """Within 5 %; `benchmarks/memory.py` has many more."""
    plan = Plan(
        sizes=(("B", 16), ("S", 64)), precision=Precision(policy), microbatches=microbatches
    )
    loaded = nw.load(EXAMPLES / "shakespeare" / "model.nw", L=6, D=64, F=192, K=16, drop=0.0)
    module = pipeline().run(loaded.module, plan)
    emitted = ModuleType("emitted")
    exec(ModelWriter(module, plan, "model.nw").write(), emitted.__dict__)
    scale = "dynamic" if policy == "float16" else None
    settings = Settings(microbatches=microbatches, loss_scale=scale)
    program = build(emitted, optax.adamw(1e-3), None, settings)
    batch = {name: jax.ShapeDtypeStruct((16, 64), jnp.int32) for name in ("tokens", "targets")}
    lowered = program.step.lower(program.abstract, batch)
    found = lowered.compile(compiler_options=ORACLE).memory_analysis()
    peak = found.argument_size_in_bytes + found.temp_size_in_bytes
    peak += found.output_size_in_bytes - found.alias_size_in_bytes
    assert predict(module, plan).peak == pytest.approx(peak, rel=0.05)


def test_llama_405b_is_one_block_and_needs_no_numpy():
    """Sharded over 128 GPUs; in a process of its own, since this one has loaded numpy."""
    code = """
import sys, time
from netwright.driver import load, pipeline
from netwright.ir.plan import Mesh, Plan, Precision
from netwright.passes.memory.model import predict
from netwright.passes.memory.units import Choice
from pathlib import Path
sizes = {"L": 126, "D": 16384, "F": 53248, "R": 16}
module = load(Path(sys.argv[1]), sizes).module
rules = lambda names: tuple((n, ("model",)) for n in names)
mesh = Mesh((("data", 16), ("model", 8)), (("B", ("data",)), *rules("FGV")),
            (("D", ("data",)), *rules("FGV")))
plan = Plan(sizes=(("B", 16), ("S", 8192)), mesh=mesh, precision=Precision("bfloat16"))
choices = {"llama.body.blocks": Choice(frozenset())}
found = predict(pipeline().run(module, plan), plan, choices=choices)
print(dict(found.components)["parameters"], found.peak, "numpy" in sys.modules,
      sum(len(u.values) for u in found.graph.units))
"""
    model = EXAMPLES / "gallery" / "llama3.nw"
    done = subprocess.run(
        [sys.executable, "-c", code, str(model)], capture_output=True, text=True, check=True
    )
    parameters, peak, numpy, values = done.stdout.split()
    # Weights of keys and values have another dim in D's place, and so lie on 8 devices only.
    projections = 2 * 126 * 16384 * 8 * 128
    rest = 405_853_388_800 - projections
    assert int(parameters) == pytest.approx(4 * (rest / 128 + projections / 8), rel=0.01)
    assert int(peak) > 3 * int(parameters) and numpy == "False" and int(values) < 150


def test_training_of_a_recipe():
    from netwright.ir.recipe import Data, Recipe, Train
    from netwright.ir.recipe_optimizer import Chosen, Group, Optimizer, Transformation

    recipe = Recipe(
        Data("text", "a.txt"),
        train=Train(ema=0.9),
        optimizer=Optimizer("adamw", after=(Transformation("trace", (("decay", 0.9),)),)),
        groups=(("still", Group(("gpt.embed",), name="sgd")),),
    )
    chosen = Chosen(frozen=("gpt.norm",), groups=(("still", ("gpt.embed",)),))
    training = Training.of(recipe, chosen)
    assert training.functions("gpt.blocks.mlp.up") == (("adamw", ()), ("trace", (("decay", 0.9),)))
    assert training.functions("gpt.embed") == (("sgd", ()), ("trace", (("decay", 0.9),)))
    assert training.frozen == ("gpt.norm",) and training.ema
    assert report(training).peak > report().peak
