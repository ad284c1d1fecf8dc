"""Which values do not go together: of texts, their encoders, and labels of which an item may have several.

Pure functions from a `Config` to faults, as in `combinations`, which asks this module.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from trainyard.audio.study.names import MINI, TEXT_ENCODERS
from trainyard.config.faults import Fault, show, suggestion
from trainyard.config.schema import Config, EncoderModel, TextData, TextEncoderModel, ThresholdOptions

_RANDOM_SIZES = ("hidden_size", "num_layers", "num_heads", "ffn_size")


def texts(config: Config) -> Iterator[Fault]:
    """Of texts, their encoders and labels, in the order of the schema."""
    data, model = config.data, config.model
    if isinstance(data, TextData):
        yield from _texts(data)
        if not isinstance(model, TextEncoderModel):
            yield Fault(
                f"`model.name` is {model.name}, which reads no text, but `data.source` is text; choose a text "
                "encoder, such as model=distilbert, or other data",
                ("model.name", "data.source", "model", "data"),
            )
    if isinstance(model, TextEncoderModel):
        if not isinstance(data, TextData):
            yield Fault(
                f"`model.name` is text_encoder, which reads text, but `data.source` is {data.source}; choose texts, "
                "such as data=sentences, or another model",
                ("model.name", "data.source", "model", "data"),
            )
        yield from _text_encoder(model)
    elif config.training.head_learning_rate is not None:
        yield Fault(
            f"`training.head_learning_rate` is {config.training.head_learning_rate:g}, but model.name={model.name} is "
            "no text encoder with a head apart; leave it out",
            ("training.head_learning_rate", "model.name"),
        )
    yield from _labels(config, multi=isinstance(data, TextData) and data.multi_label)


def _texts(data: TextData) -> Iterator[Fault]:
    if data.corpus != "sentences" and data.path is None:
        yield Fault(
            f"`data.corpus` is {data.corpus}, but nothing says where the texts lie; add data.path=…",
            ("data.corpus", "data.path"),
        )
    elif data.corpus == "sentences" and data.path:
        yield Fault(
            f"`data.path` is {show(data.path)}, but data.corpus=sentences is made up and reads no files; "
            "choose data=text or data=goemotions, or leave the path out",
            ("data.path", "data.corpus"),
        )
    if data.split.test_groups and not data.group_column:
        yield Fault(
            f"`data.split.test_groups` is {show(list(data.split.test_groups))}, but no column says the group of an "
            "item; add data.group_column=…",
            ("data.split.test_groups", "data.group_column"),
        )


def _text_encoder(model: TextEncoderModel) -> Iterator[Fault]:
    published = TEXT_ENCODERS.get(model.type, ())
    if model.type == "auto" and model.path is None:
        yield Fault(
            "`model.type` is auto, but nothing says what to load; add model.path=… (a directory or a hub id)",
            ("model.type", "model.path"),
        )
    elif model.type != "auto":
        yield from size(model, published)
    yield from random_sizes(model)


def _labels(config: Config, *, multi: bool) -> Iterator[Fault]:
    """What goes with one label an item, and what with several."""
    training = config.training
    criterion = str(training.criterion.get("_target_", ""))
    if multi and criterion == "torch.nn.CrossEntropyLoss":
        yield Fault(
            f"`training.criterion._target_` is {criterion}, which takes one label an item, but data.multi_label is "
            "true; choose training/criterion=bce or focal, or set data.multi_label=false",
            ("training.criterion._target_", "data.multi_label", "training.criterion"),
        )
    if not multi and criterion in ("torch.nn.BCEWithLogitsLoss", "trainyard.tasks.losses.FocalLoss"):
        yield Fault(
            f"`training.criterion._target_` is {criterion}, which is for several labels an item, and the data has one; "
            "choose training/criterion=cross_entropy",
            ("training.criterion._target_", "data.multi_label", "training.criterion"),
        )
    if not multi and training.thresholds != ThresholdOptions():
        yield Fault(
            "`training.thresholds` is set, but each item has one label, the most probable; leave it out",
            ("training.thresholds.mode", "training.thresholds.value", "training.thresholds.k"),
        )
    if training.thresholds.k is not None and training.thresholds.mode != "top_k":
        yield Fault(
            f"`training.thresholds.k` is {training.thresholds.k}, but the mode is {training.thresholds.mode}; "
            "set training.thresholds.mode=top_k, or leave it out",
            ("training.thresholds.k", "training.thresholds.mode"),
        )
    if training.distillation.enabled and isinstance(config.data, TextData):
        yield Fault(
            "`training.distillation.enabled` is true, but a teacher hears or sees what its student does, and reads no "
            "text; set it to false",
            ("training.distillation.enabled", "data.source"),
        )


def size(model: EncoderModel | TextEncoderModel, published: Collection[str]) -> Iterator[Fault]:
    """A size is one of the published ones, with weights, or the small one, which has none."""
    sizes = (MINI, *published)
    if model.size not in sizes:
        yield Fault(
            f"`model.size` is {show(model.size)}, which {model.type} has not{suggestion(model.size, sizes)}",
            ("model.size", "model.type"),
        )
    elif model.size == MINI and model.pretrained and model.path is None:
        yield Fault(
            f"`model.size` is {MINI}, for which no weights are published; set model.pretrained=false, or choose "
            f"{', '.join(published)}",
            ("model.size", "model.pretrained"),
        )


def random_sizes(model: EncoderModel | TextEncoderModel) -> Iterator[Fault]:
    """Sizes are a random encoder's to choose, and weights a pretrained one's to load."""
    if model.pretrained:
        for name in _RANDOM_SIZES:
            if getattr(model, name) is not None:
                yield Fault(
                    f"`model.{name}` is {getattr(model, name)}, but pretrained weights have a size of their own; "
                    "leave it out, or set model.pretrained=false",
                    (f"model.{name}", "model.pretrained"),
                )
    elif model.path is not None:
        yield Fault(
            f"`model.path` is {show(model.path)}, but `model.pretrained` is false: nothing would be loaded from it; "
            "set one of them",
            ("model.path", "model.pretrained"),
        )
    width, heads = model.hidden_size, model.num_heads
    if width is not None and heads is not None and heads > 0 and width % heads:
        yield Fault(
            f"`model.hidden_size` {width} cannot be shared out to `model.num_heads` {heads}; make it a multiple",
            ("model.hidden_size", "model.num_heads"),
        )
