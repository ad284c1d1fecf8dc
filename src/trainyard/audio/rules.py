"""Checks of combined settings of recordings, speech encoders and audio augmentations."""

from __future__ import annotations

from collections.abc import Iterator

from trainyard.audio.schema import ENCODERS, AudioData, EncoderModel
from trainyard.audio.study.layers import parse_layers
from trainyard.config.combinations import group_column_faults
from trainyard.config.faults import Fault, show
from trainyard.config.fields import plain
from trainyard.config.schema import Config, SpectrogramAugmentations
from trainyard.errors import ConfigError
from trainyard.models.encoder_settings import encoder_faults

_COLUMNS = {"path_column": "path", "label_column": "label", "group_column": None, "split_column": None}
_WHISPER_SECONDS = 30.0  # covered by its position embeddings
_PRETRAINED_HZ = 16000  # the sample rate that all encoders were trained on


def check(config: Config) -> Iterator[Fault]:
    """Every invalid combination."""
    if isinstance(config.data, AudioData):
        yield from _audio(config.data)
    if isinstance(config.model, EncoderModel):
        yield from _encoder(config, config.model)
    yield from _augmentations(config)


def _audio(data: AudioData) -> Iterator[Fault]:
    if data.corpus in ("folder", "csv") and data.path is None:
        yield Fault(
            f"`data.corpus` is {data.corpus}, but `data.path` is not set; add data.path=…", ("data.corpus", "data.path")
        )
    if data.corpus == "vocal_bursts" and data.path:
        yield Fault(
            f"`data.path` is {show(data.path)}, but data.corpus=vocal_bursts is synthesised and reads no files; "
            "set data.corpus to the kind of data there (folder for one folder per class), or leave the path out",
            ("data.path", "data.corpus"),
        )
    if data.corpus != "csv":
        for column, usual in _COLUMNS.items():
            value = getattr(data, column)
            if value != usual:
                yield Fault(
                    f"`data.{column}` is {show(value)}, but data.corpus={data.corpus} is not a CSV; "
                    "leave it out, or set data.corpus=csv",
                    (f"data.{column}", "data.corpus"),
                )
    if data.corpus == "csv":
        yield from group_column_faults(data)
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
            f"`data.fmin` is {data.fmin:g} Hz, not below {half}`{key}` ({top:g} Hz), which leaves no band; lower it",
            ("data.fmin", key),
        )
    if data.min_seconds > data.max_seconds:
        yield Fault(
            f"`data.min_seconds` {data.min_seconds:g} is above `data.max_seconds` {data.max_seconds:g}: "
            "every file would be rejected; swap them",
            ("data.min_seconds", "data.max_seconds"),
        )


def _encoder(config: Config, model: EncoderModel) -> Iterator[Fault]:
    data = config.data
    if not isinstance(data, AudioData):
        yield Fault(
            f"`model.name` is encoder, which takes audio, but `data.source` is {data.source}; "
            f"choose recordings, such as data={_audio_choice(data.source)}, or another model",
            ("model.name", "data.source", "model", "data"),
        )
    else:
        if data.sample_rate != _PRETRAINED_HZ:
            yield Fault(
                f"`data.sample_rate` is {data.sample_rate}, but {model.type} takes audio at {_PRETRAINED_HZ} Hz; "
                f"set data.sample_rate={_PRETRAINED_HZ}",
                ("data.sample_rate", "model.type"),
            )
        if model.type == "whisper" and data.clip_seconds > _WHISPER_SECONDS:
            yield Fault(
                f"`data.clip_seconds` is {data.clip_seconds:g}, but whisper takes at most {_WHISPER_SECONDS:g} s; "
                "shorten the clips, or choose another encoder",
                ("data.clip_seconds", "model.type"),
            )
    yield from encoder_faults(model, ENCODERS[model.type])
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
        # Without a known number of layers, which needs the weights, only the syntax is checked.
        form = "Write 012 or 7-12, counted from 0; null means all of them."
        problem = error.problems[0].removeprefix(f"model.layers={model.layers!r} ")
        yield Fault(
            f"`model.layers` is {show(model.layers)}: it {problem}",
            ("model.layers",),
            remedy=error.remedy if count else form,
        )


def _augmentations(config: Config) -> Iterator[Fault]:
    data, model, options = config.data, config.model, config.augmentations
    usual = plain(SpectrogramAugmentations())
    changed = [name for name, value in plain(options.spectrogram).items() if value != usual[name]]
    spectrogram = f"`augmentations.spectrogram` ({', '.join(changed)}) changes spectrograms"
    keys = tuple(f"augmentations.spectrogram.{name}" for name in changed)
    remedy = f"choose recordings, such as data={_audio_choice(data.source)}, or leave it out"
    if options.waveform is not None and not isinstance(data, AudioData):
        yield Fault(
            f"`augmentations.waveform` changes audio, but `data.source` is {data.source}; {remedy}",
            ("augmentations.waveform", "data.source", "data"),
        )
    if changed and not isinstance(data, AudioData):
        yield Fault(f"{spectrogram} of audio, but `data.source` is {data.source}; {remedy}", (*keys, "data.source"))
    elif changed and isinstance(model, EncoderModel) and model.type != "whisper":
        yield Fault(
            f"{spectrogram}, but the input of {model.type} is the waveform; use augmentations.waveform, or leave it "
            "out",
            (*keys, "model.type"),
        )


def _audio_choice(source: str) -> str:
    """The `data` choice of recordings that corresponds to another kind's source."""
    return {"csv": "audio_csv", "image_folder": "audio_folder"}.get(source, "vocal_bursts")
