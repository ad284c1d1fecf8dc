"""From settings to a text encoder with a head, and to the `config.json` that can rebuild it.

`config.json` is transformers' own, with an additional key `trainyard` for our settings. Rebuilding from it needs
neither a network connection nor the initial weights; the tokenizer comes from its own files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from trainyard.config.faults import Fault, raise_all
from trainyard.config.kinds import Files
from trainyard.errors import CheckpointError, ConfigError
from trainyard.models.encoder_settings import class_faults, head_faults, read_encoder, sizes_of
from trainyard.models.huggingface import transformers, without_torchao
from trainyard.models.pretrained import load_config, load_model
from trainyard.text.encoders.classifier import TextClassifier, is_head, output_layer
from trainyard.text.encoders.families import AUTO, FAMILIES, random_config, text_source
from trainyard.text.encoders.tokenizer import Tokenizer, tokenizer_from_files, too_long
from trainyard.text.schema import TEXT_ENCODERS, TextEncoderModel

OURS = "trainyard"  # our key in config.json
_WHAT = "text encoder"
_DROPOUTS = (
    *("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"),  # BERT's and RoBERTa's
    *("dropout", "attention_dropout", "seq_classif_dropout"),  # DistilBERT's
)


def build(
    *,
    classes: Sequence[str],
    tokenizer: Tokenizer | None,
    multi_label: bool,
    item_shape: Sequence[int] = (),
    trust: bool = False,
    **settings: Any,
) -> TextClassifier:
    """A text encoder with a head: token ids int64 [B, T] and their numbers [B] to logits float32 [B, len(classes)].

    `tokenizer` makes the ids, and `item_shape`, (tokens,) of the longest text, is checked. `settings` are the fields
    of `TextEncoderModel`; `prior_bias` and `vocabulary` have no effect here: they are for the caller that trains the
    tokenizer and calls `start_at_prior`.

    Raises:
        ConfigError: invalid settings, weights that are unavailable or lack parts of the encoder, or texts that are
            too long for it.
    """
    chosen = _checked(settings, classes, multi_label)
    tokenizer = _given(tokenizer)
    config, their_labels = _config(chosen, classes, tokenizer, multi_label, item_shape)
    if chosen.pretrained:
        source, model_class = _source(chosen), _model_class(config)
        model = load_model(model_class, source, config, _WHAT, lambda name: is_head(model_class, name))
        if their_labels != config.id2label and len(their_labels) == len(classes):
            _reset_output(model)  # the loaded weights are of other classes
        _check_vocabulary(tokenizer, model, source)
    else:
        model = _fresh(config)
    built = TextClassifier(model, tokenizer)
    if item_shape and built.longest is not None and item_shape[0] > built.longest:
        raise too_long(item_shape[0], built.longest)
    return built


def describe(
    *,
    classes: Sequence[str],
    tokenizer: Tokenizer | None,
    multi_label: bool,
    item_shape: Sequence[int] = (),
    **settings: Any,
) -> dict[str, Any]:
    """The contents of `config.json` for `build` with the same arguments; raises its errors, but for weights."""
    chosen = _checked(settings, classes, multi_label)
    config, _ = _config(chosen, classes, _given(tokenizer), multi_label, item_shape)
    plain: dict[str, Any] = json.loads(config.to_json_string(use_diff=True))
    plain["id2label"] = {str(index): label for index, label in enumerate(classes)}  # the diff may leave them out
    plain["label2id"] = {label: index for index, label in enumerate(classes)}
    ours = {"name": chosen.name, "item_shape": [int(size) for size in item_shape], "multi_label": multi_label}
    kept = {key: value for key, value in vars(chosen).items() if key not in ("prior_bias", "vocabulary")}
    return {**plain, OURS: {**ours, **kept}}


def rebuild(config: Mapping[str, Any], files: Files | None = None, *, trust: bool = False) -> TextClassifier:
    """The network that `describe` described, with new random weights.

    Without `files`, among them the tokenizer's, the network works, but no checkpoint of it can be written.

    Raises:
        CheckpointError: a config.json of another kind, or files without a tokenizer.
    """
    plain = {key: value for key, value in config.items() if key != OURS}
    known = transformers().CONFIG_MAPPING
    model_type = config.get("model_type")
    if model_type not in known or "id2label" not in config:
        what = f"config.json does not describe a text encoder of transformers ({model_type!r})."
        remedy = "Use the config.json that was saved with the weights."
        raise CheckpointError(what, remedy, value=model_type, place="config.json")
    with without_torchao():
        theirs = known[model_type].from_dict(plain)
    return TextClassifier(_fresh(theirs), None if files is None else tokenizer_from_files(files))


def _given(tokenizer: Tokenizer | None) -> Tokenizer:
    if tokenizer is None:
        what, remedy = "model=text_encoder takes texts, but the data has none", "Use data with texts, or another model."
        raise ConfigError([what], remedy, keys=["data", "model.name"])
    return tokenizer


def _source(chosen: TextEncoderModel) -> str:
    return text_source(chosen.type, size=chosen.size, path=chosen.path)


def _model_class(config: Any) -> Any:
    """transformers' classifier of texts for a config."""
    classifiers = transformers().AutoModelForSequenceClassification._model_mapping
    with without_torchao():
        if type(config) in classifiers:
            return classifiers[type(config)]
    what = f"transformers has no classifier of texts for a model of type {config.model_type!r}"
    raise ConfigError([what], "Name a text encoder in model.path.", keys=["model.path"], value=config.model_type)


def _fresh(config: Any) -> Any:
    model_class = _model_class(config)
    with without_torchao():
        return model_class(config)


def _config(
    chosen: TextEncoderModel, classes: Sequence[str], tokenizer: Tokenizer, multi_label: bool, item_shape: Sequence[int]
) -> tuple[Any, dict[int, str]]:
    """transformers' config of the whole classifier, and its previous labels."""
    if chosen.pretrained:
        source = _source(chosen)
        config = load_config(source, _WHAT)
        if chosen.type != AUTO and config.model_type != FAMILIES[chosen.type].model_type:
            known = {family.model_type: name for name, family in FAMILIES.items() if name != "minilm"}
            what = f"is set, but {source} holds a model of type {config.model_type!r}"
            remedy = f"Set model.type={known.get(config.model_type, AUTO)}, or another model.path."
            raise ConfigError.of("model.type", chosen.type, what, remedy)
    else:
        sizes = sizes_of(chosen, FAMILIES[chosen.type].sizes[chosen.size])
        of_tokens = {"vocab_size": tokenizer.vocab_size, "pad_id": tokenizer.pad_id}
        config = random_config(chosen.type, sizes, longest=max(item_shape, default=0), **of_tokens)
    labels = dict(config.id2label)
    config.id2label = dict(enumerate(classes))
    config.label2id = {label: index for index, label in enumerate(classes)}
    config.problem_type = f"{'multi' if multi_label else 'single'}_label_classification"
    config.architectures = [_model_class(config).__name__]
    config.dtype = "float32"
    if config.pad_token_id is None:
        config.pad_token_id = tokenizer.pad_id
    if chosen.dropout is not None:
        for name in _DROPOUTS:
            if hasattr(config, name):
                setattr(config, name, float(chosen.dropout))
    return config, labels


def _reset_output(model: Any) -> None:
    """Initialises the output layer as transformers initialises a new head."""
    output = output_layer(model)
    with torch.no_grad():
        output.weight.normal_(std=getattr(model.config, "initializer_range", 0.02))
        if output.bias is not None:
            output.bias.zero_()


def _check_vocabulary(tokenizer: Tokenizer, model: Any, source: str) -> None:
    known = model.get_input_embeddings().num_embeddings
    if tokenizer.vocab_size > known:
        what = f"the tokenizer has {tokenizer.vocab_size} tokens, and the model of {source} knows {known}"
        remedy = "Name a directory in model.path whose tokenizer belongs to its model."
        raise ConfigError([what], remedy, keys=["model.path"], value=tokenizer.vocab_size)


def _checked(settings: Mapping[str, Any], classes: Sequence[str], multi_label: bool) -> TextEncoderModel:
    """The encoder's section; all faults are raised together."""
    model, faults = read_encoder("text_encoder", settings, TEXT_ENCODERS)
    if not faults and model.type != AUTO:
        sizes = sizes_of(model, FAMILIES[model.type].sizes[model.size])
        faults += head_faults(sizes.hidden, sizes.heads)
    elif not faults and not model.pretrained:
        types = ", ".join(FAMILIES)
        what = f"`model.type` is auto, which requires pretrained weights; model.pretrained=false takes {types}"
        faults.append(Fault(what, ("model.type", "model.pretrained")))
    raise_all([*faults, *class_faults(classes, least=1 if multi_label else 2)])
    return model
