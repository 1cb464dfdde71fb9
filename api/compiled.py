"""What XLA plans for a training step: compiled, never run, in a process of its own.

Run as `python -m netwright.compiled`, it reads jobs as JSON from its input, and writes for each the
bytes that one device takes: arguments + outputs + temporaries - what outputs share with arguments.
On the CPU, XLA can be told to schedule for memory, as it does on accelerators.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from math import prod
from typing import Any

from .emitted import from_source
from .ir.diagnostics import Diagnostic, InputError

QUICK: dict[str, str | bool] = {
    "xla_backend_optimization_level": "0",
    "xla_llvm_disable_expensive_passes": True,
}
"""Options of XLA on the CPU: the machine code, which is not run, may be poor."""

ORACLE = QUICK | {
    "xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED",
    "xla_disable_hlo_passes": "cse_barrier_expander",
    "xla_cpu_experimental_ynn_fusion_type": "",
}
"""The same, and schedule for memory, keep barriers, fuse broadcasts."""

FLAT = ("v2", "v3", "v5e", "v6e")
"""TPUs whose chips lie in a plane; the others' do in space."""


@dataclass(frozen=True)
class Job:
    """A training step to be compiled.

    Attributes:
        model: source of its `model.py`.
        optimizer: source of a module whose `optimizer()` is that of optax.
        inputs: by name, shape and dtype; of the whole batch.
        microbatches: into how many parts the batch is cut.
        scaled: whether the loss is scaled.
        mesh: axes and their sizes, of none on a single device.
        frozen: parameters that are not trained.
        ema: whether an average of the parameters is kept.
    """

    model: str
    optimizer: str
    inputs: dict[str, tuple[tuple[int, ...], str]]
    microbatches: int = 1
    scaled: bool = False
    mesh: dict[str, int] | None = None
    frozen: tuple[str, ...] = ()
    ema: bool = False


def peaks(jobs: Sequence[Job], target: str = "cpu", *, as_accelerators: bool = True) -> list[int]:
    """Bytes per device of each job.

    Args:
        target: `cpu`, or a TPU such as `tpu:v5e`, for which no TPU is needed.
        as_accelerators: whether XLA on the CPU schedules for memory; it does not by itself.

    Raises:
        InputError: the target cannot be compiled for here, or a compilation fails.
    """
    _can_compile(target)
    devices = max(prod((job.mesh or {}).values()) for job in jobs)
    options = ORACLE if as_accelerators else QUICK
    every = [asdict(job) for job in jobs]
    given = json.dumps({"target": target, "options": options, "jobs": every})
    flags = f"--xla_force_host_platform_device_count={devices}"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    # Of TPUs only the compiler is used: it waits for no other process, and asks no cloud.
    environment |= {"ALLOW_MULTIPLE_LIBTPU_LOAD": "1", "TPU_SKIP_MDS_QUERY": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "netwright.compiled"],
        input=given,
        capture_output=True,
        text=True,
        env=environment,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or ["no message"]
        problem = Diagnostic(
            "verify", f"the step could not be compiled for {target}", facts=tuple(said)
        )
        raise InputError([problem])
    return list(json.loads(done.stdout.splitlines()[-1]))


def _can_compile(target: str) -> None:
    """Raises `InputError` for a target that there is no compiler for."""
    kind, _, _ = target.partition(":")
    if kind not in ("cpu", "tpu"):
        problem = Diagnostic(
            "verify-target",
            f"{target!r} is nothing that a plan can be compiled for",
            help="--verify, for CPUs; or --verify tpu:v5e",
        )
    elif kind == "tpu" and find_spec("libtpu") is None:
        problem = Diagnostic(
            "verify-target",
            f"for {target} the compiler for TPUs is needed, which is not installed here",
            facts=("it is 700 MB, for Linux only; no TPU is needed",),
            help="pip install 'netwright[tpu]'; or --verify, for CPUs",
        )
    else:
        return
    raise InputError([problem])


def _main() -> None:
    given = json.load(sys.stdin)
    found = [_compiled(job, given["target"], given["options"]) for job in given["jobs"]]
    print(json.dumps(found))


def _compiled(job: Mapping[str, Any], target: str, options: Mapping[str, Any]) -> int:
    import jax

    from .runtime.settings import Settings
    from .runtime.step import build

    devices = None if target == "cpu" else _topology(target, prod((job["mesh"] or {}).values()))
    single = None if devices is None else jax.sharding.SingleDeviceSharding(devices[0])
    settings = Settings(
        microbatches=job["microbatches"],
        loss_scale="dynamic" if job["scaled"] else None,
        frozen=tuple(job["frozen"]),
        ema=0.999 if job["ema"] else None,
    )
    model, optimizer = (from_source(name, job[name]) for name in ("model", "optimizer"))
    program = build(model, optimizer.optimizer(), job["mesh"] or None, settings, devices)
    state, batch = program.abstract, {}
    for name, (shape, dtype) in job["inputs"].items():
        sharding: jax.sharding.Sharding | None = single
        if program.placement is not None:
            spec = program.placement.batch[name]
            sharding = jax.sharding.NamedSharding(program.placement.mesh, spec)
        batch[name] = jax.ShapeDtypeStruct(tuple(shape), dtype, sharding=sharding)
    if program.placement is None and single is not None:
        state = jax.tree.map(
            lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=single), state
        )
    lowered = program.step.lower(state, batch)
    return _bytes(lowered.compile(compiler_options=dict(options) if devices is None else None))


def _topology(target: str, count: int) -> Sequence[Any]:
    """The chips of the smallest TPU of a kind, such as `tpu:v5e`, that has so many."""
    from jax.experimental import topologies

    kind = target.partition(":")[2] or "v5e"
    sides = [2, 2] if kind in FLAT else [2, 2, 1]
    while prod(sides) < count:  # as they are built: the shortest side doubles, the last first
        shortest = min(range(len(sides)), key=lambda i: (sides[i], -i))
        sides[shortest] *= 2
    name = f"{kind}:{'x'.join(map(str, sorted(sides)))}"
    return topologies.get_topology_desc(platform="tpu", topology_name=name).devices


def _bytes(compiled: Any) -> int:
    found = compiled.memory_analysis()
    return int(
        found.argument_size_in_bytes
        + found.output_size_in_bytes
        + found.temp_size_in_bytes
        - found.alias_size_in_bytes
    )


if __name__ == "__main__":
    _main()
