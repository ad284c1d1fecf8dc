"""From a config to everything a training is made of. Writes nothing: whatever is wrong is found here first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from trainyard.analysis.scoring import Rule
from trainyard.assembly.network import build_network
from trainyard.assembly.optimizer import build_optimizer, build_scheduler
from trainyard.assembly.parts import advising
from trainyard.assembly.task import build_task, check_monitor, direction_of
from trainyard.config import kinds
from trainyard.config.convert import to_dict
from trainyard.config.schema import Config, DistillationOptions
from trainyard.data.batches import Batches
from trainyard.data.dataset import Dataset
from trainyard.errors import ConfigError
from trainyard.metric import Direction, Metric
from trainyard.models.protocols import StartsAtPrior
from trainyard.tasks.margins import build_margin
from trainyard.tasks.task import Task
from trainyard.training.checkpoint.capture import Trainee, seed_everything
from trainyard.training.checkpoint.read import Loaded
from trainyard.training.distill import Distillation, load_teacher
from trainyard.training.evaluate import Predictions, evaluate, infer
from trainyard.training.guard import check_gradients
from trainyard.training.loop import Plan, Scheduler
from trainyard.training.objective import Objective
from trainyard.training.process import Process
from trainyard.training.step import Step


@dataclass
class Setup:
    """A training, ready to start or to be restored into."""

    config: Config
    dataset: Dataset
    process: Process
    task: Task
    model: nn.Module
    step: Step
    scheduler: Scheduler | None
    trainee: Trainee
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()  # what to tell, but not to warn of

    def batches(self, split: str, *, training: bool = False) -> Batches:
        """The batches of a split; shuffled anew each epoch for training."""
        return Batches(
            self.dataset,
            self.dataset.indices(split),
            self.config.training.batch_size * (1 if training else 4),
            shuffle=training,
            seed=self.config.run.seed,
            rank=self.process.rank,
            world=self.process.world,
            workers=getattr(self.config.data, "workers", 0),
            device=self.process.device,
            augment=training,
        )

    def predict(self, split: str, rule: Rule | None = None) -> Predictions:
        """What the model predicts for a split now; every process must call it.

        Without a `rule`, one is tuned on these predictions where the split is val; elsewhere it is the untuned one.
        """
        batches, precision = self.batches(split), self.config.training.precision
        tune = rule is None and split == "val"
        return evaluate(self.model, self.task, batches, self.process, precision, rule=rule, tune=tune)

    @property
    def monitor(self) -> Metric:
        """The metric that chooses the best checkpoint."""
        return Metric.parse(self.config.training.monitor)

    @property
    def mode(self) -> Direction:
        """Whether less or more of it is better."""
        return direction_of(self.config.training, self.task)

    def plan(self) -> Plan:
        """The loop's plan."""
        training, checkpoint = self.config.training, self.config.checkpoint
        return Plan(
            epochs=training.epochs,
            grad_accumulation=training.grad_accumulation,
            log_every=training.log_every,
            save_every_epochs=checkpoint.every_epochs,
            save_every_steps=checkpoint.every_steps,
            monitor=self.monitor,
            mode=self.mode,
            patience=training.early_stopping.patience,
            min_delta=training.early_stopping.min_delta,
            scheduler_interval=training.scheduler_interval,
        )

    def describe(self, indices: np.ndarray) -> str:
        """Names the items of a batch for an error."""
        names = [self.dataset.ids[int(index)] for index in indices]
        more = f" and {len(names) - 8} more" if len(names) > 8 else ""
        return f"{len(names)} items: {', '.join(names[:8])}{more}"


def load_dataset(
    config: Config, *, trust: bool = False, item_shape: Sequence[int] | None = None, saved: Loaded | None = None
) -> Dataset:
    """The data that `config` describes, as its model takes it.

    Args:
        config: what to load.
        trust: accept augmentations outside the allow-list.
        item_shape: of an item as a run recorded it, so that a published encoder need not be read.
        saved: the checkpoint that the data is for, whose tokenizer reads texts.

    Raises:
        ConfigError: settings that do not fit the data.
        DataError: it cannot be read or trained on.
    """
    kind = kinds.torch_side("data", config.data.source)
    with advising("Correct the settings it names, or choose another model."):
        dataset: Dataset = kind.load(config, trust=trust, item_shape=item_shape, files=saved.files if saved else None)
    return dataset


def build(
    config: Config,
    dataset: Dataset,
    process: Process,
    *,
    trust: bool = False,
    saved: Loaded | None = None,
    trains: bool = True,
    model: nn.Module | None = None,
    task: Task | None = None,
) -> Setup:
    """Model, task, optimizer and scheduler, seeded by `run.seed`.

    A `model` and a `task` of the user's own take the place of what the config says. With a checkpoint `saved`, the
    model is built as it says, to be filled with its weights: what the training started from, such as a published
    encoder, is not needed. Nor is a teacher, unless it `trains`.

    Raises:
        ConfigError: parts that do not fit each other or the data.
    """
    training = config.training
    seed_everything(config.run.seed)
    margin = None
    if training.use_arcface is not None:
        margin = build_margin(training.use_arcface, training.margin.scale, training.margin.margin)
    with advising("Choose another model, or other sizes in model.*."):
        model, described, notes = build_network(
            config, dataset, margin.scale if margin else None, saved, model, trust=trust
        )
    own_task = task is not None or config.task is not None
    task = task or build_task(config, dataset, trust=trust)
    if saved is None and isinstance(model, StartsAtPrior) and getattr(config.model, "prior_bias", False):
        prior = task.prior(torch.from_numpy(dataset.labels[dataset.indices("train")]))
        if prior is not None:
            model.start_at_prior(prior)
    model, task = model.to(process.device), task.to(process.device)
    if getattr(config.model, "outputs_unknown", False):
        _check_outputs(model, dataset, process.device, classes=None if own_task else len(dataset.classes))
    distillation = None
    if training.distillation.enabled and config.run.train and trains:
        distillation = _distillation(training.distillation, dataset, process.device, trust=trust)
    optimizer = build_optimizer(config, model, process.device, trust=trust)
    scheduler = build_scheduler(config, optimizer, direction_of(training, task), trust=trust)
    check_monitor(training, task, dataset)
    objective, wrapped = Objective(task, margin, distillation), process.wrap(model)
    options = (training.precision, training.grad_clip)
    step = Step(wrapped, task, optimizer, process, *options, objective=objective, after_first_backward=check_gradients)
    trainee = Trainee(model, optimizer, scheduler, step.scaler, process.device, described, to_dict(config))
    seed_everything(config.run.seed, process.rank)
    warnings = tuple(getattr(model, "warnings", ()))
    return Setup(config, dataset, process, task, model, step, scheduler, trainee, warnings, notes)


def _distillation(options: DistillationOptions, dataset: Dataset, device: torch.device, *, trust: bool) -> Distillation:
    if options.teacher_model_path is None:
        problem = "training.distillation.enabled=true, but training.distillation.teacher_model_path is not set"
        raise ConfigError([problem], "Name a checkpoint of a run, or set training.distillation.enabled=false.")
    teacher = load_teacher(Path(options.teacher_model_path), dataset.classes, dataset.item_shape, trust=trust)
    return Distillation(teacher.to(device), alpha=options.alpha, temperature=options.temperature)


def _check_outputs(model: nn.Module, dataset: Dataset, device: torch.device, *, classes: int | None) -> None:
    """Raises ConfigError where a network of the user's own refuses the first item, or has other outputs than classes.

    `classes` is None where the task is the user's own too, and says itself what it takes.
    """
    batches = Batches(dataset, dataset.indices("train")[:1], 1, shuffle=False, seed=0, device=device)
    taken = f"an item of shape {dataset.item_shape}"
    try:
        found: list[Any] = [outputs for _, outputs in infer(model, batches.epoch(0), "fp32", device)]
    except (RuntimeError, TypeError, ValueError) as error:
        problem = f"the model refuses {taken}: {(str(error).splitlines() or ['?'])[0]}"
        remedy = "Change its arguments, or the shape and the type of the items."
        raise ConfigError([problem], remedy, keys=["model"]) from error
    for outputs in found:  # of the one item; none where there is no train split
        shape = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
        if isinstance(shape, str) or (classes is not None and shape != (1, classes)):
            wanted = "a tensor" if classes is None else f"a tensor of shape (1, {classes}), one output for each class"
            remedy = "Change its last layer, or the classes; other outputs need a task of your own."
            raise ConfigError([f"the model returns {shape} for {taken}, expected {wanted}"], remedy, keys=["model"])
