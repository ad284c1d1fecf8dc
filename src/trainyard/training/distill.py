"""Learning from a teacher: a trained network whose softened outputs the student imitates.

The teacher is a checkpoint of another run, used as it is: never trained, never saved again. One that
does not answer the same question is refused before training, not passed over. Knows nothing of tasks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainyard.data.batches import Batch
from trainyard.errors import CheckpointError, ConfigError
from trainyard.models import from_model_config
from trainyard.training.checkpoint.capture import load_weights
from trainyard.training.checkpoint.read import load
from trainyard.training.forward import forward

_SETTING = "training.distillation.teacher_model_path"


def softened_divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """`KL(p_teacher || p_student) * T²`, the mean over items, with p = softmax(logits / T) (Hinton et al., 2015).

    T² keeps its gradient, `T * (p_student - p_teacher) / B`, as large as that of a cross entropy whatever T is.

    Args:
        student: logits [B, C]; gets the gradient.
        teacher: logits [B, C].
        temperature: T, above 0; the larger, the more the small probabilities count.

    Returns:
        A scalar, float32.
    """
    student_log = torch.log_softmax(student.float() / temperature, dim=1)
    teacher_log = torch.log_softmax(teacher.detach().float() / temperature, dim=1)
    divergence = functional.kl_div(student_log, teacher_log, reduction="batchmean", log_target=True)
    return divergence * temperature**2


class Distillation:
    """How far a student is from a teacher, for `(1 - alpha) * loss + alpha * KL * T²`.

    Args:
        teacher: on the device of the batches; put into eval mode, and its weights are frozen.
        alpha: the teacher's share of the loss, 0 to 1.
        temperature: T, softens both sides.
    """

    def __init__(self, teacher: nn.Module, *, alpha: float = 0.5, temperature: float = 4.0) -> None:
        problems = []
        if not 0 <= alpha <= 1:
            problems.append(f"training.distillation.alpha={alpha} is not between 0 and 1")
        if not (math.isfinite(temperature) and temperature > 0):
            problems.append(f"training.distillation.temperature={temperature} is no finite number above 0")
        if problems:
            raise ConfigError(problems, "The usual values are alpha=0.5 and temperature=4.")
        self.teacher = teacher.eval().requires_grad_(False)
        self.alpha = alpha
        self.temperature = temperature

    def __call__(self, outputs: Tensor, batch: Batch) -> Tensor:
        """`KL * T²` of the student's logits [B, C], without a margin, on a batch; the mean over its items."""
        with torch.no_grad():
            answers = forward(self.teacher, batch)
        return softened_divergence(outputs, answers, self.temperature)


def load_teacher(path: Path, classes: Sequence[str], item_shape: Sequence[int]) -> nn.Module:
    """The network in a checkpoint, on the CPU; draws no random number.

    Args:
        path: a checkpoint's directory or file.
        classes: class names of the data, in the order of the student's outputs.
        item_shape: of the student's items, without the batch.

    Raises:
        ConfigError: it cannot be loaded, or has other classes, another order of them, or takes other items.
    """
    if not path.exists():
        raise ConfigError(
            [f"`{_SETTING}` is {str(path)!r}, which does not exist"],
            "Name the directory or file of a checkpoint; `trainyard show RUN` lists those of a run.",
            keys=[_SETTING],
        )
    try:
        loaded = load(path, weights_only=True)
        with torch.random.fork_rng(devices=[]):  # the student starts from the weights it would have alone
            teacher = from_model_config(loaded.model_config)
        load_weights(teacher, loaded.model, str(path))
    except CheckpointError as error:
        raise ConfigError([f"`{_SETTING}`: {error.what}"], error.remedy, keys=[_SETTING]) from error
    except ConfigError as error:
        problems = [f"`{_SETTING}` is {str(path)!r}: {problem}" for problem in error.problems]
        remedy = error.remedy or "Use the config.json that was saved with the weights."
        raise ConfigError(problems, remedy, keys=[_SETTING]) from error
    labels = loaded.model_config["id2label"]
    problems = class_differences([labels[str(index)] for index in range(len(labels))], classes, "the teacher")
    # an encoder's config.json is transformers' own, with our settings under one key
    shape = tuple({**loaded.model_config.get("trainyard", {}), **loaded.model_config}["item_shape"])
    if shape != tuple(item_shape):
        problems.append(f"it takes items of shape {shape}, the student's are {tuple(item_shape)}")
    if problems:
        raise ConfigError(
            [f"`{_SETTING}` is {str(path)!r}: {problem}" for problem in problems],
            "Train a teacher on the same data with the same classes, or set training.distillation.enabled=false.",
            keys=[_SETTING],
        )
    return teacher


def class_differences(known: Sequence[str], classes: Sequence[str], whose: str) -> list[str]:
    """What keeps the outputs of a saved network from being those of the data's classes, a phrase each.

    `known` are the network's classes in the order of its outputs, `whose` says what it is.
    """
    extra = [name for name in known if name not in classes]
    missing = [name for name in classes if name not in known]
    if not extra and not missing:
        moved = [index for index, name in enumerate(classes) if known[index] != name]
        if not moved:
            return []
        first = moved[0]
        return [
            f"its classes are in another order: output {first} is {known[first]!r} for {whose} "
            f"and {classes[first]!r} in the data ({len(moved)} differ)"
        ]
    found = []
    if missing:
        found.append(f"it does not know {_listed(missing)}")
    if extra:
        found.append(f"it knows {_listed(extra)}, which the data has not")
    return found


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
