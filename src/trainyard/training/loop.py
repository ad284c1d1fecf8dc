"""The training loop: one function, read from top to bottom, for every task and kind of data.

What differs is passed in as arguments. The loop sends events to sinks and calls `save` for a checkpoint; it
knows nothing of runs, files or configs.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainyard.data.batches import Batch, Batches
from trainyard.errors import ConfigError, DivergedError, Interrupted
from trainyard.metric import VAL_LOSS, Direction, Metric, Values, on
from trainyard.training.evaluate import Predictions
from trainyard.training.events import EpochEnded, Event, Sink, StepLogged
from trainyard.training.progress import Progress
from trainyard.training.step import Step

Scheduler = torch.optim.lr_scheduler.LRScheduler | torch.optim.lr_scheduler.ReduceLROnPlateau


@dataclass(frozen=True)
class Plan:
    """How long to train, and how often to log and save."""

    epochs: int
    grad_accumulation: int = 1
    log_every: int = 50  # steps
    save_every_epochs: int | None = 1
    save_every_steps: int | None = None
    monitor: Metric = VAL_LOSS
    mode: Direction = "min"
    patience: int | None = None
    min_delta: float = 0.0
    scheduler_interval: str = "epoch"


@dataclass(frozen=True)
class SaveRequest:
    """A state of the training to checkpoint: after the last event, before anything changes again.

    If `due`, it must be written to disk; otherwise it is offered because it is the best so far.
    """

    progress: Progress
    epoch: float
    metrics: Values
    inside_epoch: bool
    improved: bool
    due: bool = True


def fit(
    step: Step,
    batches: Batches,
    validate: Callable[[], Predictions],
    plan: Plan,
    progress: Progress,
    *,
    scheduler: Scheduler | None = None,
    sinks: Sequence[Sink] = (),
    save: Callable[[SaveRequest], None] = lambda request: None,
    should_stop: Callable[[], bool] = lambda: False,
    is_due: Callable[[], bool] = lambda: False,
    describe: Callable[[np.ndarray], str] = str,
) -> Progress:
    """Trains until `plan.epochs` are done or early stopping applies; returns the progress at the end.

    Args:
        step: performs an optimizer step; holds the model and the optimizer.
        batches: the training data; its order depends only on its seed and the epoch.
        validate: predicts the validation split.
        plan: how long to train, and how often to log and save.
        progress: where to start; updated in place.
        scheduler: changes the learning rate per epoch or step.
        sinks: receive the events, in order.
        save: writes a checkpoint; called between steps, so what it copies is consistent.
        should_stop: called after each step; True ends the training with a checkpoint.
        is_due: called after each step; True requests a checkpoint, besides those of `plan`.
        describe: names the items of a batch (indices), for the error about a diverged loss.

    Raises:
        DivergedError: a loss or a weight became NaN or infinite; no checkpoint holds such a state.
        Interrupted: `should_stop` returned True; a checkpoint of this step was requested.
    """
    window = _Window(plan.log_every, step, progress, describe)
    clock = _Clock()

    def send(event: Event) -> None:
        with _random_state_restored():
            for sink in sinks:
                sink.emit(event)

    while progress.epoch < plan.epochs and not progress.stopped_early:
        step.model.train()
        clock.restart()
        for group in clock.timed(_groups(batches.epoch(progress.epoch, progress.batch), plan.grad_accumulation)):
            loss = step(group)
            progress.step += 1
            progress.batch += len(group)
            window.add(loss, group)
            if scheduler is not None and plan.scheduler_interval == "step" and not step.skipped:
                scheduler.step()
            done = progress.epoch + progress.batch / len(batches)
            if progress.step % plan.log_every == 0:
                window.settle()
                values = {"step_loss": progress.window_loss / progress.window_items, **_rates(step)}
                progress.window_loss, progress.window_items = 0.0, 0
                progress.log.append({"epoch": done, "step": progress.step, "loss": values["step_loss"], **_rates(step)})
                send(StepLogged(progress.step, done, values))
            if progress.batch < len(batches):  # the end of an epoch saves below
                stop = should_stop()
                if stop or is_due() or (plan.save_every_steps and progress.step % plan.save_every_steps == 0):
                    window.verify()
                    save(SaveRequest(progress, done, {}, inside_epoch=True, improved=False))
                if stop:
                    raise _interrupted(progress, f"step {progress.step}")
        window.verify()
        predictions = validate()
        train = {"loss": progress.epoch_loss / max(progress.epoch_items, 1), **_rates(step)}
        val = predictions.metrics
        metrics = on("train", train) | on("val", val)
        if plan.monitor not in metrics:
            remedy = f"Choose one of {', '.join(map(str, sorted(metrics)))}."
            raise ConfigError.of("training.monitor", str(plan.monitor), "is not measured", remedy)
        monitored = metrics[plan.monitor]
        progress.decision = None if predictions.rule is None else copy.deepcopy(dict(predictions.rule))
        progress.epoch += 1
        progress.batch, progress.epoch_loss, progress.epoch_items = 0, 0.0, 0
        position = progress.step, progress.epoch
        progress.best = progress.best.after(monitored, *position, mode=plan.mode, min_delta=plan.min_delta)
        improved = progress.best.without_improvement == 0
        progress.stopped_early = progress.best.is_time_to_stop(plan.patience)
        if scheduler is not None and plan.scheduler_interval == "epoch":
            if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
                scheduler.step(monitored)
            else:
                scheduler.step()
        logged = {Metric("val", name).as_transformers: value for name, value in val.items()}
        progress.log.append({"epoch": float(progress.epoch), "step": progress.step, **logged})
        seconds, waited = clock.read()
        last = progress.epoch >= plan.epochs or progress.stopped_early
        due = last or is_due()
        if plan.save_every_epochs is not None:
            due = due or improved or progress.epoch % plan.save_every_epochs == 0
        best, epochs = progress.best, plan.epochs
        send(EpochEnded(*position, epochs, train, val, best, improved, predictions, seconds, waited, due))
        stop = not last and should_stop()
        if due or stop or improved:
            epoch = float(progress.epoch)
            save(SaveRequest(progress, epoch, metrics, inside_epoch=False, improved=improved, due=due or stop))
        if stop:
            steps = plan.epochs * math.ceil(len(batches) / plan.grad_accumulation)
            reached = f"epoch {progress.epoch} of {plan.epochs} (step {progress.step} of {steps})"
            raise _interrupted(progress, reached)
    return progress


def _interrupted(progress: Progress, reached: str) -> Interrupted:
    remedy = "Continue with `trainyard resume`, naming the run or `last`."
    return Interrupted(f"Stopped on request after {reached}.", remedy, place=f"step {progress.step}")


def _groups(batches: Iterator[Batch], size: int) -> Iterator[list[Batch]]:
    while group := list(itertools.islice(batches, size)):
        yield group


def _rates(step: Step) -> dict[str, float]:
    rates = {"learning_rate": float(step.optimizer.param_groups[0]["lr"])}
    if step.grad_norm is not None:
        rates["grad_norm"] = float(step.grad_norm)
    return rates


@contextlib.contextmanager
def _random_state_restored() -> Iterator[None]:
    """Restores the generators of Python, NumPy and torch afterwards: sinks must not change what training draws."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


class _Window:
    """The losses of the last few steps, left on the device until they are needed, so that no step waits for it."""

    def __init__(self, size: int, step: Step, progress: Progress, describe: Callable[[np.ndarray], str]) -> None:
        self._size = size
        self._losses: list[Tensor] = []
        self._groups: list[list[Batch]] = []
        self._last: list[Batch] = []
        self._step = step
        self._progress = progress
        self._describe = describe

    def add(self, loss: Tensor, group: list[Batch]) -> None:
        if len(self._losses) == self._size:
            self.settle()
        self._losses.append(loss)
        self._groups.append(group)
        self._last = group

    def settle(self) -> None:
        """Moves the losses from the device to the running sums.

        Raises:
            DivergedError: one of them is NaN or infinite; its value is the step, its place the items.
        """
        losses = torch.stack(self._losses).tolist() if self._losses else []
        first = self._progress.step - len(losses) + 1
        for number, (loss, group) in enumerate(zip(losses, self._groups, strict=True)):
            if not math.isfinite(loss):
                raise self._diverged(f"The loss became {loss}", first + number, group)
            self._progress.add(loss, sum(batch.global_size for batch in group))
        self._losses.clear()
        self._groups.clear()

    def verify(self) -> None:
        """Settles, and checks the weights before they are saved: a step with a finite loss can still spoil them.

        Raises:
            DivergedError: a loss or a weight is NaN or infinite.
        """
        self.settle()
        if not self._step.is_sound():
            raise self._diverged(
                "The weights became NaN or infinite", self._progress.step, self._last, "weights after "
            )

    def _diverged(self, what: str, step: int, group: list[Batch], place: str = "") -> DivergedError:
        own = [np.asarray(batch.indices) for batch in group]
        parts = self._step.process.gather(own)  # every process sees the same loss and comes here
        items = np.concatenate([array for part in parts for array in part])
        return DivergedError(
            f"{what} at step {step}, on the batch of {self._describe(items)}.",
            "Lower training.learning_rate, set training.grad_clip=1.0, or inspect those items; "
            "the last checkpoint was saved before this step.",
            value=items.tolist(),
            place=f"{place}step {step}",
        )


class _Clock:
    """Seconds since `restart`, and how many of them were spent waiting for the next batch."""

    def restart(self) -> None:
        self._start = time.perf_counter()
        self._waited = 0.0

    def timed(self, groups: Iterator[list[Batch]]) -> Iterator[list[Batch]]:
        while True:
            start = time.perf_counter()
            group = next(groups, None)
            self._waited += time.perf_counter() - start
            if group is None:
                return
            yield group

    def read(self) -> tuple[float, float]:
        return time.perf_counter() - self._start, self._waited
