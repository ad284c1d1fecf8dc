"""Sources of labelled texts, read or generated, and the storage of their tokens.

One module per source, each with a `load(...)` that returns `Texts`. Nothing here makes splits or knows a
tokenizer.
"""

from __future__ import annotations

from pathlib import Path

from trainyard.errors import DataError
from trainyard.text.schema import TextData
from trainyard.text.sources import goemotions, sentences, table
from trainyard.text.sources.labelled_texts import Texts
from trainyard.text.sources.tokens import Tokens

__all__ = ["Texts", "Tokens", "find"]


def find(data: TextData) -> Texts:
    """Loads the texts of a corpus.

    Raises:
        DataError: the corpus is missing or not in the expected form.
        ValueError: a corpus that does not exist.
    """
    corpus, classes = data.corpus, data.classes
    if corpus == "sentences":
        return sentences.load(data.sentences, classes=classes, multi_label=data.multi_label)
    if data.path is None:
        what, remedy = f"data.corpus={corpus} needs data.path.", "Set data.path to the file or folder of the texts."
        raise DataError(what, remedy, place="data.path")
    if corpus == "table":
        return table.load(Path(data.path), data)
    if corpus != "goemotions":
        raise ValueError(f"{corpus!r} is not a corpus of texts")
    if classes is not None:
        what = "data.classes is set, but GoEmotions defines its own labels."
        raise DataError(what, "Unset data.classes.", value=tuple(classes), place="data.classes")
    return goemotions.load(Path(data.path), multi_label=data.multi_label, on_bad_item=data.on_bad_item)
