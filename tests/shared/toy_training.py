"""A training small enough to be repeated from each of its batches, with everything that could go wrong in it."""

from __future__ import annotations

import copy
import io
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainyard.analysis.classification import scoring
from trainyard.checkpoints import FORMATS, commit
from trainyard.data.arrays import InMemory
from trainyard.data.batches import Batches
from trainyard.data.dataset import Dataset
from trainyard.tasks.classification import SingleLabel
from trainyard.tasks.losses import build_criterion
from trainyard.training.checkpoint.capture import Capture, Trainee, rng_state, seed_everything
from trainyard.training.checkpoint.read import Loaded
from trainyard.training.checkpoint.restore import restore
from trainyard.training.checkpoint.write import encode
from trainyard.training.evaluate import Predictions, evaluate
from trainyard.training.events import Event
from trainyard.training.loop import Plan, SaveRequest, Scheduler, fit
from trainyard.training.process import Process
from trainyard.training.progress import Progress
from trainyard.training.step import Step

CPU = torch.device("cpu")
ALONE = Process(0, 1, CPU)
CLASSES = ("a", "b", "c")


def toy_dataset(train: int = 38, val: int = 11, seed: int = 0) -> Dataset:
    """Items of six numbers in three overlapping classes."""
    numbers = np.random.default_rng(seed)
    count = train + val
    labels = numbers.integers(0, 3, count)
    labels[:3] = labels[-3:] = [0, 1, 2]
    items = numbers.normal(size=(count, 6)).astype(np.float32) + np.eye(3, 6, dtype=np.float32)[labels]
    splits = np.array(["train"] * train + ["val"] * val)
    names = tuple(f"item-{i}" for i in range(count))
    return Dataset(
        "toy", CLASSES, names, labels.astype(np.int64), splits, None, names, (6,), InMemory(torch.from_numpy(items))
    )


def toy_task(**options: Any) -> SingleLabel:
    criterion = build_criterion({"_target_": "torch.nn.CrossEntropyLoss"}, n_classes=3, **options)
    return SingleLabel(scoring.SingleLabel(CLASSES), criterion)


class Restless(nn.Module):
    """Draws from every random generator there is, and keeps running statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3))
        self.head = nn.Linear(8, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training:
            inputs = inputs * (1 + 0.1 * random.gauss(0, 1)) + 0.1 * float(np.random.standard_normal())
            inputs = inputs + 0.1 * torch.randn_like(inputs)
        return self.head(self.body(inputs))


def linear(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))


def adamw(model: nn.Module, lr: float = 0.05) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=lr, fused=True)


@dataclass
class Recorder:
    """A sink that keeps every event."""

    events: list[Event] = field(default_factory=list)

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def close(self) -> None:
        pass


@dataclass
class Toy:
    """A training of `model`, ready to `run`."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: Scheduler | None = None
    dataset: Dataset = field(default_factory=toy_dataset)
    task: SingleLabel = field(default_factory=toy_task)
    batch_size: int = 4
    precision: str = "fp32"
    grad_clip: float | None = None
    progress: Progress = field(default_factory=Progress)
    saved: list[tuple[SaveRequest, dict[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.step = Step(self.model, self.task, self.optimizer, ALONE, self.precision, self.grad_clip)
        self.batches = Batches(self.dataset, self.dataset.indices("train"), self.batch_size, shuffle=True, seed=3)

    def validate(self) -> Predictions:
        batches = Batches(self.dataset, self.dataset.indices("val"), 4, shuffle=False, seed=0)
        return evaluate(self.model, self.task, batches, ALONE, self.precision, tune=True)

    @property
    def trainee(self) -> Trainee:
        return Trainee(self.model, self.optimizer, self.scheduler, self.step.scaler, CPU, {}, {})

    def keep(self, request: SaveRequest) -> None:
        """Saves everything as a checkpoint would, through bytes."""
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict() if self.scheduler else None,
            "scaler": self.step.scaler.state_dict(),
            "rng": [rng_state(CPU)],
            "progress": request.progress.to_dict(),
        }
        file = io.BytesIO()
        torch.save(state, file)
        file.seek(0)
        self.saved.append((request, torch.load(file, weights_only=True)))

    def go_on_from(self, state: dict[str, Any]) -> None:
        """Restores what `keep` saved."""
        progress = Progress.from_dict(copy.deepcopy(state["progress"]))
        parts = {key: copy.deepcopy(state[key]) for key in ("model", "optimizer", "scheduler", "scaler", "rng")}
        loaded = Loaded(model_config={}, progress=progress, **parts)
        self.progress = restore(self.trainee, loaded, "memory")

    def run(
        self,
        plan: Plan,
        *sinks: Any,
        should_stop: Callable[[], bool] = lambda: False,
        is_due: Callable[[], bool] = lambda: False,
    ) -> Progress:
        return fit(
            self.step,
            self.batches,
            self.validate,
            plan,
            self.progress,
            scheduler=self.scheduler,
            sinks=sinks,
            save=self.keep,
            should_stop=should_stop,
            is_due=is_due,
            describe=lambda indices: ", ".join(self.dataset.ids[int(i)] for i in indices),
        )


def restless_toy(interval: str = "step") -> Toy:
    """Dropout, batch norm, noise from three generators, a schedule, clipping: nothing may be forgotten."""
    seed_everything(11)
    model = Restless()
    optimizer = adamw(model, 0.02)
    scheduler: Scheduler
    if interval == "step":
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=60)
    else:
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
    return Toy(model, optimizer, scheduler, grad_clip=1.0)


def bits(value: Any) -> Any:
    """Something that is equal only when every bit is."""
    if isinstance(value, Tensor):
        return value.dtype, tuple(value.shape), value.detach().cpu().contiguous().numpy().tobytes()
    if isinstance(value, dict):
        return {key: bits(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [bits(item) for item in value]
    return value


def trainee(model: nn.Module, **options: Any) -> Trainee:
    toy = Toy(model, adamw_of_trained(model))
    return Trainee(model, toy.optimizer, None, toy.step.scaler, CPU, {"name": "toy"}, {"a": 1}, **options)


def adamw_of_trained(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 0.01, fused=True)


def one_step(one: Trainee) -> None:
    one.optimizer.zero_grad()
    one.model(torch.ones(4, 6)).square().sum().backward()
    one.optimizer.step()


def written(one: Trainee, run: Any, step: int = 1, capture: Capture | None = None) -> Path:
    """A checkpoint of `one` as training commits it."""
    capture = capture or Capture(one, run.yard.objects)
    files = encode(
        capture,
        capture.take(),
        Progress(step=step, epoch=1).to_dict(),
        [rng_state(CPU)],
        format_=FORMATS[run.layout.checkpoint_format],
        step=step,
        epoch=float(step),
        metrics={"val_loss": 0.5},
        best_checkpoint=None,
    )
    checkpoint = commit(
        run, files.writers, step=step, epoch=float(step), linked=files.linked, expected_bytes=files.expected_bytes
    )
    return run.yard.root / checkpoint.paths["checkpoint"]
