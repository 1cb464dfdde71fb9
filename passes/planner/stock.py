"""The policies that people pick from a menu, said of our graph: those of JAX, and MaxText's.

MaxText names products by their part in a block. Here the part follows from the graph: of an
instance with a softmax, and what is inside of it, products with weights that lead to it are those
of queries, keys and values, the others give its output, and the last product of two values is its
context; elsewhere products that lead to another one are the inner ones of a feed-forward layer.

Sources: `jax.checkpoint_policies`; MaxText, `remat_policy` in `configs/base.yml`.
"""

from __future__ import annotations

from ..memory.graph import Node, Unit
from ..memory.units import Choice
from .problem import Problem

SOFTMAX = ("softmax", "attention", "log_softmax")
PRODUCTS = ("product", "convolution")
MAXTEXT: dict[str, tuple[str, ...]] = {
    "full": (),
    "minimal": ("query", "out", "inner", "outer", "other"),
    "minimal_with_context": ("query", "context", "out", "inner", "outer", "other"),
    "save_dot_with_context_except_mlp": ("query", "context", "out"),
    "save_dot_except_mlp": ("query", "out"),
    "save_dot_except_mlpwi": ("query", "out", "outer"),
    "save_qkv_proj": ("query",),
    "save_out_proj": ("out",),
}
"""MaxText's policies by the parts of a block whose products they keep."""


OFFLOADED = {"minimal_offloaded": MAXTEXT["minimal"], "qkv_proj_offloaded": ("query",)}
"""Those that keep them on the host."""


def policies(unit: Unit, problem: Problem) -> dict[str, Choice]:
    """By the name of a policy, what it keeps."""
    parts = _parts(unit)
    key = {v: c.key for c in problem.candidates for v in c.values}
    movable = {c.key for c in problem.candidates if c.moving}
    stored = _stored(unit)

    def keys(ids) -> frozenset[str]:
        return frozenset(key[stored[i]] for i in ids if stored[i] in key)

    products = [n.id for n in unit.values if _product(n)]
    weighted = [i for part, ids in parts.items() if part not in ("context", "mixed") for i in ids]
    found = {
        "nothing_saveable": Choice(frozenset()),
        "dots_saveable": Choice(keys(products)),
        "dots_with_no_batch_dims_saveable": Choice(keys(weighted)),
    }
    for name, chosen in MAXTEXT.items():
        found[f"MaxText {name}"] = Choice(keys(i for p in chosen for i in parts.get(p, ())))
    for name, chosen in OFFLOADED.items():
        moved = keys(i for p in chosen for i in parts.get(p, ())) & movable
        found[f"MaxText {name}"] = Choice(frozenset(), moved)
    return found


def _stored(unit: Unit) -> dict[int, int]:
    """For each product, the value by which it is kept: itself, or what it is converted to."""
    readers: dict[int, set[int]] = {}
    for node in unit.values:
        for operand in node.operands if node.alias_of is None else ():
            readers.setdefault(unit[operand].root, set()).add(node.id)
    found = {}
    for node in filter(_product, unit.values):
        (only, *more) = readers.get(node.id, {node.id})
        cast = not more and not node.key and unit[only].op == "cast"
        found[node.id] = only if cast else node.id
    return found


def _product(node: Node) -> bool:
    return node.family in PRODUCTS and node.alias_of is None and node.op != "attention"


def _parts(unit: Unit) -> dict[str, list[int]]:
    """The products of a block by their part in it."""
    nodes = unit.values
    reads = {n.id: [nodes[o].root for o in n.operands] for n in nodes}
    after: dict[int, set[int]] = {}  # what a value leads to, within its instance
    home: dict[int, str] = {}  # the instance of a value; of one without a key that of its reader
    for node in reversed(nodes):
        if node.key:
            home[node.id] = node.key.rpartition("/")[0]
        for operand in node.operands:
            if not nodes[operand].key:
                home[operand] = home.get(node.id, "")
        for operand in reads[node.id]:
            seen = after.setdefault(operand, set())
            seen.add(node.root)
            seen |= after.get(node.root, set())
    scores = {home.get(n.id, "") for n in nodes if n.op in SOFTMAX}
    group = {n.id: _group(unit.path, home.get(n.id, ""), scores) for n in nodes}
    parts: dict[str, list[int]] = {}
    for node in filter(_product, nodes):
        mine = [i for i in after.get(node.id, ()) if group[i] == group[node.id] and i != node.id]
        soft = any(nodes[i].op in SOFTMAX for i in mine)
        more = any(_product(nodes[i]) for i in mine)
        if _mixed(unit, node.id):
            part = "context" if group[node.id] in scores and not soft and more else "mixed"
        elif group[node.id] in scores:
            part = "query" if soft or any(_mixed(unit, i) for i in mine) else "out"
        else:
            part = "inner" if more else "outer"
        parts.setdefault(part, []).append(node.id)
    return parts


def _group(block: str, path: str, scores: set[str]) -> str:
    """The part of a block that an instance belongs to: the attention around it, else the one that
    the block itself uses."""
    for around in scores:
        if path == around or path.startswith(f"{around}."):
            return around
    return path[len(block) :].lstrip(".").partition(".")[0]


def _mixed(unit: Unit, id: int) -> bool:
    """Whether a value is a product of values, none of them weights."""
    node = unit.values[id]
    return _product(node) and not any(_weight(unit, o) for o in node.operands)


def _weight(unit: Unit, id: int) -> bool:
    """Whether a value is a parameter, maybe converted or rearranged."""
    node = unit.values[id]
    while node.family == "layout" and node.operands:
        node = unit.values[node.operands[0]]
    return node.kind == "param"
