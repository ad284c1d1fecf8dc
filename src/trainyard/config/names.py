"""The names of models and runs, and the values that such a name implies; models are named by their packages."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from trainyard.config import kinds
from trainyard.config.schema import Config
from trainyard.wording import nearest

EXPERIMENT = ".py"  # the suffix of an experiment file


def model_label(config: Config) -> str:
    """The short name of the model, used in file names and tables: `cnn`, `whisper_base_lora_012`."""
    return str(kinds.schema_of("model", config.model.name).label(config.model))


def default_run_name(config: Config) -> str:
    """The name of a run whose `run.name` is null; `-2`, `-3` … are added where it is taken.

    The stem of an experiment file, else the model's name. A stem that is a model's name is replaced by the
    name of the model that is trained: after `model.layers=345` a run is not called `…_012`.
    """
    stem = PurePath(config.recipe).stem if config.recipe.endswith(EXPERIMENT) else ""
    return stem if stem and parse_name(stem) is None else model_label(config)


def parse_name(name: str) -> dict[str, Any] | None:
    """The `model.*` values that a model's name implies, or None for another name: the inverse of `model_label`."""
    implied = (schema.from_name(name) for schema in kinds.schemas() if schema.MODELS)
    return next((values for values in implied if values is not None), None)


def explain_name(name: str) -> str:
    """Why `parse_name` rejects the name, with the nearest part that it accepts."""
    reasons = (schema.explain_name(name) for schema in kinds.schemas() if hasattr(schema, "explain_name"))
    why: str | None = next(filter(None, reasons), None)
    if why is not None:
        return why
    near = nearest(name, [known for schema in kinds.schemas() if schema.MODELS for known in schema.NAMES])
    return f"`{name}` is not a model; did you mean `{near}`?" if near else f"`{name}` is not the name of a model"
