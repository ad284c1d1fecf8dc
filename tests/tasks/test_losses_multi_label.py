from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from trainyard.errors import ConfigError, DataError
from trainyard.tasks.losses import FocalLoss, balanced_positive_weights, build_criterion, class_weights

CLASSES = ("a", "b", "c", "d")
BCE = {"_target_": "torch.nn.BCEWithLogitsLoss"}
FOCAL = {"_target_": "trainyard.tasks.losses.FocalLoss"}
CROSS_ENTROPY = {"_target_": "torch.nn.CrossEntropyLoss"}
HERE = __name__


class Asymmetric(nn.Module):
    """Easy absent labels count nothing (as in Ridnik et al., 2021): its slope is 0 there, not of the wrong sign."""

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        shifted = (torch.sigmoid(logits) - 0.3).clamp(min=0)
        absent = (1 - labels) * shifted**4 * -torch.log1p(-shifted)
        return (absent - labels * functional.logsigmoid(logits)).sum(dim=1).mean()


class OverPresent(nn.Module):
    """Divides by the number of present labels: no mean over items."""

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return functional.binary_cross_entropy_with_logits(logits, labels, reduction="sum") / labels.sum()


class Deaf(nn.Module):
    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return torch.ones(())


class Counting(nn.Module):
    """Has state that a trial run must not touch."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        self.calls += 1
        return functional.binary_cross_entropy_with_logits(logits, labels)


def ours(cls: type) -> dict[str, str]:
    return {"_target_": f"{HERE}.{cls.__name__}"}


def test_focal_loss_by_hand() -> None:
    logits = torch.tensor([[0.0, math.log(3.0)], [math.log(9.0), -math.log(4.0)]], dtype=torch.float64)
    labels = torch.tensor([[1.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
    of_the_truth = [[0.5, 0.75], [0.1, 0.8]]  # p_t: sigmoid(ln 3) = 3/4, 1 - sigmoid(ln 9) = 1/10, 1 - 1/5
    for gamma, alpha in ((0.0, None), (2.0, None), (2.0, 0.25), (0.5, 0.9)):
        expected = 0.0
        for row, there in zip(of_the_truth, labels.tolist(), strict=True):
            for p_t, label in zip(row, there, strict=True):
                weight = 1.0 if alpha is None else (alpha if label else 1 - alpha)
                expected += -weight * (1 - p_t) ** gamma * math.log(p_t) / 4
        assert FocalLoss(gamma, alpha)(logits, labels).item() == pytest.approx(expected, rel=1e-12)


@given(st.integers(0, 99))
@settings(deadline=None, max_examples=20)
def test_focal_loss_without_focus_is_binary_cross_entropy(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = (5 * torch.randn(6, 3, generator=generator)).requires_grad_()
    labels = (torch.rand(6, 3, generator=generator) < 0.4).float()
    ours = FocalLoss(gamma=0.0)(logits, labels)
    theirs = functional.binary_cross_entropy_with_logits(logits, labels)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(*(torch.autograd.grad(loss, logits)[0] for loss in (ours, theirs)))


def test_focal_loss_is_stable_and_has_the_right_gradient() -> None:
    logits = torch.tensor([[1e4, -1e4], [-1e4, 1e4]], requires_grad=True)
    labels = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    loss = FocalLoss()(logits, labels)
    assert loss.item() == pytest.approx(3e4 / 4)
    (slope,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(slope, torch.tensor([[0.0, -0.25], [-0.25, 0.25]]))
    exact = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    sides = torch.rand(3, 4).round().double()
    assert torch.autograd.gradcheck(lambda given: FocalLoss(1.5, 0.25)(given, sides), exact)


@pytest.mark.parametrize("arguments", [{"gamma": -1.0}, {"gamma": math.nan}, {"alpha": 0.0}, {"alpha": 1.5}])
def test_focal_loss_refuses_what_is_no_focus(arguments: dict[str, float]) -> None:
    with pytest.raises(ConfigError) as caught:
        build_criterion(FOCAL | arguments, n_classes=4, multi_label=True)
    assert isinstance(caught.value.__cause__, ValueError)


def test_balanced_weights_are_negatives_per_positive_up_to_a_hundred() -> None:
    labels = np.zeros((1000, 3), dtype=bool)
    labels[:250, 0] = labels[:900, 1] = labels[0, 2] = True
    np.testing.assert_allclose(balanced_positive_weights(labels, "abc"), [3, 100 / 900, 100])
    np.testing.assert_array_equal(class_weights("balanced", labels, "abc"), balanced_positive_weights(labels, "abc"))
    np.testing.assert_array_equal(class_weights((1, 500, 3), labels, "abc"), [1, 500, 3])
    assert class_weights("none", labels, "abc") is None


def test_balanced_weights_name_the_labels_without_another_side() -> None:
    for labels, one_sided in (
        ([[True, False, False], [False, False, False]], ["b", "c"]),
        ([[True, False, True], [True, True, False]], ["a"]),
    ):
        with pytest.raises(DataError) as caught:
            class_weights("balanced", labels, "abc")
        assert caught.value.value == one_sided
        assert caught.value.place == "training.class_weights"
        assert "training.class_weights=none" in caught.value.remedy


def test_class_weights_are_as_many_as_the_labels() -> None:
    with pytest.raises(ConfigError) as caught:
        class_weights((1, 2), np.zeros((2, 3), dtype=bool), "abc")
    assert caught.value.keys == ("training.class_weights",)
    assert "a, b, c" in caught.value.remedy


WEIGHTS = np.array([0.2, 3.0, 1.0, 0.0])
CRITERIA = {
    "bce": (BCE, {}),
    "weighted": (BCE, {"weights": WEIGHTS}),
    "weights in the section": (BCE | {"pos_weight": [1, 2, 3, 4], "weight": [1, 1, 2, 0.5]}, {}),
    "focal": (FOCAL, {}),
    "focal with alpha": (FOCAL | {"gamma": 1.0, "alpha": 0.25}, {}),
    "soft margin": ({"_target_": "torch.nn.MultiLabelSoftMarginLoss"}, {}),
    "asymmetric": (ours(Asymmetric), {}),
}


@pytest.mark.parametrize("name", CRITERIA)
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_micro_batches_add_up_to_the_gradient_of_one_batch(name: str, data: st.DataObject) -> None:
    target, options = CRITERIA[name]
    criterion = build_criterion(target, n_classes=4, multi_label=True, trust=True, **options)
    rows = st.lists(st.booleans(), min_size=4, max_size=4)
    labels = torch.tensor(data.draw(st.lists(rows, min_size=2, max_size=12))).float()
    cuts = sorted(data.draw(st.sets(st.integers(1, len(labels) - 1), max_size=4)))
    logits = torch.randn(len(labels), 4, generator=torch.Generator().manual_seed(data.draw(st.integers(0, 99))))
    logits.requires_grad_()
    whole = criterion(logits, labels)
    (expected,) = torch.autograd.grad(whole, logits)

    groups = [torch.arange(a, b) for a, b in zip([0, *cuts], [*cuts, len(labels)], strict=True)]
    shares = torch.stack([criterion.normaliser(labels[group]) for group in groups])
    assert shares.sum() == len(labels)
    losses = torch.stack([criterion(logits[group], labels[group]) for group in groups])
    together = (losses * shares).sum() / shares.sum()
    torch.testing.assert_close(together, whole, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(torch.autograd.grad(together, logits)[0], expected, rtol=1e-4, atol=1e-6)


def test_weights_count_what_is_present() -> None:
    criterion = build_criterion(BCE, n_classes=4, weights=WEIGHTS, multi_label=True)
    logits, labels = torch.randn(6, 4), torch.rand(6, 4).round()
    positive = torch.tensor(WEIGHTS, dtype=torch.float32)
    expected = functional.binary_cross_entropy_with_logits(logits, labels, pos_weight=positive)
    assert torch.equal(criterion(logits, labels), expected)
    assert {buffer.device.type for buffer in criterion.to("meta").buffers()} == {"meta"}


def test_the_trial_leaves_the_criterion_and_torch_as_they_were() -> None:
    before = torch.get_rng_state()
    criterion = build_criterion(ours(Counting), n_classes=4, multi_label=True, trust=True)
    assert criterion.criterion.calls == 0
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("n_classes", [1, 2, 28, 200])
@pytest.mark.parametrize("target", [BCE, FOCAL])
def test_any_number_of_labels(target: dict[str, str], n_classes: int) -> None:
    assert build_criterion(target, n_classes=n_classes, multi_label=True).item_weights is None
    with torch.no_grad():
        build_criterion(target, n_classes=n_classes, multi_label=True)


@pytest.mark.parametrize(
    ("target", "hint"),
    [
        (CROSS_ENTROPY, "training/criterion=bce"),
        ({"_target_": "torch.nn.MSELoss"}, "training/criterion=focal"),
        ({"_target_": "torch.nn.SoftMarginLoss"}, "training/criterion=focal"),
        ({"_target_": "torch.nn.NLLLoss"}, "torch.nn.CrossEntropyLoss"),
        (BCE | {"reduction": "sum"}, "reduction"),
        (BCE | {"reduction": "none"}, "reduction"),
        (ours(OverPresent), "reduction"),
    ],
)
def test_criteria_that_do_not_fit_several_labels_are_refused(target: dict[str, object], hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_criterion(target, n_classes=4, multi_label=True, trust=True)
    assert caught.value.keys == ("training.criterion",)
    assert caught.value.__cause__ is None
    assert hint in caught.value.remedy


@pytest.mark.parametrize(
    "target",
    [
        {"_target_": "torch.nn.BCELoss"},
        {"_target_": "torch.nn.MultiMarginLoss"},
        ours(Deaf),
        BCE | {"pos_weight": [1, 2, 3]},
    ],
)
def test_criteria_that_cannot_take_several_labels_are_refused(target: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as caught:
        build_criterion(target, n_classes=4, multi_label=True, trust=True)
    assert caught.value.keys == ("training.criterion",)
    assert isinstance(caught.value.__cause__, RuntimeError | ValueError), "the criterion's own error"
    assert "training/criterion=bce" in caught.value.remedy


@pytest.mark.parametrize(
    ("target", "options", "keys"),
    [
        (
            BCE | {"pos_weight": [1, 2, 3, 4]},
            {"weights": WEIGHTS},
            ("training.class_weights", "training.criterion.pos_weight"),
        ),
        (BCE, {"label_smoothing": 0.1}, ("training.label_smoothing", "training.criterion")),
        (FOCAL, {"weights": WEIGHTS}, ("training.class_weights", "training.criterion")),
        (CROSS_ENTROPY, {"weights": WEIGHTS}, ("training.class_weights", "training.criterion")),
    ],
)
def test_settings_that_a_criterion_for_several_labels_does_not_take_are_refused(
    target: dict[str, object], options: dict[str, object], keys: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError) as caught:
        build_criterion(target, n_classes=4, multi_label=True, **options)
    assert caught.value.keys == keys
    assert "training/criterion=bce" in caught.value.remedy


@pytest.mark.parametrize("target", [BCE, FOCAL])
def test_criteria_for_several_labels_are_refused_for_one(target: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        build_criterion(target, n_classes=4)
    assert caught.value.keys == ("training.criterion",)
    assert "training/criterion=cross_entropy" in caught.value.remedy
