"""From the arguments of `trainyard.fit` to a configuration, and what it says of a user's own objects.

The settings are those of the command line; a module, a task and data are recorded by the class that they have.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from trainyard.assembly.trained import config_of
from trainyard.config.convert import to_dict
from trainyard.config.faults import Fault, raise_all, show
from trainyard.config.fields import all_keys
from trainyard.config.reader import read
from trainyard.config.schema import CheckpointSection, Config, OutputsSection, TrainingSection
from trainyard.errors import ConfigError, NotResumableError
from trainyard.own.schema import OwnModel
from trainyard.running.resume import refuse_finished
from trainyard.runs import RunReader
from trainyard.wording import nearest, suggestion

_SECTIONS: Mapping[str, type[Any]]
_SECTIONS = {"training": TrainingSection, "checkpoint": CheckpointSection, "outputs": OutputsSection}
_OF_RUN = ("device", "tags", "note")  # the keys of `run` that are settings
_SHIPPED = ("single_label", "multi_label")
_OF_TASK = ("scoring", "to", "loss", "normaliser", "predict", "prior")


def place(settings: Mapping[str, Any], tree: dict[str, Any]) -> list[Fault]:
    """Puts each setting where the configuration has it; a fault for each that has no place."""
    faults = []
    for key, value in settings.items():
        first, _, rest = key.partition(".")
        section = next((s for s, cls in _SECTIONS.items() if first in cls.__dataclass_fields__), None)
        if first in _OF_RUN:
            section = "run"
        if key == "tracker":
            tree[key] = value
        elif section is None:
            faults.append(Fault(f"unknown setting `{key}`{_hint(key)}", (key,)))
        elif rest:
            tree.setdefault(section, {}).setdefault(first, {})[rest] = value
        else:
            tree.setdefault(section, {})[first] = value
    return faults


def task_faults(task: object) -> list[Fault]:
    """What is wrong with a task, if anything."""
    if isinstance(task, str):
        return [] if task in _SHIPPED else [Fault(f"`task` is {show(task)}{suggestion(task, _SHIPPED)}", ("task",))]
    if isinstance(task, type) or not all(hasattr(task, name) for name in _OF_TASK):
        wanted = f"single_label, multi_label or a Task, an object with {', '.join(_OF_TASK)}"
        return [Fault(f"`task` is {_noun(task)}, expected {wanted}", ("task",))]
    return []


def config_of_call(tree: Mapping[str, Any], model: object, task: Any, train: Any, faults: Sequence[Fault]) -> Config:
    """The configuration of a new run; every fault is raised together."""
    if not isinstance(model, nn.Module):
        faults = [*faults, Fault(f"`model` is {_noun(model)}, expected a torch.nn.Module", ("model",))]
    training = dict(tree.get("training", {}))
    if task == "multi_label":
        training.setdefault("criterion", {"_target_": "torch.nn.BCEWithLogitsLoss"})
    data, given = dict(tree.get("data", {})), "a tuple of arrays" if isinstance(train, tuple) else _path(type(train))
    whole = {
        **tree,
        "model": {"name": "own", "given": _path(type(model)), "first_weights": digest_of_weights(model)},
        "data": {"dataset": "data", **data, "source": "own", "given": given},
        "training": training,
        "recipe": "fit",
    }
    whole["data"]["split"] = {"test_fraction": 0.0, **data.get("split", {})}
    if not isinstance(task, str) and re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)+", _path(type(task))):
        whole["task"] = {"_target_": _path(type(task))}
    config, wrong = read(whole, trust=True)
    raise_all([*faults, *wrong], remedy="Correct the call; nothing has been written.")
    return config


def recorded(reader: RunReader, asked: Config, tree: Mapping[str, Any], task: str) -> Config:
    """The configuration of the run to continue, which what is given here, and the task's name, must agree with."""
    run = reader.snapshot
    refuse_finished(run)
    config = config_of(reader, trust=True)
    if not isinstance(config.model, OwnModel) or config.model.given is None:
        what = f"Run {run.name} was not made by trainyard.fit with a module."
        raise NotResumableError(what, f"Continue it with `trainyard resume {run.id}`.", value=run.id, place=reader.home)
    ours, theirs = to_dict(asked), to_dict(config)
    pairs = {key: (_at(ours, key), _at(theirs, key)) for key in ("model.given", *_leaves(tree))}
    pairs["task"] = (task, run.task.get("name", task))  # a run killed at once has not recorded it
    different = {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
    if different:
        problems = [f"{key} is {show(a)}, but {show(b)} in run {run.name}" for key, (a, b) in different.items()]
        remedy = "Leave it out or pass what the run has, or start a new run without resume."
        raise ConfigError(problems, remedy, keys=list(different))
    return config


def digest_of_weights(model: Any) -> str | None:
    """Of the module's weights; None where they are not there yet."""
    if not isinstance(model, nn.Module):
        return None
    state = hashlib.blake2b(digest_size=16)
    for name, tensor in model.state_dict().items():
        if nn.parameter.is_lazy(tensor):
            remedy = "Run a batch through the module first, which gives lazy layers their shape."
            raise ConfigError([f"model: {name} has no shape yet"], remedy, keys=["model"])
        if isinstance(tensor, Tensor):
            state.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            state.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return state.hexdigest()


def _hint(key: str) -> str:
    """The nearest setting, wherever it is."""
    known = [name.partition(".")[2] for name in all_keys() if name.partition(".")[0] in _SECTIONS]
    known = sorted({*known, *_OF_RUN, "tracker"} - {""})
    inner = [name for name in known if name.rpartition(".")[2] == key]
    if inner:
        section, _, last = inner[0].rpartition(".")
        return f'; write {section}={{"{last}": …}}'
    near = nearest(key, [name for name in known if "." not in name])
    return f"; did you mean `{near}`?" if near else "; the keys of training, checkpoint and outputs are settings"


def _path(cls: type[Any]) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _noun(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The dotted keys of all values that are not mappings."""
    keys: list[str] = []
    for name, value in tree.items():
        keys += _leaves(value, f"{prefix}{name}.") if isinstance(value, Mapping) else [f"{prefix}{name}"]
    return keys


def _at(tree: Mapping[str, Any], key: str) -> Any:
    found: Any = tree
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found
