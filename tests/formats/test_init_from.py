"""Runs that begin with parameters from elsewhere."""

from __future__ import annotations

import pickle
import shutil
import subprocess
from types import SimpleNamespace

import flax.serialization
import jax
import ml_dtypes
import numpy as np
import pytest
from netwright import driver
from netwright.formats import open_weights
from netwright.initial import NAME, SUM, initial
from netwright.ir.diagnostics import InputError
from netwright.models import _load
from netwright.runtime import initial as at_start
from netwright.runtime.errors import RunError
from netwright.runtime.state import leaves_by_path
from programs import EXAMPLES, losses, netwright, parameters, settings, small_shakespeare

RANDOM = np.random.default_rng(0)
WEIGHTS = {
    "mlp": {
        "w1": RANDOM.normal(size=(8, 8, 128)).astype("float32"),
        "b1": RANDOM.normal(size=128).astype("float32"),
        "w2": RANDOM.normal(size=(128, 10)).astype("float32"),
        "b2": RANDOM.normal(size=10).astype("float32"),
    }
}


@pytest.fixture(scope="module")
def files():
    return driver.program_of(EXAMPLES / "mlp")


@pytest.fixture(scope="module")
def program(files, tmp_path_factory):
    from netwright.backend.program import write_program

    folder = tmp_path_factory.mktemp("program")
    write_program(files, folder)
    return _load(folder)[1].build()


@pytest.fixture(scope="module")
def drawn(program):
    return program.init(0)


def weights_of(tmp_path, tree: dict):
    path = tmp_path / "w.msgpack"
    path.write_bytes(flax.serialization.to_bytes(tree))
    return open_weights(path)


def begun(program, made, run):
    """The state with which a run begins."""
    run.mkdir()
    made.write(run)
    return program.init(0, at_start.read(run, program.abstract))


def test_all_parameters(files, program, drawn, tmp_path):
    made = initial(files, weights_of(tmp_path, WEIGHTS))
    state = begun(program, made, tmp_path / "run")
    jax.tree.map(np.testing.assert_array_equal, state.params, WEIGHTS)
    rest = (state.opt_state, state.rng, state.step)
    jax.tree.map(np.testing.assert_array_equal, rest, (drawn.opt_state, drawn.rng, drawn.step))


def test_what_stands_beside_the_parameters_is_left(files, tmp_path):
    tree = {"params": WEIGHTS, "opt_state": {"mu": np.ones(3)}, "step": 5}
    made = initial(files, weights_of(tmp_path, tree))
    assert {path[0] for path in made.arrays} == {"params"} and len(made.arrays) == 4


@pytest.mark.slow
def test_some_parameters(files, program, drawn, tmp_path):
    some = {"mlp": {"w1": WEIGHTS["mlp"]["w1"], "more": np.ones(2)}}
    made = initial(files, weights_of(tmp_path, some), only=[("mlp", "w1")])
    assert made.notes[-1] == "drawn as the model says: mlp.b1, mlp.b2, mlp.w2"
    state = begun(program, made, tmp_path / "run")
    np.testing.assert_array_equal(state.params["mlp"]["w1"], WEIGHTS["mlp"]["w1"])
    np.testing.assert_array_equal(state.params["mlp"]["w2"], drawn.params["mlp"]["w2"])


@pytest.mark.parametrize("within", [False, True])  # a tree of parameters alone, or a train state
def test_other_names_and_dtypes(files, tmp_path, within):
    ours = WEIGHTS["mlp"]
    tree: dict = {
        "Dense_0": {"kernel": ours["w1"].reshape(64, 128), "bias": ours["b1"]},
        "Dense_1": {"kernel": ours["w2"].astype(ml_dtypes.bfloat16), "bias": ours["b2"]},
    }
    table = tmp_path / "map.toml"
    table.write_text(
        '"mlp.w1" = "Dense_0/kernel"\n"mlp.b1" = "Dense_0.bias"\n'
        '[mlp]\nw2 = "Dense_1/kernel"\nb2 = "Dense_1/bias"\n'
    )
    if within:
        tree = {"params": tree, "step": 3}
        table.write_text(table.read_text().replace("Dense_", "params/Dense_").replace("/", "."))
    made = initial(files, weights_of(tmp_path, tree), table)
    assert "bfloat16 is cast to float32" in made.notes
    for name in ("w1", "b1", "b2"):
        np.testing.assert_array_equal(made.arrays["params", "mlp", name], ours[name])
    rounded = ours["w2"].astype(ml_dtypes.bfloat16).astype("float32")
    np.testing.assert_array_equal(made.arrays["params", "mlp", "w2"], rounded)


@pytest.mark.parametrize(
    "change, only, told",
    [
        ({"w1": None}, (), r"does not have mlp\.w1[^?]*--init-only"),
        ({"w1": np.ones((8, 128, 8), "f4")}, (), r"w1 is float32\[8, 128, 8\] in .*, and float32"),
        ({"b1": np.ones(128, "i4")}, (), "what mlp.b1 gets is int32, not float32"),
        ({"more": np.ones(1)}, (), "nothing gets mlp.more"),
        ({}, [("mpl",)], "the model has no parameters at mpl"),
    ],
)
def test_what_does_not_fit_is_told(files, tmp_path, change, only, told):
    tree = {"mlp": {n: a for n, a in {**WEIGHTS["mlp"], **change}.items() if a is not None}}
    with pytest.raises(InputError, match=told):
        initial(files, weights_of(tmp_path, tree), only=only)


@pytest.mark.parametrize(
    "text, told",
    [
        ("x", "not TOML"),
        ('"mlp.w1" = 3', "should be the path of an array"),
        ('mlp = "layer"', "the source has no layer.b1"),
        ('"mpl" = "mlp"', "there is no mpl"),
    ],
)
def test_maps_that_are_wrong(files, tmp_path, text, told):
    (tmp_path / "map.toml").write_text(text)
    with pytest.raises(InputError, match=told):
        initial(files, weights_of(tmp_path, WEIGHTS), tmp_path / "map.toml")


def test_a_file_that_a_program_cannot_begin_with(files, program, tmp_path):
    made = initial(files, weights_of(tmp_path, WEIGHTS))
    (tmp_path / "run").mkdir()
    made.write(tmp_path / "run")
    file = tmp_path / "run" / NAME
    whole = file.read_bytes()
    assert at_start.read(tmp_path, program.abstract) == {}
    for raw, told in (
        (whole.replace(b"mlp.b1", b"mlp.b3"), r"has params.mlp.b3"),
        (whole.replace(b"[8,8,128]", b"[64,128] "), r"\(64, 128\)"),
    ):
        file.write_bytes(raw)
        subprocess.run(f"sha256sum {NAME} > {SUM}", shell=True, cwd=file.parent, check=True)
        with pytest.raises(RunError, match=told):
            at_start.read(tmp_path / "run", program.abstract)


def test_a_flipped_bit_is_not_begun_with(files, program, tmp_path):
    made = initial(files, weights_of(tmp_path, WEIGHTS))
    made.write(tmp_path)
    file, places = tmp_path / NAME, np.random.default_rng()
    subprocess.run(["sha256sum", "--check", "--quiet", SUM], cwd=tmp_path, check=True)
    whole = file.read_bytes()
    for at in (0, 70, *places.integers(8 * len(whole), size=20), 8 * len(whole) - 1):
        raw = bytearray(whole)
        raw[at // 8] ^= 1 << at % 8
        file.write_bytes(raw)
        with pytest.raises(RunError, match="is damaged: its SHA-256 is not the one in"):
            at_start.read(tmp_path, program.abstract)
    file.write_bytes(whole[:-1])
    with pytest.raises(RunError, match="is damaged"):
        at_start.read(tmp_path, program.abstract)
    file.write_bytes(whole)
    at_start.read(tmp_path, program.abstract)
    file.rename(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="is not there"):
        at_start.read(tmp_path, program.abstract)
    (tmp_path / "elsewhere").rename(file)
    (tmp_path / SUM).unlink()
    with pytest.raises(RunError, match=r"no checksum beside it(.|\n)*sha256sum initial"):
        at_start.read(tmp_path, program.abstract)


def test_averages_and_optimizers_begin_with_them():
    """What an optimizer keeps of the parameters, and the moving average, are of the given ones."""
    import optax
    from netwright.runtime.settings import Settings
    from netwright.runtime.state import create

    model = SimpleNamespace(
        init_params=lambda key: {"a": jax.random.normal(key, (3,)), "b": np.zeros(2, "f4")},
        init_state=lambda: {"mean": np.zeros(2, "f4")},
    )
    keeps = optax.GradientTransformation(lambda p: {"kept": p}, lambda u, s, p: (u, s))
    given = {"params": {"a": np.arange(3.0)}, "model_state": {"mean": np.ones(2, "f4")}}
    state = create(model, keeps, 0, Settings(ema=0.9), given)
    for tree in (state.params, state.opt_state["kept"], state.ema):
        np.testing.assert_array_equal(tree["a"], np.arange(3.0))
    np.testing.assert_array_equal(state.model_state["mean"], np.ones(2))
    assert (
        leaves_by_path(state).keys()
        == leaves_by_path(create(model, keeps, 0, Settings(ema=0.9))).keys()
    )


@pytest.mark.slow
def test_whole_runs(tmp_path):
    """Exported and begun with; a pickle by its flag; resumed before the first checkpoint."""
    first, second = tmp_path / "first", tmp_path / "second"
    mlp = EXAMPLES / "mlp"
    netwright("train", mlp, "--steps", "3", "--run", first)
    netwright("ckpt", "export", first, "--only", "params", "--to", tmp_path / "w.npz")
    said = netwright(
        "train", mlp, "--steps", "2", "--run", second, "--init-from", tmp_path / "w.npz"
    )
    assert "4 arrays, 9,610 numbers: taken from" in said.stdout
    wanted = parameters(second)
    shutil.rmtree(second / "checkpoints")
    netwright("resume", second, "--steps", "2")
    assert parameters(second) == wanted
    shutil.rmtree(second / "checkpoints")
    said = netwright("train", mlp, "--run", second, fine=False)
    assert "first values from an earlier start" in said.stderr

    with np.load(tmp_path / "w.npz") as arrays:
        tree = {"mlp": {n.removeprefix("mlp."): arrays[n] for n in arrays}}
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(tree))
    start = ("train", mlp, "--steps", "2", "--run", tmp_path / "third")
    said = netwright(*start, "--init-from", tmp_path / "w.pkl", fine=False)
    assert "--allow-pickle" in said.stderr and not (tmp_path / "third").exists()
    netwright(*start, "--init-from", tmp_path / "w.pkl", "--allow-pickle")
    assert parameters(tmp_path / "third") == wanted


@pytest.mark.slow
def test_on_a_mesh(tmp_path):
    """The same weights, on one device and sharded over eight: the same first loss."""
    mesh = (
        '\n[mesh]\naxes = { data = 4, model = 2 }\nvalues = { B = "data", F = "model" }\n'
        'params = { D = "data", F = "model" }\n'
    )
    one, eight = (
        small_shakespeare(tmp_path / name, more) for name, more in (("a", ""), ("b", mesh))
    )
    netwright("train", one, "--steps", "2", "--run", tmp_path / "first", *settings())
    began = []
    for folder, flags in (
        (one, {}),
        (eight, {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}),
    ):
        run = tmp_path / f"run-{folder.name}"
        start = ("train", folder, "--steps", "1", "--run", run, "--init-from", tmp_path / "first")
        netwright(*start, *settings(), **flags)
        began.append(losses(run)[1])
    assert began[0] == pytest.approx(began[1], rel=1e-5)
    assert began[0] < losses(tmp_path / "first")[1]
