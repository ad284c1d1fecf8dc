"""The forward pass is transformers', but for padding."""

from __future__ import annotations

import pytest
import torch
from tiny_encoders import CLASSES, METHODS, TYPES, WAVEFORM, a_few_steps, inputs_of, tiny

SIZES = [(type_, size) for type_ in TYPES for size in (("base",) if type_ == "whisper" else ("base", "large"))]


@pytest.mark.parametrize(("type_", "size"), SIZES)
def test_without_padding_the_logits_are_those_of_transformers(type_: str, size: str) -> None:
    model = a_few_steps(tiny(type_, method="full", size=size))
    inputs = inputs_of(model)
    with torch.no_grad():
        theirs = model.model(inputs).logits
        assert torch.equal(model(inputs), theirs)
        full = torch.full((3,), 1600)
        torch.testing.assert_close(model(inputs, full), theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("type_", WAVEFORM)
def test_padding_is_masked_as_transformers_masks_it(type_: str) -> None:
    model = a_few_steps(tiny(type_, method="full", size="large"))
    assert model.masks_attention
    inputs, lengths = inputs_of(model), torch.tensor([1600, 1111, 640])
    mask = (torch.arange(1600) < lengths.unsqueeze(1)).long()
    # outside of our wrapper, WavLM warns of the two kinds of mask that it hands to torch
    with torch.no_grad():
        theirs = model.model(inputs, attention_mask=mask).logits
        torch.testing.assert_close(model(inputs, lengths), theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("type_", WAVEFORM)
def test_padding_changes_nothing_where_frames_are_normalised_one_by_one(type_: str, method: str) -> None:
    """Group norm, as in the base sizes, mixes the padding in before anything can mask it."""
    model = a_few_steps(tiny(type_, method=method, size="large"))
    clip = inputs_of(model, 2)
    padded = torch.nn.functional.pad(clip, (0, 800))
    with torch.no_grad():
        alone, together = model(clip), model(padded, torch.tensor([1600, 1600]))
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(model(padded), alone, atol=1e-4), "the lengths matter"


@pytest.mark.parametrize("type_", TYPES)
def test_the_mean_is_over_the_vectors_that_hear_signal(type_: str) -> None:
    """By hand: 320 samples a step for Whisper, the convolutions' arithmetic for the others."""
    model = a_few_steps(tiny(type_, method="full"))
    inputs, lengths = inputs_of(model), [1600, 961, 1]
    vectors = {"whisper": [5, 4, 1]}.get(type_, [4, 2, 1])
    with torch.no_grad():
        hidden = model._hidden_states(inputs, None)
        weights = torch.softmax(model.model.layer_weights, 0)
        summed = sum(weight * state for weight, state in zip(weights, hidden, strict=True))
        features = model.model.projector(summed)
        means = torch.stack([item[:n].mean(0) for item, n in zip(features, vectors, strict=True)])
        found = model(inputs, torch.tensor(lengths))
        torch.testing.assert_close(found, model.model.classifier(means), rtol=1e-5, atol=1e-6)


def test_a_clip_shorter_than_one_vector_still_has_logits() -> None:
    for type_ in TYPES:
        model = tiny(type_, size="base" if type_ == "whisper" else "large").eval()
        assert model(inputs_of(model), torch.tensor([0, 1, 200])).isfinite().all()


@pytest.mark.parametrize("type_", TYPES)
def test_what_it_says_of_itself(type_: str) -> None:
    model = a_few_steps(tiny(type_))
    assert model.family.is_whisper == (type_ == "whisper")
    weights = model.layer_weights()
    assert len(weights) == 4
    assert sum(weights) == pytest.approx(1)
    assert weights == pytest.approx(torch.softmax(model.model.layer_weights, 0).tolist())
    assert model(inputs_of(model)).shape == (3, len(CLASSES))


def test_dropout_acts_before_the_classifier_in_training_alone() -> None:
    model = tiny("whisper", dropout=0.5, method="frozen")
    inputs = inputs_of(model)
    assert not torch.equal(model.train()(inputs), model(inputs))
    assert torch.equal(model.eval()(inputs), model(inputs))
    assert not any("dropout" in name for name in model.state_dict())


@pytest.mark.parametrize("type_", TYPES)
def test_under_autocast_every_method_computes(type_: str) -> None:
    for method in METHODS:
        model = tiny(type_, method=method, size="base" if type_ == "whisper" else "large").train()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(inputs_of(model), torch.tensor([1600, 900, 500]))
        logits.float().sum().backward()
        assert logits.isfinite().all()
