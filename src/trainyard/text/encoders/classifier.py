"""A text encoder with a classification head, and the names and files of its checkpoints.

The network is the unchanged classifier of transformers, so that a checkpoint loads there and gives the same outputs.
Writes no files: the further files of a checkpoint are returned as texts.
"""

from __future__ import annotations

import math
import re
from typing import Any

import torch
from torch import Tensor, nn

from trainyard.errors import CheckpointError, ConfigError
from trainyard.text.encoders.tokenizer import Tokenizer

_INNER = "model."  # our attribute for the classifier of transformers
_ZERO_AT_FIRST = re.compile(r"\.(key|k_lin|k_proj)\.bias$")  # a bias that cancels in the softmax


class TextClassifier(nn.Module):
    """Logits of texts, given as ids of `tokenizer` (None if no checkpoint will be written) to transformers' `model`."""

    def __init__(self, model: Any, tokenizer: Tokenizer | None) -> None:
        super().__init__()
        self.model: Any = model
        self.config: Any = model.config
        self.longest = longest_text(model)
        if tokenizer is not None and self.longest is not None and self.longest < (tokenizer.longest or math.inf):
            tokenizer = tokenizer.limited(self.longest)  # so that transformers truncates texts to this length
        self.tokenizer = tokenizer

    @property
    def multi_label(self) -> bool:
        """Whether a text may have several labels, or none."""
        return bool(self.config.problem_type == "multi_label_classification")

    def forward(self, ids: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Logits float32 [B, C].

        Args:
            ids: int64 [B, T]; values after a text's end are ignored.
            lengths: tokens of each text, int64 [B]; None when there is no padding.
        """
        mask = None
        if lengths is not None:
            held = torch.arange(ids.shape[1], device=ids.device) < lengths.unsqueeze(1)
            # RoBERTa numbers positions by the tokens that are not padding.
            ids = ids.masked_fill(~held, self.config.pad_token_id)
            mask = held.long()
        logits: Tensor = self.model(input_ids=ids, attention_mask=mask).logits
        return logits.float()

    def head_parameters(self) -> list[nn.Parameter]:
        """The parameters of the head: the pooler and everything after it."""
        return [parameter for name, parameter in self.model.named_parameters() if is_head(self.model, name)]

    def start_at_prior(self, log_odds: Tensor) -> None:
        """Sets the output's bias, so that the initial probabilities are the frequencies of the labels.

        Args:
            log_odds: float [C], `log(p / (1 - p))` of each label; with one label per text, `log(p)`.

        Raises:
            ConfigError: the output has no bias.
        """
        output = output_layer(self.model)
        what = f"the output of a {self.config.model_type} has no bias, which model.prior_bias=true sets"
        if output.bias is None:
            raise ConfigError([what], "Set model.prior_bias=false.", keys=["model.prior_bias"])
        with torch.no_grad():
            output.bias.copy_(log_odds)

    def saved_name(self, name: str) -> str:
        """The name of a tensor in a checkpoint, which is transformers' name."""
        return name.removeprefix(_INNER)

    def is_adapter(self, name: str) -> bool:
        """Whether a tensor belongs to an adapter: never."""
        return False

    def expects_zero_gradient(self, name: str) -> bool:
        """Whether a zero gradient of a parameter is expected."""
        return _ZERO_AT_FIRST.search(name) is not None

    def extra_files(self) -> dict[str, str]:
        """Further files of a checkpoint, name to text: the tokenizer's; CheckpointError if there is none."""
        if self.tokenizer is None:
            what = "This text encoder was built without its tokenizer's files, so no checkpoint of it can be written."
            raise CheckpointError(what, "Build it with the tokenizer's files.", place="tokenizer.json")
        return self.tokenizer.files()


def is_head(model: Any, name: str) -> bool:
    """Whether a weight of a classifier of transformers belongs to its head, pooler included."""
    return not name.startswith(f"{model.base_model_prefix}.") or ".pooler." in name


def output_layer(model: Any) -> nn.Linear:
    """The output layer of a classifier of transformers."""
    inside = f"{model.base_model_prefix}."
    outside = [module for name, module in model.named_modules() if not name.startswith(inside)]
    return [module for module in outside if isinstance(module, nn.Linear)][-1]


def longest_text(model: Any) -> int | None:
    """The largest number of tokens that a classifier of transformers takes; None if it has no known limit.

    RoBERTa and related models leave the first rows of their position embeddings, up to that of padding, unused.
    """
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    return getattr(model.config, "max_position_embeddings", None)
