"""Continues a run from its newest complete checkpoint, exactly as if it had never stopped."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from trainyard.assembly.network import load_initial_weights
from trainyard.assembly.setup import Setup, build
from trainyard.assembly.trained import config_of, dataset_of, newest_readable
from trainyard.checkpoints.resuming import choose_to_resume
from trainyard.errors import NotResumableError
from trainyard.running.attempt import StopRequest, attempt, never, starting_processes
from trainyard.running.logs import tell
from trainyard.running.train import tested_model
from trainyard.runs import CheckpointRecord, RunReader, Snapshot, Yard, resume_run
from trainyard.training.checkpoint.read import load
from trainyard.training.checkpoint.restore import restore
from trainyard.training.events import Sink
from trainyard.training.progress import Progress


def resume(
    yard: Yard,
    home: Path,
    *,
    step: int | None = None,
    console: Console | None = None,
    trust: bool = False,
    sinks: Sequence[Sink] = (),
    should_stop: StopRequest = never,
) -> None:
    """Continues a run from its newest complete checkpoint, or that of `step`: later ones must be removed first.

    Damaged checkpoints are set aside and reported. A run killed before its first checkpoint starts over. With
    `trust`, `_target_` objects outside the allow-list are accepted, which can run any code. `sinks` and
    `should_stop` are as in `train`.

    Raises:
        UnsafeTargetError: the config names such an object, and `trust` is off.
        ChangedDataError: the data is not what the run began with.
        NotResumableError: nothing is left to do, or no checkpoint holds optimizer state.
        RunBusyError: it is running.
    """
    console = console or Console(quiet=True)
    reader = RunReader(yard, home)
    refuse_finished(reader.snapshot)
    config = config_of(reader, trust=trust)
    with starting_processes(config.run.device) as process:
        saved = newest_readable(reader) or tested_model(config)
        setup = build(config, dataset_of(reader, config, saved, trust=trust), process, trust=trust, saved=saved)
        resume_training(setup, yard, home, step=step, console=console, sinks=sinks, should_stop=should_stop)


def resume_training(
    setup: Setup,
    yard: Yard,
    home: Path,
    *,
    step: int | None = None,
    console: Console,
    sinks: Sequence[Sink] = (),
    should_stop: StopRequest = never,
) -> None:
    """`resume` for a training that is built: locks the run, restores its state, and trains the remaining steps."""
    process = setup.process
    messages: list[str] = []

    def report(text: str, label: str = "") -> None:
        messages.append(label + text)
        tell(console, text, label=label)

    def report_damage(checkpoint: CheckpointRecord, why: str) -> None:
        report(why, f"checkpoint of step {checkpoint.step} is damaged and was set aside: ")

    run = resume_run(yard, home) if process.is_main else None
    with contextlib.ExitStack() as stack:
        chosen: tuple[str | None, int | None] = (None, None)
        if run is not None:
            stack.callback(run.abandon)
            refuse_finished(run.snapshot)  # another process may have finished it while this one waited
            choice = choose_to_resume(run, step, tell=report_damage)
            if choice is not None:
                chosen = (str(choice.path), choice.checkpoint.step)
        path, at = process.share(chosen)
        if path is None:
            load_initial_weights(setup.model, setup.config, setup.dataset)
            progress = Progress()
        else:
            loaded = load(Path(path))
            progress = restore(setup.trainee, loaded, path, rank=process.rank)
            if loaded.rng is not None and len(loaded.rng) != process.world and run is not None:
                run.warn(f"Resumed with {process.world} processes instead of {len(loaded.rng)}: not bit-identical.")
        if run is not None:
            run.begin_attempt(at)
        stack.pop_all()
    with run or contextlib.nullcontext():
        if run is not None:
            where = f"step {progress.step}" if path else "the beginning (no checkpoint yet)"
            report(f"resuming {run.name} from {where}")
        attempt(
            setup, run, progress, resumed=True, console=console, messages=messages, sinks=sinks, should_stop=should_stop
        )


def refuse_finished(run: Snapshot) -> None:
    """Raises NotResumableError for a run that is finished."""
    if run.state == "finished":
        raise NotResumableError(
            f"Run {run.name} is finished; nothing is left to resume.",
            f"Train another run with its configuration: `trainyard train --like {run.id}`.",
            value=run.state,
            place=run.home,
        )
