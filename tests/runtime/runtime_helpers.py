"""Program folders for the tests (a model, a copy of the runtime, a train.py), and reading runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import netwright.runtime
import optax

HERE = Path(__file__).parent
TEXT = "".join(f"{i} sheep jumped over the gate, {i * i} slept.\n" for i in range(400))

TRAIN = """
import os, signal, sys
from pathlib import Path
import optax
import model
from runtime import Job, data, main
from runtime.prefetch import Prefetch

HERE = Path(__file__).parent


def optimizer():
    schedule = optax.warmup_cosine_decay_schedule(0.0, 1e-2, 5, 40, 1e-3)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule))


def stopping(take):
    def taken(stream):
        # the tests stop the process at an exact step
        if os.environ.get("AT") == str(stream.get_state()["step"]):
            os.kill(os.getpid(), int(os.environ["SIGNAL"]))
        return take(stream)

    return taken


Prefetch.next = stopping(Prefetch.next)


def batches():
    return data.Text(HERE / "text.txt", length=16, batch=8, held_out=0.1, seed=3)


JOB = Job(
    name="sheep",
    model=model,
    optimizer=optimizer,
    data=batches,
    steps=12,
    evaluate_every=5,
    checkpoint_every=4,
    keep=2,
    mesh=MESH,
)

if __name__ == "__main__":
    sys.exit(main(JOB))
"""


def adam():
    """An optimizer whose state has counts, moments, and nothing for its first link."""
    return optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(optax.linear_schedule(1e-2, 0, 40))
    )


def write_program(folder: Path, model: str = "tiny_lm.py", mesh: dict | None = None) -> Path:
    """A program folder as it is emitted; returns the folder."""
    folder.mkdir(parents=True)
    shutil.copy(HERE / model, folder / "model.py")
    shutil.copytree(
        Path(netwright.runtime.__file__).parent,
        folder / "runtime",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    (folder / "text.txt").write_text(TEXT)
    (folder / "train.py").write_text(TRAIN.replace("MESH", repr(mesh)))
    return folder


def call(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Run a program's train.py in a process of its own."""
    return subprocess.run(
        [sys.executable, "train.py", *arguments],
        cwd=folder,
        env={**os.environ, "JAX_PLATFORMS": "cpu", **environment},
        capture_output=True,
        text=True,
        timeout=600,
    )


def rows(run: Path) -> list[dict]:
    """The rows of a run's metrics.jsonl."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def without_times(found: list[dict]) -> list[dict]:
    """Rows of steps and evaluations, without what differs between two equal runs."""
    return [
        {name: value for name, value in row.items() if "second" not in name}
        for row in found
        if "event" not in row
    ]


def tensors_of(run: Path, step: int) -> bytes:
    """The stored state of a checkpoint, byte for byte."""
    return (run / f"checkpoints/step-{step:08d}/state-00000.safetensors").read_bytes()
