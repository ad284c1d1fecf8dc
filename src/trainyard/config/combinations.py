"""Which values do not go together: of the run, its data, its model and its training.

Pure functions from a `Config` to faults. Each names every key it is about, with its value and what to do.
Single values are the business of `rules`; what only the data or the device can tell is found out there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trainyard.audio.study.layers import parse_layers
from trainyard.audio.study.names import ENCODERS
from trainyard.config.faults import Fault, show
from trainyard.config.fields import plain
from trainyard.config.schema import AudioData, Config, CsvData, EncoderModel, SpectrogramAugmentations, TextEncoderModel
from trainyard.errors import ConfigError
from trainyard.text.rules import random_sizes, size, texts

_COLUMNS = {"path_column": "path", "label_column": "label", "group_column": None, "split_column": None}
_WHISPER_SECONDS = 30.0  # what its positions reach
_PRETRAINED_HZ = 16000  # what every encoder was trained on


def combinations(config: Config) -> Iterator[Fault]:
    """Every combination that cannot be, in the order of the schema."""
    yield from _run(config)
    yield from _splits(config)
    if isinstance(config.data, AudioData):
        yield from _audio(config, config.data)
    if isinstance(config.model, EncoderModel):
        yield from _encoder(config, config.model)
    elif getattr(config.model, "qat", False):
        yield from _quantised(config)
    yield from texts(config)
    yield from _training(config)
    yield from _augmentations(config)


def _run(config: Config) -> Iterator[Fault]:
    run = config.run
    if not run.train and not run.test:
        yield Fault("`run.train` and `run.test` are both false: there is nothing to do", ("run.train", "run.test"))
    elif not run.train and not run.checkpoint_path:
        yield Fault(
            "`run.train` is false, so there must be a checkpoint to test; add run.checkpoint_path=…",
            ("run.train", "run.checkpoint_path"),
        )


def _splits(config: Config) -> Iterator[Fault]:
    run, data, split, training = config.run, config.data, config.data.split, config.training
    val, test = "data.split.val_fraction", "data.split.test_fraction"
    total = split.val_fraction + split.test_fraction
    if 0 <= split.val_fraction < 1 and 0 <= split.test_fraction < 1 and total >= 1:
        yield Fault(
            f"`{val}` {split.val_fraction:g} and `{test}` {split.test_fraction:g} "
            f"make {total:g}, which leaves nothing to train on; together they must stay below 1",
            (val, test),
        )
    if data.source == "digits":  # the other sources may bring splits of their own
        if run.test and split.test_fraction == 0:
            yield Fault(
                f"`{test}` is 0 and digits has no test split of its own; add run.test=false", (test, "run.test")
            )
        if run.train and split.val_fraction == 0 and training.monitor.startswith("val_"):
            yield Fault(
                f"`{val}` is 0, so there is no {show(training.monitor)} to monitor; "
                "set training.monitor=train_loss or hold items out",
                (val, "training.monitor"),
            )
    lists = isinstance(data, CsvData) or (isinstance(data, AudioData) and data.corpus == "csv")
    if split.test_groups and data.source in ("digits", "image_folder"):
        yield Fault(
            f"`data.split.test_groups` is {show(list(split.test_groups))}, but data.source={data.source} knows no "
            "groups; leave it out",
            ("data.split.test_groups",),
        )
    elif split.test_groups and lists and not getattr(data, "group_column", None):
        yield Fault(
            f"`data.split.test_groups` is {show(list(split.test_groups))}, but no column says the group of an item; "
            "add data.group_column=…",
            ("data.split.test_groups", "data.group_column"),
        )


def _audio(config: Config, data: AudioData) -> Iterator[Fault]:
    if data.corpus in ("folder", "csv") and data.path is None:
        where = "the CSV lies" if data.corpus == "csv" else "the recordings lie"
        yield Fault(
            f"`data.corpus` is {data.corpus}, but nothing says where {where}; add data.path=…",
            ("data.corpus", "data.path"),
        )
    if data.corpus == "vocal_bursts" and data.path:
        yield Fault(
            f"`data.path` is {show(data.path)}, but data.corpus=vocal_bursts is synthesised and reads no files; "
            "set data.corpus to what lies there (folder for a folder a class), or leave the path out",
            ("data.path", "data.corpus"),
        )
    if data.corpus != "csv":
        for column, usual in _COLUMNS.items():
            said = getattr(data, column)
            if said != usual:
                yield Fault(
                    f"`data.{column}` is {show(said)}, but data.corpus={data.corpus} is no CSV; "
                    "leave it out, or set data.corpus=csv",
                    (f"data.{column}", "data.corpus"),
                )
    nyquist = data.sample_rate / 2
    if data.fmax is not None and data.fmax > nyquist:
        yield Fault(
            f"`data.fmax` is {data.fmax:g} Hz, above half of `data.sample_rate` {data.sample_rate}; "
            f"set it to {nyquist:g} or less, or null",
            ("data.fmax", "data.sample_rate"),
        )
    top = nyquist if data.fmax is None else data.fmax
    if data.fmin >= top:
        key = "data.sample_rate" if data.fmax is None else "data.fmax"
        half = "half of " if data.fmax is None else ""
        yield Fault(
            f"`data.fmin` is {data.fmin:g} Hz, not below {half}`{key}` ({top:g} Hz): no band is left; lower it",
            ("data.fmin", key),
        )
    if data.min_seconds > data.max_seconds:
        yield Fault(
            f"`data.min_seconds` {data.min_seconds:g} is above `data.max_seconds` {data.max_seconds:g}: "
            "every file would be bad; exchange them",
            ("data.min_seconds", "data.max_seconds"),
        )


def _heard(source: str) -> str:
    """The `data` choice of recordings that is nearest to a source of something else."""
    return {"csv": "audio_csv", "image_folder": "audio_folder"}.get(source, "vocal_bursts")


def _encoder(config: Config, model: EncoderModel) -> Iterator[Fault]:
    data = config.data
    if not isinstance(data, AudioData):
        yield Fault(
            f"`model.name` is encoder, which listens to sound, but `data.source` is {data.source}; "
            f"choose recordings, such as data={_heard(data.source)}, or another model",
            ("model.name", "data.source", "model", "data"),
        )
    else:
        if data.sample_rate != _PRETRAINED_HZ:
            yield Fault(
                f"`data.sample_rate` is {data.sample_rate}, but {model.type} hears {_PRETRAINED_HZ} Hz; "
                f"set data.sample_rate={_PRETRAINED_HZ}",
                ("data.sample_rate", "model.type"),
            )
        if model.type == "whisper" and data.clip_seconds > _WHISPER_SECONDS:
            yield Fault(
                f"`data.clip_seconds` is {data.clip_seconds:g}, but whisper hears {_WHISPER_SECONDS:g} s at most; "
                "shorten the clips, or choose another encoder",
                ("data.clip_seconds", "model.type"),
            )
    yield from size(model, ENCODERS[model.type])
    yield from random_sizes(model)
    yield from _layers(model)


def _layers(model: EncoderModel) -> Iterator[Fault]:
    if model.layers is None:
        return
    if model.method == "frozen":
        yield Fault(
            f"`model.layers` is {show(model.layers)}, but model.method=frozen changes no layer; leave one of them out",
            ("model.layers", "model.method"),
        )
    count = model.num_layers
    if count is None and model.path is None:
        count = ENCODERS[model.type].get(model.size)
    try:
        parse_layers(model.layers, count or 10_000)
    except ConfigError as error:
        # How many there are is known only when the weights are read: then only the form can be wrong.
        form = "Write 012 or 7-12, counted from 0; null means all of them."
        says = error.problems[0].removeprefix(f"model.layers={model.layers!r} ")
        yield Fault(
            f"`model.layers` is {show(model.layers)}: it {says}",
            ("model.layers",),
            remedy=error.remedy if count else form,
        )


def _quantised(config: Config) -> Iterator[Fault]:
    model: Any = config.model
    if model.norm != "batch":
        yield Fault(
            f"`model.norm` is {model.norm}, but quantisation-aware training folds batch norm into the convolutions; "
            "set model.norm=batch or model.qat=false",
            ("model.norm", "model.qat"),
        )
    if config.training.precision != "fp32":
        yield Fault(
            f"`training.precision` is {config.training.precision}, but quantisation-aware training rounds to int8 "
            "from fp32; set training.precision=fp32 or model.qat=false",
            ("training.precision", "model.qat"),
        )


def _training(config: Config) -> Iterator[Fault]:
    training = config.training
    if "lr" in training.optimizer:
        yield Fault(
            f"`training.optimizer.lr` is {show(training.optimizer['lr'])}, but the learning rate is "
            "`training.learning_rate`; set that one",
            ("training.optimizer.lr",),
        )
    if training.use_arcface is not None and isinstance(config.model, EncoderModel | TextEncoderModel):
        yield Fault(
            f"`training.use_arcface` is {training.use_arcface}, but an encoder has no cosine head; set it to null, "
            "or choose another model",
            ("training.use_arcface", "model.name"),
        )
    for name, value in plain(training.margin).items():
        if value is not None and training.use_arcface is None:
            yield Fault(
                f"`training.margin.{name}` is {value:g}, but no margin is trained; "
                "add training.use_arcface=arcface or circle",
                (f"training.margin.{name}", "training.use_arcface"),
            )
    distillation = training.distillation
    if distillation.enabled and not distillation.teacher_model_path:
        yield Fault(
            "`training.distillation.enabled` is true, but `training.distillation.teacher_model_path` names no "
            "teacher; set it to a checkpoint of a run, or enabled=false",
            ("training.distillation.enabled", "training.distillation.teacher_model_path"),
        )


def _augmentations(config: Config) -> Iterator[Fault]:
    data, model, said = config.data, config.model, config.augmentations
    usual = plain(SpectrogramAugmentations())
    changed = [name for name, value in plain(said.spectrogram).items() if value != usual[name]]
    spectrogram = f"`augmentations.spectrogram` ({', '.join(changed)}) changes spectrograms"
    keys = tuple(f"augmentations.spectrogram.{name}" for name in changed)
    remedy = f"choose recordings, such as data={_heard(data.source)}, or leave it out"
    if said.waveform is not None and not isinstance(data, AudioData):
        yield Fault(
            f"`augmentations.waveform` changes sound, but `data.source` is {data.source}; {remedy}",
            ("augmentations.waveform", "data.source", "data"),
        )
    if changed and not isinstance(data, AudioData):
        yield Fault(f"{spectrogram} of sound, but `data.source` is {data.source}; {remedy}", (*keys, "data.source"))
    elif changed and isinstance(model, EncoderModel) and model.type != "whisper":
        yield Fault(
            f"{spectrogram}, but {model.type} hears the waveform; use augmentations.waveform, or leave it out",
            (*keys, "model.type"),
        )
