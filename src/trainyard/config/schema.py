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
    test_groups: tuple[str, ...] = ()  # speakers or other groups that make up test, in place of any official split
    by_group: bool = True  # groups stay on one side of the splits made here; false: only items are shared out
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
class AudioData:
    """Recordings: a corpus in its own folders, a folder per class, a CSV, or made-up vocal bursts."""

    source: Literal["audio"] = "audio"
    corpus: Literal[
        "vocal_bursts",
        "folder",
        "csv",
        "asvp_esd",
        "asvp_esd_babies",
        "cnvve",
        "nonverbal_vocalization_dataset",
        "recanvo",
        "vivae",
        "donateacry",
        "fsdd",
        "esc",
    ] = "vocal_bursts"  # how files are named and labelled; vocal_bursts are synthesised
    path: str | None = None  # the corpus; null: the folder of its name in system.audio_dir
    dataset: str | None = None  # the name used in paths and queries; null: the corpus, the folder or the file's stem
    classes: tuple[str, ...] | None = None  # names in label order; null: those found
    speakers: int = 20  # of vocal_bursts
    takes: int = 4  # of each class by each speaker of vocal_bursts
    path_column: str = "path"  # of a csv, like the three below
    label_column: str = "label"
    group_column: str | None = None  # items of one group (a speaker) stay on one side of a split
    split_column: str | None = None  # official splits: train, val, test
    sample_rate: int = 16000  # Hz; everything is resampled to it
    clip_seconds: float = 7.0  # what a model hears of each file
    crop: Literal["start", "center", "random"] = "center"  # which part of a longer file; random in training alone
    pad: Literal["end", "center", "tile"] = "end"  # a shorter file: silence after it, around it, or itself again
    min_seconds: float = 0.01  # shorter files are bad files
    max_seconds: float = 300.0  # longer files are bad files
    n_fft: int = 400  # samples of a window of the log-mel spectrogram
    hop_length: int = 160  # samples between windows
    n_mels: int = 64
    fmin: float = 0.0  # Hz
    fmax: float | None = None  # Hz; null: half the sample rate
    top_db: float | None = 80.0  # dynamic range below the loudest; null: all
    normalise: Literal["none", "clip"] = "clip"  # clip: each spectrogram to mean 0 and deviation 1
    workers: int = 0  # processes that decode and augment; 0: the training process
    on_bad_file: Literal["error", "skip"] = "error"
    split: SplitOptions = SplitOptions(test_fraction=0.1)


@dataclass(frozen=True)
class TextData:
    """Texts with one label or several: tables, GoEmotions in its own files, or made-up sentences."""

    source: Literal["text"] = "text"
    corpus: Literal["sentences", "table", "goemotions"] = "sentences"  # sentences are made up
    path: str | None = None  # a .tsv, .csv or .jsonl, or a folder of them called train, val (or dev) and test
    dataset: str | None = None  # the name used in paths and queries; null: the corpus, or the path's stem
    classes: tuple[str, ...] | None = None  # names in label order; null: those found
    multi_label: bool = True  # an item may have several labels, or none
    sentences: int = 1600  # how many are made up
    text_column: str = "text"  # of a table, like the five below
    label_column: str = "label"
    label_separator: str = ","  # between the labels of an item
    id_column: str | None = None  # null: items are called by file and row
    group_column: str | None = None  # items of one group stay on one side of a split
    split_column: str | None = None  # official splits: train, val, test
    label_name: str = "label"  # what a class is called in the table of per-class statistics
    max_tokens: int = 128  # longer texts are cut
    on_bad_item: Literal["error", "skip"] = "error"  # no text, or a label that is none
    split: SplitOptions = SplitOptions(test_fraction=0.1)


@dataclass(frozen=True)
class MlpModel:
    """A multi-layer perceptron on the flattened item; hidden=[453] on 28 x 28 is 784-453-10."""

    name: Literal["mlp"] = "mlp"
    hidden: tuple[int, ...] = (128,)
    dropout: float = 0.0


@dataclass(frozen=True)
class CnnModel:
    """Convolution, batch norm, ReLU and max-pooling per entry of `channels`."""

    name: Literal["cnn"] = "cnn"
    channels: tuple[int, ...] = (32, 64, 64)
    dropout: float = 0.1


@dataclass(frozen=True)
class EncoderModel:
    """A speech encoder of transformers, a way to fine-tune it, and a head on the weighted sum of its layers."""

    name: Literal["encoder"] = "encoder"
    type: Literal["whisper", "wav2vec2", "hubert", "wavlm", "unispeech_sat"] = "whisper"
    size: str = "base"  # whisper: tiny, base, small, medium, large; the others: base, large
    method: Literal["frozen", "lora", "adapter", "prompt", "full"] = "lora"
    layers: str | None = None  # which layers the method changes: 012 or 7-12, from 0; null: all
    pretrained: bool = True  # false: random weights
    path: str | None = None  # a hub id or a directory; null: the size's usual hub id
    projector: int = 256  # width of the head
    dropout: float = 0.0  # before the classifier
    lora_rank: int = 8
    lora_alpha: float = 16.0
    lora_dropout: float = 0.0
    lora_targets: Literal["ffn", "attention", "both"] = "both"
    adapter_size: int = 64  # width of the bottleneck
    prompt_length: int = 8  # learned vectors a layer
    hidden_size: int | None = None  # of a random encoder, instead of its size's; with the three below
    num_layers: int | None = None
    num_heads: int | None = None
    ffn_size: int | None = None


@dataclass(frozen=True)
class EfficientNetV2Model:
    """EfficientNetV2 (Tan & Le, 2021) on spectrograms or images."""

    name: Literal["efficientnet_v2"] = "efficientnet_v2"
    size: Literal["small", "s", "m", "l"] = "small"  # small: 2.6 M parameters; s, m and l as published
    norm: Literal["batch", "group", "instance"] = "batch"
    dropout: float = 0.2
    trainable_blocks: int | None = None  # the last n stages train, with the head; null: all
    weights: str | None = None  # a state dict to start from, where names and shapes match
    qat: bool = False  # quantisation-aware training, and an int8 export at the end


@dataclass(frozen=True)
class PannsCnn14Model:
    """CNN14 of PANNs (Kong et al., 2020) on spectrograms."""

    name: Literal["panns_cnn14"] = "panns_cnn14"
    width: int = 64  # channels of the first of six blocks, doubled in each; 64 as published (80 M parameters)
    norm: Literal["batch", "group", "instance"] = "batch"
    dropout: float = 0.2
    trainable_blocks: int | None = None
    weights: str | None = None
    qat: bool = False


@dataclass(frozen=True)
class MobileNetV2Model:
    """MobileNetV2 (Sandler et al., 2018) on spectrograms or images."""

    name: Literal["mobilenet_v2"] = "mobilenet_v2"
    width: float = 1.0  # multiplies the channels
    norm: Literal["batch", "group", "instance"] = "batch"
    dropout: float = 0.2
    trainable_blocks: int | None = None
    weights: str | None = None
    qat: bool = False


@dataclass(frozen=True)
class TextEncoderModel:
    """A text encoder of transformers with its sequence-classification head."""

    name: Literal["text_encoder"] = "text_encoder"
    type: Literal["distilbert", "bert", "roberta", "minilm", "auto"] = "distilbert"  # auto: what lies at path
    size: Literal["mini", "base", "large"] = "base"  # mini is random only
    pretrained: bool = True  # false: random weights, and a tokenizer of its own made from the training texts
    path: str | None = None  # a hub id or a directory; null: the usual hub id of type and size; minilm: its package
    dropout: float | None = None  # in the encoder and before the classifier; null: the model's own
    prior_bias: bool = True  # outputs start at how frequent each label is
    vocabulary: int = 4000  # words and pieces of a tokenizer of its own
    hidden_size: int | None = None  # of a random encoder, instead of its size's; with the three below
    num_layers: int | None = None
    num_heads: int | None = None
    ffn_size: int | None = None


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
        None  # of what starts from random weights in an encoder with a head; null: as all
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

    data: DigitsData | NpzData | ImageFolderData | CsvData | AudioData | TextData = DigitsData()
    model: (
        MlpModel | CnnModel | EncoderModel | EfficientNetV2Model | PannsCnn14Model | MobileNetV2Model | TextEncoderModel
    ) = CnnModel()
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
