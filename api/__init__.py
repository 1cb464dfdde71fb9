"""Netwright: a compiler for neural networks.

    import netwright as nw

    model = nw.load("examples/shakespeare")     # reads and proves it
    program = model.compile()                   # with the recipe beside it
    state = program.init(seed=0)
    for step in range(100):
        state, metrics = program.step(state, program.put_batch(program.data.batch(step)))
    print(program.source)                       # the model as plain JAX

On the command line: `netwright --help`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["Compiled", "InputError", "Model", "load"]

if TYPE_CHECKING:
    from .ir.diagnostics import InputError
    from .model import Compiled, Model, load


def __getattr__(name: str) -> Any:
    # Lazily, so that the command line does not pay for what it does not use.
    if name == "InputError":
        from .ir.diagnostics import InputError

        return InputError
    if name in __all__:
        from . import model

        return getattr(model, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
