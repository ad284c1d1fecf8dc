"""`trainyard train emotions`, from the config to its last file: thresholds, killed runs, layouts, tables, losses."""

from __future__ import annotations

import csv
import io
import json
import re
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import killing
import numpy as np
import pandas
import pytest
import torch
from sklearn import metrics as sklearn
from tiny_runs import again, broken_off, files, left_behind, recorded, resumed, trained
from tiny_text import (
    CLASSES,
    HARD,
    ONE,
    SHORT,
    TINY,
    WORDS,
    assert_same_predictions,
    best_epoch,
    best_of,
    final,
    in_transformers,
    kept_of,
    label_sets,
    new,
    of_a_table,
    probabilities,
    results,
    rows,
    said_again,
    table_of,
    their_logits,
    theirs_of,
    thresholds_of,
    write_csv,
    write_jsonl,
)

from trainyard.errors import ChangedDataError
from trainyard.running.evaluate import evaluate_run
from trainyard.running.predict import predict_items
from trainyard.running.resume import resume
from trainyard.runs import RunReader, Yard, find_homes
from trainyard.text import kind as text_kind
from trainyard.text.encoders.tokenizer import train_tokenizer

# -- the recipe and its files


@pytest.fixture(scope="module")
def emotions(tmp_path_factory: pytest.TempPathFactory) -> RunReader:
    """Only to be read."""
    return trained("emotions", TINY, new(tmp_path_factory.mktemp("emotions")))


MODEL, TOKENIZER = (
    ("pytorch_model.bin", "config.json", "metrics.json"),
    ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"),
)
RESUMABLE = ("optimizer.pt", "rng_state.pth", "trainer_state.json", "training_args.bin", "manifest.json")
MANIFEST = re.compile(r"files/artifact/[^/]+/wandb_manifest\.json")
ARTIFACTS = 3  # the checkpoint, predictions, statistics


def test_the_tree_is_that_of_the_document(emotions: RunReader) -> None:
    stamp = emotions.snapshot.facts["timestamp"]
    home = f"emotions/run-{stamp}-{emotions.snapshot.id}"
    assert re.fullmatch(r"\d{8}-\d{6}", str(stamp))
    assert emotions.snapshot.home == f"{home}/"
    model = "distilbert_mini"
    wanted = {f"files/checkpoint/{model}-{stamp}/{name}" for name in (*MODEL, *TOKENIZER)}
    wanted |= {
        f"files/predictions/{name}_predictions_{model}_{stamp}.csv"
        for name in ("test", "val", "val_epoch1", "val_epoch2")
    }
    wanted |= {f"files/stats/per_class_metrics_{model}_{stamp}.csv"}
    wanted |= {
        f"files/{name}"
        for name in (
            "config.yaml",
            "output.log",
            "requirements.txt",
            "wandb-metadata.json",
            "wandb-summary.json",
            "history.csv",
            "learning_curves.png",
        )
    }
    for checkpoint in emotions.snapshot.checkpoints:
        is_newest = checkpoint is emotions.snapshot.checkpoints[-1]
        names = [*MODEL, *TOKENIZER, *(RESUMABLE if is_newest else RESUMABLE[2:])]
        wanted |= {f"checkpoints/step-{checkpoint.step}/{name}" for name in names}
    everything = files(emotions.yard)
    assert all(name.startswith(f"{home}/") for name in everything), everything
    found = {name.removeprefix(f"{home}/") for name in everything}
    events = {name for name in found if re.fullmatch(r"tensorboard/events\.out\.tfevents\.\S+", name)}
    assert len(events) == 1
    manifests = {name for name in found if MANIFEST.fullmatch(name)}
    assert len(manifests) == ARTIFACTS
    assert found - events - manifests == wanted
    assert everything <= recorded(emotions)


def loosely_written(yard: Yard) -> list[str]:
    """The files of JSON in the yard that a strict reader refuses, but for those that only we read."""
    found: list[str] = []
    paths = [path for path in yard.root.rglob("*.json") if ".run" not in path.parts]
    assert len(paths) > 4
    for path in paths:
        json.loads(path.read_text(), parse_constant=lambda _, path=path: found.append(yard.relative(path)))  # type: ignore[misc]
    return found


def test_every_json_is_strict(emotions: RunReader) -> None:
    assert not loosely_written(emotions.yard)


LOAD = """
from transformers import AutoModelForSequenceClassification, AutoTokenizer

model = AutoModelForSequenceClassification.from_pretrained('./checkpoint_dir')
tokenizer = AutoTokenizer.from_pretrained('./checkpoint_dir')
"""
ANALYSE = """
import pandas as pd

df = pd.read_csv('predictions/test_predictions_*.csv')

# Find misclassified examples
df['correct'] = df['true_labels'] == df['pred_labels']
errors = df[~df['correct']]

print(f'Accuracy: {df["correct"].mean():.2%}')
print(f'Errors: {len(errors)}')
"""
WORST = """
import pandas as pd

df = pd.read_csv('stats/per_class_metrics_*.csv')
worst = df.nsmallest(5, 'f1_score')[['emotion', 'f1_score', 'support']]
print(worst)
"""


def ran(snippet: str, run: RunReader) -> dict[str, Any]:
    """The names that a snippet leaves, its patterns being the one file that each fits."""
    for pattern in re.findall(r"'((?:predictions|stats)/[^']*)'", snippet):
        (path,) = (run.home / "files").glob(pattern)
        snippet = snippet.replace(pattern, str(path))
    names: dict[str, Any] = {}
    with in_transformers():
        exec(snippet.replace("./checkpoint_dir", str(best_of(run))), names)
    return names


@pytest.mark.parametrize("split", ["val", "test"])
def test_transformers_says_what_the_run_predicted(emotions: RunReader, split: str) -> None:
    names = ran(LOAD, emotions)
    model, tokenizer = names["model"].eval(), names["tokenizer"]
    table = table_of(emotions, split)
    columns = [f"pred_prob_{model.config.id2label[index]}" for index in range(model.config.num_labels)]
    assert columns == [name for name in table.columns if name.startswith("pred_prob_")]
    assert model.config.problem_type == "multi_label_classification"
    batch = tokenizer(list(table["text"]), padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        found = torch.sigmoid(model(**batch).logits).numpy()
    np.testing.assert_allclose(found, probabilities(table), atol=1e-5)


def test_the_misclassified_are_those_of_the_runs_accuracy(
    emotions: RunReader, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ran(ANALYSE, emotions)
    assert names["df"]["correct"].mean() == pytest.approx(emotions.snapshot.summary["test_accuracy"])
    assert len(names["errors"]) == (~names["df"]["correct"]).sum() > 0
    assert f"Accuracy: {emotions.snapshot.summary['test_accuracy']:.2%}\n" in capsys.readouterr().out


def test_the_worst_emotions_are_scikit_learns(emotions: RunReader) -> None:
    names = ran(WORST, emotions)
    assert list(names["df"].columns) == [
        "emotion",
        "f1_score",
        "precision",
        "recall",
        "support",
        "tp",
        "fp",
        "fn",
        "tn",
    ]
    table, classes = table_of(emotions, "test"), list(names["df"]["emotion"])
    truth, chosen = (label_sets(table[name], classes) for name in ("true_labels", "pred_labels"))
    scores = sklearn.f1_score(truth, chosen, average=None, zero_division=0)
    assert names["worst"]["f1_score"].to_numpy() == pytest.approx(np.sort(scores)[:5])
    by_name = dict(zip(classes, scores, strict=True))
    assert [by_name[name] for name in names["worst"]["emotion"]] == pytest.approx(list(names["worst"]["f1_score"]))
    cells = sklearn.multilabel_confusion_matrix(truth, chosen)
    for row, ((tn, fp), (fn, tp)) in zip(names["df"].to_dict("records"), cells.tolist(), strict=True):
        assert (row["tp"], row["fp"], row["fn"], row["tn"], row["support"]) == (tp, fp, fn, tn, tp + fn)


def test_the_summary_for_wandb_has_the_classes_of_test(emotions: RunReader) -> None:
    summary = json.loads((emotions.home / "files/wandb-summary.json").read_text())
    assert {key: summary[key] for key in results(emotions)} == results(emotions)
    stats = pandas.read_csv(next(emotions.home.glob("files/stats/*.csv"))).set_index("emotion")
    for name, row in stats.to_dict("index").items():
        assert summary["per_class"][name] == row
    assert summary["best_epoch"] == best_epoch(emotions)


# -- the same thresholds everywhere


def test_the_thresholds_of_the_checkpoint_chose_the_labels(emotions: RunReader) -> None:
    decision = kept_of(best_of(emotions))["decision"]
    assert decision["mode"] == "per_class"
    thresholds, classes = np.array(list(decision["thresholds"].values())), list(decision["thresholds"])
    for which in ("val", "test", f"val_epoch{best_epoch(emotions)}"):
        table = table_of(emotions, which)
        assert (label_sets(table["pred_labels"], classes) == (probabilities(table) >= thresholds)).all()
    assert len(set(thresholds)) > 2
    one, other = (table_of(emotions, name) for name in ("val", f"val_epoch{best_epoch(emotions)}"))
    pandas.testing.assert_frame_equal(one, other)


@pytest.mark.parametrize("which", ["val", "val_epoch1", "val_epoch2"])
def test_no_threshold_has_a_higher_f1_on_validation(emotions: RunReader, which: str) -> None:
    table = table_of(emotions, which)
    classes = [name.removeprefix("pred_prob_") for name in table.columns if name.startswith("pred_prob_")]
    truth, chosen = (label_sets(table[name], classes) for name in ("true_labels", "pred_labels"))
    for label, name in enumerate(classes):
        precision, recall, _ = sklearn.precision_recall_curve(truth[:, label], probabilities(table)[:, label])
        best = (2 * precision * recall / np.maximum(precision + recall, 1e-12)).max()
        assert sklearn.f1_score(truth[:, label], chosen[:, label]) == pytest.approx(best), name


def test_evaluate_gives_the_recorded_numbers(emotions: RunReader) -> None:
    for split in ("val", "test"):
        found = evaluate_run(emotions, split, device="cpu")
        assert found.metrics == found.recorded
        (path,) = emotions.home.glob(f"files/predictions/{split}_predictions_*.csv")
        assert found.table.encode() == path.read_bytes()


@pytest.mark.parametrize("kind", ["txt", "csv", "jsonl"])
def test_predict_agrees_with_the_run(emotions: RunReader, kind: str, tmp_path: Path) -> None:
    table = table_of(emotions, "test")
    path = tmp_path / f"new.{kind}"
    if kind == "txt":
        path.write_text("\n".join(table["text"]) + "\n")
    elif kind == "csv":
        write_csv(path, [[str(number), text] for number, text in enumerate(table["text"])], ("id", "text"))
    else:
        write_jsonl(path, [{"more": None, "text": text} for text in table["text"]])
    said = said_again(emotions, path)
    assert list(said.columns) == [name for name in table.columns if name != "true_labels"]
    assert_same_predictions(said, table)


def test_a_checkpoint_is_tested_as_it_was(emotions: RunReader, tmp_path: Path) -> None:
    asked = ["run.train=false", f"run.checkpoint_path={best_of(emotions)}"]
    tested = trained("emotions", [*TINY, *asked], new(tmp_path))
    assert results(tested) == results(emotions)
    for folder in ("predictions/test_predictions", "predictions/val_predictions", "stats/per_class"):
        (one,), (other,) = (run.home.glob(f"files/{folder}*.csv") for run in (tested, emotions))
        assert one.read_bytes() == other.read_bytes()


def test_test_labels_move_no_threshold(tmp_path: Path) -> None:
    """The same texts with the labels of test turned round: the same weights and thresholds, other results."""
    runs = []
    for name in ("one", "other"):
        lines = []
        for number, (text, labels) in enumerate(rows(60)):
            split = ("train", "train", "val", "test")[number % 4]
            turned = split == "test" and name == "other"
            labels = sorted(set(CLASSES) - set(labels)) if turned else labels
            lines.append([text, "|".join(labels), split])
        path = write_csv(tmp_path / name / "texts.csv", lines, ("text", "label", "split"))
        table = ["data=text", f"data.path={path}", "data.label_separator='|'", "data.split_column=split"]
        runs.append(trained("emotions", [*of_a_table(SHORT), *table], new(tmp_path / name)))
    one, other = runs
    assert thresholds_of(one) == thresholds_of(other)
    same = {key for key in results(one) if key.startswith("val_")}
    assert {key: results(one)[key] for key in same} == {key: results(other)[key] for key in same}
    assert left_behind(one)["weights"] == left_behind(other)["weights"]
    assert list(table_of(one, "test")["pred_labels"]) == list(table_of(other, "test")["pred_labels"])
    assert results(one)["test_hamming_loss"] == pytest.approx(1 - results(other)["test_hamming_loss"])


MODES: dict[str, list[str]] = {
    "global": ["training.thresholds.mode=global"],
    "top_k": ["training.thresholds.mode=top_k"],
    "two": ["training.thresholds.mode=top_k", "training.thresholds.k=2"],
    "fixed": ["training.thresholds.mode=fixed", "training.thresholds.value=0.2"],
}


@pytest.mark.parametrize("mode", MODES)
def test_other_ways_to_choose_are_kept_and_used(mode: str, tmp_path: Path) -> None:
    run = trained("emotions", [*SHORT, *MODES[mode]], new(tmp_path))
    decision = kept_of(best_of(run))["decision"]
    table = table_of(run, "val")
    classes = [name.removeprefix("pred_prob_") for name in table.columns if name.startswith("pred_prob_")]
    truth, scores = label_sets(table["true_labels"], classes), probabilities(table)
    if mode in ("top_k", "two"):
        ranks = np.argsort(np.argsort(-scores, axis=1, kind="stable"), axis=1)
        micro = [sklearn.f1_score(truth, ranks < k, average="micro") for k in range(1, len(classes) + 1)]
        assert decision == {"mode": "top_k", "k": 2 if mode == "two" else int(np.argmax(micro)) + 1}
        wanted = ranks < decision["k"]
    else:
        values = set(decision["thresholds"].values())
        assert decision["mode"] == mode
        assert list(decision["thresholds"]) == classes
        assert len(values) == 1
        wanted = scores >= values.pop()
        if mode == "fixed":
            assert set(decision["thresholds"].values()) == {0.2}
        else:
            macro = [
                sklearn.f1_score(truth, scores >= cut, average="macro", zero_division=0) for cut in np.unique(scores)
            ]
            assert results(run)["val_f1_macro"] == pytest.approx(max(macro))
    assert (label_sets(table["pred_labels"], classes) == wanted).all()
    path = write_csv(tmp_path / "new.csv", [[text] for text in table["text"]], ("text",))
    assert_same_predictions(said_again(run, path), table)
    found = evaluate_run(run, "test", device="cpu")
    assert found.metrics == found.recorded


# -- resumed runs

SURE = [*SHORT, "training.epochs=3", "checkpoint.every_steps=2", "training.log_every=1", "checkpoint.keep_last=null"]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_resumed_inside_an_epoch_it_ends_with_the_same_bits(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the checkpoint's tokenizer, whatever the training texts would give now."""
    overrides = [*SURE, f"training.precision={precision}", "training.head_learning_rate=3e-3"]
    whole = trained("emotions", overrides, new(tmp_path / "whole"))
    broken = broken_off("emotions", overrides, new(tmp_path / "broken"), steps=7)
    with monkeypatch.context() as patch:
        patch.setattr(text_kind, "train_tokenizer", lambda texts, size: train_tokenizer(["something else"], 100))
        ended = resumed(broken)
        found = evaluate_run(ended, "test", device="cpu")
    assert ended.snapshot.attempts[1].resumed_from == 6, "inside the second epoch of four steps"
    assert left_behind(ended) == left_behind(whole)
    assert found.metrics == found.recorded


def test_killed_it_ends_with_the_same_bits(tmp_path: Path) -> None:
    """In a process of its own, by a signal."""
    said = ["data=sentences", "model=distilbert", "model.size=mini", "model.pretrained=false", "training/criterion=bce"]
    said += [*SURE, "layout=files"]
    whole = trained("digits", said, new(tmp_path / "whole"))
    yard = new(tmp_path / "broken")
    assert killing.run(yard.root, said, kill_at_call=260) == -signal.SIGKILL
    (home,) = find_homes(yard)
    broken = RunReader(yard, home)
    assert 0 < len(broken.snapshot.checkpoints) < 6
    resume(yard, home)
    assert left_behind(again(broken)) == left_behind(whole)


def test_one_seed_is_one_run_and_another_is_another(tmp_path: Path) -> None:
    runs = [
        left_behind(trained("emotions", [*SHORT, f"run.seed={seed}"], new(tmp_path / name)))
        for name, seed in (("one", 4), ("again", 4), ("other", 5))
    ]
    assert runs[0] == runs[1]
    assert runs[0]["weights"] != runs[2]["weights"]
    assert runs[0]["predictions"] != runs[2]["predictions"]
    assert runs[0]["tokenizer"] == runs[2]["tokenizer"], "made of the same training texts"


def test_changed_texts_are_refused(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "texts.csv", [[text, ",".join(labels)] for text, labels in rows(40)])
    overrides = [
        "data=text",
        f"data.path={path}",
        *of_a_table(SHORT),
        "checkpoint.every_steps=1",
        "training.batch_size=8",
    ]
    broken = broken_off("emotions", overrides, new(tmp_path), steps=2)
    text = path.read_text()
    path.write_text(text.replace("that is 12", "that was 12"))
    with pytest.raises(ChangedDataError, match="content of the items changed"):
        resume(broken.yard, broken.home)
    path.write_text(text)
    ended = resumed(broken)
    path.write_text(text.replace("that is 12", "that was 12"))
    with pytest.raises(ChangedDataError):
        evaluate_run(ended, "test", device="cpu")


def test_before_its_first_validation_it_still_predicts_label_sets(tmp_path: Path) -> None:
    """No threshold was tuned yet: half a probability it is, not the one most probable label."""
    overrides = [*SHORT, "checkpoint.every_steps=1", "training.thresholds.mode=top_k", "training.thresholds.k=2"]
    broken = broken_off("emotions", overrides, new(tmp_path), steps=2)
    (tmp_path / "new.txt").write_text("i am so glad\nwhat if she gets hurt\n")
    said = said_again(broken, tmp_path / "new.txt", checkpoint="last")
    path = broken.resolve(broken.snapshot.checkpoints[-1].paths["checkpoint"])
    wanted = torch.sigmoid(their_logits(path, said["text"])).numpy()
    np.testing.assert_allclose(probabilities(said), wanted, atol=1e-5)
    assert [len(json.loads(cell)) for cell in said["pred_labels"]] == [2, 2]


# -- other layouts


@pytest.mark.parametrize("layout", ["grouped", "shared", "dated", "trials"])
def test_in_another_layout(layout: str, tmp_path: Path) -> None:
    run = trained("emotions", [*SHORT, f"layout={layout}"], new(tmp_path))
    for checkpoint in run.snapshot.checkpoints:
        path = run.resolve(checkpoint.paths["checkpoint"])
        if layout != "grouped":
            whole = torch.load(path, weights_only=True)
            assert set(TOKENIZER) == set(whole["files"])
            assert whole["decision"]["mode"] == "per_class"
            assert whole["decision"] == whole["progress"]["decision"]
        else:
            assert set(TOKENIZER) <= {file.name for file in path.iterdir()}
            assert kept_of(path)["decision"]["mode"] == "per_class"
    assert recorded(run) >= files(run.yard)
    for split in ("val", "test"):
        found = evaluate_run(run, split, device="cpu")
        assert found.metrics == found.recorded
    table = final(run, "test")
    (tmp_path / "new.txt").write_text("\n".join(table["text"]))
    assert_same_predictions(said_again(run, tmp_path / "new.txt"), table)
    checkpoint = run.resolve(run.snapshot.checkpoints[-1].paths["checkpoint"])
    asked = ["run.train=false", f"run.checkpoint_path={checkpoint}", "run.name=tested"]
    assert results(trained("emotions", [*SHORT, f"layout={layout}", *asked], run.yard)) == results(run)
    assert not loosely_written(run.yard)


# -- tables, one label an item, losses


def test_one_label_a_text(tmp_path: Path) -> None:
    lines = [[f"{WORDS[CLASSES[number % 3]]} that is {number}", CLASSES[number % 3]] for number in range(48)]
    path = write_csv(tmp_path / "moods.csv", lines)
    overrides = ["data=text", f"data.path={path}", *of_a_table(TINY), *ONE, "tracker=none", "data.label_name=mood"]
    run = trained("emotions", overrides, new(tmp_path))
    assert run.snapshot.dataset == "moods"
    table = table_of(run, "test")
    assert list(table.columns) == ["text", "true_label", "pred_label", *(f"pred_prob_{name}" for name in CLASSES)]
    np.testing.assert_allclose(probabilities(table).sum(1), 1, atol=1e-5)
    assert list(table["pred_label"]) == [CLASSES[index] for index in probabilities(table).argmax(1)]
    truth = dict(lines)
    assert list(table["true_label"]) == [truth[text] for text in table["text"]]
    assert results(run)["test_f1_macro"] == pytest.approx(
        sklearn.f1_score(table["true_label"], table["pred_label"], average="macro", zero_division=0)
    )
    assert {path.name for path in run.home.glob("files/confusion_matrix_*.png")} == {
        "confusion_matrix_test.png",
        "confusion_matrix_val.png",
    }
    assert "decision" not in kept_of(best_of(run))
    assert theirs_of(best_of(run))[0].config.problem_type == "single_label_classification"
    found = torch.softmax(their_logits(best_of(run), table["text"]), 1).numpy()
    np.testing.assert_allclose(found, probabilities(table), atol=1e-5)
    (tmp_path / "new.txt").write_text("\n".join(table["text"]))
    assert_same_predictions(said_again(run, tmp_path / "new.txt"), table)
    assert pandas.read_csv(next(run.home.glob("files/stats/*.csv"))).columns[0] == "mood"


def test_one_label_a_text_resumed(tmp_path: Path) -> None:
    overrides = [*SHORT, *ONE, "checkpoint.every_steps=1", "layout=dated"]
    whole = trained("emotions", overrides, new(tmp_path / "whole"))
    ended = resumed(broken_off("emotions", overrides, new(tmp_path / "broken"), steps=2))
    assert left_behind(ended) == left_behind(whole)


def test_json_lines_with_lists_of_names_and_numbers(tmp_path: Path) -> None:
    objects = [
        {"said": text, "feels": [CLASSES.index(name) for name in labels] if number % 2 else labels, "n": number}
        for number, (text, labels) in enumerate(rows(48))
    ]
    path = write_jsonl(tmp_path / "texts.jsonl", objects)
    table = ["data=text", f"data.path={path}", "data.text_column=said", "data.label_column=feels"]
    run = trained("emotions", [*of_a_table(SHORT), *table, f"data.classes=[{','.join(CLASSES)}]"], new(tmp_path))
    wanted = dict(rows(48))
    for split in ("val", "test"):
        for text, cell in zip(*(table_of(run, split)[name] for name in ("text", "true_labels")), strict=True):
            assert json.loads(cell) == wanted[text]
    assert run.snapshot.data["class_counts"]["train"].keys() == set(CLASSES)
    said = said_again(run, write_jsonl(tmp_path / "new.jsonl", [{"said": text} for text in wanted]))
    assert list(said["text"]) == list(wanted), "texts to predict are in the column of those that were learnt"


def test_a_folder_of_tables_with_the_official_splits(tmp_path: Path) -> None:
    made = rows(60)
    parts = {"train": made[:40], "dev": made[40:50], "test": made[50:]}
    for name, part in parts.items():
        lines = [[text, ",".join(labels)] for text, labels in part]
        write_csv(tmp_path / f"texts/{name}.tsv", lines)
    run = trained("emotions", ["data=text", f"data.path={tmp_path / 'texts'}", *of_a_table(SHORT)], new(tmp_path))
    assert run.snapshot.data["splits"] == {"train": 40, "val": 10, "test": 10}
    for split, name in (("val", "dev"), ("test", "test")):
        table = table_of(run, split)
        assert list(table["text"]) == [text for text, _ in parts[name]]
        assert [json.loads(cell) for cell in table["true_labels"]] == [labels for _, labels in parts[name]]


def loss_of(table: pandas.DataFrame, weights: Sequence[float], gamma: float) -> float:
    """The loss by its definition, from probabilities."""
    classes = [name.removeprefix("pred_prob_") for name in table.columns if name.startswith("pred_prob_")]
    truth, shares = label_sets(table["true_labels"], classes), probabilities(table)
    right = np.where(truth, shares, 1 - shares)
    counts = np.where(truth, np.array(weights), 1.0)
    return float((-counts * (1 - right) ** gamma * np.log(right)).mean())


@pytest.mark.parametrize("loss", ["bce", "balanced", "focal"])
def test_losses(loss: str, tmp_path: Path) -> None:
    asked = {"balanced": ["training.class_weights=balanced"], "focal": ["training/criterion=focal"]}.get(loss, [])
    run = trained("emotions", [*SHORT, *asked], new(tmp_path))
    n_train, counts = run.snapshot.data["splits"]["train"], run.snapshot.data["class_counts"]["train"]
    weights = [(n_train - count) / count if loss == "balanced" else 1.0 for count in counts.values()]
    for split in ("val", "test"):
        wanted = loss_of(table_of(run, split), weights, 2.0 if loss == "focal" else 0.0)
        assert results(run)[f"{split}_loss"] == pytest.approx(wanted, rel=1e-5)
    found = evaluate_run(run, "test", device="cpu")
    assert found.metrics == found.recorded


def test_hard_texts_survive_from_the_table_to_the_predictions(tmp_path: Path) -> None:
    hard = [*HARD, *(f"{text} and {number}" for number, text in enumerate(HARD))]
    texts = [*hard, *(text for text, _ in rows(20))]
    lines = [[text, CLASSES[number % 3], ("train", "val", "test")[number % 3]] for number, text in enumerate(texts)]
    objects = [dict(zip(("text", "label", "split"), line, strict=True)) for line in lines]
    tables = {
        "csv": write_csv(tmp_path / "texts.csv", lines, ("text", "label", "split")),
        "tsv": write_csv(tmp_path / "texts.tsv", lines, ("text", "label", "split")),
        "jsonl": write_jsonl(tmp_path / "texts.jsonl", objects),
    }
    for kind, path in tables.items():
        overrides = [
            "data=text",
            f"data.path={path}",
            "data.split_column=split",
            *of_a_table(SHORT),
            "model.vocabulary=300",
        ]
        run = trained("emotions", overrides, new(tmp_path / kind))
        for split in ("val", "test"):
            (found,) = run.home.glob(f"files/predictions/{split}_predictions_*.csv")
            wanted = [text for text, _, part in lines if part == split]
            with found.open(encoding="utf-8", newline="") as file:
                cells = [row[0] for row in csv.reader(file, strict=True)][1:]
            assert list(pandas.read_csv(found)["text"]) == cells
            assert [cell[1:-1] if cell in ('"NA"', '"null"') else cell for cell in cells] == wanted
        assert {
            row["text"] for row in csv.DictReader(io.StringIO(predict_items(run, path, device="cpu"), newline=""))
        } >= {text for text in texts if text not in ("NA", "null")}


@pytest.mark.parametrize("lacking", [("sad",), CLASSES])
def test_labels_that_the_splits_lack(lacking: Sequence[str], tmp_path: Path) -> None:
    """What cannot be measured is null in every file, and what could not be tuned is told."""
    lines = []
    for number, (text, labels) in enumerate(rows(48)):
        split = ("train", "train", "val", "test")[number % 4]
        labels = [name for name in labels if split == "train" or name not in lacking]
        lines.append([text, ",".join(labels), split])
    path = write_csv(tmp_path / "texts.csv", lines, ("text", "label", "split"))
    overrides = ["data=text", f"data.path={path}", "data.split_column=split", *of_a_table(SHORT)]
    run = trained("emotions", overrides, new(tmp_path))
    assert {name for name, value in thresholds_of(run).items() if value == 0.5} == set(lacking)
    named = ", ".join(map(repr, lacking))
    says = f"No validation item has the label {named}: the threshold is 0.5, not tuned."
    assert says in run.snapshot.warnings
    for split in ("val", "test"):
        table = table_of(run, split)
        truth = label_sets(table["true_labels"], CLASSES)
        there = [label for label, name in enumerate(CLASSES) if name not in lacking]
        areas = [sklearn.roc_auc_score(truth[:, label], probabilities(table)[:, label]) for label in there]
        wanted = np.mean(areas) if areas else np.nan
        assert run.snapshot.summary[f"{split}_auc_macro"] == pytest.approx(wanted, nan_ok=True)
    assert loosely_written(run.yard) == []
    found = evaluate_run(run, "test", device="cpu")
    assert found.metrics == pytest.approx(found.recorded, rel=0, nan_ok=True)
    assert not loosely_written(run.yard)
