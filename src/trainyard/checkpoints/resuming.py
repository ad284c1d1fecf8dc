"""Where training continues: at the newest intact checkpoint, or at a requested step. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable

from trainyard.checkpoints.reader import Choice, choose
from trainyard.checkpoints.writer import quarantine
from trainyard.errors import NotResumableError
from trainyard.runs import CheckpointRecord, RunReader, RunWriter


def choose_to_resume(
    run: RunWriter,
    step: int | str | None = None,
    *,
    tell: Callable[[CheckpointRecord, str], None] = lambda checkpoint, why: None,
) -> Choice | None:
    """The checkpoint of the locked `run` to resume from; None when it has none, to start from the beginning.

    `step` is as in `choose`. Newer checkpoints that are damaged are set aside, so that their steps can be saved again;
    `tell` is called with each of them, and why.

    Raises:
        NotResumableError: there are checkpoints after `step`, or none holds what resuming needs.
        CheckpointError: there is no such step, or no intact checkpoint.
    """
    reader = RunReader(run.yard, run.home)
    choice = choose(reader, step=step, resuming=True)
    if choice is None:
        return None
    damaged = {checkpoint.step for checkpoint, _ in choice.damaged}
    later = [c.step for c in reader.snapshot.checkpoints if c.step > choice.checkpoint.step and c.step not in damaged]
    if later:
        what = f"Run {run.name} has checkpoints after step {choice.checkpoint.step}: {', '.join(map(str, later))}."
        commands = " ".join(f"`trainyard clean {run.id} --step {s}`" for s in later)
        raise NotResumableError(what, f"Resume from the newest, or clean those away first: {commands}")
    for checkpoint, why in choice.damaged:
        quarantine(run, checkpoint, why)
        tell(checkpoint, why)
    return choice
