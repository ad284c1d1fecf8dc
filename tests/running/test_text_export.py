"""What leaves a run of texts: an ONNX file with its thresholds, and metrics for Weights & Biases."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import wandb_files
from tiny_runs import trained
from tiny_text import TINY, label_sets, new, probabilities, table_of, thresholds_of

from trainyard.errors import UserError
from trainyard.running.export import export_run


def test_the_onnx_file_chooses_the_labels_of_the_predictions(tmp_path: Path) -> None:
    """By onnxruntime and the JSON beside it alone, with transformers' tokenizer."""
    from transformers import AutoTokenizer

    run = trained("emotions", TINY, new(tmp_path))
    ((path, told),) = export_run(run, "onnx")
    assert "takes ids and a mask" in told
    described = json.loads(path.with_suffix(".json").read_bytes())
    assert described["decision"]["thresholds"] == thresholds_of(run)
    table = table_of(run, "test")
    (checkpoint,) = (run.home / "files/checkpoint").iterdir()
    encoded = AutoTokenizer.from_pretrained(checkpoint)(list(table["text"]), padding=True, return_tensors="np")
    session = onnxruntime.InferenceSession(path.read_bytes())
    names = [entry["name"] for entry in described["inputs"]]
    _, found = session.run(None, {name: encoded[name].astype(np.int64) for name in names})
    np.testing.assert_allclose(found, probabilities(table), atol=1e-4)
    limits = np.array([described["decision"]["thresholds"][name] for name in described["classes"]], np.float32)
    near = np.abs(found - limits) < 1e-4
    assert ((found >= limits) == label_sets(table["pred_labels"], described["classes"]))[~near].all()
    with pytest.raises(UserError) as caught:
        export_run(run, "int8")
    assert caught.value.value == "int8"


def test_weights_and_biases_gets_the_same_names_and_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = trained("emotions", [*TINY, "tracker=wandb", "run.tags=[a]", "outputs.plots=false"], new(tmp_path))
    (path,) = run.home.glob(".run/wandb/*/run-*.wandb")
    logged = wandb_files.read(path)
    kept = run.snapshot
    assert (logged.id, logged.project, logged.name, logged.tags) == (run.snapshot.id, "emotions", kept.name, ["a"])
    assert logged.config["training"]["learning_rate"] == kept.config["training"]["learning_rate"]
    told = [row for row in logged.history if "val/f1_macro" in row]
    rows = [row for row in run.history() if row["split"] == "val"]
    assert [row["val/f1_macro"] for row in told] == [row["f1_macro"] for row in rows]
    assert [row["_step"] for row in told] == [row["step"] for row in rows]
    assert logged.summary["test_f1_macro"] == kept.summary["test_f1_macro"]
    assert set(logged.summary["per_class"]) == set(kept.data["classes"])
    assert logged.exit_code == 0
    assert kept.warnings == []
