"""Calls of other functions: once, and as copies side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..ir.core import Op, Value
from ..ir.effects import Effects, effects, salt
from ..ir.registry import Code
from .metrics import report_child
from .naming import quoted

if TYPE_CHECKING:
    from .body import Body


@dataclass(frozen=True)
class Callee:
    """What a call, or a repeat, runs.

    Attributes:
        child: its name in the instance that calls it.
        function: the name of the function.
        effects: what that takes and gives besides arguments and results.
        inputs: its arguments.
    """

    child: str
    function: str
    effects: Effects
    inputs: tuple[Value, ...]


def callee(body: Body, op: Op) -> Callee:
    """What an op calls."""
    model = body.model
    child = model.module.child_of(body.function.instance, op["child"])
    found = effects(model.module, child.path, op["variant"])
    name = model.function_name(child.path, op["variant"])
    return Callee(op["child"], name, found, child.variants[op["variant"]].inputs)


def acts(body: Body, op: Op) -> bool:
    """Whether a call does more than give its results."""
    found = callee(body, op).effects
    return found.state or found.metrics


def drawing_key(body: Body, op: Op) -> str:
    """Source of the key that an op draws by."""
    own = f"0x{op['salt']:08x}"
    if not body.salts:
        return f"random.fold_in({body.key}, {own})"
    body.model.use("fold")
    return f"fold({body.key}, {', '.join((*body.salts, own))})"


def key_for(body: Body, op: Op) -> str:
    """Source of the key that a call hands on."""
    body.model.use("fold")
    return f"fold({body.key}, 0x{salt(op['child'], op['occurrence']):08x})"


def copy_keys(body: Body, op: Op, count: str) -> str:
    """Source of the keys of all copies."""
    body.model.use("copy_keys")
    return f"copy_keys({key_for(body, op)}, {count})"


def source(body: Body, op: Op, operands: list[Code]) -> Code:
    """Source of a call."""
    called = callee(body, op)
    found, child = called.effects, called.child
    args = [f'params["{child}"]'] if found.params else []
    args += [body.function.state_of(child)] if found.state else []
    args += [o.text for o in operands]
    args += [key_for(body, op)] if found.key else []
    args += ["train"] if found.train or found.key else []
    return Code(f"{called.function}({', '.join(args)})")


def outputs(body: Body, called: Callee, copies: bool = False) -> list[str]:
    """Names for the states and metrics that a call, or all copies, give back."""
    names = []
    if called.effects.state:
        names.append(body.temporary(f"{called.child}_state"))
        body.function.child_state[called.child] = names[-1]
    if called.effects.metrics:
        names.append(body.temporary(f"{called.child}_metrics"))
        report_child(body, called.child, names[-1], copies)
    return names


def call(body: Body, at: int, op: Op) -> None:
    """A call as a statement."""
    code = source(body, op, [body.array(o) for o in op.operands])
    names = [body.target(r, at) for r in op.results]
    names += outputs(body, callee(body, op))
    body.emit(f"{', '.join(names)} = {code.text}", op)


def each(body: Body, at: int, op: Op) -> None:
    """Copies side by side: `jax.vmap`."""
    called, count = callee(body, op), body.function.dim(op["along"])
    found, child = called.effects, called.child
    args: list[tuple[str, bool]] = []  # source, and whether it is dealt out
    args += [(f'params["{child}"]', True)] if found.params else []
    args += [(body.function.state_of(child), True)] if found.state else []
    args += [(body.array(o).text, i in op["dealt"]) for i, o in enumerate(op.operands)]
    args += [(copy_keys(body, op, count), True)] if found.key else []
    train = found.train or found.key
    function = f"lambda *a: {called.function}(*a, train)" if train else called.function
    axes = ", ".join("0" if dealt else "None" for _, dealt in args)
    axes += "," if len(args) == 1 else ""
    more = "" if any(dealt for _, dealt in args) else f", axis_size={count}"
    if spread := op.get("spread", ()):
        placed = ", ".join(quoted(axis) for axis in spread)
        more += f", spmd_axis_name={placed if len(spread) == 1 else f'({placed})'}"
    names = [body.target(r, at) for r in op.results]
    names += outputs(body, called, copies=True)
    given = ", ".join(text for text, _ in args)
    body.emit(f"{', '.join(names)} = jax.vmap({function}, ({axes}){more})({given})", op)
