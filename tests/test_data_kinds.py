"""Every kind of data from a recipe to the model: what is written, read, checked, and said."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jax
import netwright as nw
import numpy as np
import pytest
from netwright.ir.recipe_data import KINDS
from netwright.runtime.errors import RunError
from programs import ROOT, netwright

PAGE = (ROOT / "docs/data.md").read_text()

LINES = "one\ntwo\nthree\nfour\n" * 40
MODELS = {
    "windows": """
dims: B, S, V = 300, D = 4
loss l(tokens: int[B, S], targets: int[B, S], live: bool[B, S], place: int[B, S]):
    param w: [V, D] = normal(0.1)
    logits = dot[D](take[V](w, tokens) + 0.01 * expand[D](place), w)
    return mean[B, S](cross_entropy[V](logits, targets), where = live)
""",
    "digits": """
dims: B, Y = 4, X = 5, C = 3, N = 3
loss l(image: [B, Y, X, C], label: int[B]):
    param w: [Y, X, C, N] = normal(0.1)
    return mean[B](cross_entropy[N](dot[Y, X, C](image, w), label))
""",
    "table": """
dims: B, S, F = 2, V = 256, N = 2
loss l(size: [B, F], note: int[B, S], live: bool[B, S], count: int[B], good: bool[B], kind: int[B]):
    param w: [F, N] = normal(0.1)
    param v: [V, N] = normal(0.1)
    seen = mean[S](take[V](v, note), where = live) + dot[F](size, w) + expand[N](count + good)
    return mean[B](cross_entropy[N](seen, kind))
""",
}
RECIPES = {
    "text": (
        "windows",
        'separator = 32\nwindows = "each"\n'
        'fields = { live = "live", place = "position" }\n[sizes]\nS = 6',
    ),
    "tokens": (
        "windows",
        'dtype = "uint32"\nseparator = 10\nids = { tokens = "V" }\ncopy = false\n'
        'held_out = "held"\nfields = { live = "live", place = "position" }\n[sizes]\nS = 6',
    ),
    "arrays": ("digits", 'held_out = "held"\nscale = { image = 0.5 }\nids = { label = "N" }'),
    "images": (
        "digits",
        'held_out = "held"\nflip = true\ncrop = 1\nfit = "stretch"\nids = { label = "N" }',
    ),
    "table": (
        "table",
        'held_out = 3\nsplit = "stable"\nsplit_seed = 4\n'
        'fields = { size = ["x", "y"], note = "said", live = "said_live", count = "said_count" }\n'
        'columns = { said = "text", kind = "category" }\nids = { note = "V", kind = "N" }\n'
        "[sizes]\nS = 4",
    ),
}


def data_of(kind: str, path: Path) -> str:
    """Make data of a kind, to train on and held out; the name of the file."""
    rng = np.random.default_rng(0)
    path.mkdir()
    if kind == "text":
        (path / "a.txt").write_text(LINES.replace("\n", " "))
        return "a.txt"
    if kind == "tokens":
        for name in ("a.bin", "held"):
            np.frombuffer(LINES.encode(), np.uint8).astype(np.uint32).tofile(path / name)
        return "a.bin"
    if kind == "table":
        rows = [(i, -i, "word" * (i % 3), i % 2 == 0, "ab"[i % 2]) for i in range(20)]
        rows = [dict(zip(("x", "y", "said", "good", "kind"), row, strict=True)) for row in rows]
        (path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
        return "a.jsonl"
    for name, count in (("a", 9), ("held", 5)):
        pixels = rng.integers(0, 256, (count, 4, 5, 3), dtype=np.uint8)
        (path / name).mkdir()
        if kind == "arrays":
            np.save(path / name / "image.npy", pixels)
            np.save(path / name / "label.npy", np.arange(count) % 3)
            continue
        image = pytest.importorskip("PIL.Image")
        for index, array in enumerate(pixels):
            folder = path / name / "xyz"[index % 3]
            folder.mkdir(exist_ok=True)
            image.fromarray(array).save(folder / f"{index}.png")
    return "a"


def folder_of(kind: str, tmp_path: Path) -> Path:
    model, more = RECIPES[kind]
    file = data_of(kind, tmp_path / "data")
    more = more.replace('"held"', '"data/held"')
    (tmp_path / "model.nw").write_text(MODELS[model])
    (tmp_path / "recipe.toml").write_text(
        f'[data]\nkind = "{kind}"\nfile = "data/{file}"\n{more}\n[train]\nepochs = 2.5\nbatch = 4\n'
    )
    return tmp_path


@pytest.mark.parametrize("kind", RECIPES)
def test_each_kind_comes_from_a_recipe_to_the_model(kind, tmp_path):
    folder = folder_of(kind, tmp_path)
    program = nw.load(folder).compile()
    assert program.job.steps == -(-5 * program.data.examples // 8)
    batch = program.data.stream().next()
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), batch)
    jax.eval_shape(program.step, program.init(0), shapes)
    assert next(iter(program.data.held_out())).keys() == batch.keys()
    if kind == "images":
        assert "pillow" in (Path(program.model.__file__).parent / "requirements.txt").read_text()


def test_every_kind_is_tried_and_on_the_page():
    assert {*RECIPES, "pairs"} == set(KINDS)
    assert set(re.findall(r'^kind = "(\w+)"', PAGE, re.M)) == set(KINDS)


@pytest.mark.parametrize(
    "kind, change, said",
    [
        ("text", ("label", "live"), ""),
        ("text", ('live = "live"', 'live = "lively"'), 'error[recipe-choice]: live cannot be "liv'),
        ("text", ("separator = 32\n", ""), "live is offered only where a sep"),
        ("tokens", ("int[B, S], targets", "int[B], targets"), "tokens is int[B] in the model, but"),
        ("images", ("C = 3", "C = 2"), "with 2 channels; images have 1, 3 or 4"),
        ("images", ('"data/a"', '"data/a/x/0.png"'), "data/a/x/0.png is a file; images are a fol"),
        ("images", ('"data/a"', '"data/b"'), "there is no folder data/b"),
        ("arrays", ("flip", "flip"), ""),
        ("arrays", ("scale", "flip = true\nscale"), 'flip is for kind = "images"; this is kind'),
        ("arrays", ("scale", 'split = "end"\nscale'), "here they are a file of their own"),
        ("table", ('["x", "y"]', '["x", "z"]'), "data/a.jsonl has no column z, for the input size"),
        ("table", ('["x", "y"]', '["x"]'), "size is [B, F = 2] in the model, but takes 1 columns"),
        ("table", ('"said"', '"sad"'), "data/a.jsonl has no column sad"),
        (
            "table",
            ('note = "said"', 'note = "said_count"'),
            "note is int[B, S] in the model, but said_c",
        ),
        ("table", ("epochs = 2.5", "epochs = 2.5\nsteps = 9"), "say the same in two ways"),
        ("text", ("V = 300", "V = 110"), "line 1: byte 111 is outside the model's vocabulary of 1"),
        ("arrays", ('ids = { label = "N" }', "ids = { label = 4 }"), "knows 3 ids of label, not 4"),
        ("table", ("N = 2", "N = 1"), "column \"kind\": 'b' is one category too many"),
    ],
)
def test_what_is_said_before_anything_runs(kind, change, said, tmp_path):
    folder = folder_of(kind, tmp_path)
    for name in ("model.nw", "recipe.toml"):
        text = (folder / name).read_text()
        (folder / name).write_text(text.replace(*change))
    if not said:
        nw.load(folder).compile()
        return
    with pytest.raises(nw.InputError) as error:
        nw.load(folder).compile()
    assert said in str(error.value)


@pytest.mark.parametrize(
    "kind, change, said",
    [
        (
            "tokens",
            ("V = 300", "V = 117"),
            r"token \d+ is 119, outside the model's vocabulary of 117",
        ),
        ("arrays", ("N = 3", "N = 2"), "row 2 of 'label' in .*/label.npy|a holds 2, but 'label' m"),
        ("images", ("N = 3", "N = 2"), "has 3 classes, and the model knows 2"),
        ("table", ("V = 256", "V = 112"), "line 2, column \"said\": 119 is no id of 'note'"),
    ],
)
def test_ids_are_checked_against_the_model_where_the_recipe_has_none(kind, change, said, tmp_path):
    folder = folder_of(kind, tmp_path)
    recipe = (folder / "recipe.toml").read_text()
    (folder / "recipe.toml").write_text(re.sub(r"ids = \{.*\}", "", recipe))
    model = (folder / "model.nw").read_text()
    nw.load(folder).compile()
    (folder / "model.nw").write_text(model.replace(*change))
    with pytest.raises((nw.InputError, RunError), match=said):
        data = nw.load(folder).compile().data
        [data.batch(step) for step in range(9)]


@pytest.mark.parametrize(
    "kind, change, said, key",
    [
        ("images", ('"data/held"', '"data/a/x"'), "a/x has the classes none; in ", "held_out"),
        ("images", ('"data/held"', '"data/empty"'), "there is no image in ", "held_out"),
        ("images", ('"data/held"', "9"), "held_out = 9 asks for 9 of 9", "held_out"),
        ("images", ('"data/a"', '"data/empty"'), "there is no image in ", "file"),
        ("arrays", ('"data/held"', '"data/empty"'), "empty has no array 'image'", "held_out"),
        ("tokens", ('"data/held"', '"data/few"'), "few is too short: its part held", "held_out"),
        ("table", ("held_out = 3", 'held_out = "data/few"'), "few is empty", "held_out"),
    ],
)
def test_errors_point_at_the_key_that_is_wrong(kind, change, said, key, tmp_path):
    folder = folder_of(kind, tmp_path)
    (folder / "data/empty").mkdir()
    (folder / "data/few").write_text("")
    recipe = (folder / "recipe.toml").read_text().replace(*change)
    recipe = re.sub(r"split.*\n", "", recipe)
    (folder / "recipe.toml").write_text(recipe)
    line = next(n for n, row in enumerate(recipe.split("\n"), 1) if row.startswith(f"{key} ="))
    with pytest.raises(nw.InputError, match=re.escape(said)) as error:
        nw.load(folder).compile()
    assert f"recipe.toml:{line}:" in str(error.value)


def test_large_data_are_copied_only_if_asked_to(tmp_path, monkeypatch):
    monkeypatch.setattr("netwright.datafiles.MUCH", 100)
    folder = folder_of("arrays", tmp_path)
    with pytest.raises(nw.InputError, match="say whether each program gets a copy"):
        nw.load(folder).compile()
    text = (folder / "recipe.toml").read_text()
    for copy, count in (("true", 4), ("false", 0)):
        (folder / "recipe.toml").write_text(text.replace("scale", f"copy = {copy}\nscale"))
        program = nw.load(folder).compile()
        inside = Path(program.model.__file__).parent / "data"
        assert len([p for p in inside.rglob("*") if p.is_file()]) == count
        assert program.data.batch(0)["image"].shape == (4, 4, 5, 3)


def test_data_given_in_python(tmp_path):
    grain = pytest.importorskip("grain")
    folder = folder_of("arrays", tmp_path)
    (folder / "recipe.toml").write_text("[train]\nbatch = 4\nsteps = 2\n")
    with pytest.raises(nw.InputError, match=r"no table \[data\]"):
        nw.load(folder).compile()
    rows = [{"image": np.zeros((4, 5, 3), np.float32), "label": np.int32(1)} for _ in range(8)]
    dataset = grain.MapDataset.source(rows).shuffle(seed=0).repeat().batch(4)
    few = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
    program = nw.load(folder).compile(data=dataset.to_iter_dataset(few))
    stream = program.data.stream()
    assert stream.next()["label"].tolist() == [1] * 4
    jax.eval_shape(program.step, program.init(0), stream.next())
    assert "data" not in program.sources["train.py"].split("import", 3)[3].split("\n")[0]


@pytest.mark.slow
def test_a_run_on_a_tokenizer_stops_goes_on_and_speaks(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    (tmp_path / "folder").mkdir()
    folder = folder_of("text", tmp_path / "folder")
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=290, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator([LINES], trainer)
    made.save(str(folder / "data/tokenizer.json"))
    (folder / "model.nw").write_text("""
dims: B, S, V = 300, D = 8
model M(tokens: int[B, S]) -> [B, S, V]:
    param w: [V, D] = normal(0.1)
    return dot[D](take[V](w, tokens), w)
loss l(tokens: int[B, S], targets: int[B, S]):
    use m = M
    return mean[B, S](cross_entropy[V](m(tokens), targets))
""")
    (folder / "recipe.toml").write_text(
        '[data]\nkind = "text"\nfile = "data/a.txt"\ntokenizer = "data/tokenizer.json"\n'
        'windows = "each"\nids = { tokens = "V" }\n[sizes]\nS = 6\n[train]\nsteps = 8\nbatch = 4\n'
    )
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    netwright("train", folder, "--run", whole)
    netwright("train", folder, "--run", parts, "--steps", 3)
    netwright("resume", parts, "--steps", 8)
    losses = [
        [json.loads(line).get("loss") for line in (run / "metrics.jsonl").read_text().splitlines()]
        for run in (whole, parts)
    ]
    kept = [[loss for loss in found if loss is not None] for found in losses]
    assert kept[0][:3] == kept[1][:3] and kept[0][-2:] == kept[1][-2:]
    said = netwright("sample", whole, "--prompt", "three ", "--length", "12").stdout
    assert said.startswith("three ") and len(said) > 12
