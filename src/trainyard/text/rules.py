"""Checks of combined settings of texts and their encoders."""

from __future__ import annotations

from collections.abc import Iterator

from trainyard.config.combinations import group_column_faults
from trainyard.config.faults import Fault, show
from trainyard.config.schema import Config
from trainyard.models.encoder_settings import encoder_faults
from trainyard.text.schema import TEXT_ENCODERS, TextData, TextEncoderModel


def check(config: Config) -> Iterator[Fault]:
    """Every invalid combination."""
    data, model = config.data, config.model
    if isinstance(data, TextData):
        yield from _texts(data)
        if not isinstance(model, TextEncoderModel):
            yield Fault(
                f"`model.name` is {model.name}, which does not take text, but `data.source` is text; choose a text "
                "encoder, such as model=distilbert, or other data",
                ("model.name", "data.source", "model", "data"),
            )
        if config.training.distillation.enabled:
            yield Fault(
                "`training.distillation.enabled` is true, but distillation is not implemented for texts; set it to "
                "false",
                ("training.distillation.enabled", "data.source"),
            )
    if isinstance(model, TextEncoderModel):
        if not isinstance(data, TextData):
            yield Fault(
                f"`model.name` is text_encoder, which takes text, but `data.source` is {data.source}; choose texts, "
                "such as data=sentences, or another model",
                ("model.name", "data.source", "model", "data"),
            )
        yield from _text_encoder(model)


def _texts(data: TextData) -> Iterator[Fault]:
    if data.corpus != "sentences" and data.path is None:
        yield Fault(
            f"`data.corpus` is {data.corpus}, but `data.path` is not set; add data.path=…", ("data.corpus", "data.path")
        )
    elif data.corpus == "sentences" and data.path:
        yield Fault(
            f"`data.path` is {show(data.path)}, but data.corpus=sentences is generated and reads no files; "
            "choose data=text or data=goemotions, or leave the path out",
            ("data.path", "data.corpus"),
        )
    yield from group_column_faults(data)


def _text_encoder(model: TextEncoderModel) -> Iterator[Fault]:
    if model.type == "auto" and model.path is None:
        yield Fault(
            "`model.type` is auto, but `model.path` is not set; add model.path=… (a directory or a hub id)",
            ("model.type", "model.path"),
        )
    yield from encoder_faults(model, TEXT_ENCODERS.get(model.type))
