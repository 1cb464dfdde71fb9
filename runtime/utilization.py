"""Model FLOPs utilization: how much of what the devices can do a step does.

It counts what the model asks for, and not what is computed again to save memory (Chowdhery et al.,
*PaLM*, 2022, appendix B).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import jax

if TYPE_CHECKING:
    from .job import Job
    from .step import Program


def mfu_of_a_second(job: Job, program: Program) -> float | None:
    """The utilization of a step that takes one second; None where it cannot be known."""
    placement = program.placement
    devices = list(placement.mesh.devices.flat) if placement else jax.devices()[:1]
    peak = job.peak or _peaks(job).get(devices[0].device_kind)
    if job.flops is None or peak is None:
        return None
    return job.flops / (peak * len(devices))


def _peaks(job: Job) -> dict[str, float]:
    """Operations a second by kind of device, as `program.json` has them."""
    try:
        return dict(json.loads((job.folder / "program.json").read_text())["peaks"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
