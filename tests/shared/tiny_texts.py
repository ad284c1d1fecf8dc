"""Tokenizers and text encoders that are made in milliseconds, and directories of them that transformers wrote."""

from __future__ import annotations

import functools
import itertools
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainyard.models import huggingface
from trainyard.text.encoders.build import build as build_text_encoder
from trainyard.text.encoders.classifier import TextClassifier
from trainyard.text.encoders.tokenizer import Tokenizer, train_tokenizer

TYPES = ("distilbert", "bert", "roberta")
CLASSES = ["joy", "anger", "calm"]
SIZES: dict[str, Any] = {"hidden_size": 16, "num_layers": 2, "num_heads": 2, "ffn_size": 24}
TEXTS = [
    "The cat sat on the mat, and the dog sat beside it.",
    "What a wonderful, wonderful day!",
    "I cannot believe that you would say this to me :(",
    "meh",
    "Nobody told the cats that the dogs were wondering about days.",
]
# What a tokenizer may trip over: nothing, spaces, control characters, scripts, emoji, special tokens, a long word.
HARD = [
    "",
    "   ",
    "a\x00b\tc\nd",
    "Größe DÉJÀ vu naïve İstanbul",
    "日本語とчто-то",
    "👩‍👩‍👧 🙃 day",
    "[MASK] the [SEP] cat [PAD]",
    "<mask> the </s> cat<mask><pad>",
    "x" * 300,
    "don't 'quote' \"me\" ##ing",
    "e\u0301 vs é",
    *TEXTS,
]


@functools.cache
def tokenizer() -> Tokenizer:
    return train_tokenizer(TEXTS, 200)


def tiny(type_: str, *, seed: int = 0, **more: Any) -> TextClassifier:
    torch.manual_seed(seed)
    return build_text_encoder(**settings(type_, **more))


def settings(type_: str, **more: Any) -> dict[str, Any]:
    return {
        "type": type_,
        "pretrained": False,
        "size": "mini",
        "classes": CLASSES,
        "tokenizer": tokenizer(),
        "multi_label": True,
        **SIZES,
        **more,
    }


def batch(texts: list[str], of: Tokenizer | None = None, max_tokens: int = 32) -> tuple[Tensor, Tensor]:
    """Ids padded to the longest, int64 [B, T], and lengths, int64 [B]."""
    of = of or tokenizer()
    ids, offsets = of.encode(texts, max_tokens)
    pieces = [torch.from_numpy(ids[a:b]).long() for a, b in itertools.pairwise(offsets)]
    padded = torch.nn.utils.rnn.pad_sequence(pieces, batch_first=True, padding_value=of.pad_id)
    return padded, torch.tensor([len(piece) for piece in pieces])


def write_byte_bpe(path: Path, **config: Any) -> None:
    """The files of a tokenizer like RoBERTa's."""
    library_ = huggingface.tokenizers()
    made = library_.Tokenizer(library_.models.BPE())
    made.pre_tokenizer = library_.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = library_.trainers.BpeTrainer(
        vocab_size=400,
        show_progress=False,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=library_.pre_tokenizers.ByteLevel.alphabet(),
    )
    made.train_from_iterator(TEXTS, trainer)
    made.decoder = library_.decoders.ByteLevel()
    made.post_processor = library_.processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    path.mkdir(parents=True, exist_ok=True)
    made.save(str(path / "tokenizer.json"))
    (path / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "RobertaTokenizer", "model_max_length": 40, **config})
    )


def theirs(type_: str, path: Path, kind: str = "Model", **more: Any) -> Any:
    """A tiny random model that transformers saves, with the files of a tokenizer."""
    stem = {"distilbert": "DistilBert", "bert": "Bert", "roberta": "Roberta", "gpt2": "GPT2"}[type_]
    config_class, model_class = huggingface.model_classes(f"{stem}Config", f"{stem}{kind}")
    torch.manual_seed(5)
    sizes: dict[str, Any] = {
        "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24},
        "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_inner": 24},
    }.get(type_, {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24})
    vocabulary = 400 if type_ in ("roberta", "gpt2") else 200
    padding = {"roberta": {"pad_token_id": 1}, "gpt2": {}}.get(type_, {"pad_token_id": 0})
    config = config_class(vocab_size=vocabulary, **{"max_position_embeddings": 42, **sizes, **padding, **more})
    model = model_class(config).eval()
    with huggingface.errors_only():
        model.save_pretrained(path)
    if vocabulary == 400:
        write_byte_bpe(path)
    else:
        for name, text in tokenizer().files().items():
            (path / name).write_text(text, encoding="utf-8")
    return model
