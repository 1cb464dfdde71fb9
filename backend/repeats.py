"""Copies of a layer in sequence: `lax.scan` over their parameters or, unrolled, a Python loop."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..ir.core import Op
from .calls import Callee, again, callee, copy_keys, for_arrays, outputs, recomputed, tied
from .loops import loop, opening, packed
from .metrics import report_child
from .scope import Scope, words

if TYPE_CHECKING:
    from .body import Body


@dataclass
class Copy:
    """One copy's call.

    Attributes:
        called: what is called.
        count: source of the number of copies.
        carry: names of what is handed on, with their first values.
        slices: names of what is dealt out, with what they are slices of.
        keys: how many of these are keys, of which there are none in evaluation.
        call: source of the call.
        gives: names for what it gives, of which `stacked` are stacked.
    """

    called: Callee
    count: str
    carry: list[tuple[str, str]] = field(default_factory=list)
    slices: list[tuple[str, str]] = field(default_factory=list)
    keys: int = 0
    call: str = ""
    gives: list[str] = field(default_factory=list)
    stacked: list[str] = field(default_factory=list)


def repeat(body: Body, at: int, op: Op) -> None:
    """Copies in sequence, as the plan has it."""
    unrolls = body.model.unrolls(body.function.instance, op["child"])
    operands = [body.array(o).text for o in op.operands]
    becomes = {argument for _, argument in op["carried"]}
    shared = [t for i, t in enumerate(operands) if i not in becomes and i not in op["dealt"]]
    kept = {w for text in shared for w in words(text)}
    # Names inside a function may hide those around it, but for the ones that the call reads.
    scope = body.scope if unrolls else Scope(body.model.taken, body.scope, kept)
    copy = _copy(body, op, operands, scope, unrolls)
    if unrolls:
        _unrolled(body, at, op, copy)
    else:
        _scanned(body, at, op, copy, scope)


def _copy(body: Body, op: Op, operands: list[str], scope: Scope, unrolls: bool) -> Copy:
    called, count = callee(body, op), body.function.dim(op["along"])
    found, child = called.effects, called.child
    copy = Copy(called, count)

    def dealt(base: str, source: str) -> str:
        copy.slices.append((scope.temporary(base), source))
        return copy.slices[-1][0]

    args = [dealt("layer", f'params["{child}"]')] if found.params else []
    state = [dealt("layer_state", body.function.state_of(child))] if found.state else []
    args += state
    carried = dict(op["carried"])
    names: dict[int, str] = {}  # of the arguments that are carried
    for index, (value, text) in enumerate(zip(called.inputs, operands, strict=True)):
        if index in carried.values():
            names[index] = scope.temporary(value.label or "x")
            args.append(names[index])
        else:
            args.append(dealt(value.label or "x", text) if index in op["dealt"] else text)
    if found.key:
        args.append(dealt("layer_key", copy_keys(body, op, count)))
        copy.keys = 1
    if unrolls and again(op):
        function = scope.temporary(f"{child}_again")
        body.emit(f"{function} = {recomputed(body, op, for_arrays(called))}")
    else:
        function = called.function
        args += ["train"] if found.train or found.key else []
    copy.call = f"{function}({', '.join(args)})"
    copy.carry = [(names[a], operands[a]) for a in carried.values()]
    for i in range(len(op.results)):
        name = names[carried[i]] if i in carried else scope.temporary(f"y{i}" if i else "y")
        copy.gives.append(name)
        copy.stacked += [name] if i not in carried else []
    more = [*state, *([scope.temporary("found")] if found.metrics else [])]
    copy.gives += more
    copy.stacked += more
    return copy


def _scanned(body: Body, at: int, op: Op, copy: Copy, scope: Scope) -> None:
    names, slices = [n for n, _ in copy.carry], [n for n, _ in copy.slices]
    step = body.temporary("step")
    body.emit("")
    for line in opening(step, names, slices, scope.temporary, "copy"):
        body.emit(line)
    if copy.gives == names and len(names) == 1 and body.indent + len(copy.call) <= 80:
        body.emit(f"    return {copy.call}, None")
    else:
        body.emit(f"    {', '.join(copy.gives)} = {copy.call}")
        body.emit(f"    return {packed(names)}, {packed(copy.stacked)}")
    body.emit("")
    if again(op):  # in a loop, nothing can merge what is computed twice
        body.emit(f"{step} = {recomputed(body, op, step, ', prevent_cse=False')}")
    carried = dict(op["carried"])
    finals = [body.target(op.results[i], at) for i in carried]
    ys = [body.target(r, at) for i, r in enumerate(op.results) if i not in carried]
    ys += outputs(body, copy.called, copies=True)
    first, sources = [s for _, s in copy.carry], [s for _, s in copy.slices]
    loop(body, op, step, first, sources, copy.count, finals, ys, len(sources) <= copy.keys)


def _unrolled(body: Body, at: int, op: Op, copy: Copy) -> None:
    """The copies one after the other."""
    body.model.use("copy_of")
    for name, source in copy.carry:
        body.emit(f"{name} = {source}")
    sources = []
    for name, source in copy.slices:
        if not source.startswith(("params[", "state[")) and not source.isidentifier():
            held = body.temporary(f"{name}s")
            body.emit(f"{held} = {source}")
            source = held
        sources.append((name, source))
    lists = [body.temporary(f"{copy.called.child}_{s}") for s in copy.stacked]
    for name in lists:
        body.emit(f"{name} = []")
    number = body.temporary("i")
    body.emit(f"for {number} in range({copy.count}):", op)
    for name, source in sources:
        body.emit(f"    {name} = copy_of({source}, {number})")
    if again(op):
        names = _differentiated(op, copy)
        if names:
            tied(body, names, names, "    ")
    body.emit(f"    {', '.join(copy.gives)} = {copy.call}")
    for name, given in zip(lists, copy.stacked, strict=True):
        body.emit(f"    {name}.append({given})")
    for name in lists:
        body.model.use("stacked")
        body.emit(f"{name} = stacked({name})")
    carried = dict(op["carried"])
    values = [op.results[i] for i in carried]
    values += [r for i, r in enumerate(op.results) if i not in carried]
    names = [*(name for name, _ in copy.carry), *lists]
    for value, name in zip(values, names, strict=False):
        body.hold(value.id, name)
    extra = names[len(values) :]
    if copy.called.effects.state:
        body.function.child_state[copy.called.child] = extra.pop(0)
    if copy.called.effects.metrics:
        report_child(body, copy.called.child, extra.pop(0), copies=True)


def _differentiated(op: Op, copy: Copy) -> list[str]:
    """The names, in a loop over copies, of the parameters and of what is handed on."""
    names = [copy.slices[0][0]] if copy.called.effects.params else []
    for (name, _), (_, argument) in zip(copy.carry, op["carried"], strict=True):
        names += [name] if copy.called.inputs[argument].type.kind == "float" else []
    return names
