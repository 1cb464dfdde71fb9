"""Batches are made ready, and put on the devices, while the steps before them run.

On the CPU that takes time of the step. It takes less where several are made one after the other,
since only the first finds the caches cold: so of small ones many are made at a time, once half of
those that were ready are taken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from .source import Batch
from .stream import State, Stream

Put = TypeVar("Put")

FEWEST, MOST, BYTES = 2, 16, 2**20
"""How many batches are ready at most: as many as fit in so many bytes, within bounds."""


class Prefetch(Generic[Put]):
    """A stream of which a thread keeps the next batches ready.

    `get_state` is the place after the last batch that was *taken*, whatever is ready beyond it. An
    error comes where its batch would have come; asked again, the stream tries that batch again.

    stream: gives the batches; only the thread uses it while it runs
    put:    makes of a batch what is handed out, such as arrays on the devices
    most:   how many batches are ready at most, however small they are
    """

    def __init__(self, stream: Stream, put: Callable[[Batch], Put], most: int = MOST):
        self._stream, self._put, self._most = stream, put, most
        self._ahead = min(FEWEST, most)
        self._state = stream.get_state()
        self._thread: ThreadPoolExecutor | None = None
        self._ready: deque[Future[tuple[Put, State]]] = deque()

    def next(self) -> Put:
        """The next batch; waits until it is ready."""
        batch = self.peek()
        _, self._state = self._ready.popleft().result()
        self._order()
        return batch

    def peek(self) -> Put:
        """The next batch, without taking it."""
        self._order()
        try:
            return self._ready[0].result()[0]
        except BaseException:
            self.close()
            raise

    def get_state(self) -> State:
        return self._state

    def set_state(self, state: State) -> None:
        self.close()
        self._stream.set_state(state)
        self._state = self._stream.get_state()

    def close(self) -> None:
        """End the thread, and go back to the last batch taken: nothing is lost."""
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)
            self._thread = None
            self._ready.clear()
            self._stream.set_state(self._state)

    def _order(self) -> None:
        """Have the thread make as many batches as there may be."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="data")
        if len(self._ready) <= self._ahead // 2:
            while len(self._ready) < self._ahead:
                self._ready.append(self._thread.submit(self._make))

    def _make(self) -> tuple[Put, State]:
        batch = self._stream.next()
        size = sum(array.nbytes for array in batch.values())
        self._ahead = min(max(FEWEST, BYTES // max(size, 1)), self._most)
        return self._put(batch), self._stream.get_state()
