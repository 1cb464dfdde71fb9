"""The functions of training: init, step, evaluate, predict. Pure, jitted, without hidden state.

They are all that a loop of one's own needs:

    program = build(model, optimizer)
    state = program.init(seed=0)
    for step in range(1000):
        state, metrics = program.step(state, program.put_batch(source.batch(step)))

`step` *donates* its state: the old one is gone after the call, its memory holds the new one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.stages import Wrapped  # what jax.jit returns

from . import scale
from .errors import RunError
from .mesh import Placement, place
from .settings import DEFAULT, Settings
from .state import (
    TrainState,
    best,
    create,
    hyperparameters,
    join,
    leaves_by_path,
    rebuild,
    split,
    step_key,
)


@dataclass(frozen=True)
class Program:
    """A model and an optimizer, compiled into functions over one train state.

    init(seed, given={}) -> state                given: first values that are not drawn
    step(state, batch) -> (state, metrics)       the given state is donated
    guarded(state, batch, hold) -> the same      but the state as it was where hold, a float32[],
                                                 is above 0
    evaluate(state, batch) -> metrics            metrics: name -> (sum, count)
    predict(state, inputs) -> results            None if the model has no predict
    abstract: the state's shapes and dtypes, without values
    placement: where things live, None on a single device
    """

    init: Wrapped
    step: Wrapped
    guarded: Wrapped
    evaluate: Wrapped
    predict: Wrapped | None
    abstract: TrainState
    placement: Placement | None

    def put_batch(
        self, batch: Mapping[str, Any], *, strict: bool = True, size: int | None = None
    ) -> dict[str, jax.Array]:
        """A batch on the devices it belongs on; see `Placement.put_batch`."""
        if self.placement is None:
            return jax.device_put(dict(batch))
        return self.placement.put_batch(batch, strict=strict, size=size)

    def rows(self, size: int) -> slice:
        """The rows of a batch of `size` that this process puts; all where it is the only one."""
        return slice(0, size) if self.placement is None else self.placement.rows(size)

    def put_flag(self, value: bool) -> jax.Array:
        """A truth value as `guarded` takes it, on the devices it belongs on."""
        flag = jnp.float32(value)
        return jax.device_put(flag, self.placement.replicated) if self.placement else flag

    def put_state(self, state: TrainState) -> TrainState:
        """A state of host arrays on the devices it belongs on."""
        return jax.device_put(state, self.placement.state if self.placement else None)


def build(
    model: Any,
    optimizer: optax.GradientTransformation,
    mesh: Mapping[str, int] | None = None,
    settings: Settings = DEFAULT,
    devices: Sequence[jax.Device] | None = None,
) -> Program:
    """The functions for `model`, a module as Netwright writes it, on `mesh` (axis -> size).

    The mesh is laid over the first of `devices`, by default all there are.
    Nothing runs and nothing is compiled until a function is called.
    Raises RunError if the mesh does not fit the model or the machine, or a setting the model.
    """
    abstract = jax.eval_shape(lambda: create(model, optimizer, 0, settings))
    placement = place(mesh, model, abstract, devices)
    predict = getattr(model, "predict", None)
    return Program(
        init=make_init(model, optimizer, placement, settings),
        step=make_step(model.loss, optimizer, placement, settings),
        guarded=make_step(model.loss, optimizer, placement, settings, guarded=True),
        evaluate=make_evaluate(model.loss, placement, settings),
        predict=predict and make_predict(predict, placement, settings),
        abstract=abstract,
        placement=placement,
    )


def make_init(
    model: Any,
    optimizer: Any,
    placement: Placement | None = None,
    settings: Settings = DEFAULT,
) -> Wrapped:
    """init(seed, given) -> the state of step 0, made where it will live; see `create`."""

    def init(seed, given=MappingProxyType({})):
        return create(model, optimizer, seed, settings, given)

    if placement is None:
        return jax.jit(init, static_argnums=0)
    return jax.jit(placement.traced(init), static_argnums=0, out_shardings=placement.state)


def make_step(
    loss: Callable,
    optimizer: optax.GradientTransformation,
    placement: Placement | None = None,
    settings: Settings = DEFAULT,
    guarded: bool = False,
) -> Wrapped:
    """step(state, batch) -> (state, metrics): one update, or none where it would do harm.

    A loss or gradients that are not finite, or numbers of the model's state that would no longer be
    (running averages) or single ones of the optimizer's (a distance that it estimates, 0/0 without
    any gradient), change nothing but the step and the loss scale: parameters, their average,
    the optimizer's state and the model's stay as they are, and what the step would have reported
    counts for nothing. `metrics` are those of the loss, each (sum, count), and
    "gradient_norm", the Euclidean norm over all gradients before the optimizer changes them;
    "skipped", 0 or 1; with a loss scale "loss_scale"; and what the optimizer's state says of its
    schedules, such as "learning_rate" (see `state.hyperparameters`), of the last applied step.

    The optimizer may ask for the loss, as `value`.

    The guarded one takes `hold` beside them: above 0, the state stays as it was. Given the step
    before's "skipped", it lets one look into that step before anything has changed, though it was
    dispatched before that was known.
    """
    differentiate = accumulated(loss, settings)
    optimizer = optax.with_extra_args_support(optimizer)
    decay = settings.ema

    def step(state: TrainState, batch):
        gradients, model_state, metrics = differentiate(state, batch)
        total, count = metrics["loss"]
        trained, frozen = split(state.params, settings.frozen)
        updates, opt_state = optimizer.update(
            gradients, state.opt_state, trained, value=over(total, count)
        )
        finite = all_finite((gradients, total)) & stays_finite(
            (state.model_state, scalars(state.opt_state)), (model_state, scalars(opt_state))
        )
        updated = optax.apply_updates(trained, updates)
        ema = state.ema
        if decay is not None:
            ema = jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, ema, updated)
        trained, opt_state, model_state, ema = choose(
            finite,
            (updated, opt_state, model_state, ema),
            (trained, state.opt_state, state.model_state, state.ema),
        )

        one = jnp.float32(1)
        metrics = {**metrics, "gradient_norm": (norm(gradients), one)}
        metrics = choose(finite, metrics, jax.tree.map(jnp.zeros_like, metrics))
        metrics["skipped"] = (1 - finite.astype(jnp.float32), one)
        metrics |= {name: (value, one) for name, value in hyperparameters(opt_state).items()}
        if settings.loss_scale is not None:
            metrics["loss_scale"] = (state.scale.value, one)
        new = TrainState(
            params=join(trained, frozen),
            opt_state=opt_state,
            model_state=model_state,
            rng=state.rng,
            step=state.step + 1,
            scale=scale.update(state.scale, finite, settings.loss_scale),
            ema=ema,
        )
        return new, metrics

    def held(state: TrainState, batch, hold):
        new, metrics = step(state, batch)
        return choose(hold > 0, state, new), metrics

    made = held if guarded else step
    if placement is None:
        return jax.jit(made, donate_argnums=0)
    return jax.jit(
        placement.traced(made),
        donate_argnums=0,
        # None: as the batch comes
        in_shardings=(placement.state, None, *([placement.replicated] if guarded else [])),
        out_shardings=(placement.state, placement.replicated),
    )


def make_evaluate(
    loss: Callable, placement: Placement | None = None, settings: Settings = DEFAULT
) -> Wrapped:
    """evaluate(state, batch) -> metrics of the model in evaluation mode; changes nothing.

    What a model draws there is the same for every batch and at every step.
    """

    def evaluate(state: TrainState, batch):
        params = best(state, settings.frozen)
        _, (_, metrics) = loss(params, state.model_state, batch, jax.random.key(0), False)
        return metrics

    if placement is None:
        return jax.jit(evaluate)
    return jax.jit(placement.traced(evaluate), out_shardings=placement.replicated)


def make_predict(
    predict: Callable, placement: Placement | None = None, settings: Settings = DEFAULT
) -> Wrapped:
    """predict(state, inputs) -> the model's results in evaluation mode."""

    def run(state: TrainState, inputs):
        return predict(best(state, settings.frozen), state.model_state, inputs)

    if placement is None:
        return jax.jit(run)
    return jax.jit(placement.traced(run), out_shardings=placement.replicated)


def rates(
    optimizer: optax.GradientTransformation, state: TrainState, settings: Settings = DEFAULT
) -> dict[str, float]:
    """The learning rates of the step to come, and what else follows a schedule.

    Schedules count in single numbers of the optimizer's state. Its arrays, and the gradients, are
    taken as 0, so that nothing large is computed.
    """
    optimizer = optax.with_extra_args_support(optimizer)
    leaves = leaves_by_path(state.opt_state)
    numbers = {path: a.addressable_data(0) for path, a in leaves.items() if a.ndim == 0}

    def told(numbers):
        arrays = {path: jnp.zeros(a.shape, a.dtype) for path, a in leaves.items() if a.ndim}
        opt_state = rebuild(state.opt_state, {**arrays, **numbers})
        trained, _ = split(state.params, settings.frozen)
        zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), trained)
        return hyperparameters(optimizer.update(zeros, opt_state, zeros, value=jnp.float32(0))[1])

    return {name: float(value) for name, value in jax.jit(told)(numbers).items()}


def accumulated(loss: Callable, settings: Settings) -> Callable:
    """differentiate(state, batch) -> (gradients, model state, metrics), over all microbatches.

    Gradients are those of the trained parameters.

    The loss is a mean, a sum over a count, so the gradient of the whole batch is the sum of the
    parts' gradients, each times its count, over the whole count. Sums are kept in float32 or
    wider. The scale of the loss is the same for all parts and taken out once, at the end.
    """
    microbatches, scaled = settings.microbatches, settings.loss_scale is not None

    def part(state: TrainState, model_state, batch, key):
        trained, frozen = split(state.params, settings.frozen)

        def scaled_loss(trained):
            value, aux = loss(join(trained, frozen), model_state, batch, key, True)
            return wide(value) * state.scale.value if scaled else value, aux

        (_, aux), gradients = jax.value_and_grad(scaled_loss, has_aux=True)(trained)
        return gradients, *aux

    def parts(state: TrainState, batch, key):
        def one(carry, given):
            sums, model_state = carry
            index, microbatch = given
            key_of_part = jax.random.fold_in(key, index)
            gradients, model_state, metrics = part(state, model_state, microbatch, key_of_part)
            count = metrics["loss"][1]
            sums = jax.tree.map(lambda total, g: total + wide(g) * count, sums, gradients)
            return (sums, model_state), metrics

        trained, _ = split(state.params, settings.frozen)
        zeros = jax.tree.map(lambda leaf: jnp.zeros_like(wide(leaf)), trained)
        given = (jnp.arange(microbatches), cut(batch, microbatches))
        (sums, model_state), metrics = jax.lax.scan(one, (zeros, state.model_state), given)
        metrics = jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), metrics)
        gradients = jax.tree.map(lambda total: over(total, metrics["loss"][1]), sums)
        return gradients, model_state, metrics

    def differentiate(state: TrainState, batch):
        key = step_key(state)
        if microbatches == 1:
            gradients, model_state, metrics = part(state, state.model_state, batch, key)
        else:
            gradients, model_state, metrics = parts(state, batch, key)
        if scaled:
            gradients = jax.tree.map(lambda g: wide(g) / state.scale.value, gradients)
        trained, _ = split(state.params, settings.frozen)
        gradients = jax.tree.map(lambda g, p: g.astype(p.dtype), gradients, trained)
        return gradients, model_state, metrics

    return differentiate


def over(total: jax.Array, count: jax.Array) -> jax.Array:
    """A mean from its sum and count; of nothing 0, as where a mask leaves no target of a batch."""
    return total / jnp.where(count == 0, 1, count)


def cut(batch: Any, parts: int) -> Any:
    """The batch in parts, along a new leading axis.

    Part i holds the examples i, i + parts, …: where a batch lies in blocks on several devices,
    each device so holds its share of every part already.
    """

    def one(array):
        size, *rest = array.shape
        if size % parts:
            raise RunError(f"a batch of {size} examples cannot be cut into {parts} microbatches.")
        return jnp.swapaxes(array.reshape(size // parts, parts, *rest), 0, 1)

    return jax.tree.map(one, batch)


def all_finite(tree: Any) -> jax.Array:
    """bool[]: whether every number of a tree is finite, on all devices together."""
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]))


def stays_finite(old: Any, new: Any) -> jax.Array:
    """bool[]: whether every number of `new` is finite, or what it is in `old`.

    A state may begin at infinity, as that of a running minimum does.
    """
    pairs = zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True)
    flags = [jnp.all(jnp.isfinite(b) | (a == b)) for a, b in pairs]
    return jnp.all(jnp.array(flags, bool))


def scalars(tree: Any) -> list[jax.Array]:
    """The leaves of a tree that are one floating-point number."""
    leaves = jax.tree.leaves(tree)
    return [a for a in leaves if a.ndim == 0 and jnp.issubdtype(a.dtype, jnp.floating)]


def choose(condition: jax.Array, yes: Any, no: Any) -> Any:
    """One tree or the other of equal shape, leaf by leaf."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)


def wide(array: jax.Array) -> jax.Array:
    """In float32, or as it is if it is wider."""
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))


def norm(tree: Any) -> jax.Array:
    """The Euclidean norm over all leaves, summed in float32."""
    squares = [jnp.sum(jnp.square(leaf.astype(jnp.float32))) for leaf in jax.tree.leaves(tree)]
    return jnp.sqrt(jnp.sum(jnp.stack(squares))) if squares else jnp.float32(0)
