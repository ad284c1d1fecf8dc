"""From a config to its network: built, described for a checkpoint's config.json, and given its first weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from trainyard.config import kinds
from trainyard.config.faults import show
from trainyard.config.fields import plain
from trainyard.config.schema import Config
from trainyard.data.dataset import Dataset
from trainyard.errors import CheckpointError, ConfigError
from trainyard.models import build_model, from_model_config, model_config
from trainyard.training.checkpoint.read import Loaded, load
from trainyard.training.checkpoint.restore import load_weights
from trainyard.training.distill import class_differences


def build_network(
    config: Config,
    dataset: Dataset,
    cosine_scale: float | None,
    saved: Loaded | None,
    given: nn.Module | None,
    *,
    trust: bool,
) -> tuple[nn.Module, dict[str, Any], tuple[str, ...]]:
    """The model, its config.json, and notes on its first weights."""
    if given is None and saved is not None and saved.model_config:
        return from_model_config(saved.model_config, saved.files, trust=trust), dict(saved.model_config), ()
    settings = {key: value for key, value in plain(config.model).items() if key not in ("name", "weights")}
    described: dict[str, Any] = {"item_shape": dataset.item_shape, "classes": dataset.classes, **settings}
    if kinds.package_of("model", config.model.name) == kinds.package_of("data", config.data.source):
        described |= dataset.model_arguments  # the model is made for this kind of data
    if cosine_scale is not None:
        described |= {"head": "cosine", "head_scale": cosine_scale}
    config_json = model_config(config.model.name, **described)
    if dataset.multi_label:
        config_json["problem_type"] = "multi_label_classification"  # as transformers has it
    if given is not None:
        return given, config_json, ()
    notes: list[str] = []
    arguments = {**described, "weights": getattr(config.model, "weights", None), "trust": trust}
    model = build_model(config.model.name, on_weights=lambda report: notes.append(report.describe()), **arguments)
    return model, config_json, tuple(notes)


def load_initial_weights(model: nn.Module, config: Config, dataset: Dataset) -> None:
    """Puts the weights of `run.checkpoint_path` into the model, if there is one.

    Raises:
        ConfigError: there is no checkpoint, it does not fit the model, or its outputs would be counted as others
            than they are: it is to be tested only, or is a text encoder's, on classes that are not its own.
    """
    path = config.run.checkpoint_path
    if path is None:
        return
    if not Path(path).exists():
        remedy = "Name the directory or file of a checkpoint; `trainyard show RUN` lists those of a run."
        raise ConfigError.of("run.checkpoint_path", path, "does not exist", remedy)
    try:
        loaded = load(Path(path), weights_only=True)
        load_weights(model, loaded.model, path)
    except CheckpointError as error:
        raise ConfigError([f"`run.checkpoint_path`: {error.what}"], error.remedy) from error
    remedy = "Test it on data of its own classes, in their order (data.classes), or train from it with run.train=true."
    problems = []
    if getattr(config.data, "reads_with_checkpoint", False):
        remedy = (
            "Use the model.* settings and the labels that it was trained with. A directory of a checkpoint can be "
            "fine-tuned on other labels: model=text_encoder model.type=auto model.path=…"
        )
        problems = _other_settings(config, dataset, loaded)
    elif config.run.train:
        return
    labels = loaded.model_config.get("id2label")
    if labels:
        known = [labels[str(index)] for index in range(len(labels))]
        problems += class_differences(known, dataset.classes, "the checkpoint")
    if problems:
        raise ConfigError([f"`run.checkpoint_path` is {show(path)}: {problem}" for problem in problems], remedy)


def _other_settings(config: Config, dataset: Dataset, loaded: Loaded) -> list[str]:
    """Where the config differs from the checkpoint after which the model was built."""
    theirs = loaded.model_config.get("trainyard", {})
    # The weights are the checkpoint's, wherever its own came from, and dropout is of training alone.
    passed_over = {"name", "pretrained", "path", *(() if config.run.train else ("dropout",))}
    ours = {key: value for key, value in plain(config.model).items() if key in theirs and key not in passed_over}
    pairs = [(f"model.{key}", value, theirs[key]) for key, value in ours.items()]
    pairs.append(("data.multi_label", dataset.multi_label, theirs.get("multi_label")))
    return [f"{key}={show(value)}, the checkpoint's is {show(other)}" for key, value, other in pairs if value != other]
