"""Networks and their settings: from a name, an item's shape and class names to an `nn.Module` and its `config.json`.

The networks take plain numbers. Knows nothing of runs, datasets or training. Importing this package imports nothing
heavy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainyard.models.build import build_model, from_model_config, model_config
    from trainyard.models.cnn import CNN
    from trainyard.models.efficientnet import EfficientNetV2
    from trainyard.models.mlp import MLP
    from trainyard.models.mobilenet import MobileNetV2
    from trainyard.models.panns import PannsCnn14
    from trainyard.models.quantize import QuantAware, converted, quantization_aware, unquantised

__all__ = [
    "CNN",
    "MLP",
    "EfficientNetV2",
    "MobileNetV2",
    "PannsCnn14",
    "QuantAware",
    "build_model",
    "converted",
    "from_model_config",
    "model_config",
    "quantization_aware",
    "unquantised",
]

_MODULES = {
    "build": ("build_model", "from_model_config", "model_config"),
    "cnn": ("CNN",),
    "efficientnet": ("EfficientNetV2",),
    "mlp": ("MLP",),
    "mobilenet": ("MobileNetV2",),
    "panns": ("PannsCnn14",),
    "quantize": ("QuantAware", "converted", "quantization_aware", "unquantised"),
}


def __getattr__(name: str) -> Any:
    """The package's names, imported on first use."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
