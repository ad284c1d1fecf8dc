"""The resolved configuration of a run, as frozen dataclasses.

One class a section; `model` and `data` are unions told apart by `name` and `source`. Everything
below `app` takes plain arguments, never these objects. A field's comment is its documentation.
`compose` builds them from YAML and reports every fault at once. Imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Target = Mapping[str, Any]  # {"_target_": "torch.optim.AdamW", **keyword arguments}


@dataclass(frozen=True)
class RunSection:
    """What the run is called, and which of its parts happen, where and from which seed."""

    project: str = "default"  # groups runs; a folder in most layouts
    name: str | None = None  # null: the model's name, `-2`, `-3` … when taken
    seed: int = 0  # seeds python, numpy, torch, the order of the batches
    train: bool = True  # false with test=true: only test `checkpoint_path`
    test: bool = True  # predict the test split with the best checkpoint at the end
    checkpoint_path: str | None = None  # weights to start from, or to test
    device: str = "auto"  # auto | cpu | cuda | cuda:1 | mps
    tags: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class SplitOptions:
    """How items are shared out among train, val and test."""

    val_fraction: float = 0.1  # share of the items, when the data has no official split
    test_fraction: float = 0.2
    seed: int = 0  # apart from run.seed, so that seeds are compared on one split
    on_leak: Literal["warn", "error", "drop"] = "warn"  # identical items or groups across splits


@dataclass(frozen=True)
class DigitsData:
    """scikit-learn's handwritten digits: 1,797 images of 8 x 8, ten classes."""

    source: Literal["digits"] = "digits"
    dataset: str = "digits"  # the name used in paths and queries
    split: SplitOptions = SplitOptions()


@dataclass(frozen=True)
class NpzData:
    """An .npz with `images`, `labels` (or `{split}_images`, `{split}_labels`; x/y likewise)."""

    path: str
    source: Literal["npz"] = "npz"
    dataset: str | None = None  # null: the file's stem
    classes: tuple[str, ...] | None = None  # names in label order; null: the labels themselves
    split: SplitOptions = SplitOptions()


@dataclass(frozen=True)
class ImageFolderData:
    """A folder of images per class, optionally below train/ val/ test/ folders."""

    path: str
    source: Literal["image_folder"] = "image_folder"
    dataset: str | None = None  # null: the folder's name
    image_size: tuple[int, int] = (64, 64)  # height, width after resizing
    channels: Literal[1, 3] = 3
    classes: tuple[str, ...] | None = None  # null: the folders, sorted
    workers: int = 0  # processes that decode images; 0: the training process
    on_bad_file: Literal["error", "skip"] = "error"
    split: SplitOptions = SplitOptions()


@dataclass(frozen=True)
class CsvData:
    """A CSV of image paths and labels; paths are relative to the CSV."""

    path: str
    source: Literal["csv"] = "csv"
    dataset: str | None = None  # null: the file's stem
    path_column: str = "path"
    label_column: str = "label"
    group_column: str | None = None  # items of one group stay on one side of a split
    split_column: str | None = None  # official splits: train, val, test
    image_size: tuple[int, int] = (64, 64)
    channels: Literal[1, 3] = 3
    classes: tuple[str, ...] | None = None
    workers: int = 0
    on_bad_file: Literal["error", "skip"] = "error"
    split: SplitOptions = SplitOptions()


@dataclass(frozen=True)
class MlpModel:
    """A multi-layer perceptron on the flattened item; hidden=[453] on 28 x 28 is 784-453-10."""

    name: Literal["mlp"] = "mlp"
    hidden: tuple[int, ...] = (128,)
    dropout: float = 0.0


@dataclass(frozen=True)
class CnnModel:
    """Convolution, batch norm and ReLU per entry of `channels`; halves the size after each but the last."""

    name: Literal["cnn"] = "cnn"
    channels: tuple[int, ...] = (32, 64, 64)
    dropout: float = 0.1


@dataclass(frozen=True)
class EarlyStopping:
    """When to stop because `training.monitor` no longer improves."""

    patience: int | None = None  # epochs without improvement before stopping; null: never
    min_delta: float = 0.0  # smallest change of the monitored value that counts


@dataclass(frozen=True)
class TrainingSection:
    """How the model learns."""

    epochs: int = 10
    batch_size: int = 64  # per optimizer step and process, before accumulation
    learning_rate: float = 1e-3
    optimizer: Target = field(default_factory=lambda: {"_target_": "torch.optim.AdamW"})
    scheduler: Target | None = None  # null: constant learning rate
    scheduler_interval: Literal["epoch", "step"] = "epoch"
    criterion: Target = field(default_factory=lambda: {"_target_": "torch.nn.CrossEntropyLoss"})
    label_smoothing: float = 0.0  # for criteria that take it
    class_weights: Literal["none", "balanced"] | tuple[float, ...] = "none"
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"  # autocast; fp16 with a gradient scaler
    grad_clip: float | None = None  # largest norm of the gradient
    grad_accumulation: int = 1  # batches per optimizer step
    monitor: str = "val_loss"  # chooses the best checkpoint, drives early stopping and plateaus
    mode: Literal["auto", "min", "max"] = "auto"  # auto: min for losses, max for the rest
    early_stopping: EarlyStopping = EarlyStopping()
    log_every: int = 50  # steps between rows of training loss


@dataclass(frozen=True)
class CheckpointSection:
    """When checkpoints are written, and which stay."""

    every_epochs: int = 1
    every_steps: int | None = None  # also inside epochs
    keep_last: int | None = 3  # newest to keep; null: all
    keep_best: int = 1  # best to keep besides
    keep_every: int | None = None  # also keep each n-th epoch
    keep_optimizer: Literal["all", "last"] = "all"  # last: superseded ones lose it (not resumable)
    single_file: bool = False  # one model.safetensors even when part of the model is frozen
    background: bool = True  # write while training goes on


@dataclass(frozen=True)
class OutputsSection:
    """What is written besides checkpoints, history and logs."""

    val_predictions_every: int = 0  # epochs between files of validation predictions; 0: only the best epoch
    plots: bool = True


@dataclass(frozen=True)
class Config:
    """Everything a run was asked to do. Saved with the run; `from_dict(to_dict(c)) == c`."""

    data: DigitsData | NpzData | ImageFolderData | CsvData = DigitsData()
    model: MlpModel | CnnModel = CnnModel()
    run: RunSection = RunSection()
    training: TrainingSection = TrainingSection()
    checkpoint: CheckpointSection = CheckpointSection()
    outputs: OutputsSection = OutputsSection()
    layout: str = "grouped"  # a shipped layout, or the path of a YAML
    tracker: Literal["none", "tensorboard"] = "tensorboard"
    recipe: str = "digits"
