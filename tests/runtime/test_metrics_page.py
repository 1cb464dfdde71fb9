"""The page on metrics names every column and event that runs write, and no other ones."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path

import pytest
from netwright.runtime.loop import train
from netwright.runtime.settings import Settings
from netwright.runtime.summary import EVENTS
from runtime_helpers import rows

PAGE = Path(__file__).parents[2] / "docs/metrics.md"


@pytest.fixture(scope="module")
def page():
    return PAGE.read_text()


def test_columns_and_events(page, job, tmp_path):
    job = dataclasses.replace(
        job, settings=Settings(loss_scale="dynamic"), flops=1e6, peak=1e9, tensorboard=True
    )
    train(job, tmp_path, steps=5)
    shutil.rmtree(tmp_path / "checkpoints/step-00000005")
    train(job, tmp_path, resume=True)
    found = rows(tmp_path)
    table = page.partition("| column |")[2].partition("\n\n")[0]
    documented = set(
        re.findall(r"`(\w+)`", "\n".join(r.split("|")[1] for r in table.split("\n") if "|" in r))
    )
    written = {n for row in found if "event" not in row and "split" not in row for n in row}
    # adam here has no schedule that optax injects; metric is a keyword on the page
    assert written | {"learning_rate", "metric"} == documented | {"accuracy"}
    assert all(row["mfu"] == pytest.approx(1e-3 / row["seconds"]) for row in found if "mfu" in row)

    events = {
        row["event"]: set(row) - {"step", "event", "seconds"} for row in found if "event" in row
    }
    table = page.partition("| `event` |")[2].partition("\n\n")[0]
    described = {
        re.findall(r"`(\w+)`", cells[1])[0]: set(re.findall(r"`(\w+)`", cells[3].partition(":")[0]))
        for cells in (row.split("|") for row in table.splitlines()[2:])
    }
    assert {k: v for k, v in described.items() if k != "diagnose"} == events
    assert described.keys() == EVENTS.keys()


def test_tensorboard_has_the_same_numbers(job, tmp_path):
    from tensorboardX.proto.event_pb2 import Event

    train(dataclasses.replace(job, tensorboard=True, evaluate_every=5), tmp_path, steps=5)
    (file,) = (tmp_path / "tensorboard").iterdir()
    data, place, seen = file.read_bytes(), 0, {}
    while place < len(data):  # length, its checksum, the event, its checksum
        length = int.from_bytes(data[place : place + 8], "little")
        event = Event.FromString(data[place + 12 : place + 12 + length])
        place += 16 + length
        for value in event.summary.value:
            seen[value.tag, event.step] = value.simple_value
    for row in rows(tmp_path):
        if "event" not in row:
            group = row.get("split", "train")
            assert seen[f"{group}/loss", row["step"]] == pytest.approx(row["loss"], rel=1e-6)


def test_csv_and_figures(job, tmp_path):
    import csv
    import io

    from netwright.logs import csv_of, figures_of

    train(job, tmp_path, steps=3)
    table = list(csv.DictReader(io.StringIO(csv_of(tmp_path))))
    for cells, row in zip(table, rows(tmp_path), strict=True):
        assert {k: v for k, v in cells.items() if v} == {k: str(v) for k, v in row.items()}
    assert json.loads(figures_of(tmp_path, as_json=True))["steps"] == 3
    assert figures_of(tmp_path).startswith("steps:   p50 ")


def test_operations_of_a_step():
    import netwright as nw
    from netwright.ir.flops import training_flops

    module = nw.load(PAGE.parents[1] / "examples/mlp").module
    forward = 2 * 32 * (64 * 128 + 128 * 10)  # two products, a multiplication and an addition each
    assert training_flops(module, {"B": 32}) == 3 * forward
