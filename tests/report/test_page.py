"""The page of a memory plan: what it is drawn from, and how a browser draws it."""

from __future__ import annotations

import html.parser
import json
import re
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import pytest
from click.testing import CliRunner
from netwright import driver
from netwright.cli import main
from netwright.frontend.recipe.fit import fit
from netwright.ir.diagnostics import Diagnostics
from netwright.passes.memory.model import predict
from netwright.report.facts import Point, facts
from netwright.report.page import page

SHAKESPEARE = Path(__file__).parents[2] / "examples" / "shakespeare"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
HOSTILE = '</script><script>document.title = "taken"</script>{{style}}&amp;'


@pytest.fixture(scope="module")
def planned():
    """The Llama of the examples: module, plan, and what a step of it takes."""
    loaded = driver.load(SHAKESPEARE)
    recipe = driver.read_recipe(SHAKESPEARE)
    fitted = fit(recipe, loaded.module, Diagnostics(dict(loaded.sources)))
    plan = recipe.plan(dict(fitted.sizes))
    module = driver.compile_module(loaded.module, plan)
    return module, plan, predict(module, plan)


@pytest.fixture(scope="module")
def found(planned):
    module, plan, report = planned
    points = [
        Point("", report.peak, 0.1, chosen=True),
        Point("", report.peak // 2, 0.3),
        Point("dots_saveable", report.peak, 0.2, stock=True),
    ]
    figures = [("peak on each device", "167 MiB", False)]
    return facts(
        module, plan, report, title=HOSTILE, setting="", figures=figures,
        budget=report.peak * 11 // 10, points=points,
    )  # fmt: skip


def test_areas_add_up_to_the_report(planned, found):
    _, _, report = planned
    series = found["timeline"]["series"]
    totals = [sum(s["bytes"][i] for s in series) for i in range(len(report.timeline))]
    assert totals == [m.bytes for m in report.timeline]
    assert totals[found["timeline"]["peak"]] == report.peak


def test_the_tree_has_every_parameter(found):
    leaves = []

    def collect(node):
        leaves.extend([node] if "children" not in node else [])
        for child in node.get("children", ()):
            collect(child)

    collect(found["parameters"])
    assert sum(leaf["count"] for leaf in leaves) == 820_352
    assert sum(leaf["bytes"] for leaf in leaves) == 4 * 820_352 == found["parameters"]["bytes"]


def test_edges_of_a_block_run_forward(found):
    (block,) = found["blocks"]
    assert block["count"] == 4
    assert block["edges"]
    assert all(a < b for a, b in block["edges"])
    kept = [n["key"] for n in block["nodes"] if n["choice"] == "save"]
    assert "gpt.blocks.attn/weights" in kept


class _Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.scripts, self.links = 0, []

    def handle_starttag(self, tag, attrs):
        self.scripts += tag == "script"
        self.links += [v for k, v in attrs if k in ("src", "href")]


def test_a_name_cannot_become_markup(found):
    text = page(found)
    parsed = _Page()
    parsed.feed(text)
    assert parsed.scripts == 2  # the facts, and what draws them
    assert not parsed.links
    assert text.count("</script>") == 2
    assert "<style>\n:root {" in text
    held = re.search(r'id="facts">(.*?)</script>', text, re.DOTALL)
    assert json.loads(held[1]) == json.loads(json.dumps(found))


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium")
def test_a_browser_draws_it(found, tmp_path):
    file, picture = tmp_path / "report.html", tmp_path / "report.png"
    file.write_text(page(found), encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1200,2600"]
    command = [BROWSER, *flags, f"--user-data-dir={tmp_path / 'profile'}"]
    drawn = subprocess.run(
        [*command, "--dump-dom", file.as_uri()], capture_output=True, text=True, timeout=120
    ).stdout
    assert drawn.count("<svg") == 4  # time, frontier, one block, parameters
    assert drawn.count("<polygon") == len(found["timeline"]["series"])
    assert "gpt.blocks.attn/weights" in drawn
    assert "<title>taken" not in drawn
    shot = [*command, f"--screenshot={picture}", file.as_uri()]
    subprocess.run(shot, capture_output=True, timeout=120, check=True)
    assert _colours(picture) > 100


def _colours(path: Path) -> int:
    """How many different rows of pixels a PNG has: a page that is blank has few."""
    data = path.read_bytes()
    width, height = struct.unpack(">II", data[16:24])
    packed, at = b"", 8
    while at < len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        packed += data[at + 8 : at + 8 + size] if data[at + 4 : at + 8] == b"IDAT" else b""
        at += size + 12
    rows = zlib.decompress(packed)
    step = len(rows) // height
    assert step > width
    return len({rows[i : i + step] for i in range(0, len(rows), step)})


@pytest.mark.slow
def test_the_command_writes_it(tmp_path):
    file = tmp_path / "report.html"
    model = Path(__file__).parents[2] / "examples" / "gallery" / "llama2.nw"
    sizes = {"B": 4, "S": 128, "L": 6, "D": 64, "G": 4, "R": 1, "K": 16, "F": 192, "V": 512}
    settings = [word for name, size in sizes.items() for word in ("--set", f"{name}={size}")]
    command = ["plan", str(model), *settings, "--memory", "40MB", "--html", str(file)]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    held = re.search(r'id="facts">(.*?)</script>', file.read_text(), re.DOTALL)
    found = json.loads(held[1])
    (block,) = found["blocks"]
    choices = {node["choice"] for node in block["nodes"]}
    assert {"input", "recompute"} <= choices
    kept = {n["key"] for n in block["nodes"] if n["choice"] == "save"}
    assert {d["key"] for d in found["decisions"] if d["choice"] == "save"} <= kept
    (chosen,) = (p for p in found["frontier"]["points"] if p["chosen"])
    columns = zip(*(s["bytes"] for s in found["timeline"]["series"]), strict=True)
    peak = max(map(sum, columns))
    assert chosen["bytes"] == peak <= found["budget"] == 40_000_000


@pytest.mark.slow
def test_layers_that_keep_everything_are_drawn_as_well(tmp_path):
    """Of a plan that is found and of the same one given; without a loop nothing is a unit there."""
    model = Path(__file__).parents[2] / "examples" / "gallery" / "resnet18.nw"
    sizes = [f"--set={name}={size}" for name, size in {"Y": 32, "X": 32, "W": 8, "B": 2}.items()]
    plan, file = tmp_path / "plan.json", tmp_path / "report.html"
    drawn = []
    for more in (["-o", str(plan)], ["--plan", str(plan)]):
        command = ["plan", str(model), *sizes, "--memory=8GB", "--html", str(file), *more]
        done = CliRunner().invoke(main, command)
        assert done.exit_code == 0, done.output
        held = re.search(r'id="facts">(.*?)</script>', file.read_text(), re.DOTALL)
        drawn.append(json.loads(held[1])["blocks"])
    assert drawn[0] == drawn[1]
    blocks = {b["path"]: b["nodes"] for b in drawn[0]}
    assert "net.stage1.first" in blocks
    for nodes in blocks.values():
        kept = {n["label"].rpartition(".")[2] for n in nodes if n["choice"] == "save"}
        assert {"normalise/y", "normalise/y:subtract"} & kept or {"y", "y:subtract"} <= kept
        assert not any(n["choice"] == "recompute" for n in nodes)
