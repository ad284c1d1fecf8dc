"""A bounded queue and the thread that empties it, for what may never stop or slow the training.

`put` costs microseconds and never waits: when the thread cannot keep up, the newest items are dropped
and counted. Whatever the thread's work raises ends it and is kept as `error`; nothing is raised here.
Knows nothing of what the items are.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any


class Forwarder:
    """Hands items to `work` in a thread of its own.

    After a crash of the process, what was still queued is lost: not for records.

    Args:
        work: called once, in the thread, with an iterator over the items that ends after `close`.
        capacity: items that may wait.
        name: the thread's.

    Attributes:
        dropped: items refused because the queue was full.
        error: what `work` raised, which ended it.
    """

    def __init__(self, work: Callable[[Iterator[Any]], None], *, capacity: int, name: str) -> None:
        self.dropped = 0
        self.error: Exception | None = None
        self._work = work
        self._capacity = capacity
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._end = object()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)  # no exit waits for it
        self._thread.start()

    def put(self, item: Any, *, always: bool = False) -> None:
        """Queues one item; drops it when the queue is full, unless it must `always` go, or the work has ended."""
        if not self._thread.is_alive():
            return
        if self._queue.qsize() >= self._capacity and not always:
            self.dropped += 1
        else:
            self._queue.put(item)

    def close(self, timeout_s: float) -> bool:
        """Lets the work finish what is queued; returns whether it ended within `timeout_s`."""
        self._queue.put(self._end)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._work(iter(self._queue.get, self._end))
        except Exception as error:
            self.error = error  # its owner's to tell
