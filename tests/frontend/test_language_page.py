"""The examples of the page on the language, verbatim."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from trials import trial

PAGE = (Path(__file__).parents[2] / "docs" / "language.md").read_text()


def example(name: str) -> str:
    """A layer of the page, as it stands there."""
    start = PAGE.index(f"layer {name}[")
    ends = [PAGE.find(mark, start) for mark in ("\n\nlayer ", "\n\nmodel ", "\n```")]
    return PAGE[start : min(e for e in ends if e > 0)] + "\n"


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def rng(seed=0):
    return np.random.default_rng(seed)


def test_batch_norm():
    text = "dims: B = 3, S = 2, C = 4\n" + example("BatchNorm")
    text += "model M(x: [B, S, C]) -> [B, S, C]:\n    use norm = BatchNorm\n    return norm(x)\n"
    x = rng().normal(size=(3, 2, 4))
    done = trial(text, x, train=True)
    p, m, v = done.params["norm"], x.mean((0, 1)), x.var((0, 1))
    done.equals((x - m) / np.sqrt(v + 1e-5) * p["scale"] + p["shift"])


def test_lstm():
    text = "dims: B = 2, T = 5, D = 3, H = 4\n" + example("LSTM")
    text += (
        "model M(x: [B, T, D], live: bool[B, T]) -> [B, T, H]:\n"
        "    use lstm = LSTM\n    return lstm(x, live)\n"
    )
    x, live = rng().normal(size=(2, 5, 3)), np.arange(5) < np.array([[5], [3]])
    done = trial(text, x, live)
    p = done.params["lstm"]
    h = c = np.zeros((2, 4))
    out = []
    for t in range(5):
        z = np.einsum("bd,dgh->gbh", x[:, t], p["wx"]) + np.einsum("bp,pgh->gbh", h, p["wh"])
        i, f, g, o = z + p["bias"][:, None]
        new = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        c = np.where(live[:, t, None], new, c)
        h = np.where(live[:, t, None], sigmoid(o) * np.tanh(c), h)
        out.append(h)
    done.equals(np.stack(out, 1))


def test_down():
    text = "dims: B = 2, Y = 5, X = 4, C = 3\n" + example("BatchNorm") + example("Down")
    text += (
        "model M(x: [B, Y, X, C]) -> [B, Ya, Xa, Ca]:\n    dims: Ya = 3, Xa = 2, Ca = 6\n"
        "    use down = Down[C -> Ca, Y -> Ya, X -> Xa]\n    return down(x)\n"
    )
    x = rng().normal(size=(2, 5, 4, 3))
    done = trial(text, x, train=True)
    p = done.params["down"]
    padded = np.pad(x, ((0, 0), (1, 1), (0, 1), (0, 0)))
    y = np.zeros((2, 3, 2, 6))
    for i in range(3):
        for j in range(2):
            window = padded[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
            y[:, i, j] = np.einsum("byxc,yxco->bo", window, p["w"])
    m, v = y.mean((0, 1, 2)), y.var((0, 1, 2))
    y = (y - m) / np.sqrt(v + 1e-5) * p["norm"]["scale"] + p["norm"]["shift"]
    done.equals(np.maximum(y, 0))


def test_experts():
    text = "dims: B = 2, S = 6, D = 3, F = 4, E = 3, N = 2\n" + example("Experts")
    text += (
        "model M(x: [B, S, D]) -> [B, S, D], []:\n"
        "    use experts = Experts\n    y, balance = experts(x)\n    return y, balance\n"
    )
    x = rng().normal(size=(2, 6, 3))
    done = trial(text, x)
    p = done.params["experts"]
    capacity = max(1, 5 * 2 * 6 // (4 * 3))
    probs = softmax(x @ p["route"])
    choice = np.argsort(-probs, -1, kind="stable")[..., :2]
    y, picked = np.zeros_like(x), np.zeros((2, 2, 6, 3))
    for b in range(2):
        seen = np.zeros(3, int)
        for n in range(2):  # first choices before second ones
            for s in range(6):
                e = choice[b, s, n]
                picked[b, n, s, e] = 1
                seen[e] += 1
                if seen[e] <= capacity:
                    z = x[b, s] @ p["up"][e]
                    both = probs[b, s, choice[b, s]].sum()
                    y[b, s] += probs[b, s, e] / both * ((z * sigmoid(z)) @ p["down"][e])
    balance = 3 * (picked.mean((0, 1, 2)) * probs.mean((0, 1))).sum()
    done.equals(y, balance)
