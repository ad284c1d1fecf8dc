"""Trains a new run, from its config to its final files."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from trainyard.assembly.data import load_dataset
from trainyard.assembly.network import load_initial_weights
from trainyard.assembly.setup import Setup, build
from trainyard.config.convert import to_dict
from trainyard.config.names import default_run_name, model_label
from trainyard.config.schema import Config
from trainyard.errors import CheckpointError, ConfigError
from trainyard.layouts import Layout, load_layout
from trainyard.running.attempt import ShouldStop, attempt, starting_processes
from trainyard.running.lineage import source_of
from trainyard.running.logs import kept_in, tell
from trainyard.runs import RunWriter, Yard, checked_names, create_run
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
    should_stop: ShouldStop = lambda: False,
) -> Path | None:
    """Trains a new run and returns its home; None in processes of torchrun that do not write it.

    The config and the data are checked before anything is written.

    Args:
        config: the configuration.
        yard_root: the yard; created if missing.
        overrides: the command line's overrides, saved with the run.
        console: where to print; None prints nothing.
        trust: accept `_target_` objects outside the allow-list, which can run any code.
        messages: lines already printed about this run, for its log.
        sinks: further sinks, in addition to the run's own.
        should_stop: called after each step; True stops with a checkpoint, like a signal.

    Raises:
        UserError: an error in the config, the data, the names or the yard.
        TrainyardError: the run failed, and is recorded as failed.
    """
    console = console or Console(quiet=True)
    if not config.run.train and not config.run.checkpoint_path:
        keys = ("run.checkpoint_path", "run.train")
        raise ConfigError(
            ["run.train=false, but run.checkpoint_path is not set"], "Set it to the checkpoint to test.", keys=keys
        )
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
            overrides=overrides,
            console=console,
            messages=messages,
            sinks=sinks,
            should_stop=should_stop,
        )


def start_training(
    setup: Setup,
    yard_root: Path,
    layout: Layout,
    *,
    overrides: Sequence[str] = (),
    console: Console,
    messages: Sequence[str] = (),
    sinks: Sequence[Sink] = (),
    should_stop: ShouldStop = lambda: False,
) -> Path | None:
    """Trains what is built in a new run and returns its home; None in processes that do not keep it.

    Args:
        setup: the training, with its first weights.
        yard_root: the yard; made if it is missing.
        layout: of the run.
        overrides: as in `train`, like all that follow.
        console: where to print.
        messages: printed about this run before.
        sinks: further listeners.
        should_stop: asked after each step.

    Raises:
        UserError: a name that is taken, or a yard that cannot be written.
        TrainyardError: the run failed; it is kept as such.
    """
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
            record_start(run, setup)
            teacher = config.training.distillation
            for path, role in (
                (config.run.checkpoint_path, "initial weights"),
                (teacher.teacher_model_path if teacher.enabled and config.run.train else None, "teacher"),
            ):
                source = source_of(run.yard, Path(path), role) if path else None
                if source is not None:
                    run.event(source)
        attempt(
            setup,
            run,
            Progress(),
            resumed=False,
            overrides=overrides,
            console=console,
            messages=messages,
            sinks=sinks,
            should_stop=should_stop,
        )
    if run is not None:
        tell(console, kept_in(run.home))
    return run.home if run is not None else None


def record_start(run: RunWriter, setup: Setup) -> None:
    """Records the data, the task and the warnings of a training."""
    run.event(DataSeen(setup.dataset.fingerprint()))
    scoring = setup.task.scoring
    run.event(TaskChosen(scoring.name, list(scoring.headline), dict(scoring.directions)))
    for warning in (*setup.dataset.warnings, *setup.warnings):
        run.warn(warning)


def check_names(config: Config, layout: Layout, dataset: str) -> None:
    """Raises BadNameError for names that `create_run` would reject, before the yard is created."""
    run = config.run
    name = default_run_name(config) if run.name is None else run.name
    layout.check(checked_names(project=run.project, dataset=dataset, model=model_label(config), name=name))


def tested_model(config: Config) -> Loaded | None:
    """The checkpoint to start from or to test, if the data or the model is built from its files.

    That is the case for a text encoder's tokenizer, and for the test of a model that would otherwise be downloaded.
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
        raise ConfigError(
            [f"`run.checkpoint_path` is {path!r}, which is not a checkpoint of a run with model={config.model.name}"],
            "Pass a checkpoint of such a run; to start from published weights, set model.path.",
            keys=("run.checkpoint_path", "model.name"),
        )
    return loaded
