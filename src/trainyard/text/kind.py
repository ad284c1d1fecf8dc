"""Texts as a kind of data: loads them for training, and reads new ones in the same way.

The tokenizer is the checkpoint's if there is a checkpoint, else that of the pretrained encoder; a random encoder gets
one that is trained on the training texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from torch import Tensor

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

__all__ = ["build", "describe", "load", "preprocessing", "read_new", "rebuild", "write_onnx"]

_READING = ("corpus", "path", "classes", "multi_label", "sentences", "on_bad_item")


def load(
    config: Config,
    *,
    trust: bool = False,
    item_shape: Sequence[int] | None = None,
    files: Mapping[str, str] | None = None,
) -> Dataset:
    """The texts of `config.data`, as inputs of `config.model`.

    Args:
        config: its `data` and `model`.
        trust: not used.
        item_shape: not used.
        files: of a checkpoint, name to text, with its tokenizer.

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
    path: Path,
    preprocessing: Mapping[str, Any],
    *,
    files: Mapping[str, str],
    cache_dir: Path,
    cache_mb: float,
    trust: bool = False,
) -> Items:
    """The texts at `path`, as inputs of a trained model.

    Args:
        path: a .txt with one text per line, or a table.
        preprocessing: the result of `preprocessing` for the training.
        files: of the checkpoint, name to text, with its tokenizer.
        cache_dir: not used.
        cache_mb: not used.
        trust: not used.

    Raises:
        DataError: there are no texts.
        CheckpointError: the checkpoint has no tokenizer.
    """
    ids, texts = read_texts(path, text_column=preprocessing["text_column"])
    tokenizer = tokenizer_from_files(files)
    tokens = Tokens(*tokenizer.encode(texts, preprocessing["max_tokens"]), tokenizer.pad_id)
    return Items(ids, tokens, lengths=tokens.lengths, texts=texts)


def read_texts(path: Path, *, text_column: str = "text") -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names and the texts in a file; a name is file and row, such as `new.csv:2`.

    Args:
        path: a `.txt` with one text per line, where empty lines are skipped; or a table as for training, of which
            other columns are ignored.
        text_column: of a table.

    Raises:
        DataError: no file, an unreadable file, or an empty text.
    """
    if path.suffix.lower() != ".txt" and path.suffix.lower() not in TABLES:
        what = f"{path} is not a file of texts." if path.exists() else f"There is no file {path}."
        raise DataError(what, f"Pass a .txt with one text per line, or a table: {', '.join(TABLES)}.", place=path)
    if path.suffix.lower() == ".txt":
        lines = enumerate((line.removesuffix("\r") for line in read_text(path).split("\n")), start=1)
        found = [(number, line) for number, line in lines if line.strip()]
    else:
        found = [(number, row[text_column]) for number, row in read_records(path, text_column, [])]
    if not found:
        raise DataError(f"{path} has no texts.", "Write one text per line.", place=path)
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


def write_onnx(
    model: Any,
    inputs: Tensor,
    lengths: Tensor,
    path: Path,
    *,
    classes: Sequence[str],
    rule: Mapping[str, Any] | None,
    details: Mapping[str, Any],
) -> Any:
    """Writes an ONNX file that takes token ids and a mask, compared with the model; see `export_text_onnx`."""
    from trainyard.text.onnx import export_text_onnx  # loads the libraries of exports

    return export_text_onnx(model, inputs, lengths, path, classes=classes, decision=rule, details=details)
