"""Checks of combined settings of texts and their encoders."""

from __future__ import annotations

from collections.abc import Iterator

from trainyard.config.combinations import group_column_faults
from trainyard.config.faults import Fault, show
from trainyard.config.schema import Config
from trainyard.models.encoder_settings import encoder_faults
from trainyard.text.schema import TEXT_ENCODERS, TextData, TextEncoderModel

_BOTH = ("model.name", "data.source", "model", "data")  # the keys of a model and data that do not fit together


def check(config: Config) -> Iterator[Fault]:
    """Every invalid combination."""
    data, model = config.data, config.model
    if isinstance(data, TextData):
        yield from _texts(data)
        if not isinstance(model, TextEncoderModel):
            what = f"`model.name` is {model.name}, which does not take text, but `data.source` is text"
            yield Fault(f"{what}; choose a text encoder, such as model=distilbert, or other data", _BOTH)
        if config.training.distillation.enabled:
            what = "`training.distillation.enabled` is true, but distillation is not implemented for texts"
            yield Fault(f"{what}; set it to false", ("training.distillation.enabled", "data.source"))
    if isinstance(model, TextEncoderModel):
        if not isinstance(data, TextData):
            what = f"`model.name` is text_encoder, which takes text, but `data.source` is {data.source}"
            yield Fault(f"{what}; choose texts, such as data=sentences, or another model", _BOTH)
        if model.type == "auto" and model.path is None:
            what = "`model.type` is auto, but `model.path` is not set"
            yield Fault(f"{what}; add model.path=… (a directory or a hub id)", ("model.type", "model.path"))
        yield from encoder_faults(model, TEXT_ENCODERS.get(model.type))


def _texts(data: TextData) -> Iterator[Fault]:
    if data.corpus != "sentences" and data.path is None:
        what = f"`data.corpus` is {data.corpus}, but `data.path` is not set; add data.path=…"
        yield Fault(what, ("data.corpus", "data.path"))
    elif data.corpus == "sentences" and data.path:
        what = f"`data.path` is {show(data.path)}, but data.corpus=sentences is generated and reads no files"
        remedy = "choose data=text or data=goemotions, or leave the path out"
        yield Fault(f"{what}; {remedy}", ("data.path", "data.corpus"))
    yield from group_column_faults(data)
