from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor, nn

from trainyard.errors import ConfigError, DataError, UnsafeTargetError
from trainyard.tasks.losses import balanced_class_weights, build_criterion, class_weights

CLASSES = ("a", "b", "c", "d")
CROSS_ENTROPY = {"_target_": "torch.nn.CrossEntropyLoss"}
HERE = __name__


class Focal(nn.Module):
    """Means over items although it weighs classes, as most focal losses found in the wild."""

    def __init__(self, weight: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("weight", weight)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        cost = nn.functional.cross_entropy(logits, labels, weight=self.weight, reduction="none")
        return ((1 - torch.exp(-cost)) ** 2 * cost).mean()


class Coupled(nn.Module):
    """Compares the items of a batch with one another: no mean over items."""

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits - logits.mean(dim=0), labels)


class Counting(nn.Module):
    """Has state that a trial run must not touch."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        self.calls += 1
        return nn.functional.cross_entropy(logits, labels)


class Pair(nn.Module):
    def forward(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return logits.sum(), labels.sum()


class Trained(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.centre = nn.Parameter(torch.zeros(4))

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits - self.centre, labels)


def ours(cls: type) -> dict[str, str]:
    return {"_target_": f"{HERE}.{cls.__name__}"}


@given(st.integers(2, 6).flatmap(lambda n: st.lists(st.integers(0, n - 1), max_size=60).map(lambda x: (n, x))))
def test_balanced_weights_are_scikit_learns(case: tuple[int, list[int]]) -> None:
    n, more = case
    labels = np.array([*range(n), *more])
    expected = compute_class_weight("balanced", classes=np.arange(n), y=labels)
    np.testing.assert_allclose(balanced_class_weights(labels, [str(i) for i in range(n)]), expected, rtol=1e-12)


def test_balanced_weights_name_the_empty_classes() -> None:
    with pytest.raises(DataError) as caught:
        balanced_class_weights([0, 0, 2], CLASSES)
    assert caught.value.value == ["b", "d"]
    assert caught.value.place == "training.class_weights"
    assert "training.class_weights=none" in caught.value.remedy


def test_class_weight_settings() -> None:
    labels = [0, 1, 2, 3, 3]
    assert class_weights("none", labels, CLASSES) is None
    np.testing.assert_array_equal(class_weights((1, 2, 3, 0.5), labels, CLASSES), [1, 2, 3, 0.5])
    np.testing.assert_array_equal(class_weights("balanced", labels, CLASSES), balanced_class_weights(labels, CLASSES))


@pytest.mark.parametrize(
    "setting", [(1, 2, 3), (1, 2, 3, -1), (0, 0, 0, 0), (1, 2, 3, math.nan), (1, 2, 3, math.inf), "balancd"]
)
def test_class_weights_that_are_none(setting: object) -> None:
    with pytest.raises(ConfigError) as caught:
        class_weights(setting, [0, 1, 2, 3], CLASSES)
    assert caught.value.keys == ("training.class_weights",)
    assert caught.value.remedy


CRITERIA = {
    "plain": (CROSS_ENTROPY, {}),
    "weighted": (CROSS_ENTROPY, {"weights": np.array([0.2, 3.0, 1.0, 0.7])}),
    "smoothed": (CROSS_ENTROPY, {"label_smoothing": 0.1}),
    "weighted and smoothed": (CROSS_ENTROPY, {"weights": np.array([0.2, 3.0, 1.0, 0.7]), "label_smoothing": 0.2}),
    "weight in the section": (CROSS_ENTROPY | {"weight": [1, 2, 3, 4]}, {}),
    "nearly equal weights": (CROSS_ENTROPY, {"weights": np.array([1.0, 1.001, 0.999, 1.0])}),
    "a weight of 0": (CROSS_ENTROPY, {"weights": np.array([0.0, 3.0, 1.0, 0.7])}),
    "an ignored class": (CROSS_ENTROPY | {"ignore_index": 2}, {}),
    "ignored and weighted": (CROSS_ENTROPY | {"ignore_index": 2}, {"weights": np.array([0.2, 3.0, 1.0, 0.7])}),
    "margin, which divides weights by items": (
        {"_target_": "torch.nn.MultiMarginLoss"},
        {"weights": np.array([0.2, 3.0, 1.0, 0.7])},
    ),
    "focal": (ours(Focal), {}),
    "focal, weighted": (ours(Focal), {"weights": np.array([0.2, 3.0, 1.0, 0.7])}),
}


@pytest.mark.parametrize("name", CRITERIA)
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_micro_batches_add_up_to_the_gradient_of_one_batch(name: str, data: st.DataObject) -> None:
    target, options = CRITERIA[name]
    criterion = build_criterion(target, n_classes=4, trust=True, **options)
    labels = torch.tensor(data.draw(st.lists(st.integers(0, 3), min_size=2, max_size=24)))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(labels) - 1), max_size=4)))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    items = torch.randn(len(labels), 5, generator=generator)
    model = nn.Linear(5, 4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))

    whole = criterion(model(items), labels)
    whole.backward()
    expected = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()

    groups = [torch.arange(a, b) for a, b in zip([0, *cuts], [*cuts, len(labels)], strict=True)]
    shares = torch.stack([criterion.normaliser(labels[group]) for group in groups])
    total = torch.zeros(())
    for group, share in zip(groups, shares, strict=True):
        loss = criterion(model(items[group]), labels[group]) * share / shares.sum().clamp(min=1e-30)
        loss.backward()
        total += loss.detach()
    torch.testing.assert_close(total, whole.detach(), rtol=1e-4, atol=1e-6)
    for parameter, wanted in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, wanted, rtol=1e-4, atol=1e-6)


def test_weights_and_smoothing_reach_the_criterion() -> None:
    weights = np.array([1.0, 2.0, 3.0, 4.0])
    criterion = build_criterion(CROSS_ENTROPY, n_classes=4, weights=weights, label_smoothing=0.1)
    logits, labels = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 3, 0])
    expected = nn.functional.cross_entropy(
        logits, labels, weight=torch.tensor(weights, dtype=torch.float32), label_smoothing=0.1
    )
    assert torch.equal(criterion(logits, labels), expected)
    assert criterion.normaliser(labels) == weights[labels.numpy()].sum()


def test_a_batch_of_which_nothing_counts_has_loss_0_and_gradient_0() -> None:
    criterion = build_criterion(CROSS_ENTROPY, n_classes=3, weights=np.array([0.0, 1.0, 1.0]))
    logits = torch.randn(4, 3, requires_grad=True)
    loss = criterion(logits, torch.zeros(4, dtype=torch.int64))
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(logits.grad, torch.zeros(4, 3))


def test_an_empty_batch_weighs_nothing() -> None:
    for weights in (None, np.array([1.0, 2.0, 3.0])):
        criterion = build_criterion(CROSS_ENTROPY, n_classes=3, weights=weights)
        assert criterion.normaliser(torch.zeros(0, dtype=torch.int64)) == 0.0


def test_the_trial_leaves_the_criterion_and_torch_as_they_were() -> None:
    before = torch.get_rng_state()
    criterion = build_criterion(ours(Counting), n_classes=4, trust=True)
    assert criterion.criterion.calls == 0
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("n_classes", [2, 3, 10, 200])
def test_any_number_of_classes(n_classes: int) -> None:
    weights = np.linspace(0.0, 2.0, n_classes)
    criterion = build_criterion(CROSS_ENTROPY, n_classes=n_classes, weights=weights)
    np.testing.assert_allclose(criterion.item_weights.numpy(), weights, rtol=1e-6)
    assert build_criterion(CROSS_ENTROPY, n_classes=n_classes).item_weights is None


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (CROSS_ENTROPY | {"reduction": "sum"}, "reduction"),
        (CROSS_ENTROPY | {"reduction": "none"}, "reduction"),
        (ours(Coupled), "reduction"),
        (ours(Pair), "reduction"),
        (ours(Trained), "buffers"),
        ({"_target_": "torch.nn.NLLLoss"}, "torch.nn.CrossEntropyLoss"),
        ({"_target_": "collections.OrderedDict"}, "torch.nn.Module"),
    ],
)
def test_criteria_that_cannot_be_averaged_exactly_are_refused(target: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_criterion(target, n_classes=4, trust=True)
    assert caught.value.keys == ("training.criterion",)
    assert caught.value.__cause__ is None
    assert reason in caught.value.remedy


@pytest.mark.parametrize(
    "target",
    [
        {"_target_": "torch.nn.MSELoss"},
        {"_target_": "torch.nn.BCEWithLogitsLoss"},
        CROSS_ENTROPY | {"weight": [1, 2, 3]},
    ],
)
def test_criteria_that_cannot_take_the_labels_are_refused(target: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as caught:
        build_criterion(target, n_classes=4)
    assert caught.value.keys == ("training.criterion",)
    assert isinstance(caught.value.__cause__, RuntimeError | ValueError), "the criterion's own error"
    assert "training/criterion=cross_entropy" in caught.value.remedy


@pytest.mark.parametrize(
    ("target", "options", "keys"),
    [
        (
            {"_target_": "torch.nn.MultiMarginLoss"},
            {"label_smoothing": 0.1},
            ("training.label_smoothing", "training.criterion"),
        ),
        ({"_target_": "torch.nn.MSELoss"}, {"weights": np.ones(4)}, ("training.class_weights", "training.criterion")),
        (
            CROSS_ENTROPY | {"label_smoothing": 0.1},
            {"label_smoothing": 0.2},
            ("training.label_smoothing", "training.criterion.label_smoothing"),
        ),
        (
            CROSS_ENTROPY | {"weight": [1, 1, 1, 1]},
            {"weights": np.ones(4)},
            ("training.class_weights", "training.criterion.weight"),
        ),
    ],
)
def test_settings_that_a_criterion_does_not_take_or_sets_itself_are_refused(
    target: dict[str, object], options: dict[str, object], keys: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError) as caught:
        build_criterion(target, n_classes=4, **options)
    assert caught.value.keys == keys
    assert "training/criterion=cross_entropy" in caught.value.remedy


def test_a_misspelt_argument_of_a_criterion_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        build_criterion(CROSS_ENTROPY | {"weigth": [1, 2, 3, 4]}, n_classes=4)
    assert "`weigth`" in caught.value.problems[0]


def test_a_criterion_outside_the_allow_list_needs_trust() -> None:
    with pytest.raises(UnsafeTargetError):
        build_criterion(ours(Focal), n_classes=4)
