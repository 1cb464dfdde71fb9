"""Weights that were made elsewhere, put into the tree of a program's parameters.

table = {
    "lm.embed.table": "decoder/Embed_0/embedding",
    "lm.blocks.attn_norm": "decoder/encoderdecoderblock_{}/LayerNorm_0",
}
params = mapped(jax.eval_shape(program.init_params, key), variables["params"], table)
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from .ir.diagnostics import Diagnostic, InputError, nearest

Rule = Callable[[Callable[[str], Any]], Any]
"""Makes an array, given a function from paths of the source to arrays."""


def mapped(
    like: Any,
    source: Mapping[str, Any],
    table: Mapping[str, str | Rule],
    *,
    sign: str = "/",
    whole: bool = True,
) -> Any:
    """The arrays of `source` in the tree of `like`.

    Args:
        like: nested dicts of arrays, or of what has a shape and dtype.
        source: nested dicts of arrays, such as Flax's.
        table: says for each path of `like` (`a.b`) what it gets: a path of `source` (`a/b`), or a
            function that is given a function from paths of `source` to numpy arrays, and gives the
            array. A path to a dict stands for all below it that is named alike on both sides.
            `{}` in a path of `source` counts the copies of a repeat from 0, `{4}` from 4; they are
            stacked along the first dim.
        sign: what parts paths of `source`.
        whole: whether all of `source` is to be used.

    An array may be cut into more dims than it has in `source`, or fewer; it is never transposed.
    It is cast between kinds of floating point numbers, or of whole numbers, but not otherwise.

    Raises:
        InputError: something is missing, not used, of another shape or kind, or more than a dtype
            can hold; all of it is told.
    """
    import numpy as np

    wanted, given = flat(like, "."), flat(source, sign)
    problems: list[Diagnostic] = []
    used: set[str] = set()

    def complain(code: str, message: str, help: str = "") -> None:
        problems.append(Diagnostic(code, message, help=help))

    def find(path: str) -> Any:
        if path not in given:
            close = nearest(path, given)
            complain("no-weights", f"the source has no {path}", close[0] if close else "")
            raise _Missing
        used.add(path)
        return np.asarray(given[path])

    def get(rule: str | Rule, copies: int) -> Any:
        if not isinstance(rule, str):
            return rule(find)
        counted = re.search(r"\{(\d*)\}", rule)
        if counted is None:
            return find(rule)
        start = int(counted[1] or 0)
        paths = [re.sub(r"\{\d*\}", str(start + n), rule) for n in range(copies)]
        return np.stack([find(path) for path in paths])

    made = {}
    for path, leaf in wanted.items():
        named = [p for p in _above(path) if p in table]
        if not named:
            complain("no-rule", f"nothing is said of {path}", f'"{path}": "…"')
            continue
        rule = table[named[0]]
        if isinstance(rule, str) and named[0] != path:
            rule = sign.join([rule, *path[len(named[0]) + 1 :].split(".")])
        try:
            array = get(rule, leaf.shape[0] if leaf.shape else 0)
        except _Missing:
            continue
        if not _same(array.shape, leaf.shape):
            shapes = f"{tuple(array.shape)}, not {tuple(leaf.shape)}"
            complain("other-shape", f"what {path} gets has the shape {shapes}")
            continue
        if not _same_kind(array.dtype, leaf.dtype):
            complain("other-dtype", f"what {path} gets is {array.dtype}, not {leaf.dtype}")
            continue
        with np.errstate(over="ignore"):  # it is told below
            made[path] = array.reshape(leaf.shape).astype(leaf.dtype)
        if not _kept(array.reshape(leaf.shape), made[path]):
            complain("out-of-range", f"what {path} gets has numbers that {leaf.dtype} cannot hold")
    for path in set(table) - {p for w in wanted for p in _above(w)}:
        close = nearest(path, wanted)
        complain("no-parameter", f"there is no {path}", close[0] if close else "")
    if whole and not problems and set(given) - used:
        left = ", ".join(sorted(set(given) - used))
        complain("not-used", f"nothing gets {left}")
    if problems:
        raise InputError(problems)
    return _tree(made)


class _Missing(Exception):
    """What was asked for is not there, and has been complained about."""


def flat(tree: Mapping[str, Any], sign: str, above: str = "") -> dict[str, Any]:
    """The leaves of nested dicts by their paths."""
    made = {}
    for name, value in tree.items():
        path = f"{above}{sign}{name}" if above else name
        made.update(flat(value, sign, path) if isinstance(value, Mapping) else {path: value})
    return made


def _tree(leaves: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for path, value in leaves.items():
        *above, name = path.split(".")
        inner = made
        for part in above:
            inner = inner.setdefault(part, {})
        inner[name] = value
    return made


def _above(path: str) -> list[str]:
    """A path and those above it, the longest first."""
    parts = path.split(".")
    return [".".join(parts[:n]) for n in range(len(parts), 0, -1)]


def _same(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether shapes are the same but for dims that are cut into several, or of size 1."""
    first, second = ({math.prod(s[:n]) for n in range(len(s) + 1)} for s in (one, other))
    return math.prod(one) == math.prod(other) and (first <= second or second <= first)


def _kept(array: Any, cast: Any) -> bool:
    """Whether a cast has kept whole numbers, and has made no others infinite."""
    import numpy as np

    if array.dtype == cast.dtype:
        return True
    if np.issubdtype(array.dtype, np.integer):
        return bool((array == cast).all())
    return bool((np.isfinite(cast) | ~np.isfinite(array)).all())


def _same_kind(one: Any, other: Any) -> bool:
    """Whether dtypes are both of floating point numbers, both of whole ones, or the same."""
    import jax.numpy as jnp

    kinds = (jnp.floating, jnp.integer, jnp.complexfloating)
    return one == other or any(
        jnp.issubdtype(one, kind) and jnp.issubdtype(other, kind) for kind in kinds
    )
