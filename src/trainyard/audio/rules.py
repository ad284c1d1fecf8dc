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
        what = f"`data.corpus` is {data.corpus}, but `data.path` is not set; add data.path=…"
        yield Fault(what, ("data.corpus", "data.path"))
    if data.corpus == "vocal_bursts" and data.path:
        yield Fault(
            f"`data.path` is {show(data.path)}, but data.corpus=vocal_bursts is synthesised and reads no files; "
            "set data.corpus to the kind of data there (folder for one folder per class), or leave the path out",
            ("data.path", "data.corpus"),
        )
    if data.corpus == "csv":
        yield from group_column_faults(data)
    else:
        for column, usual in _COLUMNS.items():
            value = getattr(data, column)
            if value != usual:
                why = f"but data.corpus={data.corpus} is not a CSV; leave it out, or set data.corpus=csv"
                yield Fault(f"`data.{column}` is {show(value)}, {why}", (f"data.{column}", "data.corpus"))
    nyquist = data.sample_rate / 2
    if data.fmax is not None and data.fmax > nyquist:
        what = f"`data.fmax` is {data.fmax:g} Hz, above half of `data.sample_rate` {data.sample_rate}"
        yield Fault(f"{what}; set it to {nyquist:g} or less, or null", ("data.fmax", "data.sample_rate"))
    top, key, half = (nyquist, "data.sample_rate", "half of ") if data.fmax is None else (data.fmax, "data.fmax", "")
    if data.fmin >= top:
        what = f"`data.fmin` is {data.fmin:g} Hz, not below {half}`{key}` ({top:g} Hz), which leaves no band; lower it"
        yield Fault(what, ("data.fmin", key))
    if data.min_seconds > data.max_seconds:
        what = f"`data.min_seconds` {data.min_seconds:g} is above `data.max_seconds` {data.max_seconds:g}"
        yield Fault(f"{what}: every file would be rejected; swap them", ("data.min_seconds", "data.max_seconds"))


def _encoder(config: Config, model: EncoderModel) -> Iterator[Fault]:
    data, type_ = config.data, model.type
    if not isinstance(data, AudioData):
        yield Fault(
            f"`model.name` is encoder, which takes audio, but `data.source` is {data.source}; "
            f"choose recordings, such as data={_audio_choice(data.source)}, or another model",
            ("model.name", "data.source", "model", "data"),
        )
    else:
        rate, seconds = data.sample_rate, data.clip_seconds
        if rate != _PRETRAINED_HZ:
            what = f"`data.sample_rate` is {rate}, but {type_} takes audio at {_PRETRAINED_HZ} Hz"
            yield Fault(f"{what}; set data.sample_rate={_PRETRAINED_HZ}", ("data.sample_rate", "model.type"))
        if type_ == "whisper" and seconds > _WHISPER_SECONDS:
            what = f"`data.clip_seconds` is {seconds:g}, but whisper takes at most {_WHISPER_SECONDS:g} s"
            remedy = "shorten the clips, or choose another encoder"
            yield Fault(f"{what}; {remedy}", ("data.clip_seconds", "model.type"))
    yield from encoder_faults(model, ENCODERS[type_])
    if model.layers is not None:
        yield from _layers(model, model.layers)


def _layers(model: EncoderModel, layers: str) -> Iterator[Fault]:
    if model.method == "frozen":
        what = f"`model.layers` is {show(layers)}, but model.method=frozen changes no layer; leave one of them out"
        yield Fault(what, ("model.layers", "model.method"))
    published = ENCODERS[model.type].get(model.size) if model.path is None else None
    count = published if model.num_layers is None else model.num_layers
    try:
        parse_layers(layers, count or 10_000)
    except ConfigError as error:
        # Without a known number of layers, which needs the weights, only the syntax is checked.
        remedy = error.remedy if count else "Write 012 or 7-12, counted from 0; null means all of them."
        problem = error.problems[0].removeprefix(f"model.layers={layers!r} ")
        yield Fault(f"`model.layers` is {show(layers)}: it {problem}", ("model.layers",), remedy=remedy)


def _augmentations(config: Config) -> Iterator[Fault]:
    data, model, options = config.data, config.model, config.augmentations
    usual = plain(SpectrogramAugmentations())
    changed = [name for name, value in plain(options.spectrogram).items() if value != usual[name]]
    spectrogram = f"`augmentations.spectrogram` ({', '.join(changed)}) changes spectrograms"
    keys = tuple(f"augmentations.spectrogram.{name}" for name in changed)
    if not isinstance(data, AudioData):
        source = f"but `data.source` is {data.source}; choose recordings, such as data={_audio_choice(data.source)}"
        if options.waveform is not None:
            what = f"`augmentations.waveform` changes audio, {source}, or leave it out"
            yield Fault(what, ("augmentations.waveform", "data.source", "data"))
        if changed:
            yield Fault(f"{spectrogram} of audio, {source}, or leave it out", (*keys, "data.source"))
    elif changed and isinstance(model, EncoderModel) and model.type != "whisper":
        what = f"{spectrogram}, but the input of {model.type} is the waveform"
        yield Fault(f"{what}; use augmentations.waveform, or leave it out", (*keys, "model.type"))


def _audio_choice(source: str) -> str:
    """The `data` choice of recordings that corresponds to another kind's source."""
    return {"csv": "audio_csv", "image_folder": "audio_folder"}.get(source, "vocal_bursts")
