"""Training a run from its config to its last file, and resuming one. The same path for both."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from trainyard.assembly.setup import Setup, build, load_dataset, load_initial_weights
from trainyard.config.convert import from_dict, to_dict
from trainyard.config.names import default_run_name, model_label
from trainyard.config.schema import Config
from trainyard.data.dataset import Dataset, explain_change
from trainyard.errors import (
    ChangedDataError,
    CheckpointError,
    ConfigError,
    Interrupted,
    NotResumableError,
    TrainyardError,
)
from trainyard.layouts import Layout, load_layout
from trainyard.retention import KeepPolicy
from trainyard.running import provenance
from trainyard.running.finishing import finish
from trainyard.running.lineage import UsedSteps, source_of
from trainyard.running.logs import kept_in, logging_to, tell
from trainyard.running.resuming import choose_to_resume
from trainyard.running.sinks import sinks_of, tracking
from trainyard.runs import RunReader, RunWriter, Yard, checked_names, create_run, environment, resume_run
from trainyard.runs.snapshot import Checkpoint, Snapshot
from trainyard.tracking.wandb import check_installed
from trainyard.training import process as processes
from trainyard.training.checkpoint.capture import Capture, restore
from trainyard.training.checkpoint.checkpointer import Checkpointer
from trainyard.training.checkpoint.read import Loaded, load
from trainyard.training.events import Sink
from trainyard.training.loop import fit
from trainyard.training.process import Process
from trainyard.training.progress import Progress
from trainyard.training.stopping import resolve_mode


def train(
    config: Config,
    yard_root: Path,
    *,
    overrides: Sequence[str] = (),
    console: Console | None = None,
    trust: bool = False,
    said: Sequence[str] = (),
) -> Path | None:
    """Trains a new run and returns its home; None in processes of torchrun that do not keep it.

    Everything that can be wrong with the config or the data is found before anything is written.

    Args:
        config: what to do.
        yard_root: the yard; made if it is missing.
        overrides: what was said on the command line, kept with the run.
        console: where to print; None for nowhere.
        trust: accept `_target_` objects outside the allow-list.
        said: what the user was told before, of this run; kept in its log.

    Raises:
        UserError: something to mend, in the config, the data, the names or the yard.
        TrainyardError: the run failed; it is kept as such.
    """
    console = console or Console(quiet=True)
    if not config.run.train and not config.run.checkpoint_path:
        raise ConfigError(["run.train=false, but run.checkpoint_path is not set"], "Name the checkpoint to test.")
    layout = load_layout(config.layout)
    if config.tracker == "wandb":
        check_installed()
    if yard_root.exists():
        Yard(yard_root)  # no file: better known before the data is read than after
    _check_names(config, layout, config.data.dataset or "data")
    with _processes(config.run.device) as process:
        tested = _tested_model(config)
        dataset = load_dataset(config, trust=trust, saved=tested)
        _check_names(config, layout, dataset.name)
        setup = build(config, dataset, process, trust=trust, saved=tested)
        load_initial_weights(setup)
        run = None
        if process.is_main:
            run = create_run(
                Yard(yard_root, create=True),
                layout,
                project=config.run.project,
                dataset=dataset.name,
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
                run.event("data", data=dataset.fingerprint())
                teacher = config.training.distillation
                for path, role in (
                    (config.run.checkpoint_path, "initial weights"),
                    (teacher.teacher_model_path if teacher.enabled and config.run.train else None, "teacher"),
                ):
                    source = source_of(run.yard, Path(path), role) if path else None
                    if source is not None:
                        run.event("parent", **source)
                for warning in (*dataset.warnings, *setup.warnings):
                    run.warn(warning)
            _work(setup, run, Progress(), overrides, console, said, resumed=False)
        if run is not None:
            tell(console, kept_in(run.home))
        return run.home if run is not None else None


def _check_names(config: Config, layout: Layout, dataset: str) -> None:
    """Raises BadNameError for what `create_run` would refuse, before there is even a yard."""
    run = config.run
    name = default_run_name(config) if run.name is None else run.name
    layout.check(checked_names(project=run.project, dataset=dataset, model=model_label(config), name=name))


def resume(
    yard: Yard, home: Path, *, step: int | None = None, console: Console | None = None, trust: bool = False
) -> None:
    """Continues a run from its newest whole checkpoint, exactly as if it had never stopped.

    Damaged checkpoints are set aside and named. A run killed before its first checkpoint starts over.

    Args:
        yard: the yard.
        home: the run's home.
        step: resume from this checkpoint instead; later ones must be cleaned away first.
        console: where to print.
        trust: let the run's config name `_target_` objects outside the allow-list: they can run any code.

    Raises:
        UnsafeTargetError: the config names such an object, and `trust` is off.
        ChangedDataError: the data is not what the run began with.
        NotResumableError: nothing is left to do, or no checkpoint holds optimizer state.
        RunBusyError: it is running.
    """
    console = console or Console(quiet=True)
    reader = RunReader(yard, home)
    _refuse_finished(reader.snapshot)
    if not reader.snapshot.config:
        raise NotResumableError(
            f"Run {reader.snapshot.name} was not made by `trainyard train`, which cannot repeat its loop.",
            "Continue it from your own code with `trainyard.start_run(resume=…)`.",
        )
    config = from_dict(reader.snapshot.config, where=str(home / ".run"), trust=trust)
    said: list[str] = []

    def say(text: str, label: str = "") -> None:
        said.append(label + text)
        tell(console, text, label=label)

    def say_damaged(checkpoint: Checkpoint, why: str) -> None:
        say(why, f"checkpoint of step {checkpoint.step} is damaged and was set aside: ")

    with _processes(config.run.device) as process:
        saved = _saved_model(reader) or _tested_model(config)
        dataset = load_dataset(config, trust=trust, item_shape=reader.snapshot.data.get("item_shape"), saved=saved)
        refuse_changed_data(reader, dataset)
        setup = build(config, dataset, process, trust=trust, saved=saved)
        run = resume_run(yard, home) if process.is_main else None
        with contextlib.ExitStack() as stack:
            chosen: tuple[str | None, int | None] = (None, None)
            if run is not None:
                stack.callback(run.abandon)
                _refuse_finished(run.snapshot)  # another process may have finished it while this one waited
                choice = choose_to_resume(run, step, tell=say_damaged)
                if choice is not None:
                    chosen = (str(choice.path), choice.checkpoint.step)
            chosen = process.share(chosen)
            progress = Progress()
            if chosen[0] is not None:
                loaded = load(Path(chosen[0]))
                progress = restore(setup.trainee, loaded, chosen[0], rank=process.rank)
                if loaded.rng is not None and len(loaded.rng) != process.world and run is not None:
                    run.warn(f"Resumed with {process.world} processes what {len(loaded.rng)} began: not bit-identical.")
            else:
                load_initial_weights(setup)
            if run is not None:
                run.begin_attempt(chosen[1])
            stack.pop_all()
        with run or contextlib.nullcontext():
            if run is not None:
                where = f"step {progress.step}" if chosen[0] else "the beginning (no checkpoint yet)"
                say(f"resuming {run.name} from {where}")
            _work(setup, run, progress, (), console, said, resumed=True)


def _tested_model(config: Config) -> Loaded | None:
    """The checkpoint to start from or to test, where it says what cannot be had otherwise.

    That is a text encoder's tokenizer; and of one to test, what building it anew would fetch.
    """
    path = config.run.checkpoint_path
    reads = getattr(config.data, "reads_with_checkpoint", False)
    if path is None or not (reads or (not config.run.train and getattr(config.model, "pretrained", False))):
        return None
    try:
        loaded = load(Path(path), weights_only=True)
    except CheckpointError:  # told with its setting when the weights are loaded
        return None
    if loaded.model_config.get("trainyard", {}).get("name") != config.model.name:
        raise ConfigError(
            [f"`run.checkpoint_path` is {path!r}, which is no checkpoint of a run with model={config.model.name}"],
            "Name one that is. What others have published is begun from with model.path.",
        )
    return loaded


def _saved_model(reader: RunReader) -> Loaded | None:
    """The newest checkpoint that can be read; None when there is none yet."""
    for checkpoint in reversed(reader.snapshot.checkpoints):
        path = reader.locate(checkpoint)
        if path is not None:
            with contextlib.suppress(CheckpointError):
                return load(path, weights_only=True)
    return None


def _refuse_finished(run: Snapshot) -> None:
    if run.state == "finished":
        raise NotResumableError(
            f"Run {run.name} is finished: nothing is left to resume.",
            f"Train another like it with `trainyard train --like {run.id}`.",
        )


def refuse_changed_data(reader: RunReader, dataset: Dataset) -> None:
    """Raises ChangedDataError, saying what changed, when `dataset` is not what the run began with."""
    changes = explain_change(reader.snapshot.data, dataset.fingerprint()) if reader.snapshot.data else []
    if changes:
        raise ChangedDataError(
            f"The data of run {reader.snapshot.name} changed since it began: {' '.join(changes)}",
            "Put the data back, or train a new run on the new data with "
            f"`trainyard train --like {reader.snapshot.id}`.",
        )


@contextlib.contextmanager
def _processes(device: str) -> Iterator[Process]:
    try:
        yield processes.start(device)
        processes.meet()  # what keeps the run has more to write than the rest
    finally:
        processes.stop()


@contextlib.contextmanager
def _stop_requests() -> Iterator[threading.Event]:
    """Set by the first SIGINT or SIGTERM; a second one interrupts at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def on_signal(number: int, _frame: object) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _work(
    setup: Setup,
    run: RunWriter | None,
    progress: Progress,
    overrides: Sequence[str],
    console: Console,
    said: Sequence[str],
    *,
    resumed: bool,
) -> None:
    """Trains what is left, then tests and writes what a finished run leaves.

    All that is told of the run stands in its log too: `said` is what was told before the log was open.
    """
    config, process = setup.config, setup.process
    if run is None:
        checkpointer = _checkpointer(setup, None)
        if config.run.train:
            with _stop_requests() as asked:
                _fit(setup, checkpointer, [], progress, asked)
        finish(setup, None, console)
        return
    with logging_to(run, "log", "error_log") as logger, _stop_requests() as asked:
        try:
            if not provenance.is_complete(run):
                captured = environment.capture()
                if process.device.type == "cuda":
                    import torch

                    captured["cuda"] = torch.version.cuda
                provenance.write_start(run, run.snapshot.config, overrides, captured)
            logger.info("%s %s (%s) in %s", "resuming" if resumed else "training", run.name, run.id, run.home)
            for text in said:
                logger.info("%s", text)
            for note in setup.notes:
                tell(console, note, logger=logger)
            for warning in run.snapshot.warnings:
                tell(console, warning, label="warning: ", logger=logger)
            with tracking(setup, run, logger, console) as tracker:
                if config.run.train:
                    checkpointer = _checkpointer(setup, run)
                    if resumed:
                        checkpointer.catch_up(done=False)
                    sinks = sinks_of(setup, run, checkpointer, logger, console, progress)
                    try:
                        try:
                            _fit(setup, checkpointer, [*sinks, *([tracker] if tracker else [])], progress, asked)
                        except Interrupted:
                            checkpointer.wait()  # the checkpoint it stopped at is promised
                            raise
                        checkpointer.wait()
                    finally:
                        for sink in sinks:
                            sink.close()
                        checkpointer.close()
                    checkpointer.catch_up(done=True)
                summary = finish(setup, run, console, logger)
                if tracker:
                    tracker.summary(summary)
            logger.info("finished %s", run.name)
            logger.info("%s", kept_in(run.home))
        except BaseException as error:
            logger.error("%s: %s", type(error).__name__, error, exc_info=not isinstance(error, TrainyardError))
            raise


def _checkpointer(setup: Setup, run: RunWriter | None) -> Checkpointer:
    config = setup.config
    keep = config.checkpoint
    from trainyard.objects import Objects

    objects = run.yard.objects if run is not None else Objects(Path())
    return Checkpointer(
        run,
        Capture(setup.trainee, objects, keep.single_file),
        setup.process,
        KeepPolicy(keep.keep_last, keep.keep_best, keep.keep_every, optimizer=keep.keep_optimizer),
        monitor=config.training.monitor,
        mode=resolve_mode(config.training.monitor, config.training.mode),
        protected=UsedSteps(run.yard, run.id) if run is not None else dict,
        background=keep.background,
    )


def _fit(
    setup: Setup, checkpointer: Checkpointer, sinks: Sequence[Sink], progress: Progress, asked: threading.Event
) -> None:
    process = setup.process

    def should_stop() -> bool:
        checkpointer.check()
        return bool(process.share(asked.is_set())) if process.world > 1 else asked.is_set()

    fit(
        setup.step,
        setup.batches("train", training=True),
        lambda: setup.predict("val"),
        setup.plan(),
        progress,
        scheduler=setup.scheduler,
        sinks=sinks,
        save=checkpointer.save,
        should_stop=should_stop,
        describe=setup.describe,
    )
