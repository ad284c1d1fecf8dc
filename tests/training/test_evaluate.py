from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score
from torch import nn
from toy_training import ALONE, CPU, Restless, bits, linear, toy_dataset, toy_task

from trainyard.analysis.classification import scoring
from trainyard.data.batches import Batch, Batches
from trainyard.tasks.classification import MultiLabel
from trainyard.tasks.losses import build_criterion
from trainyard.training.checkpoint.capture import rng_state, seed_everything
from trainyard.training.evaluate import evaluate, infer

DATASET = toy_dataset(40, 23)
WEIGHTS = np.array([0.2, 1.0, 5.0])


def batches(split: str = "val", size: int = 4, *, shuffle: bool = False) -> Batches:
    return Batches(DATASET, DATASET.indices(split), size, shuffle=shuffle, seed=1)


@pytest.mark.parametrize("size", [1, 4, 23, 100])
@pytest.mark.parametrize("options", [{}, {"weights": WEIGHTS}, {"label_smoothing": 0.1}])
def test_loss_and_metrics_are_those_of_the_whole_split(size: int, options: dict) -> None:
    model = linear().eval()
    found = evaluate(model, toy_task(**options), batches(size=size), ALONE)
    items = DATASET.indices("val")
    labels = torch.from_numpy(DATASET.labels[items])
    criterion = nn.CrossEntropyLoss(
        weight=torch.tensor(WEIGHTS, dtype=torch.float32) if "weights" in options else None,
        label_smoothing=options.get("label_smoothing", 0.0),
    )
    with torch.no_grad():
        logits = model(DATASET.fetch(items))
        expected = float(criterion(logits, labels))
    assert found.metrics["loss"] == pytest.approx(expected, rel=1e-5)
    assert found.metrics["accuracy"] == accuracy_score(labels, logits.argmax(1))
    assert found.metrics["f1_macro"] == pytest.approx(
        f1_score(labels, logits.argmax(1), average="macro", labels=[0, 1, 2], zero_division=0)
    )
    np.testing.assert_array_equal(found.indices, items)
    np.testing.assert_array_equal(found.targets, labels)
    assert found.columns["probabilities"].dtype == np.float32
    np.testing.assert_allclose(found.columns["probabilities"], logits.softmax(1), rtol=1e-5)


def test_a_shuffled_order_gives_the_same_predictions_in_the_order_of_the_split() -> None:
    model, task = linear(), toy_task()
    straight, shuffled = evaluate(model, task, batches(), ALONE), evaluate(model, task, batches(shuffle=True), ALONE)
    np.testing.assert_array_equal(straight.indices, shuffled.indices)
    np.testing.assert_array_equal(straight.targets, shuffled.targets)
    np.testing.assert_allclose(straight.columns["probabilities"], shuffled.columns["probabilities"], rtol=1e-6)


def test_it_draws_no_random_number_and_changes_nothing() -> None:
    """Dropout is off, running statistics stand still, and the model is left as it was found."""
    seed_everything(5)
    model = Restless().train()
    weights, numbers = bits(model.state_dict()), bits(rng_state(CPU))
    first = evaluate(model, toy_task(), batches(), ALONE)
    assert bits(rng_state(CPU)) == numbers
    assert bits(model.state_dict()) == weights
    assert model.training
    again = evaluate(model.eval(), toy_task(), batches(), ALONE)
    assert not model.training
    np.testing.assert_array_equal(first.columns["probabilities"], again.columns["probabilities"])
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_split_without_items_measures_nothing() -> None:
    nothing = Batches(DATASET, np.zeros(0, dtype=np.int64), 4, shuffle=False, seed=0)
    found = evaluate(linear(), toy_task(), nothing, ALONE, tune=True)
    assert found.metrics == {}
    assert found.columns == {}
    assert (found.indices.shape, found.targets.shape) == ((0,), (0,))
    assert toy_task().scoring.tune(found.columns, found.targets) == (None, [])


# -- the rule


def several(mode: Any = "per_class") -> MultiLabel:
    criterion = build_criterion({"_target_": "torch.nn.BCEWithLogitsLoss"}, n_classes=3, multi_label=True)
    return MultiLabel(scoring.MultiLabel(DATASET.classes, mode=mode), criterion)


def label_sets(split: str = "val") -> Batches:
    """The same items, each with its label and, every other one, a second."""
    truth = np.eye(3, dtype=bool)[DATASET.labels]
    truth[::2, 1] = True
    return Batches(replace(DATASET, labels=truth), DATASET.indices(split), 4, shuffle=False, seed=1)


def test_a_rule_is_tuned_on_the_items_only_when_asked() -> None:
    task, model = several(), linear()
    tuned = evaluate(model, task, label_sets(), ALONE, tune=True)
    probabilities, truth = tuned.columns["probabilities"], tuned.targets
    assert truth.dtype == np.bool_
    assert tuned.rule == task.scoring.tune({"probabilities": probabilities}, truth)[0]
    chosen = probabilities >= np.array(list(tuned.rule["thresholds"].values()), dtype=np.float32)
    assert tuned.metrics["f1_macro"] == pytest.approx(f1_score(truth, chosen, average="macro", zero_division=0))
    plain = evaluate(model, task, label_sets(), ALONE)
    assert plain.rule == task.scoring.untuned() != tuned.rule
    assert plain.metrics["f1_macro"] == pytest.approx(
        f1_score(truth, probabilities >= 0.5, average="macro", zero_division=0)
    )


def test_a_given_rule_is_used_as_it_is() -> None:
    rule = {"mode": "top_k", "k": 1}
    found = evaluate(linear(), several(), label_sets("train"), ALONE, rule=rule)
    assert found.rule == rule
    first = np.eye(3, dtype=bool)[found.columns["probabilities"].argmax(1)]
    assert found.metrics["accuracy"] == accuracy_score(found.targets, first)


def test_infer_gives_only_batches_with_items_and_leaves_the_model_as_it_was() -> None:
    model = Restless().train()
    empty = Batch(torch.zeros(0, 6), torch.zeros(0, dtype=torch.int64), np.zeros(0, dtype=np.int64), 4)
    given = [empty, *batches().epoch(0), empty]
    for batch, outputs in infer(model, given, "fp32", CPU):
        assert len(batch) == len(outputs) > 0
        assert not outputs.requires_grad
        assert not model.training
    assert model.training
    with pytest.raises(RuntimeError, match="out of order"):
        raise_in(infer(model, given, "fp32", CPU))
    assert model.training


def raise_in(pairs: Iterator[tuple[Batch, torch.Tensor]]) -> None:
    with contextlib.closing(pairs):
        next(pairs)
        raise RuntimeError("out of order")


def test_bf16_predictions_are_float32() -> None:
    found = evaluate(linear(), toy_task(), batches(), ALONE, "bf16")
    assert found.columns["probabilities"].dtype == np.float32
    np.testing.assert_allclose(found.columns["probabilities"].sum(1), 1.0, rtol=1e-5)
