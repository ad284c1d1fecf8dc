"""A text encoder's ONNX file answers as the network does, for any number of texts of any length."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_texts import CLASSES, TEXTS, TYPES, batch, tiny

from trainyard.errors import TrainyardError
from trainyard.export import onnx as ours
from trainyard.text import onnx as onnx_texts
from trainyard.text.onnx import export_text_onnx

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

DECISION = {"mode": "per_class", "thresholds": {"joy": 0.3, "anger": 0.1, "calm": 0.5}}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", params=TYPES)
def published(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A network of each family, and its file; RoBERTa's takes one label a text."""
    model = tiny(request.param, multi_label=request.param != "roberta").eval().requires_grad_(False)
    path = tmp_path_factory.mktemp(request.param) / "model.onnx"
    parity = export_text_onnx(model, *batch(TEXTS), path, classes=CLASSES, rule=DECISION, details={"run": "r1"})
    return model, path, parity


def test_it_answers_as_the_network_does(published: Any) -> None:
    """By ONNX Runtime as a user would: several lengths and numbers of texts, padded with anything."""
    model, path, _ = published
    running = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [(i.name, i.type, i.shape) for i in running.get_inputs()] == [
        (name, "tensor(int64)", ["batch", "sequence"]) for name in ("input_ids", "attention_mask")
    ]
    probabilities = torch.sigmoid if model.multi_label else lambda logits: torch.softmax(logits, 1)
    for texts in ([TEXTS[3]], TEXTS[:2], TEXTS, [text * 3 for text in TEXTS], ["cat"] * 9):
        ids, lengths = batch(texts, max_tokens=60)
        mask = (torch.arange(ids.shape[1]) < lengths.unsqueeze(1)).long()
        feed = {"input_ids": torch.where(mask.bool(), ids, 9).numpy(), "attention_mask": mask.numpy()}
        logits, found = running.run(["logits", "probabilities"], feed)
        wanted = model(ids, lengths)
        np.testing.assert_allclose(logits, wanted.numpy(), rtol=0, atol=1e-4)
        np.testing.assert_allclose(found, probabilities(wanted).numpy(), rtol=0, atol=1e-5)


def test_its_description(published: Any) -> None:
    model, path, parity = published
    text = path.with_suffix(".json").read_text(encoding="utf-8")
    described = json.loads(text)
    assert described["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest() == parity.sha256
    assert described["classes"] == CLASSES
    assert described["decision"] == DECISION
    assert described["problem_type"] == model.config.problem_type
    assert described["max_tokens"] == 512
    assert described["pad_token_id"] == 0
    assert [each["name"] for each in described["inputs"]] == ["input_ids", "attention_mask"]
    assert [each["name"] for each in described["outputs"]] == ["logits", "probabilities"]
    assert described["compared"]["items"] == len(TEXTS) == parity.items
    assert described["compared"]["max_abs_error"] < 1e-4
    assert described["run"] == "r1"
    assert str(Path.cwd()).encode() not in path.read_bytes(), "no paths of the machine that wrote it"


@pytest.mark.parametrize("wrong", [0, 1])
def test_a_file_that_answers_otherwise_is_not_written(
    wrong: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Wrong:
        def __init__(self, content: bytes) -> None:
            self.running = ours.session(content)

        def run(self, names: Any, feed: Any) -> list[Any]:
            outputs = self.running.run(names, feed)
            outputs[wrong][0, 0] += 0.01
            return list(outputs)

    monkeypatch.setattr(onnx_texts, "session", Wrong)
    with pytest.raises(TrainyardError) as raised:
        export_text_onnx(tiny("distilbert"), *batch(TEXTS), tmp_path / "model.onnx", classes=CLASSES)
    assert raised.value.value == pytest.approx(0.01, rel=0.1)
    assert raised.value.place == str(tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_the_network_is_unchanged(tmp_path: Path) -> None:
    model = tiny("distilbert").train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    export_text_onnx(model, *batch(TEXTS), tmp_path / "model.onnx", classes=CLASSES)
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert "decision" not in json.loads((tmp_path / "model.json").read_text())
