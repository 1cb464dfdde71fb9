"""The functions of training: init, step, evaluate, predict. Pure, jitted, without hidden state.

They are all that a loop of one's own needs:

    program = build(model, optimizer)
    state = program.init(seed=0)
    for step in range(1000):
        state, metrics = program.step(state, program.put_batch(source.batch(step)))

`step` *donates* its state: the old one is gone after the call, its memory holds the new one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.stages import Wrapped  # what jax.jit returns

from .mesh import Placement, place
from .state import TrainState, create, step_key


@dataclass(frozen=True)
class Program:
    """A model and an optimizer, compiled into functions over one train state.

    init(seed) -> state
    step(state, batch) -> (state, metrics)       the given state is donated
    evaluate(state, batch) -> metrics            metrics: name -> (sum, count)
    predict(state, inputs) -> results            None if the model has no predict
    abstract: the state's shapes and dtypes, without values
    placement: where things live, None on a single device
    """

    init: Wrapped
    step: Wrapped
    evaluate: Wrapped
    predict: Wrapped | None
    abstract: TrainState
    placement: Placement | None

    def put_batch(self, batch: Mapping[str, Any], *, strict: bool = True) -> dict[str, jax.Array]:
        """A batch on the devices it belongs on; see `Placement.put_batch`."""
        if self.placement is None:
            return jax.device_put(dict(batch))
        return self.placement.put_batch(batch, strict=strict)

    def put_state(self, state: TrainState) -> TrainState:
        """A state of host arrays on the devices it belongs on."""
        return jax.device_put(state, self.placement.state if self.placement else None)


def build(
    model: Any,
    optimizer: optax.GradientTransformation,
    mesh: Mapping[str, int] | None = None,
) -> Program:
    """The functions for `model`, a module as Netwright writes it, on `mesh` (axis -> size).

    Nothing runs and nothing is compiled until a function is called.
    Raises RunError if the mesh does not fit the model or the machine.
    """
    abstract = jax.eval_shape(lambda: create(model, optimizer, 0))
    placement = place(mesh, model, abstract)
    return Program(
        init=make_init(model, optimizer, placement),
        step=make_step(model.loss, optimizer, placement),
        evaluate=make_evaluate(model.loss, placement),
        predict=make_predict(model.predict, placement) if hasattr(model, "predict") else None,
        abstract=abstract,
        placement=placement,
    )


def make_init(model: Any, optimizer: Any, placement: Placement | None = None) -> Wrapped:
    """init(seed) -> the state of step 0, made where it will live."""

    def init(seed):
        return create(model, optimizer, seed)

    if placement is None:
        return jax.jit(init, static_argnums=0)
    return jax.jit(placement.traced(init), static_argnums=0, out_shardings=placement.state)


def make_step(
    loss: Callable, optimizer: optax.GradientTransformation, placement: Placement | None = None
) -> Wrapped:
    """step(state, batch) -> (state, metrics): one update.

    `metrics` are those of the loss, each (sum, count), and "gradient_norm": the Euclidean norm
    over all gradients, before the optimizer changes them.
    """

    def step(state: TrainState, batch):
        differentiate = jax.value_and_grad(loss, has_aux=True)
        (_, (model_state, metrics)), gradients = differentiate(
            state.params, state.model_state, batch, step_key(state), True
        )
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        metrics = {**metrics, "gradient_norm": (norm(gradients), jnp.float32(1))}
        new = TrainState(
            params=optax.apply_updates(state.params, updates),
            opt_state=opt_state,
            model_state=model_state,
            rng=state.rng,
            step=state.step + 1,
        )
        return new, metrics

    if placement is None:
        return jax.jit(step, donate_argnums=0)
    return jax.jit(
        placement.traced(step),
        donate_argnums=0,
        in_shardings=(placement.state, None),  # None: as the batch comes
        out_shardings=(placement.state, placement.replicated),
    )


def make_evaluate(loss: Callable, placement: Placement | None = None) -> Wrapped:
    """evaluate(state, batch) -> metrics of the model in evaluation mode; changes nothing."""

    def evaluate(state: TrainState, batch):
        _, (_, metrics) = loss(state.params, state.model_state, batch, None, False)
        return metrics

    if placement is None:
        return jax.jit(evaluate)
    return jax.jit(placement.traced(evaluate), out_shardings=placement.replicated)


def make_predict(predict: Callable, placement: Placement | None = None) -> Wrapped:
    """predict(state, inputs) -> the model's results in evaluation mode."""

    def run(state: TrainState, inputs):
        return predict(state.params, state.model_state, inputs)

    if placement is None:
        return jax.jit(run)
    return jax.jit(placement.traced(run), out_shardings=placement.replicated)


def norm(tree: Any) -> jax.Array:
    """The Euclidean norm over all leaves, summed in float32."""
    squares = [jnp.sum(jnp.square(leaf.astype(jnp.float32))) for leaf in jax.tree.leaves(tree)]
    return jnp.sqrt(jnp.sum(jnp.stack(squares))) if squares else jnp.float32(0)
