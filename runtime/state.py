"""The train state: everything that a run has to remember, as one pytree.

Leaves are known by *path*, a tuple of strings such as ``("params", "blocks", "attn", "wq")`` or
``("opt_state", "1", "mu", "embed")``. No class name is part of a path, so a state can be handed to
a program that is written differently (unrolled or scanned, sharded or not) as long as its leaves
have the same names and shapes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from optax.contrib import ScheduleFreeState

from . import scale as loss_scaling
from .errors import RunError
from .settings import DEFAULT, Settings

Path = tuple[str, ...]

# Named, because the default implementation is a global setting that anyone may change; a run that
# is resumed must go on with the bits that it began with.
KEY_IMPLEMENTATION = "threefry2x32"


class TrainState(NamedTuple):
    """One moment of a run.

    params:      nested dict of arrays, trained ones and frozen ones
    opt_state:   the optimizer's own state, as optax gives it, for the trained ones only
    model_state: nested dict of what the model updates outside the gradient (may be empty)
    rng:         uint32[2], key data; it never changes, a step's key is ``fold_in(rng, step)``
    step:        int32[], how many steps have been made
    scale:       the loss scale of the next step, 1 where losses are not scaled
    ema:         the moving average of the trained params; {} where none is kept
    """

    params: Any
    opt_state: Any
    model_state: Any
    rng: jax.Array
    step: jax.Array
    scale: loss_scaling.LossScale
    ema: Any


def create(
    model: Any,
    optimizer: Any,
    seed: int | jax.Array,
    settings: Settings = DEFAULT,
    given: Mapping[str, Any] = MappingProxyType({}),
) -> TrainState:
    """The state of step 0; a pure function of the seed, so it can be jitted or only shaped.

    `given` has values that are not drawn: nested dicts of some parameters under "params", of what
    the model updates under "model_state".
    Raises RunError where a frozen path is none of the parameters'.
    """
    init_key, run_key = jax.random.split(jax.random.key(seed, impl=KEY_IMPLEMENTATION))
    params = join(model.init_params(init_key), given.get("params"))
    trained, _ = split(params, settings.frozen)
    return TrainState(
        params=params,
        opt_state=optimizer.init(trained),
        model_state=join(model.init_state(), given.get("model_state")),
        rng=jax.random.key_data(run_key),
        step=jnp.zeros((), jnp.int32),
        scale=loss_scaling.create(settings.loss_scale),
        ema={} if settings.ema is None else jax.tree.map(jnp.array, trained),
    )


def step_key(state: TrainState) -> jax.Array:
    """The key of the step that `state` is about to make."""
    key = jax.random.wrap_key_data(state.rng, impl=KEY_IMPLEMENTATION)
    return jax.random.fold_in(key, state.step)


def leaves_by_path(tree: Any) -> dict[Path, Any]:
    """All leaves of a pytree by path, in the tree's order."""
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {tuple(_part(key) for key in keys): leaf for keys, leaf in flat}


def part_names(only: Collection[str]) -> Collection[str]:
    """The same names, of parts of a state. RunError if one is none."""
    for name in only:
        if name not in TrainState._fields:
            raise RunError(
                f"only: a state has no part {name!r}; it has {', '.join(TrainState._fields)}."
            )
    return only


def rebuild(tree: Any, leaves: dict[Path, Any]) -> Any:
    """A tree of the shape of `tree` with the given leaves. KeyError if one is lacking."""
    return jax.tree.unflatten(
        jax.tree.structure(tree), [leaves[path] for path in leaves_by_path(tree)]
    )


def split(params: Any, frozen: Sequence[str]) -> tuple[Any, Any]:
    """Nested dicts of the trained and of the frozen parameters.

    `frozen` has paths of parameters, or of instances, whose parameters are then all frozen.
    Raises RunError where a path is none of the parameters', and where nothing is left to train.
    """
    if not frozen:
        return params, {}
    trained: dict[str, Any] = {}
    held: dict[str, Any] = {}
    unused = set(frozen)
    for path, leaf in leaves_by_path(params).items():
        prefixes = {".".join(path[:n]) for n in range(1, len(path) + 1)}
        _put(held if prefixes & set(frozen) else trained, path, leaf)
        unused -= prefixes
    if unused:
        raise RunError(f"frozen: the model has no parameters under {', '.join(sorted(unused))}.")
    if not trained:
        raise RunError("frozen: no parameter is left to be trained.")
    return trained, held


def join(a: Any, b: Any) -> Any:
    """Nested dicts with the leaves of both, such as `split` took apart; those of `b` prevail."""
    return nested({**leaves_by_path(a), **leaves_by_path(b)}) if b else a


def nested(leaves: Mapping[Path, Any]) -> dict[str, Any]:
    """Nested dicts with these leaves."""
    tree: dict[str, Any] = {}
    for path, leaf in leaves.items():
        _put(tree, path, leaf)
    return tree


def best(state: TrainState, frozen: Sequence[str]) -> Any:
    """The parameters to evaluate and to predict with: averaged ones, where there are such.

    That is the moving average where it is kept, else what a schedule-free optimizer averages
    (`optax.contrib.schedule_free_eval_params`), for the parameters that it trains.
    """
    if state.ema:
        return join(state.ema, split(state.params, frozen)[1])
    found = leaves_by_path(state.params)
    for node in jax.tree.leaves(state.opt_state, is_leaf=_is_schedule_free):
        if _is_schedule_free(node):
            for path, z in leaves_by_path(node.z).items():
                y = found[path]
                found[path] = ((y - (1 - node.b1) * z) / node.b1).astype(y.dtype)
    return rebuild(state.params, found)


def _is_schedule_free(node: Any) -> bool:
    return isinstance(node, ScheduleFreeState)


def hyperparameters(opt_state: Any) -> dict[str, jax.Array]:
    """The learning rates in effect, and what else follows a schedule, by name.

    They stand where `optax.inject_hyperparams` puts them. Those of a group of parameters
    (`optax.partition`) are called learning_rate.GROUP, but those of "default" learning_rate.
    """
    found: dict[str, jax.Array] = {}
    leaves = leaves_by_path(opt_state)
    for path, leaf in leaves.items():
        if "hyperparams" not in path[-2:-1]:
            continue
        scheduled = (*path[:-2], "hyperparams_states", path[-1])
        if path[-1] != "learning_rate" and all(p[: len(path)] != scheduled for p in leaves):
            continue
        groups = [path[i + 1] for i, part in enumerate(path) if part == "inner_states"]
        groups = [group for group in groups if group != "default"]
        found.setdefault(".".join([path[-1], *groups]), leaf)
    return found


def _put(tree: dict[str, Any], path: Path, leaf: Any) -> None:
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
    tree[path[-1]] = leaf


def count_parameters(state: TrainState) -> int:
    """How many numbers are trained."""
    return sum(leaf.size for leaf in jax.tree.leaves(state.params))


def _part(key: Any) -> str:
    for attribute in ("name", "key", "idx"):  # of a NamedTuple or dataclass, a dict, a sequence
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)
