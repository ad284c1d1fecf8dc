"""The configuration of texts and their encoders. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal

from trainyard.config.bounds import Bound, at_least, below_one
from trainyard.config.schema import SplitOptions
from trainyard.models.encoder_settings import MINI, SIZE_BOUNDS


@dataclass(frozen=True)
class TextData:
    """Texts with one label or several: tables, GoEmotions in its own files, or generated sentences."""

    reads_with_checkpoint = True  # not a field: a checkpoint's tokenizer reads the texts

    source: Literal["text"] = "text"
    corpus: Literal["sentences", "table", "goemotions"] = "sentences"  # sentences are generated
    path: str | None = None  # a .tsv, .csv or .jsonl, or a folder of such files: train, val (or dev) and test
    dataset: str | None = None  # the name used in paths and queries; null: the corpus, or the path's stem
    classes: tuple[str, ...] | None = None  # names in label order; null: those found
    multi_label: bool = True  # an item may have several labels, or none
    sentences: int = 1600  # how many are generated
    text_column: str = "text"  # of a table, like the five below
    label_column: str = "label"
    label_separator: str = ","  # between the labels of an item
    id_column: str | None = None  # null: the id is file and row
    group_column: str | None = None  # items of one group stay in one split
    split_column: str | None = None  # official splits: train, val, test
    label_name: str = "label"  # the column of classes in the table of per-class statistics
    max_tokens: int = 128  # longer texts are cut
    on_bad_item: Literal["error", "skip"] = "error"  # empty texts and unknown labels
    split: SplitOptions = SplitOptions(test_fraction=0.1)


@dataclass(frozen=True)
class TextEncoderModel:
    """A text encoder of transformers with its sequence-classification head."""

    has_own_head = True  # these two are not fields: training.head_learning_rate applies, use_arcface does not
    takes_cosine_head = False

    name: Literal["text_encoder"] = "text_encoder"
    type: Literal["distilbert", "bert", "roberta", "minilm", "auto"] = "distilbert"  # auto: the type at path
    size: Literal["mini", "base", "large"] = "base"  # mini has no published weights
    pretrained: bool = True  # false: random weights, and a tokenizer trained on the training texts
    path: str | None = None  # a hub id or a directory; null: the default hub id of type and size; minilm: its package
    dropout: float | None = None  # in the encoder and before the classifier; null: the model's own
    prior_bias: bool = True  # outputs start at the frequency of each label
    vocabulary: int = 4000  # words and pieces of a newly trained tokenizer
    hidden_size: int | None = None  # of a random encoder, replacing that of its size; with the three below
    num_layers: int | None = None
    num_heads: int | None = None
    ffn_size: int | None = None


DATA = (TextData,)
MODELS = (TextEncoderModel,)
BOUNDS: tuple[Bound, ...] = (
    ("data.path", bool, "a path"),
    ("data.sentences", at_least(100), "100 or more"),
    ("data.label_separator", bool, "one or more characters"),
    ("data.label_name", bool, "a word"),
    ("data.max_tokens", at_least(3), "3 or more, including the start and end tokens"),
    ("model.path", bool, "a hub id or a directory, or null"),
    ("model.dropout", below_one, "0 or more and below 1"),
    ("model.vocabulary", at_least(100), "100 or more"),
    *SIZE_BOUNDS,
)

# The published sizes of text encoders, by type.
TEXT_ENCODERS: Mapping[str, tuple[str, ...]] = {
    "distilbert": ("base",),
    "bert": ("base", "large"),
    "roberta": ("base", "large"),
    "minilm": ("base",),
}
_NAMED: Mapping[str, Mapping[str, Any]] = {
    type_ if size == "base" else f"{type_}_{size}": {"name": "text_encoder", "type": type_, "size": size}
    for type_, sizes in TEXT_ENCODERS.items()
    for size in (*sizes, MINI)
}
NAMES = tuple(_NAMED)


def label(model: TextEncoderModel) -> str:
    """The encoder's type, with its size unless that is base; for `auto`, the last part of its path."""
    if model.type == "auto":
        return PurePath(model.path or "").name or model.name
    return model.type if model.size == "base" else f"{model.type}_{model.size}"


def from_name(name: str) -> dict[str, Any] | None:
    """The `model` values that an encoder's name implies, or None for another name."""
    return dict(_NAMED[name]) if name in _NAMED else None
