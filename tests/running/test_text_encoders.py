"""Text encoders that somebody published, from their directory to a checkpoint, and checkpoints to start from."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_runs import broken_off, left_behind, resumed, trained
from tiny_text import (
    CLASSES,
    ONE,
    SHORT,
    SIZES,
    best_of,
    in_transformers,
    new,
    probabilities,
    results,
    rows,
    table_of,
    their_logits,
    theirs_of,
    thresholds_of,
    write_csv,
)
from tiny_texts import theirs

from trainyard.assembly.setup import build, load_dataset
from trainyard.config.compose import compose
from trainyard.errors import ConfigError
from trainyard.running.evaluate import evaluate_run
from trainyard.runs import RunReader, find_homes
from trainyard.training import process as processes


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directories that transformers wrote, with tied weights and heads of other tasks among them."""
    folder = tmp_path_factory.mktemp("published")
    theirs("bert", folder / "bert")
    theirs("bert", folder / "masked", "ForMaskedLM")
    theirs("bert", folder / "judge", "ForSequenceClassification", num_labels=5)
    theirs("roberta", folder / "roberta", "ForMaskedLM")
    theirs("distilbert", folder / "distilbert", "ForMaskedLM")
    return folder


def pretrained(path: Path, *more: str) -> list[str]:
    """The recipe from a directory; 30 tokens are what all of them take."""
    keep = [word for word in SHORT if not word.startswith("model.")]
    chosen = ["model=text_encoder", "model.type=auto", f"model.path={path}", "model.size=base", "model.pretrained=true"]
    return [*keep, *chosen, "data.max_tokens=30", *more]


@pytest.mark.parametrize("name", ["bert", "masked", "judge", "roberta", "distilbert"])
def test_a_published_encoder_learns_and_its_checkpoint_loads_there(name: str, published: Path, tmp_path: Path) -> None:
    run = trained("emotions", pretrained(published / name), new(tmp_path))
    assert best_of(run).name.startswith(f"{name}-")
    assert run.snapshot.model == name
    table = table_of(run, "test")
    assert type(theirs_of(best_of(run))[0]).__name__.endswith("ForSequenceClassification")
    found = torch.sigmoid(their_logits(best_of(run), table["text"])).numpy()
    np.testing.assert_allclose(found, probabilities(table), atol=1e-5)
    found_again = evaluate_run(run, "test", device="cpu")
    assert found_again.metrics == found_again.recorded


def test_the_head_has_a_rate_of_its_own_and_starts_at_the_prior(published: Path) -> None:
    asked = pretrained(published / "bert", "training.learning_rate=2e-4", "training.head_learning_rate=5e-3")
    config = compose("emotions", asked)
    dataset = load_dataset(config)
    setup = build(config, dataset, processes.start("cpu"))
    encoder, head = setup.trainee.optimizer.param_groups
    assert (encoder["lr"], head["lr"]) == (2e-4, 5e-3)
    names = {id(parameter): name for name, parameter in setup.model.named_parameters()}
    in_head = {names[id(parameter)].removeprefix("model.") for parameter in head["params"]}
    assert in_head == {"classifier.weight", "classifier.bias", "bert.pooler.dense.weight", "bert.pooler.dense.bias"}
    assert len(encoder["params"]) + len(head["params"]) == len(names)
    truth = np.asarray(dataset.labels[dataset.splits == "train"], dtype=np.float64)
    prior = (truth.sum(0) + 1) / (len(truth) + 2)
    weights = dict(setup.model.named_parameters())
    np.testing.assert_allclose(
        weights["model.classifier.bias"].detach().numpy(), np.log(prior / (1 - prior)), rtol=1e-5
    )
    said = setup.predict("train").columns["probabilities"].mean(0)
    assert np.abs(said - prior).max() < 0.05, "before any training, the share of each label"


def test_one_label_a_text_starts_at_the_shares(published: Path) -> None:
    config = compose("emotions", pretrained(published / "bert", *ONE))
    dataset = load_dataset(config)
    setup = build(config, dataset, processes.start("cpu"))
    counts = np.bincount(dataset.labels[dataset.splits == "train"], minlength=len(dataset.classes)) + 1
    bias = dict(setup.model.named_parameters())["model.classifier.bias"].detach().numpy()
    np.testing.assert_allclose(np.exp(bias), counts / counts.sum(), rtol=1e-5)


def test_without_a_prior_the_bias_is_as_it_came(published: Path) -> None:
    config = compose("emotions", pretrained(published / "bert", "model.prior_bias=false"))
    setup = build(config, load_dataset(config), processes.start("cpu"))
    assert not dict(setup.model.named_parameters())["model.classifier.bias"].any()


def test_an_encoder_of_next_to_no_rate_stands_still(published: Path, tmp_path: Path) -> None:
    """Two groups of parameters: what is published stays as it is, and the head learns."""
    rates = ["training.learning_rate=1e-30", "training.head_learning_rate=1e-2"]
    run = trained("emotions", pretrained(published / "bert", *rates), new(tmp_path))
    weights = torch.load(best_of(run) / "pytorch_model.bin", weights_only=True)
    with in_transformers():
        from transformers import AutoModel

        theirs_ = AutoModel.from_pretrained(published / "bert").state_dict()
    still = {name for name, tensor in theirs_.items() if (weights[f"bert.{name}"] - tensor).abs().max() < 1e-20}
    assert set(theirs_) - still == {"pooler.dense.weight", "pooler.dense.bias"}
    assert {row["learning_rate"] for row in run.history() if "learning_rate" in row} == {1e-30}


def test_what_training_began_with_is_not_needed_afterwards(published: Path, tmp_path: Path) -> None:
    """Resume, evaluate, predict: a checkpoint has everything."""
    source = shutil.copytree(published / "roberta", tmp_path / "source")
    overrides = pretrained(source, "checkpoint.every_steps=1", "training.head_learning_rate=1e-2")
    whole = trained("emotions", overrides, new(tmp_path / "whole"))
    broken = broken_off("emotions", overrides, new(tmp_path / "broken"), steps=2)
    shutil.rmtree(source)
    assert left_behind(resumed(broken)) == left_behind(whole)
    found = evaluate_run(whole, "test", device="cpu")
    assert found.metrics == found.recorded
    tested = trained(
        "emotions", [*overrides, "run.train=false", f"run.checkpoint_path={best_of(whole)}"], new(tmp_path / "tested")
    )
    assert results(tested) == results(whole)


def test_a_checkpoint_of_a_run_is_a_published_encoder_too(emotions: RunReader, tmp_path: Path) -> None:
    """Its directory as model.path: other labels, its weights and its tokenizer."""
    path = write_csv(tmp_path / "texts.csv", [[text, ",".join(labels)] for text, labels in rows(48)])
    overrides = [word for word in pretrained(best_of(emotions)) if not word.startswith("data.sentences")]
    run = trained("emotions", [*overrides, "data=text", f"data.path={path}", "data.max_tokens=128"], new(tmp_path))
    assert (best_of(run) / "vocab.txt").read_bytes() == (best_of(emotions) / "vocab.txt").read_bytes()
    assert list(thresholds_of(run)) == list(CLASSES)


# -- training on from a checkpoint


@pytest.fixture(scope="module")
def emotions(tmp_path_factory: pytest.TempPathFactory) -> RunReader:
    """Only to be read."""
    return trained("emotions", SHORT, new(tmp_path_factory.mktemp("emotions")))


def test_training_on_from_a_checkpoint_keeps_its_tokenizer(emotions: RunReader, tmp_path: Path) -> None:
    more = ["data.sentences=100", f"run.checkpoint_path={best_of(emotions)}"]
    run = trained("emotions", [*SHORT, *more], new(tmp_path))
    assert (best_of(run) / "tokenizer.json").read_bytes() == (best_of(emotions) / "tokenizer.json").read_bytes()
    found = evaluate_run(run, "test", device="cpu")
    assert found.metrics == found.recorded


def test_started_over_it_starts_from_that_checkpoint(emotions: RunReader, tmp_path: Path) -> None:
    """Killed before a checkpoint of its own: weights and tokenizer are again those that it was to start from."""
    overrides = [*SHORT, "data.sentences=110", f"run.checkpoint_path={best_of(emotions)}"]
    whole = trained("emotions", overrides, new(tmp_path / "whole"))
    broken = broken_off("emotions", overrides, new(tmp_path / "broken"), steps=1)
    assert not broken.snapshot.checkpoints
    assert left_behind(resumed(broken)) == left_behind(whole)


OTHERS: dict[str, tuple[list[str], str]] = {
    "other labels": (["data.classes=[joy,anger,fear,love,neutral,gratitude,sadness,surprise]"], "another order"),
    "fewer labels": (["data.classes=[anger,fear,joy]"], "gratitude"),
    "one label a text": (ONE, "data.multi_label"),
    "another width": (["model.hidden_size=32"], "model.hidden_size"),
    "another type": (["model=bert", "model.pretrained=false", "model.size=mini", *SIZES], "model.type"),
}


@pytest.mark.parametrize("train", ["true", "false"])
@pytest.mark.parametrize("what", OTHERS)
def test_a_checkpoint_of_other_outputs_is_refused(what: str, train: str, emotions: RunReader, tmp_path: Path) -> None:
    asked, says = OTHERS[what]
    yard = new(tmp_path)
    with pytest.raises(ConfigError, match=says) as caught:
        trained("emotions", [*SHORT, *asked, f"run.train={train}", f"run.checkpoint_path={best_of(emotions)}"], yard)
    assert "run.checkpoint_path" in str(caught.value)
    assert caught.value.remedy
    assert not list(find_homes(yard))
