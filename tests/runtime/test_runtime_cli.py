"""The command line of a program folder, in processes of their own."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys

import pytest
from netwright.runtime.hints import Hints
from netwright.runtime.progress import duration
from runtime_helpers import call, rows, tensors_of, without_times, write_program


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A program folder with a finished run, and what training it printed."""
    folder = write_program(tmp_path_factory.mktemp("trained") / "program")
    done = call(folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


@pytest.fixture
def program(trained, tmp_path):
    """A copy of the program folder, with the finished run in it."""
    return shutil.copytree(trained[0], tmp_path / "program")


def test_a_folder_copied_away_trains_and_says_how_it_went(trained):
    folder, printed = trained
    assert {path.name for path in (folder / "run").iterdir()} == {"checkpoints", "metrics.jsonl"}
    for text in (
        "data: text.txt: 16,",
        "compiled in",
        "step 12 / 12   loss",
        "step 12: held out   loss",
        "done: 12 steps",
        f"run:     {folder / 'run'}",
        "go on:   python train.py --resume --steps 24",
        "sample:  python train.py sample",
    ):
        assert text in printed
    assert "\x1b" not in printed and "\r" not in printed


@pytest.mark.parametrize("signal, code", [("SIGTERM", 143), ("SIGKILL", -9)])
def test_killed_at_a_step_and_resumed_it_ends_the_same(program, signal, code):
    import signal as signals

    number = str(int(getattr(signals, signal)))
    first = call(program, "--run", "other", AT="6", SIGNAL=number)
    assert first.returncode == code
    if code > 0:
        assert "stopped at step 7 of 12, and saved" in first.stdout
        assert "to go on: python train.py --resume --run other" in first.stdout
        assert (program / "other/checkpoints/step-00000007").is_dir()
    second = call(program, "--resume", "other")
    assert second.returncode == 0, second.stderr
    assert f"resuming at step {7 if code > 0 else 4}" in second.stdout
    assert tensors_of(program / "run", 12) == tensors_of(program / "other", 12)
    assert without_times(rows(program / "run")) == without_times(rows(program / "other"))


@pytest.mark.slow
def test_killed_before_its_first_checkpoint(program):
    assert call(program, "--run", "other", AT="2", SIGNAL="9").returncode == -9
    assert call(program, "--run", "other", "--resume").returncode == 0
    assert tensors_of(program / "run", 12) == tensors_of(program / "other", 12)
    assert without_times(rows(program / "run")) == without_times(rows(program / "other"))


def test_ctrl_c_and_commands_in_the_words_of_who_started_it(program):
    done = call(program, "--run", "a run", "--commands", "netwright", AT="1", SIGNAL="2")
    assert done.returncode == 130
    assert "to go on: netwright resume 'a run'" in done.stdout


def test_evaluate_and_sample(program, compiled):
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(compiled),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    done = call(program, "evaluate", **cache)
    final = [row for row in rows(program / "run") if "split" in row][-1]
    assert done.stdout == (
        f"step 12: held out   loss {final['loss']:.4f}   accuracy {final['accuracy']:.4f}\n"
    )
    asked = ("sample", "--prompt", "12 sheep", "--length", "30", "--seed", "4")
    one, two = call(program, *asked, **cache), call(program, *asked, **cache)
    assert one.returncode == 0 and one.stdout == two.stdout
    assert one.stdout.startswith("12 sheep") and len(one.stdout.encode()) >= 38
    likeliest = call(program, "--run", "run", *asked, "--temperature", "0", **cache)
    assert likeliest.stdout == call(program, *asked, "--top-k", "1", **cache).stdout


def test_mistakes_have_no_traceback(program):
    for arguments, code, message in [
        ((), 1, "already holds a run, at step 12"),
        (("--resume", "nowhere"), 1, "there is no run nowhere to resume"),
        (("evaluate", "--run", "nowhere"), 1, "there is no checkpoint in"),
        (("--steps", "0"), 2, "--steps must be at least 1"),
        (("--resume", "a", "--run", "b"), 2, "name different folders"),
        (("sample", "--length", "0"), 2, "--length"),
    ]:
        done = call(program, *arguments)
        assert done.returncode == code, done.stderr
        assert message in done.stderr and "Traceback" not in done.stderr
    (program / "text.txt").unlink()
    done = call(program, "--run", "other")
    assert done.returncode == 1 and "there is no data file" in done.stderr


def test_a_terminal_gets_a_bar(program):
    pytest.importorskip("rich")
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "train.py", "--run", "other"],
        cwd=program,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "TERM": "xterm-256color", "COLUMNS": "120"},
        stdout=child,
        stderr=child,
    )
    os.close(child)
    seen = b""
    while True:
        try:
            part = os.read(parent, 4096)
        except OSError:  # the other side is closed
            break
        if not part:
            break
        seen += part
    os.close(parent)
    assert process.wait() == 0
    text = seen.decode()
    assert "\x1b[" in text and "12/12" in text and "held out" in text and "done: 12 steps" in text


def test_what_is_shared_needs_no_jax():
    code = (
        "import sys; from netwright.runtime import Job, main, data; main"
        "; print('jax' in sys.modules, 'rich' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"


def test_hints(tmp_path):
    assert Hints("python", "p/train.py", tmp_path, True).resume("--steps", "9") == (
        "python p/train.py --resume --steps 9"
    )
    assert Hints("netwright", "x", tmp_path, True).sample() == f"netwright sample {tmp_path}"


def test_durations():
    said = [duration(seconds) for seconds in (0.04, 9.94, 9.96, 59.6, 192, 7500)]
    assert said == ["0.0 s", "9.9 s", "10 s", "1 min 00 s", "3 min 12 s", "2 h 05 min"]
