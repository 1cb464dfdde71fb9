"""Random Python means the same with symbols as with arrays."""

from __future__ import annotations

from random import Random

import netwright as nw
import numpy as np
import pytest
from netwright.ir.evaluate import evaluate
from random_python import draw, model, run


def agree(seed: int) -> None:
    rng = np.random.default_rng(seed)
    given = {k: rng.normal(size=(4, 3) if k == "xs" else 3) for k in ("x", "y", "xs", "n")}
    text = draw(Random(seed))
    module = nw.load(model(text)).module
    inputs = [given[k] for k in ("x", "y", "xs")]
    for train in (True, False):
        (found,), after, _ = evaluate(module, {}, {"n": given["n"]}, inputs, train=train)
        wanted, state = run(text, train, given)
        np.testing.assert_allclose(found, wanted, 1e-9, 1e-9, err_msg=text)
        np.testing.assert_allclose(after["n"], state, 1e-9, 1e-9, err_msg=text)


@pytest.mark.parametrize("start", range(0, 100, 25))
def test_random_python_means_the_same_with_symbols_and_with_arrays(start):
    for seed in range(start, start + 25):
        agree(seed)
