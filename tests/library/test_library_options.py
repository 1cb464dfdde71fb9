"""No layer of the library has an option, a value of one, or a pair of values without a case."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fnmatch import fnmatchcase

import pytest
import test_library_attention
import test_library_core
import test_library_norm
import test_library_recurrent
import test_library_transformer
import test_library_vision
from library_cases import Layer
from library_options import GIVEN, LEFT, Pair, all_pairs, coverage, knobs, library

TABLES: dict[str, list[Layer]] = {}
for one in (
    *test_library_core.LAYERS,
    *test_library_norm.LAYERS,
    *test_library_attention.LAYERS,
    test_library_attention.PAIRS,
    *test_library_transformer.LAYERS,
    *test_library_vision.LAYERS,
    *test_library_recurrent.LAYERS,
):
    TABLES.setdefault(one.name, []).append(one)

LAYERS = {"recurrent.Level": "what Stacked is made of: every case of more than one level has it"}
VALUES = {
    ("vision.Residual", "pad", "valid"): "the second convolution keeps the size",
    ("vision.Bottleneck", "pad", "valid"): "the way around is a `same` convolution or none",
}
# Pairs that no case can have: the layer, two knobs with their values, and why. Stars match all.
PAIRS = (
    ("attention.Attention", "T", LEFT, "where", GIVEN, "an array would have S twice"),
    ("attention.Attention", "T", LEFT, "bias", GIVEN, "an array would have S twice"),
    ("attention.Rotary", "factor", "4.0", "scaling", "none", "an error: nothing is slowed down"),
    ("recurrent.*", "State", LEFT, "cell", "recurrent.[GR]*", "it is 2, and these cells keep one"),
    ("recurrent.ConvLSTM", "K?", "*", "pad", "valid", "of windows of 1 only: sizes are kept"),
    ("recurrent.ConvLSTM", "K?", "*", "pad", "(1, 0)", "of windows of 2 only: sizes are kept"),
    ("recurrent.ConvLSTM", "K?", "*", "pad", "1", "of windows of 3 only: sizes are kept"),
    ("vision.*", "?o", LEFT, "stride", "[2(]*", "what is left out keeps its size"),
    ("vision.*", "?o", LEFT, "pad", "valid", "what is left out keeps its size"),
    ("vision.*", "?o", LEFT, "?o", GIVEN, "arrows are given in order"),
)  # fmt: skip


def excused(name: str, pair: Pair) -> set[int]:
    """Which of the reasons above say that a pair cannot be."""
    return {
        number
        for number, (layer, *wanted, _) in enumerate(PAIRS)
        for one, other in (pair, pair[::-1])
        if all(map(fnmatchcase, (name, *one, *other), (layer, *wanted)))
    }


def problems(name: str, tables: Iterable[Layer]) -> tuple[list[str], set[int]]:
    """What the cases of a layer lack, and which reasons why it may were needed."""
    values, met = coverage(tables)
    found, used = [], set()
    for knob, about in knobs(name).items():
        for value in sorted(about.missing(values.get(knob, ()))):
            if (name, knob, value) not in VALUES:
                found.append(f"{name}: no case has {knob} = {value}")
    for pair in all_pairs(values):
        if pair in met:
            continue
        reasons = excused(name, pair)
        used |= reasons
        if not reasons:
            (a, v), (b, w) = pair
            found.append(f"{name}: no case has {a} = {v} with {b} = {w}")
    return found, used


def test_every_layer_has_cases():
    assert set(library()) == set(TABLES) | set(LAYERS)


@pytest.mark.slow
def test_every_pair_of_values_of_options_has_a_case():
    found, used = [], set()
    for name, tables in TABLES.items():
        lacking, reasons = problems(name, tables)
        found += lacking
        used |= reasons
    assert not found, "\n".join(found)
    assert used == set(range(len(PAIRS))), "reasons that nothing needs"


def test_what_has_no_case_is_found():
    """A default, another value, a word that an op takes, a dim with a default, and a pair."""
    (linear,) = TABLES["core.Linear"]
    options = {**linear.options, "bias": ("true",), "init": linear.options["init"][:2]}
    assert problems("core.Linear", [replace(linear, options=options)])[0] == [
        "core.Linear: no case has bias = false"
    ]
    (upsample,) = TABLES["vision.Upsample"]
    options = {**upsample.options, "method": ("nearest", "linear")}
    found, _ = problems("vision.Upsample", [replace(upsample, options=options)])
    assert found == ["vision.Upsample: no case has method = cubic"]
    (lora,) = TABLES["core.LoRA"]
    found, _ = problems("core.LoRA", [replace(lora, options={**lora.options, "Rank": (1, 3)})])
    assert found == ["core.LoRA: no case has Rank = left out"]
    norm = TABLES["norm.LayerNorm"][0]
    apart = replace(norm, valid=lambda o: o["scale"] or o["bias"])
    found, _ = problems("norm.LayerNorm", [apart])
    assert found == ["norm.LayerNorm: no case has bias = false with scale = false"]
