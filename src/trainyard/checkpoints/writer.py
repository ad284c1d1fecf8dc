"""Committing a checkpoint: all of it is on disk and in the journal, or it does not exist.

A directory is staged beside its name, its manifest written last, and renamed; a single file is
renamed into place. Either exists once the journal says so: then retention and readers see it. Inside
a `RunWriter.batch`, that is when the batch ends.
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
from trainyard.runs import Checkpoint, RunWriter
from trainyard.runs.events import CheckpointCommitted, Published, Quarantined

FileWriter = Callable[[Path], None]  # writes one file at the path it is given


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
) -> Checkpoint:
    """Writes a checkpoint and returns it, committed.

    Args:
        run: whose checkpoint it is; its metric rows up to now are made durable first.
        files: what to write: name to writer. A single-file format takes exactly one, named "".
        step: optimizer steps done.
        epoch: epochs done, a fraction inside an epoch.
        metrics: validation metrics at this step.
        linked: further files of a directory that are objects of the yard: name to digest.
        expected_bytes: what will be written, at least; a disk with less room is refused first.
        inside_epoch: choose the layout's place for checkpoints inside an epoch.

    Raises:
        CheckpointError: this step has a checkpoint already, or the files do not fit the format.
        DiskFullError: no room; earlier checkpoints are intact.
    """
    format_ = FORMATS[run.layout.checkpoint_format]
    existing = run.snapshot.checkpoint(step)
    if existing is not None and "checkpoint" in existing.paths:
        raise CheckpointError(
            f"Run {run.name} already has a checkpoint of step {step}.",
            "Save it at another step: none is overwritten.",
            value=step,
            place=run.home,
        )
    kind = "step_checkpoint" if inside_epoch and run.keeps("step_checkpoint") else "checkpoint"
    path = run.path(kind, step=step, epoch=int(epoch))
    names = [*files, *(linked or ())]
    if format_.is_directory:
        fits = len(set(names)) == len(names) and all(_is_plain(name) for name in names)
    else:
        fits = names == [""]
    if not fits:
        shape = "directories" if format_.is_directory else "single files"
        raise CheckpointError(
            f"Layout {run.layout.name} keeps checkpoints as {shape}, which does not fit the files {sorted(names)}.",
            f'Name the files of a directory, none of them {MANIFEST!r}, or give one file named "".',
        )
    relative = run.relative(path) + ("/" if format_.is_directory else "")
    if any(other.paths.get("checkpoint") == relative for other in run.snapshot.checkpoints):
        raise CheckpointError(
            f"{relative} is the checkpoint of another step of run {run.name}.", "Save it with another epoch."
        )
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


def _is_plain(name: str) -> bool:
    return bool(name) and Path(name).name == name and name != MANIFEST


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
    # What is there was renamed, but the attempt killed before the journal said so: the same step, made again.
    with durable.staging(path, replace=True) as staged:
        entries = []
        for name, write in files.items():
            write(staged / name)
            entries.append(_entry(staged / name, name))
        for name, digest in linked.items():
            run.yard.objects.link(digest, staged / name)
            entries.append({"name": name, "size": (staged / name).stat().st_size, "sha256": digest})
        manifest = {
            "format": 1,
            "run": run.id,
            "step": step,
            "epoch": epoch,
            "metrics": without_nan(metrics),
            "files": entries,
        }
        durable.write_json(staged / MANIFEST, manifest)
        entries.append(_entry(staged / MANIFEST, MANIFEST))
    return entries


def publish(run: RunWriter, checkpoint: Checkpoint, place: str) -> Path | None:
    """Gives a checkpoint the name that the layout has for `place` ("best" or "final"), without copying.

    A fixed name moves from the checkpoint that had it, in one step for a single file; a checkpoint
    that had no other name is gone then. Of a directory, what only resuming needs is left out.

    Returns:
        The published path; None when the layout has no such place.
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


def quarantine(run: RunWriter, checkpoint: Checkpoint, why: str) -> list[Path]:
    """Sets a damaged checkpoint aside, under its names plus `.corrupt`, so that nothing uses it again.

    A published copy that is whole all the same (where a file system has no links) stays.
    """
    aside: list[Path] = []
    for place, recorded in list(checkpoint.paths.items()):
        path = run.resolve(recorded.rstrip("/"))
        if path.exists():
            if place != "checkpoint" and not faults(checkpoint, place, path):
                continue
            target, n = path.with_name(path.name + ".corrupt"), 1
            while os.path.lexists(target):
                n += 1
                target = path.with_name(f"{path.name}.corrupt-{n}")
            durable.move(path, target)
            aside.append(target)
        run.event(Quarantined(checkpoint.step, place, recorded, why))
    run.warn(f"Checkpoint of step {checkpoint.step} was damaged and set aside: {why}")
    return aside
