"""ONNX files of text encoders, for any number of texts of any length, with logits and probabilities.

As in `export.onnx`, a file is published only if ONNX Runtime gives the network's outputs on real texts. Knows no runs
and no tokenizers; texts are ids.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainyard.export.onnx import Parity, exported, parity_of, publish, require_parity, session
from trainyard.text.encoders.classifier import TextClassifier

_AT_ONCE = 16  # texts
_INPUTS = ("input_ids", "attention_mask")
_OUTPUTS = ("logits", "probabilities")


def export_text_onnx(
    model: TextClassifier,
    ids: Tensor,
    lengths: Tensor,
    path: Path,
    *,
    classes: Sequence[str],
    tolerance: float = 1e-4,
    rule: Mapping[str, Any] | None = None,
    details: Mapping[str, Any] | None = None,
) -> Parity:
    """Writes `model` as a float32 ONNX file, and its description to `path` with `.json`.

    The graph takes `input_ids` and `attention_mask` (1 for a token, 0 for padding), int64 [batch, sequence],
    and returns `logits` and `probabilities`, float32 [batch, classes]: a sigmoid of each logit if a text may
    have several labels, else a softmax.

    Args:
        model: unchanged.
        ids: int64 [N, T], real texts to compare on, padded.
        lengths: int64 [N], tokens of each.
        path: the file; an existing one is replaced atomically.
        classes: names in the order of the logits.
        tolerance: largest difference of a logit, as a share of the largest logit (or of 1, if that is more).
        rule: how probabilities become labels, for the description.
        details: anything else for the description, as plain JSON values.

    Raises:
        ConfigError: a library is missing.
        TrainyardError: the network cannot be exported, or the file's outputs differ by more: nothing is written.
    """
    whole = copy.deepcopy(model).cpu().eval()
    ids, lengths = ids.cpu(), lengths.cpu()
    tokens = torch.full((2, 3), whole.config.pad_token_id)  # different sizes above 1, which torch keeps dynamic
    free = torch.export.Dim.DYNAMIC
    shapes = ({0: "batch", 1: "sequence"}, {0: free, 1: free})  # torch infers that the mask has the same sizes
    graph = _Graph(whole).eval()
    proto, content = exported(graph, (tokens, torch.ones_like(tokens)), shapes, _INPUTS, _OUTPUTS)
    running = session(content)
    ours, theirs = [], []
    for batch, sizes in zip(ids.split(_AT_ONCE), lengths.split(_AT_ONCE), strict=True):
        batch = batch[:, : int(sizes.max())]
        mask = (torch.arange(batch.shape[1]) < sizes.unsqueeze(1)).long()
        with torch.inference_mode():
            ours.append(np.stack([whole(batch, sizes).numpy(), graph(batch, mask)[1].numpy()]))
        theirs.append(np.stack(running.run(_OUTPUTS, dict(zip(_INPUTS, (batch.numpy(), mask.numpy()), strict=True)))))
    # axis 0: logits, probabilities
    wanted, found = np.concatenate(ours, axis=1), np.concatenate(theirs, axis=1)
    parity = parity_of(path, content, wanted[0], found[0])
    require_parity(parity, wanted[0], tolerance)
    require_parity(parity_of(path, content, wanted[1], found[1]), wanted[1], tolerance)
    described = {
        "inputs": [{"name": name, "dtype": "int64", "shape": ["batch", "sequence"]} for name in _INPUTS],
        "outputs": [{"name": name, "dtype": "float32", "shape": ["batch", len(classes)]} for name in _OUTPUTS],
        "problem_type": whole.config.problem_type,
        "pad_token_id": whole.config.pad_token_id,
        "max_tokens": whole.longest,
        "decision": rule,
    }
    publish(parity, proto, content, "float32", classes, described, details)
    return parity


class _Graph(nn.Module):
    """The exported module: transformers' inputs, and probabilities as a second output."""

    def __init__(self, model: TextClassifier) -> None:
        super().__init__()
        self.model = model.model
        self.pad_id = int(model.config.pad_token_id)
        self.multi_label = model.multi_label

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        input_ids = input_ids.masked_fill(attention_mask == 0, self.pad_id)  # as `TextClassifier.forward`
        logits: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
        return logits, torch.sigmoid(logits) if self.multi_label else torch.softmax(logits, dim=1)
