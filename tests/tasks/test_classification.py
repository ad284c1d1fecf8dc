from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from trainyard.analysis.classification.decisions import ARGMAX, Decision
from trainyard.errors import ConfigError
from trainyard.tasks.classification import MultiLabel, SingleLabel, Task
from trainyard.tasks.losses import build_criterion

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


def several(mode: Any = "per_class", **options: Any) -> MultiLabel:
    criterion = build_criterion({"_target_": "torch.nn.BCEWithLogitsLoss"}, n_classes=3, multi_label=True)
    return MultiLabel(CLASSES, criterion, mode=mode, **options)


def test_one_label_an_item_is_always_the_most_probable() -> None:
    probabilities, labels = [[0.8, 0.1, 0.1], [0.3, 0.3, 0.4]], [0, 1]
    decision, notes = task().tune(probabilities, labels)
    assert (decision, notes) == (ARGMAX, [])
    assert task().untuned() == ARGMAX
    assert task().metrics(probabilities, labels, 0.25, decision) == task().metrics(probabilities, labels, 0.25)
    with pytest.raises(ValueError, match="exactly one label"):
        task().metrics(probabilities, labels, 0.25, Decision("top_k", k=1))


def test_loss_of_several_labels_is_over_items_in_float32() -> None:
    logits, labels = torch.randn(5, 3).to(torch.bfloat16), torch.rand(5, 3) < 0.5
    loss = several().loss(logits, labels)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, nn.functional.binary_cross_entropy_with_logits(logits.float(), labels.float()))
    assert several().normaliser(labels) == 5
    assert several().normaliser(labels).dtype == torch.float32


def test_probabilities_of_several_labels_are_their_own() -> None:
    logits = torch.tensor([[0.0, 1000.0, -1000.0]], dtype=torch.float16, requires_grad=True)
    probabilities = several().predict(logits)
    assert probabilities.dtype == torch.float32
    assert not probabilities.requires_grad
    assert probabilities.tolist() == [[0.5, 1.0, 0.0]]


def test_several_labels_are_tuned_and_measured_with_what_was_tuned() -> None:
    probabilities = np.array([[0.3, 0.9, 0.2], [0.1, 0.8, 0.1], [0.2, 0.2, 0.4]], dtype=np.float32)
    labels = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])  # as they lie in a batch
    decision, notes = several().tune(probabilities, labels)
    assert decision.thresholds == (0.25, 0.5, 0.5)
    assert len(notes) == 1
    assert "'c'" in notes[0]
    metrics = several().metrics(probabilities, labels, 0.25, decision)
    assert list(metrics)[:2] == ["loss", "accuracy"]
    assert metrics["accuracy"] == 1.0
    assert all(type(value) is float for value in metrics.values())
    assert several().untuned().thresholds == (0.5, 0.5, 0.5)
    assert several("fixed", value=0.2).untuned().thresholds == (0.2, 0.2, 0.2)
    assert [several("top_k", k=k).untuned().k for k in (None, 2)] == [1, 2]
    untuned = several().metrics(torch.from_numpy(probabilities), labels, 0.25)
    assert untuned["accuracy"] == pytest.approx(2 / 3), "0.3 is below 0.5"
    assert untuned["auc_macro"] == metrics["auc_macro"] == 1.0


def test_a_task_tunes_as_it_was_asked_to() -> None:
    probabilities, labels = [[0.3, 0.9, 0.2]], [[True, True, False]]
    assert several("fixed", value=0.2).tune(probabilities, labels)[0].thresholds == (0.2, 0.2, 0.2)
    assert several("global").tune(probabilities, labels)[0].mode == "global"
    assert several("top_k").tune(probabilities, labels)[0].k == 2
    assert several("top_k", k=3).tune(probabilities, labels)[0].k == 3


@pytest.mark.parametrize("k", [0, 4])
def test_no_more_labels_an_item_than_there_are(k: int) -> None:
    with pytest.raises(ConfigError, match=r"training\.thresholds\.k is \d, it must be from 1 to 3"):
        several("top_k", k=k)


def test_several_labels_move_their_weights() -> None:
    criterion = build_criterion(
        {"_target_": "torch.nn.BCEWithLogitsLoss"}, n_classes=3, weights=WEIGHTS, multi_label=True
    )
    task = MultiLabel(CLASSES, criterion)
    assert task.to("meta") is task
    assert {buffer.device.type for buffer in criterion.buffers()} == {"meta"}
