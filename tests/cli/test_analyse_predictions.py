"""`trainyard analyse` over the predictions that runs saved: tables, JSON, files, refusals."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import Kept, Outcome, in_a_process
from command_line import trainyard as trainyard_
from PIL import Image
from predicted_runs import EMOTIONS, emotional, single
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, brier_score_loss, f1_score, precision_recall_fscore_support

import trainyard
from trainyard.cli.analyse import COMMANDS
from trainyard.cli.main import COMMANDS as EVERY
from trainyard.runs import RunReader, Yard, find_homes


@pytest.fixture(scope="module")
def felt(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """Runs `a`, `b` (better) and `c` on emotions, differing in the seed alone but for `b`, and `s` with one label."""
    root = tmp_path_factory.mktemp("felt") / "yard"
    emotional(root, "a", n=200)
    emotional(root, "b", n=200, seed=1, skill=2.0, config={"skill": 2})
    emotional(root, "c", n=200, seed=2)
    single(root, "s", n=150)
    return Kept(root)


def frame(yard: Kept, name: str, split: str = "test") -> pd.DataFrame:
    reader = yard.run(name)
    [path] = [
        reader.resolve(record.path)
        for record in reader.snapshot.records
        if record.kind == "final_predictions" and record.facts["split"] == split
    ]
    return pd.read_csv(path)


def matrices(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, choices and probabilities, read by pandas alone."""
    truth, chosen = (
        np.array([[name in json.loads(cell) for name in EMOTIONS] for cell in table[column]])
        for column in ("true_labels", "pred_labels")
    )
    return truth, chosen, table[[f"pred_prob_{name}" for name in EMOTIONS]].to_numpy(np.float32)


def done(outcome: Outcome) -> Outcome:
    assert outcome.code == 0, outcome
    assert outcome.err == ""
    return outcome


# -- the group itself


def test_the_help_names_every_command(felt: Kept) -> None:
    out = trainyard_("analyse").err
    assert all(name in out for name in COMMANDS)
    for name, summary in COMMANDS.items():
        help_ = felt("analyse", name, "--help").out.replace("\n  ", " ")
        assert summary in help_, "the list and the command must say the same"
        assert "--yard" in help_
    assert EVERY["analyse"] in trainyard_("analyse", "--help").out


@pytest.mark.parametrize(("word", "meant"), [("error", "errors"), ("per_class", "per-class"), ("xyzzy", None)])
def test_another_word_is_refused_and_the_nearest_offered(felt: Kept, word: str, meant: str | None) -> None:
    outcome = felt("analyse", word, "a")
    assert outcome.code == 2
    assert f"{word!r} is nothing to look at; there are errors, " in outcome.err
    assert (f"Did you mean {meant}?" in outcome.err) == (meant is not None)


def test_no_torch_is_imported(felt: Kept) -> None:
    code = (
        "import sys\nfrom trainyard.cli.main import main\n"
        "sys.argv[1:] = ['analyse', *sys.argv[1:]]\n"
        "try: main()\nexcept SystemExit as end: assert not end.code\n"
        "print(sorted({'torch', 'pandas', 'transformers', 'sklearn', 'scipy', 'matplotlib'} & set(sys.modules)))"
    )
    alone = [["errors", "a"], ["thresholds", "a"], ["calibration", "a"], ["seeds"], ["--help"]]
    for words in (*alone, ["diff", "a", "b"], ["significance", "a", "b"]):
        ran = subprocess.run(
            [sys.executable, "-c", code, *words, *(["--yard", str(felt.root)] if len(words) > 1 else [])],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            cwd=felt.root.parent,
            env={"TRAINYARD_YARD": str(felt.root), "PATH": ""},
        )
        assert ran.stdout.splitlines()[-1] == "[]", words


# -- errors


def test_errors(felt: Kept) -> None:
    table = frame(felt, "a")
    wrong = table[table["true_labels"] != table["pred_labels"]]
    found = done(felt("analyse", "errors", "a", "--json", "--limit", "1000")).json
    assert (found["items"], found["wrong"], found["split"]) == (200, len(wrong), "test")
    assert sorted(mistake["number"] for mistake in found["mistakes"]) == wrong.index.tolist()
    for mistake in found["mistakes"]:
        row = table.loc[mistake["number"]]
        assert (mistake["true"], mistake["predicted"]) == (json.loads(row.true_labels), json.loads(row.pred_labels))
        assert np.float32(mistake["probability"]) == np.float32(row[f"pred_prob_{mistake['label']}"])
    out = done(felt("analyse", "errors", "a", "--limit", "3")).out
    lines = out.splitlines()
    assert f"feelings/talk/a ({felt.run('a').snapshot.id}), test: {len(wrong)} of 200 items are wrong" in lines[0]
    assert len(lines) == 1 + 2 * (1 + 1 + 3)
    assert not felt("analyse", "errors", "a", "--limit", "0").out.splitlines()[1:]


def test_errors_about_one_label(felt: Kept) -> None:
    truth, chosen, _ = matrices(frame(felt, "a"))
    found = done(felt("analyse", "errors", "a", "--label", "fear", "--json", "--limit", "1000")).json
    assert [mistake["number"] for mistake in sorted(found["mistakes"], key=lambda mistake: mistake["number"])] == (
        np.flatnonzero(truth[:, 2] != chosen[:, 2]).tolist()
    )
    assert all("fear" in (pair["true"], pair["predicted"]) for pair in found["pairs"])
    assert "wrong about fear" in felt("analyse", "errors", "a", "--label", "fear").out


def test_a_hostile_text_takes_one_line(felt: Kept) -> None:
    out = felt("analyse", "errors", "a", "--limit", "1000").out
    assert "\0" not in out
    assert '"no"\nand' not in out


def test_a_text_that_utf_8_cannot_hold_is_shown_as_the_file_has_it(tmp_path: Path) -> None:
    with trainyard.start_run(name="a", yard=tmp_path / "y") as run:
        run.save_predictions(["x\ud800"], [1], [[0.9, 0.1]], ["p", "q"], item_column="text")
    words = ("analyse", "errors", "a", "--yard", str(tmp_path / "y"))
    ran = in_a_process(*words, "--json")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["mistakes"][0]["item"] == "x\\ud800"
    assert in_a_process(*words).returncode == 0


def test_errors_as_a_table(felt: Kept) -> None:
    outcome = done(felt("analyse", "errors", "s", "--out", "e.csv"))
    table = pd.read_csv("e.csv")
    truth = frame(felt, "s")
    wrong = truth[truth.true_label != truth.pred_label]
    assert outcome.out == f"{len(wrong)} mistakes in e.csv\n"
    assert sorted(table.number) == wrong.index.tolist()
    assert table.item.tolist() == [truth.id[number] for number in table.number]
    assert table.predicted.tolist() == [f'["{truth.pred_label[number]}"]' for number in table.number]
    assert table.probability.is_monotonic_decreasing


# -- thresholds


def test_thresholds_on_validation(felt: Kept) -> None:
    truth, chosen, scores = matrices(frame(felt, "a", "val"))
    found = done(felt("analyse", "thresholds", "a", "--json")).json
    assert found["mode"] == "per_class"
    for at, row in enumerate(found["labels"]):
        assert row["label"] == EMOTIONS[at]
        assert row["f1"] == pytest.approx(f1_score(truth[:, at], chosen[:, at]))
        assert row["f1"] == pytest.approx(f1_score(truth[:, at], scores[:, at] >= np.float32(row["threshold"])))
        assert row["f1_at_half"] == pytest.approx(f1_score(truth[:, at], scores[:, at] >= 0.5))
        assert row["best_f1"] == pytest.approx(row["f1"]), "it was tuned here"
        assert row["test_f1"] is None
    out = done(felt("analyse", "thresholds", "a")).out.splitlines()
    assert [line.split("  ")[0] for line in out[2:]] == [*EMOTIONS, "macro"]
    macro = np.mean([row["f1"] for row in found["labels"]])
    assert f"{macro:.3f}" in out[-1]
    assert "test" not in out[1]


def test_thresholds_are_only_measured_on_the_test_split(felt: Kept) -> None:
    truth, chosen, _ = matrices(frame(felt, "a"))
    without = felt("analyse", "thresholds", "a", "--json").json["labels"]
    found = done(felt("analyse", "thresholds", "a", "--split", "test", "--json")).json["labels"]
    for at, (row, before) in enumerate(zip(found, without, strict=True)):
        assert row["test_f1"] == pytest.approx(f1_score(truth[:, at], chosen[:, at]))
        assert {key: value for key, value in row.items() if not key.startswith("test")} == {
            key: value for key, value in before.items() if not key.startswith("test")
        }
    assert "test F1" in felt("analyse", "thresholds", "a", "--split", "test").out.splitlines()[1]


def test_thresholds_of_other_modes_and_layouts(tmp_path: Path) -> None:
    emotional(tmp_path / "y", "k", mode="top_k")
    emotional(tmp_path / "y", "f", layout="files", mode="global")
    yard = Kept(tmp_path / "y")
    assert "the 2 most probable" in done(yard("analyse", "thresholds", "k")).out.splitlines()[0]
    assert len({row["threshold"] for row in done(yard("analyse", "thresholds", "last", "--json")).json["labels"]}) == 1


# -- per class and calibration


def test_per_class(felt: Kept) -> None:
    truth, chosen, _ = matrices(frame(felt, "b", "val"))
    found = done(felt("analyse", "per-class", "b", "--split", "val", "--json")).json
    scores = precision_recall_fscore_support(truth, chosen, zero_division=0)
    rows = {row["label"]: row for row in found["classes"]}
    for at, name in enumerate(EMOTIONS):
        got = [rows[name][key] for key in ("precision", "recall", "f1_score", "support")]
        assert got == pytest.approx([column[at] for column in scores])
    assert [row["f1_score"] for row in found["classes"]] == sorted(row["f1_score"] for row in found["classes"])
    assert len(done(felt("analyse", "per-class", "s")).out.splitlines()) == 2 + len(EMOTIONS)
    done(felt("analyse", "per-class", "s", "--out", "p.csv"))
    assert pd.read_csv("p.csv").nsmallest(1, "f1_score")[["label", "support"]].to_numpy().tolist()[0][0] in EMOTIONS


@pytest.mark.parametrize("name", ["a", "s"])
def test_calibration_of_a_label(felt: Kept, name: str) -> None:
    table = frame(felt, name)
    truth = (
        (table.true_label == "joy") if name == "s" else np.array(["joy" in json.loads(c) for c in table.true_labels])
    )
    scores = table["pred_prob_joy"].astype(np.float32)
    found = done(felt("analyse", "calibration", name, "--label", "joy", "--bins", "7", "--json")).json
    filled = [row for row in found["bins"] if row["count"]]
    shares, means = calibration_curve(truth, scores, n_bins=7)
    assert [row["share"] for row in filled] == pytest.approx(shares.tolist())
    assert [row["mean_probability"] for row in filled] == pytest.approx(means.tolist())
    if name == "a":
        assert found["brier"] == pytest.approx(brier_score_loss(truth, scores), rel=1e-5)
    assert sum(row["count"] for row in found["bins"]) == len(table)
    out = done(felt("analyse", "calibration", name, "--bins", "7")).out.splitlines()
    assert len(out) == 9
    assert "Brier" in out[0]


# -- diff and significance


def test_diff(felt: Kept) -> None:
    before, after = frame(felt, "a"), frame(felt, "b")
    right = [table["true_labels"] == table["pred_labels"] for table in (before, after)]
    found = done(felt("analyse", "diff", "a", "b", "--json", "--limit", "1000")).json
    assert found["broken"] == (right[0] & ~right[1]).sum()
    assert found["fixed"] == (~right[0] & right[1]).sum()
    changed = before["pred_labels"] != after["pred_labels"]
    assert sorted(flip["number"] for flip in found["flips"]) == np.flatnonzero(changed).tolist()
    (truth, one, _), (_, other, _) = matrices(before), matrices(after)
    for at, row in enumerate(found["classes"]):
        assert row["broken"] == ((one[:, at] == truth[:, at]) & (other[:, at] != truth[:, at])).sum()
        assert row["fixed"] == ((one[:, at] != truth[:, at]) & (other[:, at] == truth[:, at])).sum()
    out = done(felt("analyse", "diff", "a", "b", "--limit", "4")).out
    assert f"{changed.sum()} of 200 items changed: {found['broken']} right → wrong" in out
    assert len(out.split("\n\n")[2].splitlines()) == 5
    assert "0 of 200 items changed" in done(felt("analyse", "diff", "a", "a")).out
    done(felt("analyse", "diff", "a", "b", "--out", "d.csv"))
    with Path("d.csv").open(newline="") as file:
        assert {row["change"] for row in csv.DictReader(file)} <= {"broken", "fixed", "other"}


def test_significance(felt: Kept) -> None:
    found = done(felt("analyse", "significance", "a", "b", "--json", "--resamples", "500")).json
    rows = {row["metric"]: row for row in found["metrics"]}
    for side, name in (("first", "a"), ("second", "b")):
        truth, chosen, _ = matrices(frame(felt, name))
        assert rows["accuracy"][side] == pytest.approx(accuracy_score(truth, chosen))
        assert rows["f1_macro"][side] == pytest.approx(f1_score(truth, chosen, average="macro", zero_division=0))
    assert rows["f1_micro"]["low"] > 0
    assert rows["f1_micro"]["p_value"] < 0.05
    out = done(felt("analyse", "significance", "a", "b", "--metric", "f1_micro", "--resamples", "500")).out
    assert "f1_micro: B is better" in out
    assert "accuracy" not in out
    assert out == felt("analyse", "significance", "a", "b", "--metric", "f1_micro", "--resamples", "500").out
    assert "accuracy: no difference" in done(felt("analyse", "significance", "a", "a", "--resamples", "200")).out


# -- seeds


def test_seeds(felt: Kept) -> None:
    [group] = done(felt("analyse", "seeds", "--json")).json
    ids = [felt.run(name).snapshot.id for name in ("a", "c")]
    assert group["runs"] == [f"{name} ({id_})" for name, id_ in zip("ac", ids, strict=True)]
    assert group["seeds"] == [0, 2]
    values = [felt.run(name).snapshot.summary["test_f1_macro"] for name in ("a", "c")]
    spread = group["metrics"]["test_f1_macro"]
    assert (spread["mean"], spread["std"]) == pytest.approx((np.mean(values), np.std(values, ddof=1)))
    out = done(felt("analyse", "seeds", "project:feelings")).out
    assert "seeds 0, 2\n" in out
    assert f"{np.mean(values):.4f}" in out
    assert "loss" in out
    assert "1 other run has no companion" in out
    assert "val_" not in out


def test_seeds_of_trained_runs_and_the_same_one_twice(tmp_path: Path) -> None:
    for name, seed in (("x", 1), ("y", 2), ("z", 2)):
        config = {"run": {"seed": seed, "name": name}, "training": {"epochs": 3}}
        with trainyard.start_run(name=name, yard=tmp_path / "y", seed=seed, config=config) as run:
            run.summary(test_accuracy=seed / 10)
    out = done(Kept(tmp_path / "y")("analyse", "seeds")).out
    assert "seeds 1, 2, 2 (runs of one seed are not independent)" in out


# -- pictures


@pytest.mark.parametrize(
    "words",
    [
        ("thresholds", "a"),
        ("per-class", "s"),
        ("calibration", "a", "--by", "mass"),
        ("diff", "a", "b"),
        ("diff", "s", "s"),
    ],
)
def test_as_a_picture_and_as_a_table(felt: Kept, words: tuple[str, ...]) -> None:
    assert done(felt("analyse", *words, "--out", "x.PNG")).out.endswith(" in x.PNG\n")
    with Image.open("x.PNG") as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 200
    done(felt("analyse", *words, "--out", "x.csv"))
    assert Path("x.csv").exists()


def test_without_matplotlib_it_says_what_to_install(felt: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    outcome = felt("analyse", "per-class", "a", "--out", "x.png")
    assert outcome.code == 2
    assert "trainyard[train]" in outcome.err
    assert not Path("x.png").exists()


# -- refusals


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("errors", "a", "--split", "train"), ("train", "val, test", "--split")),
        (("errors", "a", "--label", "angr"), ("has no label 'angr'", "Did you mean 'anger'?")),
        (("errors", "a", "--label", "zzz"), ("has no label 'zzz'", "It has joy, anger")),
        (("errors", "a", "--out", "x.png"), ("'x.png' is no .csv",)),
        (("thresholds", "a", "--split", "train"), ("'train'",)),
        (("thresholds", "s"), ("gives each item one label", "per-class")),
        (("diff", "a", "s"), ("several labels", "one label", "same data")),
        (("diff", "a", "nobody"), ("nobody",)),
        (("calibration", "a", "--bins", "0"), ("--bins",)),
        (("calibration", "a", "--out", "x.svg"), ("neither a .png nor a .csv",)),
        (("significance", "a", "b", "--resamples", "3"), ("--resamples",)),
        (("significance", "a"), ("RUN_B",)),
        (
            ("seeds", "name:a"),
            ("No two runs differ in the seed alone (1 run matched, 1 with test results)", "run.seed="),
        ),
        (("seeds", "name:nobody"), ("no run matches",)),
        (("seeds", "--split", "train"), ("0 with train results",)),
    ],
)
def test_refused(felt: Kept, words: tuple[str, ...], says: tuple[str, ...]) -> None:
    outcome = felt("analyse", *words)
    assert outcome.code == 2
    assert outcome.out == ""
    assert all(word in outcome.err for word in says), outcome.err
    assert not list(Path().iterdir())


def test_runs_that_have_nothing_to_look_at(tmp_path: Path) -> None:
    with trainyard.start_run(name="bare", yard=tmp_path / "y"):
        pass
    sets = np.eye(2, dtype=bool)
    with trainyard.start_run(name="untuned", yard=tmp_path / "y") as run:
        run.save_predictions(["x", "y"], sets, np.eye(2), ["p", "q"], split="val")
    with trainyard.start_run(name="others", yard=tmp_path / "y") as run:
        run.save_predictions(["x", "z"], sets, np.eye(2), ["p", "q"], split="val")
    with trainyard.start_run(name="empty", yard=tmp_path / "y") as run:
        run.save_predictions([], np.zeros((0, 2), bool), np.zeros((0, 2)), ["p", "q"], split="val")
    yard = Kept(tmp_path / "y")
    for words, said in (
        (("errors", "bare"), "save_predictions"),
        (("thresholds", "untuned"), "kept no thresholds"),
        (("diff", "untuned", "others", "--split", "val"), "(2 and 2): 1 only in the first, such as 'y'"),
        (("errors", "empty", "--split", "val"), "have no items"),
    ):
        outcome = yard("analyse", *words)
        assert outcome.code == 2
        assert said in outcome.err
    reader = yard.run("untuned")
    next(iter(path for name, path in reader.files().items() if name.endswith("predictions/val.csv"))).unlink()
    assert "val.csv" in yard("analyse", "errors", "untuned", "--split", "val").err


def test_a_checkpoint_of_one_file_holds_its_thresholds(tmp_path: Path) -> None:
    """As training writes it; a user's own file says nothing of thresholds."""
    import torch

    from trainyard.analysis.classification.decisions import Decision

    emotional(tmp_path / "y", "a", layout="dated")
    yard = Kept(tmp_path / "y")
    assert yard("analyse", "thresholds", "last").code != 0
    [home] = find_homes(Yard(tmp_path / "y"))
    reader = RunReader(Yard(tmp_path / "y"), home)
    path = reader.locate(reader.snapshot.checkpoints[-1])
    assert path is not None
    decision = Decision("fixed", (0.25,) * 5).to_dict(EMOTIONS)
    torch.save({"model": {}, "model_config": {}, "decision": decision}, path)
    rows = done(yard("analyse", "thresholds", "last", "--json")).json["labels"]
    assert {row["threshold"] for row in rows} == {0.25}
