"""Networks that train very quickly, for tests of everything around them.

Their weights depend only on `seed`: building one does not change torch's random state.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from trainyard.models import CNN, MLP


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def tiny_mlp(n_classes: int = 3, *, input_size: int = 8, dropout: float = 0.0, seed: int = 0) -> MLP:
    """A network of `input_size`-8-`n_classes`: float32 [B, ...] to logits [B, n_classes]."""
    with _seeded(seed):
        return MLP(input_size, (8,), n_classes, dropout)


def tiny_cnn(
    n_classes: int = 3, *, channels: int = 1, size: tuple[int, int] = (8, 8), dropout: float = 0.0, seed: int = 0
) -> CNN:
    """Two stages of 4 and 8 channels: float32 [B, channels, *size] to logits [B, n_classes]."""
    with _seeded(seed):
        return CNN(channels, (4, 8), n_classes, size=size, dropout=dropout)


class FrozenBackbone(nn.Module):
    """A frozen encoder with a trained head: about nine tenths of the weights never change.

    Args:
        n_classes: the number of outputs.
        input_size: how many numbers an item has.
        width: the width of the backbone. 1024 makes 2.3 million weights, a checkpoint of 9 MB.
        seed: the seed of all weights.
    """

    def __init__(self, n_classes: int = 3, *, input_size: int = 8, width: int = 64, seed: int = 0) -> None:
        super().__init__()
        with _seeded(seed):
            self.backbone = nn.Sequential(
                nn.Linear(input_size, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, width)
            )
            self.head = nn.Sequential(nn.Linear(width, width // 5), nn.ReLU(), nn.Linear(width // 5, n_classes))
        self.backbone.requires_grad_(False)

    def forward(self, items: Tensor) -> Tensor:
        """Logits: float32 [B, n_classes] of items: float32 [B, ...]."""
        logits: Tensor = self.head(self.backbone(items.flatten(1)))
        return logits
