from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainyard.metric import OF_TRAINING, SPLITS, VAL_LOSS, Metric, as_text, of_split, on

NAMES = st.text(st.characters(codec="ascii", categories=["Ll", "Nd"], include_characters="_"), min_size=1)


@given(st.sampled_from(SPLITS), NAMES)
def test_what_is_written_is_parsed_back(split: str, name: str) -> None:
    metric = Metric(split, name)
    assert str(metric) == f"{split}_{name}"
    assert Metric.parse(str(metric)) == metric


@pytest.mark.parametrize("text", ["", "loss", "val", "val_", "_loss", "validation_loss", "eval_loss", "Val_loss"])
def test_a_text_that_names_no_split_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="split"):
        Metric.parse(text)


def test_the_names_that_other_tools_use() -> None:
    assert Metric("val", "loss") == VAL_LOSS
    assert [Metric(split, "f1_macro").as_transformers for split in SPLITS] == [
        "train_f1_macro",
        "eval_f1_macro",
        "test_f1_macro",
    ]
    assert [Metric(split, "f1_macro").as_tag for split in SPLITS] == ["train/f1_macro", "val/f1_macro", "test/f1_macro"]


def test_metrics_are_keys_that_sort_by_split_then_name() -> None:
    assert {Metric("val", "loss"): 1.0}[Metric("val", "loss")] == 1.0
    metrics = [Metric("val", "loss"), Metric("train", "loss"), Metric("val", "auc")]
    assert sorted(metrics) == [Metric("train", "loss"), Metric("val", "auc"), Metric("val", "loss")]


@given(st.dictionaries(NAMES, st.floats(allow_nan=False)), st.dictionaries(NAMES, st.floats(allow_nan=False)))
def test_values_of_a_split_come_back_from_their_written_names(train: dict, val: dict) -> None:
    metrics = on("train", train) | on("val", val)
    assert len(metrics) == len(train) + len(val)
    written = as_text(metrics)
    assert (of_split(written, "train"), of_split(written, "val"), of_split(written, "test")) == (train, val, {})


# -- directions

BY_NAME = [
    ("val_loss", "min"),
    ("val_error_rate", "min"),
    ("val_brier", "min"),
    ("val_ece", "min"),
    ("train_loss", "min"),
    ("val_hamming_loss", "min"),
    ("val_accuracy", "max"),
    ("val_f1_macro", "max"),
    ("val_auc", "max"),
    ("val_recall_macro", "max"),
    ("val_precision_macro", "max"),
]


@pytest.mark.parametrize(("written", "direction"), BY_NAME)
def test_without_a_declaration_the_name_tells_the_direction(written: str, direction: str) -> None:
    assert Metric.parse(written).direction() == direction


@pytest.mark.parametrize("split", SPLITS)
def test_a_task_declares_the_directions_of_its_metrics(split: str) -> None:
    declared = {"wer": "min", "lossless": "max"}
    assert Metric(split, "wer").direction() == "max", "the name says nothing"
    assert Metric(split, "lossless").direction() == "min", "the name misleads"
    assert Metric(split, "wer").direction(declared) == "min"
    assert Metric(split, "lossless").direction(declared) == "max"


def test_what_training_measures_needs_no_declaration() -> None:
    assert {name: Metric("train", name).direction() for name in OF_TRAINING} == dict(OF_TRAINING)
    assert Metric("train", "grad_norm").direction({"wer": "max"}) == "min"


def test_a_metric_loads_nothing() -> None:
    code = "import sys, trainyard.metric; print(*{'numpy', 'torch'}.intersection(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, timeout=60, capture_output=True, text=True)
    assert done.stdout.split() == []
