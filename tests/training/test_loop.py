from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from toy_training import CPU, Recorder, Toy, adamw, bits, linear, restless_toy, toy_dataset, toy_task

from trainyard.data.arrays import InMemory
from trainyard.data.batches import Batch
from trainyard.data.dataset import Dataset
from trainyard.errors import ConfigError, DivergedError, Interrupted
from trainyard.metric import Metric
from trainyard.training.checkpoint.capture import rng_state
from trainyard.training.evaluate import Predictions
from trainyard.training.events import EpochEnded, Event, StepLogged
from trainyard.training.loop import Plan
from trainyard.training.progress import Progress
from trainyard.training.step import Step


def toy(**options: Any) -> Toy:
    model = linear()
    return Toy(model, adamw(model), **options)


def epochs(recorder: Recorder) -> list[EpochEnded]:
    return [event for event in recorder.events if isinstance(event, EpochEnded)]


def steps(recorder: Recorder) -> list[StepLogged]:
    return [event for event in recorder.events if isinstance(event, StepLogged)]


def test_an_epoch_is_a_bare_loop_to_the_bit() -> None:
    ours = toy()
    theirs = linear()
    optimizer = adamw(theirs)
    for epoch in range(2):
        order = ours.batches.order(epoch)
        for start in range(0, len(order), 4):
            items = order[start : start + 4]
            optimizer.zero_grad()
            labels = torch.from_numpy(ours.dataset.labels[items])
            nn.functional.cross_entropy(theirs(ours.dataset.fetch(items)), labels).backward()
            optimizer.step()
    ours.run(Plan(epochs=2))
    assert bits(ours.model.state_dict()) == bits(theirs.state_dict())


# -- what is told


def test_what_is_logged_and_in_which_order() -> None:
    """Against losses recomputed from the weights that each step started from."""
    training = toy()
    losses: list[tuple[float, int]] = []

    class Watched(Step):
        def __call__(self, group: Sequence[Batch]) -> torch.Tensor:
            with torch.no_grad():
                each = [nn.functional.cross_entropy(self.model(b.inputs), b.labels, reduction="sum") for b in group]
            items = sum(len(b) for b in group)
            losses.append((float(sum(each)) / items, items))
            return super().__call__(group)

    training.step.__class__ = Watched
    recorder = Recorder()
    progress = training.run(Plan(epochs=2, log_every=4), recorder)

    assert [(type(e).__name__, e.step) for e in recorder.events] == [
        ("StepLogged", 4),
        ("StepLogged", 8),
        ("EpochEnded", 10),
        ("StepLogged", 12),
        ("StepLogged", 16),
        ("StepLogged", 20),
        ("EpochEnded", 20),
    ]
    assert (progress.step, progress.epoch, progress.batch) == (20, 2, 0)

    def mean(first: int, last: int) -> float:
        window = losses[first:last]
        return sum(loss * items for loss, items in window) / sum(items for _, items in window)

    logged = steps(recorder)
    # the third window begins in the first epoch and ends in the second
    windows = [(0, 4), (4, 8), (8, 12), (12, 16), (16, 20)]
    assert [event.values["step_loss"] for event in logged] == pytest.approx([mean(*w) for w in windows], rel=1e-6)
    assert [event.epoch for event in logged] == [0.4, 0.8, 1.2, 1.6, 2.0]
    assert [event.values["learning_rate"] for event in logged] == [0.05] * 5
    ended = epochs(recorder)
    assert [event.train["loss"] for event in ended] == pytest.approx([mean(0, 10), mean(10, 20)], rel=1e-6)
    assert [(event.epoch, event.epochs) for event in ended] == [(1, 2), (2, 2)]
    for event in ended:
        assert event.seconds >= event.waited_s >= 0
        assert event.metrics == {
            **{Metric("train", k): v for k, v in event.train.items()},
            **{Metric("val", k): v for k, v in event.val.items()},
        }


def test_the_validation_is_of_the_weights_after_the_epoch() -> None:
    training, recorder = toy(), Recorder()
    training.run(Plan(epochs=1), recorder)
    (event,) = epochs(recorder)
    val = training.dataset.indices("val")
    with torch.no_grad():
        logits = training.model(training.dataset.fetch(val))
    labels = torch.from_numpy(training.dataset.labels[val])
    assert event.val["loss"] == pytest.approx(float(nn.functional.cross_entropy(logits, labels)), rel=1e-6)
    assert event.val["accuracy"] == pytest.approx(float((logits.argmax(1) == labels).float().mean()))
    assert event.predictions is not None
    np.testing.assert_allclose(event.predictions.columns["probabilities"], logits.softmax(1), rtol=1e-6)


def test_the_norm_of_the_gradient_is_logged_where_it_is_clipped() -> None:
    recorder = Recorder()
    toy(grad_clip=0.5).run(Plan(epochs=1, log_every=3), recorder)
    assert all(event.values["grad_norm"] > 0 for event in steps(recorder))
    recorder = Recorder()
    toy().run(Plan(epochs=1, log_every=3), recorder)
    assert all("grad_norm" not in event.values for event in steps(recorder))


def test_the_log_has_the_shape_of_transformers() -> None:
    """One entry with `loss` per logged step, one with `eval_…` per epoch; JSON-able."""
    training = toy()
    progress = training.run(Plan(epochs=2, log_every=5))
    log = json.loads(json.dumps(progress.log))
    assert [("loss" in row, "eval_loss" in row, row["step"]) for row in log] == [
        (True, False, 5),
        (True, False, 10),
        (False, True, 10),
        (True, False, 15),
        (True, False, 20),
        (False, True, 20),
    ]
    assert {"epoch", "step", "loss", "learning_rate"} == set(log[0])
    assert all(isinstance(row["epoch"], float) for row in log)


class Vandal:
    """A sink that spoils whatever it is given, and draws random numbers besides."""

    def emit(self, event: Event) -> None:
        tables: list[Any] = [event.values] if isinstance(event, StepLogged) else [event.train, event.val]
        if isinstance(event, EpochEnded) and event.predictions is not None:
            tables.append(event.predictions.metrics)
            for array in (*event.predictions.columns.values(), event.predictions.targets, event.predictions.indices):
                array[:] = 0
        for table in tables:
            table.clear()
            table["loss"] = -1.0
        torch.rand(3)
        np.random.rand(3)

    def close(self) -> None:
        pass


def test_a_sink_cannot_change_the_training() -> None:
    results = []
    for sinks in ([], [Vandal()]):
        training, recorder = restless_toy("epoch"), Recorder()
        progress = training.run(Plan(epochs=3, log_every=3, patience=2), recorder, *sinks)
        final = copy.deepcopy(progress.to_dict())
        results.append((bits(training.model.state_dict()), final, [r.metrics for r, _ in training.saved]))
    assert results[0] == results[1]


# -- learning rates


def schedule(optimizer: torch.optim.Optimizer, kind: str) -> Any:
    schedules = torch.optim.lr_scheduler
    if kind == "cosine":
        return schedules.CosineAnnealingLR(optimizer, T_max=3)
    if kind == "onecycle":
        return schedules.OneCycleLR(optimizer, 0.1, total_steps=30)
    return schedules.ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=0.05)


@pytest.mark.parametrize(("kind", "interval"), [("cosine", "epoch"), ("onecycle", "step"), ("plateau", "epoch")])
def test_learning_rates_are_torchs_own_sequence(kind: str, interval: str) -> None:
    model = linear()
    optimizer = adamw(model)
    training = Toy(model, optimizer, schedule(optimizer, kind))
    recorder = Recorder()
    used: list[float] = []
    optimizer.register_step_pre_hook(lambda o, *_: used.append(o.param_groups[0]["lr"]))
    training.run(Plan(epochs=3, log_every=1, scheduler_interval=interval), recorder)

    bare = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.05)
    theirs = schedule(bare, kind)
    expected: list[float] = []
    for event in epochs(recorder):
        for _ in range(10):
            expected.append(bare.param_groups[0]["lr"])
            bare.step()
            if interval == "step":
                theirs.step()
        if kind == "plateau":
            theirs.step(event.val["loss"])
        elif interval == "epoch":
            theirs.step()
    assert used == expected
    assert len(set(used)) > 1, "the rate never changed"
    rates = [row["learning_rate"] for row in training.progress.log if "learning_rate" in row]
    after = [*expected[1:], bare.param_groups[0]["lr"]] if interval == "step" else expected
    assert rates == after


def test_a_schedule_by_step_waits_for_a_step_that_fp16_skipped() -> None:
    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    training = Toy(model, optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5), precision="fp16")
    training.step.scaler.load_state_dict({**training.step.scaler.state_dict(), "scale": 2.0**20})
    rates: list[float] = []
    optimizer.register_step_pre_hook(lambda o, *_: rates.append(o.param_groups[0]["lr"]))
    training.run(Plan(epochs=1, scheduler_interval="step"))
    assert training.progress.step == 10
    assert 0 < len(rates) < 10, "no step was skipped"
    assert rates == [0.1 * 0.5**n for n in range(len(rates))]


# -- stopping, the best


@dataclass
class Script:
    """Validation losses from a list, for what depends on nothing else."""

    losses: list[float]

    def __call__(self) -> Any:
        nothing = np.zeros(0, dtype=np.int64)
        return Predictions(nothing, nothing, {}, {"loss": self.losses.pop(0)})


@pytest.mark.parametrize(
    ("losses", "patience", "min_delta", "ends", "best"),
    [
        ([3, 2, 1, 2, 2, 2, 2, 2], 2, 0.0, 5, 3),
        ([3, 2, 1, 2, 0, 2, 2, 9], 2, 0.0, 7, 5),
        ([3, 2.9, 2.8, 2.7, 2.6, 2.5, 2.4, 2.3], 2, 0.5, 3, 1),  # each too small a change to count
        ([3, 2.9, 2.4, 2.7, 2.6, 2.5, 2.4, 2.3], 2, 0.5, 5, 3),
        ([1, 2, 3, 4, 5, 6, 7, 8], None, 0.0, 8, 1),
        ([math.nan, 3, math.nan, math.nan, 1, 1, 1, 1], 2, 0.0, 4, 2),
        ([1, 1, 1, 1, 1, 1, 1, 1], 1, 0.0, 2, 1),
    ],
)
def test_early_stopping(losses: list[float], patience: int | None, min_delta: float, ends: int, best: int) -> None:
    training, recorder = toy(), Recorder()
    training.validate = Script(list(losses))  # type: ignore[method-assign]
    progress = training.run(Plan(epochs=8, patience=patience, min_delta=min_delta), recorder)
    assert progress.epoch == ends
    assert progress.best.epoch == best
    assert progress.best.step == best * 10
    assert progress.best.value == losses[best - 1]
    assert progress.stopped_early == (patience is not None)
    assert [event.improved for event in epochs(recorder)].count(True) >= 1
    assert training.saved[-1][0].due


def test_a_training_that_stopped_early_does_not_go_on_when_resumed() -> None:
    training = toy()
    training.validate = Script([1.0, 2.0])  # type: ignore[method-assign]
    training.run(Plan(epochs=8, patience=1))
    again = toy()
    again.go_on_from(training.saved[-1][1])
    again.validate = Script([])  # type: ignore[method-assign]
    assert again.run(Plan(epochs=8, patience=1)).epoch == 2


def test_a_monitor_that_is_not_measured_names_those_that_are() -> None:
    with pytest.raises(ConfigError) as raised:
        toy().run(Plan(epochs=1, monitor=Metric("val", "acuracy"), mode="max"))
    assert raised.value.keys == ("training.monitor",)
    assert "val_acuracy" in raised.value.problems[0]
    assert {"val_accuracy", "val_loss", "train_loss"} <= set(re.findall(r"\w+", raised.value.remedy))


def test_more_of_a_metric_is_better_where_the_mode_is_max() -> None:
    training, recorder = toy(), Recorder()
    training.run(Plan(epochs=4, monitor=Metric("val", "accuracy"), mode="max"), recorder)
    values = [event.val["accuracy"] for event in epochs(recorder)]
    assert len(set(values)) > 1
    assert training.progress.best.value == max(values)
    assert training.progress.best.epoch == values.index(max(values)) + 1


def test_the_rule_of_the_last_validation_is_kept_and_no_sink_can_change_it() -> None:
    """A task without a choice keeps none."""
    training = toy()
    training.run(Plan(epochs=1))
    assert training.progress.decision is None
    thresholds = {"a": 0.25, "b": 0.5}

    class Meddler(Recorder):
        def emit(self, event: Event) -> None:
            if isinstance(event, EpochEnded):
                event.predictions.rule["thresholds"].clear()

    training = toy()
    nothing = np.zeros(0, dtype=np.int64)
    rule = {"mode": "per_class", "thresholds": dict(thresholds)}
    training.validate = lambda: Predictions(nothing, nothing, {}, {"loss": 1.0}, rule)  # type: ignore[method-assign]
    training.run(Plan(epochs=1), Meddler())
    assert training.progress.decision == {"mode": "per_class", "thresholds": thresholds}
    assert training.saved[-1][1]["progress"]["decision"] == training.progress.decision


@pytest.mark.parametrize(("every_epochs", "every_steps"), [(1, None), (2, None), (3, 4)])
def test_when_checkpoints_are_asked_for(every_epochs: int, every_steps: int | None) -> None:
    training = toy()
    training.validate = Script([5.0, 6.0, 4.0, 7.0, 7.0])  # type: ignore[method-assign]
    training.run(Plan(epochs=5, save_every_epochs=every_epochs, save_every_steps=every_steps))
    by_epoch = [request for request, _ in training.saved if not request.inside_epoch]
    due = {epoch for epoch in range(1, 6) if epoch % every_epochs == 0} | {1, 3, 5}  # the best ones, and the last
    assert [request.epoch for request in by_epoch] == sorted(due)
    assert [request.improved for request in by_epoch] == [e in (1, 3) for e in sorted(due)]
    assert all(request.due for request in by_epoch)
    inside = [state["progress"]["step"] for request, state in training.saved if request.inside_epoch]
    assert inside == ([s for s in range(4, 50, 4) if s % 10] if every_steps else [])


def test_with_a_cadence_the_best_is_offered_and_what_is_due_is_asked_for() -> None:
    training, recorder = toy(), Recorder()
    training.validate = Script([5.0, 6.0, 4.0, 7.0, 7.0])  # type: ignore[method-assign]
    training.run(Plan(epochs=5, save_every_epochs=None), recorder, is_due=lambda: training.progress.step in (17, 20))
    asked = [(r.due, r.improved, r.inside_epoch, state["progress"]["step"]) for r, state in training.saved]
    assert asked == [
        (False, True, False, 10),
        (True, False, True, 17),
        (True, False, False, 20),
        (False, True, False, 30),
        (True, False, False, 50),
    ]
    assert [event.checkpoint_follows for event in epochs(recorder)] == [False, True, False, False, True]


def test_with_a_cadence_too_a_request_to_stop_is_due() -> None:
    for step in (7, 10):
        training = toy()
        with pytest.raises(Interrupted):
            training.run(
                Plan(epochs=3, save_every_epochs=None),
                should_stop=lambda at=step, of=training: of.progress.step == at,  # type: ignore[misc]
            )
        (saved,) = training.saved
        assert (saved[0].due, saved[1]["progress"]["step"]) == (True, step)


def test_asked_to_stop_it_saves_that_very_step_and_says_so() -> None:
    training = toy()
    with pytest.raises(Interrupted) as caught:
        training.run(Plan(epochs=3), should_stop=lambda: training.progress.step == 7)
    assert caught.value.place == "step 7"
    assert "trainyard resume" in caught.value.remedy
    assert caught.value.exit_code == 130
    assert training.saved[-1][1]["progress"]["step"] == 7
    assert training.saved[-1][0].inside_epoch


def test_asked_to_stop_at_the_end_of_an_epoch_it_saves_once() -> None:
    training = toy()
    with pytest.raises(Interrupted) as caught:
        training.run(Plan(epochs=3, save_every_epochs=9), should_stop=lambda: training.progress.step == 10)
    assert caught.value.place == "step 10"
    assert training.progress.epoch == 1
    assert [state["progress"]["step"] for _, state in training.saved] == [10]
    assert not training.saved[0][0].inside_epoch


# -- a loss that is no number


def poisoned(dataset: Dataset, item: int, value: float = math.nan) -> Dataset:
    assert isinstance(dataset.fetch, InMemory)
    items = dataset.fetch.items.clone()
    items[item, 2] = value
    return replace(dataset, fetch=InMemory(items))


def finite(state: dict[str, Any]) -> bool:
    return all(bool(torch.isfinite(tensor).all()) for tensor in state["model"].values())


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("log_every", [1, 4, 50])
@pytest.mark.parametrize("every_steps", [None, 1])
def test_a_bad_item_stops_it_at_its_step_and_is_named(
    accumulation: int, log_every: int, every_steps: int | None
) -> None:
    training = toy()
    order = training.batches.order(0)
    position = 21  # the sixth batch
    training = toy(dataset=poisoned(training.dataset, int(order[position])))
    size = 4 * accumulation
    step = position // size + 1
    group = order[(step - 1) * size : step * size]
    plan = Plan(epochs=2, log_every=log_every, save_every_steps=every_steps, grad_accumulation=accumulation)
    with pytest.raises(DivergedError) as caught:
        training.run(plan)
    assert caught.value.place == f"step {step}"
    assert caught.value.value == group.tolist()
    assert all(f"item-{i}" in caught.value.what for i in group)
    assert "training.grad_clip=1.0" in caught.value.remedy
    assert caught.value.exit_code == 2
    assert all(state["progress"]["step"] < step for _, state in training.saved)
    assert all(finite(state) for _, state in training.saved)


def test_weights_spoilt_by_a_finite_loss_are_never_kept() -> None:
    """tanh(inf) is 1, so the loss is a number; its gradient is none."""
    training = toy()
    item = int(training.batches.order(0)[21])
    training = toy(dataset=poisoned(training.dataset, item, math.inf))
    with pytest.raises(DivergedError) as caught:
        training.run(Plan(epochs=1, save_every_steps=1))
    assert caught.value.place == "weights after step 6"
    assert item in caught.value.value
    assert [state["progress"]["step"] for _, state in training.saved] == [1, 2, 3, 4, 5]
    assert all(finite(state) for _, state in training.saved)


def test_weights_spoilt_by_the_last_step_of_an_epoch_are_never_kept() -> None:
    training = toy()
    last = int(training.batches.order(0)[-1])

    def spoil(*_: Any) -> None:
        if training.progress.step == 9:  # the tenth step is being taken
            with torch.no_grad():
                training.model[0].weight[0, 0] = math.inf

    training.optimizer.register_step_post_hook(spoil)
    with pytest.raises(DivergedError) as caught:
        training.run(Plan(epochs=1))
    assert caught.value.place == "weights after step 10"
    assert last in caught.value.value
    assert training.saved == []


# -- resuming


PLAN = Plan(epochs=3, grad_accumulation=2, log_every=2, save_every_steps=1, patience=3, scheduler_interval="step")


def outcome(training: Toy, recorder: Recorder) -> Any:
    told = [
        (type(e).__name__, e.step, e.epoch, dict(e.values))
        if isinstance(e, StepLogged)
        else (
            type(e).__name__,
            e.step,
            e.epoch,
            e.metrics,
            e.best,
            bits(torch.from_numpy(e.predictions.columns["probabilities"])),
        )
        for e in recorder.events
    ]
    return {
        "weights": bits(training.model.state_dict()),
        "optimizer": bits(training.optimizer.state_dict()),
        "scheduler": bits(training.scheduler.state_dict()),
        "progress": training.progress.to_dict(),
        "rng": bits(rng_state(CPU)),
        "told": told,
    }


@pytest.mark.parametrize("interval", ["step", "epoch"])
def test_resumed_at_any_batch_it_ends_the_same_to_the_bit(interval: str) -> None:
    """Dropout, batch norm, python's and numpy's and torch's numbers, a schedule, accumulation, clipping."""
    plan = copy.copy(PLAN)
    object.__setattr__(plan, "scheduler_interval", interval)
    whole, told = restless_toy(interval), Recorder()
    whole.run(plan, told)
    expected = outcome(whole, told)
    assert len(whole.saved) == 3 * 5  # ten batches, two a step
    assert len({request.progress is whole.progress for request, _ in whole.saved}) == 1
    for _, state in whole.saved:
        position = state["progress"]["step"]
        resumed, later = restless_toy(interval), Recorder()
        torch.manual_seed(position)  # wherever the generators stand before
        resumed.go_on_from(state)
        resumed.run(plan, later)
        before = [e for e in told.events if e.step <= position]
        assert outcome(resumed, Recorder([*before, *later.events])) == expected, f"resumed at step {position}"


def test_what_is_forgotten_is_noticed() -> None:
    """So that the comparison above can fail: each part of the state matters."""
    whole, told = restless_toy(), Recorder()
    whole.run(PLAN, told)
    expected = outcome(whole, told)["weights"]
    state = whole.saved[6][1]
    fresh = restless_toy()
    spoilt = {
        "optimizer": {**state, "optimizer": fresh.optimizer.state_dict()},
        "scheduler": {**state, "scheduler": fresh.scheduler.state_dict()},
        "rng": {**state, "rng": [rng_state(CPU)]},
        "batch": {**state, "progress": {**state["progress"], "batch": 0}},
    }
    for part, without in spoilt.items():
        resumed = restless_toy()
        resumed.go_on_from(without)
        resumed.run(PLAN)
        assert bits(resumed.model.state_dict()) != expected, part


def test_a_finished_training_resumed_does_nothing() -> None:
    training, recorder = toy(), Recorder()
    training.run(Plan(epochs=2))
    weights = bits(training.model.state_dict())
    training.run(Plan(epochs=2), recorder)
    assert recorder.events == []
    assert bits(training.model.state_dict()) == weights


def test_progress_survives_json() -> None:
    training = toy()
    training.run(Plan(epochs=2, log_every=3))
    progress = training.progress
    assert Progress.from_dict(json.loads(json.dumps(progress.to_dict()))) == progress


def test_class_weights_reach_the_loss() -> None:
    weights = np.array([0.1, 1.0, 5.0])
    plain, weighted = toy(), toy(task=toy_task(weights=weights))
    for training in (plain, weighted):
        training.run(Plan(epochs=1))
    assert bits(plain.model.state_dict()) != bits(weighted.model.state_dict())
    val = weighted.dataset.indices("val")
    with torch.no_grad():
        logits = weighted.model(weighted.dataset.fetch(val))
    expected = nn.functional.cross_entropy(
        logits, torch.from_numpy(weighted.dataset.labels[val]), torch.tensor(weights, dtype=torch.float32)
    )
    assert weighted.validate().metrics["loss"] == pytest.approx(float(expected), rel=1e-5)


def test_the_dataset_is_only_read() -> None:
    dataset = toy_dataset()
    before = dataset.fetch.items.clone()
    toy(dataset=dataset).run(Plan(epochs=1))
    assert torch.equal(dataset.fetch.items, before)
