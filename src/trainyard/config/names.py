"""What a run is called when nobody says so.

Pure functions of the configuration. Whether a name may be part of a path, and whether it is taken,
is the business of `runs`.
"""

from __future__ import annotations

from trainyard.config.schema import Config


def model_label(config: Config) -> str:
    """The short name of the model, as it stands in file names and tables: `cnn`, `mlp`."""
    return config.model.name


def default_run_name(config: Config) -> str:
    """The name of a run whose `run.name` is null; `-2`, `-3` … are added where it is taken."""
    return model_label(config)
