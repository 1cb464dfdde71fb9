"""What sharded Shakespeare moves between devices, against what it must move.

Emits the program for each placement, compiles its training step for 8 forced host devices, and adds
up the collectives in the compiled HLO, those inside loops as often as they run. Nothing is run.

    python benchmarks/sharding.py [--list] [NAME ...]

`docs/sharding.md` explains the columns.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

DEVICES = 8
MODEL = Path(__file__).parent.parent / "examples/shakespeare/model.nw"

# Counting


@dataclass(frozen=True)
class Collective:
    """A collective of a compiled program.

    Attributes:
        kind: its opcode.
        shape: the shapes that it gives, as printed.
        group: among how many devices it runs.
        times: how often it runs in a step.
        bytes: what each device sends in a step, over a ring.
        buffer: the bytes of its larger side, as often as it runs.
        source: the JAX operation that it comes from.
    """

    kind: str
    shape: str
    group: int
    times: int
    bytes: float
    buffer: int
    source: str


KINDS = (
    "all-gather",
    "all-reduce",
    "reduce-scatter",
    "all-to-all",
    "ragged-all-to-all",
    "collective-permute",
    "collective-broadcast",
)
_START = re.compile(rf"= (.*?) ({'|'.join(KINDS)})(?:-start)?\(")
_WHILE = re.compile(r" while\(.*body=%?([\w.\-]+)")
_TIMES = re.compile(r'known_trip_count":\{"n":"(\d+)"')
_CALLED = re.compile(
    r"(?:calls|to_apply|true_computation|false_computation)=%?([\w.\-]+)|branch_computations=\{([^}]*)\}"
)
_SHAPE = re.compile(r"(pred|[a-z]+\d+)[\w]*\[([\d,]*)\]")


def collectives(hlo: str) -> list[Collective]:
    """The collectives of a compiled program, from its text.

    Raises:
        ValueError: a loop with one does not say how often it runs, or a group is not understood.
    """
    bodies, entry = _computations(hlo)
    return list(_walk(bodies, entry, 1))


def moved(found: list[Collective]) -> float:
    """The bytes that each device sends in a step."""
    return sum(c.bytes for c in found)


def _walk(bodies: Mapping[str, list[str]], name: str, times: int | None) -> Iterator[Collective]:
    for line in bodies[name]:
        start = _START.search(line)
        if start is not None:
            if times is None:
                raise ValueError(f"a loop around it does not say how often it runs: {line[:200]}")
            yield _collective(line, start[1], start[2], times)
        loop = _WHILE.search(line)
        if loop is not None:
            known = _TIMES.search(line)
            inner = times * int(known[1]) if known and times is not None else None
            yield from _walk(bodies, loop[1], inner)
            continue
        for one, several in _CALLED.findall(line):
            for called in [one] if one else re.findall(r"[\w.\-]+", several):
                yield from _walk(bodies, called, times)


def _computations(hlo: str) -> tuple[dict[str, list[str]], str]:
    bodies: dict[str, list[str]] = {}
    entry = current = ""
    for line in hlo.splitlines():
        head = re.match(r"(ENTRY )?%?([\w.\-]+) .*\{$", line)
        if head:
            current = head[2]
            bodies[current] = []
            entry = current if head[1] else entry
        elif current and line.startswith("  "):
            bodies[current].append(line)
    return bodies, entry


def _collective(line: str, shape: str, kind: str, times: int) -> Collective:
    size, group = _bytes(shape), _group(line)
    part = (group - 1) / group
    sent = {
        "all-gather": size * part,
        "all-reduce": 2 * size * part,
        "reduce-scatter": size * (group - 1),  # the shape is that of one part
        "all-to-all": size * part,
    }.get(kind, float(size))
    buffer = size * group if kind == "reduce-scatter" else size
    source = re.search(r'op_name="([^"]*)"', line)
    said = source[1] if source else ""
    return Collective(kind, shape, group, times, sent * times, buffer * times, said)


def _bytes(shape: str) -> int:
    total = 0
    for kind, sizes in _SHAPE.findall(shape):
        bits = 8 if kind == "pred" else int(re.sub(r"\D", "", kind))
        total += math.prod(int(n) for n in sizes.split(",") if n) * bits // 8
    return total


def _group(line: str) -> int:
    """How many devices a group has; groups are printed in three ways."""
    listed = re.search(r"replica_groups=\{\{([\d,]*)\}", line)
    if listed:
        return len(listed[1].split(","))
    grid = re.search(r"replica_groups=\[\d+,(\d+)\]", line)
    if grid:
        return int(grid[1])
    named = re.search(r"replica_groups=mesh\[([^\]]*)\].*?\{('[^}]*)\}", line)
    if named:
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", named[1]))
        axes = re.findall(r"'(\w+)'(?::\(\d+\)(\d+))?", named[2])
        return math.prod(int(part or sizes[axis]) for axis, part in axes)
    if "source_target_pairs" in line:
        return 2
    raise ValueError(f"its groups are not understood: {line[:300]}")


# Programs


@dataclass(frozen=True)
class Case:
    """A placement to be measured.

    Attributes:
        axes: the mesh.
        values, params: its rules.
        dims: sizes of the model that differ from the file's.
        constrain: whether the shard pass runs; without it only inputs and outputs are placed.
    """

    axes: dict[str, int]
    values: dict[str, str]
    params: dict[str, str]
    dims: dict[str, int]
    constrain: bool = True


EIGHT, TWO_BY_FOUR = {"data": 8}, {"data": 2, "model": 4}
HEADS = {"G": 4, "R": 1}  # the example has two heads, which four devices cannot share
CASES = {
    "dp": Case(EIGHT, {"B": "data"}, {}, {}),
    "dp, no constraints": Case(EIGHT, {"B": "data"}, {}, {}, constrain=False),
    "fsdp": Case(EIGHT, {"B": "data"}, {"D": "data"}, {}),
    "fsdp, no constraints": Case(EIGHT, {"B": "data"}, {"D": "data"}, {}, constrain=False),
    "tp 2x4": Case(
        TWO_BY_FOUR,
        {"B": "data", "F": "model", "G": "model", "V": "model"},
        {"F": "model", "G": "model", "V": "model"},
        HEADS,
    ),
    "tp 2x4, two heads": Case(
        TWO_BY_FOUR,
        {"B": "data", "F": "model", "V": "model"},
        {"F": "model", "V": "model"},
        {},
    ),
    "fsdp+tp 2x4": Case(
        TWO_BY_FOUR,
        {"B": "data", "F": "model", "G": "model", "V": "model"},
        {"D": "data", "F": "model", "G": "model", "V": "model"},
        HEADS,
    ),
}


def plan(case: Case, batch: int, length: int):
    """The plan of a case."""
    from netwright.ir.plan import Mesh, Plan

    rules = [tuple((d, (a,)) for d, a in table.items()) for table in (case.values, case.params)]
    mesh = Mesh(tuple(case.axes.items()), *rules)
    return Plan(sizes=(("B", batch), ("S", length)), mesh=mesh)


def emit(case: Case, batch: int, length: int, dims: Mapping[str, int] | None = None) -> str:
    """The emitted `model.py` of a case."""
    from netwright.backend.model import ModelWriter
    from netwright.frontend.elaborate import elaborate
    from netwright.frontend.names import load
    from netwright.ir.diagnostics import Diagnostics
    from netwright.passes.layout import Layout
    from netwright.passes.manager import Pipeline
    from netwright.passes.shard import Shard

    diagnostics = Diagnostics()
    file = load(MODEL, diagnostics)
    module = elaborate(file, diagnostics, None, {**case.dims, **(dims or {})})
    diagnostics.raise_errors()
    chosen = plan(case, batch, length)
    steps = [Shard(), Layout()] if case.constrain else [Layout()]
    return ModelWriter(Pipeline(steps).run(module, chosen), chosen, MODEL.name).write()


def imported(source: str, name: str):
    """A `model.py` as a module."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.py"
        path.write_text(source)
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


def optimizer():
    """As the example's recipe has it: clipped by the norm of all gradients."""
    import optax

    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3))


def compiled(model, axes: Mapping[str, int], batch: int, length: int) -> tuple[str, object]:
    """The HLO of a training step, and the parameters' shapes."""
    import jax
    from jax.sharding import NamedSharding
    from netwright.runtime.step import build

    program = build(model, optimizer(), axes)
    mesh = program.placement.mesh
    fields = {
        name: jax.ShapeDtypeStruct((batch, length), "int32", sharding=NamedSharding(mesh, spec))
        for name, spec in model.BATCH_SPECS.items()
    }
    return program.step.lower(program.abstract, fields).compile().as_text(), program.abstract.params


# Closed forms: bytes that each device must send in a step, over rings


def closed_forms(name: str, params, batch: int, length: int) -> tuple[float, float]:
    """What must move where gradients go by reduce-scatter, and where by all-reduce and slice."""
    import jax

    case = CASES[name]
    data, model = case.axes["data"], case.axes.get("model", 1)
    replicated = spread = 0.0
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        size = leaf.size * leaf.dtype.itemsize
        key = path[-1].key
        whole = key == "scale" or (key[0] == "w" and "G" not in case.params)
        replicated += size * whole
        spread += size * (not whole)
    held = replicated + spread / model  # of parameters, by one group along `data`
    part = (data - 1) / data
    reduced = gathered = 0.0
    if "D" in case.params:
        gathered, reduced, scattered = 2 * part * held, 2 * part * held, part * held
    else:
        reduced = scattered = 2 * part * held
    activations = 0.0
    if model > 1:
        blocks = params["gpt"]["blocks"]
        layers, width = blocks["norm1"]["scale"].shape
        one = 2 * (model - 1) / model * batch / data * length * width * 4
        mlp = 1 + 2  # forward: after `down`; backward: before `gate` and before `up`
        heads = 1 + 3 if "G" in case.values else 0  # after `wo`; before `wq`, `wk`, `wv`
        activations = one * (layers * (mlp + heads) + 2)  # 2: the table, and before the logits
    fixed = gathered + activations
    return fixed + scattered, fixed + reduced


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(CASES)}")
    parser.add_argument("--list", action="store_true", help="print every collective")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--length", type=int, default=128)
    chosen = parser.parse_args()
    flag = f"--xla_force_host_platform_device_count={DEVICES}"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}"
    os.environ["JAX_PLATFORMS"] = "cpu"
    print(f"{'':24}{'moved':>12}{'closed form':>14}{'ratio':>8}{'with r-s':>12}{'ratio':>8}")
    for name in chosen.names or CASES:
        case = CASES[name]
        model = imported(emit(case, chosen.batch, chosen.length), f"model_{len(name)}")
        hlo, params = compiled(model, case.axes, chosen.batch, chosen.length)
        found = collectives(hlo)
        scattered, reduced = closed_forms(name, params, chosen.batch, chosen.length)
        total = moved(found)
        print(
            f"{name:24}{total / 1e3:9.1f} kB{reduced / 1e3:11.1f} kB{total / reduced:8.3f}"
            f"{scattered / 1e3:9.1f} kB{total / scattered:8.3f}",
            flush=True,
        )
        if chosen.list:
            for c in sorted(found, key=lambda c: -c.bytes):
                shape = re.sub(r"\{[^}]*\}", "", c.shape)
                print(f"  {c.bytes / 1e3:9.1f} kB  {c.kind} of {c.group}, {c.times} times  {shape}")
                print(f"                {c.source[-100:]}")


if __name__ == "__main__":
    main()
