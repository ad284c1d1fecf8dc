"""Reads checkpoints: which ones are intact, and which one to use. Never writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trainyard import durable
from trainyard.checkpoints.formats import FORMATS
from trainyard.errors import CheckpointError, NotResumableError, UnknownCheckpointError
from trainyard.runs import CheckpointRecord, RunReader


def faults(checkpoint: CheckpointRecord, place: str, path: Path, *, deep: bool = True) -> list[str]:
    """What is wrong with the copy of a checkpoint at `path`, its `place`; empty when it is intact."""
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
            found.append(f"{part} is {part.stat().st_size:,} bytes long, but {file['size']:,} were written")
        elif deep and durable.sha256_file(part) != file["sha256"]:
            found.append(f"{part} has other bytes than were written (SHA-256 differs)")
    return found


def problems(run: RunReader, checkpoint: CheckpointRecord, *, deep: bool = True) -> list[str]:
    """What is wrong with a checkpoint in any of its places, one sentence each; empty when it is intact.

    Args:
        run: the run of the checkpoint.
        checkpoint: the checkpoint.
        deep: compare also the digests of the contents, not only names and sizes.
    """
    return [
        fault
        for place, recorded in checkpoint.paths.items()
        for fault in faults(checkpoint, place, run.resolve(recorded), deep=deep)
    ]


def verified_path(run: RunReader, checkpoint: CheckpointRecord, *, resuming: bool, deep: bool = True) -> Path | None:
    """The path of an intact copy of the checkpoint; None when it has none.

    Args:
        run: the run of the checkpoint.
        checkpoint: the checkpoint.
        resuming: accept only a copy with the files that resuming needs.
        deep: compare also the digests of the contents, not only names and sizes.
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
    """Steps of the run's other checkpoints whose names and sizes are right, as text; empty when there are none.

    Args:
        run: the run of the checkpoint.
        checkpoint: the one that cannot be used.
        resuming: only those that still have what resuming needs.
    """
    return ", ".join(
        str(other.step)
        for other in run.snapshot.checkpoints
        if other.step != checkpoint.step
        and (not resuming or _is_resumable(other))
        and verified_path(run, other, resuming=resuming, deep=False)
    )


def remedy_of_damage(run: RunReader, checkpoint: CheckpointRecord, *, resuming: bool) -> str:
    """What to do about a damaged checkpoint, as an instruction. Does not read the contents of others.

    Args:
        run: the run of the checkpoint.
        checkpoint: the damaged one.
        resuming: whether it is needed to resume, not only for its weights.
    """
    others = _others(run, checkpoint, resuming=resuming)
    if not others:
        return f"Restore it from a copy: no other can be {'resumed from' if resuming else 'used'}."
    return f"Restore it from a copy, or {'resume from' if resuming else 'use'} another (steps {others})."


@dataclass(frozen=True)
class Choice:
    """The checkpoint to use, its path, and the newer ones that were skipped as damaged."""

    checkpoint: CheckpointRecord
    path: Path
    damaged: tuple[tuple[CheckpointRecord, str], ...] = ()


def choose(run: RunReader, *, step: int | str | None = None, resuming: bool = False) -> Choice | None:
    """The requested checkpoint, verified; None when the run has no checkpoints.

    Args:
        run: the run.
        step: a step; "best" by the monitored metric (the newest if there is no best one); "last" or
            None for the newest.
        resuming: only those that still have what resuming needs.

    Raises:
        UnknownCheckpointError: the run has no checkpoint of that step or name.
        CheckpointError: the requested one is damaged, or none is intact.
        NotResumableError: the requested one is intact but can no longer be resumed from, or none can.
    """
    snapshot = run.snapshot
    known = ", ".join(str(c.step) for c in snapshot.checkpoints) or "none"
    if step == "best" and snapshot.best is not None:
        step = snapshot.best.step
    elif isinstance(step, str) and step not in ("best", "last"):
        raise UnknownCheckpointError(
            f"There is no checkpoint called {step!r}.",
            f"Use best, last or one of the steps: {known}.",
            value=step,
            place=snapshot.name,
        )
    if isinstance(step, int):
        checkpoint = snapshot.checkpoint(step)
        if checkpoint is None:
            raise UnknownCheckpointError(
                f"Run {snapshot.name} has no checkpoint of step {step}.",
                f"Choose one of its steps: {known}.",
                value=step,
                place=snapshot.name,
            )
        stripped = resuming and not _is_resumable(checkpoint)
        path = None if stripped else verified_path(run, checkpoint, resuming=resuming)
        if path is not None:
            return Choice(checkpoint, path)
        if stripped and verified_path(run, checkpoint, resuming=False) is not None:
            others = _others(run, checkpoint, resuming=True)
            raise NotResumableError(
                f"The checkpoint of step {step} in run {snapshot.name} is intact, but what resuming needs was removed.",
                f"Resume from another (steps {others})." if others else _how_to_start_again(run),
                value=step,
                place=snapshot.name,
            )
        raise CheckpointError(
            f"The checkpoint of step {step} in run {snapshot.name} is damaged: {'; '.join(problems(run, checkpoint))}.",
            remedy_of_damage(run, checkpoint, resuming=resuming),
            value=step,
            place=snapshot.name,
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
            f"Run {snapshot.name} has no intact checkpoint: " + "; ".join(why for _, why in damaged) + ".",
            f"Restore one from a copy, or start again with `trainyard train --like {snapshot.id}`.",
            value=[checkpoint.step for checkpoint, _ in damaged],
            place=snapshot.name,
        )
    raise NotResumableError(
        f"No checkpoint of run {snapshot.name} has optimizer state any more (steps {known}).",
        _how_to_start_again(run),
        value=[checkpoint.step for checkpoint in snapshot.checkpoints],
        place=snapshot.name,
    )


def _how_to_start_again(run: RunReader) -> str:
    again = f"`trainyard train --like {run.snapshot.id}`"
    return f"Start a new run from its weights with run.checkpoint_path, or from scratch with {again}."
