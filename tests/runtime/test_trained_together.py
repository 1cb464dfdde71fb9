"""Two processes with four devices each, started as a person does, against one with eight."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from netwright.runtime.checkpoint import open_checkpoint
from programs import EXAMPLES, environment, netwright
from runtime_helpers import rows, without_times, write_program

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-c", "from netwright.cli import main; main()"]
MESH = """
[mesh]
axes = { data = 4, model = 2 }
values = { B = "data", H = "model" }
params = { H = "model", Y = "data" }
"""
EIGHT = "--xla_force_host_platform_device_count=8"


class Together:
    """Two processes with so many devices each, of one command line."""

    def __init__(self, *command: str | Path, devices: int = 4, **more: str):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        flags = f"--xla_force_host_platform_device_count={devices}"
        joined = ["--coordinator", f"127.0.0.1:{port}", "--processes", "2", "--process"]
        self.processes = [
            subprocess.Popen(
                [*map(str, command), *joined, str(number)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment(XLA_FLAGS=flags, **more),
            )
            for number in range(2)
        ]

    def ended(self) -> tuple[list[int], list[str], list[str]]:
        """Exit codes, what was printed, and what was said on standard error."""
        try:
            said = [process.communicate(timeout=240) for process in self.processes]
        finally:
            for process in self.processes:
                process.kill()
        codes = [p.returncode for p in self.processes]
        printed, errors = zip(*said, strict=True)
        return codes, [_ours(text) for text in printed], list(errors)


def _ours(text: str) -> str:
    """What was printed, without what XLA says of its connections on CPUs."""
    lines = [line for line in text.splitlines() if line and "peer ranks" not in line]
    return "".join(f"{line}\n" for line in lines)


def steps(run: Path) -> list[dict]:
    try:
        return [row for row in rows(run) if "loss" in row and "split" not in row]
    except OSError:
        return []


def mlp(folder: Path) -> Path:
    """The digits of the examples, one of which is not a number, on a mesh of eight devices."""
    shutil.copytree(EXAMPLES / "mlp", folder)
    recipe = (folder / "recipe.toml").read_text().replace("steps = 900", "steps = 100_000")
    (folder / "recipe.toml").write_text(recipe + MESH)
    with np.load(folder / "data/digits.npz") as file:
        digits = {"x": file["x"].astype(np.float32), "y": file["y"]}
    digits["x"][3, 0, 0] = np.nan
    np.savez(folder / "data/digits.npz", **digits)
    return folder


def test_losses_stop_resume_and_a_bad_step(tmp_path):
    folder, run, alone = mlp(tmp_path / "mlp"), tmp_path / "run", tmp_path / "alone"
    both = Together(*COMMAND, "train", folder, "--run", run)
    deadline = time.monotonic() + 200
    while len(steps(run)) < 100 and time.monotonic() < deadline:
        time.sleep(0.2)
    both.processes[1].send_signal(signal.SIGTERM)  # one of them, and not the one that speaks
    codes, printed, said = both.ended()
    assert codes == [143, 143], said
    (last,) = {row["step"] for row in steps(run)[-1:]}
    assert f"one process alone: netwright diagnose {run}" in printed[0]
    assert f"stopped at step {last} of 100000, and saved" in printed[0]
    assert "--processes 2 --process 0" in printed[0] and printed[1] == ""
    newest = open_checkpoint(max((run / "checkpoints").glob("step-*")))
    assert newest.manifest.step == last and len(newest.manifest.files) == 2
    assert newest.verify() == []

    # on one process it goes on, as it would have
    end = last + 10
    netwright("resume", run, "--steps", end, XLA_FLAGS=EIGHT)
    netwright("train", folder, "--run", alone, "--steps", end, XLA_FLAGS=EIGHT)
    together, expected = without_times(rows(run)), without_times(rows(alone))
    assert [(r["step"], r.get("split")) for r in together] == [
        (r["step"], r.get("split")) for r in expected
    ]
    assert [r.get("skipped") for r in together] == [r.get("skipped") for r in expected]
    found, wanted = (np.array([r["loss"] for r in o], float) for o in (together, expected))
    apart = np.abs(found - wanted) / wanted  # sums over processes are taken in another order
    assert np.nanmax(apart[:20]) <= 1e-6 and np.nanmax(apart) <= 1e-5
    evaluated = netwright("eval", run, XLA_FLAGS=EIGHT).stdout
    codes, printed, said = Together(*COMMAND, "eval", run).ended()
    assert codes == [0, 0] and printed == [evaluated, ""], said

    # what two processes kept of a bad step, one looks into
    (kept,) = run.glob("bad-step-*")
    told = netwright("diagnose", run).stdout
    assert "image (batch) is not finite before the step begins" in told
    assert np.isnan(np.load(kept / "batch.npz")["image"]).sum() == 1


def test_both_begin_with_the_weights_that_are_given(tmp_path):
    folder, first = mlp(tmp_path / "mlp"), tmp_path / "first"
    netwright("train", folder, "--run", first, "--steps", "20", XLA_FLAGS=EIGHT)
    given = ("--steps", "3", "--init-from", first, "--run")
    codes, _, said = Together(*COMMAND, "train", folder, *given, tmp_path / "run").ended()
    assert codes == [0, 0], said
    netwright("train", folder, *given, tmp_path / "alone", XLA_FLAGS=EIGHT)
    found, wanted, drawn = (
        np.array([row["loss"] for row in steps(tmp_path / run)[:3]])
        for run in ("run", "alone", "first")
    )
    assert np.abs(found - wanted).max() <= 1e-6 * wanted.max()
    assert np.abs(found - drawn).min() > 0.01


GRAIN = """
def batches():
    import grain

    rng = np.random.default_rng(0)
    rows = [
        {"image": rng.random((8, 8), np.float32), "label": np.int32(i % 10)} for i in range(50)
    ]
    mine = grain.MapDataset.source(rows)[jax.process_index() :: jax.process_count()]
    few = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
    # the second process has fewer rows, so its place differs
    parts = mine.shuffle(seed=jax.process_index()).repeat().batch(8 // jax.process_count())
    return data.Loader(parts.to_iter_dataset(few), batch=8)
"""


def test_the_places_of_all_loaders_are_kept(tmp_path):
    pytest.importorskip("grain")
    folder = write_program(tmp_path / "program", "tiny_mlp.py", {"data": 2, "model": 1})
    script = (folder / "train.py").read_text()
    begin, end = script.index("def stopping"), script.index("JOB =")
    script = script[:begin] + GRAIN.strip() + "\n\n\n" + script[end:]
    (folder / "train.py").write_text(
        script.replace("import optax", "import jax, optax\nimport numpy as np", 1)
    )
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train = (sys.executable, folder / "train.py")
    for run, more in (
        (whole, ("--run", whole, "--steps", "6")),
        (parts, ("--run", parts, "--steps", "3")),
        (parts, ("--resume", parts, "--steps", "6")),
    ):
        codes, _, said = Together(*train, *more, devices=1).ended()
        assert codes == [0, 0], said
        place = json.loads(
            (max((run / "checkpoints").glob("step-*")) / "manifest.json").read_text()
        )["about"]["data"]["position"]
        assert [one["rows"] for one in place["each"]] == [[0, 4], [4, 8]]
    found = [[(row["step"], row["loss"]) for row in steps(run)] for run in (whole, parts)]
    assert found[0] == found[1] and len(found[0]) == 6
