"""A multi-layer perceptron over flattened items.

It exists as the smallest network that trains on anything: images, features, tables. It knows sizes
only, no class names and no files.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


class MLP(nn.Module):
    """Fully connected layers with ReLU between them; `MLP(784, (453,), 10)` is 784-453-10.

    `input_size` is all dimensions of an item multiplied. `hidden` may be empty, for a linear classifier. `dropout` is
    the share of hidden units dropped in training, after each hidden layer.
    """

    def __init__(self, input_size: int, hidden: Sequence[int], n_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        widths = (input_size, *hidden)
        self.hidden = nn.ModuleList(nn.Linear(inputs, outputs) for inputs, outputs in pairwise(widths))
        # No module at all for 0: nn.Dropout(0) would still draw random numbers.
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.classifier = nn.Linear(widths[-1], n_classes)

    def forward(self, items: Tensor) -> Tensor:
        """Logits: float32 [B, n_classes] of items: float32 [B, ...], flattened to [B, input_size]."""
        features = items.flatten(1)
        for layer in self.hidden:
            features = self.dropout(torch.relu(layer(features)))
        logits: Tensor = self.classifier(features)
        return logits
