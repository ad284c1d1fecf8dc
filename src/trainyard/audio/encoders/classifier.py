"""A speech encoder with a head on all of its layers, and the names of its weights in checkpoints.

The network is the classifier of transformers, so that a checkpoint loads there; the forward pass is ours, so that
padding is excluded from the mean. Writes no files: the further files of a checkpoint are returned as texts.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from trainyard.audio.encoders import methods
from trainyard.audio.encoders.families import POSITIONS_PER_SECOND, SAMPLE_RATE, Family, receptive_field

_INNER = "model."  # our attribute for the classifier of transformers
PEFT_PREFIX = "base_model.model."  # peft's prefix of every name
_LORA = re.compile(rf"\.(lora_[AB])\.{methods.LORA_NAME}\.")
_ADDED = re.compile(r"\.(?:lora_[AB]\.|bottleneck\.|prompt$)")
# zero initially: A while B is 0, `down` while `up` is 0, and a bias that cancels in the softmax
_ZERO_AT_FIRST = re.compile(r"\.lora_A\.|\.bottleneck\.down\.|\.k_proj\.bias$")


class EncoderClassifier(nn.Module):
    """Logits from a softmax-weighted sum over the encoder's layers, projected, averaged over time, classified.

    A waveform encoder with layer norm in its convolutions gets an attention mask, as in its publication; one with
    group norm gets none, because that norm mixes padding into the clip before attention does. There, and in Whisper,
    for which padding is silence, padding is excluded from the mean only.

    With the method `frozen` the encoder stays in evaluation mode, so that the head trains on the features of the
    evaluation.

    Args:
        model: the classifier of transformers, with a weighted sum over layers, and changed by the method.
        family: of the encoder.
        method: one of `methods.METHODS`.
        dropout: share of the averaged features dropped in training, before the classifier.
        warnings: for the user, about the interpretation of the settings.
    """

    def __init__(
        self, model: Any, family: Family, *, method: str, dropout: float = 0.0, warnings: Sequence[str] = ()
    ) -> None:
        super().__init__()
        self.model = model
        self.family = family
        self.method = method
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.warnings = tuple(warnings)
        self.masks_attention = not family.is_whisper and model.config.feat_extract_norm == "layer"

    def train(self, mode: bool = True) -> EncoderClassifier:
        """As `nn.Module.train`, except that a frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self.method == "frozen":
            self.model.get_submodule(self.family.body).eval()
        return self

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Logits float32 [B, C].

        Args:
            inputs: Whisper's features float32 [B, n_mels, frames], or waveforms float32 [B, T] at 16 kHz with mean 0
                and variance 1 over their signal.
            lengths: samples of signal before padding, int64 [B]; None if there is no padding.
        """
        samples = None if lengths is None else lengths.clamp(min=1)
        hidden = torch.stack(self._hidden_states(inputs, samples), dim=1)
        weights = torch.softmax(self.model.layer_weights, dim=-1)
        features = self.model.projector((hidden * weights.view(-1, 1, 1)).sum(dim=1))
        if samples is None:
            pooled = features.mean(dim=1)
        else:
            signal = torch.arange(features.shape[1], device=features.device) < self._vectors(samples).unsqueeze(1)
            pooled = (features * signal.unsqueeze(2)).sum(dim=1) / signal.sum(dim=1, keepdim=True)
        logits: Tensor = self.model.classifier(self.dropout(pooled))
        return logits

    def _hidden_states(self, inputs: Tensor, samples: Tensor | None) -> tuple[Tensor, ...]:
        """The input of the first layer, and the output of each: float32 [B, vectors, D]."""
        encoder = self.model.get_submodule(self.family.body)
        mask = None
        if samples is not None and self.masks_attention:
            samples = samples.clamp(min=receptive_field(self.model.config))
            mask = (torch.arange(inputs.shape[1], device=inputs.device) < samples.unsqueeze(1)).long()
        hidden: tuple[Tensor, ...] = encoder(inputs, attention_mask=mask, output_hidden_states=True).hidden_states
        return hidden

    def _vectors(self, samples: Tensor) -> Tensor:
        """The number of the encoder's vectors that depend on signal, at least 1: int64 [B] of int64 [B]."""
        if self.family.is_whisper:
            step = SAMPLE_RATE // POSITIONS_PER_SECOND
            return torch.div(samples + step - 1, step, rounding_mode="floor")
        config = self.model.config
        for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
            samples = torch.div(samples - kernel, stride, rounding_mode="floor") + 1
        return samples.clamp(min=1)

    def layer_weights(self) -> list[float]:
        """The head's weight of the input of the first layer and of the output of each; they sum to 1."""
        return torch.softmax(self.model.layer_weights.detach().double(), dim=-1).tolist()

    def saved_name(self, name: str) -> str:
        """The name of a tensor in a checkpoint: transformers' name, and for a LoRA peft's."""
        inner = name.removeprefix(_INNER).replace(".base_layer.", ".")
        return PEFT_PREFIX + _LORA.sub(r".\1.", inner) if _LORA.search(inner) else inner

    def is_adapter(self, name: str) -> bool:
        """Whether a tensor was added to the encoder, and is saved in a separate file."""
        return _ADDED.search(name) is not None

    def expects_zero_gradient(self, name: str) -> bool:
        """Whether a zero initial gradient of a parameter is expected."""
        return _ZERO_AT_FIRST.search(name) is not None

    def extra_files(self) -> dict[str, str]:
        """Further files of a checkpoint, name to text: the input for transformers, the LoRA's settings for peft.

        With those settings transformers loads the LoRA with the model, except for wav2vec2, whose `load_adapter` is
        for language adapters and raises ValueError; use `trainyard.audio.peft.export_merged` there.
        """
        files = {"preprocessor_config.json": _text(self._preprocessor())}
        if self.method == "lora":
            settings = self.model.peft_config[methods.LORA_NAME].to_dict()
            settings |= {"inference_mode": True, "base_model_name_or_path": None}
            plain = {key: sorted(value) if isinstance(value, set) else value for key, value in settings.items()}
            files["adapter_config.json"] = _text(plain)
        return files

    def _preprocessor(self) -> dict[str, Any]:
        every = {"sampling_rate": SAMPLE_RATE, "padding_side": "right", "padding_value": 0.0}
        if not self.family.is_whisper:
            return {
                **every,
                "feature_extractor_type": "Wav2Vec2FeatureExtractor",
                "feature_size": 1,
                "do_normalize": True,
                "return_attention_mask": self.masks_attention,
            }
        config = self.model.config
        return {
            **every,
            "feature_extractor_type": "WhisperFeatureExtractor",
            "feature_size": config.num_mel_bins,
            "hop_length": 160,
            "n_fft": 400,
            "return_attention_mask": False,
            # transformers knows whole seconds alone
            "chunk_length": math.ceil(config.max_source_positions / POSITIONS_PER_SECOND),
        }


def _text(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2, sort_keys=True) + "\n"
