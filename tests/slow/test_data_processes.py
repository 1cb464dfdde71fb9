"""Two processes with four devices each read their own rows of a batch, and put it together."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow

HERE = Path(__file__).parents[1] / "runtime"

CHILD = """
import sys
import jax
process, port, file = int(sys.argv[1]), sys.argv[2], sys.argv[3]
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize("127.0.0.1:" + port, 2, process)
import numpy as np
sys.path.insert(0, {here!r})
import tiny_mlp
from jax.experimental.multihost_utils import process_allgather
from runtime_helpers import adam
from netwright.runtime import data
from netwright.runtime.prefetch import Prefetch
from netwright.runtime.step import build

fields = dict(image="image", label="label")
source = data.Arrays(file, fields=fields, batch=16, held_out=7)
for axes in (dict(data=4, model=2), dict(data=2, model=4)):
    program = build(tiny_mlp, adam(), axes)
    rows = program.rows(16)
    assert (rows.start, rows.stop) == (8 * process, 8 * process + 8)
    stream = Prefetch(source.stream(rows), lambda batch: program.put_batch(batch, size=16))
    pairs = [(stream.next(), source.batch(step)) for step in range(4)]
    pairs += [(program.put_batch(b, strict=False), b) for b in source.held_out()]
    for given, expected in pairs:
        found = process_allgather(given, tiled=True)
        assert all(np.array_equal(found[name], expected[name]) for name in expected)
    stream.close()
print("fine", flush=True)
"""


def test_each_process_reads_its_rows(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.random((60, 8, 8), np.float32)
    np.savez(tmp_path / "digits.npz", image=images, label=np.arange(60) % 10)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    flags = "--xla_force_host_platform_device_count=4"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    code = CHILD.format(here=str(HERE))
    command = [sys.executable, "-c", code]
    children = [
        subprocess.Popen(
            [*command, str(process), port, str(tmp_path / "digits.npz")],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for process in range(2)
    ]
    try:
        for child in children:
            out, errors = child.communicate(timeout=240)
            assert child.returncode == 0 and "fine" in out, errors[-3000:]
    finally:
        for child in children:
            child.kill()
