"""Texts as a dataset: first split and checked, then tokenised.

There are two steps because a new tokenizer is trained on the training texts only. Knows neither models nor
tokenizers: the caller passes an encoding function.
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
from trainyard.data.build import build_dataset
from trainyard.data.dataset import Dataset, Fetch, Indices
from trainyard.errors import DataError
from trainyard.text.sources import Texts, Tokens
from trainyard.wording import listed

# (texts, max_tokens) -> the tokens of all texts int32 [total], and the offset of each text int64 [N + 1].
Encode = Callable[[Sequence[str], int], tuple[npt.NDArray[np.integer], npt.NDArray[np.integer]]]


def split_texts(texts: Texts, *, name: str, label_name: str = "label", split: SplitOptions) -> Dataset:
    """The checked texts with their splits; they cannot be fetched before `with_tokens`.

    Texts with the same bytes are the same item. Raises what `build_dataset` raises.
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
    """The dataset of `split_texts` with tokens, and further attributes of it in `extra`.

    `encode` truncates each text to `max_tokens` tokens, special ones included.

    Raises:
        DataError: a text without tokens.
    """
    if dataset.texts is None:
        raise ValueError(f"{dataset.name} has no texts")
    tokens = Tokens(*encode(dataset.texts, max_tokens), pad_id)
    none = [dataset.ids[index] for index in np.flatnonzero(tokens.lengths == 0).tolist()]
    if none:
        what = f"{dataset.name}: the tokenizer returns no tokens for {listed(none, 3)}."
        raise DataError(what, "Remove these texts, or use another tokenizer.", value=none, place=dataset.name)
    warnings = dataset.warnings
    if full := int((tokens.lengths >= max_tokens).sum()):
        verb = "fills" if full == 1 else "fill"
        warnings += (f"{full} of {len(dataset)} texts {verb} data.max_tokens={max_tokens} and may be truncated.",)
    return replace(
        dataset, fetch=tokens, lengths=tokens.lengths, item_shape=(max_tokens,), ragged=True, warnings=warnings, **extra
    )


def _no_fetch(_: Indices) -> Fetch:
    def fetch(indices: Indices) -> torch.Tensor:
        raise ValueError("these texts have no tokens yet")

    return fetch
