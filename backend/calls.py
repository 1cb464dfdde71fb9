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
    """Whether a call does more than give its results, or takes more than an expression."""
    found = callee(body, op).effects
    return found.state or found.metrics or again(op)


def again(op: Op) -> bool:
    """Whether the plan has the body of a call run again for its gradient."""
    return op.get("keeps") is not None


def recomputed(body: Body, op: Op, function: str, more: str = "") -> str:
    """Source of a function that is run again for its gradient, but for what the plan keeps.

    Args:
        more: further arguments of `jax.checkpoint`.
    """
    policies = "jax.checkpoint_policies"
    kept, moved = (", ".join(map(quoted, op[names])) for names in ("keeps", "offloads"))
    policy = ""
    if op["keeps"] or op["offloads"]:
        name = body.temporary("keep")
        policy = f", policy={name}"
        if op["offloads"]:
            source = (
                f"save_and_offload_only_these_names(names_which_can_be_saved=[{kept}], "
                f'names_which_can_be_offloaded=[{moved}], offload_src="device", '
                'offload_dst="pinned_host")'
            )
        else:
            source = f"save_only_these_names({kept})"
        body.emit(f"{name} = {policies}.{source}")
    return f"jax.checkpoint({function}{policy}{more})"


def tied(body: Body, names: list[str], sources: list[str], indent: str = "") -> None:
    """Bind names to arrays whose gradients are to be ready together."""
    body.model.use("tied")
    left = f"{names[0]}," if len(names) == 1 else ", ".join(names)
    body.emit(f"{indent}{left} = tied({', '.join(sources)})")


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
    operands = [body.array(o) for o in op.operands]
    text = _recomputed_call(body, op, operands) if again(op) else source(body, op, operands).text
    names = [body.target(r, at) for r in op.results]
    names += outputs(body, callee(body, op))
    body.emit(f"{', '.join(names)} = {text}", op)


def _recomputed_call(body: Body, op: Op, operands: list[Code]) -> str:
    """Source of a call whose body is run again; its arguments that have gradients are tied."""
    called = callee(body, op)
    found, child = called.effects, called.child
    floats = [i for i, value in enumerate(called.inputs) if value.type.kind == "float"]
    args = [o.text for o in operands]
    names = [body.temporary(called.inputs[i].label or "x") for i in floats]
    sources = [args[i] for i in floats]
    for i, name in zip(floats, names, strict=True):
        args[i] = name
    if found.params:
        names.insert(0, body.temporary("layer"))
        sources.insert(0, f'params["{child}"]')
    before = names[:1] if found.params else []
    before += [body.function.state_of(child)] if found.state else []
    if names:
        tied(body, names, sources)
    args = [*before, *args, *([key_for(body, op)] if found.key else [])]
    function = recomputed(body, op, for_arrays(called))
    return f"{function}({', '.join(args)})"


def for_arrays(called: Callee) -> str:
    """Source of a called function that takes nothing but arrays: `train` is none."""
    train = called.effects.train or called.effects.key
    return f"lambda *a: {called.function}(*a, train)" if train else called.function


def each(body: Body, at: int, op: Op) -> None:
    """Copies side by side: `jax.vmap`, or `lax.map` where JAX has no such copies of some op."""
    called, count = callee(body, op), body.function.dim(op["along"])
    found, child = called.effects, called.child
    args: list[tuple[str, bool]] = []  # source, and whether it is dealt out
    args += [(f'params["{child}"]', True)] if found.params else []
    args += [(body.function.state_of(child), True)] if found.state else []
    args += [(body.array(o).text, i in op["dealt"]) for i, o in enumerate(op.operands)]
    args += [(copy_keys(body, op, count), True)] if found.key else []
    names = [body.target(r, at) for r in op.results]
    names += outputs(body, called, copies=True)
    if found.serial:
        body.emit(f"{', '.join(names)} = {_mapped(body, called, op, args, count)}", op)
        return
    function = for_arrays(called)
    if again(op):
        function = recomputed(body, op, function)
    axes = ", ".join("0" if dealt else "None" for _, dealt in args)
    axes += "," if len(args) == 1 else ""
    more = "" if any(dealt for _, dealt in args) else f", axis_size={count}"
    if spread := op.get("spread", ()):
        placed = ", ".join(quoted(axis) for axis in spread)
        more += f", spmd_axis_name={placed if len(spread) == 1 else f'({placed})'}"
    given = ", ".join(text for text, _ in args)
    body.emit(f"{', '.join(names)} = jax.vmap({function}, ({axes}){more})({given})", op)


def _mapped(body: Body, called: Callee, op: Op, args: list[tuple[str, bool]], count: str) -> str:
    """Source of copies one after the other."""
    copy = body.temporary("copy")
    dealt = [text for text, deal in args if deal]
    if all(text.startswith("copy_keys(") for text in dealt):  # None in evaluation
        dealt.append(f"jnp.arange({count})")
    places = iter(range(len(dealt)))
    given = [f"{copy}[{next(places)}]" if deal else text for text, deal in args]
    if again(op):
        function = recomputed(body, op, for_arrays(called), ", prevent_cse=False")
    else:
        function = called.function
        given += ["train"] if called.effects.train or called.effects.key else []
    items = ", ".join(dealt) + ("," if len(dealt) == 1 else "")
    return f"lax.map(lambda {copy}: {function}({', '.join(given)}), ({items}))"
