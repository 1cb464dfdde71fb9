"""Shakespeare on 8 forced devices: the losses of one device, and no more bytes than must move."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks/sharding.py"

# Prints nothing if all is as it should be.
COMMON = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("sharding", {benchmark!r})
sharding = importlib.util.module_from_spec(spec)
sys.modules["sharding"] = sharding
spec.loader.exec_module(sharding)
import jax, numpy as np
from netwright.runtime.step import build

B, S = 16, 16
DIMS = {{"L": 2, "D": 64, "F": 128, "K": 16, "V": 256}}

def losses(case, name):
    model = sharding.imported(sharding.emit(case, B, S, DIMS), name)
    program = build(model, sharding.optimizer(), case.axes or None)
    state = program.init(0)
    found = []
    for step in range(5):
        text = np.random.default_rng(step).integers(0, 256, (B, S + 1)).astype("int32")
        batch = program.put_batch({{"tokens": text[:, :-1], "targets": text[:, 1:]}})
        state, metrics = program.step(state, batch)
        total, count = metrics["loss"]
        found.append(float(total) / float(count))
    return np.array(found), model, state
"""

LOSSES = """
names = {names!r}
dims = sharding.CASES[names[0]].dims
one, *_ = losses(sharding.Case({{}}, {{}}, {{}}, dims), "one")
assert one[-1] < one[0], one
for name in names:
    case = sharding.CASES[name]
    assert case.dims == dims
    many, model, state = losses(case, "many")
    assert np.abs(many - one).max() <= 1e-5, (name, one, many)
    found = jax.tree.map(lambda a, spec: a.sharding.spec == spec, state.params, model.PARAM_SPECS)
    assert all(jax.tree.leaves(found)), found
# An evaluation's last batch may be of any size.
program = build(model, sharding.optimizer(), case.axes)
odd = {{"tokens": np.zeros((3, S), "int32"), "targets": np.zeros((3, S), "int32")}}
metrics = program.evaluate(state, program.put_batch(odd, strict=False))
assert np.isfinite(metrics["loss"][0])
"""

BYTES = """
for name, most in {bars!r}.items():
    case = sharding.CASES[name]
    model = sharding.imported(sharding.emit(case, 32, 128), "model")
    devices = sharding.tpu() if {tpu} else None
    hlo, params = sharding.compiled(model, case.axes, 32, 128, devices)
    found = sharding.Compiled(hlo).collectives
    by_scatter, by_reduce = sharding.closed_forms(name, params, 32, 128)
    totals = [(sharding.moved(found), by_scatter if {tpu} else by_reduce)]
    totals += [(sharding.scattered(found), by_scatter)]
    for total, form in totals:
        assert 0.9 <= total / form <= most, (name, total, form)
"""


def run(code: str, **values: object) -> None:
    flags = "--xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, "-c", (COMMON + code).format(benchmark=str(BENCHMARK), **values)],
        env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("names", [["dp", "fsdp"], ["tp 2x4"]], ids=["8", "2x4"])
def test_losses_are_those_of_one_device(names):
    run(LOSSES, names=names)


@pytest.mark.slow
def test_no_more_moves_than_must():
    run(BYTES, bars={"fsdp": 1.1}, tpu=False)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("libtpu") is None, reason="the compiler for TPUs is in jax[tpu]")
def test_the_compiler_for_tpus_moves_no_more_either():
    run(BYTES, bars={"fsdp": 1.1}, tpu=True)
