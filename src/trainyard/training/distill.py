"""Learning from a teacher: a trained network whose softened outputs the student imitates.

The teacher is a checkpoint of another run, used as it is: never trained, never saved again. A teacher with
other classes or other items is refused before training. Knows nothing of tasks.
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
from trainyard.training.checkpoint.read import load
from trainyard.training.checkpoint.restore import load_weights
from trainyard.training.forward import forward
from trainyard.wording import listed

_SETTING = "training.distillation.teacher_model_path"


def softened_divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """`KL(p_teacher || p_student) * T²`, float32, the mean over items of logits [B, C], with p = softmax(logits / T).

    Hinton et al., 2015: T² keeps the gradient for the student, `T * (p_student - p_teacher) / B`, on the scale of a
    cross entropy's for every `temperature` T above 0; the larger T, the more small probabilities count.
    """
    student_log = torch.log_softmax(student.float() / temperature, dim=1)
    teacher_log = torch.log_softmax(teacher.detach().float() / temperature, dim=1)
    divergence = functional.kl_div(student_log, teacher_log, reduction="batchmean", log_target=True)
    return divergence * temperature**2


class Distillation:
    """The distance of a student from a teacher, for `(1 - alpha) * loss + alpha * KL * T²`.

    Args:
        teacher: on the device of the batches; put into eval mode, and its weights are frozen.
        alpha: the teacher's share of the loss, 0 to 1.
        temperature: T, which softens both distributions.
    """

    def __init__(self, teacher: nn.Module, *, alpha: float = 0.5, temperature: float = 4.0) -> None:
        problems = {}
        if not 0 <= alpha <= 1:
            problems["training.distillation.alpha"] = f"={alpha} is not between 0 and 1"
        if not (math.isfinite(temperature) and temperature > 0):
            problems["training.distillation.temperature"] = f"={temperature} is not a finite number above 0"
        if problems:
            lines = [key + why for key, why in problems.items()]
            raise ConfigError(lines, "The usual values are alpha=0.5 and temperature=4.", keys=list(problems))
        self.teacher = teacher.eval().requires_grad_(False)
        self.alpha = alpha
        self.temperature = temperature

    def __call__(self, outputs: Tensor, batch: Batch) -> Tensor:
        """`KL * T²` of the student's logits [B, C], without a margin, on a batch; the mean over its items."""
        with torch.no_grad():
            targets = forward(self.teacher, batch)
        return softened_divergence(outputs, targets, self.temperature)


def load_teacher(path: Path, classes: Sequence[str], item_shape: Sequence[int], *, trust: bool = False) -> nn.Module:
    """The network in a checkpoint, on the CPU; draws no random number.

    It is a ConfigError if it cannot be loaded, has other `classes` or another order of them than the student, or takes
    items of another shape. `trust` builds a network of the user's own from outside the allow-list.
    """
    if not path.exists():
        remedy = "Name the directory or file of a checkpoint; `trainyard show RUN` lists those of a run."
        raise ConfigError.of(_SETTING, path, "does not exist", remedy)
    problems: Sequence[str]
    try:
        loaded = load(path, weights_only=True)
        with torch.random.fork_rng(devices=[]):  # the student starts from the weights it would have alone
            teacher = from_model_config(loaded.model_config, trust=trust)
        load_weights(teacher, loaded.model, str(path))
    except (CheckpointError, ConfigError) as error:
        problems = error.problems if isinstance(error, ConfigError) else [error.what]
        remedy = error.remedy or "Use the config.json that was saved with the weights."
        raise _unusable(path, problems, remedy) from error
    labels = loaded.model_config["id2label"]
    problems = class_differences([labels[str(index)] for index in range(len(labels))], classes, "the teacher")
    # an encoder's config.json is that of transformers, with our settings under one key
    shape = tuple({**loaded.model_config.get("trainyard", {}), **loaded.model_config}["item_shape"])
    if shape != tuple(item_shape):
        problems.append(f"it takes items of shape {shape}, the student takes {tuple(item_shape)}")
    if problems:
        remedy = "Train a teacher on the same data with the same classes, or set training.distillation.enabled=false."
        raise _unusable(path, problems, remedy)
    return teacher


def _unusable(path: Path, problems: Sequence[str], remedy: str) -> ConfigError:
    lines = [f"`{_SETTING}` is {str(path)!r}: {problem}" for problem in problems]
    return ConfigError(lines, remedy, keys=[_SETTING], value=path)


def class_differences(known: Sequence[str], classes: Sequence[str], whose: str) -> list[str]:
    """How the classes of a saved network, in the order of its outputs, differ from the data's: a phrase for each.

    `whose` is what the network is called in a phrase, such as `the teacher`.
    """
    extra = [name for name in known if name not in classes]
    missing = [name for name in classes if name not in known]
    if not extra and not missing:
        moved = [index for index, name in enumerate(classes) if known[index] != name]
        if not moved:
            return []
        first = moved[0]
        where = f"output {first} is {known[first]!r} for {whose} and {classes[first]!r} in the data"
        return [f"its classes are in another order: {where} ({len(moved)} differ)"]
    found = []
    if missing:
        found.append(f"it has no output for {_listed(missing)}")
    if extra:
        found.append(f"it has outputs for {_listed(extra)}, which the data does not contain")
    return found


def _listed(names: Sequence[str]) -> str:
    return listed([repr(name) for name in names], 5)
