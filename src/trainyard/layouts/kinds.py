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

KINDS: dict[str, Shape] = dict.fromkeys(("home", "exports", "plots", "tensorboard", "extra"), "directory")
KINDS |= dict.fromkeys(("checkpoint", "step_checkpoint", "best", "final"), "checkpoint")
KINDS |= dict.fromkeys(
    (
        *("config", "default_config", "hydra_config", "hydra_settings", "hydra_overrides"),
        *("wandb_config", "wandb_metadata", "wandb_summary", "artifact_manifest", "requirements", "environment"),
        *("log", "error_log", "performance_log", "evaluation_log", "controller_log"),
        *("history", "results", "metadata", "summary", "metrics_table", "predictions", "final_predictions"),
        *("per_class", "learning_curves", "confusion_matrix", "layer_weights", "encoder_weights"),
    ),
    "file",
)

# Kinds that several runs may append to; every other kind must have a path of its own in each run.
SHAREABLE = frozenset({"metrics_table", "encoder_weights", "default_config", "controller_log", "evaluation_log"})

# Kinds whose path may be the home itself, among its other files.
IN_HOME = frozenset({"plots", "tensorboard", "extra"})
