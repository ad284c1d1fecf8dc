"""Reading checkpoints back: which ones are whole, and which one to use. Never writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trainyard import durable
from trainyard.checkpoints.formats import FORMATS
from trainyard.errors import CheckpointError, NotResumableError, UnknownCheckpointError
from trainyard.runs import CheckpointRecord, RunReader


def faults(checkpoint: CheckpointRecord, place: str, path: Path, *, deep: bool = True) -> list[str]:
    """What is wrong with a checkpoint in one place, which lies at `path`; empty when it is whole there."""
    format_ = FORMATS[checkpoint.format]
    if not path.exists():
        return [f"{path} is missing"]
    found: list[str] = []
    for file in checkpoint.files:
        if place != "checkpoint" and not format_.is_published(file["name"]):
            continue
        part = path / file["name"] if file["name"] else path
        if not part.exists():
            found.append(f"{part} is missing")
        elif part.stat().st_size != file["size"]:
            found.append(f"{part} is {part.stat().st_size:,} bytes, its manifest says {file['size']:,}")
        elif deep and durable.sha256_file(part) != file["sha256"]:
            found.append(f"{part} has other bytes than were written (SHA-256 differs)")
    return found


def problems(run: RunReader, checkpoint: CheckpointRecord, *, deep: bool = True) -> list[str]:
    """What is wrong with a checkpoint in any of its places, a sentence each; empty when it is whole.

    Args:
        run: whose it is.
        checkpoint: which.
        deep: also compare every byte's digest, not only names and sizes.
    """
    return [
        fault
        for place, recorded in checkpoint.paths.items()
        for fault in faults(checkpoint, place, run.resolve(recorded), deep=deep)
    ]


def verified_path(run: RunReader, checkpoint: CheckpointRecord, *, resuming: bool, deep: bool = True) -> Path | None:
    """Where the checkpoint lies whole, byte for byte; None when it does so nowhere.

    Args:
        run: whose it is.
        checkpoint: which.
        resuming: only where the files that resuming needs are, too.
        deep: also compare every byte's digest, not only names and sizes.
    """
    for place, recorded in sorted(checkpoint.paths.items(), key=lambda item: item[0] != "checkpoint"):
        if resuming and not FORMATS[checkpoint.format].can_resume({place: recorded}):
            continue
        path = run.resolve(recorded)
        if not faults(checkpoint, place, path, deep=deep):
            return path
    return None


def _is_resumable(checkpoint: CheckpointRecord) -> bool:
    return checkpoint.resumable and FORMATS[checkpoint.format].can_resume(checkpoint.paths)


def _others(run: RunReader, checkpoint: CheckpointRecord, *, resuming: bool) -> str:
    """Steps of the run's other checkpoints that seem whole, by names and sizes alone; empty when there are none.

    Args:
        run: whose.
        checkpoint: the one that cannot be used.
        resuming: only ones that still hold what resuming needs.
    """
    return ", ".join(
        str(other.step)
        for other in run.snapshot.checkpoints
        if other.step != checkpoint.step
        and (not resuming or _is_resumable(other))
        and verified_path(run, other, resuming=resuming, deep=False)
    )


def remedy_of_damage(run: RunReader, checkpoint: CheckpointRecord, *, resuming: bool) -> str:
    """What to do about a damaged checkpoint, as an instruction; reads no other one's bytes.

    Args:
        run: whose.
        checkpoint: the damaged one.
        resuming: it is wanted for going on, not for its weights.
    """
    others = _others(run, checkpoint, resuming=resuming)
    if not others:
        return f"Restore it from a copy: no other can be {'resumed from' if resuming else 'used'}."
    return f"Restore it from a copy, or {'resume from' if resuming else 'use'} another (steps {others})."


@dataclass(frozen=True)
class Choice:
    """The checkpoint to use, where it is, and the newer ones that were passed over as damaged."""

    checkpoint: CheckpointRecord
    path: Path
    damaged: tuple[tuple[CheckpointRecord, str], ...] = ()


def choose(run: RunReader, *, step: int | str | None = None, resuming: bool = False) -> Choice | None:
    """The checkpoint that is wanted, verified; None when the run has none at all.

    Args:
        run: whose.
        step: a step; "best" by the monitored metric (the newest where there was none); "last" or
            None for the newest.
        resuming: only ones that still hold what resuming needs.

    Raises:
        UnknownCheckpointError: the run has none of that step or name.
        CheckpointError: the one asked for is damaged, or none is whole.
        NotResumableError: the one asked for is whole but cannot be resumed from any more, or none can.
    """
    snapshot = run.snapshot
    known = ", ".join(str(c.step) for c in snapshot.checkpoints) or "none"
    if step == "best" and snapshot.best is not None:
        step = snapshot.best.step
    elif isinstance(step, str) and step not in ("best", "last"):
        raise UnknownCheckpointError(f"There is no checkpoint called {step!r}.", f"Say best, last or a step: {known}.")
    if isinstance(step, int):
        checkpoint = snapshot.checkpoint(step)
        if checkpoint is None:
            raise UnknownCheckpointError(
                f"Run {snapshot.name} has no checkpoint of step {step} (there are: {known}).", "Choose one of those."
            )
        stripped = resuming and not _is_resumable(checkpoint)
        path = None if stripped else verified_path(run, checkpoint, resuming=resuming)
        if path is not None:
            return Choice(checkpoint, path)
        if stripped and verified_path(run, checkpoint, resuming=False) is not None:
            others = _others(run, checkpoint, resuming=True)
            raise NotResumableError(
                f"Checkpoint of step {step} in run {snapshot.name} is whole, but what resuming needs was dropped.",
                f"Resume from another (steps {others})." if others else _begin_again(run),
            )
        raise CheckpointError(
            f"Checkpoint of step {step} in run {snapshot.name}: {'; '.join(problems(run, checkpoint))}.",
            remedy_of_damage(run, checkpoint, resuming=resuming),
        )
    damaged: list[tuple[CheckpointRecord, str]] = []
    for checkpoint in reversed(snapshot.checkpoints):
        if resuming and not _is_resumable(checkpoint):
            continue
        path = verified_path(run, checkpoint, resuming=resuming)
        if path is not None:
            return Choice(checkpoint, path, tuple(damaged))
        damaged.append((checkpoint, "; ".join(problems(run, checkpoint))))
    if not snapshot.checkpoints:
        return None
    if damaged:
        raise CheckpointError(
            f"Run {snapshot.name} has no whole checkpoint: " + "; ".join(why for _, why in damaged) + ".",
            "Restore one from a copy, or start again with `trainyard train --like " + snapshot.id + "`.",
        )
    raise NotResumableError(
        f"No checkpoint of run {snapshot.name} holds optimizer state any more (steps {known}).", _begin_again(run)
    )


def _begin_again(run: RunReader) -> str:
    return f"Start from its weights with run.checkpoint_path, or again with `trainyard train --like {run.snapshot.id}`."
