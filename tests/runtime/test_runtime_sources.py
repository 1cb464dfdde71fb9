"""Sources of tokens, images and tables: what batches hold, held to plain numpy, and messages."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from netwright.runtime import RunError, data
from netwright.runtime.files import RandomAccess
from netwright.runtime.order import permuted, split_rows


@settings(max_examples=200, deadline=None)
@given(
    count=st.integers(1, 3000),
    seed=st.integers(0, 2**63 - 1),
    index=st.integers(0, 2**40),
)
def test_a_permutation_in_constant_memory_is_one(count, seed, index):
    found = permuted(np.arange(count), count, seed=seed, stream=2, index=index)
    assert sorted(found.tolist()) == list(range(count))
    assert permuted(np.array([count - 1]), count, seed=seed, stream=2, index=index) == found[-1]


def test_permutations_are_different_and_even():
    """Each place is taken by each number about as often (chi squared, 15 degrees of freedom)."""
    many = np.array([permuted(np.arange(16), 16, seed=5, stream=2, index=i) for i in range(4000)])
    assert len({tuple(row) for row in many.tolist()}) > 3990
    for place in range(16):
        seen = np.bincount(many[:, place], minlength=16)
        assert ((seen - 250) ** 2 / 250).sum() < 45
    large = permuted(np.arange(10**6, 10**6 + 1000), 2**40 + 7, seed=1, stream=2, index=0)
    assert len(set(large.tolist())) == 1000 and large.max() < 2**40 + 7


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(2, 300),
    more=st.integers(0, 200),
    fraction=st.floats(0, 0.7),
    seed=st.integers(0, 2**62),
    split=st.sampled_from(["random", "end", "stable"]),
)
def test_splits_are_disjoint_and_stable_ones_stay_when_data_grow(
    count, more, fraction, seed, split
):
    try:
        training, held = split_rows(count, fraction, split, seed)
    except RunError:
        return  # all of a few rows were drawn
    assert sorted([*training.tolist(), *held.tolist()]) == list(range(count))
    if split == "stable":
        longer, longer_held = split_rows(count + more, fraction, split, seed)
        assert set(training.tolist()) <= set(longer.tolist())
        assert set(held.tolist()) <= set(longer_held.tolist())


# Windows


@pytest.fixture
def tokens(tmp_path):
    ids = np.random.default_rng(0).integers(0, 300, 1000).astype(np.uint16)
    ids.tofile(tmp_path / "ids.bin")
    np.save(tmp_path / "ids.npy", ids.astype(np.int64))
    return tmp_path, ids


@pytest.mark.parametrize("name", ["ids.bin", "ids.npy"])
@pytest.mark.parametrize("windows", ["random", "each"])
def test_tokens_are_those_of_the_file(tokens, name, windows):
    folder, ids = tokens
    source = data.Tokens(folder / name, length=9, batch=4, held_out=0.2, windows=windows)
    for step in (0, 1, 57):
        batch, starts = source.batch(step), source.ids(step)
        expected = ids[:800][starts[:, None] + np.arange(10)]
        assert np.array_equal(batch["tokens"], expected[:, :-1])
        assert np.array_equal(batch["targets"], expected[:, 1:])
        assert all(v.dtype == np.int32 and v.flags.owndata for v in batch.values())
    held = np.concatenate([b["tokens"].ravel() for b in source.held_out()])
    assert np.array_equal(held, ids[800 : 800 + 22 * 9])


def test_each_window_comes_once_an_epoch(tokens):
    folder, _ = tokens
    source = data.Tokens(folder / "ids.bin", length=7, batch=5, held_out=0, windows="each")
    assert source.examples == 142
    stream = np.concatenate([source.ids(step) for step in range(3 * 142 // 5 + 1)])
    epochs = [stream[142 * e : 142 * (e + 1)].tolist() for e in range(3)]
    assert all(sorted(epoch) == [7 * i for i in range(142)] for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_documents_are_told_apart(tmp_path):
    text = b"one.two is long.x.and the last"
    (tmp_path / "text").write_bytes(text * 2)
    fields = ("tokens", "targets", "document", "position", "live")
    source = data.Text(
        tmp_path / "text", length=20, batch=8, fields=fields, separator=".", held_out=0
    )
    batch = source.batch(3)
    for row in range(8):
        document, position = 0, 0
        for i in range(20):
            assert batch["document"][row, i] == document
            assert batch["position"][row, i] == position
            ends = batch["tokens"][row, i] == ord(".")
            assert batch["live"][row, i] == (not ends)
            document, position = (document + 1, 0) if ends else (document, position + 1)
    assert {n: (v.shape, str(v.dtype)) for n, v in batch.items()} == source.shapes


def test_another_file_is_held_out(tmp_path):
    (tmp_path / "a").write_bytes(b"a" * 100)
    (tmp_path / "b").write_bytes(b"b" * 50)
    source = data.Text(tmp_path / "a", length=10, batch=4, held_out=tmp_path / "b")
    assert (source.batch(0)["tokens"] == ord("a")).all()
    held = np.concatenate([batch["targets"] for batch in source.held_out()])
    assert held.shape == (4, 10) and (held == ord("b")).all()
    before = source.fingerprint
    (tmp_path / "b").write_bytes(b"c" * 50)
    again = data.Text(tmp_path / "a", length=10, batch=4, held_out=tmp_path / "b")
    assert again.fingerprint != before


def test_a_file_that_is_cut_off_is_an_error_and_no_crash(tokens):
    folder, _ = tokens
    source = data.Tokens(folder / "ids.bin", length=9, batch=64, held_out=0)
    with open(folder / "ids.bin", "r+b") as file:
        file.truncate(500)
    with pytest.raises(RunError, match="has become shorter"):
        source.batch(0)


def test_fingerprints_of_large_files_see_their_ends(tmp_path, monkeypatch):
    monkeypatch.setattr("netwright.runtime.files.WHOLE", 100)
    monkeypatch.setattr("netwright.runtime.files.BLOCK", 10)
    path = tmp_path / "large"
    path.write_bytes(bytes(5000))
    before = RandomAccess(path).fingerprint()
    for place in (0, 4999):
        content = bytearray(5000)
        content[place] = 1
        path.write_bytes(content)
        assert RandomAccess(path).fingerprint() != before


@pytest.mark.parametrize(
    "options, message",
    [
        ({"dtype": "uint32"}, None),
        ({"dtype": "float32"}, "dtype = 'float32'"),
        ({"path": "ids.bin", "vocabulary": 100}, r"token \d+ is \d+, outside the model's voc"),
        ({"path": "odd.bin"}, "has 7 bytes of tokens, which are not 3 times 2"),
        ({"path": "two.npy"}, r"float64 \[2, 3\]: token ids are whole numbers in one"),
        ({"path": "bad.npy"}, "is not a .npy file"),
        ({"windows": "all"}, "windows = 'all': it can be random or each"),
        ({"fields": ("tokens", "targets", "live")}, "'live' asks where documents end"),
        ({"separator": "<eos>"}, "as there is no tokenizer"),
        ({"held_out": 0.001}, "its part held out has 1 tokens"),
    ],
)
def test_mistakes_in_tokens(tokens, options, message):
    folder, _ = tokens
    (folder / "odd.bin").write_bytes(b"1234567")
    np.save(folder / "two.npy", np.zeros((2, 3)))
    (folder / "bad.npy").write_bytes(b"1234567")
    given = {"length": 9, "batch": 4, **options}
    path = folder / given.pop("path", "ids.bin")
    if message is None:
        assert data.Tokens(path, **given).batch(0)["tokens"].max() > 300
        return
    with pytest.raises(RunError, match=message):
        data.Tokens(path, **given).batch(0)


# Tokenizers


@pytest.fixture
def words(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token=None))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<end>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    text = "the cat sat on the mat, and the bat on the cat. Ünïcödé 😀\n" * 20
    made.train_from_iterator([text], trainer)
    made.enable_padding(length=500)
    made.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "text").write_text(text)
    return tmp_path, text, made


def test_text_by_a_tokenizer(words):
    folder, text, made = words
    made.no_padding()
    source = data.Text(
        folder / "text", length=5, batch=4, held_out=0, tokenizer=folder / "tokenizer.json"
    )
    expected = np.array(made.encode(text).ids)
    starts = source.ids(2)
    assert np.array_equal(
        source.batch(2)["tokens"], expected[starts[:, None] + np.arange(5)].astype(np.int32)
    )
    assert source.speaks.size == made.get_vocab_size()
    ids = source.speaks.encode(text[:200]).tolist()
    decode = source.speaks.decoder(ids[:3])
    assert made.decode(ids[:3]) + "".join(decode(i) for i in ids[3:]) == text[:200]
    with pytest.raises(RunError, match=f"This tokenizer needs one of {source.speaks.size}"):
        data.Text(
            folder / "text", length=5, batch=4, tokenizer=folder / "tokenizer.json", vocabulary=9
        )
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(RunError, match="is no tokenizer of the package tokenizers"):
        data.Text(folder / "text", length=5, batch=4, tokenizer=folder / "tokenizer.json")


# Images


@pytest.fixture
def pictures(tmp_path):
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (12, 6, 8, 3), dtype=np.uint8)
    for index, array in enumerate(pixels):
        folder = tmp_path / "train" / "abc"[index % 3]
        folder.mkdir(parents=True, exist_ok=True)
        image.fromarray(array).save(folder / f"{index:02}.png")
    (tmp_path / "train/a/notes.txt").write_text("no image")
    return tmp_path / "train", pixels


def test_images_are_those_of_the_files(pictures):
    folder, pixels = pictures
    source = data.Images(folder, size=(6, 8), channels=3, batch=5, held_out=0.25)
    assert source.classes == ["a", "b", "c"] and "1 other files" in source.summary()
    order = [i for c in range(3) for i in range(c, 12, 3)]  # by folder, then by name
    for step in (0, 1, 9):
        rows = [order[i] for i in source.ids(step)]
        batch = source.batch(step)
        assert np.allclose(batch["image"], pixels[rows] / 255, atol=1e-7)
        assert batch["label"].tolist() == [row % 3 for row in rows]
        assert {n: (v.shape, str(v.dtype)) for n, v in batch.items()} == source.shapes
    assert sum(len(b["label"]) for b in source.held_out()) == 3


def test_augmentation_is_a_function_of_seed_and_step(pictures):
    folder, _ = pictures
    given = dict(size=(6, 8), channels=3, batch=64, held_out=0, fields=("image",))
    plain = data.Images(folder, **given)
    source = data.Images(folder, flip=True, crop=2, **given)
    once, again = source.batch(3)["image"], data.Images(folder, flip=True, crop=2, **given)
    again.batch(0)
    assert np.array_equal(once, again.batch(3)["image"])
    assert not np.array_equal(once, again.batch(4)["image"])
    shifts, flips = set(), 0
    for row, whole in zip(once, plain.batch(3)["image"], strict=True):
        padded = np.pad(whole, [(2, 2), (2, 2), (0, 0)])
        mirrored = np.pad(whole[:, ::-1], [(2, 2), (2, 2), (0, 0)])
        found = [
            (flip, y, x)
            for flip, image in enumerate((padded, mirrored))
            for y in range(5)
            for x in range(5)
            if np.array_equal(row, image[y : y + 6, x : x + 8])
        ]
        assert len(found) == 1
        flips += found[0][0]
        shifts.add(found[0][1:])
    assert 16 < flips < 48 and len(shifts) > 15
    held = data.Images(folder, **{**given, "held_out": 6}, flip=True, crop=2)
    still = data.Images(folder, **{**given, "held_out": 6})
    pairs = zip(held.held_out(), still.held_out(), strict=True)
    assert all(np.array_equal(a["image"], b["image"]) for a, b in pairs)


def test_images_of_other_shapes_and_modes(pictures, tmp_path):
    from PIL import Image, ImageOps

    folder, pixels = pictures
    crop = data.Images(folder, size=(4, 4), batch=12, held_out=0, fields=("image",))
    stretch = data.Images(
        folder, size=(4, 4), batch=12, held_out=0, fields=("image",), fit="stretch"
    )
    order = [i for c in range(3) for i in range(c, 12, 3)]
    for source, fitted in (
        (crop, lambda i: ImageOps.fit(i, (4, 4), Image.Resampling.BILINEAR)),
        (stretch, lambda i: i.resize((4, 4), Image.Resampling.BILINEAR)),
    ):
        for row, index in zip(source.batch(0)["image"], source.ids(0), strict=True):
            expected = fitted(Image.fromarray(pixels[order[index]]).convert("L"))
            assert np.allclose(row, np.asarray(expected) / 255, atol=1e-7)


def test_not_all_decoded_images_need_fit_in_memory(pictures, monkeypatch):
    folder, _ = pictures
    given = dict(size=(6, 8), batch=5, held_out=3)
    kept = data.Images(folder, **given).batch(4)
    monkeypatch.setattr("netwright.runtime.images.KEPT", 0)
    anew = data.Images(folder, **given).batch(4)
    assert all(np.array_equal(kept[name], anew[name]) for name in kept)


def test_mistakes_in_images(pictures, tmp_path):
    from PIL import Image

    folder, pixels = pictures

    def fails(message, path=folder, **options):
        with pytest.raises(RunError, match=message):
            source = data.Images(path, **{"size": (6, 8), "batch": 64, **options})
            source.batch(0)

    fails("is not there", path=tmp_path / "nowhere")
    fails("has 3 classes, and the model knows 2", classes=2)
    flat = tmp_path / "flat"
    flat.mkdir()
    fails("there is no image in", path=flat)
    Image.fromarray(pixels[0]).save(flat / "x.png")
    fails("offers no label", path=flat)
    fails("has the classes none; in .* they are a, b, c", held_out=flat)
    (flat / "y.png").write_bytes((flat / "x.png").read_bytes()[:80])
    fails("the image .*y.png cannot be decoded", path=flat, fields=("image",), held_out=0)
    (flat / "inner").mkdir()
    fails("holds both folders", path=flat)
    Image.fromarray(np.zeros((6, 8), np.uint16)).save(folder / "a/00.png")
    fails("00.png has more than 8 bits a channel", held_out=0)


# Tables

CSV = """name,x,y,good,"a note"
tom,1.5,3,true,meow
"ann, b",-2,4,false,"two
lines"
tom,0,5,1,ö
"""
ROWS = [
    {"name": "tom", "x": 1.5, "y": 3, "good": True, "a note": "meow", "v": [1, 2]},
    {"name": "ann, b", "x": -2, "y": 4, "good": False, "a note": "two\nlines", "v": [3, 4]},
    {"name": "tom", "x": 0, "y": 5, "good": True, "a note": "ö", "v": [5, 6]},
]
FIELDS = {
    "who": "name",
    "both": ["x", "y"],
    "y": "y",
    "good": "good",
    "note": "a note",
    "live": "a note_live",
    "count": "a note_count",
}
OPTIONS = {
    "fields": FIELDS,
    "batch": 3,
    "dtypes": {"both": "float32", "y": "int32", "good": "bool"},
    "columns": {"name": "category", "a note": "text"},
    "lengths": {"a note": 6},
    "held_out": 0,
}


@pytest.fixture
def tables(tmp_path):
    (tmp_path / "a.csv").write_text(CSV)
    (tmp_path / "a.tsv").write_text("\ufeffx\ty\r\n1\t2\r\n\r\n3\t4\r\n")
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in ROWS) + "\n\n")
    return tmp_path


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_columns_of_all_kinds(tables, name):
    source = data.Table(tables / name, **OPTIONS)
    batch = source.batch(0)
    rows = source.ids(0).tolist()
    assert source.categories == {"name": ["ann, b", "tom"]}
    assert batch["who"].tolist() == [[1, 0, 1][row] for row in rows]
    assert batch["both"].tolist() == [[[1.5, 3], [-2, 4], [0, 5]][row] for row in rows]
    assert batch["y"].tolist() == [[3, 4, 5][row] for row in rows]
    assert batch["good"].tolist() == [[True, False, True][row] for row in rows]
    notes = [ROWS[row]["a note"].encode() for row in rows]
    for row, note in enumerate(notes):
        count = min(len(note), 6)
        assert batch["count"][row] == count
        assert batch["live"][row].tolist() == [i < count for i in range(6)]
        assert bytes(batch["note"][row].tolist()) == note[:6].ljust(6, b"\0")
    assert "1 texts are cut" in source.summary()
    assert {n: (v.shape, str(v.dtype)) for n, v in batch.items()} == source.shapes


def test_lists_in_json_and_other_delimiters(tables):
    source = data.Table(tables / "a.jsonl", fields={"v": "v"}, batch=3, held_out=0)
    rows = source.ids(0)
    assert np.array_equal(source.batch(0)["v"], np.array([[1, 2], [3, 4], [5, 6]])[rows])
    source = data.Table(tables / "a.tsv", fields={"x": "x"}, batch=2, held_out=0, scale={"x": 0.5})
    assert sorted(source.batch(0)["x"].tolist()) == [0.5, 1.5]


def test_categories_are_those_of_the_first_file(tables):
    (tables / "b.csv").write_text("name,x,y,good,a note\ntom,1,2,1,a\n")
    source = data.Table(tables / "a.csv", **{**OPTIONS, "held_out": tables / "b.csv"})
    (held,) = source.held_out()
    assert held["who"].tolist() == [1] and held["note"][0].tolist() == [97, 0, 0, 0, 0, 0]
    (tables / "b.csv").write_text("name,x,y,good,a note\ntim,1,2,1,a\n")
    with pytest.raises(RunError, match=r"'tim' is not among the categories of a.csv, 'ann, b', 't"):
        data.Table(tables / "a.csv", **{**OPTIONS, "held_out": tables / "b.csv"})


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("b.csv", "name,x\n", "b.csv has no rows"),
        ("b.csv", "x,y\n1,2\n", 'has no column "z".\nIt has: x, y'),
        ("b.csv", "z,z\n1,2\n", 'line 1: the column "z" stands there twice'),
        ("b.csv", "z,y\n1,2\n\n1\n", "line 4: 1 values, but the first line names 2"),
        ("b.csv", "z\n1\ntwo\n", r'line 3, column "z": expected a number, found "two"; a cat'),
        ("b.csv", 'y,z\n"1\n1",2\n3,\n', r'line 4, column "z": there is no value'),
        ("b.csv", "z\nnan\n", "expected a number"),
        ("b.csv", "z\n1e999\n", "expected a number"),
        ("b.csv", "z\n1e39\n", 'line 2, column "z": "1e39" is more than float32 holds'),
        ("b.csv", 'z\n"1\n', "line 2: unexpected end of data"),
        ("b.jsonl", '{"z": 1}\n{"z": "1"\n', "line 2: not JSON"),
        ("b.jsonl", '{"z": 1}\n[1]\n', "line 2: expected an object in braces, found \\[1\\]"),
        ("b.jsonl", '{"z": 1}\n{"y": 1}\n', 'line 2, column "z": there is no value'),
        ("b.jsonl", '{"z": [1]}\n{"z": [1, 2]}\n', 'line 2, column "z": expected a list of 1'),
        ("b.jsonl", '{"z": {"a": 1}}\n', 'line 1, column "z": expected a number, found {"a": 1}'),
        ("b.jsonl", "[" * 100_000, "line 1: not JSON"),
        ("b.jsonl", '{"z": 1, "z": 2}\n', 'line 1: not JSON: "z" is a key twice'),
        ("b.csv", "", "b.csv is empty"),
    ],
)
def test_mistakes_in_tables_are_told_with_their_place(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(RunError, match=message):
        data.Table(tmp_path / name, fields={"z": "z"}, batch=1, held_out=0)


def test_half_a_character_in_a_text_is_told_with_its_place(tmp_path):
    (tmp_path / "b.jsonl").write_text('{"z": "fine"}\n{"z": "\\ud83d"}\n')
    with pytest.raises(RunError, match=r'line 2, column "z": \\ud83d is half of a character'):
        data.Table(
            tmp_path / "b.jsonl", fields={"z": "z"}, columns={"z": "text"}, lengths={"z": 4},
            batch=1, held_out=0,
        )  # fmt: skip


def test_ids_and_whole_numbers_of_tables_are_checked(tables):
    with pytest.raises(RunError, match=r'line 5, column "y": 5 is no id of \'y\', which may be'):
        data.Table(tables / "a.csv", **OPTIONS, sizes={"y": 5})
    many = (
        r'line 2, column "name": \'tom\' is one category too many: \'who\' takes 1, and a.csv has 2'
    )
    with pytest.raises(RunError, match=many + ", 'ann, b', 'tom'"):
        data.Table(tables / "a.csv", **OPTIONS, sizes={"who": 1})
    with pytest.raises(
        RunError, match=r'line 3, column "a note": 9 is no id of \'count\', which m'
    ):
        options = {**OPTIONS, "lengths": {"a note": 20}}
        data.Table(tables / "a.csv", **options, sizes={"count": 9, "note": 256})
    with pytest.raises(RunError, match=r'line 5, column "a note": 195 is no id'):
        data.Table(tables / "a.csv", **OPTIONS, sizes={"note": 128})
    with pytest.raises(RunError, match=r"expected a whole number, found \"1.5\""):
        data.Table(tables / "a.csv", fields={"x": "x"}, dtypes={"x": "int32"}, batch=1)


# Arrays


@pytest.mark.parametrize(
    "array, held",
    [
        (np.array([0, np.inf, -1e39]), r"holds -1e\+39, which is more than float32"),
        (np.array([0, 1, 2**31]), "holds 2147483648, which is more than int32"),
        (np.array([0, 1, 2**31], np.uint32), "holds 2147483648, which is more than int32"),
    ],
)
def test_numbers_that_would_not_arrive(tmp_path, array, held):
    np.savez(tmp_path / "a.npz", x=array)
    with pytest.raises(RunError, match=f"row 2 of 'x' in .*a.npz {held}"):
        data.Arrays(tmp_path / "a.npz", fields={"x": "x"}, batch=1, held_out=0)
    if array.dtype.kind != "f":  # as float32 it does
        scaled = {"fields": {"x": "x"}, "scale": {"x": 1.0}, "batch": 3, "held_out": 0}
        batch = data.Arrays(tmp_path / "a.npz", **scaled).batch(0)
        assert batch["x"].max() == 2**31


def test_a_folder_of_arrays_and_another_one_held_out(tmp_path):
    for name, count in (("train", 9), ("test", 4)):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "x.npy", np.arange(2 * count).reshape(count, 2))
        np.save(tmp_path / name / "y.npy", np.arange(count) + 100 * (name == "test"))
        np.save(tmp_path / name / "unused.npy", np.zeros(7))
    source = data.Arrays(
        tmp_path / "train", fields={"x": "x", "y": "y"}, batch=9, held_out=tmp_path / "test"
    )
    batch = source.batch(0)
    assert sorted(batch["y"].tolist()) == list(range(9))
    assert np.array_equal(batch["x"][:, 0], 2 * batch["y"])
    (held,) = source.held_out()
    assert held["y"].tolist() == [100, 101, 102, 103]
    with pytest.raises(RunError, match=r"has no array 'z'.*\nIt has: unused, x, y"):
        data.Arrays(tmp_path / "train", fields={"z": "z"}, batch=9)
    one = data.Arrays(tmp_path / "train/y.npy", fields={"i": "y"}, batch=3, held_out=3, split="end")
    assert next(one.held_out())["i"].tolist() == [6, 7, 8]
