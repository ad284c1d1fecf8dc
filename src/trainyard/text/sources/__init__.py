"""Sources of labelled texts, read or generated, and the storage of their tokens.

One module per source, each with a `load(...)` that returns `Texts`. Nothing here makes splits or knows a
tokenizer.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainyard.errors import DataError
from trainyard.text.sources import goemotions, table
from trainyard.text.sources.labelled_texts import Texts
from trainyard.text.sources.sentences import load as generate_sentences
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
    """Loads the texts of a corpus.

    Args:
        corpus: one of CORPORA.
        path: where it is; None for sentences, which are generated.
        classes: names in label order; for sentences, the classes to generate.
        multi_label: a text may have several labels, or none.
        sentences: the number of sentences to generate.
        text_column: the column of texts; this and the five below apply to a table, see `table.load`.
        label_column: the column of labels.
        label_separator: between the labels of a cell.
        id_column: the column of ids.
        group_column: the column of groups.
        split_column: the column of official splits.
        on_bad_item: "error", or "skip" with a warning.

    Raises:
        DataError: the corpus is missing or not in the expected form.
        ValueError: a name that is not in CORPORA.
    """
    if corpus not in CORPORA:
        raise ValueError(f"{corpus!r} is not one of {', '.join(CORPORA)}")
    if corpus == "sentences":
        return generate_sentences(sentences, classes=classes, multi_label=multi_label)
    if path is None:
        raise DataError(
            f"data.corpus={corpus} needs data.path.",
            "Set data.path to the file or folder of the texts.",
            value=path,
            place="data.path",
        )
    if corpus == "goemotions":
        if classes is not None:
            raise DataError(
                "data.classes is set, but GoEmotions defines its own labels.",
                "Unset data.classes.",
                value=tuple(classes),
                place="data.classes",
            )
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
