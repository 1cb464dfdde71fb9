"""Accelerators: how much memory one device has, how fast it computes and moves bytes.

Figures are of one device as JAX counts them (a chip; TPU v4 and v5p with both cores), dense, as the
makers publish them. `float32` is what XLA does with float32 products by default: one pass in
bfloat16 on TPUs, TF32 on GPUs. A table in TOML adds a device of one's own:

    name = "my-card"
    memory = 25_769_803_776        # bytes
    bandwidth = 1.008e12           # bytes/s
    peak = { bfloat16 = 165e12, float32 = 82e12 }
    host_link = 32e9               # bytes/s, one way
    interconnect = 32e9            # bytes/s, one way
    cpu = false                    # whether it is a processor, and no accelerator
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from .diagnostics import Diagnostic, InputError, Span, nearest

GIB = 2**30

MOST = 1e24
"""Above what any device has of anything."""


@dataclass(frozen=True)
class Hardware:
    """One device.

    Attributes:
        name: by which it is asked for.
        memory: bytes of its memory.
        peak: by dtype, how many floating-point operations of products it does in a second at most.
        bandwidth: bytes that it reads or writes in its memory in a second.
        host_link: bytes a second to the memory of its host, one way; 0 where there is no other.
        interconnect: bytes a second to other devices, all links together, one way.
        source: where the figures are from.
        cpu: whether it is the processor itself, for which XLA schedules for speed, not for memory.
    """

    name: str
    memory: int
    peak: tuple[tuple[str, float], ...]
    bandwidth: float
    host_link: float = 0.0
    interconnect: float = 0.0
    source: str = ""
    cpu: bool = False

    def flops(self, dtype: str) -> float:
        """Operations a second in a dtype; those it does not list go at the rate of float32."""
        table = dict(self.peak)
        return table.get(dtype, table["float32"])


def _device(name, memory, low, single, bandwidth, host, links, source) -> Hardware:
    """Figures in GB (of memory, in bytes), TFLOP/s and GB/s."""
    peak = (("bfloat16", low * 1e12), ("float16", low * 1e12), ("float32", single * 1e12))
    return Hardware(name, memory, peak, bandwidth * 1e9, host * 1e9, links * 1e9, source)


_TPU = "Google Cloud TPU documentation, system architecture"
_A100 = "NVIDIA A100 datasheet (SXM)"
_H100 = "NVIDIA H100 datasheet (SXM), without sparsity"
_H200 = "NVIDIA H200 datasheet (SXM), without sparsity"
_B200 = "NVIDIA DGX B200 datasheet, an eighth, without sparsity"

TABLE: dict[str, Hardware] = {
    h.name: h
    for h in (
        _device("tpu-v4", 32 * GIB, 275, 275, 1228, 32, 300, _TPU),
        _device("tpu-v5e", 16 * GIB, 197, 197, 819, 32, 200, _TPU),
        _device("tpu-v5p", 95 * GIB, 459, 459, 2765, 32, 600, _TPU),
        _device("tpu-v6e", 32 * GIB, 918, 918, 1638, 64, 400, _TPU),
        _device("a100-40", 40 * GIB, 312, 156, 1555, 32, 300, _A100),
        _device("a100-80", 80 * GIB, 312, 156, 2039, 32, 300, _A100),
        _device("h100", 80 * GIB, 989, 494, 3350, 64, 450, _H100),
        _device("h200", 141 * 10**9, 989, 494, 4800, 64, 450, _H200),
        _device("b200", 180 * 10**9, 2250, 1100, 8000, 64, 900, _B200),
        Hardware(
            "cpu", 16 * GIB, (("float32", 100e9),), 20e9, 0.0, 10e9,
            "an order of magnitude for a few cores; measure and write a table of your own", True,
        ),
    )
}  # fmt: skip
"""Devices by name."""

ALIASES = {
    "v4": "tpu-v4", "v5e": "tpu-v5e", "v5p": "tpu-v5p", "v6e": "tpu-v6e", "a100": "a100-80",
    "TPU v4": "tpu-v4", "TPU v5 lite": "tpu-v5e", "TPU v5": "tpu-v5p", "TPU v5p": "tpu-v5p",
    "TPU v6 lite": "tpu-v6e", "NVIDIA A100-SXM4-40GB": "a100-40",
    "NVIDIA A100-SXM4-80GB": "a100-80", "NVIDIA H100 80GB HBM3": "h100", "NVIDIA H200": "h200",
    "NVIDIA B200": "b200",
}  # fmt: skip
"""Short names, and names that `jax.Device.device_kind` has for them."""


def hardware(name: str, place: Span | None = None) -> Hardware:
    """A device of the table by name or alias, or one that a TOML file describes.

    Args:
        name: such as `h100`, `v5e` or `mine.toml`.
        place: where the name stands, for messages.

    Raises:
        InputError: there is no such device, or the file does not describe one.
    """
    if name.endswith(".toml"):
        return _read(Path(name), place)
    found = TABLE.get(ALIASES.get(name, name)) or TABLE.get(name.lower())
    if found is None:
        known = [*TABLE, *(a for a in ALIASES if " " not in a)]
        close = nearest(name, known)
        raise InputError(
            [
                Diagnostic(
                    "hardware-unknown",
                    f"no device is called {name!r}",
                    place,
                    facts=(", ".join(TABLE),),
                    help=f"did you mean {close[0]}?" if close else "a TOML file can describe one",
                )
            ]
        )
    return found


def peaks(dtype: str) -> dict[str, float]:
    """Operations a second in a dtype by kind of device, as `jax.Device.device_kind` names kinds."""
    return {k: TABLE[name].flops(dtype) for k, name in ALIASES.items() if " " in k}


def _read(path: Path, place: Span | None) -> Hardware:
    import tomllib

    def bad(message: str) -> InputError:
        help = "memory = 16e9, bandwidth = 8e11, peak = { float32 = 1e13, bfloat16 = 2e13 }"
        return InputError([Diagnostic("hardware-file", f"{path}: {message}", place, help=help)])

    def is_number(value: object, least: int = 1) -> bool:
        """Whether it is one that can be counted with: no bool, no nan, not endless."""
        return isinstance(value, int | float) and type(value) is not bool and least <= value < MOST

    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise bad((error.strerror or str(error)).lower()) from None
    except ValueError as error:
        raise bad(str(error)) from None
    known = {f.name for f in fields(Hardware)}
    for name in table:
        if name not in known:
            close = nearest(name, known)
            raise bad(f"{name} is no field" + (f"; {close[0]}?" if close else ""))
    table = {"name": path.stem, "source": str(path), **table}
    for name in ("name", "source"):
        if not isinstance(table[name], str):
            raise bad(f'{name} must be a text, such as "my-card"')
    if not isinstance(table.get("cpu", False), bool):
        raise bad("cpu must be true or false")
    for name in ("memory", "bandwidth", "host_link", "interconnect"):
        least = 1 if name in ("memory", "bandwidth") else 0
        if not is_number(table.get(name, 0), least):
            raise bad(f"{name} must be a number of bytes" + (" above 0" if least else ""))
    peak = table.get("peak")
    if not isinstance(peak, dict):
        peak = {}
    if "float32" not in peak or not all(map(is_number, peak.values())):
        raise bad("peak must give operations a second by dtype, at least for float32")
    table["peak"] = tuple((str(k), float(v)) for k, v in peak.items())
    return Hardware(**{**table, "memory": int(table["memory"])})
