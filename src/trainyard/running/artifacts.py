"""Logs and removes artifacts of runs, including those that a finished training logs by itself.

The store is `trainyard.artifacts`; removed versions go to the yard's trash from a plan. Needs no torch.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainyard.artifacts import Artifacts, Files, Version, derived_name
from trainyard.checkpoints import FORMATS
from trainyard.errors import UserError
from trainyard.index import Index
from trainyard.jsonl import without_nan
from trainyard.retention import Plan, PlanItem, TrashEntry, apply
from trainyard.retention.plan import make_plan
from trainyard.runs import CheckpointRecord, RunWriter, Yard

_MANIFEST = "artifact_manifest"


def log_artifact(
    run: RunWriter,
    files: Files,
    name: str,
    *,
    type: str = "artifact",
    aliases: Sequence[str] = (),
    metadata: Mapping[str, Any] | None = None,
    copy: bool = False,
) -> Version:
    """A version of `name` in the run's project, made by the run (`Artifacts.log`).

    If the run's layout has a place for it, the manifest is also written in the format of Weights & Biases.
    """
    with_manifest = run.keeps(_MANIFEST)
    version = Artifacts(run.yard).log(
        name, files, type=type, metadata=metadata, run=run, aliases=aliases, copy=copy, md5=with_manifest
    )
    if with_manifest:
        text = json.dumps(version.wandb_manifest(), indent=2, ensure_ascii=False) + "\n"
        run.write(_MANIFEST, text, artifact_id=version.wandb_id)
    return version


def log_run_artifacts(run: RunWriter, best_checkpoint: CheckpointRecord | None) -> list[Version]:
    """Logs the results of a training: its best checkpoint, final predictions and statistics.

    They are, in this order, `model-{run}` (alias best, without the files that only a resume needs),
    `predictions-{run}` and `statistics-{run}` in the run's project; another run of that name makes the next
    versions. All are links to files of the run, whose digests are known; only layouts with manifests of Weights &
    Biases read the files again, for their MD5.
    """
    logged = []
    if (best := best_checkpoint) is not None:
        files, name = _checkpoint_files(run, best), derived_name("model", run.name)
        metadata = {"step": best.step, "epoch": best.epoch, "metrics": without_nan(best.metrics)}
        logged.append(log_artifact(run, files, name, type="model", aliases=["best"], metadata=metadata))
    for kind, word in (("final_predictions", "predictions"), ("per_class", "statistics")):
        paths = [run.resolve(record.path) for record in run.snapshot.records if record.kind == kind]
        if paths:
            files = {path.name: path for path in paths}
            logged.append(log_artifact(run, files, derived_name(word, run.name), type=word))
    return logged


def _checkpoint_files(run: RunWriter, checkpoint: CheckpointRecord) -> dict[str, Path]:
    """The checkpoint's files by name, from its best or final copy if there is one."""
    format_ = FORMATS[checkpoint.format]
    place = next(name for name in ("best", "final", "checkpoint", *checkpoint.paths) if name in checkpoint.paths)
    folder = run.resolve(checkpoint.paths[place].rstrip("/"))
    if not format_.is_directory:
        return {folder.name: folder}
    return {file["name"]: folder / file["name"] for file in checkpoint.files if format_.is_published(file["name"])}


def plan_removal(yard: Yard, references: Sequence[str], *, force: bool = False) -> Plan:
    """A plan that removes these versions, each named as name:v3, name:alias or project/name:v0.

    With `force` also those in use: used by a run of the yard, or with an alias other than latest.

    Raises:
        UserError: no such version, one in use, or a reference that names no version.
    """
    store, titles = Artifacts(yard), run_titles(yard)
    items: dict[str, PlanItem] = {}
    for reference in references:
        if ":" not in reference.rpartition("/")[2]:
            what = f"{reference!r} does not name a version to remove."
            raise UserError(what, f"Add the version, for example {reference}:v0.", value=reference, place=yard.root)
        version = store.find(reference)
        uses = _uses(store, version, titles)
        if uses and not force:
            what = f"{version.reference} is in use: {'; '.join(uses)}. Nothing was removed."
            remedy = "Remove the alias first, or use --force."
            raise UserError(what, remedy, value=reference, place=store.path(version))
        why = f"requested, although in use: {'; '.join(uses)}" if uses else "requested, and not in use"
        place = yard.relative(store.path(version).parent)
        title, data = f"artifact {version.reference}", {"artifact": version.reference}
        items[version.reference] = PlanItem("file", title, why, (place,), data=data)
    return make_plan(yard, "Artifacts to remove", items.values())


def remove(yard: Yard, references: Sequence[str], *, force: bool = False) -> TrashEntry | None:
    """Moves versions into the yard's trash, from which `undo` restores them; arguments as in `plan_removal`.

    The series are locked meanwhile, so that no run starts to use a version, and numbers are never reused.
    """
    store = Artifacts(yard)
    with contextlib.ExitStack() as locks:
        affected = {store.series(store.find(reference)) for reference in references}
        for series in sorted(affected, key=lambda series: series.folder):
            locks.enter_context(series.locked())
            series.set_aliases({})
        return apply(yard, plan_removal(yard, references, force=force))


def _uses(store: Artifacts, version: Version, titles: Mapping[str, str]) -> list[str]:
    """Reasons to keep a version, a phrase each."""
    aliases = [f"its alias is {alias}" for alias in version.aliases if alias != "latest"]
    runs = [note["run"] for note in store.notes(version, "used")]
    return aliases + [f"{titles[run]} ({run}) used it" for run in dict.fromkeys(runs) if run in titles]


def run_titles(yard: Yard) -> dict[str, str]:
    """Id to project/dataset/name of every run in the yard."""
    return {row["id"]: f"{row['project']}/{row['dataset']}/{row['name']}" for row in Index(yard).query("").rows}
