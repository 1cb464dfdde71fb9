"""What a GPT-2 block keeps for its gradient, term by term beside Korthikanti et al.

Reducing Activation Recomputation in Large Transformer Models (2022), section 4: a block keeps
sbh (34 + 5 a s / h) bytes in 16 bits (s positions, b sequences, h wide, a heads). The table has
the same terms as the gradient of the emitted block keeps them in bfloat16, in units of sbh and of
a s² b bytes. `tests/passes/test_memory_graph.py` holds every array to what JAX saves.

    python benchmarks/transformer_memory.py [--sizes b,s,h,a]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import netwright as nw
from netwright.driver import pipeline
from netwright.ir.plan import Plan, Precision
from netwright.passes.memory.graph import Unit, build

GPT2 = Path(__file__).parent.parent / "examples/gallery/gpt2.nw"
BLOCK = "gpt.body.blocks"

NORMS, QKV, QK = "inputs of the two norms", "input of q, k, v", "q and k"
SOFTMAX, MASK, PROBS = "softmax", "mask of its dropout", "probabilities after it"
V, PROJECTION, OUT = "v", "input of the projection", "mask of its dropout, after the projection"
UP, GELU, DOWN = "input of the MLP", "GELU", "input of the second product"
LAST = "mask of its dropout, after the MLP"
WEIGHTS, SHARED = "weights in bfloat16", "masks of the softmax, once for all blocks"

PAPER = {
    NORMS: (4, 0), QKV: (2, 0), QK: (4, 0), SOFTMAX: (0, 2), MASK: (0, 1), PROBS: (0, 2),
    V: (2, 0), PROJECTION: (2, 0), OUT: (1, 0), UP: (2, 0), GELU: (8, 0), DOWN: (8, 0),
    LAST: (1, 0), WEIGHTS: (0, 0), SHARED: (0, 0),
}  # fmt: skip
"""By term the paper's bytes, in units of sbh and of a s² b."""

WHY = {
    NORMS: "x minus its mean, that weighed and that scaled, each in float32, in place of the input",
    QKV: "twice: JAX keeps a value and its reshape",
    SOFTMAX: "the exponentials, in float32, and two sums for each row",
    GELU: "the input, and four arrays that the tanh approximation makes of it",
    WEIGHTS: "not in the paper: they are cast in the block, and kept so",
    SHARED: "not in the paper: the causal mask, spread over the scores",
}
"""Why ours differ."""


TERMS = {
    ".attn/q": QKV, ".attn/k": QKV, ".attn/v": QKV, ".attn/scores:dot": QK,
    ".attn/weights": SOFTMAX, ".attn/y:dropout": MASK, ".attn/y": PROJECTION, "/x:dropout": OUT,
    ".mlp.up/y": UP, ".mlp/return:gelu": GELU, ".mlp.down/y": DOWN, "/x:dropout.3": LAST,
}  # fmt: skip
"""The terms by the op whose gradient keeps something, by its key within the block."""


def terms(unit: Unit) -> Iterator[tuple[str, int]]:
    """What the gradient of a block keeps: terms and bytes."""
    seen: set[int] = set()
    for node in unit.values:
        name = node.key.removeprefix(BLOCK)
        term = NORMS if "norm" in name else TERMS.get(name, name)
        for id in node.keeps:
            kept, root = unit[id], unit[unit[id].root]
            if id in seen or root.kind in ("param", "const", "state"):
                continue
            seen.add(id)
            if root.op == "cast" and unit[root.operands[0]].kind == "param":
                yield WEIGHTS, kept.bytes
            elif node.op == "dot" and not node.key:  # its result is cast, and has the key
                yield (V if "/v" in (kept.key or root.key) else PROBS), kept.bytes
            else:
                yield term, kept.bytes
        for _, size in node.internals:
            yield term, size
        if node.hoisted:
            yield SHARED, node.hoisted


def table(b: int, s: int, h: int, a: int) -> dict[str, tuple[float, float]]:
    """By term our bytes in the unit that the paper has for it; what is neither counts as sbh."""
    module = nw.load(GPT2, V=32, Ctx=s, L=2, D=h, G=a).module
    plan = Plan(sizes=(("B", b), ("S", s)), precision=Precision("bfloat16"))
    unit = build(pipeline().run(module, plan), plan).unit(BLOCK)
    found = dict.fromkeys(PAPER, 0)
    for name, size in terms(unit):
        found[name] += size
    rows = {}
    for name, size in found.items():
        scores = PAPER[name][1] > 0 or name == SHARED
        rows[name] = (0.0, size / (a * s * s * b)) if scores else (size / (s * b * h), 0.0)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", default="4,2048,4096,32", help="b,s,h,a")
    b, s, h, a = map(int, parser.parse_args().sizes.split(","))
    rows = table(b, s, h, a)
    print(f"{'':42}{'paper':>18}{'here':>22}")
    for name, (ours, score) in rows.items():
        paper = _units(*PAPER[name])
        print(f"{name:42}{paper:>18}{_units(ours, score):>22}  {WHY.get(name, '')}")
    sums = [sum(PAPER[n][i] for n in PAPER) for i in (0, 1)]
    ours = [sum(r[i] for n, r in rows.items() if n != SHARED) for i in (0, 1)]
    print(f"{'of one block':42}{_units(*sums):>18}{_units(*ours):>22}")


def _units(linear: float, scores: float) -> str:
    parts = [f"{linear:.4g} sbh"] if linear else []
    parts += [f"{scores:.4g} as²b"] if scores else []
    return " + ".join(parts) or "-"


if __name__ == "__main__":
    main()
