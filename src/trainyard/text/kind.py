"""Texts as a kind of data: loading them for training, and reading new ones in the same way.

Texts become tokens by the checkpoint's tokenizer where there is a checkpoint, else by that of the pretrained encoder;
a random encoder gets a tokenizer that is trained on the training texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from trainyard.config.schema import Config
from trainyard.data.build import describe_bad
from trainyard.data.dataset import Dataset
from trainyard.data.items import Items
from trainyard.data.tables import read_text
from trainyard.errors import ConfigError, DataError
from trainyard.text.dataset import split_texts, with_tokens
from trainyard.text.encoders import (
    Tokenizer,
    build,
    describe,
    load_tokenizer,
    rebuild,
    text_source,
    tokenizer_from_files,
    train_tokenizer,
)
from trainyard.text.schema import TextData, TextEncoderModel
from trainyard.text.sources import Tokens, find
from trainyard.text.sources.labelled_texts import unusable
from trainyard.text.sources.reading import TABLES, read_records

__all__ = ["build", "describe", "load", "preprocessing", "read_new", "rebuild"]

_READING = ("corpus", "path", "classes", "multi_label", "sentences", "on_bad_item")


def load(
    config: Config,
    *,
    trust: bool = False,
    item_shape: Sequence[int] | None = None,
    files: Mapping[str, str] | None = None,
) -> Dataset:
    """The texts that `config.data` names, as `config.model` takes them.

    Args:
        config: its `data` and `model`.
        trust: not used.
        item_shape: not used.
        files: a checkpoint's, name to text, whose tokenizer is used.

    Raises:
        ConfigError: there is no such tokenizer.
        DataError: the data cannot be read or trained on.
    """
    data, model = config.data, config.model
    assert isinstance(data, TextData)
    if not isinstance(model, TextEncoderModel):
        raise ConfigError(
            [f"model.name={model.name} does not take text"], "Use model=distilbert, or other data.", keys=["model.name"]
        )
    columns = [field.name for field in fields(data) if field.name.endswith(("_column", "_separator"))]
    texts = find(**{name: getattr(data, name) for name in (*_READING, *columns)})
    name = data.dataset or (Path(data.path).stem if data.path else data.corpus)
    dataset = split_texts(texts, name=name, label_name=data.label_name, split=data.split)
    tokenizer = _tokenizer(model, dataset, files)
    return with_tokens(
        dataset,
        tokenizer.encode,
        pad_id=tokenizer.pad_id,
        max_tokens=data.max_tokens,
        preprocessing=preprocessing(config),
        model_arguments={"tokenizer": tokenizer, "multi_label": dataset.multi_label},
    )


def preprocessing(config: Config, item_shape: Sequence[int] | None = None) -> dict[str, Any]:
    """How a text becomes the input of a model: plain JSON values.

    Args:
        config: its `data`.
        item_shape: not used.
    """
    data = config.data
    assert isinstance(data, TextData)
    return {
        "kind": "text",
        "text_column": data.text_column,
        "max_tokens": data.max_tokens,
        "computed_as": "tokenizers.Tokenizer.from_file('tokenizer.json'), truncated to max_tokens; the file is part "
        "of every checkpoint",
    }


def read_new(
    path: Path, preprocessing: Mapping[str, Any], *, files: Mapping[str, str], cache_dir: Path, cache_mb: float
) -> Items:
    """The texts at `path`, as a trained model takes them.

    Args:
        path: a .txt with one text a line, or a table.
        preprocessing: as the function of that name described it for the training.
        files: the checkpoint's, name to text, among them its tokenizer.
        cache_dir: not used.
        cache_mb: not used.

    Raises:
        DataError: no texts there.
        CheckpointError: the checkpoint has no tokenizer.
    """
    ids, texts = read_texts(path, text_column=preprocessing["text_column"])
    tokenizer = tokenizer_from_files(files)
    tokens = Tokens(*tokenizer.encode(texts, preprocessing["max_tokens"]), tokenizer.pad_id)
    return Items(ids, tokens, lengths=tokens.lengths, texts=texts)


def read_texts(path: Path, *, text_column: str = "text") -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names and the texts in a file; a name is file and row, as in `new.csv:2`.

    Args:
        path: a `.txt` with one text a line, where empty lines are skipped; or a table as for training, whose
            other columns are ignored.
        text_column: of a table.

    Raises:
        DataError: nothing there, an unreadable file, or a text that is empty.
    """
    if path.suffix.lower() != ".txt" and path.suffix.lower() not in TABLES:
        what = f"{path} is not a file of texts." if path.exists() else f"There is no file {path}."
        raise DataError(what, f"Give a .txt with one text a line, or a table: {', '.join(TABLES)}.", place=path)
    if path.suffix.lower() == ".txt":
        lines = enumerate((line.removesuffix("\r") for line in read_text(path).split("\n")), start=1)
        found = [(number, line) for number, line in lines if line.strip()]
    else:
        found = [(number, row[text_column]) for number, row in read_records(path, text_column, [])]
    if not found:
        raise DataError(f"{path} has no texts.", "Write one text a line.", place=path)
    bad = [(f"row {number}", why) for number, text in found if (why := unusable(text))]
    if bad:
        raise DataError(
            f"{path}: some texts cannot be used:{describe_bad(bad)}",
            "Remove or fix them.",
            value=[row for row, _ in bad],
            place=path,
        )
    return tuple(f"{path.name}:{number}" for number, _ in found), tuple(text for _, text in found)


def _tokenizer(model: TextEncoderModel, dataset: Dataset, files: Mapping[str, str] | None) -> Tokenizer:
    if files is not None:
        return tokenizer_from_files(files)
    if model.pretrained:
        return load_tokenizer(text_source(model.type, size=model.size, path=model.path))
    assert dataset.texts is not None
    return train_tokenizer([dataset.texts[index] for index in dataset.indices("train")], model.vocabulary)
