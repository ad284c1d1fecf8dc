"""Five ways to fine-tune an encoder: which of its weights train, and which small ones are added to it.

    frozen   nothing of the encoder
    full     the chosen layers
    lora     low-rank changes of their linear maps (Hu et al., 2021), by peft
    adapter  a bottleneck after their feed-forward part (Houlsby et al., 2019)
    prompt   learned vectors before their input (deep prompts, VPT: Jia et al., 2022)

The head, that is layer weights, projector and classifier, always trains. Convolutions and positions never train.
The functions change the classifiers of transformers in place. transformers alone can run checkpoints of the first
three methods; of the other two it loads encoder and head without the added parts.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainyard.audio.encoders.families import Family
from trainyard.errors import ConfigError
from trainyard.models.huggingface import peft, without_torchao

LORA_NAME = "default"  # peft's name for the one adapter of a model
HEAD = ("layer_weights", "projector", "classifier")
_POSITIONS = ("embed_positions", "pos_conv_embed", "rel_attn_embed")  # of Whisper, of the others, of WavLM


def freeze_all_but_head(model: Any, family: Family) -> None:
    """Leaves only the head trainable."""
    model.requires_grad_(False)
    if not family.is_whisper:
        # otherwise transformers would request a gradient of the waveform itself
        model.get_submodule(f"{family.body}.feature_extractor")._freeze_parameters()
    for name, parameter in model.named_parameters():
        if name.partition(".")[0] in HEAD:
            parameter.requires_grad_(True)


def layers_of(model: Any, family: Family) -> nn.ModuleList:
    """The encoder's layers."""
    layers = model.get_submodule(family.layers)
    assert isinstance(layers, nn.ModuleList)
    return layers


def unfreeze(model: Any, family: Family, layers: Sequence[int] | None) -> None:
    """Makes the chosen layers trainable; for None all layers, and the projection and norm around them.

    The convolutional feature extractor and all position encodings stay frozen.
    """
    if layers is None:
        parts: list[nn.Module] = [layers_of(model, family)]
        encoder = model.get_submodule(family.layers.removesuffix(".layers"))
        # the last norm of a pre-norm waveform encoder comes after everything that the head uses
        if not getattr(model.config, "do_stable_layer_norm", False):
            parts.append(encoder.layer_norm)
        if not family.is_whisper:
            parts.append(model.get_submodule(f"{family.body}.feature_projection"))
    else:
        parts = [layers_of(model, family)[index] for index in layers]
    for part in parts:
        for name, parameter in part.named_parameters():
            if not any(kind in name.split(".") for kind in _POSITIONS):
                parameter.requires_grad_(True)


def lora_targets(family: Family, targets: str) -> tuple[tuple[str, ...], str | None]:
    """The linear maps of a layer that LoRA changes, and a warning if those are fewer than requested.

    Raises:
        ConfigError: only the attention was requested, where a LoRA has no effect in this family.
    """
    if not family.attention_is_bypassed:
        return {"ffn": family.ffn, "attention": family.attention, "both": family.attention + family.ffn}[targets], None
    if targets == "attention":
        problem = f"model.lora_targets='attention' trains nothing in {family.type}, whose attention bypasses a LoRA"
        remedy = "Set model.lora_targets=ffn, or choose another model.method."
        raise ConfigError([problem], remedy, keys=["model.lora_targets", "model.type"])
    narrowed = (
        f"model.lora_targets='both' means only the feed-forward parts in {family.type}, whose attention reads its "
        "weights directly and bypasses a LoRA."
    )
    return family.ffn, narrowed if targets == "both" else None


def add_lora(
    model: Any, family: Family, layers: Sequence[int], maps: Sequence[str], *, rank: int, alpha: float, dropout: float
) -> None:
    """Adds `alpha / rank * B A x` to the chosen linear maps of the chosen layers; B is 0 at first.

    `maps` are named within a layer, A has `rank` rows, and training drops the share `dropout` of its inputs. peft
    changes the model in place; its `peft_config` describes the change.
    """
    chosen, names, library = "|".join(map(str, layers)), "|".join(map(re.escape, maps)), peft()
    targets = rf"{re.escape(family.layers)}\.({chosen})\.({names})"
    config = library.LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, bias="none", target_modules=targets)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with without_torchao():
        library.inject_adapter_in_model(config, model, LORA_NAME)
    for parameter in trainable:  # peft froze the head
        parameter.requires_grad_(True)


class Bottleneck(nn.Module):
    """`x + up(gelu(down(x)))`, which is x at first because `up` starts at 0 (Houlsby et al., 2019)."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, size)
        self.up = nn.Linear(size, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """float32 [..., width] of float32 [..., width]."""
        changed: Tensor = hidden + self.up(functional.gelu(self.down(hidden)))
        return changed


def add_bottlenecks(model: Any, family: Family, layers: Sequence[int], size: int) -> None:
    """Adds a bottleneck after the feed-forward part of the chosen layers, before the residual addition."""
    for index in layers:
        part = layers_of(model, family)[index].get_submodule(family.ffn_output)
        part.bottleneck = Bottleneck(model.config.hidden_size, size)
        part.register_forward_hook(_through_bottleneck)


def _through_bottleneck(module: nn.Module, _: Any, output: Tensor) -> Tensor:
    # finds the bottleneck in the module, so that a deep copy of the model uses its own
    changed: Tensor = module.bottleneck(output)  # type: ignore[operator]
    return changed


def add_prompts(model: Any, family: Family, layers: Sequence[int], length: int) -> None:
    """Gives each chosen layer learned vectors, which its attention sees before the clip's.

    They are removed after the layer, so the next layer and the head see only the clip.
    """
    for index in layers:
        layer: Any = layers_of(model, family)[index]
        layer.prompt = nn.Parameter(torch.randn(length, model.config.hidden_size) * 0.02)
        layer_class: Any = type(layer)
        layer.__class__ = _with_prompt(layer_class)


@functools.cache
def _with_prompt(layer_class: type[nn.Module]) -> type[nn.Module]:
    """A layer of transformers that prepends its `prompt` to its input and removes it from its output.

    A subclass rather than hooks: transformers records the input and output of a layer, and neither should include the
    prompt.
    """

    class WithPrompt(layer_class):  # type: ignore[misc, valid-type]
        def forward(self, hidden_states: Tensor, attention_mask: Tensor | None = None, **more: Any) -> Any:
            count, (items, frames, _) = len(self.prompt), hidden_states.shape
            prompt = self.prompt.to(hidden_states.dtype).expand(items, -1, -1)
            if "position_bias" in more:  # WavLM: its first layer computes it, for all of them
                bias = more["position_bias"]
                if bias is None:
                    bias = self.attention.compute_bias(frames, frames).repeat(items, 1, 1)
                # a prompt has no position in the clip, so its bias is 0
                more["position_bias"] = functional.pad(bias, (count, 0, count, 0))
            longer = torch.cat([prompt, hidden_states], dim=1)
            output = super().forward(longer, attention_mask=_longer(attention_mask, count), **more)
            return (output[0][:, count:], bias) if "position_bias" in more else output[:, count:]

    return WithPrompt


def _longer(mask: Tensor | None, count: int) -> Tensor | None:
    """A mask [B, T] or [B, 1, T, T], of booleans or of 0 and minus infinity, extended by `count` visible positions."""
    if mask is None:
        return None
    visible = 0.0 if mask.is_floating_point() else 1
    return functional.pad(mask, (count, 0) if mask.ndim == 2 else (count, 0, count, 0), value=visible)


def merge_masks(model: Any, family: Family) -> None:
    """Makes WavLM's attention add its padding mask to its position bias.

    The sums are the same; torch warns if one is given as booleans and the other as numbers.
    """
    if not family.attention_is_bypassed:
        return
    for layer in layers_of(model, family):
        attention = layer.attention
        attention.__class__ = _with_merged_masks(type(attention))  # type: ignore[arg-type]


@functools.cache
def _with_merged_masks(attention_class: type[nn.Module]) -> type[nn.Module]:
    class WithMergedMasks(attention_class):  # type: ignore[misc, valid-type]
        def torch_multi_head_self_attention(
            self, hidden_states: Tensor, attention_mask: Tensor | None, gated_position_bias: Tensor
        ) -> Any:
            if attention_mask is not None:
                padding = attention_mask.ne(1).repeat_interleave(self.num_heads, dim=0).unsqueeze(1)
                gated_position_bias = gated_position_bias.masked_fill(padding, float("-inf"))
            return super().torch_multi_head_self_attention(hidden_states, None, gated_position_bias)

    return WithMergedMasks
