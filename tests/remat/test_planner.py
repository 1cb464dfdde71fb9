"""The search for what to keep, beside brute force and beside Checkmate."""

from __future__ import annotations

import inspect
import random
from dataclasses import replace
from itertools import combinations
from types import SimpleNamespace

import checkmate
import netwright as nw
import optax
import pytest
from netwright import driver
from netwright.ir.hardware import hardware
from netwright.ir.plan import Plan
from netwright.passes.memory.graph import Unit, backward, build
from netwright.passes.memory.model import Training
from netwright.passes.planner import advice
from netwright.passes.planner.frontier import frontier, stock
from netwright.passes.planner.milp import Search
from netwright.passes.planner.problem import Problem, problem
from programs import EXAMPLES
from residuals import loaded
from skip_graphs import drawn, most, planned, proven, whole

GALLERY = EXAMPLES / "gallery"
NAMES = 11
BUDGETS = 16
TEXT = {"B": 2, "S": 64}
EXPERTS = """
dims:
    B, S
    D = 32, F = 64, E = 4, N = 2, L = 2

layer Experts[S, D, F, E, N](x: [..., S, D]) -> [..., S, D]:
    param route: [D, E] = normal(0.1)
    param up: [E, D, F] = normal(0.1)
    param down: [E, F, D] = normal(0.1)
    probs = softmax[E](dot[D](x, route))
    weight, choice = top_k[E -> N](probs)
    gate = sum[N](one_hot[E](choice) * weight)
    y = dot[F](silu(dot[D](x, up)), down)
    return x + dot[E](y, gate)

model Net(x: [B, S, D]) -> [B, S, D]:
    use blocks = repeat[L] Experts
    return blocks(x)

loss fit(x: [B, S, D]):
    use net = Net
    return mean[B, S, D](square(net(x)))
"""
BLOCKS = {
    "mlp": ("mixer", "net.body.blocks", {"B": 2}, {}),
    "mha": ("gpt2", "gpt.body.blocks", TEXT, {"D": 64, "L": 2, "G": 4, "V": 99}),
    "gqa": ("llama3", "llama.body.blocks", TEXT, {"D": 64, "F": 96, "K": 8, "G": 2, "L": 2}),
    "convolution": ("resnet50", "net.stage1.rest", {"B": 2}, {}),
    "lstm": ("lstm_lm", "lm.body.above", TEXT, {"H": 32, "L": 3, "V": 99}),
    "experts": (None, "net.blocks", TEXT, {}),
}  # fmt: skip


def unit(name: str, **sizes: int) -> Unit:
    file, path, bound, settings = BLOCKS[name]
    module = loaded(EXPERTS) if file is None else nw.load(GALLERY / f"{file}.nw", **settings).module
    plan = Plan(sizes=tuple({**bound, **sizes}.items()))
    graph = build(driver.compile_module(module, plan), plan)
    found = [u for u in graph.units if u.kind == "repeat"]
    return next((u for u in found if u.path == path), found[0])


def few(question: Problem, names: int, seed: int) -> Problem:
    """A problem with some of its candidates, among them the largest."""
    by_size = sorted(question.candidates, key=lambda c: (not c.given, -c.bytes))
    rest = by_size[names // 2 :]
    chosen = by_size[: names // 2] + random.Random(seed).sample(
        rest, min(len(rest), names - names // 2)
    )
    return replace(question, candidates=tuple(c for c in question.candidates if c in chosen))


def subsets(question: Problem):
    keys = [c.key for c in question.candidates]
    for size in range(len(keys) + 1):
        for chosen in combinations(keys, size):
            yield chosen, question.outcome(chosen)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n == "convolution")) for n in BLOCKS]
)
def test_the_search_is_exact(name):
    """Least time, and of the sets that take it the fewest bytes, as among all subsets."""
    question = few(problem(unit(name), replace(hardware("h100"), host_link=0)), NAMES, seed=0)
    compare(question, [outcome for _, outcome in subsets(question)])


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n != "gqa")) for n in BLOCKS]
)
def test_the_search_is_exact_with_the_memory_of_the_host(name):
    """Each of fewer names kept, moved or made again; a link that is fast enough to be of use."""
    question = few(problem(unit(name), replace(hardware("h100"), host_link=1e12)), 6, seed=0)
    assert any(c.given for c in question.candidates) or name == "lstm"
    every = []
    for moved, _ in subsets(question):
        rest = [c for c in question.candidates if c.key not in moved and not c.given]
        if all(c.moving for c in question.candidates if c.key in moved):
            kept = subsets(replace(question, candidates=tuple(rest)))
            every += [question.outcome(keys, moved) for keys, _ in kept]
    compare(question, every)
    least = Search(question).best(min(o.peak for o in every))
    assert least is not None and least[1]


def compare(question: Problem, every: list) -> None:
    """The search, at budgets between the least and the largest peak, beside all there is."""
    peaks = sorted({o.peak for o in every})
    search = Search(question)
    assert search.best(peaks[0] * 999 // 1000) is None
    for index in range(BUDGETS):
        budget = peaks[0] + (peaks[-1] - peaks[0]) * index // (BUDGETS - 1)
        fitting = [o for o in every if o.peak <= budget]
        least = min(o.seconds for o in fitting)
        sets = search.best(budget)
        assert sets is not None
        found = question.outcome(*sets)
        assert found.peak <= budget
        assert found.seconds == pytest.approx(least, rel=1e-5)
        fewest = min(o.saved for o in fitting if o.seconds <= least * (1 + 1e-6))
        assert found.saved <= fewest + 1e-6 * abs(fewest) + 1


@pytest.mark.slow
@pytest.mark.parametrize(("n", "skips", "size"), [(9, 0, 1), (8, 2, 2)])
def test_beside_checkmate(n, skips, size):
    """The program of the paper; what is proven of it without solving it is below its solution."""
    rng = random.Random(n)
    reads, sizes = drawn(n, skips, seed=0), [rng.randint(1, size) for _ in range(n)]
    nodes, weights = whole(reads, sizes)
    compared = 0
    for budget in range(3, most(reads, sizes) + 1):
        theirs, exact = checkmate.best(nodes, [1] * len(nodes), weights, budget)
        ours = planned(reads, sizes, budget)
        if theirs is None or not exact:
            continue
        bound = checkmate.at_least(nodes, [1] * len(nodes), weights, budget, round(theirs) + 3)
        assert bound <= theirs + 1e-6, budget
        if ours is not None:
            compared += 1
            assert theirs <= ours + 1e-6, budget
            assert ours <= 1.02 * theirs, (budget, ours, theirs)
    assert compared


@pytest.mark.sampled(4)
@pytest.mark.parametrize(("skips", "size"), [(0, 1), (6, 1), (0, 3), (9, 3)])
def test_beside_a_bound_of_checkmate(skips, size):
    """47 nodes; `benchmarks/checkmate.py` has more, and larger ones."""
    rng = random.Random(skips)
    reads, sizes = drawn(24, skips, seed=0), [rng.randint(1, size) for _ in range(24)]
    top, compared = most(reads, sizes), 0
    for share in (0.4, 0.5, 0.6, 0.7, 0.8, 0.9):
        ours = planned(reads, sizes, int(share * top))
        if ours is not None:
            compared += 1
            assert ours <= 1.02 * proven(reads, sizes, ours, int(share * top), 60.0), share
    assert compared >= 4


def test_the_frontier_is_one_and_no_policy_beats_it():
    block = unit("gqa", S=256)
    question = problem(block, hardware("h100"))
    points = frontier(block, question, points=8)
    assert points[-1].policy == "everything_saveable" and points[-1].seconds == 0
    assert points[0].choice.offloaded  # what each copy is given
    deep = frontier(block, replace(question, copies=24), points=8)
    assert any(p.choice.group for p in deep)
    assert any(p.policy == "" for p in points)
    for p, q in combinations(points, 2):
        assert (p.seconds - q.seconds) * (p.peak - q.peak) < 0 or (p.saved - q.saved) * (
            p.peak - q.peak
        ) < 0
    for policy in stock(block, question):
        assert any(p.seconds <= policy.seconds and p.peak <= policy.peak for p in points), (
            policy.policy
        )


@pytest.mark.parametrize("name", BLOCKS)
def test_the_model_of_memory_runs_the_same_again(name):
    """The planner and the model of memory agree on what a set that is kept makes run again."""
    block = unit(name)
    question = problem(block, hardware("h100"))
    keys = [c.key for c in question.candidates]
    rng = random.Random(0)
    for _ in range(5):
        kept = [k for k in keys if rng.random() < 0.4]
        ids = [v for c in question.candidates if c.key in kept for v in c.values]
        work = backward(block, ids)
        ours = question.outcome(kept).again
        made = {block[i].first for i in work.recomputed if not block[i].invariant}
        assert set(ours) == {i for i in made if block[i].alias_of is None}


@pytest.mark.parametrize("name", ["adam", "adamw", "lamb", "radam", "lion", "sgd", "amsgrad"])
def test_state_in_bfloat16_is_advised_where_optax_has_it(name, monkeypatch):
    monkeypatch.setattr(advice, "predict", lambda *_: SimpleNamespace(peak=0))  # all would do
    module = loaded(EXPERTS)
    training = Training(optimizer=((name, ()),))
    peak = SimpleNamespace(peak=2)
    said = advice.enough(lambda _: module, Plan(), training, peak, 1, 0, lambda _: True)
    has = "mu_dtype" in inspect.signature(getattr(optax, name)).parameters
    assert any("mu_dtype" in s for s in said) == has
