"""Whole runs through the command line: resumed, killed, moved to other programs and machines."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from programs import ROOT, environment, losses, netwright, parameters, settings, small_shakespeare

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def as_a_user_runs_them():
    """With all optimisations, which the other tests go without."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "0")
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small_shakespeare(tmp_path_factory.mktemp("runs") / "small")


@pytest.fixture(scope="module")
def whole(folder):
    """A run that was never stopped."""
    run = folder.parent / "whole"
    netwright("train", folder, "--run", run, *settings())
    return run


def _started(folder, run):
    code = "import sys; from netwright.cli import main; sys.argv[0] = 'netwright'; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, "train", str(folder), "--run", str(run), *settings()],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(),
        start_new_session=True,
    )


def _wait_for_step(run, step, process, seconds=240):
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        if (run / "metrics.jsonl").exists() and step in losses(run):
            return
        time.sleep(0.01)


@pytest.mark.parametrize("step", [1, 5, 9])
def test_a_killed_run_goes_on_bit_for_bit(folder, whole, tmp_path, step):
    run = tmp_path / "killed"
    process = _started(folder, run)
    _wait_for_step(run, step, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    netwright("resume", run)
    assert parameters(run) == parameters(whole)
    assert losses(run) == losses(whole)


def test_sigterm_saves_and_says_how_to_go_on(folder, whole, tmp_path):
    run = tmp_path / "stopped"
    process = _started(folder, run)
    _wait_for_step(run, 1, process)
    process.send_signal(signal.SIGTERM)  # to the command alone: it hands it on
    said, _ = process.communicate(timeout=240)
    if process.returncode != 0:  # it was not done already
        assert process.returncode == 143, said
        assert f"netwright resume {run}" in said
        netwright("resume", run)
    assert parameters(run) == parameters(whole)


@pytest.mark.parametrize("more", ['\n[roll]\n"gpt.blocks" = "unroll"\n', "mesh"])
def test_a_run_goes_on_under_another_plan(folder, whole, tmp_path, more):
    """Five steps scanned on one device; the rest unrolled, or sharded over eight."""
    flags = {}
    if more == "mesh":
        more = (
            '\n[mesh]\naxes = { data = 4, model = 2 }\nvalues = { B = "data", F = "model" }\n'
            'params = { D = "data", F = "model" }\n'
        )
        flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    run = tmp_path / "moved"
    netwright("train", folder, "--run", run, "--steps", "5", *settings())
    other = small_shakespeare(tmp_path / "other", more)
    (other / "recipe.toml").write_text((other / "recipe.toml").read_text())
    shutil.rmtree(run / "program")
    netwright("emit", other, "-o", run / "program", *settings())
    netwright("resume", run, "--steps", "10", **flags)
    for step, loss in losses(whole).items():
        assert losses(run)[step] == pytest.approx(loss, rel=1e-5)


def test_the_program_needs_nothing_of_netwright(folder, whole, tmp_path):
    """Copied away, in an environment that has only what its requirements name: the same losses."""
    program = tmp_path / "mine"
    netwright("emit", folder, "-o", program, *settings())
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    python = venv / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "-q", "-r", str(program / "requirements.txt")]
    subprocess.run(install, check=True)
    listed = subprocess.run(
        [str(python), "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True
    ).stdout.lower()
    assert not any(name in listed for name in ("netwright", "lark", "click", "networkx"))
    done = subprocess.run(
        [str(python), str(program / "train.py")],
        capture_output=True,
        text=True,
        env=environment(),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert losses(program / "run") == losses(whole)
    assert parameters(program / "run") == parameters(whole)


def test_eval_and_sample(whole):
    assert "held out" in netwright("eval", whole).stdout
    text = netwright("sample", whole, "--length", "40", "--prompt", "ROMEO").stdout
    assert text.startswith("ROMEO") and len(text) > 20
    assert ROOT.exists()
