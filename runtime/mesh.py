"""Where things live: the device mesh and the sharding of state and batches.

The plan's decisions arrive as trees of `PartitionSpec` in the model module (`PARAM_SPECS`,
`STATE_SPECS`, `BATCH_SPECS`); this file only lays them over real devices.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from .errors import RunError
from .state import Path, TrainState, leaves_by_path, rebuild


@dataclass(frozen=True)
class Placement:
    """A mesh, and where on it each leaf of the state and each field of a batch lives."""

    mesh: Mesh
    state: TrainState  # of NamedSharding
    batch: Mapping[str, PartitionSpec]

    @property
    def replicated(self) -> NamedSharding:
        """On every device in full."""
        return NamedSharding(self.mesh, PartitionSpec())

    def traced(self, function: Callable) -> Callable:
        """`function`, traced under this mesh, so that bare PartitionSpecs in it are understood."""

        @wraps(function)
        def under_mesh(*arguments):
            with jax.sharding.use_abstract_mesh(self.mesh.abstract_mesh):
                return function(*arguments)

        return under_mesh

    def rows(self, size: int) -> slice:
        """The rows of a batch of `size` that the devices of this process hold.

        RunError if they do not follow one another.
        """
        lead = next(iter(self.batch.values()), PartitionSpec())[:1]
        sharding = NamedSharding(self.mesh, PartitionSpec(*lead))
        if sharding.is_fully_addressable or any(size % _parts(self.mesh, axes) for axes in lead):
            return slice(0, size)
        held = sharding.addressable_devices_indices_map((size,)).values()
        spans = sorted({index[0].indices(size)[:2] for index in held if index is not None})
        if any(one[1] != other[0] for one, other in itertools.pairwise(spans)):
            raise RunError(
                "the rows of a batch do not lie on this process's devices one after the other.\n"
                "Let the batch's dim lie along the outermost axes of the mesh."
            )
        return slice(spans[0][0], spans[-1][1])

    def put_batch(
        self, batch: Mapping[str, Any], *, strict: bool, size: int | None = None
    ) -> dict[str, jax.Array]:
        """A batch on its devices.

        A field whose sizes do not divide over the mesh is an error if `strict` (training), and is
        put on every device otherwise (the short last batch of an evaluation).

        Where several processes train together, each gives all rows; or with `size`, how many there
        are of all processes, its own: see `rows`.
        """
        return {
            name: self._put(name, value, strict, (size or value.shape[0], *value.shape[1:]))
            for name, value in batch.items()
        }

    def _put(self, name: str, value: Any, strict: bool, shape: tuple[int, ...]) -> jax.Array:
        sharding = self._field(name, shape, strict)
        if sharding.is_fully_addressable:
            return jax.device_put(value, sharding)
        return jax.make_array_from_process_local_data(sharding, value, shape)

    def _field(self, name: str, shape: tuple[int, ...], strict: bool) -> NamedSharding:
        spec = self.batch.get(name, PartitionSpec())
        for size, axes in zip(shape, spec, strict=False):
            parts = _parts(self.mesh, axes)
            if size % parts == 0:
                continue
            if strict:
                raise RunError(
                    f"the batch field '{name}' has shape {list(shape)}, and its {size} does"
                    f" not divide over the {parts} parts of mesh axis {_axes(axes)}.\n"
                    f"Make it a multiple of {parts}, or give that axis fewer devices."
                )
            return self.replicated
        return NamedSharding(self.mesh, spec)


def make_mesh(axes: Mapping[str, int], devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh of the given axis sizes over the first of `devices`, by default all there are."""
    needed = math.prod(axes.values())
    devices = jax.devices() if devices is None else devices
    if len(devices) < needed:
        shape = " × ".join(f"{name}={size}" for name, size in axes.items())
        message = (
            f"the mesh {shape} needs {needed} devices, and JAX finds"
            f" {len(devices)} ({devices[0].platform})."
        )
        if devices[0].platform == "cpu":
            message += (
                "\nTo try it on one processor, set"
                f" XLA_FLAGS=--xla_force_host_platform_device_count={needed} before the command."
            )
        raise RunError(message)
    # Auto: the compiler spreads values between our constraints. The default would be Explicit.
    return jax.make_mesh(
        tuple(axes.values()),
        tuple(axes),
        axis_types=(AxisType.Auto,) * len(axes),
        devices=devices[:needed],
    )


def place(
    axes: Mapping[str, int] | None,
    model: Any,
    state: TrainState,
    devices: Sequence[jax.Device] | None = None,
) -> Placement | None:
    """The placement of `state` (abstract is enough) on a mesh; None where there is no mesh."""
    if not axes:
        if hasattr(model, "PARAM_SPECS"):
            raise RunError(
                "model.py was written for a mesh of devices, but the job has none.\n"
                "Give it: mesh={axis: size, ...}."
            )
        return None
    if not hasattr(model, "PARAM_SPECS"):
        raise RunError(
            "the job has a mesh, but model.py was written without one (it has no PARAM_SPECS).\n"
            "Take the mesh out of the job, or have the program written again with it."
        )
    mesh = make_mesh(axes, devices)
    params, model_state = _specs(model.PARAM_SPECS), _specs(model.STATE_SPECS)
    shapes = {path: leaf.shape for path, leaf in leaves_by_path(state.params).items()}
    shardings = {
        path: NamedSharding(mesh, _spec_of(path, leaf.shape, params, model_state, shapes))
        for path, leaf in leaves_by_path(state).items()
    }
    return Placement(mesh, rebuild(state, shardings), dict(model.BATCH_SPECS))


def _spec_of(
    path: Path,
    shape: tuple[int, ...],
    params: dict[Path, PartitionSpec],
    model_state: dict[Path, PartitionSpec],
    param_shapes: dict[Path, tuple[int, ...]],
) -> PartitionSpec:
    part, rest = path[0], path[1:]
    if part in ("params", "model_state"):
        specs = params if part == "params" else model_state
        if rest not in specs:
            raise RunError(f"model.py gives no PartitionSpec for {part} {'.'.join(rest)}.")
        return specs[rest]
    # Optimizer state mirrors the parameters: its paths end as theirs do. The shape is asked for
    # too, since factored optimizers keep rows and columns under the same names.
    for start in range(len(rest)):
        suffix = rest[start:]
        if suffix in params and param_shapes[suffix] == shape:
            return params[suffix]
    return PartitionSpec()


def _specs(tree: Any) -> dict[Path, PartitionSpec]:
    # Wrapped, so that no reading of PartitionSpec as a tuple can take it apart.
    return {
        path: leaf.spec
        for path, leaf in leaves_by_path(
            jax.tree.map(_Leaf, tree, is_leaf=lambda x: isinstance(x, PartitionSpec))
        ).items()
    }


@dataclass(frozen=True)
class _Leaf:
    spec: PartitionSpec


def _parts(mesh: Mesh, axes: Any) -> int:
    names = () if axes is None else (axes,) if isinstance(axes, str) else tuple(axes)
    return math.prod(mesh.shape[name] for name in names)


def _axes(axes: Any) -> str:
    return axes if isinstance(axes, str) else "×".join(axes)
