"""Networks, and the words a config file uses for them.

`build` turns a name, an item's shape and the class names into an `nn.Module`, and a module's recipe
into the `config.json` that lies beside its weights. The networks take plain numbers. Nothing here
knows of runs, files, datasets or training.
"""

from trainyard.models.build import build_model, from_model_config, model_config
from trainyard.models.cnn import CNN
from trainyard.models.mlp import MLP
from trainyard.models.parameters import count_parameters, freeze

__all__ = ["CNN", "MLP", "build_model", "count_parameters", "freeze", "from_model_config", "model_config"]
