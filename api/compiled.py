"""What XLA plans for a training step: compiled, never run, in a process of its own.

Run as `python -m netwright.compiled`, it reads jobs as JSON from its input, and writes for each the
bytes that one device takes: arguments + outputs + temporaries - what outputs share with arguments.
On the CPU, XLA is told to schedule for memory, as it does on accelerators.
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

ORACLE: dict[str, str | bool] = {
    "xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED",
    "xla_disable_hlo_passes": "cse_barrier_expander",
    "xla_cpu_experimental_ynn_fusion_type": "",
    "xla_backend_optimization_level": "0",
    "xla_llvm_disable_expensive_passes": True,
}
"""Options of XLA on the CPU: schedule for memory, keep barriers, fuse broadcasts; the machine code
itself may be poor."""


@dataclass(frozen=True)
class Job:
    """A training step to be compiled.

    Attributes:
        source: of its `model.py`.
        optimizer: functions of optax in order, with their options; groups of parameters with
            others are taken to have the same.
        inputs: by name, shape and dtype; of the whole batch.
        microbatches: into how many parts the batch is cut.
        scaled: whether the loss is scaled.
        mesh: axes and their sizes, of none on a single device.
        frozen: parameters that are not trained.
        ema: whether an average of the parameters is kept.
    """

    source: str
    optimizer: tuple[tuple[str, dict[str, Any]], ...]
    inputs: dict[str, tuple[tuple[int, ...], str]]
    microbatches: int = 1
    scaled: bool = False
    mesh: dict[str, int] | None = None
    frozen: tuple[str, ...] = ()
    ema: bool = False


def peaks(jobs: Sequence[Job], target: str = "cpu") -> list[int]:
    """Bytes per device of each job.

    Args:
        target: `cpu`, or a TPU such as `tpu:v5e`, for which no TPU is needed.

    Raises:
        InputError: the target cannot be compiled for here, or a compilation fails.
    """
    _can_compile(target)
    devices = max(prod((job.mesh or {}).values()) for job in jobs)
    given = json.dumps({"target": target, "jobs": [asdict(j) for j in jobs]})
    flags = f"--xla_force_host_platform_device_count={devices}"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    environment["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"  # nothing runs, so that none is in the way
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
    found = [_compiled(job, given["target"]) for job in given["jobs"]]
    print(json.dumps(found))


def _compiled(job: Mapping[str, Any], target: str) -> int:
    import jax
    import optax
    import optax.contrib

    from .ir.optimizers import CONTRIB, OPTIMIZERS
    from .runtime.settings import Settings
    from .runtime.step import build

    emitted = from_source("model", job["source"])
    optimizer = optax.chain(
        *(
            getattr(optax.contrib if name in CONTRIB else optax, name)(
                *((1e-3,) if name in OPTIMIZERS else ()), **options
            )
            for name, options in job["optimizer"]
        )
    )
    settings = Settings(
        microbatches=job["microbatches"],
        loss_scale="dynamic" if job["scaled"] else None,
        frozen=tuple(job["frozen"]),
        ema=0.999 if job["ema"] else None,
    )
    program = build(emitted, optimizer, job["mesh"] or None, settings)
    batch = {}
    for name, (shape, dtype) in job["inputs"].items():
        sharding = None
        if program.placement is not None:
            spec = program.placement.batch[name]
            sharding = jax.sharding.NamedSharding(program.placement.mesh, spec)
        batch[name] = jax.ShapeDtypeStruct(tuple(shape), dtype, sharding=sharding)
    if target == "cpu":
        lowered = program.step.lower(program.abstract, batch)
        return _bytes(lowered.compile(compiler_options=ORACLE))
    from jax.experimental import topologies

    kind = target.partition(":")[2] or "v5e"
    topology = topologies.get_topology_desc(platform="tpu", topology_name=f"{kind}:2x2")
    if program.placement is not None:
        raise SystemExit("for a mesh, only the CPU can be compiled for")
    place = jax.sharding.SingleDeviceSharding(topology.devices[0])
    there = lambda tree: jax.tree.map(  # noqa: E731
        lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=place), tree
    )
    return _bytes(program.step.lower(there(program.abstract), there(batch)).compile())


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
