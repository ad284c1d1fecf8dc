from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from trainyard.analysis.classification import scoring
from trainyard.tasks.classification import MultiLabel, SingleLabel
from trainyard.tasks.losses import build_criterion
from trainyard.tasks.task import Task

CLASSES = ("a", "b", "c")
WEIGHTS = np.array([1.0, 2.0, 4.0])


def one(**options: object) -> SingleLabel:
    criterion = build_criterion({"_target_": "torch.nn.CrossEntropyLoss"}, n_classes=3, **options)
    return SingleLabel(scoring.SingleLabel(CLASSES), criterion)


def several(**options: object) -> MultiLabel:
    criterion = build_criterion({"_target_": "torch.nn.BCEWithLogitsLoss"}, n_classes=3, multi_label=True, **options)
    return MultiLabel(scoring.MultiLabel(CLASSES), criterion)


def test_loss_is_the_criterions() -> None:
    logits, labels = torch.randn(5, 3), torch.tensor([0, 1, 2, 2, 1])
    assert torch.equal(one().loss(logits, labels), nn.functional.cross_entropy(logits, labels))


def test_half_precision_outputs_are_averaged_in_float32() -> None:
    logits = torch.randn(5, 3).to(torch.bfloat16).requires_grad_()
    loss = one(weights=WEIGHTS).loss(logits, torch.tensor([0, 1, 2, 2, 1]))
    assert loss.dtype == torch.float32
    loss.backward()
    assert logits.grad.dtype == torch.bfloat16


def test_normaliser_is_items_or_their_weight() -> None:
    labels = torch.tensor([0, 1, 2, 2])
    assert one().normaliser(labels) == 4
    assert one(weights=WEIGHTS).normaliser(labels) == 11
    assert one().normaliser(labels).dtype == torch.float32


def test_predictions_are_float32_probabilities_without_a_gradient() -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0], [1000.0, 0.0, -1000.0]], dtype=torch.float16, requires_grad=True)
    columns = one().predict(logits)
    assert list(columns) == ["probabilities"]
    probabilities = columns["probabilities"]
    assert probabilities.dtype == torch.float32
    assert not probabilities.requires_grad
    torch.testing.assert_close(probabilities, torch.tensor([[1 / 3] * 3, [1.0, 0.0, 0.0]]))


def test_loss_of_several_labels_is_over_items_in_float32() -> None:
    logits, labels = torch.randn(5, 3).to(torch.bfloat16), torch.rand(5, 3) < 0.5
    loss = several().loss(logits, labels)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, nn.functional.binary_cross_entropy_with_logits(logits.float(), labels.float()))
    assert several().normaliser(labels) == 5
    assert several().normaliser(labels).dtype == torch.float32


def test_probabilities_of_several_labels_are_their_own() -> None:
    logits = torch.tensor([[0.0, 1000.0, -1000.0]], dtype=torch.float16, requires_grad=True)
    columns = several().predict(logits)
    assert list(columns) == ["probabilities"]
    probabilities = columns["probabilities"]
    assert probabilities.dtype == torch.float32
    assert not probabilities.requires_grad
    assert probabilities.tolist() == [[0.5, 1.0, 0.0]]


@pytest.mark.parametrize("task", [one(weights=WEIGHTS), several(weights=WEIGHTS)])
def test_the_weights_of_the_loss_move_with_the_task(task: SingleLabel | MultiLabel) -> None:
    assert task.to("meta") is task
    assert task.criterion is not None
    assert {buffer.device.type for buffer in task.criterion.buffers()} == {"meta"}


@pytest.mark.parametrize(
    ("task", "logits"),
    [
        (SingleLabel(scoring.SingleLabel(CLASSES)), [[0.0, 0.0, 0.0]]),
        (MultiLabel(scoring.MultiLabel(CLASSES)), [[0.0, 0.0, 0.0]]),
    ],
)
def test_a_task_that_only_predicts_needs_no_criterion(task: Task, logits: list[list[float]]) -> None:
    assert task.to("meta") is task
    assert task.predict(torch.tensor(logits))["probabilities"].shape == (1, 3)


def test_the_prior_of_one_label_makes_a_constant_model_predict_the_shares() -> None:
    """Laplace's rule of succession: (count + 1) / (items + classes)."""
    prior = one().prior(torch.tensor([0, 0, 0, 1, 1]))
    assert prior.dtype == torch.float32
    torch.testing.assert_close(torch.softmax(prior, dim=0), torch.tensor([4 / 8, 3 / 8, 1 / 8]))


def test_the_prior_of_several_labels_makes_a_constant_model_predict_each_share() -> None:
    prior = several().prior(torch.tensor([[1.0, 0.0, 1.0], [1.0, 0.0, 0.0]]))
    assert prior.dtype == torch.float32
    torch.testing.assert_close(torch.sigmoid(prior), torch.tensor([3 / 4, 1 / 4, 2 / 4]))
    assert torch.isfinite(prior).all(), "labels that all items have, or none"
