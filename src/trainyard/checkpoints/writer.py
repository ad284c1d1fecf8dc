"""Commits checkpoints: a checkpoint is completely on disk and in the journal, or it does not exist.

A directory is staged beside its final name, its manifest written last, and renamed; a single file is renamed into
place. Both exist once the journal records them, which inside a `RunWriter.batch` is when the batch ends.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trainyard import durable
from trainyard.checkpoints.formats import FORMATS, MANIFEST
from trainyard.checkpoints.reader import faults
from trainyard.errors import CheckpointError
from trainyard.jsonl import without_nan
from trainyard.runs import CheckpointRecord, RunWriter
from trainyard.runs.events import CheckpointCommitted, Published, Quarantined

FileWriter = Callable[[Path], None]  # writes one file to the given path


def commit(
    run: RunWriter,
    files: Mapping[str, FileWriter],
    *,
    step: int,
    epoch: float,
    metrics: Mapping[str, float] | None = None,
    linked: Mapping[str, str] | None = None,
    expected_bytes: int = 0,
    inside_epoch: bool = False,
) -> CheckpointRecord:
    """Writes a checkpoint, commits it and returns it.

    Args:
        run: the run of the checkpoint; its metric rows so far are flushed to disk first.
        files: the files to write, as name to writer. A single-file format takes exactly one, named "".
        step: the number of optimizer steps done.
        epoch: the number of epochs done, a fraction inside an epoch.
        metrics: validation metrics at this step.
        linked: further files of a directory that are objects of the yard, as name to digest.
        expected_bytes: at least how many bytes will be written; a disk with less room is refused first.
        inside_epoch: use the layout's path for checkpoints inside an epoch.

    Raises:
        CheckpointError: this step already has a checkpoint, or the files do not fit the format.
        DiskFullError: there is no room; earlier checkpoints are intact.
    """
    format_ = FORMATS[run.layout.checkpoint_format]
    existing = run.snapshot.checkpoint(step)
    if existing is not None and "checkpoint" in existing.paths:
        what, remedy = f"Run {run.name} already has a checkpoint of step {step}.", "Save at another step"
        raise CheckpointError(what, f"{remedy}; checkpoints are never overwritten.", value=step, place=run.name)
    kind = "step_checkpoint" if inside_epoch and run.keeps("step_checkpoint") else "checkpoint"
    path = run.path(kind, step=step, epoch=int(epoch))
    names = [*files, *(linked or ())]
    if format_.is_directory:
        plain = (name and Path(name).name == name and name != MANIFEST for name in names)
        fits = len(set(names)) == len(names) and all(plain)
    else:
        fits = names == [""]
    if not fits:
        shape = "directories" if format_.is_directory else "single files"
        what = f"Layout {run.layout.name} stores checkpoints as {shape}, which does not fit the files {sorted(names)}."
        remedy = f'Pass the files of a directory by plain names other than {MANIFEST!r}, or one file named "".'
        raise CheckpointError(what, remedy, value=sorted(names), place=run.layout.name)
    relative = run.relative(path) + ("/" if format_.is_directory else "")
    if any(other.paths.get("checkpoint") == relative for other in run.snapshot.checkpoints):
        what = f"{relative} is the checkpoint of another step of run {run.name}."
        raise CheckpointError(what, "Save it with another epoch.", value=step, place=relative)
    durable.require_space(path.parent, expected_bytes)
    run.sync_history()
    metrics = {key: float(value) for key, value in (metrics or {}).items()}
    if format_.is_directory:
        entries = _write_directory(run, path, files, linked or {}, step, epoch, metrics)
    else:
        with durable.replacing(path) as written:
            files[""](written)
            entries = [_entry(written, "")]
    run.event(CheckpointCommitted(step, epoch, format_.name, metrics, entries, {"checkpoint": relative}))
    checkpoint = run.snapshot.checkpoint(step)
    assert checkpoint is not None
    return checkpoint


def _entry(path: Path, name: str) -> dict[str, Any]:
    return {"name": name, "size": path.stat().st_size, "sha256": durable.sha256_file(path)}


def _write_directory(
    run: RunWriter,
    path: Path,
    files: Mapping[str, FileWriter],
    linked: Mapping[str, str],
    step: int,
    epoch: float,
    metrics: Mapping[str, float],
) -> list[dict[str, Any]]:
    # An attempt may have been killed after the rename and before the journal's event: this replaces what it left.
    with durable.staging(path, replace=True) as staged:
        entries = []
        for name, write in files.items():
            write(staged / name)
            entries.append(_entry(staged / name, name))
        for name, digest in linked.items():
            run.yard.objects.link(digest, staged / name)
            entries.append({"name": name, "size": (staged / name).stat().st_size, "sha256": digest})
        manifest = {"format": 1, "run": run.id, "step": step, "epoch": epoch, "metrics": without_nan(metrics)}
        durable.write_json(staged / MANIFEST, {**manifest, "files": entries})
        entries.append(_entry(staged / MANIFEST, MANIFEST))
    return entries


def publish(run: RunWriter, checkpoint: CheckpointRecord, place: str) -> Path | None:
    """Publishes a checkpoint under the layout's path for `place` ("best" or "final"), without copying.

    A fixed path is taken over from the checkpoint that had it, atomically for a single file; if that
    checkpoint had no other path, it is gone. Files that only resuming needs are left out of a directory.
    Returns the published path; None when the layout has none for `place`.
    """
    if not run.keeps(place):
        return None
    format_ = FORMATS[checkpoint.format]
    source = run.resolve(checkpoint.paths.get("checkpoint") or next(iter(checkpoint.paths.values())))
    target = run.path(place, step=checkpoint.step, epoch=int(checkpoint.epoch))
    if os.path.lexists(target):
        run.flush()  # what loses this name may have no other: the journal must know the new one first
    if format_.is_directory:
        with durable.staging(target, replace=True) as staged:
            for file in checkpoint.files:
                if format_.is_published(file["name"]):
                    durable.link_or_copy(source / file["name"], staged / file["name"])
    else:
        durable.publish(source, target)
    relative = run.relative(target) + ("/" if format_.is_directory else "")
    run.event(Published(checkpoint.step, place, relative))
    return target


def quarantine(run: RunWriter, checkpoint: CheckpointRecord, why: str) -> list[Path]:
    """Renames a damaged checkpoint by appending `.corrupt`, so that nothing uses it again.

    A published copy that is intact (on a file system without hard links) is kept. The journal is updated
    before the files move: what a kill in between leaves in place is in no journal, and is replaced when
    its step is saved again.
    """
    damaged: list[Path] = []
    with run.batch():
        for place, recorded in list(checkpoint.paths.items()):
            path = run.resolve(recorded.rstrip("/"))
            if path.exists():
                if place != "checkpoint" and not faults(checkpoint, place, path):
                    continue
                damaged.append(path)
            run.event(Quarantined(checkpoint.step, place, recorded, why))
        run.warn(f"Checkpoint of step {checkpoint.step} was damaged and set aside: {why}")
    run.flush()  # even inside a batch of the caller's
    return [_set_aside(path) for path in damaged]


def _set_aside(path: Path) -> Path:
    target, n = path.with_name(path.name + ".corrupt"), 1
    while os.path.lexists(target):
        n += 1
        target = path.with_name(f"{path.name}.corrupt-{n}")
    durable.move(path, target)
    return target
