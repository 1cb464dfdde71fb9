"""Many devices: the same losses as on one, and messages where something does not fit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_lm
import tiny_mlp
from netwright.runtime import RunError
from netwright.runtime.mesh import make_mesh
from netwright.runtime.step import build
from runtime_helpers import adam

HERE = Path(__file__).parent

# Runs on 8 forced devices. Prints nothing if all is as it should be.
SHARDED = """
import sys
sys.path.insert(0, {here!r})
import jax, numpy as np
from pathlib import Path
from jax.sharding import PartitionSpec as P
import tiny_mlp
from runtime_helpers import adam, rows, without_times
from netwright.runtime import Job, RunError, Settings, data
from netwright.runtime.loop import train
from netwright.runtime.step import build

tmp = Path({tmp!r})

def job(mesh, batch=16):
    return Job(
        name="digits", model=tiny_mlp, optimizer=adam, steps=8, evaluate_every=4, mesh=mesh,
        checkpoint_every=4,
        data=lambda: data.Arrays(
            {npz!r}, fields={{"image": "x", "label": "y"}}, batch=batch,
            scale={{"image": 1 / 16}}, held_out=19,
        ),
    )


one = train(job({{"data": 1, "model": 1}}), tmp / "one")
expected = without_times(rows(tmp / "one"))
for number, mesh in enumerate([{{"data": 8, "model": 1}}, {{"data": 2, "model": 4}}]):
    run = tmp / str(number)
    many = train(job(mesh), run)
    w = many.state.params["hidden"]["w"]
    assert w.sharding.spec == P(None, "model"), w.sharding
    assert len(w.sharding.device_set) == 8
    moment = many.state.opt_state[1][0].mu["hidden"]["w"]
    assert moment.sharding == w.sharding, moment.sharding
    assert many.state.step.sharding.is_fully_replicated
    found = without_times(rows(run))
    assert len(found) == len(expected)
    for a, b in zip(found, expected):
        assert a.keys() == b.keys() and a["step"] == b["step"]
        for name in a.keys() - {{"split"}}:
            assert abs(a[name] - b[name]) <= 1e-5, (mesh, name, a, b)

# begun on one device, ended on eight
half = tmp / "half"
train(job({{"data": 1, "model": 1}}), half, steps=4)
moved = train(job({{"data": 2, "model": 4}}), half, resume=True)
jax.tree.map(
    lambda a, b: np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=1e-5),
    moved.state.params, one.state.params,
)

program = build(tiny_mlp, adam(), {{"data": 2, "model": 4}})
state = program.init(0)
three = {{"image": np.zeros((3, 8, 8), np.float32)}}
assert program.predict(state, three).shape == (3, 10)
program.step(state, program.put_batch(job(None).data().batch(0)))
assert state.params["hidden"]["w"].is_deleted()  # donated

# microbatches on eight devices are as on one; where one device's share overflows, all skip the step
states = []
for axes in ({{"data": 1, "model": 1}}, {{"data": 4, "model": 2}}):
    program = build(tiny_mlp, adam(), axes, Settings(2, 256.0))
    batch = program.put_batch(job(None).data().batch(0))
    state, metrics = program.step(program.init(0), batch)
    states.append(jax.device_get(state.params))
jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *states)
before = jax.device_get(state.params)
wild = dict(job(None).data().batch(1))
wild["image"] = np.array(wild["image"])
wild["image"][5, 2, 3] = np.inf
state, metrics = program.step(state, program.put_batch(wild))
assert metrics["skipped"][0] == 1
jax.tree.map(np.testing.assert_array_equal, before, jax.device_get(state.params))

try:
    train(job({{"data": 8, "model": 1}}, batch=12), tmp / "uneven")
except RunError as error:
    assert "12 does not divide over the 8 parts of mesh axis data" in str(error), error
else:
    raise AssertionError("12 over 8")
"""


@pytest.mark.slow
def test_eight_devices_are_as_one(npz, tmp_path):
    code = SHARDED.format(here=str(HERE), tmp=str(tmp_path / "runs"), npz=str(npz[0]))
    flags = "--xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_too_few_devices():
    with pytest.raises(RunError) as caught:
        make_mesh({"data": 64, "model": 4})
    assert "the mesh data=64 × model=4 needs 256 devices, and JAX finds" in str(caught.value)
    assert "XLA_FLAGS=--xla_force_host_platform_device_count=256" in str(caught.value)


def test_a_mesh_and_a_model_that_do_not_belong_together():
    with pytest.raises(RunError, match=r"was written for a mesh"):
        build(tiny_mlp, adam())
    with pytest.raises(RunError, match=r"model.py was written without one"):
        build(tiny_lm, adam(), {"data": 1})
