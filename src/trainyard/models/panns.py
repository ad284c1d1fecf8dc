"""CNN14 of PANNs, pretrained audio neural networks (Kong et al., 2020: arXiv 1912.10211).

Six blocks of two 3x3 convolutions over the log-mel spectrogram. Names and shapes are those of the
published weights. It knows sizes only, no class names and no files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from trainyard.models.blocks import SpectrogramNetwork, check_size, make_norm
from trainyard.models.schema import Norm

_BLOCKS = 6


class _ConvBlock(nn.Module):
    """Two 3x3 convolutions, each with its norm and ReLU."""

    def __init__(self, inputs: int, outputs: int, norm: Norm) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn1 = make_norm(norm, outputs)
        self.bn2 = make_norm(norm, outputs)

    def forward(self, images: Tensor) -> Tensor:
        return torch.relu(self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(images))))))


class PannsCnn14(SpectrogramNetwork):
    """CNN14: six blocks of convolutions, five of them halving; mean over mels, mean plus maximum over frames.

    The published weights expect log-mel power in decibels of 32 kHz audio, 64 mels, a hop of 320 samples.
    Deviations: the outputs are logits, while the published network ends in a sigmoid, and there is one dropout
    rate, while the published one has 0.2 after blocks and 0.5 around `fc1`.

    `width` is the channels of the first block, doubled in each; 64 as published. With `norm="batch"`, the input is also
    normalised per mel; `dropout` also follows each block. The other arguments are those of `SpectrogramNetwork`.
    """

    published_names: ClassVar[Mapping[str, str]] = {"fc_audioset.": "classifier."}

    def __init__(
        self,
        width: int,
        in_channels: int,
        n_classes: int,
        *,
        image_size: tuple[int, int],
        norm: Norm = "batch",
        dropout: float = 0.2,
        trainable_blocks: int | None = None,
    ) -> None:
        super().__init__()
        check_size("panns_cnn14", image_size, norm=norm, rounds_up=False)
        self.bn0 = nn.BatchNorm2d(image_size[0]) if norm == "batch" else nn.Identity()
        inputs, outputs = in_channels, width
        for number in range(1, _BLOCKS + 1):
            self.add_module(f"conv_block{number}", _ConvBlock(inputs, outputs, norm))
            inputs, outputs = outputs, 2 * outputs
        self.embedding_size = inputs
        self.fc1 = nn.Linear(inputs, inputs)
        self.classifier = nn.Linear(inputs, n_classes)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        first, *others = self._blocks()
        self._train_last(trainable_blocks, [[self.bn0, first], *([block] for block in others)])

    def _blocks(self) -> list[nn.Module]:
        return [self.get_submodule(f"conv_block{number}") for number in range(1, _BLOCKS + 1)]

    def embed(self, images: Tensor) -> Tensor:
        """Embeddings: float32 [B, embedding_size] of spectrograms: float32 [B, C, n_mels, frames]."""
        maps = self.bn0(images.transpose(1, 2)).permute(0, 2, 3, 1)  # frames come before mels in the published weights
        for number, block in enumerate(self._blocks()):
            maps = block(maps)
            if number < _BLOCKS - 1:
                maps = nn.functional.avg_pool2d(maps, 2)
            maps = self.dropout(maps)
        over_mels = maps.mean(dim=3)
        pooled = over_mels.amax(dim=2) + over_mels.mean(dim=2)
        embedding: Tensor = self.dropout(torch.relu(self.fc1(self.dropout(pooled))))
        return embedding
