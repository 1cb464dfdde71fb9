"""Text from a trained language model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .errors import RunError
from .state import KEY_IMPLEMENTATION, TrainState
from .step import Program


def sample(
    program: Program,
    state: TrainState,
    prompt: Sequence[int],
    *,
    length: int,
    window: int,
    known: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    seed: int = 0,
    field: str = "tokens",
) -> Iterator[int]:
    """Yield `length` ids that follow `prompt`, one at a time, each below `known`.

    The model always sees `window` tokens, so it is compiled once: until the window is full the
    rest of it is padding, which a causal model's answer does not depend on; then it moves along.
    temperature: 0 takes the likeliest id; top_k: draw among that many likeliest ones only.
    """
    if program.predict is None:
        raise RunError("model.py has no predict, so there is nothing to sample from.")
    predict = program.predict

    def draw(state: TrainState, tokens: jax.Array, last: jax.Array, key: jax.Array) -> jax.Array:
        logits = jax.tree.leaves(predict(state, {field: tokens[None]}))[0][0, last, :known]
        if temperature == 0:
            return jnp.argmax(logits)
        logits = logits.astype(jnp.float32) / temperature
        if top_k is not None:
            least = jax.lax.top_k(logits, min(top_k, logits.shape[-1]))[0][-1]
            logits = jnp.where(logits < least, -jnp.inf, logits)
        return jax.random.categorical(key, logits)

    _check_causal_lm(predict, program.abstract, field, window)
    compiled = jax.jit(draw)
    key = jax.random.key(seed, impl=KEY_IMPLEMENTATION)
    seen = list(prompt)
    for index in range(length):
        tail = seen[-window:]
        tokens = np.zeros(window, np.int32)
        tokens[: len(tail)] = tail
        token = compiled(state, tokens, np.int32(len(tail) - 1), jax.random.fold_in(key, index))
        seen.append(int(token))
        yield seen[-1]


def _check_causal_lm(predict: Callable, state: TrainState, field: str, window: int) -> None:
    tokens: Any = jax.ShapeDtypeStruct((1, window), jnp.int32)
    try:
        result = jax.eval_shape(predict, state, {field: tokens})
    except KeyError as error:
        raise RunError(
            f"the model takes the input {error}, not only '{field}': it is no language model that"
            " text could be sampled from."
        ) from None
    logits = jax.tree.leaves(result)[0]
    if logits.ndim != 3 or logits.shape[:2] != (1, window):
        raise RunError(
            f"the model gives {list(logits.shape)} for tokens [1, {window}]; text can be sampled"
            " from a model that gives logits [batch, sequence, vocabulary]."
        )
