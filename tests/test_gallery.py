"""The gallery: published parameter counts at full size, a few steps of training at a small one."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import gallery_references
import jax
import netwright as nw
import numpy as np
import optax
import pytest
from netwright import driver
from netwright.backend.model import ModelWriter
from netwright.ir.census import census
from netwright.ir.plan import Plan
from netwright.runtime.step import build
from programs import EXAMPLES

GALLERY = EXAMPLES / "gallery"
LINES = 90  # of a file, at most
STEPS = 12


@dataclass(frozen=True)
class Published:
    """A model as its authors published it.

    Attributes:
        file: in the gallery, without its ending.
        parameters: how many there are, of the entry.
        source: where that number is from.
        sizes: those that are not the file's own.
        states: how many numbers are kept beside the parameters.
        entry: the loss or model; by default the file's last loss.
    """

    file: str
    parameters: int
    source: str
    sizes: Mapping[str, Any] = field(default_factory=dict)
    states: int = 0
    entry: str | None = None


@dataclass(frozen=True)
class Small:
    """A model as it trains here: other sizes, and a batch that fits them."""

    file: str
    sizes: Mapping[str, Any]
    batch: Mapping[str, np.ndarray]


def bools(*shape: int) -> np.ndarray:
    """A mask, of which the first of each row is true."""
    mask = np.random.default_rng(0).random(shape) < 0.6
    mask[..., 0] = True
    return mask


def ids(below: int, *shape: int) -> np.ndarray:
    """Random ids."""
    return np.random.default_rng(below).integers(0, below, shape).astype(np.int32)


def floats(*shape: int) -> np.ndarray:
    """Random normal numbers."""
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def gru(width: int, units: int) -> int:
    """Parameters of a GRU, with two biases for its new state."""
    return 3 * units * (width + units + 1) + units


PUBLISHED = [
    Published("gpt2", 124_439_808, "transformers, GPT2LMHeadModel of openai-community/gpt2"),
    Published("llama2", 6_738_415_616, "transformers, LlamaForCausalLM of Llama-2-7b"),
    Published(
        "llama2",
        68_976_648_192,
        "transformers, LlamaForCausalLM of Llama-2-70b",
        {"L": 80, "D": 8192, "F": 28672, "G": 8, "R": 8},
    ),
    Published("llama3", 8_030_261_248, "model card of meta-llama/Llama-3.1-8B"),
    Published(
        "llama3",
        70_553_706_496,
        "model card of meta-llama/Llama-3.1-70B",
        {"L": 80, "D": 8192, "F": 28672, "R": 8},
    ),
    Published(
        "llama3",
        405_853_388_800,
        "model card of meta-llama/Llama-3.1-405B",
        {"L": 126, "D": 16384, "F": 53248, "R": 16},
    ),
    Published("mistral", 7_241_732_096, "model card of mistralai/Mistral-7B-v0.1"),
    Published("gemma", 2_506_172_416, "model card of google/gemma-2b"),
    Published(
        "gemma",
        8_537_680_896,
        "model card of google/gemma-7b",
        {"L": 28, "D": 3072, "F": 24576, "G": 16, "R": 1},
    ),
    Published("bert", 109_482_240, "transformers, BertModel of bert-base-uncased", entry="BERT"),
    Published("bert", 110_106_428, "transformers, BertForPreTraining of bert-base-uncased"),
    Published("t5", 60_506_624, "transformers, T5ForConditionalGeneration of t5-small"),
    Published("vit", 86_567_656, "torchvision, vit_b_16"),
    Published("whisper", 37_184_640, "openai/whisper, the model tiny"),
    Published("mixer", 59_880_472, "timm, mixer_b16_224"),
    Published("resnet18", 11_689_512, "torchvision, resnet18", states=9_600),
    Published("resnet50", 25_557_032, "torchvision, resnet50", states=53_120),
    Published("mobilenet_v2", 3_504_872, "torchvision, mobilenet_v2", states=34_112),
    Published("efficientnet_lite0", 4_652_008, "timm, efficientnet_lite0", states=42_016),
    Published("unet", 35_746_307, "diffusers, UNet2DModel of google/ddpm-cifar10-32"),
    Published("vae", 652_824, "PyTorch's example vae"),
    Published("lstm_lm", 66_022_000, "Zaremba et al. 2014, the large model: 66 million"),
    Published(
        "lstm_lm", 19_775_200, "Zaremba et al. 2014, the medium model: 20 million", {"H": 650}
    ),
    Published(
        "gru_seq2seq",
        2 * 30000 * 620
        + 2 * (gru(620, 500) + gru(1000, 500)) + gru(620, 1000) + gru(1000, 1000)
        + 1000 * 1000 + 2000 * 1000 + 1000 * 30000 + 30000,
        "the sizes of Bahdanau et al. 2015; two layers, and attention as in Luong et al. 2015",
    ),
]  # fmt: skip

TINY = {"V": 20, "L": 2, "D": 16, "F": 24, "K": 8}
TEXT = {"tokens": ids(20, 2, 6), "targets": ids(20, 2, 6)}
PHOTOS = {"image": floats(4, 32, 32, 3), "label": ids(5, 4)}
THIN = {"Y": 32, "X": 32, "N": 5}
NARROW = {
    **THIN, "C0": 8, "C1": 4, "C2": 4, "C3": 4, "C4": 8, "C5": 8, "C6": 8, "C7": 12, "D": 16,
    "L4": 1, "L5": 1, "L6": 1, "drop": 0.0,
}  # fmt: skip
IMAGES = {"image": floats(2, 8, 12, 3), "label": ids(5, 2)}
SMALL = [
    Small(
        "gpt2",
        {"V": 20, "Ctx": 8, "L": 2, "D": 16, "G": 2},
        TEXT,
    ),
    Small("llama2", {**TINY, "G": 2}, TEXT),
    Small("llama3", {**TINY, "G": 2, "R": 2, "context": 200}, TEXT),
    Small("mistral", {**TINY, "G": 2, "R": 2, "window": 3}, TEXT),
    Small("gemma", {**TINY, "R": 2}, TEXT),
    Small(
        "bert",
        {"V": 20, "Ctx": 8, "L": 2, "D": 16, "G": 2, "drop": 0.0},
        {
            **TEXT,
            "segments": ids(2, 2, 6),
            "live": bools(2, 6),
            "hidden": bools(2, 6),
            "follows": ids(2, 2),
        },
    ),
    Small(
        "t5", {**TINY, "G": 2, "drop": 0.0}, {**TEXT, "source": ids(19, 2, 5), "live": bools(2, 5)}
    ),
    Small(
        "vit",
        {"P": 4, "Y": 8, "X": 12, "L": 2, "D": 16, "G": 2, "Classes": 5, "drop": 0.0},
        IMAGES,
    ),
    Small(
        "whisper",
        {"V": 20, "Ctx": 8, "L": 2, "N": 2, "D": 16, "G": 2, "Mel": 4, "Frame": 12},
        {**TEXT, "audio": floats(2, 12, 4)},
    ),
    Small("resnet18", {**THIN, "W": 4}, PHOTOS),
    Small("resnet50", {**THIN, "W": 4, "L1": 1, "L2": 1, "L3": 1, "L4": 1}, PHOTOS),
    Small("mobilenet_v2", {**NARROW, "L3": 1}, PHOTOS),
    Small("efficientnet_lite0", NARROW, PHOTOS),
    Small(
        "unet",
        {"Y": 16, "X": 16, "W": 8, "groups": 2, "Step": 20, "drop": 0.0},
        {"image": floats(2, 16, 16, 3), "step": ids(20, 2), "noise": floats(2, 16, 16, 3)},
    ),
    Small("vae", {"P": 60, "H": 32, "Z": 3}, {"image": bools(4, 60).astype(np.float32)}),
    Small("lstm_lm", {"V": 20, "L": 3, "H": 16, "drop": 0.0}, TEXT),
    Small(
        "gru_seq2seq",
        {"V": 19, "W": 20, "E": 6, "H": 8, "drop": 0.0},
        {
            "source": ids(19, 2, 5),
            "live": np.arange(5) < np.array([[5], [3]]),
            "target": ids(20, 2, 4),
            "next": ids(20, 2, 4),
            "next_live": np.arange(4) < np.array([[4], [2]]),
        },
    ),
    Small(
        "mixer", {"P": 4, "Y": 8, "X": 12, "L": 2, "D": 16, "F": 24, "M": 8, "Classes": 5}, IMAGES
    ),
]
QUICK = ("gpt2", "lstm_lm")  # trained in the fast tier, the others in the slow one


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Most of the time goes into compiling, and nothing here is timed: compile as it is."""
    name = "jax_disable_most_optimizations"
    before = jax.config.read(name)
    jax.config.update(name, True)
    yield
    jax.config.update(name, before)


def program(model: nw.Model) -> ModuleType:
    """The emitted `model.py` of a model, without a recipe."""
    plan = Plan()
    emitted = ModuleType(model.module.name)
    text = ModelWriter(driver.compile_module(model.module, plan), plan, "model.nw").write()
    exec(compile(text, "model.py", "exec"), emitted.__dict__)
    return emitted


def page() -> str:
    """The gallery's page: what there is, and how large."""
    lines = [
        "# Gallery",
        "",
        "Models as they were published, from one file each. `netwright check` proves their shapes, "
        "`netwright show --parameters` lists what they hold:",
        "",
        "    netwright show examples/gallery/gpt2.nw --parameters",
        "    netwright show examples/gallery/llama3.nw --parameters --set L=126 --set D=16384 "
        "--set F=53248 --set R=16",
        "",
        "The table is written by `python -m pytest tests/test_gallery.py --update-golden`, which "
        "also counts the parameters and trains each model for a few steps at a small size.",
        "",
        "| model | what it is | lines | parameters | where the number is from |",
        "|---|---|--:|--:|---|",
    ]
    for p in PUBLISHED:
        text = (GALLERY / f"{p.file}.nw").read_text()
        what = " ".join(text.split('"""')[1].strip().split("\n\n")[0].split())
        sizes = ", ".join(f"{n} = {s}" for n, s in p.sizes.items())
        name = f"[{p.file}]({p.file}.nw)" + (f", {sizes}" if sizes else "")
        count = len(text.splitlines())
        lines.append(f"| {name} | {what} | {count} | {p.parameters:,} | {p.source} |")
    return "\n".join(lines) + "\n"


def test_the_page_is_up_to_date(update_golden):
    path = GALLERY / "README.md"
    if update_golden:
        path.write_text(page())
    assert path.read_text() == page()


def test_every_file_is_in_both_tables():
    files = {path.stem for path in GALLERY.glob("*.nw")}
    assert files == {p.file for p in PUBLISHED} == {s.file for s in SMALL}


@pytest.mark.parametrize("published", PUBLISHED, ids=lambda p: f"{p.file}-{p.parameters}")
def test_parameters_as_published(published):
    model = nw.load(GALLERY / f"{published.file}.nw", published.entry, **published.sizes)
    found = census(model.module)
    assert found.parameters == published.parameters
    assert found.states == published.states
    assert "B" in model.module.free  # proven for batches of every size


@pytest.mark.parametrize("path", sorted(GALLERY.glob("*.nw")), ids=lambda path: path.stem)
def test_short_and_documented(path):
    text = path.read_text()
    assert text.startswith('"""') and len(text.splitlines()) <= LINES


@pytest.mark.parametrize(
    "small", [s for s in SMALL if hasattr(gallery_references, s.file)], ids=lambda s: s.file
)
def test_equals_its_reference(small):
    """What the model gives, with random parameters, is what plain numpy gives."""
    emitted = program(nw.load(GALLERY / f"{small.file}.nw", **small.sizes))
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(emitted.init_params, jax.random.key(0))
    params = jax.tree.map(lambda a: 0.5 * rng.normal(size=a.shape), shapes)
    wanted = getattr(gallery_references, small.file)(params, small.batch, small.sizes)
    params = jax.tree.map(np.float32, params)
    found = jax.jit(emitted.predict)(params, {}, small.batch)
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).max() <= 1e-5 * np.abs(theirs).max()


@pytest.mark.parametrize(
    ("file", "deviations"),
    [
        (
            "gpt2",
            {
                "gpt.body.blocks.attn.query": 0.02,
                "gpt.body.blocks.attn.out": 0.02 / math.sqrt(2 * 3),
                "gpt.body.blocks.mlp.down.kernel": 0.02 / math.sqrt(2 * 3),
            },
        ),
        (
            "t5",
            {
                "t5.decoder.cross.attn.query": 1 / math.sqrt(64 * 16),
                "t5.decoder.cross.attn.key": 1 / math.sqrt(64),
            },
        ),
    ],
)
def test_starts_as_published(file, deviations):
    """The standard deviations that the authors' code draws with, of three blocks of width 64."""
    sizes = {"V": 20, "L": 3, "D": 64, "G": 4, "K": 16, "F": 64}
    emitted = program(nw.load(GALLERY / f"{file}.nw", **sizes))
    drawn = jax.jit(emitted.init_params)(jax.random.key(0))
    for path, deviation in deviations.items():
        values = functools.reduce(lambda tree, name: tree[name], path.split("."), drawn)
        assert np.std(values) == pytest.approx(deviation, rel=0.05), path


@pytest.mark.parametrize(
    "small",
    [pytest.param(s, id=s.file, marks=[pytest.mark.slow] * (s.file not in QUICK)) for s in SMALL],
)
def test_trains(small):
    """The loss falls on a batch seen again and again, and every parameter takes part in that."""
    model = nw.load(GALLERY / f"{small.file}.nw", **small.sizes)
    trained = build(program(model), optax.adam(1e-2))
    state = trained.init(0)
    before = jax.tree.map(np.array, state.params)  # a copy: the step donates its state
    losses = []
    for _ in range(STEPS):
        state, metrics = trained.step(state, small.batch)
        total, count = metrics["loss"]
        losses.append(float(total / count))
    # What never has a gradient stays what it is, exactly.
    moved = jax.tree.map(lambda a, b: np.any(a != np.array(b)), before, state.params)
    assert not [jax.tree_util.keystr(p) for p, m in jax.tree.leaves_with_path(moved) if not m]
    assert np.all(np.isfinite(losses)) and losses[-1] < 0.9 * losses[0], losses
