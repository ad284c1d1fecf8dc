from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from trainyard.training.losses import build_criterion
from trainyard.training.tasks import SingleLabel, Task

CLASSES = ("a", "b", "c")
WEIGHTS = np.array([1.0, 2.0, 4.0])


def task(**options: object) -> Task:
    return SingleLabel(CLASSES, build_criterion({"_target_": "torch.nn.CrossEntropyLoss"}, n_classes=3, **options))


def test_loss_is_the_criterions() -> None:
    logits, labels = torch.randn(5, 3), torch.tensor([0, 1, 2, 2, 1])
    assert torch.equal(task().loss(logits, labels), nn.functional.cross_entropy(logits, labels))


def test_half_precision_outputs_are_averaged_in_float32() -> None:
    logits = torch.randn(5, 3).to(torch.bfloat16).requires_grad_()
    loss = task(weights=WEIGHTS).loss(logits, torch.tensor([0, 1, 2, 2, 1]))
    assert loss.dtype == torch.float32
    loss.backward()
    assert logits.grad.dtype == torch.bfloat16


def test_normaliser_is_items_or_their_weight() -> None:
    labels = torch.tensor([0, 1, 2, 2])
    assert task().normaliser(labels) == 4
    assert task(weights=WEIGHTS).normaliser(labels) == 11
    assert task().normaliser(labels).dtype == torch.float32


def test_predictions_are_float32_probabilities_without_a_gradient() -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0], [1000.0, 0.0, -1000.0]], dtype=torch.float16, requires_grad=True)
    probabilities = task().predict(logits)
    assert probabilities.dtype == torch.float32
    assert not probabilities.requires_grad
    torch.testing.assert_close(probabilities, torch.tensor([[1 / 3] * 3, [1.0, 0.0, 0.0]]))


def test_metrics_begin_with_the_loss_and_take_tensors_or_arrays() -> None:
    probabilities = torch.tensor([[0.8, 0.1, 0.1], [0.3, 0.3, 0.4]])
    labels = torch.tensor([0, 1])
    metrics = task().metrics(probabilities, labels, 0.25)
    assert list(metrics)[:2] == ["loss", "accuracy"]
    assert metrics["loss"] == 0.25
    assert metrics["accuracy"] == 0.5
    assert all(type(value) is float and math.isfinite(value) for value in metrics.values())
    assert task().metrics(probabilities.numpy(), labels.numpy(), 0.25) == metrics


def test_moves_its_weights_with_it() -> None:
    single = SingleLabel(
        CLASSES, build_criterion({"_target_": "torch.nn.CrossEntropyLoss"}, n_classes=3, weights=WEIGHTS)
    )
    assert single.to("meta") is single
    assert {buffer.device.type for buffer in single.criterion.buffers()} == {"meta"}
