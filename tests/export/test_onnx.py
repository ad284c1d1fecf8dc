from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_networks import tiny_cnn
from torch import Tensor, nn
from torch.nn import functional

from trainyard.errors import ConfigError, TrainyardError, UserError
from trainyard.export import onnx as ours
from trainyard.export.onnx import Parity, export_int8, export_onnx
from trainyard.export.quantized import Row, as_csv, quantization_table
from trainyard.models import QuantAware, build_model

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytest.importorskip("torchao")

CLASSES = ("a", "ß", "c")
SHAPE = (1, 32, 32)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def data(items: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(items)
    labels = torch.arange(items) % len(CLASSES)
    images = torch.randn(items, *SHAPE, generator=generator) * 0.5
    for item, label in enumerate(labels.tolist()):
        images[item, :, 10 * label : 10 * label + 10] += 1
    return images, labels


def outputs(path: Path, images: Tensor) -> Any:
    """By ONNX Runtime as a user would."""
    running = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return running.run(["logits"], {"input": images.numpy()})[0]


@pytest.fixture(scope="module")
def trained() -> QuantAware:
    torch.manual_seed(0)
    model = build_model("panns_cnn14", item_shape=SHAPE, classes=CLASSES, width=4, qat=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    images, labels = data(30)
    for _ in range(25):
        optimizer.zero_grad()
        functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
    assert isinstance(model, QuantAware)
    return model.eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def float32(trained: QuantAware, folder: Path) -> Parity:
    return export_onnx(trained, data(20)[0], folder / "net.onnx", classes=CLASSES, details={"run": "r1"})


@pytest.fixture(scope="module")
def int8(trained: QuantAware, folder: Path) -> Parity:
    return export_int8(trained, data(20)[0], folder / "net_int8.onnx", classes=CLASSES)


class SplitsAConstant(nn.Module):
    """As WavLM does in its attention; the exporter logs that it leaves this to the runtime."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("offsets", torch.arange(4.0))

    def forward(self, inputs: Tensor) -> Tensor:
        first, second = self.offsets.split(2)
        return inputs * first + second


def test_a_split_constant_is_written_in_silence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    parity = export_onnx(SplitsAConstant(), torch.randn(5, 2), tmp_path / "s.onnx", classes=("a", "b"))
    assert parity.path.exists()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_plain_network_is_written_in_silence_and_left_alone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = tiny_cnn().train()
    images = torch.randn(5, 1, 8, 8)
    drawn = torch.get_rng_state()
    parity = export_onnx(model, images, tmp_path / "new" / "cnn.onnx", classes=CLASSES)
    assert capfd.readouterr() == ("", "")
    assert torch.equal(torch.get_rng_state(), drawn)
    assert model.training
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"cnn.onnx", "cnn.json"}
    assert (parity.items, parity.agreement) == (5, 1.0)
    assert parity.max_abs_error < 1e-5
    running = onnxruntime.InferenceSession(str(parity.path), providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        expected = model.eval()(images).numpy()
    np.testing.assert_allclose(running.run(["logits"], {"input": images.numpy()})[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("items", [1, 3, 70])
def test_both_files_take_batches_of_any_size(float32: Parity, int8: Parity, trained: QuantAware, items: int) -> None:
    images, _ = data(items)
    with torch.inference_mode():
        expected = trained(images).numpy()
    for parity in (float32, int8):
        got = outputs(parity.path, images)
        assert got.shape == (items, len(CLASSES))
        assert (got.argmax(1) == expected.argmax(1)).mean() >= 0.95


def test_the_files_are_valid_and_name_no_path_of_this_machine(float32: Parity, int8: Parity) -> None:
    for parity in (float32, int8):
        onnx.checker.check_model(str(parity.path), full_check=True)
        content = parity.path.read_bytes()
        assert str(Path(ours.__file__).parents[2]).encode() not in content
        assert b"site-packages" not in content
        assert onnx.load(str(parity.path)).graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_int8_holds_int8_weights_between_quantise_and_dequantise(float32: Parity, int8: Parity) -> None:
    graph = onnx.load(str(int8.path)).graph
    kinds = [node.op_type for node in graph.node]
    assert kinds.count("Conv") == 12
    assert kinds.count("QuantizeLinear") >= 12
    assert "BatchNormalization" not in kinds
    by_type: dict[int, int] = {}
    for tensor in graph.initializer:
        by_type[tensor.data_type] = by_type.get(tensor.data_type, 0) + int(np.prod(tensor.dims))
    assert by_type[onnx.TensorProto.INT8] > 0.95 * sum(by_type.values())
    assert int8.size_bytes < 0.3 * float32.size_bytes


def test_the_description_says_what_the_file_is(float32: Parity, int8: Parity) -> None:
    for parity, precision in ((float32, "float32"), (int8, "int8")):
        content = parity.path.read_bytes()
        said = json.loads(parity.path.with_suffix(".json").read_text(encoding="utf-8"))
        assert said["precision"] == precision
        assert said["sha256"] == parity.sha256 == hashlib.sha256(content).hexdigest()
        assert said["size_bytes"] == parity.size_bytes == len(content)
        assert said["classes"] == list(CLASSES)
        assert said["item_shape"] == list(SHAPE)
        assert said["input"] == {"name": "input", "dtype": "float32", "shape": ["batch", *SHAPE]}
        assert said["output"]["shape"] == ["batch", len(CLASSES)]
        assert said["opset"] == onnx.load(str(parity.path)).opset_import[0].version
        assert said["compared"]["items"] == 20
        assert said["compared"]["max_abs_error"] == parity.max_abs_error
        assert said["versions"]["onnxruntime"] == onnxruntime.__version__
    assert json.loads(float32.path.with_suffix(".json").read_text(encoding="utf-8"))["run"] == "r1"


def test_the_table_is_what_was_measured(float32: Parity, int8: Parity) -> None:
    images, labels = data(90)
    labels[::10] = 0  # so that the accuracy is no round number

    def accuracy(outputs: torch.Tensor) -> float:
        return float((outputs.argmax(1) == labels).float().mean())

    rows = quantization_table(float32.path, int8.path, images, accuracy, runs=7)
    assert [row.precision for row in rows] == ["float32", "int8"]
    for row, parity in zip(rows, (float32, int8), strict=True):
        assert row.size_bytes == parity.path.stat().st_size
        assert row.score == pytest.approx((outputs(parity.path, images).argmax(1) == labels.numpy()).mean())
        assert row.mean_ms > 0
        assert row.median_ms > 0
        assert (row.items, row.runs) == (90, 7)
    read = list(csv.DictReader(io.StringIO(as_csv(rows, "accuracy"))))
    assert [row["precision"] for row in read] == ["float32", "int8"]
    assert [float(row["accuracy"]) for row in read] == [row.score for row in rows]


def test_the_csv_quotes_what_needs_it() -> None:
    row = Row("a,b", 1, 0.5, 2, 1.0, 1.0, 3)
    assert next(csv.DictReader(io.StringIO(as_csv([row], "accuracy"))))["precision"] == "a,b"


class TestRefusals:
    def test_a_file_that_differs_is_not_published(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "cnn.onnx"
        path.write_bytes(b"the old one")
        run = ours.run
        monkeypatch.setattr(ours, "run", lambda running, inputs: run(running, inputs) + 0.01)
        with pytest.raises(TrainyardError, match=r"by 0\.01 on 5 items") as caught:
            export_onnx(tiny_cnn(), torch.randn(5, 1, 8, 8), path, classes=CLASSES)
        assert caught.value.remedy
        assert path.read_bytes() == b"the old one"
        assert list(tmp_path.iterdir()) == [path]

    def test_nan_outputs_are_not_published(self, tmp_path: Path) -> None:
        model = tiny_cnn()
        nn.init.constant_(model.classifier.bias, float("nan"))
        with pytest.raises(TrainyardError, match="nan"):
            export_onnx(model, torch.randn(5, 1, 8, 8), tmp_path / "cnn.onnx", classes=CLASSES)
        assert list(tmp_path.iterdir()) == []

    def test_int8_that_answers_otherwise_is_not_published(
        self, tmp_path: Path, trained: QuantAware, int8: Parity, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = ours.run
        monkeypatch.setattr(ours, "run", lambda running, inputs: -run(running, inputs))
        monkeypatch.setattr(ours, "_exported", lambda *_: (None, int8.path.read_bytes()))  # saves its seconds
        with pytest.raises(TrainyardError, match=r"of 20 items; 95\.0%"):
            export_int8(trained, data(20)[0], tmp_path / "net.onnx", classes=CLASSES)
        assert list(tmp_path.iterdir()) == []

    def test_int8_without_training_is_refused(self, tmp_path: Path, trained: QuantAware) -> None:
        untrained = build_model("panns_cnn14", item_shape=SHAPE, classes=CLASSES, width=2, norm="group", qat=True)
        assert isinstance(untrained, QuantAware)
        with pytest.raises(UserError) as caught:
            export_int8(untrained, data(4)[0], tmp_path / "net.onnx", classes=CLASSES)
        assert caught.value.place == "model.qat"

    def test_a_network_that_has_no_graph_is_a_designed_error(self, tmp_path: Path) -> None:
        class Fickle(nn.Module):
            def forward(self, images: Tensor) -> Tensor:
                return images.mean((2, 3)).expand(-1, 3) * (2.0 if images.sum() > 0 else 1.0)

        with pytest.raises(TrainyardError, match="cannot be written as ONNX"):
            export_onnx(Fickle(), torch.randn(3, 1, 4, 4), tmp_path / "net.onnx", classes=CLASSES)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("library", ["onnx", "onnxruntime", "onnxscript"])
    def test_a_missing_library_is_named(self, library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, library, None)
        with pytest.raises(ConfigError, match=f"needs {library}") as caught:
            export_onnx(tiny_cnn(), torch.randn(3, 1, 8, 8), tmp_path / "net.onnx", classes=CLASSES)
        assert "trainyard[export]" in caught.value.remedy
