"""Texts and their labels: where they are read from or made up, and their tokens.

One module a source, each with a `load(...)` that returns `Texts`. Nothing here makes splits or knows a
tokenizer.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainyard.errors import DataError
from trainyard.text.sources import goemotions, table
from trainyard.text.sources.labelled_texts import Texts
from trainyard.text.sources.sentences import load as made_up
from trainyard.text.sources.tokens import Tokens

__all__ = ["CORPORA", "Texts", "Tokens", "find"]

CORPORA = ("sentences", "table", "goemotions")


def find(
    corpus: str,
    path: str | Path | None,
    *,
    classes: Sequence[str] | None = None,
    multi_label: bool = True,
    sentences: int = 1600,
    text_column: str = "text",
    label_column: str = "label",
    label_separator: str = ",",
    id_column: str | None = None,
    group_column: str | None = None,
    split_column: str | None = None,
    on_bad_item: str = "error",
) -> Texts:
    """The texts of a corpus.

    Args:
        corpus: one of CORPORA.
        path: where it is; None for sentences, which are made up.
        classes: names in label order; of sentences, those to make.
        multi_label: a text may have several labels, or none.
        sentences: how many are made up.
        text_column: of a table, as for `table.load`, like the five below.
        label_column: of labels.
        label_separator: between the labels of a cell.
        id_column: of ids.
        group_column: of groups.
        split_column: of official splits.
        on_bad_item: "error", or "skip" with a warning.

    Raises:
        DataError: the corpus is not there, or not as it should be.
        ValueError: a name that is not in CORPORA.
    """
    if corpus not in CORPORA:
        raise ValueError(f"{corpus!r} is not one of {', '.join(CORPORA)}")
    if corpus == "sentences":
        return made_up(sentences, classes=classes, multi_label=multi_label)
    if path is None:
        raise DataError(f"data.corpus={corpus} needs data.path.", "Set data.path to where the texts are.")
    if corpus == "goemotions":
        if classes is not None:
            raise DataError("data.classes is set, but GoEmotions names its labels itself.", "Unset data.classes.")
        return goemotions.load(path, multi_label=multi_label, on_bad_item=on_bad_item)
    return table.load(
        path,
        text_column=text_column,
        label_column=label_column,
        label_separator=label_separator,
        id_column=id_column,
        group_column=group_column,
        split_column=split_column,
        classes=classes,
        multi_label=multi_label,
        on_bad_item=on_bad_item,
    )
