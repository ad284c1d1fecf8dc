"""A bounded queue and the thread that empties it, for work that must never stop or slow the training.

`put` takes microseconds and never waits: when the thread cannot keep up, the newest items are dropped
and counted. An exception in the thread's work ends the work and is stored as `error`; nothing is raised
here. This module does not interpret the items.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any


class Forwarder:
    """Passes items to `work` in a thread called `name`, at most `capacity` of them queued.

    `work` is called once, with an iterator over the items that ends after `close`. When the process crashes, queued
    items are lost, so do not use it for records.

    Attributes:
        dropped: how many items were dropped because the queue was full.
        error: the exception that ended `work`, if any.
    """

    def __init__(self, work: Callable[[Iterator[Any]], None], *, capacity: int, name: str) -> None:
        self.dropped = 0
        self.error: Exception | None = None
        self._work = work
        self._capacity = capacity
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._end = object()
        # A daemon, so that the process can exit without it.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, item: Any, *, always: bool = False) -> None:
        """Queues one item. Drops it when the work has ended, or when the queue is full and `always` is false."""
        if not self._thread.is_alive():
            return
        if self._queue.qsize() >= self._capacity and not always:
            self.dropped += 1
        else:
            self._queue.put(item)

    def close(self, timeout_s: float) -> bool:
        """Waits until the work has handled what is queued; returns whether it ended within `timeout_s`."""
        self._queue.put(self._end)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._work(iter(self._queue.get, self._end))
        except Exception as error:
            self.error = error  # the owner reports it
