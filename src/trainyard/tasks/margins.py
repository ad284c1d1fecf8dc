"""Margins between classes on cosine logits, applied to the training loss only.

Both take the logits of a cosine head, `scale * cos`, and lower that of the label, so that the embeddings of a
class move closer together. Validation loss, metrics and predictions use the logits without a margin.
Everything is computed in float32. Knows nothing of networks or losses.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from trainyard.errors import ConfigError

_EPSILON = 1e-12  # keeps the slope of a square root finite where an angle is 0 or pi


class ArcMargin(nn.Module):
    """ArcFace: the angle to an item's own class grows by `margin` (Deng et al., 2019, eq. 3).

    The logit of the label becomes `scale * cos(theta + margin)`. Beyond `theta > pi - margin`, where that cosine
    would rise again, it is `scale * (cos(theta) - margin * sin(margin))`, as in the authors' code. A margin of 0
    changes nothing.

    `scale` is the cosine head's; `margin` is in radians, 0 to pi/2.
    """

    def __init__(self, scale: float = 30.0, margin: float = 0.5) -> None:
        super().__init__()
        _check(scale, margin, largest=math.pi / 2, unit=" (radians)")
        self.scale = float(scale)
        self.margin = float(margin)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Logits float32 [B, C] with a margin, of logits [B, C] (scale * cos) and labels int64 [B]."""
        logits = logits.float()
        own = labels.unsqueeze(1)
        cosine = logits.gather(1, own) / self.scale
        # (1 - c)(1 + c) is exact near 1, where 1 - c * c is not
        sine = ((1 - cosine) * (1 + cosine)).clamp_min(_EPSILON).sqrt()
        further = cosine * math.cos(self.margin) - sine * math.sin(self.margin)
        beyond = cosine - self.margin * math.sin(self.margin)
        harder = torch.where(cosine >= -math.cos(self.margin), further, beyond)
        return logits.scatter(1, own, self.scale * harder)


class CircleMargin(nn.Module):
    """Circle loss at the level of classes (Sun et al., 2020, eq. 4 to 8), as logits.

    With s the cosine to a class: `scale * [1 + margin - s]+ * (s - 1 + margin)` for the label, and
    `scale * [s + margin]+ * (s - margin)` for the others. The bracketed weights grow with the
    distance of a cosine from its optimum; the gradient treats them as constants. The cross entropy of these logits
    is the loss `log(1 + sum(exp(other - label)))`. Two classes tie on the circle
    `(1 - s_label)² + s_other² = 2 * margin²`: the smaller the margin, the stricter.

    `scale` is the paper's gamma and the cosine head's; `margin` the paper's m, 0 to 1.
    """

    def __init__(self, scale: float = 80.0, margin: float = 0.4) -> None:
        super().__init__()
        _check(scale, margin, largest=1.0)
        self.scale = float(scale)
        self.margin = float(margin)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Logits float32 [B, C] with a margin, of logits [B, C] (scale * cos) and labels int64 [B]."""
        cosine = logits.float() / self.scale
        own = labels.unsqueeze(1)
        weights = (cosine.detach() + self.margin).clamp_min(0)
        paced = self.scale * weights * (cosine - self.margin)
        cosine = cosine.gather(1, own)
        weights = (1 + self.margin - cosine.detach()).clamp_min(0)
        return paced.scatter(1, own, self.scale * weights * (cosine - 1 + self.margin))


_MARGINS: dict[str, type[ArcMargin] | type[CircleMargin]] = {"arcface": ArcMargin, "circle": CircleMargin}


def build_margin(name: str, scale: float | None = None, margin: float | None = None) -> ArcMargin | CircleMargin:
    """The margin called `arcface` or `circle`; an argument of None takes the default of its paper.

    An unknown name or a number out of range is a ConfigError.
    """
    if name not in _MARGINS:
        why = f"is not one of {', '.join(_MARGINS)}"
        raise ConfigError.of("training.use_arcface", name, why, "Use arcface, circle or null.")
    given = {key: value for key, value in (("scale", scale), ("margin", margin)) if value is not None}
    return _MARGINS[name](**given)


def _check(scale: float, margin: float, *, largest: float, unit: str = "") -> None:
    problems = {}
    if not (math.isfinite(scale) and scale > 0):
        problems["training.margin.scale"] = f"={scale} is not a finite number above 0"
    if not 0 <= margin <= largest:
        problems["training.margin.margin"] = f"={margin} is not between 0 and {largest:.4g}{unit}"
    if problems:
        lines = [key + why for key, why in problems.items()]
        raise ConfigError(lines, "Leave training.margin out for the defaults of the paper.", keys=list(problems))
