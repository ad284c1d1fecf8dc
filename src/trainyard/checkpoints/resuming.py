"""Where a run goes on: at its newest whole checkpoint, or at a step that was asked for.

For training and for a user's own loop alike; needs no torch.
"""

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
    """The checkpoint to resume from; None when there is none: begin at the beginning.

    Newer ones that are damaged are set aside, so that their steps can be saved again.

    Args:
        run: which, locked.
        step: a step, "best" or "last"; None for the newest.
        tell: is told of each damaged one, and why.

    Raises:
        NotResumableError: there are checkpoints after `step`, or none holds what resuming needs.
        CheckpointError: no such step, or nothing whole is left.
    """
    reader = RunReader(run.yard, run.home)
    choice = choose(reader, step=step, resuming=True)
    if choice is None:
        return None
    damaged = {checkpoint.step for checkpoint, _ in choice.damaged}
    later = [c.step for c in reader.snapshot.checkpoints if c.step > choice.checkpoint.step and c.step not in damaged]
    if later:
        raise NotResumableError(
            f"Run {run.name} has checkpoints after step {choice.checkpoint.step}: {', '.join(map(str, later))}.",
            "Resume from the newest, or clean those away first: "
            + " ".join(f"`trainyard clean {run.id} --step {s}`" for s in later),
        )
    for checkpoint, why in choice.damaged:
        quarantine(run, checkpoint, why)
        tell(checkpoint, why)
    return choice
