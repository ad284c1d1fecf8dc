from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score
from torch import Tensor, nn
from toy_training import ALONE, adamw, bits, linear, toy_task
from two_steps import DATASET, WEIGHTS, batch, objective, run, student

from trainyard.data.batches import Batch, Batches
from trainyard.training.evaluate import evaluate
from trainyard.training.forward import forward
from trainyard.training.objective import Objective
from trainyard.training.step import Step

MARGINS = [None, "arcface", "circle"]
CUTS = {
    "one batch": [(0, 11)],
    "even": [(0, 6), (6, 12)],
    "uneven": [(0, 4), (4, 8), (8, 11)],
    "a single item left over": [(0, 5), (5, 10), (10, 11)],
}


def expected(model: nn.Module, whole: Batch, margin: nn.Module | None, *, taught: bool) -> Tensor:
    """The formula on all items at once, written with torch's own functions."""
    logits = model(whole.inputs)
    weight = torch.tensor(WEIGHTS, dtype=torch.float32)
    harder = logits if margin is None else margin(logits, whole.labels)
    loss = nn.functional.cross_entropy(harder, whole.labels, weight=weight)
    if not taught:
        return loss
    p = torch.softmax(student(7)(whole.inputs).detach() / 3, 1)
    divergence = (p * (p.log() - torch.log_softmax(logits / 3, 1))).sum(1).mean()
    return 0.6 * loss + 0.4 * 9 * divergence


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("taught", [False, True])
@pytest.mark.parametrize("margin", MARGINS)
def test_steps_are_those_of_one_large_batch(margin: str | None, taught: bool, cut: str) -> None:
    """A plain SGD step shows the gradient; class weights make the two parts divide by different things."""
    minimised = objective(margin, taught=taught)
    theirs, ours = student(), student()
    loss = expected(theirs, batch(*range(CUTS[cut][-1][1])), minimised.margin, taught=taught)
    loss.backward()
    step = Step(ours, minimised.task, torch.optim.SGD(ours.parameters(), 1.0), ALONE, objective=minimised)
    found = step([batch(*range(low, high)) for low, high in CUTS[cut]])
    assert found.shape == ()
    assert float(found) == pytest.approx(float(loss.detach()), abs=1e-5)
    for old, new, reference in zip(student().parameters(), ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(old - new, reference.grad, rtol=1e-4, atol=1e-5)


def test_one_normaliser_for_both_parts_would_be_seen() -> None:
    """The comparison above can fail: weighting the teacher's part by the class weights is something else."""
    minimised = objective("arcface", taught=True)
    parts = [batch(*range(low, high)) for low, high in CUTS["uneven"]]
    with torch.no_grad():
        losses = torch.stack([minimised(student()(part.inputs), part) for part in parts])
        shares = torch.stack([minimised.normaliser(part) for part in parts])
        right = (losses * shares / shares.sum(0)).sum()
        wrong = (losses.sum(1) * shares[:, 0] / shares[:, 0].sum()).sum()
        whole = expected(student(), batch(*range(11)), minimised.margin, taught=True)
    assert float(right) == pytest.approx(float(whole), abs=1e-5)
    assert abs(float(wrong - whole)) > 1e-3


@pytest.mark.parametrize(
    "groups",
    [[[[0, 1, 2, 3, 4, 5]], [[6, 7, 8, 9, 10]]], [[[0, 1, 2, 3], [4, 5], [6]], [[7, 8, 9], [10], []]]],
    ids=["uneven", "accumulated, and nothing in the end"],
)
def test_two_processes_take_the_step_of_one(tmp_path: Path, groups: list[list[list[int]]]) -> None:
    model = student()
    loss = expected(model, batch(*range(11)), objective("arcface", taught=True).margin, taught=True)
    loss.backward()
    results = run(groups, "arcface", tmp_path)
    for result in results:
        assert float(result["loss"]) == pytest.approx(float(loss.detach()), abs=1e-5)
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(parameter.detach() - result["model"][name], parameter.grad, rtol=1e-4, atol=1e-5)
    assert bits(results[0]["model"]) == bits(results[1]["model"])


def test_without_margin_and_teacher_it_is_the_tasks_loss_and_nothing_else() -> None:
    minimised, model, whole = Objective(toy_task(weights=WEIGHTS)), linear(), batch(*range(9))
    outputs = model(whole.inputs)
    found = minimised(outputs, whole)
    assert bits(found) == bits(minimised.task.loss(outputs, whole.labels))
    assert found.shape == minimised.normaliser(whole).shape == ()
    called, ours = linear(), linear()
    steps = [
        Step(called, minimised.task, adamw(called), ALONE, objective=minimised),
        Step(ours, minimised.task, adamw(ours), ALONE),
    ]
    for group in ([whole], [batch(0, 1), batch(2)], [whole]):
        assert bits(steps[0](group)) == bits(steps[1](group))
    assert bits(called.state_dict()) == bits(ours.state_dict())


def test_validation_sees_neither_margin_nor_teacher() -> None:
    model, minimised = student(), objective("arcface", taught=True)
    items = DATASET.indices("val")
    found = evaluate(model, minimised.task, Batches(DATASET, items, 4, shuffle=False, seed=0), ALONE)
    whole = batch(*items)
    with torch.no_grad():
        logits = model(whole.inputs)
        plain = expected(model, whole, None, taught=False)
        harder = expected(model, whole, minimised.margin, taught=False)
    assert found.metrics["loss"] == pytest.approx(float(plain), rel=1e-5)
    assert float(harder) > float(plain) + 0.5
    assert found.metrics["accuracy"] == accuracy_score(whole.labels, logits.argmax(1))
    np.testing.assert_allclose(found.columns["probabilities"], torch.softmax(logits, 1), rtol=1e-5)


@pytest.mark.parametrize("margin", ["arcface", "circle"])
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_under_autocast_margin_and_divergence_are_float32(margin: str, precision: str) -> None:
    minimised = objective(margin, taught=True)
    seen: list[Tensor] = []
    inner = minimised.task.loss

    def spy(outputs: Tensor, labels: Tensor) -> Tensor:
        seen.append(outputs)
        return inner(outputs, labels)

    minimised.task.loss = spy  # type: ignore[method-assign]
    model = student()
    before = bits(model.state_dict())
    step = Step(model, minimised.task, torch.optim.SGD(model.parameters(), 0.1), ALONE, precision, objective=minimised)
    if precision == "fp16":
        step.scaler.load_state_dict({**step.scaler.state_dict(), "scale": 256.0})  # the usual first one overflows
    total = step([batch(*range(9))])
    reference = expected(student(), batch(*range(9)), minimised.margin, taught=True).detach()
    assert seen[0].dtype == total.dtype == torch.float32
    assert float(total) == pytest.approx(float(reference), rel=0.03)
    assert not step.skipped
    assert bits(model.state_dict()) != before


def test_training_with_a_margin_draws_classes_together() -> None:
    """After the same training on classes that can be told apart, items are nearer to theirs than without."""
    labels = torch.arange(24) % 3
    inputs = 2 * torch.eye(3, 6)[labels] + 0.3 * torch.randn(24, 6, generator=torch.Generator().manual_seed(1))
    apart = Batch(inputs, labels, np.arange(24), 24)
    cosines = {}
    for margin in MARGINS:
        model, minimised = student(), objective(margin, taught=False)
        step = Step(model, minimised.task, adamw(model, 0.02), ALONE, objective=minimised)
        for _ in range(120):
            step([apart])
        with torch.no_grad():
            logits = model(inputs) / 10
        assert (logits.argmax(1) == labels).all()
        own = nn.functional.one_hot(labels).bool()
        cosines[margin] = float(logits[own].mean() - logits[~own].mean())
    assert cosines["arcface"] > cosines[None] + 0.1, cosines
    assert cosines["circle"] > cosines[None] + 0.1, cosines


def test_a_step_of_which_nothing_counts_changes_nothing() -> None:
    """Class weights of 0: the loss is 0, not 0 divided by 0."""
    task = toy_task(weights=np.array([0.0, 1.0, 1.0]))
    nothing = [index for index in DATASET.indices("train") if DATASET.labels[index] == 0][:4]
    for group in ([batch(*nothing)], [batch(*nothing[:2]), batch(*nothing[2:])]):
        model = linear()
        step = Step(model, task, torch.optim.SGD(model.parameters(), 1.0), ALONE)
        assert float(step(group)) == 0.0
        assert bits(model.state_dict()) == bits(linear().state_dict())


# -- around it


@pytest.mark.parametrize("group", [[batch(0, 1, 2)], [batch(0, 1), batch(2)]])
def test_the_first_gradients_are_shown_once_before_they_are_used(group: list[Batch]) -> None:
    model = linear()
    before = bits(model.state_dict())
    seen = []

    def look(shown: nn.Module) -> None:
        assert bits(shown.state_dict()) == before, "nothing has moved yet"
        seen.append((shown, [copy.deepcopy(parameter.grad) for parameter in shown.parameters()]))

    step = Step(model, toy_task(), adamw(model), ALONE, grad_clip=1e-6, after_first_backward=look)
    for _ in range(3):
        step(group)
    assert len(seen) == 1
    assert seen[0][0] is model
    whole = batch(0, 1, 2)
    fresh = linear()
    nn.functional.cross_entropy(fresh(whole.inputs), whole.labels).backward()
    for gradient, parameter in zip(seen[0][1], fresh.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=0, atol=1e-6)  # all micro-batches, not clipped


def test_what_refuses_the_first_gradients_stops_the_step() -> None:
    model = linear()

    def refuse(_: nn.Module) -> None:
        raise ValueError("no gradient")

    step = Step(model, toy_task(), adamw(model), ALONE, after_first_backward=refuse)
    with pytest.raises(ValueError, match="no gradient"):
        step([batch(0, 1)])
    assert bits(model.state_dict()) == bits(linear().state_dict())


class Masked(nn.Module):
    """Averages over the signal alone."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(1, 3)

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        if lengths is None:
            return self.last(inputs.mean(1, keepdim=True))
        inside = torch.arange(inputs.shape[1]) < lengths.unsqueeze(1)
        return self.last((inputs * inside).sum(1, keepdim=True) / lengths.unsqueeze(1))


def test_a_network_is_told_the_lengths_where_there_are_any() -> None:
    model = Masked()
    plain = batch(0, 1)
    known = Batch(plain.inputs, plain.labels, plain.indices, 2, torch.tensor([2, 6]))
    assert torch.equal(forward(model, plain), model(plain.inputs))
    assert torch.equal(forward(model, known), model(plain.inputs, known.lengths))
    assert not torch.equal(forward(model, known), forward(model, plain))
    step = Step(model, toy_task(), torch.optim.SGD(model.parameters(), 0.0), ALONE)
    told = nn.functional.cross_entropy(model(known.inputs, known.lengths), known.labels)
    assert float(step([known])) == pytest.approx(float(told.detach()))
