"""One run of a decorated function: what it did, in order, as blocks of records."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import TYPE_CHECKING, Any

from .expressions import CURRENT, Dim, Fixed, Value
from .forms import Ref
from .source import Site, ours, stored, user_frame

if TYPE_CHECKING:
    from .instances import Instance
    from .layers import PythonLayer
    from .types import ArrayType


# What a layer does; the writer makes statements of it.


@dataclass(eq=False)
class Slot:
    """A value was made."""

    value: Value


@dataclass(eq=False)
class LocalDims:
    """Dims were declared inside of the layer."""

    dims: tuple[Dim, ...]
    site: Site


@dataclass(eq=False)
class Variable:
    """A parameter or state was declared."""

    fixed: Fixed
    type: ArrayType
    init: Ref
    site: Site


@dataclass(eq=False)
class Using:
    """An instance was made."""

    instance: Instance


@dataclass(eq=False)
class Updating:
    """A state was given a new value."""

    state: Fixed
    value: Ref
    site: Site


@dataclass(eq=False)
class Reporting:
    """A metric was reported."""

    name: str
    value: Ref
    site: Site


@dataclass(eq=False)
class Arm:
    """One side of a branch: what it did, and what it returned."""

    block: Block
    returned: tuple[Ref, ...] = ()


@dataclass(eq=False)
class Branching:
    """`cond`: both sides, and the results that either may give."""

    condition: Ref
    arms: tuple[Arm, ...]
    results: tuple[Value, ...]
    site: Site


@dataclass(eq=False)
class Carried:
    """A name that a scan carries: before, at a step, what a step makes of it, and after."""

    name: str
    first: Ref
    step: Value
    last: Value
    next: Ref | None = None


@dataclass(eq=False)
class Scanning:
    """`scan`: what it runs along, its body, what it emits."""

    along: Ref
    inputs: tuple[tuple[str, Ref, Value], ...]
    carry: tuple[Carried, ...]
    block: Block
    site: Site
    emitted: tuple[Ref, ...] = ()
    results: tuple[Value, ...] = ()


@dataclass(eq=False)
class Returning:
    """What the function returned."""

    values: tuple[Ref, ...]
    site: Site


Record = (
    Slot | LocalDims | Variable | Using | Updating | Reporting | Branching | Scanning | Returning
)


@dataclass(eq=False)
class Block:
    """Records in order."""

    records: list[Record] = field(default_factory=list)

    def add(self, record: Record) -> None:
        self.records.append(record)


@dataclass
class _Level:
    """A function of the user's that runs: the frame that called it, and its own."""

    caller: FrameType
    frame: FrameType | None = None


class Trace:
    """One run of a layer's function.

    Names are those of Python's variables: the one that takes a value as it is made, else, before
    anything new is made, one of those in the running frames that hold it.

    Attributes:
        layer: the layer; None where nothing is run.
        title: its name.
        block: where records go.
        waiting: values that have no name yet.
        local: dims declared inside of the layer.
        instances: those that were made.
    """

    def __init__(self, layer: PythonLayer | None):
        self.layer = layer
        self.title = layer.name if layer is not None else ""
        self.block = Block()
        self.waiting: list[Value] = []
        self.local: list[Dim] = []
        self.instances: list[Instance] = []
        self._levels: list[_Level] = []

    @contextmanager
    def running(self):
        """While a layer runs, what is written belongs to it."""
        token = CURRENT.set(self)
        try:
            yield self
        finally:
            CURRENT.reset(token)

    @contextmanager
    def inside(self, block: Block):
        """Records go into another block."""
        outer, self.block = self.block, block
        try:
            yield
        finally:
            self.block = outer

    def call(self, function: Callable, *args: Any, **kwargs: Any) -> tuple[Any, Site | None]:
        """What a function of the user's returns, and where; its variables are looked at last."""
        level = _Level(sys._getframe())
        self._levels.append(level)
        try:
            result = function(*args, **kwargs)
        finally:
            self._levels.pop()
        if level.frame is None:
            return result, None
        self._name([level.frame])
        return result, Site.of(level.frame)

    def event(self, frame: FrameType) -> None:
        """Something is about to be made in a frame: find names for what was made before."""
        frames = []
        levels = list(self._levels)
        inner = None
        at: FrameType | None = frame
        while at is not None and levels:
            if at is levels[-1].caller:
                levels.pop().frame = inner
            elif not ours(at):
                frames.append(at)
                inner = at
            at = at.f_back
        self._name(frames)

    def _name(self, frames: list[FrameType]) -> None:
        nameless = {id(i): i for i in self.instances if i.name is None}
        values = {id(v): v for v in self.waiting if v.name is None}
        if not values and not nameless:
            return
        for frame in reversed(frames):  # a helper's argument has the caller's name first
            for name, held in frame.f_locals.items():
                if not _fits(name):
                    continue
                value = values.get(id(held))
                if value is not None and value.name is None:
                    value.name = name
                    value.helped = len(frames) > 1 and self._helps(frame)
                if nameless:
                    _name_instances(name, held, nameless)
        self.waiting = [v for v in self.waiting if v.name is None and not v.used]

    def _helps(self, frame: FrameType) -> bool:
        """Whether a frame is that of a helper, and neither of the layer nor of an arm or step."""
        return all(level.frame is not frame for level in self._levels)

    def add(self, value: Value) -> None:
        """Record a new value."""
        self.block.add(Slot(value))
        frame = user_frame()
        name = stored(frame)
        if name is not None and _fits(name):
            value.name, value.helped = name, self._helps(frame)
        else:
            self.waiting.append(value)

    def update(self, state: Fixed, value: Ref, site: Site) -> None:
        """Record a new value of a state."""
        self.block.add(Updating(state, value, site))

    def declares(self, dim: Dim) -> bool:
        """Whether a dim is one of the layer's own."""
        return any(d is dim for d in self.local)


def _fits(name: str) -> bool:
    """Whether a variable's name is one for a value."""
    return name.isidentifier() and name.isascii() and name != "_"


def _name_instances(name: str, held: Any, nameless: dict[int, Instance]) -> None:
    """Name instances by the variable that holds them, alone or in a list, tuple or dict."""
    found = nameless.get(id(held))
    if found is not None:
        found.suggested = found.suggested or name
        return
    items: Any = ()
    if isinstance(held, list | tuple):
        items = enumerate(held)
    elif isinstance(held, dict):
        items = ((k, v) for k, v in held.items() if isinstance(k, str) and k.isidentifier())
    for key, one in items:
        found = nameless.get(id(one))
        if found is not None:
            found.suggested = found.suggested or f"{name}_{key}"
