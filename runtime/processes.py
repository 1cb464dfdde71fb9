"""Several processes that train together: how they find each other, and how they stop together.

Each process is started with the same command line, but for its number:

    python train.py --coordinator HOST:PORT --processes 2 --process 0
    python train.py --coordinator HOST:PORT --processes 2 --process 1

or by a cluster that JAX knows, with --cluster. From then on JAX finds the devices of all of them;
each reads its own rows of every batch and writes its own part of every checkpoint, and process 0
alone writes the log and speaks.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import RunError

if TYPE_CHECKING:
    from .mesh import Placement

VARIABLES = {
    "coordinator": "JAX_COORDINATOR_ADDRESS",
    "processes": "JAX_NUM_PROCESSES",
    "process": "JAX_PROCESS_ID",
}
"""What is read where an option is not given."""


def add_options(parser: argparse.ArgumentParser, default: Any = None) -> None:
    """The options of a command that several processes may run together."""
    group = parser.add_argument_group(
        "several processes",
        "started with the same options but for --process, on a disk that they share; or with"
        f" {', '.join(VARIABLES.values())}",
    )
    group.add_argument(
        "--coordinator", default=default, metavar="HOST:PORT", help="where all find process 0"
    )
    group.add_argument(
        "--processes", type=int, default=default, metavar="N", help="how many there are"
    )
    group.add_argument(
        "--process", type=int, default=default, metavar="I", help="which this is, from 0 on"
    )
    group.add_argument(
        "--cluster",
        action="store_true",
        default=default or False,
        help="all three as Slurm, Open MPI, Kubernetes or Cloud TPU have them",
    )


@dataclass(frozen=True)
class Joined:
    """How this process came to train with others.

    number, count: which it is, and how many there are
    options:       those that say so, to be said again
    """

    number: int = 0
    count: int = 1
    options: tuple[str, ...] = ()


def join(arguments: argparse.Namespace, environment: Mapping[str, str] = os.environ) -> Joined:
    """Meet the other processes, where the command line or the environment speak of any.

    Must come before anything else of JAX. RunError if what is said does not go together, or the
    others cannot be met.
    """
    given = {name: getattr(arguments, name, None) for name in VARIABLES}
    for name, variable in VARIABLES.items():
        if given[name] is None and variable in environment and not arguments.cluster:
            given[name] = _read(name, environment[variable], variable)
    told = {name: value for name, value in given.items() if value is not None}
    if not told and not arguments.cluster:
        return Joined()
    if not arguments.cluster:
        _check(told)
        if told["processes"] == 1:
            return Joined()
    import jax

    try:
        jax.distributed.initialize(
            told.get("coordinator"),
            told.get("processes"),
            told.get("process"),
            cluster_detection_method=None if arguments.cluster else "deactivate",
        )
    except ValueError:  # JAX was not told all, and found no cluster
        raise RunError(
            "--cluster: JAX finds no cluster here (Slurm, Open MPI, Kubernetes, Cloud TPU).\n"
            "Say it by --coordinator HOST:PORT --processes N --process I."
        ) from None
    except RuntimeError as error:
        raise RunError(
            f"the other processes cannot be met at {told.get('coordinator', 'the coordinator')}:"
            f" {str(error).splitlines()[0]}"
        ) from None
    options = [word for name, value in told.items() for word in (f"--{name}", str(value))]
    options += ["--cluster"] if arguments.cluster else []
    return Joined(jax.process_index(), jax.process_count(), tuple(options))


def _read(name: str, text: str, variable: str) -> str | int:
    if name == "coordinator":
        return text
    try:
        return int(text)
    except ValueError:
        raise RunError(f"{variable} = {text!r}: it must be a whole number.") from None


def _check(told: Mapping[str, Any]) -> None:
    missing = [f"--{name}" for name in VARIABLES if name not in told]
    if missing:
        raise RunError(
            f"several processes need --coordinator, --processes and --process; {missing[0]} is"
            " not given.\nOn a cluster that JAX knows, --cluster stands for all three."
        )
    host, _, port = told["coordinator"].rpartition(":")
    if not host or not port.isdigit():
        raise RunError(
            f"--coordinator {told['coordinator']}: it must be HOST:PORT, a free port of the"
            " machine of process 0, such as 10.0.0.1:1234."
        )
    if not 0 <= told["process"] < told["processes"]:
        raise RunError(
            f"--process {told['process']}: of {told['processes']} processes the numbers are 0 to"
            f" {told['processes'] - 1}."
        )


def check_mesh(placement: Placement | None) -> None:
    """RunError unless the devices of every process are in the mesh."""
    import jax

    count = jax.process_count()
    if count == 1:
        return
    if placement is None:
        raise RunError(
            f"{count} processes train together on a mesh of their devices, and this program has"
            " none: each would train alone.\nGive the recipe one, such as"
            f" [mesh] axes = {{ data = {jax.device_count()} }}, and say what lies along it."
        )
    mesh = placement.mesh
    idle = set(range(count)) - {device.process_index for device in mesh.devices.flat}
    if idle:
        shape = " × ".join(f"{name}={size}" for name, size in mesh.shape.items())
        raise RunError(
            f"the mesh {shape} takes {mesh.size} of the {jax.device_count()} devices of {count}"
            f" processes, and none of process {min(idle)}.\n"
            "Make it larger, or start fewer processes."
        )


def lost(error: RuntimeError, joined: Joined) -> RunError | None:
    """What to tell of a computation that failed since another process has ended; else None."""
    if joined.count == 1:
        return None
    import jax

    if not isinstance(error, jax.errors.JaxRuntimeError):
        return None
    first = next(iter(str(error).strip().splitlines()), "")[:300]
    return RunError(
        f"what all processes compute together has failed: {first}\n"
        "If another one has ended, it says why. The last checkpoint is whole: start all of them"
        " again, with --resume."
    )
