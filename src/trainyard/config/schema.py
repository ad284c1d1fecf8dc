"""The resolved configuration of a run, as frozen dataclasses: the sections that every training has.

One class a section. What `data` and `model` may be is the business of the packages in `kinds`; each lists
dataclasses of its own, told apart by `source` and `name`. A field's comment is its documentation.
`compose` builds them from YAML and reports every fault at once. Imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, Protocol

from trainyard.config import kinds

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
    test_groups: tuple[str, ...] = ()  # speakers or other groups that make up test, in place of any official split
    by_group: bool = True  # groups stay on one side of the splits made here; false: only items are shared out
    on_leak: Literal["warn", "error", "drop"] = "warn"  # identical items or groups across splits


class DataSection(Protocol):
    """What every kind of data has in `data`.

    A class attribute `reads_with_checkpoint`, where it is true, says that the files of a checkpoint are needed
    to read the data for it. `multi_label` says whether an item may have several labels, None where only the data
    can tell; without it an item has one.
    """

    @property
    def source(self) -> str:
        """Which kind it is."""

    @property
    def dataset(self) -> str | None:
        """The name used in paths and queries; None: a name of the source's choice."""

    @property
    def split(self) -> SplitOptions:
        """How items are shared out."""


class ModelSection(Protocol):
    """What every model has in `model`.

    Class attributes may say more: `has_own_head = True` where the network names the parameters of its head, and
    `takes_cosine_head = False` where that head cannot be replaced, `outputs_unknown = True` where only an item can
    tell whether there is an output for each class.
    """

    @property
    def name(self) -> str:
        """Which model it is."""


@dataclass(frozen=True)
class MarginOptions:
    """The angular margin of training.use_arcface."""

    scale: float | None = None  # null: 30 for arcface, 80 for circle
    margin: float | None = None  # null: 0.5 for arcface (radians), 0.4 for circle


@dataclass(frozen=True)
class DistillationOptions:
    """Learning from a teacher: (1 - alpha) * loss + alpha * KL * temperature²."""

    enabled: bool = False
    teacher_model_path: str | None = None  # a checkpoint of a run; its classes must be the data's
    alpha: float = 0.5
    temperature: float = 4.0


@dataclass(frozen=True)
class ThresholdOptions:
    """From which probability on an item has a label, when it may have several. Kept with each checkpoint."""

    mode: Literal["per_class", "global", "top_k", "fixed"] = "per_class"  # tuned on validation, but for fixed
    value: float = 0.5  # of fixed
    k: int | None = None  # labels an item with top_k; null: tuned


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
    head_learning_rate: float | None = (
        None  # of what starts from random weights in a model with a head of its own; null: as all
    )
    optimizer: Target = field(default_factory=lambda: {"_target_": "torch.optim.AdamW"})
    scheduler: Target | None = None  # null: constant learning rate
    scheduler_interval: Literal["epoch", "step"] = "epoch"
    criterion: Target = field(default_factory=lambda: {"_target_": "torch.nn.CrossEntropyLoss"})
    label_smoothing: float = 0.0  # for criteria that take it
    class_weights: Literal["none", "balanced"] | tuple[float, ...] = "none"
    use_arcface: Literal["arcface", "circle"] | None = None  # a cosine head trained with an angular margin
    margin: MarginOptions = MarginOptions()
    distillation: DistillationOptions = DistillationOptions()
    thresholds: ThresholdOptions = ThresholdOptions()
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"  # autocast; fp16 with a gradient scaler
    grad_clip: float | None = None  # largest norm of the gradient
    grad_accumulation: int = 1  # batches per optimizer step
    monitor: str = "val_loss"  # chooses the best checkpoint, drives early stopping and plateaus
    mode: Literal["auto", "min", "max"] = "auto"  # auto: min for losses, max for the rest
    early_stopping: EarlyStopping = EarlyStopping()
    log_every: int = 50  # steps between rows of training loss


@dataclass(frozen=True)
class SpectrogramAugmentations:
    """What is changed in each spectrogram of the training split, drawn anew every epoch."""

    time_masks: int = 0
    time_width: float = 0.1  # of the widest time mask, as a share of the frames
    freq_masks: int = 0
    freq_width: float = 0.1  # of the widest frequency mask, as a share of the mels
    max_masked: float = 0.5  # largest share of a spectrogram that all masks together may hide
    time_shift: float = 0.0  # largest shift, as a share of the frames
    freq_stretch: float = 0.0  # largest stretch of the frequency axis: 0.1 for 0.9 to 1.1


@dataclass(frozen=True)
class AugmentationsSection:
    """What is changed in the training split; evaluation sees the items as they are."""

    waveform: Target | None = None  # such as audiomentations.Compose with a list of transforms
    spectrogram: SpectrogramAugmentations = SpectrogramAugmentations()


@dataclass(frozen=True)
class SystemSection:
    """Where things lie on this machine. Nothing here changes a result."""

    audio_dir: str = "data"  # holds a folder a corpus, called like it, for when data.path is null
    cache_dir: str | None = None  # of decoded sound and features; null: TRAINYARD_CACHE, or ~/.cache/trainyard
    cache_mb: float = 4096.0  # what the cache may hold; 0: no cache


@dataclass(frozen=True)
class CheckpointSection:
    """When checkpoints are written, and which stay."""

    # auto: as often as is worth what one costs, at most 5 % of the time; where the two below are null
    every: Literal["auto"] = "auto"
    every_epochs: int | None = None
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
    artifacts: bool = False  # keep the best checkpoint, predictions and statistics as versioned artifacts too


@dataclass(frozen=True)
class Config:
    """Everything a run was asked to do. Saved with the run; `from_dict(to_dict(c)) == c`."""

    data: DataSection = field(default_factory=partial(kinds.default, "data"))
    model: ModelSection = field(default_factory=partial(kinds.default, "model"))
    # A `Task` of your own; null: classes, with one label an item or several, as the data has them.
    task: Target | None = None
    run: RunSection = RunSection()
    training: TrainingSection = TrainingSection()
    augmentations: AugmentationsSection = AugmentationsSection()
    system: SystemSection = SystemSection()
    checkpoint: CheckpointSection = CheckpointSection()
    outputs: OutputsSection = OutputsSection()
    layout: str = "grouped"  # a shipped layout, or the path of a YAML
    tracker: Literal["none", "tensorboard", "wandb"] = "tensorboard"  # wandb: besides TensorBoard
    recipe: str = "digits"
