"""Files that are made to do harm: a typed error or arrays that are there, in bounded memory."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import shutil
import struct
import zipfile
from random import Random

import flax.serialization
import hostile_files
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from netwright.formats import FormatError, open_weights
from netwright.formats import msgpack as msgpack_files
from netwright.formats.archive import unpack
from netwright.formats.common import DEEPEST, MOST_LEAVES, Bytes


def told(raw: bytes) -> int:
    """How many arrays a msgpack file has; all of them can be read, and are within the file."""
    weights = msgpack_files.weights(Bytes(raw, len(raw)), "memory")
    arrays = [weights.read(path) for path in weights.leaves]
    assert sum(array.nbytes for array in arrays) <= len(raw) + 16 * len(arrays)
    return len(arrays)


def test_hostile_msgpack():
    random, whole = Random(0), 0
    for _ in range(4000):
        raw = hostile_files.msgpack(random)
        try:
            whole += bool(told(raw))
        except FormatError:
            continue
    assert 200 < whole < 3000  # the files are neither all wrong nor all right


def test_hostile_safetensors(tmp_path):
    random, whole = Random(0), 0
    file = tmp_path / "w.safetensors"
    for _ in range(1500):
        file.unlink(missing_ok=True)  # far quicker than to write over it
        file.write_bytes(hostile_files.safetensors(random))
        try:
            weights = open_weights(file)
        except FormatError:
            continue
        whole += 1
        assert sum(weights.read(p).nbytes for p in weights.leaves) <= file.stat().st_size
    assert 150 < whole < 1200


VALID = flax.serialization.msgpack_serialize(
    {"a": {"w": np.ones((3, 2), np.float32), "n": 5}, "s": np.float16(1), "c": 1j}
)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(VALID)), st.binary(max_size=4), st.integers(0, 4))
def test_msgpack_with_other_bytes_in_it(at, new, gone):
    raw = VALID[:at] + new + VALID[at + gone :]
    with contextlib.suppress(FormatError):
        told(raw)


def nested(depth: int) -> bytes:
    return b"\x81\xa1a" * depth + b"\x05"


@pytest.mark.parametrize(
    "raw, message",
    [
        (b"\x82\xa1a\x01\xa1a\x02", "two a"),
        (b"\x81\xa1a\x01\x00", "at byte 4, there is more"),
        (b"\x81\xa1a\xa1b", "a is text"),
        (b"\x81\xa1a\xc4\x01b", "neither an array nor a number"),
        (b"\x05", "begins with something else"),
        (nested(DEEPEST + 1), "levels deep"),
        (b"\xdf\xff\xff\xff\xff\xa1a\x01", "cut short"),
        (b"\x81\xa1a\xc7\x00\x09", "extension of type 9"),
        (b"\x81\xa1\xff\x01", "not UTF-8"),
        (b"\x81\xda\x10\x00" + b"a" * 4096 + b"\x01", "4,096 bytes"),
        (b"\x81\xa1a\xdc\xff\xff" + b"\xc0" * 65535, None),  # empty, but not wrong
        (b"\x81\xa5\x1b[31m\xa1b", r"a key under the root|cut short|\\x1b"),
    ],
)
def test_what_is_wrong_with_msgpack_is_told(raw, message):
    if message is None:
        assert told(raw) == 0
        return
    with pytest.raises(FormatError, match=message) as caught:
        told(raw)
    assert "\x1b" not in str(caught.value)


@pytest.mark.slow
def test_many_leaves_are_refused():
    count = MOST_LEAVES + 1
    raw = b"\x81\xa1a\xdd" + struct.pack(">I", count) + b"\x01" * count
    with pytest.raises(FormatError, match="more than 131,072 arrays"):
        told(raw)


@pytest.mark.parametrize(
    "shape, dtype, size",
    [
        ((2**63,), "float32", 0),
        ((2**31, 2**31, 2**31), "int8", 0),
        ((0, 2**62), "float64", 0),
        ((3,), "float32", 4),
        ((-1,), "float32", 4),
        ((1,), "object", 8),
        ((1,), "V8", 8),
    ],
)
def test_arrays_that_cannot_be(shape, dtype, size):
    import msgpack

    body = msgpack.packb((shape, dtype, b"\0" * size))
    raw = msgpack.packb({"a": msgpack.ExtType(1, body)})
    with pytest.raises(FormatError, match=r"a is|a has"):
        told(raw)


def test_hostile_archives(tmp_path):
    random, whole = Random(0), 0
    file, out = tmp_path / "in" / "w", tmp_path / "in" / "out"
    for _ in range(400):
        out.mkdir(parents=True)
        file.write_bytes(hostile_files.archive(random))
        with contextlib.suppress(FormatError):
            made = unpack(file, out)
            whole += 1
            assert made.parent == out and all(not p.is_symlink() for p in made.rglob("*"))
        assert {p.name for p in file.parent.iterdir()} == {"w", "out"}
        shutil.rmtree(file.parent)
    assert whole > 5 and not [*tmp_path.iterdir()]


# Pickles


class Calls:
    """Pickled as a call of anything."""

    def __init__(self, function, *arguments):
        self.made = function, arguments

    def __reduce__(self):
        return self.made


def refused(tmp_path, content: object, match: str) -> None:
    file = tmp_path / "w.pkl"
    file.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content))
    with pytest.raises(FormatError, match=match):
        open_weights(file, allow_pickle=True)


def test_a_pickle_calls_nothing(tmp_path):
    for call in (
        Calls(os.system, f"touch {tmp_path}/harm"),
        Calls(eval, f"open('{tmp_path}/harm', 'w')"),
        Calls(__import__, "os"),
        Calls(getattr, "text", "upper"),
        Calls(np.load, "x"),
        Calls(np.frombuffer, b"", "O"),
    ):
        refused(tmp_path, {"a": call}, "it asks for")
    assert not (tmp_path / "harm").exists()


def state_of(*state: object) -> bytes:
    """The pickle of an array with a state of one's own making."""
    multiarray = np.zeros(1).__reduce__()[0]

    class Odd:
        def __reduce__(self):
            return multiarray, (np.ndarray, (0,), b"b"), state

    return pickle.dumps({"a": Odd()}, protocol=4)


def test_arrays_of_pickles_are_not_made_by_numpy(tmp_path):
    f4 = np.dtype("f4")
    refused(tmp_path, state_of(1, (2**40,), f4, False, b"1234"), "4,398,046,511,104 bytes")
    refused(tmp_path, state_of(1, (-1,), f4, False, b"1234"), "a shape that no array has")
    refused(tmp_path, state_of(1, (1,), np.dtype("O"), False, [object]), "dtype 'O8'|asks for")
    refused(tmp_path, state_of(1, (1,), f4, False, ["x"]), "not an array of numbers")
    refused(tmp_path, state_of(1, (1,), "f4", False, b"1234"), "not an array of numbers")
    fields = np.dtype([("x", "f4")])
    refused(tmp_path, state_of(1, (1,), fields, False, b"1234"), "V4|fields")
    refused(tmp_path, {"a": np.array(["text"])}, "dtype")


@pytest.mark.parametrize(
    "content, match",
    [
        ({"a": "text"}, "a is str"),
        ({"a": b"bytes"}, "a is bytes"),
        ({"a": {1, 2}}, "a is set|asks for"),
        ({(1, 2): np.ones(1)}, "keys that are neither"),
        ({"a": 2**64}, "more than 64 bits"),
        (np.ones(2), "is one array"),
        (b"\x80\x04}", "damaged"),
        (pickle.dumps({}) + b"x", "there is more"),
        (b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f", "damaged|memory"),
        (b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f", "damaged|memory"),
        (b"\x80\x02cnumpy\nndarray\n}b.", "a state to what has none"),
        (b"\x80\x02\x82\x01.", "damaged"),
        (b"\x80\x02X\x01\x00\x00\x00aQ.", "outside of it"),
        (b"\x80\x02" + b"]" + b"]a" * 0 + b"q\x00h\x00a.", "nested too deep"),
    ],
)
def test_what_is_no_tree_of_arrays(tmp_path, content, match):
    refused(tmp_path, content, match)


@pytest.mark.slow
def test_a_pickle_that_grows_is_stopped(tmp_path):
    """Lists of lists: a kilobyte that stands for 2**60 numbers."""
    inner: object = 1
    for _ in range(60):
        inner = [inner, inner]
    refused(tmp_path, inner, "too deep, or has too many")


def test_a_pickle_that_takes_memory_is_stopped(tmp_path):
    refused(tmp_path, b"\x80\x02}r\xff\xff\xff\x7f.", "memory|damaged")  # a memo of 2**31 places


# Zips


def npz(tmp_path, member: bytes, name: str = "a.npy", **more: object):
    with zipfile.ZipFile(tmp_path / "w.npz", "w", **more) as file:  # type: ignore[arg-type]
        file.writestr(name, member)
    return tmp_path / "w.npz"


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def test_hostile_npz(tmp_path):
    whole = npy(np.arange(6.0))
    for raw, match in (
        (npy(np.array([object()])), "objects of Python"),
        (npy(np.zeros(2, "V2")), "lost its dtype"),
        (npy(np.zeros(2, "U3")), "dtype"),
        (whole[:-8], "another number of bytes"),
        (whole + b"0", "another number of bytes"),
        (whole.replace(b"(6,)", b"(9,)"), "another number of bytes"),
        (whole.replace(b"(6,)", b"(-6,)"[:4]), "cannot be read|shape"),
        (whole.replace(b"'<f8'", b"'<x8'"), "cannot be read"),
        (b"\x93NUMPY\x09\x00" + whole[8:], "cannot be read"),
        (b"", "cannot be read"),
    ):
        with pytest.raises(FormatError, match=match):
            open_weights(npz(tmp_path, raw))
    with pytest.raises(FormatError, match="which is no array"):
        open_weights(npz(tmp_path, whole, "../x"))
    file = npz(tmp_path, whole)
    raw = bytearray(file.read_bytes())
    raw[raw.index(whole) + len(whole) - 3] ^= 1
    file.write_bytes(raw)
    with pytest.raises(FormatError, match="CRC"):
        open_weights(file).read(("a",))


def test_a_zip_that_claims_too_much_takes_no_memory(tmp_path):
    header = npy(np.zeros(0)).replace(b"(0,), ", b"(%d,), " % 2**37)[:-1]
    header = header.replace(b"(137438953472,), }", b"(137438953472,), }")
    file = npz(tmp_path, header, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(FormatError):
        weights = open_weights(file)
        weights.read(("a",))
