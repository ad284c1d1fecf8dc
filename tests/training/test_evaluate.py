from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score
from torch import nn
from toy_training import ALONE, CPU, Restless, bits, linear, toy_dataset, toy_task

from trainyard.data.batches import Batches
from trainyard.training.checkpoint.capture import rng_state, seed_everything
from trainyard.training.evaluate import evaluate

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
    np.testing.assert_array_equal(found.labels, labels)
    assert found.probabilities.dtype == np.float32
    np.testing.assert_allclose(found.probabilities, logits.softmax(1), rtol=1e-5)


def test_a_shuffled_order_gives_the_same_predictions_in_the_order_of_the_split() -> None:
    model, task = linear(), toy_task()
    straight, shuffled = evaluate(model, task, batches(), ALONE), evaluate(model, task, batches(shuffle=True), ALONE)
    np.testing.assert_array_equal(straight.indices, shuffled.indices)
    np.testing.assert_array_equal(straight.labels, shuffled.labels)
    np.testing.assert_allclose(straight.probabilities, shuffled.probabilities, rtol=1e-6)


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
    np.testing.assert_array_equal(first.probabilities, again.probabilities)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_split_without_items_measures_nothing() -> None:
    nothing = Batches(DATASET, np.zeros(0, dtype=np.int64), 4, shuffle=False, seed=0)
    found = evaluate(linear(), toy_task(), nothing, ALONE)
    assert found.metrics == {}
    assert found.probabilities.shape == (0, 3)


def test_bf16_predictions_are_float32() -> None:
    found = evaluate(linear(), toy_task(), batches(), ALONE, "bf16")
    assert found.probabilities.dtype == np.float32
    np.testing.assert_allclose(found.probabilities.sum(1), 1.0, rtol=1e-5)
