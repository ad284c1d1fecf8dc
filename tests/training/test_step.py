from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from toy_training import ALONE, CPU, adamw, bits, linear, toy_dataset, toy_task

from trainyard.data.batches import Batch, Batches
from trainyard.training.checkpoint.capture import Trainee, rng_state
from trainyard.training.checkpoint.read import Loaded
from trainyard.training.checkpoint.restore import restore
from trainyard.training.progress import Progress
from trainyard.training.step import Step

DATASET = toy_dataset(60)
WEIGHTS = np.array([0.3, 1.0, 4.0])


def batch(*indices: int) -> Batch:
    positions = np.array(indices, dtype=np.int64)
    return Batch(DATASET.fetch(positions), torch.from_numpy(DATASET.labels[positions]), positions, len(positions))


def bare_epochs(model: nn.Module, optimizer: torch.optim.Optimizer, batches: Batches, epochs: int) -> list[float]:
    """The loop that everyone has written, on the same order of the items."""
    losses = []
    for epoch in range(epochs):
        order = batches.order(epoch)
        for start in range(0, len(order), 4):
            items = order[start : start + 4]
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(DATASET.fetch(items)), torch.from_numpy(DATASET.labels[items]))
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses


@pytest.mark.parametrize("build", [adamw, lambda model: torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)])
def test_steps_are_those_of_a_bare_loop_to_the_bit(build) -> None:
    batches = Batches(DATASET, DATASET.indices("train"), 4, shuffle=True, seed=9)
    theirs, ours = linear(), linear()
    their_losses = bare_epochs(theirs, build(theirs), batches, 3)
    step = Step(ours, toy_task(), build(ours), ALONE)
    our_losses = [float(step([one])) for epoch in range(3) for one in batches.epoch(epoch)]
    assert len(our_losses) == 45
    assert our_losses == their_losses
    assert bits(ours.state_dict()) == bits(theirs.state_dict())
    assert bits(ours.state_dict()) != bits(linear().state_dict())


CUTS = {
    "even": [(0, 6), (6, 12)],
    "uneven": [(0, 4), (4, 8), (8, 11)],
    "a single item left over": [(0, 5), (5, 10), (10, 11)],
}
CRITERIA = {
    "plain": {},
    "weighted": {"weights": WEIGHTS},
    "smoothed": {"label_smoothing": 0.2},
    "weighted and smoothed": {"weights": WEIGHTS, "label_smoothing": 0.2},
}


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("criterion", CRITERIA)
def test_accumulated_gradients_are_those_of_one_large_batch(cut: str, criterion: str) -> None:
    """Against torch's own loss on the whole batch; a plain SGD step shows the gradient itself."""
    ranges = CUTS[cut]
    whole = batch(*range(ranges[-1][1]))
    torchs, ours = linear(), linear()
    options = CRITERIA[criterion]
    loss_function = nn.CrossEntropyLoss(
        weight=torch.tensor(options["weights"], dtype=torch.float32) if "weights" in options else None,
        label_smoothing=options.get("label_smoothing", 0.0),
    )
    expected = loss_function(torchs(whole.inputs), whole.labels)
    expected.backward()
    step = Step(ours, toy_task(**options), torch.optim.SGD(ours.parameters(), 1.0), ALONE)
    before = copy.deepcopy(ours)
    loss = step([batch(*range(low, high)) for low, high in ranges])
    assert float(loss) == pytest.approx(float(expected.detach()), abs=1e-6)
    for old, new, theirs in zip(before.parameters(), ours.parameters(), torchs.parameters(), strict=True):
        assert theirs.grad is not None
        torch.testing.assert_close(old - new, theirs.grad, rtol=0, atol=1e-6)


def test_naive_averaging_would_be_seen() -> None:
    """The mean of the means is something else: the comparison above can fail."""
    model = linear()
    parts = [batch(0, 1, 2, 3), batch(4)]
    whole = batch(0, 1, 2, 3, 4)
    with torch.no_grad():
        losses = [nn.functional.cross_entropy(model(part.inputs), part.labels) for part in parts]
        expected = nn.functional.cross_entropy(model(whole.inputs), whole.labels)
    assert abs(float(sum(losses) / 2 - expected)) > 1e-3


@pytest.mark.parametrize("parts", [1, 3])
def test_clipping_is_torchs(parts: int) -> None:
    torchs, ours = linear(), linear()
    whole = batch(*range(9))
    nn.functional.cross_entropy(torchs(whole.inputs), whole.labels).backward()
    norm = nn.utils.clip_grad_norm_(torchs.parameters(), 0.05)
    step = Step(ours, toy_task(), torch.optim.SGD(ours.parameters(), 1.0), ALONE, grad_clip=0.05)
    before = copy.deepcopy(ours)
    step([batch(*range(n * 9 // parts, (n + 1) * 9 // parts)) for n in range(parts)])
    assert norm > 0.05, "nothing was clipped"
    torch.testing.assert_close(step.grad_norm, norm, rtol=1e-5, atol=0)
    for old, new, theirs in zip(before.parameters(), ours.parameters(), torchs.parameters(), strict=True):
        torch.testing.assert_close(old - new, theirs.grad, rtol=0, atol=1e-7)


def test_frozen_parameters_stay_to_the_bit() -> None:
    model = linear()
    for parameter in model[0].parameters():
        parameter.requires_grad_(False)
    before = bits(model[0].state_dict())
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    step = Step(model, toy_task(), torch.optim.AdamW(trained, 0.1, fused=True), ALONE, grad_clip=1.0)
    for _ in range(3):
        step([batch(*range(8))])
    assert bits(model[0].state_dict()) == before
    assert bits(model[2].state_dict()) != bits(linear()[2].state_dict())


def test_bf16_is_torchs_autocast() -> None:
    theirs, ours = linear(), linear()
    optimizer = adamw(theirs)
    step = Step(ours, toy_task(), adamw(ours), ALONE, "bf16")
    assert not step.scaler.is_enabled(), "bf16 has the range of float32"
    for start in (0, 8, 16):
        part = batch(*range(start, start + 8))
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            outputs = theirs(part.inputs)
            assert outputs.dtype == torch.bfloat16
            loss = nn.functional.cross_entropy(outputs.float(), part.labels)
        loss.backward()
        optimizer.step()
        step([part])
    assert bits(ours.state_dict()) == bits(theirs.state_dict())
    assert {parameter.dtype for parameter in ours.parameters()} == {torch.float32}


def fp16_reference(model: nn.Module, parts: list[Batch], clip: float | None) -> torch.amp.GradScaler:
    """As torch's documentation has it."""
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    scaler = torch.amp.GradScaler("cpu")
    for part in parts:
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.float16):
            loss = nn.functional.cross_entropy(model(part.inputs).float(), part.labels)
        scaler.scale(loss).backward()
        if clip is not None:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        scaler.step(optimizer)
        scaler.update()
    return scaler


@pytest.mark.parametrize("clip", [None, 0.1])
def test_fp16_is_torchs_recipe_with_a_scaler(clip: float | None) -> None:
    theirs, ours = linear(), linear()
    parts = [batch(*range(start, start + 8)) for start in (0, 8, 16, 24)]
    scaler = fp16_reference(theirs, parts, clip)
    step = Step(ours, toy_task(), torch.optim.SGD(ours.parameters(), 0.1), ALONE, "fp16", clip)
    for part in parts:
        step([part])
    assert bits(ours.state_dict()) == bits(theirs.state_dict())
    assert step.scaler.state_dict() == scaler.state_dict()


def test_an_fp16_overflow_skips_the_step_and_halves_the_scale() -> None:
    model = linear()
    before = bits(model.state_dict())
    step = Step(model, toy_task(), torch.optim.SGD(model.parameters(), 0.1), ALONE, "fp16")
    step.scaler.load_state_dict({**step.scaler.state_dict(), "scale": 2.0**40})
    step([batch(0, 1, 2)])
    assert step.skipped
    assert bits(model.state_dict()) == before
    assert step.scaler.get_scale() == 2.0**39
    step.scaler.update(1024.0)
    step([batch(0, 1, 2)])
    assert not step.skipped
    assert bits(model.state_dict()) != before


def test_the_scalers_state_survives_a_checkpoint() -> None:
    parts = [batch(*range(start, start + 8)) for start in (0, 8, 16, 24)]
    models = linear(), linear()
    steps = [Step(model, toy_task(), torch.optim.SGD(model.parameters(), 0.1), ALONE, "fp16") for model in models]
    for part in parts[:2]:
        steps[0]([part])
    steps[0].scaler.update(512.0)
    trainees = [Trainee(s.model, s.optimizer, None, s.scaler, CPU, {}, {}) for s in steps]
    saved = copy.deepcopy(
        Loaded(
            models[0].state_dict(),
            {},
            trainees[0].optimizer.state_dict(),
            None,
            steps[0].scaler.state_dict(),
            [rng_state(CPU)],
            Progress(),
        )
    )
    restore(trainees[1], saved, "memory")
    for part in parts[2:]:
        for step in steps:
            step([part])
    assert steps[1].scaler.state_dict() == steps[0].scaler.state_dict()
    assert steps[1].scaler.get_scale() == 512.0
    assert bits(models[1].state_dict()) == bits(models[0].state_dict())


def test_the_loss_stays_on_the_device_without_a_gradient() -> None:
    model = linear()
    step = Step(model, toy_task(), adamw(model), ALONE)
    for group in ([batch(0, 1)], [batch(0, 1), batch(2)]):
        loss = step(group)
        assert loss.shape == ()
        assert not loss.requires_grad
