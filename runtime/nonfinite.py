"""Where the first value that is not finite comes from, in whatever a jaxpr computes.

The jaxpr of a function is evaluated equation by equation, as it is written, and each value that
holds NaN or infinity carries what brought it in: the equation that made it of nothing bad, or else
what brought in the earliest of the bad operands it was made of. So a result that went bad names its
cause. What never reaches the result, such as NaN behind a mask, is not blamed; nor is an infinity
that the author wrote, until something makes NaN of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, jaxpr_as_fun

OPAQUE = ("while", "cond", "shard_map")  # not looked into


@dataclass(frozen=True)
class Range:
    """What numbers an array held: the smallest and largest finite ones, and how many are not.

    least and most are None where none is finite, and of what holds no numbers.
    """

    dtype: str
    shape: tuple[int, ...]
    least: float | None
    most: float | None
    nan: int
    infinite: int
    zeros: int

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))


@dataclass(frozen=True)
class Origin:
    """What made the first bad value.

    order:      its place in time among all origins
    equation:   the equation; None if the value was given to the function
    given:      then the number of that argument
    outer:      the equations around, outermost first
    steps:      for each of those the iteration, counted from 0, of a scan; None of other ones
    around:     the jaxprs in which those, and last the equation, stand
    operands, results: what it took and what it gave
    """

    order: int
    equation: JaxprEqn | None
    given: int = -1
    outer: tuple[JaxprEqn, ...] = ()
    steps: tuple[int | None, ...] = ()
    around: tuple[Jaxpr, ...] = ()
    operands: tuple[Range, ...] = ()
    results: tuple[Range, ...] = ()


WRITTEN = "written"  # the cause of infinities that stand in the source

Cause = Origin | str | None  # None: all is finite


@dataclass(frozen=True)
class _Value:
    """An array and its cause; parts: of what a scan stacked, the cause of each slice."""

    array: Any
    cause: Cause = None
    parts: tuple[Cause, ...] | None = None


def first_nonfinite(
    function: Callable, arguments: tuple, wanted: Callable[[Any], Sequence[Any]]
) -> tuple[Origin | None, int]:
    """Where the first bad value comes from that reaches a result, and which group that is in.

    None and -1 if all is finite.

    function:  of arrays and trees of them, that can be traced
    arguments: what it is given
    wanted:    picks from the tree of results those that are asked about, in groups, each a tree;
               the first group with a bad value in it counts
    """
    closed, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
    numbers = jax.tree.unflatten(jax.tree.structure(shapes), range(len(closed.out_avals)))
    groups = [jax.tree.leaves(group) for group in wanted(numbers)]
    run = _Run()
    given = [_Value(a, run.given(i, a)) for i, a in enumerate(jax.tree.leaves(arguments))]
    values = run.values(closed, given, [], until=groups[0])
    for number, group in enumerate(groups):
        cause = _earliest(values[i].cause for i in group)
        if isinstance(cause, Origin):
            return cause, number
    return None, -1


class _Run:
    """One evaluation; counts the origins it finds."""

    def __init__(self) -> None:
        self._found = 0

    def given(self, number: int, array: Any) -> Cause:
        """The cause that an argument brings in."""
        if _finite(array):
            return None
        self._found += 1
        return Origin(self._found, None, given=number, results=(_range(array),))

    def values(
        self,
        closed: ClosedJaxpr,
        arguments: Sequence[_Value],
        around: list[tuple[Jaxpr, JaxprEqn, int | None]],
        until: Sequence[int] = (),
    ) -> list[_Value]:
        """The results of a jaxpr; those left out once all results `until` are there, one bad.

        around: the jaxprs around with the equations there that led here, and their iterations
        """
        jaxpr = closed.jaxpr
        known: dict[Any, _Value] = {
            var: _Value(const, None if _finite(const) else WRITTEN)
            for var, const in zip(jaxpr.constvars, closed.consts, strict=True)
        }
        known |= zip(jaxpr.invars, arguments, strict=True)
        last = {
            var: eqn for eqn in jaxpr.eqns for var in eqn.invars if not isinstance(var, Literal)
        }
        kept = {var for var in jaxpr.outvars if not isinstance(var, Literal)}
        asked = [jaxpr.outvars[i] for i in until]

        def read(var: Any) -> _Value:
            if isinstance(var, Literal):
                return _Value(var.val, None if _finite(var.val) else WRITTEN)
            return known.get(var, _Value(None))

        for eqn in jaxpr.eqns:
            operands = [read(var) for var in eqn.invars]
            inner = called(eqn)
            if eqn.primitive.name == "scan":
                results = self._scan(eqn, operands, [*around, (jaxpr, eqn, None)])
            elif inner is not None:
                results = self.values(inner, operands, [*around, (jaxpr, eqn, None)])
            else:
                results = self._alone(eqn, operands, around, jaxpr)
            known |= zip(eqn.outvars, results, strict=True)
            for var in eqn.invars:
                if not isinstance(var, Literal) and last[var] is eqn and var not in kept:
                    known.pop(var, None)  # its memory is free
            if asked and all(isinstance(v, Literal) or v in known for v in asked):
                if _earliest(read(v).cause for v in asked) is not None:
                    break
                asked = []
        return [read(var) for var in jaxpr.outvars]

    def _alone(
        self, eqn: JaxprEqn, operands: Sequence[_Value], around: list, jaxpr: Jaxpr
    ) -> list[_Value]:
        """The results of an equation that holds no others, or none that are looked into."""
        takes = {
            var: value.array
            for var, value in zip(eqn.invars, operands, strict=True)
            if not isinstance(var, Literal)
        }
        if eqn.primitive.name == "sharding_constraint":
            arrays = [operands[0].array]  # says where a value lies, and not what it is
        else:
            about = jaxpr.debug_info.with_unknown_names()
            alone = Jaxpr((), list(takes), eqn.outvars, [eqn], debug_info=about)
            arrays = jaxpr_as_fun(ClosedJaxpr(alone, ()))(*takes.values())
        if all(_finite(array) for array in arrays):
            return [_Value(array) for array in arrays]
        cause = _earliest(_causes(eqn, operands))
        if cause is None or (cause is WRITTEN and any(_has_nan(a) for a in arrays)):
            self._found += 1
            cause = Origin(
                self._found,
                eqn,
                outer=tuple(outer for _, outer, _ in around),
                steps=tuple(step for _, _, step in around),
                around=(*(outer for outer, _, _ in around), jaxpr),
                operands=tuple(_range(value.array) for value in operands),
                results=tuple(_range(array) for array in arrays),
            )
        return [_Value(array, None if _finite(array) else cause) for array in arrays]

    def _scan(self, eqn: JaxprEqn, operands: Sequence[_Value], around: list) -> list[_Value]:
        """The results of a scan, one iteration after the other."""
        params, (jaxpr, _, _) = eqn.params, around[-1]
        fixed, carried, length = params["num_consts"], params["num_carry"], params["length"]
        consts, carry = operands[:fixed], list(operands[fixed : fixed + carried])
        dealt = operands[fixed + carried :]
        stacks: list[list[_Value]] = [[] for _ in eqn.outvars[carried:]]
        steps = range(length)[::-1] if params["reverse"] else range(length)
        for step in steps:
            given = [*consts, *carry, *(_slice(value, step) for value in dealt)]
            found = self.values(params["jaxpr"], given, [*around[:-1], (jaxpr, eqn, step)])
            carry = found[:carried]
            for stack, value in zip(stacks, found[carried:], strict=True):
                stack.append(value)
        made = []
        for stack, var in zip(stacks, eqn.outvars[carried:], strict=True):
            ordered = stack[::-1] if params["reverse"] else stack
            whole = jnp.stack([v.array for v in ordered]) if stack else jnp.zeros(*_form(var))
            parts = tuple(value.cause for value in ordered)
            made.append(_Value(whole, _earliest(parts), parts))
        return [*carry, *made]


def called(eqn: JaxprEqn) -> ClosedJaxpr | None:
    """The jaxpr that an equation does no more than call: of jit, checkpoint, custom_jvp …"""
    if eqn.primitive.name in OPAQUE or eqn.primitive.name == "scan":
        return None
    found = [v for v in eqn.params.values() if isinstance(v, Jaxpr | ClosedJaxpr)]
    if len(found) != 1:
        return None
    closed = found[0] if isinstance(found[0], ClosedJaxpr) else ClosedJaxpr(found[0], ())
    inner, outer = [[_form(v) for v in (*j.invars, *j.outvars)] for j in (closed.jaxpr, eqn)]
    return closed if inner == outer else None


def _form(var: Any) -> tuple[tuple[int, ...], Any]:
    return var.aval.shape, var.aval.dtype


def _causes(eqn: JaxprEqn, operands: Sequence[_Value]) -> list[Cause]:
    """The causes of what an equation took; of a choice, only of what was chosen."""
    if eqn.primitive.name != "select_n":
        return [value.cause for value in operands]
    which, *cases = operands
    return [
        None
        if _finite(np.where(np.asarray(which.array) == i, np.asarray(case.array), 0))
        else case.cause
        for i, case in enumerate(cases)
        if case.cause is not None
    ]


def _slice(value: _Value, step: int) -> _Value:
    array = value.array[step]
    if value.parts is not None:
        return _Value(array, value.parts[step])
    return _Value(array, None if value.cause is None or _finite(array) else value.cause)


def _earliest(causes: Any) -> Cause:
    """The origin that came first; without any, whether infinities were written."""
    found = [cause for cause in causes if cause is not None]
    origins = [cause for cause in found if isinstance(cause, Origin)]
    return min(origins, key=lambda origin: origin.order) if origins else (found or [None])[0]


@jax.jit
def _all_finite(array: jax.Array) -> jax.Array:
    return jnp.isfinite(array).all()


def _finite(array: Any) -> bool:
    if not jnp.issubdtype(jnp.result_type(array), jnp.inexact):
        return True
    if isinstance(array, jax.Array) and next(iter(array.devices())).platform != "cpu":
        return bool(_all_finite(array))  # fetches one bit
    return bool(np.isfinite(np.asarray(array)).all())


def _has_nan(array: Any) -> bool:
    number = jnp.issubdtype(jnp.result_type(array), jnp.inexact)
    return number and bool(np.isnan(np.asarray(array)).any())


def _range(value: Any) -> Range:
    dtype = jnp.result_type(value)
    shape = tuple(jnp.shape(value))
    if not jnp.issubdtype(dtype, jnp.number):
        return Range(str(dtype), shape, None, None, 0, 0, 0)
    array = np.asarray(value)
    finite = array[np.isfinite(array)]
    return Range(
        str(dtype),
        shape,
        float(finite.min()) if finite.size else None,
        float(finite.max()) if finite.size else None,
        int(np.isnan(array).sum()),
        int(np.isinf(array).sum()),
        int((array == 0).sum()),
    )
