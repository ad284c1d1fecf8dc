"""What a network may be able to do besides `forward`, each a protocol to test with isinstance.

Callers ask for an ability, never for the class of a network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn


@runtime_checkable
class SavesItself(Protocol):
    """A model whose checkpoints other libraries read: under the names, and beside the files, that they expect.

    The names of the model's own `state_dict` differ from those in files; each is kept under one name there.
    """

    def saved_name(self, name: str) -> str:
        """The name of a tensor in a file."""

    def is_adapter(self, name: str) -> bool:
        """Whether a tensor was added to a model that is whole without it: it is kept in a file of its own."""

    def extra_files(self) -> Mapping[str, str]:
        """Further files of a checkpoint that is a directory: name to text."""


@runtime_checkable
class HasHead(Protocol):
    """A model with a head of its own on top of an encoder, which may learn at another rate."""

    def head_parameters(self) -> list[nn.Parameter]:
        """The parameters of the head."""


@runtime_checkable
class StartsAtPrior(Protocol):
    """A model whose first outputs can be set to how frequent each label is."""

    def start_at_prior(self, log_odds: Tensor) -> None:
        """Sets the output's bias.

        Args:
            log_odds: float [C], `log(p / (1 - p))` of each label; where an item has one label, `log(p)`.
        """


@runtime_checkable
class HasLayerWeights(Protocol):
    """A model whose head is a weighted sum over the layers of its encoder."""

    def layer_weights(self) -> list[float]:
        """The weight of the input of the first layer and of the output of each; they sum to 1."""


@runtime_checkable
class WritesOnnx(Protocol):
    """A model whose ONNX graph has inputs of its own, so that it writes the file itself."""

    def write_onnx(
        self,
        inputs: Tensor,
        lengths: Tensor,
        path: Path,
        *,
        classes: Sequence[str],
        decision: Mapping[str, Any] | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> Any:
        """Writes the file after comparing it with the model; returns a `Parity`.

        Args:
            inputs: items to compare on, padded.
            lengths: int64 [N], of each before its padding.
            path: of the file.
            classes: names in the order of the logits.
            decision: how probabilities become labels, for the description.
            details: anything else for the description, as plain JSON values.
        """


@runtime_checkable
class ExportsFolder(Protocol):
    """A model that other libraries load from a folder of several files."""

    def export_folder(self, format_: str, folder: Path, config: Mapping[str, Any], *, has_base: bool) -> str:
        """Writes the folder, all of it or nothing, and returns what it holds, for people.

        Args:
            format_: `adapter` or `merged`.
            folder: must not exist.
            config: the contents of the checkpoint's config.json.
            has_base: whether the weights that were not trained are those that `config` names.
        """
