"""Which parameters are matrices, of models that are known."""

import netwright as nw
from netwright.ir.matrices import matrices
from programs import EXAMPLES

MODEL = """
dims:
    B
    D = 4, E = 3, V = 5

model m(x: [B, D], id: int[B]) -> [B, E]:
    param w: [D, E] = zeros()
    param tied: [V, D] = zeros()
    param twice: [D, E] = zeros()
    param scale: [D] = zeros()
    h = x * scale + take[V](tied, id)
    y = dot[D](h, w) + dot[D](x, twice)
    return y + sum[D](twice) + sum[V](dot[D](x, tied))
"""


def test_a_llama():
    found = matrices(nw.load(EXAMPLES / "shakespeare").module)
    last = {path.rpartition(".")[2]: axes for path, axes in found.items()}
    assert last == {
        **dict.fromkeys(("wk", "wv"), ((-3,), (-2, -1))),
        "wq": ((-4,), (-3, -2, -1)),
        "wo": ((-4, -3, -2), (-1,)),
        **dict.fromkeys(("gate", "up", "down"), ((-2,), (-1,))),
    }


def test_what_is_used_otherwise_too_is_none(tmp_path):
    (tmp_path / "model.nw").write_text(MODEL)
    assert matrices(nw.load(tmp_path).module) == {"w": ((-2,), (-1,))}
