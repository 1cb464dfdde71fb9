"""What `netwright ckpt` says, word for word, and its exit codes."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from pathlib import Path
from typing import NamedTuple

import click.testing
import numpy as np
import pytest
import safetensors.numpy
from netwright.cli import main
from netwright.runtime.saver import save
from trees import flat

GOLDEN = Path(__file__).parent / "golden_commands"


class State(NamedTuple):
    params: dict
    opt_state: dict
    step: np.ndarray


def state(step: int, seed: int) -> State:
    random = np.random.default_rng(seed)
    layers = {
        f"layer_{n}": {"w": random.normal(size=(4, 3)).astype("float32"), "b": np.zeros(3, "f4")}
        for n in range(12)
    }
    params = {"embed": random.normal(size=(5, 4)).astype("float32"), **layers}
    params["scale"] = random.normal(size=4).astype("float16")
    mu = {name: np.zeros_like(array) for name, array in params.items() if name == "embed"}
    return State(params, {"mu": mu, "count": np.int32(step)}, np.int32(step))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ckpt")
    for step in (20, 40):
        about = {"name": "a", "evaluation": {"loss": 20 / step, "accuracy": 0.5}}
        save(folder / "runs/a/checkpoints", state(step, 0), about=about, keep=9)
    other = state(40, 0)
    other.params["layer_3"]["w"][1, 2] += 0.5
    other.params["layer_3"]["w"][0, 0] *= -1
    other.params["embed"] = other.params["embed"][:4]
    other.params["scale"] = other.params["scale"].astype("float32")
    del other.params["layer_11"]
    other.params["head"] = np.ones(2, "int8")
    save(folder / "runs/b/checkpoints", other, about={"name": "b"}, keep=9)
    shutil.copytree(folder / "runs/a", folder / "runs/damaged")
    file = folder / "runs/damaged/checkpoints/step-00000040/state-00000.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-200] ^= 4
    file.write_bytes(raw)
    manifest = folder / "runs/damaged/checkpoints/step-00000020/manifest.json"
    manifest.write_text(manifest.read_text().replace("layer_3", "layer_4", 1))
    (folder / "runs/b/checkpoints/step-00000040/pinned").touch()
    (folder / "runs/empty/program").mkdir(parents=True)
    (folder / "w.pkl").write_bytes(pickle.dumps({"w": np.ones(2), "s": "text"}))
    (folder / "notes.txt").write_text("nothing of the kind\n")
    return folder


@pytest.fixture
def run(made, tmp_path, monkeypatch):
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)

    def run(command: str, code: int = 0) -> str:
        done = click.testing.CliRunner().invoke(main, ["ckpt", *command.split()])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
        assert done.exit_code == code, done.output
        return done.output

    return run


COMMANDS = {
    "run": ("ls runs/a", 0),
    "run-pinned": ("ls runs/b", 0),
    "run-damaged": ("ls runs/damaged", 0),
    "run-empty": ("ls runs/empty", 1),
    "checkpoint": ("ls runs/a/checkpoints/step-00000020", 0),
    "checkpoint-all": ("ls runs/a --only params.layer_1 --all", 0),
    "verify": ("verify runs/a", 0),
    "verify-damaged": ("verify runs/damaged", 1),
    "diff": ("diff runs/a runs/b", 1),
    "diff-only": ("diff runs/a runs/b --only params.layer_3 --only step", 1),
    "diff-tolerance": ("diff runs/a runs/b --only params.layer_3 --atol 9", 0),
    "diff-same": ("diff runs/a runs/a/checkpoints/step-00000040", 0),
    "diff-nothing": ("diff runs/a runs/c", 2),
    "diff-damaged": ("diff runs/a runs/damaged", 2),
    "diff-no-path": ("diff runs/a runs/b --only parms", 2),
    "export": ("export runs/a --only params --to a.safetensors", 0),
    "export-npz": ("export runs/a --to a.npz", 0),
    "export-damaged": ("export runs/damaged --to a.npz", 1),
    "export-pickle": ("export runs/a --to a.pkl", 1),
    "export-unknown": ("export runs/a --to weights", 1),
    "export-over": ("export runs/a --to notes.txt.npz", 0),
    "pickle": ("ls w.pkl", 1),
    "pickle-allowed": ("ls w.pkl --allow-pickle", 1),
    "no-format": ("ls notes.txt", 1),
    "missing": ("ls run", 1),
    "archive-damaged": ("archive runs/damaged", 1),
    "archive-name": ("archive runs/a -o a.zip", 1),
    "archive-of-nothing": ("archive --extract notes.txt -o out", 1),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_what_it_says(name, run, update_golden):
    command, code = COMMANDS[name]
    said = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "2026-01-01 00:00:00", run(command, code))
    said = f"$ netwright ckpt {command}\n{said}"
    path = GOLDEN / f"{name}.txt"
    if update_golden:
        path.parent.mkdir(exist_ok=True)
        path.write_text(said)
    assert said == path.read_text()


def test_no_golden_file_is_left_over():
    assert {path.stem for path in GOLDEN.iterdir()} == set(COMMANDS)


def test_json(run):
    listed = json.loads(run("ls runs/damaged --json"))
    first, second = listed["checkpoints"]
    assert (first["step"], second["step"]) == (20, 40)
    assert "damaged" in first["problem"] and second["problem"] is None
    held = json.loads(run("ls runs/a/checkpoints/step-00000040 --json"))
    assert held["kind"] == "netwright" and held["step"] == 40 and held["about"]["name"] == "a"
    leaf = next(leaf for leaf in held["leaves"] if leaf["path"] == ["params", "embed"])
    assert leaf == {"path": ["params", "embed"], "shape": [5, 4], "dtype": "float32", "bytes": 80}
    checked = json.loads(run("verify runs/damaged --json", 1))
    assert not checked["whole"] and all(c["problems"] for c in checked["checked"])
    told = json.loads(run("diff runs/a runs/b --json", 1))
    assert not told["same"]
    (w,) = (d for d in told["differences"] if d["path"] == ["params", "layer_3", "w"])
    assert w["unequal"] == 2 and w["max_abs"] >= 0.5 and w["max_rel"] == 2
    assert json.loads(run("diff runs/a runs/a --json")) == {"same": True, "differences": []}


def test_archived_and_taken_out(run):
    assert "read back and compared" in run("archive runs/a -o a.tar.zst")
    run("archive runs/a -o b.tar.zst")
    assert Path("a.tar.zst").read_bytes() == Path("b.tar.zst").read_bytes()
    assert "there already" in run("archive runs/a -o a.tar.zst", 1)
    assert "taken out and verified" in run("archive --extract a.tar.zst -o out/checkpoints")
    assert "no differences" in run("diff out runs/a")
    assert "there already" in run("archive --extract a.tar.zst -o out/checkpoints", 1)
    assert "netwright ckpt archive --extract a.tar.zst" in run("ls a.tar.zst", 1)
    assert [p.name for p in Path("out/checkpoints").iterdir()] == ["step-00000040"]


def test_an_archive_of_a_damaged_checkpoint_is_not_taken_out(run):
    from netwright.formats.archive import pack

    with Path("a.tar").open("x+b") as file:
        pack(Path("runs/damaged/checkpoints/step-00000040"), file, compress=False)
    assert "is damaged" in run("archive --extract a.tar -o out", 1)
    assert not Path("out").exists()
    Path("out").mkdir()
    assert "is damaged" in run("archive --extract a.tar -o out", 1)
    assert not [*Path("out").iterdir()]


def test_without_zstandard_it_is_said_how_to_get_it(run, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "zstandard", None)
    assert "pip install 'netwright[zstd]'" in run("archive runs/a", 1)
    assert "read back" in run("archive runs/a -o a.tar")


def test_all_formats_hold_the_same(run):
    wanted = flat(state(40, 0).params)
    for end in ("safetensors", "msgpack", "npz"):
        run(f"export runs/a --only params --to a.{end}")
        run(f"diff a.{end} a.{'npz' if end == 'npz' else 'safetensors'}")
    run("export a.msgpack --to back.safetensors")
    got = safetensors.numpy.load_file("back.safetensors")
    assert {tuple(name.split(".")) for name in got} == set(wanted)
    for path, array in wanted.items():
        np.testing.assert_array_equal(got[".".join(path)], array)
    assert "no differences" in run("diff a.npz a.safetensors")
    assert "no differences" in run("diff runs/a a.npz --only params")  # which is the root there
    run("export runs/a --only params --to half.safetensors --dtype bfloat16")
    assert "bfloat16" in run("diff half.safetensors a.npz --rtol 0.01", 1)


def test_help_teaches(run):
    said = run("--help")
    for command in ("ls", "verify", "diff", "export", "archive", "train"):
        assert f"  netwright {'' if command == 'train' else 'ckpt '}{command} " in said
