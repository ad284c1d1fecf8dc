"""Training a module of the user's own on data of their own, in Trainyard's loop.

    fitted = trainyard.fit(model, train=(x, y), epochs=20, project="cats")
    print(fitted.run.summary, fitted.evaluate("train"))

The run keeps what every run keeps, and is continued exactly by the same call with `resume="last"`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy.typing as npt
import torch
from torch import nn

from trainyard.analysis.scoring import Rule
from trainyard.api import Run, open_yard
from trainyard.api.directory import default_yard
from trainyard.assembly.setup import Setup, build
from trainyard.assembly.trained import newest_readable, pick, refuse_changed
from trainyard.data.items import Items
from trainyard.errors import DataError, NotResumableError, UserError
from trainyard.index import Index
from trainyard.layouts import load_layout
from trainyard.library.fit_arguments import config_of_call, digest_of_weights, place, recorded, task_faults
from trainyard.own.dataset import own_dataset
from trainyard.own.items import Digest, features_of
from trainyard.own.kind import describe_items
from trainyard.own.schema import OwnData
from trainyard.running.attempt import starting_processes
from trainyard.running.evaluate import measure
from trainyard.running.export import write_onnx
from trainyard.running.logs import RunConsole
from trainyard.running.predict import predicted
from trainyard.running.resume import resume_training
from trainyard.running.train import check_names, start_training
from trainyard.runs import RunReader, Yard
from trainyard.tasks.task import Task
from trainyard.training.checkpoint.read import load
from trainyard.training.process import Process


def fit(
    model: nn.Module,
    train: Any,
    val: Any = None,
    test: Any = None,
    *,
    task: Literal["single_label", "multi_label"] | Task = "single_label",
    classes: Sequence[str] | None = None,
    target: str | None = None,
    ids: Mapping[str, Sequence[str]] | None = None,
    digest: Digest | None = None,
    split: Mapping[str, Any] | None = None,
    project: str | None = None,
    name: str | None = None,
    dataset: str | None = None,
    yard: str | os.PathLike[str] | None = None,
    layout: str | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    seed: int | None = None,
    workers: int | None = None,
    resume: str | None = None,
    quiet: bool = False,
    **settings: Any,
) -> Fitted:
    """Trains `model` in a new run, or continues one; the module then has the weights of the best checkpoint.

    The module gets batches [B, *shape] of the items as they are, floats as float32, and returns what the task takes:
    logits [B, C] for classes. Seeds the random generators of python, numpy and torch.

    Args:
        model: any module. Its first weights are the ones that it has.
        train: a torch Dataset of (x, y), or a list of such pairs; a tuple (x, y) of arrays or tensors; or a DataFrame.
        val: likewise. None: a part of train is held out.
        test: likewise, predicted once at the end; None: nothing is tested.
        task: single_label, with integers or names of classes as y; multi_label, with rows of 0 and 1; or a `Task`.
        classes: names in the order of the outputs. None: those that y names, or their numbers.
        target: the column of a DataFrame that is y; all other columns are x.
        ids: by split, a name for each item; else they are `train[0]` and so on.
        digest: of a Dataset whose items differ each time they are read: a function of the Dataset and a position that
            returns text or bytes, others whenever the item is another.
        split: keys of `data.split`, such as {"val_fraction": 0.2, "seed": 1}. A test split is held out with
            test_fraction alone.
        project: groups runs; "default" where it is None.
        name: of the run, an error when taken; None: that of the model's class, numbered.
        dataset: the name of the data in paths and queries; "data" where it is None.
        yard: the directory of runs, made when missing; None: TRAINYARD_YARD or `outputs`.
        layout: a shipped layout or the path of a YAML; "grouped" where it is None.
        epochs: how often the items are seen; this and what follows have the defaults of `training` where None.
        batch_size: items of a step.
        learning_rate: of the optimizer.
        seed: of the order of the batches and of all that is random.
        workers: processes that read items of a Dataset; 0 reads here.
        resume: continue this run (id, name, path, "last") with the same module and data instead. What is given
            besides must be as the run has it.
        quiet: print nothing.
        settings: keys of `training`, `checkpoint` and `outputs`, device, tags, note and tracker: `grad_clip=1.0`,
            `early_stopping={"patience": 3}`, `keep_last=2`, `plots=False`.

    Raises:
        ConfigError: settings that are unknown or wrong, all of them together.
        DataError: data that cannot be trained on.
        ChangedDataError: a resume with other data.
        NotResumableError: a run that is finished, or that `fit` did not make with a module.
        Interrupted: a signal stopped the training after a whole step; `resume` continues it.
    """
    yard_root = Path(default_yard() if yard is None else yard)
    reader = RunReader(Yard(yard_root), Index(Yard(yard_root)).find(resume)) if resume is not None else None
    said = {
        "training": {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate},
        "run": {"project": project, "name": name, "seed": seed},
        "data": {"dataset": dataset, "workers": workers, "split": None if split is None else dict(split)},
        "layout": layout,
    }
    tree = {
        key: {inner: one for inner, one in value.items() if one is not None} if isinstance(value, dict) else value
        for key, value in said.items()
        if value is not None
    }
    faults = [*place(settings, tree), *task_faults(task)]
    config = config_of_call(tree, model, task, train, faults)
    own_task = None if isinstance(task, str) else task
    if reader is not None:
        config = recorded(reader, config, tree, task if isinstance(task, str) else task.scoring.name)
    assert isinstance(config.data, OwnData)
    targets: Any = task if own_task is None else "any" if classes is None else "classes"
    splits = {"train": train, "val": val, "test": test}
    told: dict[str, Any] = {"classes": classes, "target": target, "ids": ids, "digest": digest}
    data = own_dataset(splits, name=config.data.dataset or "data", targets=targets, split=config.data.split, **told)
    data = replace(data, preprocessing=describe_items(data))
    console = RunConsole(quiet=quiet)
    chosen_layout = load_layout(config.layout)
    check_names(config, chosen_layout, data.name)
    with starting_processes(config.run.device) as process:
        if reader is not None:
            refuse_changed(reader, data)
            begun = getattr(config.model, "first_weights", None)
            if newest_readable(reader) is None and begun != digest_of_weights(model):  # it would start over
                what = f"Run {reader.snapshot.name} has no checkpoint yet, and began with other weights than these."
                remedy = "Seed torch in the same way before the module is made, or start a new run."
                raise NotResumableError(what, remedy, value=begun, place=reader.home)
        setup = build(config, data, process, trust=True, model=model, task=own_task)
        if reader is None:
            home = start_training(setup, yard_root, chosen_layout, console=console)
        else:
            resume_training(setup, reader.yard, reader.home, console=console)
            home = reader.home if process.is_main else None
    setup.process = Process(0, 1, process.device)  # what follows is not done together
    return Fitted(model, setup, None if home is None else RunReader(Yard(yard_root), home))


@dataclass
class Fitted:
    """What `fit` trained: the run, and the module with the weights of its best checkpoint.

    Attributes:
        model: the module that was given, as it is now.
    """

    model: nn.Module
    _setup: Setup
    _reader: RunReader | None

    @cached_property
    def run(self) -> Run:
        """The run, to read.

        Raises:
            UserError: under torchrun, in a process that does not keep it.
        """
        reader = self._kept
        return open_yard(reader.yard.root).run(reader.snapshot.id)

    @property
    def _kept(self) -> RunReader:
        if self._reader is None:
            raise UserError("This process does not keep the run.", "Ask the process of rank 0.", place="rank")
        return self._reader

    @cached_property
    def _best(self) -> tuple[int, Rule | None]:
        """The step of the best checkpoint, and its rule."""
        choice = pick(self._kept, None)
        rule = load(choice.path, weights_only=True).decision
        return choice.checkpoint.step, rule or self._setup.task.scoring.untuned()

    def evaluate(self, split: str) -> dict[str, float]:
        """The metrics of the module on a split, train, val or test; kept with the run, as is each use of test.

        Raises:
            DataError: the split is empty.
        """
        step, rule = self._best
        return measure(self._kept, self._setup, split, step=step, rule=rule).metrics

    def predict(self, x: Any) -> dict[str, npt.NDArray[Any]]:
        """The task's predictions for new items, by name: `probabilities` float32 [N, C] for classes.

        Args:
            x: an array or a tensor [N, *shape], or a DataFrame with the columns of the training.

        Raises:
            DataError: items of another shape than those of the training.
        """
        values, setup = features_of(x), self._setup
        shape, of_item = tuple(values.shape), setup.dataset.item_shape
        if not shape or shape[1:] != of_item or not shape[0]:
            what = f"x has the shape {shape}, and an item of the training {of_item}."
            remedy = "Pass an array with a row for each item, one or more, like those of the training."
            raise DataError(what, remedy, value=shape, place="x")
        ids = tuple(str(position) for position in range(shape[0]))
        items = Items(ids, lambda positions: values[torch.from_numpy(positions)])
        return predicted(self.model, setup.task, items, setup.config.training.precision, setup.process.device)

    def export(self, path: str | os.PathLike[str]) -> Path:
        """Writes the module as ONNX to `path`, and a description of it beside; compared on the run's own data first.

        Raises:
            ConfigError: a library is missing.
            TrainyardError: it cannot be written as ONNX, or the file gives other outputs: nothing is written.
        """
        target = Path(path)
        write_onnx(self._setup, target, self._kept.snapshot.id, self._best[0])
        return target
