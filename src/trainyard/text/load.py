"""From the settings of `data` and `model` to a dataset of texts, as tokens that the model reads.

A checkpoint has kept its tokenizer, a pretrained encoder brings its own, and a random encoder gets one made
from the training texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from trainyard.config.schema import Config, TextData, TextEncoderModel
from trainyard.data.dataset import Dataset
from trainyard.data.unlabelled import Items, load_texts
from trainyard.errors import ConfigError
from trainyard.text.dataset import split_texts, with_tokens
from trainyard.text.encoders import Tokenizer, load_tokenizer, text_source, tokenizer_from_files, train_tokenizer
from trainyard.text.sources import Tokens, find

_READING = ("corpus", "path", "classes", "multi_label", "sentences", "on_bad_item")


def load_text(
    config: Config, data: TextData, split: Mapping[str, Any], files: Mapping[str, str] | None = None
) -> Dataset:
    """The texts that `data` names, as `config.model` reads them.

    Args:
        config: its `model`.
        data: its `data`.
        split: the options of the split, as keyword arguments.
        files: a checkpoint's, name to text, whose tokenizer is used.

    Raises:
        ConfigError: there is no such tokenizer.
        DataError: the data cannot be read or trained on.
    """
    if not isinstance(config.model, TextEncoderModel):
        raise ConfigError([f"model.name={config.model.name} reads no text"], "Use model=distilbert, or other data.")
    columns = [field.name for field in fields(data) if field.name.endswith(("_column", "_separator"))]
    texts = find(**{name: getattr(data, name) for name in (*_READING, *columns)})
    name = data.dataset or (Path(data.path).stem if data.path else data.corpus)
    dataset = split_texts(texts, name=name, label_name=data.label_name, **split)
    tokenizer = _tokenizer(config.model, dataset, files)
    return with_tokens(
        dataset, tokenizer.encode, pad_id=tokenizer.pad_id, max_tokens=data.max_tokens, tokenizer=tokenizer
    )


def load_new(path: Path, text_column: str, max_tokens: int, files: Mapping[str, str]) -> tuple[Items, tuple[str, ...]]:
    """Texts to predict, as tokens, and as they are.

    Args:
        path: a .txt with one text a line, or a table.
        text_column: of a table.
        max_tokens: as in training.
        files: the checkpoint's, name to text.

    Raises:
        DataError: no texts there.
        CheckpointError: the checkpoint has no tokenizer.
    """
    ids, texts = load_texts(path, text_column=text_column)
    tokenizer = tokenizer_from_files(files)
    tokens = Tokens(*tokenizer.encode(texts, max_tokens), tokenizer.pad_id)
    return Items(ids, tokens, lengths=tokens.lengths), texts


def _tokenizer(model: TextEncoderModel, dataset: Dataset, files: Mapping[str, str] | None) -> Tokenizer:
    if files is not None:
        return tokenizer_from_files(files)
    if model.pretrained:
        return load_tokenizer(text_source(model.type, size=model.size, path=model.path))
    assert dataset.texts is not None
    return train_tokenizer([dataset.texts[index] for index in dataset.indices("train")], model.vocabulary)
