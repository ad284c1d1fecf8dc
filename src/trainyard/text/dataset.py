"""Texts as a dataset: split and checked like everything else, then as tokens.

In two steps, because a tokenizer of its own is made from the training texts alone. Knows neither models nor
how a tokenizer works: it is given a function.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from trainyard.config.schema import SplitOptions
from trainyard.data.build import build_dataset, listed
from trainyard.data.dataset import Dataset, Fetch, Indices
from trainyard.errors import DataError
from trainyard.text.sources import Texts, Tokens

# Texts and the most tokens of one -> tokens of all int32 [total], and where each text begins int64 [N + 1].
Encode = Callable[[Sequence[str], int], tuple[npt.NDArray[np.integer], npt.NDArray[np.integer]]]


def split_texts(texts: Texts, *, name: str, label_name: str = "label", split: SplitOptions) -> Dataset:
    """The texts with their splits, checked; they cannot be fetched before `with_tokens`.

    Args:
        texts: what a source has read. Texts that are the same bytes are the same item, wherever they lie.
        name: the dataset's name.
        label_name: the header of a column of classes.
        split: how items are assigned to splits.

    Raises:
        DataError: what `build_dataset` refuses.
    """
    digests = [hashlib.blake2b(text.encode(), digest_size=16).hexdigest() for text in texts.texts]
    return build_dataset(
        name,
        texts.where,
        texts.classes,
        texts.ids,
        texts.labels,
        digests,
        (0,),
        _no_fetch,
        official=texts.splits,
        groups=texts.groups,
        texts=texts.texts,
        warnings=texts.warnings,
        split=split,
        extra={"label_name": label_name},
    )


def with_tokens(dataset: Dataset, encode: Encode, *, pad_id: int, max_tokens: int, **extra: Any) -> Dataset:
    """The dataset of `split_texts` with every text as tokens.

    Args:
        dataset: of texts.
        encode: as `Encode`; cuts each text to `max_tokens` tokens.
        pad_id: the token that fills a batch up.
        max_tokens: the most tokens of a text, those that every text gets included.
        extra: further attributes of the dataset.

    Raises:
        DataError: a text that becomes no token.
    """
    if dataset.texts is None:
        raise ValueError(f"{dataset.name} has no texts")
    tokens = Tokens(*encode(dataset.texts, max_tokens), pad_id)
    none = [dataset.ids[index] for index in np.flatnonzero(tokens.lengths == 0).tolist()]
    if none:
        raise DataError(
            f"{dataset.name}: the tokenizer makes no token of {listed(none, 3)}.",
            "Remove these texts, or use another tokenizer.",
            value=none,
            place=dataset.name,
        )
    warnings = dataset.warnings
    full = int((tokens.lengths >= max_tokens).sum())
    if full:
        verb = "fills" if full == 1 else "fill"
        warnings += (f"{full} of {len(dataset)} texts {verb} data.max_tokens={max_tokens}: the rest is cut off.",)
    return replace(
        dataset, fetch=tokens, lengths=tokens.lengths, item_shape=(max_tokens,), ragged=True, warnings=warnings, **extra
    )


def _no_fetch(_: Indices) -> Fetch:
    def fetch(indices: Indices) -> torch.Tensor:
        raise ValueError("these texts have no tokens yet")

    return fetch
