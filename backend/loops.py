"""Loops along a dim: `lax.scan` over a function whose body sees what is around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..ir.core import Op, Region, walk
from ..ir.registry import Code, lookup
from ..ir.signature import CALLS
from .calls import callee
from .scope import words
from .uses import reads

if TYPE_CHECKING:
    from .body import Body


def scan(body: Body, at: int, op: Op) -> None:
    """A loop, its body written as a function of the carry and one slice of each input."""
    (region,), carry, along = op.regions, op["carry"], body.function.dim(op["along"])
    operands = [body.array(o).text for o in op.operands]
    cut = len(operands) - carry
    draws = _draws(body, region)
    inner = body.inside(region, region.results, _read_by(body, region, draws))
    number, *arguments = region.arguments
    names = []
    for argument in arguments:
        base = argument.label.split(".")[0] or "x"
        names.append(inner.hold(argument.id, inner.scope.first([base])))
    slices, sources, carried = names[:cut], operands[:cut], names[cut:]
    if draws or number.id in reads(region):
        slices.append(inner.temporary("t"))
        sources.append(f"jnp.arange({along})")
        inner.codes[number.id] = Code(slices[-1])
    if parts := op.get("parts"):
        _in_parts(body, at, op, inner, slices, sources, along, parts)
        return
    step = body.temporary("step")
    body.emit("")
    for line in opening(step, carried, slices, inner.temporary, "inputs"):
        body.emit(line)
    if draws:
        body.model.use("fold")
        inner.key = inner.temporary("step_key")
        inner.emit(f"{inner.key} = fold({body.key}, {slices[-1]})")
    inner.write()
    gives = [inner.array(r).text for r in region.results]
    inner.emit(f"return {packed(gives[:carry])}, {packed(gives[carry:])}")
    body.lines += inner.lines
    body.emit("")
    targets = [body.target(r, at) for r in op.results]
    finals, ys = targets[:carry], targets[carry:]
    loop(body, op, step, operands[cut:], sources, along, finals, ys)


def _in_parts(
    body: Body,
    at: int,
    op: Op,
    inner: Body,
    slices: list[str],
    sources: list[str],
    along: str,
    parts: int,
) -> None:
    """Steps that are independent of each other, several at once: `lax.map` over parts."""
    (region,) = op.regions
    part = body.temporary("part")
    together = inner.temporary("inputs") if len(slices) > 1 else slices[0]
    inner.write()
    gives = packed([inner.array(r).text for r in region.results])
    inner.emit(f"return {gives}")
    body.emit("")
    body.emit(f"def {part}({together}):")
    if len(slices) > 1:
        body.emit(f"    {', '.join(slices)} = {together}")
    body.lines += inner.lines
    body.emit("")
    left = ", ".join(body.target(r, at) for r in op.results)
    several = str(-(-int(along) // parts)) if along.isdigit() else f"-(-{along} // {parts})"
    given = f"jax.checkpoint({part}, prevent_cse=False), {packed(sources)}, batch_size={several}"
    body.emit(f"{left} = lax.map({given})", op)


def _read_by(body: Body, region: Region, draws: bool) -> set[str]:
    """The names around that a region reads; what they stand in is written out if it must be."""
    inside = {a.id for a in region.arguments}
    for op in walk(region.ops):
        inside.update(r.id for r in op.results)
        inside.update(a.id for r in op.regions for a in r.arguments)
    texts = [body.code(v).text for v in dict.fromkeys(reads(region)) if v not in inside]
    texts += [body.key] if draws else []
    return {w for text in (*texts, *body.function.child_state.values()) for w in words(text)}


def _draws(body: Body, region: Region) -> bool:
    """Whether a region needs a key."""
    return any(
        callee(body, op).effects.key if op.name in CALLS else lookup(op.name).effect == "random"
        for op in walk(region.ops)
    )


# What `lax.scan` is written as; repeats are written so too.


def opening(
    step: str, carry: list[str], slices: list[str], own: Callable[[str], str], several: str
) -> list[str]:
    """The first lines of the function that `lax.scan` runs.

    Args:
        own: gives a free name, for several values in one argument.
        several: what slices are called then.
    """
    parameters, lines = [], []
    for names, together, none in ((carry, "carry", "_carry"), (slices, several, "_")):
        parameters.append(own(together) if len(names) > 1 else names[0] if names else none)
        if len(names) > 1:
            lines.append(f"    {', '.join(names)} = {parameters[-1]}")
    return [f"def {step}({', '.join(parameters)}):", *lines]


def loop(
    body: Body,
    op: Op,
    step: str,
    first: list[str],
    sources: list[str],
    length: str,
    finals: list[str],
    ys: list[str],
    counted: bool = False,
) -> None:
    """The statements that run a loop over a function: as it is, or in groups that run again.

    Args:
        length: how many steps there are.
        counted: whether the sources may be None, so that the length must be said.
    """
    group = op.get("group")
    said = length if counted or not sources else ""
    if group in (None, 1):
        if group:  # in a loop, nothing can merge what is computed twice
            body.emit(f"{step} = jax.checkpoint({step}, prevent_cse=False)")
        body.emit(_running(step, first, sources, said, finals, ys), op)
        return
    name, carry, copies = (body.temporary(n) for n in ("group", "carry", "copies"))
    several = f", length={group}" if said else ""
    body.emit("")
    body.emit(f"def {name}({carry}, {copies}):")
    body.emit(f"    return lax.scan({step}, {carry}, {copies}{several})")
    body.emit("")
    body.emit(f"{name} = jax.checkpoint({name}, prevent_cse=False)")
    if sources:
        body.model.use("in_groups")
        sources = [f"in_groups({packed(sources)}, {group})"]
    said = f"{length} // {group}" if said else ""
    body.emit(_running(name, first, sources, said, finals, ys), op)
    made = [y for y in ys if y != "_"]
    if made:
        body.model.use("ungrouped")
        body.emit(f"{', '.join(made)} = ungrouped({packed(made)})")


def _running(step: str, first, sources, length: str, finals, ys) -> str:
    """The statement that runs it; with a `length` where the sources do not tell it."""
    more = f", length={length}" if length else ""
    left = ", ".join("_" if set(names) <= {"_"} else packed(names) for names in (finals, ys))
    return f"{left} = lax.scan({step}, {packed(first)}, {packed(sources)}{more})"


def packed(parts: list[str]) -> str:
    """Several values as one: none is None, one is itself."""
    if len(parts) > 1:
        return f"({', '.join(parts)})"
    return parts[0] if parts else "None"
