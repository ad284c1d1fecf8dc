from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from trainyard.tracking.queue import Forwarder


def test_items_arrive_in_order_and_closing_waits_for_them() -> None:
    seen: list[int] = []
    forwarder = Forwarder(seen.extend, capacity=1000, name="t")
    for number in range(500):
        forwarder.put(number)
    assert forwarder.close(10)
    assert seen == list(range(500))
    assert (forwarder.dropped, forwarder.error) == (0, None)


def test_behind_work_that_blocks_the_newest_are_dropped_and_counted() -> None:
    go, seen = threading.Event(), []

    def work(items: Iterator[Any]) -> None:
        go.wait(30)
        seen.extend(items)

    forwarder = Forwarder(work, capacity=10, name="t")
    for number in range(25):
        forwarder.put(number)  # returns although nobody takes anything
    forwarder.put("last", always=True)
    assert not forwarder.close(0.01)
    go.set()
    assert forwarder.close(10)
    assert seen == [*range(10), "last"]
    assert forwarder.dropped == 15


def test_what_the_work_raises_is_kept_and_ends_it() -> None:
    def work(items: Iterator[Any]) -> None:
        next(items)
        raise OSError("no such network")

    forwarder = Forwarder(work, capacity=10, name="t")
    forwarder.put(1)
    assert forwarder.close(10)
    assert str(forwarder.error) == "no such network"
    forwarder.put(2)
    assert forwarder.close(0)
    assert forwarder.dropped == 0
