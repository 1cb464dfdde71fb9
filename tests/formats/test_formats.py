"""What other libraries write is read, and what is written they read."""

from __future__ import annotations

import collections
import io
import pickle

import flax.serialization
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from flax.core import freeze
from hypothesis import given, settings
from netwright.formats import FormatError, Leaf, Weights, open_weights
from netwright.formats import msgpack as ours
from netwright.formats.common import Bytes, joined, parted
from netwright.formats.exporting import cast, chosen, export
from trees import FLOATS, JAX_ONLY, PLAIN, flat, same, trees

ALL = {
    "params": {
        "dense": {"kernel": np.arange(12, dtype=np.float32).reshape(4, 3)},
        "ä.b/c%": np.asarray([1, 2], ml_dtypes.bfloat16),
        "small": np.asarray([0.5, 448], ml_dtypes.float8_e4m3fn),
        "none": np.zeros((0, 5), np.int8),
        "one": np.asarray(7, np.int64),
    },
    "step": np.asarray(3, np.int32),
}
NOT_NUMPYS = ("ä.b/c%", "small")


def in_memory(tree: dict) -> Weights:
    leaves = flat(tree)
    kinds = {path: Leaf(a.shape, str(a.dtype)) for path, a in leaves.items()}
    return Weights("memory", "memory", kinds, leaves.__getitem__)


def read_msgpack(raw: bytes) -> Weights:
    return ours.weights(Bytes(raw, len(raw)), "memory")


def packed(tree: dict) -> bytes:
    file = io.BytesIO()
    weights = in_memory(tree)
    ours.write(file, dict(sorted(weights.leaves.items())), weights.read)
    return file.getvalue()


@settings(max_examples=40, deadline=None)
@given(trees((*PLAIN, *FLOATS, *JAX_ONLY, "complex64")))
def test_flax_and_we_write_the_same_bytes(tree):
    raw = flax.serialization.msgpack_serialize(tree)
    leaves = flat(tree)
    same(read_msgpack(raw), leaves)
    again = packed(tree)
    same(read_msgpack(again), leaves)
    restored = flat(flax.serialization.msgpack_restore(again))
    assert {p: a.tobytes() for p, a in restored.items()} == {
        p: a.tobytes() for p, a in leaves.items()
    }
    if leaves and not _has_empty(tree):
        assert again == raw


def _has_empty(tree):
    return isinstance(tree, dict) and (not tree or any(map(_has_empty, tree.values())))


def test_numbers_and_lists_of_flax():
    tree = {
        "i": 7, "n": -70000, "big": 2**63 + 1, "f": 1.5, "t": True, "c": 3 - 4j,
        "s": np.float16(3), "none": None, "empty": {}, "list": [np.ones(2), {"x": 5}],
        "numbered": {3: 4, 10: 5},
    }  # fmt: skip
    raw = flax.serialization.msgpack_serialize(tree)
    same(read_msgpack(raw), flat(tree))


@pytest.mark.slow  # importing it takes seconds
def test_a_folder_that_flax_saved_without_orbax(tmp_path):
    from flax.training import checkpoints

    with flax.config.temp_flip_flag("use_orbax_checkpointing", False):
        for step in (9, 10):
            tree = {"params": {"w": np.arange(3.0) + step}, "step": step}
            checkpoints.save_checkpoint(tmp_path, tree, step, keep=2)
    same(open_weights(tmp_path), flat(tree))


@pytest.mark.parametrize("most", [8, 64, 100])
def test_large_arrays_are_cut_as_flax_does(monkeypatch, most):
    monkeypatch.setattr(flax.serialization, "MAX_CHUNK_SIZE", most)
    monkeypatch.setattr(ours, "CHUNK", most)
    tree = {"a": {"w": np.arange(60, dtype=np.float32).reshape(3, 20)}, "b": np.ones(3, np.int16)}
    raw = flax.serialization.msgpack_serialize(tree)
    assert packed(tree) == raw
    same(read_msgpack(raw), flat(tree))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_of_arrays(tmp_path, protocol):
    tree = {
        "fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        "big-endian": np.arange(6, dtype=">f4").reshape(2, 3),
        "both": np.asfortranarray(np.arange(6, dtype=">i2").reshape(2, 3)),
        "strided": np.arange(12)[::2],
        "jax": jnp.arange(4, dtype=jnp.bfloat16),
        "scalar": np.float32(2),
        "dtypes": [np.zeros((2, 1), dtype) for dtype in (*PLAIN, *FLOATS, "complex64")],
        "numbers": (1, 2.5, True, 1j, -3, None),
        "ordered": collections.OrderedDict(x=np.ones(2)),
        "frozen": freeze({"y": np.ones(1)}),
        5: np.zeros(()),
    }
    file = tmp_path / "weights.pkl"
    file.write_bytes(pickle.dumps(tree, protocol))
    tree["frozen"] = {"y": np.ones(1)}
    same(open_weights(file, allow_pickle=True), flat(tree))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path, save):
    arrays = {
        "a/b": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        "a/c": np.arange(3, dtype=">i4"),
        "d": np.array(5.0),
        "e": np.zeros((0, 3), bool),
    }
    save(tmp_path / "w.npz", **arrays)
    same(open_weights(tmp_path / "w.npz"), {tuple(n.split("/")): a for n, a in arrays.items()})


@pytest.mark.parametrize("end", ["safetensors", "msgpack", "npz"])
def test_what_is_written_is_read(tmp_path, end):
    tree = ALL
    if end == "npz":
        tree = {**ALL, "params": {k: v for k, v in ALL["params"].items() if k not in NOT_NUMPYS}}
    file = tmp_path / f"w.{end}"
    export(in_memory(tree), file)
    same(open_weights(file), flat(tree))
    assert file.stat().st_mode & 0o444 == 0o444
    other = tmp_path / f"again.{end}"
    export(in_memory(tree), other)
    assert other.read_bytes() == file.read_bytes()


def test_others_read_what_is_written(tmp_path):
    weights = in_memory(ALL)
    known = {path: array for path, array in flat(ALL).items() if "small" not in path}
    wanted = {joined(path): array for path, array in known.items()}  # it reads no float8
    export(weights.part(list(known)), tmp_path / "w.safetensors")
    got = safetensors.numpy.load_file(tmp_path / "w.safetensors")
    assert {n: (str(a.dtype), a.shape, a.tobytes()) for n, a in got.items()} == {
        n: (str(a.dtype), a.shape, a.tobytes()) for n, a in wanted.items()
    }
    export(weights, tmp_path / "w.msgpack")
    got = flax.serialization.msgpack_restore((tmp_path / "w.msgpack").read_bytes())
    assert flat(got).keys() == flat(ALL).keys()
    export(chosen(weights, [("params", "dense")]), tmp_path / "w.npz")
    with np.load(tmp_path / "w.npz") as got:
        np.testing.assert_array_equal(got["kernel"], ALL["params"]["dense"]["kernel"])


def test_safetensors_of_others(tmp_path):
    arrays = {"layers.0.w": np.ones((2, 3), np.float16), "head": np.arange(4)}
    safetensors.numpy.save_file(arrays, tmp_path / "w.safetensors", {"format": "pt"})
    (tmp_path / "link").symlink_to("w.safetensors")  # as in the caches of hubs
    for name in ("w.safetensors", "link"):
        same(open_weights(tmp_path / name), {tuple(n.split(".")): a for n, a in arrays.items()})


@settings(max_examples=30, deadline=None)
@given(trees(("int8",)))
def test_names_tell_paths_apart(tree):
    paths = list(flat(tree))
    names = [joined(path) for path in paths]
    assert [parted(names)[name] for name in names] == paths


def test_a_single_choice_is_the_root():
    weights = in_memory(ALL)
    assert set(chosen(weights, [("params", "dense")]).leaves) == {("kernel",)}
    assert set(chosen(weights, [("params", "dense", "kernel")]).leaves) == {("kernel",)}
    two = chosen(weights, [("params", "dense"), ("step",)])
    assert set(two.leaves) == {("params", "dense", "kernel"), ("step",)}
    with pytest.raises(FormatError, match=r"has no params\.dens\n[^?]*did you mean params\.dense"):
        chosen(weights, [("params", "dens")])


def test_casts_are_those_of_numpy():
    values = np.asarray([1 + 2**-9, 65520.0, -3e-8, np.inf, np.nan], np.float32)
    weights = cast(in_memory({"x": values, "n": np.arange(3)}), "bfloat16")
    assert weights.leaves["n",].dtype == "int64"
    got = weights.read(("x",))
    assert got.tobytes() == values.astype(ml_dtypes.bfloat16).tobytes()


@pytest.mark.parametrize(
    "name, raw, told",
    [
        ("w.h5", b"\x89HDF\r\n\x1a\n" + b"0" * 20, "HDF5"),
        ("w.npy", b"\x93NUMPY\1\0" + b"0" * 20, "a single array"),
        ("w", b"what is this, a text file?", "no format that is known"),
        ("w", b"", "empty"),
        ("w.tar.zst", b"\x28\xb5\x2f\xfd" + b"0" * 20, "ckpt archive --extract"),
        ("w.msgpack", b"{}", "no msgpack file"),
        ("w.safetensors", b"abc", "cut short"),
        ("w.pkl", pickle.dumps({}), "--allow-pickle"),
    ],
)
def test_what_is_not_read_is_named(tmp_path, name, raw, told):
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(FormatError, match=told):
        open_weights(tmp_path / name)


def test_a_file_of_pytorch_is_named(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "model.pt", "w") as file:
        file.writestr("archive/data.pkl", b"")
    with pytest.raises(FormatError, match=r"PyTorch[^?]*save_file"):
        open_weights(tmp_path / "model.pt")


@pytest.mark.parametrize("end, dtype", [("npz", "bfloat16"), ("safetensors", "complex128")])
def test_a_dtype_that_a_format_lacks_is_refused(tmp_path, end, dtype):
    array = np.ones(2, getattr(ml_dtypes, dtype, dtype))
    with pytest.raises(FormatError, match=f"x, which is {dtype}"):
        export(in_memory({"x": array}), tmp_path / f"w.{end}")
    assert not [*tmp_path.iterdir()]


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "w.npz").write_bytes(b"mine")
    with pytest.raises(FormatError, match="there already"):
        export(in_memory({"x": np.ones(2)}), tmp_path / "w.npz")
    assert (tmp_path / "w.npz").read_bytes() == b"mine"


def test_a_leaf_above_a_leaf_is_refused(tmp_path):
    weights = in_memory({"a": np.ones(1)})
    both = {**weights.leaves, ("a", "b"): weights.leaves["a",]}
    with pytest.raises(FormatError, match="is an array, and holds"):
        ours.write(io.BytesIO(), both, lambda _: np.ones(1))
