"""`trainyard predict`: an .npz, a folder of images, one image."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from command_line import Kept
from PIL import Image
from safetensors.numpy import load_file
from sklearn.datasets import load_digits


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def by_hand(checkpoint: Path, images: np.ndarray) -> np.ndarray:
    """The probabilities of the one-layer network, in float64 NumPy."""
    stored = load_file(checkpoint / "model.safetensors")
    weights = {name: value.astype(np.float64) for name, value in stored.items()}
    hidden = images.reshape(len(images), -1) @ weights["hidden.0.weight"].T + weights["hidden.0.bias"]
    logits = np.maximum(hidden, 0) @ weights["classifier.weight"].T + weights["classifier.bias"]
    exponents = np.exp(logits - logits.max(1, keepdims=True))
    return exponents / exponents.sum(1, keepdims=True)


def probabilities(rows: list[dict[str, str]]) -> np.ndarray:
    names = [name for name in rows[0] if name not in ("id", "pred_label")]
    return np.array([[float(row[name]) for name in names] for row in rows])


def test_an_npz_without_labels(kept: Kept, tmp_path):
    images = (load_digits().images[:20] / 16).astype(np.float32)
    np.savez(tmp_path / "new.npz", images=images)
    outcome = kept("predict", "done", tmp_path / "new.npz")
    assert (outcome.code, outcome.err) == (0, "")
    rows = table(outcome.out)
    assert [row["id"] for row in rows] == [f"images[{n}]" for n in range(20)]
    expected = by_hand(kept.root / "p/digits/done/checkpoint-60", images.astype(np.float64))
    assert probabilities(rows) == pytest.approx(expected, abs=1e-5)
    assert [int(row["pred_label"]) for row in rows] == expected.argmax(1).tolist()


def test_a_folder_of_images_and_one_image(kept: Kept, images):
    rows = table(kept("predict", "done", images).out)
    assert [row["id"] for row in rows] == ["a.png", "b.png", "more/c.png"]
    pixels = np.stack([np.asarray(Image.open(images / row["id"])) / 255 for row in rows])
    expected = by_hand(kept.root / "p/digits/done/checkpoint-60", pixels)
    assert probabilities(rows) == pytest.approx(expected, abs=1e-5)
    (alone,) = table(kept("predict", "done", images / "b.png").out)
    assert (alone["id"], alone["pred_label"]) == (rows[1]["id"], rows[1]["pred_label"])
    assert probabilities([alone]) == pytest.approx(probabilities(rows[1:2]), rel=1e-5)


def test_another_checkpoint(kept: Kept, images):
    best, last, first = (kept("predict", "done", images, "--checkpoint", which).out for which in ("best", "last", "20"))
    assert best == last != first
    assert kept("predict", "done", images).out == best


@pytest.mark.parametrize("name", ["other", "killed"])
def test_runs_of_other_layouts_and_states(kept: Kept, images, name):
    assert len(table(kept("predict", name, images, "--checkpoint", "last").out)) == 3


def test_out_writes_a_file_instead(kept: Kept, images, tmp_path):
    printed = kept("predict", "done", images).out
    outcome = kept("predict", "done", images, "--out", tmp_path / "p.csv")
    assert outcome.out == f"3 predictions in {tmp_path / 'p.csv'}\n"
    assert (tmp_path / "p.csv").read_bytes().decode() == printed


def test_predicting_leaves_no_trace(kept: Kept, images):
    before = json.dumps(kept.run("done").snapshot.to_dict())
    kept("predict", "done", images)
    assert json.dumps(kept.run("done").snapshot.to_dict()) == before
