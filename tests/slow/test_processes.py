"""Two processes with four devices each: saved together, restored on any devices, bit for bit."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from netwright.runtime.checkpoint import open_checkpoint, steps

pytestmark = pytest.mark.slow

HERE = Path(__file__).parents[1] / "runtime"

CHILD = """
import os, sys
from pathlib import Path
import jax
what, process, count, port, folder = sys.argv[1:]
process, count, folder = int(process), int(count), Path(folder)
if count > 1:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize("127.0.0.1:" + port, count, process)
import numpy as np
sys.path.insert(0, {here!r})
import tiny_mlp
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding
from runtime_helpers import adam
from netwright.runtime import Keep, snapshot, together
from netwright.runtime.commit import NotWritten
from netwright.runtime.restore import newest
from netwright.runtime.saver import Saver
from netwright.runtime.state import leaves_by_path
from netwright.runtime.step import build

devices = len(jax.devices())
shapes = dict(train=(4, 2), kill=(4, 2), again=(2, 4), load=(1, devices))
axes = dict(zip(("data", "model"), shapes[what]))
program = build(tiny_mlp, adam(), axes)


def batch(step):
    "This process's rows of a batch of 16."
    rng = np.random.default_rng(step)
    whole = dict(image=rng.random((16, 8, 8), np.float32), label=rng.integers(0, 10, 16, np.int32))
    rows = slice(16 * process // count, 16 * (process + 1) // count)
    shardings = dict(
        (name, NamedSharding(program.placement.mesh, spec))
        for name, spec in tiny_mlp.BATCH_SPECS.items()
    )
    return dict(
        (name, jax.make_array_from_process_local_data(shardings[name], value[rows], value.shape))
        for name, value in whole.items()
    )


def values(state):
    gathered = multihost_utils.process_allgather(state, tiled=True) if count > 1 else state
    return dict((".".join(path), np.asarray(v)) for path, v in leaves_by_path(gathered).items())


if what == "train":
    state = program.init(0)
    with Saver(folder / "checkpoints", Keep(last=1)) as saver:
        for step in range(3):
            state, metrics = program.step(state, batch(step))
            saver.save(state, dict(name="mlp"))
        saver.wait()
        assert len(saver.finished()) == 3
    if (found := values(state)) and process == 0:
        np.savez(folder / "state.npz", **found)
elif what == "kill":
    state, _, _ = newest(folder / "checkpoints", program.abstract, print, program.placement.state)
    together.PATIENCE = 3.0
    state, _ = program.step(state, batch(3))
    saver = Saver(folder / "checkpoints", Keep(last=1))
    if process == 1:
        snapshot.tensors.write = lambda *_: os.kill(os.getpid(), 9)
    try:
        saver.save(state, dict(name="mlp"), wait=True)
    except NotWritten as error:
        assert "another process did not write its part" in str(error), error
        print("not written", flush=True)
        os._exit(0)
else:
    state, _, _ = newest(folder / "checkpoints", program.abstract, print, program.placement.state)
    expected = np.load(folder / "state.npz")
    found = values(state)
    assert sorted(found) == sorted(expected)
    for name, value in found.items():
        assert value.dtype == expected[name].dtype and value.shape == expected[name].shape
        assert value.tobytes() == expected[name].tobytes(), name
    print("equal", flush=True)
"""


def run(what, folder, processes, devices):
    """Start processes on so many devices each; their exit codes and what they printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = f"--xla_force_host_platform_device_count={devices}"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD.format(here=str(HERE)), what]
            + [str(part) for part in (number, processes, port, folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags},
        )
        for number in range(processes)
    ]
    try:
        printed = [process.communicate(timeout=300)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    return [process.returncode for process in started], printed


def test_saved_together_and_restored_elsewhere(tmp_path):
    codes, printed = run("train", tmp_path, 2, 4)
    assert codes == [0, 0], printed
    assert list(steps(tmp_path / "checkpoints")) == [3]
    checkpoint = open_checkpoint(tmp_path / "checkpoints/step-00000003")
    assert checkpoint.verify() == [] and len(checkpoint.manifest.files) == 2
    assert sorted(path.name for path in checkpoint.path.iterdir()) == [
        "manifest.json",
        "state-00000.safetensors",
        "state-00001.safetensors",
    ]
    split = checkpoint.leaves[("params", "hidden", "w")]
    assert split.sharding == (None, "model") and len(split.tiles) == 2

    for devices in (8, 4, 1):
        codes, printed = run("load", tmp_path, 1, devices)
        assert codes == [0] and "equal" in printed[0], printed
    codes, printed = run("again", tmp_path, 2, 4)
    assert codes == [0, 0] and all("equal" in text for text in printed), printed

    codes, printed = run("kill", tmp_path, 2, 4)
    assert codes == [0, -9] and "not written" in printed[0], printed
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000003"]
    codes, printed = run("load", tmp_path, 1, 2)
    assert codes == [0] and "equal" in printed[0], printed
