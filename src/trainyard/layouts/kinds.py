"""The kinds of records that a layout may have paths for, and the shape that each kind's path must have.

All layouts share these kinds; a layout leaves out those that it has no path for.
This module knows neither templates nor YAML nor what a record contains.
"""

from __future__ import annotations

from typing import Literal

Shape = Literal["file", "directory", "checkpoint"]  # checkpoint: depends on the layout's checkpoint format

CLAIMS = ("run", "time", "id")
DIRECTORY_FORMATS = ("hf", "hf-bin")
FORMATS = (*DIRECTORY_FORMATS, "pth")

KINDS: dict[str, Shape] = {
    "home": "directory",
    "config": "file",
    "hydra_config": "file",
    "hydra_settings": "file",
    "hydra_overrides": "file",
    "wandb_config": "file",
    "wandb_metadata": "file",
    "wandb_summary": "file",
    "requirements": "file",
    "environment": "file",
    "log": "file",
    "error_log": "file",
    "performance_log": "file",
    "evaluation_log": "file",
    "history": "file",
    "results": "file",
    "metadata": "file",
    "summary": "file",
    "metrics_table": "file",
    "default_config": "file",
    "controller_log": "file",
    "checkpoint": "checkpoint",
    "step_checkpoint": "checkpoint",
    "best": "checkpoint",
    "final": "checkpoint",
    "predictions": "file",
    "final_predictions": "file",
    "per_class": "file",
    "learning_curves": "file",
    "confusion_matrix": "file",
    "layer_weights": "file",
    "encoder_weights": "file",
    "artifact_manifest": "file",
    "exports": "directory",
    "plots": "directory",
    "tensorboard": "directory",
    "extra": "directory",
}

# Kinds that several runs may append to; every other kind must have a path of its own in each run.
SHAREABLE = frozenset({"metrics_table", "encoder_weights", "default_config", "controller_log", "evaluation_log"})

# Kinds whose path may be the home itself, among its other files.
IN_HOME = frozenset({"plots", "tensorboard", "extra"})
