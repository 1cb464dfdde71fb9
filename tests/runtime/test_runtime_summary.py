"""What the rows of a run add up to."""

from __future__ import annotations

import numpy as np
import pytest
from netwright.runtime.progress import Plain
from netwright.runtime.summary import read, summarise

ROWS = [
    {"step": 0, "event": "compile", "what": "step", "seconds": 5.0},
    {"step": 1, "seconds": 2.0, "data_seconds": 0.5, "skipped": 0.0, "tokens_per_second": 50.0},
    {"step": 2, "seconds": 1.0, "data_seconds": 0.0, "skipped": 1.0, "tokens_per_second": 100.0},
    {"step": 2, "event": "save", "seconds": 0.25},
    {"step": 2, "event": "restore", "seconds": 0.5},
    {"step": 2, "event": "lost", "steps": 1, "seconds": 1.25},
    {"step": 3, "seconds": 4.0, "data_seconds": 0.0, "skipped": 0.0, "tokens_per_second": 25.0},
    {"step": 3, "split": "held_out", "loss": 1.0, "seconds": 3.0},
]


def test_each_second_is_in_one_bucket():
    found = summarise(ROWS)
    assert found.buckets == {
        "training": 6.5,
        "waiting for data": 0.5,
        "evaluating": 3.0,
        "compiling": 5.0,
        "restoring": 0.5,
        "saving": 0.25,
        "looking into a bad step": 0.0,
        "lost": 1.25,
    }
    assert found.seconds == sum(row["seconds"] for row in ROWS)
    assert found.goodput == pytest.approx(6.5 / 17)
    assert (found.steps, found.skipped, found.mfu) == (3, 1, None)
    assert (found.p50, found.p95, found.speeds) == (2.0, 4.0, {"tokens": 50.0})
    assert found.lines() == [
        "steps:   p50 2 s, p95 4 s   50 tokens/s   data wait 7.1 %   1 skipped",
        "time:    17 s: training 38.2 %, compiling 29.4 %, evaluating 17.6 %, lost 7.4 %,"
        " waiting for data 2.9 %, restoring 2.9 %, saving 1.5 %",
    ]


def test_equal_speeds_are_told_once():
    row = {"step": 1, "seconds": 2.0, "examples_per_second": 50.0, "images_per_second": 50.0}
    assert "s   50 images/s   data wait" in summarise([row]).lines()[0]


@pytest.mark.parametrize("count", [1, 2, 19, 20, 21, 100])
def test_quantiles_are_numpys(count):
    seconds = np.random.default_rng(count).exponential(size=count)
    found = summarise([{"step": i, "seconds": float(s)} for i, s in enumerate(seconds)])
    assert found.p50 == np.quantile(seconds, 0.5, method="inverted_cdf")
    assert found.p95 == np.quantile(seconds, 0.95, method="inverted_cdf")


def test_nothing_yet(tmp_path):
    assert summarise([]).lines() == [] and summarise([]).goodput == 0
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "seconds": 1.0}\n[1]\n{"step": 2, "se')
    assert read(tmp_path / "metrics.jsonl") == [{"step": 1, "seconds": 1.0}]


def test_a_speed_is_that_of_the_last_seconds():
    show = Plain(1000, "tokens")
    show.begin(0)
    told = []
    for step in range(1, 9):
        row = {"step": step, "skipped": 0, "loss": 1.0, "seconds": 0.5}
        told.append(show.figures({**row, "tokens_per_second": 100.0 * step}))
    assert told[0] == ["loss 1.0000", "100 tokens/s"]  # and not how long still: too early to say
    assert told[-1][1] == "650 tokens/s"  # of steps 5 to 8
