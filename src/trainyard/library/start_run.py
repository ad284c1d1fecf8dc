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
from types import TracebackType
from typing import Any, Self, SupportsFloat

from trainyard.api import Artifact, Checkpoint, DirectoryTransport, Run
from trainyard.api.directory import checkpoint_document
from trainyard.artifacts import Artifacts, Files
from trainyard.checkpoints import FORMATS, FileWriter, commit, publish
from trainyard.checkpoints.resuming import choose_to_resume
from trainyard.index import Index
from trainyard.layouts import load_layout
from trainyard.library.checkpoint_files import directory_files, single_file
from trainyard.running import artifacts, provenance
from trainyard.runs import BestStep, RunWriter, Yard, create_run, environment, resume_run
from trainyard.runs.events import Progressed

State = Mapping[str, Any]


def start_run(
    project: str = "default",
    *,
    config: Mapping[str, Any] | None = None,
    name: str | None = None,
    dataset: str = "data",
    model: str = "model",
    layout: str = "grouped",
    yard: str | os.PathLike[str] = "outputs",
    seed: int | None = None,
    tags: Sequence[str] = (),
    note: str = "",
    resume: str | None = None,
) -> ActiveRun:
    """A run to keep a loop of your own in. Use it as a context manager.

    Args:
        project: groups runs.
        config: whatever says what this run does; JSON-able.
        name: an explicit name, an error when taken; None: the model's, numbered.
        dataset: what is trained on.
        model: what is trained.
        layout: a shipped layout or the path of a YAML.
        yard: the directory of runs; made when missing.
        seed: for queries.
        tags: words to find it by.
        note: a sentence for people.
        resume: continue this run (id, name, path) instead; `ActiveRun.resume_from` then says where from.

    Raises:
        UserError: a name that is taken or cannot be, an unknown layout, a yard that cannot be written.
    """
    if resume is not None:
        there = Yard(yard)
        return ActiveRun(resume_run(there, Index(there).find(resume)), resuming=True)
    writer = create_run(
        Yard(yard, create=True),
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
    """A run being written by a user's own loop. After a crash, everything is there that a call returned for.

    Attributes:
        id: eight characters that never change.
        name: what it is called.
        home: its directory.
    """

    def __init__(self, writer: RunWriter, *, resuming: bool) -> None:
        self._writer = writer
        self._resuming = resuming
        self.id = writer.id
        self.name = writer.name
        self.home = writer.home
        if not resuming:
            provenance.write_start(writer, writer.snapshot.config, (), environment.capture())

    def __repr__(self) -> str:
        return repr(self._writer)

    def log(
        self, values: Mapping[str, SupportsFloat], *, step: int, epoch: float | None = None, split: str = "train"
    ) -> None:
        """Adds one row of metrics in microseconds; a kill cannot lose it then, nor a power cut half a second later."""
        self._begin(None)
        self._writer.log(values, step=step, epoch=epoch, split=split)

    def summary(self, **values: float | int | str | bool | None) -> None:
        """Keeps final values, such as test_accuracy=0.93: what lists and comparisons show."""
        self._writer.summary(**values)

    def warn(self, text: str) -> None:
        """Keeps a warning with the run."""
        self._writer.warn(text)

    def save_checkpoint(
        self,
        state: State | Mapping[str, FileWriter],
        *,
        step: int,
        epoch: float | None = None,
        metrics: Mapping[str, float] | None = None,
        best: bool = False,
    ) -> Path:
        """Writes a checkpoint whole, or not at all, and returns its path.

        Args:
            state: what to keep. In a layout of single files it is written by `torch.save`. In one of
                directories each entry becomes a file: "model" becomes `model.safetensors` (or
                `pytorch_model.bin`), "optimizer" `optimizer.pt`, others `{key}.pt`; an entry that is
                a function is called with the path to write.
            step: optimizer steps done.
            epoch: epochs done, if you count them.
            metrics: kept with it, for choosing the best.
            best: give it the layout's name for the best checkpoint, too.

        Raises:
            CheckpointError: this step has one already.
            DiskFullError: no room; earlier checkpoints are intact.
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
        """Writes predictions as CSV and, without `epoch`, the per-class statistics beside them.

        Args:
            ids: one name an item, or its text.
            labels: the truth: positions in `classes`, int [N], or bool [N, classes] where an item has a set of labels.
            probabilities: float [N, classes].
            classes: names in label order.
            chosen: bool [N, classes], the labels predicted where an item has a set; None: those of 0.5 and more.
            split: train, val or test.
            epoch: for predictions on the way; None for the final ones.
            item_column: the first header: `id`, or `text` for texts.
            label_column: the first header of the statistics, such as `emotion`.
        """
        import numpy as np

        from trainyard.analysis.classification import metrics, predictions
        from trainyard.analysis.classification.decisions import ARGMAX, Decision

        if chosen is not None and np.ndim(labels) == 1:
            raise ValueError("chosen is for sets of labels; with one label an item it is the most probable class")
        if chosen is None:
            rule = ARGMAX if np.ndim(labels) == 1 else Decision("fixed", (0.5,) * len(classes))
            chosen = rule.choose(probabilities)
        text = predictions.predictions_csv(ids, labels, chosen, probabilities, classes, item_column=item_column)
        if epoch is not None:
            return self._writer.write("predictions", text, split=split, epoch=epoch)
        path = self._writer.write("final_predictions", text, split=split)
        kept = self._writer.keeps("per_class")
        if kept and (split == "test" or "split" in self._writer.layout.facts_of("per_class")):  # else it is of test
            rows = metrics.per_class(labels, chosen, classes)
            self._writer.write("per_class", predictions.per_class_csv(rows, label_column), split=split)
        return path

    def save_file(self, source: str | os.PathLike[str] | bytes, name: str) -> Path:
        """Copies a file of yours (or bytes) into the run under `name`, which may have folders."""
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
        """Keeps files as a version of the artifact `name`; unchanged content gives the version there is.

        The files are linked, not copied, and take no further disk. One that is later written into, instead
        of replaced, would change in the version too, which is detected but cannot be undone: give `copy=True` for
        files that grow or are edited in place. From then on `latest`, and every one of `aliases`, means it.

        Args:
            files: a file, a folder, or a mapping of names in the artifact to files and folders.
            name: what it is called in the run's project.
            type: what kind of thing it is: model, dataset …; the same in all versions.
            aliases: names for this version, such as best; another version that has one loses it.
            metadata: what to say of it, JSON-able.
            copy: copy the files instead of linking them.

        Raises:
            UserError: a name that cannot be, a missing file, another type than before; nothing is kept.
            DiskFullError: no room for copies.
        """
        version = artifacts.log_artifact(
            self._writer, files, name, type=type, aliases=aliases, metadata=metadata, copy=copy
        )
        transport = DirectoryTransport(self._writer.yard.root)
        return Artifact(transport, transport.artifact(version), Run)

    def use_artifact(self, reference: str) -> Artifact:
        """The artifact that `name`, `name:best`, `name:v3` or `project/name:v3` means, without a version the latest.

        That this run used it is kept in both their lineages; `download` gives its files, every byte checked.

        Raises:
            UserError: there is no such artifact; lists what there is.
        """
        transport = DirectoryTransport(self._writer.yard.root)
        return Artifact(transport, transport.artifact(Artifacts(self._writer.yard).use(reference, self._writer)), Run)

    def resume_from(self, step: int | str | None = None) -> Checkpoint | None:
        """The newest whole checkpoint to continue from; None when there is none: begin at the beginning.

        Metric rows after its step no longer count, and damaged checkpoints are set aside. Call it before logging.

        Args:
            step: a step, or "best"; None for the newest.

        Raises:
            CheckpointError: no such step, or nothing whole is left.
            NotResumableError: there are checkpoints after that step.
        """
        choice = choose_to_resume(self._writer, step)
        self._begin(choice.checkpoint.step if choice else None)
        if choice is None:
            return None
        recorded = choice.checkpoint.paths
        place = next(place for place in recorded if self._writer.resolve(recorded[place]) == choice.path)
        transport = DirectoryTransport(self._writer.yard.root)
        return Checkpoint(Run(transport, transport.run_at(self.home)), checkpoint_document(choice.checkpoint), place)

    def _begin(self, resumed_from: int | None) -> None:
        """The first thing a resumed run does begins its attempt."""
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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._resuming and error is not None:  # nothing was done: the run stays as it was
            self._writer.abandon()
            return
        self._begin(None)
        self._writer.__exit__(kind, error, trace)
