"""Pictures of runs: what is in them, read back from the SVG."""

from __future__ import annotations

import json
import math

import netwright as nw
import pytest
from netwright.plotting import draw, medians, smoothed


def write_run(folder, steps=200, **more):
    folder.mkdir()
    rows = []
    for step in range(1, steps + 1):
        loss = 1.5 + 3 * math.exp(-step / 40) + 0.05 * math.sin(7 * step)
        rows.append({"step": step, "loss": loss, "accuracy": 1 / loss, "learning_rate": 1e-3 / step,
                     "gradient_norm": 10 / step, "skipped": 0.0, "seconds": 0.1,
                     "examples_per_second": 80.0, "tokens_per_second": 640.0})  # fmt: skip
        if step == 90:
            rows[-1] |= {"loss": None, "skipped": 1.0}
            rows.append({"step": step, "event": "restore", "seconds": 1.0})
        if step % 50 == 0:
            rows.append({"step": step, "split": "held_out", "loss": loss + 0.1, "seconds": 1.0})
    rows[0] |= more
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_what_is_drawn(tmp_path):
    one, two = write_run(tmp_path / "wide"), write_run(tmp_path / "narrow", steps=120)
    draw([one], tmp_path / "one.svg")
    text = (tmp_path / "one.svg").read_text()
    for part in ("wide: loss", "training", "held out", "learning rate", "gradient norm",
                 "tokens per second", "resumed", "skipped"):  # fmt: skip
        assert part in text
    draw([one, two], tmp_path / "two.svg")
    text = (tmp_path / "two.svg").read_text()
    assert "wide  " in text and "narrow  " in text
    draw([one, two], tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_text() == text
    draw([one], tmp_path / "one.png", metric="accuracy", log_x=True)
    assert (tmp_path / "one.png").read_bytes()[:4] == b"\x89PNG"


def test_refusals(tmp_path):
    run = write_run(tmp_path / "run")
    with pytest.raises(nw.InputError, match=r"no metric los\b"):
        draw([run], tmp_path / "a.png", metric="los")
    with pytest.raises(nw.InputError, match="is not a run"):
        draw([tmp_path / "other"], tmp_path / "a.png")
    with pytest.raises(nw.InputError, match="which format"):
        draw([run], tmp_path / "a.jpeg2")


def test_smoothing():
    assert smoothed([3.0] * 500) == pytest.approx([3.0] * 500)
    line = [float(i) for i in range(1000)]
    assert smoothed(line)[:900] == pytest.approx(line[:900])  # it does not lag behind
    assert smoothed([1.0, math.nan, 3.0])[0] == 1.0
    x, y = medians(range(1000), [1.0, 1.0, 100.0, 1.0, 1.0] * 200)
    assert set(y) == {1.0} and x[0] == 4.5 and len(x) == 100
