"""Flax's ImageNet example, written in Netwright and loaded with Flax's weights."""

from __future__ import annotations

import imagenet
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compared import close, follow, program, scattered, shapes, trained
from netwright.weights import mapped

pytestmark = pytest.mark.slow
SIZES = {"Y": 32, "X": 32, "N": 10, "W": 4, "L1": 2, "L2": 2, "L3": 2, "L4": 2}
PARTS = {
    "ResNet18": {"first": 0, "second": 1},
    "ResNet50": {"narrow": 0, "middle": 1, "widen": 2},
}
BLOCKS = {"ResNet18": imagenet.ResNetBlock, "ResNet50": imagenet.BottleneckResNetBlock}


def tables(model: str) -> tuple[dict[str, str], dict[str, str]]:
    """What parameters and states get."""
    params = {"stem.conv": "conv_init", "stem.normalise": "bn_init", "classes": "Dense_0"}
    states = {"stem.normalise.norm": "bn_init"}
    kind = BLOCKS[model].__name__
    for stage in range(4):
        for name, number in (("first", f"{2 * stage}"), ("others", f"{{{2 * stage + 1}}}")):
            ours, theirs = f"stage{stage + 1}.{name}", f"{kind}_{number}"
            for part, index in PARTS[model].items():
                params[f"{ours}.{part}.conv"] = f"{theirs}/Conv_{index}"
                params[f"{ours}.{part}.normalise"] = f"{theirs}/BatchNorm_{index}"
                states[f"{ours}.{part}.normalise.norm"] = f"{theirs}/BatchNorm_{index}"
        ours, theirs = f"stage{stage + 1}.first.shortcut.project", f"{kind}_{2 * stage}"
        if stage or model == "ResNet50":
            params[f"{ours}.conv"] = f"{theirs}/conv_proj"
            params[f"{ours}.normalise"] = f"{theirs}/norm_proj"
            states[f"{ours}.normalise.norm"] = f"{theirs}/norm_proj"
    whole = {}
    for path, where in states.items():
        whole |= {f"{path}.average": f"{where}/mean", f"{path}.variance": f"{where}/var"}
    return params, whole


def batches(count: int, rows: int = 6) -> list[dict[str, np.ndarray]]:
    """Noise, brighter in a place that tells the class."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(count):
        label = rng.integers(0, 10, rows).astype(np.int32)
        image = rng.normal(size=(rows, 32, 32, 3)).astype(np.float32)
        for row, place in enumerate(label):
            image[row, 3 * place : 3 * place + 3] += 2
        found.append({"image": image, "label": label})
    return found


def twin(model: str):
    """The twin, weights and running averages."""
    net = imagenet.ResNet((2, 2, 2, 2), BLOCKS[model], classes=10, filters=4)
    made = jax.jit(net.init, static_argnums=2)(jax.random.key(0), batches(1)[0]["image"], True)
    return net, scattered(made["params"]), jax.tree.map(lambda a: a + 0.5, made["batch_stats"])


def ours(model: str, dtype: str):
    """The program of a model: in ResNet18 the loss is that of a model of its own."""
    return program("flax/imagenet.nw", dtype=dtype, entry=model, **SIZES)


@pytest.mark.parametrize("model", PARTS)
def test_logits_and_gradients(model):
    """In double precision: with so few images, normalisations make much of rounding."""
    net, weights, averages = twin(model)
    (batch,) = batches(1)
    with jax.enable_x64(True):
        double = lambda a: jnp.asarray(a, jnp.float64)  # noqa: E731
        weights, averages, image = jax.tree.map(double, (weights, averages, batch["image"]))
        made = ours(model, "float64")
        of_params, of_states = tables(model)
        like = shapes(made)["net"]
        state = made.init_state()
        params = {"net": mapped(like, weights, of_params)}
        state = {"net": mapped(state["net"], averages, of_states)}

        entry = getattr(made, {"ResNet18": "res_net18", "ResNet50": "res_net50"}[model])
        push = jnp.asarray(np.random.default_rng(1).normal(size=(len(image), 10)))

        def in_training(weights):
            variables = {"params": weights, "batch_stats": averages}
            logits, new = net.apply(variables, image, True, mutable=["batch_stats"])
            return (logits * push).sum(), (logits, new["batch_stats"])

        def mine_in_training(params):
            logits, new = entry(params, state, image, True)
            return (logits * push).sum(), (logits, new)

        _, (logits, new), grads = both(in_training, weights)
        _, (found, after), found_grads = both(mine_in_training, params)
        close(found, logits)
        close(after["net"], mapped(state["net"], new, of_states))
        close(found_grads["net"], mapped(like, grads, of_params))
        wanted = jax.jit(net.apply, static_argnums=2)(
            {"params": weights, "batch_stats": averages}, image, False
        )
        close(jax.jit(entry)(params, state, image)[0], wanted)


def both(function, given):
    """The value, what goes with it, and the gradient."""
    (value, more), gradient = jax.jit(jax.value_and_grad(function, has_aux=True))(given)
    return value, more, gradient


def test_training():
    """In double precision: with so few images, rounding grows to 0.1 in a hundred steps."""
    net, weights, averages = twin("ResNet50")
    of_params, of_states = tables("ResNet50")
    data = batches(5)
    with jax.enable_x64(True):
        double = lambda a: jnp.asarray(a, jnp.float64)  # noqa: E731
        weights, averages = jax.tree.map(double, (weights, averages))
        data = [{**batch, "image": double(batch["image"])} for batch in data]
        made = program("flax/imagenet.nw", dtype="float64", **SIZES)
        params = {"net": {"net": mapped(shapes(made)["net"]["net"], weights, of_params)}}
        state = {"net": {"net": mapped(made.init_state()["net"]["net"], averages, of_states)}}

        def theirs(weights, averages, batch):
            variables = {"params": weights, "batch_stats": averages}
            logits, new = net.apply(variables, batch["image"], True, mutable=["batch_stats"])
            return imagenet.loss(logits, batch["label"]), new["batch_stats"]

        def mine(params, state, batch):
            value, (state, _) = made.loss(params, state, batch, None, True)
            return value, state

        follow(trained(mine, params, data, state), trained(theirs, weights, data, averages))
