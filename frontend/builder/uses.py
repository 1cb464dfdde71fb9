"""Which values get a statement of their own."""

from __future__ import annotations

from .expressions import Value
from .forms import Ref
from .trace import (
    Block,
    Branching,
    LocalDims,
    Record,
    Reporting,
    Returning,
    Scanning,
    Slot,
    Updating,
    Using,
    Variable,
)

_BARRIERS = Branching | Scanning | Updating


class Uses:
    """Which values get a statement, which are written where they are used, which are not written.

    Blocks are gone through backwards, so that who uses a value is settled before the value is.
    """

    def __init__(self, block: Block):
        self.count: dict[Value, int] = {}
        self.declared: set[Value] = set()
        self.into: dict[Value, tuple[Block, Record]] = {}
        self.inline: set[Value] = set()
        self.dropped: set[Value] = set()
        self._block(block)

    def _use(self, ref: Ref, at: tuple[Block, Record]) -> None:
        if isinstance(ref.value, Value):
            self.count[ref.value] = self.count.get(ref.value, 0) + 1
            self.into[ref.value] = at

    def _declare(self, ref: Ref) -> None:
        if isinstance(ref.value, Value):
            self.declared.add(ref.value)

    def _block(self, block: Block) -> None:
        for record in reversed(block.records):
            at = (block, record)
            match record:
                case Slot(value=value):
                    self._slot(value, block, record)
                case Variable(init=init):
                    self._declare(init)
                case LocalDims(dims=dims):
                    for dim in dims:
                        self._declare(Ref(dim.size, dim.site))
                case Using(instance=instance):
                    for _, ref, _ in instance.keywords:
                        self._declare(ref)
                    for item in instance.layer.items or ():
                        for ref in item.refs:
                            self._declare(ref)
                case Updating(value=ref) | Reporting(value=ref):
                    self._use(ref, at)
                case Returning(values=refs):
                    for ref in refs:
                        self._use(ref, at)
                case Branching(condition=condition, arms=arms):
                    for arm in reversed(arms):
                        for ref in arm.returned:
                            self._use(ref, (arm.block, record))
                        self._block(arm.block)
                    self._declare(condition)
                case Scanning(block=inner, inputs=inputs, carry=carry, emitted=emitted):
                    for ref in emitted:
                        self._use(ref, (inner, record))
                    for one in carry:
                        if one.next is not None:
                            self._use(one.next, (inner, record))
                    self._block(inner)
                    for ref in (*(r for _, r, _ in inputs), *(c.first for c in carry)):
                        self._use(ref, at)

    def _slot(self, value: Value, block: Block, record: Record) -> None:
        form = value.form
        assert form is not None
        uses, parts = self.count.get(value, 0), bool(value.parts)
        if not uses and not parts and value in self.declared:
            self.dropped.add(value)
            for ref in (*form.refs, *form.sizes):
                self._declare(ref)
            return
        if not uses and not parts and value.name is None and not form.holds:
            self.dropped.add(value)
            return
        at: tuple[Block, Record] = (block, record)
        if uses == 1 and value.name is None and not parts and not value.forced:
            where, root = self.into[value]
            if where is block and not self._between(block, record, root):
                self.inline.add(value)
                at = (where, root)
        for ref in form.refs:
            self._use(ref, at)
        for ref in form.sizes:
            self._declare(ref)

    def _between(self, block: Block, record: Record, root: Record) -> bool:
        start = block.records.index(record) + 1
        for other in block.records[start:]:
            if other is root:
                return False
            if isinstance(other, _BARRIERS):
                return True
        return False  # the end of an arm, or of a step
