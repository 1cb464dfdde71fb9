"""What the tests of whole programs share: a small Shakespeare, and ways to run things."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"

SMALL = {"V": 128, "L": 2, "D": 16, "F": 24, "K": 8}
"""Sizes at which the Llama of the examples compiles in seconds."""

RECIPE = """
name = "small"

[data]
kind = "text"
file = "text.txt"
held_out = 0.1

[sizes]
S = 16

[train]
steps = 10
batch = 8
evaluate_every = 5
checkpoint_every = 4

[optimizer]
name = "adamw"
learning_rate = 3e-3
weight_decay = 0.1
clip = 1.0

[schedule]
name = "warmup_cosine"
warmup_steps = 3
"""


def small_shakespeare(folder: Path, more: str = "") -> Path:
    """A folder with the Llama of the examples, a short recipe, and a few pages of text."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.nw").write_text((EXAMPLES / "shakespeare" / "model.nw").read_text())
    text = (EXAMPLES / "shakespeare" / "data" / "shakespeare.txt").read_bytes()[:20_000]
    (folder / "text.txt").write_bytes(text)
    (folder / "recipe.toml").write_text(RECIPE + more)
    return folder


def settings() -> list[str]:
    """The small sizes, for the command line."""
    return [part for name, value in SMALL.items() for part in ("--set", f"{name}={value}")]


def environment(**more: str) -> dict[str, str]:
    """The environment of a child process: this one's, without what would change its numbers."""
    kept = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    return {**kept, "JAX_PLATFORMS": "cpu", **more}


def netwright(
    *arguments: str | Path, fine: bool = True, **more: str
) -> subprocess.CompletedProcess:
    """Run the command line in a process of its own."""
    code = "import sys; from netwright.cli import main; sys.argv[0] = 'netwright'; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment(**more),
    )
    assert not fine or done.returncode == 0, done.stdout + done.stderr
    return done


def losses(run: Path) -> dict[int, float]:
    """The training losses of a run by step."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {r["step"]: r["loss"] for r in rows if "loss" in r and "split" not in r}


def parameters(run: Path) -> dict[str, bytes]:
    """The bytes of every array of the newest checkpoint of a run."""
    from safetensors.numpy import load_file

    newest = max((run / "checkpoints").glob("step-*"))
    (file,) = newest.glob("*.safetensors")
    return {name: array.tobytes() for name, array in load_file(file).items()}
