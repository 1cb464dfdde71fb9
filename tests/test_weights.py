"""Weights from elsewhere: what goes where, and what is told of mistakes."""

import numpy as np
import pytest
from netwright.ir.diagnostics import InputError
from netwright.weights import mapped


def of(*shape: int, dtype=np.float32) -> np.ndarray:
    return np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)


LIKE = {"a": {"w": of(2, 3), "b": of(3)}, "blocks": {"q": of(2, 4, 3, 1, 2)}, "s": of()}
SOURCE = {
    "A": {"w": of(2, 3) + 1, "b": of(3) + 2},
    **{f"block_{n}": {"q": {"kernel": of(4, 6) + n}} for n in (1, 2)},
    "one": of(1, dtype=np.float64) + 5,
    "two": of(1, dtype=np.float64),
}
TABLE = {
    "a": "A",
    "blocks.q": "block_{1}/q/kernel",
    "s": lambda found: found("one") + found("two"),
}


def test_everything_has_its_place():
    made = mapped(LIKE, SOURCE, TABLE)
    np.testing.assert_array_equal(made["a"]["w"], SOURCE["A"]["w"])
    np.testing.assert_array_equal(made["a"]["b"], SOURCE["A"]["b"])
    for n in (0, 1):
        wanted = SOURCE[f"block_{n + 1}"]["q"]["kernel"].reshape(4, 3, 1, 2)
        np.testing.assert_array_equal(made["blocks"]["q"][n], wanted)
    assert made["s"] == 5 and made["s"].dtype == np.float32


@pytest.mark.parametrize(
    "like, source, table, told",
    [
        ({}, {}, {"a.b": None}, "nothing is said of a.b"),
        ({}, {}, {"a": "B"}, "the source has no B/w"),
        ({}, {}, {"c": "A"}, "there is no c"),
        ({}, {"more": of(1)}, {}, "nothing gets more"),
        ({}, {"block_2": {"q": {}}}, {}, "the source has no block_2/q/kernel"),
        ({"s": of(2)}, {}, {}, "has the shape (1,), not (2,)"),
        ({}, {"two": np.array([1e39])}, {}, "what s gets has numbers that float32 cannot hold"),
        ({"s": of(dtype=np.int8)}, {"one": np.int32([99]), "two": np.int32([99])}, {}, "that int8"),
        ({"a": {"w": of(3, 2), "b": of(3)}}, {}, {}, "has the shape (2, 3), not (3, 2)"),
    ],
)
def test_mistakes_are_told(like, source, table, told):
    if None in table.values():
        changed = {n: r for n, r in TABLE.items() if n != "a"} | {"a.w": "A/w"}
    else:
        changed = {**TABLE, **table}
    with pytest.raises(InputError) as caught:
        mapped({**LIKE, **like}, {**SOURCE, **source}, changed)
    assert told in str(caught.value)
