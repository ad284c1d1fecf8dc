"""The resolved configuration of a run, as frozen dataclasses: the sections that every training has.

The packages in `kinds` define what `data` and `model` may be; each lists its dataclasses, distinguished by `source`
and `name`. A field's comment is its documentation. Imports nothing heavy.
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
    """The run's name, its parts, device and seed."""

    project: str = "default"  # groups runs; a folder in most layouts
    name: str | None = None  # null: the model's name, with `-2`, `-3` … if taken
    seed: int = 0  # seeds python, numpy, torch, the order of the batches
    train: bool = True  # false with test=true: only test `checkpoint_path`
    test: bool = True  # predict the test split with the best checkpoint at the end
    checkpoint_path: str | None = None  # weights to start from, or to test
    device: str = "auto"  # auto | cpu | cuda | cuda:1 | mps
    tags: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class SplitOptions:
    """How items are divided into train, val and test."""

    val_fraction: float = 0.1  # share of the items, when the data has no official split
    test_fraction: float = 0.2
    seed: int = 0  # independent of run.seed, so that seeds are compared on one split
    test_groups: tuple[str, ...] = ()  # speakers or other groups that form test, replacing any official split
    by_group: bool = True  # keep each group within one split; false: split items individually
    on_leak: Literal["warn", "error", "drop"] = "warn"  # identical items or groups across splits


class DataSection(Protocol):
    """The fields of `data` that every kind of data has.

    A true class attribute `reads_with_checkpoint` means that reading the data for a checkpoint needs the files of
    that checkpoint. `multi_label`: whether an item may have several labels, None where only the data determines it;
    without the attribute an item has one.
    """

    @property
    def source(self) -> str:
        """The kind of data."""

    @property
    def dataset(self) -> str | None:
        """The name used in paths and queries; None: the source chooses one."""

    @property
    def split(self) -> SplitOptions:
        """How items are divided."""


class ModelSection(Protocol):
    """The fields of `model` that every model has.

    Optional class attributes: `has_own_head = True` if the network names the parameters of its head,
    `takes_cosine_head = False` if that head cannot be replaced, and `outputs_unknown = True` if only an item can
    tell whether there is an output for each class.
    """

    @property
    def name(self) -> str:
        """The family of models."""


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
    """The least probability of a label, for items with several labels. Saved with each checkpoint."""

    mode: Literal["per_class", "global", "top_k", "fixed"] = "per_class"  # tuned on validation, except fixed
    value: float = 0.5  # for mode=fixed
    k: int | None = None  # labels per item for mode=top_k; null: tuned


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
    head_learning_rate: float | None = None  # of randomly initialised layers, in a model with a head; null: as the rest
    optimizer: Target = field(default_factory=lambda: {"_target_": "torch.optim.AdamW"})
    scheduler: Target | None = None  # null: constant learning rate
    scheduler_interval: Literal["epoch", "step"] = "epoch"
    criterion: Target = field(default_factory=lambda: {"_target_": "torch.nn.CrossEntropyLoss"})
    label_smoothing: float = 0.0  # for criteria with that argument
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
    """Augmentations of the training split's spectrograms, drawn again every epoch."""

    time_masks: int = 0
    time_width: float = 0.1  # of the widest time mask, as a share of the frames
    freq_masks: int = 0
    freq_width: float = 0.1  # of the widest frequency mask, as a share of the mels
    max_masked: float = 0.5  # largest share of a spectrogram that all masks together may hide
    time_shift: float = 0.0  # largest shift, as a share of the frames
    freq_stretch: float = 0.0  # largest stretch of the frequency axis: 0.1 for 0.9 to 1.1


@dataclass(frozen=True)
class AugmentationsSection:
    """Augmentations of the training split; evaluation uses the items unchanged."""

    waveform: Target | None = None  # for example audiomentations.Compose with a list of transforms
    spectrogram: SpectrogramAugmentations = SpectrogramAugmentations()


@dataclass(frozen=True)
class SystemSection:
    """Paths and limits of this machine. None of them changes a result."""

    audio_dir: str = "data"  # has one folder per corpus, of the corpus's name, used if data.path is null
    cache_dir: str | None = None  # of decoded audio and features; null: TRAINYARD_CACHE, or ~/.cache/trainyard
    cache_mb: float = 4096.0  # largest size of the cache; 0: no cache


@dataclass(frozen=True)
class CheckpointSection:
    """When checkpoints are written, and which are kept."""

    # auto: an interval derived from the measured cost, at most 5 % of the time; applies if the two below are null
    every: Literal["auto"] = "auto"
    every_epochs: int | None = None
    every_steps: int | None = None  # also inside epochs
    keep_last: int | None = 3  # newest to keep; null: all
    keep_best: int = 1  # best to keep in addition
    keep_every: int | None = None  # also keep each n-th epoch
    keep_optimizer: Literal["all", "last"] = "all"  # last: older ones lose their optimizer state (not resumable)
    single_file: bool = False  # one model.safetensors even when part of the model is frozen
    background: bool = True  # write while training goes on


@dataclass(frozen=True)
class OutputsSection:
    """Outputs other than checkpoints, history and logs."""

    val_predictions_every: int = 0  # epochs between files of validation predictions; 0: only the best epoch
    plots: bool = True
    artifacts: bool = False  # also commit the best checkpoint, predictions and statistics as versioned artifacts


@dataclass(frozen=True)
class Config:
    """Everything a run was asked to do. Saved with the run; `from_dict(to_dict(c)) == c`."""

    data: DataSection = field(default_factory=partial(kinds.default, "data"))
    model: ModelSection = field(default_factory=partial(kinds.default, "model"))
    # A `Task` of your own; null: classification, with one or several labels per item as in the data.
    task: Target | None = None
    run: RunSection = RunSection()
    training: TrainingSection = TrainingSection()
    augmentations: AugmentationsSection = AugmentationsSection()
    system: SystemSection = SystemSection()
    checkpoint: CheckpointSection = CheckpointSection()
    outputs: OutputsSection = OutputsSection()
    layout: str = "grouped"  # a shipped layout, or the path of a YAML file
    tracker: Literal["none", "tensorboard", "wandb"] = "tensorboard"  # wandb: in addition to TensorBoard
    recipe: str = "digits"
