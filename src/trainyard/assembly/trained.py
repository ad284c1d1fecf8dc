"""Opens a trained run: the one way for evaluating, predicting, exporting and resuming.

A `Trained` is a run's config and one of its checkpoints: the network with its weights, the task, the rule by
which predictions become decisions. The data is read on first use, and rejected if it is no longer the data that
the run was trained on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from trainyard.analysis.scoring import Rule
from trainyard.assembly.setup import Setup, build, load_dataset
from trainyard.assembly.task import open_task
from trainyard.checkpoints import Choice, choose
from trainyard.config import kinds
from trainyard.config.convert import from_dict
from trainyard.config.schema import Config
from trainyard.data.dataset import Dataset, explain_change
from trainyard.errors import ChangedDataError, CheckpointError, NotResumableError, UnknownCheckpointError
from trainyard.models import from_model_config
from trainyard.runs import RunReader
from trainyard.tasks.task import Task
from trainyard.training import process as processes
from trainyard.training.checkpoint.read import Loaded, load
from trainyard.training.checkpoint.restore import load_weights
from trainyard.training.process import Process


@dataclass
class Trained:
    """A run with one of its checkpoints."""

    run: RunReader
    config: Config
    step: int  # optimizer steps of the checkpoint
    path: Path  # of the checkpoint
    loaded: Loaded  # its contents
    process: Process
    trust: bool = False  # builds `_target_` objects outside the allow-list, which runs their code

    @classmethod
    def open(
        cls, run: RunReader, checkpoint: str | int | None = None, *, device: str = "auto", trust: bool = False
    ) -> Trained:
        """The run's checkpoint ("best": None; "last", or a step), read and verified.

        Raises:
            UnknownCheckpointError: the run has no such checkpoint.
            CheckpointError: it is damaged.
            NotResumableError: the run was written by a user's own loop, so there is no config to build it from.
        """
        choice = pick(run, checkpoint)
        config = config_of(run, trust=True)  # reading builds nothing; targets are checked when they are built
        loaded = load(choice.path, weights_only=True)
        return cls(run, config, choice.checkpoint.step, choice.path, loaded, processes.start(device), trust)

    @cached_property
    def model(self) -> nn.Module:
        """The network with the checkpoint's weights, in evaluation mode on the device. Needs no data.

        Raises:
            UnsafeTargetError: its class is outside the allow-list, and `trust` is off.
            CheckpointError: the weights do not fit the network that the checkpoint describes.
        """
        model = from_model_config(self.loaded.model_config, self.loaded.files, trust=self.trust)
        load_weights(model, self.loaded.model, str(self.path))
        return model.to(self.process.device).eval()

    @cached_property
    def task(self) -> Task:
        """The meaning of the outputs; it predicts, but has no loss."""
        return open_task(self.config, self.loaded.model_config, trust=self.trust)

    @property
    def rule(self) -> Rule | None:
        """How predictions become decisions: the checkpoint's rule, or the untuned one of a first checkpoint."""
        return self.loaded.decision or self.task.scoring.untuned()

    @property
    def preprocessing(self) -> Mapping[str, Any]:
        """How a raw item becomes the network's input, as the run recorded it; see `config.kinds`."""
        recorded = self.run.snapshot.data
        described: Mapping[str, Any] | None = recorded.get("preprocessing")
        if described is None:  # a run of version 0.1 did not record it; it follows from the config
            kind = kinds.torch_side("data", self.config.data.source)
            item_shape = recorded.get("item_shape") or self.loaded.model_config.get("item_shape")
            described = kind.preprocessing(self.config, item_shape)
        return described

    @cached_property
    def setup(self) -> Setup:
        """The run's training on its own data, with the checkpoint's weights, for evaluation only.

        Raises:
            UnsafeTargetError: the config names an object outside the allow-list, and `trust` is off.
            ChangedDataError: the data is not what the run was trained on.
            DataError: it cannot be read.
        """
        config_of(self.run, trust=self.trust)
        dataset = dataset_of(self.run, self.config, self.loaded, trust=self.trust)
        setup = build(self.config, dataset, self.process, trust=self.trust, saved=self.loaded, trains=False)
        load_weights(setup.model, self.loaded.model, str(self.path))
        return setup


def config_of(run: RunReader, *, trust: bool = False) -> Config:
    """The run's configuration.

    Raises:
        UnsafeTargetError: it names a `_target_` outside the allow-list, and `trust` is off.
        NotResumableError: the run was written by a user's own loop, which Trainyard cannot repeat.
    """
    if "training" not in run.snapshot.config:
        what = f"Run {run.snapshot.name} was written by a training loop other than `trainyard train`."
        remedy = "Continue it from your own code with `trainyard.start_run(resume=…)`."
        raise NotResumableError(what, remedy, place=run.home)
    return from_dict(run.snapshot.config, where=str(run.home / ".run"), trust=trust)


def dataset_of(run: RunReader, config: Config, saved: Loaded | None, *, trust: bool = False) -> Dataset:
    """The run's data as it is now, read with the files of its checkpoint `saved` if it has one yet.

    Raises:
        ChangedDataError: it is not the data that the run began with; lists the changes.
        DataError: it cannot be read.
    """
    dataset = load_dataset(config, trust=trust, item_shape=run.snapshot.data.get("item_shape"), saved=saved)
    refuse_changed(run, dataset)
    return dataset


def refuse_changed(run: RunReader, dataset: Dataset) -> None:
    """Raises ChangedDataError, with the changes, if the data is not the data that the run began with."""
    changes = explain_change(run.snapshot.data, dataset.fingerprint()) if run.snapshot.data else []
    if changes:
        what = f"The data of run {run.snapshot.name} has changed since it began: {' '.join(changes)}"
        remedy = f"Restore the data, or train a new run on it with `trainyard train --like {run.snapshot.id}`."
        raise ChangedDataError(what, remedy, value=changes, place=run.home)


def newest_readable(run: RunReader) -> Loaded | None:
    """The newest checkpoint that can be read; None if there is none."""
    for checkpoint in reversed(run.snapshot.checkpoints):
        path = run.locate(checkpoint)
        if path is not None:
            with contextlib.suppress(CheckpointError):
                return load(path, weights_only=True)
    return None


def pick(run: RunReader, which: str | int | None) -> Choice:
    """The checkpoint that `which` names: "best" (or None), "last", or a step.

    Raises:
        UnknownCheckpointError: the run has no such checkpoint.
        CheckpointError: it is damaged.
    """
    wanted = "best" if which is None else str(which)
    if wanted not in ("best", "last") and not wanted.isdecimal():
        what = f"{wanted!r} is not a checkpoint."
        raise UnknownCheckpointError(what, "Use best, last or a step.", value=wanted, place=run.home)
    choice = choose(run, step=int(wanted) if wanted.isdecimal() else wanted)
    if choice is None:
        what = f"Run {run.snapshot.name} has no checkpoint."
        remedy = f"Continue its training with `trainyard resume {run.snapshot.id}`."
        raise UnknownCheckpointError(what, remedy, value=wanted, place=run.home)
    return choice
