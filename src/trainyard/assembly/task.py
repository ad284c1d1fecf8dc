"""From a config to its task: what the outputs mean, the loss, and which direction of a metric is better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trainyard.analysis.classification import scoring
from trainyard.assembly.parts import advising, build_part
from trainyard.config.schema import Config, Target, TrainingSection
from trainyard.config.targets import target_accepts
from trainyard.data.dataset import Dataset
from trainyard.errors import ConfigError
from trainyard.metric import Direction, Metric
from trainyard.tasks import classification
from trainyard.tasks.losses import build_criterion, class_weights
from trainyard.tasks.task import Task
from trainyard.wording import did_you_mean


def direction_of(training: TrainingSection, task: Task) -> Direction:
    """Whether less or more of `training.monitor` is better, by `training.mode` or else by the task."""
    if training.mode != "auto":
        return training.mode
    return Metric.parse(training.monitor).direction(task.scoring.directions)


def open_task(config: Config, model_config: Mapping[str, Any], *, trust: bool = False) -> Task:
    """The task of a trained network: it predicts, but has no loss, so that no data is needed.

    The classes are those of `model_config`, its checkpoint's `config.json`.
    """
    if config.task is not None:
        return _own_task(config.task, None, trust=trust)
    names = model_config["id2label"]
    classes = [names[str(index)] for index in range(len(names))]
    label_name = getattr(config.data, "label_name", "label")
    if model_config.get("problem_type") != "multi_label_classification":
        return classification.SingleLabel(scoring.SingleLabel(classes, label_name))
    return classification.MultiLabel(_multi_label(config.training, classes, label_name))


def _own_task(target: Target, dataset: Dataset | None, *, trust: bool) -> Task:
    """A task of the user's own, which is given the data set if it takes an argument of that name."""
    takes = {"dataset": dataset} if target_accepts(target, "dataset", trust=trust) else {}
    task: Task = build_part("task", target, of=object, trust=trust, remedy="Name a class that is a task.", **takes)
    return task


def _multi_label(training: TrainingSection, classes: Sequence[str], label_name: str) -> scoring.MultiLabel:
    chosen = training.thresholds
    with advising("Lower it, or leave it out to have it tuned."):
        return scoring.MultiLabel(classes, label_name, mode=chosen.mode, value=chosen.value, k=chosen.k)


def build_task(config: Config, dataset: Dataset, *, trust: bool) -> Task:
    """What the model is trained to say."""
    training = config.training
    if config.task is not None:
        return _own_task(config.task, dataset, trust=trust)
    weights = class_weights(training.class_weights, dataset.labels[dataset.indices("train")], dataset.classes)
    smoothing, multi_label, n_classes = training.label_smoothing, dataset.multi_label, len(dataset.classes)
    options: dict[str, Any] = {"label_smoothing": smoothing, "multi_label": multi_label, "n_classes": n_classes}
    with advising("Name a loss in training.criterion, such as torch.nn.CrossEntropyLoss, and its arguments."):
        criterion = build_criterion(training.criterion, weights=weights, trust=trust, **options)
    if not dataset.multi_label:
        return classification.SingleLabel(scoring.SingleLabel(dataset.classes, dataset.label_name), criterion)
    judged = _multi_label(training, dataset.classes, dataset.label_name)
    return classification.MultiLabel(judged, criterion)


def check_monitor(training: TrainingSection, task: Task, dataset: Dataset) -> None:
    """Raises ConfigError when nothing will measure `training.monitor`: reported now, not after an epoch."""
    train = ["loss", "learning_rate", *(["grad_norm"] if training.grad_clip is not None else [])]
    val = ["loss", *task.scoring.directions] if len(dataset.indices("val")) else []
    measured = [str(Metric(split, name)) for split, names in (("train", train), ("val", val)) for name in names]
    if training.monitor not in measured:
        why = "" if val else ": there is no validation split"
        remedy = did_you_mean(training.monitor, measured, then=f"Choose one of {', '.join(measured)}.")
        raise ConfigError.of("training.monitor", training.monitor, f"is not measured{why}", remedy)
