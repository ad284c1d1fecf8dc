"""The cosine head, the last layer of a classifier that is trained with angular margins.

Item and class are directions, and a logit is the cosine between them, times a scale that makes the softmax sharp
enough. Knows sizes only: no margins, no class names, no files.
"""

from __future__ import annotations

import contextlib
import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainyard.errors import ConfigError

_SHORTEST = 1e-6  # a shorter vector has no direction: its cosines are 0, and so is its gradient


class CosineLinear(nn.Module):
    """`scale` (10 to 80) times the cosine of each item and class: `scale * x·W_c / (|x| |W_c|)`, without a bias."""

    def __init__(self, in_features: int, out_features: int, scale: float) -> None:
        super().__init__()
        if not (math.isfinite(scale) and scale > 0):
            why = "of a cosine head is not a finite number above 0"
            raise ConfigError.of("training.margin.scale", scale, why, "Set a scale such as 30.")
        self.in_features = in_features
        self.out_features = out_features
        self.scale = float(scale)
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Logits float32 [B, C] in [-scale, scale] of embeddings [B, D]; computed in float32 under autocast, too."""
        device = embeddings.device.type
        # only if autocast is on: an exporter would write the context into its graph
        with torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else contextlib.nullcontext():
            cosines = functional.linear(_directions(embeddings.float()), _directions(self.weight.float()))
        return self.scale * cosines

    def extra_repr(self) -> str:
        """Sizes and scale, as `str(model)` shows them."""
        return f"in_features={self.in_features}, out_features={self.out_features}, scale={self.scale:g}"


def with_cosine_head(model: nn.Module, scale: float) -> nn.Module:
    """`model` itself, with its linear `classifier` replaced by a new `CosineLinear` of the same sizes.

    Raises:
        ConfigError: the model has no linear layer of that name.
    """
    last = getattr(model, "classifier", None)
    if not isinstance(last, nn.Linear):
        found = "nothing" if last is None else f"a {type(last).__name__}"
        what = f"a {type(model).__name__} cannot have a cosine head: its `classifier` is {found}, not a linear layer"
        remedy = "Choose another model, or unset training.use_arcface."
        raise ConfigError([what], remedy, keys=["training.use_arcface", "model.name"])
    head = CosineLinear(last.in_features, last.out_features, scale)
    model.classifier = head.to(last.weight.device)
    return model


def _directions(vectors: Tensor) -> Tensor:
    lengths = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return torch.where(lengths > _SHORTEST, vectors / lengths.clamp_min(_SHORTEST), 0.0)
