"""A training that a program drives: it follows the events, and stops it when it has seen enough."""

from __future__ import annotations

import pytest
from tiny_runs import QUIET, again

from trainyard.config.compose import compose
from trainyard.errors import Interrupted
from trainyard.running.resume import resume
from trainyard.running.train import train
from trainyard.runs import RunReader, Yard, find_homes
from trainyard.training.events import EpochEnded, Event

SHORT = ["model=mlp", "model.hidden=[8]", "training.epochs=3", *QUIET]


class Listener:
    """Keeps the epochs that it has seen the end of, with their losses."""

    def __init__(self) -> None:
        self.losses: dict[int, float] = {}

    def emit(self, event: Event) -> None:
        if isinstance(event, EpochEnded):
            self.losses[event.epoch] = event.val["loss"]


def test_a_listener_sees_what_the_run_records_and_stops_it_with_a_checkpoint(tmp_path):
    yard = Yard(tmp_path / "yard", create=True)
    first, second = Listener(), Listener()
    with pytest.raises(Interrupted):
        train(compose("digits", SHORT), yard.root, sinks=[first], should_stop=lambda: 1 in first.losses)
    (home,) = find_homes(yard)
    run = RunReader(yard, home)
    assert list(first.losses) == [1]
    assert run.snapshot.state == "stopped"
    assert [checkpoint.epoch for checkpoint in run.snapshot.checkpoints] == [1.0]

    with pytest.raises(Interrupted):
        resume(yard, home, sinks=[second], should_stop=lambda: 2 in second.losses)
    assert list(second.losses) == [2]
    resume(yard, home, sinks=[second])
    run = again(run)
    assert run.snapshot.state == "finished"
    seen = first.losses | second.losses
    recorded = {row["epoch"]: row["loss"] for row in run.history() if row.get("split") == "val" and "loss" in row}
    assert seen == recorded
