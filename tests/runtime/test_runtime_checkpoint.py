"""Checkpoints: whole or not there, checked when read."""

from __future__ import annotations

import errno
import json
import os
import stat
import zlib
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fixture_state import fixture_state
from netwright.runtime import RunError, commit, scale, tensors
from netwright.runtime.checkpoint import Broken, open_checkpoint, steps
from netwright.runtime.restore import OtherState, newest, restore
from netwright.runtime.retention import Keep
from netwright.runtime.saver import Saver, save
from netwright.runtime.state import TrainState
from safetensors.numpy import load_file

FILE = "state-00000.safetensors"
ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "tests/fixtures/checkpoints"


def make(step=3, width=4, **more):
    params = {
        "w": jnp.arange(12, dtype=jnp.float32).reshape(3, width),
        "low": jnp.asarray([1.5, -2.25], jnp.bfloat16),
        "flag": jnp.asarray([True, False]),
        "none": jnp.zeros((0, 3)),
        **more,
    }
    opt_state = ({"w": jnp.ones((3, width))}, jax.random.key(5))
    return TrainState(
        params, opt_state, {}, jnp.uint32([1, 2]), jnp.int32(step), scale.create(None), {}
    )


def shapes_of(state):
    return jax.eval_shape(lambda: state)


def load(path, abstract):
    checkpoint = open_checkpoint(path)
    return restore(checkpoint, abstract), checkpoint.manifest.about


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype and x.shape == y.shape
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


def flip(path: Path, at: int, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1 << bit
    path.write_bytes(content)


def test_round_trip_with_bfloat16_bool_empty_scalar_and_key(tmp_path):
    state = make()
    path = save(tmp_path, state, keep=2, about={"name": "x"})
    assert path.name == "step-00000003"
    found, about = load(path, shapes_of(state))
    same(found, state)
    assert about == {"name": "x"}


def test_any_safetensors_reader_reads_it_and_anyone_may(tmp_path):
    state = make()
    path = save(tmp_path, state, keep=1, about={})
    found = load_file(path / FILE)
    assert np.array_equal(found["params.w"], state.params["w"])
    assert str(found["params.low"].dtype) == "bfloat16"
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((path / FILE).stat().st_mode) == 0o666 & ~umask
    leaves = json.loads((path / "manifest.json").read_text())["leaves"]
    assert [leaf["path"] for leaf in leaves if leaf["shape"] == [3, 4]] == [
        ["params", "w"],
        ["opt_state", "0", "w"],
    ]


def test_arrays_that_are_not_contiguous(tmp_path):
    base = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    arrays = {"t": base.transpose(2, 0, 1), "s": base[:, ::2], "f": np.asfortranarray(base)}
    tensors.write(tmp_path / "x", arrays)
    found = load_file(tmp_path / "x")
    with tensors.Reader(tmp_path / "x") as reader:
        for name, value in arrays.items():
            assert np.array_equal(found[name], value)
            assert np.array_equal(reader.read(name)[0], value)


def test_arrays_of_several_pieces(tmp_path, monkeypatch):
    """Pieces go to the disk while the next ones are written; the sums are those of the whole."""
    monkeypatch.setattr(tensors, "PIECE", 24)
    monkeypatch.setattr(tensors, "CHUNK", 10)
    rng = np.random.default_rng(0)
    arrays = {n: rng.normal(size=s).astype("f4") for n, s in (("a", 40), ("b", ()), ("c", (7, 5)))}
    sums, _, size = tensors.write(tmp_path / "x", arrays)
    assert sums == {name: zlib.crc32(value.tobytes()) for name, value in arrays.items()}
    assert size == (tmp_path / "x").stat().st_size
    found = load_file(tmp_path / "x")
    with tensors.Reader(tmp_path / "x") as reader:
        for name, value in arrays.items():
            assert np.array_equal(found[name], value)
            read, total = reader.read(name)
            assert np.array_equal(read, value) and total == sums[name]


def test_a_disk_that_fails_in_the_midst_of_a_file(tmp_path, monkeypatch):
    """A failed sync is told once, so that the last one, which would be well, does not hide it."""
    monkeypatch.setattr(tensors, "PIECE", 24)
    failed = []

    def fails(handle):
        if not failed:
            failed.append(handle)
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fails)
    with pytest.raises(OSError, match="Input/output"):
        tensors.write(tmp_path / "x", {"a": np.zeros(40, np.float32)})
    assert failed


def test_dtypes_that_safetensors_lacks(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, 16, np.uint8)
    more = {
        "complex": jnp.asarray([1 + 2j, -3j], jnp.complex64),
        "narrow": jnp.asarray([-3, 7], jnp.int4),
        "other": jnp.asarray(values.view(tensors.dtype("float8_e4m3b11fnuz"))),
    }
    state = make(**more)
    path = save(tmp_path, state, keep=1, about={})
    same(load(path, shapes_of(state))[0], state)
    found = load_file(path / FILE)
    assert found["params.complex"].tolist() == [[1, 2], [0, -3]]
    assert found["params.other"].tobytes() == values.tobytes()


@pytest.mark.parametrize("format", [1, 2])
def test_checkpoints_of_every_format_are_read(format):
    """Those under tests/fixtures were written when the format was the newest."""
    state = fixture_state(TrainState, scale)
    path = FIXTURES / f"format-{format}"
    found, about = load(path, shapes_of(state))
    same(found, state)
    assert about["seed"] == 3
    checkpoint = open_checkpoint(path)
    assert checkpoint.verify() == []
    assert (checkpoint.manifest.format, checkpoint.manifest.step) == (format, 7)
    leaf = checkpoint.leaves[("opt_state", "1")]
    assert (leaf.key, leaf.dtype, leaf.shape) == ("threefry2x32", "uint32", (2,))
    assert np.array_equal(checkpoint.read(("params", "w")), state.params["w"])


def test_names_with_dots_do_not_collide(tmp_path):
    state = make(**{"a.b": jnp.ones(1), "a": {"b": jnp.zeros(2)}, "a%2Eb": jnp.zeros(3)})
    path = save(tmp_path, state, keep=1, about={})
    same(load(path, shapes_of(state))[0], state)


def test_every_flipped_bit_is_noticed(tmp_path):
    state = make()
    path = save(tmp_path, state, keep=1, about={"name": "x"})
    for name in (FILE, "manifest.json"):
        for at in range(0, (path / name).stat().st_size, 3):
            flip(path / name, at, at % 8)
            with pytest.raises(Broken):
                load(path, shapes_of(state))
            flip(path / name, at, at % 8)
    same(load(path, shapes_of(state))[0], state)


@pytest.mark.parametrize("length", [0, 5, 100, -1])
def test_files_cut_short(tmp_path, length):
    state = make()
    path = save(tmp_path, state, keep=1, about={})
    for name in (FILE, "manifest.json"):
        content = (path / name).read_bytes()
        (path / name).write_bytes(content[:length])
        with pytest.raises(Broken):
            load(path, shapes_of(state))
        (path / name).write_bytes(content)


def test_the_newest_whole_one_is_used_and_the_damaged_one_named(tmp_path):
    for step in (1, 2, 3):
        save(tmp_path, make(step), keep=3, about={})
    file = tmp_path / "step-00000003" / FILE
    flip(file, file.stat().st_size - 1)
    warnings = []
    state, _, damaged = newest(tmp_path, shapes_of(make()), warnings.append)
    assert int(state.step) == 2
    assert "step-00000003 is damaged" in warnings[0] and "has changed since" in warnings[0]
    commit.set_aside(damaged[0])
    assert list(steps(tmp_path)) == [1, 2]


def test_none_or_none_whole(tmp_path):
    with pytest.raises(RunError, match=r"there is no checkpoint in"):
        newest(tmp_path, shapes_of(make()), print)
    path = save(tmp_path, make(), keep=1, about={})
    (path / "manifest.json").unlink()
    with pytest.raises(RunError, match=r"every checkpoint in .* is damaged"):
        newest(tmp_path, shapes_of(make()), print)


def test_another_model_is_refused_by_path(tmp_path):
    path = save(tmp_path, make(), keep=1, about={})
    other = make(extra=jnp.zeros(1))
    del other.params["flag"]
    other.params["w"] = jnp.zeros((3, 5))
    other.params["low"] = jnp.zeros(2)
    with pytest.raises(RunError) as caught:
        load(path, shapes_of(other))
    for line in (
        "of another model or optimizer",
        "params.extra: the program has it, the checkpoint does not",
        "params.flag: the checkpoint has it, the program does not",
        "params.w: float32[3, 4] in the checkpoint, float32[3, 5] in the program",
        "params.low: bfloat16[2] in the checkpoint, float32[2] in the program",
    ):
        assert line in str(caught.value)


def test_what_changed_of_a_model_comes_first_and_what_fits_is_known(tmp_path):
    paths = [("one", "a"), ("one", "b"), ("two", "a"), *(("many", f"p{n}") for n in range(20))]
    params = {}
    for first, second in paths:
        params.setdefault(first, {})[second] = jnp.zeros(2)
    moments = {"mu": params, "nu": params}
    state = make()._replace(params=params, opt_state=moments, ema=params)
    path = save(tmp_path, state, keep=1, about={})
    changed = {**params, "one": {**params["one"], "b": jnp.zeros(3)}}
    other = {"mu": changed, "nu": changed}
    with pytest.raises(OtherState) as caught:
        load(path, shapes_of(state._replace(params=changed, opt_state=other, ema=changed)))
    _, *lines = str(caught.value).split("\n")
    assert lines == [
        "  params.one.b: float32[2] in the checkpoint, float32[3] in the program",
        "  and 3 arrays that are kept of these parameters",
    ]
    assert caught.value.fits == ("many", "one.a", "two")
    with pytest.raises(OtherState, match=r"opt_state\.mu\.many\.p0: the checkp") as caught:
        load(path, shapes_of(state._replace(opt_state={})))
    assert caught.value.fits == ("",)


def test_parts_of_a_state(tmp_path):
    state, other = make(), make(step=5, w=jnp.zeros((3, 4)))
    whole = open_checkpoint(save(tmp_path / "whole", state, keep=1, about={}))
    mixed = restore(whole, shapes_of(state), only=("params",), onto=other)
    same(mixed, other._replace(params=state.params))
    with Saver(tmp_path / "part", Keep()) as saver:
        saver.save(state, {}, wait=True, only=("opt_state",))
        part = open_checkpoint(saver.finished()[0].path)
    assert {path[0] for path in part.leaves} == {"opt_state", "step"}
    with pytest.raises(RunError, match=r"params\.w: the program has it, the checkpoint does not"):
        restore(part, shapes_of(state))
    mixed = restore(part, shapes_of(state), only=("opt_state",), onto=other)
    same(mixed, other._replace(opt_state=state.opt_state))
    with pytest.raises(RunError, match=r"no part 'parms'; it has params, opt_state, model_state, "):
        restore(whole, shapes_of(state), only=("parms",), onto=other)
    with pytest.raises(RunError, match=r"no part 'parms'"), Saver(tmp_path / "no", Keep()) as saver:
        saver.save(state, {}, wait=True, only=("parms",))
    assert not (tmp_path / "no").exists()
    with pytest.raises(RunError, match=r"`onto` must be the state"):
        restore(whole, shapes_of(state), only=("params",))


def test_the_page_saves_and_loads_a_part(tmp_path):
    page = (ROOT / "docs/checkpoints.md").read_text().split("## Parts of a state\n")[1]
    state = make()
    names = {
        "state": state,
        "folder": tmp_path,
        "program": SimpleNamespace(abstract=shapes_of(state), init=lambda seed: make(step=0)),
    }
    exec(page.split("```python\n")[1].split("```")[0], names)
    same(names["state"].params, state.params)
    assert int(names["state"].step) == 0


def test_only_the_last_are_kept(tmp_path):
    for step in range(1, 6):
        save(tmp_path, make(step), keep=2, about={})
    assert list(steps(tmp_path)) == [4, 5]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000004", "step-00000005"]


def test_a_checkpoint_is_never_overwritten(tmp_path):
    path = save(tmp_path, make(), keep=2, about={"try": 1})
    with pytest.raises(RunError, match=r"there is a checkpoint .* already"):
        save(tmp_path, make(), keep=2, about={"try": 2})
    assert load(path, shapes_of(make()))[1] == {"try": 1}


def test_a_failure_while_writing_leaves_the_earlier_ones(tmp_path, monkeypatch):
    save(tmp_path, make(1), keep=1, about={})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tensors, "write_all", full)
    with pytest.raises(RunError, match=r"step 2 cannot be written .*No space left"):
        save(tmp_path, make(2), keep=1, about={})
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_leavings_of_a_killed_process_do_not_count(tmp_path):
    save(tmp_path, make(1), keep=1, about={})
    (tmp_path / ".writing-00000002").mkdir()
    (tmp_path / ".deleting-step-00000000").mkdir()
    assert list(steps(tmp_path)) == [1]
    commit.clean(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_a_newer_format_is_refused(tmp_path):
    path = save(tmp_path, make(), keep=1, about={})
    text = (path / "manifest.json").read_text()
    body = text[: text.rindex("\n", 0, -1) + 1].replace('"format": 2', '"format": 9')
    for least in (2, 9):
        body = body.replace('"min_reader": 2', f'"min_reader": {least}')
        end = f'"crc32": {zlib.crc32(body.encode())}}}\n'
        (path / "manifest.json").write_text(body + end)
        if least == 2:  # it says that readers of format 2 can read it
            load(path, shapes_of(make()))
    with pytest.raises(RunError, match=r"format 9; this program reads those up to 2"):
        load(path, shapes_of(make()))


def test_manifests_are_as_the_schema_says(tmp_path):
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((ROOT / "docs/checkpoint.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    about = {"seed": 0, "best": {"metric": "loss", "value": None, "step": 0, "since": 0}}
    for path in (FIXTURES / "format-2", save(tmp_path, make(), keep=1, about=about)):
        manifest = json.loads((path / "manifest.json").read_text())
        jsonschema.validate(manifest, schema)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**manifest, "leaves": [{}]}, schema)
