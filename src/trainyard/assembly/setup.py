"""From a config to everything a training is made of. Writes nothing: whatever is wrong is found here first."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from trainyard.analysis.classification import scoring
from trainyard.analysis.scoring import Rule
from trainyard.assembly.outputs import check_outputs
from trainyard.config import kinds
from trainyard.config.convert import to_dict
from trainyard.config.faults import show
from trainyard.config.fields import plain
from trainyard.config.schema import Config, DistillationOptions, Target, TrainingSection
from trainyard.config.targets import build_target, target_accepts
from trainyard.data.batches import Batches
from trainyard.data.dataset import Dataset
from trainyard.errors import CheckpointError, ConfigError
from trainyard.metric import Direction, Metric
from trainyard.models import build_model, from_model_config, model_config
from trainyard.models.protocols import HasHead, StartsAtPrior
from trainyard.tasks import classification
from trainyard.tasks.losses import build_criterion, class_weights
from trainyard.tasks.margins import build_margin
from trainyard.tasks.task import Task
from trainyard.training.checkpoint.capture import Trainee, load_weights, seed_everything
from trainyard.training.checkpoint.read import Loaded, load
from trainyard.training.distill import Distillation, class_differences, load_teacher
from trainyard.training.evaluate import Predictions, evaluate
from trainyard.training.guard import GradientGuard
from trainyard.training.loop import Plan, Scheduler
from trainyard.training.objective import Objective
from trainyard.training.process import Process
from trainyard.training.step import Step
from trainyard.wording import nearest


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
    with _advising("Correct the settings it names, or choose another model."):
        dataset: Dataset = kind.load(config, trust=trust, item_shape=item_shape, files=saved.files if saved else None)
    return dataset


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

        Args:
            split: train, val or test.
            rule: how predictions become decisions; None: tuned on these predictions where the split is val, and
                the task's untuned rule elsewhere.
        """
        return evaluate(
            self.model,
            self.task,
            self.batches(split),
            self.process,
            self.config.training.precision,
            rule=rule,
            tune=rule is None and split == "val",
        )

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

    Args:
        config: what to build.
        dataset: what it is for.
        process: where.
        trust: accept `_target_` objects outside the allow-list.
        saved: a checkpoint: the model is built as it says, to be filled with its weights. What the training
            started from, such as a published encoder, is not needed.
        trains: whether it will be trained; otherwise no teacher is needed either.
        model: a network of the user's own, in place of building what `config.model` says.
        task: a task of the user's own, in place of building what `config.task` says.

    Raises:
        ConfigError: parts that do not fit each other or the data.
    """
    training = config.training
    seed_everything(config.run.seed)
    margin = None
    if training.use_arcface is not None:
        margin = build_margin(training.use_arcface, training.margin.scale, training.margin.margin)
    with _advising("Choose another model, or other sizes in model.*."):
        model, described, notes = _model(config, dataset, margin.scale if margin else None, saved, model, trust=trust)
    own_task = task is not None or config.task is not None
    task = task or _task(config, dataset, trust=trust)
    if saved is None and isinstance(model, StartsAtPrior) and getattr(config.model, "prior_bias", False):
        prior = task.prior(torch.from_numpy(dataset.labels[dataset.indices("train")]))
        if prior is not None:
            model.start_at_prior(prior)
    model, task = model.to(process.device), task.to(process.device)
    if getattr(config.model, "outputs_unknown", False):
        check_outputs(model, dataset, process.device, classes=None if own_task else len(dataset.classes))
    distillation = None
    if training.distillation.enabled and config.run.train and trains:
        distillation = _distillation(training.distillation, dataset, process.device, trust=trust)
    optimizer = _optimizer(config, model, process.device, trust=trust)
    scheduler = None
    if training.scheduler is not None:
        target = dict(training.scheduler)
        if str(target["_target_"]).endswith(".ReduceLROnPlateau"):
            target.setdefault("mode", direction_of(training, task))
        scheduler = build_part(
            "training.scheduler",
            target,
            optimizer,
            of=Scheduler,
            trust=trust,
            remedy="Name a learning-rate scheduler, such as torch.optim.lr_scheduler.StepLR, and its arguments.",
        )
    _check_monitor(training, task, dataset)
    step = Step(
        process.wrap(model),
        task,
        optimizer,
        process,
        training.precision,
        training.grad_clip,
        objective=Objective(task, margin, distillation),
        after_first_backward=GradientGuard(),
    )
    trainee = Trainee(model, optimizer, scheduler, step.scaler, process.device, described, to_dict(config))
    seed_everything(config.run.seed, process.rank)
    warnings = tuple(getattr(model, "warnings", ()))
    return Setup(config, dataset, process, task, model, step, scheduler, trainee, warnings, notes)


def _model(
    config: Config,
    dataset: Dataset,
    cosine_scale: float | None,
    saved: Loaded | None,
    given: nn.Module | None,
    *,
    trust: bool,
) -> tuple[nn.Module, dict[str, Any], tuple[str, ...]]:
    """The model, its config.json, and notes on its first weights."""
    if given is None and saved is not None and saved.model_config:
        return from_model_config(saved.model_config, saved.files, trust=trust), dict(saved.model_config), ()
    settings = {key: value for key, value in plain(config.model).items() if key not in ("name", "weights")}
    described: dict[str, Any] = {"item_shape": dataset.item_shape, "classes": dataset.classes, **settings}
    if kinds.package_of("model", config.model.name) == kinds.package_of("data", config.data.source):
        described |= dataset.model_arguments  # the model is made for this kind of data
    if cosine_scale is not None:
        described |= {"head": "cosine", "head_scale": cosine_scale}
    config_json = model_config(config.model.name, **described)
    if dataset.multi_label:
        config_json["problem_type"] = "multi_label_classification"  # as transformers has it
    if given is not None:
        return given, config_json, ()
    notes: list[str] = []
    model = build_model(
        config.model.name,
        **described,
        weights=getattr(config.model, "weights", None),
        on_weights=lambda report: notes.append(report.describe()),
        trust=trust,
    )
    return model, config_json, tuple(notes)


def direction_of(training: TrainingSection, task: Task) -> Direction:
    """Whether less or more of `training.monitor` is better, by `training.mode` or else by the task."""
    if training.mode != "auto":
        return training.mode
    return Metric.parse(training.monitor).direction(task.scoring.directions)


def open_task(config: Config, model_config: Mapping[str, Any], *, trust: bool = False) -> Task:
    """The task of a trained network: it predicts, but has no loss, so that no data is needed.

    Args:
        config: what the run was asked to do.
        model_config: its checkpoint's `config.json`, for the classes.
        trust: build a task outside the allow-list.
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
    with _advising("Lower it, or leave it out to have it tuned."):
        return scoring.MultiLabel(classes, label_name, mode=chosen.mode, value=chosen.value, k=chosen.k)


def _task(config: Config, dataset: Dataset, *, trust: bool) -> Task:
    """What the model is trained to say."""
    training = config.training
    if config.task is not None:
        return _own_task(config.task, dataset, trust=trust)
    weights = class_weights(training.class_weights, dataset.labels[dataset.indices("train")], dataset.classes)
    with _advising("Name a loss in training.criterion, such as torch.nn.CrossEntropyLoss, and its arguments."):
        criterion = build_criterion(
            training.criterion,
            n_classes=len(dataset.classes),
            weights=weights,
            label_smoothing=training.label_smoothing,
            multi_label=dataset.multi_label,
            trust=trust,
        )
    if not dataset.multi_label:
        return classification.SingleLabel(scoring.SingleLabel(dataset.classes, dataset.label_name), criterion)
    judged = _multi_label(training, dataset.classes, dataset.label_name)
    return classification.MultiLabel(judged, criterion)


def _distillation(options: DistillationOptions, dataset: Dataset, device: torch.device, *, trust: bool) -> Distillation:
    if options.teacher_model_path is None:
        raise ConfigError(
            ["`training.distillation.enabled` is true, but `training.distillation.teacher_model_path` is not set"],
            "Name a checkpoint of a run, or set training.distillation.enabled=false.",
        )
    teacher = load_teacher(Path(options.teacher_model_path), dataset.classes, dataset.item_shape, trust=trust)
    return Distillation(teacher.to(device), alpha=options.alpha, temperature=options.temperature)


@contextlib.contextmanager
def _advising(remedy: str) -> Iterator[None]:
    """Adds what to do to a ConfigError that does not say it."""
    try:
        yield
    except ConfigError as error:
        if error.remedy:
            raise
        raise ConfigError(error.problems, remedy) from error


def load_initial_weights(setup: Setup) -> None:
    """Puts the weights of `run.checkpoint_path` into the model, if there is one.

    Raises:
        ConfigError: there is no checkpoint, it does not fit the model, or its outputs would be counted as others
            than they are: it is to be tested only, or is a text encoder's, on classes that are not its own.
    """
    path = setup.config.run.checkpoint_path
    if path is None:
        return
    if not Path(path).exists():
        raise ConfigError(
            [f"`run.checkpoint_path` is {show(path)}, where nothing is"],
            "Name the directory or file of a checkpoint; `trainyard show RUN` lists those of a run.",
        )
    try:
        loaded = load(Path(path), weights_only=True)
        load_weights(setup.model, loaded.model, path)
    except CheckpointError as error:
        raise ConfigError([f"`run.checkpoint_path`: {error.what}"], error.remedy) from error
    remedy = "Test it on data of its own classes, in their order (data.classes), or train from it with run.train=true."
    problems = []
    if getattr(setup.config.data, "reads_with_checkpoint", False):
        remedy = (
            "Use the model.* settings and the labels that it was trained with. A directory of a checkpoint can be "
            "fine-tuned on other labels: model=text_encoder model.type=auto model.path=…"
        )
        problems = _other_settings(setup, loaded)
    elif setup.config.run.train:
        return
    labels = loaded.model_config.get("id2label")
    if labels:
        known = [labels[str(index)] for index in range(len(labels))]
        problems += class_differences(known, setup.dataset.classes, "the checkpoint")
    if problems:
        raise ConfigError([f"`run.checkpoint_path` is {show(path)}: {problem}" for problem in problems], remedy)


def _other_settings(setup: Setup, loaded: Loaded) -> list[str]:
    """Where the config differs from the checkpoint after which the model was built."""
    theirs, config = loaded.model_config.get("trainyard", {}), setup.config
    # The weights are the checkpoint's, wherever its own came from, and dropout is of training alone.
    passed_over = {"name", "pretrained", "path", *(() if config.run.train else ("dropout",))}
    pairs = [
        (f"model.{key}", ours, theirs[key])
        for key, ours in plain(config.model).items()
        if key in theirs and key not in passed_over
    ]
    pairs.append(("data.multi_label", setup.dataset.multi_label, theirs.get("multi_label")))
    return [
        f"`{name}` is {show(ours)}, the checkpoint's is {show(other)}" for name, ours, other in pairs if ours != other
    ]


def _optimizer(config: Config, model: nn.Module, device: torch.device, *, trust: bool) -> torch.optim.Optimizer:
    target = copy.deepcopy(dict(config.training.optimizer))
    target.setdefault("lr", config.training.learning_rate)
    trainable = _parameter_groups(config, model)
    if "fused" not in target and str(target["_target_"]).rpartition(".")[2] in ("Adam", "AdamW", "SGD", "Adagrad"):
        target["fused"] = device.type in ("cpu", "cuda") and str(target["_target_"]).startswith("torch.optim.")
    optimizer: torch.optim.Optimizer = build_part(
        "training.optimizer",
        target,
        trainable,
        of=torch.optim.Optimizer,
        trust=trust,
        remedy="Name an optimizer, such as torch.optim.AdamW, and its arguments.",
    )
    return optimizer


def _parameter_groups(config: Config, model: nn.Module) -> list[Any]:
    """The trainable parameters; those that start from random weights apart, where they have a rate of their own."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    rate = config.training.head_learning_rate
    if rate is None or not isinstance(model, HasHead):
        return trainable
    if not getattr(config.model, "pretrained", True):
        return [{"params": trainable, "lr": rate}]
    head = {id(parameter) for parameter in model.head_parameters()}
    return [
        {"params": [parameter for parameter in trainable if id(parameter) not in head]},
        {"params": [parameter for parameter in trainable if id(parameter) in head], "lr": rate},
    ]


def build_part(key: str, target: Mapping[str, Any], *args: Any, of: Any, trust: bool, remedy: str, **extra: Any) -> Any:
    """What a `_target_` section builds, of the wanted type; its faults are told with the section's key."""
    try:
        part = build_target(target, *args, trust=trust, **extra)
    except ConfigError as error:
        problems = [f"`{key}`: {problem}" for problem in error.problems]
        raise ConfigError(problems, error.remedy or remedy) from error
    if not isinstance(part, of):
        raise ConfigError(
            [f"`{key}` is {target['_target_']}, which builds a {type(part).__name__}"], remedy, keys=[key]
        )
    return part


def _check_monitor(training: TrainingSection, task: Task, dataset: Dataset) -> None:
    """Raises ConfigError when nothing will measure `training.monitor`: reported now, not after an epoch."""
    train = ["loss", "learning_rate", *(["grad_norm"] if training.grad_clip is not None else [])]
    val = ["loss", *task.scoring.directions] if len(dataset.indices("val")) else []
    measured = [str(Metric(split, name)) for split, names in (("train", train), ("val", val)) for name in names]
    if training.monitor not in measured:
        why = "" if val else ": there is no validation split"
        near = nearest(training.monitor, measured)
        raise ConfigError(
            [f"`training.monitor` is {show(training.monitor)}, which is not measured{why}"],
            f"{f'Did you mean {near}? ' if near else ''}Choose one of {', '.join(measured)}.",
            keys=["training.monitor"],
        )
