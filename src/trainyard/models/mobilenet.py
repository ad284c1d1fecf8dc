"""MobileNetV2 (Sandler et al., 2018: arXiv 1801.04381) for spectrograms and images of any size.

The smallest of the published networks here, and the one that quantises best: its ReLU6 bounds every
activation. Names and shapes are torchvision's. It knows sizes only, no class names and no files.
"""

from __future__ import annotations

from torch import Tensor, nn

from trainyard.models.blocks import ConvNorm, PooledNetwork, check_size
from trainyard.models.schema import Norm

# expansion, channels, layers, stride: table 2 of the paper
_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
_STEM, _LAST = 32, 1280


class _InvertedResidual(nn.Module):
    """Expand by a 1x1 convolution, filter each channel, project back; added to the input where shapes allow it."""

    def __init__(self, inputs: int, outputs: int, *, expansion: int, stride: int, norm: Norm) -> None:
        super().__init__()
        inner = inputs * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers.append(ConvNorm(inputs, inner, norm=norm, kernel=1, activation=nn.ReLU6))
        layers.append(ConvNorm(inner, inner, norm=norm, stride=stride, groups=inner, activation=nn.ReLU6))
        layers.extend(ConvNorm(inner, outputs, norm=norm, kernel=1))  # not nested, as in the published names
        self.conv = nn.Sequential(*layers)
        self.adds = stride == 1 and inputs == outputs

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.conv(images)
        return images + result if self.adds else result


class MobileNetV2(PooledNetwork):
    """MobileNetV2: a strided stem, 17 inverted residuals, a 1x1 convolution, the average over pixels, a linear layer.

    `width` multiplies the channels, each rounded to a multiple of 8. The 18 blocks are the stem, then each residual.
    The other arguments are those of `SpectrogramNetwork`.
    """

    def __init__(
        self,
        width: float,
        in_channels: int,
        n_classes: int,
        *,
        image_size: tuple[int, int],
        norm: Norm = "batch",
        dropout: float = 0.2,
        trainable_blocks: int | None = None,
    ) -> None:
        check_size("mobilenet_v2", image_size, norm=norm)
        inputs = _divisible(_STEM * width)
        features: list[nn.Module] = [ConvNorm(in_channels, inputs, norm=norm, stride=2, activation=nn.ReLU6)]
        for expansion, channels, layers, first_stride in _STAGES:
            outputs = _divisible(channels * width)
            for layer in range(layers):
                stride = 1 if layer else first_stride
                features.append(_InvertedResidual(inputs, outputs, expansion=expansion, stride=stride, norm=norm))
                inputs = outputs
        embedding_size = _divisible(_LAST * max(1.0, width))
        features.append(ConvNorm(inputs, embedding_size, norm=norm, kernel=1, activation=nn.ReLU6))
        super().__init__(features, embedding_size, n_classes, dropout=dropout, trainable_blocks=trainable_blocks)
        nn.init.normal_(self.get_parameter("classifier.weight"), 0.0, 0.01)


def _divisible(channels: float) -> int:
    """The nearest multiple of 8, at least 8, that is not more than a tenth below `channels`."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
