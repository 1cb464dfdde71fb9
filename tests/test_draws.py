"""Models that draw random numbers in evaluation, too, give the same at each."""

import netwright as nw
import numpy as np

MODEL = """
dims:
    B
    D = 3
layer Noise[D](x: [..., D]) -> [..., D]:
    return x + 0.5 * normal[D]()
model Net(x: [B, D]) -> [B, D]:
    param w: [D] = ones()
    use noise = Noise
    return noise(dropout(x, rate = 0.5) * w)
loss main(x: [B, D]):
    use net = Net
    y = net(x)
    metric far = mean[B, D](y)
    return mean[B, D](y ** 2)
"""
RECIPE = """
[data]
kind = "arrays"
file = "x.npz"
held_out = 2
[train]
steps = 1
batch = 2
[optimizer]
name = "sgd"
learning_rate = 0.1
"""


def test_evaluation_and_prediction(tmp_path):
    (tmp_path / "model.nw").write_text(MODEL)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    np.savez(tmp_path / "x.npz", x=np.zeros((4, 3), np.float32))
    program = nw.load(tmp_path).compile()
    state = program.init(0)
    batch = program.put_batch(program.data.batch(0))
    first, second = (program.evaluate(state, batch) for _ in range(2))
    assert [float(v) for v in first["far"]] == [float(v) for v in second["far"]]
    (again,) = {tuple(np.ravel(program.predict(state, batch))) for _ in range(2)}
    assert np.std(again) > 0.01  # noise is there
    assert "random.key(0))" in program.source.split("def predict")[1]


NOTHING_BUT_DROPOUT = """
dims: B, D = 3, L = 2
layer Drop[D](x: [..., D]) -> [..., D]:
    return dropout(x, rate = 0.5)
loss main(x: [B, D]):
    param w: [D] = ones()
    use drops = repeat[L] Drop
    return mean[B, D](drops(x * w))
"""


def test_copies_without_parameters_need_no_key_in_evaluation(tmp_path):
    (tmp_path / "model.nw").write_text(NOTHING_BUT_DROPOUT)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    np.savez(tmp_path / "x.npz", x=np.ones((4, 3), np.float32))
    program = nw.load(tmp_path).compile()
    state = program.init(0)
    batch = program.put_batch(program.data.batch(0))
    total, count = program.evaluate(state, batch)["loss"]
    assert float(total) / float(count) == 1
    _, metrics = program.step(state, batch)
    assert float(metrics["loss"][0]) / float(metrics["loss"][1]) != 1
