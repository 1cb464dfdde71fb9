"""Random programs in which every registered op occurs: what is emitted does what the module means.

`random_modules` draws programs, `random_runs` says what must hold of each. A program that fails is
printed as text, with its seed; `check(draw(seed))` runs it again. `benchmarks/random_programs.py`
runs as many as one likes.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from netwright.ir.registry import names
from random_modules import INITIALIZERS, draw_program
from random_ops import DRAWN
from random_runs import DOUBLE, Checked, Wrong, check, emit, steps

HERE = Path(__file__).parent
OPS = [name for name in names() if name in DRAWN or name in INITIALIZERS]
EACH = 3  # ops that a program has on purpose
FIRST = 600  # from here on each op outlives the passes in some program
EAGER, COMPILED = range(FIRST, FIRST - (-len(OPS) // EACH)), range(2000, 2220)
PART = 10  # programs that one test runs


def draw(seed: int, ops: int = 8):
    """The program of a seed; some ops, in turn, are in it."""
    wanted = tuple(OPS[(EACH * seed + k) % len(OPS)] for k in range(EACH))
    return draw_program(Random(seed), ops, wanted)


def run(seed: int, **options) -> None:
    try:
        check(draw(seed), **options)
    except Wrong as error:
        raise Wrong(f"seed {seed}: {error.what}", draw(seed), str(error)) from error


@pytest.mark.sampled(4)
@pytest.mark.parametrize("seed", EAGER)
def test_eagerly(seed):
    run(
        seed,
        unroll=seed % 5 == 0,
        gradients=seed % 15 == 1,
        initial=seed % 5 == 2,
        narrow=seed % 5 == 3,
        mesh=seed % 15 == 4,
    )


@pytest.mark.slow
@pytest.mark.parametrize("start", COMPILED[::PART])
def test_compiled(start):
    for seed in range(start, start + PART):
        run(seed, ways=("compiled",))


@pytest.mark.parametrize("seeds", [EAGER, pytest.param(COMPILED, marks=pytest.mark.slow)])
def test_every_op_occurs(seeds):
    """Drawn and, after the passes, not dropped."""
    checked = Checked()
    for seed in seeds:
        *_, (_, done) = steps(draw(seed).module, DOUBLE)
        checked.count(done)
    # Constraints stand only where there is a mesh: `test_eagerly` has some.
    missing = [n for n in names() if n not in checked.ops and n != "constrain"]
    assert not missing, f"ops that never occur: {', '.join(missing)}"


def text_of(seeds) -> str:
    """A hash of the sources of some programs."""
    found = hashlib.sha256()
    for seed in seeds:
        program = draw(seed)
        *_, (_, done) = steps(program.module, DOUBLE)
        found.update(emit(done, DOUBLE).text.encode())
    return found.hexdigest()


def test_written_the_same_under_any_hash_seed():
    line = "import test_random_programs as t; print(t.text_of(range(8)))"
    found = {text_of(range(8))}
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "JAX_PLATFORMS": "cpu"}
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", line],
            cwd=HERE, env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        found.add(done.stdout.strip())
    assert len(found) == 1


@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    database=None,
)
@given(st.randoms(use_true_random=False), st.integers(1, 8))
def test_shrinking(random, ops):
    """Few programs, but a failure comes back small."""
    check(draw_program(random, ops))
