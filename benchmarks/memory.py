"""What memory a training step takes as predicted, against what XLA plans for it.

Random configurations of models of the gallery are compiled for the CPU, never run, and the bytes of
`memory_analysis` (arguments + outputs + temporaries - aliases, per device) put beside what
`netwright.passes.memory` says without compiling. Each is compiled twice: in the *oracle* mode, in
which XLA schedules for memory, and as XLA does by default.

    python benchmarks/memory.py [--planned | --apart | --tpu] [--measure] [--worst 10] [NAME ...]

With `--measure`, what is not yet in `results/memory_xla.json` is compiled (a quarter of a minute
each). With `--planned`, blocks run again but for values that are drawn. With `--apart` it is models
whose layers are called, and not repeated; with `--tpu` eight configurations in bfloat16, compiled
by the compiler of TPU v5e, which needs no TPU but its package (`pip install "jax[tpu]"`).
`docs/memory.md` has more.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import statistics
import subprocess
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parent.parent
GALLERY = ROOT / "examples/gallery"
MEASURED = Path(__file__).parent / "results/memory_xla.json"
RESULT = Path(__file__).parent / "results/memory.json"
DEVICES = 8
MODES = ("oracle", "default")
KINDS = (*MODES, "v5e")
ORACLE = {
    "xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED",
    "xla_disable_hlo_passes": "cse_barrier_expander",
    "xla_cpu_experimental_ynn_fusion_type": "",
}
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
"""What only concerns the machine code; the buffers are the same (and a compile half as long)."""


@dataclass(frozen=True)
class Config:
    """One training step.

    Attributes:
        model: in the gallery, without its ending.
        sizes: overrides of dims and constants.
        batch: what free dims are.
        optimizer: of optax, with options.
        mesh: `""`, or the name of a placement in `MESHES`.
        keeps: of a planned one, the share of named values that blocks keep, and of what draw; all
            else is made again. Negative for no plan.
    """

    model: str
    sizes: tuple[tuple[str, Any], ...]
    batch: tuple[tuple[str, int], ...]
    precision: str = "float32"
    microbatches: int = 1
    optimizer: tuple[str, tuple[tuple[str, Any], ...]] = ("adamw", ())
    mesh: str = ""
    keeps: tuple[float, int] = (-1, 0)

    @property
    def name(self) -> str:
        """Short, and unique."""
        sizes = dict(self.sizes)
        batch = "x".join(str(n) for _, n in self.batch)
        table = asdict(self)
        if self.keeps[0] < 0:
            del table["keeps"]
        text = json.dumps(table, sort_keys=True)
        parts = [self.model, *(f"{n}{sizes[n]}" for n in ("L", "D") if n in sizes)]
        parts += [batch, self.precision]
        parts += [f"m{self.microbatches}"] if self.microbatches > 1 else []
        parts += [self.optimizer[0], *([self.mesh] if self.mesh else [])]
        parts += [f"keeps{self.keeps[0]:.0%}"] if self.keeps[0] >= 0 else []
        return "-".join(parts) + "-" + hashlib.sha256(text.encode()).hexdigest()[:4]


MESHES: dict[str, tuple[dict[str, int], dict[str, str], dict[str, str]]] = {
    "data": ({"data": 8}, {"B": "data"}, {}),
    "fsdp": ({"data": 8}, {"B": "data"}, {"D": "data"}),
    "tensor": (
        {"data": 4, "model": 2},
        {"B": "data", "F": "model", "G": "model"},
        {"F": "model", "G": "model"},
    ),
}
"""Axes, and which dims of values and of parameters lie along them."""


def configs(count: int, seed: int) -> list[Config]:
    """Random configurations, of every model equally many."""
    rng = random.Random(seed)
    return [_config(rng, MODELS[i % len(MODELS)]) for i in range(count)]


MODELS = ("gpt2", "llama3", "gemma", "bert", "vit", "mixer")


def _config(rng: random.Random, model: str) -> Config:
    width = rng.choice((64, 96, 128, 192))
    heads = rng.choice((2, 4))
    sizes: dict[str, Any] = {"L": rng.choice((6, 8, 12, 16, 24)), "D": width}
    length = rng.choice((32, 64, 96, 128))
    batch = {"B": rng.choice((8, 16, 32)), "S": length}
    if model in ("gpt2", "bert"):
        sizes |= {"V": rng.choice((512, 1024, 2048)), "Ctx": 128, "G": heads}
        sizes["drop"] = rng.choice((0.0, 0.1))
    elif model in ("llama3", "gemma"):
        sizes |= {"V": rng.choice((512, 1024, 2048)), "F": rng.choice((2, 3, 4)) * width}
        sizes |= {"R": heads, "K": rng.choice((16, 32))}
        sizes |= {"G": 2} if model == "llama3" else {}
    else:
        side = rng.choice((4, 6, 8))
        sizes |= {"P": 4, "Y": 4 * side, "X": 4 * side, "Classes": 100}
        del batch["S"]
        if model == "vit":
            sizes |= {"G": heads, "drop": rng.choice((0.0, 0.1))}
        else:
            sizes |= {"F": 4 * width, "M": rng.choice((32, 64, 128))}
    mesh = rng.choice(("", "", "", "", "data", "fsdp", "tensor"))
    microbatches = rng.choice((1, 1, 2, 4))
    if mesh:
        batch["B"] = 32
    optimizer = rng.choice(
        (
            ("adamw", ()),
            ("adamw", ()),
            ("adam", (("mu_dtype", "bfloat16"),)),
            ("sgd", (("momentum", 0.9),)),
            ("lion", ()),
        )
    )
    precision = rng.choice(("float32", "float16"))
    items = lambda table: tuple(table.items())  # noqa: E731
    return Config(model, items(sizes), items(batch), precision, microbatches, optimizer, mesh)


def planned(count: int, seed: int) -> list[Config]:
    """The first of the same that lie on one device, with blocks that run again."""
    single = [c for c in configs(10 * count, seed) if not c.mesh][:count]
    shares = (0.0, 0.2, 0.5)
    return [replace(c, keeps=(shares[i % 3], i)) for i, c in enumerate(single)]


def remat_of(config: Config):
    """Decisions to run all blocks again, but for values that are drawn."""
    from netwright.driver import pipeline
    from netwright.ir.plan import Decision, Plan, decide
    from netwright.passes.remat import candidates

    module = module_of(config)
    line = pipeline()
    line.passes = line.passes[:1]
    blocks = blocks_of(module, Plan(sizes=config.batch))
    share, draw = config.keeps
    rng = random.Random(draw)
    inside = (
        f"{path}/{label}"
        for path, label in candidates(line.run(module, Plan()))
        if any(path == b or path.startswith(f"{b}.") for b in blocks)
    )
    saves = [Decision(key, "save") for key in inside if rng.random() < share]
    return decide((), *(Decision(b, "recompute") for b in sorted(blocks)), *saves)


def blocks_of(module, plan) -> set[str]:
    """Paths of what is repeated; of the blocks that are called once where nothing is."""
    from netwright.driver import pipeline
    from netwright.passes.memory.graph import build
    from netwright.passes.planner.blocks import apart

    walk = module.walk()
    found = {f"{i.path}.{op['child']}".lstrip(".") for i, _, op in walk if op.name == "repeat"}
    if found:
        return found
    done = pipeline().run(module, plan)
    return set(apart(done, build(done, plan)))


def plan_of(config: Config):
    """The plan of a configuration."""
    from netwright.ir.plan import Mesh, Plan, Precision

    mesh = Mesh()
    if config.mesh:
        axes, values, params = MESHES[config.mesh]
        if config.model in ("gemma", "mixer"):  # one head, or none
            values, params = ({d: a for d, a in t.items() if d != "G"} for t in (values, params))
        rules = lambda table: tuple((d, (a,)) for d, a in table.items())  # noqa: E731
        mesh = Mesh(tuple(axes.items()), rules(values), rules(params))
    return Plan(
        sizes=config.batch,
        mesh=mesh,
        microbatches=config.microbatches,
        precision=Precision(config.precision),
        remat=remat_of(config) if config.keeps[0] >= 0 else (),
    )


def module_of(config: Config):
    """The module of a configuration, as elaborated."""
    import netwright as nw

    return nw.load(GALLERY / f"{config.model}.nw", **dict(config.sizes)).module


def scale_of(config: Config) -> str | None:
    """How the loss is scaled, as a recipe has it by default."""
    return "dynamic" if config.precision == "float16" else None


def step_of(config: Config, module, plan, device=None):
    """The lowered training step of a configuration, and the source of its model.

    Args:
        device: to compile for; by default one of this machine.
    """
    import jax
    import optax
    from netwright.backend.model import ModelWriter
    from netwright.driver import pipeline
    from netwright.runtime.settings import Settings
    from netwright.runtime.step import build

    done = pipeline().run(module, plan)
    source = ModelWriter(done, plan, "model.nw").write()
    emitted = ModuleType("emitted")
    exec(source, emitted.__dict__)
    name, options = config.optimizer
    optimizer = getattr(optax, name)(1e-3, **dict(options))
    settings = Settings(microbatches=config.microbatches, loss_scale=scale_of(config))
    program = build(emitted, optimizer, dict(plan.mesh.axes) or None, settings)
    sizes = dict(config.batch)
    single = None if device is None else jax.sharding.SingleDeviceSharding(device)
    batch = {}
    for value in module.instances[0].variants[0].inputs:
        shape = tuple(d.size.evaluate(sizes) for (d,) in value.order)
        dtype = {"int": "int32", "float": "float32", "bool": "bool"}[value.type.kind]
        sharding = single
        if program.placement is not None:
            spec = program.placement.batch[value.label]
            sharding = jax.sharding.NamedSharding(program.placement.mesh, spec)
        batch[value.label] = jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)
    state = program.abstract
    if device is not None:
        place = lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=single)  # noqa: E731
        state = jax.tree.map(place, state)
    return program.step.lower(state, batch), source


def measure(config: Config, dump: str | None = None, modes=MODES) -> dict[str, Any]:
    """What XLA plans for a configuration: bytes per device, by mode."""
    lowered, source = step_of(config, module_of(config), plan_of(config))
    found: dict[str, Any] = {"source": hashlib.sha256(source.encode()).hexdigest()[:12]}
    for mode in modes:
        options: dict[str, Any] = {**QUICK, **(ORACLE if mode == "oracle" else {})}
        if dump:
            options["xla_dump_to"] = f"{dump}/{mode}"
        a = lowered.compile(compiler_options=options).memory_analysis()
        found[mode] = {
            "arguments": a.argument_size_in_bytes,
            "outputs": a.output_size_in_bytes,
            "temporaries": a.temp_size_in_bytes,
            "aliases": a.alias_size_in_bytes,
        }
    return found


APART: tuple[tuple[str, dict[str, Any], dict[str, int]], ...] = (
    ("unet", {}, {"B": 8}),
    ("unet", {"W": 64}, {"B": 16}),
    ("resnet18", {"Y": 64, "X": 64}, {"B": 32}),
    ("resnet18", {}, {"B": 8}),
    ("resnet50", {"Y": 128, "X": 128}, {"B": 8}),
    ("mobilenet_v2", {"Y": 128, "X": 128}, {"B": 8}),
    ("vae", {}, {"B": 512}),
    ("lstm_lm", {"V": 1000, "H": 256}, {"B": 16, "S": 64}),
    ("gru_seq2seq", {"V": 1000, "W": 1000, "E": 128, "H": 256}, {"B": 16, "S": 32, "T": 32}),
)
"""Models whose layers are called, and not repeated. EfficientNet is not among them: of its kernels
for single channels XLA for CPUs makes dense ones, which are larger than all the rest."""


def apart_configs() -> list[Config]:
    """Those of `APART`, as they are, in microbatches, and with all made again.

    In float32: XLA for CPUs convolves nothing less.
    """
    found = []
    for model, sizes, batch in APART:
        plain = Config(model, tuple(sizes.items()), tuple(batch.items()))
        found += [plain, replace(plain, microbatches=2)]
        found += [replace(plain, keeps=(0.0, 0))]
    return found


TPU = (
    ("gpt2", {"L": 12, "D": 512, "G": 8, "V": 8192, "Ctx": 512, "drop": 0.0}, {"B": 16, "S": 512}),
    ("gpt2", {"L": 8, "D": 1024, "G": 8, "V": 16384, "Ctx": 512, "drop": 0.1}, {"B": 8, "S": 512}),
    (
        "llama3",
        {"L": 12, "D": 512, "F": 1536, "G": 2, "R": 2, "K": 128, "V": 8192},
        {"B": 16, "S": 512},
    ),
    (
        "llama3",
        {"L": 8, "D": 1024, "F": 3072, "G": 4, "R": 2, "K": 128, "V": 16384},
        {"B": 4, "S": 1024},
    ),
    ("gemma", {"L": 10, "D": 512, "F": 2048, "R": 4, "K": 128, "V": 16384}, {"B": 8, "S": 512}),
    ("bert", {"L": 12, "D": 512, "G": 4, "V": 8192, "Ctx": 512, "drop": 0.0}, {"B": 16, "S": 512}),
    ("vit", {"L": 12, "D": 512, "G": 4, "Classes": 1000, "drop": 0.0}, {"B": 32}),
    ("mixer", {"L": 12, "D": 512, "F": 2048, "M": 256}, {"B": 32}),
)
"""Configurations for the compiler of TPUs, in bfloat16: what fills its tiles of 8 x 128."""


def tpu_configs() -> list[Config]:
    """Those of `TPU`."""
    items = lambda table: tuple(table.items())  # noqa: E731
    return [Config(m, items(s), items(b), "bfloat16", mesh="") for m, s, b in TPU]


def measure_tpu(config: Config, dump: str | None = None) -> dict[str, Any]:
    """What the compiler of TPU v5e plans, where its package (libtpu) is installed."""
    from jax.experimental import topologies

    topology = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2")
    lowered, source = step_of(config, module_of(config), plan_of(config), topology.devices[0])
    a = lowered.compile(compiler_options={"xla_dump_to": dump} if dump else None).memory_analysis()
    return {
        "source": hashlib.sha256(source.encode()).hexdigest()[:12],
        "v5e": {
            "arguments": a.argument_size_in_bytes,
            "outputs": a.output_size_in_bytes,
            "temporaries": a.temp_size_in_bytes,
            "aliases": a.alias_size_in_bytes,
        },
    }


def total(analysis: Mapping[str, int]) -> int:
    """The peak of `memory_analysis`."""
    a = analysis
    return a["arguments"] + a["outputs"] + a["temporaries"] - a["aliases"]


def measured() -> dict[str, Any]:
    """What was measured before."""
    return json.loads(MEASURED.read_text()) if MEASURED.exists() else {"configurations": {}}


def measure_all(wanted: list[Config], measure=measure) -> None:
    """Compile what has not been compiled yet; kept after each."""
    for index, config in enumerate(wanted):
        if config.name in measured()["configurations"]:
            continue
        start = time.perf_counter()
        found = measure(config)
        table = measured()
        table["configurations"][config.name] = found
        table["commit"] = commit()
        MEASURED.write_text(json.dumps(table, indent=1) + "\n")
        took = time.perf_counter() - start
        print(f"{index + 1}/{len(wanted)} {config.name} {took:.0f} s", flush=True)


def commit() -> str:
    """The commit that this is."""
    return subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()


@dataclass(frozen=True)
class Row:
    """A configuration: what is predicted, and what XLA plans, by mode."""

    name: str
    predicted: int
    found: Mapping[str, int]

    def error(self, mode: str) -> float:
        """How much more is predicted than found, as a fraction."""
        return self.predicted / self.found[mode] - 1


def predicted(config: Config) -> int:
    """The peak without compiling."""
    from netwright.driver import pipeline
    from netwright.passes.memory.model import Training, predict

    plan = plan_of(config)
    module = pipeline().run(module_of(config), plan)
    return predict(module, plan, Training((config.optimizer,))).peak


def rows(wanted: list[Config]) -> list[Row]:
    """Those configurations that were measured."""
    table = measured()["configurations"]
    return [
        Row(c.name, predicted(c), {m: total(a) for m, a in table[c.name].items() if m in KINDS})
        for c in wanted
        if c.name in table
    ]


def summary(found: list[Row], mode: str) -> dict[str, float]:
    """Median, 90th percentile and greatest of the errors' sizes."""
    errors = sorted(abs(r.error(mode)) for r in found)
    last = errors[min(len(errors) - 1, int(0.9 * len(errors)))]
    return {"median": statistics.median(errors), "p90": last, "worst": errors[-1]}


def show(found: list[Row], modes: tuple[str, ...], worst: int) -> None:
    """The table: how far off, and the worst rows."""
    for mode in modes:
        numbers = summary(found, mode)
        text = "  ".join(f"{name} {value:6.1%}" for name, value in numbers.items())
        print(f"{mode:8} {len(found):3} configurations  {text}")
    print(f"\n{'MB predicted':>14}" + "".join(f"{m:>20}" for m in modes))
    for row in sorted(found, key=lambda r: -abs(r.error(modes[0])))[:worst]:
        cells = "".join(f"{row.found[m] / 1e6:12.1f} {row.error(m):+7.1%}" for m in modes)
        print(f"{row.predicted / 1e6:14.1f}{cells}  {row.name}")


def main() -> None:
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={DEVICES} " + os.environ.get(
        "XLA_FLAGS", ""
    )
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=66, help="how many configurations")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--measure", action="store_true", help="compile what is not measured yet")
    parser.add_argument("--tpu", action="store_true", help="compiled by libtpu, if it is installed")
    parser.add_argument("--planned", action="store_true", help="with blocks that run again")
    parser.add_argument("--apart", action="store_true", help="layers that are called once")
    parser.add_argument("--worst", type=int, default=10, help="how many rows are shown")
    parser.add_argument("names", nargs="*", help="parts of names of configurations")
    args = parser.parse_args()
    wanted = tpu_configs() if args.tpu else configs(args.count, args.seed)
    if args.planned:
        wanted = planned(args.count, args.seed)
    if args.apart:
        wanted = apart_configs()
    wanted = [c for c in wanted if not args.names or any(n in c.name for n in args.names)]
    if args.measure:
        measure_all(wanted, measure_tpu if args.tpu else measure)
    found, modes = rows(wanted), ("v5e",) if args.tpu else MODES
    if not found:
        raise SystemExit("nothing of this is measured yet: --measure")
    show(found, modes, args.worst)
    if not args.names:
        table = json.loads(RESULT.read_text()) if RESULT.exists() else {}
        kinds = [k for k in ("tpu", "planned", "apart") if getattr(args, k)]
        table[kinds[0] if kinds else "cpu"] = {
            "commit": commit(),
            "seed": args.seed,
            "count": len(found),
            **{mode: {k: round(v, 4) for k, v in summary(found, mode).items()} for mode in modes},
            "rows": {r.name: {"predicted": r.predicted, **r.found} for r in found},
        }
        RESULT.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
