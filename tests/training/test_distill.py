from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import rel_entr, softmax
from torch import nn
from toy_training import ALONE, CLASSES, CPU, Restless, adamw, bits, linear, toy_dataset, toy_task

from trainyard.checkpoints import FORMATS, commit
from trainyard.data.batches import Batch
from trainyard.errors import ConfigError
from trainyard.models import build_model, model_config
from trainyard.models.tensor_files import safetensors_file
from trainyard.training.checkpoint.capture import Capture, Trainee, rng_state
from trainyard.training.checkpoint.write import encode
from trainyard.training.distill import Distillation, load_teacher, softened_divergence
from trainyard.training.objective import Objective
from trainyard.training.progress import Progress
from trainyard.training.step import Step

DATASET = toy_dataset(30)
DESCRIBED: dict[str, Any] = {"item_shape": (6,), "classes": CLASSES, "hidden": (5,)}


def batch(*indices: int) -> Batch:
    positions = np.array(indices, dtype=np.int64)
    return Batch(DATASET.fetch(positions), torch.from_numpy(DATASET.labels[positions]), positions, len(positions))


# -- the formula


def test_divergence_by_hand() -> None:
    """T = 2 softens (2 ln 3, 0) to (3/4, 1/4) and (0, 0) to (1/2, 1/2)."""
    teacher, student = torch.tensor([[2 * np.log(3), 0.0]]).float(), torch.zeros(1, 2)
    # 3/4 ln(3/2) + 1/4 ln(1/2) = 0.1308119, times 4
    assert float(softened_divergence(student, teacher, 2.0)) == pytest.approx(0.5232477, abs=1e-6)
    # the other way round it is another number: 1/2 ln(2/3) + 1/2 ln 2 = 0.1438410, times 4
    assert float(softened_divergence(teacher, student, 2.0)) == pytest.approx(0.5753641, abs=1e-6)
    # a mean over items, not over their classes
    two = softened_divergence(torch.zeros(2, 2), torch.cat([teacher, torch.zeros(1, 2)]), 2.0)
    assert float(two) == pytest.approx(0.5232477 / 2, abs=1e-6)


def test_the_whole_loss_by_hand() -> None:
    """(1 - alpha) * L + alpha * KL * T², with L = ln 2 for logits (0, 0)."""

    class Says(nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return inputs

    asked = Batch(torch.tensor([[2 * np.log(3), 0.0, -1e4]]).float(), torch.tensor([0]), np.zeros(1, np.int64), 1)
    objective = Objective(toy_task(), distillation=Distillation(Says(), alpha=0.3, temperature=2.0))
    parts = objective(torch.tensor([[0.0, 0.0, -1e4]]), asked)
    torch.testing.assert_close(parts, torch.tensor([0.7 * 0.6931472, 0.3 * 0.5232477]), rtol=0, atol=1e-6)


@given(st.integers(1, 5), st.integers(2, 6), st.floats(0.5, 20), st.integers(0, 10_000))
@settings(deadline=None, max_examples=50)
def test_divergence_is_scipys(items: int, classes: int, temperature: float, seed: int) -> None:
    student, teacher = 4 * np.random.default_rng(seed).normal(size=(2, items, classes))
    p, q = softmax(teacher / temperature, axis=1), softmax(student / temperature, axis=1)
    expected = temperature**2 * rel_entr(p, q).sum() / items
    found = softened_divergence(torch.from_numpy(student).float(), torch.from_numpy(teacher).float(), temperature)
    assert float(found) == pytest.approx(expected, rel=1e-3, abs=1e-5 * temperature**2)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_gradient_is_the_analytic_one(alpha: float, temperature: float) -> None:
    """alpha * T * (p_student - p_teacher) / B, and (1 - alpha) * (p - onehot) / B of the cross entropy."""
    teacher, asked = linear(3), batch(*range(7))
    logits = linear(1)(asked.inputs).detach().requires_grad_(True)
    objective = Objective(toy_task(), distillation=Distillation(teacher, alpha=alpha, temperature=temperature))
    task, divergence = objective(logits, asked)
    (from_teacher,) = torch.autograd.grad(divergence, logits, retain_graph=True)
    (from_labels,) = torch.autograd.grad(task, logits)
    p_student = torch.softmax(logits / temperature, 1)
    p_teacher = torch.softmax(teacher(asked.inputs) / temperature, 1)
    torch.testing.assert_close(from_teacher, alpha * temperature * (p_student - p_teacher) / 7, rtol=1e-4, atol=1e-6)
    onehot = nn.functional.one_hot(asked.labels, 3)
    torch.testing.assert_close(from_labels, (1 - alpha) * (torch.softmax(logits, 1) - onehot) / 7, rtol=1e-4, atol=1e-6)


def test_a_student_that_says_the_same_is_no_distance_away() -> None:
    logits = torch.randn(4, 3)
    assert float(softened_divergence(logits, logits + 2.5, 3.0)) == pytest.approx(0.0, abs=1e-6)
    assert float(softened_divergence(logits, logits.flip(1), 3.0)) > 0.01


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_logits_are_compared_in_float32(dtype: torch.dtype) -> None:
    student, teacher = torch.randn(2, 5, 3).to(dtype) * 8
    with torch.autocast("cpu", dtype=dtype):
        found = softened_divergence(student, teacher, 4.0)
    assert found.dtype == torch.float32
    assert torch.equal(found, softened_divergence(student.float(), teacher.float(), 4.0))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"alpha": -0.1}, "alpha=-0.1"),
        ({"alpha": 1.1}, "alpha=1.1"),
        ({"alpha": float("nan")}, "alpha=nan"),
        ({"temperature": 0.0}, "temperature=0.0"),
        ({"temperature": float("inf")}, "temperature=inf"),
    ],
)
def test_numbers_that_make_no_distillation(options: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError, match=f"training.distillation.{said}"):
        Distillation(linear(), **options)


# -- the teacher


def test_training_leaves_the_teacher_as_it_is() -> None:
    """Dropout off, running statistics still, no gradient; its weights are none of the student's."""
    torch.manual_seed(0)
    teacher = Restless().train()
    before = bits(teacher.state_dict())
    student = linear()
    names = set(student.state_dict())
    distillation = Distillation(teacher, alpha=0.9)
    step = Step(student, toy_task(), adamw(student), ALONE, objective=Objective(toy_task(), distillation=distillation))
    step.model.train()
    asked = batch(*range(8))
    first = distillation(linear(5)(asked.inputs), asked)
    for _ in range(3):
        step([asked])
        step([asked, batch(9, 10)])
    assert torch.equal(distillation(linear(5)(asked.inputs), asked), first), "it answers the same every time"
    assert bits(teacher.state_dict()) == before
    assert not teacher.training
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    assert set(student.state_dict()) == names
    assert bits(student.state_dict()) != bits(linear().state_dict())


def test_a_student_comes_close_to_its_teacher_without_any_label() -> None:
    teacher, student = linear(3), linear(0)
    wrong = batch(*range(30))
    wrong.labels = torch.zeros_like(wrong.labels)
    objective = Objective(toy_task(), distillation=Distillation(teacher, alpha=1.0, temperature=2.0))
    step = Step(student, toy_task(), adamw(student, 0.02), ALONE, objective=objective)
    losses = [float(step([wrong])) for _ in range(150)]
    assert losses[-1] < losses[0] / 100
    with torch.no_grad():
        torch.testing.assert_close(
            torch.softmax(student(wrong.inputs), 1), torch.softmax(teacher(wrong.inputs), 1), rtol=0, atol=0.05
        )


def written(run: Any, name: str = "mlp", **options: Any) -> tuple[nn.Module, Path]:
    """A checkpoint as training commits it."""
    described = options if name == "encoder" else {**DESCRIBED, **options}
    model = build_model(name, **described)
    optimizer = adamw(model)
    config = json.loads(json.dumps(model_config(name, **described)))
    one = Trainee(model, optimizer, None, torch.amp.GradScaler("cpu", enabled=False), CPU, config, {})
    capture = Capture(one, run.yard.objects)
    files = encode(
        capture,
        capture.take(),
        Progress(step=1, epoch=1).to_dict(),
        [rng_state(CPU)],
        format_=FORMATS[run.layout.checkpoint_format],
        step=1,
        epoch=1.0,
        metrics={},
        best_checkpoint=None,
    )
    checkpoint = commit(run, files.writers, step=1, epoch=1.0, linked=files.linked, expected_bytes=files.expected_bytes)
    return model, run.yard.root / checkpoint.paths["checkpoint"]


@pytest.mark.parametrize("head", [{}, {"head": "cosine", "head_scale": 30.0}])
@pytest.mark.parametrize("layout", ["grouped", "shared", "files"])
def test_a_teacher_is_a_checkpoint_of_any_format(new_run, layout: str, head: dict[str, Any]) -> None:
    model, path = written(new_run(layout), **head)
    numbers = bits(rng_state(CPU))
    teacher = load_teacher(path, CLASSES, (6,))
    assert bits(rng_state(CPU)) == numbers, "a student begins with the weights it would have alone"
    inputs = torch.randn(4, 6)
    assert torch.equal(teacher(inputs), model(inputs))


@pytest.mark.parametrize(
    ("classes", "shape", "said"),
    [
        (("a", "b", "d"), (6,), ["does not know 'd'", "knows 'c', which the data has not"]),
        (("a", "b"), (6,), ["knows 'c', which the data has not"]),
        (("a", "b", "c", "d"), (6,), ["does not know 'd'"]),
        (("a", "c", "b"), (6,), ["another order: output 1 is 'b' for the teacher and 'c' in the data (2 differ)"]),
        (("a", "b", "c"), (2, 3), ["items of shape (6,), the student's are (2, 3)"]),
        (("c", "b", "a"), (7,), ["another order", "items of shape (6,)"]),
    ],
)
def test_a_teacher_of_something_else_is_refused(
    new_run, classes: tuple[str, ...], shape: tuple[int, ...], said: list[str]
) -> None:
    _, path = written(new_run())
    with pytest.raises(ConfigError) as caught:
        load_teacher(path, classes, shape)
    for phrase in said:
        assert phrase in caught.value.what
    assert str(path) in caught.value.what
    assert caught.value.keys == ("training.distillation.teacher_model_path",)
    assert caught.value.remedy


def broken(path: Path, how: str) -> Path:
    """A checkpoint that is none, in one of the ways there are."""
    config = model_config("mlp", **DESCRIBED)
    weights = build_model("mlp", **DESCRIBED).state_dict()
    if how == "nothing":
        return path
    if how == "no checkpoint":
        path.write_bytes(b"hello")
        return path
    if how == "weights alone":
        torch.save({"model": weights}, path)
        return path
    path.mkdir()
    if how == "an empty directory":
        return path
    if how == "another network":
        config["model_type"] = "bert"
    if how == "other sizes":
        config["hidden"] = [4]
    if how == "impossible sizes":
        config["hidden"] = [0]
    (path / "config.json").write_text("{" if how == "half a config" else json.dumps(config))
    safetensors_file(weights)(path / "model.safetensors")
    if how == "half the weights":
        whole = (path / "model.safetensors").read_bytes()
        (path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    return path


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("nothing", "which does not exist"),
        ("no checkpoint", "cannot be read as a checkpoint"),
        ("weights alone", "model_type 'None'"),
        ("an empty directory", "holds no model weights"),
        ("another network", "'bert'"),
        ("other sizes", "of another shape"),
        ("impossible sizes", "[0]"),
        ("half a config", "cannot be read as a checkpoint"),
        ("half the weights", "cannot be read as a checkpoint"),
    ],
)
def test_a_teacher_that_will_not_load_is_named(tmp_path: Path, how: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_teacher(broken(tmp_path / "teacher", how), CLASSES, (6,))
    assert said in caught.value.what
    assert caught.value.keys == ("training.distillation.teacher_model_path",)
    assert caught.value.remedy


@pytest.mark.parametrize("method", ["frozen", "lora"])
def test_a_speech_encoder_teaches_with_the_lengths_of_the_clips(new_run, method: str) -> None:
    pytest.importorskip("peft")
    model, path = written(
        new_run(),
        "encoder",
        item_shape=(3200,),
        classes=CLASSES,
        clip_seconds=0.2,
        type="wav2vec2",
        method=method,
        pretrained=False,
        projector=4,
        hidden_size=16,
        num_layers=2,
        num_heads=2,
        ffn_size=16,
    )
    teacher = load_teacher(path, CLASSES, (3200,))
    asked = Batch(torch.randn(2, 3200), torch.tensor([0, 1]), np.arange(2), 2, torch.tensor([1600, 3200]))
    student = torch.randn(2, 3)
    with torch.no_grad():
        answers, deaf = model.eval()(asked.inputs, asked.lengths), model(asked.inputs)
    assert not torch.equal(answers, deaf)
    found = Distillation(teacher, temperature=2.0)(student, asked)
    torch.testing.assert_close(found, softened_divergence(student, answers, 2.0))
    for classes, shape in (((*CLASSES, "d"), (3200,)), (CLASSES, (1600,))):
        with pytest.raises(ConfigError) as caught:
            load_teacher(path, classes, shape)
        assert caught.value.keys == ("training.distillation.teacher_model_path",)
