"""The examples of the page on models in Python, verbatim."""

from __future__ import annotations

import re
from pathlib import Path

import netwright as nw
import pytest
from netwright.frontend.builder import NOTATION
from trials_text import module_of_text
from twins import difference, module_at

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "builder.md").read_text()
CODE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)

TEXT = """
dims: B, S
dims: V = 256, D = 64, F = 192, L = 2, G = 4, K = 16
const: drop = 0.1
layer RMSNorm[D](x: [..., D], eps = 1e-6) -> [..., D]:
    param scale: [D] = ones()
    return x * rsqrt(mean[D](x ** 2) + eps) * scale
layer Attention[S, D, G, K](x: [..., S, D]) -> [..., S, D]:
    param wq: [D, G, K] = normal(0.02)
    param wk: [D, G, K] = normal(0.02)
    param wv: [D, G, K] = normal(0.02)
    param wo: [G, K, D] = normal(0.02)
    q = rotary[S, K](dot[D](x, wq))
    k = rename[S -> T](rotary[S, K](dot[D](x, wk)))
    v = rename[S -> T](dot[D](x, wv))
    scores = dot[K](q, k) / sqrt(K)
    weights = softmax[T](scores, where = offset[S, T]() >= 0)
    return dot[G, K](dot[T](weights, v), wo)
layer MLP[D, F](x: [..., D], act = silu) -> [..., D]:
    param up: [D, F] = lecun_normal[D]()
    param down: [F, D] = lecun_normal[F]()
    return dot[F](act(dot[D](x, up)), down)
layer Block[S, D](x: [..., S, D], act = silu) -> [..., S, D]:
    use attn = Attention
    use mlp = MLP(act = act)
    use norm = RMSNorm
    x = x + dropout(attn(norm(x)), rate = drop)
    use norm_2 = RMSNorm
    x = x + dropout(mlp(norm_2(x)), rate = drop)
    return x
model GPT(tokens: int[B, S]) -> [B, S, V]:
    param embed: [V, D] = normal(0.02)
    use blocks = repeat[L] Block(act = gelu)
    use norm = RMSNorm
    x = blocks(take[V](embed, tokens))
    return dot[D](norm(x), embed)
loss next_token(tokens: int[B, S], targets: int[B, S]):
    use gpt = GPT
    logits = gpt(tokens)
    metric accuracy = mean[B, S](argmax[V](logits) == targets)
    return mean[B, S](cross_entropy[V](logits, targets))
"""


def test_the_whole_example_is_the_model_that_it_says(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    (tmp_path / "page.py").write_text(CODE[0])
    page = module_at(tmp_path / "page.py")
    assert difference(module_of_text(TEXT), nw.load(page.next_token).module) == ""
    assert "jnp.einsum" in page.program.source


@pytest.mark.parametrize(
    "number, layer, use", [(1, "BatchNorm", "C:D"), (2, "GRU", "H:F")], ids=["cond", "scan"]
)
def test_the_other_examples_are_layers(number, layer, use, tmp_path):
    (tmp_path / "page.py").write_text(
        'import netwright as nw\nB, S, C, H = nw.dims("B S C H")\nD, F = nw.dims(D=3, F=5)\n'
        + CODE[number]
        + "\n\n@nw.model\ndef M(x: nw.f[B, S, D]) -> nw.f[B, S, "
        + f"{'D' if layer == 'BatchNorm' else 'F'}]:\n    return nw.use({layer}[{use}])(x)\n"
    )
    module = nw.load(module_at(tmp_path / "page.py").M).module
    assert module.instances[1].layer == layer


def test_the_page_names_all_of_the_notation():
    for name in NOTATION:
        assert re.search(rf"nw\.{name}\b", PAGE), name
