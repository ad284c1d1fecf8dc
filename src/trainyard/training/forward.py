"""How a network is called: the precision, and the parts of a batch it gets. The same in training and evaluation."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor, nn

from trainyard.data.batches import Batch

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """The context that forward passes run in: nothing for fp32, autocast for bf16 and fp16."""
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=_DTYPES[precision])


def forward(model: nn.Module, batch: Batch) -> Tensor:
    """The model's logits [B, C] for a batch; it also gets the lengths of the items where the batch has them."""
    outputs: Tensor = model(batch.inputs) if batch.lengths is None else model(batch.inputs, batch.lengths)
    return outputs
