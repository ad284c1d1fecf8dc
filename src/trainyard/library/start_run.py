"""Trainyard as a library: runs for a user's own training loop. (`trainyard.api` reads a yard back.)

    with trainyard.start_run(project="cats", config={"lr": 1e-3}) as run:
        for step in range(1000):
            run.log({"loss": loss}, step=step)
        run.save_checkpoint({"model": model.state_dict()}, step=1000)

Needs no torch until a checkpoint of tensors is saved.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, SupportsFloat

from trainyard.api import Artifact, Checkpoint, DirectoryTransport, Run
from trainyard.api.directory import checkpoint_document, default_yard
from trainyard.artifacts import Artifacts, Files, Version
from trainyard.checkpoints import FORMATS, commit, publish
from trainyard.checkpoints.resuming import choose_to_resume
from trainyard.index import Index
from trainyard.layouts import load_layout
from trainyard.library.checkpoint_files import directory_files, single_file
from trainyard.running import artifacts, start_files
from trainyard.runs import BestStep, RunWriter, Yard, create_run, environment, resume_run
from trainyard.runs.events import Progressed


def start_run(
    project: str = "default",
    *,
    config: Mapping[str, Any] | None = None,
    name: str | None = None,
    dataset: str = "data",
    model: str = "model",
    layout: str = "grouped",
    yard: str | os.PathLike[str] | None = None,
    seed: int | None = None,
    tags: Sequence[str] = (),
    note: str = "",
    resume: str | None = None,
) -> ActiveRun:
    """A run for a training loop of your own. Use it as a context manager.

    Args:
        project: groups runs.
        config: the settings of this run; JSON-able.
        name: an explicit name, an error if taken; None: the model's, numbered.
        dataset: the name of the dataset.
        model: the name of the model.
        layout: a shipped layout or the path of a YAML file.
        yard: the directory of runs, created if missing; None: TRAINYARD_YARD or `outputs`.
        seed: for queries.
        tags: for queries.
        note: a sentence for people.
        resume: continue this run (id, name, path) instead; then `ActiveRun.resume_from` gives the checkpoint.

    Raises:
        UserError: a name that is taken or invalid, an unknown layout, a yard that cannot be written.
    """
    where = Yard(default_yard() if yard is None else yard, create=resume is None)
    if resume is not None:
        return ActiveRun(resume_run(where, Index(where).find(resume)), resuming=True)
    writer = create_run(
        where,
        load_layout(layout),
        project=project,
        dataset=dataset,
        model=model,
        name=name,
        config=config,
        seed=seed,
        tags=tags,
        note=note,
    )
    return ActiveRun(writer, resuming=False)


class ActiveRun:
    """A run that a user's own loop writes. A crash loses nothing that a completed call has written.

    Attributes:
        id: eight characters that never change.
        name: its name.
        home: its directory.
    """

    def __init__(self, writer: RunWriter, *, resuming: bool) -> None:
        self._writer, self._resuming = writer, resuming
        self.id, self.name, self.home = writer.id, writer.name, writer.home
        self._transport = DirectoryTransport(writer.yard.root)
        if not resuming:
            start_files.write_start(writer, writer.snapshot.config, (), environment.capture())

    def __repr__(self) -> str:
        return repr(self._writer)

    def log(
        self, values: Mapping[str, SupportsFloat], *, step: int, epoch: float | None = None, split: str = "train"
    ) -> None:
        """Adds one row of metrics; it survives a kill from then on, and a power cut after half a second."""
        self._begin(None)
        self._writer.log(values, step=step, epoch=epoch, split=split)

    def summary(self, **values: float | int | str | bool | None) -> None:
        """Records final values, such as test_accuracy=0.93, for lists and comparisons."""
        self._writer.summary(**values)

    def warn(self, text: str) -> None:
        """Records a warning with the run."""
        self._writer.warn(text)

    def save_checkpoint(
        self,
        state: Mapping[str, Any],
        *,
        step: int,
        epoch: float | None = None,
        metrics: Mapping[str, float] | None = None,
        best: bool = False,
    ) -> Path:
        """Writes a checkpoint atomically, and returns its path.

        Args:
            state: the contents. A layout of single files writes it with `torch.save`. In a layout of directories
                each entry becomes a file: "model" becomes `model.safetensors` (or `pytorch_model.bin`), "optimizer"
                `optimizer.pt`, others `{key}.pt`; an entry that is a function is called with the path to write.
            step: optimizer steps done.
            epoch: epochs done, if you count them.
            metrics: saved with it, for choosing the best.
            best: also publish it under the layout's name for the best checkpoint.

        Raises:
            CheckpointError: this step already has a checkpoint.
            DiskFullError: the disk is full; earlier checkpoints are intact.
        """
        self._begin(None)
        writer = self._writer
        format_ = FORMATS[writer.layout.checkpoint_format]
        files = directory_files(state, format_.weights) if format_.is_directory else {"": single_file(state)}
        checkpoint = commit(writer, files, step=step, epoch=epoch or 0.0, metrics=metrics, inside_epoch=epoch is None)
        if best:
            publish(writer, checkpoint, "best")
            chosen = BestStep(step, epoch, None)
            writer.event(Progressed(step, epoch or 0.0, dict(metrics or {}), chosen))
        return writer.yard.root / checkpoint.paths["checkpoint"]

    def save_predictions(
        self,
        ids: Sequence[str],
        labels: Any,
        probabilities: Any,
        classes: Sequence[str],
        *,
        chosen: Any = None,
        split: str = "test",
        epoch: int | None = None,
        item_column: str = "id",
        label_column: str = "label",
    ) -> Path | None:
        """Writes predictions as CSV and, without `epoch`, the per-class statistics too.

        Args:
            ids: one name per item, or its text.
            labels: the targets: positions in `classes`, int [N], or bool [N, classes] if an item has a set of labels.
            probabilities: float [N, classes].
            classes: names in label order.
            chosen: bool [N, classes], the predicted sets of labels; None: all with a probability of at least 0.5.
            split: train, val or test.
            epoch: for predictions during training; None for the final ones.
            item_column: the first header: `id`, or `text` for texts.
            label_column: the first header of the statistics, such as `emotion`.
        """
        import numpy as np

        from trainyard.analysis.classification import metrics, predictions
        from trainyard.analysis.classification.decisions import ARGMAX, Decision

        one_each = np.ndim(labels) == 1
        if one_each and chosen is not None:
            raise ValueError("chosen is for sets of labels; with one label per item the most probable class is chosen")
        if chosen is None:
            chosen = (ARGMAX if one_each else Decision("fixed", (0.5,) * len(classes))).choose(probabilities)
        text = predictions.predictions_csv(ids, labels, chosen, probabilities, classes, item_column=item_column)
        if epoch is not None:
            return self._writer.write("predictions", text, split=split, epoch=epoch)
        path = self._writer.write("final_predictions", text, split=split)
        kept = self._writer.keeps("per_class")
        # A path without the split is for the test split alone.
        if kept and (split == "test" or "split" in self._writer.layout.facts_of("per_class")):
            rows = metrics.per_class(labels, chosen, classes)
            self._writer.write("per_class", predictions.per_class_csv(rows, label_column), split=split)
        return path

    def save_file(self, source: str | os.PathLike[str] | bytes, name: str) -> Path:
        """Copies a file (or bytes) into the run under `name`, which may contain folders."""
        return self._writer.save_file(source, name)

    def log_artifact(
        self,
        files: Files,
        name: str,
        *,
        type: str = "artifact",
        aliases: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        copy: bool = False,
    ) -> Artifact:
        """Saves files as a version of the artifact `name`; unchanged content returns the existing version.

        The files are linked, not copied, and take no more disk space. A file that is later modified in place would
        change in the version too, which is detected but cannot be undone: use `copy=True` for files that grow or
        are edited in place. `latest` and all `aliases` now refer to this version.

        Args:
            files: a file, a folder, or a mapping of names in the artifact to files and folders.
            name: its name in the run's project.
            type: model, dataset …; the same in all versions.
            aliases: names for this version, such as best, which are taken from other versions.
            metadata: a description, JSON-able.
            copy: copy the files instead of linking them.

        Raises:
            UserError: an invalid name, a missing file, or another type than before; nothing is saved.
            DiskFullError: no space for copies.
        """
        described: Any = {"type": type, "aliases": aliases, "metadata": metadata}
        return self._artifact(artifacts.log_artifact(self._writer, files, name, copy=copy, **described))

    def use_artifact(self, reference: str) -> Artifact:
        """The artifact `name`, `name:best`, `name:v3` or `project/name:v3`; the latest version if none is given.

        The use is recorded in the lineage of both; `download` copies its files and verifies their digests.

        Raises:
            UserError: there is no such artifact; lists those that exist.
        """
        return self._artifact(Artifacts(self._writer.yard).use(reference, self._writer))

    def _artifact(self, version: Version) -> Artifact:
        return Artifact(self._transport, self._transport.artifact(version), Run)

    def resume_from(self, step: int | str | None = None) -> Checkpoint | None:
        """The newest complete checkpoint to continue from; None if there is none, to start from the beginning.

        Discards metric rows after its step, and sets damaged checkpoints aside. Call it before logging.

        Args:
            step: a step, or "best"; None for the newest.

        Raises:
            CheckpointError: no such step, or no complete checkpoint is left.
            NotResumableError: there are checkpoints after that step.
        """
        choice = choose_to_resume(self._writer, step)
        self._begin(choice.checkpoint.step if choice else None)
        if choice is None:
            return None
        recorded = choice.checkpoint.paths
        place = next(place for place in recorded if self._writer.resolve(recorded[place]) == choice.path)
        run = Run(self._transport, self._transport.run_at(self.home))
        return Checkpoint(run, checkpoint_document(choice.checkpoint), place)

    def _begin(self, resumed_from: int | None) -> None:
        """Begins the attempt of a resumed run, on its first call."""
        if self._resuming:
            self._resuming = False
            if resumed_from is None and self._writer.snapshot.checkpoints:
                resumed_from = self._writer.snapshot.checkpoints[-1].step
            self._writer.begin_attempt(resumed_from)

    def finish(self) -> None:
        """Ends the run as finished."""
        self._begin(None)
        self._writer.finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if self._resuming and error is not None:  # nothing was written: the run stays as it was
            self._writer.abandon()
            return
        self._begin(None)
        self._writer.__exit__(kind, error, trace)
