"""Some of each campaign of faults against checkpoints; others on other days.

`benchmarks/checkpoint_faults.py` tries them all, or very many.
"""

from __future__ import annotations

import datetime
import json
import random
import subprocess
import sys
from pathlib import Path

import faults
import pytest

DAY = datetime.date.today().toordinal()
"""The seed: every day tries others, and a failure names it."""


def test_a_kill_at_any_call_leaves_the_old_or_the_new(tmp_path):
    assert faults.kills(tmp_path) > 15


def test_a_loss_of_power_leaves_the_old_or_the_new(tmp_path):
    assert faults.losses_of_power(tmp_path / "power", DAY, tries=1) > 40


def test_damage_is_noticed(tmp_path):
    path = faults.save(tmp_path, faults.small_state(3), about={"name": "x"}, keep=1)
    faults.damaged(path, random.Random(DAY), flips=150, cuts=40)


def test_deceit_is_refused():
    assert 0 < faults.deceive(DAY, 3000) < 1500


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
@pytest.mark.parametrize("name", ["manifest.json", "state-00000.safetensors"])
def test_only_plain_files_are_read(tmp_path, kind, name):
    path = faults.save(tmp_path / "run", faults.small_state(3), about={}, keep=1)
    file = path / name
    file.rename(tmp_path / "elsewhere")
    if kind == "link":
        file.symlink_to(tmp_path / "elsewhere")
    elif kind == "pipe":
        faults.os.mkfifo(file)
    else:
        file.mkdir()
    with pytest.raises(faults.Broken):
        faults.content(path)


@pytest.mark.slow
@pytest.mark.parametrize("campaign", ["kills", "full"])
def test_real_kills_and_full_disks(tmp_path, campaign):
    """At some system calls, and some sizes of the disk."""
    script = Path(__file__).parents[2] / "benchmarks/checkpoint_faults.py"
    command = [sys.executable, script, campaign, "--sample", "12", "--seed", str(DAY)]
    done = subprocess.run([*command, "--out", tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "checkpoint_faults.json").read_text())[campaign]
    if "skipped" in found:
        pytest.skip(found["skipped"])
    assert found.get("killed in others") or found.get("refused")
