"""Trains a new run, from its config to its final files."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from trainyard.assembly.network import load_initial_weights
from trainyard.assembly.setup import Setup, build, load_dataset
from trainyard.config.convert import to_dict
from trainyard.config.names import default_run_name, model_label
from trainyard.config.schema import Config
from trainyard.errors import CheckpointError, ConfigError
from trainyard.layouts import Layout, load_layout
from trainyard.running.attempt import StopRequest, attempt, never, starting_processes
from trainyard.running.lineage import source_of
from trainyard.running.logs import kept_in, tell
from trainyard.runs import Yard, checked_names, create_run
from trainyard.runs.events import DataSeen, TaskChosen
from trainyard.tracking.wandb import check_installed
from trainyard.training.checkpoint.read import Loaded, load
from trainyard.training.events import Sink
from trainyard.training.progress import Progress


def train(
    config: Config,
    yard_root: Path,
    *,
    overrides: Sequence[str] = (),
    console: Console | None = None,
    trust: bool = False,
    messages: Sequence[str] = (),
    sinks: Sequence[Sink] = (),
    should_stop: StopRequest = never,
) -> Path | None:
    """Trains a new run and returns its home; None in processes of torchrun that do not write it.

    The config and the data are checked before anything is written, or the yard made. With `trust`, `_target_`
    objects outside the allow-list are accepted, which can run any code. The command line's `overrides`, and
    `messages` that were printed about this run already, are kept with it. `sinks` get the events of the training;
    `should_stop` is asked after each step, and stops it with a checkpoint.

    Raises:
        UserError: an error in the config, the data, the names or the yard.
        TrainyardError: the run failed, and is recorded as failed.
    """
    console = console or Console(quiet=True)
    if not config.run.train and not config.run.checkpoint_path:
        problem, keys = "run.train=false, but run.checkpoint_path is not set", ("run.checkpoint_path", "run.train")
        raise ConfigError([problem], "Set it to the checkpoint to test.", keys=keys)
    layout = load_layout(config.layout)
    if config.tracker == "wandb":
        check_installed()
    if yard_root.exists():
        Yard(yard_root)  # fails now, before the data is read, if it is not a directory
    check_names(config, layout, config.data.dataset or "data")
    with starting_processes(config.run.device) as process:
        tested = tested_model(config)
        dataset = load_dataset(config, trust=trust, saved=tested)
        check_names(config, layout, dataset.name)
        setup = build(config, dataset, process, trust=trust, saved=tested)
        load_initial_weights(setup.model, setup.config, setup.dataset)
        return start_training(
            setup,
            yard_root,
            layout,
            console=console,
            overrides=overrides,
            messages=messages,
            sinks=sinks,
            should_stop=should_stop,
        )


def start_training(
    setup: Setup,
    yard_root: Path,
    layout: Layout,
    *,
    console: Console,
    overrides: Sequence[str] = (),
    messages: Sequence[str] = (),
    sinks: Sequence[Sink] = (),
    should_stop: StopRequest = never,
) -> Path | None:
    """`train` for a training that is built, with its first weights."""
    config, run = setup.config, None
    if setup.process.is_main:
        run = create_run(
            Yard(yard_root, create=True),
            layout,
            project=config.run.project,
            dataset=setup.dataset.name,
            model=model_label(config),
            name=config.run.name,
            default_name=default_run_name(config),
            config=to_dict(config),
            seed=config.run.seed,
            tags=config.run.tags,
            note=config.run.note,
        )
    with run or contextlib.nullcontext():
        if run is not None:
            scoring, teacher = setup.task.scoring, config.training.distillation
            run.event(DataSeen(setup.dataset.fingerprint()))
            run.event(TaskChosen(scoring.name, list(scoring.headline), dict(scoring.directions)))
            for warning in (*setup.dataset.warnings, *setup.warnings):
                run.warn(warning)
            teacher_path = teacher.teacher_model_path if teacher.enabled and config.run.train else None
            for path, role in ((config.run.checkpoint_path, "initial weights"), (teacher_path, "teacher")):
                if path and (source := source_of(run.yard, Path(path), role)) is not None:
                    run.event(source)
        attempt(
            setup,
            run,
            Progress(),
            resumed=False,
            console=console,
            overrides=overrides,
            messages=messages,
            sinks=sinks,
            should_stop=should_stop,
        )
    if run is None:
        return None
    tell(console, kept_in(run.home))
    return run.home


def check_names(config: Config, layout: Layout, dataset: str) -> None:
    """Raises BadNameError for names that `create_run` would reject, before the yard is created."""
    run = config.run
    name = default_run_name(config) if run.name is None else run.name
    layout.check(checked_names(project=run.project, dataset=dataset, model=model_label(config), name=name))


def tested_model(config: Config) -> Loaded | None:
    """The checkpoint to start from or to test, if its files are needed to build the data or the model.

    They are for a text encoder's tokenizer, and for the test of a model that would otherwise be downloaded.
    """
    path = config.run.checkpoint_path
    reads = getattr(config.data, "reads_with_checkpoint", False)
    if path is None or not (reads or (not config.run.train and getattr(config.model, "pretrained", False))):
        return None
    try:
        loaded = load(Path(path), weights_only=True)
    except CheckpointError:  # reported with its setting when the weights are loaded
        return None
    if loaded.model_config.get("trainyard", {}).get("name") != config.model.name:
        problem = f"run.checkpoint_path={path} is not a checkpoint of a run with model={config.model.name}"
        remedy = "Pass a checkpoint of such a run; to start from published weights, set model.path."
        raise ConfigError([problem], remedy, keys=("run.checkpoint_path", "model.name"), value=path)
    return loaded
