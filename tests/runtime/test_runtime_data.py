"""Data sources: batches are a function of seed and step, and errors say what to do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from netwright.runtime import RunError, data
from netwright.runtime.order import split_rows
from netwright.runtime.source import Examples

PAIRS = "cat\tK AE T\nat\tAE T\ntact\tT AE K T\nact\tAE K T\n"


@pytest.fixture
def pairs(tmp_path):
    (tmp_path / "said.txt").write_text(PAIRS)
    return tmp_path / "said.txt"


def equal(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


class TestText:
    def test_targets_are_the_tokens_moved_on_by_one(self, text):
        source = data.Text(text, length=16, batch=8)
        batch = source.batch(5)
        content = text.read_bytes()
        for tokens, targets in zip(batch["tokens"], batch["targets"], strict=True):
            window = bytes([*tokens.tolist(), int(targets[-1])])
            assert window in content
            assert targets.tolist()[:-1] == tokens.tolist()[1:]
        assert {n: (v.shape, str(v.dtype)) for n, v in batch.items()} == source.shapes
        assert (source.unit, source.units) == ("tokens", 128)

    def test_a_batch_is_a_function_of_seed_and_step(self, text):
        one, two = data.Text(text, length=16, batch=8), data.Text(text, length=16, batch=8)
        late = one.batch(900)
        one.batch(0)
        assert equal(late, two.batch(900))
        assert not equal(late, one.batch(901))
        assert not equal(late, data.Text(text, length=16, batch=8, seed=1).batch(900))

    def test_the_bits_never_change(self, text):
        """A run that is resumed years later, under another numpy, sees the same windows."""
        batch = data.Text(text, length=4, batch=3, seed=5).batch(17)
        assert batch["tokens"].tolist() == [
            [114, 32, 116, 104],
            [116, 104, 101, 32],
            [101, 101, 112, 32],
        ]

    def test_batches_share_no_memory(self, text):
        source = data.Text(text, length=16, batch=8)
        kept = source.batch(3)
        copy = {name: value.copy() for name, value in kept.items()}
        source.batch(4)
        assert equal(kept, copy)
        assert all(value.flags.owndata and value.flags.writeable for value in kept.values())
        assert not any(np.shares_memory(source.batch(3)[name], kept[name]) for name in kept)

    def test_training_never_sees_what_is_held_out(self, tmp_path):
        path = tmp_path / "text"
        path.write_bytes(b"a" * 900 + b"b" * 100)
        source = data.Text(path, length=50, batch=64, held_out=0.1)
        for step in range(20):
            batch = source.batch(step)
            assert (batch["tokens"] == ord("a")).all() and (batch["targets"] == ord("a")).all()
        assert all((batch["tokens"] == ord("b")).all() for batch in source.held_out())

    def test_held_out_windows_follow_one_another_to_the_end(self, tmp_path):
        path = tmp_path / "text"
        path.write_bytes(bytes(range(200)))
        source = data.Text(path, length=7, batch=4, held_out=0.5)
        batches = list(source.held_out())
        assert [len(batch["tokens"]) for batch in batches] == [4, 4, 4, 2]
        tokens = np.concatenate([batch["tokens"].ravel() for batch in batches])
        targets = np.concatenate([batch["targets"].ravel() for batch in batches])
        assert tokens.tolist() == list(range(100, 198))
        assert targets.tolist() == list(range(101, 199))

    def test_every_window_can_come(self, tmp_path):
        path = tmp_path / "text"
        path.write_bytes(bytes(range(10)))
        source = data.Text(path, length=4, batch=64, held_out=0)
        starts = {int(t) for step in range(5) for t in source.batch(step)["tokens"][:, 0]}
        assert starts == set(range(6))
        assert list(source.held_out()) == []

    def test_names_and_fingerprint(self, text):
        source = data.Text(text, fields={"x": "tokens", "y": "targets"}, length=16, batch=8)
        assert set(source.batch(0)) == {"x", "y"}
        same = data.Text(text, fields={"x": "tokens", "y": "targets"}, length=16, batch=8)
        assert source.fingerprint == same.fingerprint
        text.write_text(text.read_text() + ".")
        assert source.fingerprint != data.Text(text, length=16, batch=8).fingerprint


FIELDS = {"image": "x", "label": "y"}


class TestArrays:
    def test_types_and_scale(self, npz):
        path, x, _ = npz
        source = data.Arrays(path, fields=FIELDS, batch=5, scale={"image": 1 / 16}, held_out=10)
        batch = source.batch(0)
        assert batch["image"].dtype == np.float32 and batch["image"].max() <= 1
        assert batch["label"].dtype == np.int32
        assert {n: (v.shape, str(v.dtype)) for n, v in batch.items()} == source.shapes
        assert any(np.allclose(batch["image"][0] * 16, row) for row in x)

    @pytest.mark.parametrize("held_out, count", [(10, 10), (0.25, 15), (0, 0), (0.0, 0)])
    def test_split(self, npz, held_out, count):
        path, x, _ = npz
        source = data.Arrays(path, fields=FIELDS, batch=7, held_out=held_out)
        held = [row.tobytes() for batch in source.held_out() for row in batch["image"]]
        assert len(held) == count
        seen = {row.tobytes() for step in range(20) for row in source.batch(step)["image"]}
        assert len(seen) == 60 - count and not seen & set(held)
        assert len(seen | set(held)) == len(x)

    def test_splits_differ_by_seed_only(self, npz):
        def held(seed):
            source = data.Arrays(npz[0], fields=FIELDS, batch=60, held_out=10, seed=seed)
            return next(source.held_out())

        assert equal(held(1), held(1)) and not equal(held(1), held(2))

    @pytest.mark.parametrize(
        "options, message",
        [
            ({"fields": {"image": "z"}}, "has no array 'z'.*\nIt has: x, y"),
            ({"held_out": 60}, "at least one must be left"),
            ({"held_out": 1.5}, "less than 1"),
            ({"batch": 0}, "batch = 0"),
            ({"seed": -1}, "seed = -1"),
            ({"scale": {"picture": 2}}, "scale names the field 'picture'"),
            ({"sizes": {"label": 5}}, "row .* of 'y'.*'label' may only be 0 to 4"),
            ({"path": "nowhere.npz"}, "no data file nowhere.npz"),
        ],
    )
    def test_errors(self, npz, options, message):
        given = {"path": npz[0], "fields": FIELDS, "batch": 4, **options}
        with pytest.raises(RunError, match=message):
            data.Arrays(given.pop("path"), **given)

    def test_files_that_are_something_else(self, tmp_path):
        path = tmp_path / "a.npz"
        path.write_text("no")
        with pytest.raises(RunError, match=r"not a .npz file"):
            data.Arrays(path, fields=FIELDS, batch=4)
        np.savez(path, x=np.zeros(3), y=np.zeros(4))
        with pytest.raises(RunError, match=r"as many rows: x has 3, y has 4"):
            data.Arrays(path, fields=FIELDS, batch=4)
        np.savez(path, x=np.array([{}], dtype=object), y=np.zeros(1))
        with pytest.raises(RunError, match=r"plain arrays"):
            data.Arrays(path, fields=FIELDS, batch=4)
        np.save(tmp_path / "b.npy", np.zeros(3))
        (tmp_path / "b.npy").rename(path)
        with pytest.raises(RunError, match=r"not a .npz file"):
            data.Arrays(path, fields=FIELDS, batch=4)
        (tmp_path / "c.npy").write_bytes(path.read_bytes()[:-1])
        with pytest.raises(RunError, match=r"c.npy is not a .npy file"):
            data.Arrays(tmp_path / "c.npy", fields={"x": "c"}, batch=4)


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 40),
    batch=st.integers(1, 50),
    seed=st.integers(0, 2**62),
    held_out=st.integers(0, 39),
    split=st.sampled_from(["random", "end"]),
)
def test_every_epoch_sees_every_example_once(count, batch, seed, held_out, split):
    held_out = min(held_out, count - 1)
    columns = {"id": np.arange(count)}
    rows = split_rows(count, held_out, split, seed)
    source = Examples(columns, rows, batch=batch, seed=seed)
    training = count - held_out
    stream = np.concatenate([source.batch(s)["id"] for s in range(3 * training // batch + 1)])
    epochs = [stream[e * training : (e + 1) * training] for e in range(3)]
    assert all(len(set(epoch.tolist())) == len(epoch) for epoch in epochs)
    assert set(epochs[0].tolist()) == set(epochs[1].tolist())
    held = [i for part in source.held_out() for i in part["id"].tolist()]
    assert sorted([*held, *epochs[0].tolist()]) == list(range(count))


class TestPairs:
    def test_ids_padding_and_marks(self, pairs):
        source = data.Pairs(
            pairs,
            batch=4,
            fields=[
                "source",
                "source_live",
                "source_count",
                "target_in",
                "target_out",
                "target_live",
            ],
            held_out=0,
        )
        assert source.source_symbols == ["<pad>", "a", "c", "t"]
        assert source.target_symbols == ["<pad>", "<start>", "<end>", "AE", "K", "T"]
        batch = source.batch(0)
        row = batch["source"].tolist().index([2, 1, 3, 0])  # cat
        assert batch["source_live"][row].tolist() == [True, True, True, False]
        assert batch["source_count"][row] == 3
        assert batch["target_in"][row].tolist() == [1, 4, 3, 5, 0]
        assert batch["target_out"][row].tolist() == [4, 3, 5, 2, 0]
        assert batch["target_live"][row].tolist() == [True, True, True, True, False]
        assert {n: (v.shape, str(v.dtype)) for n, v in batch.items()} == source.shapes
        assert source.encode_source("tac").tolist() == [[3, 1, 2, 0]]

    def test_lengths_and_names(self, pairs):
        source = data.Pairs(
            pairs, batch=2, fields={"word": "source"}, source_length=3, target_length=8, held_out=1
        )
        assert source.batch(0)["word"].shape == (2, 3)
        assert "1 left out" in source.summary()
        assert len(next(source.held_out())["word"]) == 1

    @pytest.mark.parametrize(
        "content, options, message",
        [
            ("cat K AE T\n", {}, "line 1: expected a source, one tab"),
            ("cat\tK\n\ndog\tD\tG\n", {}, "line 3"),
            ("\n", {}, "holds no pairs"),
            (PAIRS, {"source_vocabulary": 3}, "4 source ids.*knows 3"),
            (PAIRS, {"target_vocabulary": 5}, "6 target ids.*knows 5"),
            (PAIRS, {"fields": ["sauce"]}, "asks for 'sauce'; a pair offers source"),
            (PAIRS, {"source_length": 1}, "no pair of .* fits"),
        ],
    )
    def test_errors(self, tmp_path, content, options, message):
        path = tmp_path / "pairs.txt"
        path.write_text(content)
        with pytest.raises(RunError, match=message):
            data.Pairs(path, batch=2, **options)

    def test_not_utf8(self, tmp_path):
        path = tmp_path / "pairs.txt"
        path.write_bytes(b"a\tb\n\xff\tc\n")
        with pytest.raises(RunError, match=r"line 2: not UTF-8"):
            data.Pairs(path, batch=2)


@pytest.mark.parametrize(
    "content, options, message",
    [
        (None, {}, "no data file .*\nPut it there"),
        (b"short", {}, "too short: its part to train on has 5 bytes"),
        (b"long enough" * 9, {"held_out": 0.1}, "too short: its part held out"),
        (b"long\nen\xf3ugh" * 9, {"held_out": 0, "vocabulary": 128}, "line 2: byte 243"),
        (b"long enough" * 9, {"held_out": 1}, "less than 1"),
        (b"long enough" * 9, {"length": 0}, "length = 0"),
    ],
)
def test_text_errors(tmp_path, content, options, message):
    if content is not None:
        (tmp_path / "text").write_bytes(content)
    with pytest.raises(RunError, match=message):
        data.Text(tmp_path / "text", **{"length": 16, "batch": 2, "held_out": 0, **options})
