"""EfficientNetV2 (Tan & Le, 2021: arXiv 2104.00298) for spectrograms and images of any size.

The sizes s, m and l are those published; `small` is scaled down for edge devices. Names and shapes are
torchvision's, so that its weights load. It knows sizes only, no class names and no files.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from trainyard.models.blocks import ConvNorm, PooledNetwork, StochasticDepth, check_size
from trainyard.models.schema import EfficientNetSize, Norm

_EPS = 1e-3  # of the norms, in the published weights
_STOCHASTIC_DEPTH = 0.2  # of the last residual; the first has 0


class _Stage(NamedTuple):
    fused: bool  # one 3x3 convolution in place of a 1x1 and a depthwise one
    expansion: int
    stride: int


_STAGES = (
    _Stage(True, 1, 1),
    _Stage(True, 4, 2),
    _Stage(True, 4, 2),
    _Stage(False, 4, 2),
    _Stage(False, 6, 1),
    _Stage(False, 6, 2),
    _Stage(False, 6, 1),
)
# Channels and layers of each stage, of which the smaller sizes have six.
_SIZES: dict[EfficientNetSize, tuple[tuple[int, int], ...]] = {
    "small": ((16, 1), (32, 2), (40, 2), (80, 3), (96, 4), (152, 5)),
    "s": ((24, 2), (48, 4), (64, 4), (128, 6), (160, 9), (256, 15)),
    "m": ((24, 3), (48, 5), (80, 5), (160, 7), (176, 14), (304, 18), (512, 5)),
    "l": ((32, 4), (64, 7), (96, 7), (192, 10), (224, 19), (384, 25), (640, 7)),
}


class _SqueezeExcitation(nn.Module):
    """Scales each channel by a number in (0, 1) that depends on the averages of all (Hu et al., 2018)."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.activation = nn.SiLU()

    def forward(self, images: Tensor) -> Tensor:
        averages = images.mean(dim=(2, 3), keepdim=True)
        return images * self.fc2(self.activation(self.fc1(averages))).sigmoid()


class _Residual(nn.Module):
    """MBConv or, fused, Fused-MBConv, around which the input is added where the shapes allow it."""

    def __init__(self, stage: _Stage, inputs: int, outputs: int, stride: int, norm: Norm, drop: float) -> None:
        super().__init__()
        inner = inputs * stage.expansion
        layers: list[nn.Module] = []
        if stage.fused:
            first = outputs if stage.expansion == 1 else inner
            layers.append(ConvNorm(inputs, first, norm=norm, stride=stride, eps=_EPS, activation=nn.SiLU))
        else:
            layers.append(ConvNorm(inputs, inner, norm=norm, kernel=1, eps=_EPS, activation=nn.SiLU))
            depthwise = ConvNorm(inner, inner, norm=norm, stride=stride, groups=inner, eps=_EPS, activation=nn.SiLU)
            layers += [depthwise, _SqueezeExcitation(inner, max(1, inputs // 4))]
        if not stage.fused or stage.expansion != 1:
            layers.append(ConvNorm(inner, outputs, norm=norm, kernel=1, eps=_EPS))
        self.block = nn.Sequential(*layers)
        self.adds = stride == 1 and inputs == outputs
        self.stochastic_depth = StochasticDepth(drop)

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.block(images)
        return images + self.stochastic_depth(result) if self.adds else result


class EfficientNetV2(PooledNetwork):
    """EfficientNetV2: a strided stem, six or seven stages, a 1x1 convolution, the average over pixels, a linear layer.

    `size` is `s`, `m` or `l` as published, or `small`; `dropout` 0 also turns stochastic depth off. The blocks are the
    stem, then each stage. The other arguments are those of `SpectrogramNetwork`.
    """

    def __init__(
        self,
        size: EfficientNetSize,
        in_channels: int,
        n_classes: int,
        *,
        image_size: tuple[int, int],
        norm: Norm = "batch",
        dropout: float = 0.2,
        trainable_blocks: int | None = None,
    ) -> None:
        check_size("efficientnet_v2", image_size, norm=norm)
        sizes = _SIZES[size]
        width = sizes[0][0]
        features: list[nn.Module] = [ConvNorm(in_channels, width, norm=norm, stride=2, eps=_EPS, activation=nn.SiLU)]
        total, built = sum(layers for _, layers in sizes), 0
        for stage, (channels, layers) in zip(_STAGES, sizes, strict=False):
            residuals = []
            for layer in range(layers):
                drop = _STOCHASTIC_DEPTH * built / total if dropout else 0.0
                residuals.append(_Residual(stage, width, channels, 1 if layer else stage.stride, norm, drop))
                width, built = channels, built + 1
            features.append(nn.Sequential(*residuals))
        embedding_size = 1280 if size != "small" else 640
        features.append(ConvNorm(width, embedding_size, norm=norm, kernel=1, eps=_EPS, activation=nn.SiLU))
        super().__init__(features, embedding_size, n_classes, dropout=dropout, trainable_blocks=trainable_blocks)
        nn.init.uniform_(self.get_parameter("classifier.weight"), -(n_classes**-0.5), n_classes**-0.5)
