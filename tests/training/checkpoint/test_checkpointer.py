from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faults
import pytest
import torch
from toy_training import ALONE, Toy, adamw, bits, linear, restless_toy, toy_dataset

from trainyard import durable
from trainyard.checkpoints import problems
from trainyard.errors import CheckpointError, DiskFullError
from trainyard.metric import VAL_LOSS
from trainyard.retention import KeepPolicy
from trainyard.runs import BestStep, RunReader, RunWriter
from trainyard.runs.events import Progressed, Warned
from trainyard.runs.journal import read_journal
from trainyard.runs.snapshot import fold
from trainyard.training.cadence import Cadence, best_interval_s
from trainyard.training.checkpoint.capture import Capture
from trainyard.training.checkpoint.checkpointer import Checkpointer
from trainyard.training.checkpoint.read import load
from trainyard.training.loop import Plan, SaveRequest
from trainyard.training.progress import Best, Progress

ALL = KeepPolicy(last=None, best=0)


@pytest.fixture
def toy() -> Toy:
    model = linear()
    return Toy(model, adamw(model))


@pytest.fixture
def make(toy: Toy) -> Iterator[Any]:
    """A checkpointer of `toy` in a run; closed at the end."""
    made: list[Checkpointer] = []

    def checkpointer(run: RunWriter | None, **options: Any) -> Checkpointer:
        assert run is not None
        given = {"policy": ALL, "monitor": "val_loss", "mode": "min", **options}
        made.append(Checkpointer(run, Capture(toy.trainee, run.yard.objects), ALONE, given.pop("policy"), **given))
        return made[-1]

    yield checkpointer
    for one in made:
        one.close()


def request(
    step: int, *, improved: bool = False, best: int | None = None, inside: bool = False, due: bool = True
) -> SaveRequest:
    epoch = step / 10
    progress = Progress(epoch=int(epoch), step=step, best=Best(0.5, best, best // 10) if best else Best())
    return SaveRequest(progress, epoch, {VAL_LOSS: 100.0 - step}, inside, improved, due=due)


def reread(run: RunWriter) -> RunReader:
    return RunReader(run.yard, run.home)


class Gate:
    """Holds the writing thread until it is opened."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.reached = threading.Event()

    def __call__(self) -> None:
        self.reached.set()
        assert self.opened.wait(10)


def test_save_returns_while_the_files_are_yet_to_be_written(new_run, make, toy) -> None:
    run, gate = new_run(), Gate()
    checkpointer = make(run)
    checkpointer.do(gate)
    gate.reached.wait(10)
    started = threading.Thread(target=checkpointer.save, args=(request(10),))
    started.start()
    started.join(0.1)
    assert started.is_alive(), "one in flight: the next waits for the one before"
    gate.opened.set()
    started.join(10)
    weights = bits(dict(toy.model.state_dict()))
    with torch.no_grad():
        toy.model[0].weight.zero_()  # training goes on at once
    checkpointer.wait()
    path = run.path("checkpoint", step=10, epoch=1)
    assert bits(load(path).model) == weights != bits(dict(toy.model.state_dict()))


def test_in_the_foreground_save_returns_when_it_is_on_disk(new_run, make) -> None:
    run = new_run()
    make(run, background=False).save(request(10))
    assert [c.step for c in reread(run).snapshot.checkpoints] == [10]


@pytest.mark.parametrize("background", [True, False])
def test_a_failed_write_fails_the_training_at_its_next_step(new_run, make, background: bool) -> None:
    run = new_run()
    checkpointer = make(run, background=background)
    checkpointer.save(request(10))
    checkpointer.wait()
    with faults.failing(1, kinds={"rename"}):
        try:
            checkpointer.save(request(20))
        except OSError:
            assert not background
            failed = True
        else:
            deadline = time.monotonic() + 10
            failed = False
            while not failed and time.monotonic() < deadline:
                try:
                    checkpointer.check()
                except OSError:
                    failed = True
    assert failed
    checkpointer.check()  # said once
    reader = reread(run)
    assert [c.step for c in reader.snapshot.checkpoints] == [10]
    assert problems(reader, reader.snapshot.checkpoints[0]) == []
    assert not list(run.home.glob(".tmp-*"))


def test_a_failure_is_not_lost_when_the_next_is_saved_at_once(new_run, make) -> None:
    run = new_run()
    checkpointer = make(run)

    def fail() -> None:
        raise DiskFullError("full")

    checkpointer.do(fail)
    with pytest.raises(DiskFullError):
        checkpointer.save(request(10))


def test_jobs_run_in_the_order_they_were_given(new_run, make) -> None:
    run = new_run()
    checkpointer, done = make(run), []
    for number in range(5):
        checkpointer.do(lambda number=number: done.append(number))
    checkpointer.save(request(10))
    assert done == [0, 1, 2, 3, 4]


def test_the_same_step_twice_is_an_error(new_run, make) -> None:
    checkpointer = make(new_run(), background=False)
    checkpointer.save(request(10))
    with pytest.raises(CheckpointError) as caught:
        checkpointer.save(request(10))
    assert "step 10" in caught.value.what
    assert caught.value.remedy


def test_closing_finishes_what_is_being_written(new_run, make) -> None:
    run, gate = new_run(), Gate()
    checkpointer = make(run)
    checkpointer.do(gate)
    checkpointer.do(lambda: run.event(Warned("said behind")))
    closing = threading.Thread(target=checkpointer.close)
    closing.start()
    gate.opened.set()
    closing.join(10)
    assert run.snapshot.warnings == ["said behind"]


def test_closing_right_after_saving_loses_nothing(new_run, make) -> None:
    run = new_run()
    checkpointer = make(run)
    checkpointer.save(request(10))
    checkpointer.close()
    assert [c.step for c in reread(run).snapshot.checkpoints] == [10], "a kept promise"
    checkpointer.close()


@pytest.mark.parametrize("layout", ["grouped", "shared", "dated", "trials", "files"])
def test_the_best_and_the_last_get_their_names(new_run, make, layout: str) -> None:
    run = new_run(layout)
    checkpointer = make(run)
    checkpointer.save(request(10, improved=True, best=10))
    checkpointer.save(request(20, improved=True, best=20))
    checkpointer.save(request(30, best=20))
    run.event(Progressed(30, 3, {}, BestStep(20, 2, 0.5, "val_loss")))
    checkpointer.catch_up(done=True)
    reader = reread(run)
    places = {c.step: set(c.paths) for c in reader.snapshot.checkpoints}
    assert places[30] == {"checkpoint", *(["final"] if run.keeps("final") else [])}
    assert places[20] == {"checkpoint", *(["best"] if run.keeps("best") else [])}
    for checkpoint in reader.snapshot.checkpoints:
        assert problems(reader, checkpoint) == []
    if run.keeps("best"):
        best = reader.resolve(reader.snapshot.checkpoint(20).paths["best"])
        assert bits(load(best, weights_only=True).model) == bits(
            load(reader.locate(reader.snapshot.checkpoint(20))).model
        )
        file = best if best.is_file() else next(best.glob("*model*"))
        assert file.stat().st_nlink >= 2, "a published name is a link, not a copy"
    checkpointer.catch_up(done=True)  # a resumed run does it again
    assert {c.step: set(c.paths) for c in reread(run).snapshot.checkpoints} == places


@pytest.mark.parametrize("layout", ["grouped", "shared", "trials", "files"])
def test_room_is_made_by_the_policy_and_the_best_stays(new_run, make, layout: str) -> None:
    run = new_run(layout)
    checkpointer = make(run, policy=KeepPolicy(last=2, best=1))
    for step in range(10, 70, 10):
        best = min(step, 20)
        run.event(Progressed(step, step // 10, {}, BestStep(best, best // 10, 0.5, "val_loss")))
        wanted = request(step, improved=step <= 20, best=best)
        wanted.metrics["val_loss"] = abs(step - 20)
        checkpointer.save(wanted)
    checkpointer.wait()
    reader = reread(run)
    assert {20, 50, 60} <= {c.step for c in reader.snapshot.checkpoints if "checkpoint" in c.paths or "best" in c.paths}
    assert not {30, 40} & {c.step for c in reader.snapshot.checkpoints}
    for checkpoint in reader.snapshot.checkpoints:
        assert problems(reader, checkpoint) == []


def test_protected_steps_stay(new_run, make) -> None:
    run = new_run()
    checkpointer = make(run, policy=KeepPolicy(last=1, best=0), protected=lambda: {10: "another run began there"})
    for step in (10, 20, 30):
        checkpointer.save(request(step))
    checkpointer.wait()
    assert [c.step for c in reread(run).snapshot.checkpoints] == [10, 30]


class Watched(durable.SystemCalls):
    """Counts the syncs of the journal, and looks at it whenever a name is about to change hands."""

    def __init__(self, run: RunWriter) -> None:
        self.home, self.journal = run.home, run.home / ".run" / "journal.jsonl"
        self.syncs = 0
        self.replaced: list[int] = []
        self.trashed: list[str] = []

    def fsync(self, fd: int) -> None:
        self.syncs += os.readlink(f"/proc/self/fd/{fd}") == str(self.journal)
        super().fsync(fd)

    def rename(self, source: Path, target: Path) -> None:
        known = fold(read_journal(self.journal)[0]).checkpoints  # as a reader finds it after a power cut
        if target.name.endswith("_best.pth") and target.exists():
            self.replaced.append(known[-1].step)
        elif ".yard/trash" in str(target) and source.is_relative_to(self.home.parent) and target.name != "plan.json":
            self.trashed += [path for c in known for path in c.paths.values() if str(source).endswith(path.rstrip("/"))]
        super().rename(source, target)


@pytest.mark.parametrize(("layout", "appends"), [("grouped", 1), ("files", 1), ("shared", 2)])
def test_a_checkpoint_is_one_append_unless_a_name_changes_hands(new_run, make, layout: str, appends: int) -> None:
    run = new_run(layout)
    checkpointer = make(run, policy=KeepPolicy(last=2, best=1), background=False)
    for step in (10, 20, 30, 40):
        with faults.installed(Watched(run)) as calls:
            best = BestStep(step, step // 10, 100.0 - step, "val_loss")
            checkpointer.write_event(Progressed(step, step / 10, {"val_loss": 100.0 - step}, best), True)
            assert run.snapshot.step == step - 10
            checkpointer.save(request(step, improved=True, best=step))
        found = reread(run).snapshot
        assert (found.step, found.best) == (step, best)
        assert found.checkpoints[-1].step == step
    assert calls.syncs == appends
    assert len(found.checkpoints) == 2, "the last one made room"
    if layout == "shared":
        assert calls.replaced == [40], "the journal knew the new best before the old one lost its name"
    assert calls.trashed == [], "the journal had let go of them"


def test_an_event_whose_checkpoint_never_came_is_written_all_the_same(new_run, make) -> None:
    run = new_run()
    checkpointer = make(run)
    checkpointer.write_event(Progressed(10, 1.0, {"val_loss": 1.0}), True)
    checkpointer.wait()
    assert run.snapshot.step == 0
    checkpointer.close()
    assert reread(run).snapshot.step == 10


def test_an_event_with_no_checkpoint_to_come_is_written_behind(new_run, make) -> None:
    run = new_run()
    checkpointer = make(run)
    checkpointer.write_event(Progressed(10, 1.0, {"val_loss": 1.0}))
    checkpointer.wait()
    assert reread(run).snapshot.step == 10


@pytest.mark.parametrize("layout", ["grouped", "shared"])
def test_every_fault_of_a_checkpoint_and_its_rotation_leaves_whole_ones(new_run, make, layout: str) -> None:
    def fresh() -> tuple[RunWriter, Checkpointer]:
        run = new_run(layout)
        checkpointer = make(run, policy=KeepPolicy(last=1, best=0), background=False)
        for step in (10, 20):
            checkpointer.save(request(step, improved=True, best=step))
        return run, checkpointer

    def action(state: tuple[RunWriter, Checkpointer]) -> None:
        run, checkpointer = state
        if run.snapshot.checkpoint(30) is None:
            checkpointer.write_event(Progressed(30, 3.0, {"val_loss": 70.0}), True)
            checkpointer.save(request(30, improved=True, best=30))
        else:  # as after a resume
            checkpointer.catch_up(done=False)

    def check(state: tuple[RunWriter, Checkpointer]) -> None:
        found = reread(state[0])
        assert found.snapshot.to_dict() | {"state": ""} == state[0].snapshot.to_dict() | {"state": ""}
        assert found.snapshot.checkpoints[-1].step in (20, 30)
        for checkpoint in found.snapshot.checkpoints:
            path = found.locate(checkpoint)
            assert path is not None
            load(path, weights_only=True)

    assert faults.sweep(action, check, fresh=fresh, succeeded=check, every=3) > 20


def test_checkpoints_inside_an_epoch_have_names_of_their_own(new_run, make) -> None:
    run = new_run("shared")
    checkpointer = make(run)
    checkpointer.save(request(13, inside=True))
    checkpointer.save(request(20))
    checkpointer.wait()
    assert [c.paths["checkpoint"] for c in reread(run).snapshot.checkpoints] == [
        "checkpoints/mlp_step_13.pth",
        "checkpoints/mlp_epoch_2.pth",
    ]


def test_a_process_that_keeps_no_run_takes_part_and_writes_nothing(tmp_path: Path) -> None:
    from trainyard.objects import Objects

    toy = restless_toy()
    checkpointer = Checkpointer(
        None, Capture(toy.trainee, Objects(tmp_path)), ALONE, ALL, monitor="val_loss", mode="min"
    )
    toy.keep = checkpointer.save  # type: ignore[method-assign]
    toy.run(Plan(epochs=1, scheduler_interval="step"))
    checkpointer.catch_up(done=True)
    checkpointer.close()
    assert list(tmp_path.iterdir()) == []


# -- checkpoint.every=auto


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def steps_of(run: RunWriter) -> list[int]:
    return [c.step for c in reread(run).snapshot.checkpoints]


def train_a_little(toy: Toy) -> Any:
    """Changes the weights; returns what they are then, to the bit."""
    toy.step(list(toy.batches.epoch(0, 0))[:1])
    return bits(dict(toy.model.state_dict()))


def weights_at(run: RunWriter, step: int) -> Any:
    reader = reread(run)
    checkpoint = reader.snapshot.checkpoint(step)
    assert checkpoint is not None
    path = reader.locate(checkpoint)
    assert path is not None
    return bits(load(path).model)


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("layout", ["grouped", "shared"])
def test_the_best_is_in_memory_until_the_next_checkpoint_is_written(
    new_run, make, toy, layout: str, background: bool
) -> None:
    """Of two that are the best so far the first is never written; training goes on after each."""
    run = new_run(layout)
    checkpointer = make(run, cadence=Cadence(Clock()), background=background)
    train_a_little(toy)
    checkpointer.save(request(10, improved=True, best=10, due=False))
    best = train_a_little(toy)
    checkpointer.save(request(20, improved=True, best=20, due=False))
    train_a_little(toy)
    checkpointer.wait()
    assert steps_of(run) == []
    newest = train_a_little(toy)
    checkpointer.save(request(33, best=20, inside=True))
    train_a_little(toy)
    checkpointer.wait()
    assert steps_of(run) == [20, 33]
    assert (weights_at(run, 20), weights_at(run, 33)) == (best, newest)
    assert best != newest
    if layout == "shared":
        assert "best" in reread(run).snapshot.checkpoint(20).paths


def test_a_better_one_that_is_due_takes_the_place_of_that_in_memory(new_run, make) -> None:
    run = new_run()
    checkpointer = make(run, cadence=Cadence(Clock()))
    checkpointer.save(request(10, improved=True, best=10, due=False))
    checkpointer.save(request(20, improved=True, best=20))
    checkpointer.wait()
    assert steps_of(run) == [20]


def test_closed_after_a_failed_training_the_best_is_written(new_run, make, toy) -> None:
    run = new_run()
    checkpointer = make(run, cadence=Cadence(Clock()))
    best = train_a_little(toy)
    first = BestStep(10, 1, 90.0, "val_loss")
    checkpointer.write_event(Progressed(10, 1.0, {"val_loss": 90.0}, first))
    checkpointer.save(request(10, improved=True, best=10, due=False))
    train_a_little(toy)
    checkpointer.write_event(Progressed(20, 2.0, {"val_loss": 95.0}, first))
    checkpointer.close()
    found = reread(run).snapshot
    assert [c.step for c in found.checkpoints] == [10]
    assert (found.step, found.best) == (20, first)
    assert weights_at(run, 10) == best


def test_without_a_cadence_everything_offered_is_written(new_run, make) -> None:
    run = new_run()
    checkpointer = make(run)
    checkpointer.save(request(10, improved=True, best=10, due=False))
    checkpointer.wait()
    assert steps_of(run) == [10]
    assert not checkpointer.is_due()


def test_the_journal_is_at_most_a_second_behind(new_run, make) -> None:
    """Epochs of 0.3 s, then one that is long, with a step every 0.1 s."""
    run, clock = new_run(), Clock()
    checkpointer = make(run, cadence=Cadence(clock), background=False)
    ended: list[tuple[float, int]] = [(clock.now, 0)]
    written: set[int] = set()
    for tenth in range(1, 60):
        clock.now += 0.1
        checkpointer.check()
        if tenth % 3 == 0 and tenth <= 30:
            ended.append((clock.now, 10 * len(ended)))
            checkpointer.write_event(Progressed(ended[-1][1], float(len(ended)), {"val_loss": 1.0}))
        written.add(run.snapshot.step)
        old_enough = max(step for when, step in ended if when <= clock.now - 1.0001) if tenth > 10 else 0
        assert run.snapshot.step >= old_enough, f"{tenth / 10} s"
    assert run.snapshot.step == ended[-1][1]
    assert 3 <= len(written) < len(ended), "not each of them"
    assert reread(run).snapshot.step == ended[-1][1]


def test_inside_a_long_epoch_checkpoints_are_written_when_they_are_due(new_run, tmp_path: Path) -> None:
    """A step takes a second, a checkpoint half of one."""
    run, clock = new_run(), Clock()
    model = linear()
    toy = Toy(model, adamw(model), dataset=toy_dataset(train=1200))
    cost_s, began = 0.5, []

    def taking_time() -> dict[int, str]:
        clock.now += cost_s
        return {}

    checkpointer = Checkpointer(
        run,
        Capture(toy.trainee, run.yard.objects),
        ALONE,
        ALL,
        monitor="val_loss",
        mode="min",
        protected=taking_time,
        background=False,
        cadence=Cadence(clock),
    )

    def save(wanted: SaveRequest) -> None:
        began.append((clock.now, wanted.progress.step, wanted.inside_epoch))
        checkpointer.save(wanted)

    def second(*_: Any) -> None:
        clock.now += 1.0

    toy.keep = save  # type: ignore[method-assign]
    toy.optimizer.register_step_post_hook(second)
    toy.run(Plan(epochs=1, save_every_epochs=None), is_due=checkpointer.is_due)
    checkpointer.close()
    assert [step for _, step, _ in began] == steps_of(run)
    assert [inside for *_, inside in began] == [True] * (len(began) - 1) + [False]
    assert began[-1][1] == 300
    interval_s = best_interval_s(cost_s)
    assert 40 < interval_s < 70
    times = [when for when, *_ in began]
    assert times[0] - 1000 == pytest.approx(best_interval_s(0.05), abs=1)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert len(gaps) >= 4
    assert gaps[:-1] == pytest.approx([interval_s] * (len(gaps) - 1), abs=1)
