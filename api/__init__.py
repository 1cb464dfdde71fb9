"""Netwright: a compiler for neural networks.

    import netwright as nw

    model = nw.load("examples/shakespeare")     # reads and proves it
    program = model.compile()                   # with the recipe beside it
    state = program.init(seed=0)
    for step in range(100):
        state, metrics = program.step(state, program.put_batch(program.data.batch(step)))
    print(program.source)                       # the model as plain JAX

A model may be written in Python too, in the same notation:

    B, D = nw.dims("B"), nw.dims(D=128)

    @nw.layer[D]
    def RMSNorm(x: nw.f[..., D], eps=1e-6) -> nw.f[..., D]:
        scale = nw.param("scale", [D], nw.ones())
        return x * nw.rsqrt(nw.mean[D](x ** 2) + eps) * scale

On the command line: `netwright --help`.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

__all__ = ["Compiled", "InputError", "Model", "load"]

if TYPE_CHECKING:
    from .ir.diagnostics import InputError
    from .models import Compiled, Model, load


def __getattr__(name: str) -> Any:
    # Lazily, so that the command line does not pay for what it does not use.
    if name == "InputError":
        from .ir.diagnostics import InputError

        return InputError
    if name in __all__:
        from . import models  # `nw.model` is a decorator

        return getattr(models, name)
    # `from . import driver` asks for the attribute first, and imports the module if there is none.
    if name.startswith("_") or find_spec(f".{name}", __name__) is not None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .frontend.builder import notation

    return notation(name)


def __dir__() -> list[str]:
    from .frontend.builder import NOTATION
    from .frontend.builder.ops import ops

    return sorted({*globals(), *__all__, *NOTATION, *ops()})
