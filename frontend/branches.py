"""Branches on `train`: both are elaborated, and what either changes comes out of an op."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..ir.core import Op, Region, Value
from ..ir.diagnostics import Place
from . import tree
from .constants import is_constant
from .reading import OneBranch, StateName, Val

if TYPE_CHECKING:
    from .body import Body


@dataclass
class _Branch:
    """The ops of a branch, and what names and states are bound to at its end."""

    ops: tuple[Op, ...]
    names: dict[str, Any]
    states: dict[str, int]


def if_train(
    body: Body,
    node: tree.If,
    then: tuple[tree.Statement, ...],
    orelse: tuple[tree.Statement, ...],
) -> None:
    """A branch on `train`: names and states that either branch changes become its results."""
    if "train" in body.inside:
        raise body.shared.error(
            "train-inside-train", "this branch on train is inside another", node.span,
            help="join the two conditions",
        )  # fmt: skip
    branches = [_branch(body, True, then), _branch(body, False, orelse)]
    merged = [(name, False, ids) for name, ids in _merged(body, branches, node)]
    states = [b.states for b in branches]
    merged += [(name, True, [s[name] for s in states]) for name in _changed(body.states, states)]
    results = tuple(_result(body, name, ids, branches, node) for name, _, ids in merged)
    if not (merged or any(b.ops for b in branches)):
        return
    regions = tuple(
        Region((), branch.ops, tuple(ids[i] for _, _, ids in merged))
        for i, branch in enumerate(branches)
    )
    given = body.builder.append(Op("if_train", (), results, (), regions, span=node.span))
    for (name, is_state, _), id in zip(merged, given, strict=True):
        if is_state:
            body.states[name] = id
        else:
            body.names[name] = Val(id, node.span)


def _branch(body: Body, training: bool, statements: tuple[tree.Statement, ...]) -> _Branch:
    """One branch, elaborated; names and states of the body are left as they were."""
    names, states = body.names, body.states
    body.names, body.states = dict(names), dict(states)
    body.inside.append("train")
    body.training = training
    body.builder.open()
    try:
        body.run(statements)
    finally:
        done = _Branch(body.builder.close(), body.names, body.states)
        body.inside.pop()
        body.training = None
        body.names, body.states = names, states
    return done


def _changed(before: Mapping[str, Any], after: list[dict[str, Any]]) -> list[str]:
    """What is bound to something else at the end of a branch."""
    keys = dict.fromkeys(k for a in after for k in a)
    return [k for k in keys if any(a.get(k) is not before.get(k) for a in after)]


def _merged(body: Body, branches: list[_Branch], node: tree.If) -> Iterator[tuple[str, list[int]]]:
    """Names that get a value of their own, with the value of each branch; others are bound here."""
    for name in _changed(body.names, [b.names for b in branches]):
        left, right = (b.names.get(name) for b in branches)
        if isinstance(left, StateName) or isinstance(right, StateName):
            continue
        given = [g for g in (left, right) if g is not None and not isinstance(g, OneBranch)]
        if len(given) < 2:
            span = given[0].span if given and isinstance(given[0], Val) else node.span
            body.names[name] = OneBranch(span)
        elif all(is_constant(g) for g in given) and left == right:
            body.names[name] = left
        elif all(isinstance(g, Val) or is_constant(g) for g in given):
            yield name, _ids(body, branches, given, node)
        else:
            body.names[name] = given[0]


def _ids(body: Body, branches: list[_Branch], given: list[Any], node: tree.If) -> list[int]:
    """Ids of what each branch binds a name to; a constant becomes a value of its branch."""
    kinds = [body.builder.type(g.id).kind for g in given if isinstance(g, Val)]
    ids = []
    for branch, g in zip(branches, given, strict=True):
        if isinstance(g, Val):
            ids.append(g.id)
            continue
        body.builder.open()
        ids.append(body.constant(g, node.condition, "float" if "float" in kinds else None))
        branch.ops = (*branch.ops, *body.builder.close())
    return ids


def _result(body: Body, name: str, ids: list[int], branches: list[_Branch], node: tree.If) -> Value:
    """What a name or state is after the branches, which must agree on its type."""
    first, second = (body.builder.type(id) for id in ids)
    if first.dims != second.dims or first.kind != second.kind:
        bound = [getattr(b.names.get(name), "span", None) for b in branches]
        spans = [s for s in bound if s is not None]
        shown = [body.shown(id) for id in ids]
        raise body.shared.error(
            "branches-differ",
            f"{name} is {shown[0]} in training and {shown[1]} otherwise",
            spans[-1] if spans else node.span,
            caption=shown[1] if len(spans) == 2 else "",
            places=(Place(spans[0], shown[0]),) if len(spans) == 2 else (),
            help="both branches must give it the same dims",
        )
    body.statement = name
    return Value(-1, first, body.label(name, "if_train"))
