"""Networks and their settings.

`build` turns a name, an item's shape and the class names into an `nn.Module`, and into the `config.json` that is
saved with its weights. The networks take plain numbers. Knows nothing of runs, datasets or training. Importing
this package imports nothing heavy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainyard.models.build import build_model, from_model_config, model_config
    from trainyard.models.cnn import CNN
    from trainyard.models.efficientnet import EfficientNetV2
    from trainyard.models.mlp import MLP
    from trainyard.models.mobilenet import MobileNetV2
    from trainyard.models.panns import PannsCnn14
    from trainyard.models.parameters import freeze
    from trainyard.models.quantize import QuantAware, converted, quantization_aware, unquantised
    from trainyard.models.weights import Report, load_matching, read_weights

__all__ = [
    "CNN",
    "MLP",
    "EfficientNetV2",
    "MobileNetV2",
    "PannsCnn14",
    "QuantAware",
    "Report",
    "build_model",
    "converted",
    "freeze",
    "from_model_config",
    "load_matching",
    "model_config",
    "quantization_aware",
    "read_weights",
    "unquantised",
]

_MODULES = {
    "build": ("build_model", "from_model_config", "model_config"),
    "cnn": ("CNN",),
    "efficientnet": ("EfficientNetV2",),
    "mlp": ("MLP",),
    "mobilenet": ("MobileNetV2",),
    "panns": ("PannsCnn14",),
    "parameters": ("freeze",),
    "quantize": ("QuantAware", "converted", "quantization_aware", "unquantised"),
    "weights": ("Report", "load_matching", "read_weights"),
}


def __getattr__(name: str) -> Any:
    """The package's names, imported on first use."""
    from importlib import import_module

    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
