"""Checkpoints: whole or not there, checked when read."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from netwright.runtime import RunError, checkpoint, scale, tensors
from netwright.runtime.checkpoint import Broken
from netwright.runtime.state import TrainState
from safetensors.numpy import load_file


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


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype and x.shape == y.shape
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_round_trip_with_bfloat16_bool_empty_scalar_and_key(tmp_path):
    state = make()
    path = checkpoint.save(tmp_path, state, keep=2, about={"name": "x"})
    assert path.name == "step-00000003"
    found, about = checkpoint.load(path, shapes_of(state))
    same(found, state)
    assert about == {"name": "x"}


def test_any_safetensors_reader_reads_it_and_anyone_may(tmp_path):
    state = make()
    path = checkpoint.save(tmp_path, state, keep=1, about={})
    found = load_file(path / "state.safetensors")
    assert np.array_equal(found["params.w"], state.params["w"])
    assert str(found["params.low"].dtype) == "bfloat16"
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((path / "state.safetensors").stat().st_mode) == 0o666 & ~umask
    leaves = json.loads((path / "manifest.json").read_text())["leaves"]
    assert [leaf["path"] for leaf in leaves if leaf["shape"] == [3, 4]] == [
        ["params", "w"],
        ["opt_state", "0", "w"],
    ]


def test_arrays_that_are_not_contiguous(tmp_path):
    base = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    arrays = {"t": base.transpose(2, 0, 1), "s": base[:, ::2], "f": np.asfortranarray(base)}
    shapes = {name: (value.shape, "float32") for name, value in arrays.items()}
    sums = tensors.write(tmp_path / "x", shapes, arrays.__getitem__)
    for found in (tensors.read(tmp_path / "x", sums), load_file(tmp_path / "x")):
        for name, value in arrays.items():
            assert np.array_equal(found[name], value)


def test_names_with_dots_do_not_collide(tmp_path):
    state = make(**{"a.b": jnp.ones(1), "a": {"b": jnp.zeros(2)}, "a%2Eb": jnp.zeros(3)})
    path = checkpoint.save(tmp_path, state, keep=1, about={})
    same(checkpoint.load(path, shapes_of(state))[0], state)


def test_every_flipped_byte_is_noticed(tmp_path):
    state = make()
    path = checkpoint.save(tmp_path, state, keep=1, about={"name": "x"})
    for name in ("state.safetensors", "manifest.json"):
        size = (path / name).stat().st_size
        for at in range(0, size, 7):
            if (path / name).read_bytes()[at] in b" \n":
                continue  # white space of JSON: nothing is lost with it
            flip(path / name, at)
            try:
                found, _ = checkpoint.load(path, shapes_of(state))
                same(found, state)  # a change in the header that changes nothing
            except (Broken, RunError):
                pass
            flip(path / name, at)
    same(checkpoint.load(path, shapes_of(state))[0], state)


@pytest.mark.parametrize("length", [0, 5, 100, -1])
def test_files_cut_short(tmp_path, length):
    state = make()
    path = checkpoint.save(tmp_path, state, keep=1, about={})
    for name in ("state.safetensors", "manifest.json"):
        content = (path / name).read_bytes()
        (path / name).write_bytes(content[:length])
        if name == "manifest.json" and length == -1:
            checkpoint.load(path, shapes_of(state))  # it only lost its last line's end
        else:
            with pytest.raises(Broken):
                checkpoint.load(path, shapes_of(state))
        (path / name).write_bytes(content)


def test_the_newest_whole_one_is_used_and_the_damaged_one_named(tmp_path):
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, make(step), keep=3, about={})
    file = tmp_path / "step-00000003/state.safetensors"
    flip(file, file.stat().st_size - 1)
    warnings = []
    state, _, damaged = checkpoint.newest(tmp_path, shapes_of(make()), warnings.append)
    assert int(state.step) == 2
    assert "step-00000003 is damaged" in warnings[0] and "has changed since" in warnings[0]
    checkpoint.set_aside(damaged[0])
    assert list(checkpoint.steps(tmp_path)) == [1, 2]


def test_none_or_none_whole(tmp_path):
    with pytest.raises(RunError, match=r"there is no checkpoint in"):
        checkpoint.newest(tmp_path, shapes_of(make()), print)
    path = checkpoint.save(tmp_path, make(), keep=1, about={})
    (path / "manifest.json").unlink()
    with pytest.raises(RunError, match=r"every checkpoint in .* is damaged"):
        checkpoint.newest(tmp_path, shapes_of(make()), print)


def test_another_model_is_refused_by_path(tmp_path):
    path = checkpoint.save(tmp_path, make(), keep=1, about={})
    other = make(extra=jnp.zeros(1))
    del other.params["flag"]
    other.params["w"] = jnp.zeros((3, 5))
    other.params["low"] = jnp.zeros(2)
    with pytest.raises(RunError) as caught:
        checkpoint.load(path, shapes_of(other))
    for line in (
        "of another model or optimizer",
        "params.extra: the program has it, the checkpoint does not",
        "params.flag: the checkpoint has it, the program does not",
        "params.w: float32[3, 4] in the checkpoint, float32[3, 5] in the program",
        "params.low: bfloat16[2] in the checkpoint, float32[2] in the program",
    ):
        assert line in str(caught.value)


def test_only_the_last_are_kept(tmp_path):
    for step in range(1, 6):
        checkpoint.save(tmp_path, make(step), keep=2, about={})
    assert list(checkpoint.steps(tmp_path)) == [4, 5]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000004", "step-00000005"]


def test_the_same_step_again_replaces_it(tmp_path):
    checkpoint.save(tmp_path, make(), keep=2, about={"try": 1})
    path = checkpoint.save(tmp_path, make(), keep=2, about={"try": 2})
    assert checkpoint.load(path, shapes_of(make()))[1] == {"try": 2}


def test_a_failure_while_writing_leaves_the_earlier_ones(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, make(1), keep=1, about={})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tensors, "sync", full)
    with pytest.raises(RunError, match=r"step 2 cannot be written .*No space left"):
        checkpoint.save(tmp_path, make(2), keep=1, about={})
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_leavings_of_a_killed_process_do_not_count(tmp_path):
    checkpoint.save(tmp_path, make(1), keep=1, about={})
    (tmp_path / ".writing-00000002").mkdir()
    (tmp_path / ".deleting-step-00000000").mkdir()
    assert list(checkpoint.steps(tmp_path)) == [1]
    checkpoint.clean(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_a_newer_format_is_refused(tmp_path):
    path = checkpoint.save(tmp_path, make(), keep=1, about={})
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**manifest, "format": 9}))
    with pytest.raises(RunError, match=r"format 9; this program reads 1"):
        checkpoint.load(path, shapes_of(make()))
