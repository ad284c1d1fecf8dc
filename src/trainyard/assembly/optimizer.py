"""From a config to its optimizer and learning-rate schedule."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from trainyard.assembly.parts import build_part
from trainyard.config.schema import Config
from trainyard.metric import Direction
from trainyard.models.protocols import HasHead
from trainyard.training.loop import Scheduler


def build_optimizer(config: Config, model: nn.Module, device: torch.device, *, trust: bool) -> torch.optim.Optimizer:
    """The optimizer of the trainable parameters; fused where torch has it."""
    target = copy.deepcopy(dict(config.training.optimizer))
    target.setdefault("lr", config.training.learning_rate)
    trainable = _parameter_groups(config, model)
    if "fused" not in target and str(target["_target_"]).rpartition(".")[2] in ("Adam", "AdamW", "SGD", "Adagrad"):
        target["fused"] = device.type in ("cpu", "cuda") and str(target["_target_"]).startswith("torch.optim.")
    key, of = "training.optimizer", torch.optim.Optimizer
    remedy = "Name an optimizer, such as torch.optim.AdamW, and its arguments."
    optimizer: torch.optim.Optimizer = build_part(key, target, trainable, of=of, trust=trust, remedy=remedy)
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


def build_scheduler(
    config: Config, optimizer: torch.optim.Optimizer, mode: Direction, *, trust: bool
) -> Scheduler | None:
    """The learning-rate schedule, if there is one; on a plateau of the monitored metric, whose direction is `mode`."""
    if config.training.scheduler is None:
        return None
    target = dict(config.training.scheduler)
    if str(target["_target_"]).endswith(".ReduceLROnPlateau"):
        target.setdefault("mode", mode)
    remedy = "Name a learning-rate scheduler, such as torch.optim.lr_scheduler.StepLR, and its arguments."
    key = "training.scheduler"
    scheduler: Scheduler = build_part(key, target, optimizer, of=Scheduler, trust=trust, remedy=remedy)
    return scheduler
