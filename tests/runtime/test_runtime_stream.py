"""Streams: every example exactly once, wherever a run is stopped and on however many processes."""

from __future__ import annotations

import json
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from netwright.runtime import RunError, data
from netwright.runtime.prefetch import Prefetch
from netwright.runtime.stream import Steps, of_all


def equal(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """One source of each kind, with 4 rows in a batch."""
    folder = tmp_path_factory.mktemp("sources")
    rng = np.random.default_rng(0)
    rng.integers(0, 99, 500).astype(np.uint16).tofile(folder / "ids.bin")
    (folder / "text").write_bytes(rng.integers(32, 99, 500).astype(np.uint8).tobytes())
    np.savez(folder / "a.npz", x=rng.normal(size=(23, 3)), y=np.arange(23))
    (folder / "a.csv").write_text(
        "x,note\n" + "".join(f"{i},{'abc' * (i % 4)}\n" for i in range(23))
    )
    (folder / "pairs").write_text("".join(f"{'ab' * (1 + i % 3)}\tX Y\n" for i in range(23)))
    made = {
        "text": data.Text(folder / "text", length=5, batch=4),
        "windows": data.Text(folder / "text", length=5, batch=4, windows="each"),
        "tokens": data.Tokens(folder / "ids.bin", length=5, batch=4, windows="each"),
        "arrays": data.Arrays(folder / "a.npz", fields={"x": "x", "y": "y"}, batch=4),
        "table": data.Table(
            folder / "a.csv",
            fields={"x": "x", "note": "note", "live": "note_live"},
            columns={"note": "text"},
            lengths={"note": 6},
            batch=4,
        ),
        "pairs": data.Pairs(folder / "pairs", batch=4),
    }
    try:
        from PIL import Image
    except ImportError:
        return made
    (folder / "images/one").mkdir(parents=True)
    for index in range(9):
        pixels = rng.integers(0, 256, (4, 5), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"images/one/{index}.png")
    made["images"] = data.Images(folder / "images", size=(4, 5), batch=4, flip=True, crop=1)
    return made


KINDS = ["text", "windows", "tokens", "arrays", "table", "pairs", "images"]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12, deadline=None)
@given(stops=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=5), more=st.data())
def test_exactly_once_at_every_resume_point(sources, kind, stops, more):
    """Runs of some steps, each killed with some batches prefetched, on 1, 2 or 4 processes."""
    if kind not in sources:
        pytest.skip("Pillow is not installed")
    source, taken, state = sources[kind], [], {"step": 0}
    for steps, ahead in [*stops, (3, 2)]:
        processes = more.draw(st.sampled_from([1, 2, 4]))
        rows = [slice(4 * p // processes, 4 * (p + 1) // processes) for p in range(processes)]
        streams = [Prefetch(source.stream(part), lambda batch: batch, ahead + 1) for part in rows]
        for stream in streams:
            stream.set_state(json.loads(json.dumps(state)))
        for _ in range(steps):
            parts = [stream.next() for stream in streams]
            taken.append({name: np.concatenate([p[name] for p in parts]) for name in parts[0]})
        states = [stream.get_state() for stream in streams]
        assert all(s == states[0] for s in states)
        state = states[0]
        for stream in streams:
            stream.close()
    for step, batch in enumerate(taken):
        assert equal(batch, source.batch(step))
    assert state == {"step": len(taken)}


# Prefetching


class Counted:
    """Batches 0, 1, …; the ones named in `fails` cannot be read the first time."""

    def __init__(self, fails=(), seconds=0.0):
        self.step, self.made, self.fails, self.seconds = 0, [], set(fails), seconds

    def next(self):
        time.sleep(self.seconds)
        if self.step in self.fails:
            self.fails.remove(self.step)
            raise RunError(f"batch {self.step} cannot be read")
        self.made.append(self.step)
        self.step += 1
        return {"step": np.array([self.step - 1])}

    def get_state(self):
        return {"step": self.step}

    def set_state(self, state):
        self.step = state["step"]


def until(condition):
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert condition()


def test_batches_are_made_ahead_but_not_too_many():
    stream = Counted()
    ahead = Prefetch(stream, lambda batch: int(batch["step"][0]), 4)
    assert stream.made == []
    assert ahead.peek() == 0 and ahead.peek() == 0 and ahead.get_state() == {"step": 0}
    until(lambda: len(stream.made) == 4)
    assert ahead.next() == 0 and ahead.get_state() == {"step": 1}
    time.sleep(0.05)
    assert stream.made == [0, 1, 2, 3]  # more than half are ready still
    assert ahead.next() == 1
    until(lambda: len(stream.made) == 6)
    time.sleep(0.05)
    assert stream.made == [0, 1, 2, 3, 4, 5]
    ahead.close()
    assert stream.get_state() == {"step": 2}
    assert [ahead.next() for _ in range(3)] == [2, 3, 4]
    ahead.set_state({"step": 70})
    assert ahead.next() == 70
    ahead.close()
    assert not any(t.name.startswith("data") for t in threading.enumerate())


def test_of_large_batches_two_are_made_ahead():
    stream = Counted()
    plain = stream.next
    stream.next = lambda: {**plain(), "image": np.zeros(2**20, np.uint8)}
    ahead = Prefetch(stream, lambda batch: int(batch["step"][0]))
    assert [ahead.next() for _ in range(3)] == [0, 1, 2]
    until(lambda: len(stream.made) == 5)
    time.sleep(0.05)
    assert stream.made == [0, 1, 2, 3, 4]
    ahead.close()


def test_errors_come_where_their_batch_would_have_and_nothing_is_lost():
    ahead = Prefetch(Counted(fails=[2]), lambda batch: int(batch["step"][0]))
    assert [ahead.next(), ahead.next()] == [0, 1]
    with pytest.raises(RunError, match="batch 2 cannot be read"):
        ahead.next()
    assert ahead.get_state() == {"step": 2}
    assert [ahead.next(), ahead.next()] == [2, 3]  # the disk is there again
    ahead.close()


def test_an_error_while_putting_is_one_too():
    def put(batch):
        raise RunError("does not divide")

    ahead = Prefetch(Counted(), put)
    with pytest.raises(RunError, match="does not divide"):
        ahead.peek()


def test_a_state_of_other_data_is_refused():
    stream = Steps(data.Source())
    for state in ({}, {"step": -1}, {"step": "7"}, {"step": True}, {"bytes": "x"}):
        with pytest.raises(RunError, match="cannot go on from"):
            stream.set_state(state)


# Loaders of others


def grain_data(kind, shard=0, shards=1, rows=8):
    grain = pytest.importorskip("grain")
    if kind == "dataset":
        dataset = grain.MapDataset.source([{"id": i} for i in range(22)])
        dataset = dataset.shuffle(seed=3).repeat()[shard::shards]
        few = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
        return dataset.batch(rows // shards, drop_remainder=True).to_iter_dataset(few)
    sampler = grain.samplers.IndexSampler(
        22,
        shuffle=True,
        seed=3,
        num_epochs=9,
        shard_options=grain.sharding.ShardOptions(shard, shards, drop_remainder=True),
    )
    return grain.DataLoader(
        data_source=[{"id": i} for i in range(22)],
        sampler=sampler,
        operations=[grain.transforms.Batch(rows // shards, drop_remainder=True)],
        worker_count=0,
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dataset", "loader"])
@settings(max_examples=5, deadline=None)
@given(stops=st.lists(st.integers(0, 4), max_size=3), shards=st.sampled_from([1, 2]))
def test_loaders_of_grain_go_on_where_they_were(kind, stops, shards):
    batches = [slice(8 * shard // shards, 8 * (shard + 1) // shards) for shard in range(shards)]
    plain = [iter(grain_data(kind, shard, shards)) for shard in range(shards)]
    sources = [data.Loader(grain_data(kind, shard, shards), batch=8) for shard in range(shards)]
    assert all(source.shapes == {"id": ((8,), "int64")} for source in sources)
    state = None
    for steps in [*stops, 2]:
        pairs = zip(sources, batches, strict=True)
        streams = [Prefetch(source.stream(rows), lambda batch: batch) for source, rows in pairs]
        for stream in streams if state else ():
            stream.set_state(json.loads(json.dumps(state)))
        for _ in range(steps):
            for stream, expected in zip(streams, plain, strict=True):
                assert equal(stream.next(), next(expected))
        state = of_all([stream.get_state() for stream in streams])
        for stream in streams:
            stream.close()
    with pytest.raises(RunError, match="Start as many processes as before"):
        sources[0].stream(slice(4, 6)).set_state(state)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dataset", "loader"])
def test_loaders_that_give_whole_batches_go_on_on_any_number_of_processes(kind):
    plain, state = iter(grain_data(kind)), None
    for processes in (2, 1, 4, 2):
        streams = [
            data.Loader(grain_data(kind), batch=8, whole=True).stream(slice(first, first + each))
            for each in [8 // processes]
            for first in range(0, 8, each)
        ]
        for stream in streams:
            if state:
                stream.set_state(json.loads(json.dumps(state)))
        for _ in range(3):
            found = [stream.next()["id"] for stream in streams]
            assert np.array_equal(np.concatenate(found), next(plain)["id"])
        state = of_all([stream.get_state() for stream in streams])
        assert not state.keys() & {"each", "rows"}


def test_mistakes_with_loaders():
    with pytest.raises(RunError, match="list gives iterators that do not tell where they are"):
        data.Loader([{"x": np.zeros(2)}], batch=2)
    source = data.Loader(grain_data("loader"), batch=16)
    with pytest.raises(RunError, match="gives 8 rows of 'id', where this process takes 16"):
        source.stream().next()
    with pytest.raises(RunError, match=r"one after the other: stream = data.stream\(\)"):
        source.batch(0)
    source = data.Loader(grain_data("loader"), batch=8)
    stream = source.stream()
    with pytest.raises(RunError, match="the place of other data"):
        stream.set_state({"step": 3})
    with pytest.raises(RunError, match="does not go on from where it was"):
        stream.set_state({"bytes": "no"})
    with pytest.raises(RunError, match=r"has no batch after 2\d of them here.\nHave it"):
        for _ in range(30):
            stream.next()
    grain = pytest.importorskip("grain")
    with pytest.raises(
        RunError, match=r"must be a mapping from the model's inputs to arrays; .* int"
    ):
        data.Loader(grain.MapDataset.source([1, 2]).to_iter_dataset(), batch=2)
