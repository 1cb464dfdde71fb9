"""Random programs: their numpy meaning, every pass, and the emitted JAX give the same numbers."""

from __future__ import annotations

from random import Random

import jax
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from netwright.ir.registry import lookup, names
from random_modules import draw_program
from random_runs import Checked, check

BATCHES, EACH = 12, 20
"""Of the fixed sample: in all so many programs that every op occurs in it."""

COMPILED = 200
MADE_BY_HAND = {"name", "constrain"}
"""Ops that only other plans make: their own tests print them."""


@pytest.mark.parametrize("batch", range(BATCHES))
def test_programs_of_the_fixed_sample(batch):
    for number in range(EACH):
        seed = batch * EACH + number
        check(draw_program(Random(seed)), unroll=number % 5 == 0, initial=number % 7 == 0)
    jax.clear_caches()


def test_every_op_occurs_in_the_fixed_sample():
    checked = Checked()
    for seed in range(BATCHES * EACH):
        checked.count(draw_program(Random(seed)).module)
    written = {n for n in names() if lookup(n).family not in ("layout",)} - MADE_BY_HAND
    assert not written - set(checked.ops), "these ops never occur"


@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
@given(st.randoms(use_true_random=False))
def test_programs_that_hypothesis_draws(rng):
    check(draw_program(rng, ops=6))


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(COMPILED // 10))
def test_compiled_programs(batch):
    for number in range(10):
        seed = 1_000_000 + batch * 10 + number
        check(draw_program(Random(seed)), jit=True, unroll=True, gradients=True)
    jax.clear_caches()
