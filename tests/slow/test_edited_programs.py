"""A program that was edited: the run goes on with it if told to, and it is never written over."""

from __future__ import annotations

import pytest
from programs import netwright, parameters, settings, small_shakespeare

pytestmark = pytest.mark.slow


def test_an_edited_model_goes_on_when_allowed(tmp_path):
    folder, run = small_shakespeare(tmp_path / "small"), tmp_path / "run"
    netwright("train", folder, "--run", run, "--steps", "4", *settings())
    model = run / "program/model.py"
    written = model.read_text()

    # what is only said or laid out otherwise is the same model
    model.write_text(written + "\n\n# mine\n")
    assert "resuming at step 4" in netwright("resume", run, "--steps", "5").stdout

    edited = written.replace("jax.nn.silu", "jax.nn.gelu")
    assert edited != written
    model.write_text(edited)
    refused = netwright("resume", run, fine=False)
    assert refused.returncode == 1 and "Traceback" not in refused.stderr
    assert "model.py is not the one that the checkpoint was made with" in refused.stderr
    assert "--allow model" in refused.stderr
    before = parameters(run)
    said = netwright("resume", run, "--steps", "6", "--allow", "model").stdout
    assert "resuming at step 5" in said and parameters(run) != before
    # the checkpoints since then are of the edited model, so nothing is left to allow
    assert "resuming at step 6" in netwright("resume", run).stdout

    again = netwright("emit", folder, "-o", run / "program", *settings(), fine=False)
    assert again.returncode == 1 and "you have edited model.py" in again.stderr
    assert model.read_text() == edited


def test_another_batch_is_refused(tmp_path):
    folder, run = small_shakespeare(tmp_path / "small"), tmp_path / "run"
    netwright("train", folder, "--run", run, "--steps", "2", *settings())
    script = run / "program/train.py"
    script.write_text(script.read_text().replace("batch=8", "batch=4"))
    refused = netwright("resume", run, "--steps", "3", fine=False)
    assert refused.returncode == 1
    assert "batch: batch was 8, is 4" in refused.stderr and "--allow batch" in refused.stderr
    netwright("resume", run, "--steps", "3", "--allow", "batch")
