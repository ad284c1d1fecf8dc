"""Texts as a kind of data, see `config.kinds`.

The tokenizer is the checkpoint's if there is a checkpoint, else that of the pretrained encoder; a random encoder gets
one that is trained on the training texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from trainyard.config.kinds import Files
from trainyard.config.schema import Config
from trainyard.data.build import unusable_items
from trainyard.data.dataset import Dataset
from trainyard.data.items import Items
from trainyard.data.tables import read_text
from trainyard.errors import ConfigError, DataError
from trainyard.text.dataset import split_texts, with_tokens
from trainyard.text.encoders.build import build, describe, rebuild
from trainyard.text.encoders.families import text_source
from trainyard.text.encoders.tokenizer import Tokenizer, load_tokenizer, tokenizer_from_files, train_tokenizer
from trainyard.text.schema import TextData, TextEncoderModel
from trainyard.text.sources import Tokens, find
from trainyard.text.sources.labelled_texts import unusable
from trainyard.text.sources.reading import TABLES, read_records

__all__ = ["build", "describe", "load", "preprocessing", "read_new", "rebuild", "write_onnx"]


def load(
    config: Config, *, trust: bool = False, item_shape: Sequence[int] | None = None, files: Files | None = None
) -> Dataset:
    """The texts of `config.data` as tokens for `config.model`; a tokenizer in `files` is the one used."""
    data, model = config.data, config.model
    assert isinstance(data, TextData)
    if not isinstance(model, TextEncoderModel):
        raise ConfigError.of("model.name", model.name, "does not take text", "Use model=distilbert, or other data.")
    name = data.dataset or (Path(data.path).stem if data.path else data.corpus)
    dataset = split_texts(find(data), name=name, label_name=data.label_name, split=data.split)
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
    """How a text becomes the input of a model."""
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
    path: Path, preprocessing: Mapping[str, Any], *, files: Files, cache_dir: Path, cache_mb: float, trust: bool = False
) -> Items:
    """The texts at `path`, see `read_texts`, as tokens of the tokenizer in `files`."""
    ids, texts = read_texts(path, text_column=preprocessing["text_column"])
    tokenizer = tokenizer_from_files(files)
    tokens = Tokens(*tokenizer.encode(texts, preprocessing["max_tokens"]), tokenizer.pad_id)
    return Items(ids, tokens, lengths=tokens.lengths, texts=texts)


def read_texts(path: Path, *, text_column: str = "text") -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names and the texts in a file; a name is file and row, such as `new.csv:2`.

    The file is a `.txt` with one text per line, where empty lines are skipped, or a table as for training, of which
    only `text_column` is read.

    Raises:
        DataError: no file, an unreadable file, or an empty text.
    """
    suffix = path.suffix.lower()
    if suffix != ".txt" and suffix not in TABLES:
        what = f"{path} is not a file of texts." if path.exists() else f"There is no file {path}."
        raise DataError(what, f"Pass a .txt with one text per line, or a table: {', '.join(TABLES)}.", place=path)
    if suffix == ".txt":
        lines = enumerate((line.removesuffix("\r") for line in read_text(path).split("\n")), start=1)
        found = [(number, line) for number, line in lines if line.strip()]
    else:
        found = [(number, row[text_column]) for number, row in read_records(path, text_column)]
    if not found:
        raise DataError(f"{path} has no texts.", "Write one text per line.", place=path)
    bad = [(f"row {number}", why) for number, text in found if (why := unusable(text))]
    if bad:
        raise unusable_items(path, "some texts cannot be used", bad)
    return tuple(f"{path.name}:{number}" for number, _ in found), tuple(text for _, text in found)


def _tokenizer(model: TextEncoderModel, dataset: Dataset, files: Files | None) -> Tokenizer:
    if files is not None:
        return tokenizer_from_files(files)
    if model.pretrained:
        return load_tokenizer(text_source(model.type, size=model.size, path=model.path))
    assert dataset.texts is not None
    return train_tokenizer([dataset.texts[index] for index in dataset.indices("train")], model.vocabulary)


def write_onnx(model: Any, inputs: Tensor, lengths: Tensor, path: Path, **options: Any) -> Any:
    """Writes an ONNX file that takes token ids and a mask, compared with the model; see `export_text_onnx`."""
    from trainyard.text.onnx import export_text_onnx  # loads the libraries of exports

    return export_text_onnx(model, inputs, lengths, path, **options)
