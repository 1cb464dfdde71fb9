"""What sharded Shakespeare moves between devices, against what it must move.

Emits the program for each placement, compiles its training step for 8 forced host devices, or with
`--tpu` for the 8 chips of a TPU v5e, which need not be there, and adds up the collectives in the
compiled HLO, those inside loops as often as they run. Nothing is run.

    python benchmarks/sharding.py [--list] [--tpu] [NAME ...]

`docs/sharding.md` explains the columns.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

DEVICES = 8
TPU = "v5e:2x4"
MODEL = Path(__file__).parent.parent / "examples/shakespeare/model.nw"

# Counting


@dataclass(frozen=True)
class Collective:
    """A collective of a compiled program.

    Attributes:
        kind: its opcode, or `reduce-scatter` for an all-reduce that the compiler has fused with
            the cutting of its result, as that for TPUs does.
        shape: the shapes that it gives, as printed.
        group: among how many devices it runs.
        times: how often it runs in a step.
        bytes: what each device sends in a step, over a ring.
        scattered: the same if all-reduces of which each device reads its part alone, and no other
            does, were reduce-scatters.
        source: the JAX operation that it comes from.
    """

    kind: str
    shape: str
    group: int
    times: int
    bytes: float
    scattered: float
    source: str


@dataclass(frozen=True)
class Instruction:
    """A line of a compiled program, and the computation that it stands in."""

    body: str
    name: str
    shape: str
    opcode: str
    given: str
    rest: str
    root: bool

    @property
    def operands(self) -> list[str]:
        """The names of the values that it takes."""
        return re.findall(r"%([\w.\-]+)", self.given)


KINDS = (
    "all-gather",
    "all-reduce",
    "reduce-scatter",
    "all-to-all",
    "ragged-all-to-all",
    "collective-permute",
    "collective-broadcast",
)
_LINE = re.compile(r"  (ROOT )?%?([\w.\-]+) = (.*?) ([a-z][\w\-]*)\(([^)]*)\)(.*)")
_CALLED = re.compile(
    r"(?:calls|to_apply|true_computation|false_computation)=%?([\w.\-]+)|branch_computations=\{([^}]*)\}"
)
_SHAPE = re.compile(r"(pred|[a-z]+\d+)[\w]*\[([\d,]*)\]")
FUSED = "all-reduce-scatter"  # the names of such computations begin with it
# What an array may pass through on its way to being cut: the parts of it stay apart.
ALIKE = ("add", "bitcast", "copy", "divide", "multiply", "select", "transpose")


class Compiled:
    """The collectives of a compiled program, from its text.

    Raises:
        ValueError: a loop with one does not say how often it runs, or a group is not understood.
    """

    def __init__(self, hlo: str):
        self.bodies: dict[str, list[Instruction]] = {}
        entry = current = ""
        for line in hlo.splitlines():
            head = re.match(r"(ENTRY )?%?([\w.\-]+) .*\{$", line)
            if head:
                current = head[2]
                self.bodies[current] = []
                entry = current if head[1] else entry
            elif current and (found := _LINE.match(line)):
                root, *parts = found.groups()
                self.bodies[current].append(Instruction(current, *parts, root=bool(root)))
        self._chains: set[str] = set()
        self.collectives = list(self._walk(entry, 1))

    def _walk(self, name: str, times: int | None) -> Iterator[Collective]:
        for line in self.bodies[name]:
            kind = line.opcode.removesuffix("-start")
            if kind in KINDS and not self._seen(line):
                if times is None:
                    raise ValueError(f"a loop around {line.name} does not say how often it runs")
                yield self._collective(line, kind, times)
            if line.opcode == "while":
                trips = self._trips(line)
                inner = times * trips if trips is not None and times is not None else None
                body = re.search(r"body=%?([\w.\-]+)", line.rest)
                assert body is not None
                yield from self._walk(body[1], inner)
                continue
            for one, several in _CALLED.findall(line.rest):
                for called in [one] if one else re.findall(r"[\w.\-]+", several):
                    yield from self._walk(called, times)

    def _seen(self, line: Instruction) -> bool:
        """Whether it is another part of a collective that runs beside computations.

        The compiler for TPUs puts such a one into all the fusions that it goes on in.
        """
        chain = re.search(r"channel_id=(\d+).*chain_id=", line.rest)
        if chain is None:
            return False
        seen = chain[1] in self._chains
        self._chains.add(chain[1])
        return seen

    def _trips(self, loop: Instruction) -> int | None:
        """How often a loop runs: as it says itself, or as its condition does, counting from 0."""
        known = re.search(r'known_trip_count":\{"n":"(\d+)"', loop.rest)
        if known:
            return int(known[1])
        named = re.search(r"condition=%?([\w.\-]+)", loop.rest)
        lines = {line.name: line for line in self.bodies[named[1]]} if named else {}
        root = next((line for line in lines.values() if line.root), None)
        if root is None or root.opcode != "compare" or "direction=LT" not in root.rest:
            return None
        bounds = [lines[n].given for n in root.operands if lines[n].opcode == "constant"]
        return int(bounds[0]) if bounds else None

    def _collective(self, line: Instruction, kind: str, times: int) -> Collective:
        group = _group(line.rest)
        part = (group - 1) / group
        if kind == "all-reduce" and line.body.startswith(FUSED):
            kind = "reduce-scatter"
            size = _bytes(line.shape) / group
        else:
            size = _bytes(line.shape)
        sent = {
            "all-gather": size * part,
            "all-reduce": 2 * size * part,
            "reduce-scatter": size * (group - 1),  # the shape is that of one part
            "all-to-all": size * part,
        }.get(kind, float(size))
        scattered = sent
        if kind == "all-reduce":
            scattered -= part * sum(self._cut(line, group))
        said = re.search(r'op_name="([^"]*)"', line.rest)
        source = said[1] if said else ""
        return Collective(kind, line.shape, group, times, sent * times, scattered * times, source)

    # Which arrays are only cut

    def _cut(self, line: Instruction, group: int) -> Iterator[int]:
        """The bytes of each array of an all-reduce of which one part is all that is read."""
        shapes = [m[0] for m in _SHAPE.finditer(line.shape)]
        if not line.shape.startswith("("):
            if self._parts(line, shapes[0], group):
                yield _bytes(shapes[0])
            return
        for one in self._users(line):
            index = re.search(r"index=(\d+)", one.rest)
            if one.opcode == "get-tuple-element" and index:
                shape = shapes[int(index[1])]
                if self._parts(one, shape, group):
                    yield _bytes(shape)

    def _parts(self, line: Instruction, shape: str, group: int) -> bool:
        """Whether all uses of a value of this shape read one part of it, of as many as a group."""
        if line.root:
            return False
        users = self._users(line)
        return bool(users) and all(self._part(line, user, shape, group) for user in users)

    def _part(self, line: Instruction, user: Instruction, shape: str, group: int) -> bool:
        if user.opcode == "dynamic-slice":
            return _bytes(user.shape) * group == _bytes(shape)
        if user.opcode == "fusion":
            called = re.search(r"calls=%?([\w.\-]+)", user.rest)
            inside = self.bodies[called[1]] if called else []
            numbers = [str(i) for i, name in enumerate(user.operands) if name == line.name]
            taken = [p for p in inside if p.opcode == "parameter" and p.given in numbers]
            return bool(taken) and all(self._parts(p, shape, group) for p in taken)
        return user.opcode in ALIKE and self._parts(user, shape, group)

    def _users(self, line: Instruction) -> list[Instruction]:
        return [other for other in self.bodies[line.body] if line.name in other.operands]


def moved(found: Sequence[Collective]) -> float:
    """The bytes that each device sends in a step."""
    return sum(c.bytes for c in found)


def scattered(found: Sequence[Collective]) -> float:
    """The same where all-reduces that are cut at once count as reduce-scatters."""
    return sum(c.scattered for c in found)


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


def compiled(
    model, axes: Mapping[str, int], batch: int, length: int, devices: Sequence | None = None
) -> tuple[str, object]:
    """The HLO of a training step, for these devices or those that are here, and the parameters."""
    import jax
    from jax.sharding import NamedSharding
    from netwright.runtime.step import build

    program = build(model, optimizer(), axes, devices=devices)
    mesh = program.placement.mesh
    fields = {
        name: jax.ShapeDtypeStruct((batch, length), "int32", sharding=NamedSharding(mesh, spec))
        for name, spec in model.BATCH_SPECS.items()
    }
    return program.step.lower(program.abstract, fields).compile().as_text(), program.abstract.params


def tpu() -> Sequence:
    """The chips of a TPU that is not here: its compiler is what counts."""
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # nothing is to be asked of a cloud
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # there is no chip to be shared
    # Products of float32 numbers are made in bfloat16 there unless this is said.
    os.environ.setdefault("JAX_DEFAULT_MATMUL_PRECISION", "highest")
    from jax.experimental import topologies

    try:
        return topologies.get_topology_desc(platform="tpu", topology_name=TPU).devices
    except Exception as error:  # its kind depends on what is missing
        sys.exit(
            f"the compiler for TPUs is not there: {error}\n"
            "It comes with an extra, for Linux, that is best put into an environment of its own:\n"
            "  python3 -m venv tpu && tpu/bin/pip install -e '.[tpu]'\n"
            "  tpu/bin/python benchmarks/sharding.py --tpu fsdp"
        )


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
    parser.add_argument(
        "--tpu", action="store_true", help=f"compile for a TPU {TPU} in place of CPUs"
    )
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--length", type=int, default=128)
    chosen = parser.parse_args()
    wrong = [name for name in chosen.names if name not in CASES]
    if wrong:
        parser.error(f"no placement is called {wrong[0]!r}; there are {', '.join(CASES)}")
    flag = f"--xla_force_host_platform_device_count={DEVICES}"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}"
    os.environ["JAX_PLATFORMS"] = "cpu"
    devices = tpu() if chosen.tpu else None
    if not chosen.tpu:
        print(f"{'':24}{'all-reduces as they are':>34}{'as reduce-scatters where cut':>34}")
    print(f"{'':24}" + (2 - chosen.tpu) * f"{'moved':>12}{'closed form':>14}{'ratio':>8}")
    for name in chosen.names or CASES:
        case = CASES[name]
        model = imported(emit(case, chosen.batch, chosen.length), f"model_{len(name)}")
        hlo, params = compiled(model, case.axes, chosen.batch, chosen.length, devices)
        found = Compiled(hlo).collectives
        by_scatter, by_reduce = closed_forms(name, params, chosen.batch, chosen.length)
        sums = [(moved(found), by_reduce), (scattered(found), by_scatter)]
        if chosen.tpu:  # its compiler makes reduce-scatters
            sums = [(moved(found), by_scatter)]
        line = f"{name:24}"
        for total, form in sums:
            line += f"{total / 1e3:9.1f} kB{form / 1e3:11.1f} kB{total / form:8.3f}"
        print(line, flush=True)
        if chosen.list:
            for c in sorted(found, key=lambda c: -c.bytes):
                shape = re.sub(r"\{[^}]*\}", "", c.shape)
                print(f"  {c.bytes / 1e3:9.1f} kB  {c.kind} of {c.group}, {c.times} times  {shape}")
                print(f"  {c.scattered / 1e3:9.1f} kB    {c.source[-100:]}")


if __name__ == "__main__":
    main()
