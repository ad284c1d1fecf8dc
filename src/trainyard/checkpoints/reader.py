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
    """What is wrong with a checkpoint in any of its places, one sentence each; `deep` compares digests, too."""
    places = checkpoint.paths.items()
    return [fault for place, at in places for fault in faults(checkpoint, place, run.resolve(at), deep=deep)]


def verified_path(run: RunReader, checkpoint: CheckpointRecord, *, resuming: bool, deep: bool = True) -> Path | None:
    """The path of an intact copy of the checkpoint, or None; `resuming`: one with the files that resuming needs."""
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
    """Steps of the run's other checkpoints whose names and sizes are right, as text; empty when there are none."""
    return ", ".join(
        str(other.step)
        for other in run.snapshot.checkpoints
        if other.step != checkpoint.step
        and (not resuming or _is_resumable(other))
        and verified_path(run, other, resuming=resuming, deep=False)
    )


def remedy_of_damage(run: RunReader, checkpoint: CheckpointRecord, *, resuming: bool) -> str:
    """What to do about a damaged checkpoint, which is needed to resume or only for its weights, as an instruction."""
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
    steps = [checkpoint.step for checkpoint in snapshot.checkpoints]
    known = ", ".join(map(str, steps)) or "none"
    if step == "best" and snapshot.best is not None:
        step = snapshot.best.step
    elif isinstance(step, str) and step not in ("best", "last"):
        what, remedy = f"There is no checkpoint called {step!r}.", f"Use best, last or one of the steps: {known}."
        raise UnknownCheckpointError(what, remedy, value=step, place=snapshot.name)
    if isinstance(step, int):
        return _at_step(run, step, known, resuming)
    damaged: list[tuple[CheckpointRecord, str]] = []
    for checkpoint in reversed(snapshot.checkpoints):
        if resuming and not _is_resumable(checkpoint):
            continue
        path = verified_path(run, checkpoint, resuming=resuming)
        if path is not None:
            return Choice(checkpoint, path, tuple(damaged))
        damaged.append((checkpoint, "; ".join(problems(run, checkpoint))))
    if not steps:
        return None
    if damaged:
        what = f"Run {snapshot.name} has no intact checkpoint: {'; '.join(why for _, why in damaged)}."
        remedy = f"Restore one from a copy, or start again with `trainyard train --like {snapshot.id}`."
        raise CheckpointError(what, remedy, value=[checkpoint.step for checkpoint, _ in damaged], place=snapshot.name)
    what = f"No checkpoint of run {snapshot.name} has optimizer state any more (steps {known})."
    raise NotResumableError(what, _how_to_start_again(run), value=steps, place=snapshot.name)


def _at_step(run: RunReader, step: int, known: str, resuming: bool) -> Choice:
    name, checkpoint = run.snapshot.name, run.snapshot.checkpoint(step)
    if checkpoint is None:
        what, remedy = f"Run {name} has no checkpoint of step {step}.", f"Choose one of its steps: {known}."
        raise UnknownCheckpointError(what, remedy, value=step, place=name)
    stripped = resuming and not _is_resumable(checkpoint)
    path = verified_path(run, checkpoint, resuming=resuming and not stripped)
    if path is None:
        what = f"The checkpoint of step {step} in run {name} is damaged: {'; '.join(problems(run, checkpoint))}."
        raise CheckpointError(what, remedy_of_damage(run, checkpoint, resuming=resuming), value=step, place=name)
    if stripped:
        others = _others(run, checkpoint, resuming=True)
        what = f"The checkpoint of step {step} in run {name} is intact, but what resuming needs was removed."
        remedy = f"Resume from another (steps {others})." if others else _how_to_start_again(run)
        raise NotResumableError(what, remedy, value=step, place=name)
    return Choice(checkpoint, path)


def _how_to_start_again(run: RunReader) -> str:
    again = f"`trainyard train --like {run.snapshot.id}`"
    return f"Start a new run from its weights with run.checkpoint_path, or from scratch with {again}."
