"""Parts shared by the spectrogram networks: a convolution with its norm, an embedding under a classifier, and
frozen blocks.

Each network consists of these and a table from its paper. Modules are named and nested as in the published code,
so that published weights load. Knows no names of models, classes or files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from trainyard.errors import ConfigError
from trainyard.models.schema import Norm

_GROUP_CHANNELS = 16  # least per group; as accurate as a fixed number of groups (Wu & He, 2018, table 3)


def make_norm(norm: Norm, channels: int, *, eps: float = 1e-5) -> nn.Module:
    """A normalisation of [B, channels, H, W] with a scale and a shift for each channel.

    `group` is per item, in groups of 16 channels or the next larger number that divides them; `instance` is per item
    and channel.
    """
    match norm:
        case "batch":
            return nn.BatchNorm2d(channels, eps=eps)
        case "group":
            most = max(1, channels // _GROUP_CHANNELS)
            return nn.GroupNorm(max(n for n in range(1, most + 1) if channels % n == 0), channels, eps=eps)
        case "instance":
            return nn.InstanceNorm2d(channels, eps=eps, affine=True)


class ConvNorm(nn.Sequential):
    """A convolution without bias, padded to keep the size, its norm, and an activation unless None."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        norm: Norm,
        kernel: int = 3,
        stride: int = 1,
        groups: int = 1,
        eps: float = 1e-5,
        activation: type[nn.Module] | None = None,
    ) -> None:
        padding = (kernel - 1) // 2
        convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        last = () if activation is None else (activation(),)
        super().__init__(convolution, make_norm(norm, outputs, eps=eps), *last)


class StochasticDepth(nn.Module):
    """In training, drops a residual branch of an item with a probability, and scales the kept ones up.

    Huang et al., 2016, with the scaling of dropout: the expectation is the branch itself.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, branch: Tensor) -> Tensor:
        """The branch, float32 [B, C, H, W], with some items zero."""
        if not self.training or not self.probability:
            return branch
        kept = 1 - self.probability
        return branch * torch.empty(branch.shape[0], 1, 1, 1, device=branch.device).bernoulli_(kept).div_(kept)

    def extra_repr(self) -> str:
        """Shown by print."""
        return f"{self.probability}"


class SpectrogramNetwork(nn.Module):
    """A network whose `forward` is `classifier(embed(x))`, so that the classifier can be replaced by another head.

    Every such network takes these arguments besides its size:
        in_channels: channels of the image: 1 for a spectrogram.
        n_classes: width of the output.
        image_size: height and width of the smallest image it will see, in pixels; for a spectrogram, mels and frames.
        norm: the normalisation after each convolution.
        dropout: share of the embedding dropped in training.
        trainable_blocks: how many of the last blocks train in addition to the last hidden layer and the classifier;
            None: all. A ConfigError if there are fewer, or if the images are too small to be halved so often.

    Attributes:
        embedding_size: width of the embedding.
        classifier: from embeddings to logits; may be replaced.
        published_names: prefixes of names in published weights that differ from ours, mapped to ours.
    """

    published_names: ClassVar[Mapping[str, str]] = {}
    embedding_size: int
    classifier: nn.Module
    _frozen: Sequence[nn.Module] = ()

    def embed(self, images: Tensor) -> Tensor:
        """Embeddings: float32 [B, embedding_size] of images or spectrograms: float32 [B, C, H, W]."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """Logits: float32 [B, classes] of float32 [B, C, H, W], or [B, H, W] for one channel.

        The last batch of an epoch may have one item, and a batch norm at the end of the network needs two values
        for a variance: in training, a single item is duplicated.
        """
        if images.ndim == 3:
            images = images.unsqueeze(1)
        if self.training and images.shape[0] == 1:
            twice: Tensor = self.classifier(self.embed(torch.cat([images, images])))
            return twice[:1]
        logits: Tensor = self.classifier(self.embed(images))
        return logits

    def train(self, mode: bool = True) -> SpectrogramNetwork:
        """As `nn.Module.train`, but frozen blocks stay in eval mode: their batch norms keep their statistics."""
        super().train(mode)
        for part in self._frozen:
            part.eval()
        return self

    def _train_last(self, trainable: int | None, blocks: Sequence[Sequence[nn.Module]]) -> None:
        """Freezes all but the last `trainable` of `blocks` (None: freezes nothing); the head always trains."""
        if trainable is None:
            return
        if not 0 <= trainable <= len(blocks):
            remedy = f"Choose 0 (train the head only) to {len(blocks)}, or null for all."
            why = f"is impossible: this network has {len(blocks)} blocks"
            raise ConfigError.of("model.trainable_blocks", trainable, why, remedy)
        self._frozen = [part for block in blocks[: len(blocks) - trainable] for part in block]
        for part in self._frozen:
            part.requires_grad_(False)


class PooledNetwork(SpectrogramNetwork):
    """Blocks of convolutions, the average over pixels, dropout, and a linear layer.

    `features` are the blocks in order; the last is the convolution that makes the embedding, of `embedding_size`
    channels, and it always trains.
    """

    published_names: ClassVar[Mapping[str, str]] = {"classifier.1.": "classifier."}

    def __init__(
        self,
        features: Sequence[nn.Module],
        embedding_size: int,
        n_classes: int,
        *,
        dropout: float,
        trainable_blocks: int | None,
    ) -> None:
        super().__init__()
        self.embedding_size = embedding_size
        self.features = nn.Sequential(*features)
        # No module at all for 0: nn.Dropout(0) would still draw random numbers.
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.classifier = nn.Linear(embedding_size, n_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.zeros_(self.classifier.bias)
        self._train_last(trainable_blocks, [[block] for block in features[:-1]])

    def embed(self, images: Tensor) -> Tensor:
        """Embeddings: float32 [B, embedding_size] of float32 [B, C, H, W]."""
        dropped: Tensor = self.dropout(self.features(images).mean(dim=(2, 3)))
        return dropped


def check_size(name: str, size: tuple[int, int], *, norm: Norm, rounds_up: bool = True) -> None:
    """Checks that images of `size` (height, width) are large enough for a network that halves them five times.

    Strided convolutions round a half up, pooling rounds it down. The ConfigError names the size and the smallest that
    works.
    """
    height, width = ((-(-side // 32) if rounds_up else side // 32) for side in size)
    what = f"model.name={name!r} halves {size[0]} x {size[1]} items 5 times, which leaves {height} x {width}"
    if not height or not width:
        remedy = "Make both sides 32 or more (for audio: more data.n_mels, longer clips or a shorter data.hop_length)"
        raise ConfigError([what], f"{remedy}, or choose another model.", keys=["model.name"])
    if norm == "instance" and height * width == 1:
        remedy = f"Choose model.norm=batch or group, or a side of {33 if rounds_up else 64} or more."
        what += ": an instance norm needs more than one pixel"
        raise ConfigError([what], remedy, keys=["model.norm", "model.name"])
