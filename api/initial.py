"""First values of a run's parameters, out of a file: `netwright train --init-from`."""

from __future__ import annotations

import hashlib
import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from .emitted import from_source
from .formats import Leaf, Weights, shown
from .ir.diagnostics import Diagnostic, InputError
from .weights import flat, mapped

if TYPE_CHECKING:
    import numpy as np

    from .backend.program import ProgramFiles

PARAMS, STATES = "params", "model_state"
NAME = "initial.safetensors"  # where a program looks, in the folder of its run
SUM = f"{NAME}.sha256"  # and what it compares that with, as sha256sum writes it


@dataclass(frozen=True)
class Initial:
    """Arrays that a run begins with.

    Attributes:
        arrays: by path in the train state, which begins with `params` or `model_state`.
        notes: what is to be told, a line each.
    """

    arrays: Mapping[tuple[str, ...], np.ndarray]
    notes: tuple[str, ...]

    def write(self, run: Path) -> None:
        """Put them into the folder of a run, where its program looks for them, with a checksum."""
        from .formats import safetensors

        leaves = {path: Leaf(a.shape, str(a.dtype)) for path, a in self.arrays.items()}
        partial = run / f".{NAME}-{uuid4().hex}"  # other processes may write theirs
        with partial.open("w+b") as file:
            safetensors.write(file, leaves, self.arrays.__getitem__)
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            found = hashlib.file_digest(file, "sha256").hexdigest()
        (run / SUM).write_text(f"{found}  {NAME}\n")
        os.replace(partial, run / NAME)


def initial(
    files: ProgramFiles,
    weights: Weights,
    rename: Path | None = None,
    only: Sequence[tuple[str, ...]] = (),
) -> Initial:
    """The arrays that a program begins with, out of weights from elsewhere.

    Args:
        files: the program.
        weights: nested as the program's parameters, or with those under `params` and its states
            under `model_state`, as in a train state; whatever else stands beside them is ignored.
        rename: a TOML file that says where each parameter is in `weights`; see `mapped`.
        only: the parameters that are taken, by path; all if empty.

    Raises:
        InputError: a parameter is missing, of another shape, or nothing gets an array; all of it
            is told.
    """
    wanted, states = _shapes(files)
    chosen = {
        path: leaf
        for path, leaf in {**wanted, **states}.items()
        if not only or any(path[: len(p)] == p for p in only)
    }
    for path in only:
        if not any(p[: len(path)] == path for p in chosen):
            raise _wrong("no-parameter", f"the model has no parameters at {shown(path)}")
    source = _source(weights)
    if rename is None:
        table = {".".join(path): ".".join(path) for path in chosen}
        absent = [path for path in states if path in chosen and path not in source]
        if len(absent) == len(states):  # the file has none: running averages begin anew
            for path in absent:
                del chosen[path], table[".".join(path)]
        _check_same(weights, chosen, source)
    else:
        table = _table(rename)
        if weights.below((PARAMS,)) and not weights.below((PARAMS, PARAMS)):
            # places may be written as `netwright ckpt ls` shows them
            table = {n: p.removeprefix(f"{PARAMS}.") for n, p in table.items()}
    like: dict[str, Any] = {}
    for path, leaf in chosen.items():
        inner = like
        for part in path[:-1]:
            inner = inner.setdefault(part, {})
        inner[path[-1]] = leaf
    seen: set[str] = set()  # dtypes of what was read
    lazy = {".".join(path): _Lazy(weights, place, seen) for path, place in source.items()}
    made = flat(mapped(like, lazy, table, sign=".", whole=not only), ".")
    arrays = {
        (PARAMS if path in wanted else STATES, *path): made[".".join(path)] for path in chosen
    }
    fresh = [path for path in (*wanted, *states) if path not in chosen]
    return Initial(arrays, tuple(_notes(weights, arrays, fresh, seen)))


class _Lazy:
    """An array that is read when numpy asks for it."""

    def __init__(self, weights: Weights, path: tuple[str, ...], seen: set[str]):
        self._weights, self._path, self._seen = weights, path, seen

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        array = self._weights.read(self._path)
        self._seen.add(str(array.dtype))
        return array if dtype is None else array.astype(dtype)


def _shapes(files: ProgramFiles) -> tuple[dict[tuple[str, ...], Any], dict[tuple[str, ...], Any]]:
    """Shapes and dtypes of the parameters and of the states of a program, by path."""
    import jax

    model = from_source("model", files.model)
    params = jax.eval_shape(lambda: model.init_params(jax.random.key(0)))
    states = jax.eval_shape(model.init_state)
    both = (flat(tree, "\0") for tree in (params, states))
    first, second = ({tuple(k.split("\0")): v for k, v in leaves.items()} for leaves in both)
    return first, second


def _source(weights: Weights) -> dict[tuple[str, ...], tuple[str, ...]]:
    """Where in the weights what has a path in the model may be found."""
    if not weights.below((PARAMS,)):
        return {path: path for path in weights.leaves}
    return {path[1:]: path for path in weights.leaves if path[0] in (PARAMS, STATES) and path[1:]}


def _check_same(weights: Weights, chosen: Mapping, source: Mapping) -> None:
    """Where nothing is said of what goes where, paths and shapes must be the same."""
    problems = []
    missing = [path for path in chosen if path not in source]
    if missing:
        there = [shown(path) for path in source]
        left = [name for name in there if tuple(name.split(".")) not in chosen]
        help = "--init-only PATH takes those that are there, and the rest is drawn"
        if left:
            help = "--init-map FILE.toml says where they are, a line each:\n"
            help += f'"{shown(missing[0])}" = "{left[0]}"'
        problems.append(
            Diagnostic(
                "no-weights",
                f"{weights.name} does not have {_listed(map(shown, missing))}",
                facts=(f"it has {_listed(there)}",),
                help=help,
            )
        )
    for path, leaf in chosen.items():
        given = weights.leaves[source[path]] if path in source else None
        if given is not None and given.shape != leaf.shape:
            wanted = Leaf(leaf.shape, str(leaf.dtype))
            told = f"{shown(path)} is {given} in {weights.name}, and {wanted} in the model"
            problems.append(Diagnostic("other-shape", told))
    if problems:
        raise InputError(problems)


def _listed(names: Iterable[str]) -> str:
    first = list(names)
    more = f" and {len(first) - 8} more" if len(first) > 8 else ""
    return ", ".join(first[:8]) + more


def _table(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as opened:
            table = tomllib.load(opened)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _wrong("bad-map", f"{file} is not TOML: {error}") from None
    made = {}
    for name, place in flat(table, ".").items():
        if not isinstance(place, str):
            raise _wrong(
                "bad-map",
                f"{file}: {name} should be the path of an array, in quotes",
                help=f'"{name}" = "layers.{{}}.kernel"',
            )
        made[name] = place.replace("/", ".")
    return made


def _notes(weights: Weights, arrays: Mapping, fresh: Sequence, seen: set[str]) -> list[str]:
    size = sum(array.size for array in arrays.values())
    count = f"{len(arrays)} array{'s' if len(arrays) != 1 else ''}, {size:,} numbers"
    lines = [f"{count}: taken from {weights.name}"]
    cast = seen - {str(array.dtype) for array in arrays.values()}
    if cast:
        into = {str(array.dtype) for array in arrays.values()}
        lines.append(f"{', '.join(sorted(cast))} is cast to {', '.join(sorted(into))}")
    if fresh:
        lines.append(f"drawn as the model says: {_listed(map(shown, fresh))}")
    return lines


def _wrong(code: str, message: str, help: str = "") -> InputError:
    return InputError([Diagnostic(code, message, help=help)])
