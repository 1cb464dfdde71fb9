"""The graph of memory planners: what blocks of the gallery keep, as JAX keeps it."""

from __future__ import annotations

from collections import Counter
from functools import cache

import netwright as nw
import pytest
from memory_blocks import Blocks, kept_by_graph
from netwright.ir.diagnostics import InputError
from netwright.ir.plan import Mesh, Plan, Precision
from netwright.passes.memory.graph import backward, build, residuals
from programs import EXAMPLES, SMALL
from test_gallery import GALLERY as FOLDER
from test_gallery import SMALL as GALLERY

REPEATS = ("gpt2", "llama2", "llama3", "mistral", "gemma", "bert", "t5", "vit", "whisper")
REPEATS += ("resnet50", "mobilenet_v2", "efficientnet_lite0", "lstm_lm", "gru_seq2seq", "mixer")
QUICK = ("gpt2",)


@cache
def blocks(file: str, policy: str) -> Blocks:
    small = next(s for s in GALLERY if s.file == file)
    module = nw.load(FOLDER / f"{file}.nw", **small.sizes).module
    sizes = {}
    for value in module.instances[0].variants[0].inputs:
        for (dim,), size in zip(value.order, small.batch[value.label].shape, strict=True):
            if not dim.size.is_constant:
                sizes[str(dim.size)] = size
    return Blocks(module, Plan(sizes=tuple(sizes.items()), precision=Precision(policy)))


@pytest.mark.parametrize(
    ("file", "policy"),
    [
        pytest.param(f, p, marks=[pytest.mark.slow] * (f not in QUICK or p != "float32"))
        for f in REPEATS
        for p in ("float32", "float16")
    ],
)
def test_keeps_what_jax_keeps(file, policy):
    """By dtype, the bytes that the gradient of a block keeps; each array too, but for loops."""
    found = blocks(file, policy)
    for unit in found.units():
        ours, theirs = kept_by_graph(unit), found.kept_by_jax(unit)
        assert totals(ours) == totals(theirs), unit.path
        if all(node.unit is None for node in unit.values):
            assert ours == theirs, unit.path


def totals(counted: Counter) -> Counter:
    found: Counter = Counter()
    for (dtype, size), number in counted.items():
        found[dtype] += size * number
    return found


def shakespeare(plan: Plan):
    loaded = nw.load(EXAMPLES / "shakespeare" / "model.nw", **SMALL)
    return build(nw.driver.pipeline().run(loaded.module, plan), plan)


SIZES = (("B", 8), ("S", 16))


def test_one_block_whatever_the_depth():
    graph = shakespeare(Plan(sizes=SIZES))
    assert [(u.path, u.kind, u.copies) for u in graph.units] == [
        ("", "entry", 1),
        ("gpt.blocks", "repeat", 2),
    ]
    block = graph.unit("gpt.blocks")
    loop = next(v for v in graph.units[0].values if v.unit == 1)
    assert sum(b for _, b in loop.internals) >= 2 * sum(b for _, _, b in residuals(block))
    assert all(a < v.id for v in block.values for a in v.operands)


def test_keys_are_those_of_plans():
    from netwright.ir.plan import keys

    loaded = nw.load(EXAMPLES / "shakespeare" / "model.nw", **SMALL)
    table = keys(loaded.module)
    for unit in shakespeare(Plan(sizes=SIZES)).units:
        for node in unit.values:
            known = table["param" if node.kind == "param" else "value"]
            assert not node.key or node.key in known, node


def test_backward_of_nothing_saved_computes_all_that_is_needed_again():
    block = shakespeare(Plan(sizes=SIZES)).unit("gpt.blocks")
    nothing = backward(block, ())
    assert nothing.kept == ()
    # The last sum and the product before it: no gradient asks for them.
    last = block[block.results[0]]
    assert last.id not in nothing.recomputed
    everything = backward(block, range(len(block.values)))
    assert everything.flops < nothing.flops
    # What keeps something inside of it has to be computed again, even with its result at hand.
    softmax = next(v for v in block.values if v.op == "softmax")
    assert softmax.id in everything.recomputed


def test_per_device_and_microbatch():
    mesh = Mesh((("data", 2), ("model", 2)), (("B", ("data",)), ("G", ("model",))), ())
    whole, cut = shakespeare(Plan(sizes=SIZES)), shakespeare(Plan(sizes=SIZES, microbatches=2))
    spread = shakespeare(Plan(sizes=SIZES, mesh=mesh))
    scores = [
        next(v for v in g.unit("gpt.blocks").values if v.key.endswith("/scores:dot"))
        for g in (whole, cut, spread)
    ]
    assert scores[1].bytes * 2 == scores[0].bytes == 4 * 8 * 2 * 2 * 16 * 16
    product = spread.unit("gpt.blocks")[scores[2].root]  # under a mesh the key is the constraint's
    assert scores[2].bytes * 4 == scores[0].bytes and product.flops * 4 == scores[0].flops


def test_frozen_parameters_need_no_gradient():
    plan = Plan(sizes=SIZES)
    loaded = nw.load(EXAMPLES / "shakespeare" / "model.nw", **SMALL)
    module = nw.driver.pipeline().run(loaded.module, plan)
    block = build(module, plan, ["gpt.blocks", "gpt.embed"]).unit("gpt.blocks")
    assert not any(v.differentiated or v.keeps for v in block.values)
    part = build(module, plan, ["gpt.blocks.mlp.gate"]).unit("gpt.blocks")
    gate = next(v for v in part.values if v.key == "gpt.blocks.mlp.gate")
    assert not gate.differentiated


def test_sizes_must_be_bound():
    with pytest.raises(InputError, match="S has none"):
        shakespeare(Plan(sizes=(("B", 8),)))
