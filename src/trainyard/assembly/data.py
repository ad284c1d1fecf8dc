"""From a config to its data."""

from __future__ import annotations

from collections.abc import Sequence

from trainyard.assembly.parts import advising
from trainyard.config import kinds
from trainyard.config.schema import Config
from trainyard.data.dataset import Dataset
from trainyard.training.checkpoint.read import Loaded


def load_dataset(
    config: Config, *, trust: bool = False, item_shape: Sequence[int] | None = None, saved: Loaded | None = None
) -> Dataset:
    """The data that `config` describes, as its model takes it.

    Args:
        config: what to load.
        trust: accept augmentations outside the allow-list.
        item_shape: of an item as a run recorded it, so that a published encoder need not be read.
        saved: the checkpoint that the data is for, whose tokenizer reads texts.

    Raises:
        ConfigError: settings that do not fit the data.
        DataError: it cannot be read or trained on.
    """
    kind = kinds.torch_side("data", config.data.source)
    with advising("Correct the settings it names, or choose another model."):
        dataset: Dataset = kind.load(config, trust=trust, item_shape=item_shape, files=saved.files if saved else None)
    return dataset
