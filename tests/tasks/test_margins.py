from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning import losses, reducers
from torch import Tensor, nn
from torch.nn import functional

from trainyard.errors import ConfigError
from trainyard.models.heads import CosineLinear
from trainyard.tasks.margins import ArcMargin, CircleMargin, build_margin

LABELS = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3])
cosines = st.floats(-1, 1, width=32)


def logits_of(cosine: float, scale: float, *others: float) -> Tensor:
    return torch.tensor([[cosine, *others]]) * scale


def cross_entropy_and_gradients(
    margin: nn.Module, head: CosineLinear, embeddings: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    embeddings = embeddings.clone().requires_grad_(True)
    loss = functional.cross_entropy(margin(head(embeddings), LABELS), LABELS)
    return loss.detach(), *torch.autograd.grad(loss, (embeddings, head.weight))


def embeddings_around(head: CosineLinear) -> Tensor:
    """Some near their class, some beyond the angle where the fallback begins."""
    weights = head.weight.detach()[LABELS]
    towards = torch.tensor([1.0, 1.0, 0.3, 0.3, 0.0, -0.3, -4.0, -4.0]).unsqueeze(1)
    return towards * weights + 0.3 * torch.randn(8, head.in_features)


# -- ArcFace


def test_arcface_by_hand() -> None:
    # 60 degrees and half a radian: cos(1.0471976 + 0.5) = 0.0235959
    found = ArcMargin(10.0, 0.5)(logits_of(0.5, 10.0, 0.2, -0.7), torch.tensor([0]))
    torch.testing.assert_close(found, torch.tensor([[0.235959, 2.0, -7.0]]), rtol=0, atol=1e-5)
    # an angle of 2.824 > pi - 0.5: -0.95 - 0.5 * sin(0.5) = -0.95 - 0.2397128
    found = ArcMargin(10.0, 0.5)(logits_of(-0.95, 10.0, 0.2), torch.tensor([0]))
    torch.testing.assert_close(found, torch.tensor([[-11.897128, 2.0]]), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("scale", "margin"), [(30.0, 0.5), (64.0, 0.3), (1.0, 1.2)])
def test_arcface_is_pytorch_metric_learnings(scale: float, margin: float) -> None:
    """Loss, and gradients of embeddings and class vectors; theirs takes degrees."""
    torch.manual_seed(4)
    head = CosineLinear(6, 4, scale)
    embeddings = embeddings_around(head)
    theirs = losses.ArcFaceLoss(4, 6, margin=math.degrees(margin), scale=scale)
    theirs.W.data = head.weight.detach().T.clone()
    at = embeddings.clone().requires_grad_(True)
    expected = theirs(at, LABELS)
    expected_gradients = torch.autograd.grad(expected, (at, theirs.W))
    own = head(embeddings).detach().gather(1, LABELS.unsqueeze(1)) / scale
    assert (own < -math.cos(margin)).any(), "the fallback is not seen"
    assert (own > 0.5).any()
    loss, for_embeddings, for_weights = cross_entropy_and_gradients(ArcMargin(scale, margin), head, embeddings)
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(for_embeddings, expected_gradients[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(for_weights, expected_gradients[1].T, rtol=1e-4, atol=1e-5)


@given(cosines, st.floats(0.01, 1.5))
@settings(deadline=None)
def test_arcface_lowers_the_label_and_nothing_else(cosine: float, margin: float) -> None:
    before = logits_of(cosine, 30.0, 0.3, -0.2)
    after = ArcMargin(30.0, margin)(before, torch.tensor([0]))
    assert after[0, 0] < before[0, 0]
    assert torch.equal(after[:, 1:], before[:, 1:])


@given(cosines, cosines, st.floats(0, math.pi / 2))
@settings(deadline=None)
def test_arcface_keeps_the_order_of_cosines_even_beyond_pi(one: float, other: float, margin: float) -> None:
    found = ArcMargin(30.0, margin)(torch.tensor([[one, 0.0], [other, 0.0]]) * 30, torch.tensor([0, 0]))[:, 0]
    assert found[0] <= found[1] + 1e-4 if one <= other else found[1] <= found[0] + 1e-4


@given(st.floats(-0.59375, 1, width=32), st.floats(0, 0.9))
@settings(deadline=None)
def test_a_larger_arcface_margin_lowers_more(cosine: float, margin: float) -> None:
    """Where neither is in the fallback."""
    smaller, larger = (
        ArcMargin(30.0, m)(logits_of(cosine, 30.0, 0.0), torch.tensor([0]))[0, 0] for m in (margin, margin + 0.02)
    )
    assert larger < smaller


@given(st.lists(cosines, min_size=3, max_size=3), st.integers(0, 2))
@settings(deadline=None)
def test_an_arcface_margin_of_0_changes_nothing(row: list[float], label: int) -> None:
    logits = torch.tensor([row]) * 30
    torch.testing.assert_close(ArcMargin(30.0, 0.0)(logits, torch.tensor([label])), logits, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("cosine", [1.0, -1.0, 1.0000001, -1.0000001])
def test_arcface_has_a_gradient_where_the_angle_is_0_or_pi(cosine: float) -> None:
    logits = logits_of(cosine, 30.0, 0.0).requires_grad_(True)
    found = ArcMargin()(logits, torch.tensor([0]))
    (gradient,) = torch.autograd.grad(found.sum(), logits)
    assert found.isfinite().all()
    assert gradient.isfinite().all()


# -- Circle loss


def test_circle_by_hand() -> None:
    logits = CircleMargin(80.0, 0.4)(logits_of(0.5, 80.0, 0.2, -0.7), torch.tensor([0]))
    # label: 80 * 0.9 * -0.1; others: 80 * 0.6 * -0.2, and 0 beyond -0.4
    torch.testing.assert_close(logits, torch.tensor([[-7.2, -9.6, 0.0]]), rtol=0, atol=1e-4)
    loss = functional.cross_entropy(logits[:, :2], torch.tensor([0]))
    assert float(loss) == pytest.approx(math.log1p(math.exp(-9.6 + 7.2)), abs=1e-5)


@pytest.mark.parametrize(("scale", "margin"), [(80.0, 0.4), (8.0, 0.25), (1.0, 0.7)])
def test_circle_is_pytorch_metric_learnings(scale: float, margin: float) -> None:
    """With the class vectors as references there is one positive to each item: loss and gradients are theirs."""
    torch.manual_seed(4)
    head = CosineLinear(6, 4, scale)
    embeddings = embeddings_around(head)
    theirs = losses.CircleLoss(m=margin, gamma=scale, reducer=reducers.MeanReducer())
    at, vectors = embeddings.clone().requires_grad_(True), head.weight.detach().clone().requires_grad_(True)
    expected = theirs(at, LABELS, ref_emb=vectors, ref_labels=torch.arange(4))
    expected_gradients = torch.autograd.grad(expected, (at, vectors))
    loss, for_embeddings, for_weights = cross_entropy_and_gradients(CircleMargin(scale, margin), head, embeddings)
    assert float(loss) > 0.1
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(for_embeddings, expected_gradients[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(for_weights, expected_gradients[1], rtol=1e-4, atol=1e-4)


@given(st.floats(0, 2 * math.pi), st.floats(0.05, 0.65))
@settings(deadline=None)
def test_two_classes_tie_on_the_circle(direction: float, margin: float) -> None:
    radius = math.sqrt(2) * margin
    own, other = 1 - radius * math.cos(direction), radius * math.sin(direction)
    if not (own <= 1 + margin and -margin <= other):  # there the pace is 0
        return
    found = CircleMargin(80.0, margin)(logits_of(own, 80.0, other), torch.tensor([0]))[0]
    assert float(found[0]) == pytest.approx(float(found[1]), abs=1e-3)


@given(st.floats(-0.99, 0.99), st.floats(-0.99, 0.99), st.floats(0.05, 0.8))
@settings(deadline=None)
def test_the_pace_is_a_constant_to_the_gradient(own: float, other: float, margin: float) -> None:
    """d logit / d cos is the pace itself: [1 + m - s]+ and [s + m]+, not the slope of a parabola."""
    cosine = torch.tensor([[own, other]], requires_grad=True)
    found = CircleMargin(80.0, margin)(cosine * 80, torch.tensor([0]))
    (gradient,) = torch.autograd.grad(found.sum(), cosine)
    expected = torch.tensor([[80 * max(1 + margin - own, 0), 80 * max(other + margin, 0)]])
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-3)


@given(st.floats(-1, 1, width=32), st.floats(0.1, 0.3))
@settings(deadline=None)
def test_a_smaller_circle_margin_is_stricter(own: float, margin: float) -> None:
    """The lead over a class at cosine 0.35, which neither pace silences, shrinks with the margin."""
    leads = []
    for m in (margin, margin + 0.05):
        found = CircleMargin(80.0, m)(logits_of(own, 80.0, 0.35), torch.tensor([0]))[0]
        leads.append(float(found[0] - found[1]))
    assert leads[0] < leads[1]


# -- both


@pytest.mark.parametrize("margin", [ArcMargin(), CircleMargin()])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_logits_get_their_margin_in_float32(margin: nn.Module, dtype: torch.dtype) -> None:
    logits = (torch.rand(8, 4) * 2 - 1) * margin.scale
    expected = margin(logits.to(dtype).float(), LABELS)
    with torch.autocast("cpu", dtype=dtype):
        found = margin(logits.to(dtype), LABELS)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


@pytest.mark.parametrize("margin", [ArcMargin(), CircleMargin()])
def test_the_logits_themselves_stay_as_they_are(margin: nn.Module) -> None:
    """Accuracy and predictions are of them."""
    logits = (torch.rand(8, 4) * 2 - 1) * margin.scale
    before = logits.clone()
    assert not torch.equal(margin(logits, LABELS), before)
    assert torch.equal(logits, before)
    assert not list(margin.parameters())
    assert not margin.state_dict()


def test_by_name_with_the_defaults_of_the_papers() -> None:
    arc, circle = build_margin("arcface"), build_margin("circle")
    assert isinstance(arc, ArcMargin)
    assert isinstance(circle, CircleMargin)
    assert (arc.scale, arc.margin, circle.scale, circle.margin) == (30.0, 0.5, 80.0, 0.4)
    given_ = build_margin("circle", scale=64, margin=0.0)
    assert (given_.scale, given_.margin) == (64.0, 0.0), "0 is a number, not a missing one"


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (("cosface",), "training.use_arcface"),
        (("arcface", 0.0), "training.margin.scale"),
        (("circle", float("nan")), "training.margin.scale"),
        (("arcface", 30.0, 28.6), "training.margin.margin"),
        (("circle", 80.0, 1.5), "training.margin.margin"),
        (("arcface", 30.0, -0.1), "training.margin.margin"),
    ],
)
def test_numbers_that_make_no_margin(arguments: tuple, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_margin(*arguments)
    assert caught.value.keys == (key,)
    assert caught.value.remedy
